"""A problem's data, divided: who has which samples, and how they are drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from simsgd.problems.divisions import Division, GivenShares
from simsgd.problems.drawing import Shares
from simsgd.support import checks


@dataclass(frozen=True, eq=False)
class Partition:
    """A problem's data, divided; `Problem.partitioned` makes it.

    Attributes:
        by: the way in which they were divided.
        workers: how many workers have a share.
        shares: which samples each worker has.
        replacement: whether workers draw from their shares with replacement.
        worker_losses: whether the loss over each share is evaluated.
    """

    by: Division
    workers: int
    shares: Shares
    replacement: bool = True
    worker_losses: bool = False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Partition):
            return NotImplemented
        return self._settings == other._settings and all(
            np.array_equal(mine, theirs) for mine, theirs in zip(self.shares, other.shares, strict=True)
        )

    def __hash__(self) -> int:
        return hash((self.workers, len(self.shares.indices), self.replacement, self.worker_losses))

    @property
    def _settings(self) -> tuple[Any, ...]:
        return self.by, self.workers, self.replacement, self.worker_losses

    def check(self, samples: int, batch_size: int) -> None:
        """Raise ValueError unless the shares fit so many samples, and batches of such a size."""
        least, most, largest = self.shares.indices.min(), self.shares.indices.max(), int(self.shares.sizes.max())
        if least < 0 or most >= samples:
            raise ValueError(f"by={self.by!r} must give numbers of samples from 0 to {samples - 1}, gave {least} to {most}")
        if not self.replacement and largest * batch_size >= 2**32:
            raise ValueError(
                f"replacement=False counts places in 32 bits: the largest share, {largest:,} samples, times the batch size, "
                f"{batch_size:,}, must be below 2^32; use replacement=True"
            )

    def __str__(self) -> str:
        sizes = self.shares.sizes
        drawn = "with replacement" if self.replacement else "in shuffled epochs"
        return f"{sizes.min():,} to {sizes.max():,} for each of {self.workers} workers, by {self.by!r}, drawn {drawn}"


def partition(
    data: Any, samples: int, batch_size: int, workers: int, by: Division, replacement: bool, worker_losses: bool
) -> Partition:
    """Return who has which samples; see `Problem.partitioned`, which says what is refused."""
    workers = checks.whole("workers", workers, 1)
    checks.instance("by", by, Division, "problems.LabelSkew(alpha=0.1)")
    checks.truth("replacement", replacement)
    checks.truth("worker_losses", worker_losses)
    if workers > samples and not isinstance(by, GivenShares):
        raise ValueError(f"workers must be at most the number of samples, {samples}, for each to have one, got {workers}")
    parts = [np.asarray(part, np.int64).ravel() for part in by.divide(data, samples, workers)]
    if len(parts) != workers:
        raise ValueError(f"by={by!r} must give a share to each of {workers} workers, gave {len(parts)}")
    sizes = np.array([len(part) for part in parts])
    if not sizes.all():
        raise ValueError(f"by={by!r} must give each worker a sample, but gave worker {int(np.argmin(sizes))} none")
    indices = np.concatenate(parts)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    shares = Shares(*(array.astype(np.int32) for array in (indices, starts, sizes)))
    for array in shares:
        array.flags.writeable = False
    made = Partition(by, workers, shares, replacement, worker_losses)
    made.check(samples, batch_size)
    return made
