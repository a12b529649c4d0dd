"""The figure of a paper: learning curves with bands, times to the target by rank, shares of runs that arrived, the tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from drawing import crosses, logarithmic
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import simsgd as sg


def draw(found: sg.studies.Comparison, targets: Sequence[sg.Target], title: str) -> Figure:
    """Draw the four panels of a comparison; `targets` are those whose times are drawn together."""
    figure, axes = plt.subplots(2, 2, figsize=(13, 8.5), layout="constrained")
    (a, b), (c, d) = axes
    results = found.reporting.select(method=list(found.ranking.labels))
    results.plot(quantiles=(0.25, 0.75), ax=a).set(ylim=(0.5, 1), title="medians and quartiles; dots: half of the runs arrived")
    results.plot(kind="bars", ax=b).set(xlabel="simulated seconds to the target", title="ranks; restricted means; each run")
    ranking = found.ranking
    ranks = [f"{best}" if best == worst else f"{best}–{worst}" for best, worst in zip(ranking.best, ranking.worst, strict=True)]
    b.set_yticks(range(len(ranks)), [f"{name}   {rank}" for name, rank in zip(ranking.labels, ranks, strict=True)])
    levels = ", ".join(f"{target.at_least:g}" for target in targets)
    results.plot(kind="arrivals", target=targets, ax=c).set_title(f"shares of runs that arrived, accuracies {levels}")
    handles, labels = a.get_legend_handles_labels()
    labels = [label.split(" (")[0] for label in labels]  # who arrived stands beside the bars
    tuning(d, found, {label: handle.get_color() for handle, label in zip(handles, labels, strict=True)})
    for letter, ax in zip("abcd", axes.flat, strict=True):
        ax.set_title(f"({letter}) {ax.get_title()}", fontsize=10, pad=14)
        if ax.get_legend() is not None:
            ax.get_legend().remove()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), frameon=False)
    figure.suptitle(title, fontsize=11)
    return figure


def tuning(ax: Axes, found: sg.studies.Comparison, colours: Mapping[str, str]) -> None:
    """Draw what each step size took on the seeds of tuning, the chosen one with a ring."""
    choices = {name: found.tuned.choices[name, ()] for name in found.ranking.labels}
    for name, choice in choices.items():
        reached = {size: score.seconds for size, score in choice.tried.items() if choice.arrived[size]}
        ax.plot(list(reached), list(reached.values()), "o-", color=colours[name], markersize=4)
        crosses(ax, np.array([size for size in choice.tried if not choice.arrived[size]]), colours[name])
        if choice.step_size in reached:
            ring = {"markersize": 10, "markerfacecolor": "none"}
            ax.plot(choice.step_size, reached[choice.step_size], "o", color=colours[name], **ring)
    if any(choice.tried for choice in choices.values()):
        logarithmic(ax.xaxis, (1,))
    if any(any(choice.arrived.values()) for choice in choices.values()):  # else there is nothing but crosses
        logarithmic(ax.yaxis, (1, 2, 5))
    ax.set(xlabel="step size", ylabel="restricted mean seconds to the target")
    ax.set_title(f"{len(found.tuned.seeds)} tuning seeds; rings: chosen; × at the top: never reached")
    ax.grid(alpha=0.25)
