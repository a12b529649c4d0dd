"""Common random numbers: what a worker draws depends on (seed, worker, job) alone, not on the method or on other workers."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from methods import METHODS, RECORDED

import simsgd as sg
from simsgd import networks, times
from simsgd.problems import draw
from simsgd.support import rng


@dataclass(frozen=True)
class OnAGrid(times.Law):
    """Another law on a grid of 2⁻²⁰ seconds, on which the clock's sums are exact, so that ended − began is what was drawn."""

    law: times.Law

    def sample(self, rng, worker, now):
        return (1 + round(self.law.sample(rng, worker, now) * 2**20)) / 2**20

    def moments(self, worker=0):
        return self.law.moments(worker)

    def check_workers(self, workers):
        self.law.check_workers(workers)


@dataclass(frozen=True)
class Impatient(sg.Protocol):
    """Throw away what is `threshold` or more versions old, and after every third update the next worker's job at any stage."""

    threshold: int

    def on_gradient(self, server, gradient):
        if server.staleness(gradient) < self.threshold:
            server.apply(gradient)
            if len(server.workers) > 1 and server.version % 3 == 0:
                neighbour = (gradient.worker + 1) % len(server.workers)
                server.cancel(neighbour)
                server.assign(neighbour)
        server.assign(gradient.worker)


IMPATIENT = {"impatient": Impatient(2), "very impatient": Impatient(1)}
PROTOCOLS = METHODS | IMPATIENT
LAW = OnAGrid(
    times.PerWorker([times.Exponential(1.0), times.Gamma(1.5, 0.6), times.Pareto(0.5, 2.0), times.Lognormal(1.0, 0.5)])
)
DYADIC_LINK = networks.Link(latency=0.125, bandwidth=1024.0)


def job_seconds(tape):
    """The compute time of each (worker, job) that finished computing, whether its gradient was used, thrown away or sent."""
    return {
        (worker, job): ended - began
        for log in (tape, tape.discarded, tape.in_flight)
        for worker, job, began, ended in zip(
            *(getattr(log, c).tolist() for c in ("worker", "job", "began", "ended")), strict=True
        )
        if not np.isnan(ended)
    }


def drawn_seconds(law, worker, jobs, seed):
    """The first `jobs` draws of a worker's own stream: the truth that every tape must show, job by job."""
    stream = rng.stream(seed, "compute time", worker)
    return [law.sample(stream, worker, 0.0) for _ in range(jobs)]


def assert_drawn_in_order(tape, law, seed):
    """The k-th local step of each worker took the k-th draw of the worker's stream, exactly; most jobs have one step."""
    columns = (tape.of_all_jobs(name).tolist() for name in ("worker", "job", "steps"))
    steps, truth = {(worker, job): count for worker, job, count in zip(*columns, strict=True)}, {}
    draws = [drawn_seconds(law, worker, sum(steps.values()), seed) for worker in range(tape.workers)]
    for worker, job in sorted(steps):
        count = steps[worker, job]
        truth[worker, job], draws[worker] = sum(draws[worker][:count]), draws[worker][count:]
    seconds = job_seconds(tape)
    assert seconds == {job: truth[job] for job in seconds}


# --- job times -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [networks.Link(), DYADIC_LINK], ids=["free", "link"])
@pytest.mark.parametrize("method", RECORDED | IMPATIENT)
def test_the_method_leaves_job_times_untouched(method, network):
    tape = sg.record((RECORDED | IMPATIENT)[method], sg.Cluster(4, LAW, network), sg.Updates(200), seed=4, message_bytes=128)
    assert len(job_seconds(tape)) > 150
    assert_drawn_in_order(tape, LAW, seed=4)


def test_the_impatient_protocol_discards_and_cancels():
    """The test above would show little if nothing were thrown away, before, during and after computing."""
    tape = sg.record(Impatient(2), sg.Cluster(4, LAW, DYADIC_LINK), sg.Updates(200), seed=4, message_bytes=128)
    arrived, ended, began = (~np.isnan(getattr(tape.discarded, c)) for c in ("arrived", "ended", "began"))
    assert arrived.any()
    assert (ended & ~arrived).any()
    assert (began & ~ended).any()
    assert (~began).any()


