"""Two methods paired by seed: the tests against SciPy's, the exact interval against its test, what is said of the choice."""

import math

import numpy as np
import pytest
from scipy import stats

import simsgd as sg
from simsgd.studies.statistics import flips

of = sg.studies.statistics
NAN = math.nan


def methods(seeds, shift=0.1, own=0.05, shared=0.3, seed=0):
    """Times of two methods whose logs share most of what varies."""
    generator = np.random.default_rng(seed)
    both = shared * generator.standard_normal(seeds)
    return tuple(10 * np.exp(both + own * generator.standard_normal(seeds) + by) for by in (0.0, shift))


@pytest.mark.parametrize("seeds", [2, 3, 10, 40])
def test_where_all_arrive_it_is_scipys_paired_t_test_of_logs(seeds):
    first, second = methods(seeds)
    wanted = stats.ttest_rel(np.log(first), np.log(second))
    interval = wanted.confidence_interval(0.9)
    found = of.compare_pair(first, second, level=0.9)
    assert found.test == "paired t of log-ratios"
    assert found.p_value == pytest.approx(wanted.pvalue)
    assert (found.low, found.high) == pytest.approx((math.exp(interval.low), math.exp(interval.high)))
    assert found.value == pytest.approx(stats.gmean(first / second))
    assert found.correlation == pytest.approx(stats.pearsonr(np.log(first), np.log(second)).statistic)


@pytest.mark.parametrize("seeds", [3, 6, 10])
def test_where_one_did_not_it_is_the_permutation_test_of_restricted_differences(seeds):
    first, second = methods(seeds, shift=0.2)
    second[0] = NAN
    horizon = 60.0
    differences = np.minimum(first, horizon) - np.nan_to_num(second, nan=horizon)
    wanted = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    found = of.compare_pair(first, second, horizon)
    assert found.test == "sign flips of restricted differences"
    assert found.why.startswith(f"1 of {2 * seeds} runs never arrived")
    assert found.p_value == pytest.approx(wanted.pvalue)
    assert found.value == pytest.approx(differences.mean())
    assert found.arrived == (seeds, seeds - 1)


def test_signs_alone_decide_where_all_differences_are_alike():
    """Then the flips are a sign test, whose p-value is binomial: and so is Wilcoxon's on ranks 1 … n, for all of one sign."""
    for signs in ([1] * 8, [1] * 7 + [-1], [1] * 5 + [-1] * 3):
        p_value, *_ = flips.sign_flips(np.array(signs, float), 0.95, 0)
        assert p_value == pytest.approx(stats.binomtest(signs.count(1), 8).pvalue)
    assert flips.sign_flips(np.arange(1.0, 8), 0.95, 0)[0] == stats.wilcoxon(np.arange(1.0, 8), method="exact").pvalue


@pytest.mark.parametrize("seeds", [6, 9, 12])
def test_the_interval_of_the_flips_is_where_the_test_does_not_reject(seeds):
    generator = np.random.default_rng(seeds)
    for _ in range(20):
        differences = generator.standard_normal(seeds) + 0.5
        _, low, high = flips.sign_flips(differences, 0.95, 0)
        for inside, outside in ((low + 1e-6, low - 1e-6), (high - 1e-6, high + 1e-6)):
            assert flips.sign_flips(differences - inside, 0.95, 0)[0] > 0.05
            assert flips.sign_flips(differences - outside, 0.95, 0)[0] <= 0.05


def test_flips_that_are_drawn_agree_with_those_that_are_counted(monkeypatch):
    differences = np.random.default_rng(5).standard_normal(14) + 0.6
    exact = flips.sign_flips(differences, 0.95, 0)
    monkeypatch.setattr(flips, "EXACT_UP_TO", 3)
    drawn = flips.sign_flips(differences, 0.95, 0)
    assert drawn[0] == pytest.approx(exact[0], abs=8 * math.sqrt(exact[0] / flips.SAMPLED))
    assert drawn[1:] == pytest.approx(exact[1:], abs=0.03)
    assert flips.sign_flips(differences, 0.95, 0) == drawn  # bit for bit
    assert flips.sign_flips(differences, 0.95, 1) != drawn


def test_flips_that_are_drawn_count_the_differences_as_they_are():
    """So that no p-value is zero, and the test stays valid however few are drawn."""
    found = of.compare_pair(np.full(30, 1.0), np.full(30, NAN), 9.0)
    assert found.p_value == 2 / flips.SAMPLED


