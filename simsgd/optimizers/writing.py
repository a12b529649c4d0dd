"""An optimizer as the code that makes it."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import optax

import simsgd.optimizers as own
from simsgd.optimizers.describing import describe
from simsgd.optimizers.tunable import Tunable, sgd

KINDS = (optax.GradientTransformation, Tunable)
"""What is written here."""


def code(optimizer: optax.GradientTransformation | Tunable, others: Callable[[Any], str]) -> str | None:
    """Return the code that makes an optimizer, as far as its description says it, or None where that is no code.

    Args:
        optimizer: what to write.
        others: writes everything else: the settings of a `tunable`, a factory of the user's.

    Example:
        >>> import optax
        >>> code(optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1)), repr)
        'optax.chain(optax.clip_by_global_norm(max_norm=1.0), optax.sgd(learning_rate=0.1))'
    """
    if isinstance(optimizer, Tunable):
        return _tunable(optimizer, others)
    try:
        tree = ast.parse(describe(optimizer), mode="eval")
    except SyntaxError:
        return None
    for name in [node for node in ast.walk(tree) if isinstance(node, ast.Name)]:
        if (offered := _offered(name.id)) is None:
            return None
        name.id = offered
    return ast.unparse(tree)


def _tunable(value: Tunable, others: Callable[[Any], str]) -> str:
    given = {**dict(value.numbers), **dict(value.settings)}
    told = ", ".join(f"{name}={others(each)}" for name, each in given.items())
    if "learning_rate" in given and value == sgd(given["learning_rate"], given.get("momentum")):
        return f"sg.optimizers.sgd({told.removeprefix('learning_rate=')})"
    name = getattr(value.factory, "__name__", "")
    factory = f"optax.{name}" if getattr(optax, name, None) is value.factory else others(value.factory)
    return f"sg.optimizers.tunable({factory}, {told})"


def _offered(factory: str) -> str | None:
    """Return where a factory of optax or simsgd is offered, by its name; None for one of others."""
    if callable(getattr(optax, factory, None)):
        return f"optax.{factory}"
    return f"sg.optimizers.{factory}" if factory in own.__all__ else None
