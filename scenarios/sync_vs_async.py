"""Synchronous or asynchronous SGD: which reaches the target first on a cluster with stragglers, and why?

An MLP learns the digits on workers of which some are slow. Both methods see the same job times and the same batches (common
random numbers). Each gets its own best step size, found on a grid, because what suits one is wrong for the other: a synchronous
step averages n gradients, and asynchronous SGD steps with each of them, n times as far in all. Then the six trade-offs between
the two are measured and printed; figures and runs are saved.

    python scenarios/sync_vs_async.py
    python scenarios/sync_vs_async.py --straggler 1 --latency 0.05
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import common
import numpy as np
from measuring import table
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
    seeds: common.Count = 10

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
    found = compare(flags)
    runs = {name: long_run(name, found, flags) for name in METHODS}
    saved.text(trade_offs(found, runs), verdict(found, flags), found.summary(), name="trade_offs.txt")
    for name, run in runs.items():
        saved.run(run, f"{name}.nc")
        print(run.summary(flags.target(kept=sg.Seconds(flags.kept))), end="\n\n")
    slow = common.how_many(flags.straggler_share, flags.workers)
    title = f"{flags.workers} workers, {slow} of them {flags.straggler:g} times slower"
    for name, figure in draw(runs, found, flags.target(), flags.compute_seconds, flags.straggler, title):
        saved.figure(figure, f"{name}.png")


def compare(flags: Flags) -> sg.studies.Comparison:
    """Tune both methods, and run them at their best step sizes on all seeds."""
    problem, cluster = flags.made()
    found = flags.compare(METHODS, problem, cluster, **flags.goal)
    for name in METHODS:
        if not np.isfinite(found.seconds.sel({"method": name})).any():
            raise ValueError(
                f"{name} SGD did not reach {flags.target()} within {flags.within:g} s on any seed, at the best of the step "
                f"sizes {flags.step_sizes}: raise --within, lower --target-accuracy or try other --step-sizes"
            )
    return found


def long_run(name: str, found: sg.studies.Comparison, flags: Flags) -> sg.Run:
    """Return one run over the stretch of time that is the same for both methods, at the best step size, for the curves."""
    stretch = sg.Seconds(1.5 * max(time.value for time in found.ranking.times))
    optimizer, spacing = sg.optimizers.sgd(found.step_sizes[name]), sg.Seconds(flags.evaluate_every)
    return sg.simulate(METHODS[name], *flags.made(), optimizer, stretch, flags.seed, evaluate_every=spacing)


# --- telling -------------------------------------------------------------------------------------------------------------


def trade_offs(found: sg.studies.Comparison, runs: dict[str, sg.Run]) -> str:
    """Return the six trade-offs as a table: medians over the seeds, of time restricted means."""
    columns = []
    for name in METHODS:
        middle = medians(found, name)
        stale = np.quantile(runs[name].tape.staleness, 0.95)
        columns.append(
            [
                f"{middle['waiting']:.0%} of the time",
                f"mean {middle['mean_staleness']:.1f}, 95% {stale:.0f} versions",
                f"{middle['updates_per_second']:.1f} updates/s, {middle['samples_per_second']:,.0f} samples/s",
                f"{middle['updates_to_target']:,.0f} updates, {middle['samples_to_target']:,.0f} samples",
                str(found.ranking.times[found.ranking.labels.index(name)]),
                usable(found, name),
            ]
        )
    questions = (
        *("workers wait", "staleness of gradients", "throughput", "updates to the target", "seconds to the target"),
        "step sizes that take at most 2× the best time",
    )
    return table(["", *METHODS], list(zip(questions, *columns, strict=True)))


def medians(found: sg.studies.Comparison, name: str) -> dict[str, float]:
    """Return medians over the reporting seeds; of what it takes to the target infinite where most never reached it."""
    told = found.dataset.sel({"method": name}).drop_dims("evaluation")
    ended = found.dataset.sel({"method": name})[["time", "updates", "samples"]].max("evaluation")
    told = told.assign({f"{what}_per_second": ended[what] / ended.time for what in ("updates", "samples")})
    names = ("waiting", "mean_staleness", "updates_per_second", "samples_per_second", "updates_to_target", "samples_to_target")
    return {each: float(told[each].fillna(np.inf).median()) for each in names}


def usable(found: sg.studies.Comparison, name: str) -> str:
    """Return which step sizes were good on the seeds of tuning, and from where on none arrived."""
    choice, size = found.tuned.choices[name, ()], found.step_sizes[name]
    seconds = {each: score.seconds for each, score in choice.tried.items()}
    good = [each for each in seconds if seconds[each] <= 2 * seconds[size]]
    largest = max((each for each, count in choice.arrived.items() if count), default=size)
    never = f", above {largest:g} never" if largest < max(seconds) else ""
    return f"{good[0]:g} to {good[-1]:g}, best {size:g}{never}"


def verdict(found: sg.studies.Comparison, flags: Flags) -> str:
    """Return who wins and why: time to the target = updates needed / updates per second."""
    target, (winner, other) = flags.target(), found.ranking.labels
    pair = sg.studies.statistics.compare_pair(*(found.seconds.sel({"method": name}) for name in (other, winner)), flags.within)
    size = (
        f"{pair.value:.2f} times sooner" if pair.unit == "×" else f"{pair.value:.3g} s sooner (who never arrives, at the end)"
    )
    ends = "" if np.isnan(pair.low) else f" ({pair.low:.3g} to {pair.high:.3g})"
    sure = "" if pair.separated else " The two are not separated."
    synchronous, asynchronous = (medians(found, name) for name in METHODS)
    rate, more = (asynchronous[what] / synchronous[what] for what in ("updates_per_second", "updates_to_target"))
    return "\n".join(
        [
            f"{winner} SGD reaches {target} first, {size}{ends}; {flags.seeds} seeds.{sure}",
            f"Why: asynchronous makes {rate:.1f} times as many updates per second and needs {more:.1f} times as many.",
            f"At one step size, asynchronous SGD moves {flags.workers} times as far with the same {flags.workers} gradients: "
            "it steps with each, synchronous SGD with their average.",
            f"(Reached: at the first of the evaluations, every {flags.evaluate_every:g} s, that keep it for {flags.kept:g} s. "
            "Numbers in brackets: 95% intervals.)",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    common.run(Flags, sync_vs_async, arguments)


if __name__ == "__main__":
    main()
