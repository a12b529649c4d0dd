"""The slowest of several draws: its moments, its draws, and clusters of nodes that are made of it."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

import simsgd as sg
from simsgd import networks, times
from simsgd.support import rng

DRAWS = 20_000
LAWS = {
    "exponential": times.Exponential(2.0),
    "shifted exponential": times.ShiftedExponential(0.5, 2.0),
    "gamma": times.Gamma(1.0, 0.6),
    "steady gamma": times.Gamma(1.0, 0.05),
    "lognormal": times.Lognormal(1.0, 1.5),
    "weibull": times.Weibull(1.0, 0.7),
    "pareto": times.Pareto(0.3, 10.0),
    "a batch of pareto times": times.Scaled(times.Pareto(0.3, 10.0), by=3.0, overhead=1.0),
}


def drawn_by(law, worker=0, count=DRAWS):
    draw = law.sampler(rng.stream(0, "compute time", worker), worker)
    return np.array([draw(0.0) for _ in range(count)])


@pytest.mark.parametrize("of", [1, 2, 8, 64])
@pytest.mark.parametrize("name", LAWS)
def test_moments_are_those_of_the_largest(name, of):
    """With S = 1 − Fᵐ and a the least value, E[M − a] = ∫ S(a + eʸ)·eʸ dy and E[(M − a)²] = ∫ 2S(a + eʸ)·e²ʸ dy.

    The integrands are smooth and fall off on both sides, for which the trapezoidal rule is exact to rounding.
    """
    law = LAWS[name]
    distribution = law.distribution()
    low = distribution.support()[0]
    y = np.linspace(-60.0, 15.0, 150_001)
    at_least = -np.expm1(of * np.log1p(-distribution.sf(low + np.exp(y)).clip(0, 1 - 1e-16)))
    mean, square = (integrate.trapezoid(power * at_least * np.exp(power * y), y) for power in (1, 2))
    found = times.Slowest(law, of=of).moments()
    assert found.mean == pytest.approx(low + mean, rel=1e-9)
    assert found.variance == pytest.approx(square - mean**2, rel=1e-7)
    assert found.autocorrelation == 0.0


def test_closed_forms():
    harmonic, squares = sum(1 / i for i in range(1, 9)), sum(1 / i**2 for i in range(1, 9))
    assert times.Slowest(times.Exponential(2.0), of=8).moments() == pytest.approx((2 * harmonic, 4 * squares, 0.0))
    shifted = times.Slowest(times.ShiftedExponential(1.0, 2.0), of=8).moments()
    assert shifted == pytest.approx((1 + harmonic, squares, 0.0))
    gamma, alpha = math.gamma, 2.5  # the table of facts: sync with n = 8 Pareto workers takes 3.473
    pareto = times.Slowest(times.Pareto(1.0, alpha), of=8).moments()
    assert pareto.mean == pytest.approx(gamma(9) * gamma(1 - 1 / alpha) / gamma(9 - 1 / alpha))
    assert pareto.mean == pytest.approx(3.473, abs=5e-4)
    assert times.Slowest(times.Pareto(1.0, 1.5), of=4).moments().variance == math.inf
    assert times.Slowest(times.Pareto(1.0, 0.9), of=4).moments().mean == math.inf


@pytest.mark.parametrize("name", LAWS)
def test_draws_have_the_distribution_of_the_largest(name):
    """Kolmogorov–Smirnov: 2.5 is passed with a probability below 1e-5."""
    drawn, distribution = drawn_by(times.Slowest(LAWS[name], of=5)), LAWS[name].distribution()
    assert stats.kstest(drawn, lambda x: distribution.cdf(x) ** 5).statistic * math.sqrt(DRAWS) < 2.5


def test_each_device_is_its_own():
    """Devices that draw their speed draw each its own; those that remember do so for themselves."""
    law = times.DrawnSlowness(times.Constant(1.0), times.Lognormal(1.0, 0.5))
    found = {float(drawn_by(times.Slowest(law, of=4), worker, 1)[0]) for worker in range(200)}
    assert stats.kstest(list(found), lambda x: times.Lognormal(1.0, 0.5).distribution().cdf(x) ** 4).pvalue > 1e-3
    remembering = drawn_by(times.Slowest(times.AutocorrelatedLognormal(1.0, 0.5, 0.9), of=16), count=20_000)
    largest = times.Slowest(times.Lognormal(1.0, 0.5), of=16).moments()
    assert remembering.mean() == pytest.approx(largest.mean, rel=0.02)
    assert np.corrcoef(remembering[1:], remembering[:-1])[0, 1] < 0.8  # who is slowest changes
    assert math.isnan(times.Slowest(times.AutocorrelatedLognormal(1.0, 0.5, 0.9), of=2).moments().autocorrelation)


def test_the_first_device_draws_what_the_law_alone_does():
    assert (drawn_by(times.Slowest(times.Exponential(1.0), of=3)) >= drawn_by(times.Exponential(1.0))).all()


def test_clocks_slow_the_node_as_a_whole():
    """Inside or outside makes no difference: the slowest's work is stretched, here by 5/4 in the long run."""
    inside = times.Slowest(times.Pauses(times.Exponential(1.0), every=5.0, lasting=1.0), of=4)
    outside = times.Pauses(times.Slowest(times.Exponential(1.0), of=4), every=5.0, lasting=1.0)
    expected = 1.25 * sum(1 / i for i in range(1, 5))
    for law in (inside, outside):
        tape = sg.record(sg.AsyncSGD(), sg.Cluster(2, law), sg.Updates(4000))
        assert law.moments().mean == pytest.approx(expected)
        assert (tape.ended - tape.began).mean() == pytest.approx(expected, abs=4 * 1.5 / math.sqrt(4000))


