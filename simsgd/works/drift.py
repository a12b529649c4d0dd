"""Local steps whose drift is corrected: where workers' data differ, each one's steps pull towards its own optimum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from simsgd.work import JobAtHand, Parameters
from simsgd.works.local_steps import LocalSteps


@dataclass(frozen=True, repr=False)
class ControlledSteps(LocalSteps):
    """Local steps with a control variate: each gradient is corrected by c − cᵢ, the mean of all workers' and the worker's own.

    With u the inner optimizer's update: w_{k+1} = w_k + u(∇f(w_k; ξ_k) − cᵢ + c). The message is w_read − w_H, and afterwards
    cᵢ ← (1/H) Σ_k ∇f(w_k; ξ_k), which is option II of the paper: cᵢ − c + (w_read − w_H)/(Hη) for plain SGD of step size η.
    The worker keeps cᵢ, from 0. The server's c goes out with the model; `optimizers.control_variate`, as `Method.on_message`,
    keeps it.

    Messages must have staleness 0, as in synchronous rounds: the server takes the c that was sent to be that of its current
    version, so from a stale message it would infer another change of cᵢ.

    On the wire it takes twice the bytes both ways, for model and c, and for message and change of cᵢ; the change follows from
    the message, so it is not sent twice here.

    Args:
        steps, of_workers, seconds, keeps_inner: as of `LocalSteps`.

    Raises:
        ValueError: when a replay begins, if `on_message` keeps no c; at the first message that is used and is stale.

    Source: Karimireddy et al. (2020), "SCAFFOLD: stochastic controlled averaging for federated learning", algorithm 1.

    Example:
        >>> import simsgd as sg
        >>> sg.works.ControlledSteps(steps=8).bytes_up(1000.0)
        2000.0
    """

    needs_fresh: ClassVar[bool] = True

    def bytes_down(self, message_bytes: float) -> float:
        """Return the bytes of the model and of c."""
        return 2 * message_bytes

    def bytes_up(self, message_bytes: float) -> float:
        """Return the bytes of the message and of the change of cᵢ."""
        return 2 * message_bytes

    def begin(self, parameters: Parameters, inner: optax.GradientTransformationExtraArgs) -> Any:
        """Return cᵢ = 0, and the inner optimizer's state, if it is kept."""
        return optax.tree.zeros_like(parameters), super().begin(parameters, inner)

    def shows(self, message_state: Any) -> Any:
        """Return c."""
        control, gained = (optax.tree.get(message_state, name) for name in ("control", "gained"))
        if control is None or gained is None:
            raise ValueError(
                f"work={self!r} needs on_message=optimizers.control_variate(step_size), with the inner optimizer's step size, "
                "which keeps the server's c: give both"
            )
        return jax.tree.map(lambda c, more: c + more, control, gained)

    def run(self, parameters: Parameters, state: Any, job: JobAtHand) -> tuple[Parameters, Any]:
        """Return how far the local steps went, and the worker's new cᵢ."""
        own, of_inner = state
        between = jax.tree.map(lambda c, c_i: c - c_i, job.shown, own)

        def correct(gradient: Parameters, total: Parameters) -> tuple[Parameters, Parameters]:
            return jax.tree.map(jnp.add, gradient, between), jax.tree.map(jnp.add, total, gradient)

        model, of_inner, total = self.walk(parameters, of_inner, job, correct, optax.tree.zeros_like(parameters))
        message = jax.tree.map(lambda read, now: read - now, parameters, model)
        return message, (jax.tree.map(lambda g: g / job.steps.astype(g.dtype), total), of_inner)
