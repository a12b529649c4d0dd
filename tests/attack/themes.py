"""What attacks have in common: one item of a theme, from its seed to its result."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from .budget import StillGoing
from .expressions import HEADER, Call, text
from .generate import Refusal, refusal
from .judging import Failure, judge
from .limits import lowered
from .shrink import shrink, signature

SHRUNK = 2
"""Of failures of one kind, so many are made simpler in each process."""
_shrunk: collections.Counter[tuple[str, str]] = collections.Counter()


class Result(NamedTuple):
    """What became of one item.

    Attributes:
        seed: its seed.
        outcome: what it gave, or the reason of its failure.
        failed: whether it failed.
        script: a script of a few lines that does it.
        refused: how many calls constructors refused on the way.
    """

    seed: int
    outcome: str
    failed: bool = False
    script: str = ""
    refused: int = 0


@dataclasses.dataclass(frozen=True)
class Case:
    """A call of a verb with random arguments, all expressions."""

    seed: int
    call: Call

    def script(self, oracle: Callable[..., None] | None = None) -> str:
        """Return a script of a few lines that makes the call, and asks the oracle that found fault with what it returned."""
        lines = [f"{name} = {text(value)}" for name, value in self.call.arguments]
        given = ", ".join(f"{name}={name}" for name, _ in self.call.arguments)
        optax = "import optax\n\n" if any("optax." in line for line in lines) else ""
        lines = [HEADER + optax, *lines, f"given = dict({given})", f"result = {self.call.name}(**given)", "print(result)"]
        if oracle is not None:
            home = oracle.__module__.rpartition(".")[2]
            lines += ["import random", f"from tests.attack import {home}"]
            lines += [f'{home}.{oracle.__name__}(result, given, random.Random("{oracle.__name__} {self.seed}"))']
        return "\n".join(lines) + "\n"


class Theme(Protocol):
    """A module of attacks on one verb."""

    case: Callable[[int], tuple[Case, list[Refusal]]]
    play: Callable[[Case], str]


def attack(theme: Theme, seed: int, shrinking: bool = True) -> Result:
    """Attack one item of a theme."""
    with lowered():
        return _attack(theme, seed, shrinking)


def _attack(theme: Theme, seed: int, shrinking: bool) -> Result:
    case, refusals = theme.case(seed)
    for call, error in refusals:
        try:
            judge(error, text(call))
        except Failure as failure:
            return Result(seed, f"refusal: {failure}", True, f"{HEADER}\n{text(call)}\n", len(refusals))
    try:
        return Result(seed, outcome_of(theme, case), False, case.script(), len(refusals))
    except Failure as found:
        failure = found
    _shrunk[signature(str(failure))] += 1
    if shrinking and _shrunk[signature(str(failure))] <= SHRUNK:
        case = dataclasses.replace(case, call=shrink(case.call, lambda call: _reason_of_call(theme, case, call)))
        failure = failure_of(theme, case) or failure
    return Result(seed, str(failure), True, case.script(failure.oracle), len(refusals))


def outcome_of(theme: Theme, case: Case) -> str:
    try:
        return theme.play(case)
    except StillGoing:
        return "cut short: still going at its pace"


def failure_of(theme: Theme, case: Case) -> Failure | None:
    """Return why a case fails, or None if it does not."""
    try:
        outcome_of(theme, case)
    except Failure as failure:
        return failure
    return None


def _reason_of_call(theme: Theme, case: Case, call: Call) -> str | None:
    if any(isinstance(value, Call) and refusal(value) for _, value in call.arguments):
        return None
    try:
        failure = failure_of(theme, dataclasses.replace(case, call=call))
    except Exception:  # the call lacks an argument
        return None
    return str(failure) if failure else None


def main(theme: Any, count: int, seed: int) -> list[Result]:
    """Attack `count` items from a seed on, in this process, and return those that failed."""
    return [result for result in (attack(theme, each, shrinking=False) for each in range(seed, seed + count)) if result.failed]
