"""When a method's jobs end, by their workers' own draws: the recorder's clock, written a second time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from simsgd.costs import Costs
from simsgd.support import rng
from simsgd.tape import Tape
from simsgd.tape.schema import REASONS
from simsgd.times import Law
from simsgd.times.answers import sampler_of
from simsgd.times.stretching import Stretched


class Expected(NamedTuple):
    """A job, and what its worker's draws say of it.

    Attributes:
        worker, job: which.
        steps: local steps.
        ended: when it ended, simulated seconds.
        found: (steps, ended) as the tape has them; not a number for one that did not end.
    """

    worker: int
    job: int
    steps: int
    ended: float
    found: tuple[int, float]


def expected(tape: Tape, law: Law, costs: Costs, seed: int) -> Iterator[Expected]:
    """Yield what the workers' draws say of all jobs, worker by worker; nothing for laws that follow the clock."""
    names = ("worker", "job", "steps", "kind", "seconds", "assigned", "began", "ended", "arrived")
    columns = {name: tape.of_all_jobs(name) for name in names}
    unused = tape.discarded.reason == REASONS.index("unused")
    delivered = np.concatenate([np.ones(len(tape), bool), unused, np.zeros(len(tape.in_flight), bool)])
    for worker in range(tape.workers):
        mine = np.flatnonzero(columns["worker"] == worker)
        mine = mine[np.argsort(columns["job"][mine])]
        draws, compressing = _draws(law, seed, worker, "compute time"), _draws(costs.compressing, seed, worker, "compressing")
        if draws is None or compressing is None:
            return
        down = tape.down.start[tape.down.worker == worker]
        before, over = math.nan, math.nan
        for row in mine:
            job, steps, kind, seconds, assigned, began, ended, arrived = (columns[name][row].item() for name in names[1:])
            if ((over <= down) & (down <= assigned)).any():
                before = math.nan
            if seconds:
                steps, took = _within(draws, seconds)
                end = began + took
            else:
                ahead = costs.charge(worker, job, kind).overlap
                first, others = (math.fsum(next(draws) for _ in range(count)) for count in (ahead, steps - ahead))
                end = began + first + others if math.isnan(before) else max(before + first, began) + others
            yield Expected(worker, job, steps, end + next(compressing), (int(columns["steps"][row]), ended))
            before, over = (ended, arrived) if delivered[row] else (math.nan, math.nan)


def _draws(law: Law | None, seed: int, worker: int, purpose: str) -> Iterator[float] | None:
    """Return a worker's times, one after the other, each 0 without a law; None for a law that follows the clock."""
    draw = (lambda now: 0.0) if law is None else sampler_of(law, rng.stream(seed, purpose, worker), worker)
    return None if isinstance(draw, Stretched) else iter(lambda: draw(0.0), None)


def _within(draws: Iterator[float], seconds: float) -> tuple[int, float]:
    """Return how many local steps end within so many seconds, at least one, and how long the job takes; one more is drawn."""
    steps, done = 1, next(draws)
    while done < seconds:
        following = done + next(draws)
        if following > seconds:
            break
        steps, done = steps + 1, following
    return steps, max(done, seconds)
