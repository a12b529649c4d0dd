"""The compiled loop: plays the blocks of a table one after the other, and computes every gradient and update.

Laws of this module:

1. One executable plays blocks [start, stop) of a table of fixed shape; both bounds are traced, so chunks, evaluations and
   runs of any length share it. Its carry is donated.
2. Nothing here knows of time, of hosts, or of how rows became blocks.

Batches are drawn for a tile of 64 blocks at once: 1.2 to 2 times as fast as one at a time, it varies from process to process
(the digits MLP, batch 32, 2 CPU cores; see DESIGN.md and `tests/test_benchmarks.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from simsgd.problems import Batch, Metric, Parameters, evaluated
from simsgd.problems import worker_losses as of_workers
from simsgd.replaying import composed
from simsgd.replaying.blocks import Table
from simsgd.replaying.composed import Messages, States
from simsgd.replaying.drawing import Data, Drawing, draw_tile, tile_of
from simsgd.replaying.parts import Numbers, Recipe
from simsgd.replaying.programs import compiled
from simsgd.replaying.work import weighted_sum


class Carry(NamedTuple):
    """What the loop carries: old versions as they were handed out, the current one, and what the method remembers."""

    snapshots: Parameters  # each leaf (slots, ...)
    parameters: Parameters
    optimizer_state: Any
    sum: Parameters  # of a step's earlier blocks
    states: States = States()


def begin(parameters: Parameters, recipe: Recipe, numbers: Numbers) -> Carry:
    """Return what the loop begins with: version 0 as the current model and in slot 1, behind the spare slot.

    All of it copies, because an optimizer's state may hold the parameters themselves or arrays of the user's, and what is
    donated is gone.
    """
    states = States() if recipe.is_plain else begin_states(parameters, numbers, recipe=recipe)
    handed = composed.first_handed_out(recipe, numbers, parameters, states)
    carry = Carry(
        snapshots=jax.tree.map(lambda p: jnp.stack([p, p]), handed),
        parameters=parameters,
        optimizer_state=recipe.build("optimizer", numbers).init(parameters),
        sum=jax.tree.map(jnp.zeros_like, parameters),
    )
    copy: Carry = jax.tree.map(jnp.copy, carry)
    return copy._replace(states=states)


@compiled("recipe")
def begin_states(parameters: Parameters, numbers: Numbers, *, recipe: Recipe) -> States:
    """Return what a composed method remembers at first; compiled, so that states of many workers are made in place."""
    return composed.begin(recipe, numbers, parameters)


def with_slots(carry: Carry, slots: int) -> Carry:
    """Return the carry with at least so many slots."""

    def enlarge(leaf: jax.Array) -> jax.Array:
        return jnp.concatenate([leaf, jnp.zeros((slots - len(leaf), *leaf.shape[1:]), leaf.dtype)])

    if slots <= capacity(carry):
        return carry
    return carry._replace(snapshots=jax.tree.map(enlarge, carry.snapshots))


def capacity(carry: Carry) -> int:
    """Return how many slots there are."""
    return len(jax.tree.leaves(carry.snapshots)[0])


@compiled()
def copied(parameters: Parameters) -> Parameters:
    """Return a copy, which lives on when the original is given away."""
    return jax.tree.map(jnp.copy, parameters)


@compiled("drawing", "recipe", "long", "room", donated="carry")
def play(
    carry: Carry,
    table: Table,
    start: int,
    stop: int,
    data: Data,
    key: jax.Array,
    numbers: Numbers,
    *,
    drawing: Drawing,
    recipe: Recipe,
    long: bool,
    room: int,
) -> tuple[Carry, jax.Array]:
    """Play blocks [start, stop) of a table; `long` when their steps have several blocks each.

    Returns:
        What is carried on, and a number that is computed when that is: it tells that this is done when the rest has been given
        away.
    """
    playing = Playing(data, key, numbers, drawing, recipe, long, room)
    return playing.through(table, start, stop, playing.block, carry), jnp.asarray(stop + 1)


class Playing(NamedTuple):
    """What plays the blocks of one run.

    Attributes:
        data, key, numbers, drawing, recipe, long: as in `play`.
        room: for how many local steps of each job batches are drawn before it is played, no fewer than any has.
        one_version: whether the gradients of all blocks are computed at one version; None where each block says so.
        branches: whether a block that ends no step branches around the optimizer; under `vmap` a selection takes less time.
    """

    data: Data
    key: jax.Array
    numbers: Numbers
    drawing: Drawing
    recipe: Recipe
    long: bool
    room: int
    one_version: bool | None = None
    branches: bool = True

    def through(
        self, table: Table, start: Any, stop: Any, play: Callable[[jax.Array, Table, jax.Array, Any], Any], carry: Any
    ) -> Any:
        """Go through blocks [start, stop) of a table with `play(number, block, picks, carry)`."""
        length = tile_of(self.room)

        def play_tile(tile: jax.Array, carry: Any) -> Any:
            first = tile * length
            picks = draw_tile(self.drawing, self.data, self.key, table, first, self.room)

            def body(i: jax.Array, carry: Any) -> Any:
                return play(i, jax.tree.map(lambda column: column[i], table), picks[i - first], carry)

            return _for(jnp.maximum(start, first), jnp.minimum(stop, first + length), body, carry)

        return _for(start // length, (stop + length - 1) // length, play_tile, carry)

    def block(self, number: jax.Array, block: Table, picks: jax.Array, carry: Carry) -> Carry:
        """Return the carry after a block."""
        recipe, numbers = self.recipe, self.numbers
        if recipe.is_plain:
            batches = self.drawing.batches(self.data, self.key, picks, block.worker, block.job)
            message = weighted_sum(self.drawing.of_batch, carry.snapshots, block, batches, self.one_version)
        else:
            messages = Messages(recipe, numbers, self.drawing, self.data, self.key)
            states, message = messages.play(carry.snapshots, carry.parameters, carry.states, block, picks)
            carry = carry._replace(states=states)
        if not self.long:
            return _stepped(recipe, numbers, self.key, carry, message, block)
        carry = carry._replace(sum=jax.tree.map(jnp.add, carry.sum, message))
        if recipe.is_plain and self.branches:
            return _if(block.last, lambda c: _emptied(_stepped(recipe, numbers, self.key, c, c.sum, block)), carry)
        return _selected(block.last, _emptied(_stepped(recipe, numbers, self.key, carry, carry.sum, block)), carry)


def _for(start: Any, stop: Any, body: Callable[[jax.Array, Any], Any], carry: Any) -> Any:
    """Go through [start, stop), traced bounds, with `body(i, carry)`."""
    result: Any = jax.lax.fori_loop(start, stop, body, carry)
    return result


def _if(condition: jax.Array, then: Callable[[Carry], Carry], carry: Carry) -> Carry:
    """Change the carry if the condition, which is traced, holds."""
    result: Carry = jax.lax.cond(condition, then, lambda unchanged: unchanged, carry)
    return result


def _stepped(recipe: Recipe, numbers: Numbers, key: jax.Array, carry: Carry, gradient: Parameters, block: Table) -> Carry:
    """Return the carry after a step: a new version as the current one, and what is handed out of it in its slot."""
    optimizer = recipe.build("optimizer", numbers)
    updates, state = optimizer.update(gradient, carry.optimizer_state, carry.parameters, staleness=block.staleness)
    parameters = optax.apply_updates(carry.parameters, updates)
    handed, states = parameters, carry.states
    if block.message is not None:
        handed, states = composed.handed_out(recipe, numbers, parameters, states, block.message.version + 1, key)
    snapshots = jax.tree.map(lambda s, p: s.at[block.write_slot].set(p), carry.snapshots, handed)
    return Carry(snapshots, parameters, state, carry.sum, states)


def _selected(condition: jax.Array, stepped: Carry, carry: Carry) -> Carry:
    """Return the carry after a step if the condition holds; the version that was made went to the spare slot if it does not.

    For small models a selection takes less time than a branch, and under `vmap` it is what a branch becomes.
    """
    chosen = (stepped.parameters, stepped.optimizer_state, stepped.sum, stepped.states.sent)
    others = (carry.parameters, carry.optimizer_state, carry.sum, carry.states.sent)
    parameters, state, total, sent = jax.tree.map(lambda new, old: jnp.where(condition, new, old), chosen, others)
    return Carry(stepped.snapshots, parameters, state, total, carry.states._replace(sent=sent))


def _emptied(carry: Carry) -> Carry:
    return carry._replace(sum=jax.tree.map(jnp.zeros_like, carry.sum))


@compiled("loss", "metrics", "worker_losses")
def evaluate(
    parameters: Parameters,
    data: Data,
    test_data: Batch | None,
    *,
    loss: Metric,
    metrics: tuple[Metric, ...],
    worker_losses: bool,
) -> tuple[list[jax.Array], jax.Array | None]:
    """Return the values of a problem's metrics in the order of its `metric_names`, and the loss of each worker if asked for."""
    held_out = data.samples if test_data is None else test_data
    tests = [] if test_data is None else [evaluated(loss, parameters, test_data)]
    values = [evaluated(loss, parameters, data.samples), *tests, *(metric(parameters, held_out) for metric in metrics)]
    return values, of_workers(loss, parameters, data.samples, data.shares) if worker_losses and data.shares else None
