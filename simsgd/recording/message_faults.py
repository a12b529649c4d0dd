"""What can go wrong with a message: jitter, losses, and links that are down; drawn so that a method cannot change it.

Laws of this module: jitter and losses of both messages of a worker's k-th job are drawn when the job is handed out, all at
once, from streams of that worker; when a link is down follows the clock alone. The messages between the ranks of an all-reduce
belong to no job: theirs are drawn as they are sent.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from simsgd.faults import LinkDown, LinkOutages, LostMessages
from simsgd.recording.fault_schedule import Named, parts_of_a_spell, spells
from simsgd.support import rng
from simsgd.support.bounds import bounds
from simsgd.support.walks import check_parts
from simsgd.times import Law
from simsgd.times.answers import checked, sampler_of


class Disturbance(NamedTuple):
    """What will disturb one message: seconds on top, and, for each time that it is lost, the seconds until it is resent."""

    jitter: float = 0.0
    timeouts: tuple[float, ...] = ()


UNDISTURBED = Disturbance()
OUTAGES = (LinkDown, LinkOutages)


class MessageFaults:
    """What disturbs one worker's messages in one recording.

    Args:
        named: the faults that concern the worker, by name.
        seed: the recording's.
        worker: whose messages.
        jitter: the laws of additional seconds of its messages, (down, up).
    """

    def __init__(self, named: Named, seed: int, worker: int, jitter: tuple[Law | None, Law | None]) -> None:
        self._jitter = [
            None if law is None else checked(law, worker, sampler_of(law, rng.stream(seed, f"jitter {way}", worker), worker))
            for law, way in zip(jitter, ("down", "up"), strict=True)
        ]
        self._losses = [
            (fault.probability, fault.timeout, rng.stream(seed, name, worker))
            for name, fault in named
            if isinstance(fault, LostMessages) and fault.probability
        ]
        outages = [fault for _, fault in named if isinstance(fault, OUTAGES)]
        self._outages = _Outages(spells(named, OUTAGES, seed, worker), outages, worker) if outages else None
        self._worker, self._lossy = worker, [fault for _, fault in named if isinstance(fault, LostMessages)]
        self.draws = bool(self._losses) or any(self._jitter)
        """Whether anything is drawn at all."""
        self.outages = self._outages is not None
        """Whether its link is ever down."""
        self.none = not self.draws and not self.outages
        """Whether no message is ever disturbed."""

    def draw(self, now: float) -> tuple[Disturbance, Disturbance]:
        """Return what disturbs a job's two messages, (down, up), for a job that is handed out at `now`."""
        if not self.draws:
            return UNDISTURBED, UNDISTURBED
        down, up = [0.0 if jitter is None else jitter(now) for jitter in self._jitter]  # a list: a StopIteration can leave it
        return Disturbance(down, self._timeouts()), Disturbance(up, self._timeouts())

    def of_one(self, jitter: float = 0.0) -> Disturbance:
        """Return what disturbs a message that is neither of a job's two, such as one between the ranks of an all-reduce."""
        return Disturbance(jitter, self._timeouts()) if self._losses else Disturbance(jitter)

    def _timeouts(self) -> tuple[float, ...]:
        """Send the message until nobody loses it, and return the timeouts on the way."""
        timeouts = []
        while lost := [timeout for probability, timeout, stream in self._losses if stream.random() < probability]:
            timeouts.append(max(lost))
            if len(timeouts) > bounds.parts:
                arriving = math.prod(1 - probability for probability, _, _ in self._losses)
                check_parts(len(timeouts), len(timeouts) * arriving, f"{self._lossy!r}: a message of worker {self._worker}")
        return tuple(timeouts)

    def link_up(self, moment: float, now: float) -> float:
        """Return the first moment, from `moment` on, at which the worker's link is up; `now` is the clock's."""
        return moment if self._outages is None else self._outages.over(moment, now)

    def journey(self, start: float, seconds: float, disturbance: Disturbance, now: float) -> tuple[float, float]:
        """Return (departure, arrival) of a message of `seconds` on an uncontended path, which can go from `start` on."""
        departure = moment = self.link_up(start, now)
        for timeout in disturbance.timeouts:
            moment = self.link_up(moment + seconds + disturbance.jitter + timeout, now)
        return departure, moment + seconds + disturbance.jitter


NO_FAULTS = MessageFaults((), 0, 0, (None, None))
"""Of workers whose messages nothing disturbs."""


class _Outages:
    """The outages of one link, in order; those that are over are forgotten, those that are yet to be met not drawn.

    Args:
        coming: (start, end) of each, seconds.
        faults: of which they are.
        worker: whose link it is.
    """

    def __init__(self, coming: Iterator[tuple[float, float]], faults: list[LinkDown | LinkOutages], worker: int) -> None:
        self._coming = coming
        self._faults, self._worker = faults, worker
        self._known: deque[tuple[float, float]] = deque()
        self._parts = parts_of_a_spell(faults)

    def over(self, moment: float, now: float) -> float:
        """Return the first moment, from `moment` on, at which the link is up; nobody will ask for one before `now` again.

        Raises:
            BoundError: if more outages lie on the way from what was asked before than `simsgd.bounds.parts`.
        """
        known = self._known
        while known and known[0][1] < now:
            known.popleft()
        since, passed = known[-1][0] if known else 0.0, 0
        while not known or known[-1][0] <= moment:
            if known and known[-1][1] < now:
                known.clear()
            known.append(next(self._coming, (math.inf, math.inf)))
            passed += self._parts
            if passed > bounds.parts:
                self._refuse(since, known[-1][0], moment, passed)
        return next((end for start, end in reversed(known) if start <= moment < end), moment)

    def _refuse(self, since: float, reached: float, moment: float, passed: int) -> None:
        what = f"{self._faults!r}: the way of a message of worker {self._worker} from {since:g} to {moment:g} s"
        check_parts(passed, (reached - since) / (moment - since), f"{what} (are bandwidth in bytes/second and seconds meant?)")
