"""A loss as a finite sum: blocks of samples, parts of the full gradient, and what a full pass must be charged."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import cluster

import simsgd as sg
from simsgd import faults, methods, optimizers
from simsgd.problems import Blocks, settings
from simsgd.problems.vectors import Zeros
from simsgd.replaying import finite_sums
from simsgd.replaying.drawing import Data, Drawing
from simsgd.replaying.job import Job
from simsgd.replaying.passes import check_passes
from simsgd.support import rng
from simsgd.testing import reference

SAMPLES, BATCH, WORKERS = 23, 4, 3
RANDOM = np.random.default_rng(5)
DATA = {"x": RANDOM.normal(size=(SAMPLES, 3)), "y": RANDOM.normal(size=SAMPLES)}
W = np.array([0.1, -0.2, 0.3])
UNEQUAL = sg.problems.GivenShares([range(9), range(9, 21), [21, 22]])
DIVISIONS = {"shared": None, "equal": sg.problems.EqualShares(), "unequal": UNEQUAL}
BLOCKS = {"shared": [6, 6, 6], "equal": [2, 2, 2], "unequal": [3, 3, 1]}


def bounded(w, batch):
    """A loss whose gradient is not linear in w."""
    return jnp.mean(jnp.tanh(batch["x"] @ w - batch["y"]) ** 2)


def drawing(w, batch, key):
    """The same, and noise where there is a key."""
    return bounded(w, batch) + (0.0 if key is None else jax.random.normal(key, ()) * w.sum())


def problem(division="shared", batch_size=BATCH, loss=bounded, data=DATA):
    made = sg.Problem("bounded", Zeros(3), loss, data, batch_size=batch_size)
    by = DIVISIONS[division]
    return made if by is None else made.partitioned(WORKERS, by)


def gradient_of(picks, factor=None):
    """The gradient at W of factor·Σ f_i over some samples; of their mean by default."""
    picks = np.asarray(picks)
    x, y = DATA["x"][picks], DATA["y"][picks]
    value = np.tanh(x @ W - y)
    return (2 * value * (1 - value**2)) @ x * (1 / len(picks) if factor is None else factor)


def jobs(made, workers=WORKERS, numbers=(0,)):
    """Yield (worker, the job as the compiled loop has it, the job as the slow replay has it), in float64."""
    with settings("float64"):
        samples, _ = made.arrays("float64")
        key = jax.random.wrap_key_data(jnp.asarray(rng.key_words(0, "batches")), impl="threefry2x32")
        whole, parts = (Drawing.of(made), Data.of(samples, made)), reference._FiniteSum(made, workers)
        for worker in range(workers):
            for number in numbers:
                who = {"worker": jnp.asarray(worker), "steps": jnp.asarray(1), "kind": jnp.asarray(0)}
                picks = whole[0].picks(whole[1], key, worker, number)
                fast = Job(*whole, key, who["worker"], jnp.asarray(number), 1, picks[None], 1, 0, 0, workers, None, ())
                slow = reference.JobAtHand(made, samples, key, job=jnp.asarray(number), **who)
                slow.workers, slow.finite_sum = workers, parts
                yield worker, fast, slow


def same(one, other):
    np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("division", "loss"), [("shared", bounded), ("shared", drawing), ("equal", bounded), ("unequal", drawing)]
)
def test_blocks_are_what_they_say(division, loss):
    """Each of them by hand; their mean is the full gradient of the worker, with a last block that is smaller."""
    made = problem(division, loss=loss)
    for worker, fast, slow in jobs(made):
        own = np.arange(SAMPLES) if made.shares is None else made.shares.indices[made.shares.starts[worker] :]
        own = own[: SAMPLES if made.shares is None else made.shares.sizes[worker]]
        assert int(fast.blocks) == int(slow.blocks) == BLOCKS[division][worker]
        blocks = np.arange(BLOCKS[division][worker])
        wanted = [gradient_of(own[b * BATCH : (b + 1) * BATCH], len(blocks) / len(own)) for b in blocks]
        of_each = jax.vmap(lambda block, job=fast: job.block_gradient(W, block))(blocks)
        same(of_each, wanted)
        same(jax.vmap(lambda block, job=slow: job.block_gradient(W, block))(blocks), wanted)
        same(np.mean(of_each, axis=0), fast.full_gradient(W))
        same(np.mean(of_each, axis=0), gradient_of(own))


@pytest.mark.parametrize("division", DIVISIONS)
@pytest.mark.parametrize("batch_size", [1, 4, 30])
def test_the_mean_over_workers_of_their_parts_is_the_full_gradient(division, batch_size):
    made = problem(division, batch_size)
    parts = [(fast.part_of_full_gradient(W), slow.part_of_full_gradient(W)) for _, fast, slow in jobs(made)]
    same(np.mean(parts, axis=0), [gradient_of(range(SAMPLES))] * 2)
    for _, fast, _ in jobs(made):
        assert not fast.part_of_full_gradient(W, when=jnp.asarray(False)).any()


@pytest.mark.parametrize("division", ["equal", "unequal"])
def test_shares_count_as_many_samples_as_they_have(division):
    made = problem(division)
    for worker, fast, slow in jobs(made):
        same(fast.share_weight, WORKERS * made.shares.sizes[worker] / SAMPLES)
        same(slow.share_weight, fast.share_weight)
        same(fast.part_of_full_gradient(W), fast.share_weight * fast.full_gradient(W))


def test_more_workers_than_samples():
    """Some have no part, and the mean is right all the same."""
    made = problem(data={name: array[:2] for name, array in DATA.items()})
    parts = [fast.part_of_full_gradient(W) for _, fast, _ in jobs(made, workers=5)]
    assert not np.any(parts[2:])
    same(np.mean(parts, axis=0), gradient_of([0, 1]))


@pytest.mark.parametrize("division", DIVISIONS)
def test_blocks_are_drawn_uniformly_and_have_rows_of_their_own(division):
    """600 draws of each worker: the frequencies within 4 standard deviations; rows of a table tell workers' shares apart."""
    made, rows = problem(division), {}
    draws = {worker: [] for worker in range(WORKERS)}
    with settings("float64"):
        samples, _ = made.arrays("float64")
        key = jax.random.wrap_key_data(jnp.asarray(rng.key_words(0, "batches")), impl="threefry2x32")
        one = (Drawing.of(made), Data.of(samples, made), key)
        told = jax.jit(jax.vmap(lambda w, j: finite_sums.place_in_table(*one, w, j, WORKERS), in_axes=(None, 0)))
        for worker in range(WORKERS):
            places = told(worker, jnp.arange(600))
            draws[worker] = np.asarray(places["block"])
            rows[worker] = set(draws[worker].tolist())
            factor = 1 if made.shares is None else WORKERS
            assert set(np.asarray(places["blocks"]).tolist()) == {factor * BLOCKS[division][worker]}
    for worker, blocks in enumerate(BLOCKS[division]):
        first = 0 if made.shares is None else sum(BLOCKS[division][:worker])
        assert rows[worker] == set(range(first, first + blocks))
        p = 1 / blocks
        shares = np.bincount(draws[worker] - first, minlength=blocks) / 600
        assert (abs(shares - p) <= 4 * np.sqrt(p * (1 - p) / 600)).all()
    for worker, fast, slow in jobs(made, numbers=(0, 1, 2)):
        first = 0 if made.shares is None else sum(BLOCKS[division][:worker])
        assert int(fast.block()) == int(slow.block()) == draws[worker][int(fast.number)] - first
        assert int(fast.block(2)) == int(slow.block(jnp.asarray(2)))


