"""Messages on their way: what a fabric does in the event loop.

Laws of this module:

1. A fabric brings models to workers and gradients to the server; which ones, and what is done about them, it does not know.
2. A job has one message on its way at a time. Dropping the job frees all that its message held.
3. On an uncontended network, without faults, a message is one event.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
import simpy

from simsgd import rng
from simsgd.cluster import Cluster
from simsgd.luck import UNDISTURBED, Fate, Luck
from simsgd.networks import AllReduce, Network, ParameterServer, Wire
from simsgd.protocols import Gradient
from simsgd.server import StuckError
from simsgd.stations import FairLink, Free, Line, Station, after, delay
from simsgd.times import Law


class Ends(NamedTuple):
    """What a fabric is connected to.

    Attributes:
        deliver: puts a job's model into its worker's hands, after so many seconds.
        receive: gives a gradient that has arrived to the protocol.
        busy: how many workers have been asked for a gradient that has not been delivered.
        check: says that everybody may be waiting for everybody.
    """

    deliver: Callable[[Gradient, float], None]
    receive: Callable[[Gradient], None]
    busy: Callable[[], int]
    check: Callable[[str], None]


class Traffic(ABC):
    """The messages of one recording.

    Args:
        environment: the event loop.
        cluster: whose messages.
        message_bytes: bytes of the model, and of a gradient.
        seed: the recording's.
        ends: what the fabric is connected to.
    """

    collective = False
    """Whether gradients are summed on their way, and wait for each other."""

    def __init__(self, environment: simpy.Environment, cluster: Cluster, message_bytes: float, seed: int, ends: Ends) -> None:
        self._environment = environment
        self._network = cast(Any, cluster.network)
        self._bytes = message_bytes
        self._ends = ends
        jitter = (lambda worker: (None, None)) if self.collective else self._network.jitter
        self._luck = [Luck(cluster, seed, worker, jitter(worker)) for worker in range(cluster.workers)]

    @abstractmethod
    def download(self, job: Gradient) -> None:
        """Bring a job's model to its worker."""

    @abstractmethod
    def upload(self, job: Gradient) -> simpy.Event | None:
        """Bring a job's gradient to the server, and return the event of its arrival; nothing if it takes no time."""

    def handle(self, job: Gradient) -> None:
        """Deal with a gradient that has arrived; unless overridden, the protocol gets it at once."""
        self._ends.receive(job)

    def drop(self, job: Gradient) -> None:
        """Forget a job, wherever its message is."""

    def settle(self) -> None:
        """Look again, after a gradient is asked for no longer, whether those who wait are complete."""

    def held(self) -> int:
        """Return how many gradients wait here for others, and will not move until these come."""
        return 0


class Paths(Traffic):
    """Uncontended paths between each worker and a server."""

    def __init__(self, environment: simpy.Environment, cluster: Cluster, message_bytes: float, seed: int, ends: Ends) -> None:
        super().__init__(environment, cluster, message_bytes, seed, ends)
        seconds = [self._message_seconds(worker) for worker in range(cluster.workers)]
        self._down, self._up = ([pair[way] for pair in seconds] for way in (0, 1))
        self._plain = all(luck.none for luck in self._luck)
        self._fates = [(UNDISTURBED, UNDISTURBED)] * cluster.workers

    def _message_seconds(self, worker: int) -> tuple[float, float]:
        """Return how long the model takes down to a worker, and a gradient up, or raise ValueError."""
        network: Network = self._network
        given = network.download_seconds(worker, self._bytes), network.upload_seconds(worker, self._bytes)
        down, up = map(as_float, given)
        if not (0 <= down < math.inf and 0 <= up < math.inf):
            raise ValueError(
                f"{network!r} takes {given[0]!r} seconds down and {given[1]!r} seconds up for {self._bytes:g} bytes of "
                f"worker {worker}: message times must be finite numbers and not negative"
            )
        return down, up

    def download(self, job: Gradient) -> None:
        """Deliver the model after the path's seconds."""
        seconds = self._down[job.worker]
        if self._plain:
            job.departed = job.assigned
        else:
            luck, now = self._luck[job.worker], job.assigned
            self._fates[job.worker] = luck.draw(now)
            job.departed, arrival = luck.journey(now, seconds, self._fates[job.worker][0], now)
            seconds = arrival - now
        self._ends.deliver(job, seconds)

    def upload(self, job: Gradient) -> simpy.Event | None:
        """Return a timeout of the path's seconds."""
        seconds = self._up[job.worker]
        if self._plain:
            job.sent = job.ended
        else:
            luck, now = self._luck[job.worker], job.ended
            job.sent, arrival = luck.journey(now, seconds, self._fates[job.worker][1], now)
            seconds = arrival - now
        return self._environment.timeout(seconds) if seconds else None


