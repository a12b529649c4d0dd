"""Staleness of asynchronous SGD against its laws: conserved exactly, and distributed as the textbook says."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import simsgd as sg
from simsgd import networks, times

STANDARD_ERRORS = 5  # passed by chance with a probability below 1e-6
LAWS = {
    "constant": lambda n: times.Constant(1.0),
    "exponential": lambda n: times.Exponential(1.0),
    "shifted exponential": lambda n: times.ShiftedExponential(0.5, 1.0),
    "gamma": lambda n: times.Gamma(1.0, 0.6),
    "lognormal": lambda n: times.Lognormal(1.0, 1.5),
    "pareto of infinite variance": lambda n: times.Pareto(0.3, 1.5),
    "stragglers": lambda n: times.Speeds(times.Exponential(1.0), tuple(1 / (1 + i**2) for i in range(n))),
    "a law for each": lambda n: times.PerWorker(
        [(times.Constant(0.7), times.Pareto(0.2, 2.5), times.Gamma(2.0, 0.6))[i % 3] for i in range(n)]
    ),
}


def random_network(workers, seed=0):
    """A link of its own for each worker and direction: latency up to 1 s, bandwidth 1 to 100 MB/s."""
    draw = np.random.default_rng(seed)

    def link():
        return networks.Link(latency=draw.uniform(0, 1), bandwidth=10 ** draw.uniform(6, 8))

    return networks.PerWorker([networks.Duplex(link(), link()) for _ in range(workers)])


NETWORKS = {
    "free": lambda n: networks.Link(),
    "one link": lambda n: networks.Link(latency=0.2, bandwidth=5e6),
    "a link for each": random_network,
}


def staleness_of_all(tape):
    """Σ τ(applied) and Σ τ(in flight); a job in flight has, so far, the staleness of the versions made since it read."""
    return int(tape.staleness.sum()), int((tape.updates - tape.in_flight.read.astype(np.int64)).sum())


@pytest.mark.parametrize("until", [sg.Updates(1500), sg.Seconds(40.0)], ids=repr)
@pytest.mark.parametrize("workers", [1, 2, 7, 24])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("law", LAWS)
def test_staleness_is_conserved(law, network, workers, until):
    """Σ τ(applied) + Σ τ(in flight) = (n−1)·T after T updates, as integers, for any law of compute time and any latency.

    Each update makes the n−1 jobs that other workers have in flight one version staler, and nothing else does.
    """
    cluster = sg.Cluster(workers, LAWS[law](workers), NETWORKS[network](workers))
    tape = sg.record(sg.AsyncSGD(), cluster, until, seed=5, message_bytes=2_000_000)
    assert len(tape.in_flight) == workers
    assert sum(staleness_of_all(tape)) == (workers - 1) * tape.updates


@settings(deadline=None, max_examples=60)
@given(
    speeds=st.lists(st.floats(0.01, 100), min_size=1, max_size=9),
    law=st.sampled_from([times.Constant(0.5), times.Exponential(1.0), times.Pareto(0.1, 1.2), times.Lognormal(1.0, 3.0)]),
    updates=st.integers(1, 200),
    seed=st.integers(0, 2**31),
)
def test_staleness_is_conserved_in_any_cluster(speeds, law, updates, seed):
    workers = len(speeds)
    cluster = sg.Cluster(workers, times.Speeds(law, tuple(speeds)), random_network(workers, seed))
    tape = sg.record(sg.AsyncSGD(), cluster, sg.Updates(updates), seed, message_bytes=2_000_000)
    assert tape.updates == updates
    assert sum(staleness_of_all(tape)) == (workers - 1) * updates


def test_synchronous_gradients_are_never_stale():
    cluster = sg.Cluster(7, times.Exponential(1.0), random_network(7))
    assert not sg.record(sg.MinibatchSGD(), cluster, sg.Updates(200), message_bytes=2_000_000).staleness.any()


@pytest.mark.parametrize("latency", [0.0, 0.5, 5.0])
@pytest.mark.parametrize("workers", [2, 8, 32])
def test_mean_staleness_is_one_less_than_the_workers(workers, latency):
    """Mean τ → n−1, with messages or without: "communication time does not change the mean, only the spread".

    Conservation leaves the mean short by Σ τ(in flight)/T. A memoryless job in flight has on average τ = n−1 with deviation
    √(n(n−1)), so n of them hold at most n(n−1) + 5·n·√(n(n−1)) even if they all deviate together; messages only narrow that.
    """
    updates = 2_000 * workers
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(workers, times.Exponential(1.0), networks.Link(latency)), sg.Updates(updates))
    in_flight = workers * (workers - 1) + STANDARD_ERRORS * workers * math.sqrt(workers * (workers - 1))
    assert 0 <= workers - 1 - tape.staleness.mean() <= in_flight / updates


def test_messages_narrow_the_spread_of_staleness():
    """With constant messages of 5 mean job times the spread falls below that of the memoryless case, √(n(n−1)).

    A round trip then has a coefficient of variation of 1/11 instead of 1, and equal times have no spread at all. The memoryless
    spread errs by σ√((κ+2)/4M), 2.8% with κ = 6 and the M = 2500 independent jobs of one worker; a ratio by 4%. Hence 1.2.
    """
    spread = [
        sg.record(
            sg.AsyncSGD(), sg.Cluster(8, times.Exponential(1.0), networks.Link(latency)), sg.Updates(20_000)
        ).staleness.std()
        for latency in (0.0, 0.5, 5.0)
    ]
    assert spread[0] > 1.2 * spread[1] > 1.2**2 * spread[2]


@pytest.mark.parametrize("network", ["free", "one link"])
@pytest.mark.parametrize("workers", [1, 2, 8])
def test_equal_constant_times_have_constant_staleness(workers, network):
    """τ = n−1 always, after the start, in which the t-th gradient (from 0) has τ = t: the tie rule is first in, first out."""
    cluster = sg.Cluster(workers, times.Constant(0.1), NETWORKS[network](workers))
    tape = sg.record(sg.AsyncSGD(), cluster, sg.Updates(1000), message_bytes=1_000_000)
    assert tape.staleness.tolist() == [min(t, workers - 1) for t in range(1000)]
    assert tape.worker.tolist() == [t % workers for t in range(1000)]


def first_jobs(tape, worker, count):
    """The staleness of a worker's first `count` jobs; a fixed number of them, so that stopping the tape biases nothing."""
    own = tape.staleness[tape.worker == worker]
    assert len(own) >= count
    return own[:count]