def test_how_many_there_are():
    assert Blocks.of(problem()) == (6, 6)
    assert Blocks.of(problem("unequal")) == (7, 3)
    assert sg.problems.full_pass(problem(), workers=3) == 2  # 8 samples in batches of 4
    assert sg.problems.full_pass(problem(), workers=2) == 3  # 12
    assert sg.problems.full_pass(problem("equal"), workers=3) == 2
    assert sg.problems.full_pass(problem("unequal"), workers=3) == (3, 3, 1)
    with pytest.raises(ValueError, match="partitioned between 3 workers"):
        sg.problems.full_pass(problem("equal"), workers=4)
    for asking in (optimizers.block_count, optimizers.most_blocks):
        with pytest.raises(RuntimeError, match="known in a run only"):
            asking()


# --- what is charged, and what is refused --------------------------------------------------------------------------------


def short(**changes):
    made = methods.svrg(0.1, updates=3, pass_steps=2)
    return dataclasses.replace(made, **changes)


def run(method, made, workers=WORKERS, **more):
    return sg.simulate(method, made, cluster(*[1.0] * workers), until=sg.Updates(4), **more)


def test_a_full_pass_costs_its_time():
    """Shares of 9, 12 and 2 samples in batches of 4 take 3, 3 and 1 steps; inner steps have two gradients."""
    method = methods.svrg(0.1, updates=2, pass_steps=sg.problems.full_pass(problem("unequal"), 3))
    tape = run(method, problem("unequal")).tape
    assert tape.kind.tolist() == [1, 1, 1, 0, 0, 0] * 2
    assert sorted(zip(tape.worker.tolist(), tape.steps.tolist(), strict=True))[::2] == [
        (0, 2),
        (0, 3),
        (1, 2),
        (1, 3),
        (2, 1),
        (2, 2),
    ]
    assert tape.update_times.tolist() == [3, 5, 8, 10]


