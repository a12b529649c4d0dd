"""Figures of a study: metrics with bands over seeds, shares of runs that arrived, times to the target.

Law of this module: each figure stands on all seeds. A run that stopped at its target is not left to those that go on, one that
diverged or failed is not left out, and one that never arrived is seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.ticker import PercentFormatter

from simsgd.plots import common
from simsgd.plots.curves import BETWEEN_MARKERS, LOGARITHMIC
from simsgd.plots.looks import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_MARKS = 25
"""So many arrivals are marked each; of more some."""
BAD = ("diverged", "failed")
"""The ends of runs that count as worse than all others."""
NEVER = 1.06
"""Where runs that never arrived are drawn, in horizons."""


class Course(NamedTuple):
    """How a metric went in a run.

    Attributes:
        along: where the evaluations are along the axis.
        values: the metric there.
        end: "arrived" where the run stopped at its target in this metric, "diverged", "failed" (with an error), or "ended".
    """

    along: np.ndarray
    values: np.ndarray
    end: str


def bands(
    courses: Mapping[str, Sequence[Course]],
    looks: Mapping[str, Look],
    x: str,
    y: str,
    *,
    lower_is_better: bool,
    level: float | None = None,
    quantiles: tuple[float, float] = (0.0, 1.0),
    ax: Axes | None = None,
) -> Axes:
    """Draw a metric of each label: the median over its runs in a band between two quantiles.

    Quantiles are of all runs: one that stopped at its target counts as better than those still running, one that diverged or
    failed as worse. So a median ends, with a dot, at the target when half of the runs have arrived, and with a cross when half
    have diverged. At the first end of a run that did neither, the band ends, and thin lines go on.

    Args:
        courses: the runs of each label.
        looks: the look of each label.
        x: what they are drawn along, a name of `AXIS_LABELS`.
        y: the metric.
        lower_is_better: whether it is.
        level: the target's value, a dashed line.
        quantiles: the band's edges.
        ax: where to draw; a new figure by default.
    """
    ax = common.axes(ax, 8.4, 4.2)
    arrived = -math.inf if lower_is_better else math.inf
    for i, (label, runs) in enumerate(courses.items()):
        look = looks[label]
        grid, table = _table([_finite(course) for course in runs], arrived)
        middle, low, high = (_quantile(table, q) for q in (0.5, *quantiles))
        known = np.isfinite(middle)
        marks = {"marker": look.marker, "markevery": (0.04 * i % BETWEEN_MARKERS, BETWEEN_MARKERS), "markersize": 5.5}
        style = {"color": look.colour, "linestyle": look.line_style, "linewidth": 1.6}
        ax.plot(grid[known], middle[known], label=_counted(label, runs), **style, **marks)  # type: ignore[arg-type]
        if len(runs) > 1:
            _fill(ax, grid, (low, high), arrived, level, look.colour)
        if len(runs) > 1 or runs[0].end in BAD:
            _mark_end(ax, grid, middle, arrived, look.colour)
        if len(grid):
            _draw_rest(ax, runs, grid[-1], look.colour)
    if level is not None:
        ax.axhline(level, color="0.35", linestyle="--", linewidth=1, zorder=1, label="target")
    values = np.concatenate([course.values for runs in courses.values() for course in runs])
    values = values[np.isfinite(values)]
    if any(word in y for word in LOGARITHMIC) and len(values) and (values >= 0).all() and (values > 0).any():
        ax.set_yscale("log", nonpositive="mask")
    ax.set(xlabel=common.AXIS_LABELS[x], ylabel=y.replace("_", " "))
    ax.grid(alpha=0.25)
    common.legend_beside(ax, _title(courses, quantiles))
    return ax


def _title(courses: Mapping[str, Sequence[Course]], quantiles: tuple[float, float]) -> str | None:
    """Return what a legend says of lines and bands; nothing where there is one run for each label."""
    runs = [course for each in courses.values() for course in each]
    if len(runs) == len(courses):
        return None
    edges = "least to greatest" if quantiles == (0.0, 1.0) else f"{quantiles[0]:.0%} to {quantiles[1]:.0%}"
    said = f"line: median of all seeds; band: {edges}"
    ends = {run.end for run in runs}
    said += "\ndot: half have arrived (they count as better)" if "arrived" in ends else ""
    bad = " or ".join(end for end in BAD if end in ends)
    said += f"\ncross: half have {bad} (they count as worse)" if bad else ""
    lasts = {float(run.along[-1]) for each in courses.values() for run in each if run.end == "ended" and len(run.along)}
    return said + ("\nthin: runs that go on after the first has ended" if len(lasts) > 1 else "")


def _counted(label: str, runs: Sequence[Course]) -> str:
    """Return a label with how many runs it stands for, and how they ended."""
    ends = [run.end for run in runs]
    said = [f"{len(runs)} seeds"] if len(runs) > 1 else []
    said += [f"{ends.count(end)} {end}" for end in ("arrived", *BAD) if end in ends and len(runs) > 1]
    said += [end for end in BAD if ends == [end]]
    return f"{label} ({', '.join(said)})" if said else label


def _finite(course: Course) -> Course:
    """Return a course up to where it is no longer finite; of several values at one place the last."""
    stop = np.flatnonzero(~np.isfinite(course.values))
    along, values = (column[: stop[0] if len(stop) else None] for column in course[:2])
    kept = np.append(np.diff(along) > 0, True)[: len(along)]
    return Course(along[kept].astype(float), values[kept], course.end)


def _table(courses: Sequence[Course], arrived: float) -> tuple[np.ndarray, np.ndarray]:
    """Return where the courses are compared, shape (places,), and their values there: what stopped is infinite."""
    beyond = {"arrived": arrived, "ended": math.nan} | dict.fromkeys(BAD, -arrived)
    grid = np.unique(np.concatenate([course.along for course in courses]))
    ends = [course.along[-1] for course in courses if course.end == "ended" and len(course.along)]
    grid = grid[grid <= min(ends)] if ends else np.append(grid, np.nextafter(grid[-1:], math.inf))  # when all have stopped
    rows = [
        np.interp(grid, course.along, course.values, right=beyond[course.end])
        if len(course.along)
        else np.full(len(grid), beyond[course.end])
        for course in courses
    ]
    return grid, np.stack(rows)


def _quantile(table: np.ndarray, share: float) -> np.ndarray:
    """Return a quantile over the rows; between two values of which one is infinite, it is infinite."""
    ordered = np.sort(table, axis=0)
    place = share * (len(table) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    both = np.isfinite(low) & np.isfinite(high)
    inside = np.where(both, low, 0.0) + (place % 1) * (np.where(both, high, 0.0) - np.where(both, low, 0.0))
    return np.where(both, inside, np.where(np.isfinite(low), high, low))


def _fill(ax: Axes, grid: np.ndarray, edges: Sequence[np.ndarray], arrived: float, level: float | None, colour: str) -> None:
    """Fill the band between two edges: where an edge has arrived to the target, where it has diverged to the worst there is."""
    finite = np.concatenate([edge[np.isfinite(edge)] for edge in edges])
    if not len(finite):
        return
    worst = finite.max() if arrived < 0 else finite.min()
    at_target = math.nan if level is None else level
    filled = [np.where(edge == arrived, at_target, np.where(edge == -arrived, worst, edge)) for edge in edges]
    there = np.isfinite(edges[0]) | np.isfinite(edges[1])
    ax.fill_between(grid, filled[0], filled[1], where=list(there), color=colour, alpha=0.2, linewidth=0)


def _mark_end(ax: Axes, grid: np.ndarray, middle: np.ndarray, arrived: float, colour: str) -> None:
    """Mark where the median has arrived, or diverged."""
    known = np.flatnonzero(np.isfinite(middle))
    if len(known) and known[-1] + 1 < len(grid):
        mark = "o" if middle[known[-1] + 1] == arrived else "X"
        ax.plot(grid[known[-1:]], middle[known[-1:]], mark, color=colour, markersize=9, markeredgecolor="white", zorder=4)


def _draw_rest(ax: Axes, runs: Sequence[Course], last: float, colour: str) -> None:
    """Draw the runs that go on after the band has ended."""
    for run in runs:
        rest = slice(np.searchsorted(run.along, last), None)
        if len(run.along[rest]) > 1:
            ax.plot(run.along[rest], run.values[rest], color=colour, linewidth=0.7, alpha=0.6, label="_")


def arrivals(
    times: Mapping[str, np.ndarray],
    looks: Mapping[str, Look],
    horizon: float,
    *,
    x: str = "time",
    targets: int = 1,
    ends: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the share of all runs that have arrived at their target, along what it took them.

    Args:
        times: what each run of each label took, infinite for never; of several targets all of them.
        looks: the look of each label.
        horizon: where the picture ends.
        x: what they took, a name of `AXIS_LABELS`.
        targets: how many there are.
        ends: by label, how many runs failed or diverged, in words.
        ax: where to draw; a new figure by default.
    """
    ax = common.axes(ax, 8.4, 4.2)
    for i, (label, took) in enumerate(times.items()):
        look, ordered = looks[label], np.sort(took[np.isfinite(took)])
        share = np.arange(len(ordered) + 1) / len(took)
        along, heights = np.append(np.append(0.0, ordered), horizon), np.append(share, share[-1])
        few = list(range(1, len(ordered) + 1))
        marks = few if len(few) <= MOST_MARKS else (0.04 * i % BETWEEN_MARKERS, BETWEEN_MARKERS)
        style: dict[str, Any] = {"color": look.colour, "linestyle": look.line_style, "linewidth": 1.6, "clip_on": False}
        style |= {"marker": look.marker, "markevery": marks, "markersize": 5.5}
        said = ", ".join(filter(None, (f"{len(ordered)} of {len(took)}", (ends or {}).get(label))))
        ax.step(along, heights, where="post", label=f"{label} ({said})", **style)
    ax.set(xlim=(0, horizon), ylim=(0, 1), xlabel=common.AXIS_LABELS[x])
    ax.set_ylabel("share of runs arrived" if targets == 1 else f"share of runs and {targets} targets arrived")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.grid(alpha=0.25)
    common.legend_beside(ax, "arrived, of all")
    return ax


