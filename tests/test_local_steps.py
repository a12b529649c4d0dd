"""Local steps: what methods of them are equal to, what is known in closed form, and what is refused."""

import dataclasses

import numpy as np
import optax
import pytest

import simsgd as sg
from simsgd import faults, methods, protocols, works
from simsgd.problems import GivenShares
from simsgd.testing.conformance import line

SGD = sg.optimizers.sgd
CLUSTER = sg.Cluster(4, sg.times.Speeds(sg.times.Exponential(1.0), speeds=(1.0, 2.0, 0.5, 1.5)))
ROUNDING = 1e-12
"""Of parameters about 1 in float64 after some dozen steps; the two sides differ in the order of additions."""


def final(method, problem=None, updates=12, cluster=CLUSTER):
    run = sg.simulate(method, problem or line(), cluster, until=sg.Updates(updates), dtype="float64")
    return run.parameters


def assert_alike(one, other, problem=None):
    one, other = final(one, problem), final(other, problem)
    assert np.abs(one).max() > 0.1
    assert np.abs(one - other).max() <= ROUNDING * np.abs(one).max()


# --- identities ----------------------------------------------------------------------------------------------------------


def test_local_sgd_of_one_step_is_minibatch():
    assert_alike(methods.local_sgd(0.05, steps=1), methods.minibatch(0.05))


def test_fedbuff_of_one_message_without_damping_is_asynchronous_sgd():
    assert_alike(methods.fedbuff(0.02, buffer=1, steps=1, power=0.0), methods.asynchronous(0.02))


def test_fedavg_of_all_clients_is_local_sgd():
    """Equal bits: who hands out is all that differs."""
    one, other = methods.fedavg(0.05, clients=4, steps=3), methods.local_sgd(0.05, steps=3)
    assert (final(one) == final(other)).all()


def test_fedprox_without_the_proximal_term_is_fedavg():
    assert_alike(methods.fedprox(0.05, clients=2, strength=0.0, steps=3), methods.fedavg(0.05, clients=2, steps=3))


def test_fedasync_that_takes_local_models_as_they_are_is_sequential_for_one_worker():
    """α = 1: the model is the last local one, so H jobs of one step are a job of H, batch by batch where there is but one."""
    problem, alone = sg.problems.quadratic(), sg.Cluster(1, sg.times.Constant(1.0))
    one = final(methods.fedasync(0.05, steps=3, mixing=1.0), problem, 10, alone)
    other = final(methods.asynchronous(0.05), problem, 30, alone)
    assert np.abs(one - other).max() <= ROUNDING


def test_scaffold_is_local_sgd_where_full_gradients_are_the_same_for_all():
    """Then all cᵢ are c."""
    problem = sg.problems.quadratics(optima=np.ones((4, 3)), curvatures=[1.0, 0.5, 0.2])
    assert_alike(methods.scaffold(0.2, steps=3), methods.local_sgd(0.2, steps=3), problem)


def test_steps_said_in_several_ways():
    """The same for all, one for each, or by the protocol: the same messages."""
    said = methods.local_sgd(0.05, steps=3)
    each = methods.local_sgd(0.05, steps=(3, 3, 3, 3))
    asked = dataclasses.replace(said, protocol=AskingForSteps(3), work=works.LocalSteps())
    assert (final(each) == final(asked)).all()
    assert_alike(said, each)


@dataclasses.dataclass(frozen=True)
class AskingForSteps(sg.MinibatchSGD):
    """Synchronous rounds of as many steps as it says."""

    steps: int = 1

    def __init__(self, steps):
        object.__setattr__(self, "steps", steps)
        super().__init__()

    def _step_when_all_are_in(self, server):
        if not server.busy:
            server.step(scale=1 / server.accumulated)
            self.start(server)

    def start(self, server):
        for worker in server.workers:
            server.assign(worker, steps=self.steps)