def test_a_pass_charged_too_few_steps_is_refused_by_name():
    with pytest.raises(
        ValueError, match=r"charged 1 local steps.*worker 0's part of the 23 samples is 2 batches of 4.*full_pass"
    ):
        run(methods.svrg(0.1, updates=3, pass_steps=1), problem())
    tape = sg.record(methods.svrg(0.1, updates=3, pass_steps=1), cluster(*[1.0] * WORKERS), until=sg.Updates(4))
    with pytest.raises(ValueError, match="charged 1 local steps"):
        sg.replay(tape, problem(), methods.svrg(0.1, updates=3, pass_steps=1))
    with pytest.raises(RuntimeError, match="charged 1 local steps"):  # of a method all of whose runs failed
        sg.compare(
            {"svrg": lambda eta: methods.svrg(eta, updates=3, pass_steps=1)},
            problem(),
            cluster(*[1.0] * WORKERS),
            until=sg.Target("loss", at_most=0.0, within=sg.Seconds(10)),
            step_sizes=[0.1],
            seeds=[0],
        )


def test_steps_for_other_workers_are_refused():
    with pytest.raises(ValueError, match=r"pass_steps is for 2 workers, and there is a worker 2.*full_pass"):
        run(methods.svrg(0.1, updates=3, pass_steps=(2, 2)), problem())


def test_workers_that_come_and_go_are_refused():
    """Their parts of the full gradient would be nobody's."""
    where = sg.Cluster(2, sg.times.Constant(1.0), faults=[faults.Leave(worker=1, at=2.5)])
    with pytest.raises(ValueError, match=r"worker 1 has left at an EpochSGD\(updates=3\), where each worker has a part"):
        sg.record(short(), where, until=sg.Updates(9))
    late = sg.Cluster(3, sg.times.Constant(1.0), faults=[faults.Join(worker=2, at=50.0)])
    with pytest.raises(ValueError, match=r"parts of all 3 workers, each once, but a step has those of workers \[0, 1\]"):
        sg.simulate(short(), problem(), late, until=sg.Updates(3))


def wide():
    """A problem of 3,000 parameters and 23 samples."""
    data = {"x": np.ones((SAMPLES, 3000)), "y": np.ones(SAMPLES)}
    return sg.Problem("wide", Zeros(3000), bounded, data, batch_size=1)


def test_two_parts_of_one_worker_are_refused_by_the_step_that_has_them():
    work, of = sg.works.VarianceReducedGradient(pass_steps=8), np.array([0, 1, 2, 0, 1, 1])
    steps, ends = np.full(6, 8), np.array([0, 0, 1, 0, 0, 1], bool)
    rows = types.SimpleNamespace(kind=np.ones(6, int), worker=of, steps=steps, step=ends)
    with pytest.raises(ValueError, match=r"a step has those of workers \[0, 1, 1\]"):
        check_passes(work, rows, problem(), WORKERS)


