"""The recorder: a SimPy event loop plays time and writes the tape. No gradient is computed here, and JAX is not needed.

A job's life is told in three files: `server.Server` hands it out (`assign`) and is delivered it (`receive`); a
`transport.Transport` brings the model down (`send`) and the gradient up (`upload`); between the two `computing.Computing` says
how long its worker computes (`end`).

Laws of this module:

1. Ties are first in, first out: events of one moment happen in the order in which they were planned, and everything is planned
   as soon as its moment is known. So on an uncontended network gradients that arrive at one moment are delivered in the order
   in which their jobs were handed out.
2. A worker's compute times come from its own stream; nothing a protocol does changes the k-th time that a worker draws.
3. A recording continues exactly where it stopped: advancing in small steps or in one writes the same tape.
4. A recording that cannot go on says who waits for whom.
5. Faults come first in their moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import simpy

from simsgd import protocols, provenance
from simsgd.cluster import Cluster
from simsgd.costs import Costs
from simsgd.method import Method, protocol_of
from simsgd.networks import AllReduce, Network
from simsgd.networks.fabric import Way, path_seconds
from simsgd.protocols import Protocol
from simsgd.provenance import surroundings
from simsgd.recording import fault_schedule
from simsgd.recording.computing import Computing
from simsgd.recording.events import EventLoop, Planned
from simsgd.recording.fault_schedule import Change
from simsgd.recording.log import Logs, table
from simsgd.recording.membership import Membership
from simsgd.recording.refusals import ProtocolError
from simsgd.recording.server import Server, Terms
from simsgd.recording.stuck import StuckError
from simsgd.recording.transport import transport
from simsgd.recording.transport.base import Ends
from simsgd.stopping import RULES, Extent, Rule, Samples, limits
from simsgd.support import arguments, checks, interrupts
from simsgd.support.bounds import BoundError, bounds
from simsgd.support.memory import collection_paused
from simsgd.support.partial import handing_back
from simsgd.support.progress import bar
from simsgd.support.show import plainly
from simsgd.tape import Tape, messages, prefix
from simsgd.tape.schema import REASONS, Discarded, Down, Jobs, Messages, Rows, Ties

GIGABYTE = 1e9
KNOWN = StuckError, ProtocolError, BoundError
"""Errors that say themselves where they come from."""


def record(
    protocol: Protocol | Method,
    cluster: Cluster,
    until: Rule,
    seed: int = 0,
    message_bytes: float | None = None,
    progress: bool | None = None,
    batch_size: int | None = None,
    message_shapes: tuple[tuple[int, ...], ...] | None = None,
) -> Tape:
    """Play time: run a protocol on a cluster and return the tape of what happened, without computing a gradient.

    Args:
        protocol: who waits for whom, for example `AsyncSGD()`; or a whole `Method`, of which the protocol and the charges of
            the work are played.
        cluster: workers, compute times and network.
        until: `Updates(n)`, `Seconds(s)`, `Gradients(n)` or, if `batch_size` is given, `Samples(n)`.
        seed: names all random draws; the same seed gives the same tape.
        message_bytes: bytes of the model, and of a gradient; `problem.message_bytes`, the size of a problem's parameters, is
            what `simulate` takes. Needed wherever bytes take time: on links with a finite bandwidth, on a `ParameterServer`
            and on an `AllReduce`.
        progress: show a progress bar; by default on a terminal and in a notebook only.
        batch_size: how many samples a local step takes, which counts for `Samples` alone.
        message_shapes: the shapes of the model's arrays, `problem.message_shapes`, for a method that compresses its messages;
            without them a message is one long row of numbers.

    Raises:
        TypeError, ValueError: for arguments that make no sense, named in the message; for a protocol that the cluster's fabric
            cannot carry.
        BoundError: if the tape would have more rows than `simsgd.bounds.rows`.
        StuckError: if the protocol leaves every worker idle, or never steps, or waits for somebody who never comes.
        ProtocolError: if the protocol asks for something impossible.
        KeyboardInterrupt, and all errors that come while it records: with the tape until then as their attribute `partial`.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=16, compute=sg.times.Exponential(mean=0.1))
        >>> sg.record(sg.AsyncSGD(), cluster, until=sg.Updates(1000), seed=0)  # doctest: +ELLIPSIS
        Tape(16 workers, 1000 gradients, 1000 updates, ... s, 0 discarded)
    """
    arguments.in_order(
        "record",
        protocol=(protocol, (Protocol, Method), "AsyncSGD()"),
        cluster=(cluster, Cluster, "Cluster(workers=4, compute=times.Exponential(mean=0.1))"),
        until=(until, RULES, "Updates(10_000) or Seconds(60); a Target needs gradients: simulate"),
    )
    if isinstance(until, Samples) and batch_size is None:
        raise ValueError(f"batch_size is needed with until={until!r}: how many samples a local step takes, for example 32")
    end = limits(until, 1 if batch_size is None else checks.whole("batch_size", batch_size, 1))
    _check_fabric(protocol_of(protocol), cluster, None if message_bytes is None and message_shapes is None else 0)
    costs = Costs.of(protocol, message_bytes, message_shapes)
    if message_bytes is None and message_shapes is None and isinstance(protocol, Method) and protocol.compresses:
        raise ValueError(
            "message_bytes or message_shapes is needed for a method that compresses its messages, as the bytes on the tape "
            "would be 0: record(…, message_shapes=problem.message_shapes), which is what simulate does"
        )
    recording = Recording(protocol_of(protocol), cluster, costs, seed, seconds=end.seconds)
    for count in (end.updates, end.gradients):
        if count < math.inf:
            bounds.check("rows", count, f"until={checks.shown(until)}")
    with handing_back("a Tape", lambda: recording.tape() if recording.now else None), interrupts.listening():
        for part in bar(range(1, 101), "recording", progress):
            interrupts.look()
            recording.advance(*(limit * (part / 100) for limit in end))
        return recording.tape()


class BrokenOffError(RuntimeError):
    """A recording that an error, or Ctrl-C, has broken off was asked to go on; the message says what to do instead."""


class Recording:
    """A recording in progress, which can be continued and looked at; `record` does it in one go.

    Args:
        protocol, cluster, seed: as in `record`.
        costs: what jobs cost the clock; by default what single gradients without bytes do.
        observe: what `server.observe` calls with the name of a statistic; without one, observing is an error.
        seconds: when it will end, if that is known: what would take more rows than `simsgd.bounds` allow is refused early.

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
        costs: Costs | None = None,
        seed: int = 0,
        observe: Callable[[str], float] | None = None,
        seconds: float = math.inf,
    ) -> None:
        protocols.check(protocol)
        checks.instance("cluster", cluster, Cluster, "Cluster(workers=4, compute=times.Exponential(mean=0.1))")
        _check_fabric(protocol, cluster, None if costs is None else costs.message.bytes)
        self.cluster, self._protocol = cluster, protocol
        seed, costs = checks.whole("seed", seed, 0), Costs.of(protocol) if costs is None else costs
        self.header: dict[str, Any] = {
            "protocol": plainly(protocol),
            "cluster": plainly(cluster),
            "seed": seed,
            "message_bytes": costs.message.bytes,
            "work": plainly(costs.work),
            "versions": surroundings.of_recordings()["versions"],
            "identity": provenance.canonical(provenance.recording(protocol, cluster, costs, seed)),
        } | ({"gathered": True} if costs.gathers and isinstance(cluster.network, AllReduce) else {})
        terms = Terms(seed, costs, costs.usual, costs.work.takes_steps, observe, seconds)
        everybody, named = range(cluster.workers), fault_schedule.by_worker(cluster.faults, cluster.workers)
        late = [worker for worker in everybody if fault_schedule.joins(named[worker]) is not None]
        self._loop, self._logs, membership = EventLoop(), Logs(), Membership(cluster.workers, late)
        self._loop.times_of = cluster.compute, cluster.network
        self._server = server = Server(protocol, self._loop, membership, cluster.workers, self._logs, terms)
        self._computing = Computing(cluster, seed, costs)
        ends = Ends(self._computing, server.receive, lambda: len(server.busy), server.check_going)
        self._transport = transport(self._loop, cluster, named, costs, seed, ends)
        server.connect(self._transport)
        self._down_row: dict[int, int] = {}
        self._end = 0.0
        self._started = False
        self._by_time = True
        self._counted = self._charged = 0  # rows whose local steps have been added up, and how many those are
        self._broken_off: BaseException | None = None
        for worker in late:
            self._goes_down(worker)
        schedules = [fault_schedule.changes(named[worker], seed, worker) for worker in everybody if named[worker]]
        self._changes = fault_schedule.moments(schedules)
        self._plan_faults()

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
        return max(self._end, self._loop.now)

    @property
    def reached(self) -> Extent:
        """How far it has come."""
        logs = self._logs
        self._charged += int(logs.rows.column("steps", self._counted, logs.stepped_rows).sum())
        self._counted = logs.stepped_rows
        return Extent(self.version, self.now, logs.stepped_rows, self._charged)

    def advance(
        self, updates: float = math.inf, seconds: float = math.inf, gradients: float = math.inf, steps: float = math.inf
    ) -> None:
        """Record on until so many updates, seconds, gradients used, or local steps of these have come, whichever comes first.

        Raises:
            BrokenOffError: if an error, or Ctrl-C, came out of an earlier call: the event that it broke off cannot be finished.
        """
        if self._broken_off is not None:
            raise BrokenOffError(
                f"this recording broke off at {self._loop.now:g} s, with {type(self._broken_off).__name__}, and cannot go on "
                "as if it had not: record anew with the same seed. What had happened until then is its tape()"
            ) from self._broken_off
        try:
            self._advance(Extent(updates, seconds, gradients, steps))
        except BaseException as error:
            self._broken_off = error
            if isinstance(error, Exception) and not isinstance(error, KNOWN):
                where = f"at {self._loop.now:g} s and version {self.version}"
                error.add_note(f"raised {where} of a recording of {self._protocol!r}")
            raise

    def _advance(self, limit: Extent) -> None:
        server = self._server
        if not self._started:  # not before somebody asks to go on: the protocol may want to observe at once
            self._started = True
            with collection_paused():
                server.start()
        try:
            if limit.gradients == limit.steps == math.inf:
                self._go_on(limit.updates, limit.seconds)
            while not self.reached.passes(limit) and self._loop.next() <= limit.seconds:
                self._go_on(server.version + 1, limit.seconds)
        except simpy.core.EmptySchedule:
            raise StuckError(f"at {self.now:g} s and version {self.version}, nothing is going to happen any more") from None
        self._by_time = not self.reached.passes(limit)
        if self._by_time:
            self._end = limit.seconds

    def _go_on(self, updates: float, seconds: float) -> None:
        """Let one event happen after the other until there are so many updates, or so many seconds have passed."""
        server, step, upcoming = self._server, self._loop.step, self._loop.next
        if seconds == math.inf:  # the common case, without a look at the clock before each event
            while server._version < updates:
                step()
        while server._version < updates and upcoming() <= seconds:
            step()

    def rows(self, start: int = 0) -> Rows:
        """Return the rows from `start` on, up to the last that ends a step."""
        return Rows(*(self._logs.rows.column(name, start, self._logs.stepped_rows) for name in Rows._fields))

    def messages(self, row: int, version: int) -> Messages:
        """Return the messages of the steps after `version`, whose rows are those from `row` on; see `simsgd.tape.messages`."""
        rows, discarded, down = self._logs.rows, self._logs.discarded, self._logs.down
        used = {name: rows.column(name, row, self._logs.stepped_rows) for name in messages.OF_ROWS}
        span = discarded.first("version", version), discarded.first("version", self._server.version)
        thrown_away = {name: discarded.column(name, *span) for name in messages.OF_UNUSED}
        return messages.merged(used, thrown_away, Down(**down.columns()), version)

    def origin(self, until: Mapping[str, float]) -> dict[str, Any]:
        """Return the description of the tape until there; see `simsgd.provenance.tapes`."""
        return provenance.origin(self.header, until)

    def live(self, lost: bool = False) -> set[int]:
        """Return the versions that rows after those of `rows` may read, or, with `lost`, messages after those of `messages`.

        They were read by jobs in flight, by the gradient being delivered, or by rows used but not yet stepped with.
        """
        live = self._server.live()
        if lost:
            discarded = self._logs.discarded
            since = discarded.first("version", self._server.version)
            unused = discarded.column("reason", since) == REASONS.index("unused")
            live.update(discarded.column("read", since)[unused].tolist())
        return live

    def tape(self) -> Tape:
        """Return what has been recorded so far as a tape; see `tape.prefix` for what counts as having happened.

        If the recording broke off, it is the tape until just before that moment, in which some things may be half done.
        """
        if self._broken_off is None:
            return prefix.now_known(self._known(), self._by_time)
        now = self._loop.now
        before = max(self._end, math.nextafter(now, 0.0))
        version = int(np.searchsorted(self._logs.updates, before, side="right")) if now > 0 else 0
        return self.tape_at(before, version, by_time=now > 0)

    def tape_at(self, now: float, version: int, by_time: bool) -> Tape:
        """Return the tape as it was at an earlier moment; see `tape.prefix.until`."""
        return prefix.until(self._known(), now, version, by_time)

    def _known(self) -> Tape:
        """Return all that is known as a tape, which tells of the future too."""
        logs, server = self._logs, self._server
        under_way = server.in_flight() + (server.half_delivered() if self._broken_off is not None else [])
        return Tape(
            **logs.rows.columns(),
            update_times=np.array(logs.updates),
            workers=self.workers,
            end=self.now,
            discarded=Discarded(**prefix.hide_what_never_came(logs.discarded.columns())),
            in_flight=Jobs(**table(iter(under_way))),
            down=Down(**logs.down.columns()),
            ties=Ties(**logs.ties.columns()),
            collective=self._transport.collective,
            header=dict(self.header),
        )

    # --- faults ----------------------------------------------------------------------------------------------------------

    def _plan_faults(self) -> None:
        """Plan the next moment at which workers crash, return, leave or join, before all else of that moment."""
        changes = next(self._changes, None)
        if changes is not None:
            self._loop.at(changes[0].moment, self._apply_faults, changes, urgent=True)

    def _apply_faults(self, event: Planned) -> None:
        """Let all changes of a moment happen, and then, one by one, tell the protocol."""
        changes: list[Change] = event.subject
        told = []
        for change in changes:
            self._goes_down(change.worker) if change.down else self._is_back(change.worker)
            told += [change] if self._server.change(change) else []
        self._tell_later(told, changes[-1])

    def _tell_later(self, told: list[Change], last: Change) -> None:
        """Plan, still before all else of the moment, to tell the protocol of the next change; after the last, go on."""
        if told:
            self._loop.at(self._loop.now, self._tell, (told, last), urgent=True)
        else:
            self._server.check_after(last)
            self._plan_faults()

    def _tell(self, event: Planned) -> None:
        (change, *others), last = event.subject
        self._server.tell(change)
        self._tell_later(others, last)

    def _goes_down(self, worker: int) -> None:
        self._computing.interrupt(worker)
        if worker not in self._down_row:
            self._down_row[worker] = self._logs.down.count
            self._logs.down.append((math.nan, worker, self._loop.now))

    def _is_back(self, worker: int) -> None:
        self._logs.down.overwrite(self._down_row.pop(worker), self._loop.now)


