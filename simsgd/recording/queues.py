"""Queues: where messages wait for the links of a server, and gradients for the server itself.

Laws of this module:

1. Nothing is lost and nothing waits for no reason: while anybody has something to send, a link is busy.
2. A message that is dropped (its job was cancelled, its worker crashed) frees what it held at that moment.
3. An event costs no more than the logarithm of the messages there, whoever joins or leaves, as long as few different rates
   cap the messages.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Callable
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
    """First in, first out: one at a time, each for as long as it takes.

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
        if self._served is None:
            self._begin(job)
        else:
            self._waiting[job.worker] = job

    def drop(self, job: Job) -> None:
        """Forget a job; if it is being served, the next one's turn has come."""
        if self._served is job:
            self._next()
        elif self._waiting.get(job.worker) is job:
            del self._waiting[job.worker]

    def _begin(self, job: Job) -> None:
        self._served, self._since = job, self._loop.now
        self._loop.at(self._loop.now + self._seconds(job), self._finish, job)

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
            self._begin(self._waiting.popitem(last=False)[1])


class _Flows:
    """The messages with one cap: they have the same rate at any time, so each is done at a fixed level of bytes per flow."""

    def __init__(self, cap: float) -> None:
        self.cap = cap
        self.rate = 0.0
        self.level = 0.0  # bytes that each flow which was there all the time has had
        self.count = 0
        self.heap: list[tuple[float, int, Job]] = []


class FairLink:
    """All messages at once, at max-min fair rates: no rate could grow without making a smaller one smaller.

    With capacity C and caps c_i the rates are min(c_i, L), L such that they add up to C, or each its cap if there is room.

    Args:
        loop: the event loop.
        capacity: bytes/second that all share.
        caps: bytes/second that each worker's message can have at most.
        message_bytes: bytes of each message.
        done: what happens when a message is through.
    """

    def __init__(self, loop: EventLoop, capacity: float, caps: list[float], message_bytes: float, done: Done) -> None:
        self._loop = loop
        self._capacity = capacity
        self._bytes = message_bytes
        self._done = done
        self._classes = [_Flows(cap) for cap in sorted({min(cap, capacity) for cap in caps})]
        class_of = {flows.cap: flows for flows in self._classes}
        self._class_of = [class_of[min(cap, capacity)] for cap in caps]
        self._joined: dict[int, tuple[Job, float]] = {}
        self._last = 0.0
        self._number = 0
        self._awaited = 0

    def put(self, job: Job) -> None:
        """Let a message join: the others' rates fall."""
        flows = self._class_of[job.worker]
        if flows.cap == math.inf:  # nothing limits it, and it takes nothing from the others
            self._done(job, self._loop.now)
            return
        now = self._advance()
        self._number += 1
        heapq.heappush(flows.heap, (flows.level + self._bytes, self._number, job))
        flows.count += 1
        self._joined[job.worker] = (job, now)
        self._share()

    def drop(self, job: Job) -> None:
        """Let a message leave unfinished: the others' rates rise."""
        if self._joined.get(job.worker, (None,))[0] is job:
            self._advance()
            self._leave(job)
            self._share()

    def _leave(self, job: Job) -> float:
        flows = self._class_of[job.worker]
        flows.count -= 1
        if not flows.count:  # a fresh start, so that rounding does not add up
            flows.heap.clear()
            flows.level = 0.0
        return self._joined.pop(job.worker)[1]

    def _advance(self) -> float:
        """Bring the levels up to now, and return it."""
        now = self._loop.now
        for flows in self._classes:
            if flows.count:
                flows.level += flows.rate * (now - self._last)
        self._last = now
        return now

    def _share(self) -> None:
        """Give each class its rate, and wait for the message that is through first."""
        capacity, count, soonest, first = self._capacity, len(self._joined), math.inf, None
        for flows in self._classes:  # from the smallest cap to the greatest
            if not flows.count:
                continue
            flows.rate = min(flows.cap, capacity / count)
            capacity -= flows.rate * flows.count
            count -= flows.count
            while self._joined.get(flows.heap[0][2].worker, (None,))[0] is not flows.heap[0][2]:
                heapq.heappop(flows.heap)  # it was dropped
            left = (flows.heap[0][0] - flows.level) / flows.rate
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
        level, _, job = heapq.heappop(flows.heap)
        flows.level = level  # exactly, whatever the clock's rounding
        alone = now - self._bytes / flows.cap
        since = max(self._leave(job), alone)
        self._share()
        self._done(job, since)


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
