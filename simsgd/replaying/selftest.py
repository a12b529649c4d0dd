"""A self-test of the installed jaxlib: what computes wrongly must fail loudly, before it becomes anybody's result.

jaxlib 0.10.2, the newest that Python 3.11 can have, returned wrong sums on the CPU in 401 of 500 calls of the first expression
below; 0.12.0.1 was right in 500 of 500. So what the player is made of is tried before it is used, each kind of operation in one
small expression and all of them in one program, which is quick to compile.

Law of this module: every number is a whole one, small enough to be exact in bfloat16, and so is each partial sum in float32. So
all right implementations agree to the bit, whatever their order of summation, and there is no tolerance.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from simsgd.problems import settings
from simsgd.support.environment import UnfitProcessError

OLDEST_JAX = (0, 12)
CALLS = 8
"""How often all is computed: a sum that is wrong in 4 of 5 calls passes one time in 390,000."""
ROWS = 5
"""How many rows the loop moves."""

type Inputs = dict[str, Any]
type Operations = dict[str, tuple[Callable[[Inputs], Any], Callable[[Inputs], Any]]]


class BrokenInstallationError(UnfitProcessError):
    """The installed jax cannot be trusted; the message says what to install."""


@functools.cache
def run_once() -> None:
    """Check the installation, once in a process.

    Raises:
        BrokenInstallationError: if jax is older than 0.12, or if something that the player is made of is computed wrongly.

    Example:
        >>> from simsgd.replaying import selftest
        >>> selftest.run_once()
    """
    if jax.__version_info__[:2] < OLDEST_JAX:
        raise BrokenInstallationError(
            f"jax {jax.__version__} is too old, at least {'.'.join(map(str, OLDEST_JAX))} is needed: older jaxlibs "
            "return wrong sums on the CPU. Install a newer one (it needs Python 3.12)"
        )
    with settings("float32"):
        check(ARITHMETIC)
        check(MOVES, {"xla_backend_optimization_level": 0})  # which halves the time to compile


def check(operations: Operations, options: dict[str, Any] | None = None) -> None:
    """Raise BrokenInstallationError unless what JAX compiles is right in all operations, every time.

    Args:
        operations: by what the error calls it: what JAX computes, and the same by NumPy or by hand.
        options: of the compiler.
    """
    inputs = _inputs()
    compute = {name: function for name, (function, _) in operations.items()}
    program = jax.jit(lambda inputs: {name: function(inputs) for name, function in compute.items()}, compiler_options=options)
    results = [program(inputs) for _ in range(CALLS)]
    for name, (_, expected) in operations.items():
        right = np.asarray(expected(inputs))
        for got in (np.array(result[name]) for result in results):
            if not np.array_equal(got, right):
                raise BrokenInstallationError(_refusal(name, got, right))


def _refusal(name: str, got: np.ndarray, right: np.ndarray) -> str:
    jaxlib = importlib.metadata.version("jaxlib")
    there = f"got {got.shape} of {got.dtype}, right is {right.shape}"
    if got.shape == right.shape:
        place = tuple(map(int, np.argwhere(got != right)[0]))
        there = f"{np.count_nonzero(got != right)} of {got.size}: got {got[place]}, right is {right[place]}"
    return (
        f"jaxlib {jaxlib} returns wrong {name} on {jax.devices()[0].device_kind} ({there}). No result computed with it can be "
        "trusted: install another version (constraints.txt names one that works)"
    )


def _inputs() -> Inputs:
    """Return what is computed with; all of it is passed to the program, as the compiler would compute with constants itself."""
    return {
        "ones": np.ones((1024, 1), np.float32),
        "samples": _whole(128, 64),
        "weights": _whole(64, 32),
        "vector": _whole(64),
        "large": _whole(128, 256),
        "stack": _whole(8, 32, 64),
        "picks": (np.arange(32) * 43 % 128).astype(np.int32),
        "rows": np.int32(ROWS),
    }


def _whole(*shape: int) -> np.ndarray:
    """Return whole numbers from −8 to 8 in an irregular order."""
    numbers: np.ndarray = (np.arange(np.prod(shape)) ** 2 * 11 % 17 - 8).astype(np.float32).reshape(shape)
    return numbers


def _moved(inputs: Inputs) -> jax.Array:
    """Return the samples, of which some rows were added to, or put in the place of, others."""

    def body(i: jax.Array, rows: jax.Array) -> jax.Array:
        row = inputs["samples"][inputs["picks"][i]]
        return rows.at[i].set(jax.lax.cond(i % 2 == 0, lambda: row, lambda: rows[i] + row))

    moved: jax.Array = jax.lax.fori_loop(0, inputs["rows"], body, inputs["samples"])
    return moved


def _moved_one_by_one(inputs: Inputs) -> np.ndarray:
    rows: np.ndarray = inputs["samples"].copy()
    for i, pick in enumerate(inputs["picks"][:ROWS]):
        rows[i] = inputs["samples"][pick] + (0 if i % 2 == 0 else rows[i])
    return rows


ARITHMETIC: Operations = {
    "sums": (lambda a: jnp.sum(jnp.broadcast_to(a["ones"], (2, 1024, 1024))), lambda a: np.float32(2 * 1024 * 1024)),
    "matrix products": (lambda a: a["samples"] @ a["weights"], lambda a: np.einsum("ij,jk->ik", a["samples"], a["weights"])),
    "large matrix products": (
        lambda a: jnp.matmul(a["large"], a["large"].T),
        lambda a: np.einsum("ij,kj->ik", a["large"], a["large"]),
    ),
    "transposed matrix products": (
        lambda a: jnp.dot(a["samples"].T, a["samples"]),
        lambda a: np.einsum("ij,ik->jk", a["samples"], a["samples"]),
    ),
    "matrix-vector products": (
        lambda a: jnp.dot(a["samples"], a["vector"]),
        lambda a: np.einsum("ij,j->i", a["samples"], a["vector"]),
    ),
    "products side by side": (
        lambda a: jax.vmap(jnp.dot, in_axes=(0, None))(a["stack"], a["weights"]),
        lambda a: np.einsum("lij,jk->lik", a["stack"], a["weights"]),
    ),
}
MOVES: Operations = {
    "gathered rows": (lambda a: a["samples"][a["picks"]], lambda a: a["samples"][a["picks"]]),
    "rows moved in a loop": (_moved, _moved_one_by_one),
}
