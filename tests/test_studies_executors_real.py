"""Executors as users have them, with processes that are killed: nothing lost or doubled, the same bits as in this process."""

import contextlib
import multiprocessing
import os
import pathlib
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from test_studies_executors import Kept, executed, killed_once, loaded  # there, so that workers need no JAX

import simsgd as sg
from simsgd.executing import ExecutorError, Group
from simsgd.executing.backends import Here
from simsgd.executing.pinning import Surroundings, SurroundingsError, pin
from simsgd.problems import Problem
from simsgd.recording.attempt import attempt
from simsgd.recording.recorder import record
from simsgd.replaying import machine
from simsgd.studies.playing import ask, play

CLUSTER = sg.Cluster(workers=3, compute=sg.times.Exponential(mean=0.1))


@contextlib.contextmanager
def dask(workers=2):
    """A scheduler and workers, each a process of its own."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(workers, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client.get_executor()


@contextlib.contextmanager
def loky(workers=2):
    from loky import ProcessPoolExecutor

    with ProcessPoolExecutor(workers) as pool:
        yield pool


def spawned(workers=2):
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def killing(tmp_path):
    """Groups with two tapes, one of which kills its worker."""
    recordings = {str(n): (record, (sg.AsyncSGD(), CLUSTER, sg.Updates(50 + n))) for n in range(2)}
    marker = str(tmp_path / "killed")
    return recordings, {str(n): Group(killed_once, (n, marker), needs=[str(n % 2)]) for n in range(12)}


def test_a_dask_worker_killed_in_mid_study(tmp_path):
    """Dask gives the work to another worker; nothing is lost or handed over twice. Files are saved as ever beside a client."""
    kept = Kept()
    recordings, groups = killing(tmp_path)
    with dask() as executor:
        executed(kept, recordings, groups, executor, executor)
        tape = attempt(ask(sg.Cell(sg.methods.asynchronous(0.1), sg.problems.quadratic(), CLUSTER, until=sg.Updates(9)))).tape
        tape.save(tmp_path / "tape.nc")
    assert sg.Tape.load(tmp_path / "tape.nc") == tape
    assert (tmp_path / "killed").exists()
    assert {name: outcome[:2] for name, outcome in kept.outcomes.items()} == {str(n): [n, 50 + n % 2] for n in range(12)}
    assert os.getpid() not in {pid for _, _, pid in kept.outcomes.values()}


def test_a_loky_worker_killed_in_mid_study(tmp_path):
    """The pool is gone, what it had finished is kept, and a second run makes the rest."""
    kept = Kept()
    recordings, groups = killing(tmp_path)
    with loky() as executor, pytest.raises(ExecutorError, match=r"died \(TerminatedWorkerError.*\d of 12 groups are finished"):
        executed(kept, recordings, groups, executor, executor)
    done = len(kept.outcomes)
    assert 0 < done < 12
    rest = {name: group for name, group in groups.items() if name not in kept.outcomes}
    with loky() as executor:
        executed(kept, recordings, rest, executor, executor)
    assert {name: outcome[:2] for name, outcome in kept.outcomes.items()} == {str(n): [n, 50 + n % 2] for n in range(12)}


def test_processes_that_record_a_study_load_no_jax(tmp_path):
    """Recordings, kept in a folder too, and then a look at what the process has loaded."""
    cells = [sg.Cell(sg.methods.dana_zero(0.1), sg.problems.quadratic(), CLUSTER, until=sg.Updates(9), seed=n) for n in (0, 1)]
    recordings = {str(n): (attempt, (ask(cell), tmp_path / f"{n}.nc")) for n, cell in enumerate(cells)}
    kept = Kept()
    with loky(1) as executor:
        groups = {"a": Group(lambda *tapes: tapes, needs=["0", "1", "loaded"])}
        executed(kept, recordings | {"loaded": (loaded, ())}, groups, Here(), executor)
    first, second, (pid, heavy) = kept.outcomes["a"]
    assert (first, second) == tuple(attempt(ask(cell)) for cell in cells)
    assert pid != os.getpid()
    assert heavy == []


def played(cells, lanes, *tapes):
    """Play cells on their tapes, which come in the order of the cells."""
    return play(cells, {cell.tape_key: tape for cell, tape in zip(cells, tapes, strict=True)}, lanes)


def study(problem, count, updates=20):
    """Recordings and groups: of a method whose parts are closures, on two seeds, the problem made anew for each group."""
    make = {"quadratic": lambda: sg.problems.quadratic(noise=0.1), "digits": sg.problems.digits}[problem]
    recordings, groups = {}, {}
    for n in range(count):
        method = sg.methods.dana_zero(0.1 / (n + 1))
        cells = [sg.Cell(method, make(), CLUSTER, until=sg.Updates(updates), seed=seed) for seed in (0, 1)]
        recordings |= {cell.tape_key: (attempt, (ask(cell),)) for cell in cells}
        groups[str(n)] = Group(played, (cells, 2), [cell.tape_key for cell in cells], cells=2)
    return recordings, groups


def surroundings():
    return Surroundings.here(machine.here)


def assert_same_bits(make, recordings, groups):
    here, there = Kept(), Kept()
    executed(here, recordings, groups, Here())
    with make() as executor:
        executed(there, recordings, groups, executor, executor, shared=(Problem,), surroundings=surroundings())
    assert here.failures == there.failures == {}
    assert {outcome.status for group in here.outcomes.values() for outcome in group} == {"completed"}
    assert there.outcomes == here.outcomes


def test_a_spawned_pool_plays_the_same_bits():
    assert_same_bits(lambda: spawned(1), *study("quadratic", 2))


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [lambda: ThreadPoolExecutor(2), spawned, loky, dask], ids=["threads", "spawned", "loky", "dask"]
)
def test_every_executor_plays_the_same_bits(make):
    assert_same_bits(make, *study("digits", 4, updates=200))


def threads_of_xla():
    """How many threads XLA computes with in this process, by their names."""
    machine.here()
    sg.problems.quadratic().start(0, "float32")
    np.asarray(sg.problems.quadratic().start(0, "float32"))
    tasks = pathlib.Path("/proc/self/task")
    return sum(name.read_text().strip() == "tf_XLAEigen" for name in tasks.glob("*/comm"))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be taken away here")
def test_a_worker_with_fewer_cores_computes_with_as_many_threads():
    """Threads are counted from the cores; a worker is told the number, and has it whatever its cores are."""
    cores = os.sched_getaffinity(0)
    wanted = Surroundings.here(lambda: {**machine.here(), "device": {**machine.here()["device"], "cores": 3}})
    kept = Kept()
    os.sched_setaffinity(0, {min(cores)})
    try:
        with spawned(1) as pool:
            executed(kept, {}, {"a": Group(threads_of_xla)}, pool, surroundings=wanted)
    finally:
        os.sched_setaffinity(0, cores)
    assert kept.outcomes == {"a": 3}


@pytest.mark.parametrize(
    ("place", "name"), [("versions", "jaxlib"), ("device", "kind"), ("settings", "jax_default_matmul_precision")]
)
def test_a_worker_of_other_bits_is_refused_and_what_differs_is_named(place, name):
    def described():
        return {**machine.here(), place: {**machine.here()[place], name: "another"}}

    wanted = Surroundings.here(described)
    wanted = Surroundings(wanted.variables, wanted.description, surroundings().describe)
    with pytest.raises(SurroundingsError, match=rf"{place}\.{name} is .*, here another\. Start workers on like machines"):
        pin(wanted)


def test_like_surroundings_are_accepted():
    before = dict(os.environ)
    pin(surroundings())
    assert dict(os.environ) == before


def test_a_worker_that_lacks_a_module_says_so(tmp_path, monkeypatch):
    """A module that this process has and the worker has not."""
    (tmp_path / "only_here.py").write_text("def play():\n    return 1\n")
    with spawned(1) as pool:
        assert pool.submit(abs, -1).result() == 1  # it has started, without the folder on its path
        monkeypatch.syspath_prepend(tmp_path)
        import only_here

        kept = Kept()
        with pytest.raises(ExecutorError, match=r"No module named 'only_here'.*installed or on PYTHONPATH\. 0 of 1 groups"):
            executed(kept, {}, {"a": Group(only_here.play)}, pool)
