"""Where each wins: synchronous or asynchronous SGD, over the severity of stragglers and the latency of the network.

Each cell of the map is a cluster. A quarter of its workers are stragglers: `severity` times slower than the others, for
good, because what has been published about very large training jobs is that slowdowns are mostly steady, not jitter (Lin et
al., "Understanding stragglers in large model training using what-if analysis", OSDI 2025). On top of it every job's time is
lognormal, which fits measured mini-batch times better than the shifted exponential of the textbooks.

On each cluster each method is tuned on its own: the same grid of step sizes, every one of them tried on one tape per seed, and
the one kept whose median time to the target over the seeds is least. The cell then says which method was first and by what
factor. Both methods may use the same number of gradients (`--gradients`), and both are looked at after every n of them, for n
workers, so neither is looked at more often than the other.

A factor is worth no more than the seeds agree on it: the table gives its range over the seeds, and the map has a question
mark where they do not agree who was first. Nor does a factor near 1 mean much, as the step sizes tried are a factor of 1.3
to 2 apart. The script says so where a best step size lies at the edge of the grid, or where a method did not arrive: there,
the map cannot be trusted until the grid is widened or more gradients are allowed.
"""

from __future__ import annotations

import itertools
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro
import xarray
from matplotlib.figure import Figure
from tqdm import tqdm

import simsgd as sg

METHODS = {"sync": sg.MinibatchSGD(), "async": sg.AsyncSGD()}


@dataclass(frozen=True)
class Settings:
    """Map which of synchronous and asynchronous SGD reaches a test accuracy first, and by what factor."""

    problem: Literal["mlp", "logistic"] = "mlp"
    """model learned on the digits: one hidden layer of 32 units, or none"""
    workers: int = 8
    """how many workers the cluster has"""
    severities: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    """how many times slower stragglers are than the other workers, at least 1; the rows of the map"""
    latencies: tuple[float, ...] = (0.0, 0.01, 0.1, 1.0)
    """seconds before the first byte of a message arrives, in either direction; the columns of the map"""
    bandwidth: float = 1.25e8
    """bytes/second of each worker's link; 1.25e8 is gigabit Ethernet"""
    straggler_share: float = 0.25
    """share of the workers that are stragglers, from 0 to 1; rounded to whole workers"""
    compute_seconds: float = 0.1
    """mean seconds of a job's computing, on a worker that is no straggler"""
    compute_variation: float = 0.5
    """coefficient of variation (standard deviation over mean) of a job's lognormal compute time"""
    step_sizes: tuple[float, ...] = (0.03, 0.06, 0.09, 0.125, 0.25, 0.5, 0.7, 1.0, 2.0, 4.0)
    """step sizes to try for each method in each cell; by default closer together where the best ones lie"""
    seeds: int = 3
    """how many seeds (0, 1, ...) to take medians over"""
    target_accuracy: float = 0.9
    """share of the test samples to be classified rightly, from 0 to 1"""
    gradients: int = 1200
    """how many gradients a run may use to get there; the same for both methods"""
    output: Path = Path("results/where_each_wins")
    """folder for the picture, the table and the numbers (netCDF); made if need be"""

    def __post_init__(self) -> None:
        for flag in ("severities", "latencies", "step_sizes"):
            values = getattr(self, flag)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"--{flag.replace('_', '-')} must hold at least one number and none twice, got {values}")
        _within("--target-accuracy", self.target_accuracy, 0, 1)
        _within("--straggler-share", self.straggler_share, 0, 1)
        _within("--seeds", self.seeds, 1, math.inf)
        _within("--gradients", self.gradients, self.workers, math.inf)
        for severity in self.severities:
            _within("--severities: each", severity, 1, math.inf)
        object.__setattr__(self, "step_sizes", tuple(sorted(self.step_sizes)))

    def cluster(self, severity: float, latency: float) -> sg.Cluster:
        """Return the cluster of one cell; its last workers are the stragglers."""
        slow = round(self.straggler_share * self.workers)
        speeds = (1.0,) * (self.workers - slow) + (1 / severity,) * slow
        jobs = sg.times.Lognormal(mean=self.compute_seconds, coefficient_of_variation=self.compute_variation)
        network = sg.networks.Link(latency=latency, bandwidth=self.bandwidth)
        return sg.Cluster(self.workers, sg.times.Speeds(jobs, speeds), network)


