"""Speed-up against workers under both batch rules, and the samples that it takes."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray
from drawing import OTHERS, colour_of, logarithmic
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from speedups import RULES

import simsgd as sg


def draw_scaling(measured: xarray.Dataset, target: str) -> Figure:
    """Draw a column for each rule: above the speed-up with the ideal line, below the samples needed; bands over seeds."""
    rules = measured.rule.values.tolist()
    size = (2.0 + 4.8 * len(rules), 8.2)
    figure, axes = plt.subplots(2, len(rules), figsize=size, sharex=True, sharey="row", squeeze=False, layout="constrained")
    for (above, below), rule in zip(axes.T, rules, strict=True):
        here = measured.sel(rule=rule)
        above.plot(here.workers, here.workers, ":", color="0.35", label="ideal")
        below.axhline(1.0, linestyle=":", color="0.35")
        for k, method in enumerate(measured.method.values):
            look = {"color": colour_of(method) if method in ("sync", "async") else OTHERS[k % len(OTHERS)], "label": method}
            draw_speedup(above, here.sel({"method": method}), "os^"[k % 3], look)
            draw_needed(below, here.sel({"method": method}), "os^"[k % 3], look)
        above.set_title(f"{RULES[rule]}\n({('weak', 'strong')[rule == 'total']} scaling)", fontsize=11)
        below.set_xlabel("workers")
        for ax in (above, below):
            for axis in (ax.xaxis, ax.yaxis):
                logarithmic(axis, base=2, subs=(1,))
            ax.grid(alpha=0.25)
    axes[0, 0].set_ylabel("speed-up over one worker")
    axes[1, 0].set_ylabel("samples needed, over those of one worker")
    sg.plots.legend_below(figure)
    figure.suptitle(f"Time to {target}, kept (line: median of {measured.sizes['seed']} seeds; band: least to greatest)")
    return figure


def draw_speedup(ax: Axes, here: xarray.Dataset, marker: str, look: dict[str, str]) -> None:
    """Draw the speed-up of one method; a run that never arrived counts as what its speed-up is below, and so is marked."""
    workers, values, below = here.workers.values, here.speedup.values, here.below.values
    never = np.median(values, axis=1) == 0
    draw_band(ax, workers, np.where(values > 0, values, below[:, None]), never, marker, look)
    if never.any():
        style = {"marker": "x", "markersize": 9, "linestyle": "none", "color": look["color"]}
        ax.plot(workers[never], below[never], **style, label=f"{look['label']}: never arrived, the speed-up is below")


def draw_needed(ax: Axes, here: xarray.Dataset, marker: str, look: dict[str, str]) -> None:
    """Draw the samples that one method needed; the band ends where the last run that arrived does."""
    values = here.need.values
    last = np.where(np.isfinite(values), values, 0).max(axis=1, keepdims=True)
    never = ~np.isfinite(np.median(values, axis=1))
    draw_band(ax, here.workers.values, np.minimum(values, last), never, marker, look)


def draw_band(ax: Axes, x: np.ndarray, values: np.ndarray, never: np.ndarray, marker: str, look: dict[str, str]) -> None:
    """Draw the median over the seeds in a band from the least to the greatest, where the median run arrived."""
    middle, low, high = (np.where(never, np.nan, each) for each in (np.median(values, axis=1), values.min(1), values.max(1)))
    ax.fill_between(x, low, high, color=look["color"], alpha=0.2, linewidth=0)
    ax.plot(x, middle, f"{marker}-", **look)
