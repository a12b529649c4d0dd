"""Slots by liveness, one compilation for many runs, extra arguments for optimizers, and refusals."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from methods import METHODS

import simsgd as sg
from simsgd.replaying.player import FEW_SLOTS, Player
from simsgd.replaying.reading import Reading
from simsgd.replaying.versions import SPARE, Slots
from simsgd.testing import play_slowly


def place_in_pieces(tape, chunk):
    """Return (slots, reads, writes) of a whole tape placed `chunk` updates at a time."""
    slots, source, start, placed = Slots(), Reading(tape), 0, []
    for update in range(chunk, tape.updates + chunk, chunk):
        source.advance(updates=min(update, tape.updates))
        rows = source.rows(start)
        placed += [piece[2:] for piece in slots.place(rows.read, rows.step, source.live(), piece=7)]
        start += len(rows.step)
    return slots, *map(np.concatenate, zip(*placed, strict=True))


@settings(deadline=None, max_examples=60)
@given(
    method=st.sampled_from(list(METHODS)),
    workers=st.integers(1, 7),
    seed=st.integers(0, 1000),
    chunk=st.sampled_from([1, 2, 5, 60]),
)
def test_each_row_finds_its_version_in_its_slot(method, workers, seed, chunk):
    """Write version numbers into the slots in the tape's order: each row must find the version that it reads."""
    tape = sg.record(METHODS[method] if workers > 1 else sg.AsyncSGD(), sg.Cluster(workers, LAW), sg.Updates(60), seed)
    slots, reads, writes = place_in_pieces(tape, chunk)
    memory = {1: 0}
    for row, version in enumerate(tape.version[: len(reads)]):
        assert memory[reads[row]] == tape.read[row]
        if tape.step[row]:
            memory[writes[row]] = version + 1
            memory.pop(SPARE, None)
        else:
            assert writes[row] == SPARE
    assert slots.size <= workers + 2


LAW = sg.times.Pareto(minimum=0.1, exponent=1.2)


def test_slots_do_not_grow_with_length_or_staleness():
    """Law 4: one worker a thousand times slower than the others, staleness in the thousands, and still four slots."""
    law = sg.times.Speeds(sg.times.Exponential(mean=1.0), speeds=(1.0, 1.0, 0.001))
    sizes = {}
    for updates in (5_000, 20_000):
        tape = sg.record(sg.AsyncSGD(), sg.Cluster(3, law), sg.Updates(updates))
        assert tape.staleness.max() > 1000
        sizes[updates] = place_in_pieces(tape, 500)[0].size
    assert sizes == {5_000: 4, 20_000: 4}


def test_synchronous_methods_need_few_slots(noisy):
    tape = sg.record(sg.MinibatchSGD(), sg.Cluster(50, LAW), sg.Updates(20))
    player = Player(noisy, sg.optimizers.sgd(0.1), 50)
    player.play(tape.rows, set())
    assert player.slots.size <= FEW_SLOTS
    assert player.width == 50


def counting(problem, counter):
    """Return the problem with a loss that counts how often it is traced, which happens only to compile."""

    def loss(parameters, batch):
        counter.append(1)
        return problem.loss(parameters, batch)

    return sg.Problem("counted", problem.init, loss, problem.data, problem.batch_size)


@pytest.mark.parametrize("protocol", [sg.AsyncSGD(), sg.MinibatchSGD()])
def test_a_sweep_of_step_sizes_and_seeds_compiles_once(protocol, noisy, cluster):
    """20 step sizes × 3 seeds, runs of different lengths: nothing is traced after the first run."""
    traced = []
    problem = counting(noisy, traced)
    sg.simulate(protocol, problem, cluster, sg.optimizers.sgd(1e-3), sg.Updates(50), seed=0)
    once = len(traced)
    assert once > 0
    for seed in range(3):
        for power in range(20):
            updates = sg.Updates(50 + 10 * seed + power)
            run = sg.simulate(protocol, problem, cluster, sg.optimizers.sgd(1e-3 * 1.2**power), updates, seed=seed)
            assert run.status == "completed"
    assert len(traced) == once


