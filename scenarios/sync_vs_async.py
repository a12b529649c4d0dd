"""Synchronous or asynchronous SGD: which reaches the target first on a cluster with stragglers, and why?

An MLP learns the digits on workers of which some are slow. Both methods see the same job times and the same batches (common
random numbers). Each gets its own best step size, found on a grid, because what suits one is wrong for the other. Then the six
trade-offs between the two are measured and printed; figures and runs are saved.

    python scenarios/sync_vs_async.py
    python scenarios/sync_vs_async.py --straggler 1 --latency 0.05
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import matplotlib
import numpy as np
import tyro

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import simsgd as sg

METHODS: dict[str, sg.Protocol] = {"synchronous": sg.MinibatchSGD(), "asynchronous": sg.AsyncSGD()}


@dataclass(frozen=True)
class Flags:
    """Synchronous against asynchronous SGD on a cluster with stragglers."""

    workers: int = 16
    """How many workers."""
    straggler: float = 5.0
    """How many times slower a straggler is than the other workers (1: no stragglers)."""
    slow_workers: int = 2
    """How many of the workers are stragglers, all the time."""
    compute: float = 0.1
    """Mean compute time of a job on an ordinary worker (seconds); half of it is fixed, half exponential."""
    latency: float = 0.001
    """Latency of each worker's link, each way (seconds)."""
    bandwidth: float = 1.25e9
    """Bandwidth of each worker's link, each way (bytes/second)."""
    target_accuracy: float = 0.95
    """Accuracy on the held-out digits that counts as reaching the target (share, 0 to 1)."""
    within: float = 120.0
    """When to give up on the target (simulated seconds)."""
    hidden: int = 32
    """Hidden units of the MLP."""
    batch_size: int = 32
    """Samples in each worker's batch."""
    seed: int = 0
    """The first seed; a seed names all random draws, and the same flags with the same seed print the same numbers."""
    seeds: int = 3
    """How many seeds to take medians over."""
    step_sizes: tuple[float, ...] = field(default_factory=lambda: tuple(round(0.01 * 2 ** (k / 2), 4) for k in range(20)))
    """The step sizes to try."""
    output: pathlib.Path = pathlib.Path("results/sync_vs_async")
    """Folder for figures, runs and the table."""


@dataclass(frozen=True)
class Measured:
    """One method at every step size and seed, and its runs at the best step size."""

    step_sizes: tuple[float, ...]
    seconds: np.ndarray
    """To the target, (seeds, step sizes); infinite where it was not reached."""
    runs: tuple[sg.Run, ...]
    """At the best step size, one for each seed, until the target."""
    best: int

    @property
    def reached(self) -> str:
        """How many seeds reached the target at the best step size, where not all did."""
        count = int(np.isfinite(self.seconds[:, self.best]).sum())
        return "" if count == len(self.seconds) else f" ({count} of {len(self.seconds)} seeds)"

    @property
    def medians(self) -> np.ndarray:
        """Median seconds to the target at each step size."""
        return np.median(self.seconds, axis=0)

    def median(self, measure: Callable[[sg.Run], float]) -> float:
        """Return the median over the seeds of a measure of a run, infinite where the target was never reached."""
        return float(np.median(np.nan_to_num([measure(run) for run in self.runs], nan=np.inf)))

    @property
    def usable(self) -> tuple[float, float]:
        """The least and greatest step size that take at most twice the best time."""
        good = np.flatnonzero(self.medians <= 2 * self.medians[self.best])
        return self.step_sizes[good[0]], self.step_sizes[good[-1]]


def build_cluster(flags: Flags) -> sg.Cluster:
    """Return the cluster that the flags describe; its last workers are the stragglers."""
    if not flags.straggler >= 1:
        raise ValueError(f"--straggler must be at least 1, got {flags.straggler}")
    if flags.workers < 1:
        raise ValueError(f"--workers must be at least 1, got {flags.workers}")
    if not 0 <= flags.slow_workers <= flags.workers:
        raise ValueError(f"--slow-workers must be from 0 to --workers ({flags.workers}), got {flags.slow_workers}")
    if not 0 < flags.target_accuracy <= 1:
        raise ValueError(f"--target-accuracy must be above 0 and at most 1, got {flags.target_accuracy}")
    if not flags.compute > 0:
        raise ValueError(f"--compute must be above 0 (seconds), got {flags.compute}")
    law = sg.times.ShiftedExponential(shift=flags.compute / 2, mean=flags.compute)
    speeds = (1.0,) * (flags.workers - flags.slow_workers) + (1 / flags.straggler,) * flags.slow_workers
    network = sg.networks.Link(latency=flags.latency, bandwidth=flags.bandwidth)
    return sg.Cluster(flags.workers, sg.times.Speeds(law, speeds), network)


