"""When a recording or a run ends: after so many updates, so many simulated seconds, or at a target.

Law of this module: every rule is certain to be met, because a `Target` carries a bound (`within`).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import numbers
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Literal, NamedTuple

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
class Gradients:
    """Stop with the server step at which `count` gradients, or other messages, have been used.

    Args:
        count: the number of messages that the server used, at least 1; those of the last step count together.

    Raises:
        ValueError: if `count` is not a whole number of at least 1.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=4, compute=sg.times.Constant(1.0))
        >>> sg.record(sg.MinibatchSGD(), cluster, until=sg.Gradients(10))
        Tape(4 workers, 12 gradients, 3 updates, 3 s, 0 discarded)
    """

    count: int

    def __post_init__(self) -> None:
        checks.store(self, count=checks.whole("Gradients.count", self.count, 1))


@dataclass(frozen=True)
class Samples:
    """Stop with the server step at which `count` training samples have been used: a batch for each local step of a message.

    Args:
        count: the number of samples, at least 1; those of the last step count together.

    Raises:
        ValueError: if `count` is not a whole number of at least 1.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=4, compute=sg.times.Constant(1.0))
        >>> problem = sg.problems.quadratic()
        >>> run = sg.simulate(sg.AsyncSGD(), problem, cluster, sg.optimizers.sgd(0.1), sg.Samples(10 * problem.batch_size))
        >>> run.tape.updates
        10
    """

    count: int

    def __post_init__(self) -> None:
        checks.store(self, count=checks.whole("Samples.count", self.count, 1))


Rule = Updates | Seconds | Gradients | Samples
RULES = (Updates, Seconds, Gradients, Samples)
"""What is certain to end a run."""


class Extent(NamedTuple):
    """How far: where something is, or where it is to stop at the latest, infinite where there is no such limit.

    Attributes:
        updates: of the model.
        seconds: simulated.
        gradients: used by these updates.
        steps: local steps that these gradients were charged with.
    """

    updates: float = math.inf
    seconds: float = math.inf
    gradients: float = math.inf
    steps: float = math.inf

    def passes(self, limit: Extent) -> bool:
        """Say whether it has come to a limit of what is counted, the seconds aside."""
        return self.updates >= limit.updates or self.gradients >= limit.gradients or self.steps >= limit.steps


@dataclass(frozen=True)
class Target:
    """A value that a metric should reach and keep; the time to it is the moment of the first evaluation of those that keep it.

    A model that crosses a value once may lose it again at the next update, so one crossing says little. The evaluations of
    the model that reach the value one after the other, without a break, are a stretch; the target is reached at
    the first evaluation of the first stretch that is `kept` long, from its first to its last.

    Args:
        metric: the name of one of the problem's metrics, for example "loss" or "accuracy".
        at_most: reached when the metric is at or below this value.
        at_least: reached when the metric is at or above this value; give this one or `at_most`.
        within: the bound, `Updates`, `Seconds`, `Gradients` or `Samples`, at which a run stops even if the target was never
            reached and kept. Needed when the target is used as `until`, because a target may never be reached.
        kept: how long it must be kept: `Seconds(5)`, `Updates(100)`, or 0, which takes the first evaluation that reaches it.
            None asks, of a finished run, that the target is kept to the run's end; as `until`, it is a tenth of `within`,
            which must be `Updates` or `Seconds` then.

    Raises:
        ValueError: if not exactly one of `at_most` and `at_least` is given, or it is not finite.
        TypeError: if `metric` is not a name, `within` no such rule, or `kept` none of those, 0 and None.

    Example:
        >>> import simsgd as sg
        >>> sg.Target("accuracy", at_least=0.9, kept=sg.Seconds(5)).reached(0.95)
        True
    """

    metric: str
    _: KW_ONLY
    at_most: float | None = None
    at_least: float | None = None
    within: Rule | None = None
    kept: Updates | Seconds | Literal[0] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str):
            raise TypeError(f'Target.metric must be a metric\'s name such as "loss", got {self.metric!r}')
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError(
                f"Target({self.metric!r}) needs exactly one of at_most and at_least, "
                f"got at_most={self.at_most!r} and at_least={self.at_least!r}"
            )
        given = "at_most" if self.at_least is None else "at_least"
        checks.store(self, **{given: checks.number(f"Target.{given}", getattr(self, given))})
        if self.within is not None:
            checks.instance("Target.within", self.within, RULES, "Seconds(60)")
        if isinstance(self.kept, numbers.Real) and self.kept == 0 and not isinstance(self.kept, bool):
            checks.store(self, kept=0)
        elif self.kept is not None:
            checks.instance("Target.kept", self.kept, (Updates, Seconds), "Seconds(5) or Updates(100), or be 0 or None")
            assert isinstance(self.kept, Updates | Seconds)
            if type(self.kept) is type(self.within) and amount(self.kept) > amount(self.within):
                raise ValueError(f"Target.kept must not be longer than within={self.within!r}, got {self.kept!r}")

    def reached(self, value: float) -> bool:
        """Say whether `value` meets the target; a value that is not a number never does."""
        return value <= self.at_most if self.at_most is not None else value >= self.at_least  # type: ignore[operator]

    def lasted(self, seconds: float, updates: float) -> bool:
        """Say whether a stretch of so many seconds and updates is as long as `kept` asks; never where `kept` is None."""
        if self.kept is None:
            return False
        least_updates, least_seconds = (0, 0.0) if self.kept == 0 else _length(self.kept)
        return updates >= least_updates and seconds >= least_seconds * (
            1 - 1e-9
        )  # evaluations fall on their moments up to rounding

    def stretches(self, values: Iterable[float]) -> list[tuple[int, int]]:
        """Return the first and the last place of each stretch of `values` that reach the target without a break."""
        reached = enumerate(map(self.reached, values))
        groups = [[i for i, _ in group] for there, group in itertools.groupby(reached, lambda numbered: numbered[1]) if there]
        return [(group[0], group[-1]) for group in groups]

    def kept_stretch(
        self, seconds: Sequence[float], updates: Sequence[float], values: Sequence[float]
    ) -> tuple[int, int] | None:
        """Return the first and the last evaluation of the stretch that keeps the target, or None if none does.

        Args:
            seconds, updates, values: the moment, the version and the metric of each evaluation of a finished run.
        """
        for first, last in self.stretches(values):
            to_the_end = self.kept is None and last == len(values) - 1
            if to_the_end or self.lasted(seconds[last] - seconds[first], updates[last] - updates[first]):
                return first, last
        return None

    @property
    def criterion(self) -> str:
        """What is asked for besides the value, in words."""
        if self.kept == 0:
            return "the first time"
        return "kept to the end" if self.kept is None else f"kept for {in_words(self.kept)}"

    def __str__(self) -> str:
        return f"{self.metric} ≤ {self.at_most:g}" if self.at_most is not None else f"{self.metric} ≥ {self.at_least:g}"


def amount(rule: Rule) -> float:
    """Return a rule's number."""
    return rule.seconds if isinstance(rule, Seconds) else rule.count


