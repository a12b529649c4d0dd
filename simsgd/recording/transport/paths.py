"""Uncontended paths: a message takes as long as it takes, so a job's whole life is known when it is handed out."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from simsgd.cluster import Cluster
from simsgd.networks import Network
from simsgd.networks.fabric import path_seconds
from simsgd.recording.events import EventLoop
from simsgd.recording.fault_schedule import Named
from simsgd.recording.job import Job
from simsgd.recording.message_faults import UNDISTURBED, Disturbance
from simsgd.recording.transport.base import Ends, Sizes, Transport


class Sending(NamedTuple):
    """A message that is lost on its way: its seconds, what disturbs it, and what is called with its arrival."""

    seconds: float
    disturbance: Disturbance
    done: Callable[[Job, float], None]


class Paths(Transport):
    """Uncontended paths between each worker and a server: one event a job, its arrival, and one more where links go down."""

    def __init__(self, loop: EventLoop, cluster: Cluster, named: Sequence[Named], sizes: Sizes, seed: int, ends: Ends) -> None:
        super().__init__(loop, cluster, named, sizes, seed, ends)
        network: Network = self._network
        workers = range(cluster.workers)
        self._down = [path_seconds(network, "down", worker, sizes.down) for worker in workers]
        self._up = [path_seconds(network, "up", worker, sizes.up) for worker in workers]
        for worker, (down, up) in enumerate(zip(self._down, self._up, strict=True)):
            if down + up == math.inf:
                raise ValueError(
                    f"{network!r} takes {down!r} seconds down and {up!r} up for worker {worker}: the clock cannot count so far"
                )
        self._undisturbed = [faults.none for faults in self._faults]
        self._disturbances = [(UNDISTURBED, UNDISTURBED)] * cluster.workers

    def send(self, job: Job) -> None:
        """Deliver the model after the path's seconds."""
        worker, now = job.worker, job.assigned
        if self._undisturbed[worker]:
            job.departed = now
            job.began = began = now + self._down[worker]
            try:
                job.ended = job.sent = ended = self._end_of(job)
            except Exception as error:
                self._fails(job, began, error)
            else:
                job.arrived = arrived = ended + self._up[worker]
                self._plan(job, arrived, self._receive)
        else:
            faults = self._faults[worker]
            self._disturbances[worker] = down, _ = faults.draw(now)
            if faults.outages and down.timeouts:
                job.departed = faults.link_up(now, now)
                self._resend(job, Sending(self._down[worker], down, self.reached_in_turn))
            else:
                job.departed, reached = faults.journey(now, self._down[worker], down, now)
                self.reached_in_turn(job, reached)

    def upload(self, job: Job) -> None:
        """Let the gradient arrive after the path's seconds, and what disturbs it."""
        worker, now = job.worker, job.ended
        faults, up = self._faults[worker], self._disturbances[worker][1]
        if faults.outages and up.timeouts:
            job.sent = faults.link_up(now, now)
            self._resend(job, Sending(self._up[worker], up, self.arrives))
        else:
            job.sent, arrived = faults.journey(now, self._up[worker], up, now)
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
