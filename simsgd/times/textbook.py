"""The textbook laws: independent draws from one distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from simsgd.support import checks
from simsgd.support.units import Drawn
from simsgd.times.law import Distribution, Law, Moments, Sampler


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
        Moments(mean=0.1, variance=0.0, autocorrelation=0.0)
    """

    seconds: Drawn

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
        Moments(mean=2.0, variance=4.0, autocorrelation=0.0)
    """

    mean: Drawn

    def __post_init__(self) -> None:
        checks.store(self, mean=checks.positive("Exponential.mean", self.mean, "seconds"))

    def sampler(self, rng: np.random.Generator, worker: int) -> Sampler:
        """Draw exponential times."""
        mean, draw = self.mean, rng.standard_exponential
        return lambda now: mean * draw()

    def moments(self, worker: int = 0) -> Moments:
        """Mean m, variance m²."""
        return Moments(self.mean, self.mean**2)

    def distribution(self, worker: int = 0) -> Distribution:
        """Return `scipy.stats.expon`."""
        from scipy import stats

        return stats.expon(scale=self.mean)


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
        Moments(mean=2.0, variance=1.0, autocorrelation=0.0)
    """

    shift: Drawn
    mean: Drawn

    def __post_init__(self) -> None:
        checks.store(self, shift=checks.seconds("ShiftedExponential.shift", self.shift))
        checks.store(self, mean=checks.positive("ShiftedExponential.mean", self.mean, "seconds"))
        if self.mean <= self.shift:
            raise ValueError(
                f"ShiftedExponential.mean is the mean of the whole job and must be above shift={self.shift!r}, "
                f"got {self.mean!r}"
            )

    def sampler(self, rng: np.random.Generator, worker: int) -> Sampler:
        """Draw times of shift plus an exponential time."""
        shift, mean, draw = self.shift, self.mean - self.shift, rng.standard_exponential
        return lambda now: shift + mean * draw()

    def moments(self, worker: int = 0) -> Moments:
        """Mean m, variance (m − shift)²."""
        return Moments(self.mean, (self.mean - self.shift) ** 2)

    def distribution(self, worker: int = 0) -> Distribution:
        """Return `scipy.stats.expon`."""
        from scipy import stats

        return stats.expon(loc=self.shift, scale=self.mean - self.shift)


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
        Moments(mean=1.5, variance=0.75, autocorrelation=0.0)
    """

    minimum: Drawn
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

    def distribution(self, worker: int = 0) -> Distribution:
        """Return `scipy.stats.pareto`."""
        from scipy import stats

        return stats.pareto(self.exponent, scale=self.minimum)


@dataclass(frozen=True)
class Weibull(Law):
    """Weibull times: P(X > x) = exp(−(x/scale)^shape), with scale = mean/Γ(1 + 1/shape).

    Below a shape of 1 the tail is heavier than the exponential's, which is shape 1; above, lighter.

    Args:
        mean: mean seconds of a job, above 0.
        shape: the exponent of the tail, from 0.05 to 1000.

    Raises:
        ValueError: if `mean` is not above 0 or `shape` outside its range.

    Example:
        >>> import simsgd as sg
        >>> sg.times.Weibull(mean=2.0, shape=1.0).moments()
        Moments(mean=2.0, variance=4.0, autocorrelation=0.0)
    """

    mean: Drawn
    shape: float

    def __post_init__(self) -> None:
        shape = checks.positive("Weibull.shape", self.shape)
        if not 0.05 <= shape <= 1e3:
            raise ValueError(f"Weibull.shape must be from 0.05 to 1000 (above: Constant), got {shape!r}")
        checks.store(self, mean=checks.positive("Weibull.mean", self.mean, "seconds"), shape=shape)

    @property
    def scale(self) -> float:
        """Seconds that a job exceeds with probability 1/e."""
        return self.mean / math.gamma(1 + 1 / self.shape)

    def sampler(self, rng: np.random.Generator, worker: int) -> Sampler:
        """Draw Weibull times."""
        scale, power = self.scale, 1 / self.shape
        return lambda now: scale * rng.standard_exponential() ** power

    def moments(self, worker: int = 0) -> Moments:
        """Mean m, variance m²(Γ(1 + 2/shape)/Γ(1 + 1/shape)² − 1)."""
        ratio = math.gamma(1 + 2 / self.shape) / math.gamma(1 + 1 / self.shape) ** 2
        return Moments(self.mean, self.mean**2 * (ratio - 1))

    def distribution(self, worker: int = 0) -> Distribution:
        """Return `scipy.stats.weibull_min`."""
        from scipy import stats

        return stats.weibull_min(self.shape, scale=self.scale)
