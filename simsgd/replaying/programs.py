"""Compiled programs, of which only so many are kept: what belongs to problems and optimizers that are gone goes too.

`jax.jit` keeps an executable for every loss, recipe and shape that it has met, and with it the loss and all that it closed
over, for as long as the process lives. A process that tries a thousand problems would keep a thousand.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any

import jax

ONE_AFTER_THE_OTHER = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
KEPT = 64
"""How many executables are kept: a new one takes the place of the one whose last use is the longest ago."""


class Compiled:
    """A function that JAX compiles; calling it looks up the program for its arguments, which takes some 15 microseconds.

    Args:
        function: what is compiled.
        static: its keyword arguments to compile for, hashable; all others are pytrees of arrays.
        donated: the argument whose memory the result may take.
    """

    def __init__(self, function: Callable[..., Any], static: tuple[str, ...], donated: str | None) -> None:
        functools.update_wrapper(self, function)
        self._function, self._static, self._donated = function, static, donated

    def __call__(self, *arrays: Any, **settings: Any) -> Any:  # noqa: D102 (said above)
        return self.program(*arrays, **settings)(*arrays)

    def program(self, *arrays: Any, **settings: Any) -> Callable[..., Any]:
        """Return the program for arrays of such shapes, to be called with arrays alone as often as one likes."""
        leaves, tree = jax.tree.flatten(arrays)
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):  # a part of another program
            return functools.partial(self._function, **settings)
        values = tuple(settings[name] for name in self._static)
        return _program(self._function, self._donated, values, self._static, tree, tuple(map(_shape, leaves)))


def compiled(*static: str, donated: str | None = None) -> Callable[[Callable[..., Any]], Compiled]:
    """Return a decorator like `jax.jit`, whose executables are kept as long as they are among the last `KEPT` in use."""
    return lambda function: Compiled(function, static, donated)


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
    return jax.jit(bound, donate_argnames=donated, compiler_options=_options())


@functools.cache
def _options() -> dict[str, str]:
    """Return the compiler's options: on a CPU the parts of a program are executed one after the other.

    Side by side, parts of a few microseconds cost more to hand to another thread than they take: a method with top-k took 2.5
    times the processor's time of plain SGD, and takes 1.4 times so (see DESIGN.md). No bit depends on it. A compiler that knows
    no such option does without.
    """
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=ONE_AFTER_THE_OTHER).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return ONE_AFTER_THE_OTHER


def _shape(leaf: Any) -> tuple[Any, Any]:
    return (leaf.shape, leaf.dtype) if hasattr(leaf, "shape") else ((), type(leaf))


def held() -> int:
    """Return how many executables are kept."""
    return _program.cache_info().currsize
