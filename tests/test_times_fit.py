"""Fitting laws to measured times: each law found again from its own samples, and a polite no where no law is right."""

import math

import numpy as np
import pytest
from scipy import special, stats

import simsgd as sg
from simsgd import times
from simsgd.support import rng

WORKERS, JOBS = 8, 500
COUNT = WORKERS * JOBS
STANDARD_ERRORS = 5


def samples(law, workers=WORKERS, jobs=JOBS, seed=0):
    """Seconds that a law draws, shape (workers, jobs), each worker from its own stream."""
    draws = [law.sampler(rng.stream(seed, "compute time", worker), worker) for worker in range(workers)]
    return np.array([[draw(0.0) for _ in range(jobs)] for draw in draws])


def exponential(law):
    return {"mean": law.mean / math.sqrt(COUNT)}


def shifted_exponential(law):
    """The least of n times is above the shift by an exponential time of mean scale/n: above 20 of those once in e²⁰."""
    scale = law.mean - law.shift
    return {"mean": scale / math.sqrt(COUNT), "shift": 20 / STANDARD_ERRORS * scale / COUNT}


def gamma(law):
    """Fisher information of the shape k: ψ′(k) − 1/k for each time, and c = 1/√k."""
    c = law.coefficient_of_variation
    shape = c**-2
    error = 1 / math.sqrt(COUNT * (special.polygamma(1, shape) - 1 / shape))
    return {"mean": c * law.mean / math.sqrt(COUNT), "coefficient_of_variation": error * c**3 / 2}


def lognormal(law):
    """Of the logarithm, the mean has variance s²/n and the variance 2s⁴/n; c² = exp(s²) − 1 and log mean = µ + s²/2."""
    c = law.coefficient_of_variation
    spread = math.log1p(c**2)
    mean = law.mean * math.sqrt((spread + spread**2 / 2) / COUNT)
    return {"mean": mean, "coefficient_of_variation": (1 + c**2) / (2 * c) * spread * math.sqrt(2 / COUNT)}


def weibull(law):
    """Of n times: Var k = 0.608k²/n, Var log scale = 1.109/(k²n), covariance 0.257/n; log mean = log scale + log Γ(1 + 1/k)."""
    k = law.shape
    slope = -special.psi(1 + 1 / k) / k**2
    variance = 1.109 / k**2 + 0.608 * k**2 * slope**2 + 2 * 0.257 * slope
    return {"mean": law.mean * math.sqrt(variance / COUNT), "shape": k * math.sqrt(0.608 / COUNT)}


def pareto(law):
    """The least of n times is above the minimum by about minimum/(n·exponent), exponentially."""
    return {"minimum": 20 / STANDARD_ERRORS * law.minimum / (COUNT * law.exponent), "exponent": law.exponent / math.sqrt(COUNT)}


# (law, the standard errors of its parameters fitted to COUNT times by maximum likelihood)
LAWS = [
    (times.Exponential(2.0), exponential),
    (times.Exponential(0.003), exponential),
    (times.ShiftedExponential(0.5, 2.0), shifted_exponential),
    (times.ShiftedExponential(1.9, 2.0), shifted_exponential),
    (times.Gamma(2.0, 0.5), gamma),
    (times.Gamma(0.01, 0.25), gamma),
    (times.Lognormal(2.0, 0.5), lognormal),
    (times.Lognormal(30.0, 1.5), lognormal),
    (times.Weibull(2.0, 2.0), weibull),
    (times.Weibull(2.0, 0.7), weibull),
    (times.Pareto(1.0, 2.5), pareto),
    (times.Pareto(0.2, 10.0), pareto),
]
each_law = pytest.mark.parametrize(("law", "errors"), LAWS, ids=[repr(law) for law, _ in LAWS])


