"""Runs in lanes: each is itself whatever plays beside it, and the run of `simulate` to rounding."""

import dataclasses
import os
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest

import simsgd as sg
from simsgd.recording.attempt import attempt
from simsgd.studies.playing import ask, play

LANES = 4
CLUSTER = sg.Cluster(workers=5, compute=sg.times.Exponential(mean=0.1))
QUADRATIC = sg.problems.quadratic()
TARGET = sg.Target("loss", at_most=0.02, within=sg.Seconds(20), kept=sg.Seconds(1))


def cell(method=None, seed=0, problem=QUADRATIC, cluster=CLUSTER, until=TARGET, **options):
    return sg.Cell(method or sg.methods.asynchronous(0.1), problem, cluster, until=until, seed=seed, **options)


def played(cells, lanes=LANES):
    return play(cells, {}, lanes)


def many():
    """Runs of all kinds that share an executable: seeds, step sizes, ends; one diverges at once."""
    sizes = (0.02, 0.1, 0.3, 1e6)
    made = [cell(sg.methods.asynchronous(size), seed) for seed in range(3) for size in sizes]
    return [*made, cell(until=sg.Seconds(3)), cell(until=sg.Updates(7)), cell(until=sg.Gradients(1000), seed=9)]


def test_a_run_is_itself_alone_and_among_others():
    """Whatever plays beside it, before it in its lane, and in whichever lane: bit for bit."""
    cells = many()
    together = played(cells)
    assert [each.status for each in together].count("diverged") == 3
    assert {each.status for each in together} == {"diverged", "target reached", "completed"}
    backwards = played(cells[::-1])[::-1]
    for each, others, alone in zip(together, backwards, [played([each])[0] for each in cells], strict=True):
        assert each == others == alone


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_is_the_run_of_simulate_to_rounding(dtype):
    cells = [dataclasses.replace(each, dtype=dtype) for each in many()]
    for each, outcome in zip(cells, played(cells), strict=True):
        assert_like(outcome, each.simulate())


def assert_like(outcome, run):
    """The same moments, counts and tape exactly; metrics to rounding."""
    precision = 1e-4 if run.configuration["dtype"] == "float32" else 1e-10
    assert (outcome.status, outcome.tape_hash) == (run.status, run.hashes["tape"])
    for name in ("time", "updates", "samples", "bytes"):
        np.testing.assert_array_equal(outcome.evaluations[name], run.dataset[name].values)
    if run.status != "diverged":  # what grows without bound grows its rounding too
        for name in run.metrics:
            np.testing.assert_allclose(outcome.evaluations[name], run.dataset[name].values, rtol=precision, atol=precision)
    assert outcome.measures["mean_staleness"] == run.tape.staleness.mean()


