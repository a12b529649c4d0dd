"""A metric of runs along time, updates, samples or bytes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from simsgd.plots import common, looks
from simsgd.plots.looks import Look
from simsgd.support import checks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simsgd.run import Run
    from simsgd.stopping import Target

LOGARITHMIC = ("loss", "distance")
"""Metrics with one of these words in their name are drawn on a logarithmic scale."""
BETWEEN_MARKERS = 0.15
"""How far apart the markers of a line are, as a share of the picture's diagonal."""

Curve = tuple[np.ndarray, np.ndarray]
"""Where along the axis, and the metric's values there."""


def metric(
    runs: Run | Iterable[Run | Iterable[Run]] | Mapping[str, Run | Iterable[Run]],
    x: str = "time",
    y: str = "loss",
    *,
    labels: Sequence[str] | None = None,
    target: Target | float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a metric of one or several runs as it was evaluated; of several seeds, the median and the range.

    Losses and distances get a logarithmic scale, other metrics a linear one. The last finite point of a run that
    diverged is marked with a cross. Each method has its colour (see `METHOD_COLOURS`); several runs of one method have
    shades of it, and more than eight a colour bar.

    Runs of several seeds under one label are one line, their median, in a band from the least to the greatest, at all the
    moments at which one of them was evaluated (the others are interpolated linearly). It ends where the first of them
    ends; thin lines go on for those that ran longer.

    Args:
        runs: one `Run`, several, or several by label. In the place of a run may stand several that differ in their seeds.
        x: "time" (simulated seconds), "updates", "samples" or "bytes".
        y: the name of a metric that all the runs evaluated, for example "loss" or "accuracy".
        labels: the legend's names for the runs; by default what tells them apart.
        target: a `Target` of the metric `y`, or a value of it, drawn as a dashed line.
        ax: where to draw; a new figure by default.

    Raises:
        ValueError: if `x` or `y` is unknown, there are no runs, labels do not fit them, or runs under one label differ in
            more than their seeds.
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
    groups = common.named_groups("runs", runs, labels)
    for label, group in groups:
        for run in group:
            checks.one_of(f"y (for run {label!r})", y, run.metrics)
    level = _level(target, y)
    ax = common.axes(ax, 8.4, 4.2)
    _draw_lines(ax, groups, x, y)
    if level is not None:
        ax.axhline(level, color="0.35", linestyle="--", linewidth=1, zorder=1, label=f"target: {target}")
    values = np.concatenate([run.dataset[y].values for _, group in groups for run in group])
    values = values[np.isfinite(values)]
    if any(word in y for word in LOGARITHMIC) and (values >= 0).all() and (values > 0).any():
        ax.set_yscale("log", nonpositive="mask")
    ax.set(xlabel=common.AXIS_LABELS[x], ylabel=y.replace("_", " "))
    ax.grid(alpha=0.25)
    seeds = any(len(group) > 1 for _, group in groups)
    common.legend_beside(ax, "line: median; band: least to greatest" if seeds else None)
    return ax


def _draw_lines(ax: Axes, groups: Sequence[tuple[str, tuple[Run, ...]]], x: str, y: str) -> None:
    """Draw each of the groups, and name many by a colour bar."""
    found, too_many = looks.looks(groups), looks.are_too_many(groups)
    markers = len({look.marker for look in found}) > 1
    names = [f"{label}{_remarks(group)}" for label, group in groups]
    for i, ((_, group), name, look) in enumerate(zip(groups, names, found, strict=True)):
        curves = [(run.dataset[x].values, run.dataset[y].values) for run in group]
        along, values = curves[0] if len(group) == 1 else _draw_seeds(ax, curves, look)
        places = {"marker": look.marker, "markevery": (0.04 * i % BETWEEN_MARKERS, BETWEEN_MARKERS), "markersize": 5.5}
        style = {"color": look.colour, "linestyle": look.line_style, "linewidth": 1.6, "label": "_" if too_many else name}
        ax.plot(along, values, **style, **(places if markers else {}))  # type: ignore[arg-type]
        for along, values in itertools.compress(curves, (run.status == "diverged" for run in group)):
            last = np.flatnonzero(np.isfinite(values))[-1:]
            ax.plot(along[last], values[last], "X", color=look.colour, markersize=9, markeredgecolor="white")
    if too_many:
        common.colour_bar(ax, names, [look.colour for look in found])


def _remarks(runs: Sequence[Run]) -> str:
    """Return what a label says of a group of runs beside its name."""
    diverged = sum(run.status == "diverged" for run in runs)
    if len(runs) == 1:
        return " (diverged)" if diverged else ""
    return f" ({len(runs)} seeds{f', {diverged} diverged' if diverged else ''})"


def _draw_seeds(ax: Axes, curves: Sequence[Curve], look: Look) -> Curve:
    """Draw the range of several curves, and what each has after the first has ended; return their median."""
    curves = [_until_not_finite(along, values) for along, values in curves]
    first = max((along[0] for along, _ in curves if len(along)), default=0.0)
    last = min(along[-1] if len(along) else -np.inf for along, _ in curves)
    grid = np.unique(np.concatenate([along for along, _ in curves]))
    grid = grid[(grid >= first) & (grid <= last)]
    for along, values in curves:
        rest = slice(np.searchsorted(along, last), None)
        if len(along[rest]) > 1:
            ax.plot(along[rest], values[rest], color=look.colour, linewidth=0.7, alpha=0.6, label="_")
    if not len(grid):
        return grid, grid
    table = np.stack([np.interp(grid, along, values) for along, values in curves])
    ax.fill_between(grid, table.min(axis=0), table.max(axis=0), color=look.colour, alpha=0.2, linewidth=0)
    return grid, np.median(table, axis=0)


def _until_not_finite(along: np.ndarray, values: np.ndarray) -> Curve:
    """Return a curve up to where it is no longer finite; of several values at one place the last."""
    stop = np.flatnonzero(~np.isfinite(values))
    along, values = (column[: stop[0] if len(stop) else None] for column in (along, values))
    kept = np.append(np.diff(along) > 0, True)[: len(along)]
    return along[kept].astype(float), values[kept]


def _level(target: Target | float | None, y: str) -> float | None:
    """Return the value of the metric `y` at which a target lies."""
    if target is None or isinstance(target, int | float):
        return None if target is None else checks.number("target", target)
    if getattr(target, "metric", None) != y:
        raise ValueError(f"target must be a Target of the metric drawn, y={y!r}, or a number, got {target!r}")
    return target.at_most if target.at_most is not None else target.at_least