@pytest.mark.slow
def test_a_fixed_time_makes_the_steps_that_fit():
    """Speeds 1 and 3: with constant steps of 1 s and ⅓ s, 2.5 s hold 2 and 7 of them; the same as saying so."""
    cluster = sg.Cluster(2, sg.times.Speeds(sg.times.Constant(1.0), speeds=(1.0, 3.0)))
    timed, counted = methods.local_sgd(0.05, seconds=2.5), methods.local_sgd(0.05, steps=(2, 7))
    run = sg.simulate(timed, line(), cluster, until=sg.Updates(6), dtype="float64")
    assert run.tape.steps.reshape(6, 2).tolist() == [[2, 7]] * 6
    assert np.abs(run.parameters - final(counted, updates=6, cluster=cluster)).max() <= ROUNDING


@dataclasses.dataclass(frozen=True)
class Growing(sg.AsyncSGD):
    """Hands out more and more local steps: 1, 4, 7, … up to 34, then 1 again."""

    def on_gradient(self, server, gradient):
        server.accumulate(gradient)
        server.step()
        server.assign(gradient.worker, steps=1 + 3 * (server.version % 12))


def test_jobs_may_grow_along_the_run():
    """There is room for the batches of the largest job met so far: how soon that is known changes no bit."""
    growing = dataclasses.replace(methods.local_sgd(0.01, steps=1), protocol=Growing())
    given = {"until": sg.Updates(20), "dtype": "float64"}
    at_once = sg.simulate(growing, line(), CLUSTER, **given)
    one_by_one = sg.simulate(growing, line(), CLUSTER, evaluate_every=sg.Updates(1), **given)
    assert at_once.tape.steps.max() == 34
    assert at_once.parameters.tobytes() == one_by_one.parameters.tobytes()
    assert np.abs(at_once.parameters - final(dataclasses.replace(growing, work=OneAtATime()), updates=20)).max() <= ROUNDING


def test_batches_do_not_depend_on_how_many_are_drawn_at_once():
    """`job.through` has those of all steps, drawn 16 at a time, a loop around `job.gradient` one at a time; float64."""
    usual = methods.local_sgd(0.01, steps=40)
    for steps in (2, 3, 19, 20, 40):
        tiled, one_by_one = (
            final(dataclasses.replace(usual, protocol=AskingForSteps(steps), work=work))
            for work in (works.LocalSteps(steps=3), OneAtATime())
        )
        assert np.abs(tiled - one_by_one).max() <= ROUNDING
    assert np.abs(final(usual) - tiled).max() <= ROUNDING


@dataclasses.dataclass(frozen=True, repr=False)
class OneAtATime(works.LocalSteps):
    """Local steps in a loop of one's own."""

    def run(self, parameters, state, job):
        import jax

        def step(number, at):
            updates, state = job.inner.update(job.gradient(at[0], number), at[1], at[0])
            return optax.apply_updates(at[0], updates), state

        end, _ = jax.lax.fori_loop(0, job.steps, step, (parameters, job.inner.init(parameters)))
        return jax.tree.map(lambda read, now: read - now, parameters, end), ()


@pytest.mark.slow
def test_a_loss_that_draws_gets_the_keys_of_its_steps():
    problem = sg.problems.quadratics(optima=np.zeros((4, 2)) + 1, noise=0.5)
    method = methods.local_sgd(0.01, steps=20)
    assert_alike(method, dataclasses.replace(method, work=OneAtATime(steps=20)), problem)


# --- closed forms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, pytest.param(4, marks=pytest.mark.slow), 16])
def test_variance_at_the_averages_does_not_depend_on_the_number_of_local_steps(steps):
    """η²s²/(n·a(2 − a)) for any H, a = ηh and s² the variance of a batch's gradient.

    A step is e ← (1 − a)e − ηξ, so H of them and the average over n workers give v = r²v + (η²s²/n)·(1 − r²)/(1 − (1 − a)²)
    with r = (1 − a)^H, and r drops out. Successive averages are correlated by r, so T of them in d dimensions are worth
    N = dT(1 − r²)/(1 + r²) samples, and the estimate has the relative deviation √(2/N): four of them are allowed.
    """
    curvature, size, dimensions, rounds, batch = 0.5, 0.4, 32, 600, 2
    problem = sg.problems.quadratic((curvature,) * dimensions, noise=1.0, samples=4096, batch_size=batch)
    method = methods.local_sgd(size, steps=steps)
    run = sg.simulate(method, problem, CLUSTER, until=sg.Updates(rounds + 50), dtype="float64", evaluate_every=sg.Updates(1))
    found = run.dataset["loss"].values[51:].mean() / (curvature / 2 * dimensions)
    a, noise = size * curvature, float(np.mean(np.asarray(problem.data) ** 2)) / batch
    expected = size**2 * noise / (CLUSTER.workers * a * (2 - a))
    squared = (1 - a) ** (2 * steps)
    samples = dimensions * rounds * (1 - squared) / (1 + squared)
    assert found == pytest.approx(expected, rel=4 * np.sqrt(2 / samples))


