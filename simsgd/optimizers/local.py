"""Transformations for methods of local steps: the proximal term, mixing of models, and the server's half of SCAFFOLD."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from simsgd.support import checks


class Anchor(NamedTuple):
    """The model that local steps began at, like the parameters."""

    anchor: Any


class Control(NamedTuple):
    """The server's control variate; all but the number like the parameters.

    Attributes:
        control: c, as it was when the current version was made.
        gained: what the messages since then add to it.
        version: the number of the version that the last message came to, −1 before the first.
    """

    control: Any
    gained: Any
    version: jax.Array


def proximal(strength: float) -> optax.GradientTransformationExtraArgs:
    """Add the gradient of the proximal term ½μ‖w − w_read‖² to each local gradient: g + μ·(w − w_read).

    For `Method.inner`, chained before an optimizer. State: the model where it was begun, so w_read for a worker that begins the
    inner optimizer anew with each job, as `works.LocalSteps` does unless told to keep it.

    Source: Li et al. (2020), "Federated optimization in heterogeneous networks", algorithm 2 (FedProx).

    Args:
        strength: μ, at least 0.

    Raises:
        ValueError: if `strength` is negative or not finite.

    Example:
        >>> import optax, simsgd as sg
        >>> rule = sg.optimizers.proximal(strength=0.5)
        >>> float(rule.update(2.0, rule.init(4.0), 10.0)[0])  # 2 + ½ · (10 − 4)
        5.0
        >>> inner = optax.chain(sg.optimizers.proximal(0.1), optax.sgd(0.05))
    """
    strength = checks.not_negative("strength", strength)

    def update(updates: Any, state: Anchor, params: Any = None, **others: Any) -> tuple[Any, Anchor]:
        return jax.tree.map(lambda g, w, read: g + strength * (w - read), updates, params, state.anchor), state

    return optax.GradientTransformationExtraArgs(Anchor, update)


def towards_model() -> optax.GradientTransformationExtraArgs:
    """Turn how far a local model went from what was read into how far it is from the current model: m + (w − w_read). No state.

    With m = w_read − wᵢ that is w − wᵢ, so the step w ← w − α·(w − wᵢ) = (1 − α)·w + α·wᵢ mixes the models.

    Source: Xie, Koyejo and Gupta (2019), "Asynchronous federated optimization", algorithm 1 (FedAsync).

    Example:
        >>> import simsgd as sg
        >>> rule = sg.optimizers.towards_model()
        >>> float(rule.update(2.0, (), 5.0, parameters_read=4.0)[0])  # the local model is 4 − 2 = 2, and 5 − 2 = 3
        3.0
    """

    def update(updates: Any, state: Any, params: Any = None, *, parameters_read: Any, **others: Any) -> tuple[Any, Any]:
        return jax.tree.map(lambda m, w, read: m + (w - read), updates, params, parameters_read), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def control_variate(step_size: float) -> optax.GradientTransformationExtraArgs:
    """Keep the server's control variate c, and leave messages as they are: c ← c + (1/n) Σᵢ Δcᵢ over the step's messages.

    Of n workers. The change follows from the message m = w_read − wᵢ of H local steps of plain SGD with step size η:
    Δcᵢ = m/(Hη) − c, with the c that the worker was sent. That is the current version's, for protocols whose messages all have
    staleness 0; elsewhere c would drift away from the mean of the cᵢ, and a replay refuses it. For `Method.on_message`, with
    `works.ControlledSteps`.

    Source: Karimireddy et al. (2020), "SCAFFOLD: stochastic controlled averaging for federated learning", algorithm 1, with
    option II.

    Args:
        step_size: η, that of the inner optimizer, above 0.

    Raises:
        ValueError: if it is not.

    Example:
        >>> import simsgd as sg
        >>> rule = sg.optimizers.control_variate(step_size=0.5)
        >>> _, state = rule.update(4.0, rule.init(0.0), worker=0, workers=2, steps=4, version=0)
        >>> float(state.gained)  # the mean of the gradients is 4/(4 · ½) = 2, that of one of two workers
        1.0
    """
    step_size = checks.positive("step_size", step_size)

    def init(params: Any) -> Control:
        return Control(optax.tree.zeros_like(params), optax.tree.zeros_like(params), jnp.asarray(-1, jnp.int32))

    def update(
        updates: Any, state: Control, params: Any = None, *, workers: int, steps: Any, version: Any, **others: Any
    ) -> tuple[Any, Control]:
        new = jnp.asarray(version != state.version)
        control = jax.tree.map(lambda c, more: jnp.where(new, c + more, c), state.control, state.gained)

        def gain(more: Any, message: Any, c: Any) -> Any:
            walked = step_size * jnp.asarray(steps).astype(jnp.result_type(message))
            return jnp.where(new, 0, more) + (message / walked - c) / workers

        gained = jax.tree.map(gain, state.gained, updates, control)
        return updates, Control(control, gained, jnp.asarray(version, jnp.int32))

    return optax.GradientTransformationExtraArgs(init, update)
