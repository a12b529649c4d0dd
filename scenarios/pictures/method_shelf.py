"""The whole shelf in one picture: for each kind of data the loss of a few methods against time, and all methods ranked."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray
from drawing import logarithmic
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import simsgd as sg

BLUE, ORANGE, GREEN, PINK, _, _, BLACK = sg.plots.LINES
FAMILIES = {
    "synchronous": (BLUE, "steps with fresh gradients only"),
    "asynchrony": (ORANGE, "uses stale gradients as they are"),
    "stale": ("#8C6D00", "scales, corrects or skips stale gradients"),
    "momentum": (PINK, "asynchronous, with a momentum at each worker"),
    "tables": (GREEN, "keeps a gradient of each worker"),
    "heterogeneous": (BLACK, "made for workers whose data differ"),
}
"""By the part of `sg.methods` that a method is in: its colour, and what the methods there have in common."""
PLAIN = {"Minibatch SGD": "synchronous SGD", "Asynchronous SGD": "asynchronous SGD"}
"""The two that everybody knows are among the curves always."""
BEST, STYLES = 3, ("--", ":", "-.")
"""So many of the best are among the curves, too, and the style of each."""


def draw(measured: xarray.Dataset, above: float, title: str) -> Figure:
    """Draw what `measure` found: a column for each kind of data, curves above, the ranking below."""
    kinds, methods = measured.data.values, measured.sizes["method"]
    size = {"figsize": (8.0 * len(kinds), 6.3 + 0.23 * methods), "height_ratios": (4.2, 0.8 + 0.23 * methods)}
    figure, axes = plt.subplots(2, len(kinds), squeeze=False, sharey="row", layout="constrained", **size)
    for column, kind in zip(axes.T, kinds, strict=True):
        here = measured.sel(data=kind)
        here = here.isel(method=np.argsort(here["rank"].values))
        curves(column[0], here, above)
        column[0].set_title(f"{kind}\n", fontsize=13, fontweight="bold")
        ranking(column[1], here)
    least = np.nanmin(measured.seconds.where(np.isfinite(measured.seconds)), initial=float(measured.second[-1]))
    for ax in axes[1]:
        ax.set_xlim(0.8 * least, float(measured.second[-1]))
    axes[0, 0].set_ylabel("loss above the least possible\n(median over the seeds)")
    families = [FAMILIES[name] for name in FAMILIES if name in measured.family.values]
    marks = [Line2D([], [], color=colour, marker="o", linestyle="", label=text) for colour, text in families]
    note = "Small points: seeds. Large points: medians, hollow where not all seeds arrived (“4 of 5” did). Colours: what methods do"
    figure.legend(handles=marks, loc="outside lower center", ncols=3, frameon=False, title=note)
    figure.suptitle(title, fontsize=12)
    return figure


def place_of(method: xarray.Dataset, place: int) -> str:
    """Return a method's place, from 1; a dash for one that does not arrive on most seeds."""
    return f"{place + 1:2d}." if np.isfinite(method.seconds.median("seed")) else "–"


def colour(method: xarray.Dataset) -> str:
    """Return the colour of a method's family."""
    return FAMILIES.get(str(method.family.values), ("#777777", ""))[0]


def curves(ax: Axes, ranked: xarray.Dataset, above: float) -> None:
    """Draw the loss against time: the best and the plain methods in colour, all others in grey."""
    names, styles = list(ranked.method.values), iter(STYLES)
    for place, name in enumerate(names):
        method = ranked.sel({"method": name})
        middle = method.loss.median("seed")
        chosen = name in PLAIN or place < BEST
        look = {"color": colour(method), "linewidth": 2.2, "zorder": 3} if chosen else {"color": "#BBBBBB", "linewidth": 0.7}
        style = "-" if name in PLAIN or not chosen else next(styles)
        label = f"{place_of(method, place)} {name}" + (f" (plain {PLAIN[name]})" if name in PLAIN else "") if chosen else None
        ax.plot(ranked.second, middle.where(np.isfinite(middle)), style, label=label, **look)
    ax.plot([], [], color="#BBBBBB", linewidth=0.7, label="all others")
    ax.axhline(above, color="black", linewidth=1)
    ax.annotate("target", (ranked.second[-1], above), (-2, 3), textcoords="offset points", ha="right", fontsize=9)
    logarithmic(ax.yaxis)
    ax.set(ylim=(above / 6, 3), xlim=(0, float(ranked.second[-1])), xlabel="simulated seconds")
    ax.grid(alpha=0.2)
    ax.legend(loc="upper right", fontsize=9, title="place in the ranking below", title_fontsize=9)


def ranking(ax: Axes, ranked: xarray.Dataset) -> None:
    """Draw a row for each method, the best on top: each seed a small point, the median a large one; or how many arrived."""
    names, seeds = list(ranked.method.values), ranked.sizes["seed"]
    for row, name in enumerate(names):
        method = ranked.sel({"method": name})
        seconds, look = method.seconds.values, {"color": colour(method), "zorder": 3}
        arrived = np.isfinite(seconds)
        ax.axhspan(row - 0.5, row + 0.5, color="#F4F4F4" if row % 2 else "white", zorder=0)
        ax.plot(seconds[arrived], np.full(arrived.sum(), row), "o", markersize=4, alpha=0.5, markeredgewidth=0, **look)
        if arrived.any():
            ax.hlines(row, seconds.min(), seconds.max() if arrived.all() else ranked.second[-1], linewidth=1.2, **look)
        if np.isfinite(np.median(seconds)):
            filling = look["color"] if arrived.all() else "white"
            ax.plot(np.median(seconds), row, "o", markersize=9, markerfacecolor=filling, **look)
        beside = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": 9}
        if not arrived.any():
            said = f"never; ends {float(method.final.median()):.2g} above"
            ax.text(0.99, row, said, ha="right", color=look["color"], **beside)
        elif not arrived.all():
            ax.text(1.01, row, f"{arrived.sum()} of {seeds}", color=look["color"], **beside)
        ax.text(-0.01, row, place_of(method, row), ha="right", **beside)
        ax.text(-0.065, row, name, ha="right", fontweight="bold" if name in PLAIN else None, **beside)
    logarithmic(ax.xaxis, (1, 2, 5))
    ax.set(
        ylim=(len(names) - 0.5, -0.5),
        xlabel="simulated seconds to the target",
    )
    ax.yaxis.set_visible(False)
    ax.grid(axis="x", alpha=0.3)
