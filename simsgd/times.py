"""How long a job takes: laws of compute time, in seconds.

Laws of this module:

1. A law is a frozen description. It draws with `sample(rng, worker, now)` from the stream it is handed, which belongs to
   one worker; so one worker's law never touches another worker's draws.
2. A law states its own truth, `moments(worker)`: one test checks every law's draws against it.
3. Seconds everywhere; a drawn time is finite and not negative (the recorder refuses anything else, and names the law).

A law of your own is a subclass of `Law` with these two methods; see `notebooks/write_your_own.ipynb`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simsgd import checks


class Moments(NamedTuple):
    """What a law says of itself: `mean` (seconds) and `variance` (seconds²), infinite where they do not exist."""

    mean: float
    variance: float


class Law(ABC):
    """A law of compute times: subclass it with `sample` and `moments` to write your own."""

    @abstractmethod
    def sample(self, rng: np.random.Generator, worker: int, now: float) -> float:
        """Draw the seconds that the job which `worker` begins at simulated second `now` will take."""

    @abstractmethod
    def moments(self, worker: int = 0) -> Moments:
        """Return the mean (seconds) and the variance (seconds²) of a job's time on `worker`."""

    def check_workers(self, workers: int) -> None:
        """Raise ValueError if the law cannot serve a cluster of so many workers; most laws serve any."""


@dataclass(frozen=True)
class Constant(Law):
    """Every job takes exactly `seconds`.

    Args:
        seconds: what a job takes, above 0.

    Raises:
        ValueError: if `seconds` is not a finite number above 0.

    Example:
        >>> import simsgd as sg
        >>> sg.times.Constant(0.1).moments()
        Moments(mean=0.1, variance=0.0)
    """

    seconds: float

    def __post_init__(self) -> None:
        checks.store(self, seconds=checks.positive("Constant.seconds", self.seconds, "seconds"))

    def sample(self, rng: np.random.Generator, worker: int, now: float) -> float:
        """Return `seconds`; nothing is drawn."""
        return self.seconds

    def moments(self, worker: int = 0) -> Moments:
        """Mean `seconds`, variance 0."""
        return Moments(self.seconds, 0.0)


@dataclass(frozen=True)
class Exponential(Law):
    """Memoryless times: P(X > x) = exp(−x/mean).

    Args:
        mean: mean seconds of a job, above 0.

    Raises:
        ValueError: if `mean` is not a finite number above 0.

    Example:
        >>> import simsgd as sg
        >>> sg.times.Exponential(mean=2.0).moments()
        Moments(mean=2.0, variance=4.0)
    """

    mean: float

    def __post_init__(self) -> None:
        checks.store(self, mean=checks.positive("Exponential.mean", self.mean, "seconds"))

    def sample(self, rng: np.random.Generator, worker: int, now: float) -> float:
        """Draw an exponential time."""
        return self.mean * rng.standard_exponential()

    def moments(self, worker: int = 0) -> Moments:
        """Mean m, variance m²."""
        return Moments(self.mean, self.mean**2)


@dataclass(frozen=True)
class ShiftedExponential(Law):
    """A fixed part and a memoryless part: X = shift + Exponential(mean − shift).

    Args:
        shift: the least seconds a job takes, at least 0.
        mean: mean seconds of the whole job, above `shift`.

    Raises:
        ValueError: if `shift` is negative or `mean` not above it.

    Example:
        >>> import simsgd as sg
        >>> sg.times.ShiftedExponential(shift=1.0, mean=2.0).moments()
        Moments(mean=2.0, variance=1.0)
    """

    shift: float
    mean: float

    def __post_init__(self) -> None:
        checks.store(self, shift=checks.not_negative("ShiftedExponential.shift", self.shift, "seconds"))
        checks.store(self, mean=checks.positive("ShiftedExponential.mean", self.mean, "seconds"))
        if self.mean <= self.shift:
            raise ValueError(
                f"ShiftedExponential.mean is the mean of the whole job and must be above shift={self.shift!r}, "
                f"got {self.mean!r}"
            )

    def sample(self, rng: np.random.Generator, worker: int, now: float) -> float:
        """Draw shift plus an exponential time."""
        return self.shift + (self.mean - self.shift) * rng.standard_exponential()

    def moments(self, worker: int = 0) -> Moments:
        """Mean m, variance (m − shift)²."""
        return Moments(self.mean, (self.mean - self.shift) ** 2)


@dataclass(frozen=True)
class _MeanAndVariation(Law):
    """A law given by its mean m (seconds) and its coefficient of variation c, standard deviation over mean."""

    mean: float
    coefficient_of_variation: float

    def __post_init__(self) -> None:
        name = type(self).__name__
        mean = checks.positive(f"{name}.mean", self.mean, "seconds")
        variation = checks.positive(f"{name}.coefficient_of_variation", self.coefficient_of_variation)
        if not 1e-6 <= variation <= 1e3:
            raise ValueError(f"{name}.coefficient_of_variation must be from 1e-6 (below: Constant) to 1e3, got {variation!r}")
        checks.store(self, mean=mean, coefficient_of_variation=variation)

    def moments(self, worker: int = 0) -> Moments:
        """Mean m, variance (c·m)²."""
        return Moments(self.mean, (self.coefficient_of_variation * self.mean) ** 2)


