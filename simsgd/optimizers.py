"""What the server does with a gradient: optax transformations, and their numbers kept outside the compiled code.

Laws of this module:

1. Any optax transformation works as it is, if gradients, parameters and staleness are all it asks for (line searches and
   others that ask for the loss do not). `tunable` ones share a compiled player whatever their numbers are: a sweep over step
   sizes compiles once.
2. Each step offers the optimizer `staleness` as an extra argument (optax's `update(..., **extra_args)`): versions between
   reading and stepping, a float; for a step of several gradients, their mean.
"""

from __future__ import annotations

import numbers
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
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

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in (*self.numbers, *self.settings))
        return f"{getattr(self.factory, '__name__', self.factory)}({arguments})"


def tunable(factory: Callable[..., optax.GradientTransformation], **arguments: Any) -> Tunable:
    """Return an optimizer whose numbers can change without compiling the player again.

    Args:
        factory: a function that returns an optax transformation, for example `optax.adam`.
        arguments: its arguments by name; floating-point numbers stay outside the compiled code, everything else (whole
            numbers, which often are counts, included) is part of it.

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
    if momentum is not None and checks.not_negative("momentum", momentum) >= 1:
        raise ValueError(f"momentum must be at least 0 and below 1, got {momentum!r}")
    return tunable(optax.sgd, **settings, **({} if momentum is None else {"momentum": float(momentum)}))


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


type Optimizer = optax.GradientTransformation | Tunable


def split(optimizer: Optimizer) -> tuple[Any, dict[str, float]]:
    """Return an optimizer as (a hashable recipe to compile for, numbers to pass at run time); `build` joins them again.

    Raises:
        TypeError: if `optimizer` is not an optax transformation or a `tunable`.
    """
    if isinstance(optimizer, optax.MultiSteps):
        raise TypeError("optimizer must be an optax transformation: call .gradient_transformation() of the MultiSteps")
    checks.instance("optimizer", optimizer, (optax.GradientTransformation, Tunable), "optimizers.sgd(0.1) or optax.adam(1e-3)")
    if isinstance(optimizer, Tunable):
        return (optimizer.factory, optimizer.settings), dict(optimizer.numbers)
    return optimizer, {}


def build(recipe: Any, values: dict[str, jax.Array]) -> optax.GradientTransformationExtraArgs:
    """Return the optax transformation of a recipe that `split` made, with its numbers, which may be traced."""
    if isinstance(recipe, optax.GradientTransformation):
        return optax.with_extra_args_support(recipe)
    factory, settings = recipe
    return optax.with_extra_args_support(factory(**values, **dict(settings)))


def describe(optimizer: Optimizer) -> str:
    """Return what a run's configuration calls an optimizer: a `tunable` with its numbers, others by what made them."""
    if isinstance(optimizer, Tunable):
        return re.sub(r" at 0x[0-9a-f]+", "", repr(optimizer))
    return f"{optimizer.update.__qualname__.split('.')[0]}(…), an optax transformation"
