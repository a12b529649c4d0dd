"""Synchronous or asynchronous SGD: which reaches the target first on a cluster with stragglers, and why?

An MLP learns the digits on workers of which some are slow. Both methods see the same job times and the same batches (common
random numbers). Each gets its own best step size, found on a grid, because what suits one is wrong for the other: a synchronous
step averages n gradients, and asynchronous SGD steps with each of them, n times as far in all. Then the six trade-offs between
the two are measured and printed; figures and runs are saved.

    python scenarios/sync_vs_async.py
    python scenarios/sync_vs_async.py --straggler 1 --latency 0.05
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import common
import numpy as np
from measuring import Tuned, spread, table, tune
from pictures.sync_vs_async import draw

import simsgd as sg

METHODS = {"synchronous": sg.MinibatchSGD(), "asynchronous": sg.AsyncSGD()}
STEP_SIZES = tuple(round(0.01 * 2 ** (k / 2), 4) for k in range(20))


@dataclass(frozen=True, kw_only=True)
class Flags(common.Timed):
    """Synchronous against asynchronous SGD on a cluster with stragglers."""

    workers: common.Count = 16
    compute_variation: Annotated[float, common.Limits(above=0, below=1)] = 0.5
    """coefficient of variation of a job's compute time: the share of its mean that is exponential; the rest is fixed"""
    straggler: common.Slowness = 5.0
    """how many times slower the stragglers are than the other workers, at least 1; 1 means that there are none"""
    straggler_share: common.Share = 0.125
    """share of the workers that are stragglers, from 0 to 1; rounded to whole workers"""
    bandwidth: common.Positive = 1.25e9
    """bytes/second of each worker's link, each way"""
    hidden: common.Count = 32
    """hidden units of the MLP"""
    batch_size: common.Count = 32
    """samples in each worker's batch"""
    within: common.Seconds = 120.0
    kept: common.Seconds = 2.0
    evaluate_every: common.Seconds = 0.1
    step_sizes: tuple[common.Positive, ...] = STEP_SIZES

    def made(self) -> tuple[sg.Problem, sg.Cluster]:
        """Return what is learned, and the cluster, whose last workers are the stragglers."""
        fixed = (1 - self.compute_variation) * self.compute_seconds
        jobs = sg.times.ShiftedExponential(shift=fixed, mean=self.compute_seconds)
        compute = common.with_stragglers(jobs, self.workers, self.straggler, self.straggler_share)
        cluster = sg.Cluster(self.workers, compute, sg.networks.Link(self.latency, self.bandwidth))
        return sg.problems.digits("mlp", self.hidden, self.batch_size), cluster

    check = made


def sync_vs_async(flags: Flags, saved: common.Saved) -> None:
    """Measure, print, draw and save."""
    tuned = {name: measure(name, flags) for name in METHODS}
    saved.text(trade_offs(tuned), verdict(*tuned.values(), flags), name="trade_offs.txt")
    runs = {name: long_run(name, tuned, flags) for name in METHODS}
    for name, run in runs.items():
        saved.run(run, f"{name}.nc")
        print(run.summary(flags.target(kept=sg.Seconds(flags.kept))), end="\n\n")
    slow = common.how_many(flags.straggler_share, flags.workers)
    title = f"{flags.workers} workers, {slow} of them {flags.straggler:g} times slower"
    for name, figure in draw(runs, tuned, flags.target(), flags.compute_seconds, flags.straggler, title):
        saved.figure(figure, f"{name}.png")


def measure(name: str, flags: Flags) -> Tuned:
    """Tune a method's step size over all seeds."""
    problem, cluster = flags.made()
    tuned = tune(flags, METHODS[name], problem, cluster, **flags.goal, progress=None)
    if not np.isfinite(tuned.medians[tuned.best]):
        raise ValueError(
            f"{name} SGD did not reach {flags.target()} within {flags.within:g} s at any of the step sizes {flags.step_sizes}: "
            "raise --within, lower --target-accuracy or try other --step-sizes"
        )
    return tuned


