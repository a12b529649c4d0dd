"""Full passes over the data: a replay computes no more samples than the clock has charged, and leaves no worker's part out."""

from __future__ import annotations

from typing import Any

import numpy as np

from simsgd.problems import Problem, full_pass
from simsgd.work import Work


def check_passes(work: Work, rows: Any, problem: Problem, workers: int) -> None:
    """Raise ValueError if a full pass was charged too few steps for a worker's part, or leaves out the parts of some.

    Args:
        work: says which kinds of jobs do so, `passes`.
        rows: columns worker, read, steps, kind and step, or also `used`, of whole steps.
        problem: whose samples.
        workers: how many there are.
    """
    if not work.passes:
        return
    taking = np.isin(rows.kind, work.passes) & getattr(rows, "used", True)
    if not taking.any():
        return
    worker, steps, of_step = (np.asarray(each)[taking] for each in (rows.worker, rows.steps, np.cumsum(rows.step) - rows.step))
    _check_charged(work, worker, steps, problem, workers)
    _check_parts(of_step, worker, workers)


def _check_charged(work: Work, worker: np.ndarray, steps: np.ndarray, problem: Problem, workers: int) -> None:
    """Raise ValueError if a part was charged fewer local steps than it has batches."""
    needed = np.broadcast_to(full_pass(problem, workers), workers)
    short = np.flatnonzero(steps < needed[worker])
    if len(short):
        first = short[0]
        raise ValueError(
            f"a full pass was charged {steps[first]} local steps, but worker {worker[first]}'s part of the {problem.samples:,} "
            f"samples is {needed[worker[first]]} batches of {problem.batch_size}: the clock must be charged for what is "
            f"computed, with pass_steps=problems.full_pass(problem, workers={workers}) in {work!r:.200}"
        )


def _check_parts(of_step: np.ndarray, worker: np.ndarray, workers: int) -> None:
    """Raise ValueError unless each step that has parts has those of all workers, each once."""
    passes, place = np.unique(of_step, return_inverse=True)
    parts = np.zeros((len(passes), workers), int)
    np.add.at(parts, (place, worker), 1)
    odd = np.flatnonzero((parts != 1).any(axis=1))
    if len(odd):
        heard = np.repeat(np.arange(workers), parts[odd[0]]).tolist()
        raise ValueError(
            f"a full pass is made of the parts of all {workers} workers, each once, but a step has those of workers "
            f"{heard!s:.100}: use a cluster whose workers neither leave nor join, and a protocol that waits for all"
        )