class SharedServer(Traffic):
    """A server whose links all messages share, and which handles one gradient after the other."""

    def __init__(self, environment: simpy.Environment, cluster: Cluster, message_bytes: float, seed: int, ends: Ends) -> None:
        super().__init__(environment, cluster, message_bytes, seed, ends)
        network: ParameterServer = self._network
        workers = range(cluster.workers)
        self._latency = {way: [network.latency(way, worker) for worker in workers] for way in ("down", "up")}
        self._outbound = self._station("down", self._departed)
        self._inbound = self._station("up", self._arrived)
        self._server: Station = Free(environment, self._handled)
        if network.update is not None:
            updates = [network.update.sampler(rng.stream(seed, "server update", worker), worker) for worker in workers]
            self._server = Line(environment, lambda job: self._update_seconds(updates[job.worker]), self._handled)
        self._fates = [(UNDISTURBED, UNDISTURBED)] * cluster.workers
        self._timeouts: list[list[float]] = [[] for _ in workers]
        self._moving: dict[int, Gradient] = {}
        self._arrivals: dict[int, simpy.Event] = {}

    def _update_seconds(self, draw: Callable[[float], float]) -> float:
        """Return how long the server is busy with a gradient: each shard with its piece, all at once."""
        drawn = draw(self._environment.now)
        seconds = as_float(drawn) / self._network.shards
        if not 0 <= seconds < math.inf:
            raise ValueError(f"{self._network!r} drew an update of {drawn!r} seconds: it must be finite and not negative")
        return seconds

    def _station(self, way: Any, done: Callable[[Gradient, float], None]) -> Station:
        """Return the server's link of one direction."""
        network: ParameterServer = self._network
        capacity = network.capacity(way, self._bytes)
        caps = [network.cap(way, worker, self._bytes) for worker in range(len(self._luck))]
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
        wait = self._luck[job.worker].link_up(now, now) - now
        if wait > 0:
            after(self._environment, wait, functools.partial(self._enter_later, link), job)
        else:
            link.put(job)

    def _enter_later(self, link: Station, event: simpy.Event) -> None:
        job: Gradient = event._value  # type: ignore[assignment]
        if self._moving.get(job.worker) is job:
            self._enter(job, link)

    def _is_lost(self, job: Gradient, link: Station, seconds: float) -> bool:
        """Say whether a message that has come through is lost, and have it sent again; `seconds` is its further way."""
        if not self._timeouts[job.worker]:
            return False
        timeout = self._timeouts[job.worker].pop()
        after(self._environment, seconds + timeout, functools.partial(self._enter_later, link), job)
        return True

    def _departed(self, job: Gradient, since: float) -> None:
        if math.isnan(job.departed):
            job.departed = since
        seconds = self._latency["down"][job.worker] + self._fates[job.worker][0].jitter
        if not self._is_lost(job, self._outbound, seconds):
            del self._moving[job.worker]
            self._ends.deliver(job, seconds)

    def _arrived(self, job: Gradient, since: float) -> None:
        if math.isnan(job.sent):
            job.sent = since
        seconds = self._latency["up"][job.worker] + self._fates[job.worker][1].jitter
        if not self._is_lost(job, self._inbound, seconds):
            del self._moving[job.worker]
            arrival = self._arrivals.pop(job.worker)
            arrival._ok, arrival._value = True, None
            self._environment.schedule(arrival, delay=seconds)

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


