"""Steady or jitter: the same mean slow-down, dealt out in three ways. Does it matter who is slow, and when?

Of n workers' jobs one in n is slow, so many times slower than usual (`--straggler`). So in every cluster the mean compute time
over all workers is 1 + (straggler − 1)/n times the usual one:

- *jitter*: every job has the same chance of being slow, whoever does it, whatever came before;
- *bursts*: every worker falls into slow spells of some seconds (`--spell-seconds`), which catch it in mid-run;
- *one slow worker*: all the slow jobs are one worker's.

All draw the same usual job times and batches as a cluster where nothing is slow. Asynchronous SGD does Σᵢ 1/E[Xᵢ] gradients a
second, Xᵢ the job times of worker i; at one mean of the E[Xᵢ] that is *least* when they are equal. Synchronous SGD waits for
the slowest, and meets more of a spell, which follows the clock.

    python scenarios/steady_or_jitter.py --straggler 3 --spell-seconds 0.5 --latency 0.01
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import common
import numpy as np
import xarray
from drawing import timelines
from jitter import Jitter
from measuring import TRUSTED, arriving, by_cell, chosen, median, ratio, reported, spread_of, sweep
from pictures.steady_or_jitter import draw

import simsgd as sg

METHODS = {"synchronous": sg.MinibatchSGD(), "asynchronous": sg.AsyncSGD()}
CLUSTERS = ("no slow-down", "jitter", "bursts", "one slow worker")
QUANTILES = (0.05, 0.5, 0.99, 1.0)


@dataclass(frozen=True, kw_only=True)
class Flags(common.Timed):
    """Deal out the same mean slow-down as jitter, as bursts and on one worker; measure what it does to SGD."""

    workers: Annotated[int, common.Limits(least=2)] = 8
    """how many workers the clusters have, at least 2; one job in so many is slow"""
    straggler: Annotated[float, common.Limits(above=1)] = 5.0
    """how many times slower what is slow is, above 1"""
    spell_seconds: common.Seconds = 3.0
    """mean length of a slow spell (seconds), in the cluster with bursts"""
    compute_variation: common.Positive = 0.1
    latency: common.Latency = 0.0
    """seconds before a message's first byte arrives, in either direction; above 0 jobs no longer follow one another at once"""
    recorded_seconds: common.Seconds = 400.0
    """simulated seconds that are recorded for what needs no gradients: throughput, shares of time, staleness"""
    final_seconds: common.Seconds = 30.0
    """for how long (simulated seconds) to train at the best step size, to see the loss at the end"""
    step_sizes: tuple[common.Positive, ...] = (0.03, 0.042, 0.06, 0.085, 0.12, 0.17, 0.24, 0.34)
    """step sizes to try, per gradient (synchronous SGD, which averages n gradients, uses n times as much)"""
    seeds: common.Count = 8

    def cluster(self, name: str) -> sg.Cluster:
        """Return one of the four clusters: in each, one job in n is slow."""
        n, slowness, spell = self.workers, self.straggler, self.spell_seconds
        usual = sg.times.Gamma(self.compute_seconds, self.compute_variation)
        laws = {
            "no slow-down": usual,
            "jitter": Jitter(usual, slowness, probability=1 / n),
            # in spells 1/n of the work is done, so they last slowness times as long as 1/(n − 1) of what is between them
            "bursts": sg.times.SlowSpells(usual, slowness, normal_seconds=spell * (n - 1) / slowness, slow_seconds=spell),
            "one slow worker": sg.times.Speeds(usual, (1.0,) * (n - 1) + (1 / slowness,)),
        }
        return sg.Cluster(n, laws[name], sg.networks.Link(self.latency))


