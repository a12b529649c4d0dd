"""A study as a user runs it: what is made, what is not made again, what is kept, and what is refused."""

import dataclasses
import os
import subprocess
import sys
import textwrap

import jax
import pytest

import simsgd as sg
from simsgd.executing.pools import Here
from simsgd.recording import attempt as attempts
from simsgd.replaying.lanes import group
from simsgd.studies import study as studies

CLUSTER = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=0.1))
TARGET = sg.Target("loss", at_most=0.05, within=sg.Seconds(10), kept=sg.Seconds(1))
QUADRATIC = sg.problems.quadratic(noise=0.05)
METHODS = {"sync": sg.methods.minibatch, "async": sg.methods.asynchronous}


def make(step_size, seed, method=sg.methods.asynchronous):
    return sg.Cell(method(step_size), QUADRATIC, CLUSTER, until=TARGET, seed=seed)


def study(axes=None, how=make, **options):
    return sg.Study(how, {"step_size": [0.05, 0.2], "seed": range(3), **(axes or {})}, lanes=4, **options)


@pytest.fixture
def counted(monkeypatch):
    """How many runs were played, and tapes recorded, in this process."""
    counts = {"played": 0, "recorded": 0}
    play, attempt = group.play, studies.attempt

    def playing(problem, wanted, *rest):
        counts["played"] += len(wanted)
        return play(problem, wanted, *rest)

    def recording(ask, path):
        counts["recorded"] += path is None or not path.exists()
        return attempt(ask, path)

    monkeypatch.setattr(group, "play", playing)
    monkeypatch.setattr(studies, "attempt", recording)
    return counts


def test_cells_of_one_tape_are_recorded_once(counted):
    results = study().run(Here())
    assert counted == {"played": 6, "recorded": 3}
    assert results.seconds().shape == (2, 3)


def test_nothing_is_made_twice_and_a_longer_grid_makes_what_it_adds(counted, tmp_path, monkeypatch):
    monkeypatch.setattr(attempts, "WORTH", 0.0)
    first = study(folder=tmp_path).run(Here())
    again = study(folder=tmp_path).run(Here())
    assert first == again
    assert counted == {"played": 6, "recorded": 3}
    longer = study({"step_size": [0.05, 0.1, 0.2]}, folder=tmp_path).run(Here())
    assert counted == {"played": 9, "recorded": 3}
    assert longer.select(step_size=[0.05, 0.2]).outcomes == first.outcomes
    shorter = study({"seed": range(1)}, folder=tmp_path).run(Here())
    assert counted["played"] == 9
    assert shorter.outcomes[0.05, 0] == first.outcomes[0.05, 0]


def test_without_a_folder_the_study_remembers(counted):
    one = study()
    assert one.run(Here()) == one.run(Here())
    assert counted["played"] == 6


def test_threads_and_this_process_make_the_same_bits():
    assert study().run() == study().run(Here())


@pytest.mark.parametrize("folder", [None, "kept"])
def test_explain_says_what_a_cell_is_and_why_it_is_there(folder, tmp_path):
    one = study(folder=folder and tmp_path / folder)
    there = {"step_size": 0.05, "seed": 1}
    assert one.explain(**there).state == "missing"
    one.run(Here())
    explained = one.explain(**there)
    assert (explained.state, len(explained.key)) == ("done", 64)


@dataclasses.dataclass(frozen=True)
class Refusing(sg.Protocol):
    """Raises at an update."""

    def on_gradient(self, server, gradient):
        raise ValueError("no more")


def failing(step_size, seed):
    method = sg.Method(Refusing(), sg.optimizers.sgd(step_size)) if seed == 1 else sg.methods.asynchronous(step_size)
    return sg.Cell(method, QUADRATIC, CLUSTER, until=TARGET, seed=seed)


def test_a_cell_that_fails_is_said_with_the_line_that_repeats_it_and_the_others_go_on(counted, tmp_path):
    one = study(how=failing, folder=tmp_path)
    results = one.run(Here())
    assert set(results.failed) == {(0.05, 1), (0.2, 1)}
    assert "failed: study.cell(step_size=0.05, seed=1).simulate() raises ValueError: no more" in results.summary()
    with pytest.raises(ValueError, match="no more"):
        one.cell(step_size=0.05, seed=1).simulate()
    before = dict(counted)
    assert study(how=failing, folder=tmp_path).run(Here()) == results
    assert counted == before
    assert one.explain(step_size=0.05, seed=1).state == "failed"
    study(how=failing, folder=tmp_path).run(Here(), retry_failed=True)
    assert counted["recorded"] == before["recorded"] + 1


def test_memory_and_lanes_are_recorded():
    results = study(memory=1e6).run(Here())
    assert results.configuration["memory"] == 1e6
    assert {outcome.lanes for outcome in results.outcomes.values()} == {4}
    with pytest.raises(sg.BoundError, match=r"memory=1,000 bytes are too few: lanes=4 of 'quadratic.*allow it with memory="):
        study(memory=1e3).run(Here())


