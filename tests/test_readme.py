"""What the README shows runs as it stands there."""

import pathlib
import re

import matplotlib.pyplot as plt

import simsgd as sg

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_scripts_run_as_they_stand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scripts = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(scripts) == 3
    names = {"__name__": "readme"}
    exec(compile(scripts[0], "README.md", "exec"), names)
    assert round(float(names["tape"].staleness.mean())) == 15
    for script in scripts[1:]:
        exec(compile(script, "README.md", "exec"), names)
    plt.close("all")
    assert sg.Run.load("run.nc") == names["run"]
    assert sg.Cluster.load("cluster.toml") == names["real"]
    tape = sg.record(names["Ringmaster"](threshold=3), names["cluster"], sg.Updates(50), message_bytes=1e6)
    assert tape.staleness.max() == 2


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
