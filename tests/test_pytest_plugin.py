"""The pytest plugin: each run is made once in a session, between processes and between sessions; failures show their runs.

Sessions are processes of their own, few of them, as each one starts JAX; what needs none is tested on `Remembered` here.
"""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
import time
import types

import pytest

import simsgd as sg
from simsgd import pytest_plugin
from simsgd.studies import remembering
from simsgd.studies.remembering import Remembered

HEAD = """
import dataclasses, os, pathlib, time
import pytest
import simsgd as sg

CLUSTER = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=0.1))

def given(seed=0, updates=20):
    return sg.AsyncSGD(), sg.problems.quadratic(), CLUSTER, sg.optimizers.sgd(0.1), sg.Updates(updates), seed
"""
CLUSTER = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=0.1))
GIVEN = {
    "protocol": sg.AsyncSGD(),
    "problem": sg.problems.quadratic(),
    "cluster": CLUSTER,
    "optimizer": sg.optimizers.sgd(0.1),
    "until": sg.Updates(20),
}


def session(folder, tests, *options, head=HEAD):
    """Run a pytest session of one file of tests in a process of its own, and return its exit status and its output.

    No plugins but xdist and this one, as others may load what they like.
    """
    (folder / "test_it.py").write_text(head + tests)
    (folder / "pytest.ini").touch()
    plugins = ("-p", "simsgd.pytest_plugin", "-p", "xdist", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", *plugins, "-W", "error", *options]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    alone["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    done = subprocess.run(command, cwd=folder, env=alone, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def outcome(text):
    """Return what the last line of a session counts, such as {"passed": 3}."""
    return {what: int(count) for count, what in re.findall(r"(\d+) (passed|failed|errors?)", text.strip().splitlines()[-1])}


# --- what is remembered --------------------------------------------------------------------------------------------------


def test_a_run_is_made_once_and_another_seed_is_another_run():
    remembered = Remembered()
    first = remembered.run(GIVEN)
    assert remembered.run({**GIVEN, "seed": 0}) is first
    assert first == sg.simulate(**GIVEN)
    assert remembered.run({**GIVEN, "seed": 1}) != first
    assert remembered.made == 2


def test_a_run_that_others_may_be_given_cannot_be_changed():
    run = Remembered().run(GIVEN)
    for name in ("loss", "parameters", "row_time"):
        with pytest.raises(ValueError, match="read-only"):
            run.dataset[name].values[0] = 7.0


def test_a_folder_keeps_runs_for_other_processes(tmp_path):
    first, other = Remembered(tmp_path), Remembered(tmp_path)
    run = first.run(GIVEN)
    assert other.run(GIVEN) == run
    assert other.run(GIVEN).identity == run.identity
    assert (first.made, other.made) == (1, 0)


@pytest.mark.parametrize("harm", [lambda whole: whole[:-200], lambda whole: b"", lambda whole: whole[:99] + b"x" + whole[100:]])
def test_a_damaged_file_is_made_anew(tmp_path, harm):
    run = Remembered(tmp_path).run(GIVEN)
    (path,) = tmp_path.glob("*.nc")
    path.write_bytes(harm(path.read_bytes()))
    again = Remembered(tmp_path)
    assert again.run(GIVEN) == run
    assert again.made == 1
    assert sg.Run.load(path) == run


def test_a_file_under_another_runs_name_is_not_believed(tmp_path):
    Remembered(tmp_path).run(GIVEN)
    (path,) = tmp_path.glob("*.nc")
    path.rename(tmp_path / f"{sg.identity(**GIVEN, seed=1).key}.nc")
    remembered = Remembered(tmp_path)
    assert remembered.run({**GIVEN, "seed": 1}) == sg.simulate(**GIVEN, seed=1)
    assert remembered.made == 1


@dataclasses.dataclass(frozen=True)
class ByTheClock(sg.Protocol):
    def on_gradient(self, server, gradient):
        server.apply(gradient, weight=1 + time.time() * 1e-12)
        server.assign(gradient.worker)


def test_what_is_not_wholly_known_is_made_each_time(tmp_path):
    remembered = Remembered(tmp_path)
    given = {**GIVEN, "protocol": ByTheClock()}
    assert remembered.run(given) is not remembered.run(given)
    assert remembered.made == 2
    assert not list(tmp_path.iterdir())


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(remembering, "MOST_BYTES", int(2.5 * Remembered().run(GIVEN).dataset.nbytes))
    remembered = Remembered()
    for seed in (0, 1, 0, 2, 0):  # the run whose last use is the longest ago goes: that of seed 1
        remembered.run({**GIVEN, "seed": seed})
    assert remembered.made == 3
    remembered.run({**GIVEN, "seed": 1})
    assert remembered.made == 4


# --- sessions ------------------------------------------------------------------------------------------------------------

SWEEP = """
import jax
from simsgd.replaying import programs

COMPILED = []

def heard(event, seconds, **about):
    if event == "/jax/core/compile/backend_compile_duration":
        COMPILED.append(about)

jax.monitoring.register_event_duration_secs_listener(heard)

@pytest.fixture(scope="module")
def after_each():
    return []

@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("step_size", [0.01 * 1.3**k for k in range(10)])
def test_case(simsgd_simulate, step_size, seed, after_each):
    protocol, problem, cluster, _, until, _ = given(updates=5)
    run = simsgd_simulate(protocol, problem, cluster, sg.optimizers.sgd(step_size), until, seed)
    assert run.status == "completed"
    after_each.append(len(COMPILED))

def test_few_were_compiled(simsgd_simulate, after_each):
    assert simsgd_simulate.made == len(after_each) == 100
    assert 0 < programs.held() <= 5
    assert 0 < after_each[0] == after_each[-1]
"""
ONCE = """
@pytest.fixture(scope="module")
def wide(simsgd_simulate):
    return simsgd_simulate(*given(seed=5))

def test_once(simsgd_simulate, wide):
    made = simsgd_simulate.made
    assert simsgd_simulate(*given(seed=5)) is wide
    assert simsgd_simulate.made == made

def test_refused_as_by_simulate(simsgd_simulate):
    with pytest.raises(TypeError, match="problem must be an instance"):
        simsgd_simulate(sg.AsyncSGD(), CLUSTER, CLUSTER, sg.optimizers.sgd(0.1), sg.Updates(3))
"""
FAILING = """
def test_fails(simsgd_simulate):
    assert simsgd_simulate(*given(seed=3)).final("loss") < 0

def test_fails_by_its_fixture(wide):
    assert wide.final("loss") < 0

def test_fails_with_a_problem_of_its_own(simsgd_simulate):
    protocol, problem, *others = given()
    assert simsgd_simulate(protocol, dataclasses.replace(problem, name="mine"), *others).final("loss") < 0

def test_fails_without_a_run(simsgd_simulate):
    assert False
"""


BOTH = """
def test_both_at_once(simsgd_simulate):
    here = pathlib.Path(os.environ["PYTEST_XDIST_WORKER"])
    here.with_suffix(".ready").touch()
    deadline = time.monotonic() + 120
    while len(list(pathlib.Path().glob("*.ready"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    run = simsgd_simulate(*given(updates=200))
    here.with_suffix(".made").write_text(f"{simsgd_simulate.made} {run.hashes['parameters']}")

def test_fails(simsgd_simulate):
    assert simsgd_simulate(*given(updates=200)).final("loss") < 0
"""


def test_processes_of_xdist_make_a_run_once(tmp_path):
    """Both ask for it at the same moment; one makes it, the other waits and loads it. Later it is found in the folder."""
    _, text = session(tmp_path, BOTH, "-n", "2", "--dist", "each", "--basetemp=temporary")
    assert outcome(text) == {"passed": 2, "failed": 2}, text
    assert text.count("simulations of this test") == text.count("\nsg.simulate(sg.AsyncSGD(), sg.problems.quadratic(), ") == 2
    made, parameters = zip(*(path.read_text().split() for path in tmp_path.glob("*.made")), strict=True)
    assert sorted(made) == ["0", "1"]
    later = Remembered(tmp_path / "temporary" / "simsgd")
    assert {later.run(GIVEN | {"until": sg.Updates(200)}).hashes["parameters"]} == set(parameters)
    assert later.made == 0


def test_a_sweep_of_a_hundred_cases_compiles_for_the_first_alone_and_failures_show_their_runs(tmp_path):
    """At most five programs of the library, and nothing whatever is compiled after the first case."""
    _, text = session(tmp_path, SWEEP + ONCE + FAILING)
    assert outcome(text) == {"passed": 103, "failed": 4}, text
    check_lines(text)
    assert not list(tmp_path.glob("**/*.nc"))


@pytest.mark.parametrize(
    ("given", "worker", "wanted"),
    [
        (None, None, None),
        (None, "gw0", "base/simsgd"),
        ("runs", None, "runs"),
        ("runs", "gw0", "runs"),
        (pytest_plugin.DEFAULT, "gw0", "cache/simsgd"),
    ],
)
def test_where_runs_are_shared(tmp_path, monkeypatch, given, worker, wanted):
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw7")  # of a session around this one: it says nothing
    (tmp_path / "base" / "gw0").mkdir(parents=True)
    config = types.SimpleNamespace(
        getoption={"simsgd_cache": given}.get,
        invocation_params=types.SimpleNamespace(dir=tmp_path),
        cache=types.SimpleNamespace(mkdir=lambda name: tmp_path / "cache" / name),
        **({"workerinput": {"workerid": worker}} if worker else {}),
    )
    found = pytest_plugin._folder(config, types.SimpleNamespace(getbasetemp=lambda: tmp_path / "base" / "gw0"))
    assert found == (wanted and tmp_path / wanted)
    assert wanted is None or (found / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55\n")


def check_lines(text):
    """A failed test shows the line of each of its runs, true code or said not to be, and no others."""
    lines = text.splitlines()
    assert sum("simulations of this test" in line for line in lines) == 3
    shown = [line for line in lines if line.startswith("sg.simulate(")]
    seeds = [int(found[1]) for line in shown if (found := re.search(r"seed=(\d)", line))]
    assert sorted(seeds) == [3, 5]
    for seed, line in zip(seeds, (line for line in shown if "seed=" in line), strict=True):
        assert eval(line, {"sg": sg}) == sg.simulate(**GIVEN, seed=seed)
    (mine,) = (i for i, line in enumerate(lines) if line.startswith("sg.simulate(") and "seed=" not in line)
    assert lines[mine + 1].startswith("# not code: Problem(")


def test_a_session_that_does_not_use_it_loads_nothing(tmp_path):
    tests = """
import sys

def test_nothing_is_loaded():
    assert not {"jax", "numpy", "optax", "simpy", "xarray", "scipy", "matplotlib"} & set(sys.modules)
    assert {name for name in sys.modules if name.startswith("simsgd")} == {"simsgd", "simsgd.pytest_plugin"}
"""
    _, text = session(tmp_path, tests, head="")
    assert outcome(text) == {"passed": 1}, text


def test_help_names_the_option_and_the_fixture(tmp_path):
    status, text = session(tmp_path, "", "--help", head="")
    assert status == 0
    assert "--simsgd-cache=[FOLDER]" in text
    assert "simsgd_simulate" in text


@pytest.mark.parametrize("given", ["test_it.py", "test_it.py::test_first", "."])
def test_tests_are_not_taken_for_a_folder_of_runs(tmp_path, given):
    status, text = session(tmp_path, "", "--simsgd-cache", given, head="")
    assert status == pytest.ExitCode.USAGE_ERROR
    assert f"--simsgd-cache got '{given}', which is no folder of runs: write --simsgd-cache=FOLDER" in text