def _within(flag: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        wanted = f"at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
        raise ValueError(f"{flag} must be {wanted}, got {value!r}")


def where_each_wins(settings: Settings) -> None:
    """Measure the map, print it as a table, and save it."""
    clusters = [settings.cluster(*cell) for cell in itertools.product(settings.severities, settings.latencies)]
    settings.output.mkdir(parents=True, exist_ok=True)
    measured = judge(measure(settings, clusters))
    text = f"{table(measured)}\n\n{findings(measured, settings)}"
    print(text)
    (settings.output / "table.txt").write_text(text + "\n", encoding="utf-8")
    save(measured, settings.output / "where_each_wins.nc")
    picture(measured, settings).savefig(settings.output / "where_each_wins.png", dpi=120)
    print(f"\nSaved the picture, this table and the numbers in {settings.output}/")


def measure(settings: Settings, clusters: list[sg.Cluster]) -> xarray.Dataset:
    """Return seconds and gradients to the target of every run, infinite where it was not reached in time."""
    problem = sg.problems.digits(settings.problem)
    tapes = list(itertools.product(clusters, METHODS, range(settings.seeds)))
    costs = np.empty((len(tapes), len(settings.step_sizes), 2))
    for place, (cluster, method, seed) in zip(costs, tqdm(tapes, desc="tuning", unit="tape", disable=None), strict=True):
        every = 1 if method == "sync" else settings.workers  # so many updates are made of n gradients
        bound = sg.Updates(settings.gradients // settings.workers * every)
        target = sg.Target("accuracy", at_least=settings.target_accuracy, within=bound)
        looks = {"evaluate_every": sg.Updates(every), "progress": False}
        tuning = sg.study.tune(METHODS[method], problem, cluster, settings.step_sizes, target, seed, **looks)
        place[:] = [(cost.seconds, cost.samples / problem.batch_size) for cost in (run.to_target() for run in tuning.runs)]
    if (costs == 0).any():
        raise ValueError(f"--target-accuracy {settings.target_accuracy:g} is reached before the first update: ask for more")
    along = {
        "severity": list(settings.severities),
        "latency": list(settings.latencies),
        "protocol": list(METHODS),
        "seed": list(range(settings.seeds)),
        "step_size": list(settings.step_sizes),
    }
    table_of = np.moveaxis(np.nan_to_num(costs, nan=np.inf).reshape(*map(len, along.values()), 2), -1, 0)
    return xarray.Dataset(
        {"seconds": (tuple(along), table_of[0]), "gradients": (tuple(along), table_of[1])},
        coords=along,
        attrs={"settings": repr(settings), "simsgd": sg.__version__},
    )


def judge(measured: xarray.Dataset) -> xarray.Dataset:
    """Add what each method's best step size in each cell is, what it costs, and which method is first by what factor.

    Adds "best" (the place of the step size), "best_seconds" and "best_gradients" (medians over seeds with that step size),
    "factor" (seconds of async over seconds of sync) and "factor_of_seed" (the same for each seed with those step sizes).
    """
    best = measured.seconds.median("seed").argmin("step_size")
    chosen = measured[["seconds", "gradients"]].isel(step_size=best).drop_vars("step_size")
    medians = chosen.median("seed")
    return measured.assign(
        best=best,
        best_seconds=medians.seconds,
        best_gradients=medians.gradients,
        factor=_factor(medians.seconds),
        factor_of_seed=_factor(chosen.seconds),
    )


def _factor(seconds: xarray.DataArray) -> xarray.DataArray:
    """Return async over sync: infinite or 0 where only one arrived, not a number where neither did."""
    with np.errstate(invalid="ignore"):  # infinity over infinity
        return seconds.sel(protocol="async", drop=True) / seconds.sel(protocol="sync", drop=True)


def table(measured: xarray.Dataset) -> str:
    """Return the map as text, one line for each cell."""
    lines = [
        "stragglers            sync                    async                   who is first, by what factor",
        "slower by   latency   step size   seconds     step size   seconds     median        range over seeds",
    ]
    for severity, latency in itertools.product(measured.severity.values, measured.latency.values):
        cell = measured.sel(severity=severity, latency=latency)
        line = f"{severity:6g} ×  {latency:7g} s   "
        for method in METHODS:
            seconds = float(cell.best_seconds.sel(protocol=method))
            step_size = float(measured.step_size[cell.best.sel(protocol=method)])
            reached = (f"{step_size:<9.4g}", f"{seconds:<9.4g}") if math.isfinite(seconds) else ("-        ", "not reached")
            line += f"{reached[0]}   {reached[1]:<9}   "
        seen = cell.factor_of_seed.values[~np.isnan(cell.factor_of_seed.values)]
        spread = f"{said(seen.min())} to {said(seen.max())}" if len(seen) else "-"
        lines.append(f"{line}{said(float(cell.factor)):<12}  {spread}")
    return "\n".join(lines)


def said(factor: float) -> str:
    """Return a factor in words, for example "async 2.5×"."""
    if math.isnan(factor):
        return "neither"
    winner = "sync" if factor > 1 else "async"
    return f"only {winner}" if factor in (0, math.inf) else f"{winner} {max(factor, 1 / factor):.2f}×"


def agreement(measured: xarray.Dataset) -> xarray.DataArray:
    """Return in which cells the same method was first on every seed."""
    seeds = measured.factor_of_seed
    return (seeds > 1).all("seed") | (seeds < 1).all("seed")


def findings(measured: xarray.Dataset, settings: Settings) -> str:
    """Return who won how often and on how many seeds agree, and where the map cannot be trusted."""
    factor, agreed = measured.factor, agreement(measured)
    lines = [
        f"{method} was first in {int(won.sum())} of {factor.size} cells, in {int((won & agreed).sum())} of them on every seed."
        for method, won in (("sync", factor > 1), ("async", factor < 1))
    ]
    arrived = np.isfinite(measured.best_seconds)
    edge = arrived & ((measured.best == 0) | (measured.best == measured.sizes["step_size"] - 1))
    for method in METHODS:
        count, missed = int(edge.sel(protocol=method).sum()), int((~arrived.sel(protocol=method)).sum())
        if count:
            lines.append(f"CAUTION: {method}'s best step size is at the edge of the grid in {count} cells: widen --step-sizes.")
        if missed:
            lines.append(
                f"CAUTION: {method} did not reach the target in {missed} cells: raise --gradients or widen --step-sizes."
            )
    if arrived.all() and not edge.any():
        lines.append("No best step size is at the edge of the grid.")
    for method in METHODS:
        used = measured.best_gradients.where(arrived).sel(protocol=method).max() / settings.gradients
        if np.isfinite(used):
            lines.append(
                f"{method}'s slowest cell took {float(used):.0%} of the {settings.gradients:,} gradients allowed (median run)."
            )
    return "\n".join(lines)


def save(dataset: xarray.Dataset, path: Path) -> None:
    """Write the numbers as netCDF, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        dataset.to_netcdf(partial, engine="h5netcdf")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def picture(measured: xarray.Dataset, settings: Settings) -> Figure:
    """Draw the map."""
    ax = sg.plots.heat_map(
        measured.factor.transpose("severity", "latency").values,
        rows=settings.severities,
        columns=settings.latencies,
        methods=("sync", "async"),
        row_label="slowdown of the stragglers (factor)",
        column_label="latency of a message (seconds)",
        title=f"First to {settings.target_accuracy:.0%} test accuracy: {settings.workers} workers,\n"
        f"digits, {settings.problem}   (?: seeds disagree)",
    )
    agreed = agreement(measured).transpose("severity", "latency").values
    for text, sure in zip(ax.texts, agreed.ravel(), strict=True):  # one text in each cell, row by row
        if not sure and text.get_text() != "neither":
            text.set_text(f"{text.get_text()} ?")
    return ax.figure


def main() -> None:
    """Run from the command line."""
    try:
        where_each_wins(tyro.cli(Settings))
    except (ValueError, TypeError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
