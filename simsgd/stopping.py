"""When a recording or a run ends: after so many updates, so many simulated seconds, or at a target.

Law of this module: every rule is certain to be met, because a `Target` carries a bound (`within`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from simsgd.support import checks


@dataclass(frozen=True)
class Updates:
    """Stop after `count` updates of the model (server steps).

    Args:
        count: the number of server steps, at least 1.

    Raises:
        ValueError: if `count` is not a whole number of at least 1.

    Example:
        >>> import simsgd as sg
        >>> sg.Updates(100_000)
        Updates(count=100000)
    """

    count: int

    def __post_init__(self) -> None:
        checks.store(self, count=checks.whole("Updates.count", self.count, 1))


@dataclass(frozen=True)
class Seconds:
    """Stop after `seconds` of simulated time; what happens at exactly that moment still counts.

    Args:
        seconds: simulated seconds, above 0 and finite.

    Raises:
        ValueError: if `seconds` is not a finite number above 0.

    Example:
        >>> import simsgd as sg
        >>> sg.Seconds(60)
        Seconds(seconds=60.0)
    """

    seconds: float

    def __post_init__(self) -> None:
        checks.store(self, seconds=checks.positive("Seconds.seconds", self.seconds, "seconds"))


@dataclass(frozen=True)
class Target:
    """A value that a metric should reach; as `until`, stop at the first evaluation that reaches it.

    Args:
        metric: the name of one of the problem's metrics, for example "loss" or "accuracy".
        at_most: reached when the metric is at or below this value.
        at_least: reached when the metric is at or above this value; give this one or `at_most`.
        within: the bound, `Updates` or `Seconds`, at which a run stops even if the target was never reached. Needed when
            the target is used as `until`, because a target may never be reached.

    Raises:
        ValueError: if not exactly one of `at_most` and `at_least` is given, or it is not finite.
        TypeError: if `within` is neither `Updates` nor `Seconds`.

    Example:
        >>> import simsgd as sg
        >>> sg.Target("accuracy", at_least=0.9).reached(0.95)
        True
    """

    metric: str
    at_most: float | None = None
    at_least: float | None = None
    within: Updates | Seconds | None = None

    def __post_init__(self) -> None:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError(
                f"Target({self.metric!r}) needs exactly one of at_most and at_least, "
                f"got at_most={self.at_most!r} and at_least={self.at_least!r}"
            )
        given = "at_most" if self.at_least is None else "at_least"
        checks.store(self, **{given: checks.number(f"Target.{given}", getattr(self, given))})
        if self.within is not None:
            checks.instance("Target.within", self.within, (Updates, Seconds), "Seconds(60)")

    def reached(self, value: float) -> bool:
        """Say whether `value` meets the target; a value that is not a number never does."""
        return value <= self.at_most if self.at_most is not None else value >= self.at_least  # type: ignore[operator]

    def __str__(self) -> str:
        return f"{self.metric} ≤ {self.at_most:g}" if self.at_most is not None else f"{self.metric} ≥ {self.at_least:g}"


def bound(until: object) -> Updates | Seconds:
    """Return the rule that is certain to end a run: `until` itself, or a target's `within`.

    Raises:
        TypeError: if `until` is none of `Updates`, `Seconds` and `Target`.
        ValueError: if it is a target without `within`.
    """
    checks.instance("until", until, (Updates, Seconds, Target), "Updates(10_000), Seconds(60) or Target(...)")
    if not isinstance(until, Target):
        return until  # type: ignore[return-value]
    if until.within is None:
        raise ValueError(f"until={until!r} may never be reached: give it a bound, for example within=Seconds(60)")
    return until.within


def limits(rule: Updates | Seconds) -> tuple[float, float]:
    """Return a rule as (updates, seconds), infinite where it sets no limit."""
    return (rule.count, math.inf) if isinstance(rule, Updates) else (math.inf, rule.seconds)
