"""Algorithms of all-reduce: which rank sends which piece to which other in each round, in the message model of `all_reduce`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simsgd.networks.all_reduce import OneLink, Send, Summing
from simsgd.networks.fabric import Wire
from simsgd.networks.rounds import Circle, Ranks
from simsgd.support import checks


@dataclass(frozen=True)
class Ring(OneLink):
    """Ring: n − 1 rounds that sum (reduce-scatter) and n − 1 that collect (all-gather), a piece of S/n bytes each.

    All ready at once, with latency α, β seconds per byte, γ seconds to add one: 2(n−1)α + 2(n−1)/n·Sβ + (n−1)/n·Sγ. A
    rank that is d seconds late makes all d seconds late.

    Gathering n messages of S bytes: n − 1 rounds, in which a rank passes on what it was sent last: (n−1)(α + Sβ + Sγ).

    Args:
        link: from each rank to the next.
        reduction, buckets, overlap, backward_share: as in `Summing` and `AllReduce`, by name.

    Raises:
        TypeError: if `link` is not a `Wire` or `overlap` not a bool; ValueError for a number out of range.

    Source: P. Patarasuk, X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations" (2009).

    Example:
        >>> import simsgd as sg
        >>> ring = sg.networks.Ring(sg.networks.Link(latency=5e-6, bandwidth=12.5e9))
        >>> round(1e3 * ring.seconds(workers=8, message_bytes=100e6), 2)  # milliseconds
        14.07
    """

    def rounds(self, ready: np.ndarray, message_bytes: float, send: Send) -> np.ndarray:
        """Rank i sends to i + 1 and waits for i − 1."""
        count = ready.size
        circle, piece = Circle(np.arange(-1, count - 1), count - 1, self.link, send), message_bytes / count
        return circle.turn(circle.turn(ready, piece, piece / self.reduction), piece)

    def gather_rounds(self, ready: np.ndarray, sizes: np.ndarray, send: Send) -> np.ndarray:
        """Rank i sends its own message to i + 1, then that of i − 1, of i − 2, and so on."""
        return Circle(np.arange(-1, ready.size - 1), ready.size - 1, self.link, send).pass_on(ready, sizes)


@dataclass(frozen=True)
class HalvingDoubling(OneLink):
    """Recursive halving, then doubling: log₂p rounds that sum S/2, S/4, … bytes, and log₂p that collect them backwards.

    For p = n a power of two, all ready at once: 2 log₂n·α + 2(n−1)/n·Sβ + (n−1)/n·Sγ. For another n, p is the largest
    power of two below it: the n − p ranks too many first send their whole gradient to one of the others and get the whole sum
    from it in the end, which adds 2(α + Sβ) + Sγ.

    Gathering n messages of S bytes, by recursive doubling: log₂n rounds of S, 2S, 4S, … bytes, log₂n·α + (n−1)(Sβ + Sγ) for n a
    power of two. Ranks too many first send their message to one of the others, and in the end get the n − 1 others from it.

    Args:
        link: of each rank, whoever it sends to.
        reduction, buckets, overlap, backward_share: as in `Summing` and `AllReduce`, by name.

    Raises:
        TypeError: if `link` is not a `Wire` or `overlap` not a bool; ValueError for a number out of range.

    Source: R. Rabenseifner, "Optimization of collective reduction operations" (2004); R. Thakur, R. Rabenseifner, W. Gropp,
    "Optimization of collective communication operations in MPICH" (2005).

    Example:
        >>> import simsgd as sg
        >>> sg.networks.HalvingDoubling(sg.networks.Link(latency=1.0, bandwidth=1.0)).seconds(workers=4, message_bytes=16)
        28.0
    """

    def rounds(self, ready: np.ndarray, message_bytes: float, send: Send) -> np.ndarray:
        """Rank p + i folds into rank i; then i exchanges with i xor p/2, p/4, …, 1, and back; then i sends to p + i."""
        levels = ready.size.bit_length() - 1
        power = 1 << levels
        extra, hosts, core = np.arange(power, ready.size), np.arange(ready.size - power), np.arange(power)
        ranks = Ranks(ready, self.link, send)
        if extra.size:
            ranks.round(extra, hosts, message_bytes, message_bytes / self.reduction)
        for level in reversed(range(levels)):
            piece = message_bytes * (1 << level) / power
            ranks.round(core, core ^ (1 << level), piece, piece / self.reduction)
        for level in range(levels):
            ranks.round(core, core ^ (1 << level), message_bytes * (1 << level) / power)
        if extra.size:
            ranks.round(hosts, extra, message_bytes)
        return ranks.moments

    def gather_rounds(self, ready: np.ndarray, sizes: np.ndarray, send: Send) -> np.ndarray:
        """Rank p + i sends to i; then i exchanges all it has with i xor 1, 2, …, p/2; then i sends the others to p + i."""
        levels = ready.size.bit_length() - 1
        power = 1 << levels
        extra, hosts, core = np.arange(power, ready.size), np.arange(ready.size - power), np.arange(power)
        ranks, held = Ranks(ready, self.link, send), sizes[:power].copy()
        if extra.size:
            ranks.round(extra, hosts, sizes[extra])
            held[hosts] += sizes[extra]
        for level in range(levels):
            other = core ^ (1 << level)
            ranks.round(core, other, held)
            held = held + held[other]
        if extra.size:
            ranks.round(hosts, extra, sizes.sum() - sizes[extra])
        return ranks.moments


@dataclass(frozen=True)
class BinaryTree(OneLink):
    """Sum up a binomial tree to rank 0, then broadcast down the same tree; whole messages, no pipelining.

    The tree: the parent of a rank is the rank without its lowest set bit (6 = 110₂ sends to 4 = 100₂, which sends to 0).
    A parent takes in its children's messages in the order +1, +2, +4, …, and serves them in the opposite order. All ready
    at once: 2⌈log₂n⌉·(α + Sβ), and log₂n·Sγ on top for n a power of two (at most ⌈log₂n⌉·Sγ for another n, whose
    root may add while the next message comes in). A parent that is late by no more than it waits for its children delays
    nobody.

    Gathering n messages of S bytes: up the tree a rank sends those of its whole branch, S, 2S, 4S, … bytes, and down it is sent
    all others; for n a power of two 2 log₂n·α + n log₂n·Sβ + (n−1)Sγ.

    Args:
        link: of each rank, whoever it sends to.
        reduction, buckets, overlap, backward_share: as in `Summing` and `AllReduce`, by name.

    Raises:
        TypeError: if `link` is not a `Wire` or `overlap` not a bool; ValueError for a number out of range.

    Example:
        >>> import simsgd as sg
        >>> sg.networks.BinaryTree(sg.networks.Link(latency=1.0, bandwidth=1.0)).seconds(workers=4, message_bytes=16)
        68.0
    """

    def rounds(self, ready: np.ndarray, message_bytes: float, send: Send) -> np.ndarray:
        """In round k the ranks whose lowest set bit is k send to their parents; the broadcast runs backwards."""
        ranks, levels = Ranks(ready, self.link, send), range((ready.size - 1).bit_length())
        for level in levels:
            children = np.arange(1 << level, ready.size, 2 << level)
            ranks.round(children, children - (1 << level), message_bytes, message_bytes / self.reduction)
        for level in reversed(levels):
            children = np.arange(1 << level, ready.size, 2 << level)
            ranks.round(children - (1 << level), children, message_bytes)
        return ranks.moments

    def gather_rounds(self, ready: np.ndarray, sizes: np.ndarray, send: Send) -> np.ndarray:
        """In round k the ranks whose lowest set bit is k send their branch to their parents; then the others come down."""
        ranks, levels = Ranks(ready, self.link, send), range((ready.size - 1).bit_length())
        branch, whole = sizes.copy(), sizes.sum()
        for level in levels:
            children = np.arange(1 << level, ready.size, 2 << level)
            ranks.round(children, children - (1 << level), branch[children])
            branch[children - (1 << level)] += branch[children]
        for level in reversed(levels):
            children = np.arange(1 << level, ready.size, 2 << level)
            ranks.round(children - (1 << level), children, whole - branch[children])
        return ranks.moments


@dataclass(frozen=True)
class Hierarchical(Summing):
    """Nodes of several devices: sum in a ring inside each node, all-reduce between the nodes, collect inside again.

    With g nodes of m devices, the ranks of a node next to each other: a reduce-scatter ring inside each node on pieces of S/m
    bytes; a ring all-reduce of S/m bytes between the devices of the same place in their nodes, m rings side by side; an
    all-gather ring inside. All ready at once, with αᵢ, βᵢ inside and αₒ, βₒ between: 2(m−1)(αᵢ + S/m·βᵢ) +
    2(g−1)(αₒ + S/(gm)·βₒ) + ((m−1)/m + (g−1)/(gm))·Sγ.

    Gathering messages of S bytes: in rings between the nodes, then the g of each place in a ring inside each node, so that the
    fewest bytes go between: (g−1)(αₒ + Sβₒ) + (m−1)(αᵢ + gSβᵢ) + (gm−1)Sγ.

    Args:
        inside: from each device to the next of its node.
        between: from each device to its counterpart in the next node. Where the m devices of a node share one card, give
            it 1/m of the card's bandwidth: all send at the same time.
        devices: of each node, m, at least 1; the number of workers must be a multiple of it.
        reduction, buckets, overlap, backward_share: as in `Summing` and `AllReduce`, by name.

    Raises:
        TypeError: if a link is not a `Wire` or `overlap` not a bool.
        ValueError: for a number out of range; in `Cluster`, if the workers are not a multiple of `devices`.

    Example:
        >>> import simsgd as sg
        >>> fast, slow = sg.networks.Link(latency=1.0, bandwidth=16.0), sg.networks.Link(latency=2.0, bandwidth=1.0)
        >>> sg.networks.Hierarchical(inside=fast, between=slow, devices=4).seconds(workers=8, message_bytes=64)
        32.0
    """

    inside: Wire
    between: Wire
    devices: int

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.store(self, devices=checks.whole("Hierarchical.devices", self.devices, 1))

    @property
    def wires(self) -> dict[str, Wire]:
        """Both links."""
        return {"inside": self.inside, "between": self.between}

    def check_ranks(self, ranks: int) -> None:
        """Raise ValueError unless the ranks fill whole nodes."""
        if ranks % self.devices:
            raise ValueError(f"Hierarchical.devices={self.devices} must divide the number of workers, got {ranks} workers")

    def rounds(self, ready: np.ndarray, message_bytes: float, send: Send) -> np.ndarray:
        """Rank g·m + d is device d of node g."""
        inside, between = self._circles(ready.size, send)
        piece = message_bytes / self.devices
        slice_ = piece / (ready.size // self.devices)
        moments = inside.turn(ready, piece, piece / self.reduction)
        moments = between.turn(between.turn(moments, slice_, slice_ / self.reduction), slice_)
        return inside.turn(moments, piece)

    def gather_rounds(self, ready: np.ndarray, sizes: np.ndarray, send: Send) -> np.ndarray:
        """First between the nodes, then inside them."""
        inside, between = self._circles(ready.size, send)
        of_place = sizes.reshape(-1, self.devices).sum(axis=0)
        return inside.pass_on(between.pass_on(ready, sizes), np.tile(of_place, ready.size // self.devices))

    def _circles(self, ranks: int, send: Send) -> tuple[Circle, Circle]:
        """Return the rings inside the nodes, and those between them."""
        nodes = ranks // self.devices
        places = np.arange(ranks).reshape(nodes, self.devices)
        return (
            Circle(np.roll(places, 1, axis=1).ravel(), self.devices - 1, self.inside, send),
            Circle(np.roll(places, 1, axis=0).ravel(), nodes - 1, self.between, send),
        )
