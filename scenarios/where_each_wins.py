"""Where each wins: synchronous or asynchronous SGD, over the severity of stragglers and the latency of the network.

Each cell of the map is a cluster. A quarter of its workers are stragglers: so many times slower than the others, for good,
because what has been published about very large training jobs is that slowdowns are mostly steady, not jitter (Lin et al.,
"Understanding stragglers in large model training using what-if analysis", OSDI 2025). On top of it every job's time is
lognormal, which fits measured mini-batch times better than the shifted exponential of the textbooks.

On each cluster each method is tuned on its own, with the same step sizes, on seeds that are not reported. Time is what counts:
both methods may take as long (`--rounds`), and both are looked at equally often, about once in the time of a usual job.

The cell then says which method was first on the seeds that are reported, and by what factor of restricted means: a run that
never arrived counts as long as it could have taken. The table adds the interval of the paired differences, and the map has a
question mark where the two are not separated. Nor does a factor near 1 mean much, as the step sizes tried are a factor of 1.3
to 2 apart. The script says so where a best step size lies at the edge of the grid, or where a method never arrived.

    python scenarios/where_each_wins.py
    python scenarios/where_each_wins.py --straggler 1 3 --latency 0 0.05
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import common
import numpy as np
import xarray
from drawing import map_of_winners
from measuring import TRUSTED, arriving, by_cell, chosen, first, plain, ratio, reported

import simsgd as sg

METHODS = {"sync": sg.MinibatchSGD(), "async": sg.AsyncSGD()}


@dataclass(frozen=True, kw_only=True)
class Flags(common.Comparing):
    """Map which of synchronous and asynchronous SGD reaches a test accuracy first, and by what factor."""

    problem: Literal["mlp", "logistic"] = "mlp"
    """model learned on the digits: one hidden layer of 32 units, or none"""
    straggler: tuple[common.Slowness, ...] = (1.0, 2.0, 4.0, 8.0)
    """how many times slower the stragglers are than the other workers, at least 1; the rows of the map"""
    straggler_share: common.Share = 0.25
    """share of the workers that are stragglers, from 0 to 1; rounded to whole workers"""
    latency: tuple[common.Latency, ...] = (0.0, 0.01, 0.1, 1.0)
    """seconds before a message's first byte arrives, in either direction; the columns of the map"""
    bandwidth: common.Positive = 1.25e8
    """bytes/second of each worker's link; 1.25e8 is gigabit Ethernet"""
    step_sizes: tuple[common.Positive, ...] = (0.03, 0.06, 0.09, 0.125, 0.25, 0.5, 0.7, 1.0, 2.0, 4.0)
    """step sizes to try for each method in each cell; by default closer together where the best ones lie"""
    rounds: common.Count = 150
    """for how long a run may go on, as so many jobs of a straggler, messages included"""
    kept_rounds: common.Count = 5
    """for how long, in the same unit, the target is to be kept to count as reached when it first was"""

    def cluster(self, straggler: float, latency: float) -> sg.Cluster:
        """Return the cluster of one cell; its last workers are the stragglers."""
        jobs = sg.times.Lognormal(mean=self.compute_seconds, coefficient_of_variation=self.compute_variation)
        compute = common.with_stragglers(jobs, self.workers, straggler, self.straggler_share)
        return sg.Cluster(self.workers, compute, sg.networks.Link(latency=latency, bandwidth=self.bandwidth))

    def job_seconds(self, slowness: float, latency: float) -> float:
        """Return the mean seconds of a job of a worker so many times slower, its two messages included."""
        return self.compute_seconds * slowness + 2 * (latency + self.what.message_bytes / self.bandwidth)

    @property
    def what(self) -> sg.Problem:
        """What is learned."""
        return sg.problems.digits(self.problem)

    @property
    def cells(self) -> dict[tuple[float, float], str]:
        """The cells of the map, with their names."""
        cells = itertools.product(self.straggler, self.latency)
        return {cell: f"stragglers {plain(cell[0])}× slower, latency {plain(cell[1])} s" for cell in cells}

    def check(self) -> None:
        """Make every cluster once."""
        for cell in self.cells:
            self.cluster(*cell)