def _length(rule: Updates | Seconds) -> tuple[float, float]:
    """Return a rule as (updates, seconds), zero where it asks for nothing."""
    return (rule.count, 0.0) if isinstance(rule, Updates) else (0, rule.seconds)


class Watch:
    """Follows a metric evaluation by evaluation and says when its target has been kept for as long as it asks.

    Args:
        target: what is waited for.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self._since: tuple[float, float] | None = None

    def kept(self, seconds: float, updates: float, value: float) -> bool:
        """Take in an evaluation, the same one twice if need be, and say whether the stretch that it ends is long enough."""
        if not self.target.reached(value):
            self._since = None
            return False
        self._since = first_seconds, first_updates = self._since or (seconds, updates)
        return self.target.lasted(seconds - first_seconds, updates - first_updates)


def settled(until: Rule | Target) -> Rule | Target:
    """Return the rule with nothing left open: a target says how long it is to be kept, by default a tenth of its bound.

    Raises:
        TypeError: if `until` is no rule and no `Target`.
        ValueError: if it is a target without `within`, or without `kept` where `within` does not say how long that is.
    """
    within = bound(until)
    if not isinstance(until, Target) or until.kept is not None:
        return until
    if not isinstance(within, Updates | Seconds):
        raise ValueError(f"until={until!r} must say how long it is to be kept: kept=Seconds(5), kept=Updates(100), or kept=0")
    tenth = Updates(math.ceil(within.count / 10)) if isinstance(within, Updates) else Seconds(within.seconds / 10)
    return dataclasses.replace(until, kept=tenth)


def in_words(rule: Rule) -> str:
    """Return a rule's length in words, for example "0.1 s" or "100 updates"."""
    return f"{rule.seconds:.4g} s" if isinstance(rule, Seconds) else f"{rule.count:,} {type(rule).__name__.lower()}"


def bound(until: object) -> Rule:
    """Return the rule that is certain to end a run: `until` itself, or a target's `within`.

    Raises:
        TypeError: if `until` is no rule and no `Target`.
        ValueError: if it is a target without `within`.
    """
    checks.instance("until", until, (*RULES, Target), "Updates(10_000), Seconds(60) or Target(...)")
    if not isinstance(until, Target):
        return until  # type: ignore[return-value]
    if until.within is None:
        raise ValueError(f"until={until!r} may never be reached: give it a bound, for example within=Seconds(60)")
    return until.within


def limits(rule: Rule, batch_size: int) -> Extent:
    """Return how far a rule lets something go, where a local step takes so many samples."""
    if isinstance(rule, Samples):
        return Extent(steps=-(-rule.count // batch_size))
    return Extent(**{type(rule).__name__.lower(): amount(rule)})
