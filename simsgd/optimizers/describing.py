"""What an optimizer is called, and its step size: read from what its functions closed over.

Laws of this module: a name such as sgd(learning_rate=0.1) is given only to a transformation whose structure, numbers included,
is that of optax.sgd(0.1); any other is called by its parts. What cannot be read is said to be unknown.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import optax

from simsgd.optimizers import structure
from simsgd.optimizers.tunable import Tunable

NAMED: dict[str, Callable[..., optax.GradientTransformation]] = {
    name: getattr(optax, name) for name in ("sgd", "adam", "adamw", "rmsprop", "adagrad", "lion", "nadam", "adamax", "lamb")
}
"""The factories whose names are given where all but the step size, and sgd's momentum, is as by default."""


def describe(optimizer: optax.GradientTransformation | Tunable) -> str:
    """Return what a run's configuration calls an optimizer: its factories and their numbers.

    Example:
        >>> import optax
        >>> describe(optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1, momentum=0.9)))
        'chain(clip_by_global_norm(max_norm=1.0), sgd(learning_rate=0.1, momentum=0.9))'
    """
    if isinstance(optimizer, Tunable):
        return re.sub(r" at 0x[0-9a-f]+", "", repr(optimizer))
    words = _words(optimizer.update)
    injected = _injected(optimizer)
    if injected is not None:
        words = f"{words}({', '.join(f'{name}={_value(value)}' for name, value in injected.items())})"
    if "?" not in words:
        return words
    return f"{words} (what is unknown is shown as ?: sg.optimizers.tunable(factory, name=value) gives names)"


def step_size_of(optimizer: optax.GradientTransformation | Tunable) -> float | None:
    """Return the step size (learning rate) of an optimizer, or None where it cannot be known, for example with a schedule.

    It is what the transformed gradient is multiplied by before it is subtracted from the parameters.

    Example:
        >>> import optax, simsgd as sg
        >>> sg.optimizers.step_size_of(optax.adam(1e-3)), sg.optimizers.step_size_of(sg.optimizers.sgd(0.1))
        (0.001, 0.1)
    """
    if isinstance(optimizer, Tunable):
        named = dict(optimizer.numbers)
        return named.get("learning_rate", named.get("step_size"))
    injected = _injected(optimizer)
    if injected is not None:
        return _plain(injected.get("learning_rate"))
    parts = [(_factory(part), structure.closure(part)) for part in _chained(optimizer.update)]
    names = [name for name, _ in parts]
    scales = [_plain(cells.get("step_size")) for name, cells in parts if name == "scale"]
    known = [scale for scale in scales if scale is not None]
    if not known or len(known) < len(scales) or "scale_by_schedule" in names:
        return None
    return -math.prod(known)


def _plain(value: Any) -> float | None:
    """Return a single number as Python writes it, 0.1 for a float32 of 0.1 too, or None for anything else."""
    if type(value) is int or type(value) is float:
        return float(value)
    return float(str(np.asarray(value)[()])) if structure.is_number(value) else None


def _injected(optimizer: optax.GradientTransformation) -> dict[str, Any] | None:
    """Return the numbers that `optax.inject_hyperparams` keeps in the state of what it makes; None for others."""
    if not structure.is_trusted(optimizer.init) or _factory(optimizer.init) != "inject_hyperparams":
        return None
    numbers = structure.closure(optimizer.init).get("numeric_hps", {})
    return {name: value for name, value in numbers.items() if _plain(value) is not None}


def _factory(function: Any) -> str:
    """Return the name of the factory that made a function, or its own."""
    return str(getattr(function, "__qualname__", type(function).__name__)).split(".")[0]


def _unwrapped(update: Any) -> Any:
    """Return what optax wrapped only to let it ignore extra arguments."""
    while structure.is_trusted(update) and _factory(update) == "with_extra_args_support":
        update = structure.closure(update)["tx"].update
    return update


def _chained(update: Any) -> list[Any]:
    """Return the update functions that are applied one after the other, those that do nothing left out."""
    update = _unwrapped(update)
    if structure.is_trusted(update) and _factory(update) == "chain":
        return [part for each in structure.closure(update)["update_fns"] for part in _chained(each)]
    return [] if update is _unwrapped(optax.identity().update) or _factory(update) == "identity" else [update]


def _words(update: Any) -> str:
    """Return an update function in words."""
    named = _named(update)
    if named:
        return named
    update = _unwrapped(update)
    cells = structure.closure(update)
    if structure.is_trusted(update) and _factory(update) == "chain":
        parts = [_words(part) for part in cells["update_fns"] if _chained(part)]
        return parts[0] if len(parts) == 1 else f"chain({', '.join(parts)})"
    shown = ((name, _value(value)) for name, value in cells.items() if not _is_part_of(value, update))
    inside = ", ".join(f"{name}={value}" for name, value in shown if value)
    return f"{_factory(update)}({inside if isinstance(update, types.FunctionType) else '?'})"


def _is_part_of(value: Any, update: Any) -> bool:
    """Say whether a value is a function that the factory of `update` defines for itself."""
    inside = str(getattr(value, "__qualname__", "")).startswith(f"{_factory(update)}.<locals>")
    return inside and getattr(value, "__module__", None) == getattr(update, "__module__", None)


def _value(value: Any) -> str:
    """Return what was closed over in words, "?" where it cannot be known, or nothing where it says nothing."""
    if value is None or value is structure.NOTHING:
        return ""
    if structure.is_number(value):
        return repr(_plain(value))
    if isinstance(value, str | int | bool):
        return repr(value)
    if isinstance(value, optax.GradientTransformation):
        return _words(value.update)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_value(each) or None}" for key, each in value.items()) + "}" if value else ""
    if isinstance(value, tuple | list):
        return f"({', '.join(_value(each) or 'None' for each in value)})"
    if callable(value) and structure.closure(value):
        return _words(value)
    name = getattr(value, "__qualname__", None) or getattr(value, "name", None)
    return str(name).split(".<locals>")[0] if name else "?"


def _named(update: Any) -> str:
    """Return, of a chain that is what one of optax's factories makes, the factory with its numbers; else nothing."""
    parts = _chained(update)
    scale = _plain(structure.closure(parts[-1]).get("step_size")) if parts and _factory(parts[-1]) == "scale" else None
    if scale is None or not structure.is_trusted(parts[-1]) or _factory(_unwrapped(update)) != "chain":
        return ""
    settings: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in NAMED]
    if _factory(parts[0]) == "trace":
        momentum = _plain(structure.closure(parts[0]).get("decay"))
        settings = [("sgd", {"momentum": momentum}), ("sgd", {"momentum": momentum, "nesterov": True})]
    for name, others in settings:
        arguments = {"learning_rate": -scale, **others}
        if _fingerprint(_unwrapped(NAMED[name](**arguments).update)) == _fingerprint(_unwrapped(update)):
            return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"
    return ""


def _fingerprint(update: Any) -> tuple[structure.Node, tuple[float | None, ...]]:
    node, numbers = structure.take_apart(update)
    return structure.fix(node, lambda place: structure.Node("input", place)), tuple(map(_plain, numbers))
