"""Simulated time per update against order statistics and renewal theory; nothing here looks at a real clock."""

import math
from math import gamma

import numpy as np
import pytest
from scipy import integrate, stats

import simsgd as sg
from simsgd import networks, times

STANDARD_ERRORS = 5  # passed by chance with a probability below 1e-6
WORKERS, UPDATES = 8, 15_000


def slowest_exponential(n, mean, shift=0.0):
    """E[X_{n:n}] = shift + mean·H_n, and the variance mean²·Σ 1/i²: between finishes the rest race, rate k/mean with k left."""
    ranks = np.arange(1, n + 1)
    return shift + mean * (1 / ranks).sum(), mean**2 * (1 / ranks**2).sum()


def slowest_pareto(n, minimum, exponent):
    """E[X_{n:n}^m] = x_m^m · n! · Γ(1−m/α)/Γ(n+1−m/α): the facts' form with K = n, and for the m-th power with α/m for α."""
    first, second = (minimum**m * math.factorial(n) * gamma(1 - m / exponent) / gamma(n + 1 - m / exponent) for m in (1, 2))
    return first, second - first**2


def slowest_by_quadrature(n, distribution):
    """E[X_{n:n}^m] = ∫ x^m·n·F(x)^(n−1) dF, with 1 − F(x) = e^(−t): smooth in t from 0 to infinity, in effect to 200."""

    def moment(m):
        def density(t):
            return distribution.isf(math.exp(-t)) ** m * n * (1 - math.exp(-t)) ** (n - 1) * math.exp(-t)

        return integrate.quad(density, 0, 200, limit=500)[0]

    return moment(1), moment(2) - moment(1) ** 2


s = math.sqrt(math.log(1.25))  # of a lognormal with coefficient of variation 0.5
SLOWEST = {  # law: (mean, variance) of the slowest of n jobs
    times.Exponential(1.0): lambda n: slowest_exponential(n, 1.0),
    times.ShiftedExponential(shift=1.0, mean=2.0): lambda n: slowest_exponential(n, 1.0, shift=1.0),
    times.Pareto(minimum=1.0, exponent=2.5): lambda n: slowest_pareto(n, 1.0, 2.5),
    times.Gamma(mean=1.0, coefficient_of_variation=0.6): lambda n: slowest_by_quadrature(n, stats.gamma(1 / 0.36, scale=0.36)),
    times.Lognormal(mean=1.0, coefficient_of_variation=0.5): lambda n: slowest_by_quadrature(
        n, stats.lognorm(s, scale=math.exp(-(s**2) / 2))
    ),
    times.Constant(0.25): lambda n: (0.25, 0.0),
}
FACTS = [
    (times.Exponential(1.0), 2.718),
    (times.ShiftedExponential(shift=1.0, mean=2.0), 3.718),
    (times.Pareto(minimum=1.0, exponent=2.5), 3.473),
]


@pytest.mark.parametrize("workers", [1, WORKERS])
@pytest.mark.parametrize("law", SLOWEST, ids=repr)
def test_a_synchronous_update_waits_for_the_slowest(law, workers):
    """Sync: E[X_{n:n}] seconds per update. The T updates of a run are independent, so their mean errs by sd(X_{n:n})/√T.

    The 1e-9 is the clock's rounding, all that is left for constant times.
    """
    mean, variance = SLOWEST[law](workers)
    tape = sg.record(sg.MinibatchSGD(), sg.Cluster(workers, law), sg.Updates(UPDATES), seed=1)
    assert tape.end / UPDATES == pytest.approx(mean, abs=STANDARD_ERRORS * math.sqrt(variance / UPDATES) + 1e-9)


