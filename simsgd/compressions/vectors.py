"""A message as one vector, and as a message again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from simsgd.work import Parameters


def floating(name: str, message: Parameters) -> None:
    """Raise TypeError unless all arrays of a message hold floating-point numbers."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(message):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise TypeError(
                f"{name} compresses floating-point numbers, got an array of {jnp.result_type(leaf)} at "
                f"message{jax.tree_util.keystr(path)}: cast it before it is sent"
            )


def vector(name: str, message: Parameters) -> tuple[jax.Array, Callable[[jax.Array], Any]]:
    """Return all numbers of a message as one vector, and what makes such a vector a message again.

    Args:
        name: of the compression, for errors.
        message: a pytree of floating-point arrays.

    Raises:
        TypeError: if an array holds other numbers.
    """
    floating(name, message)
    numbers, whole = ravel_pytree(message)
    return kept(numbers), whole


def kept(array: jax.Array) -> Any:
    """Return the same numbers, computed once and as they are said to be, whatever the compiler would rather do.

    It would gather a message's arrays anew in each place that reads the vector, and leave out that numbers are rounded twice.
    """
    return jax.lax.optimization_barrier(array)  # type: ignore[no-untyped-call]


def unless_broken(sent: jax.Array, message: jax.Array) -> jax.Array:
    """Return `sent`; NaN in all places if a number of the message, or of what stands for it, is not finite.

    A message that is NaN or infinite at a place that is not sent, or whose sign alone is sent, would else pass for a sound one,
    and a run that has diverged would go on.
    """
    return jnp.where(jnp.all(jnp.isfinite(message)), sent, jnp.nan)