@pytest.mark.parametrize("make", [methods.saga, methods.sag, methods.asynchronous_saga, methods.distributed_saga])
def test_a_table_beyond_memory_is_refused_before_it_is_made(make, monkeypatch):
    """Named, with both ways out: 23 rows of 3,000 numbers, 276 kB; without the table it is a tenth of that."""
    monkeypatch.setattr(sg.bounds, "bytes", 250_000)
    with pytest.raises(sg.BoundError, match=r"a table of 23 blocks.*batch_size=1 .* 3,000 parameters.*larger batches.*svrg"):
        run(make(0.1), wide().partitioned(3))
    monkeypatch.setattr(sg.bounds, "bytes", 410_000)
    run(make(0.1), wide().partitioned(3))


def test_what_is_shown_is_counted(monkeypatch):
    """Four versions, of which each has the snapshot and its gradient beside it: 2 + 4·3 + 2·3 models."""
    method, model = methods.svrg(0.1, updates=3, pass_steps=8), 4 * 3000
    monkeypatch.setattr(sg.bounds, "bytes", 20 * model + 20)  # and the number of the version, five times
    run(method, wide())
    monkeypatch.setattr(sg.bounds, "bytes", 20 * model + 19)
    with pytest.raises(sg.BoundError, match="4 versions of a model"):
        run(method, wide())


@pytest.mark.parametrize(
    "make", [methods.distributed_saga, lambda eta: methods.distributed_svrg(eta, local_steps=2, pass_steps=2)]
)
def test_methods_for_shares_ask_for_them(make):
    with pytest.raises(ValueError, match=r"partitioned\(3, by=…\)"):
        run(make(0.1), problem())


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: methods.loopless_svrg(probability=0.0, pass_steps=2), "probability must be a finite number above 0"),
        (lambda: methods.loopless_svrg(probability=1.5, pass_steps=2), "probability must be above 0 and at most 1, got 1.5"),
        (lambda: methods.loopless_svrg(probability=float("nan"), pass_steps=2), "probability must be a finite number above 0"),
        (lambda: methods.svrg(updates=0, pass_steps=2), "EpochSGD.updates must be a whole number of at least 1"),
        (
            lambda: methods.svrg(updates=3, pass_steps=0),
            "VarianceReducedGradient.pass_steps must be a whole number of at least 1",
        ),
        (lambda: methods.svrg(updates=3, pass_steps=()), "or one for each worker"),
        (lambda: methods.asynchronous_svrg(updates=3, pass_steps=(2, 2.5)), "pass_steps must be a whole number"),
        (lambda: methods.svrg(updates=3, pass_steps=10**9), "would take"),
        (lambda: methods.distributed_svrg(local_steps=0, pass_steps=2), "local_steps must be a whole number of at least 1"),
        (
            lambda: methods.distributed_svrg(local_steps=2, pass_steps=2, rounds=0),
            "rounds must be a whole number of at least 1",
        ),
        (lambda: sg.works.VarianceReducedGradient(steps=3), "must be even, got 3"),
        (lambda: methods.storm(momentum=0.0), "momentum must be a finite number above 0"),
        (lambda: methods.storm(momentum=1.1), "momentum must be above 0 and at most 1"),
    ],
)
def test_numbers_that_make_no_sense(make, why):
    with pytest.raises(ValueError, match=why):
        make()


@pytest.mark.parametrize("make", [methods.storm, methods.sag])
def test_a_switch_is_a_switch(make):
    with pytest.raises(TypeError, match="asynchronous must be True or False, got 1"):
        make(asynchronous=1)


def test_a_work_that_shows_a_snapshot_needs_one():
    with pytest.raises(TypeError, match=r"give the Method on_message=optimizers.snapshot\(\)"):
        run(short(on_message=None), problem())


def test_kinds_that_a_work_does_not_know():
    """A protocol of epochs beside plain gradients."""
    with pytest.raises(sg.ProtocolError, match="kinds of jobs"):
        run(short(work=sg.OneGradient()), problem())
