"""What a fabric is: how messages move in a cluster is the cluster's business, not the protocol's."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from simsgd.times.law import Law


class Fabric:
    """How the messages of a cluster move: a `Network`, a `ParameterServer` or an `AllReduce`. A frozen description."""

    def check_workers(self, workers: int) -> None:
        """Raise ValueError if the fabric cannot serve so many workers; most serve any."""


class Network(Fabric, ABC):
    """Uncontended paths between each worker and a server; subclass it with the two directions to write your own.

    A message takes as long as it takes, whatever else is on its way; the server handles gradients in no time.
    """

    @abstractmethod
    def download_seconds(self, worker: int, message_bytes: float) -> float:
        """Return the seconds in which the model, `message_bytes` long, gets from the server to `worker`."""

    @abstractmethod
    def upload_seconds(self, worker: int, message_bytes: float) -> float:
        """Return the seconds in which a gradient, `message_bytes` long, gets from `worker` to the server."""

    def jitter(self, worker: int) -> tuple[Law | None, Law | None]:
        """Return the laws of the seconds that a message may take on top, (down, up); None where nothing varies."""
        return None, None


class Wire(Network):
    """A path between two points, the same in both directions: seconds for so many bytes. `Link` is the simplest."""

    latency: float
    """Seconds before the first byte arrives."""

    @abstractmethod
    def seconds(self, message_bytes: float) -> float:
        """Return the seconds that one message takes if it has the path for itself, the latency among them."""

    def rate(self, message_bytes: float) -> float:
        """Return the bytes/second at which one message flows once its latency is over; infinite where that takes no time."""
        flowing = self.seconds(message_bytes) - self.latency
        return message_bytes / flowing if flowing > 0 else math.inf

    def download_seconds(self, worker: int, message_bytes: float) -> float:
        """Return `seconds(message_bytes)`."""
        return self.seconds(message_bytes)

    def upload_seconds(self, worker: int, message_bytes: float) -> float:
        """Return `seconds(message_bytes)`."""
        return self.seconds(message_bytes)
