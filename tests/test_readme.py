"""What the README shows runs as it stands there."""

import inspect
import pathlib
import re
import sys
import types

import matplotlib.pyplot as plt

import simsgd as sg

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_scripts_run_as_they_stand(tmp_path, monkeypatch, capsys):
    """And print what the README says that they print, but for numbers in which devices differ in the last bits."""
    monkeypatch.chdir(tmp_path)
    scripts = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(scripts) == 9
    module = types.ModuleType("readme")  # where pickle finds what they define
    monkeypatch.setitem(sys.modules, "readme", module)
    names = vars(module)
    for script in scripts:
        exec(compile(script, "README.md", "exec"), names)
    plt.close("all")
    printed = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(("final", "identity"))]
    assert len(printed) >= 10
    assert [line for line in printed if line not in README] == []
    assert sg.Run.load("run.nc") == names["run"]
    assert sg.Cluster.load("cluster.toml") == names["real"]
    assert names["frame"]["time"].tolist() == names["run"].dataset["time"].values.tolist()


def test_the_table_of_what_there_is_is_whole():
    """Every law, network, fault and protocol that the library exports stands in it, and nothing that it does not have."""
    table = README[README.index("## What there is") : README.index("## Where to go on")]
    named = set(re.findall(r"`(?:\w+\.)*(\w+)(?:\([^`]*\))?`", table))
    bases = {"Law", "Network", "Fabric", "Wire", "AllReduce", "Fault", "Protocol", "Server", "Gradient", "JobInFlight"}
    for module in (sg.times, sg.networks, sg.faults, sg.protocols):
        classes = {name for name in module.__all__ if inspect.isclass(getattr(module, name))} - bases
        results = {"Moments", "Fit", "Candidate", "Slowdown", "Preset", "EndOfRecordingError"}
        assert classes - results <= named, module.__name__
    known = {
        name
        for module in (
            sg,
            sg.works,
            sg.compressions,
            sg.times,
            sg.networks,
            sg.faults,
            sg.protocols,
            sg.problems,
            sg.optimizers,
            sg.plots,
            sg.testing,
        )
        for name in dir(module)
    }
    assert named <= known


def test_pictures_and_files_that_it_names_exist():
    links = re.findall(r"\]\(([^)#]+)\)", README) + re.findall(r"`((?:scenarios|notebooks|tests)/[^`]+)`", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_ci_runs_the_test_command():
    commands = re.findall(r"^python -m venv .*$", README, re.MULTILINE)
    assert len(commands) == 2
    assert commands[1].endswith("python -m pytest")
    assert "python -m pytest" not in commands[0]
    assert "grep -m 1 'python -m pytest' README.md" in (ROOT / ".ci/run").read_text()


def test_the_changelog_begins_with_this_version_and_keeps_the_others():
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    headings = headings[headings[0] == "Unreleased" :]
    assert headings[0] == sg.__version__
    assert headings[1:] == ["0.7.0", "0.6.0", "0.5.0", "0.4.0", "0.3.0", "0.2.0", "0.1.0"]
