"""Variance reduction in one picture: distances against seconds and passes, and what staleness costs."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray
from drawing import legend_beside, logarithmic
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import simsgd as sg

BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, BLACK = sg.plots.LINES
COLOURS = {
    "SGD": BLACK,
    "STORM": YELLOW,
    "SAG": SKY,
    "SAGA": BLUE,
    "SVRG": ORANGE,
    "loopless SVRG": PINK,
    "distributed SVRG": GREEN,
    "distributed SAGA": GREEN,
}
"""Of a method, without "async": the same in both rows."""
LEAST = 1e-26
"""Below it distances are rounding."""


def draw(curves: xarray.Dataset, crowds: xarray.Dataset, title: str) -> Figure:
    """Draw what was measured: synchronous methods above, asynchronous ones below, staleness at the right."""
    figure, axes = plt.subplots(2, 3, figsize=(20, 9), layout="constrained")
    asynchronous = [name for name in curves.method.values if name.startswith("async") or name == "distributed SAGA"]
    synchronous = [name for name in curves.method.values if name not in asynchronous]
    for row, (kind, names) in enumerate({"Synchronous": synchronous, "Asynchronous": asynchronous}.items()):
        for ax, axis in zip(axes[row], ("second", "passes"), strict=False):
            distances(ax, curves.sel({"method": names}), axis)
            ax.set_title(f"{kind}, against {'simulated seconds' if axis == 'second' else 'passes over the data'}")
        legend_beside(axes[row, 1])
    costs(axes[0, 2], crowds, "fewest", "passes over the data to the target\n(best step size of each)")
    costs(axes[1, 2], crowds, "took", "simulated seconds to the target\n(best step size of each)")
    axes[0, 2].set_title("What staleness costs: gradients")
    axes[1, 2].set_title("… and seconds")
    axes[0, 2].legend(fontsize=9)
    figure.suptitle(title, fontsize=13)
    return figure


def distances(ax: Axes, curves: xarray.Dataset, axis: str) -> None:
    """Draw the median of the squared distances over the seeds, and each seed thinly."""
    for name in curves.method.values:
        here = curves.sel({"method": name})
        x = here[axis].median("seed") if axis == "passes" else here[axis]
        colour, style = COLOURS[str(name).removeprefix("async ")], "--" if "SGD" in str(name) or "STORM" in str(name) else "-"
        for seed in here.seed.values:
            ax.plot(x, clipped(here.distance.sel(seed=seed)), style, color=colour, linewidth=0.5, alpha=0.4)
        label = f"{name} ({float(here.step_size):g}/L)"
        ax.plot(x, clipped(here.distance.median("seed")), style, color=colour, linewidth=1.8, label=label)
    ax.set(yscale="log", ylim=(LEAST / 10, 3), xlim=(0, None), ylabel=f"squared distance to the optimum, at least {LEAST:g}")
    ax.set_xlabel("simulated seconds" if axis == "second" else "passes over the data (samples of gradients / samples)")
    ax.grid(alpha=0.2)


def clipped(distance: xarray.DataArray) -> np.ndarray:
    """Return distances not below `LEAST`, and nothing where a run has diverged."""
    values = np.where(np.isfinite(distance.values), distance.values, np.nan)
    return np.maximum(values, LEAST)


def costs(ax: Axes, crowds: xarray.Dataset, cost: str, label: str) -> None:
    """Draw a cost against the number of workers."""
    for name in crowds.stale.values:
        for speeds, style in zip(crowds.speeds.values, ("o-", "s--"), strict=True):
            here = crowds.sel(stale=name, speeds=speeds)
            known = np.isfinite(here[cost].values)
            colour = COLOURS[str(name).removeprefix("async ")]
            ax.plot(here.crowd.values[known], here[cost].values[known], style, color=colour, label=f"{name}, {speeds}")
    logarithmic(ax.xaxis, (1,), base=2)
    logarithmic(ax.yaxis, (1, 2, 5))
    ax.set(xlabel="workers", ylabel=label)
    ax.grid(alpha=0.2)
