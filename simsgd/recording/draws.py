"""Drawing seconds: a time that is drawn belongs to its job, whatever the protocol does."""

from __future__ import annotations

from collections.abc import Callable


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
