"""Laws for larger or smaller jobs: time that scales with the batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simsgd.support import checks
from simsgd.support.units import Drawn
from simsgd.times.answers import distribution_of, moments_of
from simsgd.times.around import Around, moved
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
