"""Transformations that scale a message by how stale it is.

They stand in `Method.on_message`, where each message meets its own staleness. Those that ask for nothing but the staleness may
stand in the optimizer too, where they meet the mean over the step's messages.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from simsgd.support import checks


def _scaled(updates: Any, scale: jax.Array) -> Any:
    return jax.tree.map(lambda u: u * scale.astype(jnp.result_type(u)), updates)


def scale_by_staleness(power: float = 1.0) -> optax.GradientTransformationExtraArgs:
    """Divide each update by max(1, staleness)^power, an optax transformation to chain with others.

    In `Method.on_message` each message is divided by its own staleness; in the optimizer a step of several gradients is divided
    by their mean staleness. No state.

    Source: Zhang et al. (2015), "Staleness-aware async-SGD for distributed deep learning" (power 1, single gradients).

    Args:
        power: how strongly stale gradients are damped, at least 0.

    Raises:
        ValueError: if `power` is negative or not finite.

    Example:
        >>> import optax, simsgd as sg
        >>> optimizer = optax.chain(sg.optimizers.scale_by_staleness(), optax.sgd(0.1))
    """
    power = checks.not_negative("power", power)

    def update(updates: Any, state: Any, params: Any = None, *, staleness: jax.Array, **others: Any) -> tuple[Any, Any]:
        return _scaled(updates, jnp.maximum(1.0, staleness) ** -power), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def scale_by_polynomial_staleness(power: float = 0.5) -> optax.GradientTransformationExtraArgs:
    """Multiply each message by (1 + staleness)^−power. No state.

    Source: Xie, Koyejo and Gupta (2019), "Asynchronous federated optimization" (FedAsync, its polynomial function); Nguyen et
    al. (2022), "Federated learning with buffered asynchronous aggregation" (FedBuff), both with power ½.

    Args:
        power: a, how strongly stale messages are damped, at least 0.

    Raises:
        ValueError: if `power` is negative or not finite.

    Example:
        >>> import simsgd as sg
        >>> rule = sg.optimizers.scale_by_polynomial_staleness()
        >>> float(rule.update(8.0, rule.init(0.0), staleness=3.0)[0])  # 8 · (1 + 3)^−½
        4.0
    """
    power = checks.not_negative("power", power)

    def update(updates: Any, state: Any, params: Any = None, *, staleness: Any, **others: Any) -> tuple[Any, Any]:
        return _scaled(updates, (1.0 + jnp.asarray(staleness)) ** -power), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def scale_by_hinge_staleness(slope: float = 10.0, threshold: float = 4.0) -> optax.GradientTransformationExtraArgs:
    """Multiply each message by 1 up to a staleness b, and by 1/(1 + a·(staleness − b)) beyond it. No state.

    Source: Xie, Koyejo and Gupta (2019), "Asynchronous federated optimization" (FedAsync, its hinge function; that it divides
    by 1 + a(τ − b), and the defaults a = 10 and b = 4, as others report them).

    Args:
        slope: a, how strongly messages beyond the threshold are damped, at least 0.
        threshold: b, the staleness in versions up to which nothing is damped, at least 0.

    Raises:
        ValueError: if one of them is negative or not finite.

    Example:
        >>> import simsgd as sg
        >>> rule = sg.optimizers.scale_by_hinge_staleness(slope=0.5, threshold=4.0)
        >>> [float(rule.update(8.0, (), staleness=tau)[0]) for tau in (0.0, 4.0, 6.0)]  # 8/(1 + ½·2) = 4
        [8.0, 8.0, 4.0]
    """
    slope, threshold = checks.not_negative("slope", slope), checks.not_negative("threshold", threshold)

    def update(updates: Any, state: Any, params: Any = None, *, staleness: Any, **others: Any) -> tuple[Any, Any]:
        return _scaled(updates, 1.0 / (1.0 + slope * jnp.maximum(0.0, jnp.asarray(staleness) - threshold))), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def scale_by_delay() -> optax.GradientTransformationExtraArgs:
    """Multiply each message by n/max(n, staleness) for n workers: what is older than n versions counts less. No state.

    Source: Mishchenko, Bach, Even and Woodworth (2022), "Asynchronous SGD beats minibatch SGD under arbitrary delays"
    (delay-adaptive step sizes).

    Example:
        >>> import simsgd as sg
        >>> rule = sg.optimizers.scale_by_delay()
        >>> [float(rule.update(6.0, (), staleness=tau, workers=4)[0]) for tau in (0.0, 4.0, 12.0)]  # 6 · 4/12 = 2
        [6.0, 6.0, 2.0]
    """

    def update(updates: Any, state: Any, params: Any = None, *, staleness: Any, workers: int, **others: Any) -> tuple[Any, Any]:
        return _scaled(updates, workers / jnp.maximum(float(workers), staleness)), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def scale_by_adadelay() -> optax.GradientTransformationExtraArgs:
    """Multiply each message by 1/√(t + staleness), t the number of the step that is being made, from 1. No state.

    A step size that falls with the steps made and with each message's staleness.

    Source: Sra, Yu, Li and Smola (2016), "AdaDelay: delay adaptive distributed stochastic optimization" (from memory; their
    1/(L + c√(t + τ)) with L = 0, and c in the step size).

    Example:
        >>> import simsgd as sg
        >>> rule = sg.optimizers.scale_by_adadelay()
        >>> float(rule.update(6.0, (), staleness=5.0, version=3)[0])  # step 4: 6/√(4 + 5)
        2.0
    """

    def update(updates: Any, state: Any, params: Any = None, *, staleness: Any, version: Any, **others: Any) -> tuple[Any, Any]:
        staleness = jnp.asarray(staleness)
        return _scaled(updates, 1.0 / jnp.sqrt(1 + jnp.asarray(version).astype(staleness.dtype) + staleness)), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)
