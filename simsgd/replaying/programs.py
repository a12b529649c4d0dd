"""Compiled programs, of which only so many are kept: what belongs to problems and optimizers that are gone goes too.

`jax.jit` keeps an executable for every loss, recipe and shape that it has met, and with it the loss and all that it closed
over, for as long as the process lives. A process that tries a thousand problems would keep a thousand.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any

import jax

KEPT = 64
"""How many executables are kept: a new one takes the place of the one whose last use is the longest ago."""


def compiled(*static: str, donated: str | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator like `jax.jit`, whose executables are kept as long as they are among the last `KEPT` in use.

    Args:
        static: the keyword arguments to compile for, hashable; all others are pytrees of arrays.
        donated: the argument whose memory the result may take.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arrays: Any, **settings: Any) -> Any:
            leaves, tree = jax.tree.flatten(arrays)
            shapes = tuple(map(_shape, leaves))
            return _program(function, donated, tuple(settings[name] for name in static), static, tree, shapes)(*arrays)

        return call

    return decorate


@functools.lru_cache(maxsize=KEPT)
def _program(
    function: Callable[..., Any],
    donated: str | None,
    values: tuple[Hashable, ...],
    names: tuple[str, ...],
    tree: Any,
    shapes: tuple[Hashable, ...],
) -> Callable[..., Any]:
    """Return a function of its own for `jax.jit`, which keeps what it compiles with the function."""
    bound = functools.partial(function, **dict(zip(names, values, strict=True)))
    return jax.jit(bound, donate_argnames=donated)


def _shape(leaf: Any) -> tuple[Any, Any]:
    return (leaf.shape, leaf.dtype) if hasattr(leaf, "shape") else ((), type(leaf))


def held() -> int:
    """Return how many executables are kept."""
    return _program.cache_info().currsize