def test_changing_one_worker_s_law_leaves_the_others_times_untouched():
    laws = [times.Exponential(1.0), times.Gamma(1.5, 0.6), times.Pareto(0.5, 2.0), times.Lognormal(1.0, 0.5)]
    changed = [*laws]
    changed[1] = times.Speeds(times.Pareto(3.0, 1.5), (1.0,) * 4)
    before, after = (
        sg.record(sg.AsyncSGD(), sg.Cluster(4, OnAGrid(times.PerWorker(each))), sg.Seconds(60.0), seed=9)
        for each in (laws, changed)
    )
    before, after = job_seconds(before), job_seconds(after)
    assert {k: v for k, v in before.items() if k[0] != 1} == {k: v for k, v in after.items() if k[0] != 1}
    assert all(before[k] != after[k] for k in before.keys() & after.keys() if k[0] == 1)


@pytest.mark.parametrize("protocol", [sg.AsyncSGD(), sg.MinibatchSGD(), Impatient(3)], ids=repr)
def test_adding_workers_leaves_the_others_times_untouched(protocol):
    law = OnAGrid(times.Exponential(1.0))
    few, many = (job_seconds(sg.record(protocol, sg.Cluster(n, law), sg.Seconds(40.0), seed=9)) for n in (3, 7))
    common = {k for k in few if k in many}
    assert {worker for worker, _ in common} == {0, 1, 2}
    assert len(common) > 15
    assert {k: few[k] for k in common} == {k: many[k] for k in common}


def test_workers_and_seeds_differ():
    """Untouched must not mean all the same: no two of these streams share a time."""
    law = times.Exponential(1.0)
    tapes = [sg.record(sg.AsyncSGD(), sg.Cluster(5, law), sg.Updates(300), seed=seed) for seed in (0, 1)]
    seconds = [round(value, 9) for tape in tapes for value in job_seconds(tape).values()]
    assert len(set(seconds)) == len(seconds)


# --- batches -------------------------------------------------------------------------------------------------------------

SAMPLES = 512


def one_hot_loss(parameters, batch):
    """Linear in the parameters, so a job's gradient is the one-hot row of the sample it drew, at any version."""
    return jnp.mean(batch @ parameters)


ONE_HOT = sg.Problem("one-hot", lambda key: jnp.zeros(SAMPLES), one_hot_loss, data=np.eye(SAMPLES), batch_size=1)


def used_samples(tape, updates):
    """What replay used in each of the first updates, {sample: Σ weight}: by how far an SGD step of 1 moved each parameter."""
    models = [
        sg.replay(
            tape, ONE_HOT, sg.optimizers.sgd(1.0), sg.Updates(k), evaluate_every=sg.Updates(k), dtype="float64"
        ).parameters
        for k in range(1, updates + 1)
    ]
    moves = -np.diff(models, axis=0, prepend=np.zeros((1, SAMPLES)))
    return [{int(sample): move[sample] for sample in np.flatnonzero(abs(move) > 1e-9)} for move in moves]


