"""Works of variance-reduced methods: gradients of blocks, gradients corrected by a snapshot's, and recursive estimates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from simsgd.optimizers import Snapshot, most_blocks, row, with_row
from simsgd.support import checks
from simsgd.support.bounds import bounds
from simsgd.work import Charges, JobAtHand, Order, Parameters, Work


@dataclass(frozen=True)
class BlockGradient(Work):
    """The gradient of one block of samples, drawn uniformly, for a table at the server (`optimizers.saga_table`).

    A worker with B blocks of N samples in all computes the gradient of (B/N)·Σ f_i over those of one block, so the mean over
    its blocks is its full gradient. Where each of n workers has a share of the data, that is multiplied by n times the share's
    part of all samples, so that the mean over the workers is the gradient over all samples. It takes as long as a batch.

    Example:
        >>> import simsgd as sg
        >>> sg.works.BlockGradient()
        BlockGradient(steps=1)
    """

    takes_steps: ClassVar[bool] = False

    def run(self, parameters: Parameters, state: Any, job: JobAtHand) -> tuple[Parameters, Any]:
        """Return the gradient of a block."""
        return _times(job.share_weight, job.block_gradient(parameters, job.block())), state


@dataclass(frozen=True)
class BlockTable(Work):
    """The change of a row of the worker's own table: T_b ← g, and the message is g − T_b, g that of `BlockGradient`.

    The server adds the mean of all tables to the message (`optimizers.mean_of_tables`), and moves that mean by the same
    message: so what is sent has the bytes of a gradient. The table has a row for each block of the worker's share, and begins
    at 0.

    Source: De and Goldstein (2016), "Efficient distributed SGD with variance reduction", distributed SAGA (from memory).

    Example:
        >>> import simsgd as sg
        >>> sg.works.BlockTable()
        BlockTable(steps=1)
    """

    takes_steps: ClassVar[bool] = False

    def init(self, parameters: Parameters) -> Any:
        """Return an empty table."""
        rows = most_blocks()
        return jax.tree.map(lambda w: jnp.zeros((rows, *jnp.shape(w)), jnp.result_type(w)), parameters)

    def run(self, parameters: Parameters, state: Any, job: JobAtHand) -> tuple[Parameters, Any]:
        """Return the change of the row, and the table after it."""
        block = job.block()
        gradient = _times(job.share_weight, job.block_gradient(parameters, block))
        return jax.tree.map(jnp.subtract, gradient, row(state, block)), with_row(state, block, gradient)


@dataclass(frozen=True)
class _FromSnapshots(Work):
    """Jobs of two kinds: of kind 1 the worker's part of the full gradient, of kind 0 what is made with the last one."""

    kinds: ClassVar[tuple[str, ...]] = ("inner steps", "part of the full gradient")
    passes: ClassVar[tuple[int, ...]] = (1,)
    takes_steps: ClassVar[bool] = False
    steps: int = 2
    pass_steps: int | tuple[int, ...] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        if self.steps % 2:
            raise ValueError(f"{name}.steps must be even, got {self.steps}: a step computes two gradients, at w and at w̃")
        given = self.pass_steps if isinstance(self.pass_steps, tuple) else (self.pass_steps,)
        whole = tuple(checks.whole(f"{name}.pass_steps", steps, 1) for steps in given)
        if not whole:
            raise ValueError(f"{name}.pass_steps must be a whole number, or one for each worker, got ()")
        bounds.check("parts", max(whole), f"{name}.pass_steps={max(whole)}")
        checks.store(self, pass_steps=whole if isinstance(self.pass_steps, tuple) else whole[0])

    def charge(self, order: Order) -> Charges:
        """Return the steps of the job's kind, and whole messages."""
        steps = self.steps
        if order.kind:
            steps = self.pass_steps if isinstance(self.pass_steps, int) else self._of_worker(self.pass_steps, order.worker)
        return Charges(steps, self.bytes_down(order.message.bytes), self.bytes_up(order.message.bytes))

    def _of_worker(self, steps: tuple[int, ...], worker: int) -> int:
        if worker >= len(steps):
            raise ValueError(
                f"{type(self).__name__}.pass_steps is for {len(steps)} workers, and there is a worker {worker}: use "
                "problems.full_pass(problem, workers)"
            )
        return steps[worker]

    def shows(self, message_state: Any) -> Any:
        """Return the snapshot that the server keeps."""
        found = [part for part in jax.tree.leaves(message_state, is_leaf=_is_snapshot) if _is_snapshot(part)]
        if len(found) != 1:
            raise TypeError(
                f"{type(self).__name__} works with the server's snapshot: give the Method on_message=optimizers.snapshot(), "
                "alone or in a chain"
            )
        return found[0]


