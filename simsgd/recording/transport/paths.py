"""Uncontended paths: a message takes as long as it takes, so a job's whole life is known when it is handed out."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from simsgd.cluster import Cluster
from simsgd.costs import Costs
from simsgd.networks import Network
from simsgd.networks.fabric import path_seconds
from simsgd.recording.events import EventLoop
from simsgd.recording.fault_schedule import Named
from simsgd.recording.job import Job
from simsgd.recording.message_faults import UNDISTURBED, Disturbance
from simsgd.recording.transport.base import SIZES_KEPT, Ends, Transport
from simsgd.work import Charges


class Sending(NamedTuple):
    """A message that is lost on its way: its seconds, what disturbs it, and what is called with its arrival."""

    seconds: float
    disturbance: Disturbance
    done: Callable[[Job, float], None]


class Paths(Transport):
    """Uncontended paths between each worker and a server: one event a job, its arrival, and one more where links go down."""

    def __init__(self, loop: EventLoop, cluster: Cluster, named: Sequence[Named], costs: Costs, seed: int, ends: Ends) -> None:
        super().__init__(loop, cluster, named, costs, seed, ends)
        network: Network = self._network
        workers = range(cluster.workers)
        self._one_way = functools.lru_cache(SIZES_KEPT)(functools.partial(path_seconds, network))
        self._usually = [self._seconds(worker, self._usual) for worker in workers]
        self._undisturbed = [faults.none for faults in self._faults]
        self._disturbances = [(UNDISTURBED, UNDISTURBED)] * cluster.workers

    def _seconds(self, worker: int, charges: Charges) -> tuple[float, float]:
        """Return the seconds of a job's two messages, (down, up)."""
        down, up = self._one_way("down", worker, charges.bytes_down), self._one_way("up", worker, charges.bytes_up)
        if down + up == math.inf:
            raise ValueError(
                f"{self._network!r} takes {down!r} seconds down and {up!r} up for worker {worker}: "
                "the clock cannot count so far"
            )
        return down, up

    def send(self, job: Job) -> None:
        """Deliver the model after the path's seconds."""
        worker, now, charges = job.worker, job.assigned, job.charges
        down, up = self._usually[worker] if charges is self._usual else self._seconds(worker, charges)
        if self._undisturbed[worker]:
            job.departed = now
            job.began = began = now + down
            try:
                job.ended = job.sent = ended = self._end_of(job)
            except Exception as error:
                self._fails(job, began, error)
            else:
                job.arrived = arrived = ended + up
                self._plan(job, arrived, self._receive)
        else:
            faults = self._faults[worker]
            self._disturbances[worker] = disturbance, _ = faults.draw(now)
            if faults.outages and disturbance.timeouts:
                job.departed = faults.link_up(now, now)
                self._resend(job, Sending(down, disturbance, self.reached_in_turn))
            else:
                job.departed, reached = faults.journey(now, down, disturbance, now)
                self.reached_in_turn(job, reached)

    def upload(self, job: Job) -> None:
        """Let the gradient arrive after the path's seconds, and what disturbs it."""
        worker, now = job.worker, job.ended
        faults, disturbance = self._faults[worker], self._disturbances[worker][1]
        seconds = self._seconds(worker, job.charges)[1]
        if faults.outages and disturbance.timeouts:
            job.sent = faults.link_up(now, now)
            self._resend(job, Sending(seconds, disturbance, self.arrives))
        else:
            job.sent, arrived = faults.journey(now, seconds, disturbance, now)
            self.arrives(job, arrived)

    def _resend(self, job: Job, sending: Sending, sent: int = 0) -> None:
        """Send a message, which has been sent so often, once more: where links go down, not before the clock has come there."""
        now = self._loop.now
        over = self._faults[job.worker].link_up(now, now) + sending.seconds + sending.disturbance.jitter
        timeouts = sending.disturbance.timeouts
        if sent == len(timeouts):
            sending.done(job, over)
        else:
            self._plan(job, over + timeouts[sent], functools.partial(self._resend, sending=sending, sent=sent + 1))
