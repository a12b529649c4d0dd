"""Uncontended paths: a message takes as long as it takes, so a job's whole life is known when it is handed out."""

from __future__ import annotations

from collections.abc import Sequence

from simsgd.cluster import Cluster
from simsgd.networks import Network
from simsgd.recording.events import EventLoop
from simsgd.recording.fault_schedule import Named
from simsgd.recording.job import Job
from simsgd.recording.message_faults import UNDISTURBED
from simsgd.recording.transport.base import Ends, Transport
from simsgd.support import checks


class Paths(Transport):
    """Uncontended paths between each worker and a server: one event a job, its arrival, and one more where links go down."""

    def __init__(
        self, loop: EventLoop, cluster: Cluster, named: Sequence[Named], message_bytes: float, seed: int, ends: Ends
    ) -> None:
        super().__init__(loop, cluster, named, message_bytes, seed, ends)
        network: Network = self._network
        workers = range(cluster.workers)
        self._down = [self._seconds(network.download_seconds, worker, "down") for worker in workers]
        self._up = [self._seconds(network.upload_seconds, worker, "up") for worker in workers]
        self._undisturbed = [faults.none for faults in self._faults]
        self._disturbances = [(UNDISTURBED, UNDISTURBED)] * cluster.workers

    def _seconds(self, of: object, worker: int, way: str) -> float:
        """Return how long a message of a worker takes one way, or raise ValueError."""
        given = of(worker, self._bytes)  # type: ignore[operator]
        seconds = checks.as_float(given)
        if not checks.finite_seconds(seconds):
            raise ValueError(
                f"{self._network!r} takes {given!r} seconds {way} for {self._bytes:g} bytes of worker {worker}: message times "
                "must be finite numbers and not negative"
            )
        return seconds

    def send(self, job: Job) -> None:
        """Deliver the model after the path's seconds."""
        worker, now = job.worker, job.assigned
        if self._undisturbed[worker]:
            job.departed = now
            if self._compute(job, now + self._down[worker]):
                job.sent = job.ended
                job.arrived = arrived = job.ended + self._up[worker]
                self._loop.plan(job, arrived, self._receive)  # as `arrives` does
        else:
            faults = self._faults[worker]
            self._disturbances[worker] = down, _ = faults.draw(now)
            job.departed, reached = faults.journey(now, self._down[worker], down, now)
            self.reached(job, reached)

    def upload(self, job: Job) -> None:
        """Let the gradient arrive after the path's seconds, and what disturbs it."""
        worker, now = job.worker, job.ended
        job.sent, arrived = self._faults[worker].journey(now, self._up[worker], self._disturbances[worker][1], now)
        self.arrives(job, arrived)
