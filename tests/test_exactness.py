"""The same seed gives the same bits: in a fresh process, in chunks, observed or not, at any length; and they are right."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass

import jax
import numpy as np
import optax
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from methods import METHODS, RECORDED

import simsgd as sg
from simsgd.protocols import KBatchAsyncSGD, RennalaSGD
from simsgd.replaying.player import Player
from simsgd.replaying.reading import Reading
from simsgd.testing import play_slowly

SGD = sg.optimizers.sgd(0.05)
IN_FRESH_PROCESS = """
import json
import simsgd as sg
cluster = sg.Cluster(5, sg.times.Exponential(mean=1.0), sg.networks.Link(latency=0.1, bandwidth=1e4))
problem = sg.problems.digits("logistic")
runs = [
    sg.simulate(protocol, problem, cluster, sg.optimizers.sgd(0.1), sg.Updates(300), seed=7)
    for protocol in (sg.MinibatchSGD(), sg.AsyncSGD())
]
print(json.dumps([run.hashes for run in runs]))
"""


def test_fresh_processes_give_same_bits():
    """Each compiles for itself."""
    alone = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    fresh = [
        subprocess.run([sys.executable, "-c", IN_FRESH_PROCESS], capture_output=True, text=True, check=True, env=alone).stdout
        for _ in range(2)
    ]
    cluster = sg.Cluster(5, sg.times.Exponential(mean=1.0), sg.networks.Link(latency=0.1, bandwidth=1e4))
    problem = sg.problems.digits("logistic")
    here = [
        sg.simulate(protocol, problem, cluster, SGD_01, sg.Updates(300), seed=7).hashes
        for protocol in (sg.MinibatchSGD(), sg.AsyncSGD())
    ]
    assert [json.loads(hashes) for hashes in fresh] == [here, here]


SGD_01 = sg.optimizers.sgd(0.1)


@pytest.mark.parametrize("method", RECORDED)
@pytest.mark.parametrize("problem_name", ["noisy", "digits"])
def test_chunks_of_any_size_give_same_bits(method, problem_name, cluster, noisy):
    problem = noisy if problem_name == "noisy" else sg.problems.digits("logistic")
    tape = sg.record(RECORDED[method], cluster, sg.Updates(200), seed=3)

    def final(updates_in_a_chunk):
        player, source = Player(problem, SGD, tape.workers), Reading(tape)
        for update in range(updates_in_a_chunk, 200 + updates_in_a_chunk, updates_in_a_chunk):
            source.advance(updates=min(update, tape.updates))
            player.play(source.rows(player.rows_played), source.live())
        return player.flat_parameters.tobytes()

    assert len({final(chunk) for chunk in (1, 2, 7, 64, 199, 200)}) == 1


@pytest.mark.parametrize("method", METHODS)
def test_replay_of_a_recording_is_simulate(method, cluster, noisy):
    until = sg.Updates(150)
    run = sg.simulate(METHODS[method], noisy, cluster, SGD, until, seed=2)
    tape = sg.record(METHODS[method], cluster, until, seed=2, message_bytes=noisy.message_bytes)
    assert sg.replay(tape, noisy, SGD, until) == run


@pytest.mark.parametrize("method", METHODS)
def test_bits_do_not_depend_on_total_length(method, cluster, noisy):
    """The first 100 updates of a run of 400 are a run of 100: same rows, same metrics at the same moments."""
    short, long = (
        sg.simulate(METHODS[method], noisy, cluster, SGD, sg.Updates(n), evaluate_every=sg.Updates(20)) for n in (100, 400)
    )
    rows = len(short.tape)
    for column in ("time", "worker", "job", "read", "weight", "step", "assigned", "began", "ended", "arrived"):
        np.testing.assert_array_equal(getattr(short.tape, column), getattr(long.tape, column)[:rows])
    assert sg.replay(long.tape, noisy, SGD, sg.Updates(100)).hashes["parameters"] == short.hashes["parameters"]
    for metric in short.metrics:
        np.testing.assert_array_equal(short.dataset[metric], long.dataset[metric][: short.dataset.sizes["evaluation"]])


@dataclass(frozen=True)
class Watching(sg.Protocol):
    """Another protocol, with a look at the loss before and after every so many gradients."""

    watched: sg.Protocol
    every: int

    def start(self, server):
        self.watched.start(server)

    def on_gradient(self, server, gradient):
        looks = gradient.job % self.every == 0
        before = server.observe("loss") if looks else None
        version = server.version
        self.watched.on_gradient(server, gradient)
        if looks:
            assert (server.observe("loss") == before) == (server.version == version)

    def on_alarm(self, server):
        self.watched.on_alarm(server)


@pytest.mark.parametrize("method", METHODS)
def test_observing_changes_no_bit(method, cluster, noisy):
    runs = [sg.simulate(METHODS[method], noisy, cluster, SGD, sg.Updates(120))]
    for every in (1, 10, 1000):
        runs.append(sg.simulate(Watching(METHODS[method], every), noisy, cluster, SGD, sg.Updates(120)))
    assert len({tuple(run.hashes.values()) for run in runs}) == 1


def test_observing_returns_the_current_model_s_metric(cluster, noisy):
    seen = []

    @dataclass(frozen=True)
    class Noting(sg.Protocol):
        def on_gradient(self, server, gradient):
            server.apply(gradient)
            seen.append(server.observe("loss"))
            server.assign(gradient.worker)

    run = sg.simulate(Noting(), noisy, cluster, SGD, sg.Updates(30), evaluate_every=sg.Updates(1))
    assert seen == run.dataset["loss"].values[1:].tolist()


def test_observing_at_the_start_sees_version_0(cluster, noisy):
    seen = []

    @dataclass(frozen=True)
    class Curious(sg.AsyncSGD):
        def start(self, server):
            seen.append(server.observe("loss"))
            super().start(server)

    run = sg.simulate(Curious(), noisy, cluster, SGD, sg.Updates(10))
    assert seen == [float(run.dataset["loss"][0])]


@pytest.mark.parametrize("looks", [sg.Updates(1), sg.Updates(7), sg.Seconds(1.0), sg.Seconds(0.3), None])
def test_updates_at_the_very_end_count_however_often_one_looks(looks, noisy):
    """Four workers with equal constant times: four updates at each second, the last four at the last moment."""
    constant = sg.Cluster(4, sg.times.Constant(1.0))
    run = sg.simulate(sg.AsyncSGD(), noisy, constant, SGD, sg.Seconds(10), evaluate_every=looks)
    assert (run.tape.updates, int(run.dataset.updates[-1]), float(run.dataset.time[-1])) == (40, 40, 10.0)
    tape = sg.record(sg.AsyncSGD(), constant, sg.Updates(40), message_bytes=noisy.message_bytes)
    assert sg.replay(tape, noisy, SGD, evaluate_every=looks).hashes["parameters"] == run.hashes["parameters"]


CLUSTERS = {
    "with links": sg.Cluster(5, sg.times.Exponential(mean=1.0), sg.networks.Link(latency=0.1, bandwidth=100.0)),
    "free network": sg.Cluster(4, sg.times.Exponential(mean=1.0)),
    "all at once": sg.Cluster(4, sg.times.Constant(1.0)),
    "all at once, with links": sg.Cluster(4, sg.times.Constant(1.0), sg.networks.Link(latency=0.5)),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("looks", [sg.Updates(9), sg.Seconds(2.0)])
@pytest.mark.parametrize("where", CLUSTERS)
def test_replay_that_stops_early_is_simulate_that_stops_early(method, looks, where, noisy):
    """The run's tape ends where the target was reached, with what was in flight at that moment."""
    cluster, target = CLUSTERS[where], sg.Target("loss", at_most=0.2, within=sg.Seconds(500))
    run = sg.simulate(METHODS[method], noisy, cluster, sg.optimizers.sgd(0.1), target, seed=1, evaluate_every=looks)
    tape = sg.record(METHODS[method], cluster, sg.Seconds(500), seed=1, message_bytes=noisy.message_bytes)
    again = sg.replay(tape, noisy, sg.optimizers.sgd(0.1), target, evaluate_every=looks)
    assert run.status == "target reached"
    assert run.tape.end < 400
    assert again == run
    if isinstance(looks, sg.Updates):
        ends = sg.record(METHODS[method], cluster, sg.Updates(run.tape.updates), seed=1, message_bytes=noisy.message_bytes)
        assert ends == run.tape


