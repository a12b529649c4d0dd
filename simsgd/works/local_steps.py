"""Local steps: a worker goes on from the model on its own for a while, and sends how far it has come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import optax

from simsgd.work import JobAtHand, Parameters, Work


@dataclass(frozen=True)
class LocalSteps(Work):
    """H local steps with the method's inner optimizer; the message is what was read minus what came out.

    With u the inner optimizer's update: w₀ = w_read, w_{k+1} = w_k + u(∇f(w_k; ξ_k)), and the message is w_read − w_H. A
    step of the server with step size 1 goes to the mean of the local models.

    Args:
        steps: H, at least 1; a protocol may choose another number for a job.
        keeps_inner: whether a worker keeps the inner optimizer's state from job to job, or begins anew each time.

    Example:
        >>> import simsgd as sg
        >>> sg.works.LocalSteps(steps=8)
        LocalSteps(steps=8, keeps_inner=False)
    """

    keeps_inner: bool = False

    def begin(self, parameters: Parameters, inner: optax.GradientTransformationExtraArgs) -> Any:
        """Return the inner optimizer's state, if it is kept."""
        return inner.init(parameters) if self.keeps_inner else ()

    def run(self, parameters: Parameters, state: Any, job: JobAtHand) -> tuple[Parameters, Any]:
        """Return how far the local steps went, and what is kept."""

        def step(number: jax.Array, at: tuple[Parameters, Any]) -> tuple[Parameters, Any]:
            model, state = at
            updates, state = job.inner.update(job.gradient(model, number), state, model)
            return optax.apply_updates(model, updates), state

        begun = state if self.keeps_inner else job.inner.init(parameters)
        model, after = jax.lax.fori_loop(0, job.steps, step, (parameters, begun))
        return jax.tree.map(lambda read, now: read - now, parameters, model), after if self.keeps_inner else ()
