"""The whole shelf: every method of `sg.methods` on one cluster and one problem, each at its own step size, ranked.

The workers differ in speed, for good: the slowest takes `--slowest` times as long for a job as the fastest, the others lie
between. They learn digits by logistic regression with a penalty, which has one optimum. Twice: once each worker's samples are
dealt out at random, so all have data that are alike; once each has the samples of one digit only (`--labels`). There, who
counts how often decides what is learned: asynchronous SGD hears a fast worker more often and goes to another optimum.

Shares are equally large, so that the mean over workers is the mean over samples, which is the loss that is shown. (Label skew
by Dirichlet draws makes shares of different sizes; then even synchronous SGD goes elsewhere.) Who has which digit is drawn
anew on each seed. With another number of workers than digits shares are a little, or much, unequal.

Only the step size is tuned, for each method and kind of data, on seeds of its own (`--tuning-seeds`) that are not reported:
six step sizes a factor of 4 apart, one or two more for all where the best of one is at an edge, then the two beside each best,
so a factor of 2 apart in the end. All other settings stand in `shelf.py`. The target is a loss above the least possible, kept
for some seconds. A method's time is the median over the seeds, and infinite on a seed on which it does not arrive; those that
do not arrive on most seeds are ranked last, by how many did and by their loss at the end. At the settings given, two methods
are told apart no better than their seeds agree, than models are evaluated (`--evaluate-every`), and than step sizes lie apart.
The default run takes some minutes, much of it for compiling; `--folder` keeps what is finished.

    python scenarios/method_shelf.py
    python scenarios/method_shelf.py --quick
    python scenarios/method_shelf.py --methods minibatch asynchronous ringmaster rescaled --slowest 20
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import common
import numpy as np
import xarray
from pictures.method_shelf import draw
from ranking import findings, ranked, ranks
from shelf import NAMES, Unequal, digits, least_loss

import simsgd as sg

ALIKE = "Homogeneous data: the workers' samples are alike"
DIFFER = "Heterogeneous data: each worker has digits of its own"
KINDS = ALIKE, DIFFER
COARSE = [2.0**power for power in (-8, -6, -4, -2, 0, 2)]
QUICK = {"seeds": 2, "tuning_seeds": 1, "evaluate_every": 1.0}
FEW = ("minibatch", "rennala", "asynchronous", "k_batch_async", "ringmaster", "rescaled", "all_client_engagement", "dana_slim")


@dataclass(frozen=True, kw_only=True)
class Flags(Unequal):
    """Every method of the shelf on one cluster and one problem, each at its own tuned step size, ranked by time to a target."""

    quick: bool = False
    """a few methods on two seeds, evaluated every second: about a minute"""
    labels: Annotated[int, common.Limits(least=1, most=10)] = 1
    """how many of the ten digits each worker has, where data differ"""
    seeds: common.Count = 5
    """how many seeds to report on"""
    tuning_seeds: common.Count = 2
    """how many other seeds to choose step sizes on"""
    seconds: common.Seconds = 60.0
    """how long a run lasts (simulated seconds)"""
    above: common.Positive = 0.05
    """the target: the loss may be so much above the least possible"""
    kept: common.Seconds = 3.0
    """for how long (simulated seconds) the target is to be kept, to count as reached when it first was"""
    evaluate_every: common.Seconds = 0.5
    """how far apart to evaluate the loss (simulated seconds): the resolution of the time to the target"""
    penalty: common.Positive = 0.01
    """of squared parameters, in the loss"""
    folder: Path | None = None
    """folder that keeps finished runs, so that what was interrupted, or is asked for again, is not made again"""

    def check(self) -> None:
        """Refuse what does not fit together."""
        if not self.evaluate_every <= self.kept <= self.seconds:
            raise ValueError(
                f"--kept must be from --evaluate-every ({self.evaluate_every:g} s) to --seconds ({self.seconds:g} s), "
                f"got {self.kept:g}"
            )
        for kind in KINDS:
            self.problem(kind, self.seed)

    def problem(self, kind: str, seed: int) -> sg.Problem:
        """Return what is learned, with its samples divided between the workers in one of the two ways."""
        by = sg.problems.EqualShares(seed) if kind == ALIKE else sg.problems.LabelsPerWorker(self.labels, seed=seed)
        return digits(self.penalty, self.batch_size).partitioned(self.workers, by)

    @property
    def target(self) -> sg.Target:
        """The loss that is to be reached, with its bounds."""
        within, kept = sg.Seconds(self.seconds), sg.Seconds(self.kept)
        return sg.Target("loss", at_most=least_loss(self.penalty) + self.above, within=within, kept=kept)


def method_shelf(flags: Flags, saved: common.Saved) -> None:
    """Measure, print, draw and save."""
    if flags.quick:
        few = FEW if flags.methods == NAMES else flags.methods
        flags = dataclasses.replace(flags, methods=few, **QUICK).checked()
    measured, found = measure(flags)
    goal = f"Target: the loss {flags.above:g} above the least possible, kept for {flags.kept:g} s; {flags.seeds} seeds."
    doubts = (
        f"The loss is evaluated every {flags.evaluate_every:g} s; step sizes are a factor of 2 apart; all other settings are "
        "those of shelf.py, not tuned. AdaDelay's step size falls with time, and three methods have a momentum: other methods "
        "could have that, too."
    )
    saved.text(
        *(f"{kind}. {goal}\n{ranked(measured.sel(data=kind))}" for kind in KINDS),
        f"{findings(measured)}\n{doubts}",
        *(["\n".join(found.cautions)] if found.cautions else []),
    )
    saved.numbers(measured, "method_shelf.nc")
    title = (
        f"{measured.sizes['method']} methods, each at its own best step size: {flags.workers} workers, the slowest "
        f"{flags.slowest:g} times slower than the fastest, {flags.seeds} seeds"
    )
    saved.figure(draw(measured, flags.above, title), "method_shelf.png")


def measure(flags: Flags) -> tuple[xarray.Dataset, sg.studies.Comparison]:
    """Return for each method and kind of data its step size, its times to the target, its loss over time, and its rank.

    And the comparison that these are of.
    """
    problems = {kind: functools.partial(flags.problem, kind) for kind in KINDS}
    seeds = range(flags.seed, flags.seed + flags.seeds)
    chosen_by = range(flags.seed + common.TUNING, flags.seed + common.TUNING + flags.tuning_seeds)
    options = {"until": flags.target, "evaluate_every": sg.Seconds(flags.evaluate_every), "step_sizes": COARSE}
    options |= {"seeds": seeds, "tuning_seeds": chosen_by, "extensions": 1, "refinements": 1, "folder": flags.folder}
    found = sg.compare(flags.made(), problems, flags.cluster, **options)
    loss = losses(flags, found, seeds)
    measured = xarray.Dataset(
        {
            "seconds": found.seconds.fillna(math.inf).rename(problem="data"),
            "step_size": found.dataset.step_size.rename(problem="data"),
            "loss": loss,
            "final": loss.isel(second=slice(-loss.sizes["second"] // 10, None)).mean("second"),
        }
    ).transpose("data", "method", "seed", "second")
    family = [entry.preset.__module__.rsplit(".", 1)[-1] for entry in flags.entries.values()]
    return measured.assign(family=("method", family), rank=ranks(measured)), found


def losses(flags: Flags, found: sg.studies.Comparison, seeds: Sequence[int]) -> xarray.DataArray:
    """Return the loss above the least possible of runs at the best step sizes, up to the end; infinite once diverged."""
    made, end = flags.made(), {"until": sg.Seconds(flags.seconds), "evaluate_every": sg.Seconds(flags.evaluate_every)}

    def run(data: str, method: str, seed: int) -> sg.Cell:
        whole = made[method](found.step_sizes[method, data])
        return sg.Cell(whole, flags.problem(data, seed), flags.cluster, seed=seed, **end)

    axes = {"data": KINDS, "method": list(found.methods), "seed": list(seeds)}
    runs = sg.Study(run, axes, folder=flags.folder).run().dataset
    moments = np.arange(0, flags.seconds + 1e-9, flags.evaluate_every)
    loss = runs.loss.isel(evaluation=slice(len(moments))).rename(evaluation="second").assign_coords(second=moments)
    return loss.fillna(math.inf) - least_loss(flags.penalty)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    common.run(Flags, method_shelf, arguments)


if __name__ == "__main__":
    main()
