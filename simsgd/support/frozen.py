"""What describes a recording must not change: with a state of its own it would give two tapes from one seed."""

from __future__ import annotations

import dataclasses


def check_class(place: str, thing: object, instead: str) -> None:
    """Raise TypeError unless something is of a frozen dataclass of its own.

    Args:
        place: the argument, with which the message begins.
        thing: an instance. (A subclass of a frozen dataclass is not frozen by it: it can be given further attributes.)
        instead: where what it remembers belongs.
    """
    kind = type(thing)
    own = kind.__dict__.get("__dataclass_params__")
    if own is None or not own.frozen:
        raise TypeError(
            f"{place} is of the class {kind.__name__}, which is not a frozen dataclass, so it could remember one recording in "
            f"the next: put @dataclass(frozen=True) above class {kind.__name__}, and {instead}"
        )


def check_fields(place: str, thing: object) -> None:
    """Raise TypeError if a field of a dataclass's instance can be changed in place."""
    for field in dataclasses.fields(thing):  # type: ignore[arg-type]
        value = getattr(thing, field.name)
        try:
            hash(value)
        except TypeError:
            raise TypeError(
                f"{place}.{field.name} can be changed in place, so it could remember one recording in the next: use a tuple or "
                f"another value that cannot, got {value!r:.60}"
            ) from None
