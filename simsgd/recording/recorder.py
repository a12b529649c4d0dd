"""The write head: a SimPy event loop plays time and writes the tape. No gradient is computed here, and JAX is not needed.

Laws of this module:

1. Ties are first in, first out: what was scheduled first happens first, so jobs assigned at one moment keep their order.
2. A worker's compute times come from its own stream; nothing a protocol does changes the k-th time that a worker draws.
3. A recording continues exactly where it stopped: advancing in small steps or in one writes the same tape.
4. A recording that cannot go on says who waits for whom.
5. Faults come first in their moment.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np
import simpy

from simsgd import protocols
from simsgd.cluster.cluster import Cluster
from simsgd.networks import AllReduce, Network
from simsgd.protocols.base import Gradient, Protocol
from simsgd.recording import fault_schedule
from simsgd.recording.log import Log, job_values
from simsgd.recording.message_faults import by_job
from simsgd.recording.queues import happen
from simsgd.recording.server import Server, StuckError
from simsgd.recording.transport import Ends, traffic
from simsgd.stopping import Seconds, Updates, limits
from simsgd.support import checks, rng
from simsgd.support.progress import bar
from simsgd.tape.rules import DOWN_COLUMNS, JOB_COLUMNS
from simsgd.tape.tape import Discarded, Down, Jobs, Rows, Tape

DRAWS_AT_ONE_MOMENT = 1_000_000
"""A cluster on which so many jobs in a row took no time is taken to be stuck."""


def record(
    protocol: Protocol,
    cluster: Cluster,
    until: Updates | Seconds,
    seed: int = 0,
    message_bytes: float | None = None,
    progress: bool | None = None,
) -> Tape:
    """Play time: run a protocol on a cluster and return the tape of what happened, without computing a gradient.

    Args:
        protocol: who waits for whom, for example `AsyncSGD()`.
        cluster: workers, compute times and network.
        until: `Updates(n)` or `Seconds(s)`.
        seed: names all random draws; the same seed gives the same tape.
        message_bytes: bytes of the model, and of a gradient; `problem.message_bytes` is the size of a problem's parameters.
            By default a message on an uncontended network takes its link's latency only (0 bytes); a `ParameterServer` or an
            `AllReduce`, whose point is what messages cost, has to be told.
        progress: show a progress bar; by default only if output is a terminal.

    Raises:
        TypeError, ValueError: for arguments that make no sense, named in the message; for a protocol that the cluster's fabric
            cannot carry.
        StuckError: if the protocol leaves every worker idle, or never steps, or waits for somebody who never comes.
        ProtocolError: if the protocol asks for something impossible.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=16, compute=sg.times.Exponential(mean=0.1))
        >>> sg.record(sg.AsyncSGD(), cluster, until=sg.Updates(1000), seed=0)  # doctest: +ELLIPSIS
        Tape(16 workers, 1000 gradients, 1000 updates, ... s, 0 discarded)
    """
    checks.instance("until", until, (Updates, Seconds), "Updates(10_000) or Seconds(60); a Target needs gradients: simulate")
    recording = Recording(protocol, cluster, seed, message_bytes)
    updates, seconds = limits(until)
    for part in bar(range(1, 101), "recording", progress):
        recording.advance(updates * (part / 100), seconds * (part / 100))
    return recording.tape()


class Recording:
    """A recording in progress, which can be continued and looked at; `record` does it in one go.

    Args:
        protocol, cluster, seed, message_bytes: as in `record`.
        observe: what `server.observe` calls with the name of a statistic; without one, observing is an error.

    Example:
        >>> import simsgd as sg
        >>> from simsgd.recording.recorder import Recording
        >>> cluster = sg.Cluster(workers=2, compute=sg.times.Constant(1.0))
        >>> recording = Recording(sg.AsyncSGD(), cluster)
        >>> recording.advance(seconds=3.0)
        >>> recording.version
        6
    """

    def __init__(
        self,
        protocol: Protocol,
        cluster: Cluster,
        seed: int = 0,
        message_bytes: float | None = None,
        observe: Callable[[str], float] | None = None,
    ) -> None:
        protocols.check(protocol)
        checks.instance("cluster", cluster, Cluster, "Cluster(workers=4, compute=times.Exponential(mean=0.1))")
        _check_fabric(protocol, cluster, message_bytes)
        self.cluster = cluster
        size = checks.not_negative("message_bytes", 0 if message_bytes is None else message_bytes, "bytes")
        self.header = {
            "protocol": _plainly(protocol),
            "cluster": _plainly(cluster),
            "seed": checks.whole("seed", seed, 0),
            "message_bytes": size,
        }
        self._environment = environment = simpy.Environment()
        everybody, named = range(cluster.workers), fault_schedule.by_worker(cluster.faults, cluster.workers)
        late = [worker for worker in everybody if fault_schedule.joins(named[worker]) is not None]
        members = sorted(set(everybody) - set(late)) if late else everybody
        self._server = server = Server(protocol, environment, members, observe)
        server.expected.update(late)
        ends = Ends(self._deliver, self._receive, lambda: len(server.busy), server.check_going)
        self._traffic = traffic(environment, cluster, named, size, seed, ends)
        server.connect(self._traffic, self._take_back)
        self._streams = [rng.stream(seed, "compute time", worker) for worker in everybody]
        self._downs = Log(DOWN_COLUMNS)
        self._down_row: dict[int, int] = {}
        self._end = 0.0
        self._started = False
        self._by_time = True
        self._failure: BaseException | None = None
        self._stood_still = (math.nan, 0)  # since when, and how many jobs in a row took no time
        self._inboxes = [simpy.Event(environment) for _ in everybody]
        self._processes = [environment.process(self._work(worker)) for worker in everybody]
        for worker in late:
            self._goes_down(worker)
        befallen = [fault_schedule.turns(named[worker], seed, worker) for worker in everybody if named[worker]]
        environment.process(self._suffer(fault_schedule.moments(befallen)))

    @property
    def workers(self) -> int:
        """How many workers the cluster has."""
        return self.cluster.workers

    @property
    def version(self) -> int:
        """How many updates have been recorded."""
        return self._server.version

    @property
    def now(self) -> float:
        """The moment up to which has been recorded, simulated seconds."""
        return max(self._end, self._environment.now)

    def advance(self, updates: float = math.inf, seconds: float = math.inf) -> None:
        """Record on until there are so many updates, or so many seconds have passed, whichever comes first."""
        environment, server = self._environment, self._server
        if not self._started:  # not before somebody asks to go on: the protocol may want to observe at once
            self._started = True
            server.start()
        step, peek = environment.step, environment.peek
        try:
            if seconds == math.inf:  # the common case, without a look at the clock before each event
                while server.version < updates:
                    step()
            while server.version < updates and peek() <= seconds:
                step()
        except simpy.core.EmptySchedule:
            raise StuckError(f"at {self.now:g} s and version {server.version}, nothing is going to happen any more") from None
        except BaseException:
            if self._failure is not None:  # a protocol's own error, of which SimPy would raise a copy
                raise self._failure from None
            raise
        self._by_time = server.version < updates
        if self._by_time:
            self._end = seconds

    def rows(self, start: int = 0) -> Rows:
        """Return the rows from `start` on, up to the last that ends a step."""
        server = self._server
        return Rows(*(server.rows.column(name, start, server.stepped_rows) for name in Rows._fields))

    def live(self) -> set[int]:
        """Return the versions that rows after those of `rows` may read.

        They were read by jobs in flight, by the gradient being delivered, or by rows used but not yet stepped with.
        """
        server = self._server
        live = {job.read for job in server.jobs.values()}
        if server.delivering is not None:
            live.add(server.delivering.read)
        return live.union(server.rows.column("read", server.stepped_rows).tolist())

    def tape(self) -> Tape:
        """Return what has been recorded so far as a tape.

        Where the recording stopped at an update, what else began or ended at that very moment counts as not yet happened.
        """
        server = self._server
        rows, in_flight = server.rows.columns(), Log(JOB_COLUMNS)
        rows["weight"][server.stepped_rows :] = math.nan  # a step may yet scale it
        for worker in sorted(server.jobs):
            in_flight.append(*job_values(server.jobs[worker]))
        columns = in_flight.columns()
        happened = math.inf if self._by_time else self.now
        for name in ("began", "ended", "arrived"):
            columns[name][columns[name] >= happened] = math.nan
        for moment, known in (("departed", "began"), ("sent", "arrived")):
            columns[moment][np.isnan(columns[known])] = math.nan
        return Tape(
            **rows,
            update_times=server.updates.column("time"),
            workers=self.workers,
            end=self.now,
            discarded=Discarded(**server.discarded.columns()),
            in_flight=Jobs(**columns),
            down=Down(**self._downs.columns()),
            collective=self._traffic.collective,
            header=dict(self.header),
        )

    def _work(self, worker: int) -> Generator[simpy.Event, Any, None]:
        """A worker's life: wait for a job's model to arrive, compute, send the gradient."""
        environment, inboxes, upload, handle = self._environment, self._inboxes, self._traffic.upload, self._traffic.handle
        time_of = by_job(self.cluster.compute.sampler(self._streams[worker], worker))
        timeout = environment.timeout
        while True:
            try:
                job = yield inboxes[worker]
                job.began = environment.now
                yield timeout(self._checked(time_of(job.job, job.began), worker, job.began))
                job.ended = environment.now
                arrival = upload(job)
                if arrival is not None:
                    yield arrival
            except simpy.Interrupt:  # the job was cancelled, or lost
                continue
            except BaseException as error:
                self._failure = self._failure or error
                raise
            job.arrived = environment.now
            inboxes[worker] = simpy.Event(environment)
            self._guarded(handle, job)

    def _deliver(self, job: Gradient, moment: float) -> None:
        happen(self._inboxes[job.worker], moment, job)

    def _receive(self, job: Gradient) -> None:
        self._guarded(self._server.receive, job)

    def _take_back(self, job: Gradient) -> None:
        """Stop a job, and its worker if that is at it."""
        self._traffic.drop(job)
        self._inboxes[job.worker] = simpy.Event(self._environment)
        process = self._processes[job.worker]
        if process is not self._environment.active_process:  # which has not begun the job yet
            process.interrupt()

    def _suffer(self, moments: Iterator[list[fault_schedule.Turn]]) -> Generator[simpy.Event, Any, None]:
        """What befalls workers: first all faults of a moment, then, one by one, what the protocol does about them."""
        environment, server = self._environment, self._server
        while turns := self._guarded(next, moments, None):
            yield happen(simpy.Event(environment), turns[0].moment, priority=simpy.events.URGENT)
            told = []
            for turn in turns:
                self._goes_down(turn.worker) if turn.down else self._is_back(turn.worker)
                told += [turn] if self._guarded(server.befall, turn) else []
            for turn in told:
                yield happen(simpy.Event(environment), environment.now, priority=simpy.events.URGENT)
                self._guarded(server.tell, turn)
            self._guarded(server.check_after, turns[-1])

    def _guarded(self, call: Callable[..., Any], *arguments: object) -> Any:
        """Call something, and keep the first error: SimPy raises a copy, and goes on to the end of the moment before."""
        try:
            return call(*arguments)
        except BaseException as error:
            self._failure = self._failure or error
            raise

    def _goes_down(self, worker: int) -> None:
        if worker not in self._down_row:
            self._down_row[worker] = len(self._downs)
            self._downs.append(math.nan, worker, self._environment.now)

    def _is_back(self, worker: int) -> None:
        self._downs.overwrite(self._down_row.pop(worker), self._environment.now)

    def _checked(self, drawn: float, worker: int, now: float) -> float:
        """Return a drawn compute time, or raise ValueError if no clock can use it, StuckError if the clock stands still."""
        seconds = checks.as_float(drawn)
        if now < now + seconds < math.inf:
            return seconds
        if not 0 <= seconds < math.inf:
            raise ValueError(
                f"{self.cluster.compute!r} drew a compute time of {drawn!r} seconds for worker {worker} at {now:g} s: a "
                "time must be one finite number and not negative"
            )
        self._stood_still = (now, self._stood_still[1] + 1 if self._stood_still[0] == now else 1)
        if self._stood_still[1] >= DRAWS_AT_ONE_MOMENT:
            raise StuckError(
                f"at {now:g} s and version {self.version}, {self._stood_still[1]} jobs in a row took no time and the clock "
                f"stands still: {self.cluster.compute!r} must draw times that advance it"
            )
        return seconds


def _check_fabric(protocol: Protocol, cluster: Cluster, message_bytes: float | None) -> None:
    """Raise ValueError for a protocol that the fabric cannot carry, or a message whose size the fabric has to know."""
    fabric = cluster.network
    if isinstance(fabric, AllReduce) and not protocol.synchronous:
        raise ValueError(
            f"protocol must be synchronous on {type(fabric).__name__}, which sums the gradients of all workers at once, got "
            f"{protocol!r}: use MinibatchSGD, or a networks.ParameterServer (a protocol of your own says synchronous = True)"
        )
    if message_bytes is None and not isinstance(fabric, Network):
        raise ValueError(
            f"message_bytes is needed on {type(fabric).__name__}, for example message_bytes=problem.message_bytes or 1e8"
        )


def _plainly(thing: object) -> str:
    """Return the repr of a protocol or cluster without memory addresses, which differ from process to process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(thing))