def long_run(name: str, tuned: dict[str, Tuned], flags: Flags) -> sg.Run:
    """Return one run over the stretch of time that is the same for both methods, at the best step size, for the curves."""
    stretch, optimizer = 1.5 * max(min(each.medians) for each in tuned.values()), sg.optimizers.sgd(tuned[name].step_size)
    spacing = sg.Seconds(flags.evaluate_every)
    return sg.simulate(METHODS[name], *flags.made(), optimizer, sg.Seconds(stretch), flags.seed, evaluate_every=spacing)


# --- telling -------------------------------------------------------------------------------------------------------------


def trade_offs(tuned: dict[str, Tuned]) -> str:
    """Return the six trade-offs as a table: medians over the seeds."""

    def stale(m: Tuned) -> str:
        mean = m.median(lambda run: run.tape.staleness.mean())
        return f"mean {mean:.1f}, 95% {m.median(lambda run: np.quantile(run.tape.staleness, 0.95)):.0f} versions"

    def throughput(m: Tuned) -> str:
        updates, samples = (m.median(lambda run, what=what: run.throughput[what]) for what in ("updates", "samples"))
        return f"{updates:.1f} updates/s, {samples:,.0f} samples/s"

    def needed(m: Tuned) -> str:
        updates, samples = (m.median(lambda run, what=what: getattr(run.to_target(), what)) for what in ("updates", "samples"))
        return f"{updates:,.0f} updates, {samples:,.0f} samples"

    def usable(m: Tuned) -> str:
        good = np.array(m.step_sizes)[m.medians <= 2 * m.medians[m.best]]
        largest = max(np.array(m.step_sizes)[np.isfinite(m.medians)])
        never = f", above {largest:g} never" if largest < m.step_sizes[-1] else ""
        return f"{good[0]:g} to {good[-1]:g}, best {m.step_size:g}{never}"

    questions: dict[str, Callable[[Tuned], str]] = {
        "workers wait": lambda m: f"{m.median(lambda run: run.dataset['waiting'].values.mean()):.0%} of the time",
        "staleness of gradients": stale,
        "throughput": throughput,
        "updates to the target": needed,
        "seconds to the target": lambda m: spread(m.seconds[:, m.best]),
        "step sizes that take at most 2× the best time": usable,
    }
    return table(["", *tuned], [[question, *map(answer, tuned.values())] for question, answer in questions.items()])


def verdict(synchronous: Tuned, asynchronous: Tuned, flags: Flags) -> str:
    """Return who wins and why: time to the target = updates needed / updates per second."""
    factor = synchronous.medians[synchronous.best] / asynchronous.medians[asynchronous.best]
    rate, more = (
        asynchronous.median(measure) / synchronous.median(measure)
        for measure in (lambda run: run.throughput["updates"], lambda run: run.to_target().updates)
    )
    winner, target = "asynchronous" if factor > 1 else "synchronous", flags.target()
    outcome = f"{winner} SGD reaches {target} first, {max(factor, 1 / factor):.2f} times sooner"
    lines = [
        f"{outcome if factor != 1 else f'both reach {target} at the same moment'} (medians of {flags.seeds} seeds).",
        f"Why: asynchronous makes {rate:.1f} times as many updates per second and needs {more:.1f} times as many.",
        f"At one step size, asynchronous SGD moves {flags.workers} times as far with the same {flags.workers} gradients: it "
        "steps with each, synchronous SGD with their average.",
        f"(Reached: at the first of the evaluations, every {flags.evaluate_every:g} s, that keep it for {flags.kept:g} s.)",
    ]
    for name, tuned in (("synchronous", synchronous), ("asynchronous", asynchronous)):
        if tuned.best in (0, len(tuned.step_sizes) - 1):
            lines.append(f"Note: the best step size of {name} SGD is at the edge of the grid: try more --step-sizes.")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    common.run(Flags, sync_vs_async, arguments)


if __name__ == "__main__":
    main()
