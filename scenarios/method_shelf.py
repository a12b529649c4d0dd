"""The shelf: the methods that send plain gradients, on one cluster and one problem, each at its own step size, ranked.

The workers differ in speed, for good: the slowest takes `--slowest` times as long for a job as the fastest, the others lie
between. They learn digits by logistic regression with a penalty, which has one optimum. Twice: once each worker's samples are
dealt out at random, so all have data that are alike; once each has the samples of one digit only (`--labels`). There, who
counts how often decides what is learned: asynchronous SGD hears a fast worker more often and goes to another optimum.

Shares are equally large, so that the mean over workers is the mean over samples, which is the loss that is shown. (Label skew
by Dirichlet draws makes shares of different sizes; then even synchronous SGD goes elsewhere.) Who has which digit is drawn
anew on each seed. With another number of workers than digits shares are a little, or much, unequal.

Only the step size is tuned, for each method and kind of data, on seeds of its own (`--tuning-seeds`) that are not reported:
five step sizes a factor of 4 apart, more while the best is at the edge, then the two beside the best, so a factor of 2 apart
in the end. All other settings stand in `shelf.py`. The target is a loss above the least possible, kept for some seconds. A
method's time is the median over the seeds, and infinite on a seed on which it does not arrive; those that do not arrive on
most seeds are ranked last, by how many did and by their loss at the end. At the settings given, two methods are told apart no
better than their seeds agree, than models are evaluated (`--evaluate-every`), and than step sizes lie apart. The default run
takes six minutes on two cores, much of it for compiling.

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
from typing import Annotated, Any

import common
import numpy as np
import xarray
from measuring import sweep
from pictures.method_shelf import draw
from ranking import findings, ranked, ranks
from shelf import NAMES, Unequal, digits, least_loss, tuned

import simsgd as sg

ALIKE = "Homogeneous data: the workers' samples are alike"
DIFFER = "Heterogeneous data: each worker has digits of its own"
KINDS = ALIKE, DIFFER
COARSE = [2.0**power for power in (-8, -6, -4, -2, 0)]
TUNING = 1000
"""The first seed of tuning is so far from the first that is reported."""
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
    measured = measure(flags)
    goal = f"Target: the loss {flags.above:g} above the least possible, kept for {flags.kept:g} s; {flags.seeds} seeds."
    doubts = (
        f"The loss is evaluated every {flags.evaluate_every:g} s; step sizes are a factor of 2 apart; all other settings are "
        "those of shelf.py, not tuned. AdaDelay's step size falls with time, and three methods have a momentum: other methods "
        "could have that, too."
    )
    saved.text(
        *(f"{kind}. {goal}\n{ranked(measured.sel(data=kind))}" for kind in KINDS),
        f"{findings(measured)}\n{doubts}",
    )
    saved.numbers(measured, "method_shelf.nc")
    title = (
        f"{measured.sizes['method']} methods, each at its own best step size: {flags.workers} workers, the slowest "
        f"{flags.slowest:g} times slower than the fastest, {flags.seeds} seeds"
    )
    saved.figure(draw(measured, flags.above, title), "method_shelf.png")


def measure(flags: Flags) -> xarray.Dataset:
    """Return for each method and kind of data its step size, its times to the target, its loss over time, and its rank."""
    moments = np.arange(0, flags.seconds + 1e-9, flags.evaluate_every)
    seeds = list(range(flags.seed, flags.seed + flags.seeds))
    along = {"data": KINDS, "method": list(flags.entries)}
    measured = sweep(along, functools.partial(learn, flags, seeds), "methods", seed=seeds, second=moments)
    family = [entry.preset.__module__.rsplit(".", 1)[-1] for entry in flags.entries.values()]
    return measured.assign(family=("method", family), rank=ranks(measured))


def learn(flags: Flags, seeds: list[int], kind: str, title: str) -> dict[str, Any]:
    """Return (for `sweep`) what a method does on one kind of data at the step size that was best on the seeds of tuning."""
    make, target, end = flags.made()[title], flags.target, sg.Seconds(flags.seconds)
    options = {"evaluate_every": sg.Seconds(flags.evaluate_every), "progress": False}

    def try_sizes(sizes: list[float]) -> dict[float, tuple[float, float]]:
        found = []
        for seed in range(flags.seed + TUNING, flags.seed + TUNING + flags.tuning_seeds):
            where = flags.problem(kind, seed), flags.cluster
            tuning = sg.studies.tune(make, *where, sizes, until=target, seed=seed, **options)
            found.append([(run.to_target().seconds, run.final("loss")) for run in tuning.runs])
        middle = np.median(np.nan_to_num(found, nan=math.inf), axis=0)
        return dict(zip(sorted(sizes), map(tuple, middle.tolist()), strict=True))

    size = tuned(try_sizes, COARSE)
    runs = [sg.simulate(make(size), flags.problem(kind, seed), flags.cluster, None, end, seed, **options) for seed in seeds]
    loss = np.full((len(seeds), round(flags.seconds / flags.evaluate_every) + 1), math.inf)
    for row, run in zip(loss, runs, strict=True):
        known = run.dataset.loss.values[: len(row)]
        row[: len(known)] = np.nan_to_num(known, nan=math.inf) - least_loss(flags.penalty)
    return {
        "step_size": size,
        "seconds": (("seed",), np.nan_to_num([run.to_target(target).seconds for run in runs], nan=math.inf)),
        "loss": (("seed", "second"), loss),
        "final": (("seed",), loss[:, -len(loss[0]) // 10 :].mean(axis=1)),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    common.run(Flags, method_shelf, arguments)


if __name__ == "__main__":
    main()
