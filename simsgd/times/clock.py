"""Laws that follow the clock without end: spells of slowness, periodic pauses. They can begin in the middle of a job.

A worker's slowness is drawn as a function of the simulated second alone, like the weather, so it does not depend on the method.
It stretches a job's work second by second (`simsgd.times.stretching`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from simsgd.support import checks
from simsgd.support.units import InSeconds
from simsgd.times.answers import moments_of
from simsgd.times.expectations import expectation, pauses_met
from simsgd.times.law import Law, Moments
from simsgd.times.stretching import Clock, Piece


@dataclass(frozen=True)
class SlowSpells(Clock):
    """Another law's work by a worker that falls into slow spells: two states, with memoryless sojourns in seconds.

    A worker has its usual speed for Exponential(mean a) seconds, then is `slowness` = s times slower for Exponential(mean b)
    seconds, and so on; at second 0 it is in its stationary state, slow with probability b/(a + b). If a spell begins during a
    job, the job is slow from then on until the spell ends. Spells go on while a worker waits, so a method that waits between
    jobs begins more of them during a spell, and its jobs take longer on average than the mean below.

    Counted in nominal work w instead of seconds, the state is a Markov chain too, with rates 1/a and s/b: slow with probability
    π = (b/s)/(a + b/s), with relaxation rate λ = 1/a + s/b. So, for jobs one right after the other, with w drawn from the
    law and L(λ) = E[exp(−λw)],

        mean            (1 + (s − 1)π)·E[w]
        variance        (1 + (s − 1)π)²·Var w + 2v·(λE[w] − 1 + L(λ)),   v = ((s − 1)/λ)²·π(1 − π)
        covariance      v·(1 − L(λ))²·L(λ)^(k−1)   at lag k, where the law draws independently.

    Args:
        law: the law of the nominal work, what a job takes when nothing is slow.
        slowness: seconds per second of nominal work during a spell, above 0.
        normal_seconds: mean seconds from the end of a spell to the next one, a.
        slow_seconds: mean seconds of a spell, b.

    Raises:
        ValueError: if a number is not finite and above 0.

    Example:
        >>> import simsgd as sg
        >>> law = sg.times.SlowSpells(sg.times.Constant(1.0), slowness=5.0, normal_seconds=90.0, slow_seconds=50.0)
        >>> round(law.moments().mean, 3)
        1.4
    """

    slowness: float
    normal_seconds: InSeconds
    slow_seconds: InSeconds

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.store(self, slowness=checks.positive("SlowSpells.slowness", self.slowness))
        for name in ("normal_seconds", "slow_seconds"):
            checks.store(self, **{name: checks.positive(f"SlowSpells.{name}", getattr(self, name), "seconds")})

    def pieces(self, rng: np.random.Generator, worker: int) -> Iterator[Piece]:
        """Yield spell after spell, from the stationary state at second 0."""
        a, b, until = self.normal_seconds, self.slow_seconds, 0.0
        slow = rng.random() * (a + b) < b
        while True:
            until += (b if slow else a) * rng.standard_exponential()
            yield Piece(until, self.slowness if slow else 1.0)
            slow = not slow

    def around(self, work: Law, worker: int) -> Moments:
        """Return the moments by the formulae above; NaN where they need a distribution that the work does not state."""
        mean, variance, _ = moments_of(work, worker)
        stretch, _, spread = self._chain()
        total = stretch**2 * variance + 2 * spread * self._beyond(work, worker)
        return Moments(stretch * mean, total, self._correlation(1, work, worker, total))

    def autocorrelation_at(self, lag: int, worker: int = 0) -> float:
        """Return the correlation with the job `lag` later by the formula above."""
        work, moments = self.law.in_the_long_run(worker), self.moments(worker)
        return math.nan if isinstance(work, Clock) else self._correlation(lag, work, worker, moments.variance)

    def _chain(self) -> tuple[float, float, float]:
        """Return 1 + (s − 1)π, λ and v."""
        a, b, s = self.normal_seconds, self.slow_seconds, self.slowness
        slow, rate = (b / s) / (a + b / s), 1 / a + s / b
        return 1 + (s - 1) * slow, rate, ((s - 1) / rate) ** 2 * slow * (1 - slow)

    def _beyond(self, work: Law, worker: int) -> float:
        """Return λE[w] − 1 + L(λ)."""
        rate = self._chain()[1]
        return rate * moments_of(work, worker).mean - expectation(work, worker, lambda seconds: -np.expm1(-rate * seconds))

    def _correlation(self, lag: int, work: Law, worker: int, variance: float) -> float:
        if moments_of(work, worker).autocorrelation != 0 or not math.isfinite(variance):
            return math.nan
        _, rate, spread = self._chain()
        ends = expectation(work, worker, lambda seconds: -np.expm1(-rate * seconds))
        return spread * ends**2 * (1 - ends) ** (lag - 1) / variance if variance else 0.0


@dataclass(frozen=True)
class Pauses(Clock):
    """Another law's work, with a pause at regular seconds: a checkpoint, a garbage collection.

    Every P seconds a worker pauses for L seconds; a job under way stops and continues afterwards. With w
    the job's work and f the fractional part of w/(P − L), for jobs one right after the other,

        mean        E[w]·P/(P − L)
        variance    Var w·(P/(P − L))² + L²·E[f(1 − f)],

    and where the law draws independently, the lag-1 covariance is L²(½E[g(1 − g)] − E[f(1 − f)]), with g the fractional part
    for two jobs together. Exact where w is constant; else the expectations are sums over 65,536 quantiles (to about 1e-4).

    Args:
        law: the law of the nominal work.
        every: seconds P from the beginning of one pause to that of the next.
        lasting: seconds L of a pause, below `every`.
        first: the simulated second at which the first pause of every worker begins. With None each worker draws its own,
            uniformly over one period, so a pause may be under way at second 0.

    Raises:
        ValueError: if a number is outside its range.

    Example:
        >>> import simsgd as sg
        >>> sg.times.Pauses(sg.times.Constant(1.0), every=600.0, lasting=60.0).moments().mean
        1.1111111111111112
    """

    every: InSeconds
    lasting: InSeconds
    first: InSeconds | None = None
    periodic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.store(self, every=checks.positive("Pauses.every", self.every, "seconds"))
        checks.store(self, lasting=checks.positive("Pauses.lasting", self.lasting, "seconds"))
        if self.lasting >= self.every:
            raise ValueError(f"Pauses.lasting must be below every={self.every!r}, got {self.lasting!r}")
        if self.first is not None:
            checks.store(self, first=checks.seconds("Pauses.first", self.first))

    def pieces(self, rng: np.random.Generator, worker: int) -> Iterator[Piece]:
        """Yield work and pause in turn."""
        first = (rng.random() - 1) * self.every if self.first is None else self.first
        count = 0
        while True:
            start = first + count * self.every
            yield Piece(start, 1.0)
            yield Piece(start + self.lasting, math.inf)
            count += 1

    def around(self, work: Law, worker: int) -> Moments:
        """Return the moments by the formulae above; NaN where they need a distribution that the work does not state."""
        mean, variance, autocorrelation = moments_of(work, worker)
        between = self.every - self.lasting
        stretch = self.every / between
        one, two = pauses_met(work, worker, between)
        total = stretch**2 * variance + self.lasting**2 * one
        covariance = self.lasting**2 * (two / 2 - one)
        known = autocorrelation == 0 and math.isfinite(total) and total > 0
        return Moments(stretch * mean, total, covariance / total if known else 0.0 if total == 0 else math.nan)