@each_law
def test_a_law_is_found_again_with_its_parameters(law, errors):
    """Each parameter within 5 of its asymptotic standard errors; the distance within what samples of the law itself have."""
    found = times.fit(samples(law))
    assert type(found.law) is type(law)
    for parameter, error in errors(law).items():
        assert getattr(found.law, parameter) == pytest.approx(getattr(law, parameter), abs=STANDARD_ERRORS * error)
    assert found.describes
    assert found.kolmogorov_smirnov * math.sqrt(COUNT) < 2.5
    assert found.independent
    assert "Nothing here speaks against independent draws" in found.summary()
    assert found.slowest_to_fastest < 1.5


def test_exponential_times_are_seldom_given_a_parameter_too_many():
    """A shape is taken for n times by mistake with probability P(χ²₁ > log n), a shift with probability 1/n.

    Gamma and Weibull have a shape, n is 1000: together at most 0.0182, so of 100 sets of samples more than 8 are mistaken with
    a probability below 1e-3 (Poisson).
    """
    law = times.Exponential(2.0)
    assert 2 * stats.chi2.sf(math.log(1000), 1) + 1 / 1000 < 0.0182
    assert stats.poisson.sf(8, 1.82) < 1e-3
    chosen = [type(times.fit(samples(law, workers=1, jobs=1000, seed=seed)).law) for seed in range(100)]
    assert 100 - chosen.count(times.Exponential) <= 8


@each_law
def test_the_likelihood_has_its_maximum_there(law, errors):
    """No parameter moved by a thousandth either way, where the law allows it, is more likely."""
    seconds = samples(law, workers=1, jobs=200)
    best = times.fit(seconds).candidates[0]
    assert best.log_likelihood == pytest.approx(best.law.distribution().logpdf(seconds).sum(), rel=1e-12)
    for parameter in vars(best.law):
        for factor in (0.999, 1.001):
            moved = type(best.law)(**vars(best.law) | {parameter: getattr(best.law, parameter) * factor})
            assert moved.distribution().logpdf(seconds).sum() < best.log_likelihood


def test_the_numbers_of_each_candidate():
    seconds = samples(times.Gamma(2.0, 0.5), workers=1, jobs=300)
    found = times.fit(seconds)
    names = {"Exponential", "ShiftedExponential", "Gamma", "Lognormal", "Weibull", "Pareto"}
    assert {type(candidate.law).__name__ for candidate in found.candidates} == names
    for candidate in found.candidates:
        test = stats.ks_1samp(seconds[0], candidate.law.distribution().cdf, method="asymp")
        assert candidate.kolmogorov_smirnov == pytest.approx(test.statistic, rel=1e-12)
        parameters = len(vars(candidate.law)) + isinstance(candidate.law, times.ShiftedExponential | times.Pareto)
        assert candidate.schwarz == pytest.approx(parameters * math.log(300) - 2 * candidate.log_likelihood)
    assert [c.schwarz for c in found.candidates] == sorted(c.schwarz for c in found.candidates)


def test_equal_times_are_a_constant():
    found = times.fit([[0.1] * 10, [0.1] * 7])
    assert found.law == times.Constant(0.1)
    assert found.independent
    assert (found.autocorrelation, found.between_worker_share, found.slowest_to_fastest) == pytest.approx((0.0, 0.0, 1.0))
    assert found.persistent.moments(1) == pytest.approx((0.1, 0.0, 0.0))


# --- no law ----------------------------------------------------------------------------------------------------------------


def mixture(jobs=2000):
    """Half of the jobs take about 1 s, half about 10 s, in no order."""
    draw = np.random.default_rng(0)
    return np.where(draw.random(jobs) < 0.5, draw.gamma(100, 0.01, jobs), draw.gamma(100, 0.1, jobs))


def test_a_mixture_is_politely_declined():
    found = times.fit(mixture())
    assert not found.describes
    assert found.law is None
    assert found.kolmogorov_smirnov > 0.2
    assert found.independent  # its jobs are in no order, and there is one worker
    text = str(found)
    for part in ("None of these laws describes the times", "mixture", "Recorded(", f"{found.kolmogorov_smirnov:.3f}", "0.100"):
        assert part in text


