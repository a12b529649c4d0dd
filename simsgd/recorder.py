"""The write head: a SimPy event loop plays time and writes the tape. No gradient is computed here, and JAX is not needed.

Laws of this module:

1. Ties are first in, first out: what was scheduled first happens first, so jobs assigned at one moment keep their order.
2. A worker's compute times come from its own stream; nothing a protocol does changes the k-th time that a worker draws.
3. A recording continues exactly where it stopped: advancing in small steps or in one writes the same tape.
4. A recording that cannot go on says who waits for whom.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Generator
from typing import Any

import simpy

from simsgd import checks, protocols, rng
from simsgd.cluster import Cluster
from simsgd.laws import JOB_COLUMNS
from simsgd.progress import bar
from simsgd.protocols import Protocol
from simsgd.server import Delivery, Log, Server, StuckError, job_values
from simsgd.stopping import Seconds, Updates, limits
from simsgd.tape import Discarded, Jobs, Rows, Tape

DRAWS_AT_ONE_MOMENT = 1_000_000
"""A cluster on which so many jobs in a row took no time is taken to be stuck."""


def record(
    protocol: Protocol,
    cluster: Cluster,
    until: Updates | Seconds,
    seed: int = 0,
    message_bytes: float = 0,
    progress: bool | None = None,
) -> Tape:
    """Play time: run a protocol on a cluster and return the tape of what happened, without computing a gradient.

    Args:
        protocol: who waits for whom, for example `AsyncSGD()`.
        cluster: workers, compute times and network.
        until: `Updates(n)` or `Seconds(s)`.
        seed: names all random draws; the same seed gives the same tape.
        message_bytes: bytes of the model, and of a gradient. With the default, 0, a message takes its link's latency
            only; `problem.message_bytes` is the size of a problem's parameters.
        progress: show a progress bar; by default only if output is a terminal.

    Raises:
        TypeError, ValueError: for arguments that make no sense, named in the message.
        StuckError: if the protocol leaves every worker idle, or never steps.
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
        >>> from simsgd.recorder import Recording
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
        message_bytes: float = 0,
        observe: Callable[[str], float] | None = None,
    ) -> None:
        protocols.check(protocol)
        checks.instance("cluster", cluster, Cluster, "Cluster(workers=4, compute=times.Exponential(mean=0.1))")
        self.cluster = cluster
        self.header = {
            "protocol": _plainly(protocol),
            "cluster": _plainly(cluster),
            "seed": checks.whole("seed", seed, 0),
            "message_bytes": checks.not_negative("message_bytes", message_bytes, "bytes"),
        }
        self._environment = simpy.Environment()
        messages = [self._message_seconds(worker, float(message_bytes)) for worker in range(cluster.workers)]
        self._inboxes = [Delivery(self._environment) for _ in range(cluster.workers)]
        self._server = Server(protocol, self._environment, self._inboxes, [down for down, _ in messages], observe)
        self._streams = [rng.stream(seed, "compute time", worker) for worker in range(cluster.workers)]
        self._end = 0.0
        self._started = False
        self._by_time = True
        self._failure: BaseException | None = None
        self._stood_still = (math.nan, 0)  # since when, and how many jobs in a row took no time
        self._server.processes.extend(
            self._environment.process(self._work(worker, upload)) for worker, (_, upload) in enumerate(messages)
        )

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
        in_flight = Log(JOB_COLUMNS)
        for worker in sorted(server.jobs):
            in_flight.append(*job_values(server.jobs[worker]))
        columns = in_flight.columns()
        if not self._by_time:
            for name in ("began", "ended"):
                columns[name][columns[name] == self.now] = math.nan
        return Tape(
            **server.rows.columns(),
            workers=self.workers,
            end=self.now,
            discarded=Discarded(**server.discarded.columns()),
            in_flight=Jobs(**columns),
            header=dict(self.header),
        )

    def _work(self, worker: int, upload: float) -> Generator[simpy.Event, Any, None]:
        """A worker's life: wait for a job's model to arrive, compute, send the gradient."""
        environment, server, inboxes = self._environment, self._server, self._inboxes
        draw = functools.partial(self.cluster.compute.sample, self._streams[worker], worker)
        timeout, drawn = environment.timeout, 0
        while True:
            try:
                job = yield inboxes[worker]
                job.began = environment.now
                while drawn < job.job:  # jobs cancelled before they began leave their draws unused, so that
                    draw(job.began)  # a worker's k-th time belongs to its k-th job whatever the protocol does
                    drawn += 1
                drawn += 1
                yield timeout(self._checked(draw(job.began), worker, job.began))
                job.ended = environment.now
                if upload:
                    yield timeout(upload)
            except simpy.Interrupt:  # the job was cancelled
                continue
            job.arrived = environment.now
            inboxes[worker] = Delivery(environment)
            try:
                server.receive(job)
            except BaseException as error:
                self._failure = self._failure or error  # SimPy goes on to the end of this moment: the first one counts
                raise

    def _checked(self, drawn: float, worker: int, now: float) -> float:
        """Return a drawn compute time, or raise ValueError if no clock can use it, StuckError if the clock stands still."""
        seconds = _as_float(drawn)
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

    def _message_seconds(self, worker: int, message_bytes: float) -> tuple[float, float]:
        """Return how long the model takes down to a worker, and a gradient up, or raise ValueError."""
        network = self.cluster.network
        given = network.download_seconds(worker, message_bytes), network.upload_seconds(worker, message_bytes)
        down, up = map(_as_float, given)
        if not (0 <= down < math.inf and 0 <= up < math.inf):
            raise ValueError(
                f"{network!r} takes {given[0]!r} seconds down and {given[1]!r} seconds up for {message_bytes:g} bytes of "
                f"worker {worker}: message times must be finite numbers and not negative"
            )
        return down, up


def _as_float(seconds: Any) -> float:
    """Return a time as a float, so that no other type of number becomes the clock's; NaN for what is no number."""
    try:
        return float(seconds)
    except (TypeError, ValueError):
        return math.nan


def _plainly(thing: object) -> str:
    """Return the repr of a protocol or cluster without memory addresses, which differ from process to process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(thing))