def where_each_wins(flags: Flags, saved: common.Saved) -> None:
    """Measure the map, print it as a table, and save it."""
    measured, cautions = measure(flags)
    saved.text(rows(measured), "\n".join([*findings(measured), *(cautions or [TRUSTED])]))
    saved.numbers(measured, "where_each_wins.nc")
    title = f"First to {flags.target_accuracy:.0%} test accuracy: {flags.workers} workers,\ndigits, {flags.problem}"
    labels = {"row_label": "slowdown of the stragglers (factor)", "column_label": "latency of a message (seconds)"}
    where = (flags.straggler, flags.latency)
    title += "   (?: not separated)"
    ax = map_of_winners(measured.factor, measured.separated, *where, title=title, **labels)
    saved.figure(ax.figure, "where_each_wins.png")


def measure(flags: Flags) -> tuple[xarray.Dataset, Sequence[str]]:
    """Return what each method took in each cell, which is first by what factor, and where that cannot be trusted.

    "factor" is restricted mean seconds of async over those of sync, "separated" whether the seeds tell them apart.
    """
    clusters, until, looks = {}, {}, {}
    for (straggler, latency), name in flags.cells.items():
        unit = flags.job_seconds(straggler, latency)
        clusters[name] = flags.cluster(straggler, latency)
        kept = sg.Seconds(min(flags.kept_rounds, flags.rounds) * unit)
        until[name] = flags.target(within=sg.Seconds(flags.rounds * unit), kept=kept)
        looks[name] = sg.Seconds(flags.job_seconds(1.0, latency))
    found = flags.compare(METHODS, flags.what, clusters, until=until, evaluate_every=looks)
    pairs = [paired(found, name) for name in clusters]
    measured = reported(found, flags.what.batch_size).assign(
        difference=("cluster", [in_words(each) for each in pairs]), separated=("cluster", [each.separated for each in pairs])
    )
    straggler, latency = zip(*flags.cells, strict=True)
    measured = measured.assign_coords(straggler=("cluster", list(straggler)), latency=("cluster", list(latency)))
    measured = measured.drop_vars("cluster").set_index(cluster=["straggler", "latency"]).unstack("cluster")
    means = np.minimum(measured.best_seconds, measured.horizon).mean("seed")
    means = means.where(np.isfinite(measured.best_seconds).any("seed"), np.inf)
    sync, asynchronous = (means.sel(protocol=name, drop=True) for name in METHODS)
    return measured.assign(factor=ratio(asynchronous, sync).transpose("straggler", "latency")), found.cautions


def paired(found: sg.studies.Comparison, cluster: str) -> sg.studies.statistics.PairedComparison:
    """Return how async compares with sync on the seeds of a cluster."""
    sync, asynchronous = (found.seconds.sel({"method": name, "cluster": cluster}) for name in METHODS)
    return sg.studies.statistics.compare_pair(asynchronous, sync, found.settings[(cluster,)].horizon)


def in_words(pair: sg.studies.statistics.PairedComparison) -> str:
    """Return by how much async differs from sync, with the interval where there is one."""
    ends = "" if np.isnan(pair.low) else f" ({pair.low:.3g} to {pair.high:.3g})"
    return f"{pair.value:.3g}{'×' if pair.unit == '×' else ' s more'}{ends}"


def rows(measured: xarray.Dataset) -> str:
    """Return the map as text, one line for each cell."""
    columns = {}
    for method in METHODS:
        columns |= {
            f"{method}\nstep size": lambda cell, method=method: chosen(cell.sel(protocol=method)),
            f"{method}, seconds\nrestricted mean (95%)": lambda cell, method=method: arriving(cell.sel(protocol=method)),
        }
    columns["first\nby what factor"] = lambda cell: first(float(cell.factor)) + ("" if cell.separated else " ?")
    columns["async against sync\npaired (95%)"] = lambda cell: str(cell.difference.values)
    return by_cell(measured, ("straggler", "latency"), columns)


def findings(measured: xarray.Dataset) -> list[str]:
    """Return who won how often, and in how many cells the seeds separate the two."""
    factor, sure = measured.factor, measured.separated
    return [
        f"{method} was first in {int(won.sum())} of {factor.size} cells; separated in {int((won & sure).sum())} of them."
        for method, won in (("sync", factor > 1), ("async", factor < 1))
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    common.run(Flags, where_each_wins, arguments)


if __name__ == "__main__":
    main()