def test_the_tolerance_is_the_user_s():
    assert times.fit(mixture(), tolerance=0.5).law is not None
    gamma = samples(times.Gamma(2.0, 0.5))
    strict = times.fit(gamma, tolerance=0.0)
    assert strict.tolerance == pytest.approx(1.36 / math.sqrt(COUNT))
    assert times.fit(gamma[:1, :20]).tolerance == pytest.approx(1.36 / math.sqrt(20))


# --- slowness that persists ------------------------------------------------------------------------------------------------

SPEEDS = (1.0, 0.9, 1.1, 0.5, 1.0, 0.2, 0.8, 1.2)


def test_workers_of_their_own_speeds_are_no_independent_draws():
    """Shares by hand: workers' means m over speeds, the law's variance over speeds²; each estimated from 500 times."""
    law = times.Speeds(times.Gamma(1.0, 0.3), SPEEDS)
    found = times.fit(samples(law))
    means, variances = zip(*(law.moments(worker)[:2] for worker in range(WORKERS)), strict=True)
    share = np.var(means) / (np.var(means) + np.mean(variances))
    assert found.between_worker_share == pytest.approx(share, abs=0.05)
    assert found.slowest_to_fastest == pytest.approx(6.0, rel=0.1)
    assert abs(found.autocorrelation) < 5 / math.sqrt(COUNT)  # around its own mean, a worker draws independently
    assert not found.independent
    for part in ("Independent draws are a bad description", "`persistent`", "Recorded("):
        assert part in found.summary()
    assert f"{found.between_worker_share:.0%}" in found.summary()


@pytest.mark.parametrize(("workers", "jobs"), [(1, 4000), (16, 500), (400, 20)])
def test_jobs_that_remember_are_no_independent_draws(workers, jobs):
    """The autocorrelation within 5 standard errors; of short series without the bias of −(1 + 2r)/jobs, here −0.12 of 0.7.

    For AR(1) Bartlett's standard error is √((1 − r²)/n); that of the 20 jobs' groups is taken twice as large, since their own
    means take away from it. What is left of the bias is of order 1/jobs².
    """
    law = times.AutocorrelatedLognormal(mean=2.0, coefficient_of_variation=0.2, autocorrelation=0.7)
    found = times.fit(samples(law, workers, jobs))
    error = math.sqrt((1 - 0.7**2) / (workers * jobs)) * (2 if jobs < 100 else 1)
    assert found.autocorrelation == pytest.approx(0.7, abs=STANDARD_ERRORS * error)
    assert not found.independent
    assert "Independent draws are a bad description" in str(found)


def test_the_persistent_law_keeps_what_was_measured():
    """The workers' own means exactly; the common variation and autocorrelation as measured, and drawn again."""
    law = times.Speeds(times.AutocorrelatedLognormal(1.0, 0.3, 0.6), SPEEDS)
    seconds = samples(law, jobs=4000)
    found = times.fit(seconds)
    for worker in range(WORKERS):
        mean, variance, autocorrelation = found.persistent.moments(worker)
        assert mean == pytest.approx(seconds[worker].mean(), rel=1e-12)
        assert math.sqrt(variance) / mean == pytest.approx(0.3, rel=0.05)
        assert autocorrelation == pytest.approx(found.autocorrelation)
    assert found.autocorrelation == pytest.approx(0.6, abs=0.05)
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(WORKERS, found.persistent), until=sg.Updates(100))
    assert len(tape.time) == 100
    again = times.fit(samples(found.persistent, jobs=4000, seed=1))
    assert again.autocorrelation == pytest.approx(found.autocorrelation, abs=0.05)
    assert again.between_worker_share == pytest.approx(found.between_worker_share, abs=0.05)