def test_a_target_reached_at_once_ends_a_run_before_anything_happens(noisy):
    target = sg.Target("loss", at_most=100, within=sg.Seconds(3), kept=0)
    run = sg.simulate(sg.AsyncSGD(), noisy, CLUSTERS["free network"], SGD, target)
    tape = sg.record(sg.AsyncSGD(), CLUSTERS["free network"], sg.Seconds(3), message_bytes=noisy.message_bytes)
    assert (run.status, run.tape.end, len(run.tape.in_flight)) == ("target reached", 0.0, 4)
    assert sg.replay(tape, noisy, SGD, target) == run
    with pytest.raises(ValueError, match="tape is empty: it ends at 0 s"):
        sg.replay(run.tape, noisy, SGD)


clusters = st.builds(
    lambda workers, law, latency: sg.Cluster(workers, law, sg.networks.Link(latency=latency)),
    workers=st.sampled_from([1, 2, 3, 5]),
    law=st.sampled_from(
        [
            sg.times.Constant(1.0),
            sg.times.Exponential(mean=1.0),
            sg.times.Pareto(minimum=0.5, exponent=1.5),
            sg.times.Lognormal(mean=1.0, coefficient_of_variation=1.0),
        ]
    ),
    latency=st.sampled_from([0.0, 0.3, 2.0]),
)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cluster=clusters, method=st.sampled_from(list(RECORDED)), seed=st.integers(0, 2**31), updates=st.integers(1, 25))
def test_replay_agrees_with_the_slow_reference(cluster, method, seed, updates, noisy):
    """Every version within 1e-13 of the reference: rounding alone (2^-53 ≈ 1.1e-16, some hundred operations)."""
    assume(cluster.workers >= max(getattr(RECORDED[method], needed, 1) for needed in ("jobs", "clients")))
    tape = sg.record(RECORDED[method], cluster, sg.Updates(updates), seed=seed)
    expected = play_slowly(tape, noisy, optax.sgd(0.05, momentum=0.5), seed).versions
    player, source = Player(noisy, optax_momentum(), tape.workers, seed, dtype="float64"), Reading(tape)
    for version in range(1, updates + 1):
        source.advance(updates=version)
        player.play(source.rows(player.rows_played), source.live())
        np.testing.assert_allclose(player.flat_parameters, np.asarray(expected[version]), rtol=0, atol=1e-13)


