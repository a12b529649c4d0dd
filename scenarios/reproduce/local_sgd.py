"""Local SGD: what averaging every H steps saves, and what it costs (Stich 2019; Lin et al. 2020).

First the time (Stich): logistic regression, small batches, a ring all-reduce on which a message costs several local steps.
Every H and every number of workers n has its own step size, tuned for the time to a hundredth of the first excess loss.
Then the accuracy (Lin et al.): an MLP on the digits, the same number of samples for all, so n workers together make large
batches; each method has the step size that ends with the highest test accuracy.

    python scenarios/reproduce/local_sgd.py
    python scenarios/reproduce/local_sgd.py --seeds 10 --folder kept
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import claims
import common
import drawing
import matplotlib.pyplot as plt
import numpy as np
import rounds
import xarray
from ends import Ends
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from measuring import table

import simsgd as sg

PAPER = (
    'Stich (2019), "Local SGD converges fast and communicates little", ICLR; '
    'Lin, Stich, Patel and Jaggi (2020), "Don\'t use large mini-batches, use local SGD", ICLR'
)
SAVES = claims.Claim(
    "Averaging every H steps saves time where communication costs.",
    "Stich, abstract; section 4, figure 3 (from memory)",
    "seconds to the target, H = 4 over H = 1, most workers",
    below=1.0,
)
MESSAGES = claims.Claim(
    "Local SGD needs up to H times fewer rounds of communication than mini-batch SGD for the same accuracy.",
    "Stich, abstract",
    "bytes to the target, H = 4 over H = 1, most workers; at most twice the ideal 1/4",
    below=0.5,
)
LINEAR = claims.Claim(
    "The speed-up in the number of workers is linear, in local steps per worker, as long as H is small.",
    "Stich, abstract; theorem 2.2 and corollary 2.3 (from memory)",
    "local steps per worker to the target, one worker over most workers, H = 4, over the number of workers: 1 is ideal",
    above=0.5,
)
TOO_LARGE = claims.Claim(
    "H cannot be as large as one likes: beyond about √(T/n) steps are lost.",
    "Stich, abstract, and of n that of Khaled, Mishchenko and Richtárik 2020",
    "local steps per worker to the target, largest H over H = 1, most workers",
    above=1.0,
)
SOONER = claims.Claim(
    "The more workers, the smaller the H that loses steps.",
    "Stich, abstract, and of n that of Khaled, Mishchenko and Richtárik 2020",
    "the same, most workers over one worker",
    above=1.0,
)
GAP = claims.Claim(
    "Large batches end at a lower test accuracy than small ones after as many samples.",
    "Lin et al., section 1, figure 1 (from memory)",
    "test accuracy, mini-batch SGD on most workers minus on one",
    below=0.0,
)
INSTEAD = claims.Claim(
    "Local SGD ends higher than mini-batch SGD that communicates as often, with batches H times as large.",
    "Lin et al., section 4.1, table 2 (from memory)",
    "test accuracy, local SGD with H = 8 minus mini-batch SGD with a batch 8 times as large",
    above=0.0,
)
MENDS = claims.Claim(
    "Post-local SGD, mini-batch SGD that goes on as local SGD, mends the gap of large batches.",
    "Lin et al., table 3, as a summary has it",
    "test accuracy, post-local SGD minus mini-batch SGD, most workers",
    above=0.0,
)


@dataclass(frozen=True, kw_only=True)
class Flags(claims.Tuned):
    """Time to a target against H and n, and final accuracy of large batches, local and post-local SGD."""

    QUICK: ClassVar = {
        "seeds": 2,
        "tuning_seeds": 1,
        "local_steps": (1, 4),
        "workers": (1, 2),
        "within": 60.0,
        "step_sizes": (0.2,),
        "epochs": 1,
    }

    local_steps: tuple[common.Count, ...] = (1, 4, 16, 64)
    """the H to be tried; must hold 1 and 4"""
    workers: tuple[common.Count, ...] = (1, 4, 16)
    """the n to be tried; must hold 1, and another"""
    compute_seconds: common.Seconds = 0.1
    """mean seconds of a local step, with a coefficient of variation of 0.2"""
    message_bytes: common.Positive = 400e6
    """bytes of a model, those of 100 million numbers, on a ring of 10 Gbit/s Ethernet"""
    within: common.Seconds = 2000.0
    """when to give up on the target (simulated seconds)"""
    step_sizes: tuple[common.Positive, ...] = (0.05, 0.2, 0.8)
    """step sizes to begin with, for each H and n"""
    epochs: common.Count = 60
    """how often all samples are gone through where accuracies are compared"""

    def check(self) -> None:
        """Ask for what the claims are about."""
        if not {1, 4} <= set(self.local_steps) or 1 not in self.workers or len(self.workers) < 2:
            raise ValueError("--local-steps must hold 1 and 4, and --workers 1 and another number")

    def cluster(self, workers: int) -> sg.Cluster:
        """The cluster: workers on a ring."""
        jobs = sg.times.Lognormal(mean=self.compute_seconds, coefficient_of_variation=0.2)
        return sg.Cluster(workers, jobs, sg.networks.Ring(sg.networks.preset("ethernet 10g")))


# --- the time to a target ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Times:
    """What reaching the target took, for a run that never arrived what it took to its end; shape (H, n, seeds)."""

    flags: Flags
    arrived: np.ndarray
    seconds: np.ndarray
    steps: np.ndarray
    bytes: np.ndarray

    def at(self, name: str, steps: int, workers: int) -> np.ndarray:
        """Return a measure of one H and one n, over the seeds."""
        place = self.flags.local_steps.index(steps), self.flags.workers.index(workers)
        return getattr(self, name)[place]

    def ratio(self, name: str, one: tuple[int, int], other: tuple[int, int]) -> np.ndarray:
        """Return ratios of a measure at one (H, n) over another, not a number on seeds on which neither arrived."""
        known = self.at("arrived", *one) | self.at("arrived", *other)
        return np.where(known, self.at(name, *one) / self.at(name, *other), np.nan)


def times(flags: Flags) -> Times:
    """Measure the way to the target for each H and n."""
    problem = sg.problems.logistic_regression(batch_size=4)
    until = sg.Target("loss", at_most=problem.target.at_most, within=sg.Seconds(flags.within), kept=0)
    methods = {f"H = {steps}": functools.partial(rounds.local_sgd, steps=steps) for steps in flags.local_steps}
    clusters = {f"n = {workers}": flags.cluster(workers) for workers in flags.workers}
    options = {"evaluate_every": sg.Seconds(1), "message_bytes": flags.message_bytes, "step_sizes": flags.step_sizes}
    options["refinements"] = int(len(flags.step_sizes) > 1)
    each = [reached(flags.compare({name: make}, problem, clusters, until=until, **options)) for name, make in methods.items()]
    found = xarray.concat(each, "method").sel(cluster=list(clusters)).transpose("method", "cluster", "seed")
    seconds, samples, sent = (found[name].values for name in ("seconds", "samples", "bytes"))
    steps = samples / problem.batch_size / np.array(flags.workers)[:, None]
    return Times(flags, found.arrived.values, seconds, steps, sent)


def reached(found: sg.studies.Comparison) -> xarray.Dataset:
    """Return what reaching the target took, for a run that never arrived what it took to its end."""
    data = found.dataset
    ends = {name: data[name].max("evaluation") for name in ("samples", "bytes")} | {"seconds": data.horizon}
    taken = {name: data[f"{name}_to_target"].fillna(end) for name, end in ends.items()}
    return xarray.Dataset(taken | {"arrived": data.seconds_to_target.notnull()})


def judge_times(found: Times) -> list[claims.Judged]:
    """Return the verdicts on what Stich claims."""
    most, largest = found.flags.workers[-1], found.flags.local_steps[-1]

    def ratio(name: str, one: tuple[int, int], other: tuple[int, int]) -> claims.Measured:
        return claims.ratio_of(found.ratio(name, one, other))

    lost = {n: found.ratio("steps", (largest, n), (1, n)) for n in (1, most)}
    return [
        SAVES.judged(ratio("seconds", (4, most), (1, most))),
        MESSAGES.judged(ratio("bytes", (4, most), (1, most))),
        LINEAR.judged(claims.ratio_of(found.ratio("steps", (4, 1), (4, most)), most)),
        TOO_LARGE.judged(ratio("steps", (largest, most), (1, most))),
        SOONER.judged(claims.ratio_of(lost[most], lost[1])),
    ]


def tell_times(found: Times) -> str:
    """Return median seconds, and local steps per worker, for each H and n."""
    flags = found.flags
    rows = [
        [str(steps)] + [f"{np.median(found.at(what, steps, n)):.4g}" for what in ("seconds", "steps") for n in flags.workers]
        for steps in flags.local_steps
    ]
    heads = [f"{what}\nn = {n}" for what in ("seconds", "steps") for n in flags.workers]
    return f"To the target, medians over the seeds; steps are local ones, per worker:\n{table(['H', *heads], rows)}"


# --- the accuracy at the end ---------------------------------------------------------------------------------------------

SAMPLES, BATCH = 1437, 16
"""Training samples of the digits, and samples of a local step."""


def accuracies(flags: Flags) -> dict[str, np.ndarray]:
    """Return test accuracies at the end of as many samples, by method, shape (seeds,)."""
    most = flags.workers[-1]
    rounds_of_one = flags.epochs * SAMPLES // (most * BATCH) // 2
    ways = {
        "one worker": (1, BATCH, 1),
        f"n = {most}, mini-batch": (most, BATCH, 1),
        f"n = {most}, mini-batch, 8 × batch": (most, 8 * BATCH, 1),
        f"n = {most}, local, H = 8": (most, BATCH, 8),
        f"n = {most}, post-local, H = 8": (most, BATCH, 8, rounds_of_one),
    }
    return {name: ended(flags, *way) for name, way in ways.items()}


def ended(flags: Flags, workers: int, batch_size: int, steps: int, after: int = 0) -> np.ndarray:
    """Return the test accuracies at the end of one way to use the samples, at its best step size."""
    problem, cluster = sg.problems.digits(batch_size=batch_size), flags.cluster(workers)
    until = sg.Samples(flags.epochs * SAMPLES)
    method = functools.partial(rounds.local_sgd, steps=steps, after=after)
    every = sg.Samples(until.count // 10)
    make = functools.partial(sg.Cell, problem=problem, cluster=cluster, until=until, evaluate_every=every)
    return Ends(flags, {"it": method}, make, flags.step_sizes, "accuracy", greatest=True).of("it")


def judge_accuracies(found: dict[str, np.ndarray]) -> list[claims.Judged]:
    """Return the verdicts on what Lin et al. claim."""
    one, large, larger, local_sgd, post = found.values()
    return [
        GAP.judged(claims.mean_of(large - one)),
        INSTEAD.judged(claims.mean_of(local_sgd - larger)),
        MENDS.judged(claims.mean_of(post - large)),
    ]


# --- the figure, and all together ----------------------------------------------------------------------------------------


def draw(found: Times, ends: dict[str, np.ndarray]) -> Figure:
    """Draw seconds against n, local steps against H, and final accuracies."""
    figure, (a, b, c) = plt.subplots(1, 3, figsize=(17, 5), layout="constrained")
    flags = found.flags
    shades = plt.get_cmap("viridis")
    for k, steps in enumerate(flags.local_steps):
        colour = shades(0.9 * k / max(1, len(flags.local_steps) - 1))
        line(a, flags.workers, lambda n, steps=steps: found.at("seconds", steps, n), colour, f"H = {steps}")
    for k, workers in enumerate(flags.workers):
        colour = shades(0.9 * k / max(1, len(flags.workers) - 1))
        line(b, flags.local_steps, lambda steps, n=workers: found.at("steps", steps, n), colour, f"n = {workers}")
    a.set(xlabel="workers n", ylabel="simulated seconds to the target", title="(a) time, communication included")
    b.set(xlabel="local steps H", ylabel="local steps per worker to the target", title="(b) steps, communication aside")
    drawing.rows(c, ends, dict.fromkeys(ends, "#0072B2"), color="black", markeredgewidth=2)
    c.set(xlabel="test accuracy after as many samples", title="(c) digits, MLP; each seed, bars: means")
    c.grid(axis="x", alpha=0.25)
    figure.suptitle("Local SGD: each H and n at its own step size; logistic regression in (a) and (b), medians over the seeds")
    return figure


def line(ax: Axes, x: Sequence[int], values: Callable[[int], np.ndarray], colour: object, label: str) -> None:
    """Draw medians over the seeds along numbers that double."""
    ax.plot(x, [np.median(values(each)) for each in x], "o-", color=colour, label=label)
    drawing.logarithmic(ax.xaxis, (1,), base=2)
    drawing.logarithmic(ax.yaxis, (1, 2, 5))
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize=9)


def local_sgd(flags: Flags, saved: common.Saved) -> None:
    """Measure, judge, draw and save."""
    found, ends = times(flags), accuracies(flags)
    saved.figure(draw(found, ends), "local_sgd.png")
    said = "\n".join(f"{name}: {values.mean():.2%}" for name, values in ends.items())
    verdicts = judge_times(found) + judge_accuracies(ends)
    claims.report(saved, PAPER, verdicts, tell_times(found), f"Test accuracies at the end, means:\n{said}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    claims.run(Flags, local_sgd, arguments)


if __name__ == "__main__":
    main()
