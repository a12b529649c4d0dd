"""The law of a node of several devices, which does a step when the slowest of them has."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from simsgd.support import checks
from simsgd.support.bounds import bounds
from simsgd.times.answers import distribution_of, draws_of, moments_of
from simsgd.times.around import Around
from simsgd.times.expectations import largest
from simsgd.times.law import Distribution, Moments, Sampler
from simsgd.times.stretching import Stretched


@dataclass(frozen=True)
class Slowest(Around):
    """The largest of m draws of another law: a worker that is a node of m devices, which wait for each other at each step.

    With F the law's distribution function the largest of m has Fᵐ: E = ∫ x dF(x)ᵐ. For exponential times of mean μ the mean is
    μ·(1 + 1/2 + … + 1/m) and the variance μ²·(1 + 1/4 + … + 1/m²). Moments are not a number (NaN) where the law states no
    distribution, and its autocorrelation where the law has one.

    Each device draws from a stream of its own, so one that draws its speed, or remembers, does so for itself. What follows the
    clock slows all devices of a node together.

    Args:
        law: of one device's step.
        of: how many devices, m, at least 1.

    Raises:
        TypeError: if `law` is not a `Law`; ValueError if `of` is not a whole number of at least 1.

    Source: of the moments of exponential times, H. A. David and H. N. Nagaraja, "Order statistics" (2003), section 3.2 (from
    memory).

    Example:
        >>> import simsgd as sg
        >>> round(sg.times.Slowest(sg.times.Exponential(mean=1.0), of=8).moments().mean, 4)
        2.7179
    """

    of: int

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.store(self, of=checks.whole("Slowest.of", self.of, 1))
        bounds.check("parts", self.of, f"Slowest.of={self.of}")

    def _change(self, draw: Sampler, rng: np.random.Generator, worker: int) -> Sampler:
        others = [draws_of(self.law, stream, worker) for stream in rng.spawn(self.of - 1)]
        devices = [draw, *(other.work if isinstance(other, Stretched) else other for other in others)]
        return lambda now: max([device(now) for device in devices])

    def _changed(self, worker: int) -> Moments:
        alone, distribution = moments_of(self.law, worker), distribution_of(self.law, worker)
        if self.of == 1 or alone.variance == 0:
            return alone
        mean, variance = (math.nan, math.nan) if distribution is None else largest(distribution, self.of)
        return Moments(mean, variance, self._autocorrelation(1, worker))

    def _autocorrelation(self, lag: int, worker: int) -> float:
        alone = self.law.autocorrelation_at(lag, worker)
        return alone if self.of == 1 or alone == 0 else math.nan

    def _distribution(self, worker: int) -> Distribution | None:
        return distribution_of(self.law, worker) if self.of == 1 else None
