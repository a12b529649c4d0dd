"""Laws for workers that differ: in speed, given or drawn, or each with its own law."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from simsgd.support import checks
from simsgd.support.units import FACTOR
from simsgd.times.answers import distribution_of, draws_of, moments_of
from simsgd.times.around import Around, moved
from simsgd.times.law import Distribution, Law, Moments, Sampler


@dataclass(frozen=True)
class Speeds(Around):
    """Another law, at each worker's own speed: a job of worker i takes X / speeds[i].

    The mean is the law's over the speed, the variance the law's over the speed squared.

    Args:
        law: the law of X.
        speeds: one number above 0 for each worker; 1 leaves the law as it is, 0.2 makes a worker five times slower.

    Raises:
        ValueError: if a speed is not a finite number above 0; in `Cluster`, if there is not one speed for each worker.

    Example:
        >>> import simsgd as sg
        >>> law = sg.times.Speeds(sg.times.Constant(1.0), speeds=(1.0, 1.0, 0.2))
        >>> law.moments(worker=2).mean
        5.0
    """

    speeds: Sequence[float]

    def __post_init__(self) -> None:
        super().__post_init__()
        speeds = checks.sequence("Speeds.speeds", self.speeds, "(1.0, 1.0, 0.2)")
        checks.store(self, speeds=tuple(checks.positive(f"Speeds.speeds[{i}]", speed) for i, speed in enumerate(speeds)))

    def _change(self, draw: Sampler, rng: np.random.Generator, worker: int) -> Sampler:
        speed = self.speeds[worker]
        return lambda now: draw(now) / speed

    def _changed(self, worker: int) -> Moments:
        mean, variance, autocorrelation = moments_of(self.law, worker)
        return Moments(mean / self.speeds[worker], variance / self.speeds[worker] ** 2, autocorrelation)

    def _distribution(self, worker: int) -> Distribution | None:
        return moved(distribution_of(self.law, worker), 1 / self.speeds[worker])

    def check_workers(self, workers: int) -> None:
        """Raise ValueError unless there is one speed for each worker."""
        if len(self.speeds) != workers:
            raise ValueError(f"Speeds.speeds must hold one speed for each of {workers} workers, got {len(self.speeds)}")
        super().check_workers(workers)


@dataclass(frozen=True)
class DrawnSlowness(Around):
    """Another law, slowed by a factor that each worker draws once and keeps: a job takes F·X.

    Moments are those of a worker drawn at random from the population: mean E[F]E[X], variance E[F²]E[X²] − (E[F]E[X])² and,
    with ρ the law's own lag-1 autocorrelation, lag-1 covariance E[F²](ρ·Var X + E[X]²) − (E[F]E[X])². For a law that draws
    independently, the autocorrelation is Var F·E[X]² over the variance, at every lag: slowness persists.

    Args:
        law: the law of X.
        slowness: the law of F, a plain factor without a unit: 1 leaves a worker's times as they are, 5 makes it five times
            slower. The parameters of this law that are seconds in a law of times (`mean`, `minimum`, …) are plain numbers
            here, in a cluster's file too. Each worker draws its factor from a stream of its own.

    Raises:
        TypeError: if one of them is not a `Law`.
        ValueError: from `sampler`, if a factor drawn is not a finite number above 0.

    Example:
        >>> import simsgd as sg
        >>> slowness = sg.times.Lognormal(mean=1.0, coefficient_of_variation=0.5)
        >>> sg.times.DrawnSlowness(sg.times.Constant(2.0), slowness).moments()
        Moments(mean=2.0, variance=1.0, autocorrelation=1.0)
    """

    slowness: Annotated[Law, FACTOR]

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.instance("DrawnSlowness.slowness", self.slowness, Law, "Lognormal(mean=1.0, coefficient_of_variation=0.5)")

    def _change(self, draw: Sampler, rng: np.random.Generator, worker: int) -> Sampler:
        drawn = draws_of(self.slowness, rng.spawn(1)[0], worker)(0.0)
        factor = checks.positive(f"the factor that {self.slowness!r} drew for worker {worker}", drawn)
        return lambda now: factor * draw(now)

    def _changed(self, worker: int) -> Moments:
        mean, variance = self._mean_and_variance(worker)
        return Moments(mean, variance, self._autocorrelation(1, worker))

    def _mean_and_variance(self, worker: int) -> tuple[float, float]:
        factor, work = moments_of(self.slowness, worker), moments_of(self.law, worker)
        variance = factor.variance * (work.variance + work.mean**2) + factor.mean**2 * work.variance
        return factor.mean * work.mean, variance

    def _autocorrelation(self, lag: int, worker: int) -> float:
        factor, work = moments_of(self.slowness, worker), moments_of(self.law, worker)
        variance = self._mean_and_variance(worker)[1]
        if variance == 0:
            return 0.0
        within = self.law.autocorrelation_at(lag, worker) * work.variance  # E[F²](within + E[X]²) − (E[F]E[X])², rearranged
        between = factor.variance * work.mean**2
        covariance = between + (factor.variance + factor.mean**2) * within
        return covariance / variance if math.isfinite(variance) else math.nan

    def check_workers(self, workers: int) -> None:
        """Raise ValueError if one of the two laws cannot serve so many workers."""
        super().check_workers(workers)
        self.slowness.check_workers(workers)


@dataclass(frozen=True)
class PerWorker(Law):
    """A separate law for each worker.

    Args:
        laws: one `Law` for each worker.

    Raises:
        TypeError: if one of them is not a `Law`; ValueError, in `Cluster`, if there is not one for each worker.

    Example:
        >>> import simsgd as sg
        >>> law = sg.times.PerWorker((sg.times.Constant(1.0), sg.times.Exponential(mean=3.0)))
        >>> law.moments(worker=1).mean
        3.0
    """

    laws: Sequence[Law]

    def __post_init__(self) -> None:
        checks.store(self, laws=checks.sequence("PerWorker.laws", self.laws, "(Constant(1.0), Constant(2.0))"))
        for i, law in enumerate(self.laws):
            checks.instance(f"PerWorker.laws[{i}]", law, Law, "Exponential(mean=1.0)")

    def sampler(self, rng: np.random.Generator, worker: int) -> Sampler:
        """Draw from the worker's own law."""
        return draws_of(self.laws[worker], rng, worker)

    def moments(self, worker: int = 0) -> Moments:
        """Return the moments of the worker's own law."""
        return moments_of(self.laws[worker], worker)

    def autocorrelation_at(self, lag: int, worker: int = 0) -> float:
        """Return that of the worker's own law."""
        return self.laws[worker].autocorrelation_at(lag, worker)

    def distribution(self, worker: int = 0) -> Distribution | None:
        """Return that of the worker's own law."""
        return distribution_of(self.laws[worker], worker)

    def in_the_long_run(self, worker: int = 0) -> Law:
        """Return the worker's own law in the long run."""
        return self.laws[worker].in_the_long_run(worker)

    def check_workers(self, workers: int) -> None:
        """Raise ValueError unless there is one law for each worker."""
        if len(self.laws) != workers:
            raise ValueError(f"PerWorker.laws must hold one law for each of {workers} workers, got {len(self.laws)}")
        for law in self.laws:
            law.check_workers(workers)
