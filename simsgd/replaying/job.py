"""One job in the compiled loop: what `Work.run` is told, and what it can ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from simsgd.problems import Parameters, draw_block
from simsgd.replaying import finite_sums
from simsgd.replaying.drawing import Data, Drawing, job_key, shared_key


class Job(NamedTuple):
    """One job in the compiled loop: what `Work.run` is given; see `simsgd.work.JobAtHand`."""

    drawing: Drawing
    data: Data
    key_of_run: jax.Array
    worker: Any
    number: Any
    steps: Any
    ahead: jax.Array  # the samples of its steps, (room, batch_size); of works that take no steps, those of the first
    charged: int  # local steps that the work says
    kind: Any
    version: Any
    workers: int
    inner: Any
    shown: Any

    @property
    def key(self) -> jax.Array:
        """A key of the job's own, for all but its batches."""
        return job_key(self.key_of_run, self.worker, self.number)

    @property
    def shared_key(self) -> jax.Array:
        """A key that all jobs of one version have in common."""
        return shared_key(self.key_of_run, self.version)

    def gradient(self, parameters: Parameters, step: int | jax.Array = 0) -> Parameters:
        """Return the gradient of the loss on the batch of one local step."""
        if isinstance(step, int) and not 0 <= step < self.charged:
            raise ValueError(f"step must be one of the {self.charged} that the work charges, counted from 0, got {step}")
        where = (self.worker, self.number)
        picks = self.ahead[0]
        if not (isinstance(step, int) and step == 0):
            picks = self.drawing.picks(self.data, self.key_of_run, *where, self.steps, step)
        batch = self.drawing.batch(self.data, self.key_of_run, picks, *where, step)
        return jax.grad(self.drawing.of_batch)(parameters, batch)

    def through(self, step: Callable[[jax.Array, Any, Any], Any], carry: Any) -> Any:
        """Return what is carried after all local steps: carry ← step(number, gradient, carry)."""

        def one(number: jax.Array, carry: Any) -> Any:
            batch = self.drawing.batch(self.data, self.key_of_run, self.ahead[number], self.worker, self.number, number)
            return step(number, lambda parameters: jax.grad(self.drawing.of_batch)(parameters, batch), carry)

        return jax.lax.fori_loop(0, self.steps, one, carry)

    def full_gradient(self, parameters: Parameters) -> Parameters:
        """Return the gradient of the mean loss over all samples, or over the worker's own."""
        return jax.grad(self.drawing.of_share)(parameters, self.data, self.worker)

    @property
    def blocks(self) -> Any:
        """How many blocks of samples the worker has."""
        return finite_sums.own(self.data, self.worker).blocks(self.drawing.batch_size)

    @property
    def share_weight(self) -> Any:
        """What the worker's share counts in a mean over workers."""
        return finite_sums.share_weight(self.data, self.worker, self.workers)

    def block(self, step: int | jax.Array = 0) -> jax.Array:
        """Return one of the worker's blocks, drawn uniformly."""
        return draw_block(self.key_of_run, self.worker, self.number, self.blocks, step)

    def block_gradient(self, parameters: Parameters, block: jax.Array) -> Parameters:
        """Return the gradient of (blocks/samples)·Σ f_i over a block."""
        return finite_sums.block_gradient(self.drawing, self.data, parameters, self.worker, block)

    def part_of_full_gradient(self, parameters: Parameters, when: bool | jax.Array = True) -> Parameters:
        """Return the worker's part of the full gradient, or zero where `when` does not hold."""
        return finite_sums.part_of_full_gradient(self.drawing, self.data, parameters, self.worker, self.workers, when)