def _check_fabric(protocol: Protocol, cluster: Cluster, message_bytes: float | None) -> None:
    """Raise ValueError for a protocol that the fabric cannot carry, or a message whose size the fabric has to know."""
    fabric = cluster.network
    if isinstance(fabric, AllReduce) and not protocol.synchronous:
        raise ValueError(
            f"protocol must be synchronous on {type(fabric).__name__}, which sums the gradients of all workers at once, got "
            f"{protocol!r}: use MinibatchSGD, or a networks.ParameterServer (a protocol of your own says synchronous = True)"
        )
    if message_bytes is None and (not isinstance(fabric, Network) or _bytes_take_time(fabric, cluster.workers)):
        raise ValueError(
            f"message_bytes is needed on {plainly(fabric)}, where bytes take time: for example "
            "message_bytes=problem.message_bytes, which is what simulate takes, or 1e8"
        )


def _bytes_take_time(network: Network, workers: int) -> bool:
    """Say whether a gigabyte takes longer than nothing between any worker and the server."""
    ways: tuple[tuple[Way, Callable[[int, float], object]], ...] = (
        ("down", network.download_seconds),
        ("up", network.upload_seconds),
    )
    return any(
        checks.as_seconds(seconds(worker, GIGABYTE)) != path_seconds(network, way, worker, 0.0)
        for worker in range(workers)
        for way, seconds in ways
    )
