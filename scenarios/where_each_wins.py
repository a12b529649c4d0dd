"""Where each wins: synchronous or asynchronous SGD, over the severity of stragglers and the latency of the network.

Each cell of the map is a cluster. A quarter of its workers are stragglers: so many times slower than the others, for good,
because what has been published about very large training jobs is that slowdowns are mostly steady, not jitter (Lin et al.,
"Understanding stragglers in large model training using what-if analysis", OSDI 2025). On top of it every job's time is
lognormal, which fits measured mini-batch times better than the shifted exponential of the textbooks.

On each cluster each method is tuned on its own: the same grid of step sizes, every one of them tried on one tape per seed, and
the one kept whose median time to the target over the seeds is least. The cell then says which method was first and by what
factor. Both methods may use the same number of gradients, so many rounds (`--rounds`) of n for n workers, and both are looked
at after every round, so neither is looked at more often than the other.

A factor is worth no more than the seeds agree on it: the table gives its range over the seeds, and the map has a question
mark where they do not agree who was first. Nor does a factor near 1 mean much, as the step sizes tried are a factor of 1.3
to 2 apart. The script says so where a best step size lies at the edge of the grid, or where a method did not arrive: there,
the map cannot be trusted until the grid is widened or more rounds are allowed.

    python scenarios/where_each_wins.py
    python scenarios/where_each_wins.py --straggler 1 3 --latency 0 0.05
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import common
import numpy as np
import xarray
from drawing import map_of_winners
from measuring import agreed, by_cell, cautions, first, firsts, median, ratio, step_size, sweep, tune

import simsgd as sg

METHODS = {"sync": sg.MinibatchSGD(), "async": sg.AsyncSGD()}


@dataclass(frozen=True, kw_only=True)
class Flags(common.InRounds):
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

    def cluster(self, straggler: float, latency: float) -> sg.Cluster:
        """Return the cluster of one cell; its last workers are the stragglers."""
        jobs = sg.times.Lognormal(mean=self.compute_seconds, coefficient_of_variation=self.compute_variation)
        compute = common.with_stragglers(jobs, self.workers, straggler, self.straggler_share)
        return sg.Cluster(self.workers, compute, sg.networks.Link(latency=latency, bandwidth=self.bandwidth))

    def check(self) -> None:
        """Make every cluster once."""
        for cell in itertools.product(self.straggler, self.latency):
            self.cluster(*cell)


def where_each_wins(flags: Flags, saved: common.Saved) -> None:
    """Measure the map, print it as a table, and save it."""
    measured = measure(flags)
    saved.text(cells(measured), findings(measured, flags))
    saved.numbers(measured, "where_each_wins.nc")
    title = f"First to {flags.target_accuracy:.0%} test accuracy: {flags.workers} workers,\ndigits, {flags.problem}"
    labels = {"row_label": "slowdown of the stragglers (factor)", "column_label": "latency of a message (seconds)"}
    sure, where = agreed(measured.factor_of_seed), (flags.straggler, flags.latency)
    ax = map_of_winners(measured.factor, sure, *where, title=f"{title}   (?: seeds disagree)", **labels)
    saved.figure(ax.figure, "where_each_wins.png")


def measure(flags: Flags) -> xarray.Dataset:
    """Return what each method took in each cell at its best step size, and which method is first by what factor.

    "factor" is seconds of async over seconds of sync, medians over the seeds; "factor_of_seed" the same for each seed.
    """
    problem = sg.problems.digits(flags.problem)

    def cell(straggler: float, latency: float, method: str) -> dict[str, Any]:
        updates = 1 if method == "sync" else flags.workers  # of a round
        where = (METHODS[method], problem, flags.cluster(straggler, latency))
        return tune(flags, *where, **flags.goal(updates)).found

    along = {"straggler": flags.straggler, "latency": flags.latency, "protocol": METHODS}
    measured = sweep(along, cell, "tuning", seed=flags.all_seeds, step_size=list(flags.step_sizes))
    sync, asynchronous = (measured.best_seconds.sel(protocol=name, drop=True) for name in METHODS)
    factor = ratio(asynchronous.median("seed"), sync.median("seed"))
    return measured.assign(factor=factor, factor_of_seed=ratio(asynchronous, sync))


def cells(measured: xarray.Dataset) -> str:
    """Return the map as text, one line for each cell."""
    columns = {}
    for method in METHODS:
        columns |= {
            f"{method}\nstep size": lambda cell, method=method: step_size(cell.sel(protocol=method)),
            f"{method}\nseconds": lambda cell, method=method: median("best_seconds")(cell.sel(protocol=method)),
        }
    columns["first\nmedian"] = lambda cell: first(float(cell.factor))
    columns["by what factor\nrange over seeds"] = lambda cell: firsts(cell.factor_of_seed)
    return by_cell(measured, ("straggler", "latency"), columns)


def findings(measured: xarray.Dataset, flags: Flags) -> str:
    """Return who won how often and on how many seeds agree, and where the map cannot be trusted."""
    factor, sure = measured.factor, agreed(measured.factor_of_seed)
    lines = [
        f"{method} was first in {int(won.sum())} of {factor.size} cells, in {int((won & sure).sum())} of them on every seed."
        for method, won in (("sync", factor > 1), ("async", factor < 1))
    ]
    lines += cautions(measured, "protocol", "--rounds")
    for method in METHODS:
        medians = measured.best_gradients.sel(protocol=method).median("seed")
        allowed = flags.rounds * flags.workers
        used = float(medians.where(np.isfinite(medians)).max()) / allowed
        if np.isfinite(used):
            lines.append(f"{method}'s slowest cell took {used:.0%} of the {allowed:,} gradients allowed (median run).")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    common.run(Flags, where_each_wins, arguments)


if __name__ == "__main__":
    main()
