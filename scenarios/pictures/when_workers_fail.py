"""One crash as each method lives through it, and what failures do against how often they come."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import xarray
from drawing import colour_of, lines, panels, timelines
from matplotlib.figure import Figure

import simsgd as sg


def draw_crash(shown: Mapping[str, sg.Tape], situation: str, compute_seconds: float, downtime: float) -> Figure:
    """Draw one crash, the job that it costs, and the return, as each of the methods lives through it."""
    worker, start, end = telling_crash(list(shown.values()), compute_seconds, downtime)
    since, until = max(0.0, start - 5 * compute_seconds), end + 6 * compute_seconds
    title = f"Worker {worker} crashes at {start:.2f} s and is back at {end:.2f} s ({situation})"
    figure, axes = timelines(shown, 1, since, until, title)
    beside = worker + (1 if worker < next(iter(shown.values())).workers - 1 else -1)
    look = {"arrowprops": {"arrowstyle": "->"}, "bbox": {"boxstyle": "round", "facecolor": "white"}, "fontsize": 8}
    for ax, (moment, text) in itertools.product(axes.values(), ((start, "crash: the job in hand is lost"), (end, "back"))):
        ax.annotate(text, (moment, worker), (moment + 0.03 * (until - since), beside), **look, va="center")
    return figure


def telling_crash(tapes: list[sg.Tape], compute_seconds: float, downtime: float) -> tuple[int, float, float]:
    """Return (worker, start, end) of a crash that costs every method a job, and is neither too short nor too long to show."""
    down = tapes[0].down
    spells = [(int(w), s, e) for w, s, e in zip(down.worker, down.start, np.fmin(down.end, tapes[0].end), strict=True)]
    if not spells:
        raise ValueError("--between-failures are so long that nobody crashes on the first seed: give less, or more --within")
    costs = [{(int(w), t) for w, t in zip(tape.discarded.worker, tape.discarded.time, strict=True)} for tape in tapes]
    wanted = 5 * compute_seconds, max(1.5 * downtime, 10 * compute_seconds)
    costly = [spell for spell in spells if all(spell[:2] in cost for cost in costs)] or spells
    return next((spell for spell in costly if wanted[0] < spell[2] - spell[1] < wanted[1]), costly[0])


def draw(rates: xarray.Dataset, seconds: str, title: str) -> Figure:
    """Draw what failures do, against how often workers crash."""
    titles = {
        "best_seconds": f"log:{seconds}",
        "gradients_per_second": "gradients per second (dashed: expected)",
        "waiting": "%:share of time spent waiting (dotted: down)",
        "wasted": "%:share of computing that was lost",
    }
    figure, axes = panels(rates, titles, lines, 2, title)
    for method in rates.protocol.values:
        axes["gradients_per_second"].plot(rates.expected.sel(protocol=method), "--", color=colour_of(method), alpha=0.7)
    axes["waiting"].plot(rates.down.median("seed").max("protocol"), ":", color="black")
    return figure