@dataclass(frozen=True)
class VarianceReducedGradient(_FromSnapshots):
    """A gradient with the noise of the same batch at a snapshot w̃ taken off: ∇f_ξ(w) − ∇f_ξ(w̃) + μ, μ = ∇f(w̃).

    The batch ξ is that of which plain SGD takes the gradient. Jobs of kind 1 give the worker's part of μ, and no more; see
    `optimizers.snapshot`. Where workers have shares of the data the difference counts n·size/samples, so that the mean over
    workers is free of bias. The snapshot costs no bytes: a worker has been sent w̃ for its part, and the next version, which is
    w̃ − ημ, before its first inner step.

    Source: Johnson and Zhang (2013), "Accelerating stochastic gradient descent using predictive variance reduction".

    Args:
        steps: local steps that the clock charges for it: 2, as there are two gradients.
        pass_steps: those for a part of the full gradient, one number for all or one for each worker: `problems.full_pass`. A
            replay refuses fewer than the part has batches.

    Example:
        >>> import simsgd as sg
        >>> sg.works.VarianceReducedGradient(pass_steps=12)
        VarianceReducedGradient(steps=2, pass_steps=12)
    """

    def run(self, parameters: Parameters, state: Any, job: JobAtHand) -> tuple[Parameters, Any]:
        """Return the corrected gradient, or the part of the full gradient."""
        is_part = job.kind == 1
        part = job.part_of_full_gradient(parameters, is_part)
        inner = _corrected(job, parameters, 0)
        return jax.tree.map(lambda whole, one: jnp.where(is_part, whole, one), part, inner), state


@dataclass(frozen=True)
class LocalVarianceReduction(_FromSnapshots):
    """H local steps along variance-reduced gradients, with the method's inner optimizer; how far they went is the message.

    w₀ = w_read, w_{k+1} = w_k + u(∇f_i(w_k; ξ_k) − ∇f_i(w̃; ξ_k) + μ), and the message is w_read − w_H. Jobs of kind 1 give the
    worker's part of μ. No bytes are charged for μ: the model does not move in the step that ends a pass, so μ can be sent in
    its place.

    Source: De and Goldstein (2016), "Efficient distributed SGD with variance reduction", distributed SVRG (from memory).

    Args:
        steps: local steps that the clock charges: 2H, as each has two gradients.
        pass_steps: as in `VarianceReducedGradient`.

    Example:
        >>> import simsgd as sg
        >>> sg.works.LocalVarianceReduction(steps=16, pass_steps=12)
        LocalVarianceReduction(steps=16, pass_steps=12)
    """

    def run(self, parameters: Parameters, state: Any, job: JobAtHand) -> tuple[Parameters, Any]:
        """Return how far the local steps went, or the part of the full gradient."""
        is_part = job.kind == 1

        def step(number: jax.Array, at: tuple[Parameters, Any]) -> tuple[Parameters, Any]:
            model, inner = at
            updates, inner = job.inner.update(_corrected(job, model, number, 1.0), inner, model)
            return optax.apply_updates(model, updates), inner

        part = job.part_of_full_gradient(parameters, is_part)
        steps = jnp.where(is_part, 0, self.steps // 2)
        model, _ = jax.lax.fori_loop(0, steps, step, (parameters, job.inner.init(parameters)))
        return jax.tree.map(lambda p, read, now: jnp.where(is_part, p, read - now), part, parameters, model), state


class _Estimate(NamedTuple):
    """What a worker remembers: the model that it read last, its estimate there, and whether there is one."""

    parameters: Any
    gradient: Any
    begun: jax.Array


@dataclass(frozen=True)
class RecursiveMomentum(Work):
    """An estimate of the gradient that each worker carries on from read to read: d ← ∇f_ξ(w) + (1 − a)·(d − ∇f_ξ(w′)).

    w is the version just read, w′ the one that the worker read before, ξ one batch for both; d is the message, and begins as
    a plain gradient. With a = 1 it is a plain gradient always. Asynchronous workers each have an estimate of their own, and
    what they read may lie any number of versions apart.

    Source: Cutkosky and Orabona (2019), "Momentum-based variance reduction in non-convex SGD", STORM.

    Args:
        steps: local steps that the clock charges for it: 2, as there are two gradients.
        momentum: a, above 0 and at most 1.

    Example:
        >>> import simsgd as sg
        >>> sg.works.RecursiveMomentum(momentum=0.1)
        RecursiveMomentum(steps=2, momentum=0.1)
    """

    takes_steps: ClassVar[bool] = False
    steps: int = 2
    momentum: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.store(self, momentum=checks.up_to_one("RecursiveMomentum.momentum", self.momentum, "1 is a plain gradient"))

    def init(self, parameters: Parameters) -> _Estimate:
        """Return that there is no estimate yet."""
        nothing = jax.tree.map(jnp.zeros_like, parameters)
        return _Estimate(nothing, nothing, jnp.asarray(False))

    def run(self, parameters: Parameters, state: Any, job: JobAtHand) -> tuple[Parameters, Any]:
        """Return the new estimate, and remember it with the model."""
        share = jnp.where(state.begun, 1 - self.momentum, 0.0)

        def carried(new: Any, before: Any, old: Any) -> Any:
            return new + share.astype(new.dtype) * (before - old)

        estimate = jax.tree.map(carried, job.gradient(parameters), state.gradient, job.gradient(state.parameters))
        return estimate, _Estimate(parameters, estimate, jnp.asarray(True))


def _corrected(job: JobAtHand, parameters: Parameters, step: Any, weight: Any = None) -> Parameters:
    """Return weight·(∇f_ξ(w) − ∇f_ξ(w̃)) + μ on the batch of a local step."""
    snapshot = job.shown
    weight = job.share_weight if weight is None else weight
    change = jax.tree.map(jnp.subtract, job.gradient(parameters, step), job.gradient(snapshot.parameters, step))
    return jax.tree.map(jnp.add, _times(weight, change), snapshot.gradient)


def _times(factor: Any, tree: Parameters) -> Parameters:
    return jax.tree.map(lambda leaf: jnp.asarray(factor, leaf.dtype) * leaf, tree)


def _is_snapshot(part: Any) -> bool:
    return isinstance(part, Snapshot)
