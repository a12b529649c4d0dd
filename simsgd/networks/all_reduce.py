"""All-reduce: the workers pass pieces of their gradients to each other until each holds the sum.

The message model of this module: each rank (worker) has one link, full duplex, which carries one message per direction at a
time. An algorithm is a sequence of rounds; in a round a rank sends at most one message and waits for at most one. Its
message leaves when the rank has entered the round and the receiver's inbound side has taken in the messages of the rounds
before. A rank enters its next round when its own message has arrived and the one that it waits for is in and, where it is
to be summed, has been added, at `reduction` bytes/second, for which the rank must be ready itself. A message may come in
before its receiver is ready.

Nobody else is waited for: what a late rank delays follows from who needs its messages. There is no clock here; moments
(seconds) go in and come out as one array over the ranks, one NumPy step for each round.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simsgd.networks.fabric import Fabric, Wire
from simsgd.support import checks
from simsgd.support.units import BytesPerSecond

Send = Callable[[np.ndarray, np.ndarray, float, Wire], np.ndarray]
"""Of the sending ranks, the seconds at which each starts, the bytes of each message, and the wire: when each one arrives."""


def undisturbed(senders: np.ndarray, started: np.ndarray, message_bytes: float, wire: Wire) -> np.ndarray:
    """Send so that each message takes just what its wire says: the default of `AllReduce.finish`."""
    return started + wire.seconds(message_bytes)


@dataclass(frozen=True, kw_only=True)
class AllReduce(Fabric, ABC):
    """Workers who sum their gradients among themselves, without a server. Abstract: `Ring` and its sisters are the fabrics.

    A gradient of S bytes is cut into `buckets` of S / buckets each, which a rank sends one after the other. With `overlap`
    the j-th of B buckets (from 1) is ready before the job ends, at ended − backward·(1 − j/B), where backward =
    backward_share·(ended − began): the backward pass finishes the layers one by one, at an even pace.

    A worker that joins, or is back after a crash, is taken to have the model: how it gets it is not simulated.

    Args:
        buckets: how many pieces leave one after the other, at least 1.
        overlap: whether a bucket may leave as soon as its layers' gradients are ready; if not, all leave when the job ends.
        backward_share: share of a job's compute time that is its backward pass, from 0 to 1.
    """

    buckets: int = 1
    overlap: bool = False
    backward_share: float = 2 / 3

    def __post_init__(self) -> None:
        name = type(self).__name__
        share = checks.not_negative(f"{name}.backward_share", self.backward_share)
        if share > 1:
            raise ValueError(f"{name}.backward_share must be at most 1, got {self.backward_share!r}")
        if not isinstance(self.overlap, bool):
            raise TypeError(f"{name}.overlap must be True or False, got {self.overlap!r}")
        checks.store(self, buckets=checks.whole(f"{name}.buckets", self.buckets, 1), backward_share=share)

    @property
    def wires(self) -> dict[str, Wire]:
        """The wires that messages are sent on, by the names of their fields; none where the whole is known as one."""
        return {}

    def check_ranks(self, ranks: int) -> None:
        """Raise ValueError if the algorithm cannot run among so many; most run among any number."""

    def check_workers(self, workers: int) -> None:
        """Raise ValueError if the algorithm, or a law of jitter on a wire, cannot serve so many workers."""
        self.check_ranks(workers)
        for wire in self.wires.values():
            wire.check_workers(workers)

    @abstractmethod
    def rounds(self, ready: np.ndarray, message_bytes: float, send: Send) -> np.ndarray:
        """Do all rounds of one collective of at least two ranks; as `finish`, which checks the arguments."""

    def finish(self, ready: np.ndarray, message_bytes: float, send: Send = undisturbed) -> np.ndarray:
        """Return when each rank is done with one collective: it holds the sum, and its own messages have arrived.

        Args:
            ready: (n,) seconds, when each rank has its own gradient.
            message_bytes: bytes of one rank's whole gradient.
            send: who says when messages arrive; undisturbed by default.

        Returns:
            (n,) seconds. A single rank is done when it is ready.

        Raises:
            ValueError: if `ready` is not one row of at least one moment, or the algorithm cannot run among so many.
        """
        moments = np.array(ready, dtype=np.float64)
        if moments.ndim != 1 or not moments.size:
            raise ValueError(f"ready must be one row, a moment for each rank, got an array of shape {moments.shape}")
        self.check_ranks(moments.size)
        return self.rounds(moments, message_bytes, send) if moments.size > 1 else moments

    def run(
        self,
        began: np.ndarray,
        ended: np.ndarray,
        message_bytes: float,
        send: Send = undisturbed,
        not_before: float = -math.inf,
    ) -> np.ndarray:
        """Return when each rank holds the whole sum, bucket after bucket, for jobs that `began` and `ended` (n,) (seconds).

        No message leaves before `not_before`, seconds: when it was known who takes part.
        """
        began, ended = np.asarray(began, dtype=np.float64), np.asarray(ended, dtype=np.float64)
        backward = self.backward_share * (ended - began) if self.overlap else np.zeros_like(ended)
        done = np.full_like(ended, not_before)
        for j in range(1, self.buckets + 1):
            ready = ended - backward * (1 - j / self.buckets)
            done = self.finish(np.maximum(ready, done), message_bytes / self.buckets, send)
        return done

    def seconds(self, workers: int, message_bytes: float) -> float:
        """Return the seconds from when all `workers` are ready until all hold the sum of `message_bytes`, all buckets."""
        together = np.zeros(checks.whole("workers", workers, 1))
        size = checks.not_negative("message_bytes", message_bytes, "bytes")
        return float(self.run(together, together, size).max())


@dataclass(frozen=True, kw_only=True)
class Summing(AllReduce):
    """An all-reduce whose ranks add what they receive. Abstract.

    Args:
        reduction: bytes/second at which a rank adds a received piece to its own; infinite by default: it takes no time.
    """

    reduction: BytesPerSecond = math.inf

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, wire in self.wires.items():
            checks.instance(f"{type(self).__name__}.{name}", wire, Wire, "Link(latency=5e-6, bandwidth=12.5e9)")
        if not (isinstance(self.reduction, float) and self.reduction == math.inf):
            name = f"{type(self).__name__}.reduction"
            checks.store(self, reduction=checks.positive(name, self.reduction, "bytes/second, or math.inf"))


@dataclass(frozen=True)
class OneLink(Summing):
    """Ranks which all have the same link, whoever they send to. Abstract.

    Args:
        link: of each rank.
    """

    link: Wire

    @property
    def wires(self) -> dict[str, Wire]:
        """The one link."""
        return {"link": self.link}


class Circle:
    """Ranks in one or several rings, each of which passes pieces on for a number of rounds.

    A rank only ever hears from the one before it, whose messages follow each other; so no inbound side is ever disputed.
    """

    def __init__(self, before: np.ndarray, rounds: int, wire: Wire, send: Send) -> None:
        self.before, self.wire, self.send = before, wire, send
        self.rounds = rounds
        self.all = np.arange(before.size)

    def turn(self, moments: np.ndarray, piece_bytes: float, adding: float = 0.0) -> np.ndarray:
        """Return when each rank is through all rounds, if it enters the first at `moments`; `adding` seconds per piece."""
        for _ in range(self.rounds):
            arrived = self.send(self.all, moments, piece_bytes, self.wire)
            added = arrived[self.before]
            if adding:
                added = np.maximum(added, moments) + adding
            moments = np.maximum(arrived, added)
        return moments


class Ranks:
    """Where all ranks are: the `moments` at which each may enter its next round, and at which its inbound side is free."""

    def __init__(self, ready: np.ndarray, wire: Wire, send: Send) -> None:
        self.moments, self.wire, self.send = ready, wire, send
        self.inbound = np.full_like(ready, -math.inf)

    def round(self, senders: np.ndarray, receivers: np.ndarray, message_bytes: float, adding: float = 0.0) -> None:
        """Send one message from each of `senders` to the one of `receivers` at its place, who adds it in `adding` seconds."""
        started = np.maximum(self.moments[senders], self.inbound[receivers])
        arrived = self.send(senders, started, message_bytes, self.wire)
        added = np.maximum(self.moments[receivers], arrived) + adding
        self.inbound[receivers] = arrived
        self.moments[senders] = arrived
        self.moments[receivers] = np.maximum(self.moments[receivers], added)
