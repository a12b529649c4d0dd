"""A metric of runs along time, updates, samples or bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from simsgd.plots import common
from simsgd.support import checks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simsgd.run import Run
    from simsgd.stopping import Target

LOGARITHMIC = ("loss", "distance")
"""Metrics with one of these words in their name are drawn on a logarithmic scale."""


def metric(
    runs: Run | Iterable[Run] | Mapping[str, Run],
    x: str = "time",
    y: str = "loss",
    *,
    labels: Sequence[str] | None = None,
    target: Target | float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a metric of one or several runs as it was evaluated.

    Losses and distances get a logarithmic scale, other metrics a linear one. The last finite point of a run that
    diverged is marked with a cross.

    Args:
        runs: one `Run`, several, or several by label.
        x: "time" (simulated seconds), "updates", "samples" or "bytes".
        y: the name of a metric that all the runs evaluated, for example "loss" or "accuracy".
        labels: the legend's names for the runs; by default what tells them apart.
        target: a `Target` of the metric `y`, or a value of it, drawn as a dashed line.
        ax: where to draw; a new figure by default.

    Raises:
        ValueError: if `x` or `y` is unknown, there are no runs, or labels do not fit them.
        TypeError: if `runs` holds something else.

    Example:
        >>> import matplotlib.pyplot as plt, simsgd as sg
        >>> cluster = sg.Cluster(workers=4, compute=sg.times.Constant(0.1))
        >>> run = sg.simulate(sg.AsyncSGD(), sg.problems.quadratic(), cluster, sg.optimizers.sgd(0.1), sg.Updates(50))
        >>> ax = sg.plots.metric({"asynchronous": run}, "updates", "loss", target=0.1)
        >>> ax.get_xlabel(), ax.get_yscale()
        ('updates (server steps)', 'log')
        >>> plt.close(ax.figure)
    """
    checks.one_of("x", x, common.AXIS_LABELS)
    runs_by_label = common.named("runs", runs, labels, "dataset")
    for label, run in runs_by_label:
        checks.one_of(f"y (for run {label!r})", y, run.metrics)
    level = _level(target, y)
    ax = ax or common.new_axes(7, 4.2)
    for (label, run), colour in zip(runs_by_label, common.colours(len(runs_by_label)), strict=True):
        _draw_metric(ax, run, x, y, label, colour)
    if level is not None:
        ax.axhline(level, color="0.35", linestyle="--", linewidth=1, zorder=1, label=f"target: {target}")
    values = np.concatenate([run.dataset[y].values for _, run in runs_by_label])
    values = values[np.isfinite(values)]
    if any(word in y for word in LOGARITHMIC) and (values >= 0).all() and (values > 0).any():
        ax.set_yscale("log", nonpositive="mask")
    ax.set(xlabel=common.AXIS_LABELS[x], ylabel=y.replace("_", " "))
    ax.grid(alpha=0.25)
    ax.legend()
    return ax


def _draw_metric(ax: Axes, run: Run, x: str, y: str, label: str, colour: str) -> None:
    along, values = run.dataset[x].values, run.dataset[y].values
    finite = np.flatnonzero(np.isfinite(values))
    diverged = run.status == "diverged"
    ax.plot(along, values, color=colour, linewidth=1.6, label=f"{label} (diverged)" if diverged else label)
    if diverged and len(finite):
        ax.plot(along[finite[-1]], values[finite[-1]], "X", color=colour, markersize=9, markeredgecolor="white")


def _level(target: Target | float | None, y: str) -> float | None:
    """Return the value of the metric `y` at which a target lies."""
    if target is None or isinstance(target, int | float):
        return None if target is None else checks.number("target", target)
    if getattr(target, "metric", None) != y:
        raise ValueError(f"target must be a Target of the metric drawn, y={y!r}, or a number, got {target!r}")
    return target.at_most if target.at_most is not None else target.at_least
