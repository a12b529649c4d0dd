"""Local steps of a model that is sent in fragments, one in turn, while the worker keeps a model of its own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from simsgd.optimizers.fragments import check, fragment_of
from simsgd.support import checks
from simsgd.support.pieces import borders
from simsgd.work import Charges, JobAtHand, Order, Parameters, Work


class Held(NamedTuple):
    """What a worker remembers.

    Attributes:
        model: its own, like the parameters.
        received: of each number, what the server last sent it, like the parameters.
        inner: the inner optimizer's state.
        version: the number of the version that it was sent last, −1 before the first.
    """

    model: Parameters
    received: Parameters
    inner: Any
    version: jax.Array


@dataclass(frozen=True)
class Fragments(Work):
    """Local steps from one fragment to the next: a message is how far one fragment has moved.

    The model's numbers, in one row, are cut into P pieces whose lengths differ by one at most; the step from version v to the
    next changes fragment v mod P alone. A job that is handed version v takes in the fragments that have changed since the
    worker's job before, x ← (1 − m)·x + m·w_read there, and makes its local steps, all with one inner optimizer whose state it
    keeps; the first `overlap` of them before it takes anything in. Its message is r − x in fragment v mod P, with r what the
    server last sent of it, and 0 elsewhere. A worker begins at the first version that it is handed.

    A worker that is back after a crash makes its first `overlap` steps on the model that it had, too, although the clock takes
    them to begin when the new one has come (`Charges.overlap`); with `Method(after_crash="reset")` it begins anew at that.

    Messages have the bytes of their fragments: up, those of one; down, those of all that have changed, which for a worker's
    first job is the whole model. The server needs an optimizer that leaves other fragments alone, `optimizers.in_fragments`,
    and a protocol that says whose turn it is by the kind of a job, `protocols.FragmentsSGD` or `protocols.QuorumSGD`: kind k
    sends fragment k mod P, and is sent 1 + ⌊k/P⌋ fragments. State: model and r, like the parameters; the inner optimizer's.

    Source: Douillard et al. (2025), "Streaming DiLoCo with overlapping communication: towards a distributed free lunch",
    algorithm 2 (equal pieces of the row of numbers in place of groups of layers are ours).

    Args:
        steps: local steps from one fragment to the next, at least 1; each fragment is sent once in P times as many.
        fragments: P, at least 1.
        overlap: how many of a job's first steps are made while messages are on their way, at least 0 and below `steps`.
        mixing: m, the weight of what the server sends, above 0 and at most 1; the paper's is 1 − α.

    Raises:
        ValueError: if one of them is out of its range; when a recording or a replay begins, if there are more fragments than
            the model has numbers.

    Example:
        >>> import simsgd as sg
        >>> method = sg.methods.streaming_diloco(step_size=0.001, steps=5, fragments=3, overlap=1)
        >>> method.work
        Fragments(steps=5, fragments=3, overlap=1, mixing=0.5)
        >>> cluster = sg.Cluster(workers=2, compute=sg.times.Constant(1.0))
        >>> tape = sg.record(method, cluster, until=sg.Updates(3), message_shapes=[(10,)])
        >>> tape.bytes_up[::2].tolist(), tape.bytes_down[::2].tolist()
        ([16.0, 12.0, 12.0], [40.0, 16.0, 12.0])
    """

    needs_inner: ClassVar[bool] = True

    fragments: int = 1
    overlap: int = 0
    mixing: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        fragments = checks.whole("Fragments.fragments", self.fragments, 1)
        overlap = checks.whole("Fragments.overlap", self.overlap, 0)
        if overlap >= self.steps:
            raise ValueError(f"Fragments.overlap must be below steps, {self.steps}, got {overlap}")
        mixing = checks.up_to_one("Fragments.mixing", self.mixing, "1 takes the server's model as it is")
        checks.store(self, fragments=fragments, overlap=overlap, mixing=mixing)

    @property
    def kinds(self) -> tuple[str, ...]:  # type: ignore[override]
        """What each kind of job sends, and how many fragments it is sent."""
        every = range(self.fragments)
        return tuple(f"sends fragment {sent} of {self.fragments}, is sent {1 + more}" for more in every for sent in every)

    def charge(self, order: Order) -> Charges:
        """Return the steps, and the bytes of the fragments."""
        numbers = sum(map(math.prod, order.message.shapes))
        if numbers:  # it is 0 where nothing is said of messages, and what is recorded is time alone
            check(self.fragments, numbers)
        ends = borders(numbers, self.fragments)
        sizes = [end - start for start, end in itertools.pairwise(ends)]
        sent, more = order.kind % self.fragments, order.kind // self.fragments
        down = sum(sizes[sent - 1 - each] for each in range(1 + more))
        each = order.message.bytes / numbers if numbers else 0.0
        return Charges(self.steps, down * each, sizes[sent] * each, overlap=self.overlap)

    def begin(self, parameters: Parameters, inner: optax.GradientTransformationExtraArgs) -> Held:
        """Return the state of a worker that has yet to begin."""
        return Held(parameters, parameters, inner.init(parameters), jnp.asarray(-1, jnp.int32))

    def run(self, parameters: Parameters, state: Held, job: JobAtHand) -> tuple[Parameters, Held]:
        """Return how far the job's fragment has moved, and what the worker has then."""
        own = fragment_of(parameters, self.fragments)
        begins = state.version < 0
        before = jnp.where(begins, job.version, state.version)
        model, received = (
            jax.tree.map(lambda new, old: jnp.where(begins, new, old), parameters, old) for old in (state.model, state.received)
        )
        missed = job.version - before  # steps of the server, of fragments `before`, `before` + 1, … mod P
        changed = jax.tree.map(lambda fragment: (fragment - before) % self.fragments < missed, own)
        received = jax.tree.map(jnp.where, changed, parameters, received)

        def take_in(model: Parameters) -> Parameters:
            return jax.tree.map(lambda c, x, w: jnp.where(c, self._mixed(x, w), x), changed, model, parameters)

        def step(number: jax.Array, gradient: Callable[[Parameters], Parameters], at: tuple[Parameters, Any]) -> Any:
            model, inner = at
            model = jax.lax.cond(number == jnp.minimum(self.overlap, job.steps - 1), take_in, lambda model: model, model)
            updates, inner = job.inner.update(gradient(model), inner, model)
            return optax.apply_updates(model, updates), inner

        model, inner = job.through(step, (model, state.inner))
        turn = job.kind % self.fragments
        message = jax.tree.map(lambda fragment, r, x: jnp.where(fragment == turn, r - x, 0), own, received, model)
        return message, Held(model, received, inner, job.version)

    def _mixed(self, own: jax.Array, sent: jax.Array) -> jax.Array:
        return sent if self.mixing == 1 else (1 - self.mixing) * own + self.mixing * sent
