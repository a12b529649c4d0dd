"""Successive halving: many configurations briefly, the best of them for longer.

Law of this module: a run that a rung stopped is pruned, not censored: whether it was stopped depends on how it went. No
statistic of the time to a target may use it. A run that reached the target on a rung, or diverged, was not stopped: it is the
same run on all longer rungs and is not played again.

Source: Jamieson and Talwalkar (2016), "Non-stochastic best arm identification and hyperparameter optimization", with simulated
seconds as the budget.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simsgd.stopping import Seconds
from simsgd.studies.outcomes import Outcome
from simsgd.studies.trials import Labels, Setting, Trial, Trials

type Contest = tuple[str, Labels]


@dataclass(frozen=True)
class Saving:
    """What successive halving played for the configurations that it was given.

    Attributes:
        seconds: simulated seconds of all rungs but the last, which is the whole horizon.
        left: how many configurations went on to the whole horizon, over all methods and settings.
        of: how many there were.
        pruned: the trials of the rungs.
        most: simulated seconds that all configurations take to the end, if none reaches the target before.
    """

    seconds: float
    left: int
    of: int
    pruned: tuple[Trial, ...]
    most: float


def rungs(factor: int, count: int) -> list[float]:
    """Return how much of the horizon each rung before the last is played, in increasing order.

    Example:
        >>> from simsgd.studies.halving import rungs
        >>> rungs(3, count=9)
        [0.1111111111111111, 0.3333333333333333]
    """
    left, levels = count, 0
    while left > 1:
        left, levels = -(-left // factor), levels + 1
    return [factor ** -float(level) for level in range(levels, 0, -1)]


def halve(
    trials: Trials, sizes: Mapping[Contest, Sequence[float]], seeds: Sequence[int], factor: int
) -> tuple[dict[Contest, list[float]], Saving]:
    """Return the step sizes that are left for the whole horizon, and what finding them took.

    Args:
        trials: plays them.
        sizes: by method and setting the step sizes, as many for each.
        seeds: the tuning seeds.
        factor: of so many configurations the best one goes on to the next rung, which is so many times as long.
    """
    left = {contest: sorted(some) for contest, some in sizes.items()}
    count, played = max(map(len, left.values())), []
    for share in rungs(factor, count):
        batch = {
            contest: [Trial(*contest, size, share * trials.settings[contest[1]].horizon) for size in some]
            for contest, some in left.items()
        }
        trials.play([trial for some in batch.values() for trial in some], seeds)
        trials.check_played([trial for some in batch.values() for trial in some], seeds)
        left = {contest: _kept(trials, some, seeds, factor) for contest, some in batch.items()}
        played += [trial for some in batch.values() for trial in some]
    seconds = sum(end_of(outcome) for trial in played for outcome in trials.played.get(trial, {}).values())
    most = sum(trials.settings[labels].horizon * len(some) for (_, labels), some in sizes.items()) * len(seeds)
    return left, Saving(seconds, sum(map(len, left.values())), sum(map(len, sizes.values())), tuple(played), most)


def _kept(trials: Trials, rung: Sequence[Trial], seeds: Sequence[int], factor: int) -> list[float]:
    """Return the best step sizes of a rung: by the time to the target in it, then by the metric at its end."""
    ranked = sorted(rung, key=lambda trial: _score([trials.outcomes[trial][seed] for seed in seeds], trials, trial))
    return sorted(trial.step_size for trial in ranked[: -(-len(rung) // factor)] if trial.step_size is not None)


def _score(outcomes: Sequence[Outcome], trials: Trials, trial: Trial) -> tuple[float, float, float]:
    """Return what trials of one rung are ranked by; the least is best."""
    target, end = trials.settings[trial.setting].target, trial.seconds
    assert end is not None
    assert trial.step_size is not None
    seconds = [outcome.to_target(target).seconds for outcome in outcomes]
    arriving = float(np.mean([min(each, end) if math.isfinite(each) else end for each in seconds]))
    sign = 1 if target.at_most is not None else -1
    return arriving, float(np.mean([_metric(outcome, target.metric, sign) for outcome in outcomes])), trial.step_size


def _metric(outcome: Outcome, metric: str, sign: int) -> float:
    """Return the metric at a run's end, so that less is better; infinite for a run that diverged or failed."""
    if outcome.status in ("diverged", "failed"):
        return math.inf
    value = sign * float(outcome.evaluations[metric][-1])
    return value if math.isfinite(value) else math.inf


def end_of(outcome: Outcome) -> float:
    """Return the simulated seconds that a run went on; none of one that failed."""
    return float(outcome.evaluations["time"][-1]) if "time" in outcome.evaluations else 0.0


def check(factor: int, count: int, setting: Setting) -> None:
    """Raise ValueError if the first rung ends before the first evaluation after the start."""
    share = min(rungs(factor, count), default=1.0)
    if isinstance(setting.every, Seconds) and share * setting.horizon < setting.every.seconds:
        raise ValueError(
            f"halving={factor} of {count} step sizes begins with {share * setting.horizon:g} s, less than the "
            f"{setting.every.seconds:g} s between two evaluations: evaluate more often, or try fewer step sizes"
        )
