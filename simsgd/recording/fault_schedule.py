"""The fault schedule: when each worker crashes, returns, leaves and joins, in the order of time.

No SimPy here: schedules follow the clock alone. They are generators, drawn only as far as they are asked for, and workers
without faults cost nothing.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from simsgd.faults import KINDS, Crash, Crashes, Fault, Join, Leave, LinkOutages
from simsgd.support import checks
from simsgd.support.bounds import bounds
from simsgd.support.walks import check_parts
from simsgd.times.stretching import follows_clock

MOST_JOINED = 10_000
"""So many spells that overlap or touch are taken to have no end."""
CLOCKED = 10
"""For so many of `simsgd.bounds.parts` counts a spell whose laws follow the clock themselves, as it takes so long to draw."""
Named = Sequence[tuple[str, Fault]]
"""Faults of one worker, each with the name of its random streams, which counts faults of its own kind only."""


def by_worker(faults: Iterable[Fault], workers: int) -> list[Named]:
    """Return the faults that concern each of so many workers, by name.

    Example:
        >>> from simsgd.faults import Crash, LostMessages
        >>> faults = [Crash(0, at=1.0), LostMessages(0.1, timeout=1.0), Crash(1, at=2.0)]
        >>> [[name for name, _ in those] for those in by_worker(faults, workers=2)]
        [['Crash 0', 'LostMessages 0'], ['LostMessages 0', 'Crash 1']]
    """
    found: list[list[tuple[str, Fault]]] = [[] for _ in range(workers)]
    seen: Counter[str] = Counter()
    for fault in faults:
        kind = type(fault).__name__
        several = getattr(fault, "workers", None)
        for worker in [fault.worker] if hasattr(fault, "worker") else range(workers) if several is None else several:
            found[worker].append((f"{kind} {seen[kind]}", fault))
        seen[kind] += 1
    return list(found)


def spells(named: Named, kinds: type | tuple[type, ...], seed: int, worker: int) -> Iterator[tuple[float, float]]:
    """Yield (start, end), simulated seconds, of all spells of some kinds of faults on one worker; overlapping ones joined.

    Example:
        >>> from simsgd.faults import Crash
        >>> named = [("a", Crash(0, at=3, back=5)), ("b", Crash(0, at=1, back=4)), ("c", Crash(0, at=7, back=8))]
        >>> list(spells(named, Crash, seed=0, worker=0))
        [(1.0, 5.0), (7.0, 8.0)]
    """
    several = heapq.merge(
        *(_checked(fault, worker, fault.spells(seed, name, worker)) for name, fault in named if isinstance(fault, kinds))
    )
    last_start, last_end, joined = math.nan, -math.inf, 0
    for start, end in several:
        joined = 0 if start > last_end else joined + 1
        if joined >= MOST_JOINED:
            raise ValueError(
                f"Cluster.faults leave worker {worker} no time between {joined} spells in a row, from {last_start:g} to "
                f"{end:g} s: make them rarer or shorter, or let it leave for good (faults.Leave)"
            )
        if start > last_end:
            if last_end > -math.inf:
                yield last_start, last_end
            last_start, last_end = start, end
        else:
            last_end = max(last_end, end)
        if last_end == math.inf:
            break
    if last_end > -math.inf:
        yield last_start, last_end


def _checked(fault: Fault, worker: int, given: Iterable[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Yield a fault's spells, or raise ValueError for what is none: the fault may be of a class of somebody's own."""
    if type(fault) in KINDS:
        yield from given
        return
    before = 0.0
    for spell in given if isinstance(given, Iterable) else [given]:
        pair = tuple(map(checks.as_seconds, spell)) if isinstance(spell, tuple | list) and len(spell) == 2 else (math.nan,) * 2
        start, end = pair
        if not before <= start < math.inf or not start <= end:
            raise ValueError(
                f"{fault!r}.spells yielded {checks.shown(spell)} for worker {worker}, after {before:g} s: it must yield "
                "(start, end), seconds, one after the other, each with a finite start that is not after its end"
            )
        before = start
        yield start, end


def parts_of_a_spell(faults: Iterable[Fault]) -> int:
    """Return for how many of `simsgd.bounds.parts` each spell of some faults counts."""
    recurring = [fault for fault in faults if isinstance(fault, Crashes | LinkOutages)]
    return CLOCKED if any(follows_clock(law) for fault in recurring for law in (fault.between, fault.lasting)) else 1


class Change(NamedTuple):
    """A change of what a worker is: it says what the worker is from then on.

    Attributes:
        moment: simulated seconds.
        worker: whose.
        kind: it joins, crashes, returns or leaves for good.
        down: whether it is down from then on.
        back: whether, if it is down, it will be back or leave for good some day.
    """

    moment: float
    worker: int
    kind: Literal["join", "crash", "return", "leave"]
    down: bool
    back: bool = False


def joins(named: Named) -> float | None:
    """Return when (seconds) the worker of these faults joins; None if it is there from the start."""
    return next((fault.at for _, fault in named if isinstance(fault, Join)), None)


def changes(named: Named, seed: int, worker: int) -> Iterator[Change]:
    """Yield the changes of one worker, in order.

    Example:
        >>> from simsgd.faults import Crash, Leave
        >>> named = [("a", Leave(0, at=9)), ("b", Crash(0, at=1, back=4))]
        >>> [(change.moment, change.kind) for change in changes(named, seed=0, worker=0)]
        [(1.0, 'crash'), (4.0, 'return'), (9.0, 'leave')]
    """
    joined = joins(named)
    yet_to_join, begins = joined is not None, -math.inf if joined is None else joined
    leaves = next((fault.at for _, fault in named if isinstance(fault, Leave)), math.inf)
    passed, parts = 0, parts_of_a_spell(fault for _, fault in named)
    for start, end in spells(named, (Crash, Crashes), seed, worker):
        if end <= begins:
            passed += parts
            if passed > bounds.parts:
                check_parts(passed, end / begins, f"Cluster.faults: the way to worker {worker}, which joins at {begins:g} s,")
            continue
        back = min(end, leaves) < math.inf
        if yet_to_join:
            yet_to_join = False
            yield Change(begins, worker, "join", start <= begins, back)
        if start >= leaves:
            break
        if start > begins:
            yield Change(start, worker, "crash", True, back)
        if end >= leaves:
            break
        yield Change(end, worker, "return", False)
    if yet_to_join:
        yield Change(begins, worker, "join", False)
    if leaves < math.inf:
        yield Change(leaves, worker, "leave", True)


def moments(schedules: Iterable[Iterator[Change]]) -> Iterator[list[Change]]:
    """Yield all changes of one moment after the other, those of a moment by worker."""
    at_once: list[Change] = []
    for change in heapq.merge(*schedules):
        if at_once and change.moment > at_once[0].moment:
            yield at_once
            at_once = []
        at_once.append(change)
    if at_once:
        yield at_once
