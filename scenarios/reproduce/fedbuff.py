"""FedBuff against FedAvg and FedAsync, in seconds, where clients' times have a heavy tail (Nguyen et al. 2022).

Clients differ in speed for good, by a lognormal factor, and in their labels (Dirichlet). A part of them, chosen at random,
computes at any moment: a round of FedAvg has so many clients and waits for the slowest, FedBuff and FedAsync have as many in
flight and give each place that falls free to another. Each method has its own step size; FedAsync's mixing weight is tuned too.

    python scenarios/reproduce/fedbuff.py
    python scenarios/reproduce/fedbuff.py --slowness-variation 0.5 --buffers 1 4 16
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import claims
import common
import matplotlib.pyplot as plt
import numpy as np
from drawing import logarithmic
from matplotlib.figure import Figure
from measuring import spread, table

import simsgd as sg

PAPER = 'Nguyen et al. (2022), "Federated learning with buffered asynchronous aggregation", AISTATS'
BEFORE_FEDAVG = claims.Claim(
    "FedBuff reaches a target accuracy sooner than synchronous FedAvg with as many clients at a time, 3.3 times.",
    "abstract; section 5, table 1 (from memory)",
    "seconds to the target, FedBuff over FedAvg",
    below=1.0,
)
BEFORE_FEDASYNC = claims.Claim(
    "FedBuff reaches it sooner than FedAsync, up to 2.5 times.",
    "abstract; section 5, table 1 (from memory)",
    "seconds to the target, FedBuff over FedAsync at its best mixing weight",
    below=1.0,
)
FEWER_UPDATES = claims.Claim(
    "FedBuff does not pay for its speed with clients' work: it needs no more client updates than FedAvg.",
    "section 5, table 1, which counts client updates (from memory)",
    "client updates to the target, FedBuff over FedAvg",
    below=1.0,
)
SMALL_BUFFER = claims.Claim(
    "A small buffer of about ten is enough: a larger one is slower.",
    "section 5, figure 4 (from memory)",
    "seconds to the target, K = 10 over the largest K",
    below=1.0,
)
NOT_ONE = claims.Claim(
    "A buffer is better than none.",
    "section 5, figure 4 (from memory)",
    "seconds to the target, K = 10 over K = 1",
    below=1.0,
)


@dataclass(frozen=True, kw_only=True)
class Flags(claims.Tuned):
    """Seconds to an accuracy for FedAvg, FedAsync and FedBuff, and against the size of FedBuff's buffer."""

    QUICK: ClassVar = {
        "seeds": 2,
        "tuning_seeds": 1,
        "clients": 20,
        "concurrency": 12,
        "within": 40.0,
        "target_accuracy": 0.3,
        "step_sizes": (0.1,),
        "mixing": (0.2,),
        "buffers": (1, 10),
    }

    clients: common.Count = 50
    """how many clients there are"""
    concurrency: common.Count = 20
    """how many of them compute at any moment"""
    buffers: tuple[common.Count, ...] = (1, 10, 20)
    """FedBuff's K; must hold 1 and 10"""
    local_steps: common.Count = 5
    """H, local steps of a client's update"""
    batch_size: common.Count = 8
    """samples of a local step"""
    label_skew: common.Positive = 0.3
    """α of the Dirichlet distribution by which labels are divided between clients"""
    compute_seconds: common.Seconds = 0.2
    """mean seconds of a local step, over clients"""
    slowness_variation: common.Positive = 1.5
    """standard deviation over mean of the lognormal factor by which a client is slow for good"""
    target_accuracy: common.Accuracy = 0.85
    """share of the test samples to be classified rightly"""
    within: common.Seconds = 200.0
    """when to give up on the target (simulated seconds)"""
    step_sizes: tuple[common.Positive, ...] = (0.05, 0.2, 0.8)
    """step sizes to begin with, for each method"""
    mixing: tuple[common.Positive, ...] = (0.2, 0.6)
    """FedAsync's α, of which the best on the tuning seeds is reported"""

    def check(self) -> None:
        """Ask for what the claims are about."""
        if not {1, 10} <= set(self.buffers) or self.concurrency > self.clients:
            raise ValueError("--buffers must hold 1 and 10, and --concurrency be at most --clients")

    @property
    def cluster(self) -> sg.Cluster:
        """The cluster: its clients' speeds are drawn anew for each seed."""
        step = sg.times.Lognormal(mean=self.compute_seconds, coefficient_of_variation=0.2)
        slowness = sg.times.Lognormal(mean=1.0, coefficient_of_variation=self.slowness_variation)
        return sg.Cluster(self.clients, sg.times.DrawnSlowness(step, slowness))

    def methods(self) -> dict[str, Callable[[float], sg.Method]]:
        """Return the methods as functions of the step size."""
        found: dict[str, Callable[[float], sg.Method]] = {
            "FedAvg": functools.partial(sg.methods.fedavg, clients=self.concurrency, steps=self.local_steps)
        }
        for mixing in self.mixing:
            found[f"FedAsync, α = {mixing:g}"] = functools.partial(self.fedasync, mixing)
        for buffer in self.buffers:
            found[f"FedBuff, K = {buffer}"] = functools.partial(self.fedbuff, buffer)
        return found

    def fedasync(self, mixing: float, step_size: float) -> sg.Method:
        """Return FedAsync with so many clients at a time."""
        method = sg.methods.fedasync(step_size, steps=self.local_steps, mixing=mixing)
        return dataclasses.replace(method, protocol=sg.protocols.BoundedAsyncSGD(self.concurrency))

    def fedbuff(self, buffer: int, step_size: float) -> sg.Method:
        """Return FedBuff with so many clients at a time."""
        method = sg.methods.fedbuff(step_size, buffer=buffer, steps=self.local_steps)
        return dataclasses.replace(method, protocol=Buffered(self.concurrency, gradients=buffer))


