"""Shared fixtures (small clusters, problems that are quick to compile), and how the tests are dealt out to processes.

`python -m pytest` runs in two processes. Each file stays in one, because its tests share compiled players and module fixtures;
only the tests that start processes of their own are dealt out one by one. With `-s`, whose output another process would
swallow, and with `-m slow`, whose benchmarks want the machine for themselves, everything runs in this one process; so does it
with `-n 0`.

What one process has compiled, the others need not: they share a folder of compiled code, empty at first and gone at the end.
Tests of what a fresh process computes take it away from theirs.
"""

import os
import tempfile

import matplotlib
import pytest
from xdist.scheduler import LoadFileScheduling

import simsgd as sg

matplotlib.use("Agg")

if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # in the first process; its children inherit it
    COMPILED = tempfile.TemporaryDirectory(prefix="simsgd-tests-")
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": COMPILED.name,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }

if "PYTEST_XDIST_WORKER" in os.environ and hasattr(os, "sched_setaffinity"):
    # a core for each process, so that the threads of one do not wait for those of the other
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")) % len(cores)]})

LONGEST_FIRST = (
    "test_notebooks.py",
    "test_style.py",
    "test_scenarios.py",
    "test_exactness.py",
    "test_player.py",
    "test_optimizers.py",
    "test_sweep_example.py",
    "test_parameter_server.py",
)
"""Files that take longest are begun first, so that the processes end at nearly the same time."""
ONE_BY_ONE = ("tests/test_notebooks.py", "tests/test_scenarios.py", "tests/test_style.py")
"""Files whose tests have nothing to share, as each starts a process of its own."""


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Stay in one process where that is asked for by what else is asked for."""
    if config.option.capture == "no" or config.option.markexpr == "slow":
        config.option.numprocesses = 0


def pytest_collection_modifyitems(items):
    """Begin with the longest files; the order within a file stays."""
    place = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


class Scheduling(LoadFileScheduling):
    """A file to a process, but for those in `ONE_BY_ONE`."""

    def _split_scope(self, nodeid):
        return nodeid if nodeid.startswith(ONE_BY_ONE) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config, log):
    """Deal out by files, in the order of collection."""
    config.option.loadscopereorder = False
    return Scheduling(config, log)


@pytest.fixture(scope="session")
def noisy():
    """A quadratic in three dimensions with gradient noise."""
    return sg.problems.quadratic(noise=0.3, samples=64, batch_size=2)


@pytest.fixture
def cluster():
    """Five workers of different speeds behind links that take time."""
    return sg.Cluster(
        workers=5,
        compute=sg.times.Speeds(sg.times.Exponential(mean=1.0), speeds=(1.0, 2.0, 0.5, 1.0, 1.5)),
        network=sg.networks.Link(latency=0.1),
    )