def test_optimizers_are_offered_the_staleness(cluster):
    """With the update replaced by the staleness, the parameters add up the tape's staleness column."""
    problem = sg.problems.quadratic(spectrum=(1.0,))

    def update(gradients, state, params=None, *, staleness, **others):
        return jnp.full_like(gradients, staleness), state

    adding = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
    for method in ("async", "K-batch-async"):
        run = sg.simulate(METHODS[method], problem, cluster, adding, sg.Updates(60), dtype="float64")
        mean_of_each_step = np.add.reduceat(run.tape.staleness, np.r_[0, np.flatnonzero(run.tape.step)[:-1] + 1])
        expected = mean_of_each_step.sum() / (len(run.tape) / 60)
        assert run.parameters[0] == pytest.approx(expected, rel=1e-12)


def test_scale_by_staleness_is_zhang_s_rule(cluster):
    """By hand: w ← w − a/max(1, τ) · h(w_read − 1)."""
    problem = sg.problems.quadratic(spectrum=(1.0,))
    optimizer = optax.chain(sg.optimizers.scale_by_staleness(), optax.sgd(0.1))
    run = sg.simulate(sg.AsyncSGD(), problem, cluster, optimizer, sg.Updates(80), dtype="float64")
    w = [0.0]
    for read, tau in zip(run.tape.read, run.tape.staleness, strict=True):
        w.append(w[-1] - 0.1 / max(1, tau) * (w[read] - 1))
    assert run.parameters[0] == pytest.approx(w[-1], rel=1e-12)


def test_tunable_and_plain_optimizers_agree(cluster, noisy):
    for plain, tunable in (
        (optax.sgd(0.1, momentum=0.9), sg.optimizers.sgd(0.1, momentum=0.9)),
        (optax.adam(0.01), sg.optimizers.tunable(optax.adam, learning_rate=0.01)),
        (
            optax.sgd(0.1, nesterov=True, momentum=0.5),
            sg.optimizers.tunable(optax.sgd, learning_rate=0.1, nesterov=True, momentum=0.5),
        ),
    ):
        a, b = (
            sg.simulate(sg.AsyncSGD(), noisy, cluster, o, sg.Updates(50), dtype="float64").parameters for o in (plain, tunable)
        )
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.adamw(0.01),
        optax.lion(0.01),
        optax.lamb(0.01),
        optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(optax.cosine_decay_schedule(0.1, 50))),
        optax.contrib.schedule_free_sgd(0.1),
        optax.MultiSteps(optax.sgd(0.1), 3).gradient_transformation(),
        optax.inject_hyperparams(optax.sgd)(learning_rate=0.1),
    ],
    ids=["adamw", "lion", "lamb", "clip and schedule", "schedule-free", "multi-steps", "injected"],
)
def test_optimizers_of_all_kinds_agree_with_the_slow_reference(optimizer, cluster, noisy):
    """To rounding in float64 (2^-53 ≈ 1.1e-16), some thousand operations."""
    run = sg.simulate(sg.AsyncSGD(), noisy, cluster, optimizer, sg.Updates(60), dtype="float64")
    expected = play_slowly(run.tape, noisy, optimizer).versions[-1]
    np.testing.assert_allclose(run.parameters, np.asarray(expected), rtol=0, atol=1e-12)
    assert run.final("loss") != float(run.dataset["loss"][0])


def test_arrays_of_the_user_s_survive(cluster, noisy):
    """What an optimizer keeps in its state, the user's own key or the parameters themselves, is not given away."""
    key = jax.random.key(0)
    noise = optax.chain(optax.add_noise(0.1, 0.55, key=key), optax.sgd(0.1))
    first, second = (sg.simulate(sg.AsyncSGD(), noisy, cluster, noise, sg.Updates(20)) for _ in range(2))
    assert first == second
    assert jax.random.uniform(key) >= 0
    sg.simulate(sg.AsyncSGD(), noisy, cluster, optax.contrib.prodigy(1.0), sg.Updates(20))


