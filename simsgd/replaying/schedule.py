"""When to evaluate the model, and when to stop."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from simsgd.stopping import Seconds, Target, Updates, Watch, bound, limits, settled
from simsgd.support import checks
from simsgd.support.bounds import bounds

EVALUATIONS = 100
"""How often a run evaluates the model, unless told otherwise."""


@dataclass(frozen=True)
class Schedule:
    """When to evaluate the model, and when to stop; made by `planned`.

    Attributes:
        until: what the caller asked for; a target says how long it is to be kept.
        every: how far apart to evaluate.
        end: (updates, seconds) at which to stop at the latest, infinite where there is no limit.
        spacing: (updates, seconds) between two evaluations, infinite where there is none.
    """

    until: Updates | Seconds | Target
    every: Updates | Seconds
    end: tuple[float, float]
    spacing: tuple[float, float]

    def due(self, evaluation: int) -> tuple[float, float]:
        """Return (updates, seconds) up to which to go for an evaluation, counted from 0; whichever comes first."""
        updates, seconds = (_at_most(evaluation * every, last) for every, last in zip(self.spacing, self.end, strict=True))
        return updates, seconds

    def is_over(self, version: float, now: float, due: tuple[float, float]) -> bool:
        """Say whether the end has come; at the last second more updates may follow that at which an evaluation stopped."""
        updates, seconds = self.end
        return version >= updates or (now >= seconds and version < due[0])

    def share(self, version: float, now: float) -> float:
        """Return how much of the way to the end is done, from 0 to 1."""
        updates, seconds = self.end
        return max(version / updates, now / seconds)

    def watch(self) -> Watch | None:
        """Return what follows the metric of the target, if there is one."""
        return Watch(self.until) if isinstance(self.until, Target) else None


def ended(evaluation: Mapping[str, float], metrics: Iterable[str], watch: Watch | None) -> str:
    """Say how an evaluation of the model ends the run, "diverged" or "target reached", or nothing if it does not."""
    if not all(math.isfinite(evaluation[name]) for name in metrics):
        return "diverged"
    kept = watch is not None and watch.kept(evaluation["time"], evaluation["updates"], evaluation[watch.target.metric])
    return "target reached" if kept else ""


def planned(until: object, evaluate_every: object, metrics: Iterable[str]) -> Schedule:
    """Return the schedule of a run.

    Args:
        until: where to stop, `Updates`, `Seconds`, or a `Target` with a bound.
        evaluate_every: how far apart to evaluate the model, `Updates` or `Seconds`; None for a hundredth of the whole.
        metrics: the names that a target may have.

    Raises:
        TypeError, ValueError: for arguments that make no sense, named in the message.
        simsgd.BoundError: for more evaluations than `simsgd.bounds.evaluations`.
    """
    _refuse_plain_number("until", until)
    _refuse_plain_number("evaluate_every", evaluate_every)
    rule = bound(until)
    assert isinstance(until, Updates | Seconds | Target)
    if isinstance(until, Target):
        checks.one_of("until.metric", until.metric, metrics)
    until = settled(until)
    every = _spacing(rule, evaluate_every, until.kept if isinstance(until, Target) else None)
    schedule = Schedule(until, every, limits(rule), limits(every))
    evaluations = max(last / every for last, every in zip(schedule.end, schedule.spacing, strict=True) if math.isfinite(last))
    bounds.check("evaluations", 1 + evaluations, f"evaluate_every={evaluate_every!r} with until={until!r}")
    return schedule


def _refuse_plain_number(name: str, value: object) -> None:
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        raise TypeError(f"{name} must say what it counts, got {value!r}: Updates({value}) or Seconds({value})")


def _spacing(end: Updates | Seconds, evaluate_every: object, kept: object) -> Updates | Seconds:
    """Return how far apart to evaluate the model: by default a hundredth of the whole, or a tenth of how long a target is kept.

    Raises:
        ValueError: if a target is to be kept for less than two evaluations are apart, so that nobody would see whether it is.
    """
    if evaluate_every is not None:
        checks.instance("evaluate_every", evaluate_every, (Updates, Seconds), "Updates(100) or Seconds(0.5)")
        assert isinstance(evaluate_every, Updates | Seconds)
        if type(kept) is type(evaluate_every) and _amount(evaluate_every) > _amount(kept):
            raise ValueError(
                f"evaluate_every must be at most how long the target is kept, {kept!r}, or nobody sees whether it is, got "
                f"{evaluate_every!r}"
            )
        return evaluate_every
    wanted = _amount(end) / EVALUATIONS
    if type(kept) is type(end):
        wanted = min(wanted, _amount(kept) / 10)
    return Updates(math.ceil(wanted)) if isinstance(end, Updates) else Seconds(wanted)


def _amount(rule: Updates | Seconds) -> float:
    return rule.count if isinstance(rule, Updates) else rule.seconds


def _at_most(moment: float, last: float) -> float:
    """Return the moment, or the last one if it is that up to rounding, so that the last two evaluations are never the same."""
    return last if moment > last * (1 - 1e-9) else moment
