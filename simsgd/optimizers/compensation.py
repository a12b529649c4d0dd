"""Transformations that answer how far the model has moved since a message's gradient was computed.

They stand in `Method.on_message`, which offers the current model as `params` and the one that was read as `parameters_read`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from simsgd.support import checks


class MeanSquare(NamedTuple):
    """The moving mean of squared messages; shapes and types are those of the parameters."""

    mean_square: Any


class WeightedMeanSquare(NamedTuple):
    """The moving mean of squared messages, and the sum of its weights, a single number, by which it is divided."""

    mean_square: Any
    weight: jax.Array


def compensate_delay(strength: float = 0.04) -> optax.GradientTransformationExtraArgs:
    """Turn a gradient g of the model that was read towards one of the current model w: g + λ·g⊙g⊙(w − w_read). No state.

    The first terms of a Taylor series, with λ·g⊙g in place of the Hessian.

    Source: Zheng et al. (2017), "Asynchronous stochastic gradient descent with delay compensation", algorithm 2 (DC-ASGD with
    constant λ; the default is that of MXNet's `DCASGD`).

    Args:
        strength: λ, at least 0.

    Raises:
        ValueError: if `strength` is negative or not finite.

    Example:
        >>> import simsgd as sg
        >>> rule = sg.optimizers.compensate_delay(strength=0.5)
        >>> float(rule.update(2.0, (), 5.0, parameters_read=4.0)[0])  # 2 + ½ · 2² · (5 − 4)
        4.0
    """
    strength = checks.not_negative("strength", strength)

    def update(updates: Any, state: Any, params: Any = None, *, parameters_read: Any, **others: Any) -> tuple[Any, Any]:
        return jax.tree.map(lambda g, w, read: g + strength * g * g * (w - read), updates, params, parameters_read), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def compensate_delay_adaptively(strength: float = 2.0, decay: float = 0.95) -> optax.GradientTransformationExtraArgs:
    """Compensate delay as `compensate_delay` does, with λ = λ₀/√(MS + 10⁻⁷) elementwise, MS ← m·MS + (1 − m)·g⊙g.

    g + λ·g⊙g⊙(w − w_read); the current message counts in MS. State: MS, like the parameters, from 0.

    Source: Zheng et al. (2017), "Asynchronous stochastic gradient descent with delay compensation" (DC-ASGD-a).

    Args:
        strength: λ₀, at least 0.
        decay: m, at least 0 and below 1.

    Raises:
        ValueError: if one of them is out of its range.

    Example:
        >>> import simsgd as sg
        >>> rule = sg.optimizers.compensate_delay_adaptively(strength=2.0, decay=0.75)
        >>> update, state = rule.update(4.0, rule.init(0.0), 1.5, parameters_read=1.0)  # MS = ¼ · 16 = 4, λ = 2/√4
        >>> round(float(update), 5)  # 4 + 1 · 16 · ½
        12.0
    """
    strength, decay = checks.not_negative("strength", strength), checks.below_one("decay", decay)

    def update(updates: Any, state: Any, params: Any = None, *, parameters_read: Any, **others: Any) -> tuple[Any, Any]:
        square = jax.tree.map(lambda mean, g: decay * mean + (1 - decay) * g * g, state.mean_square, updates)
        moved = jax.tree.map(lambda w, read: w - read, params, parameters_read)
        updates = jax.tree.map(lambda g, mean, gap: g + strength / jnp.sqrt(mean + 1e-7) * g * g * gap, updates, square, moved)
        return updates, MeanSquare(square)

    return optax.GradientTransformationExtraArgs(lambda params: MeanSquare(optax.tree.zeros_like(params)), update)


def scale_by_gap(step_size: float, decay: float = 0.999) -> optax.GradientTransformationExtraArgs:
    """Divide a message elementwise by 1 + |w − w_read|/(average step): by how many usual steps the model has moved.

    The average step of an element is η·(√MS + 10⁻⁸), MS the moving mean of g⊙g, the current message included, divided by the
    sum of its weights. On a straight way of equal steps that is division by 1 + staleness. State: MS, like the parameters,
    and the sum of weights, one number.

    Source: Barkai, Hakimi and Schuster (2020), "Gap-aware mitigation of gradient staleness" (from memory, the average step
    above all).

    Args:
        step_size: η, that of the optimizer (the largest, where it has a schedule), above 0.
        decay: of the moving mean, at least 0 and below 1.

    Raises:
        ValueError: if one of them is out of its range.

    Example:
        >>> import simsgd as sg
        >>> rule = sg.optimizers.scale_by_gap(step_size=0.5)
        >>> update, state = rule.update(4.0, rule.init(0.0), 7.0, parameters_read=1.0)  # average step ½ · 4, gap 6
        >>> round(float(update), 5)  # 4/(1 + 6/2)
        1.0
    """
    step_size, decay = checks.positive("step_size", step_size), checks.below_one("decay", decay)

    def init(params: Any) -> WeightedMeanSquare:
        return WeightedMeanSquare(optax.tree.zeros_like(params), jnp.zeros((), jnp.result_type(*jax.tree.leaves(params))))

    def update(updates: Any, state: Any, params: Any = None, *, parameters_read: Any, **others: Any) -> tuple[Any, Any]:
        weight = decay * state.weight + (1 - decay)
        square = jax.tree.map(lambda mean, g: decay * mean + (1 - decay) * g * g, state.mean_square, updates)

        def divided(g: Any, mean: Any, w: Any, read: Any) -> Any:
            average = step_size * (jnp.sqrt(mean / weight.astype(mean.dtype)) + 1e-8)
            return g / (1 + jnp.abs(w - read) / average)

        return jax.tree.map(divided, updates, square, params, parameters_read), WeightedMeanSquare(square, weight)

    return optax.GradientTransformationExtraArgs(init, update)


def skip_distant(distance: float) -> optax.GradientTransformationExtraArgs:
    """Let a message through if ‖w − w_read‖₂ is at most `distance`, and put zeros in its place otherwise. No state.

    A skipped message still makes a step of the protocol, which leaves the model where it is; so the version counts messages, as
    the paper's iterations do.

    Source: Cohen, Daniely, Drori, Koren and Schain (2021), "Asynchronous stochastic optimization robust to arbitrary delays"
    (Picky SGD; there the distance is ε/(2β) for the accuracy ε and the smoothness β, from memory).

    Args:
        distance: above 0, in the units of the parameters.

    Raises:
        ValueError: if `distance` is not above 0 or not finite.

    Example:
        >>> import simsgd as sg
        >>> rule = sg.optimizers.skip_distant(distance=1.0)
        >>> [float(rule.update(2.0, (), 5.0, parameters_read=read)[0]) for read in (4.0, 3.0)]
        [2.0, 0.0]
    """
    distance = checks.positive("distance", distance)

    def update(updates: Any, state: Any, params: Any = None, *, parameters_read: Any, **others: Any) -> tuple[Any, Any]:
        near = optax.tree.norm(jax.tree.map(lambda w, read: w - read, params, parameters_read)) <= distance
        return jax.tree.map(lambda u: jnp.where(near, u, jnp.zeros_like(u)), updates), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)
