"""Variance reduction: with a constant step size SGD stalls at its noise, SAG, SAGA and SVRG go to the optimum.

Strongly convex logistic regression on generated data, in float64; the optimum is computed by Newton's method with trust regions
(scipy). Workers have jobs of one batch; a block of a table is one batch, too. Every method gets its own step size, the one of
`--step-sizes` (in units of 1/L, L the smoothness of the loss) that is nearest to the optimum in the end on a seed that is not
reported. Synchronous methods step with the mean over the workers, asynchronous ones with single messages.

What a method computes is charged: a full gradient takes as many batches as a worker's part of the samples has, an inner step of
SVRG and a step of STORM two. "Passes" are samples that gradients were computed of, over the number of samples.

Two figures' worth: the squared distance to the optimum against seconds and against passes; and what staleness does, for
asynchronous SAGA and SVRG with more and more workers, equal ones and with a slow quarter: passes to `--near`, at the best step
size for each number of workers.

    python scenarios/variance_reduction.py
    python scenarios/variance_reduction.py --condition 100 --seconds 600
    python scenarios/variance_reduction.py --workers 16 --crowds 1 8 32 --slowness 20
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import common
import numpy as np
import xarray
from measuring import number, sweep, table
from optima import Distance, optimum
from pictures.variance_reduction import draw

import simsgd as sg

PRECISE = 1e-10
"""The second threshold of the table: the squared distance, over that at the beginning."""
TAIL = 0.1
"""The end of a run over which its last distances are averaged, a share of its evaluations."""
SLOW = 0.25
"""The share of the workers that are slow, where some are."""
EPOCHS = 2
"""Inner steps of an epoch of SVRG go through so many times the samples (Johnson and Zhang: 2)."""


@dataclass(frozen=True, kw_only=True)
class Flags(common.Recording):
    """SGD and variance-reduced methods, synchronous and asynchronous, on the way to the optimum of logistic regression."""

    samples: common.Count = 1000
    """how many training samples"""
    dimensions: common.Count = 20
    """of the model"""
    condition: common.Slowness = 10.0
    """of the inputs' second moments: largest over smallest eigenvalue"""
    penalty: common.Positive = 0.01
    """of squared weights, in the loss"""
    batch_size: common.Count = 10
    """samples in a batch, and in a block"""
    seconds: common.Seconds = 120.0
    """how long a run lasts (simulated seconds)"""
    step_sizes: tuple[common.Positive, ...] = tuple(2.0**power for power in range(-8, 2))
    """step sizes to choose from, in units of 1/L"""
    seeds: common.Count = 3
    """how many seeds to report on"""
    crowds: tuple[common.Count, ...] = (1, 8, 32)
    """numbers of workers in the second question"""
    slowness: common.Slowness = 10.0
    """how many times slower the slow workers are there"""
    near: common.Positive = 1e-6
    """the target of the second question: the squared distance, over that at the beginning"""

    @property
    def learned(self) -> Made:
        """The problem."""
        return made(self.samples, self.dimensions, self.condition, self.penalty, self.batch_size)

    def cluster(self, workers: int, slowness: float = 1.0) -> sg.Cluster:
        """Return workers whose batches take gamma-distributed times; of four or more a quarter is slower by the slowness."""
        jobs = sg.times.Gamma(mean=self.compute_seconds, coefficient_of_variation=self.compute_variation)
        return sg.Cluster(
            workers, common.with_stragglers(jobs, workers, slowness, SLOW if slowness > 1 and workers * SLOW >= 1 else 0.0)
        )

    def check(self) -> None:
        """Refuse what does not fit together."""
        if self.batch_size * max(self.workers, *self.crowds) > self.samples:
            raise ValueError(
                f"--samples must be at least --batch-size times the most workers ({max(self.workers, *self.crowds)}), so that "
                f"each has a part, got {self.samples}"
            )
        if not self.near < 1:
            raise ValueError(f"--near must be below 1, where all begin, got {self.near:g}")


class Made(NamedTuple):
    """What is learned.

    Attributes:
        problem: with the squared distance to the optimum as its only metric.
        smooth: L, the smoothness of the loss.
    """

    problem: sg.Problem
    smooth: float


@functools.cache
def made(samples: int, dimensions: int, condition: float, penalty: float, batch_size: int) -> Made:
    """Return the problem of such numbers."""
    sizes = {"samples": samples, "dimensions": dimensions, "condition": condition, "penalty": penalty}
    problem = sg.problems.logistic_regression(**sizes, batch_size=batch_size)
    signed = problem.data["x"].astype(np.float64) * problem.data["y"].astype(np.float64)[:, None]
    metrics = {"distance": Distance(tuple(optimum(signed, penalty).tolist()))}
    largest = float(np.linalg.eigvalsh(signed.T @ signed / samples).max())
    return Made(dataclasses.replace(problem, metrics=metrics, target=None), largest / 4 + penalty)


