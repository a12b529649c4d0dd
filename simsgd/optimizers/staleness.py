"""Transformations that know how stale a step's gradients are."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from simsgd.support import checks


class _NoState(NamedTuple):
    """The state of a transformation that remembers nothing."""


def scale_by_staleness(power: float = 1.0) -> optax.GradientTransformationExtraArgs:
    """Divide each update by max(1, staleness)^power, an optax transformation to chain with others.

    A step of several gradients is divided by their mean staleness; a protocol that wants each divided by its own gives
    them weights.

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
        scale = jnp.maximum(1.0, staleness) ** -power
        return jax.tree.map(lambda u: u * scale.astype(u.dtype), updates), state

    return optax.GradientTransformationExtraArgs(lambda params: _NoState(), update)
