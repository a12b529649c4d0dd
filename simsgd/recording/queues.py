"""Queues: where messages wait for the links of a server, and gradients for the server itself.

Laws of this module:

1. Nothing is lost and nothing waits for no reason: while anybody has something to send, a link is busy.
2. A message that is dropped (its job was cancelled, its worker crashed) frees what it held at that moment.
3. An event costs no more than the logarithm of the messages there, whoever joins or leaves, as long as few different rates
   cap the messages.
"""

from __future__ import annotations

import bisect
import heapq
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple
from typing import Protocol as Interface

from simsgd.recording.events import EventLoop, Planned
from simsgd.recording.job import Job

Done = Callable[[Job, float], None]
"""What happens when a queue is done with a job's message: called with the job, and since when it had the queue alone."""


class Queue(Interface):
    """What holds messages up."""

    def put(self, job: Job) -> None:
        """Take a job's message in."""

    def drop(self, job: Job) -> None:
        """Forget a job's message, if it is here."""


class Line:
    """First in, first out: one at a time, each for as long as it takes; what takes no time and finds nobody, at once.

    Args:
        loop: the event loop.
        seconds: how long a job's message takes, asked when it begins.
        done: what happens then.
    """

    def __init__(self, loop: EventLoop, seconds: Callable[[Job], float], done: Done) -> None:
        self._loop = loop
        self._seconds = seconds
        self._done = done
        self._waiting: OrderedDict[int, Job] = OrderedDict()
        self._served: Job | None = None
        self._since = 0.0

    def put(self, job: Job) -> None:
        """Serve the job at once, or when those before it are done."""
        if self._served is not None:
            self._waiting[job.worker] = job
        elif seconds := self._seconds(job):
            self._begin(job, seconds)
        else:
            self._done(job, self._loop.now)

    def drop(self, job: Job) -> None:
        """Forget a job; if it is being served, the next one's turn has come."""
        if self._served is job:
            self._next()
        elif self._waiting.get(job.worker) is job:
            del self._waiting[job.worker]

    def _begin(self, job: Job, seconds: float) -> None:
        self._served, self._since = job, self._loop.now
        self._loop.at(self._loop.now + seconds, self._finish, job)

    def _finish(self, event: Planned) -> None:
        job: Job = event.subject
        since = self._since
        if job is not self._served:  # it was dropped
            return
        self._next()
        self._done(job, since)

    def _next(self) -> None:
        self._served = None
        if self._waiting:
            _, job = self._waiting.popitem(last=False)
            self._begin(job, self._seconds(job))


class Message(NamedTuple):
    """What a link is told of a message.

    Attributes:
        size: bytes.
        cap: bytes/second that its worker's own link carries.
        capacity: bytes/second that the shared link carries of messages of this size.
    """

    size: float
    cap: float
    capacity: float

    @property
    def alone(self) -> float:
        """The seconds that it takes if it has the link alone."""
        return self.size / min(self.cap, self.capacity)


class _Flows:
    """The messages with one cap: they have the same rate at any time, so each is done at a fixed level of bytes per flow."""

    def __init__(self, cap: float, limited: bool) -> None:
        self.cap = cap
        self.limited = limited  # by the link, of which the others take nothing
        self.rate = 0.0
        self.level = 0.0  # bytes that each flow which was there all the time has had
        self.count = 0
        self.heap: list[tuple[float, int, _Flowing]] = []


class _Flowing:
    """A message that is under way: whose, in which flows, since when, and the seconds that it would take alone."""

    def __init__(self, job: Job, flows: _Flows, since: float, alone: float) -> None:
        self.job, self.flows, self.since, self.alone = job, flows, since, alone
        self.here = True


