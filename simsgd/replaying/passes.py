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
    worker, steps = np.asarray(rows.worker)[taking], np.asarray(rows.steps)[taking]
    needed = np.broadcast_to(full_pass(problem, workers), workers)
    short = np.flatnonzero(steps < needed[worker])
    if len(short):
        first = short[0]
        raise ValueError(
            f"a full pass was charged {steps[first]} local steps, but worker {worker[first]}'s part of the {problem.samples:,} "
            f"samples is {needed[worker[first]]} batches of {problem.batch_size}: the clock must be charged for what is "
            f"computed, with pass_steps=problems.full_pass(problem, workers={workers}) in {work!r:.200}"
        )
    of_step = (np.cumsum(rows.step) - rows.step)[taking]
    numbers, counts = np.unique(of_step, return_counts=True)
    pairs = len(np.unique(np.stack([of_step, worker]), axis=1).T)
    if (counts != workers).any() or pairs != workers * len(numbers):
        heard = np.unique(worker[of_step == numbers[np.argmax(counts != workers)]]).tolist()
        raise ValueError(
            f"a full pass is made of the parts of all {workers} workers, each once, but a step has those of workers "
            f"{heard!s:.100}: use a cluster whose workers neither leave nor join, and a protocol that waits for all"
        )
