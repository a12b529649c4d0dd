"""Ways to divide a problem's data between workers.

Laws of this module:

1. A way to divide is a frozen dataclass with a seed of its own: it gives the same shares in every run and every process.
2. Nobody is left without a sample. How each way sees to that stands in its docstring.
"""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simsgd.support import checks, rng


class Division(ABC):
    """A way to divide samples between workers; one of your own is a frozen dataclass that defines `divide`.

    Example:
        >>> from dataclasses import dataclass
        >>> import simsgd as sg
        >>> @dataclass(frozen=True)
        ... class RoundRobin(sg.problems.Division):
        ...     def divide(self, data, samples, workers):
        ...         return [range(worker, samples, workers) for worker in range(workers)]
        >>> sg.problems.digits().partitioned(3, by=RoundRobin()).shares.sizes
        array([479, 479, 479], dtype=int32)
    """

    @abstractmethod
    def divide(self, data: Any, samples: int, workers: int) -> Sequence[Any]:
        """Return the numbers of the samples, from 0, that each worker has; at least one for each.

        Args:
            data: the problem's, a pytree of NumPy arrays whose first axis counts the samples.
            samples: how many there are.
            workers: how many workers.
        """


@dataclass(frozen=True)
class EqualShares(Division):
    """Samples dealt out at random, equally many to each worker but for one: shares that are alike.

    Args:
        seed: names the deal.

    Nobody is left without a sample as long as there are no more workers than samples.

    Example:
        >>> import simsgd as sg
        >>> sg.problems.digits().partitioned(5, by=sg.problems.EqualShares()).shares.sizes
        array([288, 288, 287, 287, 287], dtype=int32)
    """

    seed: int = 0

    def __post_init__(self) -> None:
        checks.store(self, seed=checks.whole("EqualShares.seed", self.seed, 0))

    def divide(self, data: Any, samples: int, workers: int) -> Sequence[Any]:
        """As in `Division`."""
        return np.array_split(rng.stream(self.seed, "shares: equal").permutation(samples), workers)


@dataclass(frozen=True)
class LabelSkew(Division):
    """Each label's samples divided in proportions drawn from Dirichlet(α, …, α), for each label anew.

    A small α gives each label to few workers; with a large one all shares are alike. Sizes differ, too. A worker that would
    have no sample takes one from the worker that has most.

    Args:
        alpha: α > 0; 0.1 and 0.5 are usual.
        label: the name of the labels in the problem's data, which must be a mapping; whole numbers, shape (samples,).
        seed: names the draws.

    Source: Li, Diao, Chen and He (2022), "Federated learning on non-IID data silos", section 4.1, "distribution-based label
    imbalance".

    Example:
        >>> import simsgd as sg
        >>> sg.problems.digits().partitioned(5, by=sg.problems.LabelSkew(alpha=0.1)).shares.sizes.sum()
        np.int64(1437)
    """

    alpha: float
    label: str = "label"
    seed: int = 0

    def __post_init__(self) -> None:
        checks.store(self, alpha=_alpha("LabelSkew.alpha", self.alpha), seed=checks.whole("LabelSkew.seed", self.seed, 0))

    def divide(self, data: Any, samples: int, workers: int) -> Sequence[Any]:
        """As in `Division`."""
        random = rng.stream(self.seed, "shares: label skew")
        parts: list[list[int]] = [[] for _ in range(workers)]
        for having in _by_label(data, self.label, "LabelSkew"):
            cuts = _cuts(random.dirichlet([self.alpha] * workers), len(having))
            for part, more in zip(parts, np.split(random.permutation(having), cuts), strict=True):
                part.extend(more.tolist())
        largest = [(-len(part), worker) for worker, part in enumerate(parts)]
        heapq.heapify(largest)
        for part in [part for part in parts if not part]:
            size, worker = largest[0]
            part.append(parts[worker].pop())
            heapq.heapreplace(largest, (size + 1, worker))
        return parts


@dataclass(frozen=True)
class LabelsPerWorker(Division):
    """Each worker has the samples of so many labels; workers that share a label have equal parts of its samples.

    Labels are given out one worker after the other, each time those that the fewest have, at random among equals: so
    all labels are given out. Divisions in which a worker would have no sample, or a label no worker, are refused.

    Args:
        labels: how many labels each worker has, at least 1.
        label, seed: as in `LabelSkew`.

    Source: Li, Diao, Chen and He (2022), "Federated learning on non-IID data silos", section 4.1, "quantity-based label
    imbalance", which gives labels out at random.

    Example:
        >>> import numpy as np, simsgd as sg
        >>> mine = sg.problems.digits().partitioned(5, by=sg.problems.LabelsPerWorker(2))
        >>> first = mine.shares.indices[: mine.shares.sizes[0]]
        >>> len(np.unique(mine.data["label"][first]))
        2
    """

    labels: int
    label: str = "label"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("labels", 1), ("seed", 0)):
            checks.store(self, **{name: checks.whole(f"LabelsPerWorker.{name}", getattr(self, name), least)})

    def divide(self, data: Any, samples: int, workers: int) -> Sequence[Any]:
        """As in `Division`."""
        random = rng.stream(self.seed, "shares: labels per worker")
        having = _by_label(data, self.label, "LabelsPerWorker")
        if not self.labels <= len(having) <= self.labels * workers:
            raise ValueError(
                f"LabelsPerWorker.labels must be from {-(-len(having) // workers)} to {len(having)}, so that {workers} workers "
                f"have all {len(having)} labels between them, got {self.labels}"
            )
        owners: list[list[int]] = [[] for _ in having]
        for worker in range(workers):
            fewest = sorted(random.permutation(len(having)), key=lambda number: len(owners[number]))
            for number in fewest[: self.labels]:
                owners[number].append(worker)
        parts: list[list[int]] = [[] for _ in range(workers)]
        for own, numbers in zip(owners, having, strict=True):
            for worker, more in zip(own, np.array_split(random.permutation(numbers), len(own)), strict=True):
                parts[worker].extend(more.tolist())
        return parts


