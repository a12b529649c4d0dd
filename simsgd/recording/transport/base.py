"""What the transport of every fabric has in common."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

from simsgd.cluster import Cluster
from simsgd.costs import Costs
from simsgd.networks.fabric import jitter_of
from simsgd.recording.computing import Computing
from simsgd.recording.events import EventLoop
from simsgd.recording.fault_schedule import Named
from simsgd.recording.job import Job
from simsgd.recording.message_faults import NO_FAULTS, MessageFaults
from simsgd.support.walks import Unfinished

SIZES_KEPT = 1024
"""Of so many messages, told apart by worker and bytes, it is kept how long they take."""


class Ends(NamedTuple):
    """What a transport is connected to.

    Attributes:
        computing: says how long workers compute.
        receive: delivers the gradient of a job that has arrived to the protocol.
        busy: how many workers have been asked for a gradient that has not been delivered.
        check: says that everybody may be waiting for everybody.
    """

    computing: Computing
    receive: Callable[[Job], None]
    busy: Callable[[], int]
    check: Callable[[str], None]


class Transport(ABC):
    """Moves the jobs of one recording: model down, computing, gradient up.

    A job's life reads from top to bottom: `send`, `reached`, `upload`, `arrives`; each says when the next comes, as soon as
    that is known.

    Args:
        loop: the event loop.
        cluster: whose messages.
        named: the faults of each worker, by name; see `fault_schedule.by_worker`.
        costs: what jobs cost; the bytes of the usual charges are refused at once if no clock can count so far.
        seed: the recording's.
        ends: what it is connected to.
    """

    collective = False
    """Whether gradients are summed on their way, and wait for each other."""

    def __init__(self, loop: EventLoop, cluster: Cluster, named: Sequence[Named], costs: Costs, seed: int, ends: Ends) -> None:
        self._loop = loop
        self._network = cast(Any, cluster.network)
        self._costs, self._usual = costs, costs.usual
        self._ends = ends
        self._plan, self._end_of, self._receive = loop.plan, ends.computing.end, ends.receive
        self._faults = [self._faults_of(worker, named[worker], seed) for worker in range(cluster.workers)]

    def _faults_of(self, worker: int, named: Named, seed: int) -> MessageFaults:
        """Return what disturbs a worker's messages; one object for all those of whom nothing does."""
        jitter = (None, None) if self.collective else jitter_of(self._network, worker)
        return MessageFaults(named, seed, worker, jitter) if named or any(jitter) else NO_FAULTS

    @abstractmethod
    def send(self, job: Job) -> None:
        """Bring a job's model to its worker: sooner or later it has `reached` it."""

    def reached(self, job: Job, moment: float) -> None:
        """Let the model be at its worker from a moment on, which computes, and has the gradient sent up when it has ended."""
        job.began = moment
        try:
            job.ended = ended = self._end_of(job)
        except Exception as error:
            self._fails(job, moment, error)
        else:
            self._plan(job, ended, self.upload)

    def reached_in_turn(self, job: Job, moment: float) -> None:
        """The same where models take events to come: jobs that were dropped before they began leave their times unused."""
        now = self._loop.now
        if moment > now and self._faults[job.worker].draws:  # the next job's model may take less: draw when the clock is there
            self._plan(job, moment, lambda job: self.reached_in_turn(job, moment))
            return
        self.reached(job, moment)

    def _fails(self, job: Job, moment: float, error: Exception) -> None:
        """Raise the error of a time that could not be drawn, when its job begins; or go on with one that is yet to be walked.

        Times are drawn ahead of the clock, and the recording may end, or the job be cancelled, before it needs them.
        """
        if isinstance(error, Unfinished):
            self._plan(job, max(error.moment, self._loop.now), functools.partial(self._further, error))
        else:
            self._ends.computing.note(error, job)
            self._plan(job, moment, functools.partial(_fail, error))

    def _further(self, walk: Unfinished, job: Job) -> None:
        """Ask again when a job ends whose walk the clock has followed."""
        now = self._loop.now
        try:
            job.ended = ended = self._ends.computing.further(job, walk, now)
        except Exception as error:
            self._fails(job, now, error)
        else:
            self._plan(job, ended, self.upload)

    @abstractmethod
    def upload(self, job: Job) -> None:
        """Bring a job's gradient, just computed, to the server: sooner or later it `arrives`."""

    def arrives(self, job: Job, moment: float) -> None:
        """Let the gradient be at the server at a moment, and be delivered."""
        job.arrived = moment
        self._plan(job, moment, self._receive)

    def drop(self, job: Job) -> None:
        """Forget a job, wherever it is; the times of one that has not begun stay unused."""
        self._loop.take_back(job)
        computing = self._ends.computing
        computing.interrupt(job.worker)
        if math.isnan(job.began) or (job.charges.seconds and math.isnan(job.ended)):  # how many it takes was not known yet
            computing.leave_out(job)

    def settle(self) -> None:
        """Look again, after a gradient is asked for no longer, whether those who wait are complete."""

    def waiting(self) -> int:
        """Return how many gradients wait here for others, and will not move until these come."""
        return 0


def _fail(error: Exception, job: Job) -> None:
    raise error