def steady_or_jitter(flags: Flags, saved: common.Saved) -> None:
    """Measure, print, draw and save."""
    tapes: dict[str, sg.Tape] = {}
    cells = {"cluster": CLUSTERS, "protocol": METHODS}
    in_time = {**cells, "seed": flags.all_seeds}
    timed = sweep(in_time, functools.partial(record, flags, tapes), "recording", quantile=list(QUANTILES))
    learned, cautions = learn(flags)
    measured = timed.merge(learned)
    saved.text(tables(measured, flags), findings(measured, cautions, flags))
    saved.numbers(measured, "steady_or_jitter.nc")
    times = {"start": 0, "stop": min(60 * flags.compute_seconds, flags.recorded_seconds), "slow": 1.5 * flags.compute_seconds}
    saved.figure(timelines(tapes, 2, title="The same mean slow-down, in three ways", **times)[0], "timelines.png")
    title = f"one job in {flags.workers} is {flags.straggler:g} times slower; each method at its best step size"
    saved.figure(draw(measured, flags.target(), f"{title}. Points: {flags.seeds} seeds; bars: medians"), "comparison.png")


def record(flags: Flags, tapes: dict[str, sg.Tape], cluster: str, method: str, seed: int) -> dict[str, Any]:
    """Return what is told of a tape without gradients; keep the tape of the first seed."""
    where, stretch = flags.cluster(cluster), sg.Seconds(flags.recorded_seconds)
    tape = sg.record(METHODS[method], where, stretch, seed, sg.problems.digits().message_bytes, progress=False)
    if set(tape.worker) != set(range(flags.workers)):
        raise ValueError(f"--recorded-seconds {flags.recorded_seconds:g} are over before all are heard of: ask for more")
    tapes.setdefault(f"{cluster}: {method}", tape)
    stated = np.array([where.compute.moments(worker).mean for worker in range(flags.workers)])
    spent = np.bincount(tape.worker, weights=tape.ended - tape.began)
    return {
        "gradients_per_second": len(tape) / tape.end,
        "updates_per_second": tape.updates / tape.end,
        "waiting": tape.shares()["waiting"].mean(),
        "mean_staleness": tape.staleness.mean(),
        "spread_of_staleness": tape.staleness.std(),
        "staleness": (("quantile",), np.quantile(tape.staleness, QUANTILES)),
        "job_seconds": (("worker",), spent / np.bincount(tape.worker)),
        "stated_seconds": (("worker",), stated),
        "stated_rate": (1 / stated).sum() if method == "asynchronous" else math.nan,
    }


