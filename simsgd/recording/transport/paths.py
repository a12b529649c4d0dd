"""Uncontended paths: a message takes as long as it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import simpy

from simsgd.cluster.cluster import Cluster
from simsgd.networks import Network
from simsgd.protocols.base import Gradient
from simsgd.recording.fault_schedule import Named
from simsgd.recording.message_faults import UNDISTURBED
from simsgd.recording.queues import happen
from simsgd.recording.transport.base import Ends, Traffic
from simsgd.support import checks


class Paths(Traffic):
    """Uncontended paths between each worker and a server."""

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
        seconds = [self._message_seconds(worker) for worker in range(cluster.workers)]
        self._down, self._up = ([pair[way] for pair in seconds] for way in (0, 1))
        self._fates = [(UNDISTURBED, UNDISTURBED)] * cluster.workers

    def _message_seconds(self, worker: int) -> tuple[float, float]:
        """Return how long the model takes down to a worker, and a gradient up, or raise ValueError."""
        network: Network = self._network
        given = network.download_seconds(worker, self._bytes), network.upload_seconds(worker, self._bytes)
        down, up = map(checks.as_float, given)
        if not (0 <= down < math.inf and 0 <= up < math.inf):
            raise ValueError(
                f"{network!r} takes {given[0]!r} seconds down and {given[1]!r} seconds up for {self._bytes:g} bytes of "
                f"worker {worker}: message times must be finite numbers and not negative"
            )
        return down, up

    def download(self, job: Gradient) -> None:
        """Deliver the model after the path's seconds."""
        worker, now = job.worker, job.assigned
        luck = self._luck[worker]
        if luck.none:
            job.departed, arrival = now, now + self._down[worker]
        else:
            self._fates[worker] = luck.draw(now)
            job.departed, arrival = luck.journey(now, self._down[worker], self._fates[worker][0], now)
        self._ends.deliver(job, arrival)

    def upload(self, job: Gradient) -> simpy.Event | None:
        """Let the gradient arrive after the path's seconds."""
        worker, now = job.worker, job.ended
        luck = self._luck[worker]
        if luck.none:
            job.sent, arrival = now, now + self._up[worker]
        else:
            job.sent, arrival = luck.journey(now, self._up[worker], self._fates[worker][1], now)
        return happen(simpy.Event(self._environment), arrival) if arrival > now else None
