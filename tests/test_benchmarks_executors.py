"""What executors cost and gain: measured side by side, printed, never asserted. They run with: python -m pytest -m slow -s."""

import time

import numpy as np
import pytest
from test_benchmarks import cores_free
from test_studies_executors import Kept, executed
from test_studies_executors_real import dask, loky, played, spawned, surroundings

import simsgd as sg
from simsgd.executing import Group, pools
from simsgd.executing.backends import Here
from simsgd.problems import Problem
from simsgd.recording.attempt import attempt
from simsgd.studies.playing import ask

pytestmark = pytest.mark.slow
CELLS = 20
MAKE = {"here": Here, "threads": lambda: pools.Threads(2), "spawned": spawned, "loky": loky, "dask": dask}


def sleeping(seconds):
    """A cell of so many seconds that leaves the processor to others, so that only what is beside it is measured."""
    time.sleep(seconds)
    return [seconds]


def spent(groups, executor, recordings=None, **options):
    kept, begun = Kept(), time.perf_counter()
    executed(kept, recordings or {}, groups, executor, Here(), **options)
    assert len(kept.outcomes) == len(groups)
    return time.perf_counter() - begun


@pytest.mark.parametrize("name", MAKE)
def test_overhead_on_cells_of_one_second(name):
    """Twenty cells, one by one, on two workers that have started: how much longer than ten seconds."""
    workers = 1 if name == "here" else 2
    groups = {str(n): Group(sleeping, (1.0,)) for n in range(CELLS)}
    with MAKE[name]() as executor:
        spent({str(n): Group(sleeping, (0.2,)) for n in range(4)}, executor)
        took = spent(groups, executor)
    print(f"{name}: {CELLS} cells of 1 s on {workers} took {took:.2f} s, {took * workers / CELLS - 1:.1%} more than the cells")


@pytest.mark.parametrize("make", [spawned, loky], ids=["spawned", "loky"])
def test_two_processes_against_one(make):
    """The same groups of real cells of about a second, on pools whose processes have compiled their program."""
    cluster = sg.Cluster(8, sg.times.Exponential(mean=0.1))
    problem, method = sg.problems.digits(), sg.methods.asynchronous(0.1)

    def study(groups, updates):
        cells = [sg.Cell(method, problem, cluster, until=sg.Updates(updates), seed=seed) for seed in range(groups)]
        recordings = {cell.tape_key: (attempt, (ask(cell),)) for cell in cells}
        return recordings, {str(n): Group(played, ([cell], 1), [cell.tape_key]) for n, cell in enumerate(cells)}

    options, ratios, free = {"shared": (Problem,), "surroundings": surroundings()}, [], []
    with make(1) as one, make(2) as two:
        for pool in (one, two):
            recordings, groups = study(6, 100)
            spent(groups, pool, recordings, **options)
        recordings, groups = study(8, 20_000)
        for _ in range(3):
            free.append(cores_free())
            alone, both = (spent(groups, pool, recordings, **options) for pool in (one, two))
            free.append(cores_free())
            ratios.append(alone / both)
            print(f"one process {alone:.2f} s, two {both:.2f} s for 8 groups")
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"two processes against one: {np.median(ratios):.2f} times as fast ({spread}), with {np.median(free):.1f} cores free")