def measure(method: sg.Protocol, flags: Flags) -> Measured:
    """Tune the method's step size over all seeds, and keep the runs at the best one."""
    if flags.seeds < 1:
        raise ValueError(f"--seeds must be a whole number of at least 1, got {flags.seeds}")
    problem = sg.problems.digits("mlp", flags.hidden, flags.batch_size)
    target = sg.Target("accuracy", at_least=flags.target_accuracy, within=sg.Seconds(flags.within))
    look = sg.Seconds(flags.compute)
    tunings = [
        sg.study.tune(method, problem, build_cluster(flags), flags.step_sizes, target, seed=seed, evaluate_every=look)
        for seed in range(flags.seed, flags.seed + flags.seeds)
    ]
    seconds = np.array([np.where(np.isnan(t.seconds), np.inf, t.seconds) for t in tunings])
    best = int(np.argmin(np.median(seconds, axis=0)))
    if not np.isfinite(np.median(seconds[:, best])):
        raise ValueError(
            f"{method!r} did not reach {target} within {flags.within:g} s at any of the step sizes {flags.step_sizes}: "
            "raise --within, lower --target-accuracy or try other --step-sizes"
        )
    return Measured(tunings[0].step_sizes, seconds, tuple(t.runs[best] for t in tunings), best)


def trade_offs(synchronous: Measured, asynchronous: Measured) -> list[tuple[str, str, str]]:
    """Return the six rows of the trade-off table, (question, synchronous, asynchronous): medians over the seeds."""

    def row(question: str, text: Callable[[Measured], str]) -> tuple[str, str, str]:
        return question, text(synchronous), text(asynchronous)

    def waiting(m: Measured) -> str:
        return f"{m.median(lambda run: run.dataset['waiting'].values.mean()):.0%} of the time"

    def stale(m: Measured) -> str:
        mean = m.median(lambda run: run.tape.staleness.mean())
        return f"mean {mean:.1f}, 95% {m.median(lambda run: np.quantile(run.tape.staleness, 0.95)):.0f} versions"

    def throughput(m: Measured) -> str:
        samples = m.median(lambda run: run.throughput["samples"])
        return f"{m.median(lambda run: run.throughput['updates']):.1f} updates/s, {samples:,.0f} samples/s"

    def per_update(m: Measured) -> str:
        samples = m.median(lambda run: run.to_target().samples)
        return f"{m.median(lambda run: run.to_target().updates):,.0f} updates, {samples:,.0f} samples"

    def usable(m: Measured) -> str:
        low, high = m.usable
        largest = m.step_sizes[np.flatnonzero(np.isfinite(m.medians))[-1]]
        never = f", above {largest:g} never" if largest < m.step_sizes[-1] else ""
        return f"{low:g} to {high:g}, best {m.step_sizes[m.best]:g}{never}"

    return [
        row("workers wait", waiting),
        row("staleness of gradients", stale),
        row("throughput", throughput),
        row("updates to the target", per_update),
        row("time to the target", lambda m: f"{m.medians[m.best]:.2f} s{m.reached}"),
        row("step sizes that take at most 2× the best time", usable),
    ]


def verdict(synchronous: Measured, asynchronous: Measured, flags: Flags) -> str:
    """Return who wins and why: time to the target = updates needed / updates per second."""
    ratio = synchronous.medians[synchronous.best] / asynchronous.medians[asynchronous.best]
    more_updates = asynchronous.median(lambda run: run.to_target().updates) / synchronous.median(
        lambda run: run.to_target().updates
    )
    rate = asynchronous.median(lambda run: run.throughput["updates"]) / synchronous.median(
        lambda run: run.throughput["updates"]
    )
    first, factor = ("asynchronous", ratio) if ratio > 1 else ("synchronous", 1 / ratio)
    outcome = f"{first} SGD reaches accuracy ≥ {flags.target_accuracy:g} first, {factor:.2f} times sooner"
    if ratio == 1:
        outcome = f"both reach accuracy ≥ {flags.target_accuracy:g} at the same moment"
    lines = [
        f"{outcome} (medians of {flags.seeds} seeds).",
        f"Why: asynchronous makes {rate:.1f} times as many updates per second and needs {more_updates:.1f} times as many.",
        f"(Reached: at the first look, one every {flags.compute:g} s. At step sizes this large the accuracy may fall again, as "
        "the figures show.)",
    ]
    for name, measured in (("synchronous", synchronous), ("asynchronous", asynchronous)):
        if measured.best in (0, len(measured.step_sizes) - 1):
            lines.append(f"Note: the best step size of {name} SGD is at the edge of the grid: try more --step-sizes.")
    return "\n".join(lines)


def long_runs(measured: dict[str, Measured], flags: Flags) -> dict[str, sg.Run]:
    """Return one run of each method over the same stretch of time, at its best step size, for the curves."""
    problem = sg.problems.digits("mlp", flags.hidden, flags.batch_size)
    stretch = 1.5 * max(m.medians[m.best] for m in measured.values())
    return {
        name: sg.simulate(
            METHODS[name],
            problem,
            build_cluster(flags),
            sg.optimizers.sgd(m.step_sizes[m.best]),
            sg.Seconds(stretch),
            seed=flags.seed,
            evaluate_every=sg.Seconds(flags.compute),
        )
        for name, m in measured.items()
    }


