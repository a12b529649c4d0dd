"""AdaComm: local SGD whose H falls with the loss, against every fixed H (Wang and Joshi 2019).

Four workers, each with a quarter of the digits, train an MLP; a message takes as long as four local steps. All have the same
step size, as in the paper: rare averaging is quick at first, and is said to end at a higher loss. AdaComm begins with many
local steps and makes fewer as the loss falls, H = ⌈√(F(w)/F(w₀))·H₀⌉, and half as many where that is no fewer.

    python scenarios/reproduce/adacomm.py
    python scenarios/reproduce/adacomm.py --labels 3
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import claims
import common
import matplotlib.pyplot as plt
import numpy as np
import rounds
from drawing import logarithmic
from matplotlib.figure import Figure
from measuring import number, table

import simsgd as sg

PAPER = (
    'Wang and Joshi (2019), "Adaptive communication strategies to achieve the best error-runtime trade-off in '
    'local-update SGD", MLSys'
)
QUICK_AT_FIRST = claims.Claim(
    "Rare averaging lowers the loss faster at first, because rounds are cheap.",
    "abstract; section 3.3, figures 1 and 6 (from memory)",
    "training loss after a twentieth of the time, largest H over H = 1",
    below=1.0,
)
HIGHER_FLOOR = claims.Claim(
    "At a fixed step size, rare averaging ends at a higher loss.",
    "abstract; theorem 1 and section 5, figures 9 and 10 (from memory)",
    "training loss at the end, mean of the last tenth, largest H over H = 1",
    above=1.0,
)
SOONER = claims.Claim(
    "AdaComm reaches the loss of fully synchronous SGD sooner, up to about three times.",
    "abstract",
    "seconds until the loss that H = 1 has at the end, AdaComm over H = 1",
    below=1.0,
)
BEST = claims.Claim(
    "AdaComm's error against time beats every fixed H.",
    "sections 1 and 5 (from memory)",
    "seconds until the same loss, AdaComm over the quickest fixed H of each seed",
    below=1.0,
)
AS_LOW = claims.Claim(
    "AdaComm ends as low as fully synchronous SGD.",
    "abstract; section 5, table 1 (from memory)",
    "training loss at the end, mean of the last tenth, AdaComm over H = 1; a tenth more is allowed",
    below=1.1,
)


@dataclass(frozen=True, kw_only=True)
class Flags(claims.Flags):
    """Training loss against time for AdaComm and for fixed H, all at one step size."""

    QUICK: ClassVar = {"seeds": 2, "seconds": 20.0, "local_steps": (1, 4)}

    workers: common.Count = 4
    """how many workers, each with an equal share of the samples"""
    local_steps: tuple[common.Count, ...] = (1, 4, 16, 64)
    """the fixed H, with 1; AdaComm begins with the largest"""
    seconds: common.Seconds = 1000.0
    """length of the runs (simulated seconds); AdaComm looks at the loss each hundredth of it"""
    compute_seconds: common.Seconds = 0.1
    """mean seconds of a local step, with a coefficient of variation of 0.2"""
    message_seconds: common.Seconds = 0.4
    """seconds of a round's messages, there and back"""
    step_size: common.Positive = 0.2
    """of a local step, for all methods"""
    batch_size: common.Count = 16
    """samples of a local step"""
    labels: Annotated[int, common.Limits(least=0, most=10)] = 0
    """how many of the ten labels each worker has; 0 deals the samples out at random"""

    def check(self) -> None:
        """Ask for what the claims are about."""
        if self.local_steps[0] != 1 or len(self.local_steps) < 2:
            raise ValueError("--local-steps must hold 1 and another number")

    def cell(self, method: str, seed: int) -> sg.Cell:
        """Return a run: AdaComm, or a fixed H."""
        most = self.local_steps[-1]
        if method == "AdaComm":
            made = sg.methods.adacomm(self.step_size, every=self.seconds / 100, steps=most, shrink=0.5)
        else:
            made = rounds.local_sgd(self.step_size, steps=int(method.removeprefix("H = ")))
        by = sg.problems.LabelsPerWorker(self.labels) if self.labels else sg.problems.EqualShares()
        problem = sg.problems.digits(batch_size=self.batch_size).partitioned(self.workers, by=by)
        jobs = sg.times.Lognormal(mean=self.compute_seconds, coefficient_of_variation=0.2)
        cluster = sg.Cluster(self.workers, jobs, sg.networks.Link(latency=self.message_seconds / 2))
        every = sg.Seconds(self.seconds / 500)
        return sg.Cell(made, problem, cluster, until=sg.Seconds(self.seconds), seed=seed, evaluate_every=every)


