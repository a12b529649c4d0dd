"""A server whose links all messages share."""

from __future__ import annotations

import functools
import math
import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any

from simsgd.cluster import Cluster
from simsgd.costs import Costs
from simsgd.networks import ParameterServer
from simsgd.networks.fabric import Way
from simsgd.recording.draws import by_job
from simsgd.recording.events import EventLoop
from simsgd.recording.fault_schedule import Named
from simsgd.recording.job import Job
from simsgd.recording.message_faults import UNDISTURBED, Disturbance
from simsgd.recording.queues import FairLink, Free, Line, Message, Queue
from simsgd.recording.transport.base import SIZES_KEPT, Ends, Transport
from simsgd.support import checks, rng
from simsgd.times.answers import checked, sampler_of

FINITE = "message times must be finite numbers and not negative"


class SharedServer(Transport):
    """A server whose links all messages share, and which handles one gradient after the other."""

    def __init__(self, loop: EventLoop, cluster: Cluster, named: Sequence[Named], costs: Costs, seed: int, ends: Ends) -> None:
        super().__init__(loop, cluster, named, costs, seed, ends)
        network: ParameterServer = self._network
        workers = range(cluster.workers)
        self._latency = {way: [network.latency(way, worker) for worker in workers] for way in ("down", "up")}
        self._outbound = self._link("down", self._departed)
        self._inbound = self._link("up", self._arrived)
        self._server: Queue = Free(loop, self._handled)
        if network.update is not None:
            draws = [sampler_of(network.update, rng.stream(seed, "server update", worker), worker) for worker in workers]
            updates = [by_job(checked(network, worker, draw)) for worker, draw in enumerate(draws)]
            shards = network.shards  # each is busy with its piece, all at once
            self._server = Line(loop, lambda job: updates[job.worker](job.job, loop.now) / shards, self._handled)
        self._disturbances = [(UNDISTURBED, UNDISTURBED)] * cluster.workers
        self._timeouts: list[list[float]] = [[] for _ in workers]

    def _link(self, way: Way, done: Callable[[Job, float], None]) -> Queue:
        """Return the server's link of one direction."""
        fair, usual, bytes_of = self._network.sharing == "fair", self._usual, operator.attrgetter(f"bytes_{way}")
        asked = functools.lru_cache(SIZES_KEPT)(functools.partial(self._message if fair else self._seconds, way))
        usually = [asked(worker, bytes_of(usual)) for worker in range(len(self._faults))]

        def of(job: Job) -> Any:
            return usually[job.worker] if job.charges is usual else asked(job.worker, bytes_of(job.charges))

        return (FairLink if fair else Line)(self._loop, of, done)

    def _seconds(self, way: Way, worker: int, size: float) -> float:
        """Return how long a message takes alone; raises what `_message` raises."""
        return self._message(way, worker, size).alone

    def _message(self, way: Way, worker: int, size: float) -> Message:
        """Return what a link is told of a message, or raise ValueError for one that takes longer than a clock can count."""
        network: ParameterServer = self._network
        capacity, cap = network.capacity(way, size), network.cap(way, worker, size)
        message = Message(size, cap, capacity)
        if not checks.finite_seconds(message.alone + self._latency[way][worker]):
            took = f"{message.alone!r} seconds {way} for {size:g} bytes of worker {worker}"
            raise ValueError(f"{network!r} takes {took}, and a latency of {self._latency[way][worker]!r}: {FINITE}")
        if not min(capacity, cap) / len(self._faults) * sys.float_info.max > size:
            raise ValueError(f"{network!r}: {size:g} bytes of all at once take longer than a clock can count")
        return message

    def send(self, job: Job) -> None:
        """Let the model queue for the outbound link, once the worker's own link is up."""
        faults = self._faults[job.worker]
        if faults.draws:
            self._disturbances[job.worker] = faults.draw(job.assigned)
        self._begin(job, self._outbound, self._disturbances[job.worker][0])

    def upload(self, job: Job) -> None:
        """Let the gradient queue for the inbound link, once the worker's own link is up."""
        self._begin(job, self._inbound, self._disturbances[job.worker][1])

    def _begin(self, job: Job, link: Queue, disturbance: Disturbance) -> None:
        if disturbance.timeouts:
            self._timeouts[job.worker] = list(disturbance.timeouts)
        self._enter(job, link)

    def _enter(self, job: Job, link: Queue) -> None:
        """Let a message queue for a link now, or when the worker's own link is up again."""
        now = self._loop.now
        up = self._faults[job.worker].link_up(now, now)
        if up > now:
            self._enter_at(up, job, link)
        else:
            link.put(job)

    def _enter_at(self, moment: float, job: Job, link: Queue) -> None:
        self._plan(job, moment, functools.partial(self._enter, link=link))

    def _sent_again(self, job: Job, link: Queue, arrival: float) -> bool:
        """Have a message sent again that will be lost instead of arriving; say whether it is."""
        if not self._timeouts[job.worker]:
            return False
        self._enter_at(arrival + self._timeouts[job.worker].pop(), job, link)
        return True

    def _departed(self, job: Job, since: float) -> None:
        if math.isnan(job.departed):
            job.departed = since
        arrival = self._loop.now + self._latency["down"][job.worker] + self._disturbances[job.worker][0].jitter
        if not self._sent_again(job, self._outbound, arrival):
            self.reached_in_turn(job, arrival)

    def _arrived(self, job: Job, since: float) -> None:
        if math.isnan(job.sent):
            job.sent = since
        arrival = self._loop.now + self._latency["up"][job.worker] + self._disturbances[job.worker][1].jitter
        if not self._sent_again(job, self._inbound, arrival):
            self.arrives(job, arrival)

    def arrives(self, job: Job, moment: float) -> None:
        """Let the gradient be at the server at a moment, and queue there."""
        job.arrived = moment
        self._plan(job, moment, self._server.put)

    def _handled(self, job: Job, since: float) -> None:
        self._ends.receive(job)

    def drop(self, job: Job) -> None:
        """Take the job's message out of the links' queues and the server's."""
        super().drop(job)
        self._timeouts[job.worker] = []
        for queue in (self._outbound, self._inbound, self._server):
            queue.drop(job)
