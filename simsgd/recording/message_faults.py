"""What may befall a message: jitter, losses, and links that are down; drawn so that a method cannot change it.

Laws of this module: what befalls the messages of a worker's k-th job is drawn when the job is handed out, all at once, from
streams of that worker; when a link is down follows the clock alone. The messages between the ranks of an all-reduce belong to
no job: their luck is drawn as they are sent.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from simsgd.faults import LinkDown, LinkOutages, LostMessages
from simsgd.recording.fault_schedule import Named, spells
from simsgd.support import checks, rng
from simsgd.times import Law


class Fate(NamedTuple):
    """What will befall one message: seconds on top, and, for each time that it is lost, the seconds until it is resent."""

    jitter: float = 0.0
    timeouts: tuple[float, ...] = ()


UNDISTURBED = Fate()
OUTAGES = (LinkDown, LinkOutages)


def checked(source: object, draw: Callable[[float], Any]) -> Callable[[float], float]:
    """Return what draws times as floats, and raises ValueError naming the `source` for one that no clock can use."""

    def seconds(now: float) -> float:
        drawn = draw(now)
        time = checks.as_float(drawn)
        if not 0 <= time < math.inf:
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


class Luck:
    """The luck of one worker's messages in one recording.

    Args:
        named: the faults that concern the worker, by name.
        seed: the recording's.
        worker: whose messages.
        jitter: the laws of additional seconds of its messages, (down, up).
    """

    def __init__(self, named: Named, seed: int, worker: int, jitter: tuple[Law | None, Law | None]) -> None:
        self._jitter = [
            None if law is None else checked(law, law.sampler(rng.stream(seed, f"jitter {way}", worker), worker))
            for law, way in zip(jitter, ("down", "up"), strict=True)
        ]
        self._losses = [
            (fault.probability, fault.timeout, rng.stream(seed, name, worker))
            for name, fault in named
            if isinstance(fault, LostMessages) and fault.probability
        ]
        outages = any(isinstance(fault, OUTAGES) for _, fault in named)
        self._outages = _Outages(spells(named, OUTAGES, seed, worker)) if outages else None
        self.draws = bool(self._losses) or any(self._jitter)
        """Whether anything is drawn at all."""
        self.none = not self.draws and self._outages is None
        """Whether nothing ever befalls a message."""

    def draw(self, now: float) -> tuple[Fate, Fate]:
        """Return the fates of a job's two messages, (down, up), for a job that is handed out at `now`."""
        if not self.draws:
            return UNDISTURBED, UNDISTURBED
        down, up = (0.0 if jitter is None else jitter(now) for jitter in self._jitter)
        return Fate(down, self._timeouts()), Fate(up, self._timeouts())

    def fate(self, jitter: float = 0.0) -> Fate:
        """Return the fate of a message that is neither of a job's two, such as one between the ranks of an all-reduce."""
        return Fate(jitter, self._timeouts()) if self._losses else Fate(jitter)

    def _timeouts(self) -> tuple[float, ...]:
        """Send the message until nobody loses it, and return the timeouts on the way."""
        timeouts = []
        while lost := [timeout for probability, timeout, stream in self._losses if stream.random() < probability]:
            timeouts.append(max(lost))
        return tuple(timeouts)

    def link_up(self, moment: float, now: float) -> float:
        """Return the first moment, from `moment` on, at which the worker's link is up; `now` is the clock's."""
        return moment if self._outages is None else self._outages.over(moment, now)

    def journey(self, start: float, seconds: float, fate: Fate, now: float) -> tuple[float, float]:
        """Return (departure, arrival) of a message of `seconds` on an uncontended path, which can go from `start` on."""
        departure = moment = self.link_up(start, now)
        for timeout in fate.timeouts:
            moment = self.link_up(moment + seconds + fate.jitter + timeout, now)
        return departure, moment + seconds + fate.jitter


class _Outages:
    """The outages of one link, in order; those that are over are forgotten."""

    def __init__(self, coming: Iterator[tuple[float, float]]) -> None:
        self._coming = coming
        self._known: deque[tuple[float, float]] = deque()

    def over(self, moment: float, now: float) -> float:
        known = self._known
        while known and known[0][1] < now:
            known.popleft()
        while not known or known[-1][0] <= moment:
            known.append(next(self._coming, (math.inf, math.inf)))
        return next((end for start, end in known if start <= moment < end), moment)