@dataclass(frozen=True, repr=False)
class Buffered(sg.protocols.BoundedAsyncSGD):
    """Bounded concurrency with a step of every K messages, their mean."""

    gradients: int = 1

    def on_gradient(self, server: sg.protocols.Server, gradient: sg.protocols.Gradient) -> None:
        """Accumulate; with the K-th, step. Give the place to another client."""
        server.accumulate(gradient, weight=1 / self.gradients)
        if server.accumulated == self.gradients:
            server.step()
        self._now_idle(server, gradient.worker)


@dataclass(frozen=True)
class Found:
    """What was measured: seconds and client updates to the target by method, NaN for never, shape (seeds,)."""

    seconds: dict[str, np.ndarray]
    updates: dict[str, np.ndarray]
    fedasync: str
    """FedAsync at its best mixing weight, by name."""


def measure(flags: Flags) -> Found:
    """Compare the methods; one gradient is computed at a time, so that all buffers share what is compiled."""
    by = sg.problems.LabelSkew(alpha=flags.label_skew)
    problem = sg.problems.digits(batch_size=flags.batch_size).partitioned(flags.clients, by=by)
    until = sg.Target("accuracy", at_least=flags.target_accuracy, within=sg.Seconds(flags.within), kept=sg.Seconds(2))
    options = {"until": until, "evaluate_every": sg.Seconds(0.5), "step_sizes": flags.step_sizes, "width": 1}
    found = flags.compare(flags.methods(), problem, flags.cluster, **options)
    data, samples = found.dataset, flags.local_steps * flags.batch_size
    of = {
        name: {method: data[f"{name}_to_target"].sel({"method": method}).values for method in found.methods}
        for name in ("seconds", "samples")
    }
    return Found(of["seconds"], {name: values / samples for name, values in of["samples"].items()}, best_mixing(flags, found))


def best_mixing(flags: Flags, found: sg.studies.Comparison) -> str:
    """Return the name of FedAsync with the mixing weight that was quickest on the tuning seeds."""
    names = [f"FedAsync, α = {mixing:g}" for mixing in flags.mixing]
    scores = {name: min((each.seconds for each in found.tuned.choices[name, ()].tried.values()), default=0.0) for name in names}
    return min(scores, key=scores.__getitem__)


def judge(flags: Flags, found: Found) -> list[claims.Judged]:
    """Return the verdicts."""
    ten, one, most = "FedBuff, K = 10", "FedBuff, K = 1", f"FedBuff, K = {flags.buffers[-1]}"

    def ratio(one: str, other: str) -> claims.Measured:
        return claims.ratio_of(found.seconds[one], found.seconds[other], flags.within)

    return [
        BEFORE_FEDAVG.judged(ratio(ten, "FedAvg")),
        BEFORE_FEDASYNC.judged(ratio(ten, found.fedasync), f"best {found.fedasync.partition(', ')[2]}"),
        FEWER_UPDATES.judged(claims.ratio_of(found.updates[ten], found.updates["FedAvg"])),
        SMALL_BUFFER.judged(ratio(ten, most)),
        NOT_ONE.judged(ratio(ten, one)),
    ]


def tell(found: Found) -> str:
    """Return seconds and client updates to the target as a table."""
    rows = [
        [name, *(spread(np.nan_to_num(of[name], nan=np.inf)) for of in (found.seconds, found.updates))]
        for name in found.seconds
    ]
    return f"To the target, median and range:\n{table(['method', 'seconds', 'client updates'], rows)}"


def draw(flags: Flags, found: Found) -> Figure:
    """Draw seconds and client updates to the target, each seed a point, medians as bars."""
    figure, axes = plt.subplots(1, 2, figsize=(14, 5), sharey=True, layout="constrained")
    colours = {"FedAvg": "#0072B2", "FedAsync": "#009E73", "FedBuff": "#D55E00"}
    for ax, of, label in zip(axes, (found.seconds, found.updates), ("simulated seconds", "client updates"), strict=True):
        for k, (name, values) in enumerate(of.items()):
            look, there = {"color": colours[name.partition(",")[0]]}, np.isfinite(values)
            ax.plot(values[there], np.full(there.sum(), k), "o", alpha=0.6, **look)
            if there.sum() * 2 > len(values):
                ax.plot(np.median(np.nan_to_num(values, nan=np.inf)), k, "|", markersize=20, markeredgewidth=2.5, **look)
            if not there.all():
                text = {"transform": ax.get_yaxis_transform(), "ha": "right", "va": "center", "fontsize": 9}
                ax.text(0.99, k, f"{len(values) - there.sum()} of {len(values)} never", **text, **look)
        logarithmic(ax.xaxis, (1, 2, 5))
        ax.set(xlabel=f"{label} to test accuracy ≥ {flags.target_accuracy:g}")
        ax.grid(axis="x", alpha=0.25)
    axes[0].set_yticks(range(len(found.seconds)), list(found.seconds))
    axes[0].invert_yaxis()
    figure.suptitle(
        f"{flags.clients} clients, {flags.concurrency} at a time, heavy-tailed in speed; label skew α = {flags.label_skew:g}; "
        f"each at its own step size; bars: medians of {flags.seeds} seeds"
    )
    return figure


def fedbuff(flags: Flags, saved: common.Saved) -> None:
    """Measure, judge, draw and save."""
    found = measure(flags)
    saved.figure(draw(flags, found), "fedbuff.png")
    claims.report(saved, PAPER, judge(flags, found), tell(found))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    claims.run(Flags, fedbuff, arguments)


if __name__ == "__main__":
    main()
