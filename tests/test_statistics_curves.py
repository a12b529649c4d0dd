"""Shares against time: the distribution of arrivals, Kaplan–Meier, performance profiles and their score."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

import simsgd as sg

of = sg.studies.statistics
NAN = math.nan


def test_ecdf_is_scipys():
    generator = np.random.default_rng(0)
    times = np.round(generator.exponential(5, 40), 1)  # with ties
    found = of.ecdf(np.where(times > 6, NAN, times), 6)
    wanted = stats.ecdf(times).cdf
    for when in (0.0, 0.1, 2.0, 5.95, 6.0):
        assert found(when) == pytest.approx(wanted.evaluate(when))
    assert found.area(0, 6) == pytest.approx(6 - of.restricted_mean(np.where(times > 6, NAN, times), 6).value)


def test_ecdf_over_targets_counts_pairs_of_run_and_target():
    easy, hard = [1.0, 2.0, 3.0], [4.0, NAN, NAN]
    both = of.ecdf([easy, hard], 10)
    for when in np.linspace(0, 10, 21):
        assert both(when) == pytest.approx((of.ecdf(easy, 10)(when) + of.ecdf(hard, 10)(when)) / 2)
    assert both(10) == 4 / 6  # what never arrived stays in the whole
    nobody = of.ecdf([NAN, NAN], 10)
    assert (nobody(10), nobody.area(0, 10)) == (0.0, 0.0)


def test_kaplan_meier_by_hand():
    """Kaplan and Meier's rule at 1: 4 of 5 left; at 3, three watched: 2/3 of it; at 4, two watched: half of it."""
    found = of.kaplan_meier([1.0, NAN, 3.0, 4.0, NAN], [9.0, 2.0, 9.0, 9.0, 5.0])
    assert found.at.tolist() == [1, 3, 4]
    assert found.values == pytest.approx([4 / 5, 4 / 5 * 2 / 3, 4 / 5 * 2 / 3 / 2])
    assert found.start == 1.0
    assert found.end == 9.0


def test_kaplan_meier_is_scipys():
    generator = np.random.default_rng(1)
    times, horizons = np.round(generator.exponential(5, 200), 1) + 0.1, np.round(generator.uniform(1, 9, 200), 1)
    found = of.kaplan_meier(np.where(times <= horizons, times, NAN), horizons)
    arrived = times <= horizons
    wanted = stats.ecdf(stats.CensoredData(uncensored=times[arrived], right=horizons[~arrived])).sf
    for when in np.linspace(0.05, float(np.minimum(times, horizons).max()), 50):
        assert found(when) == pytest.approx(wanted.evaluate(when))


def test_kaplan_meier_finds_the_restricted_mean_of_exponential_times():
    generator = np.random.default_rng(2)
    times, horizons = generator.exponential(5, 20_000), generator.uniform(4, 12, 20_000)
    found = of.kaplan_meier(np.where(times <= horizons, times, NAN), horizons)
    assert found.area(0, 8) == pytest.approx(5 * (1 - math.exp(-8 / 5)), rel=0.02)


def test_kaplan_meier_is_refused_where_it_is_wrong_or_not_needed():
    with pytest.raises(ValueError, match="pruned must mark no run, got 1: runs that were stopped for doing badly"):
        of.kaplan_meier([1.0, NAN], [9.0, 2.0], pruned=[False, True])
    assert of.kaplan_meier([1.0, NAN], [9.0, 2.0], pruned=[False, False]).values.tolist() == [0.5]
    with pytest.raises(ValueError, match="horizons are all 9 s: use ecdf"):
        of.kaplan_meier([1.0, NAN], [9.0, 9.0])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([1.0], [9.0, 8.0]), "horizons must have one entry for each of 1 runs, got 2"),
        (([1.0, 9.0], [9.0, 8.0]), r"horizons must not lie below an arrival, got 8 s for one at 9 s \(run 1\)"),
        (([1.0, 9.0], [9.0, NAN]), "horizons must be finite and above 0"),
        (([1.0, 9.0], [9.0, 0.0]), "horizons must be finite and above 0"),
        (([1.0, 9.0], [9.0, -1.0]), "horizons must be at least 0 simulated seconds, got -1"),
        (([], []), "seconds must hold at least one run"),
    ],
)
def test_bad_horizons_are_named(arguments, said):
    with pytest.raises(ValueError, match=said):
        of.kaplan_meier(*arguments)


