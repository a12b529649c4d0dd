"""Tune and compare: methods of the shelf on one cluster, as a paper would have it, in a table and a figure.

The workers differ in speed, for good: the slowest takes `--slowest` times as long for a job as the fastest, the others lie
between. They learn the digits by an MLP. Each method gets its own step size: all try equally many, on seeds that are not
reported (`--tuning-seeds`); where the best of one lies at the edge, the grids of all are extended; then two step sizes more are
tried beside each best. What is reported comes from other seeds, the same for all methods: on one seed all see the same job
times and the same batches. So methods are compared in pairs, and the summary says what the pairing was worth.

No number forgets the runs that never arrived: "3 of 10 arrived" is said, the restricted mean counts them as long as they ran,
the expected running time starts them again, and the curves of shares (ECDF) never reach 1. Methods that the seeds do not tell
apart share their ranks. That a method is not separated from the first does not mean that it is as good.

With `--folder` finished runs are kept: interrupt the scenario as you like, and start it again. More seeds, or another method,
cost only the new runs. `--executor` says where runs are made.

    python scenarios/tune_and_compare.py
    python scenarios/tune_and_compare.py --methods minibatch asynchronous picky gap_aware --slowest 20 --folder kept
    python scenarios/tune_and_compare.py --executor dask --processes 8 --folder kept
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import common
from measuring import table
from pictures.tune_and_compare import draw
from shelf import Name, Unequal

import simsgd as sg

Executor = Literal["here", "threads", "processes", "loky", "dask"]


@dataclass(frozen=True, kw_only=True)
class Flags(Unequal, common.Timed):
    """Methods of the shelf, each tuned on seeds of its own, compared on others: ranked table, paired tests, figure."""

    methods: tuple[Name, ...] = ("minibatch", "rennala", "asynchronous", "ringmaster", "delay_adaptive", "dana_slim")
    """which methods, by their names in sg.methods"""
    slowest: common.Slowness = 8.0
    latency: common.Latency = 0.001
    seeds: common.Count = 10
    within: common.Seconds = 60.0
    shares_of: tuple[common.Accuracy, ...] = (0.8, 0.85, 0.9, 0.925, 0.95)
    """accuracies whose times are drawn together, as shares of runs that arrived; at most the target's"""
    step_sizes: tuple[common.Positive, ...] = (0.00625, 0.025, 0.1, 0.4, 1.6)
    """step sizes to begin with, for each method; more are tried where the best of one lies at the edge"""
    refinements: common.Whole = 1
    """how often two step sizes more are tried beside the best of each method"""
    halving: int | None = None
    """factor of successive halving, at least 2: most step sizes are given up after a part of the time; by default none is"""
    hidden: common.Count = 32
    """hidden units of the MLP"""
    executor: Executor = "here"
    """where runs are made: in threads of this process, as a study does it ("here") or as a pool; or in processes of a pool"""
    processes: common.Count = os.cpu_count() or 1
    """how many threads or processes the pool has, unless runs are made "here" """

    @property
    def problem(self) -> sg.Problem:
        """What is learned."""
        return sg.problems.digits("mlp", self.hidden, self.batch_size)

    def check(self) -> None:
        """Make cluster and methods once."""
        if self.shares_of[-1] > self.target_accuracy:
            raise ValueError(
                f"--shares-of must be at most --target-accuracy ({self.target_accuracy:g}), where runs end, "
                f"got {self.shares_of[-1]:g}"
            )
        for make in self.made().values():
            sg.Cell(make(0.1), self.problem, self.cluster, until=self.goal["until"])


def tune_and_compare(flags: Flags, saved: common.Saved) -> None:
    """Measure, print, draw and save."""
    with pool(flags.executor, flags.processes) as executor:
        tuning = {"refinements": flags.refinements, "halving": flags.halving}
        found = flags.compare(flags.made(), flags.problem, flags.cluster, executor=executor, **flags.goal, **tuning)
    saved.text(found.summary(), easier(found, flags))
    for name, format in (("table.md", "markdown"), ("table.tex", "latex")):
        saved.text(found.table(format), name=name, silent=True)
    saved.run(found.tuning, "tuning.nc")
    saved.run(found.reporting, "reporting.nc")
    title = f"{flags.workers} workers, the slowest {flags.slowest:g} times slower than the fastest; digits, MLP"
    title += "; each method at its own step size"
    saved.figure(draw(found, targets(flags), title), "tune_and_compare.png")


@contextlib.contextmanager
def pool(kind: Executor, workers: int) -> Iterator[Any]:
    """Give the block the executor that was asked for; None for what a study does by itself."""
    if kind == "here":
        yield None
    elif kind == "dask":
        from dask.distributed import Client

        with Client(n_workers=workers, threads_per_worker=1, dashboard_address=None) as client:
            yield client.get_executor()
    elif kind == "threads":
        with concurrent.futures.ThreadPoolExecutor(workers) as executor:
            yield executor
    elif kind == "loky":
        from loky import ProcessPoolExecutor

        with ProcessPoolExecutor(workers) as executor:
            yield executor
    else:
        with concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as executor:
            yield executor


def targets(flags: Flags) -> list[sg.Target]:
    """Return the targets whose times are drawn together."""
    return [dataclasses.replace(flags.goal["until"], at_least=accuracy) for accuracy in flags.shares_of]


def easier(found: sg.studies.Comparison, flags: Flags) -> str:
    """Return what methods take to each of the targets that are drawn together, as a table."""
    rows = []
    for name in found.ranking.labels:
        rows.append([name])
        for target in targets(flags):
            seconds = found.reporting.seconds(target).sel({"method": name})
            time = sg.studies.statistics.restricted_mean(seconds, flags.within)
            rows[-1].append(f"{time.value:.3g}" + (f" ({time.arrived} of {time.runs})" if time.arrived < time.runs else ""))
    heads = [f"accuracy\n≥ {accuracy:g}" for accuracy in flags.shares_of]
    return f"Restricted mean seconds to easier targets (how many arrived, where not all did):\n{table(['', *heads], rows)}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    common.run(Flags, tune_and_compare, arguments)


if __name__ == "__main__":
    main()