@dataclass(frozen=True)
class Gamma(_MeanAndVariation):
    """Gamma times with shape 1/c² and scale m·c², for mean m and coefficient of variation c.

    A coefficient of 0.1 is called homogeneous and 0.6 heterogeneous by Ali et al. (2000), "Task execution time
    modeling for heterogeneous computing systems".

    Args:
        mean: mean seconds of a job, above 0.
        coefficient_of_variation: standard deviation over mean, from 1e-6 to 1e3.

    Raises:
        ValueError: if `mean` is not above 0 or `coefficient_of_variation` outside its range.

    Example:
        >>> import simsgd as sg
        >>> sg.times.Gamma(mean=2.0, coefficient_of_variation=0.5).moments()
        Moments(mean=2.0, variance=1.0)
    """

    def sample(self, rng: np.random.Generator, worker: int, now: float) -> float:
        """Draw a gamma time."""
        squared = self.coefficient_of_variation**2
        return self.mean * squared * rng.standard_gamma(1 / squared)


@dataclass(frozen=True)
class Lognormal(_MeanAndVariation):
    """Lognormal times: log X is normal with variance s² = log(1 + c²) and mean log m − s²/2.

    Args:
        mean: mean seconds m of a job, above 0.
        coefficient_of_variation: standard deviation over mean, c, from 1e-6 to 1e3.

    Raises:
        ValueError: if `mean` is not above 0 or `coefficient_of_variation` outside its range.

    Example:
        >>> import simsgd as sg
        >>> sg.times.Lognormal(mean=2.0, coefficient_of_variation=0.5).moments()
        Moments(mean=2.0, variance=1.0)
    """

    def sample(self, rng: np.random.Generator, worker: int, now: float) -> float:
        """Draw a lognormal time."""
        spread = math.log1p(self.coefficient_of_variation**2)
        return self.mean * math.exp(math.sqrt(spread) * rng.standard_normal() - spread / 2)


@dataclass(frozen=True)
class Pareto(Law):
    """Heavy-tailed times: P(X > x) = (minimum/x)^exponent for x ≥ minimum.

    Args:
        minimum: the least seconds a job takes, above 0.
        exponent: the tail's exponent α, above 0; the mean is infinite for α ≤ 1, the variance for α ≤ 2.

    Raises:
        ValueError: if either is not a finite number above 0.

    Example:
        >>> import simsgd as sg
        >>> sg.times.Pareto(minimum=1.0, exponent=3.0).moments()
        Moments(mean=1.5, variance=0.75)
    """

    minimum: float
    exponent: float

    def __post_init__(self) -> None:
        minimum = checks.positive("Pareto.minimum", self.minimum, "seconds")
        checks.store(self, minimum=minimum, exponent=checks.positive("Pareto.exponent", self.exponent))

    def sample(self, rng: np.random.Generator, worker: int, now: float) -> float:
        """Draw a Pareto time."""
        logarithm = rng.standard_exponential() / self.exponent
        return self.minimum * math.exp(logarithm) if logarithm < 709 else math.inf  # exp(710) is beyond float64

    def moments(self, worker: int = 0) -> Moments:
        """Mean αx/(α−1), variance αx²/((α−1)²(α−2))."""
        x, a = self.minimum, self.exponent
        mean = a * x / (a - 1) if a > 1 else math.inf
        return Moments(mean, a * x**2 / ((a - 1) ** 2 * (a - 2)) if a > 2 else math.inf)


@dataclass(frozen=True)
class Speeds(Law):
    """Another law, at each worker's own speed: a job of worker i takes X / speeds[i].

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

    law: Law
    speeds: tuple[float, ...]

    def __post_init__(self) -> None:
        checks.instance("Speeds.law", self.law, Law, "Exponential(mean=1.0)")
        speeds = checks.sequence("Speeds.speeds", self.speeds, "(1.0, 1.0, 0.2)")
        checks.store(self, speeds=tuple(checks.positive(f"Speeds.speeds[{i}]", speed) for i, speed in enumerate(speeds)))

    def sample(self, rng: np.random.Generator, worker: int, now: float) -> float:
        """Draw from the law and divide by the worker's speed."""
        return self.law.sample(rng, worker, now) / self.speeds[worker]

    def moments(self, worker: int = 0) -> Moments:
        """The law's mean over the speed, its variance over the speed squared."""
        mean, variance = self.law.moments(worker)
        return Moments(mean / self.speeds[worker], variance / self.speeds[worker] ** 2)

    def check_workers(self, workers: int) -> None:
        """Raise ValueError unless there is one speed for each worker."""
        if len(self.speeds) != workers:
            raise ValueError(f"Speeds.speeds must hold one speed for each of {workers} workers, got {len(self.speeds)}")
        self.law.check_workers(workers)


@dataclass(frozen=True)
class PerWorker(Law):
    """A law of its own for each worker.

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

    laws: tuple[Law, ...]

    def __post_init__(self) -> None:
        checks.store(self, laws=checks.sequence("PerWorker.laws", self.laws, "(Constant(1.0), Constant(2.0))"))
        for i, law in enumerate(self.laws):
            checks.instance(f"PerWorker.laws[{i}]", law, Law, "Exponential(mean=1.0)")

    def sample(self, rng: np.random.Generator, worker: int, now: float) -> float:
        """Draw from the worker's own law."""
        return self.laws[worker].sample(rng, worker, now)

    def moments(self, worker: int = 0) -> Moments:
        """The moments of the worker's own law."""
        return self.laws[worker].moments(worker)

    def check_workers(self, workers: int) -> None:
        """Raise ValueError unless there is one law for each worker."""
        if len(self.laws) != workers:
            raise ValueError(f"PerWorker.laws must hold one law for each of {workers} workers, got {len(self.laws)}")
        for law in self.laws:
            law.check_workers(workers)
