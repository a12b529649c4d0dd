"""A local model at each worker, tied to the server's model, the centre, by an elastic force."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from simsgd.support import checks
from simsgd.work import JobAtHand, Parameters, Work


class Local(NamedTuple):
    """What a worker remembers: model, velocity if there is momentum, the inner optimizer's state, whether it has begun."""

    model: Parameters
    velocity: Parameters
    inner: Any
    begun: jax.Array


@dataclass(frozen=True)
class Elastic(Work):
    """H steps of a worker's own model, first pulled towards the centre that was read; the message is that pull.

    With xⁱ the local model, x̃ the centre that was read, u the inner optimizer's update, and all on the right as it was before:

        message = −α(xⁱ − x̃),   xⁱ ← xⁱ + u(∇f(xⁱ; ξ₀)) − α(xⁱ − x̃),   then H − 1 times   xⁱ ← xⁱ + u(∇f(xⁱ; ξ_k)).

    A server that subtracts the sum of the messages, step size 1, moves the centre by α Σ (xⁱ − x̃). With momentum δ each step
    has a velocity of the worker's, v ← δv + u(∇f(xⁱ + δv)), xⁱ ← xⁱ + v. A worker begins at the first version that it is
    handed. State: the local model and, with momentum, v, both like the parameters; the inner optimizer's state.

    Source: Zhang, Choromanska and LeCun (2015), "Deep learning with elastic averaging SGD", equations 5 and 6, algorithms 1 and
    2.

    Args:
        steps: H, local steps from exchange to exchange, at least 1; the paper's communication period τ.
        pull: α, how strongly local models and centre are tied, at least 0; at 0 workers learn each for itself.
        momentum: δ, at least 0 and below 1.

    Raises:
        ValueError: if one of them is out of its range.

    Example:
        >>> import simsgd as sg
        >>> sg.works.Elastic(steps=8, pull=0.1)
        Elastic(steps=8, pull=0.1, momentum=0.0)
    """

    needs_inner: ClassVar[bool] = True
    pull: float = 0.1
    momentum: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.store(
            self,
            pull=checks.not_negative("Elastic.pull", self.pull),
            momentum=checks.below_one("Elastic.momentum", self.momentum),
        )

    def begin(self, parameters: Parameters, inner: optax.GradientTransformationExtraArgs) -> Local:
        """Return the state of a worker that has yet to begin."""
        velocity = optax.tree.zeros_like(parameters) if self.momentum else ()
        return Local(parameters, velocity, inner.init(parameters), jnp.zeros((), bool))

    def run(self, parameters: Parameters, state: Local, job: JobAtHand) -> tuple[Parameters, Local]:
        """Return the pull on the worker's model, and that model after its steps."""
        model = jax.tree.map(lambda own, read: jnp.where(state.begun, own, read), state.model, parameters)
        pull = jax.tree.map(lambda own, read: self.pull * (own - read), model, parameters)

        def step(number: jax.Array, gradient: Callable[[Parameters], Parameters], at: Local) -> Local:
            after = self._step(gradient, at, job.inner)
            pulled = jax.tree.map(lambda x, d: x - jnp.where(number == 0, d, 0), after.model, pull)
            return after._replace(model=pulled)

        after: Local = job.through(step, state._replace(model=model, begun=jnp.ones((), bool)))
        return jax.tree.map(jnp.negative, pull), after

    def _step(
        self, gradient: Callable[[Parameters], Parameters], at: Local, inner: optax.GradientTransformationExtraArgs
    ) -> Local:
        """Return what is remembered after one local step, but for the pull."""
        carried = jax.tree.map(lambda v: self.momentum * v, at.velocity)
        ahead = jax.tree.map(jnp.add, at.model, carried) if self.momentum else at.model
        updates, state = inner.update(gradient(ahead), at.inner, ahead)
        velocity = jax.tree.map(jnp.add, carried, updates) if self.momentum else ()
        moved = velocity if self.momentum else updates
        return at._replace(model=jax.tree.map(jnp.add, at.model, moved), velocity=velocity, inner=state)
