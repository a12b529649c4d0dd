"""How fast: ratios measured side by side in one process, printed, never asserted.

Run them with: python -m pytest -m slow -s

Each comparison runs its two sides in turn, several times, and prints the median of the ratios pair by pair, with the least and
the greatest; single timings on a shared machine mean little.
"""

import functools
import subprocess
import sys
import time
import tracemalloc
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import simpy

import simsgd as sg
from simsgd.problems import draw
from simsgd.recording.recorder import Recording
from simsgd.replaying.blocks import TABLE_ROWS, TILE
from simsgd.replaying.player import Player
from simsgd.support import rng
from simsgd.tape.schema import ROW_COLUMNS

pytestmark = pytest.mark.slow
ROUNDS = 9
WORKERS = 16
GRADIENTS = 40_960
EXPONENTIAL = sg.times.Exponential(mean=0.1)


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(name, left, right, per=1.0, unit="/s"):
    """Print how fast two calls are, and the ratio of their speeds, left over right."""
    left(), right()
    pairs = np.array([(seconds(left), seconds(right)) for _ in range(ROUNDS)])
    ratios = pairs[:, 1] / pairs[:, 0]
    speeds = per / np.median(pairs, axis=0)
    spread = f"{ratios.min():.2f} to {ratios.max():.2f}"
    print(f"{name}: {speeds[0]:,.0f} against {speeds[1]:,.0f} {unit}, ratio {np.median(ratios):.2f} ({spread})")


def play(problem, tape, **options):
    player = Player(problem, sg.optimizers.sgd(0.05), tape.workers, **options)
    player.play(tape.rows, set())
    player.flat_parameters  # noqa: B018  wait for the device


def sequential(problem, tape, drawn_at_once):
    """The floor: the tape's gradients and draws as plain sequential SGD, one compiled scan, nothing simulated."""
    data, _ = problem.arrays("float32")
    optimizer = optax.sgd(0.05)
    picks_of = functools.partial(draw, batch_size=problem.batch_size, samples=problem.samples)
    key = jax.random.wrap_key_data(jnp.asarray(rng.key_words(0, "batches")))
    jobs = tuple(jnp.asarray(c).reshape(-1, drawn_at_once) for c in (tape.worker, tape.job))

    def step(carry, picks):
        parameters, state = carry
        gradient = jax.grad(problem.loss)(parameters, jax.tree.map(lambda a: a[picks], data))
        updates, state = optimizer.update(gradient, state, parameters)
        return (optax.apply_updates(parameters, updates), state), None

    @functools.partial(jax.jit, donate_argnums=0)
    def run(carry):
        def tile(carry, jobs):
            return jax.lax.scan(step, carry, jax.vmap(picks_of, (None, 0, 0))(key, *jobs))

        if drawn_at_once > 1:
            return jax.lax.scan(tile, carry, jobs)[0]
        return jax.lax.scan(lambda c, wj: step(c, picks_of(key, wj[0][0], wj[1][0])), carry, jobs)[0]

    def once():
        parameters = problem.start(0, "float32")
        jax.block_until_ready(run((parameters, optimizer.init(parameters))))

    return once


def test_replay_against_the_floor():
    problem = sg.problems.digits()
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(WORKERS, EXPONENTIAL), sg.Updates(GRADIENTS))
    replaying = functools.partial(play, problem, tape)
    compare("replay, against sequential SGD", replaying, sequential(problem, tape, 1), GRADIENTS, "gradients/s")
    compare(
        "replay, against it drawing 64 batches at once", replaying, sequential(problem, tape, TILE), GRADIENTS, "gradients/s"
    )


