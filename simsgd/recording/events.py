"""The event loop: SimPy's, with events at exact moments that can be taken back. Its private parts are used here only.

Laws of this module:

1. What is planned for a moment happens at that moment, to the bit. (SimPy's own `timeout` takes a delay, and between some pairs
   of floats there is no delay that leads from the first to the second.)
2. Ties are first in, first out: of the events of one moment, those planned first happen first; urgent ones before all others.
3. An event that is taken back costs O(1) on average, and its memory is given back: no more than half of what waits is dead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heapify, heappush
from typing import Any

import simpy

INFINITE = math.inf
FEW = 1_000
"""Up to so many dead events are left where they are."""


class Happening(simpy.Event):
    """Something that may be planned for a moment, and again for another when that has passed."""

    _ok, _value = True, None
    callbacks: Any = None

    def __init__(self) -> None: ...


class Planned(Happening):
    """What will happen at a moment: a call, with this event, which says what it is about."""

    def __init__(self, subject: Any) -> None:
        self.subject = subject


class EventLoop:
    """A SimPy environment, and what the recorder asks of it.

    Example:
        >>> from simsgd.recording.events import EventLoop
        >>> loop, seen = EventLoop(), []
        >>> for moment in (2.0, 1.0, 3.0):
        ...     event = loop.at(moment, lambda event: seen.append((loop.now, event.subject)), "an event")
        >>> loop.take_back(event)
        >>> while loop.next() < float("inf"):
        ...     loop.step()
        >>> seen
        [(1.0, 'an event'), (2.0, 'an event')]
    """

    def __init__(self) -> None:
        self._environment = environment = simpy.Environment()
        self.times_of: tuple[object, ...] = ()
        """Where the times come from, for errors: a law and a network, for example."""
        self._queue, self._numbers, self._dead = environment._queue, environment._eid, 0
        self.step = environment.step
        """Let the next event happen; raises `simpy.core.EmptySchedule` where there is none."""
        self.next = environment.peek
        """Return the moment of the next event, infinite where there is none."""

    @property
    def now(self) -> float:
        """Simulated seconds."""
        return self._environment._now

    def plan[Event: Happening](
        self, event: Event, moment: float, call: Callable[[Event], None], priority: int = simpy.events.NORMAL
    ) -> None:
        """Plan that something happens at a moment: a call with it.

        Raises:
            ValueError: if the moment is past, or infinite, or no number.
        """
        if not self._environment._now <= moment < INFINITE:
            worker, job = getattr(event, "worker", None), getattr(event, "job", None)
            what = "something was" if worker is None else f"worker {worker}'s job {job} was"
            raise ValueError(
                f"at {self.now:g} s {what} to happen at {moment!r} s: times must be finite and go forward, also together"
                f"{' those of ' if self.times_of else ''}{' and '.join(map(repr, self.times_of))}"
            )
        event.callbacks = (call,)
        heappush(self._queue, (moment, priority, next(self._numbers), event))  # type: ignore[misc]

    def at(self, moment: float, call: Callable[[Planned], None], subject: Any, urgent: bool = False) -> Planned:
        """Plan a call at a moment, and return the event, with which it is called and by which it can be taken back.

        Raises:
            ValueError: if the moment is past, or infinite, or no number.
        """
        event = Planned(subject)
        self.plan(event, moment, call, simpy.events.URGENT if urgent else simpy.events.NORMAL)
        return event

    def take_back(self, event: Happening) -> None:
        """Let an event that has not happened not happen."""
        if not event.callbacks:
            return
        event.callbacks = ()
        self._dead += 1
        if self._dead > FEW and 2 * self._dead > len(self._queue):
            self._queue[:] = [entry for entry in self._queue if entry[3].callbacks]
            heapify(self._queue)
            self._dead = 0
