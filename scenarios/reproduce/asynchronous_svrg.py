"""Asynchronous SVRG: a near-linear speed-up where data are sparse, lost as the staleness grows (Reddi et al. 2015).

Logistic regression with a penalty, batches of one sample, features at least 0 and inputs of norm 1, as texts have: sparse ones,
in which a sample has a few features out of many, and dense ones, in which it has all. Δ is the largest share of the samples
that have a feature in common. Epochs as in the paper: a full gradient by all workers with a barrier, then 2N asynchronous
inner steps. With n equally fast workers the staleness is n − 1 after the start of an epoch. Each number of workers, on each
kind of data, has its own step size, tuned for the time to the target on seeds that are not reported.

The paper measures threads on shared memory, which read and write coordinates without locks. Here each gradient is of one whole
version of the model, and messages take no time: what is left is what staleness and the barriers cost.

    python scenarios/reproduce/asynchronous_svrg.py
    python scenarios/reproduce/asynchronous_svrg.py --workers 1 10 100 --features 2000
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import claims
import common
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import xarray
from drawing import logarithmic
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from measuring import table
from optima import Distance, optimum

import simsgd as sg

PAPER = (
    'Reddi, Hefny, Sra, Póczos and Smola (2015), "On variance reduction in stochastic gradient descent and its asynchronous '
    'variants", NIPS'
)
SPARSE, DENSE = "sparse", "dense"
SVRG, SGD = "async SVRG", "async SGD"
NEAR_LINEAR = claims.Claim(
    "Asynchronous SVRG has a near-linear speed-up on sparse data.",
    "abstract; section 5 on up to 10 threads (from memory)",
    "speed-up to the target over the number of workers, sparse data, 10 workers (or the fewest above 1)",
    above=0.8,
)
SPARSITY = claims.Claim(
    "The sparser the data, the less a delay costs: what counts is √Δ·τ.",
    "theorem 3 and the corollary after it (from memory)",
    "gradients to the target, most workers over one, dense over sparse",
    above=1.0,
)
LOST = claims.Claim(
    "The speed-up is lost when τ grows beyond about 1/√Δ.",
    "theorem 3: linear for τ below 1/√Δ (from memory)",
    "speed-up over the number of workers, dense data, most workers",
    below=0.5,
)
OUTRUNS = claims.Claim(
    "Asynchronous SVRG reaches a precise target sooner than asynchronous SGD.",
    "section 5, figures (from memory)",
    "seconds to the target, SVRG over SGD at its best constant step size, sparse data, as many workers as above",
    below=1.0,
)


@dataclass(frozen=True, kw_only=True)
class Flags(claims.Tuned):
    """Reddi et al. 2015: the speed-up of asynchronous SVRG on sparse and dense data, and what staleness costs it."""

    QUICK: ClassVar = {"seeds": 2, "tuning_seeds": 1, "workers": (1, 4), "samples": 100, "features": 40, "passes": 40.0}

    workers: tuple[common.Count, ...] = (1, 10, 64)
    """numbers of workers; the first must be 1, to which speed-ups are"""
    samples: common.Count = 1000
    """how many samples, N; the penalty is 1/N, as in the paper"""
    features: common.Count = 300
    """how many features"""
    nonzero: common.Count = 3
    """features of a sparse sample"""
    variation: common.Positive = 0.2
    """coefficient of variation of a gradient's compute time"""
    near: common.Positive = 1e-6
    """the target: the squared distance to the optimum, over that at the beginning"""
    passes: common.Positive = 60.0
    """when to give up: so many times the samples, in the time that all workers together would need for that"""
    tuning_seeds: common.Count = 2
    """how many other seeds to choose step sizes on: by the mean time to the target, who never arrives counts until the end"""
    step_sizes: tuple[common.Positive, ...] = (0.125, 0.5, 2.0)
    """step sizes to begin with; more where the best lies at the edge, and then two between"""

    def check(self) -> None:
        """Refuse what does not fit together."""
        if self.workers[0] != 1 or len(self.workers) < 2:
            raise ValueError(f"--workers must hold 1, to compare with, and more, got {self.workers}")
        if self.nonzero > self.features:
            raise ValueError(f"--nonzero must be at most --features={self.features}, got {self.nonzero}")
        if self.workers[-1] > self.samples:
            raise ValueError(f"--workers must be at most --samples={self.samples}, got {self.workers[-1]}")

    @property
    def few(self) -> int:
        """The number of workers of the first claim."""
        return 10 if 10 in self.workers else self.workers[1]

    def cluster(self, workers: int) -> sg.Cluster:
        """Return equally fast workers; a gradient of a sample takes a millisecond."""
        return sg.Cluster(workers, sg.times.Gamma(mean=1e-3, coefficient_of_variation=self.variation))


