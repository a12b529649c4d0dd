"""MARINA's work: now and then a full gradient, and else a compressed difference of two gradients of one batch."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from simsgd import compression as compressing
from simsgd.compression import Compression
from simsgd.support import checks
from simsgd.work import Charges, JobAtHand, Order, Parameters, Work

DIFFERENCE, FULL = 0, 1
"""The kinds of jobs."""


class Remembered(NamedTuple):
    """What a worker remembers: the version that it read last, its estimate of the gradient, and the compression's state."""

    read: Any
    estimate: Any
    inside: Any


@dataclass(frozen=True)
class Marina(Work):
    """MARINA's gradient estimator: gᵢ ← ∇fᵢ(w) in jobs of kind 1, and gᵢ ← gᵢ + C(∇fᵢ(w; ξ) − ∇fᵢ(w_before; ξ)) in others.

    w_before is the version that the worker read before, and ξ one batch, the same in both gradients. The message is gᵢ; on the
    wire is the full gradient, or the compressed difference, which the server adds to the gᵢ that it keeps. The paper adds the
    mean of the differences to the mean of all gᵢ: the same, as long as all workers take part in each round (`MarinaRounds`). A
    worker's first job must be of kind 1. Differences of batches make it the paper's VR-MARINA; where a batch has all samples it
    is MARINA. An all-reduce is charged as if it could sum the differences on the way; with `RandomK(…, shared=True)` it can.

    Args:
        steps: local steps that the clock charges for a difference: two gradients of a batch.
        compression: C, unbiased, as `RandomK` is.
        full_steps: local steps that it charges for a full gradient: in how many batches the worker's samples are gone through.

    Raises:
        TypeError: if `compression` is no `Compression`. ValueError: for steps below 1.

    Source: Gorbunov, Burlachenko, Li and Richtárik (2021), "MARINA: faster non-convex distributed learning with compression",
    algorithms 1 and 2 (their numbers from memory; checked against the authors' code).

    Example:
        >>> import simsgd as sg
        >>> work = sg.works.Marina(compression=sg.compressions.RandomK(share=0.1), full_steps=45)
        >>> method = sg.Method(sg.protocols.MarinaRounds(probability=0.1), sg.optimizers.sgd(0.1), work=work)
        >>> cluster = sg.Cluster(workers=1, compute=sg.times.Constant(1.0))
        >>> tape = sg.record(method, cluster, until=sg.Updates(2), message_bytes=400.0)
        >>> tape.kind.tolist(), tape.steps.tolist(), tape.bytes_up.tolist()
        ([1, 0], [45, 2], [400.0, 80.0])
    """

    kinds: ClassVar[tuple[str, ...]] = ("difference", "full gradient")
    takes_steps: ClassVar[bool] = False
    steps: int = 2
    _: KW_ONLY
    compression: Compression
    full_steps: int

    def __post_init__(self) -> None:
        super().__post_init__()
        compressing.check("Marina.compression", self.compression)
        checks.store(self, full_steps=checks.whole("Marina.full_steps", self.full_steps, 1))

    def charge(self, order: Order) -> Charges:
        """Return the steps and bytes of a difference or of a full gradient.

        Raises:
            ValueError: if the compression cannot take such messages.
        """
        message = order.message
        if order.kind == FULL:
            return Charges(self.full_steps, message.bytes, message.bytes, FULL)
        self.compression.check(message)
        return Charges(self.steps, message.bytes, compressing.bytes_left(message.bytes, message, self.compression), DIFFERENCE)

    def init(self, parameters: Parameters) -> Any:
        """Return version 0, an estimate of 0, and what the compression begins with."""
        nothing = jax.tree.map(jnp.zeros_like, parameters)
        return Remembered(parameters, nothing, self.compression.init(nothing))

    def run(self, parameters: Parameters, state: Any, job: JobAtHand) -> tuple[Parameters, Any]:
        """Return the new estimate, and what is remembered."""

        def full(inside: Any) -> tuple[Parameters, Any]:
            return job.full_gradient(parameters), inside

        def differs(inside: Any) -> tuple[Parameters, Any]:
            change = jax.tree.map(jnp.subtract, job.gradient(parameters), job.gradient(state.read))
            change, inside = self.compression.compress(change, inside, job.key, job.shared_key)
            return jax.tree.map(jnp.add, state.estimate, change), inside

        estimate, inside = jax.lax.cond(job.kind == FULL, full, differs, state.inside)
        return estimate, Remembered(parameters, estimate, inside)