def test_slow_spells_are_seen():
    law = times.SlowSpells(times.Gamma(1.0, 0.1), slowness=4.0, normal_seconds=60.0, slow_seconds=20.0)
    seconds = np.empty((4, 1000))
    for worker in range(4):
        draw, now = law.sampler(rng.stream(0, "compute time", worker), worker), 0.0
        for job in range(1000):
            seconds[worker, job] = draw(now)
            now += seconds[worker, job]
    found = times.fit(seconds)
    assert not found.independent
    assert found.law is None
    assert found.autocorrelation > 0.5


@pytest.mark.parametrize("seed", range(3))
def test_independent_draws_are_not_accused(seed):
    """Many workers of few jobs each: chance alone makes their means differ, and their neighbours look alike or unlike."""
    for law in (times.Exponential(1.0), times.Lognormal(1.0, 1.0), times.Gamma(1.0, 0.1)):
        found = times.fit(samples(law, workers=100, jobs=20, seed=seed))
        assert found.independent
        assert abs(found.autocorrelation) < 5 / math.sqrt(2000)


def test_what_is_certain_but_too_small_to_matter_is_no_objection():
    """Share and autocorrelation far beyond chance (5 of its standard deviations), and below 0.05 and 0.1."""
    found = times.fit(samples(times.Speeds(times.Gamma(1.0, 0.3), (1.0, 1.05)), workers=2, jobs=10_000))
    assert stats.chi2.isf(1e-6, 1) / 20_000 < found.between_worker_share < 0.05
    assert found.independent
    found = times.fit(samples(times.AutocorrelatedLognormal(1.0, 0.3, 0.06), workers=2, jobs=10_000))
    assert 5 / math.sqrt(20_000) < found.autocorrelation < 0.1
    assert found.independent


# --- what may be given -----------------------------------------------------------------------------------------------------


def test_arrays_sequences_and_recordings_are_the_same_samples():
    seconds = samples(times.Gamma(1.0, 0.3), workers=3, jobs=20)
    found = times.fit(seconds)
    assert times.fit(list(seconds)) == times.fit(seconds.tolist()) == found
    assert times.fit(times.Recorded(seconds, at_end="stop")) == found
    assert times.fit(seconds[0]) == times.fit(seconds[:1]) == times.fit(seconds[0].tolist())
    assert (found.workers, found.count) == (3, 60)
    assert times.fit([seconds[0], seconds[1][:5]]).count == 25


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf], ids=repr)
def test_a_bad_time_is_refused_by_place_and_value(value):
    good = [1.0] * 10
    for given, place in (([*good, value], r"samples\[10\]"), ([good, [1.0, value]], r"samples\[1\]\[1\]")):
        with pytest.raises(ValueError, match=rf"{place} must be a finite number above 0") as refusal:
            times.fit(given)
        assert repr(value) in str(refusal.value)


@pytest.mark.parametrize(
    ("given", "error", "has"),
    [
        ([1.0, 2.0], ValueError, r"samples must hold at least 10 times, got 2"),
        ([], ValueError, r"samples must hold at least 10 times, got 0"),
        ([[1.0] * 10, [1.0]], ValueError, r"samples\[1\] must hold at least 2 times of its worker, got 1"),
        (1.0, TypeError, r"samples must be a sequence such as .*got 1\.0"),
        ("0.5", TypeError, r"samples must be a sequence such as .*got '0\.5'"),
        ([[1.0] * 10, 3.0], TypeError, r"samples\[1\] must be a sequence such as .*got 3\.0"),
        ([["a"] * 10], ValueError, r"samples\[0\]\[0\] must be a finite number above 0 .*got 'a'"),
    ],
)
def test_what_makes_no_samples_is_refused_by_name_and_value(given, error, has):
    with pytest.raises(error, match=has):
        times.fit(given)


def test_a_bad_tolerance_is_refused():
    with pytest.raises(ValueError, match=r"tolerance must be a finite number of at least 0, got -0\.1"):
        times.fit([1.0] * 10, tolerance=-0.1)
