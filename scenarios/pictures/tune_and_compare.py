"""The figure of a paper: learning curves with bands, times to the target by rank, shares of runs that arrived, the tuning."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import xarray
from drawing import crosses, logarithmic
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

import simsgd as sg

Colours = Mapping[str, str]
PALETTE = (
    *sg.plots.METHOD_COLOURS.values(),
    *sg.plots.LINES[2:3],
    "#000000",
    "#8C6D00",
    "#882255",
    "#999999",
    "#44AA99",
    "#5D3A9B",
)
"""Colours for methods that have none of their own, in order."""


def draw(
    found: sg.studies.Comparison,
    longer: xarray.Dataset,
    targets: Sequence[sg.Target],
    protocols: Mapping[str, str],
    title: str,
) -> Figure:
    """Draw the four panels of a comparison.

    Args:
        found: what was compared.
        longer: runs at the best step sizes that go on beyond the target.
        targets: those whose times are drawn together, the hardest last.
        protocols: the name of each method's protocol, for its colour.
        title: of the figure.
    """
    figure, axes = plt.subplots(2, 2, figsize=(13, 8.5), layout="constrained")
    colours = colours_of(found.ranking.labels, protocols)
    curves(axes[0, 0], longer, colours, targets[-1])
    ranked(axes[0, 1], found, colours)
    shares(axes[1, 0], found, targets, colours)
    tuning(axes[1, 1], found, colours)
    for letter, ax in zip("abcd", axes.flat, strict=True):
        ax.set_title(f"({letter}) {ax.get_title()}", fontsize=10)
        ax.grid(alpha=0.25)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5), frameon=False)
    figure.suptitle(title, fontsize=11)
    return figure


def colours_of(names: Sequence[str], protocols: Mapping[str, str]) -> Colours:
    """Return a colour for each method: its protocol's for the plainest of a protocol, for the others those that are free."""
    own: dict[str, str] = {}
    for name in sorted(names, key=lambda name: name != "Asynchronous SGD"):  # which many others are made from
        colour = sg.plots.METHOD_COLOURS.get(protocols[name])
        own |= {name: colour} if colour and colour not in own.values() else {}
    free = itertools.cycle([colour for colour in dict.fromkeys(PALETTE) if colour not in own.values()])
    return {name: own.get(name) or next(free) for name in names}


def curves(ax: Axes, longer: xarray.Dataset, colours: Colours, target: sg.Target) -> None:
    """Draw the test error against time: the median over the seeds in a band between the quartiles."""
    for name, colour in colours.items():
        here = longer.sel({"method": name})
        time, error = here.time.max("seed").values, 1 - here.accuracy.transpose("seed", "evaluation").values
        error, time = error[:, np.isfinite(time)], time[np.isfinite(time)]
        low, middle, high = np.quantile(np.nan_to_num(error, nan=1.0), (0.25, 0.5, 0.75), axis=0)  # who diverged is wrong
        ax.fill_between(time, low, high, color=colour, alpha=0.18, linewidth=0)
        ax.plot(time, middle, color=colour, label=name, linewidth=1.6)
    end = float(longer.time.max())
    ax.axhline(1 - target.at_least, color="black", linestyle="--", linewidth=1)
    ax.annotate("target", (end, 1 - target.at_least), (-2, 3), textcoords="offset points", ha="right")
    ax.set(xlabel="simulated seconds", ylabel="test error, 1 − accuracy", xlim=(0, end))
    logarithmic(ax.yaxis, (1, 2, 5))
    ax.set_title(f"medians of {longer.sizes['seed']} seeds; bands: quartiles")


def ranked(ax: Axes, found: sg.studies.Comparison, colours: Colours) -> None:
    """Draw each seed's time to the target, and the restricted mean with its interval, a row for each method by rank."""
    ranking, horizon = found.ranking, found.settings[()].horizon
    for row, (name, time) in enumerate(zip(ranking.labels, ranking.times, strict=True)):
        seconds = found.seconds.sel({"method": name}).values
        shift = np.linspace(-0.18, 0.18, len(seconds)) if len(seconds) > 1 else np.zeros(1)
        arrived = np.isfinite(seconds)
        ax.plot(seconds[arrived], row + shift[arrived], "o", color=colours[name], markersize=3.5, alpha=0.5)
        ax.plot(np.full((~arrived).sum(), horizon), row + shift[~arrived], "x", color=colours[name], markersize=5)
        ax.hlines(row, time.low, time.high, colours[name], linewidth=2.5)
        ax.plot(time.value, row, "D", color=colours[name], markeredgecolor="white", markersize=8)
        beside = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": 9}
        ax.text(1.01, row, f"{time.arrived} of {time.runs}", **beside)
    ranks = [f"{best}" if best == worst else f"{best}–{worst}" for best, worst in zip(ranking.best, ranking.worst, strict=True)]
    names = [f"{name}   {rank}" for name, rank in zip(ranking.labels, ranks, strict=True)]
    ax.set_yticks(range(len(names)), names)
    ax.set(ylim=(len(names) - 0.5, -0.5), xlabel="simulated seconds to the target")
    logarithmic(ax.xaxis, (1, 2, 5))
    never = ", × for never" if not np.isfinite(found.seconds.values).all() else ""
    ax.set_title(f"ranks; restricted means, 95%; seeds as points{never}; who arrived")


def shares(ax: Axes, found: sg.studies.Comparison, targets: Sequence[sg.Target], colours: Colours) -> None:
    """Draw the share of pairs of run and target that arrived by a time."""
    horizon = found.settings[()].horizon
    seconds = {target: found.reporting.seconds(target) for target in targets}
    first = min([float(each.min()) for each in seconds.values() if each.notnull().any()], default=horizon / 10)
    for name, colour in colours.items():
        steps = sg.studies.statistics.ecdf([each.sel({"method": name}).values for each in seconds.values()], horizon)
        ax.step([0.8 * first, *steps.at, horizon], [0, *steps.values, steps(horizon)], where="post", color=colour)
    levels = ", ".join(f"{target.at_least:g}" for target in targets)
    ax.set(xlabel="simulated seconds", ylabel="share of runs and targets", ylim=(0, 1.02), xlim=(0.8 * first, horizon))
    ax.set_title(f"runs that arrived, over the targets {levels}")
    logarithmic(ax.xaxis, (1, 2, 5))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))


def tuning(ax: Axes, found: sg.studies.Comparison, colours: Colours) -> None:
    """Draw what each step size took on the seeds of tuning, the chosen one with a ring."""
    for name, colour in colours.items():
        choice = found.tuned.choices[name, ()]
        reached = {size: score.seconds for size, score in choice.tried.items() if choice.arrived[size]}
        ax.plot(list(reached), list(reached.values()), "o-", color=colour, markersize=4)
        crosses(ax, np.array([size for size in choice.tried if not choice.arrived[size]]), colour)
        if choice.step_size in reached:
            ax.plot(choice.step_size, reached[choice.step_size], "o", color=colour, markersize=10, markerfacecolor="none")
    if any(choice.tried for choice in found.tuned.choices.values()):
        logarithmic(ax.xaxis, (1,))
    if any(any(choice.arrived.values()) for choice in found.tuned.choices.values()):  # else there is nothing but crosses
        logarithmic(ax.yaxis, (1, 2, 5))
    ax.set(xlabel="step size", ylabel="restricted mean seconds to the target")
    seeds = len(found.tuned.seeds)
    ax.set_title(f"{seeds} tuning seeds; rings: chosen; × at the top: never reached")