def test_where_local_sgd_and_scaffold_end_when_data_differ():
    """Local SGD ends where Σ pᵢ(w − xᵢ) = 0 with pᵢ = 1 − (1 − ηhᵢ)^H, SCAFFOLD at the optimum, Σ hᵢ(w − xᵢ) = 0."""
    optima, curvatures, size, steps = np.array([0.0, 1.0]), np.array([0.2, 1.0]), 0.3, 8
    problem = sg.problems.quadratics(optima=optima, curvatures=curvatures)
    pull = 1 - (1 - size * curvatures) ** steps
    cluster = sg.Cluster(2, sg.times.Constant(1.0))
    drifted = final(methods.local_sgd(size, steps=steps), problem, 300, cluster)
    assert drifted == pytest.approx(pull @ optima / pull.sum(), abs=ROUNDING)
    straight = final(methods.scaffold(size, steps=steps), problem, 300, cluster)
    assert straight == pytest.approx(curvatures @ optima / curvatures.sum(), abs=1e-9)
    assert abs(drifted - straight) > 0.1


def test_scaffold_with_sampled_clients_step_by_step():
    """Algorithm 1 with option II, in plain Python, for whoever the tape says took part."""
    optima, size, steps = np.array([0.0, 1.0, 3.0, 7.0]), 0.1, 5
    method = methods.scaffold(size, clients=2, steps=steps, server_step_size=0.5)
    run = sg.simulate(
        method,
        sg.problems.quadratics(optima=optima),
        CLUSTER,
        until=sg.Updates(25),
        dtype="float64",
    )
    w, c, own = 0.0, 0.0, np.zeros(4)
    for clients in run.tape.worker.reshape(25, 2):
        ends, changes = [], []
        for i in clients:
            y = w
            for _ in range(steps):
                y -= size * (y - optima[i] - own[i] + c)
            new = own[i] - c + (w - y) / (steps * size)
            changes.append(new - own[i])
            ends.append(y)
            own[i] = new
        w, c = w + 0.5 * np.mean(np.array(ends) - w), c + np.sum(changes) / 4
    assert run.parameters == pytest.approx([w], rel=ROUNDING)
    assert c == pytest.approx(own.mean(), rel=ROUNDING)


STALE = r"a message of worker \d is used at staleness 1, but those of ControlledSteps\(steps=2\) must have staleness 0"


def test_scaffold_refuses_stale_messages_in_whatever_way_it_is_played():
    """With a protocol that makes some; the first job of each worker is not stale yet where all are as fast."""
    method, problem = methods.scaffold(0.1, steps=2), line().partitioned(4)
    stale = dataclasses.replace(method, protocol=sg.AsyncSGD())
    with pytest.raises(ValueError, match=STALE):
        final(stale, problem)
    tape = sg.record(stale, CLUSTER, sg.Updates(12), message_shapes=problem.message_shapes)
    with pytest.raises(ValueError, match=STALE):
        sg.replay(tape, problem, stale)
    cells = sg.Study(lambda seed: sg.Cell(stale, problem, CLUSTER, until=sg.Updates(12), seed=seed), {"seed": range(2)}).run()
    assert {outcome.error.split(" is used")[1][:15] for outcome in cells.outcomes.values()} == {" at staleness 1"}


@pytest.mark.parametrize("protocol", [protocols.KSyncSGD(2), protocols.RennalaSGD(2), protocols.FirstMSGD(3)])
def test_scaffold_takes_messages_that_are_not_stale_from_any_protocol(protocol):
    """Whatever is thrown away may be stale, and what a protocol is called does not matter."""
    method = dataclasses.replace(methods.scaffold(0.02, steps=2), protocol=protocol)
    assert np.isfinite(final(method, line().partitioned(4))).all()
    alone = dataclasses.replace(methods.scaffold(0.02, steps=2), protocol=sg.AsyncSGD())
    assert np.isfinite(final(alone, line().partitioned(1), cluster=sg.Cluster(1, sg.times.Constant(1.0)))).all()


