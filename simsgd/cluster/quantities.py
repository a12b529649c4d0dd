"""Quantities as text: a number with its unit, "30 us" or "1.25 GB/s", as in a cluster's file.

Laws of this module: what is read is the float nearest to the number written, in every unit; so what is written reads back as
the same float.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

UNITS: dict[str, dict[str, int | Fraction]] = {
    "s": {
        "s": 1,
        "ms": Fraction(1, 10**3),
        "us": Fraction(1, 10**6),
        "ns": Fraction(1, 10**9),
        "min": 60,
        "h": 3600,
        "\u00b5s": Fraction(1, 10**6),  # the micro sign and the Greek letter look alike: both are read
        "\u03bcs": Fraction(1, 10**6),
    },
    "B": {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30},
    "B/s": {
        "B/s": 1,
        "kB/s": 10**3,
        "MB/s": 10**6,
        "GB/s": 10**9,
        "bit/s": Fraction(1, 8),
        "kbit/s": Fraction(10**3, 8),
        "Mbit/s": Fraction(10**6, 8),
        "Gbit/s": Fraction(10**9, 8),
    },
}
"""For each unit of `simsgd.support.units`, the units in which such a quantity may be written, and their sizes."""

WRITTEN = {"s": ("s", "ms", "us", "ns"), "B": ("GB", "MB", "kB", "B"), "B/s": ("GB/s", "MB/s", "kB/s", "B/s")}
"""For each unit of `simsgd.support.units`, the units that `save` uses."""

_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?inf)\s*(.*)")


def text(value: float, unit: str) -> str:
    """Return a quantity as text, in the largest unit of which it is at least 1.

    Example:
        >>> from simsgd.cluster.quantities import text
        >>> text(0.05, "s"), text(3e-5, "s"), text(1.25e9, "B/s"), text(float("inf"), "B/s"), text(600.0, "s")
        ('50 ms', '30 us', '1.25 GB/s', 'inf B/s', '600 s')
    """
    if math.isfinite(value):
        for name in WRITTEN[unit]:
            amount = float(Fraction(repr(value)) / UNITS[unit][name])
            if abs(amount) >= 1 and scaled(amount, unit, name) == value:
                return f"{plain(amount)} {name}"
    return f"{plain(value)} {unit}"


def read(written: object, unit: str) -> float:
    """Return the quantity that a text describes, in `unit`.

    Raises:
        ValueError: if it is not a number with a unit of that kind; the message says what it must be.

    Example:
        >>> from simsgd.cluster.quantities import read
        >>> read("30 us", "s"), read("10 Gbit/s", "B/s"), read("4 MiB", "B")
        (3e-05, 1250000000.0, 4194304.0)
    """
    if isinstance(written, int | float) and not isinstance(written, bool):
        raise ValueError(f'must have a unit: write "{plain(written)} {unit}", got {written!r}')
    match = _NUMBER.fullmatch(written.strip()) if isinstance(written, str) else None
    if not match:
        raise ValueError(f'must be a number with a unit, for example "1.5 {unit}", got {written!r:.60}')
    number, name = match.groups()
    if not name:
        raise ValueError(f'must have a unit: write "{number} {unit}", got {written!r:.60}')
    if name not in UNITS[unit]:
        raise ValueError(f"must be in {choice(unit)}, got {written!r:.60}")
    return scaled(number, unit, name)


def scaled(number: float | str, unit: str, name: str) -> float:
    """Return a number of units called `name`, converted to `unit`: the nearest float."""
    as_float = float(number)
    factor = UNITS[unit][name]
    if factor == 1 or as_float == 0 or math.isinf(as_float):
        return as_float
    try:
        return float(Fraction(str(number)) * factor)
    except OverflowError:
        return math.copysign(math.inf, as_float)


def plain(number: float) -> str:
    """Return the shortest text that reads back as the same number: 30 for 30.0."""
    return repr(number).removesuffix(".0")


def choice(unit: str) -> str:
    """Return the units in which a quantity may be written, as a text, with one spelling of each."""
    *others, last = [name for name in UNITS[unit] if name.isascii()]
    return f"{', '.join(others)} or {last}"
