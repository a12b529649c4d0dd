"""Two runs side by side: the compiled loop under `jax.vmap`, with all that a method's parts put into its carry."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparing import CLUSTERS, assert_close, played, problem, recorded, slow
from methods import METHODS
from parts import method_of

from simsgd.replaying import loop


class Lanes:
    """The compiled loop under `jax.vmap`, two wide: one tape, the optimizer's step sizes as the lanes' numbers."""

    def __init__(self, method, tape, seed, monkeypatch):
        self.calls = []

        def noted(carry, *arrays, **settings):
            self.calls.append((arrays, settings))
            return playing(carry, *arrays, **settings)

        playing = loop.play
        with monkeypatch.context() as patch:
            patch.setattr(loop, "play", noted)
            self.alone, _ = played(tape, method, seed, tape.updates)
        self.slots = loop.capacity(self.alone._carry)
        self.start = problem().start(seed, "float64")
        self.numbers, self.recipe = self.alone._numbers, self.alone._recipe
        (self.settings,) = {tuple(settings.items()) for _, settings in self.calls}
        self.advance = jax.jit(jax.vmap(self._advance, in_axes=(0, 0, *[None] * 5)))

    def _advance(self, carry, numbers, table, start, stop, data, key):
        return loop.play.__wrapped__(carry, table, start, stop, data, key, numbers, **dict(self.settings))[0]

    def final(self, step_sizes):
        """Return the parameters of each lane after the tape, shape (2, parameters)."""
        with self.alone._precision():
            learning_rates = jnp.asarray(step_sizes, "float64")
            numbers = self.numbers | {"optimizer": {"learning_rate": learning_rates}}
            carry = jax.vmap(self._begin, in_axes=(self._axes(),))(numbers)
            for (*piece, _), _ in self.calls:
                carry = self.advance(carry, self._spread(numbers), *piece)
            leaves = [np.asarray(leaf).reshape(len(step_sizes), -1) for leaf in jax.tree.leaves(carry.parameters)]
        return np.concatenate(leaves, axis=1)

    def _axes(self):
        return jax.tree.map(lambda _: None, self.numbers) | {"optimizer": {"learning_rate": 0}}

    def _spread(self, numbers):
        """Every number once for each lane."""
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (2,)), numbers)

    def _begin(self, numbers):
        return loop.with_slots(loop.begin(self.start, self.recipe, numbers), self.slots)


LANES = {
    "everything": {"work": "svrg", "at_worker": "clipped momentum", "on_message": "momentum of each", "hand_out": "ahead"},
    "local steps": {"work": "local", "at_worker": "top-k", "on_message": "compensated"},
    "a table": {"on_message": "table", "hand_out": "ahead"},
}


@pytest.mark.parametrize("parts", slow(*LANES))
@pytest.mark.parametrize("protocol", slow("Ringmaster", "Rennala"))
def test_a_lane_does_not_depend_on_its_neighbour_or_its_place(parts, protocol, monkeypatch):
    """And it is, to rounding, the run of its own."""
    method = method_of(METHODS[protocol], **LANES[parts], after_crash="reset")
    tape = recorded(method, CLUSTERS["crashing"], 12, seed=2)
    assert (tape.discarded.reason == 0).any()
    lanes = Lanes(method, tape, 2, monkeypatch)
    one, other, third = 0.05, 0.11, 0.013
    first = lanes.final([one, one])
    assert first[0].tobytes() == first[1].tobytes()
    for beside in (other, third):
        assert lanes.final([one, beside])[0].tobytes() == first[0].tobytes()
        assert lanes.final([beside, one])[1].tobytes() == first[0].tobytes()
    assert_close(first[0], lanes.alone.flat_parameters)
    assert np.abs(lanes.final([one, other])[1] - first[0]).max() > 1e-3
