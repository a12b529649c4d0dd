"""Arguments in the wrong place: the refusal says where they belong."""

from __future__ import annotations

from typing import Any

from simsgd.support import checks


def in_order(call: str, **given: tuple[Any, type | tuple[type, ...], str]) -> None:
    """Raise TypeError at the first argument that is of another one's kind, or else of a wrong one.

    Args:
        call: the function's name, which the message says with the order of its arguments.
        given: for each argument (value, kind, example), in the function's order.
    """
    for name, (value, kind, example) in given.items():
        if _is_a(value, kind):
            continue
        for other, (_, other_kind, _) in given.items():
            if _is_a(value, other_kind):
                raise TypeError(
                    f"{name} must be an instance such as {example}, got {_briefly(value)}, which is for {other}: arguments "
                    f"seem to be swapped, the order is {call}({', '.join(given)}, …)"
                )
        checks.instance(name, value, kind, example)


def _is_a(value: object, kind: type | tuple[type, ...]) -> bool:
    """Say whether a value is an instance of a kind, or a class of it."""
    return isinstance(value, kind) or (isinstance(value, type) and issubclass(value, kind))


def _briefly(value: object) -> str:
    """Return a value as text of a line's length at most."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
