"""What a worker remembers and what its work costs, each by hand: lost work, crashes, local steps, bytes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparing import assert_agrees, assert_close, flat, problem, recorded, squared_error, worker_states
from methods import METHODS
from parts import WORKS, method_of, top_k

import simsgd as sg
from simsgd import faults, networks, times


@dataclasses.dataclass(frozen=True)
class Every(sg.Protocol):
    """Step with each gradient of the workers named; the others' arrive and are not used."""

    used: tuple[int, ...]

    def on_gradient(self, server, gradient):
        if gradient.worker in self.used:
            server.apply(gradient)
        server.assign(gradient.worker)


@dataclasses.dataclass(frozen=True)
class Cancelling(sg.Protocol):
    """Step with worker 0's gradients, and cancel worker 1's second job each time."""

    def on_gradient(self, server, gradient):
        if gradient.worker == 0:
            server.apply(gradient)
            if gradient.job == 1:
                server.cancel(1)
                server.assign(1)
        server.assign(gradient.worker)


def counting():
    """At the worker: how many messages it has sent, and the message multiplied by that."""

    def update(updates, count, params=None, **others):
        return jax.tree.map(lambda u: u * (count + 1), updates), count + 1

    return optax.GradientTransformationExtraArgs(lambda params: jnp.zeros(()), update)


def counts(protocol, cluster, updates, after_crash="keep"):
    """Return how many messages each worker remembers having sent, by the compiled player and by the reference."""
    method = sg.Method(protocol, sg.optimizers.sgd(0.01), at_worker=counting(), after_crash=after_crash)
    tape = recorded(method, cluster, updates, seed=0)
    player = assert_agrees(tape, method, seed=0)
    return [int(state[0]) for state in worker_states(player)], tape


def constant(*seconds, faults=()):
    return sg.Cluster(len(seconds), times.PerWorker([times.Constant(s) for s in seconds]), faults=faults)


def test_a_job_that_arrived_and_was_not_used_moves_its_worker():
    """Worker 0 delivers at 1, 2, …, 6 s and makes the steps; worker 1 at 2.5 and 5 s, for nothing: two messages sent."""
    found, tape = counts(Every(used=(0,)), constant(1.0, 2.5), updates=6)
    assert found == [6, 2]
    assert tape.discarded.reason.tolist() == [0, 0]


def test_a_cancelled_job_leaves_no_trace():
    """Worker 1 would deliver at 1.5, 3 and 4.5 s, unused; at 2 s its second job is cancelled, and it begins anew: 3.5, 5 s."""
    found, tape = counts(Cancelling(), constant(1.0, 1.5), updates=6)
    assert found == [6, 3]
    assert tape.discarded.reason.tolist() == [0, 1, 0, 0]


CRASH = faults.Crash(worker=1, at=4.0, back=5.0)


@pytest.mark.parametrize(("after_crash", "sent"), [("keep", 4), ("reset", 2)])
def test_a_crash_leaves_no_trace_and_keeps_or_resets_what_the_worker_knew(after_crash, sent):
    """Worker 1 delivers at 1.5 and 3 s, loses its third job at 4 s, is back at 5 s and delivers at 6.5 and 8 s.

    So it has sent four messages, or two since it is back.
    """
    found, tape = counts(Every(used=(0, 1)), constant(1.0, 1.5, faults=[CRASH]), 8 + 4, after_crash)
    assert tape.discarded.reason.tolist() == [2]
    assert found == [8, sent]


@pytest.mark.parametrize(("after_crash", "sent"), [("keep", 4), ("reset", 2)])
def test_a_crash_between_unused_jobs(after_crash, sent):
    found, _ = counts(Every(used=(0,)), constant(1.0, 1.5, faults=[CRASH]), 9, after_crash)
    assert found == [9, sent]


def test_the_model_moves_with_what_the_worker_remembers():
    """By hand: f(w) = ½(w − 1)², w₀ = 0, step 0.01, the k-th message of a worker counts k times.

    Worker 1's first message (at 1.5 s, unused) makes its second, at 3 s, count twice.
    """

    @dataclasses.dataclass(frozen=True)
    class SecondOfWorkerOne(sg.Protocol):
        def on_gradient(self, server, gradient):
            if gradient.worker == 1 and gradient.job == 1:
                server.apply(gradient)
            server.assign(gradient.worker)

    method = sg.Method(SecondOfWorkerOne(), sg.optimizers.sgd(0.01), at_worker=counting())
    run = sg.simulate(method, sg.problems.quadratic((1.0,)), constant(1.0, 1.5), until=sg.Updates(1), dtype="float64")
    assert run.parameters[0] == pytest.approx(0.02, rel=1e-14)  # 0 − 0.01 · 2 · (0 − 1)


