"""What the scenarios' pictures share: blue is synchronous, orange asynchronous; what never happened is a cross at the top."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter

import simsgd as sg

matplotlib.use("Agg")


def colour_of(method: str) -> str:
    """Return the colour of a method by its name, as in all pictures: light blue is a second kind of synchronous SGD."""
    return (
        sg.plots.METHOD_COLOURS["KSyncSGD"]
        if method in ("synchronous, goes on", "sync on a server")
        else sg.plots.colour_of(method.split()[0].strip(","))
    )


OTHERS = tuple(sg.plots.LINES[k] for k in (2, 3, 6, 4))
"""Colours of what is neither synchronous nor asynchronous, in order."""


def logarithmic(axis: Axis, subs: Sequence[float] = (1, 2, 3, 5), base: float = 10) -> None:
    """Make an axis logarithmic, with plain numbers at its ticks."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(LogLocator(base, subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def crosses(ax: Axes, x: np.ndarray, colour: str) -> None:
    """Mark what was never reached: crosses on the upper edge."""
    if len(x):  # drawn outside the axes, nothing at all would upset the layout
        ax.plot(x, np.ones(len(x)), "x", color=colour, transform=ax.get_xaxis_transform(), clip_on=False)


def legend_beside(ax: Axes) -> None:
    """Add a legend to the right of the axes."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, borderaxespad=0)


def timelines(
    tapes: Mapping[str, sg.Tape], columns: int, start: float, stop: float, title: str, slow: float | None = None
) -> tuple[Figure, dict[str, Axes]]:
    """Draw timelines side by side, with one legend for all; jobs that compute for longer than `slow` seconds are dark."""
    shape = -(-len(tapes) // columns), columns
    size = (6.5 * columns if columns > 1 else 12), 0.7 + (2.5 if columns > 1 else 3.1) * shape[0]
    figure, axes = plt.subplots(*shape, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained")
    for ax, (name, tape) in zip(axes.flat, tapes.items(), strict=True):
        sg.plots.timeline(tape, start=start, stop=stop, ax=ax)
        if slow is not None:
            mark_slow(ax, tape, slow, stop)
        updates = int(np.count_nonzero((tape.update_times >= start) & (tape.update_times <= stop)))
        ax.set_title(f"{name}: {updates} updates in {stop - start:.3g} s", fontsize=10)
        ax.label_outer()
    sg.plots.legend_below(figure)
    figure.suptitle(title)
    return figure, dict(zip(tapes, axes.flat, strict=True))


def mark_slow(ax: Axes, tape: sg.Tape, longer_than: float, stop: float) -> None:
    """Darken the jobs that took longer than so many seconds."""
    logs = (tape, tape.in_flight)
    worker, began, ended = (np.concatenate([getattr(log, name) for log in logs]) for name in ("worker", "began", "ended"))
    ended = np.fmin(ended, tape.end)  # not a number for a job still under way
    slow = (ended - began > longer_than) & (began < stop)
    if not slow.any():  # a legend shows no bars in a colour of its own
        return
    bars = {"y": worker[slow] - 0.38, "width": np.minimum(ended, stop)[slow] - began[slow], "left": began[slow]}
    look = {"color": "#004D38", "edgecolor": "white", "linewidth": 0.5, "height": 0.76, "align": "edge"}
    ax.barh(**bars, **look, label=f"computing, for more than {longer_than:g} s")


def panels(
    measured: xarray.Dataset, titles: Mapping[str, str], draw: Callable[..., None], columns: int, title: str
) -> tuple[Figure, dict[str, Axes]]:
    """Draw measures of dimensions (categories, protocol, seed), a panel for each, by `points` or `lines`.

    A title that begins with "log:" has a logarithmic scale, one with "%:" percentages.
    """
    shape = -(-len(titles) // columns), columns
    figure, axes = plt.subplots(*shape, figsize=(1.5 + 4.4 * columns, 8.5), layout="constrained")
    for ax, (name, text) in zip(axes.flat, titles.items(), strict=True):
        values, (scale, said) = measured[name], text.split(":", 1) if text.startswith(("log:", "%:")) else ("", text)
        names = values.indexes[values.dims[0]]
        for k, method in enumerate(values.protocol.values):
            draw(ax, values.sel(protocol=method).values, colour_of(method), method, shift=0.34 * (k - 0.5))
        ax.set_xticks(range(len(names)), [name.replace(" slow", "\nslow").replace(" every", "\nevery") for name in names])
        ax.set_title(said + ("   (×: not reached)" if np.isinf(values).any() else ""), fontsize=10)
        ax.grid(axis="y", alpha=0.25)
        if scale == "log":
            logarithmic(ax.yaxis)
        else:
            ax.set_ylim(bottom=0)
        if scale == "%":
            ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    sg.plots.legend_below(figure)
    figure.suptitle(title)
    return figure, dict(zip(titles, axes.flat, strict=True))


def points(ax: Axes, values: np.ndarray, colour: str, label: str, shift: float) -> None:
    """Draw each seed as a point, the median as a bar; shape (categories, seeds)."""
    middle, seeds = np.arange(len(values)) + shift, values.shape[1]
    x = middle[:, None] + (np.linspace(-0.1, 0.1, seeds) if seeds > 1 else np.zeros(1))
    ax.plot(np.where(np.isfinite(values), x, np.nan), values, "o", color=colour, markersize=4.5, alpha=0.6)
    ax.hlines(np.median(values, axis=1), middle - 0.14, middle + 0.14, colour, linewidth=2, label=label)
    crosses(ax, x[np.isinf(values)], colour)


def rows(ax: Axes, values: Mapping[str, np.ndarray], colours: Mapping[str, object], **bar: object) -> None:
    """Draw a row for each name: each seed as a point, their mean as a bar, whose look `bar` may change."""
    for place, (name, seeds) in enumerate(values.items()):
        ax.plot(seeds, place + np.linspace(-0.15, 0.15, len(seeds)), "o", color=colours[name], alpha=0.6)
        look = {"color": colours[name], "markersize": 22, "markeredgewidth": 2.5} | bar
        ax.plot(seeds.mean(), place, "|", **look)
    ax.set_yticks(range(len(values)), list(values))
    ax.invert_yaxis()


def lines(ax: Axes, values: np.ndarray, colour: str, label: str, shift: float) -> None:
    """Draw the medians as a line in a band from the least to the greatest; shape (categories, seeds), NaN where unknown."""
    x, middle = np.arange(len(values)), np.median(values, axis=1)
    finite = np.where(np.isfinite(values), values, np.nan)
    top = 3 * np.nanmax(finite, initial=0)
    low, high = np.fmin.reduce(values, axis=1), np.minimum(np.fmax.reduce(values, axis=1), top)
    ax.fill_between(x, low, high, where=np.isfinite(low), color=colour, alpha=0.15, linewidth=0)
    ax.plot(x, np.where(np.isfinite(middle), middle, np.nan), "o-", color=colour, label=label)
    crosses(ax, x[np.isinf(middle)], colour)


def map_of_winners(factor: xarray.DataArray, sure: xarray.DataArray, rows: Sequence, columns: Sequence, **options) -> Axes:
    """Draw who is first over a grid; a question mark stands where seeds disagree. `options` are those of `heat_map`."""
    ax = sg.plots.heat_map(factor.values, rows, columns, methods=("sync", "async"), **options)
    for text, certain in zip(ax.texts, sure.values.ravel(), strict=True):  # one text in each cell, row by row
        if not certain and text.get_text() != "neither":
            text.set_text(f"{text.get_text()} ?")
    return ax
