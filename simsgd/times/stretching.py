"""Work stretched by the clock: the mechanism of every law that follows the clock.

Laws of this module:

1. A worker's slowness is a function of the simulated second and does not depend on its jobs: a chain of pieces (until,
   slowness), drawn one after the other from a separate stream.
2. Slowness is seconds per second of nominal work: 1 is the usual speed, 5 is five times slower, infinity is paused.
3. Pieces that ended before a job begins are dropped; pieces that a job has looked ahead at are kept, because the job may be
   cut short.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np

from simsgd.support import checks
from simsgd.times.law import Law, Moments, Sampler


class Piece(NamedTuple):
    """An interval of constant slowness, which begins where the previous one ends.

    Attributes:
        until: the simulated second at which it ends; infinite for the last one.
        slowness: seconds per second of nominal work, above 0; infinite where the worker is paused.
    """

    until: float
    slowness: float


class Stretched:
    """A sampler that draws nominal work and stretches it by the clock; called like any `Sampler`.

    Args:
        work: draws a job's nominal seconds.
        pieces: the worker's slowness from second 0 on.
    """

    def __init__(self, work: Sampler, pieces: Iterator[Piece]) -> None:
        self.work = work
        self.pieces = pieces
        self._ahead: deque[Piece] = deque()

    def __call__(self, now: float) -> float:
        """Return the seconds until the work of the job that begins at `now` is done."""
        ahead = self._ahead
        while not ahead or ahead[0].until <= now:
            if ahead:
                ahead.popleft()
            else:
                ahead.append(next(self.pieces))
        left, elapsed, at, index = self.work(now), 0.0, now, 0
        if not checks.finite_seconds(left):  # the recorder refuses it, and names the law
            return left
        while True:
            if index == len(ahead):
                ahead.append(next(self.pieces))
            until, slowness = ahead[index]
            room = until - at
            if left == 0 or left * slowness <= room:  # nothing left to do takes no time even in a pause
                return elapsed + (left * slowness if left else 0.0)
            left = max(0.0, left - room / slowness)
            elapsed, at, index = elapsed + room, until, index + 1


def on_work(draw: Sampler, change: Callable[[Sampler], Sampler]) -> Sampler:
    """Change how the nominal work is drawn; a clock around it stays outermost."""
    return Stretched(change(draw.work), draw.pieces) if isinstance(draw, Stretched) else change(draw)


def stretched(draw: Sampler, pieces: Iterator[Piece]) -> Stretched:
    """Put a clock around a sampler; if it already has one, the slownesses multiply."""
    if isinstance(draw, Stretched):
        return Stretched(draw.work, multiplied(draw.pieces, pieces))
    return Stretched(draw, pieces)


def multiplied(*chains: Iterator[Piece]) -> Iterator[Piece]:
    """Yield the pieces of several chains combined: at each moment the product of their slownesses."""
    current = [next(chain) for chain in chains]
    while True:
        until = min(piece.until for piece in current)
        yield Piece(until, math.prod(piece.slowness for piece in current))
        if until == math.inf:
            return
        current = [next(chain) if piece.until == until else piece for chain, piece in zip(chains, current, strict=True)]


@dataclass(frozen=True)
class Clock(Law):
    """A law whose nominal work is another law's, done at a pace that follows the clock; clocks around clocks multiply."""

    law: Law
    periodic: ClassVar[bool] = False
    """Whether the pace repeats itself, so that with another such clock around it the long run depends on their phases."""

    def __post_init__(self) -> None:
        checks.instance(f"{type(self).__name__}.law", self.law, Law, "Exponential(mean=1.0)")

    @abstractmethod
    def pieces(self, rng: np.random.Generator, worker: int) -> Iterator[Piece]:
        """Yield the worker's slowness from second 0 on, drawn from the stream that the clock has for itself."""

    @abstractmethod
    def around(self, work: Law, worker: int) -> Moments:
        """Return the moments of nominal work of this law, done under this clock alone, in the long run."""

    def sampler(self, rng: np.random.Generator, worker: int) -> Sampler:
        """Draw the work from the law, and stretch it."""
        draw = self.law.sampler(rng, worker)
        return stretched(draw, self.pieces(rng.spawn(1)[0], worker))

    def moments(self, worker: int = 0) -> Moments:
        """Return the long-run moments; with several clocks only the mean, and with two periodic ones nothing."""
        inner = self.law.in_the_long_run(worker)
        alone = self.around(inner, worker)
        if not isinstance(inner, Clock):
            return alone
        work: Law = inner
        periodic = self.periodic
        while isinstance(work, Clock):
            if periodic and work.periodic:
                return Moments(math.nan, math.nan, math.nan)
            periodic, work = periodic or work.periodic, work.law
        return Moments(alone.mean, math.nan, math.nan)

    def in_the_long_run(self, worker: int = 0) -> Law:
        """Return this clock around the long-run form of its law."""
        return replace(self, law=self.law.in_the_long_run(worker))

    def check_workers(self, workers: int) -> None:
        """Raise ValueError if the law cannot serve so many workers."""
        self.law.check_workers(workers)


def follows_clock(law: Law) -> bool:
    """Say whether a law, or one that it is made of, follows the clock."""
    parts = [part for value in vars(law).values() for part in (value if isinstance(value, tuple) else (value,))]
    return isinstance(law, Clock) or any(follows_clock(part) for part in parts if isinstance(part, Law))
