"""A budget of processor time that grows with what happens: 2 seconds, and a millisecond for each event of the event loops."""

from __future__ import annotations

import contextlib
import re
import signal
import time
from collections.abc import Iterator

from simsgd.recording import events

SECONDS = 2.0
SECONDS_PER_EVENT = 1e-3
MOST = 60.0
"""After so many processor seconds even what goes on at its pace is cut short."""

_loops: list[events.EventLoop] = []
_made = events.EventLoop.__init__


def _registered(self: events.EventLoop) -> None:
    _made(self)
    _loops.append(self)


events.EventLoop.__init__ = _registered  # type: ignore[method-assign]


class OverBudget(BaseException):
    """More processor time was used than what happened can explain: a hang."""


class StillGoing(BaseException):
    """It has taken long, at a pace that is allowed."""


def events_so_far() -> int:
    """Return how many events have been planned since the budget began."""
    return sum(int(re.search(r"\d+", repr(loop._numbers))[0]) for loop in _loops)  # type: ignore[index]


@contextlib.contextmanager
def budget(seconds: float = SECONDS) -> Iterator[None]:
    """Raise OverBudget in what follows if it takes more processor time than its events may; in the main thread only."""
    _loops.clear()
    began = time.process_time()

    def look(*_: object) -> None:
        used, count = time.process_time() - began, events_so_far()
        if used > seconds + SECONDS_PER_EVENT * count:
            raise OverBudget(f"{used:.1f} processor seconds for {count} events")
        if used > MOST:
            raise StillGoing(f"{used:.1f} processor seconds for {count} events")

    before = signal.signal(signal.SIGPROF, look)
    signal.setitimer(signal.ITIMER_PROF, seconds, 0.5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        _loops.clear()
