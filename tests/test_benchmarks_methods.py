"""What parts of methods cost: replays side by side in one process, and memory; printed, never asserted.

Run them with: python -m pytest -m slow -s -n 0 tests/test_benchmarks_methods.py
"""

import subprocess
import sys
import time

import jax
import numpy as np
import optax
import pytest
from test_benchmarks import EXPONENTIAL, WORKERS, compare

import simsgd as sg
from simsgd.replaying.player import Player
from simsgd.replaying.reading import Reading

pytestmark = pytest.mark.slow
UPDATES = 8_192
SGD = sg.optimizers.sgd(0.05)
MEMORY = """
import resource, sys, optax, simsgd as sg
parts = {"plain": {}, "at the worker": {"at_worker": optax.trace(0.9)},
         "at the server": {"on_message": sg.optimizers.per_worker(optax.trace(0.9))}}[sys.argv[1]]
method = sg.Method(sg.AsyncSGD(), sg.optimizers.sgd(0.05), **parts)
cluster = sg.Cluster(1000, sg.times.Exponential(mean=0.1))
problem = sg.problems.digits(hidden=int(sys.argv[2]))
sg.simulate(method, problem, cluster, until=sg.Updates(3000), evaluate_every=sg.Updates(1000))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
"""


def player_of(problem, method, tape):
    """A player that has compiled, and what plays the tape to its end with it."""
    player, source = Player(problem, method, tape.workers), Reading(tape)
    source.advance(updates=tape.updates // 2)
    player.catch_up(source)
    return player, source


def playing(problem, method, tape):
    """Return a call that plays a tape from its beginning."""

    def play():
        player, source = player_of(problem, method, tape)
        source.advance(updates=tape.updates)
        player.catch_up(source)
        jax.block_until_ready(player._carry)

    return play


@pytest.mark.parametrize(
    "row",
    [row for row in sg.methods.SHELF if row.protocol == "AsyncSGD" and row.sends_gradients and row.name != "IAG"],
    ids=lambda row: row.name,
)
def test_rules_against_plain_asynchronous_sgd(row):
    problem = sg.problems.digits()
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(WORKERS, EXPONENTIAL), sg.Updates(UPDATES))
    compare(row.name, playing(problem, row.make(0.05), tape), playing(problem, SGD, tape), UPDATES, "gradients/s")


def test_a_method_without_parts_against_its_protocol_and_optimizer():
    problem = sg.problems.digits()
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(WORKERS, EXPONENTIAL), sg.Updates(UPDATES))
    plain = sg.Method(sg.AsyncSGD(), SGD)
    compare("plain method", playing(problem, plain, tape), playing(problem, SGD, tape), UPDATES, "gradients/s")


def test_memory_of_states_of_a_thousand_workers():
    """Arrays that are alive, exactly, and the peak of a process for a model that is large beside what compiling takes."""
    problem = sg.problems.digits()
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(1000, EXPONENTIAL), sg.Updates(3000))
    alive = []
    for parts in ({}, {"at_worker": optax.trace(0.9)}):
        before = sum(array.nbytes for array in jax.live_arrays())
        player, _ = player_of(problem, sg.Method(sg.AsyncSGD(), SGD, **parts), tape)
        alive.append(sum(array.nbytes for array in jax.live_arrays()) - before)
        del player
    needed = 1000 * 4 * problem.parameter_count
    print(f"states of 1,000 workers: {np.diff(alive)[0] / needed:.3f} of what they need ({needed / 1e6:.2f} MB)")
    peaks = {
        kind: float(subprocess.run([sys.executable, "-c", MEMORY, kind, "512"], capture_output=True, check=True).stdout)
        for kind in ("plain", "at the worker", "at the server")
    }
    needed = 1000 * 4 * sg.problems.digits(hidden=512).parameter_count / 1e6
    for kind, peak in peaks.items():
        print(
            f"{kind}: a peak of {peak:.0f} MB, {(peak - peaks['plain']) / needed:.2f} of {needed:.0f} MB above the plain one's"
        )


COMPRESSIONS = {
    "top-k with error feedback": sg.compressions.ErrorFeedback(sg.compressions.TopK(share=0.01)),
    "top-k of 10% with error feedback": sg.compressions.ErrorFeedback(sg.compressions.TopK(share=0.1)),
    "random-k": sg.compressions.RandomK(share=0.01),
    "EF-signSGD": sg.compressions.ErrorFeedback(sg.compressions.ScaledSign()),
    "QSGD": sg.compressions.QSGD(levels=127),
    "TernGrad": sg.compressions.TernGrad(),
    "natural rounding": sg.compressions.NaturalRounding(),
    "float16": sg.compressions.Half(),
}


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_compressed_messages_against_whole_ones(name):
    """2,410 numbers, batches of 32. The promise: top-k with error feedback takes at most 1.5 times as long."""
    problem = sg.problems.digits()
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(WORKERS, EXPONENTIAL), sg.Updates(UPDATES))
    method = sg.Method(sg.AsyncSGD(), SGD, compress_up=COMPRESSIONS[name])
    compare(name, playing(problem, method, tape), playing(problem, SGD, tape), UPDATES, "gradients/s")


def processor_seconds(problem, method, tape):
    """What playing a tape takes, with a player that is there already and all that is compiled."""
    player, source = Player(problem, method, tape.workers), Reading(tape)
    source.advance(updates=tape.updates)
    start = time.process_time()
    player.catch_up(source)
    jax.block_until_ready(player._carry)
    return time.process_time() - start


@pytest.mark.parametrize("protocol", [sg.AsyncSGD(), sg.MinibatchSGD()], ids=repr)
@pytest.mark.parametrize("steps", [4, 16, 64])
def test_local_steps_against_as_many_gradients_of_asynchronous_sgd(steps, protocol):
    """The promise is 1.1 times the processor seconds at most; printed."""
    problem, cluster = sg.problems.digits(), sg.Cluster(WORKERS, EXPONENTIAL)
    local = sg.Method(protocol, sg.optimizers.sgd(1.0), work=sg.works.LocalSteps(steps=steps), inner=SGD)
    messages = 4 * UPDATES // steps
    updates = messages // WORKERS if protocol.synchronous else messages
    sides = [
        (local, sg.record(local, cluster, sg.Updates(updates))),
        (SGD, sg.record(sg.AsyncSGD(), cluster, sg.Updates(4 * UPDATES))),
    ]
    for side in sides:
        processor_seconds(problem, *side)
    pairs = np.array([[processor_seconds(problem, *side) for side in sides] for _ in range(9)])
    ratios = pairs[:, 0] / pairs[:, 1]
    each = np.median(pairs, axis=0) / (4 * UPDATES) * 1e6
    spread = f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})"
    print(f"{protocol!r}, {steps} local steps: {each[0]:.1f} µs for a gradient against {each[1]:.1f}, {spread} times as much")
