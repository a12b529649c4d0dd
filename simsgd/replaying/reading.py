"""A finished tape, read from its beginning as if it were being recorded."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from simsgd import provenance
from simsgd.stopping import Extent
from simsgd.support import checks
from simsgd.tape import Tape, messages, prefix
from simsgd.tape.schema import REASONS, Messages, Rows


class Reading:
    """A finished tape, read from its beginning as if it were being recorded.

    Args:
        tape: the tape.
        refusal: how the error begins that is raised if it is to be read beyond its end.

    Raises:
        simsgd.TapeError: if the tape breaks one of its laws.
    """

    def __init__(self, tape: Tape, refusal: str = "there is no more to read") -> None:
        checks.instance("tape", tape, Tape, "record(AsyncSGD(), cluster, until=Updates(1000))")
        self._tape, self._refusal = _known_by_what_it_says(tape.check()), refusal
        self._ends_of_steps = np.flatnonzero(tape.step) + 1
        self._charged = np.cumsum(tape.steps, dtype=np.int64)[self._ends_of_steps - 1]  # with each update, local steps
        self._last_reader = np.full(tape.updates + 1, -1)
        self._last_reader[tape.read] = np.arange(len(tape))  # the last of several assignments stays
        self._last_reader[tape.in_flight.read] = len(tape)
        unused = tape.discarded.reason == REASONS.index("unused")
        self._last_lost = np.full(tape.updates + 1, -1)  # the version at which the last unused gradient of each was discarded
        self._last_lost[tape.discarded.read[unused]] = tape.discarded.version[unused]
        self._alive = np.zeros(1, np.int64)
        self._by_time = True
        self.version = 0
        self.now = 0.0

    @property
    def reached(self) -> Extent:
        """How far it has been read."""
        steps = int(self._charged[self.version - 1]) if self.version else 0
        return Extent(self.version, self.now, self._rows_read, steps)

    def advance(
        self, updates: float = math.inf, seconds: float = math.inf, gradients: float = math.inf, steps: float = math.inf
    ) -> None:
        """Read on until so many updates, seconds, gradients used, or local steps of these have come, whichever comes first.

        Raises:
            ValueError: if none of them comes before the tape's end.
        """
        for wanted, come in ((gradients, self._ends_of_steps), (steps, self._charged)):
            if wanted < math.inf:
                updates = min(updates, int(np.searchsorted(come, wanted)) + 1 if wanted > 0 else 0)
        if updates > self._tape.updates and seconds > self._tape.end:
            raise ValueError(f"{self._refusal}: the tape ends after {self._tape.updates} updates, at {self._tape.end:g} s")
        until = int(np.searchsorted(self._tape.update_times, seconds, side="right"))
        before, self.version = self.version, max(self.version, min(until, int(min(updates, self._tape.updates))))
        self._by_time = self.version < updates
        self.now = seconds if self._by_time else float(self._tape.update_times[self.version - 1]) if self.version else 0.0
        alive = np.concatenate([self._alive, np.arange(before + 1, self.version + 1)])
        self._alive = alive[(self._last_reader[alive] >= self._rows_read) | (self._last_lost[alive] >= self.version)]

    @property
    def _rows_read(self) -> int:
        return int(self._ends_of_steps[self.version - 1]) if self.version else 0

    def rows(self, start: int = 0) -> Rows:
        """Return the rows from `start` on, up to the last that ends a step."""
        return Rows(*(column[start : self._rows_read] for column in self._tape.rows))

    def origin(self, until: Mapping[str, float]) -> dict[str, Any]:
        """Return the description of the tape until there; see `simsgd.provenance.tapes`."""
        if "identity" not in self._tape.header:
            return {"content": self._tape.content_hash, "until": dict(until)}
        whole = provenance.verified(self._tape.header, self._tape.header["content"])
        if until == {"seconds": self._tape.end} and "until" in whole:  # it may have ended with an update of that moment
            return whole
        return provenance.origin(self._tape.header, until)

    def messages(self, row: int, version: int) -> Messages:
        """Return the messages of the steps after `version`, whose rows are those from `row` on; see `simsgd.tape.messages`."""
        tape, discarded = self._tape, self._tape.discarded
        used = {name: getattr(tape, name)[row : self._rows_read] for name in messages.OF_ROWS}
        span = slice(*np.searchsorted(discarded.version, [version, self.version]))
        thrown_away = {name: getattr(discarded, name)[span] for name in messages.OF_UNUSED}
        return messages.merged(used, thrown_away, tape.down, version)

    def live(self, lost: bool = False) -> set[int]:
        """Return the versions that later rows (with `lost`, messages) or the jobs in flight at the tape's end read."""
        alive = self._alive if lost else self._alive[self._last_reader[self._alive] >= self._rows_read]
        return set(alive.tolist())

    def tape(self) -> Tape:
        """Return the tape up to here: the whole one if it was read to its end, else as if recording had stopped here."""
        whole = self._tape
        if self._by_time and self.now >= whole.end:
            return whole
        return self.tape_at(self.now, self.version, self._by_time)

    def tape_at(self, now: float, version: int, by_time: bool) -> Tape:
        """Return the tape as it was at an earlier moment; see `tape.prefix.until`."""
        return prefix.until(self._tape, now, version, by_time)


def _known_by_what_it_says(tape: Tape) -> Tape:
    """Return a tape whose header says the truth of who it is: the content alone, if it says what is not true of the content.

    One that says nothing is left as it is: it is known by its content anyway.
    """
    if "identity" not in tape.header:
        return tape
    content = tape.content_hash
    header = {**tape.header, "identity": provenance.canonical(provenance.verified(tape.header, content)), "content": content}
    return dataclasses.replace(tape, header=header)
