"""Time to a target with runs that never arrive: against closed forms, and what bad input is told."""

import math
import pickle

import numpy as np
import pytest
import xarray
from scipy import stats

import simsgd as sg

of = sg.studies.statistics
NAN = math.nan


def test_restricted_mean_of_exponential_times_is_its_closed_form():
    """E[min(T, H)] = m·(1 − exp(−H/m)), and the expected running time m, as exponential times forget."""
    mean, horizon, runs = 10.0, 12.0, 200_000
    times = np.random.default_rng(0).exponential(mean, runs)
    seconds = np.where(times > horizon, NAN, times)
    restricted = of.restricted_mean(seconds, horizon)
    expected = mean * (1 - math.exp(-horizon / mean))
    assert restricted.value == pytest.approx(expected, abs=4 * np.minimum(times, horizon).std() / math.sqrt(runs))
    assert restricted.low < expected < restricted.high
    running = of.expected_running_time(seconds, horizon)
    assert running.value == pytest.approx(mean, rel=4 / math.sqrt(restricted.arrived))
    assert running.low < mean < running.high


def test_expected_running_time_counts_restarts():
    """Σ min(T, H)/successes = E[T | arrived] + H·(1 − p)/p, which is what starting again costs."""
    seconds = [4.0, 6.0, NAN, math.inf, 8.0]
    assert of.expected_running_time(seconds, 10).value == pytest.approx((4 + 6 + 8 + 10 + 10) / 3)
    assert of.expected_running_time(seconds, 10).value == pytest.approx(6 + 10 * (2 / 5) / (3 / 5))
    generator = np.random.default_rng(1)
    total = []
    for _ in range(20_000):
        spent = 0.0
        while not math.isfinite(drawn := generator.choice(np.array(seconds)[[0, 1, 3, 3, 4]])):
            spent += 10
        total.append(spent + drawn)
    assert np.mean(total) == pytest.approx(38 / 3, abs=4 * np.std(total) / math.sqrt(len(total)))


def test_nobody_arrived():
    never = [NAN] * 10
    restricted, running = of.restricted_mean(never, 60), of.expected_running_time(never, 60)
    most = 1 - 0.05 ** (1 / 10)  # p that still gives ten failures one time in twenty
    assert (restricted.value, restricted.low, restricted.high) == pytest.approx((60, 60 * (1 - most), 60))
    assert str(restricted) == "60 s (44.5 to 60), 0 of 10 arrived"
    assert running.value == running.high == math.inf
    assert running.low == pytest.approx(60 * (1 - most) / most)
    assert str(running) == "∞ s (172 to ∞), 0 of 10 arrived"
    assert math.isnan(of.median_time(never, 60).value)


def test_all_arrived_is_the_plain_mean():
    seconds = np.array([10.0, 12.0, 13.0, 11.0])
    found = of.restricted_mean(seconds, 100)
    assert found.value == seconds.mean() == of.expected_running_time(seconds, 100).value
    half = stats.t.ppf(0.975, 3) * stats.sem(seconds) / seconds.mean()
    assert (found.low, found.high) == pytest.approx((found.value * math.exp(-half), found.value * math.exp(half)))
    assert of.restricted_mean(seconds, 13.0).high <= 13.0
    assert str(of.restricted_mean([5.0, 5.0], 10)) == "5 s (5 to 5), 2 of 2 arrived"
    assert of.restricted_mean([0.0, 0.0], 10).value == 0.0


def test_guaranteed_interval_is_the_area_under_an_exact_band():
    seconds, horizon = np.array([2.0, 5.0, NAN, 3.0]), 10.0
    found = of.restricted_mean(seconds, horizon, interval="guaranteed")
    width = stats.ksone.ppf(0.975, 4)
    grid = np.linspace(0, horizon, 1_000_001)
    share = np.searchsorted(np.sort(np.where(np.isnan(seconds), np.inf, seconds)), grid, side="right") / 4
    assert found.low == pytest.approx(np.trapezoid(1 - np.minimum(share + width, 1), grid), abs=1e-4)
    assert found.high == pytest.approx(np.trapezoid(1 - np.maximum(share - width, 0), grid), abs=1e-4)


def test_one_seed_says_nothing_of_the_spread():
    assert str(of.restricted_mean([12.34], 60)) == "12.3 s (no interval with one seed), 1 of 1 arrived"
    assert str(of.restricted_mean([NAN], 60)) == "60 s (no interval with one seed), 0 of 1 arrived"
    assert str(of.expected_running_time([NAN], 60)) == "∞ s (no interval with one seed), 0 of 1 arrived"
    assert of.median_time([12.0]).value == 12.0


def test_median_only_where_more_than_half_arrived():
    assert of.median_time([3.0, NAN, 1.0], 10).value == 3.0
    assert math.isnan(of.median_time([3.0, NAN, 1.0, NAN], 10).value)
    assert str(of.median_time([3.0, NAN], 10)) == "no median, 1 of 2 arrived"
    assert str(of.median_time(range(1, 6))) == "3 s (no interval with so few seeds), 5 of 5 arrived"
    six = of.median_time([1, 2, 3, 4, 5, 6])
    assert (six.value, six.low, six.high) == (3.5, 1, 6)
    assert of.median_time([1, 2, 3, 4, 5, NAN], 9).high == math.inf


@pytest.mark.parametrize("runs", [6, 7, 10, 25])
def test_interval_of_the_median_covers_as_the_binomial_says(runs):
    """P(low ≤ median ≤ high) = 1 − 2·P(Binomial(n, ½) < place) of any continuous law, at least 95%."""
    found = of.median_time(np.arange(1.0, runs + 1))
    assert 1 - 2 * stats.binom.cdf(found.low - 1, runs, 0.5) >= 0.95
    assert 1 - 2 * stats.binom.cdf(found.low, runs, 0.5) < 0.95
    assert found.high == runs + 1 - found.low


