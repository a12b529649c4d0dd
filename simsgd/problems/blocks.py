"""A problem's samples in blocks of `batch_size`: the parts of the finite sum that methods with tables remember.

Law of this module: it counts. Block k of a worker holds its samples k·batch_size … (k + 1)·batch_size − 1, in the order in
which it has them, and the last may be smaller; who computes with them cuts them so.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simsgd.problems.problem import Problem
from simsgd.support import checks


class Blocks(NamedTuple):
    """How many blocks there are.

    Attributes:
        all: of the data, or, where each worker has a share, of all shares together.
        most: that one worker has.
    """

    all: int = 1
    most: int = 1

    @staticmethod
    def of(problem: Problem) -> Blocks:
        """Return those of a problem."""
        sizes = np.array([problem.samples]) if problem.shares is None else problem.shares.sizes
        counts = -(-sizes.astype(np.int64) // problem.batch_size)
        return Blocks(int(counts.sum()), int(counts.max()))


def full_pass(problem: Problem, workers: int) -> int | tuple[int, ...]:
    """Return in how many batches each worker goes through its part of all samples: what a full gradient costs it.

    Of shared data worker i's part is the i-th n-th, so it is ⌈samples/(n·batch_size)⌉ for all; where workers have shares it is
    ⌈size/batch_size⌉ of each one's own, a number for each worker unless all are the same.

    It counts the samples that the problem has. `quadratic()` without noise has a single one, so all cost one batch and there is
    no variance to reduce. Where noise is drawn by a key, as in `quadratics`, it does not come from the samples: full gradients,
    and those of blocks, are computed without it, so what a variance-reduced method gains there is noise left out, not reduced.

    Args:
        problem: whose samples.
        workers: n.

    Raises:
        ValueError: if the problem is partitioned between another number of workers.

    Example:
        >>> import simsgd as sg
        >>> sg.problems.full_pass(sg.problems.digits(batch_size=32), workers=8)  # 1,437 samples
        6
        >>> sg.problems.full_pass(sg.problems.quadratic(), workers=4)  # one sample
        1
        >>> sg.problems.full_pass(sg.problems.quadratic(noise=0.1), workers=4)  # 1,024 samples
        256
    """
    workers = checks.whole("workers", workers, 1)
    problem.check_workers(workers)
    if problem.shares is None:
        return -(-problem.samples // (workers * problem.batch_size))
    steps = tuple((-(-problem.shares.sizes.astype(np.int64) // problem.batch_size)).tolist())
    return steps[0] if len(set(steps)) == 1 else steps
