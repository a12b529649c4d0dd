"""Throughput against workers with its bounds and knees, and what sharing costs."""

from __future__ import annotations

import itertools
import math

import matplotlib.pyplot as plt
import numpy as np
import xarray
from drawing import OTHERS, legend_beside, logarithmic
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter


def draw_throughput(measured: xarray.Dataset) -> Figure:
    """Draw throughput against workers, a panel for each number of shards, with bounds and knees."""
    shards = measured.shards.values
    figure, axes = plt.subplots(1, len(shards), figsize=(2.4 + 4 * len(shards), 4.8), squeeze=False, layout="constrained")
    for ax, count in zip(axes[0], shards, strict=True):
        panel = measured.sel(shards=count)
        ax.plot(panel.workers, panel.theory.sel(sharing="fair"), color="black", linewidth=1, label="fair, in theory")
        for sharing, colour in zip(measured.sharing.values, OTHERS, strict=False):
            draw_knee(ax, panel.sel(sharing=sharing), sharing, colour)
        ax.set(title=f"shards: {count}", xlabel="workers")
        for axis in (ax.xaxis, ax.yaxis):
            logarithmic(axis, base=2, subs=(1,))
        ax.grid(alpha=0.25)
    axes[0, 0].set_ylabel("updates per second (asynchronous)")
    legend_beside(axes[0, -1])
    return figure


def draw_knee(ax: Axes, line: xarray.Dataset, sharing: str, colour: str) -> None:
    """Draw one curve under its bounds, where these cross, and where the curve falls below its share of them."""
    begins, seen, most = float(line.knee_begins), float(line.knee_seen), float(line.workers.max())
    rate = float((line.alone / line.workers)[0])
    corners = np.array([1.0, min(begins, most), most])
    ax.plot(corners, rate * np.minimum(corners, begins), ":", color=colour, linewidth=1.3, label=f"{sharing}: bounds")
    ax.plot(line.workers, line.throughput, "o", color=colour, markersize=5, label=f"{sharing}: measured")
    knee = {"color": colour, "linestyle": "none", "markersize": 11}
    shown = (begins, rate * begins) if begins <= most else (math.nan, math.nan)
    ax.plot(*shown, marker="D", markerfacecolor="none", label="the knee begins: bounds cross", **knee)
    label = f"the knee is seen: below {line.knee:.0%}"
    ax.plot(seen, line.knee * rate * seen, marker="X", markeredgecolor="white", label=label, **knee)


def draw_costs(measured: xarray.Dataset) -> Figure:
    """Draw the time spent in queues, the spread of staleness, and how long a synchronous update takes."""
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.6), layout="constrained")
    titles = {
        "queueing": "share of a worker's time in queues\n(asynchronous)",
        "spread_of_staleness": "spread of staleness, versions\n(asynchronous; standard deviation)",
        "synchronous_seconds": "seconds per update\n(synchronous)",
    }
    for ax, (name, title) in zip(axes, titles.items(), strict=True):
        for (i, shards), (sharing, style) in itertools.product(
            enumerate(measured.shards.values), zip(measured.sharing.values, ("o-", "s--"), strict=True)
        ):
            label = f"shards: {shards}, {sharing}"
            line = measured[name].sel(shards=shards, sharing=sharing)
            ax.plot(measured.workers, line, style, color=OTHERS[i % len(OTHERS)], markersize=4, label=label)
        ax.set(title=title, xlabel="workers", xlim=(0, None), ylim=(0, None))
        ax.grid(alpha=0.25)
    free = f"messages take no time (on to {float(measured.spread_of_staleness_uncontended.max()):.1f})"
    axes[1].plot(measured.workers, measured.spread_of_staleness_uncontended, color="0.5", lw=1.2, label=free)
    axes[0].yaxis.set_major_formatter(PercentFormatter(1.0))
    handles, labels = axes[1].get_legend_handles_labels()
    axes[2].legend(handles, labels, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, borderaxespad=0)
    return figure
