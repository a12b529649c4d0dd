"""Scaling: how much sooner do more workers reach a target, and is it synchronous or asynchronous SGD that scales?

The answer depends on what stays the same while workers are added:
- at an equal batch per worker (weak scaling), b samples, a synchronous step averages n·b samples. It needs fewer steps only as
  long as the gradient's noise, and not its direction, is what limits a step: up to the critical batch size (McCandlish et al.,
  2018, "An empirical model of large-batch training"). Beyond it, more workers make the same steps more exact, and no sooner;
- at an equal total batch (strong scaling), B samples, a worker has B/n of them. A synchronous step is the same step for any n,
  and takes less time as jobs shrink, until only that is left which does not: an overhead, messages, waiting for the slowest.
Asynchronous SGD steps with gradients of single workers, of b or of B/n samples, which n − 1 others have overtaken on average.
At n = B/b workers both rules are the same.

What is measured: the seconds until the training loss is at most --target-loss, and stays there, and the speed-up over one
worker under the same rule, on which all methods are the same. Each method gets its own best step size at each number of
workers, chosen on seeds that are not reported: s for methods that average n gradients, s/n for asynchronous SGD, with s of one
grid, which is extended where the best lies at its edge.

A speed-up has two factors, which are printed too: how many more samples a second n workers compute, and how many more samples
they need. A run is given up after as many rounds (the time that a synchronous update takes) as --samples last, and --rounds
more; a speed-up that would need longer is said to be below what is left.

With the defaults, which take 330 s of processor time, asynchronous SGD is first under both rules, but not for the same reason.
At an equal batch per worker 256 workers are 1.6 (sync) and 5.9 (async) times as fast as one: both need more than 40 times the
samples, and asynchronous SGD computes them three times as fast. At an equal total batch they are 48 and 79 times as fast, on
samples that hardly grow, and the lead of asynchronous SGD is less than half as large.

    python scenarios/scaling.py
    python scenarios/scaling.py --straggler 4 --network server --message-bytes 1e7
    python scenarios/scaling.py --workers 1 2 4 8 16 32 64 128 256 --methods sync async stale-synchronous
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import common
import numpy as np
import xarray
from noise import about_noise
from pictures.scaling import draw_scaling
from speedups import BASELINE, RULES, tables, verdict
from tqdm import tqdm

import simsgd as sg

ROUNDS_RECORDED = 20
"""How many synchronous updates are recorded to know how long a round is."""


@dataclass(frozen=True, kw_only=True)
class Flags(common.Recording):
    """Measure the speed-up to a kept target against workers, at equal batch per worker and at equal total batch."""

    workers: tuple[common.Count, ...] = (1, 4, 16, 64, 256)
    """how many workers the cluster has; 1 must be among them"""
    equal_batch: tuple[Literal["per-worker", "total"], ...] = ("per-worker", "total")
    """what stays the same while workers are added: each worker's batch, or the sum of all batches"""
    batch_size: common.Count = 16
    """samples in each worker's batch, where batches per worker are equal"""
    total_batch: common.Count = 256
    """samples in all batches together, where that is equal: each number of workers must divide it"""
    methods: tuple[Literal["sync", "async", "stale-synchronous"], ...] = ("sync", "async")
    """methods to compare; stale-synchronous lets a worker be at most 3 clocks ahead of the slowest"""
    compute_seconds: common.Seconds = 0.001
    """mean seconds of computing on one sample, on a worker that is not slowed; a batch takes as many times longer"""
    overhead_seconds: common.Latency = 0.002
    """seconds that a job's computing takes in addition, whatever its batch"""
    straggler: common.Slowness = 1.0
    """how many times slower the stragglers are than the other workers, at least 1; 1 means that there are none"""
    straggler_share: common.Share = 0.25
    """share of the workers that are stragglers, from 0 to 1; rounded up to whole workers; one worker alone is none"""
    network: Literal["links", "server"] = "links"
    """whether each worker has a path of its own, or all messages share the link of a parameter server"""
    link: common.Link = "ethernet 10g"
    """what paths, or the server's and the workers' links, are, by the names of simsgd's presets"""
    message_bytes: common.Positive = 1e4
    """bytes of the model that is pretended to be moved, and of a gradient"""
    target_loss: common.Positive = 0.1
    """the training loss to be reached (mean cross-entropy, nats)"""
    samples: common.Count = 60_000
    """a run is given up after as many rounds as these samples last, and --rounds more"""
    rounds: common.Count = 300
    """how many rounds more than --samples last a run may use; the same for all methods"""
    seeds: common.Count = 6
    """how many seeds to report; below 6 no difference is sure where a run never arrived"""
    tuning_seeds: common.Count = 2
    """how many seeds to choose step sizes by, none of them reported"""
    step_sizes: tuple[common.Positive, ...] = (0.25, 0.5, 1.0, 2.0)
    """step sizes to try first, of an average of n gradients; the grid is extended where the best lies at its edge"""
    folder: Path | None = None
    """folder that keeps finished runs, so that nothing is made twice; made if need be"""

    def batch(self, rule: str, workers: int) -> int:
        """Return how many samples a worker's batch has."""
        return self.batch_size if rule == "per-worker" else self.total_batch // workers

    def cluster(self, batch: int, workers: int) -> sg.Cluster:
        """Return the cluster of so many workers, with so many samples in each batch; the last workers are the stragglers."""
        sample = sg.times.Lognormal(mean=self.compute_seconds, coefficient_of_variation=self.compute_variation)
        job = sg.times.Scaled(sample, by=batch, overhead=self.overhead_seconds)
        compute = common.with_stragglers(job, workers, self.straggler, self.straggler_share if workers > 1 else 0.0)
        wire = sg.networks.preset(self.link)
        server = sg.networks.ParameterServer(wire, "fair", access=wire)
        return sg.Cluster(workers, compute, server if self.network == "server" else wire)

    def entrants(self, workers: int) -> tuple[dict[str, Callable[[float], sg.Method]], dict[str, list[float]]]:
        """Return the methods, and step sizes for each that move it as far in a round of n gradients."""
        presets = {
            "sync": sg.methods.minibatch,
            "async": sg.methods.asynchronous,
            "stale-synchronous": functools.partial(sg.methods.stale_synchronous, bound=3),
        }
        methods = {name: presets[name] for name in ((BASELINE,) if workers == 1 else self.methods)}
        steps = {"async": workers}  # in a round, where it is not one
        return methods, {name: [size / steps.get(name, 1) for size in self.step_sizes] for name in methods}

    def check(self) -> None:
        """Refuse numbers of workers that have no speed-up or no equal batch, and make every cluster once."""
        if self.workers[0] != 1:
            raise ValueError(f"--workers must hold 1, which speed-up is relative to, got {self.workers}")
        if BASELINE not in self.methods:
            raise ValueError(f"--methods must hold {BASELINE}, which one worker runs, got {self.methods}")
        if len(self.step_sizes) < 2:
            raise ValueError(f"--step-sizes must hold at least two, or none is chosen, got {self.step_sizes}")
        odd = [n for n in self.workers if self.total_batch % n]
        if "total" in self.equal_batch and odd:
            raise ValueError(f"--workers must each divide --total-batch ({self.total_batch}), got {odd[0]}: take another batch")
        for rule, workers in itertools.product(self.equal_batch, self.workers):
            self.cluster(self.batch(rule, workers), workers)


