"""Tuning: for each method the step size that reaches the target first, on grids that grow alike for all methods.

Laws of this module:

1. What is best is the least restricted mean of the time to the target over the tuning seeds: a run that never arrived counts as
   long as the horizon. Of equals that arrived it is the least step size; where none arrived, the one that ended closest to
   the target.
2. All methods are given the same number of configurations in each setting. Where the best of one lies at the edge of its grid,
   the grids of all are extended on that side.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from simsgd.stopping import Target
from simsgd.studies import halving
from simsgd.studies.outcomes import Outcome
from simsgd.studies.statistics.given import arrivals
from simsgd.studies.trials import Labels, Trial, Trials

STEP_SIZES = (0.00625, 0.025, 0.1, 0.4, 1.6)
"""Where a tuning starts unless told otherwise: around 0.1, a factor of 4 apart."""


class Score(NamedTuple):
    """What a step size is chosen by; the least is best.

    Attributes:
        seconds: restricted mean of the time to the target, simulated.
        distance: how far from the target the runs ended, where none arrived; else 0.
    """

    seconds: float
    distance: float


@dataclass(frozen=True)
class Choice:
    """What a method was tuned to in one setting.

    Attributes:
        step_size: the best; None for a whole method, which is not tuned.
        tried: by step size the score, for those that were played to the horizon, in increasing order.
        arrived: by step size how many tuning seeds reached the target.
        pruned: step sizes that successive halving left behind.
    """

    step_size: float | None
    tried: Mapping[float, Score] = field(default_factory=dict)
    arrived: Mapping[float, int] = field(default_factory=dict)
    pruned: tuple[float, ...] = ()

    @property
    def edge(self) -> str:
        """On which edge of what was tried the best lies: "least", "greatest", or nothing."""
        return "" if self.step_size is None else edge_of(self.step_size, (*self.tried, *self.pruned))


def edge_of(best: float, tried: Iterable[float]) -> str:
    """Return on which edge of the step sizes tried the best lies, "least" or "greatest"; nothing if inside, or if it is alone.

    Example:
        >>> from simsgd.studies.tuning import edge_of
        >>> edge_of(0.4, [0.025, 0.1, 0.4])
        'greatest'
    """
    sizes = set(tried)
    if len(sizes) < 2:
        return ""
    return "least" if best == min(sizes) else "greatest" if best == max(sizes) else ""


def score(outcomes: Sequence[Outcome], target: Target, horizon: float) -> Score:
    """Return what a step size is chosen by, from its outcomes over the tuning seeds."""
    found = arrivals("seconds", [outcome.to_target(target).seconds for outcome in outcomes], horizon)
    short = 0.0 if found.count else float(np.mean([distance(outcome, target) for outcome in outcomes]))
    return Score(float(found.restricted.mean()), short)


def distance(outcome: Outcome, target: Target) -> float:
    """Return how far from the target a run ended; infinite for one that diverged or failed."""
    if outcome.status in ("diverged", "failed"):
        return math.inf
    return off(float(outcome.evaluations[target.metric][-1]), target)


def off(value: float, target: Target) -> float:
    """Return how far a metric's value is from its target; infinite for one that is not finite."""
    wanted = target.at_most if target.at_most is not None else target.at_least
    assert wanted is not None
    return abs(value - wanted) if math.isfinite(value) else math.inf


def best(scores: Mapping[float, Score]) -> float:
    """Return the step size with the least score, the least step size of equals.

    Example:
        >>> from simsgd.studies.tuning import Score, best
        >>> best({0.1: Score(4.0, 0.0), 0.4: Score(3.0, 0.0), 1.6: Score(3.0, 0.0)})
        0.4
    """
    return min(sorted(scores), key=scores.__getitem__)