def test_bits_do_not_depend_on_the_settings_of_the_process(cluster):
    problem = sg.problems.digits("logistic")
    plain = sg.simulate(sg.AsyncSGD(), problem, cluster, sg.optimizers.sgd(0.1), sg.Updates(30))
    with jax.enable_x64(True), jax.threefry_partitionable(False), jax.default_prng_impl("rbg"):
        other = sg.simulate(sg.AsyncSGD(), problem, cluster, sg.optimizers.sgd(0.1), sg.Updates(30))
    assert other == plain


def test_numpy_numbers_are_numbers(cluster, noisy, tmp_path):
    run = sg.simulate(sg.AsyncSGD(), noisy, cluster, sg.optimizers.sgd(np.float32(0.5)), sg.Updates(np.int64(9)), np.int64(3))
    run.save(tmp_path / "run.nc")
    assert run == sg.simulate(sg.AsyncSGD(), noisy, cluster, sg.optimizers.sgd(0.5), sg.Updates(9), seed=3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sg.optimizers.tunable(optax.sgd, step_size=0.1), "step_size"),
        (lambda: sg.optimizers.tunable(dict, learning_rate=0.1), "must return an optax transformation"),
        (lambda: sg.optimizers.split(optax.MultiSteps(optax.sgd(0.1), 3)), r"call \.gradient_transformation\(\)"),
    ],
)
def test_impossible_optimizers_are_refused(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_a_piece_must_end_with_a_step(noisy, cluster):
    tape = sg.record(sg.MinibatchSGD(), cluster, sg.Updates(3))
    player = Player(noisy, sg.optimizers.sgd(0.1), 5)
    with pytest.raises(ValueError, match="rows must end with a step"):
        player.play(type(tape.rows)(*(column[:7] for column in tape.rows)), set())


def test_schedules_count_the_server_s_steps(cluster):
    """A step size of 1 at step 0 only: the run ends after one step of gradient descent."""
    problem = sg.problems.quadratic(spectrum=(0.5,))
    optimizer = optax.sgd(lambda count: jnp.where(count == 0, 1.0, 0.0))
    run = sg.simulate(sg.MinibatchSGD(), problem, cluster, optimizer, sg.Updates(10))
    assert run.parameters.tolist() == [0.5]


def test_a_weight_beyond_float32_lets_the_run_diverge():
    """Found by a random simulation: NumPy warned of it."""

    @dataclass(frozen=True)
    class Heavy(sg.AsyncSGD):
        def on_gradient(self, server, gradient):
            server.apply(gradient, weight=1e50)
            server.assign(gradient.worker)

    cluster, sgd = sg.Cluster(1, sg.times.Constant(1.0)), sg.optimizers.sgd(0.1)
    assert sg.simulate(Heavy(), sg.problems.quadratic(), cluster, sgd, sg.Updates(3)).status == "diverged"
    assert sg.simulate(Heavy(), sg.problems.quadratic(), cluster, sgd, sg.Updates(1), dtype="float64").status == "completed"


def test_a_line_search_is_refused_by_name():
    cluster = sg.Cluster(1, sg.times.Constant(1.0))
    with pytest.raises(TypeError, match=r"optimizer must ask for .* alone, but .*lbfgs.* leave line searches out"):
        sg.simulate(sg.AsyncSGD(), sg.problems.quadratic(), cluster, optax.lbfgs(), sg.Updates(3))
    run = sg.simulate(sg.AsyncSGD(), sg.problems.quadratic(), cluster, optax.lbfgs(0.1, linesearch=None), sg.Updates(3))
    assert run.status == "completed"