def test_moments_that_nobody_knows_are_not_numbers():
    measured = times.Slowest(times.Recorded(((1.0, 2.0, 4.0),), at_end="repeat"), of=2)
    assert math.isnan(measured.moments().mean)


@pytest.mark.parametrize("of", [0, -1, 1.5, "2", True, None, math.inf])
def test_how_many_is_a_whole_number(of):
    with pytest.raises(ValueError, match=r"Slowest\.of must be a whole number of at least 1"):
        times.Slowest(times.Exponential(1.0), of=of)


# --- several steps in a row -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("of", "devices"), [(2, 2), (4, 8), (16, 64)])
def test_the_slowest_of_several_rows_of_exponentials(of, devices):
    """The largest of m gamma times, by quadrature of P(M > x) = 1 − Fᵐ; and what is drawn is that within 4 standard errors."""
    law, one = times.Slowest(times.Repeated(times.Exponential(2.0), of=of), of=devices), stats.gamma(of, scale=2.0)
    most = one.isf(1e-18)
    mean = integrate.quad(lambda x: -math.expm1(devices * one.logcdf(x)), 0, most, epsabs=1e-12, limit=500)[0]
    square = integrate.quad(lambda x: -2 * x * math.expm1(devices * one.logcdf(x)), 0, most, epsabs=1e-10, limit=500)[0]
    assert law.moments() == pytest.approx((mean, square - mean**2, 0.0), rel=1e-8)
    drawn = drawn_by(law, count=5000)
    assert drawn.mean() == pytest.approx(mean, abs=4 * drawn.std(ddof=1) / math.sqrt(len(drawn)))


def test_devices_of_different_speeds_wait_only_after_their_rows():
    """Each draws its speed once, and each step from its own stream: the largest of the sums, not the sum of the largest."""
    law = times.DrawnSlowness(times.Exponential(1.0), times.Lognormal(1.0, 1.0))
    stream = rng.stream(0, "compute time", 0)
    first = law.sampler(stream, 0)
    devices = [first, *(law.sampler(other, 0) for other in stream.spawn(2))]
    steps = np.array([[device(0.0) for device in devices] for _ in range(40)]).reshape(10, 4, 3)
    rows = drawn_by(times.Slowest(times.Repeated(law, of=4), of=3), count=10)
    assert rows == pytest.approx(steps.sum(1).max(1), rel=1e-14)
    assert (rows < steps.max(2).sum(1)).any()


def test_constant_devices_of_different_speeds():
    """Nothing is random but each device's speed: a row of h steps takes h times the slowest's step, to the bit for h = 4."""
    law = times.DrawnSlowness(times.Constant(1.0), times.Lognormal(1.0, 0.5))
    for worker in range(20):
        step = drawn_by(times.Slowest(law, of=8), worker, 3)
        assert (drawn_by(times.Slowest(times.Repeated(law, of=4), of=8), worker, 3) == 4 * step).all()


@pytest.mark.parametrize(
    "law",
    [times.Exponential(1.0), times.Pauses(times.Exponential(1.0), every=5.0, lasting=1.0)],
    ids=["steady", "paused"],
)
def test_a_row_of_steps_is_a_job_of_as_many(law):
    """Equal bits: the same sums of the same draws, stretched by the same clock, said by the law or by the work."""
    local = sg.Method(sg.AsyncSGD(), sg.optimizers.sgd(1.0), work=sg.works.LocalSteps(3), inner=sg.optimizers.sgd(0.1))
    one = sg.record(sg.AsyncSGD(), sg.Cluster(2, times.Repeated(law, of=3)), sg.Updates(50))
    assert (one.time == sg.record(local, sg.Cluster(2, law), sg.Updates(50)).time).all()


def test_correlations_of_rows_by_hand():
    """ρ(k) = 0, −1, 0, 1 over a period of 4: rows of 2 have the variance 2 of σ² = ½, alternately; rows of 4 are always 4."""
    law = times.Recorded(((1.0, 2.0, 1.0, 0.0),), at_end="repeat")
    assert times.Repeated(law, of=2).moments() == pytest.approx((2.0, 1.0, -1.0))
    assert times.Repeated(law, of=2).autocorrelation_at(2) == pytest.approx(1.0)
    assert times.Repeated(law, of=4).moments() == (4.0, 0.0, 0.0)