def scaling(flags: Flags, saved: common.Saved) -> None:
    """Measure both rules, print the table and the verdict, and save them."""
    measured, said = measure(flags)
    doubts = "\n".join(said) or "No best step size is at the edge of what was tried."
    batches = {RULES[rule]: [n * flags.batch(rule, n) for n in flags.workers] for rule in flags.equal_batch}
    noise = about_noise(sg.problems.digits(), flags.target_loss, batches)
    saved.text(tables(measured), f"{verdict(measured)}\n{noise}", doubts)
    saved.numbers(measured, "scaling.nc")
    saved.figure(draw_scaling(measured, f"training loss ≤ {flags.target_loss:g}"), "scaling.png")


# --- measuring -----------------------------------------------------------------------------------------------------------


def measure(flags: Flags) -> tuple[xarray.Dataset, list[str]]:
    """Return seconds and samples to the target along rule, workers, method and seed, and what to doubt."""
    along = {(rule, n): (flags.batch(rule, n), n) for rule, n in itertools.product(flags.equal_batch, flags.workers)}
    distinct = {cell: compared(flags, *cell) for cell in tqdm(sorted(set(along.values())), desc="comparing", disable=None)}
    found = {labels: distinct[cell] for labels, cell in along.items()}
    rules = [xarray.concat([data_of(flags, found[rule, n]) for n in flags.workers], "workers") for rule in flags.equal_batch]
    measured = xarray.concat(rules, "rule").assign_coords(rule=list(flags.equal_batch), workers=list(flags.workers))
    one = measured.sel(workers=1)
    speedup = (one.seconds / measured.seconds).where(np.isfinite(measured.seconds), 0.0)
    pace = (measured.samples / measured.seconds) / (one.samples / one.seconds)
    below = one.seconds.median("seed") / measured.horizon
    need = (measured.samples / one.samples).where(np.isfinite(measured.seconds), np.inf)
    measured = measured.assign(speedup=speedup, pace=pace, need=need, below=below)
    doubts = {(RULES[rule], n): cautions(each) for (rule, n), each in found.items()}
    said = [f"{line} ({rule}, {n} workers)" for (rule, n), lines in doubts.items() for line in lines]
    return measured.transpose("rule", "workers", "method", "seed"), said