@dataclass(frozen=True)
class Logistic:
    """Mean log(1 + exp(−y xᵀw)) + ½ penalty·‖w‖²."""

    penalty: float

    def __call__(self, w: jax.Array, batch: sg.problems.Batch) -> jax.Array:
        """Return the loss of a batch."""
        return jnp.mean(jax.nn.softplus(-batch["y"] * (batch["x"] @ w))) + self.penalty / 2 * w @ w


@dataclass(frozen=True)
class Zeros:
    """Parameters that begin at the origin."""

    dimensions: int

    def __call__(self, key: jax.Array) -> jax.Array:
        """Return them."""
        return jnp.zeros(self.dimensions)


@functools.cache
def learned(samples: int, features: int, nonzero: int) -> sg.Problem:
    """Return logistic regression on samples that have so many of the features."""
    random = np.random.default_rng(samples + features + nonzero)
    x = np.zeros((samples, features))
    for row in x:
        row[random.permutation(features)[:nonzero]] = np.abs(random.standard_normal(nonzero))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    direction = random.standard_normal(features)
    scores = x @ direction
    y = np.where(random.random(samples) < 1 / (1 + np.exp(-3 * (scores - scores.mean()) / scores.std())), 1.0, -1.0)
    best = optimum(x * y[:, None], 1 / samples)
    metrics = {"distance": Distance(tuple(best.tolist()))}
    name = f"logistic regression, {nonzero} of {features} features"
    return sg.Problem(name, Zeros(features), Logistic(1 / samples), {"x": x, "y": y}, batch_size=1, metrics=metrics)


class Found(NamedTuple):
    """What was measured of one kind of data.

    Attributes:
        share: Δ.
        methods: by number of workers, what the comparison reports of SVRG (and SGD) along method and seed.
    """

    share: float
    methods: dict[int, xarray.Dataset]

    def cost(self, what: str, workers: int, method: str = SVRG) -> np.ndarray:
        """Return the seconds or samples to the target of each seed; not a number where it was not reached."""
        return self.methods[workers][f"{what}_to_target"].sel({"method": method}).values.ravel()

    def step_size(self, workers: int, method: str = SVRG) -> float:
        """Return the step size that was chosen."""
        return float(self.methods[workers].step_size.sel({"method": method}))


def asynchronous_svrg(flags: Flags, saved: common.Saved) -> None:
    """Measure, judge, draw and save."""
    found = {kind: measure(flags, kind) for kind in (SPARSE, DENSE)}
    saved.figure(draw(flags, found), "asynchronous_svrg.png")
    claims.report(saved, PAPER, judge(flags, found), told(flags, found))


def measure(flags: Flags, kind: str) -> Found:
    """Return what each number of workers takes to the target on one kind of data."""
    problem = learned(flags.samples, flags.features, flags.nonzero if kind == SPARSE else flags.features)
    methods = {}
    for workers in flags.workers:
        made = {"updates": 1 + 2 * flags.samples, "pass_steps": sg.problems.full_pass(problem, workers)}
        ways = {SVRG: functools.partial(sg.methods.asynchronous_svrg, **made)}
        if workers == flags.few and kind == SPARSE:
            ways[SGD] = sg.methods.asynchronous
        within = sg.Seconds(horizon(flags, workers))
        until = sg.Target("distance", at_most=flags.near, within=within)
        options = {"evaluate_every": sg.Updates(50), "step_sizes": flags.step_sizes, "refinements": 1, "dtype": "float64"}
        compared = flags.compare(ways, problem, flags.cluster(workers), until=until, **options)
        methods[workers] = compared.dataset[["seconds_to_target", "samples_to_target", "step_size"]]
    return Found(float((problem.data["x"] > 0).mean(axis=0).max()), methods)


def horizon(flags: Flags, workers: int) -> float:
    """Return when to give up, seconds."""
    return flags.passes * flags.samples * 1e-3 / workers


def speed_up(flags: Flags, found: Found, workers: int) -> claims.Measured:
    """Return the speed-up over the number of workers; who never arrives counts as arriving when it gives up."""
    one, many = found.cost("seconds", 1), np.nan_to_num(found.cost("seconds", workers), nan=horizon(flags, workers))
    return claims.ratio_of(one, workers * many)


