"""The settings of JAX that bits depend on, or under which code that is right would fail: ours, whatever the process has set."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def settings(dtype: str) -> Iterator[None]:
    """Compute with the library's own settings of JAX.

    64-bit mode follows `dtype`, random bits are partitionable, everything is compiled, and what optax and JAX do implicitly
    (promoting types and ranks, moving arrays to the device) is allowed: strict settings are for code of one's own.

    Args:
        dtype: "float32" or "float64".

    Example:
        >>> import jax.numpy as jnp
        >>> from simsgd.problems.settings import settings
        >>> with settings("float64"):
        ...     jnp.ones(3).dtype
        dtype('float64')
    """
    with (
        jax.enable_x64(dtype == "float64"),
        jax.threefry_partitionable(True),
        jax.disable_jit(False),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.transfer_guard("allow"),
    ):
        yield
