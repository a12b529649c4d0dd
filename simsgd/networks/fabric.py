"""The base classes of fabrics: what moves messages belongs to the cluster, not to the protocol."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from simsgd.times.law import Law


class Fabric:
    """How the messages of a cluster move: a `Network`, a `ParameterServer` or an `AllReduce`. A frozen description."""

    def check_workers(self, workers: int) -> None:
        """Raise ValueError if the fabric does not fit that many workers; most fit any."""


class Network(Fabric, ABC):
    """A fabric of uncontended paths between each worker and a server; subclass it with the two directions to write your own.

    The time of a message does not depend on other messages, and the server handles gradients in no time.
    """

    @abstractmethod
    def download_seconds(self, worker: int, message_bytes: float) -> float:
        """Return the seconds in which the model, `message_bytes` long, gets from the server to `worker`."""

    @abstractmethod
    def upload_seconds(self, worker: int, message_bytes: float) -> float:
        """Return the seconds in which a gradient, `message_bytes` long, gets from `worker` to the server."""

    def jitter(self, worker: int) -> tuple[Law | None, Law | None]:
        """Return the laws of the additional seconds of a message, (down, up); None where there are none."""
        return None, None


class Wire(Network):
    """A path between two points, the same in both directions. `Link` is the simplest."""

    latency: float
    """Seconds before the first byte arrives."""

    @abstractmethod
    def seconds(self, message_bytes: float) -> float:
        """Return the seconds that one message takes when nothing else uses the path, including the latency."""

    def rate(self, message_bytes: float) -> float:
        """Return the bytes/second of one message after its latency; infinite where that takes no time."""
        flowing = self.seconds(message_bytes) - self.latency
        return message_bytes / flowing if flowing > 0 else math.inf

    def download_seconds(self, worker: int, message_bytes: float) -> float:
        """Return `seconds(message_bytes)`."""
        return self.seconds(message_bytes)

    def upload_seconds(self, worker: int, message_bytes: float) -> float:
        """Return `seconds(message_bytes)`."""
        return self.seconds(message_bytes)
