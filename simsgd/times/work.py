"""Laws for larger or smaller jobs: time that scales with the batch, or with the number of local steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simsgd.support import checks
from simsgd.support.bounds import bounds
from simsgd.support.units import Drawn
from simsgd.times.answers import distribution_of, moments_of
from simsgd.times.around import Around, moved, parameters
from simsgd.times.law import Distribution, Moments, Sampler


@dataclass(frozen=True)
class Scaled(Around):
    """Another law for jobs of another size: a job takes overhead + by·X, for example with X the time of one sample.

    The mean is overhead + by·E[X], the variance by²·Var X, the autocorrelation the law's own.

    Args:
        law: the law of X.
        by: the factor, above 0: the batch size, if X is the time of one sample.
        overhead: seconds that a job takes whatever its size, at least 0.

    Raises:
        ValueError: if `by` is not above 0 or `overhead` is negative.

    Example:
        >>> import simsgd as sg
        >>> one_sample = sg.times.Gamma(mean=0.001, coefficient_of_variation=0.1)
        >>> sg.times.Scaled(one_sample, by=32, overhead=0.01).moments().mean
        0.042
    """

    by: float
    overhead: Drawn = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.store(self, by=checks.positive("Scaled.by", self.by))
        checks.store(self, overhead=checks.seconds("Scaled.overhead", self.overhead))

    def _change(self, draw: Sampler, rng: np.random.Generator, worker: int) -> Sampler:
        by, overhead = self.by, self.overhead
        return lambda now: overhead + by * draw(now)

    def _changed(self, worker: int) -> Moments:
        mean, variance, autocorrelation = moments_of(self.law, worker)
        return Moments(self.overhead + self.by * mean, self.by**2 * variance, autocorrelation)

    def _distribution(self, worker: int) -> Distribution | None:
        return moved(distribution_of(self.law, worker), self.by, self.overhead)


@dataclass(frozen=True)
class LocalSteps(Around):
    """Several draws for each job, one after the other: the time of a job of H local steps.

    The mean is H·E[X]. With rₖ the law's autocorrelation at lag k, the variance is (H + 2Σ(H − k)·rₖ)·Var X, k from 1 to
    H − 1, and the lag-1 covariance Σ min(k, 2H − k)·rₖ·Var X, k from 1 to 2H − 1; not a number where the law does not
    state them. For independent draws: H·Var X and 0.

    A law of your own that uses `now` may see it decrease by part of a job, after a job was cut short.

    Args:
        law: the law of one step's time X.
        steps: H, how many steps a job has, at least 1.

    Raises:
        ValueError: if `steps` is not a whole number of at least 1.
        BoundError: if it is above `simsgd.bounds.parts`.

    Example:
        >>> import simsgd as sg
        >>> sg.times.LocalSteps(sg.times.Exponential(mean=2.0), steps=8).moments()
        Moments(mean=16.0, variance=32.0, autocorrelation=0.0)
    """

    steps: int

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.store(self, steps=checks.whole("LocalSteps.steps", self.steps, 1))
        bounds.check("parts", self.steps, f"LocalSteps.steps={self.steps}")

    def _change(self, draw: Sampler, rng: np.random.Generator, worker: int) -> Sampler:
        steps = range(self.steps)

        def all_steps(now: float) -> float:
            seconds = 0.0
            for _ in steps:
                seconds += draw(now + seconds)
            return seconds

        return all_steps

    def _changed(self, worker: int) -> Moments:
        mean, variance, _ = moments_of(self.law, worker)
        scale = self._covariance(0, worker)
        return Moments(self.steps * mean, scale * variance, self._autocorrelation(1, worker))

    def _autocorrelation(self, lag: int, worker: int) -> float:
        scale = self._covariance(0, worker)
        return self._covariance(lag, worker) / scale if scale else 0.0

    def _covariance(self, lag: int, worker: int) -> float:
        """Return that of the sums of two jobs' steps, over the variance of one step."""
        if moments_of(self.law, worker).autocorrelation == 0:
            return 0.0 if lag else float(self.steps)
        between = range(1 - self.steps, self.steps)
        lags = ((abs(lag * self.steps + k), self.steps - abs(k)) for k in between)
        return sum(pairs * (self.law.autocorrelation_at(k, worker) if k else 1.0) for k, pairs in lags)

    def _distribution(self, worker: int) -> Distribution | None:
        """Return the law's where there is one step, and the gamma that independent exponential or gamma times sum to."""
        one = distribution_of(self.law, worker)
        if self.steps == 1 or one is None:
            return one
        if moments_of(self.law, worker).autocorrelation != 0 or one.dist.name not in ("expon", "gamma"):
            return None
        from scipy import stats

        shapes, location, scale = parameters(one)
        return stats.gamma(shapes.get("a", 1.0) * self.steps, loc=location * self.steps, scale=scale)