class Bar(NamedTuple):
    """The time to the target of a label.

    Attributes:
        times: of each run, simulated seconds, infinite for never.
        mean: the restricted mean, simulated seconds; NaN where all runs failed, so that nothing was measured.
        low, high: the ends of its interval; NaN where there is none.
        ends: how many runs failed or diverged, in words.
    """

    times: np.ndarray
    mean: float
    low: float
    high: float
    ends: str = ""


def bars(found: Mapping[str, Bar], looks: Mapping[str, Look], horizon: float, *, ax: Axes | None = None) -> Axes:
    """Draw the restricted mean time to the target of each label, with its interval, and each run.

    Runs that never arrived are crosses beyond the horizon, and counted in the bar as the horizon.

    Args:
        found: by label, from the top down.
        looks: the look of each label.
        horizon: simulated seconds.
        ax: where to draw; a new figure by default.
    """
    ax = common.axes(ax, 8.4, 1.4 + 0.45 * len(found))
    for row, (label, bar) in enumerate(found.items()):
        colour = looks[label].colour
        never = ~np.isfinite(bar.times)
        if math.isfinite(bar.mean):
            ax.barh(row, bar.mean, 0.7, color=colour, alpha=0.35, hatch="////" if never.any() else None, edgecolor="white")
        if math.isfinite(bar.low):
            ax.plot([bar.low, bar.high], [row, row], color=colour, linewidth=1.6)
        places = row + np.linspace(-0.22, 0.22, len(bar.times)) if len(bar.times) > 1 else np.array([float(row)])
        ax.plot(bar.times[~never], places[~never], looks[label].marker, color=colour, markersize=5.5, markeredgecolor="white")
        ax.plot(np.full(never.sum(), NEVER * horizon), places[never], "x", color=colour, markersize=5)
        text = f"{(~never).sum()} of {len(never)} arrived" + (f", {bar.ends}" if bar.ends else "")
        ax.annotate(text, (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize="small")
    ax.axvline(horizon, color="0.35", linestyle="--", linewidth=1, zorder=1)
    ax.text(NEVER * horizon, -0.6, "never", ha="center", va="bottom", fontsize="small")
    ax.set_yticks(range(len(found)), list(found))
    ax.set(xlim=(0, (2 * NEVER - 1) * horizon), ylim=(len(found) - 0.5, -0.6))
    ax.set_xlabel("simulated seconds to the target: restricted mean with its 95% interval, and each run")
    ax.tick_params(axis="y", length=0)
    return ax
