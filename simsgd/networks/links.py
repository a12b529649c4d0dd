"""Links and combinations of links: uncontended paths of latency and bandwidth."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simsgd.networks.fabric import Network, Wire, jitter_of, path_seconds
from simsgd.support import checks
from simsgd.support.units import BytesPerSecond, InSeconds
from simsgd.times.answers import draws_of, moments_of
from simsgd.times.law import Law, Moments, Sampler
from simsgd.times.stretching import follows_clock

DAY = 86_400.0


@dataclass(frozen=True)
class Link(Wire):
    """The same link for every worker and both directions: latency + bytes / bandwidth seconds.

    Args:
        latency: seconds before the first byte arrives, at least 0.
        bandwidth: bytes/second, above 0; with infinity, the default, the size of a message does not matter.

    Raises:
        ValueError: if `latency` is negative or `bandwidth` is not above 0; if a day of latency with less than a byte per second
            says that the two were swapped.

    Example:
        >>> import simsgd as sg
        >>> sg.networks.Link(latency=0.5, bandwidth=100.0).upload_seconds(worker=0, message_bytes=200)
        2.5
    """

    latency: InSeconds = 0.0
    bandwidth: BytesPerSecond = math.inf

    def __post_init__(self) -> None:
        checks.store(self, latency=checks.seconds("Link.latency", self.latency))
        unlimited = isinstance(self.bandwidth, numbers.Real) and self.bandwidth == math.inf
        checked = math.inf if unlimited else checks.positive("Link.bandwidth", self.bandwidth, "bytes/second, or math.inf")
        checks.store(self, bandwidth=checked)
        if self.latency > DAY and self.bandwidth < 1:
            raise ValueError(
                f"{self!r} has over a day of latency, and less than a byte "
                "per second: are the two swapped? Link(latency=seconds, bandwidth=bytes/second)"
            )

    def seconds(self, message_bytes: float) -> float:
        """Return the seconds that one message of `message_bytes` takes."""
        return self.latency + message_bytes / self.bandwidth

    def rate(self, message_bytes: float) -> float:
        """Return the bandwidth, whatever the size."""
        return self.bandwidth


@dataclass(frozen=True)
class Jittery(Wire):
    """Another wire, with additional seconds for every message, drawn from a law.

    They add to the latency: they occupy no bandwidth, and `seconds` does not include them. Each worker and direction draws
    from its own stream. A law that follows the clock (a slow spell, a pause) is refused, because jitter is not always drawn in
    the order of the clock.

    Args:
        wire: the path, for example a `Link`.
        law: of the additional seconds of each message.

    Raises:
        TypeError: if `wire` is not a `Wire` or `law` not a `times.Law`; ValueError, in `Cluster`, if the law cannot serve so
            many workers.

    Example:
        >>> import simsgd as sg
        >>> link = sg.networks.Link(latency=1e-3, bandwidth=1e9)
        >>> wire = sg.networks.Jittery(link, sg.times.Lognormal(mean=2e-4, coefficient_of_variation=1.0))
        >>> wire.seconds(1e6), wire.jitter(worker=0)[0].moments().mean
        (0.002, 0.0002)
    """

    wire: Wire
    law: Law

    def __post_init__(self) -> None:
        checks.instance("Jittery.wire", self.wire, Wire, "Link(latency=1e-3, bandwidth=1.25e9)")
        checks.instance("Jittery.law", self.law, Law, "times.Exponential(mean=1e-4)")
        if follows_clock(self.law):
            raise ValueError(
                f"Jittery.law must not follow the clock, as jitter is drawn before the message leaves, got {self.law!r}"
            )

    @property
    def latency(self) -> float:  # type: ignore[override]
        """Seconds before the first byte arrives, without the jitter."""
        return self.wire.latency

    def seconds(self, message_bytes: float) -> float:
        """Return the seconds of the wire itself, without the jitter."""
        return self.wire.seconds(message_bytes)

    def rate(self, message_bytes: float) -> float:
        """Return the bytes/second of the wire itself."""
        return self.wire.rate(message_bytes)

    def jitter(self, worker: int) -> tuple[Law | None, Law | None]:
        """Return the law for both directions, plus that of the wire itself if it has one."""
        down, up = jitter_of(self.wire, worker)
        return together(down, self.law), together(up, self.law)

    def check_workers(self, workers: int) -> None:
        """Raise ValueError if the law cannot serve so many workers."""
        self.wire.check_workers(workers)
        self.law.check_workers(workers)


@dataclass(frozen=True)
class Duplex(Network):
    """A link for each direction: models come `down`, gradients go `up`.

    Args:
        down: the path from the server to each worker, for example a `Link`.
        up: the path from each worker to the server.

    Raises:
        TypeError: if one of them is not a `Wire`.

    Example:
        >>> import simsgd as sg
        >>> network = sg.networks.Duplex(down=sg.networks.Link(latency=1.0), up=sg.networks.Link(latency=3.0))
        >>> network.download_seconds(0, 100), network.upload_seconds(0, 100)
        (1.0, 3.0)
    """

    down: Wire
    up: Wire

    def __post_init__(self) -> None:
        checks.instance("Duplex.down", self.down, Wire, "Link(latency=1e-3, bandwidth=1.25e9)")
        checks.instance("Duplex.up", self.up, Wire, "Link(latency=1e-3, bandwidth=1.25e9)")

    def download_seconds(self, worker: int, message_bytes: float) -> float:
        """Return the seconds of the `down` link."""
        return self.down.seconds(message_bytes)

    def upload_seconds(self, worker: int, message_bytes: float) -> float:
        """Return the seconds of the `up` link."""
        return self.up.seconds(message_bytes)

    def jitter(self, worker: int) -> tuple[Law | None, Law | None]:
        """Return the law of `down`, and that of `up`."""
        return jitter_of(self.down, worker)[0], jitter_of(self.up, worker)[1]

    def check_workers(self, workers: int) -> None:
        """Raise ValueError if either path cannot serve so many workers."""
        self.down.check_workers(workers)
        self.up.check_workers(workers)


@dataclass(frozen=True)
class PerWorker(Network):
    """A separate network for each worker, for example to put one of them behind a slow link.

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

    networks: Sequence[Network]

    def __post_init__(self) -> None:
        networks = checks.sequence("PerWorker.networks", self.networks, "(Link(latency=1e-3), Link(latency=0.1))")
        checks.store(self, networks=networks)
        for i, network in enumerate(self.networks):
            checks.instance(f"PerWorker.networks[{i}]", network, Network, "Link(latency=1e-3)")

    def download_seconds(self, worker: int, message_bytes: float) -> float:
        """Return the seconds of the worker's own network."""
        return path_seconds(self.networks[worker], "down", worker, message_bytes)

    def upload_seconds(self, worker: int, message_bytes: float) -> float:
        """Return the seconds of the worker's own network."""
        return path_seconds(self.networks[worker], "up", worker, message_bytes)

    def jitter(self, worker: int) -> tuple[Law | None, Law | None]:
        """Return the laws of the worker's own network."""
        return jitter_of(self.networks[worker], worker)

    def check_workers(self, workers: int) -> None:
        """Raise ValueError unless there is one network for each worker."""
        if len(self.networks) != workers:
            raise ValueError(
                f"PerWorker.networks must hold one network for each of {workers} workers, got {len(self.networks)}"
            )
        for network in self.networks:
            network.check_workers(workers)