def test_few_executables_play_many_cells():
    """Two methods on three clusters, six step sizes, five seeds: 180 runs."""
    clusters = {f"{mean:g}": sg.Cluster(workers=4, compute=sg.times.Exponential(mean=mean)) for mean in (0.05, 0.1, 0.2)}

    def cell(method, cluster, step_size, seed):
        return sg.Cell(method(step_size), QUADRATIC, cluster, until=sg.Updates(20), seed=seed)

    axes = {"method": METHODS, "cluster": clusters, "step_size": [0.01 * k for k in range(1, 7)], "seed": range(5)}
    counts = []
    listening = lambda name, seconds, **_: counts.append(name) if name.endswith("backend_compile_duration") else None  # noqa: E731
    sg.Study(cell, {**axes, "seed": [7]}, lanes=4).run(Here())
    jax.monitoring.register_event_duration_secs_listener(listening)
    try:
        results = sg.Study(cell, axes, lanes=4).run(Here())
    finally:
        jax.monitoring.clear_event_listeners()
    assert len(results.outcomes) == 180
    assert len(counts) <= 2


def same(method, seed):
    return sg.Cell(sg.methods.asynchronous(0.1), QUADRATIC, CLUSTER, until=TARGET, seed=seed)


@pytest.mark.parametrize(
    ("axes", "how", "error", "says"),
    [
        ({}, make, ValueError, "axes must hold at least one axis"),
        ({"seed": []}, make, ValueError, "axis seed must hold at least one value"),
        ({"seed": [1, 1]}, make, ValueError, "axis seed must not hold a value twice, got 1 again"),
        ({"seed": 3}, make, TypeError, "axis seed must be a sequence"),
        ({"seed": [object()]}, make, TypeError, "axis seed must hold numbers or texts"),
        ([("seed", [0])], make, TypeError, "axes must be a mapping"),
        ({"seed": {1, 2}}, make, TypeError, "axis seed must have an order"),
        ({"step_size": [0.1, float("nan")]}, make, ValueError, "axis step_size must not hold nan"),
        ({"overlap": [0, True]}, make, TypeError, "axis overlap must not mix True or False with others"),
        ({"seed": [1]}, 5, TypeError, "make must be a function"),
        ({"method": [1, 2], "seed": [1]}, same, ValueError, "same run for method=1, seed=1 and method=2, seed=1.*use method"),
        ({"seed": [1]}, lambda seed: seed, TypeError, "make's result must be an instance such as Cell"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(axes, how, error, says):
    with pytest.raises(error, match=says):
        sg.Study(how, axes).run(Here())


def test_coordinates_that_are_not_there_are_refused():
    with pytest.raises(TypeError, match="a cell is named by step_size, seed, got seed"):
        study().cell(seed=1)
    with pytest.raises(ValueError, match=r"step_size must be one of 0.05, 0.2"):
        study().cell(seed=1, step_size=0.3)


def test_an_outcome_is_asked_for_as_a_cell_is():
    results = sg.studies.Results({"step_size": [0.05], "seed": [0]}, {})
    with pytest.raises(TypeError, match="a cell is named by step_size, seed, got seed"):
        results.outcome(seed=1)
    with pytest.raises(ValueError, match=r"seed must be one of 0, got 1"):
        results.outcome(step_size=0.05, seed=1)
    with pytest.raises(KeyError, match=r"the cell step_size=0.05, seed=0 has not been made"):
        results.outcome(step_size=0.05, seed=0)


def test_an_error_inside_make_says_of_which_cell():
    one = study(how=lambda step_size, seed: make(step_size / seed, seed))
    with pytest.raises(ZeroDivisionError) as raised:
        one.run()
    assert raised.value.__notes__ == ["in make(step_size=0.05, seed=0)"]
    with pytest.raises(TypeError, match="unexpected keyword") as raised:
        study({"workers": [4]}).cell(step_size=0.05, seed=0, workers=4)
    assert raised.value.__notes__ == ["in make(step_size=0.05, seed=0, workers=4)"]


def test_a_study_says_what_it_is(tmp_path):
    one = study()
    assert repr(one) == "Study(2 step sizes × 3 seeds: 0 of 6 cells made)"
    one.run(Here())
    assert repr(one) == "Study(2 step sizes × 3 seeds: 6 of 6 cells made)"
    assert repr(study(folder=tmp_path)) == f"Study(2 step sizes × 3 seeds: 6 cells, kept in {os.fspath(tmp_path)!r})"


INTERRUPTED = """
import os, pathlib, signal, sys, threading, time
import simsgd as sg
cluster = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=0.1))
problem = sg.problems.quadratic(noise=0.05)
def make(seed):
    return sg.Cell(sg.methods.asynchronous(0.1), problem, cluster, until=sg.Seconds(300), seed=seed)
study = sg.Study(make, {"seed": range(400)}, lanes=2, folder=sys.argv[1])
def stop():
    while not list(pathlib.Path(sys.argv[1]).glob("cells/*.nc")):
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=stop, daemon=True).start()
try:
    study.run()
except KeyboardInterrupt as error:
    print(len(error.partial.outcomes))
print(len(study.results().outcomes))
"""


def test_ctrl_c_keeps_what_is_there_and_says_it(tmp_path):
    script = tmp_path / "interrupted.py"
    script.write_text(textwrap.dedent(INTERRUPTED))
    settings = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, script, tmp_path / "kept"], env=settings, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    partial, kept = map(int, done.stdout.split())
    assert 0 < partial <= kept < 400
