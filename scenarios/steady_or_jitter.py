"""Steady or jitter: the same mean slow-down, dealt out in three ways. Does it matter who is slow, and when?

Of n workers' jobs one in n is slow, so many times slower than usual (`--slowness`). In every cluster the mean compute time over
all workers is thus the same, 1 + (slowness − 1)/n times the usual one:

- *jitter*: every job has the same chance of being slow, whoever does it, whatever came before;
- *bursts*: every worker falls into slow spells of some seconds (`--spell-seconds`), which catch it in mid-run;
- *one slow worker*: all the slow jobs are one worker's.

Against them stands a cluster where nothing is slow. All four draw the same usual job times, and all learn from the same batches
(common random numbers). That the means are the same is not taken for granted: the table has what each law says of itself, and
what was recorded.

It holds for jobs that are done one right after the other, as in asynchronous SGD. Under synchronous SGD the workers wait for
one another, and a spell goes on while they do, because it follows the clock: so more than one job in n is caught in one. (In
spells a share 1/n of the work is done, but slowness/(slowness + n − 1) of the time is spent.)

What the arithmetic says: asynchronous SGD does Σᵢ 1/E[Xᵢ] gradients per second, Xᵢ the job times of worker i, whatever else
their laws say. At the same mean of the E[Xᵢ] that is *least* when they are all equal. Synchronous SGD waits for the slowest.

Both methods are tuned on every cluster, each on its own: the step size is the one with the least median time to the target over
the seeds. Step sizes are said per gradient: asynchronous SGD steps with one gradient at a time, synchronous SGD with the sum of
n (in `MinibatchSGD`'s terms, which averages: n times the step size).

    python scenarios/steady_or_jitter.py
    python scenarios/steady_or_jitter.py --slowness 3 --spell-seconds 0.5 --latency 0.01
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import tyro
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter
from tqdm import tqdm

import simsgd as sg

METHODS = {"synchronous": sg.MinibatchSGD(), "asynchronous": sg.AsyncSGD()}
CLUSTERS = ("no slow-down", "jitter", "bursts", "one slow worker")
QUANTILES = (0.05, 0.5, 0.99, 1.0)
SAID = {
    "gradients_per_second": "gradients per second",
    "best_seconds": "seconds to target",
    "best_gradients": "gradients to target",
    "loss": "loss at the end",
}
Measure = tuple[tuple[str, ...], Any]  # dimensions besides cluster, protocol and seed, and values
COLOURS = dict(zip(METHODS, sg.plots.LINES, strict=False))


@dataclass(frozen=True)
class Jitter(sg.times.Law):
    """Another law, of whose jobs each is slower with some probability, independently: a job takes X, or slowness·X.

    The mean is (1 + (s − 1)p)·E[X], the second moment (1 + (s² − 1)p)·E[X²].
    """

    law: sg.times.Law
    slowness: float
    probability: float

    def sampler(self, rng: np.random.Generator, worker: int) -> Callable[[float], float]:
        """Draw from the law, and from a stream of this law's own whether the job is slow."""
        draw, chance = self.law.sampler(rng, worker), rng.spawn(1)[0].random
        return lambda now: draw(now) * (self.slowness if chance() < self.probability else 1.0)

    def moments(self, worker: int = 0) -> sg.times.Moments:
        """Return the moments above, for a law that draws independently."""
        mean, variance, _ = self.law.moments(worker)
        slowed = (1 + (self.slowness - 1) * self.probability) * mean
        second = (1 + (self.slowness**2 - 1) * self.probability) * (variance + mean**2)
        return sg.times.Moments(slowed, second - slowed**2)