def more(flags: Flags, found: Found, workers: int) -> np.ndarray:
    """Return by what staleness multiplies the gradients to the target, for each seed; at least, where it never arrives."""
    return np.nan_to_num(found.cost("samples", workers), nan=flags.passes * flags.samples) / found.cost("samples", 1)


def judge(flags: Flags, found: dict[str, Found]) -> list[claims.Judged]:
    """Return the verdicts."""
    few, most = flags.few, flags.workers[-1]
    sparse, dense = found[SPARSE], found[DENSE]
    outran = claims.ratio_of(sparse.cost("seconds", few), sparse.cost("seconds", few, SGD), horizon(flags, few))
    arrived = int(np.isfinite(sparse.cost("seconds", few, SGD)).sum())
    never = (
        f"SGD arrived on {arrived} of {flags.seeds} seeds, and counts as arriving at {horizon(flags, few):g} s where it did not"
    )
    return [
        NEAR_LINEAR.judged(speed_up(flags, sparse, few), f"{few} workers, √Δ·τ = {reach(sparse, few):.2g}"),
        SPARSITY.judged(claims.ratio_of(more(flags, dense, most), more(flags, sparse, most)), f"{most} workers"),
        LOST.judged(speed_up(flags, dense, most), f"{most} workers, √Δ·τ = {reach(dense, most):.3g}"),
        OUTRUNS.judged(outran, never),
    ]


def reach(found: Found, workers: int) -> float:
    """Return √Δ·τ."""
    return float(np.sqrt(found.share) * (workers - 1))


def told(flags: Flags, found: dict[str, Found]) -> str:
    """Return all numbers as a table."""
    rows = []
    for kind, here in found.items():
        for workers in flags.workers:
            passes = np.median(np.nan_to_num(here.cost("samples", workers), nan=np.inf)) / flags.samples
            ratio = speed_up(flags, here, workers)
            size, seconds = here.step_size(workers), np.median(np.nan_to_num(here.cost("seconds", workers), nan=np.inf))
            numbers = f"{reach(here, workers):.3g}", f"{size:.3g}", f"{passes:.3g}", f"{seconds:.4g}"
            rows.append(
                [kind, f"{here.share:.3g}", f"{workers}", *numbers, f"{workers * ratio.value:.3g}", f"{ratio.value:.3g}"]
            )
    heads = ["data", "Δ", "workers", "√Δ·τ", "step size", "passes", "seconds", "speed-up", "over workers"]
    return f"To the target, medians of {flags.seeds} seeds (speed-ups are geometric means):\n{table(heads, rows)}"


def draw(flags: Flags, found: dict[str, Found]) -> Figure:
    """Draw speed-ups, and gradients to the target, against the number of workers."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    for colour, (kind, here) in zip(sg.plots.LINES, found.items(), strict=False):
        label = f"{kind} data, Δ = {here.share:.2g}"
        line(left, flags, [workers * speed_up(flags, here, workers).value for workers in flags.workers], colour, label)
        line(
            right, flags, [float(np.exp(np.log(more(flags, here, workers)).mean())) for workers in flags.workers], colour, label
        )
        turn = 1 + 1 / np.sqrt(here.share)
        for ax in (left, right):
            if turn <= flags.workers[-1]:
                ax.axvline(turn, color=colour, linestyle=":", linewidth=1)
    left.plot(flags.workers, flags.workers, color="black", linewidth=0.8, label="as many times as workers")
    left.set(ylabel="speed-up, seconds to the target", title="Speed-up of asynchronous SVRG")
    right.set(ylabel="gradients to the target, over those of one worker", title="What staleness costs")
    left.legend(fontsize=9)
    figure.suptitle("Asynchronous SVRG, each number of workers at its own step size; dotted: τ = 1/√Δ")
    return figure


def line(ax: Axes, flags: Flags, values: list[float], colour: str, label: str) -> None:
    """Draw one kind of data."""
    ax.plot(flags.workers, values, "o-", color=colour, label=label)
    logarithmic(ax.xaxis)
    logarithmic(ax.yaxis)
    ax.set_xticks(flags.workers)
    ax.set(xlabel="workers (staleness + 1)")
    ax.grid(alpha=0.2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    claims.run(Flags, asynchronous_svrg, arguments)


if __name__ == "__main__":
    main()
