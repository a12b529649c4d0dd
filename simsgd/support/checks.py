"""Checks of arguments: every error names the argument, its value and what is allowed.

Laws of this module: it imports nothing of simsgd, and each check returns the value in the type that the caller stores, so
that a float32 argument never makes a float32 clock.
"""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Iterable
from typing import Any


def number(name: str, value: object, *, wanted: str = "a finite number") -> float:
    """Return `value` as a finite float, or raise ValueError naming the argument."""
    try:
        checked = float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
    except OverflowError:  # a whole number beyond all floats
        checked = math.inf
    if not math.isfinite(checked):
        raise ValueError(f"{name} must be {wanted}, got {shown(value, 40)}")
    return checked


def positive(name: str, value: object, unit: str = "") -> float:
    """Return `value` as a finite float above zero; `unit` is said in the error, for example "seconds"."""
    wanted = f"a finite number above 0{f' ({unit})' if unit else ''}"
    checked = number(name, value, wanted=wanted)
    if checked <= 0:
        raise ValueError(f"{name} must be {wanted}, got {value!r}")
    return checked


def not_negative(name: str, value: object, unit: str = "") -> float:
    """Return `value` as a finite float of at least zero."""
    wanted = f"a finite number of at least 0{f' ({unit})' if unit else ''}"
    checked = number(name, value, wanted=wanted)
    if checked < 0:
        raise ValueError(f"{name} must be {wanted}, got {value!r}")
    return checked


def below_one(name: str, value: object) -> float:
    """Return `value` as a float of at least zero and below one: a momentum, a decay, a probability of being lost."""
    checked = number(name, value, wanted="at least 0 and below 1")
    if not 0 <= checked < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, got {value!r}")
    return checked


def up_to_one(name: str, value: object, hint: str = "") -> float:
    """Return `value` as a float above zero and at most one: a probability, a weight; the error ends with the hint."""
    checked = positive(name, value)
    if checked > 1:
        raise ValueError(f"{name} must be above 0 and at most 1, got {value!r}{f': {hint}' if hint else ''}")
    return checked


def seconds(source: str, value: object) -> float:
    """Return a time as a finite float of at least zero, in seconds; ValueError names `source`: an argument, a law, a row.

    Example:
        >>> from simsgd.support import checks
        >>> checks.seconds("Link.latency", 1)
        1.0
    """
    return not_negative(source, value, "seconds")


def finite_seconds(value: float) -> bool:
    """Say whether a number is a time that a clock can use, finite and not negative: `seconds`, where nothing is refused."""
    return 0 <= value < math.inf


def as_float(seconds: Any) -> float:
    """Return a time, or a text that spells one, as a float, so that the clock never has another type; NaN for anything else."""
    try:
        return float(seconds)
    except OverflowError:  # a whole number beyond all floats
        return math.inf
    except (TypeError, ValueError, Warning):  # NumPy warns of a masked value, which is none
        return math.nan


def as_seconds(given: Any) -> float:
    """Return what a law or a network gave as a float; NaN for what is not one number: text, a truth value, an array."""
    if isinstance(given, str | bytes | bytearray | bool) or getattr(given, "ndim", 0) != 0:
        return math.nan
    return as_float(given)


def shown(value: object, most: int = 60) -> str:
    """Return the repr of somebody's value for an error, shortened; of one that cannot be shown its class."""
    try:
        text = repr(value)
    except Exception as error:
        return f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"
    return text if len(text) <= most else f"{text[: most - 1]}…"


def window(start: object, stop: object, end: float) -> tuple[float, float]:
    """Return `start` and `stop` as floats (seconds); `stop` is at most `end`, the default."""
    first = seconds("start", start)
    last = min(end if stop is None else positive("stop", stop, "seconds"), end)
    if first >= last:
        raise ValueError(f"start must be before stop={stop!r} and the tape's end, {end:g} seconds, got {start!r}")
    return first, last


def whole(name: str, value: object, least: int) -> int:
    """Return `value` as an int of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {shown(value)}")
    return int(value)


def instance(name: str, value: object, kind: type | tuple[type, ...], example: str) -> None:
    """Raise TypeError unless `value` is an instance of `kind`; `example` shows what is allowed."""
    if isinstance(value, type):
        raise TypeError(
            f"{name} must be an instance such as {example}, got the class {value.__name__} itself: {_called(value, example)}"
        )
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be an instance such as {example}, got {value!r}")


def _called(kind: type, example: str) -> str:
    """Return how a class is called, for an error: as in the example, or with its first argument if it needs any."""
    if f".{kind.__name__}(" in f".{example}" and not example.endswith("()"):
        return f"call it, as in {example}"
    try:
        kind()
    except Exception:  # whatever it says of arguments that are missing
        return f"call it, as in {kind.__name__}({next(iter(inspect.signature(kind).parameters), '')}=…)"
    return "add ()"


def sequence(name: str, value: object, example: str) -> tuple[Any, ...]:
    """Return `value` as a tuple, or raise TypeError; `example` shows what is allowed."""
    if isinstance(value, str) or not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0:
        raise TypeError(f"{name} must be a sequence such as {example}, got {shown(value)}")
    return tuple(value)


def store(frozen: object, **values: object) -> None:
    """Put checked values into the fields of a frozen dataclass that is being made."""
    for name, value in values.items():
        object.__setattr__(frozen, name, value)


def truth(name: str, value: object, hint: str = "") -> None:
    """Raise TypeError unless `value` is True or False; the error ends with the hint."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {shown(value)}{f': {hint}' if hint else ''}")


def one_of(name: str, value: object, known: Iterable[object]) -> None:
    """Raise ValueError unless `value` is among the `known` names, which the error lists."""
    names = list(known)
    if value not in names:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, names))}, got {value!r}")
