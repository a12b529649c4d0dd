"""How often intervals cover what they should, on synthetic data: the figures that docstrings state.

By default a few hundred samples each; `python -m pytest -m slow -s tests/test_statistics_coverage.py` prints the tables.
"""

import dataclasses
import functools
import math

import numpy as np
import pytest
from scipy import stats

import simsgd as sg

of = sg.studies.statistics
SEEDS = (3, 5, 10, 20)


@dataclasses.dataclass(frozen=True)
class Law:
    """Lognormal times with median 1 s, of which a share arrives: before a horizon among them, or early or never at all."""

    share: float
    log_sd: float = 0.3
    never: bool = False

    @property
    def horizon(self):
        """Seconds: where the share has arrived; or 4 s, where nearly all have that do not fail."""
        return 4.0 if self.never else math.exp(self.log_sd * stats.norm.ppf(self.share))

    def draw(self, seeds, generator):
        times = np.exp(self.log_sd * generator.standard_normal(seeds))
        if self.never:
            return np.where(generator.random(seeds) < self.share, np.minimum(times, self.horizon), math.nan)
        return np.where(times > self.horizon, math.nan, times)

    @property
    def restricted_mean(self):
        """E[T; T ≤ H] + H·P(T > H), of those that do not fail, and H of those that do."""
        at = math.log(self.horizon) / self.log_sd
        mean = math.exp(self.log_sd**2 / 2) * stats.norm.cdf(at - self.log_sd) + self.horizon * stats.norm.sf(at)
        return self.share * mean + (1 - self.share) * self.horizon if self.never else mean


def normal(seeds, generator):
    return generator.standard_normal(seeds)


def covered(measure, law, seeds, repetitions, **options):
    truth = law.restricted_mean / (law.share if measure is of.expected_running_time else 1)

    def interval(sample):
        found = measure(sample, law.horizon, **options)
        return found.low - 1e-12, found.high + 1e-12

    return of.measured_coverage(interval, functools.partial(law.draw, seeds), truth, repetitions)


def tolerance(share, repetitions):
    """Four standard errors."""
    return 4 * math.sqrt(max(share * (1 - share), 0.01) / repetitions)


@pytest.mark.parametrize("seeds", SEEDS)
def test_paired_t_covers(seeds):
    """Exact for normal log-ratios, however much the seeds share."""
    repetitions = 1500

    def interval(ratios):
        found = of.compare_pair(np.exp(ratios), np.ones(seeds))
        return found.low, found.high

    found = of.measured_coverage(interval, functools.partial(normal, seeds), 1.0, repetitions)
    assert found == pytest.approx(0.95, abs=tolerance(0.95, repetitions))


@pytest.mark.parametrize(("seeds", "share"), list(zip(SEEDS, (0.75, 0.835, 0.90, 0.925), strict=True)))
def test_percentile_bootstrap_covers_too_little(seeds, share):
    """With three values it is their whole range, as 1/27 > 2.5%, which covers the middle of a symmetric law in 75%."""
    repetitions = 1000
    bootstrap = functools.partial(of.percentile_bootstrap, resamples=1000)
    found = of.measured_coverage(bootstrap, functools.partial(normal, seeds), 0.0, repetitions)
    assert found == pytest.approx(share, abs=tolerance(share, repetitions))


@pytest.mark.parametrize("measure", [of.restricted_mean, of.expected_running_time])
@pytest.mark.parametrize("share", [0.9, 0.5])
@pytest.mark.parametrize("seeds", [3, 10])
def test_intervals_with_censoring_cover(measure, share, seeds):
    repetitions = 500
    found = covered(measure, Law(share), seeds, repetitions)
    assert found >= 0.94 - tolerance(0.94, repetitions)


@pytest.mark.parametrize(("law", "covers"), [(Law(0.9), 0.94), (Law(0.9, never=True), 0.75)])
def test_the_guaranteed_interval_covers_what_the_usual_one_cannot(law, covers):
    """Runs that arrive early or never, and ten seeds of which none failed by luck: the usual interval misses."""
    repetitions = 500
    assert covered(of.restricted_mean, law, 10, repetitions, interval="guaranteed") >= 0.95
    assert covered(of.restricted_mean, law, 10, repetitions) == pytest.approx(covers, abs=tolerance(covers, repetitions))


def test_flips_cover_and_reject_as_they_say():
    """Two exchangeable methods whose runs fail in a third of cases: p ≤ 0.05 in at most 5%, and the interval covers 0."""
    repetitions, horizon = 1500, Law(0.65).horizon

    def interval(sample):
        found = of.compare_pair(*sample, horizon=horizon)
        return found.p_value > 0.05, 1

    def draw(generator):
        both = generator.standard_normal(8)
        times = np.exp(0.3 * (both + generator.standard_normal((2, 8))) / math.sqrt(2))
        return np.where(times > horizon, math.nan, times)

    kept = of.measured_coverage(interval, draw, 1, repetitions)
    assert kept >= 0.95 - tolerance(0.95, repetitions)


def test_coverage_is_repeatable():
    measured = functools.partial(of.measured_coverage, of.percentile_bootstrap, functools.partial(normal, 4), 0.0, 50)
    assert measured() == measured()
    assert of.percentile_bootstrap([1, 2, 4, 7]) == of.percentile_bootstrap([1, 2, 4, 7])
    assert of.percentile_bootstrap([1, 2, 4, 7], resamples=9, seed=1) != of.percentile_bootstrap([1, 2, 4, 7], resamples=9)


def wald(sample, horizon):
    """Return the plain t interval of min(T, H)."""
    low, high = of.t_interval(np.nan_to_num(sample, nan=horizon))
    return of.TimeToTarget(0.0, low, min(high, horizon), 0, 0, 0.95, "plain t")


def bootstrap(sample, horizon):
    """Return the percentile bootstrap interval of the mean of min(T, H)."""
    low, high = of.percentile_bootstrap(np.nan_to_num(sample, nan=horizon), resamples=500)
    return of.TimeToTarget(0.0, low, high, 0, 0, 0.95, "bootstrap")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [{}, {"log_sd": 1.0}, {"never": True}], ids=["narrow", "wide", "early or never"])
@pytest.mark.parametrize("share", [0.95, 0.9, 0.7, 0.5, 0.3])
def test_the_tables_of_the_docstrings(share, kind):
    """What is promised covers; the usual interval where a failure was possible and not seen, and the naive ones, do not."""
    law, repetitions = Law(share, **kind), 4000
    for name, measure, least in (
        ("usual", of.restricted_mean, 0.0 if law.never else 0.915),
        ("guaranteed", functools.partial(of.restricted_mean, interval="guaranteed"), 0.95),
        ("running", of.expected_running_time, 0.95),
        ("plain t", wald, 0.0),
        ("bootstrap", bootstrap, 0.0),
    ):
        row = [covered(measure, law, seeds, repetitions) for seeds in SEEDS]
        print(f"{name:12s}", law, *(f"{100 * found:.1f}" for found in row))
        assert min(row) >= least - tolerance(0.95, repetitions)