def test_below_six_seeds_no_flips_are_convincing():
    for seeds in range(2, 9):
        first = np.arange(1.0, seeds + 1)
        second = np.full(seeds, NAN)
        found = of.compare_pair(first, second, 100.0)
        assert found.p_value == flips.least_p(seeds) == 2.0 ** (1 - seeds)
        assert found.separated == (seeds >= 6)
        assert math.isnan(found.low) == (seeds < 6)
        assert (f"no p below 0.05 is possible with {seeds} seeds" in str(found)) == (seeds < 6)
    assert found.faster == "first"


def test_what_pairing_gained_is_a_ratio_of_variances():
    first, second = methods(4000)
    found = of.compare_pair(first, second)
    assert found.correlation == pytest.approx(0.09 / 0.0925, abs=0.01)
    assert found.pairing_gain == pytest.approx(0.0925 * 2 / 0.005, rel=0.1)
    apart = of.compare_pair(first, np.roll(second, 1))
    assert apart.pairing_gain == pytest.approx(1, rel=0.1)
    against = of.compare_pair(first, 100 / second)
    assert against.pairing_gain < 1
    assert "pairing did not help here" in str(against)
    assert "pairing is worth" in str(found)
    steadier = np.sqrt(second)
    logs = np.log(first), np.log(steadier)
    wanted = (logs[0].var() + logs[1].var()) / (logs[0] - logs[1]).var()
    assert of.compare_pair(first, steadier).pairing_gain == pytest.approx(wanted)


def test_which_is_faster_needs_both_to_be_separated():
    first, second = methods(10, shift=0.3)
    assert of.compare_pair(first, second).faster == "first"
    assert of.compare_pair(second, first).faster == "second"
    same = methods(10, shift=0.0, seed=1)
    assert of.compare_pair(*same).faster == "neither"
    late = np.where(np.arange(10) < 9, NAN, second)
    assert of.compare_pair(late, first, 60).faster == "second"


def test_turning_the_pair_round_turns_the_answer_round():
    first, second = methods(9)
    there, back = of.compare_pair(first, second), of.compare_pair(second, first)
    assert there.value == pytest.approx(1 / back.value)
    assert (there.low, there.high) == pytest.approx((1 / back.high, 1 / back.low))
    second[3] = NAN
    there, back = of.compare_pair(first, second, 80), of.compare_pair(second, first, 80)
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))
    assert there.p_value == back.p_value


def test_times_that_have_no_t_test():
    zero = of.compare_pair([0.0, 1.0, 2.0], [1.0, 2.0, 4.0])
    assert zero.test == "sign flips of restricted differences"
    assert zero.why.startswith("a time of 0 s has no logarithm")
    steady = of.compare_pair(np.arange(1.0, 8), 2 * np.arange(1.0, 8))
    assert steady.why == "all ratios are the same, so a t test does not exist"
    assert steady.p_value == 2 / 2**7
    itself = of.compare_pair([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert (itself.value, itself.p_value, itself.faster) == (0.0, 1.0, "neither")
    never = of.compare_pair([NAN] * 7, [NAN] * 7, 9)
    assert (never.value, never.p_value, never.arrived) == (0.0, 1.0, (0, 0))
    assert math.isnan(never.correlation)


@pytest.mark.parametrize("pair", [([2.0], [3.0]), ([2.0], [NAN])])
def test_one_seed_gives_a_value_and_no_more(pair):
    found = of.compare_pair(*pair, 9)
    assert found.test == "none"
    assert found.why == "one seed says nothing of the spread"
    assert math.isnan(found.p_value)
    assert math.isnan(found.low)
    assert found.faster == "neither"
    assert "no p-value" in str(found)


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (([1.0], [1.0, 2.0]), ValueError, "first and second must be paired by seed, got 1 and 2 seeds"),
        (([1.0, NAN], [1.0, 2.0]), ValueError, "horizon is needed, as 1 of 2 runs of first never arrived"),
        (([1.0], [NAN]), ValueError, "horizon is needed, as 1 of 1 runs of second never arrived"),
        (([1.0], [-1.0]), ValueError, "second must be at least 0 simulated seconds, got -1"),
        (([1.0], [9.0], 5.0), ValueError, "horizon must not lie below an arrival: second has one at 9 s"),
        (([], []), ValueError, "first must hold at least one run"),
        (([1.0], [1.0], 5.0, 2), ValueError, "level must be"),
        (([1.0], [1.0], 5.0, 0.95, -1), ValueError, "seed must be a whole number of at least 0, got -1"),
    ],
)
def test_bad_pairs_are_named(arguments, kind, said):
    with pytest.raises(kind, match=said):
        of.compare_pair(*arguments)