def draw(runs: dict[str, sg.Run], measured: dict[str, Measured], flags: Flags) -> list[pathlib.Path]:
    """Save the figures and return their paths."""
    target = sg.Target("accuracy", at_least=flags.target_accuracy)
    figures = {}
    figures["convergence.png"], axes = plt.subplots(2, 2, figsize=(11, 7.5), layout="constrained")
    views = [("time", "loss"), ("updates", "loss"), ("time", "accuracy"), ("samples", "accuracy")]
    for ax, (x, y) in zip(axes.flat, views, strict=True):
        sg.plots.metric(runs, x, y, target=target if y == "accuracy" else None, ax=ax)
        if x != "time":
            ax.set_xscale("log")
    figures["timeline.png"], axes = plt.subplots(2, 1, figsize=(11, 8), sharex=True, layout="constrained")
    for ax, (name, run) in zip(axes, runs.items(), strict=True):
        sg.plots.timeline(run.tape, stop=min(12 * flags.compute * max(1, flags.straggler) / 3, run.tape.end), ax=ax)
        ax.set_title(name)
    figures["staleness.png"], ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
    stale = runs["asynchronous"].tape.staleness
    sg.plots.staleness({"asynchronous": runs["asynchronous"].tape}, ax=ax)
    ax.set(xlim=(-1, np.quantile(stale, 0.99) + 1))
    ax.set_title(f"1% of the gradients are staler than shown, up to {stale.max()} versions; synchronous: always 0", fontsize=10)
    figures["shares.png"], axes = plt.subplots(2, 1, figsize=(8, 8), layout="constrained")
    for ax, (name, run) in zip(axes, runs.items(), strict=True):
        sg.plots.shares(run.tape, ax=ax)
        ax.set_title(name)
    figures["at_a_glance.png"] = draw_at_a_glance(runs, flags)
    figures["step_sizes.png"] = draw_step_sizes(measured)
    for name, figure in figures.items():
        figure.savefig(flags.output / name, dpi=120)
        plt.close(figure)
    return [flags.output / name for name in figures]


def draw_at_a_glance(runs: dict[str, sg.Run], flags: Flags) -> plt.Figure:
    """Draw why (who computes and who waits, on three workers, one of them slow) and what follows (the loss in time)."""
    figure, axes = plt.subplot_mosaic(
        [["synchronous", "loss"], ["asynchronous", "loss"]], figsize=(13, 4.8), width_ratios=(1.25, 1), layout="constrained"
    )
    shown = sorted({0, flags.workers // 2, flags.workers - 1})
    for name, run in runs.items():
        stop = min(20 * flags.compute, run.tape.end)
        sg.plots.timeline(run.tape, stop=stop, workers=shown, ax=axes[name])
        axes[name].set_title(f"{name}: {len(shown)} of {flags.workers} workers, the model's updates as lines", fontsize=10)
    sg.plots.metric(runs, "time", "loss", ax=axes["loss"])
    axes["loss"].set_title(
        f"{flags.workers} workers, {flags.slow_workers} of them {flags.straggler:g} times slower", fontsize=10
    )
    return figure


def draw_step_sizes(measured: dict[str, Measured]) -> plt.Figure:
    """Draw the time to the target against the step size."""
    figure, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for (name, m), colour in zip(measured.items(), sg.plots.LINES[:2], strict=True):
        reached = np.isfinite(m.medians)
        ax.plot(np.array(m.step_sizes)[reached], m.medians[reached], "o-", color=colour, label=name)
        ax.plot(
            np.array(m.step_sizes)[~reached],
            np.full((~reached).sum(), 1.0),
            "x",
            color=colour,
            transform=ax.get_xaxis_transform(),
            clip_on=False,
        )
    ax.set(xscale="log", yscale="log", xlabel="step size", ylabel="simulated seconds to the target")
    ax.set_title("time to the target; × at the top: not reached in time", fontsize=10)
    ax.grid(alpha=0.25)
    ax.legend()
    return figure


def main() -> None:
    """Measure, print, draw and save."""
    flags = tyro.cli(Flags)
    try:
        build_cluster(flags)
        flags.output.mkdir(parents=True, exist_ok=True)  # before the work: better to fail now than after it
        measured = {name: measure(method, flags) for name, method in METHODS.items()}
        runs = long_runs(measured, flags)
    except (ValueError, TypeError, OSError) as error:
        sys.exit(f"error: {error}")
    rows = [("", "synchronous", "asynchronous"), *trade_offs(measured["synchronous"], measured["asynchronous"])]
    widths = [max(len(row[k]) for row in rows) for k in range(3)]
    table = "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    report = f"{table}\n\n{verdict(measured['synchronous'], measured['asynchronous'], flags)}\n"
    print(report)
    (flags.output / "trade_offs.txt").write_text(report)
    for name, run in runs.items():
        run.save(flags.output / f"{name}.nc")
        print(run.summary(sg.Target("accuracy", at_least=flags.target_accuracy)), end="\n\n")
    print("saved:", *draw(runs, measured, flags), *(flags.output / f"{name}.nc" for name in runs), sep="\n  ")


if __name__ == "__main__":
    main()
