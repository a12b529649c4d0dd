"""Progress bars are shown on a terminal, and none otherwise."""

import os
import pty
import subprocess
import sys
import termios

import pytest

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