def test_share_of_arrivals_is_scipys_exact_interval():
    for count, runs in ((0, 5), (3, 10), (10, 10), (1, 1)):
        wanted = stats.binomtest(count, runs).proportion_ci(0.95, method="exact")
        assert of.share_interval(count, runs) == pytest.approx((wanted.low, wanted.high))
    assert of.restricted_mean([1.0, NAN], 5).share() == of.share_interval(1, 2)


def test_a_method_that_fails_loses():
    """20% faster where it arrives, 30% of its runs fail: it wins by the mean of the successful and loses by all the rest."""
    generator = np.random.default_rng(2)
    steady = 10 * np.exp(0.1 * generator.standard_normal(20))
    hasty = 0.8 * steady
    hasty[:6] = NAN
    horizon = 40.0
    assert np.nanmean(hasty) < np.nanmean(steady)
    for measure in (of.restricted_mean, of.expected_running_time):
        assert measure(hasty, horizon).value > measure(steady, horizon).value
    assert of.restricted_mean(hasty, horizon).low > of.restricted_mean(steady, horizon).high
    assert (of.restricted_mean(hasty, horizon).arrived, of.restricted_mean(steady, horizon).arrived) == (14, 20)
    compared = of.compare_pair(hasty, steady, horizon)
    assert compared.value > 0
    assert compared.arrived == (14, 20)


def test_longer_failing_never_shortens_the_time():
    """One arrival turned into a failure never makes the restricted mean or the expected running time smaller."""
    generator = np.random.default_rng(3)
    for _ in range(200):
        seconds = generator.uniform(0, 10, 8)
        before = of.restricted_mean(seconds, 10), of.expected_running_time(seconds, 10)
        seconds[generator.integers(8)] = NAN
        after = of.restricted_mean(seconds, 10), of.expected_running_time(seconds, 10)
        for then, now in zip(before, after, strict=True):
            assert now.value >= then.value
            assert now.low <= now.value <= now.high


def test_nan_and_infinity_are_the_same_never():
    assert of.restricted_mean([1.0, NAN], 5) == of.restricted_mean([1.0, math.inf], 5)
    assert of.compare_pair([1.0, NAN], [2.0, 3.0], 5) == of.compare_pair([1.0, math.inf], [2.0, 3.0], 5)


def test_any_array_will_do():
    """Lists, float32, whole numbers, xarray's arrays, and masked ones, whose masked entries never arrived."""
    wanted = of.restricted_mean([1.0, 2.0, NAN], 5)
    assert of.restricted_mean(xarray.DataArray([1.0, 2.0, NAN], dims="seed"), 5) == wanted
    assert of.restricted_mean(np.array([1, 2, NAN], np.float32), 5) == wanted
    assert of.restricted_mean(np.ma.masked_greater([1.0, 2.0, 9.0], 5.0), 5) == wanted
    assert of.restricted_mean((1, 2), 5).value == 1.5


def test_what_is_made_can_be_kept():
    found = of.restricted_mean([1.0, 2.0], 5)
    assert pickle.loads(pickle.dumps(found)) == found


BAD = {
    "empty": (([], 5), ValueError, "seconds must hold at least one run, got none"),
    "negative": (([1.0, -2.0], 5), ValueError, "seconds must be at least 0 simulated seconds, got -2"),
    "minus infinity": (([1.0, -math.inf], 5), ValueError, "at least 0"),
    "table": (([[1.0], [2.0]], 5), ValueError, r"seconds must have 1 dimension, \(seeds,\), got shape \(2, 1\)"),
    "one number": ((3.0, 5), ValueError, "1 dimension"),
    "text": ((["a"], 5), TypeError, "seconds must hold simulated seconds"),
    "truths": (([True, False], 5), TypeError, "seconds must hold simulated seconds"),
    "ragged": (([[1.0], [2.0, 3.0]], 5), TypeError, "seconds must hold simulated seconds"),
    "nothing": ((None, 5), TypeError, "seconds must hold simulated seconds"),
    "horizon below": (([1.0, 7.5], 5), ValueError, "horizon must not lie below an arrival: seconds has one at 7.5 s"),
    "horizon nan": (([1.0], NAN), ValueError, r"horizon must be a finite number above 0 \(seconds\), got nan"),
    "horizon infinite": (([1.0], math.inf), ValueError, "horizon must be a finite number above 0"),
    "horizon zero": (([0.0], 0), ValueError, "horizon must be a finite number above 0"),
    "horizon none": (([1.0, NAN], None), ValueError, "horizon is needed"),
    "level": (([1.0], 5, 95), ValueError, "level must be above 0 and below 1, such as 0.95, got 95"),
    "level nan": (([1.0], 5, NAN), ValueError, "level must be above 0 and below 1"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("measure", [of.restricted_mean, of.expected_running_time])
def test_bad_input_is_named(measure, name):
    arguments, kind, said = BAD[name]
    with pytest.raises(kind, match=said):
        measure(*arguments)


def test_bad_input_of_intervals_is_named():
    with pytest.raises(ValueError, match="interval must be one of 'usual', 'guaranteed', got 'bootstrap'"):
        of.restricted_mean([1.0], 5, interval="bootstrap")
    with pytest.raises(ValueError, match="horizon is needed, as 1 of 2 runs of seconds never arrived"):
        of.median_time([1.0, NAN])
    with pytest.raises(ValueError, match="values must be a sequence of at least one finite number"):
        of.t_interval([1.0, NAN])
    with pytest.raises(ValueError, match="count must be at most runs=3, got 4"):
        of.share_interval(4, 3)
    assert all(map(math.isnan, of.t_interval([1.0])))