class Collective(Traffic):
    """An all-reduce of all gradients that are asked for, whoever is asked."""

    collective = True

    def __init__(self, environment: simpy.Environment, cluster: Cluster, message_bytes: float, seed: int, ends: Ends) -> None:
        super().__init__(environment, cluster, message_bytes, seed, ends)
        self._wires = list(self._network.wires.values())
        jitter = any(wire.jitter(worker)[1] for wire in self._wires for worker in range(cluster.workers))
        self._send_all = () if not jitter and all(luck.none for luck in self._luck) else (self._send,)
        if self._send_all and not self._wires:
            raise ValueError(
                f"{self._network!r} is known as a whole, without single messages: faults of messages cannot befall it"
            )
        self._seed = seed
        self._ready: dict[int, tuple[Gradient, simpy.Event]] = {}
        self._attempt = 0
        self._under_way = False
        self._not_before = 0.0
        self._jitter: dict[tuple[int, int], Callable[[float], float]] = {}
        self._undisturbed = functools.cache(lambda ranks: self._network.seconds(ranks, message_bytes))

    def download(self, job: Gradient) -> None:
        """Begin at once: each worker holds the new model when the all-reduce is over."""
        job.departed = job.assigned
        self._ends.deliver(job, 0.0)

    def upload(self, job: Gradient) -> simpy.Event | None:
        """Wait for the others, sum, and arrive together."""
        arrival = simpy.Event(self._environment)
        self._ready[job.worker] = (job, arrival)
        self._begin_if_complete()
        if not self._under_way:
            self._ends.check(f"worker {job.worker} ended its job {job.job}")
        return arrival

    def drop(self, job: Gradient) -> None:
        """Forget a job; if its gradient was being summed, the others have to begin anew."""
        if self._ready.get(job.worker, (None,))[0] is job:
            del self._ready[job.worker]
            if self._under_way:
                self._under_way, self._not_before = False, self._environment.now

    def settle(self) -> None:
        """Begin now if only those were waited for who are asked no longer: before, nobody knew."""
        self._not_before = self._environment.now
        self._begin_if_complete()

    def _begin_if_complete(self) -> None:
        """Begin when everybody who is asked for a gradient has one."""
        if self._under_way or not self._ready or len(self._ready) < self._ends.busy():
            return
        ranks = sorted(self._ready)
        self._check_ranks(ranks)
        self._under_way = True
        self._attempt += 1
        began, ended = (np.array([getattr(self._ready[rank][0], name) for rank in ranks]) for name in ("began", "ended"))
        if self._not_before > began.min():  # begun anew: what was ready then is ready now
            began, ended = np.maximum(began, self._not_before), np.maximum(ended, self._not_before)
        send = (functools.partial(send, np.array(ranks)) for send in self._send_all)
        end = float(self._network.run(began, ended, self._bytes, *send).max())
        after(self._environment, delay(self._environment.now, end), self._finish, self._attempt)

    def _check_ranks(self, ranks: list[int]) -> None:
        """Raise StuckError if the all-reduce cannot do with those workers that there are."""
        try:
            self._network.check_ranks(len(ranks))
        except ValueError as error:
            left = ", ".join(map(str, ranks))
            now = self._environment.now
            raise StuckError(f"at {now:g} s, workers {left} are left to sum their gradients, but {error}") from error

    def held(self) -> int:
        """Return how many gradients wait for those of others."""
        return 0 if self._under_way else len(self._ready)

    def _finish(self, event: simpy.Event) -> None:
        """Let all gradients arrive together, in the order of their workers' numbers."""
        if not (self._under_way and event._value == self._attempt):
            return
        self._under_way = False
        seconds = self._undisturbed(len(self._ready))
        for rank in sorted(self._ready):
            job, arrival = self._ready[rank]
            job.sent = max(job.ended, self._environment.now - seconds)
            arrival.succeed()
        self._ready.clear()

    def _send(self, workers: np.ndarray, senders: np.ndarray, started: np.ndarray, size: float, wire: Wire) -> np.ndarray:
        """Say when messages arrive that ranks start to send, of `size` bytes each: with jitter, losses and outages."""
        seconds, now = wire.seconds(size), self._environment.now
        arrivals = []
        for worker, start in zip(workers[senders].tolist(), started.tolist(), strict=True):
            fate = self._luck[worker].fate(self._jitter_of(wire, worker)(start))
            arrivals.append(self._luck[worker].journey(start, seconds, fate, min(start, now))[1])
        return np.array(arrivals)

    def _jitter_of(self, wire: Wire, worker: int) -> Callable[[float], float]:
        """Return what draws the additional seconds of a worker's messages on a wire."""
        number = self._wires.index(wire)
        if (number, worker) not in self._jitter:
            law: Law | None = wire.jitter(worker)[1]
            stream = rng.stream(self._seed, f"jitter of wire {number}", worker)
            self._jitter[number, worker] = law.sampler(stream, worker) if law else (lambda now: 0.0)
        return self._jitter[number, worker]


def traffic(environment: simpy.Environment, cluster: Cluster, message_bytes: float, seed: int, ends: Ends) -> Traffic:
    """Return what moves the messages of a cluster."""
    kinds: dict[type, type[Traffic]] = {AllReduce: Collective, ParameterServer: SharedServer, Network: Paths}
    kind = next((kind for fabric, kind in kinds.items() if isinstance(cluster.network, fabric)), None)
    if kind is None:
        raise TypeError(f"cluster.network must be a Network, a ParameterServer or an AllReduce, got {cluster.network!r}")
    return kind(environment, cluster, message_bytes, seed, ends)


def as_float(seconds: Any) -> float:
    """Return a time as a float, so that no other type of number becomes the clock's; NaN for what is no number."""
    try:
        return float(seconds)
    except (TypeError, ValueError):
        return math.nan