@pytest.mark.parametrize(("law", "seconds"), FACTS, ids=repr)
def test_the_forms_give_the_published_table(law, seconds):
    """The column "sync" of the table for n = 8, to the digits it is given with, and each form against quadrature."""
    assert round(SLOWEST[law](8)[0], 3) == seconds
    textbook = {
        times.Exponential: stats.expon(),
        times.ShiftedExponential: stats.expon(loc=1.0),
        times.Pareto: stats.pareto(2.5),
    }[type(law)]
    assert slowest_by_quadrature(8, textbook) == pytest.approx(SLOWEST[law](8), rel=1e-6)


def test_messages_lengthen_a_synchronous_update_by_both_directions():
    """Over equal uncontended links a step takes E[X_{n:n}] + down + up; the seed's draws are the same, so exactly that much."""
    network = networks.Duplex(down=networks.Link(0.25, 1e3), up=networks.Link(0.5, 4e3))
    free, linked = (
        sg.record(sg.MinibatchSGD(), sg.Cluster(WORKERS, times.Exponential(1.0), net), sg.Updates(300), message_bytes=1000)
        for net in (networks.Link(), network)
    )
    np.testing.assert_allclose(linked.update_times, free.update_times + np.arange(1, 301) * (0.25 + 1 + 0.5 + 0.25), rtol=1e-12)


UNEQUAL = (
    times.Constant(0.5),
    times.Exponential(1.0),
    times.ShiftedExponential(shift=1.0, mean=1.5),
    times.Gamma(mean=2.0, coefficient_of_variation=0.6),
    times.Lognormal(mean=0.7, coefficient_of_variation=1.0),
    times.Pareto(minimum=1.0, exponent=3.5),
    times.Speeds(times.Exponential(1.0), (1.0,) * 6 + (0.1,)),
)


@pytest.mark.parametrize("latency", [0.0, 0.75])
@pytest.mark.parametrize("seconds", [5_000.0])
def test_asynchronous_throughput_is_the_sum_of_the_workers_rates(latency, seconds):
    """Uncongested async throughput: Σ 1/E[X_i] updates per second, X_i with the messages' constant 2·latency in it.

    Each worker is a renewal process: in t seconds E[N] = t/μ + (σ²−μ²)/(2μ²) and Var N = tσ²/μ³, up to terms that vanish; 1 for
    the rounding of a constant law's count.
    """
    law = times.PerWorker(UNEQUAL)
    cluster = sg.Cluster(len(UNEQUAL), law, networks.Link(latency))
    tape = sg.record(sg.AsyncSGD(), cluster, sg.Seconds(seconds), seed=2)
    mean, variance = np.array([law.moments(i)[:2] for i in range(len(UNEQUAL))]).T
    mean = mean + 2 * latency
    counts = np.bincount(tape.worker, minlength=len(UNEQUAL))
    start = (variance - mean**2) / (2 * mean**2)
    errors = seconds * variance / mean**3
    assert (abs(counts - seconds / mean - start) <= 1 + STANDARD_ERRORS * np.sqrt(errors)).all()
    total = seconds * (1 / mean).sum() + start.sum()
    assert abs(tape.updates - total) <= 1 + STANDARD_ERRORS * math.sqrt(errors.sum())


def test_one_straggler_slows_everybody_only_when_they_wait():
    """Constant times 1, 1, 1, 10: sync makes 1/10 updates (4/10 gradients) a second, async Σ 1/h_i = 3.1. Nothing is random."""
    cluster = sg.Cluster(4, times.Speeds(times.Constant(1.0), (1.0, 1.0, 1.0, 0.1)))
    sync, free = (sg.record(method, cluster, sg.Seconds(1000)) for method in (sg.MinibatchSGD(), sg.AsyncSGD()))
    assert (sync.updates, len(sync), free.updates) == (100, 400, 3100)
    waiting = {"sync": sync.shares()["waiting"], "async": free.shares()["waiting"]}
    np.testing.assert_allclose(waiting["sync"], [0.9, 0.9, 0.9, 0.0], atol=1e-12)
    np.testing.assert_allclose(waiting["async"], 0.0, atol=1e-12)
