"""How messages move between the workers and the server: seconds for a message of so many bytes.

Laws of this module:

1. Links are uncontended here: a message takes latency + bytes / bandwidth, whatever else is on its way.
2. A network is a frozen description; it knows a worker's two directions and nothing of the method.
"""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from dataclasses import dataclass

from simsgd import checks


class Network(ABC):
    """How long messages take; subclass it with the two directions to write your own."""

    @abstractmethod
    def download_seconds(self, worker: int, message_bytes: float) -> float:
        """Return the seconds in which the model, `message_bytes` long, gets from the server to `worker`."""

    @abstractmethod
    def upload_seconds(self, worker: int, message_bytes: float) -> float:
        """Return the seconds in which a gradient, `message_bytes` long, gets from `worker` to the server."""

    def check_workers(self, workers: int) -> None:
        """Raise ValueError if the network cannot serve so many workers; most serve any."""


@dataclass(frozen=True)
class Link(Network):
    """The same link for every worker and both directions: latency + bytes / bandwidth seconds.

    Args:
        latency: seconds before the first byte arrives, at least 0.
        bandwidth: bytes/second, above 0; infinity, the default, makes the size of a message irrelevant.

    Raises:
        ValueError: if `latency` is negative or `bandwidth` is not above 0.

    Example:
        >>> import simsgd as sg
        >>> sg.networks.Link(latency=0.5, bandwidth=100.0).upload_seconds(worker=0, message_bytes=200)
        2.5
    """

    latency: float = 0.0
    bandwidth: float = math.inf

    def __post_init__(self) -> None:
        checks.store(self, latency=checks.not_negative("Link.latency", self.latency, "seconds"))
        unlimited = isinstance(self.bandwidth, numbers.Real) and self.bandwidth == math.inf
        checked = math.inf if unlimited else checks.positive("Link.bandwidth", self.bandwidth, "bytes/second, or math.inf")
        checks.store(self, bandwidth=checked)

    def seconds(self, message_bytes: float) -> float:
        """Return the seconds that one message of `message_bytes` takes."""
        return self.latency + message_bytes / self.bandwidth

    def download_seconds(self, worker: int, message_bytes: float) -> float:
        """Return latency + bytes / bandwidth."""
        return self.seconds(message_bytes)

    def upload_seconds(self, worker: int, message_bytes: float) -> float:
        """Return latency + bytes / bandwidth."""
        return self.seconds(message_bytes)


@dataclass(frozen=True)
class Duplex(Network):
    """A link for each direction: models come `down`, gradients go `up`.

    Args:
        down: the link from the server to each worker.
        up: the link from each worker to the server.

    Raises:
        TypeError: if one of them is not a `Link`.

    Example:
        >>> import simsgd as sg
        >>> network = sg.networks.Duplex(down=sg.networks.Link(latency=1.0), up=sg.networks.Link(latency=3.0))
        >>> network.download_seconds(0, 100), network.upload_seconds(0, 100)
        (1.0, 3.0)
    """

    down: Link
    up: Link

    def __post_init__(self) -> None:
        checks.instance("Duplex.down", self.down, Link, "Link(latency=1e-3, bandwidth=1.25e9)")
        checks.instance("Duplex.up", self.up, Link, "Link(latency=1e-3, bandwidth=1.25e9)")

    def download_seconds(self, worker: int, message_bytes: float) -> float:
        """Return the seconds of the `down` link."""
        return self.down.seconds(message_bytes)

    def upload_seconds(self, worker: int, message_bytes: float) -> float:
        """Return the seconds of the `up` link."""
        return self.up.seconds(message_bytes)


@dataclass(frozen=True)
class PerWorker(Network):
    """A network of its own for each worker, so that one of them may sit behind a slow link.

    Args:
        networks: one `Network` for each worker.

    Raises:
        TypeError: if one of them is not a `Network`; ValueError, in `Cluster`, if there is not one for each worker.

    Example:
        >>> import simsgd as sg
        >>> near, far = sg.networks.Link(latency=1e-3), sg.networks.Link(latency=0.1)
        >>> sg.networks.PerWorker((near, near, far)).upload_seconds(2, 0)
        0.1
    """

    networks: tuple[Network, ...]

    def __post_init__(self) -> None:
        networks = checks.sequence("PerWorker.networks", self.networks, "(Link(latency=1e-3), Link(latency=0.1))")
        checks.store(self, networks=networks)
        for i, network in enumerate(self.networks):
            checks.instance(f"PerWorker.networks[{i}]", network, Network, "Link(latency=1e-3)")

    def download_seconds(self, worker: int, message_bytes: float) -> float:
        """Return the seconds of the worker's own network."""
        return self.networks[worker].download_seconds(worker, message_bytes)

    def upload_seconds(self, worker: int, message_bytes: float) -> float:
        """Return the seconds of the worker's own network."""
        return self.networks[worker].upload_seconds(worker, message_bytes)

    def check_workers(self, workers: int) -> None:
        """Raise ValueError unless there is one network for each worker."""
        if len(self.networks) != workers:
            raise ValueError(
                f"PerWorker.networks must hold one network for each of {workers} workers, got {len(self.networks)}"
            )
