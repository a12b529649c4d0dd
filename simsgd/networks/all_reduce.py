"""All-reduce: the workers send pieces of their gradients to each other until each holds the sum.

The message model of this module: each rank (worker) has one link, full duplex, which carries one message per direction at a
time. An algorithm is a sequence of rounds; in a round a rank sends at most one message and waits for at most one. Its
message leaves when the rank has entered the round and the receiver's inbound side has taken in the messages of the rounds
before. A rank enters its next round when its own message has arrived and the one that it waits for is in and, where it is
to be summed, has been added, at `reduction` bytes/second, for which the rank must be ready itself. A message may come in
before its receiver is ready.

A rank waits for nothing else, so a late rank delays exactly the ranks that need its messages. There is no event loop here:
moments (seconds) go in and come out as one array over the ranks, with one NumPy step for each round.

Messages that cannot be added while they are compressed are gathered instead: every rank gets those of all, whole, and adds them
itself. No rank is sent what it has.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from simsgd.networks.fabric import Fabric, Wire, seconds_of
from simsgd.support import checks
from simsgd.support.bounds import bounds
from simsgd.support.units import BytesPerSecond

Sizes = float | np.ndarray
"""Bytes of each of several messages: one number for all, or one for each."""
Send = Callable[[np.ndarray, np.ndarray, Sizes, Wire], np.ndarray]
"""(sending ranks, the second at which each starts, bytes of each message, wire) -> the second at which each one arrives."""


def undisturbed(senders: np.ndarray, started: np.ndarray, message_bytes: Sizes, wire: Wire) -> np.ndarray:
    """Return when messages arrive that take just the time of their wire: the default of `AllReduce.finish`."""
    return started + seconds_of_each(wire, message_bytes)


def seconds_of_each(wire: Wire, message_bytes: Sizes) -> Sizes:
    """Return the seconds of messages on a wire, one number for all or one for each."""
    if not isinstance(message_bytes, np.ndarray):
        return seconds_of(wire, message_bytes)
    sizes, which = np.unique(message_bytes, return_inverse=True)  # most often all have one size
    each: np.ndarray = np.array([seconds_of(wire, size) for size in sizes.tolist()])[which]
    return each


@dataclass(frozen=True, kw_only=True)
class AllReduce(Fabric, ABC):
    """A fabric in which the workers sum their gradients without a server. Abstract: `Ring`, for example, is one of its kinds.

    A gradient of S bytes is cut into `buckets` of S / buckets each, which a rank sends one after the other. With `overlap`
    the j-th of B buckets (from 1) is ready before the job ends, at ended − backward·(1 − j/B), where backward =
    backward_share·(ended − began): the backward pass finishes the layers one by one, at an even pace. Of a job of H local steps
    it is the backward pass of the last one, (ended − began)/H long. A message that is compressed, or that a job with a time
    makes, is not there before the job's end, and all of its buckets leave then.

    Messages that are compressed, by something that does not let them be added so (`Compression.sums`), are gathered.

    No model is sent: a tape's `bytes_down` takes no time and does not count in a run's `bytes`. A sum counts 2(n−1) messages of
    the longest one's size, a gathering (n−1)·Σ of all sizes, whatever the algorithm. What `Method.compress_down` compresses
    changes the numbers, and saves nothing here.

    A worker that joins, or returns after a crash, is assumed to have the model; sending it is not simulated.

    Args:
        buckets: how many pieces leave one after the other, at least 1.
        overlap: whether a bucket may leave as soon as its layers' gradients are ready; if not, all leave when the job ends.
        backward_share: share of a step's compute time that is its backward pass, from 0 to 1.
    """

    buckets: int = 1
    overlap: bool = False
    backward_share: float = 2 / 3

    def __post_init__(self) -> None:
        name = type(self).__name__
        share = checks.not_negative(f"{name}.backward_share", self.backward_share)
        if share > 1:
            raise ValueError(f"{name}.backward_share must be at most 1, got {self.backward_share!r}")
        checks.truth(f"{name}.overlap", self.overlap)
        checks.store(self, buckets=checks.whole(f"{name}.buckets", self.buckets, 1), backward_share=share)
        bounds.check("parts", self.buckets, f"{name}.buckets={self.buckets}")

    @property
    def wires(self) -> dict[str, Wire]:
        """The wires that messages use, by the names of their fields; none if only the time of the whole is known."""
        return {}

    def check_ranks(self, ranks: int) -> None:
        """Raise ValueError if the algorithm does not run with that many ranks; most run with any number."""

    def check_workers(self, workers: int) -> None:
        """Raise ValueError if the algorithm, or a law of jitter on a wire, does not fit that many workers."""
        self.check_ranks(workers)
        for wire in self.wires.values():
            wire.check_workers(workers)

    @abstractmethod
    def rounds(self, ready: np.ndarray, message_bytes: float, send: Send) -> np.ndarray:
        """Return when each rank is done, as `finish` does, for at least two ranks and checked arguments."""

    def gather_rounds(self, ready: np.ndarray, sizes: np.ndarray, send: Send) -> np.ndarray:
        """Return when each rank is done, as `gather` does, for at least two ranks and checked arguments.

        Raises:
            NotImplementedError: unless an algorithm says how it gathers; all those of simsgd do.
        """
        raise NotImplementedError(f"{type(self).__name__} must define gather_rounds(ready, sizes, send) to gather")

    def finish(self, ready: np.ndarray, message_bytes: float, send: Send = undisturbed) -> np.ndarray:
        """Return when each rank is done with one collective: it holds the sum, and its own messages have arrived.

        Args:
            ready: (n,) seconds, when each rank has its own gradient.
            message_bytes: bytes of one rank's whole gradient.
            send: returns when messages arrive; `undisturbed` by default.

        Returns:
            (n,) seconds. A single rank is done when it is ready.

        Raises:
            ValueError: if `ready` is not one row of at least one moment, or the algorithm does not run with that many ranks.
        """
        return self._done("rounds", ready, lambda moments: self.rounds(moments, message_bytes, send))

    def gather(self, ready: np.ndarray, sizes: np.ndarray, send: Send = undisturbed) -> np.ndarray:
        """Return when each rank is done with gathering: it holds the messages of all, and its own have arrived.

        Args:
            ready: (n,) seconds, when each rank has its own message.
            sizes: (n,) bytes of each rank's message.
            send: returns when messages arrive; `undisturbed` by default.

        Returns:
            (n,) seconds. A single rank is done when it is ready.

        Raises:
            ValueError: if `ready` is not one row of at least one moment, `sizes` is not one size for each, or the algorithm
                does not run with that many ranks.
            NotImplementedError: for an algorithm of somebody's own that does not say how it gathers.
        """
        each = np.asarray(sizes, dtype=np.float64)
        if each.shape != np.shape(ready):
            raise ValueError(f"sizes must be one row, the bytes of each rank's message, got an array of shape {each.shape}")
        return self._done("gather_rounds", ready, lambda moments: self.gather_rounds(moments, each, send))

    def _done(self, name: str, ready: np.ndarray, rounds: Callable[[np.ndarray], Any]) -> np.ndarray:
        """Return when the ranks are done, or raise ValueError if an algorithm of somebody's own says anything else."""
        moments: np.ndarray = np.array(ready, dtype=np.float64)
        if moments.ndim != 1 or not moments.size:
            raise ValueError(f"ready must be one row, a moment for each rank, got an array of shape {moments.shape}")
        self.check_ranks(moments.size)
        if moments.size == 1:
            return moments
        done: Any = rounds(moments)
        fits = isinstance(done, np.ndarray) and done.shape == moments.shape and done.dtype.kind in "iuf"
        if not fits or not np.all(done >= moments):
            raise ValueError(
                f"{self!r}.{name} must return for each rank a second that is not before it is ready, shape {moments.shape}, "
                f"got {checks.shown(done, 100)}"
            )
        return np.asarray(done, dtype=np.float64)

    def run(
        self,
        began: np.ndarray,
        ended: np.ndarray,
        message_bytes: Sizes,
        send: Send = undisturbed,
        not_before: float = -math.inf,
    ) -> np.ndarray:
        """Return when each rank holds the whole sum, bucket after bucket, for steps that `began` and `ended` (n,) (seconds).

        No message leaves before `not_before` (seconds), when the set of ranks became known. With an array of `message_bytes`,
        (n,), the size of each rank's message, these are gathered.

        Raises:
            BoundError: if each rank would send more messages than `simsgd.bounds.parts`.
        """
        send = self._counted(send, len(ended))
        began, ended = np.asarray(began, dtype=np.float64), np.asarray(ended, dtype=np.float64)
        backward = self.backward_share * (ended - began) if self.overlap else np.zeros_like(ended)
        done = np.full_like(ended, not_before)
        for j in range(1, self.buckets + 1):
            ready, piece = np.maximum(ended - backward * (1 - j / self.buckets), done), message_bytes / self.buckets
            done = self.gather(ready, piece, send) if isinstance(piece, np.ndarray) else self.finish(ready, piece, send)
        return done

    def _counted(self, send: Send, ranks: int) -> Send:
        """Return the same with a bound on how many rounds of messages there are."""
        rounds, most = 0, bounds.parts

        def counted(senders: np.ndarray, started: np.ndarray, message_bytes: Sizes, wire: Wire) -> np.ndarray:
            nonlocal rounds
            rounds += 1
            if rounds > most:
                bounds.check("parts", rounds, f"the messages of each of {ranks} ranks of {self!r}")
            return send(senders, started, message_bytes, wire)

        return counted

    def seconds(self, workers: int, message_bytes: float, gather: bool = False) -> float:
        """Return the seconds from when all `workers` are ready until all hold the sum of `message_bytes`, all buckets.

        With `gather` until all hold the messages of all, of so many bytes each.
        """
        together = np.zeros(checks.whole("workers", workers, 1))
        size = checks.not_negative("message_bytes", message_bytes, "bytes")
        return float(self.run(together, together, np.full_like(together, size) if gather else size).max())


