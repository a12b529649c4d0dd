"""Optimizers whose numbers have names: a factory of optax, its numbers, and its other settings."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optax

from simsgd.support import checks


@dataclass(frozen=True)
class Tunable:
    """An optimizer as a recipe: an optax factory, its numbers, and its other settings; made by `tunable`.

    Attributes:
        factory: a function that returns an optax transformation.
        numbers: its numeric arguments by name, which may change without compiling again.
        settings: its other arguments by name.
    """

    factory: Callable[..., optax.GradientTransformation]
    numbers: tuple[tuple[str, float], ...]
    settings: tuple[tuple[str, Any], ...] = ()

    def __getattr__(self, name: str) -> Any:
        if name in ("init", "update"):
            of_optax = str(getattr(self.factory, "__module__", "")).split(".")[0] == "optax"
            raise AttributeError(
                f"{self!r} is a tunable, a recipe for an optax transformation: to chain it, or put it into another, "
                f"{f'use optax.{self!r}, or ' if of_optax else ''}do that inside a factory at the top level of a module, and "
                "make the whole tunable: tunable(factory, name=number, …)"
            )
        raise AttributeError(f"a tunable has no {name!r}")

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in (*self.numbers, *self.settings))
        return f"{getattr(self.factory, '__name__', self.factory)}({arguments})"


def tunable(factory: Callable[..., optax.GradientTransformation], **arguments: Any) -> Tunable:
    """Return an optimizer whose numbers can change without compiling the player again.

    Args:
        factory: a function that returns an optax transformation, for example `optax.adam`.
        arguments: its arguments by name; floating-point numbers stay outside the compiled code, where the factory must not
            ask for their values (no `int(x)`, no `if x`); everything else (whole numbers, which often are counts, included)
            is part of it. What is chained is chained inside the factory.

    Raises:
        TypeError: if `factory` is not callable, knows no such argument, or returns no optax transformation. ValueError: if
            a number is not finite.

    Example:
        >>> import optax, simsgd as sg
        >>> sg.optimizers.tunable(optax.adam, learning_rate=1e-3)
        adam(learning_rate=0.001)
    """
    if not callable(factory):
        raise TypeError(f"factory must be a function such as optax.adam, got {factory!r}: pass it without calling it")
    plain = {name: value.item() if getattr(value, "shape", None) == () else value for name, value in arguments.items()}
    numeric = {n: checks.number(n, v) for n, v in plain.items() if isinstance(v, numbers.Real) and not isinstance(v, int)}
    settings = {name: value for name, value in plain.items() if name not in numeric}
    made = factory(**plain)
    if not isinstance(made, optax.GradientTransformation):
        raise TypeError(f"factory must return an optax transformation, but {factory!r} returned {made!r:.80}")
    return Tunable(factory, tuple(sorted(numeric.items())), tuple(sorted(settings.items())))


def sgd(step_size: float, momentum: float | None = None) -> Tunable:
    """Return SGD, w ← w − step_size·g, as a `tunable`; with momentum β, v ← βv + g and w ← w − step_size·v.

    Being a recipe it cannot be chained: use `optax.sgd` in an `optax.chain`, or write a factory at the top level of a module
    that returns the chain, and make that `tunable`.

    Args:
        step_size: above 0.
        momentum: β, at least 0 and below 1; none by default.

    Raises:
        ValueError: if `step_size` is not above 0 or `momentum` not in [0, 1).

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.sgd(0.1)
        sgd(learning_rate=0.1)
    """
    settings: dict[str, float] = {"learning_rate": checks.positive("step_size", step_size)}
    if momentum is not None:
        settings["momentum"] = checks.below_one("momentum", momentum)
    return tunable(optax.sgd, **settings)