def test_scaffold_moves_twice_the_bytes():
    """Model and c down, message and change of cᵢ up; other local steps move the model and the message."""
    for method, times in ((methods.scaffold(0.1, steps=3), 2), (methods.local_sgd(0.1, steps=3), 1)):
        tape = sg.record(method, CLUSTER, sg.Updates(5), message_bytes=1000.0)
        assert set(tape.bytes_down) == set(tape.bytes_up) == {times * 1000.0}


# --- sampled rounds ------------------------------------------------------------------------------------------------------


def test_every_client_is_chosen_as_often():
    """Of 8 workers 3, in 2,000 rounds: 750 times each on average, with a standard deviation of √(2000·⅜·⅝) = 21.7."""
    tape = sg.record(protocols.SampledSGD(clients=3), sg.Cluster(8, sg.times.Constant(1.0)), sg.Updates(2000))
    rounds = tape.worker.reshape(2000, 3)
    assert all(len(set(each)) == 3 for each in rounds.tolist())
    assert np.abs(np.bincount(tape.worker, minlength=8) - 750).max() <= 4 * 21.7
    assert (tape.staleness == 0).all()


def test_a_client_that_crashes_loses_its_place():
    """Both of two workers take part in each round; worker 1 is down from 1.5 to 3.2 s.

    Nobody can take its place, so the round of 1 to 2 s ends with worker 0 alone, as does that of 2 to 3 s; into that of 3 to
    4 s it comes late, and its job ends at 4.2 s.
    """
    crash = faults.Crash(worker=1, at=1.5, back=3.2)
    tape = sg.record(protocols.SampledSGD(clients=2), sg.Cluster(2, sg.times.Constant(1.0), faults=[crash]), sg.Updates(4))
    assert tape.update_times.tolist() == [1, 2, 3, 4.2]
    assert tape.worker.tolist() == [0, 1, 0, 0, 0, 1]
    assert tape.weight.tolist() == [0.5, 0.5, 1, 1, 0.5, 0.5]


def test_a_client_that_crashes_is_replaced():
    """One of two: where it crashes the other takes its place at once, and the round ends 1 s later."""
    crash = faults.Crash(worker=0, at=0.5)
    for seed in range(10):
        tape = sg.record(protocols.SampledSGD(1), sg.Cluster(2, sg.times.Constant(1.0), faults=[crash]), sg.Updates(2), seed)
        assert tape.worker.tolist() == [1, 1]
        assert tape.update_times.tolist() in ([1.5, 2.5], [1.0, 2.0])


def test_rounds_go_on_when_all_have_been_down():
    crashes = [faults.Crash(worker=worker, at=0.5, back=1.5) for worker in (0, 1)]
    tape = sg.record(protocols.SampledSGD(1), sg.Cluster(2, sg.times.Constant(1.0), faults=crashes), sg.Updates(2))
    assert tape.update_times.tolist() == [2.5, 3.5]