class Way(NamedTuple):
    """One method of the first question.

    Attributes:
        make: makes it from a step size.
        split: whether each worker has samples of its own.
    """

    make: Callable[[float], sg.Method]
    split: bool = False


def ways(problem: sg.Problem, workers: int) -> dict[str, Way]:
    """Return the methods, by name; their epochs go through all samples once for the snapshot, and `EPOCHS` times besides."""
    blocks = math.ceil(problem.samples / problem.batch_size)
    steps = max(1, round(EPOCHS * blocks / workers))
    whole = {"pass_steps": sg.problems.full_pass(problem, workers)}
    shares = {"pass_steps": sg.problems.full_pass(problem.partitioned(workers), workers)}
    shelf = sg.methods
    return {
        "SGD": Way(shelf.minibatch),
        "STORM": Way(functools.partial(shelf.storm, momentum=0.1)),
        "SAG": Way(shelf.sag),
        "SAGA": Way(shelf.saga),
        "SVRG": Way(functools.partial(shelf.svrg, updates=1 + steps, **whole)),
        "loopless SVRG": Way(functools.partial(shelf.loopless_svrg, probability=1 / (1 + steps), **whole)),
        "distributed SVRG": Way(functools.partial(shelf.distributed_svrg, local_steps=steps, **shares), split=True),
        "async SGD": Way(shelf.asynchronous),
        "async STORM": Way(functools.partial(shelf.storm, momentum=0.1, asynchronous=True)),
        "async SAG": Way(functools.partial(shelf.sag, asynchronous=True)),
        "async SAGA": Way(shelf.asynchronous_saga),
        "distributed SAGA": Way(shelf.distributed_saga, split=True),
        "async SVRG": Way(functools.partial(shelf.asynchronous_svrg, updates=1 + EPOCHS * blocks, **whole)),
    }


def variance_reduction(flags: Flags, saved: common.Saved) -> None:
    """Measure, print, draw and save."""
    curves, crowds = first_question(flags), second_question(flags)
    saved.text(first_table(curves, flags), second_table(crowds, flags))
    saved.numbers(xarray.merge([curves, crowds]), "variance_reduction.nc")
    title = f"Logistic regression, {flags.samples:,} samples, condition {flags.condition:g}, penalty {flags.penalty:g}"
    saved.figure(draw(curves, crowds, f"{title}; each method at its own step size"), "variance_reduction.png")


# --- to the optimum ------------------------------------------------------------------------------------------------------


def first_question(flags: Flags) -> xarray.Dataset:
    """Return for each method its step size, and the distance on each seed against seconds and passes."""
    moments = np.linspace(0, flags.seconds, 101)
    along = {"method": list(ways(flags.learned.problem, flags.workers))}
    seeds = range(flags.seed, flags.seed + flags.seeds)
    return sweep(along, functools.partial(goes, flags), "methods", seed=list(seeds), second=moments)


