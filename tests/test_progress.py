"""Progress bars are shown on a terminal and in a notebook, and nowhere else unless asked for."""

import os
import pty
import subprocess
import sys
import termios
import time
import types

import pytest
import tqdm

from simsgd.support import progress

CODE = """
import simsgd as sg
cluster = sg.Cluster(2, sg.times.Constant(1.0))
sg.record(sg.AsyncSGD(), cluster, sg.Updates(200){record})
sg.simulate(sg.AsyncSGD(), sg.problems.quadratic(), cluster, sg.optimizers.sgd(0.1), sg.Updates(200){simulate})
"""


def errors_on_a_terminal(code):
    """Run code with a pseudo-terminal as its standard error, and return what it wrote there."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    done = subprocess.Popen([sys.executable, "-c", code], stderr=theirs, stdout=subprocess.DEVNULL)
    os.close(theirs)
    written = b""
    try:
        while chunk := os.read(ours, 65536):
            written += chunk
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(ours)
    assert done.wait() == 0
    return written.decode()


def test_a_terminal_shows_them():
    text = errors_on_a_terminal(CODE.format(record="", simulate=""))
    assert "recording" in text
    assert "simulating" in text


@pytest.mark.parametrize("options", ["", ", progress=False"])
def test_a_pipe_does_not(options):
    code = CODE.format(record=options, simulate=options)
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr == ""


def test_they_can_be_asked_for():
    code = CODE.format(record=", progress=True", simulate=", progress=True")
    assert "simulating" in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr


@pytest.fixture
def kernel(monkeypatch):
    """What a notebook's kernel looks like from inside: IPython is loaded, and its shell is configured by IPKernelApp."""
    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    return shell


def with_widgets(monkeypatch, installed):
    monkeypatch.setattr(progress.importlib.util, "find_spec", lambda name: object() if installed else None)


def test_a_notebook_without_widgets_shows_text(kernel, monkeypatch, capsys):
    with_widgets(monkeypatch, installed=False)
    monkeypatch.setattr(progress, "DELAY", 0.05)
    for _ in progress.bar(range(5), "recording", progress=None):
        time.sleep(0.03)
    assert "recording" in capsys.readouterr().err


def test_what_is_over_soon_leaves_no_trace_in_a_notebook(kernel, monkeypatch, capsys):
    with_widgets(monkeypatch, installed=False)
    assert list(progress.bar(range(5), "recording", progress=None)) == [0, 1, 2, 3, 4]
    assert capsys.readouterr().err == ""


def test_a_notebook_with_widgets_shows_these(kernel, monkeypatch):
    made = []

    def widget(items, **options):
        made.append(options)
        return items

    with_widgets(monkeypatch, installed=True)
    monkeypatch.setitem(sys.modules, "tqdm.notebook", types.SimpleNamespace(tqdm=widget))
    assert list(progress.bar(range(2), "recording", progress=None, total=2)) == [0, 1]
    assert made == [{"desc": "recording", "disable": False, "leave": False, "delay": progress.DELAY, "total": 2}]


def test_a_notebook_is_quiet_if_asked_to_be(kernel):
    assert progress.bar(range(2), "recording", progress=False).disable


def test_a_terminal_of_ipython_is_no_notebook(kernel, monkeypatch):
    kernel.config = {"TerminalIPythonApp": {}}
    assert not progress.in_notebook()
    shown = progress.bar(range(2), "recording", progress=True)
    assert type(shown) is tqdm.tqdm
    assert shown.delay == 0
    shown.close()


def test_outside_ipython_it_is_no_notebook(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not progress.in_notebook()