def batches(protocol, cluster, updates, seed=6):
    """Return for each of the first updates (the (worker, job)s of its rows with their weights, what replay used)."""
    tape = sg.record(protocol, cluster, sg.Updates(updates), seed)
    rows = [(w, j, weight) for w, j, weight in zip(tape.worker.tolist(), tape.job.tolist(), tape.weight.tolist(), strict=True)]
    ends = (np.flatnonzero(tape.step) + 1).tolist()
    steps = [rows[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return list(zip(steps, used_samples(tape, updates), strict=True))


def sample_of_each_job(cluster, updates, seed=6):
    """Return {(worker, job): sample} as asynchronous SGD showed it, one gradient an update."""
    return {(worker, job): sample for [(worker, job, _)], (sample,) in batches(sg.AsyncSGD(), cluster, updates, seed)}


CLUSTER = sg.Cluster(4, times.Exponential(1.0))


@pytest.fixture(scope="module")
def samples():
    return sample_of_each_job(CLUSTER, updates=120)


def test_a_batch_is_drawn_by_seed_worker_and_job(samples):
    """The key of a run's batches is folded with the worker, then with the job; so jobs, workers and seeds differ."""
    key = jax.random.wrap_key_data(jnp.asarray(rng.key_words(6, "batches")))
    assert samples == {(w, j): int(draw(key, jnp.int32(w), jnp.int32(j), 1, SAMPLES)[0]) for w, j in samples}
    other = sample_of_each_job(CLUSTER, updates=20, seed=7)
    # of k pairs of independent draws from 512, one is equal with probability k/512: more than two hardly ever
    assert sum(samples[k] == other[k] for k in samples.keys() & other.keys()) <= 2


def test_batches_are_uniform(samples):
    """Of k = 120 draws of one in m = 512, m(1 − (1−1/m)^k) = 107 are different on average.

    The variance is about m·e^(−c)(1 − (1+c)e^(−c)) = 9.6 with c = k/m, so 5 standard deviations are 16.
    """
    assert len(samples) == 120
    assert abs(len(set(samples.values())) - 107) <= 16


@pytest.mark.parametrize("method", [name for name in PROTOCOLS if name != "async"])
def test_the_method_leaves_batches_untouched(method, samples):
    """Each step moves the model by Σ weight·(the sample that asynchronous SGD saw the same worker's same job draw)."""
    compared = 0
    for rows, used in batches(PROTOCOLS[method], CLUSTER, updates=20):
        if all((worker, job) in samples for worker, job, _ in rows):
            expected = {}
            for worker, job, weight in rows:
                expected[samples[worker, job]] = expected.get(samples[worker, job], 0.0) + weight
            assert used == pytest.approx(expected, abs=1e-12)
            compared += 1
    assert compared >= 10


@pytest.mark.parametrize(
    "optimizer",
    [optax.adam(0.1), sg.optimizers.sgd(0.1, momentum=0.9), optax.chain(sg.optimizers.scale_by_staleness(), optax.sgd(0.5))],
    ids=["adam", "momentum", "staleness"],
)
def test_the_optimizer_leaves_batches_untouched(optimizer, samples):
    """The final model is what the optimizer makes of the one-hot gradients that SGD saw, to rounding in float64."""
    tape = sg.record(sg.AsyncSGD(), CLUSTER, sg.Updates(100), seed=6)
    run = sg.replay(tape, ONE_HOT, optimizer, dtype="float64")
    if isinstance(optimizer, sg.optimizers.Tunable):
        optimizer = optimizer.factory(**dict(optimizer.numbers))
    optimizer = optax.with_extra_args_support(optimizer)
    with jax.enable_x64(True):
        model = jnp.zeros(SAMPLES)
        state = optimizer.init(model)
        for job, staleness in zip(zip(tape.worker.tolist(), tape.job.tolist(), strict=True), tape.staleness, strict=True):
            gradient = jnp.zeros(SAMPLES).at[samples[job]].set(1.0)
            updates, state = optimizer.update(gradient, state, model, staleness=jnp.asarray(float(staleness)))
            model = optax.apply_updates(model, updates)
        np.testing.assert_allclose(run.parameters, model, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "cluster",
    [
        sg.Cluster(7, times.Exponential(1.0)),
        sg.Cluster(
            4, times.PerWorker([times.Exponential(1.0), times.Constant(0.1), times.Exponential(1.0), times.Exponential(1.0)])
        ),
        sg.Cluster(4, times.Exponential(1.0), networks.Link(latency=3.0)),
    ],
    ids=["more workers", "another law", "another network"],
)
def test_the_cluster_leaves_batches_untouched(cluster, samples):
    """More workers, one worker's other law, or slow links change the order of arrival, never what a (worker, job) draws."""
    other = sample_of_each_job(cluster, updates=40)
    assert list(other) != list(samples)[:40]
    common = other.keys() & samples.keys()
    assert len(common) >= 15
    assert {k: other[k] for k in common} == {k: samples[k] for k in common}