def optax_momentum():
    return sg.optimizers.sgd(0.05, momentum=0.5)


@pytest.mark.parametrize("method", ["sync", "async", "K-batch-async"])
def test_replay_of_a_network_agrees_with_the_slow_reference(method, cluster):
    """The digits MLP with Adam and staleness-aware steps: relative error below 1e-10 in float64 after 40 updates."""
    problem = sg.problems.digits()
    optimizer = optax.chain(sg.optimizers.scale_by_staleness(), optax.adam(1e-2))
    run = sg.simulate(METHODS[method], problem, cluster, optimizer, sg.Updates(40), seed=5, dtype="float64")
    expected = play_slowly(run.tape, problem, optimizer, seed=5).versions[-1]
    expected = np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(expected)])
    np.testing.assert_allclose(run.parameters, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("protocol", [sg.MinibatchSGD(), KBatchAsyncSGD(5), RennalaSGD(6)])
def test_width_changes_rounding_only(protocol, cluster, noisy):
    """Steps of 5 or 6 gradients played 1, 2, 4 or 8 side by side: in several blocks, with idle lanes, or in one."""
    tape = sg.record(protocol, cluster, sg.Updates(60))
    finals = [sg.replay(tape, noisy, SGD, dtype="float64", width=width).parameters for width in (None, 1, 2, 4, 8)]
    for final in finals[1:]:
        np.testing.assert_allclose(final, finals[0], rtol=0, atol=1e-13)


def test_float64_starts_where_float32_does():
    problem = sg.problems.digits("logistic")
    single, double = (jax.tree.leaves(problem.start(3, dtype)) for dtype in ("float32", "float64"))
    for a, b in zip(single, double, strict=True):
        assert (a.dtype, b.dtype) == ("float32", "float64")
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b).astype(np.float32))
