"""A finished tape, read from its beginning as if it were being recorded."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping

import numpy as np

from simsgd.support import checks
from simsgd.tape.rules import DISCARDED_COLUMNS, JOB_COLUMNS, REASONS, ROW_COLUMNS
from simsgd.tape.tape import Discarded, Down, Jobs, Rows, Tape


class Reading:
    """A finished tape, read from its beginning as if it were being recorded.

    Args:
        tape: the tape.

    Raises:
        simsgd.TapeError: if the tape breaks one of its laws.
    """

    def __init__(self, tape: Tape) -> None:
        checks.instance("tape", tape, Tape, "record(AsyncSGD(), cluster, until=Updates(1000))")
        self._tape = tape.check()
        self._ends_of_steps = np.flatnonzero(tape.step) + 1
        self._last_reader = np.full(tape.updates + 1, -1)
        self._last_reader[tape.read] = np.arange(len(tape))  # the last of several assignments stays
        self._last_reader[tape.in_flight.read] = len(tape)
        self._alive = np.zeros(1, np.int64)
        self._by_time = True
        self.version = 0
        self.now = 0.0

    def advance(self, updates: float = math.inf, seconds: float = math.inf) -> None:
        """Read on until there are so many updates, or so many seconds have passed, whichever comes first."""
        steps = int(np.searchsorted(self._tape.update_times, seconds, side="right"))
        before, self.version = self.version, max(self.version, min(steps, int(min(updates, self._tape.updates))))
        self._by_time = self.version < updates
        self.now = seconds if self._by_time else float(self._tape.update_times[self.version - 1]) if self.version else 0.0
        alive = np.concatenate([self._alive, np.arange(before + 1, self.version + 1)])
        self._alive = alive[self._last_reader[alive] >= self._rows_read]

    @property
    def _rows_read(self) -> int:
        return int(self._ends_of_steps[self.version - 1]) if self.version else 0

    def rows(self, start: int = 0) -> Rows:
        """Return the rows from `start` on, up to the last that ends a step."""
        return Rows(*(column[start : self._rows_read] for column in self._tape.rows))

    def live(self) -> set[int]:
        """Return the versions that later rows, or the jobs in flight at the tape's end, read."""
        return set(self._alive.tolist())

    def tape(self) -> Tape:
        """Return the tape up to here: the whole one if it was read to its end, else as if recording had stopped here.

        Where it stopped at an update, what else happened at that very moment counts as not yet happened.
        """
        whole = self._tape
        if self.now >= whole.end and self.version == whole.updates:
            return whole
        rows = self._rows_read if not self._by_time else int(np.searchsorted(whole.time, self.now, side="right"))
        lost = int(np.searchsorted(whole.discarded.time, self.now, side="right"))
        if not self._by_time:  # gradients that arrived just after the update are still to be thrown away
            lost -= int(np.count_nonzero(_lost_after(whole.discarded, self.now, self.version)))
        later = (whole.columns(slice(rows, None)), whole.discarded.columns(slice(lost, None)), whole.in_flight.columns())
        columns = {name: getattr(whole, name)[:rows] for name in ROW_COLUMNS}
        unstepped = np.arange(rows) >= self._rows_read  # their step may yet scale their weights
        return dataclasses.replace(
            whole,
            **columns | {"weight": np.where(unstepped, np.nan, columns["weight"]), "step": columns["step"] & ~unstepped},
            update_times=whole.update_times[: self.version],
            end=self.now,
            down=_down_until(whole.down, self.now),
            discarded=Discarded(**{name: getattr(whole.discarded, name)[:lost] for name in DISCARDED_COLUMNS}),
            in_flight=_under_way(later, self.now, self.version, self._by_time),
        )


def _lost_after(discarded: Discarded, now: float, version: int) -> np.ndarray:
    """Say which jobs were thrown away at `now`, but after the version was made (and not cancelled when it was)."""
    cancelled = discarded.reason == REASONS.index("cancelled")
    return (discarded.time == now) & ((discarded.version > version) | (discarded.version == version) & ~cancelled)


def _under_way(later: Iterable[Mapping[str, np.ndarray]], now: float, version: int, by_time: bool) -> Jobs:
    """Return, of jobs that ended later, those that were in flight at `now`, with what had not happened yet unknown."""
    jobs = {name: np.concatenate([log[name] for log in later]) for name in JOB_COLUMNS}
    order = np.lexsort((jobs["job"], jobs["worker"]))
    order = order[((jobs["assigned"] <= now) & (jobs["read"] <= version))[order]]
    first = np.diff(jobs["worker"][order], prepend=-1) != 0  # a worker's next job begins only when this one is over
    known = {name: column[order[first]] for name, column in jobs.items()}
    for name in ("began", "ended", "arrived"):
        happened = (known[name] <= now) if by_time else (known[name] < now)
        known[name] = np.where(happened, known[name], np.nan)
    for moment, later_one in (("departed", "began"), ("sent", "arrived")):  # known only when the message is through
        known[moment] = np.where(np.isnan(known[later_one]), np.nan, known[moment])
    return Jobs(**known)


def _down_until(down: Down, now: float) -> Down:
    """Return the log of workers that were down as it was at `now`."""
    begun = down.start <= now
    return Down(np.where(down.end[begun] <= now, down.end[begun], np.nan), down.worker[begun], down.start[begun])
