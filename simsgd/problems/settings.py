"""The settings of JAX that bits depend on, or under which code that is right would fail: ours, whatever the process has set."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax

STRICT: tuple[tuple[str, Any, Callable[[Any], Any]], ...] = (
    ("jax_disable_jit", False, jax.disable_jit),
    ("jax_numpy_dtype_promotion", "standard", jax.numpy_dtype_promotion),
    ("jax_numpy_rank_promotion", "allow", jax.numpy_rank_promotion),
    ("jax_transfer_guard", "allow", jax.transfer_guard),
    ("jax_transfer_guard_host_to_device", "allow", jax.transfer_guard_host_to_device),
    ("jax_transfer_guard_device_to_device", "allow", jax.transfer_guard_device_to_device),
    ("jax_transfer_guard_device_to_host", "allow", jax.transfer_guard_device_to_host),
)
"""Name, usual value, and what sets it for a while: only where it is another, as setting all of them takes 30 microseconds."""


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
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.enable_x64(dtype == "float64"))
        stack.enter_context(jax.threefry_partitionable(True))
        stack.enter_context(lenient())
        yield


@contextlib.contextmanager
def lenient() -> Iterator[None]:
    """Compute, and read what was computed, without the strict settings that the process may have set."""
    with contextlib.ExitStack() as stack:
        for name, usual, allow in STRICT:
            if getattr(jax.config, name, None) not in (None, usual):
                stack.enter_context(allow(usual))
        yield