class FairLink:
    """All messages at once, at max-min fair rates: no rate could grow without making a smaller one smaller.

    With capacity C and caps c_i the rates are min(c_i, L), L such that they add up to C, or each its cap if there is room. A
    link whose capacity follows the size (a measured one) is shared by time: of a message for which it is f times as slow as for
    the first, the bytes and the cap count f times. A message that nothing limits takes no time, and nothing from the others.

    Args:
        loop: the event loop.
        message: of a job; asked when it joins.
        done: what happens when a message is through.
    """

    def __init__(self, loop: EventLoop, message: Callable[[Job], Message], done: Done) -> None:
        self._loop = loop
        self._message = message
        self._done = done
        self._capacity = math.inf  # that of the first message which the link limits
        self._classes: list[_Flows] = []  # those with messages, from the smallest cap to the greatest
        self._class_of: dict[tuple[float, bool], _Flows] = {}  # the same, by cap and whether the link limits them
        self._joined: dict[int, _Flowing] = {}
        self._limited = 0  # how many of them the link limits
        self._last = 0.0
        self._number = 0
        self._awaited = 0

    def put(self, job: Job) -> None:
        """Let a message join: the others' rates fall."""
        size, cap, capacity = self._message(job)
        cap = min(cap, capacity)
        alone = size / cap
        if not alone:
            self._done(job, self._loop.now)
            return
        limited = capacity < math.inf
        if limited and capacity != self._capacity:
            size, cap = self._in_units_of_the_first(size, cap, capacity)
        now = self._advance()
        flows = self._class_of.get((cap, limited)) or self._new_class(cap, limited)
        flows.count += 1
        self._limited += limited
        self._number += 1
        self._joined[job.worker] = flowing = _Flowing(job, flows, now, alone)
        heapq.heappush(flows.heap, (flows.level + size, self._number, flowing))
        self._share()

    def drop(self, job: Job) -> None:
        """Let a message leave unfinished: the others' rates rise."""
        flowing = self._joined.get(job.worker)
        if flowing is not None and flowing.job is job:
            self._advance()
            self._leave(flowing)
            self._share()

    def _in_units_of_the_first(self, size: float, cap: float, capacity: float) -> tuple[float, float]:
        """Return the bytes and the cap of a message, in bytes of those messages for which the link has its `_capacity`."""
        if self._capacity == math.inf:
            self._capacity = capacity
        slower = self._capacity / capacity
        size, cap = size * slower, cap * slower
        if not (size < math.inf and cap > 0):
            raise ValueError(f"a link cannot be shared by messages of {self._capacity!r} and {capacity!r} bytes/second")
        return size, cap

    def _new_class(self, cap: float, limited: bool) -> _Flows:
        self._class_of[cap, limited] = flows = _Flows(cap, limited)
        bisect.insort(self._classes, flows, key=_cap)
        return flows

    def _leave(self, flowing: _Flowing) -> None:
        del self._joined[flowing.job.worker]
        flowing.here, flows = False, flowing.flows
        flows.count -= 1
        self._limited -= flows.limited
        if not flows.count:  # others with this cap will make a fresh start, so that rounding does not add up
            self._classes.remove(flows)
            del self._class_of[flows.cap, flows.limited]

    def _advance(self) -> float:
        """Bring the levels up to now, and return it."""
        now = self._loop.now
        for flows in self._classes:
            flows.level += flows.rate * (now - self._last)
        self._last = now
        return now

    def _share(self) -> None:
        """Give each class its rate, and wait for the message that is through first."""
        capacity, count, soonest, first = self._capacity, self._limited, math.inf, None
        for flows in self._classes:
            rate = flows.cap
            if flows.limited:
                rate = min(rate, capacity / count)
                capacity -= rate * flows.count
                count -= flows.count
            flows.rate, heap = rate, flows.heap
            while not heap[0][2].here:
                heapq.heappop(heap)  # it was dropped
            left = (heap[0][0] - flows.level) / rate
            if left < soonest:
                soonest, first = left, flows
        self._awaited += 1
        if first is not None:
            self._loop.at(self._loop.now + max(0.0, soonest), self._finish, (self._awaited, first))

    def _finish(self, event: Planned) -> None:
        number, flows = event.subject
        if number != self._awaited:  # the rates have changed since
            return
        now = self._advance()
        level, _, flowing = heapq.heappop(flows.heap)
        flows.level = level  # exactly, whatever the clock's rounding
        self._leave(flowing)
        self._share()
        self._done(flowing.job, max(flowing.since, now - flowing.alone))


def _cap(flows: _Flows) -> float:
    return flows.cap


class Free:
    """A queue that takes no time."""

    def __init__(self, loop: EventLoop, done: Done) -> None:
        self._loop = loop
        self._done = done

    def put(self, job: Job) -> None:
        """Be done at once."""
        self._done(job, self._loop.now)

    def drop(self, job: Job) -> None:
        """Nothing is ever here."""
