"""When to evaluate the model, and when to stop."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from simsgd.stopping import RULES, Extent, Rule, Seconds, Target, Watch, amount, bound, limits, settled
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
        end: where to stop at the latest.
        spacing: how far two evaluations are apart.
        batch_size: how many samples a local step takes.
    """

    until: Rule | Target
    every: Rule
    end: Extent
    spacing: Extent
    batch_size: int

    def due(self, evaluation: int) -> Extent:
        """Return up to where to go for an evaluation, counted from 0; whichever comes first."""
        return Extent(*(_at_most(evaluation * every, last) for every, last in zip(self.spacing, self.end, strict=True)))

    def is_over(self, reached: Extent, due: Extent) -> bool:
        """Say whether the end has come; at the last second more updates may follow that at which an evaluation stopped."""
        return reached.passes(self.end) or (reached.seconds >= self.end.seconds and not reached.passes(due))

    def share(self, reached: Extent) -> float:
        """Return how much of the way to the end is done, from 0 to 1."""
        return min(1.0, max(done / last for done, last in zip(reached, self.end, strict=True)))

    def watch(self) -> Watch | None:
        """Return what follows the metric of the target, if there is one."""
        return Watch(self.until) if isinstance(self.until, Target) else None


def ended(evaluation: Mapping[str, float], metrics: Iterable[str], watch: Watch | None) -> str:
    """Say how an evaluation of the model ends the run, "diverged" or "target reached", or nothing if it does not."""
    if not all(math.isfinite(evaluation[name]) for name in metrics):
        return "diverged"
    kept = watch is not None and watch.kept(evaluation["time"], evaluation["updates"], evaluation[watch.target.metric])
    return "target reached" if kept else ""


def planned(until: object, evaluate_every: object, metrics: Iterable[str], batch_size: int) -> Schedule:
    """Return the schedule of a run.

    Args:
        until: where to stop, `Updates`, `Seconds`, `Gradients`, `Samples`, or a `Target` with a bound.
        evaluate_every: how far apart to evaluate the model, one of the same; None for a hundredth of the whole.
        metrics: the names that a target may have.
        batch_size: how many samples a local step takes.

    Raises:
        TypeError, ValueError: for arguments that make no sense, named in the message.
        simsgd.BoundError: for more evaluations than `simsgd.bounds.evaluations`.
    """
    _refuse_plain_number("until", until)
    _refuse_plain_number("evaluate_every", evaluate_every)
    rule = bound(until)
    assert isinstance(until, (*RULES, Target))
    if isinstance(until, Target):
        checks.one_of("until.metric", until.metric, metrics)
    until = settled(until)
    every = _spacing(rule, evaluate_every, until.kept if isinstance(until, Target) else None)
    schedule = Schedule(until, every, limits(rule, batch_size), limits(every, batch_size), batch_size)
    evaluations = max(last / every for last, every in zip(schedule.end, schedule.spacing, strict=True) if math.isfinite(last))
    bounds.check("evaluations", 1 + evaluations, f"evaluate_every={evaluate_every!r} with until={until!r}")
    return schedule


def _refuse_plain_number(name: str, value: object) -> None:
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        raise TypeError(f"{name} must say what it counts, got {value!r}: Updates({value}) or Seconds({value})")


def _spacing(end: Rule, evaluate_every: object, kept: object) -> Rule:
    """Return how far apart to evaluate the model: by default a hundredth of the whole, or a tenth of how long a target is kept.

    Raises:
        ValueError: if a target is to be kept for less than two evaluations are apart, so that nobody would see whether it is.
    """
    if evaluate_every is not None:
        checks.instance("evaluate_every", evaluate_every, RULES, "Updates(100) or Seconds(0.5)")
        assert isinstance(evaluate_every, RULES)
        if type(kept) is type(evaluate_every) and amount(evaluate_every) > amount(kept):
            raise ValueError(
                f"evaluate_every must be at most how long the target is kept, {kept!r}, or nobody sees whether it is, got "
                f"{evaluate_every!r}"
            )
        return evaluate_every
    wanted = amount(end) / EVALUATIONS
    if type(kept) is type(end):
        wanted = min(wanted, amount(kept) / 10)
    return Seconds(wanted) if isinstance(end, Seconds) else type(end)(math.ceil(wanted))


def _at_most(moment: float, last: float) -> float:
    """Return the moment, or the last one if it is that up to rounding, so that the last two evaluations are never the same."""
    return last if moment > last * (1 - 1e-9) else moment
