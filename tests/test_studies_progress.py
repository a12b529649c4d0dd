"""How a study says that it is getting on: one bar on a terminal and in a notebook, a log line for each group when asked."""

import io
import logging
import re
import subprocess
import sys
import threading
import time
import types

import tqdm
from test_progress import errors_on_a_terminal

from simsgd.studies import progress as module
from simsgd.studies.outcomes import Outcome
from simsgd.studies.progress import Progress

CODE = """
import simsgd as sg
cluster = sg.Cluster(2, sg.times.Constant(1.0))
method, problem = sg.methods.asynchronous(0.1), sg.problems.quadratic()
study = sg.Study(lambda seed: sg.Cell(method, problem, cluster, until=sg.Updates(50), seed=seed), {{"seed": range(4)}}, lanes=2)
study.run({progress})
"""


def outcomes(count, gradients, failed=0):
    good = [Outcome("completed", {}, {"gradients": float(gradients)})] * (count - failed)
    return good + [Outcome.failure(ValueError("no"))] * failed


def test_a_terminal_shows_one_bar_with_cells_speed_and_time_left():
    lines = re.split(r"[\r\n]+", errors_on_a_terminal(CODE.format(progress="")))
    assert any(re.search(r"cells:.*\b[24]/4 \[\d\d:\d\d<\d\d:\d\d,.*cell.*, [\d,]+ gradients/s\]", line) for line in lines), (
        lines
    )
    assert not [line for line in lines if line.strip() and "cells" not in line]


def test_a_pipe_is_quiet():
    done = subprocess.run([sys.executable, "-c", CODE.format(progress="")], capture_output=True, text=True, check=True)
    assert done.stderr + done.stdout == ""


def test_a_notebook_is_quiet_if_asked_to_be(monkeypatch, capsys):
    monkeypatch.setattr("simsgd.support.progress.in_notebook", lambda: True)
    with Progress(4, False) as progress:
        progress.finished("a", outcomes(2, 10))
        progress.look()
    assert capsys.readouterr() == ("", "")


def test_a_notebook_shows_it_too(monkeypatch):
    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    made = []

    def widget(items, **options):
        made.append(tqdm.tqdm(items, **options | {"file": io.StringIO(), "delay": 0}))
        return made[0]

    monkeypatch.setattr("simsgd.support.progress.notebook_bar", lambda: widget)
    with Progress(4, None, already=1) as progress:
        progress.finished("a", outcomes(2, 10))
        assert (made[0].total, made[0].n, made[0].disable) == (4, 3, False)
        assert "gradients/s" in made[0].postfix


def test_a_log_line_for_each_group_when_asked(caplog):
    with Progress(9, False) as progress:
        progress.finished("unheard", outcomes(1, 1))
        with caplog.at_level(logging.INFO, logger="simsgd.studies"):
            progress.finished("0123456789abcdef", outcomes(2, 500_000))
            progress.finished("b", outcomes(3, 10, failed=1))
    first, second = (record.getMessage() for record in caplog.records)
    assert re.fullmatch(r"group 0123456789ab: 2 cells, 1,000,000 gradients; 3 of 9 cells are done, [\d,]+ gradients/s", first)
    assert re.fullmatch(r"group b: 3 cells, 1 failed, 20 gradients; 6 of 9 cells are done, [\d,]+ gradients/s", second)


def test_the_speed_counts_what_is_being_played_once(monkeypatch):
    """Gradients told while they are played, and again with their group's outcomes, are the same gradients."""
    clock = [0.0]
    monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: clock[0]))
    with Progress(2, False) as progress:
        clock[0] = 2.0
        threads = [threading.Thread(target=lambda: [progress.played(1) for _ in range(1000)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert progress._speed == "2,000 gradients/s"
        progress.finished("a", outcomes(1, 4000))
        assert progress._speed == "2,000 gradients/s"
        progress.finished("b", outcomes(1, 2000))  # of a process, which tells nothing before
        assert progress._speed == "3,000 gradients/s"


def test_the_clock_goes_on_between_groups(monkeypatch, capsys):
    monkeypatch.setattr(module, "EVERY", 0.05)
    with Progress(2, True) as progress:
        for _ in range(10):
            time.sleep(0.02)
            progress.look()
    assert 2 <= capsys.readouterr().err.count("gradients/s") <= 10
