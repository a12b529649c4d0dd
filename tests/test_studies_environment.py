"""What is no fault of a cell ends the run, and is not kept as the cell's failure; what cannot go well is refused before."""

import dataclasses
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

import simsgd as sg
from simsgd.executing import ExecutorError
from simsgd.executing.pools import Here
from simsgd.recording import attempt as attempts
from simsgd.replaying import machine
from simsgd.replaying.lanes import group
from simsgd.replaying.selftest import BrokenInstallationError
from simsgd.studies import study as studies
from simsgd.support import environment

CLUSTER = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=0.1))
QUADRATIC = sg.problems.quadratic(noise=0.05)


def make(seed):
    return sg.Cell(sg.methods.asynchronous(0.1), QUADRATIC, CLUSTER, until=sg.Updates(9), seed=seed)


def study(**options):
    return sg.Study(make, {"seed": range(2)}, lanes=1, **options)


def raising(error):
    def function(*_, **__):
        raise error

    return function


@dataclasses.dataclass(frozen=True)
class Observing(sg.Protocol):
    """Cannot be played in lanes, and raises."""

    observes = True

    def on_gradient(self, server, gradient):
        raise OSError("no such device")


@pytest.mark.parametrize(
    "error",
    [
        sg.ForkedProcessError("forked"),
        BrokenInstallationError("jax is too old"),
        MemoryError("no memory left"),
        OSError(28, "no space left"),
        ModuleNotFoundError("no module named flax"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 400000000000000 bytes."),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("where", [(group, "play"), (attempts, "Recording"), (group.Preparing, "prepared")], ids=lambda w: w[1])
def test_an_error_of_the_environment_ends_the_run_and_no_cell_is_failed(error, where, monkeypatch):
    one = study()
    with monkeypatch.context() as patch:
        patch.setattr(*where, raising(error))
        said = rf"no fault of its own \({type(error).__name__}.*0 of 2 groups.*nothing counts as failed"
        with pytest.raises(ExecutorError, match=said) as end:
            one.run(Here())
    assert end.value.partial.outcomes == {}
    assert "in function" in end.value.__notes__[0]
    assert one.explain(seed=0).state == "missing"


def test_so_does_one_of_a_cell_played_alone():
    cell = sg.Cell(Observing(), QUADRATIC, CLUSTER, sg.optimizers.sgd(0.1), sg.Updates(9))
    one = sg.Study(lambda seed: cell, {"seed": [0]})
    with pytest.raises(ExecutorError, match="OSError: no such device"):
        one.run(Here())
    assert one.results().outcomes == {}


def test_an_error_of_the_work_is_none_of_the_environment():
    assert not environment.at_fault(RuntimeError("no"))
    assert not environment.at_fault(sg.StuckError("nobody is left"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_pool_that_is_going_to_fork_is_refused_and_one_that_spawns_is_not():
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))
    one = study()
    with pool, pytest.raises(ValueError, match=r'executor must not .*get_context\("spawn"\).*__main__.*loky'):
        one.run(pool)
    assert one.explain(seed=0).state == "missing"
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as spawned:
        studies.backends.check(spawned)


@pytest.mark.skipif(len(machine.jax.devices()) > 1, reason="there are several devices")
def test_more_devices_than_there_are_are_refused_before_anything_is_made():
    one = study(devices=7)
    with pytest.raises(ValueError, match="devices=7, but this process has 1 "):
        one.run(Here())
    assert one.results().outcomes == {}


def test_the_arguments_of_run_are_checked_where_nothing_is_missing():
    one = study()
    one.run(Here())
    with pytest.raises(TypeError, match="executor must have a method submit"):
        one.run(3)
    for patience in (-1, 0, "long"):
        with pytest.raises(ValueError, match="patience must be"):
            one.run(patience=patience)
    with ThreadPoolExecutor(1) as threads:
        assert len(one.run(threads, patience=5).outcomes) == 2