class Tuner:
    """Tunes all methods in all settings together.

    Args:
        trials: plays them.
        grids: by method the step sizes to begin with, as many for each.
        seeds: the tuning seeds.
        halve: the factor of successive halving, or None.
    """

    def __init__(self, trials: Trials, grids: Mapping[str, Sequence[float]], seeds: Sequence[int], halve: int | None) -> None:
        self._trials, self._seeds, self._halve = trials, seeds, halve
        self.grids = {name: sorted(sizes) for name, sizes in grids.items()}
        self.contests = list(itertools.product(self.grids, trials.settings))
        self.saving: halving.Saving | None = None
        self._full: dict[tuple[str, Labels], list[float]] = {contest: [] for contest in self.contests}
        self._pruned: dict[tuple[str, Labels], tuple[float, ...]] = dict.fromkeys(self.contests, ())
        self.extended: list[str] = []

    @property
    def trials(self) -> list[Trial]:
        """What was played to the horizon, and by which is chosen; no pruned run."""
        return [Trial(*contest, size) for contest, sizes in self._full.items() for size in sizes]

    @property
    def choices(self) -> dict[tuple[str, Labels], Choice]:
        """What each method in each setting is tuned to so far."""
        return {contest: self.choice(contest) for contest in self.contests}

    def run(self, extensions: int, refinements: int) -> None:
        """Play the grids, extend them while a best lies at an edge, at most so often, then halve the steps around the best."""
        if not self.contests:
            return
        first = {contest: list(self.grids[contest[0]]) for contest in self.contests}
        if self._halve is not None:
            first, self.saving = halving.halve(self._trials, first, self._seeds, self._halve)
            self._pruned = {
                (name, labels): tuple(size for size in self.grids[name] if size not in first[name, labels])
                for name, labels in self.contests
            }
        self._play(first)
        self._trials.check_played(self.trials, self._seeds)
        for _ in range(extensions):
            if not self._extend():
                break
        for _ in range(refinements):
            self._refine()

    def choice(self, contest: tuple[str, Labels]) -> Choice:
        """Return what a method in a setting is tuned to so far."""
        name, labels = contest
        setting, tried, arrived = self._trials.settings[labels], {}, {}
        for size in sorted(self._full[contest]):
            (outcomes,) = self._trials.play([Trial(name, labels, size)], self._seeds)
            tried[size] = score(outcomes, setting.target, setting.horizon)
            arrived[size] = sum(math.isfinite(each.to_target(setting.target).seconds) for each in outcomes)
        return Choice(best(tried), tried, arrived, self._pruned[contest])

    def _play(self, sizes: Mapping[tuple[str, Labels], Sequence[float]]) -> None:
        """Play step sizes by method and setting to the horizon, all together."""
        trials = [Trial(*contest, size) for contest, some in sizes.items() for size in some]
        self._trials.play(trials, self._seeds)
        for contest, some in sizes.items():
            self._full[contest] += some

    def _extend(self) -> bool:
        """Extend all grids on the sides where the best of some method lies; say whether there was any."""
        edges = {contest: self.choice(contest).edge for contest in self.contests}
        sides = sorted(set(edges.values()) - {""})
        new = {name: [beyond(sizes, side) for side in sides] for name, sizes in self.grids.items()}
        for side in sides:
            there = ", ".join(dict.fromkeys(name for (name, _), edge in edges.items() if edge == side))
            sizes = sorted({beyond(sizes, side) for sizes in self.grids.values()})
            self.extended.append(f"{'down' if side == 'least' else 'up'} to {_listed(sizes)}, for {there}")
        self._play({contest: new[contest[0]] for contest in self.contests})
        self.grids = {name: sorted([*sizes, *new[name]]) for name, sizes in self.grids.items()}
        return bool(sides)

    def _refine(self) -> None:
        """Try the geometric means of each best and its two neighbours (beyond an edge as far as within)."""
        self._play({contest: around(self.choice(contest)) for contest in self.contests})


def beyond(sizes: Sequence[float], side: str) -> float:
    """Return the step size beyond an edge of a grid, as far from it as its neighbour, geometrically.

    Example:
        >>> from simsgd.studies.tuning import beyond
        >>> beyond([0.1, 0.3, 0.9], "greatest")
        2.7
    """
    ordered = sorted(sizes, reverse=side == "greatest")
    return rounded(ordered[0] * (ordered[0] / ordered[1]))


def around(choice: Choice) -> list[float]:
    """Return the geometric means of the best step size and its neighbours; beyond an edge it is as far as within."""
    assert choice.step_size is not None
    sizes, size = sorted({*choice.tried, *choice.pruned}), choice.step_size
    place = sizes.index(size)
    below = sizes[place - 1] if place else beyond(sizes, "least")
    above = sizes[place + 1] if place + 1 < len(sizes) else beyond(sizes, "greatest")
    return [rounded(math.sqrt(below * size)), rounded(math.sqrt(above * size))]


def rounded(size: float) -> float:
    """Return a step size with six digits, so that it can be written down."""
    return float(f"{size:.6g}")


def _listed(sizes: Sequence[float]) -> str:
    return " and ".join(f"{size:g}" for size in sizes)