def test_a_synchronous_step_batched_against_one_by_one():
    problem = sg.problems.digits()
    for workers in (4, 16, 64):
        tape = sg.record(sg.MinibatchSGD(), sg.Cluster(workers, EXPONENTIAL), sg.Updates(GRADIENTS // workers))
        sides = functools.partial(play, problem, tape), functools.partial(play, problem, tape, width=1)
        compare(f"sync step of {workers}, side by side against one by one", *sides, GRADIENTS, "gradients/s")


@dataclass(frozen=True)
class Watching(sg.AsyncSGD):
    every: int = 1

    def on_gradient(self, server, gradient):
        if server.version % self.every == 0:
            server.observe("loss")
        super().on_gradient(server, gradient)


def test_observing():
    problem, cluster = sg.problems.digits(), sg.Cluster(WORKERS, EXPONENTIAL)
    for every in (1000, 100, 10, 1):
        updates = min(20_000, 1000 * every)
        end = sg.Updates(updates)
        runs = [
            functools.partial(sg.simulate, protocol, problem, cluster, sg.optimizers.sgd(0.05), end, evaluate_every=end)
            for protocol in (Watching(every), sg.AsyncSGD())
        ]
        compare(f"simulate, observing every {every} against never", *runs, updates, "updates/s")


def test_time_and_numbers_at_once():
    """The wall time of simulate against the longer of its halves alone; the target is 1.15 on two cores of one's own."""
    problem, cluster, sgd = sg.problems.digits(), sg.Cluster(WORKERS, EXPONENTIAL), sg.optimizers.sgd(0.05)
    for updates in (200_000, 1_000_000):
        end, ratios, free = sg.Updates(updates), [], []
        tape = sg.record(sg.AsyncSGD(), cluster, end)
        sides = {
            "record": functools.partial(sg.record, sg.AsyncSGD(), cluster, end),
            "replay": functools.partial(sg.replay, tape, problem, sgd),
            "simulate": functools.partial(sg.simulate, sg.AsyncSGD(), problem, cluster, sgd, end),
        }
        for _ in range(3):
            free.append(cores_free())
            spent = {name: seconds(side) for name, side in sides.items()}
            free.append(cores_free())
            ratios.append(spent["simulate"] / max(spent["record"], spent["replay"]))
            print(", ".join(f"{name} {length:.2f} s" for name, length in spent.items()), f"ratio {ratios[-1]:.2f}")
        print(
            f"simulate {updates:,} updates, against the longer of record and replay: ratio {np.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}), with {np.median(free):.1f} cores free"
        )


def cores_free():
    """Return how many of two cores two busy processes get: what a timing of two things at once is worth."""
    code = "import time\nend = time.perf_counter() + 1\nwhile time.perf_counter() < end: pass\nprint(time.process_time())"
    spinning = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    return sum(float(process.communicate()[0]) for process in spinning)


def bare_loop(workers, updates):
    """A hand-written SimPy loop with a recording's events (a gradient arrives) and draws, no more."""
    environment = simpy.Environment()
    streams = [rng.stream(0, "compute time", worker) for worker in range(workers)]
    done = [0]

    def work(stream):
        while True:
            yield environment.timeout(0.001 + stream.exponential(0.1) + 0.001)
            done[0] += 1

    for stream in streams:
        environment.process(work(stream))
    while done[0] < updates:
        environment.step()


def test_recording_against_a_bare_loop():
    for workers in (16, 100):
        cluster = sg.Cluster(workers, EXPONENTIAL, sg.networks.Link(latency=0.001))
        recording = functools.partial(sg.record, sg.AsyncSGD(), cluster, sg.Updates(50_000))
        bare = functools.partial(bare_loop, workers, 50_000)
        compare(f"record {workers} workers, against a bare SimPy loop", recording, bare, 50_000, "updates/s")


def test_ten_thousand_workers_against_a_hundred():
    """Per update, of recordings under way; and what making the workers costs, once."""

    def cluster(workers):
        return sg.Cluster(workers, EXPONENTIAL, sg.networks.Link(latency=0.001))

    def going_on(workers):
        recording = Recording(sg.AsyncSGD(), cluster(workers))
        return lambda: recording.advance(updates=recording.version + 100_000)

    compare("record 10,000 workers, against 100", going_on(10_000), going_on(100), 100_000, "updates/s")
    starting = [functools.partial(Recording, sg.AsyncSGD(), cluster(workers)) for workers in (10_000, 1_000)]
    compare("make 10,000 workers, against 1,000", *starting, 1, "recordings/s")


@pytest.mark.parametrize("workers", [64, 1000])
@pytest.mark.parametrize("load", [0.5, 4.0])
def test_a_contended_server_against_uncontended_links(workers, load):
    """Cost per further update, of recordings under way; at load 4 nearly all workers queue for the server's link at a time."""
    size, mean = 1e6, 0.1
    link = sg.networks.Link(latency=0.001, bandwidth=workers * size / (load * mean))
    update = sg.times.Exponential(mean / workers / 10)

    def going_on(network):
        recording = Recording(sg.AsyncSGD(), sg.Cluster(workers, EXPONENTIAL, network), message_bytes=size)
        recording.advance(updates=2 * workers)
        return lambda: recording.advance(updates=recording.version + 20_000)

    free = going_on(sg.networks.Link(latency=0.001, bandwidth=1e9))
    for sharing in ("first in, first out", "fair"):
        for name, law in (("", None), (", updates that take time", update)):
            server = sg.networks.ParameterServer(link, sharing=sharing, update=law)
            compare(f"uncontended, against {sharing}{name}, load {load}, {workers} workers", free, going_on(server), 20_000)


@pytest.mark.parametrize("workers", [16, 64])
def test_an_all_reduce_against_uncontended_links(workers):
    """Cost per synchronous update."""

    def going_on(network):
        recording = Recording(sg.MinibatchSGD(), sg.Cluster(workers, EXPONENTIAL, network), message_bytes=1e6)
        return lambda: recording.advance(updates=recording.version + 500)

    link = sg.networks.Link(latency=1e-5, bandwidth=1e9)
    for fabric in (sg.networks.Ring(link), sg.networks.HalvingDoubling(link), sg.networks.BinaryTree(link)):
        compare(f"uncontended, against {type(fabric).__name__}, {workers} workers", going_on(link), going_on(fabric), 500)


def process_per_rank(ranks, message_bytes, link):
    """A ring all-reduce with a SimPy process for each rank and message, 2n(n−1) messages; return its seconds."""
    environment = simpy.Environment()
    inboxes = [simpy.Store(environment) for _ in range(ranks)]

    def deliver(rank):
        yield environment.timeout(link.seconds(message_bytes / ranks))
        inboxes[rank].put(None)

    def work(rank):
        for _ in range(2 * (ranks - 1)):
            yield environment.process(deliver((rank + 1) % ranks))
            yield inboxes[rank].get()

    for rank in range(ranks):
        environment.process(work(rank))
    environment.run()
    return environment.now


@pytest.mark.parametrize("ranks", [8, 64])
def test_a_ring_against_a_process_per_rank(ranks):
    link = sg.networks.Link(latency=5e-6, bandwidth=12.5e9)
    ring = functools.partial(sg.networks.Ring(link).seconds, ranks, 1e8)
    events = functools.partial(process_per_rank, ranks, 1e8, link)
    assert ring() == pytest.approx(events(), rel=1e-12)
    compare(f"a ring of {ranks}, array by array against a process per rank", ring, events, 1, "rings/s")


def test_memory_of_a_recording():
    """Peak memory per further update while recording, against the bytes of the tape's own columns."""
    cluster = sg.Cluster(WORKERS, EXPONENTIAL)

    def peak(updates):
        tracemalloc.start()
        sg.record(sg.AsyncSGD(), cluster, sg.Updates(updates), progress=False)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    row = np.dtype(list(ROW_COLUMNS.items())).itemsize
    per_update = (peak(60_000) - peak(20_000)) / 40_000
    print(f"recording: {per_update:.0f} bytes of peak memory per update; a row of the tape has {row} bytes")


def test_memory_of_a_replay():
    problem = sg.problems.digits()
    for updates in (TABLE_ROWS, 16 * TABLE_ROWS):
        tape = sg.record(sg.AsyncSGD(), sg.Cluster(WORKERS, EXPONENTIAL), sg.Updates(updates))
        player = Player(problem, sg.optimizers.sgd(0.05), WORKERS)
        player.play(tape.rows, set())
        print(f"replay of {updates} updates, {WORKERS} workers: {player.slots.size - 1} versions alive at most")


def test_import():
    def importing(module):
        return functools.partial(subprocess.run, [sys.executable, "-c", f"import {module}"], check=True)

    compare("import jax, against import simsgd", importing("jax"), importing("simsgd"), 1, "imports/s")
    everything = "simsgd; simsgd.simulate; simsgd.problems; simsgd.optimizers"
    compare(
        "import jax and optax, against all that simulate needs", importing("jax, optax"), importing(everything), 1, "imports/s"
    )
