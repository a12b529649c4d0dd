"""Laws of compute time: draws against what each law states, what each states against textbooks, and bad arguments."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

import simsgd as sg
from simsgd import times
from simsgd.support import rng

DRAWS = 50_000
STANDARD_ERRORS = 5  # a right law fails one of these checks with a probability below 1e-6


def lognormal(mean, coefficient_of_variation):
    s = math.sqrt(math.log1p(coefficient_of_variation**2))
    return stats.lognorm(s, scale=mean * math.exp(-(s**2) / 2))


def scaled(distribution, factor, shift=0):
    """The distribution of shift + factor·X."""
    positional, named = distribution.args, distribution.kwds
    return distribution.dist(
        *positional, **named | {"loc": named.get("loc", 0) * factor + shift, "scale": named.get("scale", 1) * factor}
    )


EXPONENTIAL, GAMMA, PARETO = stats.expon(scale=2.0), stats.gamma(1 / 0.6**2, scale=0.5 * 0.6**2), stats.pareto(10, scale=0.3)
SPEEDS = (1.0, 0.2, 5.0)
EVERYBODY = times.PerWorker((times.Constant(0.3), times.Gamma(0.5, 0.6), times.Pareto(0.3, 10.0)))

# Independent draws: (law, worker, the textbook's distribution, or None where nothing is random). A sample variance needs a
# fourth moment to have a standard error at all, and about an eighth for that error to be close to normal: hence a Pareto
# exponent of 10.
LAWS = {
    "constant": (times.Constant(0.3), 0, None),
    "exponential": (times.Exponential(mean=2.0), 0, EXPONENTIAL),
    "shifted exponential": (times.ShiftedExponential(shift=0.5, mean=2.0), 0, stats.expon(loc=0.5, scale=1.5)),
    "shifted by nothing": (times.ShiftedExponential(shift=0.0, mean=2.0), 0, EXPONENTIAL),
    "homogeneous gamma": (times.Gamma(mean=0.5, coefficient_of_variation=0.1), 0, stats.gamma(100, scale=0.005)),
    "heterogeneous gamma": (times.Gamma(mean=0.5, coefficient_of_variation=0.6), 0, GAMMA),
    "lognormal": (times.Lognormal(mean=3.0, coefficient_of_variation=0.4), 0, lognormal(3.0, 0.4)),
    "pareto": (times.Pareto(minimum=0.3, exponent=10.0), 0, PARETO),
    "weibull with a light tail": (times.Weibull(mean=2.0, shape=2.0), 0, stats.weibull_min(2, scale=4 / math.sqrt(math.pi))),
    "weibull with a heavy tail": (times.Weibull(mean=math.gamma(2.25), shape=0.8), 0, stats.weibull_min(0.8, scale=1.0)),
    "lognormal without memory": (times.AutocorrelatedLognormal(3.0, 0.4, 0.0), 0, lognormal(3.0, 0.4)),
    "a batch": (times.Scaled(times.Gamma(0.5, 0.6), by=32, overhead=3.0), 0, scaled(GAMMA, 32, 3.0)),
    "a batch of constants": (times.Scaled(times.Constant(0.25), by=2, overhead=0.5), 0, None),
    "the slowest of constants": (times.Slowest(times.Constant(0.3), of=4), 0, None),
    "the slowest of one": (times.Slowest(times.Exponential(2.0), of=1), 0, EXPONENTIAL),
    "four constants in a row": (times.Repeated(times.Constant(0.3), of=4), 0, None),
    "one in a row": (times.Repeated(times.Weibull(2.0, 2.0), of=1), 0, stats.weibull_min(2, scale=4 / math.sqrt(math.pi))),
    "four exponentials in a row": (times.Repeated(times.Exponential(2.0), of=4), 0, stats.gamma(4, scale=2.0)),
    "three shifted in a row": (times.Repeated(times.ShiftedExponential(0.5, 2.0), of=3), 0, stats.gamma(3, 1.5, scale=1.5)),
    "batches of gammas in a row": (
        times.Repeated(times.Scaled(times.Gamma(0.5, 0.6), by=32, overhead=3.0), of=5),
        0,
        stats.gamma(5 / 0.6**2, loc=15.0, scale=32 * 0.5 * 0.6**2),
    ),
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
    draw = law.sampler(stream, worker)
    return np.array([draw(0.0) for _ in range(DRAWS)])


@everybody
def test_draws_have_the_stated_moments(name):
    """Sample mean and variance lie within 5 standard errors of `moments`.

    For N draws of variance σ² and excess kurtosis κ these are σ/√N for the mean and σ²√((κ + 2)/N) for the variance
    (κ + 2 = μ₄/σ⁴ − 1). The 1e-12 is the rounding of N sums, all that is left for a constant.
    """
    law, worker, textbook = LAWS[name]
    mean, variance, _ = law.moments(worker)
    kurtosis = float(textbook.stats("k")) if textbook else 0.0
    drawn = draws_of(name)
    assert drawn.mean() == pytest.approx(mean, rel=1e-12, abs=STANDARD_ERRORS * math.sqrt(variance / DRAWS))
    spread = variance * math.sqrt((kurtosis + 2) / DRAWS)
    assert drawn.var(ddof=1) == pytest.approx(variance, rel=1e-12, abs=STANDARD_ERRORS * spread + 1e-24)


@everybody
def test_stated_moments_are_the_textbook_s(name):
    law, worker, textbook = LAWS[name]
    constant = {"constant": 0.3, "slow constant": 1.5, "one's own constant": 0.3, "a batch of constants": 1.0}
    constant |= {"the slowest of constants": 0.3, "four constants in a row": 1.2}
    expected = (textbook.mean(), textbook.var(), 0.0) if textbook else (constant[name], 0.0, 0.0)
    assert law.moments(worker) == pytest.approx(expected, rel=1e-12)


@everybody
def test_the_stated_distribution_is_the_textbook_s(name):
    law, worker, textbook = LAWS[name]
    stated = law.distribution(worker)
    if textbook is None:
        assert stated is None
    else:
        x = textbook.ppf(np.linspace(0.01, 0.99, 25))
        assert stated.cdf(x) == pytest.approx(textbook.cdf(x), rel=1e-12)


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
    assert times.Pareto(minimum=2.0, exponent=exponent).moments() == (mean, variance, 0.0)


# --- laws that remember --------------------------------------------------------------------------------------------------

GAMMA_WORK, HALF = times.Gamma(1.0, 0.5), times.Constant(0.5)
LOGNORMAL = times.AutocorrelatedLognormal(mean=2.0, coefficient_of_variation=0.5, autocorrelation=0.7)
DRAWN = times.DrawnSlowness(GAMMA_WORK, times.Gamma(mean=1.5, coefficient_of_variation=0.4))
SPELLS = times.SlowSpells(GAMMA_WORK, slowness=4.0, normal_seconds=6.0, slow_seconds=5.0)
TABLE = ((0.5, 1.0, 0.25, 0.25, 2.0), (1.0, 1.25, 1.5, 3.0, 2.5, 2.0, 0.5))
LATE = (times.Slowdown(0, 5.0, 1.0, 4.0), times.Slowdown(0, 2.0, 3.0, math.inf), times.Slowdown(1, 9.0, 0.0, 5.0))

# (law, worker, jobs until a worker has forgotten how it began, jobs to look at). Where a law repeats itself, the jobs looked at
# are whole rounds of it. Work of 1 s among pauses after each 2.5 s of work comes round after 5 jobs.
REMEMBERING = {
    "autocorrelated lognormal": (LOGNORMAL, 0, 0, 12),
    "barely varying, hardly forgetting": (times.AutocorrelatedLognormal(2.0, 0.001, 0.9), 0, 0, 12),
    "wildly varying": (times.AutocorrelatedLognormal(1.0, 1.5, 0.3), 0, 0, 12),
    "at a speed": (times.Speeds(LOGNORMAL, SPEEDS), 1, 0, 12),
    "of one's own": (times.PerWorker((HALF, LOGNORMAL)), 1, 0, 12),
    "scaled": (times.Scaled(LOGNORMAL, by=0.5, overhead=1.0), 0, 0, 12),
    "drawn slowness": (DRAWN, 0, 0, 12),
    "drawn slowness that is all": (times.DrawnSlowness(HALF, times.Gamma(1.5, 0.4)), 0, 0, 12),
    "drawn slowness that remembers": (times.DrawnSlowness(LOGNORMAL, times.Lognormal(1.0, 0.3)), 0, 0, 12),
    "rows that remember": (times.Repeated(LOGNORMAL, of=3), 0, 0, 12),
    "rows of lognormals": (times.Repeated(times.Lognormal(1.0, 0.3), of=3), 0, 0, 12),
    "rows at a drawn slowness": (times.Repeated(DRAWN, of=2), 0, 0, 12),
    "rows of a recording repeated": (times.Repeated(times.Recorded(TABLE, at_end="repeat"), of=3), 1, 0, 7),
    "rows of a whole recording": (times.Repeated(times.Recorded(TABLE, at_end="repeat"), of=7), 1, 0, 3),
    "rows among spells": (times.Repeated(times.SlowSpells(GAMMA_WORK, 4.0, 6.0, 5.0), of=2), 0, 20, 12),
    "spells of constant work": (times.SlowSpells(times.Constant(1.0), 5.0, 6.0, 4.0), 0, 40, 12),
    "spells of gamma work": (SPELLS, 0, 40, 12),
    "spells shorter than the work": (times.SlowSpells(times.Lognormal(2.0, 0.6), 8.0, 0.5, 0.25), 0, 10, 12),
    "spells of being faster": (times.SlowSpells(times.Exponential(1.0), 0.25, 3.0, 3.0), 0, 40, 12),
    "spells of work that remembers": (times.SlowSpells(LOGNORMAL, 3.0, 6.0, 5.0), 0, 40, 12),
    "spells at a speed": (times.Speeds(times.PerWorker((HALF, SPELLS, HALF)), SPEEDS), 1, 20, 12),
    "pauses of constant work": (times.Pauses(times.Constant(1.0), every=3.5, lasting=1.0), 0, 2, 20),
    "pauses of exponential work": (times.Pauses(times.Exponential(1.0), every=2.0, lasting=0.75), 0, 30, 12),
    "pauses shorter than the work": (times.Pauses(times.Gamma(3.0, 0.3), every=1.0, lasting=0.5, first=0.25), 0, 60, 12),
    "pauses of work that remembers": (times.Pauses(LOGNORMAL, every=3.0, lasting=1.0), 0, 60, 12),
    "pauses among spells": (times.Pauses(SPELLS, every=4.0, lasting=1.0), 0, 40, 12),
    "a slow-down that passed": (times.Slowdowns(times.Gamma(0.5, 0.6), LATE[::2]), 0, 40, 12),
    "a slow-down that stays": (times.Slowdowns(GAMMA_WORK, LATE), 0, 40, 12),
    "spells after a slow-down": (times.SlowSpells(times.Slowdowns(GAMMA_WORK, LATE), 4.0, 6.0, 5.0), 0, 40, 12),
    "a recording repeated": (times.Recorded(TABLE, at_end="repeat"), 1, 0, 14),
    "a recording resampled": (times.Recorded(TABLE, at_end="resample", block=3), 1, 7, 12),
    "a recording resampled one by one": (times.Recorded(TABLE, at_end="resample", block=1), 0, 5, 12),
}
# What a law does not state: the numbers that its moments lack.
UNSTATED = {
    "spells of work that remembers": {"autocorrelation"},
    "pauses of work that remembers": {"autocorrelation"},
    "pauses among spells": {"variance", "autocorrelation"},
}
WORKERS, LAGS = 2000, (1, 2, 3)
remembering = pytest.mark.parametrize("name", REMEMBERING)


def jobs_of(name, workers=WORKERS):
    """Seconds of jobs done one right after the other, shape (workers, jobs): each worker with a stream of its own."""
    law, worker, before, jobs = REMEMBERING[name]
    taken = np.empty((workers, before + jobs + max(LAGS)))
    for replicate in range(workers):
        draw, now = law.sampler(rng.stream(0, "compute time", replicate), worker), 0.0
        for job in range(taken.shape[1]):
            taken[replicate, job] = seconds = draw(now)
            now += seconds
    return taken[:, before:]


def agrees(samples, stated):
    """Whether the mean over workers is within 5 of its standard errors (taken from the independent workers) of `stated`."""
    error = samples.std(ddof=1) / math.sqrt(len(samples))
    return samples.mean() == pytest.approx(stated, rel=1e-9, abs=STANDARD_ERRORS * error + 1e-12)


@remembering
def test_jobs_in_a_row_have_the_stated_moments(name):
    """Jobs of one worker are correlated, workers are not: each worker gives one estimate of each number.

    With the stated mean μ, the mean square of (T − μ) is the variance and the mean product of (T − μ) with its successor is
    autocorrelation × variance, without bias. An error in the mean itself is the first thing to be seen.
    """
    law, worker, _, jobs = REMEMBERING[name]
    moments, taken = law.moments(worker), jobs_of(name)
    unstated = {key for key, value in moments._asdict().items() if math.isnan(value)}
    assert unstated == UNSTATED.get(name, set())
    assert agrees(taken[:, :jobs].mean(1), moments.mean)
    rest = taken - moments.mean
    if "variance" not in unstated:
        assert agrees((rest[:, :jobs] ** 2).mean(1), moments.variance)
    for lag in LAGS:
        stated = law.autocorrelation_at(lag, worker)
        assert math.isnan(stated) == ("autocorrelation" in unstated or (lag > 1 and name.startswith("pauses")))
        if not math.isnan(stated):
            assert agrees((rest[:, :jobs] * rest[:, lag : lag + jobs]).mean(1), stated * moments.variance)
    assert law.autocorrelation_at(1, worker) == pytest.approx(moments.autocorrelation, nan_ok=True)


@pytest.mark.parametrize("name", [name for name, row in REMEMBERING.items() if row[0].distribution(row[1]) is not None])
def test_one_job_of_each_worker_has_the_stated_distribution(name):
    law, worker, _, _ = REMEMBERING[name]
    drawn = jobs_of(name)[:, 5]
    assert stats.kstest(drawn, law.distribution(worker).cdf).statistic * math.sqrt(WORKERS) < 2.5


def test_the_tables_hold_every_law():
    laws = {
        thing
        for name, thing in vars(times).items()
        if isinstance(thing, type) and issubclass(thing, times.Law) and thing is not times.Law
    }
    assert {type(row[0]) for row in [*LAWS.values(), *REMEMBERING.values()]} == laws


def test_a_lognormal_without_memory_draws_what_the_lognormal_draws():
    first, second = rng.stream(0, "compute time"), rng.stream(0, "compute time")
    draw = times.AutocorrelatedLognormal(3.0, 0.4, 0.0).sampler(first, 0)
    assert [draw(0.0) for _ in range(20)] == [times.Lognormal(3.0, 0.4).sample(second, 0, 0.0) for _ in range(20)]


@pytest.mark.parametrize(
    "law",
    [
        times.DrawnSlowness(times.Pareto(1.0, 1.5), times.Gamma(1.0, 0.5)),
        times.SlowSpells(times.Pareto(1.0, 1.5), 2.0, 1.0, 1.0),
        times.Pauses(times.Pareto(1.0, 1.5), 2.0, 1.0),
    ],
    ids=lambda law: type(law).__name__,
)
def test_an_infinite_variance_stays_infinite(law):
    mean, variance, autocorrelation = law.moments()
    assert math.isfinite(mean)
    assert variance == math.inf
    assert autocorrelation == 0 or math.isnan(autocorrelation)


INNER = {
    "exponential": times.Exponential(1.0),
    "autocorrelated lognormal": LOGNORMAL,
    "drawn slowness": DRAWN,
    "recording": times.Recorded((TABLE[1],), at_end="resample", block=2),
}


@pytest.mark.parametrize("inner", INNER)
def test_what_is_wrapped_draws_the_same_as_alone(inner):
    """Common random numbers: what the wrapper draws for itself comes from another stream."""
    law = INNER[inner]
    alone = law.sampler(rng.stream(3, "compute time"), 0)
    expected = np.array([alone(0.0) for _ in range(40)])
    wrapped = {
        times.Speeds(law, (0.5,)): 2 * expected,
        times.PerWorker((law,)): expected,
        times.Scaled(law, by=4.0): 4 * expected,
        times.Repeated(law, of=2): expected[::2] + expected[1::2],
        times.DrawnSlowness(law, times.Constant(2.0)): 2 * expected,
        times.SlowSpells(law, 1.0, 2.0, 2.0): expected,
        times.Pauses(law, every=1e6, lasting=1.0, first=1e5): expected,
        times.Slowdowns(law, (times.Slowdown(0, 2.0, 0.0, math.inf),)): 2 * expected,
        times.SlowSpells(times.DrawnSlowness(times.Speeds(law, (2.0,)), times.Constant(4.0)), 1.0, 2.0, 2.0): 2 * expected,
    }
    for outer, seconds in wrapped.items():
        draw, now = outer.sampler(rng.stream(3, "compute time"), 0), 0.0
        for second in seconds:
            drawn = draw(now)
            assert drawn == pytest.approx(second, rel=1e-12), outer  # a job across two spells adds up its parts
            now += drawn


def test_a_drawn_slowness_is_kept_and_is_each_worker_s_own():
    law = times.DrawnSlowness(times.Constant(1.0), times.Exponential(1.0))
    draws = [law.sampler(rng.stream(0, "compute time", worker), worker) for worker in range(5)]
    kept = [{draw(now) for now in (0.0, 1.0, 7.5)} for draw in draws]
    assert [len(seconds) for seconds in kept] == [1] * 5
    assert len(set.union(*kept)) == 5


@pytest.mark.parametrize("inner", INNER)
def test_a_drawn_slowness_takes_nothing_from_the_law_s_stream(inner):
    """One factor, drawn at random, is between all times with it and those without."""
    law = INNER[inner]
    slow = times.DrawnSlowness(law, times.Exponential(1.0)).sampler(rng.stream(3, "compute time"), 0)
    alone = law.sampler(rng.stream(3, "compute time"), 0)
    factors = [slow(0.0) / alone(0.0) for _ in range(40)]
    assert factors == pytest.approx([factors[0]] * 40, rel=1e-12)


def test_the_moments_of_a_drawn_slowness_by_hand():
    """E[F²] = 2.61; variance 2.61·(1 + 4) − 9, covariance 2.61·(0.7 + 4) − 9."""
    law = times.DrawnSlowness(LOGNORMAL, times.Gamma(mean=1.5, coefficient_of_variation=0.4))
    assert law.moments() == pytest.approx((3.0, 4.05, 3.267 / 4.05), rel=1e-12)


def test_a_drawn_slowness_that_is_no_factor_is_named():
    law = times.DrawnSlowness(times.Constant(1.0), times.Recorded([[1.0], [0.0]], at_end="repeat"))
    law.sampler(rng.stream(0, "compute time", 0), 0)
    with pytest.raises(
        ValueError, match=r"factor that Recorded\(.*\) drew for worker 1 must be a finite number above 0.*got 0\.0"
    ):
        law.sampler(rng.stream(0, "compute time", 1), 1)


# --- bad arguments -------------------------------------------------------------------------------------------------------

ONE = times.Constant(1.0)
GOOD = {
    times.Constant: {"seconds": 1.0},
    times.Exponential: {"mean": 1.0},
    times.ShiftedExponential: {"shift": 0.5, "mean": 1.0},
    times.Gamma: {"mean": 1.0, "coefficient_of_variation": 0.5},
    times.Lognormal: {"mean": 1.0, "coefficient_of_variation": 0.5},
    times.Pareto: {"minimum": 1.0, "exponent": 3.0},
    times.Weibull: {"mean": 1.0, "shape": 2.0},
    times.AutocorrelatedLognormal: {"mean": 1.0, "coefficient_of_variation": 0.5, "autocorrelation": 0.5},
    times.Scaled: {"law": ONE, "by": 2.0, "overhead": 0.5},
    times.SlowSpells: {"law": ONE, "slowness": 2.0, "normal_seconds": 1.0, "slow_seconds": 1.0},
    times.Pauses: {"law": ONE, "every": 2.0, "lasting": 1.0, "first": 0.5},
    times.Slowdown: {"worker": 0, "slowness": 2.0, "start": 1.0, "end": 2.0},
}
MAY_BE_0 = {"shift", "autocorrelation", "overhead", "start", "first"}
MAY_BE_INFINITE = {(times.Slowdown, "slowness"), (times.Slowdown, "end")}
NOT_A_NUMBER_ABOVE_0 = [0, 0.0, -1, -0.5, math.nan, math.inf, -math.inf, "1", None, True, [1.0], 1j]
REFUSED = [
    (law, argument, value)
    for law, good in GOOD.items()
    for argument in good
    for value in NOT_A_NUMBER_ABOVE_0
    if argument not in ("law", "worker")
    and not (argument in MAY_BE_0 and value == 0 and not isinstance(value, bool))
    and not ((law, argument) in MAY_BE_INFINITE and value == math.inf)
    and not (argument == "first" and value is None)
]


@pytest.mark.parametrize(("law", "argument", "value"), REFUSED, ids=lambda part: getattr(part, "__name__", repr(part)))
def test_a_bad_number_is_refused_by_name_and_value(law, argument, value):
    with pytest.raises(ValueError, match=rf"{law.__name__}\.{argument} must be a finite number") as refusal:
        law(**GOOD[law] | {argument: value})
    assert repr(value) in str(refusal.value)


def test_the_table_of_arguments_is_complete():
    """A new law, or a new number of an old one, must come with a row above, or with tests of its own below."""
    tested_below = {times.Speeds, times.PerWorker, times.DrawnSlowness, times.Slowdowns, times.Recorded, times.Slowest}
    tested_below |= {times.Repeated}
    laws = {type(row[0]) for row in [*LAWS.values(), *REMEMBERING.values()]}
    assert {*laws, times.Slowdown} == {*GOOD, *tested_below}
    assert {law: {field.name for field in dataclasses.fields(law)} for law in GOOD} == {
        law: set(good) for law, good in GOOD.items()
    }


@pytest.mark.parametrize("mean", [0.5, 1.0])
def test_a_mean_that_the_shift_leaves_no_room_for_is_refused(mean):
    with pytest.raises(ValueError, match=rf"ShiftedExponential\.mean .* above shift=1\.0, got {mean}"):
        times.ShiftedExponential(shift=1.0, mean=mean)


@pytest.mark.parametrize(
    ("law", "arguments", "has"),
    [
        (times.Weibull, (1.0, 0.04), r"Weibull\.shape must be from 0\.05 to 1000 .*got 0\.04"),
        (times.Weibull, (1.0, 1001.0), r"Weibull\.shape must be from 0\.05 to 1000 .*got 1001\.0"),
        (
            times.AutocorrelatedLognormal,
            (1.0, 0.5, 1.0),
            r"AutocorrelatedLognormal\.autocorrelation must be below 1 .*got 1\.0",
        ),
        (times.AutocorrelatedLognormal, (1.0, 1e4, 0.5), r"AutocorrelatedLognormal\.coefficient_of_variation .*got 10000\.0"),
        (times.Pauses, (ONE, 2.0, 2.0), r"Pauses\.lasting must be below every=2\.0, got 2\.0"),
        (times.Slowdown, (0, 2.0, 3.0, 3.0), r"Slowdown\.end must be after start=3\.0, got 3\.0"),
        (times.Slowdown, (0, math.inf, 3.0, math.inf), r"Slowdown\.end must be finite where slowness is infinite"),
        (times.Slowdown, (-1, 2.0, 3.0, 4.0), r"Slowdown\.worker must be a whole number of at least 0, got -1"),
        (times.Slowdown, (1.0, 2.0, 3.0, 4.0), r"Slowdown\.worker must be a whole number of at least 0, got 1\.0"),
    ],
)
def test_numbers_that_make_no_sense_together_are_refused(law, arguments, has):
    with pytest.raises(ValueError, match=has):
        law(*arguments)


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
        (lambda: times.DrawnSlowness(law, ONE), "DrawnSlowness.law"),
        (lambda: times.DrawnSlowness(ONE, law), "DrawnSlowness.slowness"),
        (lambda: times.Scaled(law, 2.0), "Scaled.law"),
        (lambda: times.Slowest(law, 2), "Slowest.law"),
        (lambda: times.Repeated(law, 2), "Repeated.law"),
        (lambda: times.SlowSpells(law, 2.0, 1.0, 1.0), "SlowSpells.law"),
        (lambda: times.Pauses(law, 2.0, 1.0), "Pauses.law"),
        (lambda: times.Slowdowns(law, ()), "Slowdowns.law"),
        (lambda: times.Slowdowns(ONE, (law,)), "Slowdowns.slowdowns[0]"),
    ):
        with pytest.raises(TypeError) as refusal:
            made()
        assert place in str(refusal.value)
        assert repr(law) in str(refusal.value)


def test_a_law_s_class_is_refused_with_what_is_missing():
    with pytest.raises(TypeError, match=r"Cluster\.compute .* itself: call it, as in times\.Exponential\(mean=0\.1\)"):
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
        (times.Recorded([[1.0], [2.0]], at_end="stop"), r"Recorded\.seconds .* 3 workers, got 2"),
        (times.DrawnSlowness(ONE, times.PerWorker([ONE])), r"PerWorker\.laws .* 3 workers, got 1"),
        (times.SlowSpells(times.PerWorker([ONE]), 2.0, 1.0, 1.0), r"PerWorker\.laws .* 3 workers, got 1"),
        (
            times.Slowdowns(ONE, (times.Slowdown(2, 2.0, 0.0, 1.0), times.Slowdown(3, 2.0, 0.0, 1.0))),
            r"Slowdowns\.slowdowns\[1\]\.worker must be below the number of workers, 3, got 3",
        ),
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
    @dataclasses.dataclass(frozen=True)
    class Broken(times.Law):
        def sample(self, rng, worker, now):
            return seconds if now > 2 else 1.0

        def moments(self, worker=0):
            return times.Moments(1.0, 0.0)

        def __repr__(self):
            return "Broken()"

    with pytest.raises(ValueError, match=rf"Broken\(\) drew a compute time of {seconds!r} seconds for worker 0 at 3 s"):
        sg.record(sg.AsyncSGD(), sg.Cluster(workers=2, compute=Broken()), sg.Updates(100))
