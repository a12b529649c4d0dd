"""Drawing seconds: every time that is drawn is checked, and belongs to its job whatever the protocol does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simsgd.support import checks


def checked(source: object, draw: Callable[[float], Any]) -> Callable[[float], float]:
    """Return what draws times as floats, and raises ValueError naming the `source` for one that no clock can use."""

    def seconds(now: float) -> float:
        drawn = draw(now)
        time = checks.as_float(drawn)
        if not checks.finite_seconds(time):
            raise ValueError(
                f"{source!r} drew {drawn!r} seconds at {now:g} s: a time must be one finite number and not negative"
            )
        return time

    return seconds


def by_job(draw: Callable[[float], float]) -> Callable[[int, float], float]:
    """Return what draws the time of a worker's k-th job, given k and the moment; k never decreases.

    Draws of jobs that came to nothing before they needed one are left unused, so a worker's k-th time belongs to its k-th job
    whatever the protocol does.
    """
    drawn = 0

    def time_of(job: int, now: float) -> float:
        nonlocal drawn
        while drawn < job:
            draw(now)
            drawn += 1
        drawn += 1
        return draw(now)

    return time_of
