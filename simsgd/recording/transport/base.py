"""What the traffic of every fabric has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import simpy

from simsgd.cluster.cluster import Cluster
from simsgd.protocols.base import Gradient
from simsgd.recording.fault_schedule import Named
from simsgd.recording.message_faults import Luck


class Ends(NamedTuple):
    """What a fabric is connected to.

    Attributes:
        deliver: puts a job's model into its worker's hands, at a moment (simulated seconds).
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
        named: the faults of each worker, by name; see `lives.by_worker`.
        message_bytes: bytes of the model, and of a gradient.
        seed: the recording's.
        ends: what the fabric is connected to.
    """

    collective = False
    """Whether gradients are summed on their way, and wait for each other."""

    def __init__(
        self,
        environment: simpy.Environment,
        cluster: Cluster,
        named: Sequence[Named],
        message_bytes: float,
        seed: int,
        ends: Ends,
    ) -> None:
        self._environment = environment
        self._network = cast(Any, cluster.network)
        self._bytes = message_bytes
        self._ends = ends
        jitter = (lambda worker: (None, None)) if self.collective else self._network.jitter
        self._luck = [Luck(named[worker], seed, worker, jitter(worker)) for worker in range(cluster.workers)]

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