@dataclass(frozen=True)
class Settings:
    """Deal out the same mean slow-down as jitter, as bursts and on one worker; measure what it does to SGD."""

    workers: int = 8
    """how many workers the clusters have, at least 2; one job in so many is slow"""
    slowness: float = 5.0
    """how many times slower what is slow is, above 1"""
    spell_seconds: float = 3.0
    """mean length of a slow spell (seconds), in the cluster with bursts"""
    compute_seconds: float = 0.1
    """mean seconds of a job's computing when nothing is slow"""
    compute_variation: float = 0.1
    """coefficient of variation (standard deviation over mean) of those times, which are gamma distributed"""
    latency: float = 0.0
    """seconds before a message's first byte arrives, in either direction; above 0 jobs no longer follow one another at once"""
    recorded_seconds: float = 400.0
    """simulated seconds that are recorded for what needs no gradients: throughput, shares of time, staleness"""
    target_accuracy: float = 0.95
    """share of the test samples to be classified rightly, above 0 and at most 1"""
    within: float = 60.0
    """when to give up on the target (simulated seconds)"""
    final_seconds: float = 30.0
    """for how long (simulated seconds) to train at the best step size, to see the loss at the end"""
    look_every: float = 0.2
    """how far apart to look at the model (simulated seconds): the resolution of the time to the target"""
    step_sizes: tuple[float, ...] = (0.03, 0.042, 0.06, 0.085, 0.12, 0.17, 0.24, 0.34)
    """step sizes to try, per gradient (synchronous SGD, which averages n gradients, uses n times as much)"""
    seed: int = 0
    """the first seed; a seed names all random draws"""
    seeds: int = 8
    """how many seeds to take medians over"""
    output: Path = Path("results/steady_or_jitter")
    """folder for the pictures, the table and the numbers (netCDF); made if need be"""

    def checked(self) -> Settings:
        """Return the settings, sorted, if they make sense.

        Raises:
            ValueError: naming the flag that does not.
        """
        _at_least("--workers", self.workers, 2)
        _at_least("--seeds", self.seeds, 1)
        _at_least("--seed", self.seed, 0)
        _above("--slowness", self.slowness, 1)
        for flag in ("spell_seconds", "compute_seconds", "recorded_seconds", "within", "final_seconds", "look_every"):
            _above(f"--{flag.replace('_', '-')}", getattr(self, flag), 0, " (seconds)")
        if not 0 < self.target_accuracy <= 1:
            raise ValueError(f"--target-accuracy must be above 0 and at most 1, got {self.target_accuracy:g}")
        if not self.step_sizes or len(set(self.step_sizes)) < len(self.step_sizes):
            raise ValueError(f"--step-sizes must hold at least one number and none twice, got {self.step_sizes}")
        for size in self.step_sizes:
            _above("--step-sizes: each", size, 0)
        return dataclasses.replace(self, step_sizes=tuple(sorted(self.step_sizes)))

    def cluster(self, name: str) -> sg.Cluster:
        """Return one of the four clusters: in each, one job in n is slow."""
        n, slowness, spell = self.workers, self.slowness, self.spell_seconds
        usual = sg.times.Gamma(self.compute_seconds, self.compute_variation)
        laws = {
            "no slow-down": usual,
            "jitter": Jitter(usual, slowness, probability=1 / n),
            # in spells 1/n of the work is done, so they last slowness times as long as 1/(n − 1) of what is between them
            "bursts": sg.times.SlowSpells(usual, slowness, normal_seconds=spell * (n - 1) / slowness, slow_seconds=spell),
            "one slow worker": sg.times.Speeds(usual, (1.0,) * (n - 1) + (1 / slowness,)),
        }
        return sg.Cluster(n, laws[name], sg.networks.Link(self.latency))

    @property
    def all_seeds(self) -> list[int]:
        """The seeds, one after the other."""
        return list(range(self.seed, self.seed + self.seeds))

    def stated_means(self, cluster: str) -> np.ndarray:
        """Return the mean job time (seconds) that the law states of each worker, shape (workers,)."""
        return np.array([self.cluster(cluster).compute.moments(worker).mean for worker in range(self.workers)])

    def optimizer(self, method: str) -> Callable[[float], sg.optimizers.Tunable]:
        """Return what makes SGD of a step size per gradient, in the method's own terms."""
        return lambda step_size: sg.optimizers.sgd(step_size * (self.workers if method == "synchronous" else 1))