# --- bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: methods.local_sgd(0.1, steps=0),
            r"steps \(local steps of a round\) must be a whole number of at least 1, got 0",
        ),
        (lambda: methods.scaffold(0.1, steps=2.5), r"steps \(local steps of a round\) must be a whole number"),
        (
            lambda: methods.local_sgd(0.1, steps=(1, 0)),
            r"each of steps \(local steps of a round\) must be a whole number of at least 1, got 0",
        ),
        (lambda: methods.local_sgd(0.1), r"steps, .* or seconds, .* must be given"),
        (lambda: methods.local_sgd(0.1, steps=2, seconds=1.0), r"must be given, and not both"),
        (
            lambda: methods.local_sgd(0.1, seconds=0.0),
            r"seconds \(of a round of local steps\) must be a finite number .*above 0",
        ),
        (lambda: works.LocalSteps(steps=4, seconds=1.0), r"LocalSteps must be told how many steps in one way"),
        (lambda: methods.fedavg(0.1, clients=0, steps=2), r"SampledSGD\.clients must be a whole number of at least 1"),
        (lambda: methods.fedavg(0.1, clients=2, steps=2, server_step_size=0.0), r"server_step_size must be .*above 0"),
        (lambda: methods.fedprox(0.1, clients=2, steps=2, strength=-1.0), r"strength must be .*at least 0"),
        (lambda: methods.fedasync(0.1, steps=2, mixing=0.0), r"mixing must be .*above 0"),
        (lambda: methods.fedbuff(0.1, buffer=0, steps=2), r"buffer must be a whole number of at least 1"),
        (lambda: methods.adacomm(0.1, every=0.0, steps=2), r"AdaCommSGD\.every must be .*above 0"),
        (lambda: methods.adacomm(0.1, every=1.0, steps=0), r"AdaCommSGD\.steps must be a whole number of at least 1"),
        (lambda: methods.adacomm(0.1, every=1.0, steps=2, shrink=1.0), r"AdaCommSGD\.shrink must be"),
        (lambda: sg.Method(sg.AsyncSGD(), SGD(1.0), work=works.LocalSteps(steps=2)), r"inner must be given where work=Local"),
        (lambda: sg.Method(sg.AsyncSGD(), SGD(1.0), inner=SGD(0.1)), r"inner must be left out where the work is OneGradient"),
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("method", "problem", "message"),
    [
        (methods.fedavg(0.1, clients=5, steps=2), line(), r"SampledSGD\.clients=5 asks for more workers than there are"),
        (methods.scaffold(0.1, steps=2), line(), r"SCAFFOLD is made for workers whose data differ"),
        (methods.local_sgd(0.1, steps=(1, 2)), line(), r"of_workers has the steps of 2 workers, but there are 4"),
        (methods.local_sgd(0.1, steps=(1,) * 5), line(), r"of_workers has the steps of 5 workers, but there are 4"),
        (
            dataclasses.replace(methods.scaffold(0.1, steps=2), on_message=None),
            line().partitioned(4),
            r"needs on_message=optimizers\.control_variate",
        ),
        (
            sg.Method(sg.AsyncSGD(), SGD(1.0), work=works.FullGradient(), inner=SGD(0.1)),
            line(),
            r"inner must be left out, as work=FullGradient\(.*\) never asks for it",
        ),
        (
            methods.local_sgd(0.1, steps=(1, 2, 3, 4)),
            line().partitioned(4, replacement=False),
            r"epochs need jobs of one number of steps",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_played(method, problem, message):
    """Before anything is computed."""
    with pytest.raises(ValueError, match=message):
        sg.simulate(method, problem, CLUSTER, until=sg.Updates(2))


def test_a_number_of_steps_for_each_worker_in_a_recording():
    with pytest.raises(ValueError, match=r"of_workers has the steps of 2 workers, but there is a worker 2"):
        sg.record(methods.local_sgd(0.1, steps=(1, 2)), CLUSTER, until=sg.Updates(2))


def test_a_work_that_asks_for_an_inner_optimizer_that_is_not_there():
    """Also one that does not say beforehand that it will."""

    @dataclasses.dataclass(frozen=True)
    class Asking(works.LocalSteps):
        needs_inner = False

    with pytest.raises(ValueError, match=r"inner must be given, as work=.*Asking.* asks for it"):
        sg.simulate(sg.Method(sg.AsyncSGD(), SGD(1.0), work=Asking()), line(), CLUSTER, until=sg.Updates(2))


def test_epochs_with_as_many_steps_for_all():
    """Shares of 16 samples, jobs of 4 steps of 4: an epoch each. Full gradients of linear losses: the order does not matter."""
    problem = sg.Problem("drift", _zero, _inner_product, np.arange(64.0).reshape(64, 1), batch_size=4)
    problem = problem.partitioned(4, by=GivenShares(np.arange(64).reshape(4, 16).tolist()), replacement=False)
    assert final(methods.local_sgd(0.5, steps=4), problem, 3) == pytest.approx([-0.5 * 4 * 31.5 * 3])


def _zero(key):
    return np.zeros(1, np.float32)


def _inner_product(parameters, batch):
    return (batch @ parameters).mean()