@dataclass(frozen=True)
class Sum(Law):
    """The sum of two laws, drawn independently: the jitter of two wires in series.

    Args:
        first: draws from the stream it is given.
        second: draws from a stream spawned from it.
    """

    first: Law
    second: Law

    def sampler(self, rng: np.random.Generator, worker: int) -> Sampler:
        """Draw from both and add."""
        (own,) = rng.spawn(1)
        first, second = draws_of(self.first, rng, worker), draws_of(self.second, own, worker)
        return lambda now: first(now) + second(now)

    def moments(self, worker: int = 0) -> Moments:
        """Means and variances add; the autocorrelations are weighted by the variances."""
        first, second = moments_of(self.first, worker), moments_of(self.second, worker)
        variance = first.variance + second.variance
        covariance = first.autocorrelation * first.variance + second.autocorrelation * second.variance
        return Moments(first.mean + second.mean, variance, covariance / variance if variance else 0.0)

    def check_workers(self, workers: int) -> None:
        """Raise ValueError if one of the two cannot serve so many workers."""
        self.first.check_workers(workers)
        self.second.check_workers(workers)


def together(first: Law | None, second: Law | None) -> Law | None:
    """Return the law of the sum; None stands for no seconds."""
    return Sum(first, second) if first and second else first or second
