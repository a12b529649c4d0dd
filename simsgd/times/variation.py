"""Laws given by their mean and coefficient of variation: gamma, lognormal, and a lognormal with memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from simsgd.support import checks
from simsgd.support.units import Drawn
from simsgd.times.law import Distribution, Law, Moments, Sampler


@dataclass(frozen=True)
class _MeanAndVariation(Law):
    """A law given by its mean m (seconds) and its coefficient of variation c, standard deviation over mean."""

    mean: Drawn
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
        Moments(mean=2.0, variance=1.0, autocorrelation=0.0)
    """

    def sampler(self, rng: np.random.Generator, worker: int) -> Sampler:
        """Draw gamma times."""
        squared = self.coefficient_of_variation**2
        scale, shape, draw = self.mean * squared, 1 / squared, rng.standard_gamma
        return lambda now: scale * draw(shape)

    def distribution(self, worker: int = 0) -> Distribution:
        """Return `scipy.stats.gamma`."""
        from scipy import stats

        squared = self.coefficient_of_variation**2
        return stats.gamma(1 / squared, scale=self.mean * squared)


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
        Moments(mean=2.0, variance=1.0, autocorrelation=0.0)
    """

    def sampler(self, rng: np.random.Generator, worker: int) -> Sampler:
        """Draw lognormal times."""
        spread = math.log1p(self.coefficient_of_variation**2)
        mean, scale, middle, draw = self.mean, math.sqrt(spread), spread / 2, rng.standard_normal
        return lambda now: mean * math.exp(scale * draw() - middle)

    def distribution(self, worker: int = 0) -> Distribution:
        """Return `scipy.stats.lognorm`."""
        from scipy import stats

        spread = math.log1p(self.coefficient_of_variation**2)
        return stats.lognorm(math.sqrt(spread), scale=self.mean * math.exp(-spread / 2))


@dataclass(frozen=True)
class AutocorrelatedLognormal(_MeanAndVariation):
    """Lognormal times with memory: the logarithm follows AR(1), so a slow job is likely to be followed by another.

    With c the coefficient of variation, s² = log(1 + c²) and r the lag-1 autocorrelation of the times themselves,

        X_k = m·exp(s·Z_k − s²/2),   Z_k = ρ·Z_{k−1} + √(1 − ρ²)·ε_k,   ρ = log(1 + r·c²)/s²,

    stationary from the first job; at lag k the times' autocorrelation is ((1 + c²)^(ρᵏ) − 1)/c². The memory goes by jobs, not
    by seconds: `SlowSpells` goes by the clock. At r = 0 it draws what `Lognormal` draws. Measured values of r, from one
    mini-batch to the next on a large cluster: 0.60 to 0.77.

    Args:
        mean: mean seconds m of a job, above 0.
        coefficient_of_variation: standard deviation over mean, c, from 1e-6 to 1e3.
        autocorrelation: r, the correlation of one job's time with the next one's, at least 0 and below 1.

    Raises:
        ValueError: if an argument is outside its range.

    Example:
        >>> import simsgd as sg
        >>> sg.times.AutocorrelatedLognormal(mean=2.0, coefficient_of_variation=0.5, autocorrelation=0.7).moments()
        Moments(mean=2.0, variance=1.0, autocorrelation=0.7)
    """

    autocorrelation: float

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.store(self, autocorrelation=checks.not_negative("AutocorrelatedLognormal.autocorrelation", self.autocorrelation))
        if self.autocorrelation >= 1:
            raise ValueError(
                "AutocorrelatedLognormal.autocorrelation must be below 1 (for a worker that is always slow: Speeds or "
                f"DrawnSlowness), got {self.autocorrelation!r}"
            )

    def sampler(self, rng: np.random.Generator, worker: int) -> Sampler:
        """Draw one lognormal time after another, each from the one before."""
        mean, squared, r = self.mean, self.coefficient_of_variation**2, self.autocorrelation
        spread = math.log1p(squared)
        missing = math.log1p(squared * (1 - r) / (1 + squared * r)) / spread  # 1 − ρ, exact where ρ is close to 1
        kept, fresh = 1 - missing, math.sqrt(missing * (2 - missing))
        scale, middle = math.sqrt(spread), spread / 2
        level: float | None = None

        def draw(now: float) -> float:
            nonlocal level
            new = rng.standard_normal()
            level = new if level is None else kept * level + fresh * new
            return mean * math.exp(scale * level - middle)

        return draw

    def moments(self, worker: int = 0) -> Moments:
        """Mean m, variance (c·m)², lag-1 autocorrelation r."""
        return super().moments(worker)._replace(autocorrelation=self.autocorrelation)

    def autocorrelation_at(self, lag: int, worker: int = 0) -> float:
        """Return ((1 + c²)^(ρᵏ) − 1)/c² at lag k."""
        squared = self.coefficient_of_variation**2
        logarithm = math.log1p(squared)
        kept = math.log1p(self.autocorrelation * squared) / logarithm
        return math.expm1(kept**lag * logarithm) / squared

    def distribution(self, worker: int = 0) -> Distribution:
        """Return `scipy.stats.lognorm`, that of any one job."""
        return Lognormal(self.mean, self.coefficient_of_variation).distribution(worker)
