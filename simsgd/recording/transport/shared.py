"""A server whose links all messages share."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import simpy

from simsgd.cluster.cluster import Cluster
from simsgd.networks import ParameterServer
from simsgd.protocols.base import Gradient
from simsgd.recording.fault_schedule import Named
from simsgd.recording.message_faults import UNDISTURBED, Fate, by_job, checked
from simsgd.recording.queues import FairLink, Free, Line, Station, happen
from simsgd.recording.transport.base import Ends, Traffic
from simsgd.support import rng

FINITE = "message times must be finite numbers and not negative"


class SharedServer(Traffic):
    """A server whose links all messages share, and which handles one gradient after the other."""

    def __init__(
        self,
        environment: simpy.Environment,
        cluster: Cluster,
        named: Sequence[Named],
        message_bytes: float,
        seed: int,
        ends: Ends,
    ) -> None:
        super().__init__(environment, cluster, named, message_bytes, seed, ends)
        network: ParameterServer = self._network
        workers = range(cluster.workers)
        self._latency = {way: [network.latency(way, worker) for worker in workers] for way in ("down", "up")}
        self._outbound = self._station("down", self._departed)
        self._inbound = self._station("up", self._arrived)
        self._server: Station = Free(environment, self._handled)
        if network.update is not None:
            draws = [network.update.sampler(rng.stream(seed, "server update", worker), worker) for worker in workers]
            updates = [by_job(checked(network, draw)) for draw in draws]
            shards = network.shards  # each is busy with its piece, all at once
            self._server = Line(environment, lambda job: updates[job.worker](job.job, environment.now) / shards, self._handled)
        self._fates = [(UNDISTURBED, UNDISTURBED)] * cluster.workers
        self._timeouts: list[list[float]] = [[] for _ in workers]
        self._moving: dict[int, Gradient] = {}
        self._arrivals: dict[int, simpy.Event] = {}

    def _station(self, way: Any, done: Callable[[Gradient, float], None]) -> Station:
        """Return the server's link of one direction."""
        network: ParameterServer = self._network
        capacity = network.capacity(way, self._bytes)
        caps = [network.cap(way, worker, self._bytes) for worker in range(len(self._luck))]
        alone = [self._bytes / min(cap, capacity) + latency for cap, latency in zip(caps, self._latency[way], strict=True)]
        if not all(0 <= seconds < math.inf for seconds in alone):
            raise ValueError(
                f"{network!r} takes from {min(alone)!r} to {max(alone)!r} seconds for {self._bytes:g} bytes: {FINITE}"
            )
        if self._bytes == 0 or min(*caps, capacity) == math.inf:
            return Free(self._environment, done)
        if network.sharing == "fair":
            return FairLink(self._environment, capacity, caps, self._bytes, done)
        seconds = [self._bytes / min(cap, capacity) for cap in caps]
        return Line(self._environment, lambda job: seconds[job.worker], done)

    def download(self, job: Gradient) -> None:
        """Let the model queue for the outbound link, once the worker's own link is up."""
        luck = self._luck[job.worker]
        if luck.draws:
            self._fates[job.worker] = luck.draw(job.assigned)
        self._begin(job, self._outbound, self._fates[job.worker][0])

    def upload(self, job: Gradient) -> simpy.Event | None:
        """Let the gradient queue for the inbound link, once the worker's own link is up."""
        arrival = self._arrivals[job.worker] = simpy.Event(self._environment)
        self._begin(job, self._inbound, self._fates[job.worker][1])
        return arrival

    def _begin(self, job: Gradient, link: Station, fate: Fate) -> None:
        self._moving[job.worker] = job
        if fate.timeouts:
            self._timeouts[job.worker] = list(fate.timeouts)
        self._enter(job, link)

    def _enter(self, job: Gradient, link: Station) -> None:
        now = self._environment.now
        up = self._luck[job.worker].link_up(now, now)
        if up > now:
            self._enter_at(up, job, link)
        else:
            link.put(job)

    def _enter_at(self, moment: float, job: Gradient, link: Station) -> None:
        event = simpy.Event(self._environment)
        event.callbacks.append(functools.partial(self._enter_later, link))  # type: ignore[union-attr]
        happen(event, moment, job)

    def _enter_later(self, link: Station, event: simpy.Event) -> None:
        job: Gradient = event._value  # type: ignore[assignment]
        if self._moving.get(job.worker) is job:
            self._enter(job, link)

    def _sent_again(self, job: Gradient, link: Station, arrival: float) -> bool:
        """Have a message sent again that will be lost instead of arriving; say whether it is."""
        if not self._timeouts[job.worker]:
            return False
        self._enter_at(arrival + self._timeouts[job.worker].pop(), job, link)
        return True

    def _departed(self, job: Gradient, since: float) -> None:
        if math.isnan(job.departed):
            job.departed = since
        arrival = self._environment.now + self._latency["down"][job.worker] + self._fates[job.worker][0].jitter
        if not self._sent_again(job, self._outbound, arrival):
            del self._moving[job.worker]
            self._ends.deliver(job, arrival)

    def _arrived(self, job: Gradient, since: float) -> None:
        if math.isnan(job.sent):
            job.sent = since
        arrival = self._environment.now + self._latency["up"][job.worker] + self._fates[job.worker][1].jitter
        if not self._sent_again(job, self._inbound, arrival):
            del self._moving[job.worker]
            happen(self._arrivals.pop(job.worker), arrival)

    def handle(self, job: Gradient) -> None:
        """Let the gradient queue for the server."""
        self._server.put(job)

    def _handled(self, job: Gradient, since: float) -> None:
        self._ends.receive(job)

    def drop(self, job: Gradient) -> None:
        """Take the job's message out of the links' queues and the server's."""
        if self._moving.get(job.worker) is job:
            del self._moving[job.worker]
        self._timeouts[job.worker] = []
        for station in (self._outbound, self._inbound, self._server):
            station.drop(job)
