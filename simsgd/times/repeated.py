"""The law of several steps in a row, as a device makes them before it waits for others."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from simsgd.support import checks
from simsgd.support.bounds import bounds
from simsgd.times.answers import distribution_of, moments_of
from simsgd.times.around import Around, parameters
from simsgd.times.law import Distribution, Moments, Sampler

ROUNDING = 1e-12
"""Of a mean of h² correlations: where it is smaller the sum of h draws is taken to be always the same."""


@dataclass(frozen=True)
class Repeated(Around):
    """The sum of h draws of another law: so many steps in a row.

    With ρ(k) the correlation of draws k apart, the mean is h·E[X], and sums that are L apart have the covariance
    Var X · Σ (h − |d|)·ρ(Lh + d) over −h < d < h; for L = 0 it is the variance, of independent draws h·Var X. Moments are not
    a number (NaN) where the law does not state the correlations that they need. Sums of independent exponential, shifted
    exponential or gamma times are gamma times, so the slowest of several has moments too.

    Where steps are the method's, `works.LocalSteps` charges them one by one. This law is for what the clock of a worker cannot
    see, as the steps of each device of a node: `Slowest(Repeated(law, of=h), of=m)`, see `Cluster.of_nodes`.

    Args:
        law: of one step.
        of: how many, h, at least 1.

    Raises:
        TypeError: if `law` is not a `Law`.
        ValueError: if `of` is not a whole number of at least 1; BoundError if it is above `sg.bounds.parts`.

    Example:
        >>> import simsgd as sg
        >>> four = sg.times.Repeated(sg.times.Exponential(mean=1.0), of=4)
        >>> four.moments()
        Moments(mean=4.0, variance=4.0, autocorrelation=0.0)
        >>> slowest = sg.times.Slowest(four, of=8).moments().mean, 4 * sg.times.Slowest(four.law, of=8).moments().mean
        >>> [round(mean, 2) for mean in slowest]  # 8 devices that wait for each other after 4 steps, and after each
        [7.23, 10.87]
    """

    of: int

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.store(self, of=checks.whole("Repeated.of", self.of, 1))
        bounds.check("parts", self.of, f"Repeated.of={self.of}")

    def _change(self, draw: Sampler, rng: np.random.Generator, worker: int) -> Sampler:
        of = range(self.of)

        def total(now: float) -> float:
            seconds = 0.0
            for _ in of:
                seconds += draw(now + seconds)
            return seconds

        return total

    def _changed(self, worker: int) -> Moments:
        mean, variance, _ = moments_of(self.law, worker)
        return Moments(self.of * mean, variance * self._together(0, worker), self._autocorrelation(1, worker))

    def _together(self, lag: int, worker: int) -> float:
        """Return Σ (h − |d|)·ρ(lag·h + d), the covariance of two sums over the variance of a draw; 0 where all but rounding."""
        h = self.of
        apart = {0: 1.0} | {k: self.law.autocorrelation_at(k, worker) for k in range(max(1, (lag - 1) * h + 1), (lag + 1) * h)}
        total = math.fsum((h - abs(d)) * apart[abs(lag * h + d)] for d in range(1 - h, h))
        return 0.0 if abs(total) < ROUNDING * h * h else total

    def _autocorrelation(self, lag: int, worker: int) -> float:
        alone, other = self._together(0, worker), self._together(lag, worker)
        return other / alone if alone else 0.0

    def _distribution(self, worker: int) -> Distribution | None:
        alone = distribution_of(self.law, worker)
        if self.of == 1 or alone is None:
            return alone
        if alone.dist.name not in ("expon", "gamma") or any(self.law.autocorrelation_at(k, worker) for k in range(1, self.of)):
            return None
        from scipy import stats

        shapes, location, scale = parameters(alone)
        return stats.gamma(self.of * shapes.get("a", 1.0), loc=self.of * location, scale=scale)