@dataclass(frozen=True, kw_only=True)
class Summing(AllReduce):
    """An all-reduce whose ranks add what they receive. Abstract.

    Messages that are gathered are added when all have come.

    Args:
        reduction: bytes/second at which a rank adds a received piece to its own; infinite by default, so that it takes no time.
    """

    reduction: BytesPerSecond = math.inf

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, wire in self.wires.items():
            checks.instance(f"{type(self).__name__}.{name}", wire, Wire, "Link(latency=5e-6, bandwidth=12.5e9)")
        if not (isinstance(self.reduction, float) and self.reduction == math.inf):
            name = f"{type(self).__name__}.reduction"
            checks.store(self, reduction=checks.positive(name, self.reduction, "bytes/second, or math.inf"))

    def gather(self, ready: np.ndarray, sizes: np.ndarray, send: Send = undisturbed) -> np.ndarray:
        """Return when each rank is done with gathering, and has added the messages of the others to its own."""
        gathered: np.ndarray = super().gather(ready, sizes, send) + (np.sum(sizes) - sizes) / self.reduction
        return gathered


@dataclass(frozen=True)
class OneLink(Summing):
    """Ranks that all have the same link, to whichever rank they send. Abstract.

    Args:
        link: of each rank.
    """

    link: Wire

    @property
    def wires(self) -> dict[str, Wire]:
        """The one link."""
        return {"link": self.link}
