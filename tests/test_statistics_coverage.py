"""How often intervals cover what they should, on synthetic data: the figures that docstrings state.

By default a few hundred samples each; `python -m pytest -m slow -s tests/test_statistics_coverage.py` prints the tables.
"""

import functools
import math

import numpy as np
import pytest
from scipy import stats

import simsgd as sg

of = sg.studies.statistics
SEEDS = (3, 5, 10, 20)
LOG_SD = 0.3


def normal(seeds, generator):
    return generator.standard_normal(seeds)


def censored(share, seeds, generator):
    """Return lognormal times, NaN where they pass the horizon, which a share of them does not."""
    times = np.exp(LOG_SD * generator.standard_normal(seeds))
    return np.where(times > horizon_of(share), math.nan, times)


def early_or_never(share, seeds, generator):
    """Return lognormal times far below the horizon of 4 s, of runs that fail with a probability of their own."""
    times = np.minimum(np.exp(LOG_SD * generator.standard_normal(seeds)), 4.0)
    return np.where(generator.random(seeds) < share, times, math.nan)


def horizon_of(share):
    return math.exp(LOG_SD * stats.norm.ppf(share))


def mean_below(horizon):
    """E[T; T ≤ H] of a lognormal T with median 1."""
    return math.exp(LOG_SD**2 / 2) * stats.norm.cdf(math.log(horizon) / LOG_SD - LOG_SD)


def truths(draw, share):
    """Return the horizon, the restricted mean and the expected running time of a law."""
    if draw is censored:
        horizon = horizon_of(share)
        restricted = mean_below(horizon) + horizon * (1 - share)
    else:
        horizon = 4.0
        late = 1 - stats.norm.cdf(math.log(horizon) / LOG_SD)
        restricted = share * (mean_below(horizon) + horizon * late) + (1 - share) * horizon
    return horizon, restricted, restricted / share


def covered(measure, draw, share, seeds, repetitions, **options):
    horizon, restricted, running = truths(draw, share)
    truth = running if measure is of.expected_running_time else restricted

    def interval(sample):
        found = measure(sample, horizon, **options)
        return found.low - 1e-12, found.high + 1e-12

    return of.measured_coverage(interval, functools.partial(draw, share, seeds), truth, repetitions)


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
    found = covered(measure, censored, share, seeds, repetitions)
    assert found >= 0.94 - tolerance(0.94, repetitions)


@pytest.mark.parametrize("draw", [censored, early_or_never])
def test_the_guaranteed_interval_covers_what_the_usual_one_cannot(draw):
    """Runs that arrive early or never, and ten seeds of which none failed by luck: the usual interval misses."""
    repetitions = 500
    assert covered(of.restricted_mean, draw, 0.9, 10, repetitions, interval="guaranteed") >= 0.95
    usual = covered(of.restricted_mean, draw, 0.9, 10, repetitions)
    assert usual == pytest.approx(0.94 if draw is censored else 0.75, abs=tolerance(0.8, repetitions))


def test_flips_cover_and_reject_as_they_say():
    """Two exchangeable methods whose runs fail in a third of cases: p ≤ 0.05 in at most 5%, and the interval covers 0."""
    repetitions = 1500

    def interval(sample):
        found = of.compare_pair(*sample, horizon=horizon_of(0.65))
        return found.p_value > 0.05, 1

    def draw(generator):
        both = generator.standard_normal(8)
        times = np.exp(LOG_SD * (both + generator.standard_normal((2, 8))) / math.sqrt(2))
        return np.where(times > horizon_of(0.65), math.nan, times)

    kept = of.measured_coverage(interval, draw, 1, repetitions)
    assert kept >= 0.95 - tolerance(0.95, repetitions)


def test_coverage_is_repeatable():
    measured = functools.partial(of.measured_coverage, of.percentile_bootstrap, functools.partial(normal, 4), 0.0, 50)
    assert measured() == measured()
    assert of.percentile_bootstrap([1, 2, 4, 7]) == of.percentile_bootstrap([1, 2, 4, 7])
    assert of.percentile_bootstrap([1, 2, 4, 7], resamples=9, seed=1) != of.percentile_bootstrap([1, 2, 4, 7], resamples=9)


@pytest.mark.slow
@pytest.mark.parametrize("draw", [censored, early_or_never])
def test_the_tables_of_the_docstrings(draw):
    """At least 94% where times vary up to the horizon; the usual interval is weak where a failure was possible and not seen."""
    repetitions = 4000
    for measure, options in (
        (of.restricted_mean, {}),
        (of.expected_running_time, {}),
        (of.restricted_mean, {"interval": "guaranteed"}),
    ):
        for share in (0.95, 0.9, 0.7, 0.5, 0.3):
            row = [covered(measure, draw, share, seeds, repetitions, **options) for seeds in SEEDS]
            print(measure.__name__, options, draw.__name__, share, *(f"{100 * found:.1f}" for found in row))
            if options or measure is of.expected_running_time or draw is censored:
                assert min(row) >= (0.95 if options else 0.935) - tolerance(0.95, repetitions)