def compared(flags: Flags, batch: int, workers: int) -> sg.studies.Comparison:
    """Return the methods compared, at so many samples in each batch."""
    methods, step_sizes = flags.entrants(workers)
    target = goal(flags, batch, workers)
    every = max(seconds_of_round(flags, batch, workers), target.within.seconds / 500)
    return sg.compare(
        methods,
        sg.problems.digits(batch_size=batch),
        flags.cluster(batch, workers),
        until=target,
        seeds=range(flags.seed, flags.seed + flags.seeds),
        tuning_seeds=flags.tuning_seeds,
        step_sizes=step_sizes,
        refinements=1,
        evaluate_every=sg.Seconds(every),
        message_bytes=flags.message_bytes,
        folder=flags.folder,
        progress=False,
    )


def goal(flags: Flags, batch: int, workers: int) -> sg.Target:
    """Return the target, with its horizon; it is to be kept for a fiftieth of that."""
    rounds = flags.samples / (workers * batch) + flags.rounds
    horizon = rounds * seconds_of_round(flags, batch, workers)
    return sg.Target("loss", at_most=flags.target_loss, within=sg.Seconds(horizon), kept=sg.Seconds(horizon / 50))


@functools.cache
def seconds_of_round(flags: Flags, batch: int, workers: int) -> float:
    """Return the simulated seconds of a synchronous update."""
    until = sg.Updates(ROUNDS_RECORDED)
    tape = sg.record(sg.MinibatchSGD(), flags.cluster(batch, workers), until, flags.seed, flags.message_bytes, progress=False)
    return tape.end / ROUNDS_RECORDED


def data_of(flags: Flags, comparison: sg.studies.Comparison) -> xarray.Dataset:
    """Return what is kept of a comparison, for all methods: infinite seconds and unknown samples where it never arrived."""
    data = comparison.dataset
    names = {"seconds_to_target": "seconds", "samples_to_target": "samples", "mean_staleness": "staleness"}
    kept = data[[*names, "step_size", "horizon"]].rename(names)
    kept["seconds"] = kept.seconds.fillna(np.inf)
    if kept.sizes["method"] < len(flags.methods):
        kept = kept.isel(method=[0] * len(flags.methods)).assign_coords(method=list(flags.methods))
    return kept


def cautions(comparison: sg.studies.Comparison) -> list[str]:
    """Return the lines of a summary that say what to doubt."""
    return [line for line in comparison.summary().splitlines() if line.startswith("CAUTION")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    common.run(Flags, scaling, arguments)


if __name__ == "__main__":
    main()
