"""A parameter server whose links all messages share: a description, and the rates and latencies that it gives a message."""

from __future__ import annotations

from dataclasses import dataclass, field

from simsgd.networks.fabric import Fabric, Network, Way, Wire, jitter_of, latency_of, rate_of
from simsgd.networks.links import Duplex, Link, PerWorker, together
from simsgd.support import checks
from simsgd.support.bounds import bounds
from simsgd.times.law import Law
from simsgd.times.stretching import follows_clock

SHARING = ("fair", "first in, first out")
"""How messages share a link of the server."""


@dataclass(frozen=True)
class ParameterServer(Fabric):
    """A server whose link carries all models out and all gradients in, and which handles one gradient after the other.

    Two resources are shared, one in each direction: models use the outbound side of `link`, gradients its inbound side. "first
    in, first out" sends one message after the other, each at full speed; "fair" sends all at once at max-min fair rates, none
    above what the worker's own `access` carries. A message of S bytes that is alone takes α + S / min(capacity, cap) seconds,
    with α the sum of the latencies of both links.

    With p `shards` the model is split evenly over p servers, each with its own `link`. By symmetry (all pieces of a message are
    equal and travel at once) p links of bandwidth B carry it exactly as one link of p·B, and each server handles its piece of
    a gradient in 1/p of `update`. So the shards are one queue, p times as fast, without approximation. First in, first out, a
    message that is slowed by its worker's `access` delays all messages behind it, on every shard.

    Args:
        link: the link of each server; a `Wire` is the same in both directions, a `Duplex` has one for each.
        sharing: "fair" or "first in, first out".
        shards: how many servers hold the model together, at least 1.
        update: the law of the seconds for which one server with the whole model is busy with each gradient; None: no time.
        access: each worker's own link, which adds its latency and limits the rate at which that worker sends or receives;
            unlimited by default.

    Raises:
        TypeError: if `link`, `update` or `access` is of the wrong kind.
        ValueError: if `sharing` is not one of the two or `shards` is below 1; in `Cluster`, if `access`, `update` or a law of
            jitter does not fit the number of workers.

    Example:
        >>> import simsgd as sg
        >>> server = sg.networks.ParameterServer(sg.networks.Link(latency=1e-3, bandwidth=1.25e9), shards=4)
        >>> server.latency("up", worker=0), server.capacity("up", message_bytes=1e8)
        (0.001, 5000000000.0)
    """

    link: Wire | Duplex = field(default_factory=Link)
    sharing: str = "fair"
    shards: int = 1
    update: Law | None = None
    access: Wire | Duplex | PerWorker = field(default_factory=Link)

    def __post_init__(self) -> None:
        checks.instance("ParameterServer.link", self.link, (Wire, Duplex), "Link(latency=1e-3, bandwidth=1.25e9)")
        checks.one_of("ParameterServer.sharing", self.sharing, SHARING)
        checks.store(self, shards=checks.whole("ParameterServer.shards", self.shards, 1))
        bounds.check("parts", self.shards, f"ParameterServer.shards={checks.shown(self.shards)}")
        if self.update is not None:
            checks.instance("ParameterServer.update", self.update, Law, "times.Constant(1e-3)")
            if follows_clock(self.update):
                raise ValueError(
                    "ParameterServer.update must not follow the clock, as each worker's gradients draw their own, "
                    f"got {self.update!r}"
                )
        _check_access("ParameterServer.access", self.access)

    def latency(self, direction: Way, worker: int) -> float:
        """Return the seconds before the first byte arrives: the sum of the latencies of the server's link and the worker's."""
        return latency_of(path(self.link, direction, worker)) + latency_of(path(self.access, direction, worker))

    def capacity(self, direction: Way, message_bytes: float) -> float:
        """Return the bytes/second that all messages share, each `message_bytes` long: `shards` times that of one link.

        Of a measured link it is the rate of a piece of message_bytes / shards. Infinite where sending takes no time.
        """
        return self.shards * rate_of(path(self.link, direction, 0), message_bytes / self.shards)

    def cap(self, direction: Way, worker: int, message_bytes: float) -> float:
        """Return the most bytes/second that `worker` itself receives ("down") or sends ("up"); infinite where unlimited."""
        return rate_of(path(self.access, direction, worker), message_bytes)

    def jitter(self, worker: int) -> tuple[Law | None, Law | None]:
        """Return the laws of the additional latency of a message, (down, up), the sum over both links."""
        (down, up), (own_down, own_up) = jitter_of(self.link, worker), jitter_of(self.access, worker)
        return together(down, own_down), together(up, own_up)

    def check_workers(self, workers: int) -> None:
        """Raise ValueError if `access`, `update` or a law of jitter does not fit that many workers."""
        self.link.check_workers(workers)
        self.access.check_workers(workers)
        if self.update is not None:
            self.update.check_workers(workers)


def path(network: Network, direction: Way, worker: int) -> Wire:
    """Return the wire of `network` that `worker` uses in one direction."""
    if isinstance(network, PerWorker):
        return path(network.networks[worker], direction, worker)
    if isinstance(network, Duplex):
        return network.down if direction == "down" else network.up
    assert isinstance(network, Wire)  # `_check_access` let nothing else in
    return network


def _check_access(name: str, access: object) -> None:
    """Raise TypeError unless there are a latency and a rate for each worker and direction."""
    checks.instance(name, access, (Wire, Duplex, PerWorker), "Link(latency=1e-3, bandwidth=1.25e9)")
    if isinstance(access, PerWorker):
        for i, network in enumerate(access.networks):
            _check_access(f"{name}.networks[{i}]", network)
