"""How a study says that it is getting on: one bar on a terminal and in a notebook, a log line for each group when asked."""

import io
import logging
import re
import subprocess
import sys
import threading
import time
import types

import pytest
import tqdm
from test_progress import errors_on_a_terminal

from simsgd.executing import reporting
from simsgd.executing.reporting import Reporting

CODE = """
import time
from simsgd.executing import Group, execute
from simsgd.executing.pools import playing
from simsgd.executing.reporting import Reporting

def play(cells):
    time.sleep(0.3)
    return cells

with Reporting(40, already=20{progress}) as reporting, playing(2) as threads:
    groups = {{f"group {{n}}": Group(play, (5,), cells=5) for n in range(4)}}
    finished = lambda name, cells: reporting.finished(name, cells, 1000 * cells)
    execute({{}}, groups, threads, threads, on_outcomes=finished, on_failure=print, on_look=reporting.look)
"""


def test_a_terminal_shows_one_bar_with_cells_speed_and_time_left():
    lines = re.split(r"[\r\n]+", errors_on_a_terminal(CODE.format(progress="")))
    shown = [line for line in lines if "gradients/s" in line]
    assert any("20/40" in line or "25/40" in line for line in lines)
    assert any(re.search(r"cells:.*\b3[05]/40 \[00:0\d<00:0\d,.*cell/s?, [\d,]+ gradients/s\]", line) for line in shown), lines


@pytest.mark.parametrize("progress", ["", ", progress=False"])
def test_a_pipe_is_quiet(progress):
    done = subprocess.run([sys.executable, "-c", CODE.format(progress=progress)], capture_output=True, text=True, check=True)
    assert done.stderr + done.stdout == ""


def test_a_notebook_shows_it_too(monkeypatch):
    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    made = []

    def widget(items, **options):
        made.append(tqdm.tqdm(items, **options | {"file": io.StringIO(), "delay": 0}))
        return made[0]

    monkeypatch.setattr("simsgd.support.progress.notebook_bar", lambda: widget)
    with Reporting(4, already=1) as reporting:
        reporting.finished("a", cells=2, gradients=10)
        assert (made[0].total, made[0].n, made[0].disable) == (4, 3, False)
        assert "gradients/s" in made[0].postfix


def test_a_log_line_for_each_group_when_asked(caplog):
    with Reporting(5, progress=False) as reporting:
        reporting.finished("unheard", cells=1, gradients=1)
        with caplog.at_level(logging.INFO, logger="simsgd.studies"):
            reporting.finished("group 7", cells=2, gradients=1_000_000)
            reporting.failed("group 8", cells=1, error=ValueError("no"))
    first, second = (record.getMessage() for record in caplog.records)
    assert re.fullmatch(r"group 7: 2 cells, 1,000,000 gradients; 3 of 5 cells are done, [\d,]+ gradients/s", first)
    assert re.fullmatch(r"group 8: 1 cells failed, ValueError: no; 4 of 5 cells are done, [\d,]+ gradients/s", second)


def test_the_speed_counts_what_is_being_played_once(monkeypatch):
    """Gradients told while they are played, and again with their group's outcomes, are the same gradients."""
    clock = [0.0]
    monkeypatch.setattr(reporting, "time", types.SimpleNamespace(monotonic=lambda: clock[0]))
    with Reporting(2, progress=False) as shown:
        clock[0] = 2.0
        threads = [threading.Thread(target=lambda: [shown.played(1) for _ in range(1000)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert shown._speed == 2000
        shown.finished("a", cells=1, gradients=4000)
        assert shown._speed == 2000


def test_the_clock_goes_on_between_groups(monkeypatch, capsys):
    monkeypatch.setattr(reporting, "EVERY", 0.05)
    with Reporting(2, progress=True) as shown:
        for _ in range(10):
            time.sleep(0.02)
            shown.look()
    assert 2 <= capsys.readouterr().err.count("gradients/s") <= 10