@pytest.fixture(scope="module", params=[2, 4, 9])
def memoryless(request):
    """(n, the staleness of worker 1's first 12,000 jobs): n equal workers with exponential job times.

    Whose gradient comes next is then uniform over the workers and independent of the past; so the gaps between ONE worker's
    gradients are independent, while those of different workers are not (each update is in everybody's gap but one's own).
    """
    jobs, workers = 12_000, request.param
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(workers, times.Exponential(1.0)), sg.Updates(int(1.1 * jobs * workers)), seed=3)
    return workers, first_jobs(tape, 1, jobs)


def test_memoryless_equal_workers_have_geometric_staleness(memoryless):
    """P(τ=k) = (1/n)(1−1/n)^k. Pearson's χ² over the classes with at least 10 expected, the tail in one; p > 1e-5."""
    workers, staleness = memoryless
    p, jobs = 1 / workers, len(staleness)
    classes = int(math.log(10 / (p * jobs)) / math.log(1 - p))
    expected = jobs * np.append(p * (1 - p) ** np.arange(classes), (1 - p) ** classes)
    observed = np.bincount(np.minimum(staleness, classes), minlength=classes + 1)
    assert stats.chisquare(observed, expected).pvalue > 1e-5


def test_memoryless_equal_workers_have_the_geometric_spread(memoryless):
    """Mean n−1 and sd √(n(n−1)), within 5 standard errors: σ/√M, and σ²√((κ+2)/M) for the variance of M independent jobs.

    The geometric law with p = 1/n has the excess kurtosis κ = 6 + p²/(1−p).
    """
    workers, staleness = memoryless
    p, jobs, variance = 1 / workers, len(staleness), workers * (workers - 1)
    assert abs(staleness.mean() - (workers - 1)) < STANDARD_ERRORS * math.sqrt(variance / jobs)
    error = variance * math.sqrt((8 + p**2 / (1 - p)) / jobs)
    assert abs(staleness.var(ddof=1) - variance) < STANDARD_ERRORS * error


RATES = (0.25, 1.0, 1.0, 2.0, 4.0)


@pytest.mark.parametrize("worker", range(len(RATES)))
def test_a_fast_worker_is_less_stale(worker):
    """Per worker with rate λ_i, Λ = Σλ_j: mean τ_i = (Λ−λ_i)/λ_i.

    With memoryless times the next gradient is worker i's with p = λ_i/Λ, so τ_i is geometric, its M draws independent, and
    their mean has the standard error √(1−p)/p/√M.
    """
    total, rate = sum(RATES), RATES[worker]
    p, updates = rate / total, 40_000
    jobs = int(0.85 * p * updates)  # of p·T expected: at least five deviations fewer
    cluster = sg.Cluster(len(RATES), times.Speeds(times.Exponential(1.0), RATES))
    own = first_jobs(sg.record(sg.AsyncSGD(), cluster, sg.Updates(updates), seed=11), worker, jobs)
    assert abs(own.mean() - (total - rate) / rate) < STANDARD_ERRORS * math.sqrt((1 - p) / jobs) / p


SECONDS = (1.0, 2.0, 2.75, 3.5)


@pytest.mark.parametrize("worker", range(len(SECONDS)))
def test_a_fast_worker_is_less_stale_with_constant_times_too(worker):
    """Mean τ_i = (Λ−λ_i)/λ_i, here with λ_i = 1/h_i and nothing random.

    By worker i's M-th gradient, at M·h_i, another worker has delivered ⌊M·h_i/h_j⌋, or one fewer in a tie; these are the sum of
    τ over its M jobs. So each of the n−1 others leaves the mean of M jobs between 0 and 1/M short.
    """
    jobs, rates = 400, 1 / np.array(SECONDS)
    cluster = sg.Cluster(len(SECONDS), times.PerWorker([times.Constant(h) for h in SECONDS]))
    own = first_jobs(sg.record(sg.AsyncSGD(), cluster, sg.Seconds(SECONDS[worker] * jobs)), worker, jobs)
    short = (rates.sum() - rates[worker]) / rates[worker] - own.mean()
    assert -1e-9 <= short <= (len(SECONDS) - 1) / jobs + 1e-9