@dataclass(frozen=True)
class Curves:
    """Losses by the clock: `time`, shape (evaluations,); `loss` by method, shape (seeds, evaluations)."""

    time: np.ndarray
    loss: dict[str, np.ndarray]

    def end(self, method: str) -> np.ndarray:
        """Return the mean loss over the last tenth of the time, shape (seeds,)."""
        return self.loss[method][:, self.time >= 0.9 * self.time[-1]].mean(axis=1)

    def at(self, method: str, share: float) -> np.ndarray:
        """Return the loss after a share of the time, shape (seeds,)."""
        return self.loss[method][:, np.searchsorted(self.time, share * self.time[-1])]

    def seconds(self, method: str, target: np.ndarray) -> np.ndarray:
        """Return when each seed's loss was first at its target, infinite for never, shape (seeds,)."""
        reached = self.loss[method] <= target[:, None]
        return np.where(reached.any(axis=1), self.time[reached.argmax(axis=1)], np.inf)


def measure(flags: Flags) -> Curves:
    """Run all methods on all seeds."""
    methods = [*(f"H = {steps}" for steps in flags.local_steps), "AdaComm"]
    runs = {}
    for name in methods:
        found = sg.Study(flags.cell, {"method": [name], "seed": flags.all_seeds}, lanes=claims.LANES).run()
        runs[name] = [found.outcome(method=name, seed=seed).evaluations for seed in flags.all_seeds]
    loss = {name: np.array([each["loss"] for each in of_seeds]) for name, of_seeds in runs.items()}
    return Curves(runs["H = 1"][0]["time"], loss)


def judge(flags: Flags, found: Curves) -> list[claims.Judged]:
    """Return the verdicts."""
    largest, target = f"H = {flags.local_steps[-1]}", found.end("H = 1")
    fixed = [found.seconds(name, target) for name in found.loss if name != "AdaComm"]
    ours, horizon = found.seconds("AdaComm", target), flags.seconds
    return [
        QUICK_AT_FIRST.judged(claims.ratio_of(found.at(largest, 0.05), found.at("H = 1", 0.05))),
        HIGHER_FLOOR.judged(claims.ratio_of(found.end(largest), found.end("H = 1"))),
        SOONER.judged(claims.ratio_of(ours, found.seconds("H = 1", target), horizon)),
        BEST.judged(claims.ratio_of(ours, np.min(fixed, axis=0), horizon)),
        AS_LOW.judged(claims.ratio_of(found.end("AdaComm"), found.end("H = 1"))),
    ]


def tell(found: Curves) -> str:
    """Return the losses of each method, early, later and at the end, and when it reached that of H = 1."""
    target, rows = found.end("H = 1"), []
    for name in found.loss:
        losses = [found.at(name, 0.05), found.at(name, 0.3), found.end(name)]
        rows.append(
            [name, *(f"{values.mean():.4g}" for values in losses), number(float(np.median(found.seconds(name, target))))]
        )
    heads = ["", "loss after\n5% of the time", "\n30%", "\nat the end", "median seconds to\nthe last loss of H = 1"]
    return table(heads, rows)


OURS = "#D55E00"


def draw(flags: Flags, found: Curves) -> Figure:
    """Draw the mean training loss against time, the beginning apart."""
    figure, axes = plt.subplots(1, 2, figsize=(14, 5), layout="constrained")
    shades = plt.get_cmap("viridis")
    for ax, share, title in zip(axes, (0.1, 1.0), ("(a) the first tenth", "(b) all of it"), strict=True):
        here = (found.time <= share * found.time[-1]) & (found.time > 0)
        for k, (name, loss) in enumerate(found.loss.items()):
            ours = name == "AdaComm"
            look = {"color": OURS if ours else shades(0.85 * k / (len(found.loss) - 1)), "linewidth": 2.2 if ours else 1.4}
            ax.plot(found.time[here], loss.mean(axis=0)[here], label=name, **look)
        logarithmic(ax.yaxis, (1, 2, 5))
        ax.set(xlabel="simulated seconds", ylabel="training loss (nats)", title=title)
        ax.grid(alpha=0.25)
    axes[0].legend(frameon=False)
    ratio = flags.message_seconds / flags.compute_seconds
    figure.suptitle(
        f"AdaComm and fixed H at one step size, {flags.step_size:g}; a round's messages take {ratio:g} local steps; "
        f"means of {flags.seeds} seeds"
    )
    return figure


def adacomm(flags: Flags, saved: common.Saved) -> None:
    """Measure, judge, draw and save."""
    found = measure(flags)
    saved.figure(draw(flags, found), "adacomm.png")
    claims.report(saved, PAPER, judge(flags, found), tell(found))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    claims.run(Flags, adacomm, arguments)


if __name__ == "__main__":
    main()