def test_moments_of_rows_that_nobody_knows_are_not_numbers():
    """Of work that remembers, paused, only the mean is known; a tail without a variance has none in a row either."""
    known = times.Repeated(times.Pauses(times.AutocorrelatedLognormal(1.0, 0.5, 0.9), every=5.0, lasting=1.0), of=3).moments()
    assert known.mean == pytest.approx(3.75)
    assert math.isnan(known.autocorrelation)
    assert times.Repeated(times.Pareto(1.0, 1.5), of=3).moments() == (9.0, math.inf, 0.0)
    assert times.Repeated(times.Lognormal(1.0, 0.5), of=3).distribution() is None
    assert math.isnan(times.Slowest(times.Repeated(times.Lognormal(1.0, 0.5), of=3), of=2).moments().mean)


@pytest.mark.parametrize("of", [0, -1, 1.5, "2", True, None, math.inf])
def test_how_many_in_a_row_is_a_whole_number(of):
    with pytest.raises(ValueError, match=r"Repeated\.of must be a whole number of at least 1"):
        times.Repeated(times.Exponential(1.0), of=of)
    with pytest.raises(ValueError, match=r"steps_inside must be a whole number of at least 1"):
        sg.Cluster.of_nodes(2, 2, times.Exponential(1.0), INSIDE, 1.0, steps_inside=of)


def test_very_many_in_a_row_are_refused():
    with pytest.raises(sg.BoundError, match=r"Repeated\.of=1000000 would take .* parts"):
        times.Repeated(times.Exponential(1.0), of=10**6)


# --- clusters of nodes ----------------------------------------------------------------------------------------------------

INSIDE = networks.Ring(networks.Link(latency=0.001, bandwidth=1e5))


def test_a_node_s_step_is_its_slowest_device_s_and_the_all_reduce_inside(tmp_path):
    cluster = sg.Cluster.of_nodes(4, 8, times.Exponential(1.0), INSIDE, 1000.0, networks.Link(0.5))
    inside = 2 * 7 * 0.001 + 2 * 7 / 8 * 1000 / 1e5
    assert cluster.compute.moments().mean == pytest.approx(sum(1 / i for i in range(1, 9)) + inside)
    assert (cluster.workers, cluster.network) == (4, networks.Link(0.5))
    cluster.save(tmp_path / "cluster.toml")
    assert sg.Cluster.load(tmp_path / "cluster.toml") == cluster
    tape = sg.record(sg.AsyncSGD(), cluster, sg.Updates(8000))
    computing = tape.ended - tape.began
    deviation = math.sqrt(cluster.compute.moments().variance / len(tape))
    assert computing.mean() == pytest.approx(cluster.compute.moments().mean, abs=4 * deviation)


def test_devices_may_make_several_steps_before_they_average(tmp_path):
    """One all-reduce inside for each block; one step inside is what there was, to the law."""
    four, one = (
        sg.Cluster.of_nodes(2, 8, times.Exponential(1.0), INSIDE, 1000.0, networks.Link(0.5), steps_inside=of) for of in (4, 1)
    )
    assert one == sg.Cluster.of_nodes(2, 8, times.Exponential(1.0), INSIDE, 1000.0, networks.Link(0.5))
    assert four.compute.law == times.Slowest(times.Repeated(times.Exponential(1.0), of=4), of=8)
    assert four.compute.overhead == one.compute.overhead == pytest.approx(2 * 7 * 0.001 + 2 * 7 / 8 * 1000 / 1e5)
    four.save(tmp_path / "cluster.toml")
    assert sg.Cluster.load(tmp_path / "cluster.toml") == four
    tape = sg.record(sg.AsyncSGD(), four, sg.Updates(4000))
    mean, variance, _ = four.compute.moments()
    assert (tape.ended - tape.began).mean() == pytest.approx(mean, abs=4 * math.sqrt(variance / len(tape)))


def test_a_node_of_one_device_is_a_worker():
    cluster = sg.Cluster.of_nodes(3, 1, times.Constant(1.0), INSIDE, 1000.0)
    assert sg.record(sg.AsyncSGD(), cluster, sg.Updates(3)).time.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ((4, 0, times.Constant(1.0), INSIDE, 1.0), ValueError, "devices must be a whole number of at least 1"),
        ((0, 4, times.Constant(1.0), INSIDE, 1.0), ValueError, r"Cluster\.workers must be a whole number of at least 1"),
        ((4, 4, 1.0, INSIDE, 1.0), TypeError, r"Slowest\.law must be an instance"),
        ((4, 4, times.Constant(1.0), networks.Link(), 1.0), TypeError, "inside must be an instance such as networks.Ring"),
        ((4, 4, times.Constant(1.0), INSIDE, -1.0), ValueError, "message_bytes must be a finite number of at least 0"),
        (
            (4, 4, times.Constant(1.0), networks.MeasuredAllReduce((1.0,), (1.0,), workers=8), 1.0),
            ValueError,
            "measured with 8 workers, not with 4",
        ),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_no_such_nodes(arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        sg.Cluster.of_nodes(*arguments)