METHODS = {
    "synchronous": sg.methods.minibatch,
    "synchronous in several blocks": lambda size: sg.Method(sg.MinibatchSGD(), sg.optimizers.sgd(size)),
    "K-async": lambda size: sg.methods.k_async(size, gradients=3),
    "with jobs thrown away": lambda size: sg.methods.ringmaster(size, threshold=3),
    "staleness of each message": lambda size: sg.methods.staleness_aware(size),
    "momentum at the worker": lambda size: sg.methods.worker_momentum(size),
    "a table": lambda size: sg.methods.all_client_engagement(size),
    "hands out another point": lambda size: sg.methods.dana_zero(size),
    "an adaptive optimizer": lambda size: sg.Method(sg.AsyncSGD(), optax.adam(size)),
    "local steps": lambda size: sg.methods.local_sgd(size, steps=3),
    "local steps that a worker keeps": lambda size: sg.methods.async_easgd(size, pull=0.1, steps=3),
    "full gradients now and then": lambda size: sg.methods.svrg(size, updates=4, pass_steps=1),
    "compressed with feedback": lambda size: sg.methods.error_feedback_sign(size),
    "compressed both ways": lambda size: sg.methods.double_squeeze(size, compression=sg.compressions.TopK(share=0.5)),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_of_all_kinds(name):
    width = 2 if "blocks" in name else None
    cells = [
        cell(METHODS[name](size), seed, dtype="float64", until=sg.Updates(60), width=width)
        for seed in range(2)
        for size in (0.01, 0.05)
    ]
    together = played(cells, lanes=3)
    for each, outcome in zip(cells, together, strict=True):
        assert_like(outcome, each.simulate())
    assert played(cells[2:3], lanes=3) == together[2:3]


def test_data_that_differ_and_losses_of_workers():
    digits = sg.problems.digits("logistic").partitioned(5, by=sg.problems.LabelSkew(0.5), worker_losses=True)
    cells = [cell(problem=digits, seed=seed, until=sg.Seconds(2)) for seed in range(2)]
    for each, outcome in zip(cells, played(cells), strict=True):
        assert_like(outcome, each.simulate())


def test_more_evaluations_than_slots_for_models():
    """Every update, and every third; both stop where they should."""
    cells = [cell(evaluate_every=sg.Updates(every), until=sg.Updates(300)) for every in (1, 3)]
    for each, outcome in zip(cells, played(cells), strict=True):
        assert len(outcome.evaluations["time"]) == 1 + 300 // each.evaluate_every.count
        assert_like(outcome, each.simulate())


@dataclasses.dataclass(frozen=True)
class Tiring(sg.Protocol):
    """Stops handing out jobs after 1,000 updates."""

    def on_gradient(self, server, gradient):
        server.apply(gradient)
        if server.version < 1000:
            server.assign(gradient.worker)


def test_a_recording_that_fails_later_is_no_harm_to_a_run_that_ends_before():
    quick, slow = (cell(sg.Method(Tiring(), sg.optimizers.sgd(size)), until=TARGET_LATE) for size in (0.1, 1e-6))
    arrived, stuck = played([quick, slow])
    assert arrived.status == "target reached"
    assert stuck.status == "failed"
    assert "StuckError" in stuck.error


TARGET_LATE = sg.Target("loss", at_most=0.02, within=sg.Seconds(200), kept=sg.Seconds(1))


def test_a_protocol_that_looks_at_the_model_plays_alone():
    looking = cell(sg.methods.ada_sync(0.1, every=1.0), until=sg.Seconds(5))
    (outcome,) = played([looking])
    assert outcome.lanes == 0
    assert outcome.parameters_hash == looking.simulate().hashes["parameters"]


def test_cells_of_one_tape_have_one_key():
    slow, fast, other = cell(sg.methods.asynchronous(0.1)), cell(sg.methods.asynchronous(0.2)), cell(seed=1)
    assert slow.tape_key == fast.tape_key != other.tape_key
    recorded = attempt(ask(slow))
    assert recorded.error is None
    assert play([slow], {slow.tape_key: recorded}, LANES) == played([slow])


def test_memory_decides_how_many_lanes():
    from simsgd.replaying.lanes.memory import bytes_of_a_lane, lanes_that_fit

    given = QUADRATIC, sg.methods.asynchronous(0.1), 5, "float32", None
    one = bytes_of_a_lane(*given)
    assert [lanes_that_fit(*given, memory) for memory in (one, 3 * one, 1e12)] == [1, 2, 8]
    with pytest.raises(sg.BoundError, match=f"{one:,} bytes, 1 more; allow it with memory={one}"):
        lanes_that_fit(*given, one - 1)


def test_the_memory_that_lanes_take_is_what_was_said(monkeypatch):
    """All arrays that are alive while lanes play, but for the data: at most the budget, and most of it."""
    from simsgd.replaying.lanes.memory import bytes_of_a_lane
    from simsgd.replaying.lanes.player import BLOCKS

    wide = sg.problems.digits(hidden=512)
    given = wide, sg.methods.asynchronous(0.1), 5, "float32", None
    before = sum(array.nbytes for array in jax.live_arrays())
    data = sum(leaf.nbytes for leaf in jax.tree.leaves((wide.data, wide.test_data)))
    seen = []

    def look(gradients):
        seen.append(sum(array.nbytes for array in jax.live_arrays()) - before - data)

    play([cell(problem=wide, seed=seed, until=sg.Updates(BLOCKS)) for seed in range(4)], {}, LANES, played=look)
    assert 0.5 < max(seen) / (LANES * bytes_of_a_lane(*given)) <= 1


def test_convolutions_play_one_after_the_other_on_a_cpu():
    from simsgd.replaying.lanes.memory import usual_lanes

    assert usual_lanes(sg.problems.digits("convolutional"), "float32") == 1
    assert usual_lanes(sg.problems.digits(), "float32") == 8


DEVICES = """
import simsgd as sg
from simsgd.studies.playing import play
cluster = sg.Cluster(workers=5, compute=sg.times.Exponential(mean=0.1))
cells = [
    sg.Cell(sg.methods.asynchronous(size), sg.problems.quadratic(), cluster, until=sg.Seconds(3), seed=seed)
    for seed in range(3) for size in (0.02, 0.1, 0.3)
]
one, two = (play(cells, {}, 3, devices) for devices in (1, 2))
assert one == two
print(len({each.parameters_hash for each in two}))
"""


def test_several_devices_share_the_lanes():
    """The bits are those of one device with as many lanes as each of them has."""
    settings = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", DEVICES], env=settings, capture_output=True, text=True)
    assert done.stdout.strip() == "9", done.stderr


class BrokenOffError(Exception):
    """What breaks a replay off."""


@pytest.mark.parametrize("after", [1, 2, 5])
def test_what_is_taken_up_goes_on_to_the_same_bits(after):
    """The state is kept after each call of the executable, and the process "dies" after a few of them."""
    from simsgd.replaying.lanes.resuming import Resuming

    cells, kept = many(), []

    def save(state):
        kept.append({name: np.array(value) if isinstance(value, np.ndarray) else value for name, value in state.items()})
        if len(kept) == after:
            raise BrokenOffError

    with pytest.raises(BrokenOffError):
        play(cells, {}, LANES, resuming=Resuming(lambda: None, save, 0.0))
    calls = []
    again = play(cells, {}, LANES, played=calls.append, resuming=Resuming(lambda: kept[-1], lambda state: None, 1e9))
    whole = []
    assert again == play(cells, {}, LANES, played=whole.append)
    assert len(calls) < len(whole)
