"""A self-test of the installed jaxlib: wrong sums must fail loudly, before they become anybody's result.

jaxlib 0.10.2, the newest that Python 3.11 can have, returned wrong sums on the CPU in 401 of 500 calls of the expression
below; 0.12.0.1 was right in 500 of 500.
"""

from __future__ import annotations

import functools
import importlib.metadata

import jax
import jax.numpy as jnp

OLDEST_JAX = (0, 12)
CALLS = 20


class BrokenInstallationError(RuntimeError):
    """The installed jax cannot be trusted; the message says what to install."""


@functools.cache
def run_once() -> None:
    """Check the installation, once in a process.

    Raises:
        BrokenInstallationError: if jax is older than 0.12, or if a sum of ones is wrong.

    Example:
        >>> from simsgd.replaying import selftest
        >>> selftest.run_once()
    """
    if jax.__version_info__[:2] < OLDEST_JAX:
        raise BrokenInstallationError(
            f"jax {jax.__version__} is too old, at least {'.'.join(map(str, OLDEST_JAX))} is needed: older jaxlibs "
            "return wrong sums on the CPU. Install a newer one (it needs Python 3.12)"
        )
    check_sums(lambda ones: jnp.sum(jnp.broadcast_to(ones, (2, 1024, 1024))))


def check_sums(total: object) -> None:
    """Raise BrokenInstallationError unless `total`, a function that JAX compiles, sums 2·1024·1024 ones right every time."""
    ones = jnp.ones((1024, 1), jnp.float32)
    compiled = jax.jit(total)  # type: ignore[call-overload]
    sums = {float(compiled(ones)) for _ in range(CALLS)}
    jaxlib = importlib.metadata.version("jaxlib")
    if sums != {2.0 * 1024 * 1024}:
        raise BrokenInstallationError(
            f"jaxlib {jaxlib} returns wrong sums on {jax.devices()[0].device_kind}: 2097152 ones gave "
            f"{sorted(sums)}. No result computed with it can be trusted: install another version (constraints.txt names "
            "one that works)"
        )