@dataclass(frozen=True)
class QuantitySkew(Division):
    """Shares of different sizes: in proportions drawn from Dirichlet(α, …, α), samples dealt out at random.

    Each worker has one sample first, and only the others are divided in these proportions, so nobody is left without.

    Args:
        alpha: α > 0; the smaller, the more the sizes differ.
        seed: names the draws.

    Source: Li, Diao, Chen and He (2022), "Federated learning on non-IID data silos", section 4.3, "quantity skew".

    Example:
        >>> import simsgd as sg
        >>> sizes = sg.problems.digits().partitioned(5, by=sg.problems.QuantitySkew(alpha=0.5)).shares.sizes
        >>> sizes.sum(), sizes.min() >= 1
        (np.int64(1437), np.True_)
    """

    alpha: float
    seed: int = 0

    def __post_init__(self) -> None:
        checks.store(self, alpha=_alpha("QuantitySkew.alpha", self.alpha))
        checks.store(self, seed=checks.whole("QuantitySkew.seed", self.seed, 0))

    def divide(self, data: Any, samples: int, workers: int) -> Sequence[Any]:
        """As in `Division`."""
        random = rng.stream(self.seed, "shares: quantity skew")
        cuts = _cuts(random.dirichlet([self.alpha] * workers), samples - workers) + np.arange(1, workers)
        return np.split(random.permutation(samples), cuts)


@dataclass(frozen=True, repr=False)
class GivenShares(Division):
    """Shares that are given: the numbers of each worker's samples. Shares may overlap, and need not hold all samples.

    Args:
        indices: for each worker a sequence of numbers of samples, from 0, at least one.

    Example:
        >>> import simsgd as sg
        >>> by = sg.problems.GivenShares([range(700), range(700, 1437)])
        >>> by
        GivenShares(2 shares of 1437 samples in all)
        >>> sg.problems.digits().partitioned(2, by=by).shares.starts
        array([  0, 700], dtype=int32)
    """

    indices: Sequence[Iterable[int]]

    def __post_init__(self) -> None:
        shares = checks.sequence("GivenShares.indices", self.indices, "[range(700), range(700, 1437)]")
        stored = []
        for i, share in enumerate(shares):
            numbers = np.asarray(checks.sequence(f"GivenShares.indices[{i}]", share, "range(700)"))
            if numbers.size and (numbers.dtype.kind not in "iu" or numbers.ndim != 1):
                raise TypeError(f"GivenShares.indices[{i}] must hold whole numbers such as range(700), got {numbers!r:.60}")
            stored.append(tuple(numbers.tolist()))
        checks.store(self, indices=tuple(stored))

    def __repr__(self) -> str:
        total = sum(len(tuple(share)) for share in self.indices)
        return f"GivenShares({len(self.indices)} shares of {total} samples in all)"

    def divide(self, data: Any, samples: int, workers: int) -> Sequence[Any]:
        """As in `Division`."""
        return [tuple(share) for share in self.indices]


def _alpha(name: str, value: object) -> float:
    """Return a concentration; beyond these bounds shares are no different, and draws lose their digits."""
    alpha = checks.positive(name, value)
    if not 1e-6 <= alpha <= 1e12:
        raise ValueError(f"{name} must be from 1e-06 to 1e+12, got {value!r}")
    return alpha


def _by_label(data: Any, label: str, what: str) -> list[np.ndarray]:
    """Return the numbers of each label's samples, labels in order."""
    labels: Any = data.get(label) if isinstance(data, dict) else None
    if getattr(labels, "ndim", None) != 1 or labels.dtype.kind not in "iub":
        names = f"the names in data are {', '.join(map(repr, data))}" if isinstance(data, dict) else "data is not a dict"
        raise ValueError(
            f"{what}.label must name an array of whole numbers, shape (samples,), in the problem's data, got {label!r}: {names}"
        )
    return [np.flatnonzero(labels == each) for each in np.unique(labels)]


def _cuts(proportions: np.ndarray, samples: int) -> np.ndarray:
    """Return where to cut so many samples in proportions that sum to 1: each cut at the nearest sample."""
    return np.rint(np.cumsum(proportions)[:-1] * samples).astype(int)
