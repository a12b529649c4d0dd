"""Benchmarks of studies: lanes in threads against one run after the other in one process, all parts included.

Run them with: python -m pytest -m slow -s -n 0 tests/test_benchmarks_studies.py. What is compiled is compiled before.
"""

import functools
import time

import numpy as np
import pytest

import simsgd as sg
from simsgd.executing import pools

pytestmark = pytest.mark.slow
CLUSTER = sg.Cluster(workers=16, compute=sg.times.Exponential(mean=0.1))
METHODS = {
    "async": sg.methods.asynchronous,
    "sync": sg.methods.minibatch,
    "local": functools.partial(sg.methods.fedbuff, buffer=1, power=0.0, steps=8),
}


def step_sizes(count):
    return [float(size) for size in np.geomspace(0.01, 0.1, count)]


def seconds_of(work):
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def study(method, problem, sizes, seeds, seconds, **options):
    def make(step_size, seed):
        return sg.Cell(method(step_size), problem, CLUSTER, until=sg.Seconds(seconds), seed=seed)

    return sg.Study(make, {"step_size": sizes, "seed": seeds}, **options)


def one_after_the_other(method, problem, sizes, seeds, seconds):
    """One recording for each seed, and a replay for each step size."""
    for seed in seeds:
        tape = sg.record(method(0.1), CLUSTER, sg.Seconds(seconds), seed, problem.message_bytes, progress=False)
        for size in sizes:
            sg.replay(tape, problem, method(size), progress=False)


CASES = {
    "64 step sizes, one tape, async": ("async", 64, 1, 20.0),
    "64 step sizes, one tape, sync": ("sync", 64, 1, 60.0),
    "64 step sizes, one tape, local": ("local", 64, 1, 20.0),
    "32 seeds x 8 step sizes, async": ("async", 8, 32, 10.0),
    "32 seeds x 8 step sizes, sync": ("sync", 8, 32, 30.0),
}


@pytest.mark.parametrize("name", CASES)
def test_lanes_against_one_run_after_the_other(name):
    """At least 2.2 times as fast on two cores, for the digits MLP; local steps gain about as much as plain gradients."""
    kind, sizes, seeds, seconds = CASES[name]
    given = METHODS[kind], sg.problems.digits(), step_sizes(sizes), range(seeds), seconds
    study(*given).run(progress=False)
    one_after_the_other(given[0], given[1], step_sizes(1), range(1), seconds)
    ratios = []
    for _ in range(2):
        together, alone = seconds_of(lambda: study(*given).run(progress=False)), seconds_of(lambda: one_after_the_other(*given))
        ratios.append(alone / together)
        print(f"{name}: {alone:.2f} s one after the other, {together:.2f} s as a study: {alone / together:.2f} times as fast")
    if pools.cores() >= 2:
        assert max(ratios) >= 2.2


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16, 64])
def test_how_many_lanes(kind, lanes):
    """The figures behind the usual number of lanes; in one thread."""
    from concurrent.futures import ThreadPoolExecutor

    given = METHODS[kind], sg.problems.digits(), step_sizes(64), range(1), 10.0 if kind == "async" else 40.0
    with ThreadPoolExecutor(1) as one:
        study(*given, lanes=lanes).run(one, progress=False)
        best = min(seconds_of(lambda: study(*given, lanes=lanes).run(one, progress=False)) for _ in range(2))
    print(f"{kind}, {lanes} lanes: {best:.2f} s")