def _at_least(flag: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{flag} must be at least {least}, got {value}")


def _above(flag: str, value: float, least: float, unit: str = "") -> None:
    if not least < value < math.inf:
        raise ValueError(f"{flag} must be above {least:g}{unit}, got {value:g}")


def steady_or_jitter(settings: Settings) -> None:
    """Measure, print, draw and save."""
    for cluster in CLUSTERS:
        settings.cluster(cluster)
    settings.output.mkdir(parents=True, exist_ok=True)  # before the work: better to fail now than after it
    tapes, timed = record_all(settings)
    measured = timed.merge(learn(settings)).assign_attrs(settings=repr(settings), simsgd=sg.__version__)
    text = f"{time_table(measured, settings)}\n\n{learning_table(measured, settings)}\n\n{findings(measured, settings)}"
    print(text)
    (settings.output / "table.txt").write_text(text + "\n", encoding="utf-8")
    save(measured, settings.output / "steady_or_jitter.nc")
    for name, figure in (("timelines.png", draw_timelines(tapes, settings)), ("comparison.png", draw(measured, settings))):
        figure.savefig(settings.output / name, dpi=120)
        plt.close(figure)
    print(f"\nSaved the pictures, this table and the numbers in {settings.output}/")


# --- measuring -----------------------------------------------------------------------------------------------------------


def record_all(settings: Settings) -> tuple[dict[tuple[str, str], sg.Tape], xarray.Dataset]:
    """Record each method on each cluster; return the tapes of the first seed, and what was measured in time."""
    size, stretch = sg.problems.digits().message_bytes, sg.Seconds(settings.recorded_seconds)
    tapes, found = {}, []
    places = list(itertools.product(CLUSTERS, METHODS, settings.all_seeds))
    for cluster, method, seed in tqdm(places, desc="recording", unit="tape", disable=None):
        tape = sg.record(METHODS[method], settings.cluster(cluster), stretch, seed, message_bytes=size, progress=False)
        if set(tape.worker) != set(range(settings.workers)):
            raise ValueError(f"--recorded-seconds {settings.recorded_seconds:g} are over before all are heard of: ask for more")
        found.append(in_time(tape))
        if seed == settings.seed:
            tapes[cluster, method] = tape
    stated = np.stack([settings.stated_means(cluster) for cluster in CLUSTERS])
    measured = table_of(found, settings, quantile=list(QUANTILES), worker=list(range(settings.workers)))
    return tapes, measured.assign(stated_seconds=(("cluster", "worker"), stated))


def in_time(tape: sg.Tape) -> dict[str, Measure]:
    """Return what is told of a tape, with the dimensions that each measure has."""
    jobs = np.bincount(tape.worker, minlength=tape.workers)
    spent = np.bincount(tape.worker, weights=tape.ended - tape.began, minlength=tape.workers)
    return {
        "gradients_per_second": ((), len(tape) / tape.end),
        "updates_per_second": ((), tape.updates / tape.end),
        "waiting": ((), tape.shares()["waiting"].mean()),
        "mean_staleness": ((), tape.staleness.mean()),
        "spread_of_staleness": ((), tape.staleness.std()),
        "staleness": (("quantile",), np.quantile(tape.staleness, QUANTILES)),
        "job_seconds": (("worker",), spent / jobs),
    }


def table_of(found: list[dict[str, Measure]], settings: Settings, **coords: list) -> xarray.Dataset:
    """Return what was found on each cluster, by each method, on each seed, in this order, as one dataset."""
    first = {"cluster": list(CLUSTERS), "protocol": list(METHODS), "seed": settings.all_seeds}
    shape = tuple(map(len, first.values()))
    return xarray.Dataset(
        {
            name: ((*first, *dims), np.reshape([each[name][1] for each in found], (*shape, *np.shape(value))))
            for name, (dims, value) in found[0].items()
        },
        coords={**first, **coords},
    )


def learn(settings: Settings) -> xarray.Dataset:
    """Tune each method on each cluster, and train it for as long at its best step size.

    "seconds" to the target for each step size, infinite where it was not reached; "best", the place of the best step size;
    "best_seconds" and "best_gradients" to the target with it; "loss" and "accuracy" at the end.
    """
    problem, found, best = sg.problems.digits(), [], []
    target = sg.Target("accuracy", at_least=settings.target_accuracy, within=sg.Seconds(settings.within))
    looks = {"evaluate_every": sg.Seconds(settings.look_every), "progress": False}
    for cluster, method in tqdm(list(itertools.product(CLUSTERS, METHODS)), desc="learning", unit="method", disable=None):
        where, make = (METHODS[method], problem, settings.cluster(cluster)), settings.optimizer(method)
        tunings = [
            sg.study.tune(*where, settings.step_sizes, target, seed, optimizer=make, **looks) for seed in settings.all_seeds
        ]
        seconds = np.nan_to_num([tuning.seconds for tuning in tunings], nan=np.inf)
        best.append(int(np.argmin(np.median(seconds, axis=0))))
        for seed, tuning, row in zip(settings.all_seeds, tunings, seconds, strict=True):
            gradients = np.nan_to_num(tuning.runs[best[-1]].to_target().samples / problem.batch_size, nan=np.inf)
            end = sg.Seconds(settings.final_seconds)
            run = sg.simulate(*where, make(settings.step_sizes[best[-1]]), end, seed, progress=False)
            chosen = {"best_seconds": ((), row[best[-1]]), "best_gradients": ((), gradients)}
            found.append({"seconds": (("step_size",), row), **chosen, **at_the_end(run)})
    learned = table_of(found, settings, step_size=list(settings.step_sizes))
    if (learned.seconds == 0).any():
        raise ValueError(f"--target-accuracy {settings.target_accuracy:g} is reached before the first update: ask for more")
    return learned.assign(best=(("cluster", "protocol"), np.reshape(best, (len(CLUSTERS), len(METHODS)))))


def at_the_end(run: sg.Run) -> dict[str, Measure]:
    """Return loss and accuracy, means over the last fifth of the looks, as they go up and down."""
    last = run.dataset.isel(evaluation=slice(-(len(run.dataset.time) // 5 or 1), None))
    diverged = run.status == "diverged"
    return {"loss": ((), math.inf if diverged else float(last.loss.mean())), "accuracy": ((), float(last.accuracy.mean()))}


def save(dataset: xarray.Dataset, path: Path) -> None:
    """Write the numbers as netCDF, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        dataset.to_netcdf(partial, engine="h5netcdf")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


# --- telling -------------------------------------------------------------------------------------------------------------


def time_table(measured: xarray.Dataset, settings: Settings) -> str:
    """Return what the slow-downs do in time: medians over the seeds, and the mean compute time for the check."""
    lines = [
        f"In time: {settings.recorded_seconds:g} s recorded on each of {settings.seeds} seeds; medians; of a job's seconds: "
        "mean ± standard error.",
        "",
        "                               seconds of a job            gradients/s               updates/s  waiting  staleness",
        "cluster          method        by law   recorded           recorded       Σ 1/E[X]   recorded   share    mean, sd; "
        + ", ".join(f"{q:.0%}" for q in QUANTILES),
    ]
    for cluster, method in itertools.product(CLUSTERS, METHODS):
        cell = measured.sel(cluster=cluster, protocol=method)
        median = cell.median("seed")
        recorded = f"{float(cell.job_seconds.mean()):.4g} ± {standard_error(cell):.2g}"
        by_law = f"{(1 / settings.stated_means(cluster)).sum():.4g}" if method == "asynchronous" else ""
        stale = ", ".join(f"{value:.0f}" for value in median.staleness.values)
        lines.append(
            f"{cluster:<15}  {method:<12}  {float(cell.stated_seconds.mean()):<7.4g}  {recorded:<17}  "
            f"{float(median.gradients_per_second):<13.4g}  {by_law:<9}  {float(median.updates_per_second):<9.4g}  "
            f"{float(median.waiting):<7.1%}  {float(median.mean_staleness):.2f}, {float(median.spread_of_staleness):.1f}; "
            f"{stale}"
        )
    return "\n".join(lines)


def standard_error(cell: xarray.Dataset) -> float:
    """Return that of the recorded mean compute time, from how the workers' means on all seeds scatter about what is stated."""
    off = (cell.job_seconds - cell.stated_seconds).values
    return float(off.std(ddof=1) / math.sqrt(off.size))


def learning_table(measured: xarray.Dataset, settings: Settings) -> str:
    """Return what the slow-downs do to learning: medians over the seeds, with their range."""
    lines = [
        f"In learning: digits, accuracy ≥ {settings.target_accuracy:g}, each method at its best step size on each cluster (in "
        "brackets: the largest at which most seeds",
        f"got there); medians of {settings.seeds} seeds (range). At the end: after {settings.final_seconds:g} s, the mean of "
        "the last fifth of the looks.",
        "",
        "cluster          method        step size      seconds to target    gradients to target  loss at the end            "
        "accuracy",
    ]
    for cluster, method in itertools.product(CLUSTERS, METHODS):
        cell = measured.sel(cluster=cluster, protocol=method)
        usable = measured.step_size[np.isfinite(cell.seconds.median("seed"))]
        sizes = f"{float(measured.step_size[cell.best]):g} ({float(usable.max()):g})" if usable.size else "-"
        lines.append(
            f"{cluster:<15}  {method:<12}  {sizes:<13}  {spread(cell.best_seconds):<19}  "
            f"{spread(cell.best_gradients, '.0f'):<19}  {spread(cell.loss):<25}  {spread(cell.accuracy)}"
        )
    return "\n".join(lines)


def spread(values: xarray.DataArray, digits: str = ".3g") -> str:
    """Return the median over the seeds, and the range; "never" for a target that was not reached."""
    known = values.values[~np.isnan(values.values)]
    if not len(known):
        return "-"
    said = [f"{value:{digits}}" if math.isfinite(value) else "never" for value in (np.median(known), known.min(), known.max())]
    return f"{said[0]} ({said[1]} to {said[2]})" if len(known) > 1 else said[0]


def findings(measured: xarray.Dataset, settings: Settings) -> str:
    """Return what follows, with how far the seeds agree, and where the numbers cannot be trusted."""
    stated = measured.stated_seconds.mean("worker").values
    same = "the same" if np.ptp(stated[1:]) < 1e-12 * stated[1] else "NOT the same"
    bursts = float(measured.job_seconds.sel(cluster="bursts", protocol="synchronous").mean())
    lines = [
        f"Mean seconds of a job by the laws: {same} in the three clusters that are slowed, {stated[1] / stated[0]:.4g} times "
        f"the usual. Recorded in bursts under synchronous SGD: {bursts / stated[0]:.3g} times.",
    ]
    for method in METHODS:
        own = measured.sel(protocol=method)
        lines.append(f"{method.capitalize()} SGD against no slow-down, median factor (range over the seeds):")
        for name in ("gradients_per_second", "best_seconds", "best_gradients", "loss"):
            with np.errstate(invalid="ignore"):  # infinite over infinite: neither got there
                ratio = own[name] / own[name].sel(cluster=CLUSTERS[0])
            said = "   ".join(f"{cluster} {spread(ratio.sel(cluster=cluster))}" for cluster in CLUSTERS[1:])
            lines.append(f"  {SAID[name]:<22}{said}")
        longest = own.best_seconds.sel(cluster=list(CLUSTERS[1:])).idxmax("cluster").values.tolist()
        most = ", ".join(f"{cluster} on {longest.count(cluster)}" for cluster in CLUSTERS[1:] if cluster in longest)
        lines.append(f"  takes longest to the target with: {most} of {settings.seeds} seeds")
    return "\n".join([*lines, *cautions(measured, settings)])


def cautions(measured: xarray.Dataset, settings: Settings) -> list[str]:
    """Say where the numbers cannot be trusted."""
    found: dict[str, list[str]] = {}
    for cluster, method in itertools.product(CLUSTERS, METHODS):
        cell = measured.sel(cluster=cluster, protocol=method)
        off = abs(float((cell.job_seconds - cell.stated_seconds).mean())) / (standard_error(cell) or math.inf)
        doubts = {
            "some seeds missed the target, raise --within or try other --step-sizes": not np.isfinite(cell.best_seconds).all(),
            "best step size at the edge of the grid, try more --step-sizes": int(cell.best)
            in (0, len(settings.step_sizes) - 1),
            "jobs took over 4 standard errors more or less than their law says": method == "asynchronous" and off > 4,
        }
        for doubt in (doubt for doubt, so in doubts.items() if so):
            found.setdefault(doubt, []).append(f"{method} with {cluster}")
    return [f"CAUTION: {doubt}: {', '.join(where)}." for doubt, where in found.items()]


# --- drawing -------------------------------------------------------------------------------------------------------------


def draw_timelines(tapes: dict[tuple[str, str], sg.Tape], settings: Settings) -> Figure:
    """Draw who computed and who waited on each cluster, with the slow jobs in a colour of their own."""
    figure, axes = plt.subplots(4, 2, figsize=(13, 10.7), sharex=True, sharey=True, layout="constrained")
    stop = min(60 * settings.compute_seconds, settings.recorded_seconds)
    for ax, (cluster, method) in zip(axes.flat, itertools.product(CLUSTERS, METHODS), strict=True):
        tape = tapes[cluster, method]
        sg.plots.timeline(tape, stop=stop, ax=ax)
        mark_slow(ax, tape, 1.5 * settings.compute_seconds, stop)
        updates = int(np.count_nonzero(tape.update_times <= stop))
        ax.set_title(f"{cluster}: {method}, {updates} updates in {stop:g} s", fontsize=10)
        ax.label_outer()
        ax.get_legend().remove()
    handles, labels = axes[1, 0].get_legend_handles_labels()
    shown = {label: handle for handle, label in zip(handles, labels, strict=True) if not label.startswith("update")}
    figure.legend(shown.values(), shown, loc="outside lower center", ncols=len(shown), frameon=False)
    figure.suptitle(
        "The same mean slow-down, dealt out in three ways (updates: black lines, or ticks above where there are many)"
    )
    return figure


def mark_slow(ax: Axes, tape: sg.Tape, longer_than: float, stop: float) -> None:
    """Colour the jobs that took longer than so many seconds."""
    logs = (tape, tape.in_flight)
    worker, began, ended = (np.concatenate([getattr(log, name) for log in logs]) for name in ("worker", "began", "ended"))
    ended = np.fmin(ended, tape.end)  # not a number for a job still under way
    slow = (ended - began > longer_than) & (began < stop)
    where = {"y": worker[slow] - 0.38, "width": np.minimum(ended, stop)[slow] - began[slow], "left": began[slow]}
    look = {"color": sg.plots.LINES[1], "edgecolor": "white", "linewidth": 0.5}
    ax.barh(**where, height=0.76, align="edge", **look, label=f"computing, for more than {longer_than:g} s")


def draw(measured: xarray.Dataset, settings: Settings) -> Figure:
    """Draw what the slow-downs do: each seed a point, the median a bar."""
    figure, axes = plt.subplots(2, 3, figsize=(14, 8.5), layout="constrained")
    points(axes[0, 0], measured.gradients_per_second, "gradients per second")
    points(axes[0, 1], measured.waiting, "share of time spent waiting")
    axes[0, 1].yaxis.set_major_formatter(PercentFormatter(1.0))
    draw_staleness(axes[0, 2], measured.sel(protocol="asynchronous"), settings)
    points(axes[1, 0], measured.best_seconds, f"seconds to accuracy ≥ {settings.target_accuracy:g}", logarithmic=True)
    points(axes[1, 1], measured.best_gradients, f"gradients to accuracy ≥ {settings.target_accuracy:g}")
    points(axes[1, 2], measured.loss, f"loss after {settings.final_seconds:g} s", logarithmic=True)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(
        f"{settings.workers} workers, one job in {settings.workers} is {settings.slowness:g} times slower; each method at its "
        f"best step size. Points: {settings.seeds} seeds; bars: medians"
    )
    return figure


def points(ax: Axes, values: xarray.DataArray, title: str, logarithmic: bool = False) -> None:
    """Draw a measure on each cluster for both methods; what is infinite lies on the upper edge, as a cross."""
    for shift, (method, colour) in zip((-0.17, 0.17), COLOURS.items(), strict=True):
        table = values.sel(protocol=method).transpose("cluster", "seed").values
        middle = np.arange(len(CLUSTERS)) + shift
        x = middle[:, None] + (np.linspace(-0.1, 0.1, table.shape[1]) if table.shape[1] > 1 else np.zeros(1))
        finite = np.isfinite(table)
        ax.plot(x[finite], table[finite], "o", color=colour, markersize=4.5, alpha=0.6, label=method)
        if not finite.all():
            ax.plot(x[~finite], np.ones((~finite).sum()), "x", color=colour, transform=ax.get_xaxis_transform(), clip_on=False)
        ax.hlines(np.median(table, axis=1), middle - 0.14, middle + 0.14, colour, linewidth=2)
    if logarithmic:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_locator(NullLocator())
    else:
        ax.set_ylim(bottom=0)
    _finish(ax, title if np.isfinite(values).all() else f"{title}   (×: not reached)")


def draw_staleness(ax: Axes, measured: xarray.Dataset, settings: Settings) -> None:
    """Draw the quantiles of asynchronous SGD's staleness, medians over the seeds."""
    low, middle, high, most = measured.staleness.median("seed").transpose("quantile", "cluster").values
    x, colour = np.arange(len(CLUSTERS)), COLOURS["asynchronous"]
    ax.vlines(x, low, high, colour, linewidth=7, alpha=0.4, label="from 5% to 99%")
    ax.plot(x, most, "^", color=colour, markerfacecolor="white", label="maximum")
    ax.plot(x, middle, "o", color=colour, label="median")
    mean = measured.mean_staleness.median("seed")
    ax.plot(x, mean, "D", color="black", markersize=4, label=f"mean (n − 1 = {settings.workers - 1})")
    ax.set_ylim(0, 1.4 * max(most))
    _finish(ax, "staleness of asynchronous gradients (versions)")
    ax.legend(fontsize=8, ncols=2, loc="upper left")


def _finish(ax: Axes, title: str) -> None:
    ax.set_xticks(range(len(CLUSTERS)), [cluster.replace(" slow", "\nslow") for cluster in CLUSTERS])
    ax.set_xlim(-0.5, len(CLUSTERS) - 0.5)
    ax.set_title(title, fontsize=10)
    ax.grid(axis="y", alpha=0.25)


def main() -> None:
    """Run from the command line."""
    try:
        steady_or_jitter(tyro.cli(Settings).checked())
    except (ValueError, TypeError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
