"""A law that follows the clock by a schedule: worker 3 is 5 times slower from 100 s to 200 s."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from simsgd.support import checks
from simsgd.support.units import InSeconds
from simsgd.times.answers import distribution_of, moments_of
from simsgd.times.law import Distribution, Law, Moments
from simsgd.times.scaled import Scaled
from simsgd.times.stretching import Clock, Piece


@dataclass(frozen=True)
class Slowdown:
    """One worker is slower for a while: an entry of `Slowdowns`.

    Args:
        worker: whose jobs are slowed.
        slowness: seconds per second of nominal work in that time, above 0; infinite if the worker stops.
        start: the simulated second from which it is so, at least 0.
        end: the simulated second until which it is so; infinite if it never ends, for a finite `slowness` only.

    Raises:
        ValueError: if a number is outside its range, or `end` not after `start`.

    Example:
        >>> import simsgd as sg
        >>> sg.times.Slowdown(worker=3, slowness=5.0, start=100.0, end=200.0)
        Slowdown(worker=3, slowness=5.0, start=100.0, end=200.0)
    """

    worker: int
    slowness: float
    start: InSeconds
    end: InSeconds

    def __post_init__(self) -> None:
        checks.store(self, worker=checks.whole("Slowdown.worker", self.worker, 0))
        checks.store(self, start=checks.seconds("Slowdown.start", self.start))
        for name in ("slowness", "end"):
            value = getattr(self, name)
            endless = isinstance(value, float) and value == math.inf
            checks.store(self, **{name: math.inf if endless else checks.positive(f"Slowdown.{name}", value)})
        if self.end <= self.start:
            raise ValueError(f"Slowdown.end must be after start={self.start!r}, got {self.end!r}")
        if self.slowness == self.end == math.inf:
            raise ValueError("Slowdown.end must be finite where slowness is infinite: no job would ever end, got inf")


@dataclass(frozen=True)
class Slowdowns(Clock):
    """Another law's work, with slow-downs at scheduled seconds: worker 3 is 5 times slower from 100 s to 200 s.

    If a slow-down begins or ends during a job, only that part of the job is slowed. Overlapping slow-downs of a worker
    multiply. In the long run a worker's times are those of the law, times the slowness of its slow-downs that never end.

    Args:
        law: the law of the nominal work.
        slowdowns: `Slowdown` entries, in any order.

    Raises:
        TypeError: if an entry is not a `Slowdown`; ValueError, in `Cluster`, if one names a worker that the cluster lacks.

    Example:
        >>> import simsgd as sg
        >>> slow = sg.times.Slowdown(worker=0, slowness=5.0, start=1.5, end=4.0)
        >>> cluster = sg.Cluster(1, sg.times.Slowdowns(sg.times.Constant(1.0), (slow,)))
        >>> sg.record(sg.AsyncSGD(), cluster, until=sg.Updates(3)).time.tolist()
        [1.0, 4.0, 5.0]
    """

    slowdowns: Sequence[Slowdown]

    def __post_init__(self) -> None:
        super().__post_init__()
        example = "Slowdown(worker=3, slowness=5.0, start=100.0, end=200.0)"
        checks.store(self, slowdowns=checks.sequence("Slowdowns.slowdowns", self.slowdowns, f"({example},)"))
        for i, slowdown in enumerate(self.slowdowns):
            checks.instance(f"Slowdowns.slowdowns[{i}]", slowdown, Slowdown, example)

    def pieces(self, rng: np.random.Generator, worker: int) -> Iterator[Piece]:
        """Yield the pieces between the starts and ends of the worker's slow-downs."""
        own = [slowdown for slowdown in self.slowdowns if slowdown.worker == worker]
        edges = sorted({0.0, math.inf, *(slowdown.start for slowdown in own), *(slowdown.end for slowdown in own)})
        for since, until in itertools.pairwise(edges):
            yield Piece(until, math.prod(each.slowness for each in own if each.start <= since < each.end))

    def around(self, work: Law, worker: int) -> Moments:
        """Return the moments of the work, times the slowness of slow-downs that never end."""
        return moments_of(self._never_ending(work, worker), worker)

    def moments(self, worker: int = 0) -> Moments:
        """Return the moments of the law in the long run."""
        return moments_of(self.in_the_long_run(worker), worker)

    def autocorrelation_at(self, lag: int, worker: int = 0) -> float:
        """Return that of the law in the long run."""
        return self.in_the_long_run(worker).autocorrelation_at(lag, worker)

    def distribution(self, worker: int = 0) -> Distribution | None:
        """Return that of the law in the long run."""
        return distribution_of(self.in_the_long_run(worker), worker)

    def in_the_long_run(self, worker: int = 0) -> Law:
        """Return the law without the slow-downs that end."""
        return self._never_ending(self.law, worker).in_the_long_run(worker)

    def _never_ending(self, work: Law, worker: int) -> Law:
        endless = [each.slowness for each in self.slowdowns if each.worker == worker and each.end == math.inf]
        return Scaled(work, by=math.prod(endless)) if endless else work

    def check_workers(self, workers: int) -> None:
        """Raise ValueError if a slow-down names a worker that the cluster lacks."""
        for i, slowdown in enumerate(self.slowdowns):
            if slowdown.worker >= workers:
                raise ValueError(
                    f"Slowdowns.slowdowns[{i}].worker must be below the number of workers, {workers}, got {slowdown.worker}"
                )
        super().check_workers(workers)