def test_nothing_is_said_beyond_the_horizon():
    found = of.ecdf([1.0, NAN], 5)
    with pytest.raises(ValueError, match="where must be at most 5, where what is known ends, got 6"):
        found(6)
    with pytest.raises(ValueError, match="stop must lie between start=0 and the end, 5, got 6"):
        found.area(0, 6)
    with pytest.raises(ValueError, match="stop must lie between start=3"):
        found.area(3, 2)
    with pytest.raises(ValueError, match="horizon is needed"):
        of.ecdf([1.0], None)


SECONDS = np.array([[10.0, 30.0, 20.0, 8.0, NAN], [12.0, 10.0, NAN, 4.0, NAN], [50.0, 11.0, 20.0, NAN, NAN]])


def test_profiles_count_problems_within_a_factor_of_the_fastest():
    """By the definition, problem by problem; one that nobody solves counts against all."""
    found = of.performance_profiles(SECONDS, ["a", "b", "c"])
    times = np.nan_to_num(SECONDS, nan=np.inf)
    for factor in (1.0, 1.05, 1.1, 1.2, 2.0, 3.0, 4.9, 5.0, 1e9):
        for row, profile in zip(times, found.values(), strict=True):
            solved = [row[p] <= factor * times[:, p].min() and np.isfinite(row[p]) for p in range(5)]
            assert profile(factor) == pytest.approx(np.mean(solved))


def test_profiles_do_not_depend_on_units_or_the_size_of_problems():
    scaled = of.performance_profiles(SECONDS * np.array([1, 1000, 0.25, 3, 2.0]))
    for one, other in zip(of.performance_profiles(SECONDS).values(), scaled.values(), strict=True):
        assert one.at == pytest.approx(other.at)
        assert one.values.tolist() == other.values.tolist()


def test_the_score_is_the_area_under_the_profile():
    """Closed form: the mean over problems of (4 − ratio)/3 where the ratio is below 4, else 0; and by quadrature."""
    scores = of.profile_scores(SECONDS, ["a", "b", "c"])
    ratios = SECONDS[:, :4] / np.nanmin(SECONDS[:, :4], axis=0)
    wanted = np.nan_to_num(np.clip((4 - ratios) / 3, 0, None)).sum(axis=1) / 5
    assert list(scores.values()) == pytest.approx(wanted.tolist())
    profile = of.performance_profiles(SECONDS, ["a", "b", "c"])["b"]
    numeric = integrate.quad(profile, 1, 4, points=profile.at.tolist())[0] / 3
    assert scores["b"] == pytest.approx(numeric)


def test_the_score_is_one_for_the_fastest_everywhere_and_nothing_for_who_never_arrives():
    assert of.profile_scores({"fast": [1.0, 2.0], "slow": [9.0, 9.0], "never": [NAN, NAN]}) == {
        "fast": 1.0,
        "slow": 0.0,
        "never": 0.0,
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([[1.0], [2.0]], ["a"]), "labels must be 2 different ones, one for each row, got"),
        (([[1.0], [2.0]], ["a", "a"]), "labels must be 2 different ones"),
        (({"a": [1.0], "b": [2.0, 3.0]},), "seconds must have as many entries for each method, got {'a': 1, 'b': 2}"),
        (({"a": [1.0], "b": [2.0]}, ["a", "b"]), "labels must be left out"),
        (([[1.0]],), "seconds must have at least two methods to compare, got 1"),
        (([1.0, 2.0],), r"seconds must have 2 dimensions, \(rows, columns\), got shape \(2,\)"),
        (([[1.0], [0.0]],), "seconds must be above 0 s to be compared by their ratios"),
        (([[1.0], [-1.0]],), "seconds must be at least 0 simulated seconds, got -1"),
        (([[], []],), "seconds must hold at least one run"),
    ],
)
def test_bad_tables_are_named(arguments, said):
    with pytest.raises(ValueError, match=said):
        of.performance_profiles(*arguments)


def test_bad_factors_are_named():
    with pytest.raises(ValueError, match="most must be above 1, the factor of the fastest itself, got 1"):
        of.profile_scores(SECONDS, most=1)
