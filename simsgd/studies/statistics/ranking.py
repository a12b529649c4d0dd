"""Rankings in which methods that are not separated share ranks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simsgd.studies.statistics.arriving import TimeToTarget, restricted_mean
from simsgd.studies.statistics.given import checked_horizon, checked_level, rows
from simsgd.studies.statistics.paired import PairedComparison, compare_pair
from simsgd.studies.statistics.sequential import compare_at_any_time
from simsgd.support import show


@dataclass(frozen=True, eq=False)
class Ranking:
    """Methods in order, with the ranks that each may have; made by `rank`.

    Attributes:
        labels: of the methods, by best rank, then by restricted mean.
        best, worst: of each method 1 + how many methods are separated from it and faster, and the number of methods less those
            that are separated and slower; with a probability of `level` all true ranks lie between them.
        times: the restricted mean of each.
        p_values: of each pair, corrected by Holm, shape (methods, methods), 1 on the diagonal; one seed gives NaN.
        comparisons: of each pair of labels (first, second), uncorrected; the first has the smaller restricted mean.
        level: of all ranks together.
    """

    labels: tuple[str, ...]
    best: tuple[int, ...]
    worst: tuple[int, ...]
    times: tuple[TimeToTarget, ...]
    p_values: np.ndarray
    comparisons: Mapping[tuple[str, str], PairedComparison]
    level: float

    @property
    def separated(self) -> bool:
        """Whether every pair of methods is separated."""
        return self.best == self.worst

    @property
    def winner(self) -> str | None:
        """The method that is separated from all others and faster; None where there is none."""
        return self.labels[0] if self.worst[0] == 1 else None

    def __str__(self) -> str:
        ranks = [f"{b}" if b == w else f"{b} to {w}" for b, w in zip(self.best, self.worst, strict=True)]
        lines = zip(ranks, self.labels, map(str, self.times), strict=True)
        return show.in_text([("rank", "method", "restricted mean"), *lines])


def rank(
    seconds: object,
    horizon: float,
    labels: Sequence[str] | None = None,
    level: float = 0.95,
    *,
    any_time: bool = False,
    seed: int = 0,
) -> Ranking:
    """Return methods ranked by pairwise tests that are corrected for their number (Holm 1979).

    Methods whose ranks overlap are not separated. All true ranks lie in their ranges with a probability of at least `level`
    (Mogstad, Romano, Shaikh and Wilhelm 2024). Each pair takes the test that suits it, as `compare_pair` does; with
    `any_time` it is `compare_at_any_time`, and the ranking may be looked at after every seed, until it is `separated`.
    Of m methods the first pair needs p ≤ 2·(1 − level)/(m(m − 1)): where runs failed, sign flips reach that with 6, 7, 8, 9
    and 15 seeds for 2, 3, 4, 5 and 36 methods.

    Args:
        seconds: simulated seconds to the target, NaN or infinity where never reached: a mapping of labels to seeds, or shape
            (methods, seeds), column by column the same seeds. A study's `results.seconds()` of methods and seeds brings labels.
        horizon: simulated seconds up to which all runs were played.
        labels: of the rows of an array.
        level: of all ranks together.
        any_time: whether looks are taken as seeds come in.
        seed: of the flips that are drawn beyond 16 seeds.

    Raises:
        TypeError, ValueError: for seconds, labels or a horizon that make no sense, and fewer than two methods.

    Example:
        >>> import simsgd as sg
        >>> seconds = {"sync": [30.0, 33.0, 29.0, 35.0], "async": [12.0, 13.5, 11.0, 14.0], "damped": [12.5, 13.0, 11.5, 13.5]}
        >>> print(sg.studies.statistics.rank(seconds, horizon=60))
        rank    method  restricted mean
        1 to 2  async   12.6 s (10.6 to 15), 4 of 4 arrived
        1 to 2  damped  12.6 s (11.3 to 14.1), 4 of 4 arrived
        3       sync    31.8 s (27.7 to 36.4), 4 of 4 arrived
    """
    names, found = rows(seconds, labels)
    wanted, limit = checked_level(level), checked_horizon("seconds", found, horizon)
    means = [restricted_mean(row, limit, wanted) for row in found]
    order = sorted(range(len(names)), key=lambda row: means[row].value)
    compared = {
        (i, j): compare_at_any_time(found[i], found[j], limit, wanted)
        if any_time
        else compare_pair(found[i], found[j], limit, wanted, seed)
        for i, j in itertools.combinations(order, 2)
    }
    p_values, faster = _separated(compared, len(names), wanted)
    best, worst = 1 + faster.sum(axis=0), len(names) - faster.sum(axis=1)
    order.sort(key=lambda row: (best[row], worst[row]))  # stable: then by restricted mean
    return Ranking(
        *(tuple(names[row] for row in order), tuple(best[order].tolist()), tuple(worst[order].tolist())),
        *(tuple(means[row] for row in order), p_values[np.ix_(order, order)]),
        {(names[i], names[j]): comparison for (i, j), comparison in compared.items()},
        wanted,
    )


def _separated(
    compared: Mapping[tuple[int, int], PairedComparison], methods: int, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the corrected p-values, and of which pairs the row is faster than the column, shape (methods, methods) both."""
    p_values, faster = np.ones((methods, methods)), np.zeros((methods, methods), bool)
    corrected = holm([comparison.p_value for comparison in compared.values()])
    for ((i, j), comparison), p_value in zip(compared.items(), corrected, strict=True):
        p_values[i, j] = p_values[j, i] = p_value
        faster[(i, j) if comparison.value < comparison.nothing else (j, i)] = p_value <= (1 - level) * (1 + 1e-12)
    return p_values, faster


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that may each be held against one level: max over smaller ones of (how many are left) × p, at most 1.

    Example:
        >>> from simsgd.studies.statistics.ranking import holm
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    corrected, greatest = [math.nan] * len(p_values), 0.0
    for place, index in enumerate(np.argsort(p_values, kind="stable")):
        greatest = max(greatest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = math.nan if math.isnan(p_values[index]) else greatest
    return corrected
