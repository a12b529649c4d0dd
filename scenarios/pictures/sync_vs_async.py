"""The curves, who computes and who waits, staleness, and how much the step size matters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import matplotlib.pyplot as plt
import numpy as np
from drawing import colour_of, crosses, timelines
from matplotlib.figure import Figure

import simsgd as sg

Runs = Mapping[str, sg.Run]


def draw(
    runs: Runs, found: sg.studies.Comparison, target: sg.Target, compute_seconds: float, straggler: float, title: str
) -> Iterator[tuple[str, Figure]]:
    """Yield the figures, each with its name."""
    figure, axes = plt.subplots(2, 2, figsize=(11, 7.5), layout="constrained")
    views = [("time", "loss"), ("updates", "loss"), ("time", "accuracy"), ("samples", "accuracy")]
    for ax, (x, y) in zip(axes.flat, views, strict=True):
        sg.plots.metric(runs, x, y, target=target if y == "accuracy" else None, ax=ax)
        ax.set_xscale("linear" if x == "time" else "log")
    sg.plots.legend_below(figure)
    yield "convergence", figure
    stop = min(4 * compute_seconds * straggler, *(run.tape.end for run in runs.values()))
    tapes = {name: run.tape for name, run in runs.items()}
    yield "timeline", timelines(tapes, 1, 0, stop, "Who computes and who waits")[0]
    figure, axes = plt.subplots(2, 1, figsize=(8, 8), sharex=True, layout="constrained")
    for ax, (name, tape) in zip(axes, tapes.items(), strict=True):
        sg.plots.shares(tape, ax=ax).set_title(name)
    yield "shares", figure
    ax = sg.plots.staleness({"asynchronous": runs["asynchronous"].tape})
    stale = runs["asynchronous"].tape.staleness
    ax.set(xlim=(-1, np.quantile(stale, 0.99) + 1))
    ax.set_title(f"1% are staler than shown, up to {stale.max()} versions; synchronous: always 0", fontsize=10)
    yield "staleness", ax.figure
    yield "at_a_glance", draw_at_a_glance(runs, compute_seconds, title)
    yield "step_sizes", draw_step_sizes(found)


def draw_at_a_glance(runs: Runs, compute_seconds: float, title: str) -> Figure:
    """Draw why (who computes and who waits, on three workers, one of them slow) and what follows (the loss in time)."""
    rows = [["synchronous", "loss"], ["asynchronous", "loss"]]
    figure, axes = plt.subplot_mosaic(rows, figsize=(13, 4.8), width_ratios=(1.25, 1), layout="constrained")
    workers = runs["synchronous"].tape.workers
    shown = sorted({0, workers // 2, workers - 1})
    for name, run in runs.items():
        sg.plots.timeline(run.tape, stop=min(20 * compute_seconds, run.tape.end), workers=shown, ax=axes[name])
        axes[name].set_title(f"{name}: {len(shown)} of {workers} workers, the model's updates as lines", fontsize=10)
    sg.plots.metric(runs, "time", "loss", ax=axes["loss"]).set_title(title, fontsize=10)
    return figure


def draw_step_sizes(found: sg.studies.Comparison) -> Figure:
    """Draw the time to the target against the step size, as the tuning found it."""
    figure, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name in found.methods:
        tried, arrived = (getattr(found.tuned.choices[name, ()], what) for what in ("tried", "arrived"))
        reached = {size: score.seconds for size, score in tried.items() if arrived[size]}
        ax.plot(list(reached), list(reached.values()), "o-", color=colour_of(name), label=name)
        crosses(ax, np.array([size for size in tried if not arrived[size]]), colour_of(name))
    ax.set(xscale="log", yscale="log", xlabel="step size", ylabel="simulated seconds to the target")
    ax.set_title(f"restricted means of {len(found.tuned.seeds)} tuning seeds; × at the top: never reached", fontsize=10)
    ax.grid(alpha=0.25)
    ax.legend()
    return figure
