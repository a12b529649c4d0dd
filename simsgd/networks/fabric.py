"""The base classes of fabrics: what moves messages belongs to the cluster, not to the protocol."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Literal

from simsgd.support import checks
from simsgd.times.law import Law

Way = Literal["down", "up"]
"""Models come down to the workers, gradients go up to the server."""


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
        flowing = seconds_of(self, message_bytes) - latency_of(self)
        return message_bytes / flowing if flowing > 0 else math.inf

    def download_seconds(self, worker: int, message_bytes: float) -> float:
        """Return `seconds(message_bytes)`."""
        return self.seconds(message_bytes)

    def upload_seconds(self, worker: int, message_bytes: float) -> float:
        """Return `seconds(message_bytes)`."""
        return self.seconds(message_bytes)


# --- what fabrics answer, checked: one may be somebody's own, and then it may answer anything ------------------------------

FINITE = "message times must be finite numbers and not negative"


def path_seconds(network: Network, way: Way, worker: int, message_bytes: float) -> float:
    """Return the seconds of a message of a worker, or raise ValueError for what is not a time."""
    given = (network.download_seconds if way == "down" else network.upload_seconds)(worker, message_bytes)
    seconds = checks.as_seconds(given)
    if not checks.finite_seconds(seconds):
        raise ValueError(
            f"{network!r} takes {checks.shown(given)} seconds {way} for {message_bytes:g} bytes of worker {worker}: {FINITE}"
        )
    return seconds


def seconds_of(wire: Wire, message_bytes: float) -> float:
    """Return the seconds of a message on a wire, or raise ValueError for what is not a number."""
    given = wire.seconds(message_bytes)
    return given if type(given) is float and given >= 0 else _number(wire, f"takes for {message_bytes:g} bytes", given)


def latency_of(wire: Wire) -> float:
    """Return the latency of a wire, or raise ValueError for what is not a number."""
    given = wire.latency
    return given if type(given) is float and given >= 0 else _number(wire, "has a latency of", given)


def rate_of(wire: Wire, message_bytes: float) -> float:
    """Return the rate of a message on a wire, or raise ValueError for what is not a number above 0, or infinity."""
    given = wire.rate(message_bytes)
    rate = checks.as_seconds(given)
    if not rate > 0:
        raise ValueError(
            f"{wire!r} sends {message_bytes:g} bytes at {checks.shown(given)} bytes/second: a rate must be above 0, or math.inf"
        )
    return rate


def _number(wire: Wire, what: str, given: object) -> float:
    seconds = checks.as_seconds(given)
    if not seconds >= 0:
        raise ValueError(f"{wire!r} {what} {checks.shown(given)} seconds: {FINITE}")
    return seconds


def jitter_of(fabric: Any, worker: int) -> tuple[Law | None, Law | None]:
    """Return a fabric's laws of jitter of a worker's messages, or raise TypeError for what is not two laws, or None."""
    given = fabric.jitter(worker)
    if not isinstance(given, tuple) or len(given) != 2 or not all(law is None or isinstance(law, Law) for law in given):
        raise TypeError(
            f"{fabric!r}.jitter(worker={worker}) must return two laws of seconds, (down, up), or None for no seconds, "
            f"got {checks.shown(given)}"
        )
    return given