def goes(flags: Flags, name: str) -> dict[str, Any]:
    """Return (for `sweep`) how a method goes to the optimum at its best step size."""
    problem, smooth = flags.learned
    way, cluster = ways(problem, flags.workers)[name], flags.cluster(flags.workers)
    where = problem.partitioned(flags.workers) if way.split else problem
    options = {"until": sg.Seconds(flags.seconds), "evaluate_every": sg.Seconds(flags.seconds / 100), "dtype": "float64"}

    def run(size: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        found = sg.simulate(way.make(size / smooth), where, cluster, seed=seed, progress=False, **options).dataset
        distance = np.full(101, math.inf)  # of a run that diverged, what is missing
        distance[: found.sizes["evaluation"]] = np.nan_to_num(found.distance.values, nan=math.inf)[:101]
        passes = np.full(101, math.nan)
        passes[: found.sizes["evaluation"]] = found.samples.values[:101] / problem.samples
        return distance, passes

    ends = {size: end(run(size, flags.seed + common.TUNING)[0]) for size in flags.step_sizes}
    best = min(ends, key=ends.__getitem__)
    runs = [run(best, seed) for seed in range(flags.seed, flags.seed + flags.seeds)]
    return {
        "step_size": best,
        "distance": (("seed", "second"), np.array([distance for distance, _ in runs])),
        "passes": (("seed", "second"), np.array([passes for _, passes in runs])),
        "end": (("seed",), np.array([end(distance) for distance, _ in runs])),
    }


def end(distance: np.ndarray) -> float:
    """Return the geometric mean of the last distances, of the end of a run."""
    last = distance[-round(TAIL * len(distance)) :]
    return float(np.exp(np.mean(np.log(np.maximum(last, 1e-300)))))


def until(curves: xarray.Dataset, threshold: float, axis: str) -> np.ndarray:
    """Return what it took each seed until the distance was at most so much for the first time; infinite for never."""
    took = []
    for seed in curves.seed.values:
        here = curves.sel(seed=seed)
        place = np.flatnonzero(here.distance.values <= threshold)
        values = np.broadcast_to(here[axis].values, here.distance.shape)
        took.append(float(values[place[0]]) if len(place) else math.inf)
    return np.array(took)


def first_table(curves: xarray.Dataset, flags: Flags) -> str:
    """Return a table of what it took each method."""
    rows = []
    for name in curves.method.values:
        here = curves.sel({"method": name})
        took = [np.median(until(here, near, axis)) for near in (flags.near, PRECISE) for axis in ("second", "passes")]
        rows.append([str(name), f"{float(here.step_size):g}/L", *map(number, took), f"{float(here.end.median()):.1e}"])
    heads = ["method", "step size"]
    for near in (flags.near, PRECISE):
        heads += [f"seconds\nto {near:g}", f"passes\nto {near:g}"]
    said = (
        f"Squared distance to the optimum over that at the beginning; {flags.workers} workers, medians of {flags.seeds} seeds."
    )
    return f"{said}\n{table([*heads, 'at the end'], rows)}"


# --- staleness -----------------------------------------------------------------------------------------------------------

STALE = ("async SAGA", "async SVRG")
EQUAL, SLOWER = "equal workers", "a quarter slow"


def second_question(flags: Flags) -> xarray.Dataset:
    """Return for asynchronous methods and numbers of workers the fewest passes to the target, and at which step size."""
    along = {"stale": STALE, "speeds": (EQUAL, SLOWER), "crowd": flags.crowds}
    return sweep(along, functools.partial(eaten, flags), "staleness")


def eaten(flags: Flags, name: str, speeds: str, crowd: int) -> dict[str, Any]:
    """Return (for `sweep`) the passes and the seconds that a method needs with so many workers at its best step size."""
    problem, smooth = flags.learned
    cluster = flags.cluster(crowd, flags.slowness if speeds == SLOWER else 1.0)
    way, seconds = ways(problem, crowd)[name], flags.seconds * flags.workers / crowd  # equally many passes for all
    within = sg.Seconds(seconds * (flags.slowness if speeds == SLOWER else 1.0))  # a barrier waits for the slow
    target = sg.Target("distance", at_most=flags.near, within=within)
    options = {"until": target, "evaluate_every": sg.Samples(flags.samples), "dtype": "float64", "progress": False}

    def passes(size: float) -> tuple[float, float]:
        run = sg.simulate(way.make(size / smooth), problem, cluster, seed=flags.seed, **options)
        cost = run.to_target()
        return (cost.samples / problem.samples, cost.seconds) if math.isfinite(cost.seconds) else (math.inf, math.inf)

    found = {size: passes(size) for size in flags.step_sizes}
    best = min(found, key=found.__getitem__)
    staleness = sg.record(way.make(best / smooth), cluster, until=sg.Updates(50 * crowd), seed=flags.seed).staleness
    return {
        "fewest": found[best][0],
        "took": found[best][1],
        "best": best if math.isfinite(found[best][0]) else math.nan,
        "stale_mean": float(staleness.mean()),
        "stale_most": float(staleness.max()),
    }


def second_table(crowds: xarray.Dataset, flags: Flags) -> str:
    """Return a table of what staleness costs."""
    rows = []
    for name, speeds, crowd in itertools.product(crowds.stale.values, crowds.speeds.values, crowds.crowd.values):
        here = crowds.sel(stale=name, speeds=speeds, crowd=crowd)
        stale = f"{float(here.stale_mean):.1f} ({float(here.stale_most):g})"
        size = f"{float(here.best):g}/L" if here.best.notnull() else "-"
        rows.append([str(name), str(speeds), f"{crowd}", stale, size, number(float(here.fewest)), number(float(here.took))])
    heads = ["method", "workers", "how many", "staleness\n(most)", "step size", f"passes\nto {flags.near:g}", "seconds"]
    slow = f"slow ones take {flags.slowness:g} times as long"
    return f"What staleness costs: the fewest passes over the step sizes, seed {flags.seed}; {slow}.\n{table(heads, rows)}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    common.run(Flags, variance_reduction, arguments)


if __name__ == "__main__":
    main()
