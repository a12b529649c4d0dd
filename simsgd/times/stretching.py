"""Work stretched by the clock: the mechanism of every law that follows the clock.

Laws of this module:

1. A worker's slowness is a function of the simulated second and does not depend on its jobs: a chain of pieces (until,
   slowness), drawn one after the other from a separate stream.
2. Slowness is seconds per second of nominal work: 1 is the usual speed, 5 is five times slower, infinity is paused.
3. Pieces that ended before a job begins are dropped; pieces that a job has looked ahead at are kept, because the job may be
   cut short. A job that meets very many is looked at in parts, each when the clock has come to it: see `support.walks`.
"""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np

from simsgd.support import checks, walks
from simsgd.times.answers import draws_of
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
        law: named in errors.
    """

    checks_itself = True

    def __init__(self, work: Sampler, pieces: Iterator[Piece], law: object = "work on a clock") -> None:
        self.work = work
        self.pieces = pieces
        self.law = law
        self._ahead: deque[Piece] = deque()
        self._passed = 0  # pieces since the last job began

    def __call__(self, now: float) -> float:
        """Return the seconds until the work of the job that begins at `now` is done."""
        try:
            return self.in_parts(now)
        except walks.Unfinished as unfinished:
            return walks.whole(unfinished, now)

    def in_parts(self, now: float, work: float | None = None, kept: float = math.inf) -> float:
        """Return the same, or raise `walks.Unfinished` after `walks.AT_ONCE` pieces, for the clock to follow.

        Args:
            now: when the job begins.
            work: its nominal seconds, if they are not to be drawn.
            kept: the moment before which nothing will be asked again, if that is before `now`.

        Raises:
            BoundError: if the job, or the time since the last one, meets more pieces than `simsgd.bounds.parts`.
        """
        drawn = self.work(now) if work is None else work
        left = drawn if type(drawn) is float else checks.as_seconds(drawn)
        if not checks.finite_seconds(left):  # the recorder refuses it, and names the law
            return drawn
        try:
            index = self._piece_at(now, kept)
        except walks.Unfinished as unfinished:
            raise walks.followed(unfinished, lambda index: self._walk(left, left, 0.0, now, index)) from None
        return self._walk(left, left, 0.0, now, index)

    def done_within(self, seconds: float, now: float, kept: float = math.inf) -> float:
        """Return the nominal seconds of work that are done from `now` on in so many seconds; raises what `in_parts` does."""
        return walks.then(lambda: self._piece_at(now, kept), lambda index: self._work_done(seconds, seconds, 0.0, now, index))

    def _piece_at(self, now: float, kept: float) -> int:
        """Drop the pieces that had ended at `kept`, and return the place of that which covers `now`."""
        ahead, since, passed, index = self._ahead, 0.0, 0, 0
        while index == len(ahead) or ahead[index].until <= now:
            if index < len(ahead):
                since = ahead[index].until
                if since <= kept:  # it is the first, then
                    ahead.popleft()
                else:
                    index += 1
            elif passed < walks.AT_ONCE:
                ahead.append(next(self.pieces))
                passed += 1
            else:
                self._passed += passed
                walks.check_parts(self._passed, since / now, f"{self.law!r}: the time until a job begins at {now:g} s")
                raise walks.Unfinished(since, lambda clock: self._piece_at(now, kept))
        self._passed = 0
        return index

    def _walk(self, work: float, left: float, elapsed: float, at: float, index: int, passed: int = 0) -> float:
        """Go on from the second `at`, which the piece at `index` covers, with so much of the work left."""
        ahead = self._ahead
        for index in range(index, index + walks.AT_ONCE):  # noqa: B020
            if index == len(ahead):
                ahead.append(next(self.pieces))
            until, slowness = ahead[index]
            room = until - at
            if left == 0 or left * slowness <= room:  # nothing left to do takes no time even in a pause
                return elapsed + (left * slowness if left else 0.0)
            left = max(0.0, left - room / slowness)
            elapsed, at = elapsed + room, until
        passed += walks.AT_ONCE
        walks.check_parts(passed, 1 - left / work, f"{self.law!r}: a job of {work:g} seconds of work")
        further = functools.partial(self._walk, work, left, elapsed, at, passed=passed)
        raise walks.Unfinished(at, functools.partial(self._go_on, further, index + 1))

    def _work_done(self, seconds: float, left: float, done: float, at: float, index: int, passed: int = 0) -> float:
        """Go on from the second `at`, which the piece at `index` covers, with so many of the seconds left."""
        ahead = self._ahead
        for index in range(index, index + walks.AT_ONCE):  # noqa: B020
            if index == len(ahead):
                ahead.append(next(self.pieces))
            until, slowness = ahead[index]
            room = until - at
            if left <= room:
                return done + left / slowness
            done, left, at = done + room / slowness, left - room, until
        passed += walks.AT_ONCE
        walks.check_parts(passed, 1 - left / seconds, f"{self.law!r}: a job of {seconds:g} seconds")
        further = functools.partial(self._work_done, seconds, left, done, at, passed=passed)
        raise walks.Unfinished(at, functools.partial(self._go_on, further, index + 1))

    def _go_on(self, further: Callable[[int], float], index: int, now: float) -> float:
        """Walk on, when the clock has come to `now`: no job will begin before."""
        ahead = self._ahead
        while index and ahead[0].until <= now:
            ahead.popleft()
            index -= 1
        return further(index)


def on_work(draw: Sampler, change: Callable[[Sampler], Sampler]) -> Sampler:
    """Change how the nominal work is drawn; a clock around it stays outermost."""
    return Stretched(change(draw.work), draw.pieces, draw.law) if isinstance(draw, Stretched) else change(draw)


def stretched(draw: Sampler, pieces: Iterator[Piece], law: object) -> Stretched:
    """Put the clock of a law around a sampler; if it already has one, the slownesses multiply."""
    if isinstance(draw, Stretched):
        return Stretched(draw.work, multiplied(draw.pieces, pieces), law)
    return Stretched(draw, pieces, law)


def multiplied(chain: Iterator[Piece], other: Iterator[Piece]) -> Iterator[Piece]:
    """Yield the pieces of two chains combined: at each moment the product of their slownesses."""
    until, slowness = next(chain)
    other_until, other_slowness = next(other)
    while True:
        first = min(until, other_until)
        yield Piece(first, slowness * other_slowness)
        if first == math.inf:
            return
        if until == first:
            until, slowness = next(chain)
        if other_until == first:
            other_until, other_slowness = next(other)


def checked_pieces(law: Clock, worker: int, pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Yield the pieces of a clock of somebody's own, or raise ValueError for one that no clock can follow."""
    since = 0.0
    wanted = "Piece(until, slowness), each ending after the one before, with a slowness above 0, the last one without end"
    for piece in pieces:
        pair = tuple(map(checks.as_seconds, piece)) if isinstance(piece, tuple) and len(piece) == 2 else (math.nan, math.nan)
        if not (since <= pair[0] or pair[0] <= 0.0) or not pair[1] > 0 or pair == (math.inf, math.inf):
            raise ValueError(
                f"{law!r}.pieces yielded {checks.shown(piece)} for worker {worker}, from {since:g} s on: it must yield {wanted}"
            )
        since = max(since, pair[0])
        yield Piece(*pair)
    if since < math.inf:
        raise ValueError(f"{law!r}.pieces ended at {since:g} s for worker {worker}: it must yield {wanted}")


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
        draw = draws_of(self.law, rng, worker)
        pieces = self.pieces(rng.spawn(1)[0], worker)
        own = not type(self).__module__.startswith("simsgd.")
        return stretched(draw, checked_pieces(self, worker, pieces) if own else pieces, self)

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
