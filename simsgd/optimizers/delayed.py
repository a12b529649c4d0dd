"""Nesterov momentum for a server that steps with single, stale messages: the momentum moves with every N-th message only."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from simsgd.optimizers.tunable import Tunable, tunable
from simsgd.support import checks


class DelayedNesterov(NamedTuple):
    """The momentum, the sum of the messages since it last moved, both like the parameters, and how many these are."""

    momentum: Any
    collected: Any
    since: jax.Array


def scale_by_delayed_nesterov(momentum: float, activation: float, messages: int) -> optax.GradientTransformation:
    """Return delayed Nesterov momentum without its step size: see `delayed_nesterov`, which checks the numbers.

    State: the momentum m and the sum Δ of the messages since it moved, like the parameters, and their number; all from 0.
    """

    def init(params: Any) -> DelayedNesterov:
        zeros = optax.tree.zeros_like(params)
        return DelayedNesterov(zeros, zeros, jnp.zeros((), jnp.int32))

    def update(updates: Any, state: DelayedNesterov, params: Any = None) -> tuple[Any, DelayedNesterov]:
        count = state.since + 1
        full = count == messages
        collected = jax.tree.map(jnp.add, state.collected, updates)
        moved = jax.tree.map(lambda m, d: jnp.where(full, momentum * m + d / messages, m), state.momentum, collected)
        share = jnp.where(full, 1 - activation * messages + activation, activation)
        step = jax.tree.map(lambda m, g: (share * momentum * m + g / messages).astype(jnp.result_type(g)), moved, updates)
        emptied = jax.tree.map(lambda d: jnp.where(full, 0, d), collected)
        return step, DelayedNesterov(moved, emptied, jnp.where(full, 0, count))

    return optax.GradientTransformation(init, update)


def delayed_nesterov_sgd(
    learning_rate: float, momentum: float, activation: float, messages: int
) -> optax.GradientTransformation:
    """Return the chain that `delayed_nesterov` makes tunable: the rule, and a step against it."""
    return optax.chain(scale_by_delayed_nesterov(momentum, activation, messages), optax.scale_by_learning_rate(learning_rate))


def delayed_nesterov(step_size: float, *, messages: int, momentum: float = 0.9, activation: float = 0.0) -> Tunable:
    """Return delayed Nesterov momentum: each message moves the model, but the momentum moves with every N-th only.

    Of the message g, with Δ ← Δ + g:

        every N-th:     m ← βm + Δ/N,   w ← w − ε((1 − cN + c)·βm + g/N),   Δ ← 0
        all others:                     w ← w − ε(c·βm + g/N)

    By the time that m moves again it has been used once, whatever c is: N messages move the model as one step of Nesterov
    momentum with their mean would, and with N = 1 it is Nesterov momentum. State: m and Δ, like the parameters.

    Source: Liu et al. (2024), "Asynchronous local-SGD training for language modeling", algorithm 3, which has c = 0 by default.

    Args:
        step_size: ε, above 0.
        messages: N, at least 1; in the paper as many as workers.
        momentum: β, at least 0 and below 1.
        activation: c, which share of βm is used with each message that is not an N-th, from 0 to 1/N.

    Raises:
        ValueError: if one of them is out of its range.

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.delayed_nesterov(0.7, messages=4)
        delayed_nesterov_sgd(activation=0.0, learning_rate=0.7, momentum=0.9, messages=4)
    """
    messages, activation = checks.whole("messages", messages, 1), checks.not_negative("activation", activation)
    if activation * messages > 1:
        raise ValueError(f"activation must be at most 1/messages, {1 / messages:g}, got {activation:g}")
    return tunable(
        delayed_nesterov_sgd,
        learning_rate=checks.positive("step_size", step_size),
        momentum=checks.below_one("momentum", momentum),
        activation=activation,
        messages=messages,
    )
