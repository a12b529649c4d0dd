"""The local steps of a node of several devices: each device makes some by itself, then they average, block after block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from simsgd.support import checks
from simsgd.support.bounds import bounds
from simsgd.work import Gradient, JobAtHand, Parameters
from simsgd.works.local_steps import LocalSteps


@dataclass(frozen=True, repr=False)
class HierarchicalSteps(LocalSteps):
    """Blocks of local steps of a node's m devices: h steps of each device, then the average of their models, H times.

    In a block device d begins at the node's model w and makes h steps with the method's inner optimizer; then
    w ← (1/m) Σ_d w_d. The message is w_read − w after H blocks. A local step that is charged is a block, so the compute law
    is that of a block (`Cluster.of_nodes` with the same `steps_inside`). Its batch is cut into m·h equal parts, of which device
    d has those from d·h on, one for each step. A loss that draws random numbers draws others for each part.

    Each device has an inner optimizer of its own, whose state goes on from block to block and is not averaged, as the paper
    has local momentum; it begins anew in each job, or is kept by the device (`keeps_inner`).

    Args:
        steps, of_workers, seconds, keeps_inner: as of `LocalSteps`, for H, the blocks.
        devices: m, of a node, at least 1; 1 by default.
        steps_inside: h, the steps of a device in a block, at least 1; 1 by default.

    Raises:
        TypeError, ValueError: for numbers out of range; when a replay begins, if `batch_size` is not a multiple of m·h.
        BoundError: if there are more steps in a block, m·h, than `sg.bounds.parts`.

    Source: Lin et al. (2020), "Don't use large mini-batches, use local SGD", hierarchical local SGD, with H^l = h and H^b = H
    (from memory).

    Example:
        >>> import simsgd as sg
        >>> work = sg.works.HierarchicalSteps(steps=4, devices=2, steps_inside=2)
        >>> work
        HierarchicalSteps(steps=4, devices=2, steps_inside=2)
        >>> method = sg.Method(sg.MinibatchSGD(), sg.optimizers.sgd(1.0), work=work, inner=sg.optimizers.sgd(0.1))
        >>> problem, cluster = sg.problems.quadratic(batch_size=8), sg.Cluster(workers=2, compute=sg.times.Constant(1.0))
        >>> run = sg.simulate(method, problem, cluster, until=sg.Updates(5))  # 2 devices, 2 steps of 2 samples in a block
        >>> run.throughput["samples"]  # in a second: 2 nodes of 8
        16.0
    """

    devices: int = 1
    steps_inside: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        checks.store(
            self,
            devices=checks.whole(f"{name}.devices", self.devices, 1),
            steps_inside=checks.whole(f"{name}.steps_inside", self.steps_inside, 1),
        )
        bounds.check("parts", self.parts, f"{name}.devices·steps_inside={self.devices}·{self.steps_inside}")

    @property
    def parts(self) -> int:
        """Into how many parts a block's batch is cut."""
        return self.devices * self.steps_inside

    def begin(self, parameters: Parameters, inner: optax.GradientTransformationExtraArgs) -> Any:
        """Return the inner optimizers' states, a row for each device, if they are kept."""
        return self._begun(parameters, inner) if self.keeps_inner else ()

    def _begun(self, parameters: Parameters, inner: optax.GradientTransformationExtraArgs) -> Any:
        return jax.tree.map(lambda leaf: jnp.stack([leaf] * self.devices), inner.init(parameters))

    def run(self, parameters: Parameters, state: Any, job: JobAtHand) -> tuple[Parameters, Any]:
        """Return how far the node's model went, and what its devices keep."""
        self._check_workers(job)

        def block(number: jax.Array, gradient: Gradient, at: Any) -> Any:
            model, states = at
            models, states = jax.vmap(lambda device, state: self._alone(device, state, model, gradient, job.inner))(
                jnp.arange(self.devices), states
            )
            return jax.tree.map(lambda of_each: jnp.mean(of_each, 0), models), states

        begun = state if self.keeps_inner else self._begun(parameters, job.inner)
        model, after = job.through(block, (parameters, begun))
        message = jax.tree.map(lambda read, now: read - now, parameters, model)
        return message, after if self.keeps_inner else ()

    def _alone(
        self,
        device: jax.Array,
        state: Any,
        model: Parameters,
        gradient: Gradient,
        inner: optax.GradientTransformationExtraArgs,
    ) -> tuple[Parameters, Any]:
        """Return a device's model and its inner optimizer's state after its steps of a block."""

        def step(number: Any, at: tuple[Parameters, Any]) -> tuple[Parameters, Any]:
            model, state = at
            part = device * self.steps_inside + number, self.parts
            updates, state = inner.update(gradient(model, part=part), state, model)
            return optax.apply_updates(model, updates), state

        after: tuple[Parameters, Any] = jax.lax.fori_loop(0, self.steps_inside, step, (model, state))
        return after