def learn(flags: Flags) -> tuple[xarray.Dataset, tuple[str, ...]]:
    """Compare the methods on each cluster, then train them for as long at their best step sizes; return also the cautions."""
    problem, clusters = sg.problems.digits(), {name: flags.cluster(name) for name in CLUSTERS}
    methods = {  # a synchronous step averages n gradients
        "synchronous": lambda step_size: sg.methods.minibatch(flags.workers * step_size),
        "asynchronous": sg.methods.asynchronous,
    }
    found = flags.compare(methods, problem, clusters, **flags.goal)

    def long_run(cluster: str, protocol: str, seed: int) -> sg.Cell:
        method = methods[protocol](found.step_sizes[protocol, cluster])
        return sg.Cell(method, problem, clusters[cluster], until=sg.Seconds(flags.final_seconds), seed=seed)

    axes = {"cluster": CLUSTERS, "protocol": list(methods), "seed": flags.all_seeds}
    runs = sg.Study(long_run, axes, folder=flags.folder).run().dataset
    last = runs[["loss", "accuracy"]].isel(evaluation=slice(-(runs.sizes["evaluation"] // 5 or 1), None))
    last = last.mean("evaluation", skipna=False)  # they go up and down; not a number for one that diverged
    return reported(found, problem.batch_size).assign(loss=last.loss.fillna(math.inf), accuracy=last.accuracy), found.cautions


def standard_error(cell: xarray.Dataset) -> float:
    """Return that of the recorded mean compute time, from how the workers' means on all seeds scatter about what is stated."""
    off = (cell.job_seconds - cell.stated_seconds).values
    return float(off.std(ddof=1) / math.sqrt(off.size))


def doubts(measured: xarray.Dataset) -> list[str]:
    """Say where jobs did not take what their law says, on clusters where they should."""
    cells = {cluster: measured.sel(cluster=cluster, protocol="asynchronous") for cluster in CLUSTERS}
    off = {name: abs(float((cell.job_seconds - cell.stated_seconds).mean())) for name, cell in cells.items()}
    where = "; ".join(name for name, cell in cells.items() if off[name] > 4 * standard_error(cell))
    return [f"CAUTION: jobs took over 4 standard errors more or less than their law says ({where})."] if where else []


def tables(measured: xarray.Dataset, flags: Flags) -> str:
    """Return what the slow-downs do in time, with what the laws say for the check, and to learning."""
    in_time = {
        "seconds of a job\nby law": lambda cell: f"{float(cell.stated_seconds.mean()):.4g}",
        "(± standard error)\nrecorded": lambda cell: f"{float(cell.job_seconds.mean()):.4g} ± {standard_error(cell):.2g}",
        "gradients/s\nrecorded": median("gradients_per_second"),
        "\nΣ 1/E[X]": median("stated_rate"),
        "updates/s\nrecorded": median("updates_per_second"),
        "waiting\nshare": median("waiting", ".1%"),
        "staleness\nmean": median("mean_staleness", ".2f"),
        "\nsd": median("spread_of_staleness", ".1f"),
        "\n5%, 50%, 99%, 100%": lambda cell: ", ".join(f"{value:.0f}" for value in cell.staleness.median("seed").values),
    }
    learned = {
        "step size\n(largest usable)": chosen,
        "seconds to target\nrestricted mean (95% interval)": arriving,
        "gradients to target": spread_of("best_gradients", ".0f"),
        "loss at the end": spread_of("loss"),
        "accuracy": spread_of("accuracy"),
    }
    cells = ("cluster", "protocol")
    return "\n\n".join(
        [
            f"In time: {flags.recorded_seconds:g} s recorded on each of {flags.seeds} seeds; medians.",
            by_cell(measured, cells, in_time),
            f"In learning: {flags.target()}, at the best step size; {flags.seeds} seeds, medians (range). At the end: after "
            f"{flags.final_seconds:g} s, the mean of the last fifth of the looks.",
            by_cell(measured, cells, learned),
        ]
    )


def findings(measured: xarray.Dataset, cautions: Sequence[str], flags: Flags) -> str:
    """Return what follows, with how far the seeds agree, and where the numbers cannot be trusted."""
    stated = measured.stated_seconds.isel(protocol=0, seed=0).mean("worker").values
    same = "the same" if np.ptp(stated[1:]) < 1e-12 * stated[1] else "NOT the same"
    bursts = float(measured.job_seconds.sel(cluster="bursts", protocol="synchronous").mean())
    slowed, names = list(CLUSTERS[1:]), ["gradients_per_second", "best_seconds", "best_gradients", "loss"]
    factors = ratio(measured[names].sel(cluster=slowed), measured[names].sel(cluster=CLUSTERS[0], drop=True))
    longest = measured.best_seconds.sel(cluster=slowed).idxmax("cluster")
    factors["times the slowest"] = (longest == factors.cluster).sum("seed")
    columns = {name.removeprefix("best_").replace("_", " "): spread_of(name) for name in names}
    columns["slowest to target"] = lambda cell: f"on {int(cell['times the slowest'])} of {flags.seeds} seeds"
    said = (
        f"Mean seconds of a job by the laws: {same} in the three clusters that are slowed, {stated[1] / stated[0]:.4g} times "
        f"the usual.\nRecorded in bursts under synchronous SGD: {bursts / stated[0]:.3g} times.\n\n"
        "The factor against no slow-down, median (range over the seeds); seconds and gradients to the target:\n"
    )
    table = by_cell(factors, ("protocol", "cluster"), columns)
    return "\n".join([said, table, "", *(cautions or [TRUSTED]), *doubts(measured)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    common.run(Flags, steady_or_jitter, arguments)


if __name__ == "__main__":
    main()
