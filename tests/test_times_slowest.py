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