# --- what the clock charges ---------------------------------------------------------------------------------------------


def test_local_steps_take_the_time_of_so_many_draws_and_compute_so_many_gradients():
    """Three local steps by hand, w ← w − 0.05·∇f with f(w) = ½(w − 1)²: the message is w₀ − w₃, the server's step size 1."""
    work = dataclasses.replace(WORKS["local"], momentum=0.0)
    method = sg.Method(sg.AsyncSGD(), sg.optimizers.sgd(1.0), work=work)
    run = sg.simulate(method, sg.problems.quadratic((1.0,)), constant(2.0), until=sg.Updates(2), dtype="float64")
    assert run.tape.steps.tolist() == [3, 3]
    assert run.tape.time.tolist() == [6.0, 12.0]
    assert run.parameters[0] == pytest.approx(1 - 0.95**6, rel=1e-14)


def test_local_steps_are_those_that_single_jobs_take():
    """Common random numbers: a job of three local steps takes what three jobs of one take."""
    cluster = sg.Cluster(1, times.Exponential(1.0))
    one, three = (
        recorded(method_of(METHODS["async"], work=work), cluster, n, seed=4) for work, n in (("gradient", 30), ("local", 10))
    )
    np.testing.assert_allclose(three.time, one.time[2::3], rtol=1e-12)


def test_a_full_gradient_is_what_the_loss_of_all_samples_has():
    method = method_of(METHODS["async"], work="full")
    run = sg.simulate(method, problem(), constant(1.0), until=sg.Updates(1), seed=7, dtype="float64")
    with jax.enable_x64(True):
        begins = problem().start(7, "float64")
        gradient = jax.grad(squared_error)(begins, problem().data)
    assert run.tape.time.tolist() == [4.0]
    assert_close(run.parameters, flat(begins) - 0.05 * flat(gradient))


def test_variance_reduction_reduces_variance():
    """At the anchor itself SVRG's message is the full gradient, whatever the batch: the first step of all seeds is the same."""
    firsts = {}
    for work in ("gradient", "svrg"):
        method = method_of(METHODS["async"], work=work)
        where = {"cluster": constant(1.0), "until": sg.Updates(1), "dtype": "float64"}
        flat_start = sg.problems.quadratic(noise=0.5, samples=32)
        firsts[work] = np.array([sg.simulate(method, flat_start, seed=s, **where).parameters for s in range(5)])
    assert np.ptp(firsts["gradient"], axis=0).min() > 1e-3
    assert np.ptp(firsts["svrg"], axis=0).max() < 1e-15


def test_sparse_messages_take_their_own_time():
    """80 bytes down at 10 bytes a second, half of that up: 8 s, 1 s of computing, 4 s; then again."""
    method = method_of(METHODS["async"], work="sparse", at_worker="top-k")
    cluster = sg.Cluster(1, times.Constant(1.0), networks.Link(bandwidth=10.0))
    tape = sg.record(method, cluster, sg.Updates(2), message_bytes=80.0)
    assert (tape.bytes_down.tolist(), tape.bytes_up.tolist()) == ([80.0, 80.0], [40.0, 40.0])
    assert tape.time.tolist() == [13.0, 26.0]


def test_top_k_sends_the_largest_and_remembers_the_rest():
    """By hand: gradient (−3, −1, −2) each time (no curvature to speak of), k = 1 of 3: sends −3; then −3−3…; see below."""
    transformation = top_k(0.4)
    gradient, state, sent = jnp.array([-3.0, -1.0, -2.0]), jnp.zeros(3), []
    for _ in range(4):
        message, state = transformation.update(gradient, state)
        sent.append(message.tolist())
    # what is kept: (0, −1, −2), then of (−3, −2, −4): (−3, −2, 0), then of (−6, −3, −2): (0, −3, −2), then of (−3, −4, −4)
    assert sent[:3] == [[-3, 0, 0], [0, 0, -4], [-6, 0, 0]]
    assert state.tolist() == [-3.0, 0.0, 0.0]  # the last two are equal: both are sent
