"""Laws of compute time: draws against what each law states, what each states against textbooks, and bad arguments."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

import simsgd as sg
from simsgd import rng, times

DRAWS = 50_000
STANDARD_ERRORS = 5  # a right law fails one of these checks with a probability below 1e-6


def lognormal(mean, coefficient_of_variation):
    s = math.sqrt(math.log1p(coefficient_of_variation**2))
    return stats.lognorm(s, scale=mean * math.exp(-(s**2) / 2))


def scaled(distribution, factor):
    """The same distribution of a variable `factor` times as large."""
    positional, named = distribution.args, distribution.kwds
    return distribution.dist(
        *positional, **named | {"loc": named.get("loc", 0) * factor, "scale": named.get("scale", 1) * factor}
    )


EXPONENTIAL, GAMMA, PARETO = stats.expon(scale=2.0), stats.gamma(1 / 0.6**2, scale=0.5 * 0.6**2), stats.pareto(10, scale=0.3)
SPEEDS = (1.0, 0.2, 5.0)
EVERYBODY = times.PerWorker((times.Constant(0.3), times.Gamma(0.5, 0.6), times.Pareto(0.3, 10.0)))

# (law, worker, the textbook's distribution, or None where nothing is random). A sample variance needs a fourth moment to have a
# standard error at all, and about an eighth for that error to be close to normal: hence a Pareto exponent of 10.
LAWS = {
    "constant": (times.Constant(0.3), 0, None),
    "exponential": (times.Exponential(mean=2.0), 0, EXPONENTIAL),
    "shifted exponential": (times.ShiftedExponential(shift=0.5, mean=2.0), 0, stats.expon(loc=0.5, scale=1.5)),
    "shifted by nothing": (times.ShiftedExponential(shift=0.0, mean=2.0), 0, EXPONENTIAL),
    "homogeneous gamma": (times.Gamma(mean=0.5, coefficient_of_variation=0.1), 0, stats.gamma(100, scale=0.005)),
    "heterogeneous gamma": (times.Gamma(mean=0.5, coefficient_of_variation=0.6), 0, GAMMA),
    "lognormal": (times.Lognormal(mean=3.0, coefficient_of_variation=0.4), 0, lognormal(3.0, 0.4)),
    "pareto": (times.Pareto(minimum=0.3, exponent=10.0), 0, PARETO),
    "slow constant": (times.Speeds(times.Constant(0.3), SPEEDS), 1, None),
    "slow exponential": (times.Speeds(times.Exponential(2.0), SPEEDS), 1, scaled(EXPONENTIAL, 5.0)),
    "fast shifted exponential": (
        times.Speeds(times.ShiftedExponential(0.5, 2.0), SPEEDS),
        2,
        scaled(stats.expon(loc=0.5, scale=1.5), 0.2),
    ),
    "fast gamma": (times.Speeds(times.Gamma(0.5, 0.6), SPEEDS), 2, scaled(GAMMA, 0.2)),
    "slow lognormal": (times.Speeds(times.Lognormal(3.0, 0.4), SPEEDS), 1, scaled(lognormal(3.0, 0.4), 5.0)),
    "pareto at its own speed": (times.Speeds(times.Pareto(0.3, 10.0), SPEEDS), 0, PARETO),
    "one's own constant": (EVERYBODY, 0, None),
    "one's own gamma": (EVERYBODY, 1, GAMMA),
    "one's own pareto": (EVERYBODY, 2, PARETO),
    "one's own law at one's own speed": (times.Speeds(EVERYBODY, SPEEDS), 2, scaled(PARETO, 0.2)),
}
everybody = pytest.mark.parametrize("name", LAWS)


def draws_of(name):
    law, worker, _ = LAWS[name]
    stream = rng.stream(0, "compute time", worker)
    return np.array([law.sample(stream, worker, 0.0) for _ in range(DRAWS)])


@everybody
def test_draws_have_the_stated_moments(name):
    """Sample mean and variance lie within 5 standard errors of `moments`.

    For N draws of variance σ² and excess kurtosis κ these are σ/√N for the mean and σ²√((κ + 2)/N) for the variance
    (κ + 2 = μ₄/σ⁴ − 1). The 1e-12 is the rounding of N sums, all that is left for a constant.
    """
    law, worker, textbook = LAWS[name]
    mean, variance = law.moments(worker)
    kurtosis = float(textbook.stats("k")) if textbook else 0.0
    drawn = draws_of(name)
    assert drawn.mean() == pytest.approx(mean, rel=1e-12, abs=STANDARD_ERRORS * math.sqrt(variance / DRAWS))
    spread = variance * math.sqrt((kurtosis + 2) / DRAWS)
    assert drawn.var(ddof=1) == pytest.approx(variance, rel=1e-12, abs=STANDARD_ERRORS * spread + 1e-24)


@everybody
def test_stated_moments_are_the_textbook_s(name):
    law, worker, textbook = LAWS[name]
    constant = {"constant": 0.3, "slow constant": 1.5, "one's own constant": 0.3}
    expected = (textbook.mean(), textbook.var()) if textbook else (constant[name], 0.0)
    assert law.moments(worker) == pytest.approx(expected, rel=1e-12)


@everybody
def test_draws_have_the_textbook_s_distribution(name):
    """Kolmogorov–Smirnov: P(√N·D > x) ≈ 2·exp(−2x²), so 2.5 is passed with a probability below 1e-5."""
    law, worker, textbook = LAWS[name]
    drawn = draws_of(name)
    if textbook is None:
        assert set(drawn.tolist()) == {law.moments(worker).mean}
    else:
        assert stats.kstest(drawn, textbook.cdf).statistic * math.sqrt(DRAWS) < 2.5


@pytest.mark.parametrize(
    ("exponent", "mean", "variance"),
    [(0.5, math.inf, math.inf), (1.0, math.inf, math.inf), (1.5, 6.0, math.inf), (2.0, 4.0, math.inf), (3.0, 3.0, 3.0)],
)
def test_pareto_says_which_moments_do_not_exist(exponent, mean, variance):
    """Mean αx/(α−1) for α > 1, variance αx²/((α−1)²(α−2)) for α > 2; here x = 2."""
    assert times.Pareto(minimum=2.0, exponent=exponent).moments() == (mean, variance)


# --- bad arguments -------------------------------------------------------------------------------------------------------

GOOD = {
    times.Constant: {"seconds": 1.0},
    times.Exponential: {"mean": 1.0},
    times.ShiftedExponential: {"shift": 0.5, "mean": 1.0},
    times.Gamma: {"mean": 1.0, "coefficient_of_variation": 0.5},
    times.Lognormal: {"mean": 1.0, "coefficient_of_variation": 0.5},
    times.Pareto: {"minimum": 1.0, "exponent": 3.0},
}
NOT_A_NUMBER_ABOVE_0 = [0, 0.0, -1, -0.5, math.nan, math.inf, -math.inf, "1", None, True, [1.0], 1j]
REFUSED = [
    (law, argument, value)
    for law, good in GOOD.items()
    for argument in good
    for value in NOT_A_NUMBER_ABOVE_0
    if (argument, value) != ("shift", 0)  # there may be no shift
]


@pytest.mark.parametrize(("law", "argument", "value"), REFUSED, ids=lambda part: getattr(part, "__name__", repr(part)))
def test_a_bad_number_is_refused_by_name_and_value(law, argument, value):
    with pytest.raises(ValueError, match=rf"{law.__name__}\.{argument} must be a finite number") as refusal:
        law(**GOOD[law] | {argument: value})
    assert repr(value) in str(refusal.value)


def test_the_table_of_arguments_is_complete():
    """A new law, or a new number of an old one, must come with a row above."""
    laws = {
        thing
        for name, thing in vars(times).items()
        if isinstance(thing, type) and issubclass(thing, times.Law) and thing is not times.Law and not name.startswith("_")
    }
    assert laws == {*GOOD, times.Speeds, times.PerWorker}
    assert {law: {field.name for field in dataclasses.fields(law)} for law in GOOD} == {
        law: set(good) for law, good in GOOD.items()
    }


@pytest.mark.parametrize("mean", [0.5, 1.0])
def test_a_mean_that_the_shift_leaves_no_room_for_is_refused(mean):
    with pytest.raises(ValueError, match=rf"ShiftedExponential\.mean .* above shift=1\.0, got {mean}"):
        times.ShiftedExponential(shift=1.0, mean=mean)


@pytest.mark.parametrize("value", NOT_A_NUMBER_ABOVE_0, ids=repr)
def test_a_bad_speed_is_refused_by_place_and_value(value):
    with pytest.raises(ValueError, match=r"Speeds\.speeds\[1\] must be a finite number above 0") as refusal:
        times.Speeds(times.Constant(1.0), speeds=(1.0, value, 1.0))
    assert repr(value) in str(refusal.value)


@pytest.mark.parametrize("law", [1.0, "exponential", None, [times.Constant(1.0)]], ids=repr)
def test_what_is_not_a_law_is_refused_by_name_and_value(law):
    for made, place in (
        (lambda: times.Speeds(law, speeds=(1.0,)), "Speeds.law"),
        (lambda: times.PerWorker((times.Constant(1.0), law)), "PerWorker.laws[1]"),
        (lambda: sg.Cluster(workers=1, compute=law), "Cluster.compute"),
    ):
        with pytest.raises(TypeError) as refusal:
            made()
        assert place in str(refusal.value)
        assert repr(law) in str(refusal.value)


def test_a_law_s_class_is_refused_with_what_is_missing():
    with pytest.raises(TypeError, match=r"Cluster\.compute .* got the class Exponential itself: add \(\)"):
        sg.Cluster(workers=1, compute=times.Exponential)


@pytest.mark.parametrize(
    ("law", "has"),
    [
        (times.Speeds(times.Constant(1.0), (1.0, 2.0)), r"Speeds\.speeds .* 3 workers, got 2"),
        (times.Speeds(times.Constant(1.0), ()), r"Speeds\.speeds .* 3 workers, got 0"),
        (times.PerWorker([times.Constant(1.0)] * 4), r"PerWorker\.laws .* 3 workers, got 4"),
        (times.PerWorker(()), r"PerWorker\.laws .* 3 workers, got 0"),
        (times.Speeds(times.PerWorker([times.Constant(1.0)] * 2), (1.0, 2.0, 3.0)), r"PerWorker\.laws .* 3 workers, got 2"),
        (times.PerWorker([times.Speeds(times.Constant(1.0), (1.0, 2.0))] * 3), r"Speeds\.speeds .* 3 workers, got 2"),
    ],
)
def test_a_law_for_another_number_of_workers_is_refused(law, has):
    with pytest.raises(ValueError, match=has):
        sg.Cluster(workers=3, compute=law)


@pytest.mark.parametrize("workers", [0, -1, 1.5, 2.0, math.nan, "3", None, True], ids=repr)
def test_a_bad_number_of_workers_is_refused_by_name_and_value(workers):
    with pytest.raises(ValueError, match=r"Cluster\.workers must be a whole number of at least 1") as refusal:
        sg.Cluster(workers=workers, compute=times.Constant(1.0))
    assert repr(workers) in str(refusal.value)


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf], ids=repr)
def test_a_law_of_one_s_own_that_draws_nonsense_is_named(seconds):
    class Broken(times.Law):
        def sample(self, rng, worker, now):
            return seconds if now > 2 else 1.0

        def moments(self, worker=0):
            return times.Moments(1.0, 0.0)

        def __repr__(self):
            return "Broken()"

    with pytest.raises(ValueError, match=rf"Broken\(\) drew a compute time of {seconds!r} seconds for worker 0 at 3 s"):
        sg.record(sg.AsyncSGD(), sg.Cluster(workers=2, compute=Broken()), sg.Updates(100))
