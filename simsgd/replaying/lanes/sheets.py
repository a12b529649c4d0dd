"""A finished tape as lanes read it: all its blocks in one table, and the moments at which a run evaluates its model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simsgd import measures
from simsgd.replaying import blocks, demands
from simsgd.replaying.blocks import Table, as_blocks, lay_out
from simsgd.replaying.drawing import room_for
from simsgd.replaying.parts import Recipe
from simsgd.replaying.reading import Reading
from simsgd.replaying.schedule import Schedule
from simsgd.replaying.versions import Slots
from simsgd.tape import Tape
from simsgd.tape.messages import used_only
from simsgd.tape.schema import Messages, Rows

LARGEST_WIDTH = 128
"""As in the player: steps of more gradients than this are played in several blocks."""
FEWEST_KEPT, MOST_KEPT = 4, 16
"""Slots for models to be evaluated: runs that evaluate more often than every sixteenth block have more, a power of two."""
NEAR = 64
"""Blocks in which all models to be evaluated find a slot."""


@dataclass(frozen=True, eq=False)
class Sheet:
    """A tape's steps as one table.

    Attributes:
        tape: which.
        table: its blocks, columns of NumPy.
        ends: the block that makes each version, version 1 first.
        width: gradients of a step that are computed side by side.
        long: whether some step has several blocks.
        room: for how many local steps of each job batches are drawn before it is played.
        one_version: whether the gradients of each block read one version.
        slots: for versions that will be read.
    """

    tape: Tape
    table: Table
    ends: np.ndarray
    width: int
    long: bool
    room: int
    one_version: bool
    slots: int

    @staticmethod
    def of(tape: Tape, recipe: Recipe, dtype: str, width: int | None, replacement: bool) -> Sheet:
        """Return a tape's table for methods of one recipe.

        Raises:
            ValueError: if workers go through their shares in epochs and jobs differ in their number of local steps.
        """
        rows = _rows(tape, recipe)
        most = LARGEST_WIDTH if recipe.is_plain else min(LARGEST_WIDTH, tape.workers)
        if width is None:
            width = min(most, int(np.argmax(rows.step)) + 1) if len(rows.step) else 1
        fresh, room = None, 1
        if isinstance(rows, Messages):
            room = room_for(recipe.work, rows.steps)
            fresh = blocks.fresh(rows, np.zeros(tape.workers, np.int32))
            if not replacement:
                demands.check_epochs(recipe.work, rows.steps)
        slots = Slots()
        placed = [(reads, writes) for *_, reads, writes in slots.place(rows.read, rows.step, set())] if len(rows.step) else []
        reads, writes = placed[0] if placed else (np.empty(0, np.int32),) * 2
        layout = lay_out(rows.step, width)
        table = as_blocks(rows, layout, 0, reads, writes, width, dtype, fresh)
        long = bool(layout.long.any()) or recipe.remembers or (width > 1 and not recipe.is_plain)
        enough = max(4, tape.workers + 2) if slots.size > 4 else 4
        many = -(-slots.size // enough) * enough  # those of one method mostly need as many, and share an executable
        return Sheet(tape, table, layout.last_block, width, long, room, bool(table.shared.all()), many)


def _rows(tape: Tape, recipe: Recipe) -> Rows | Messages:
    """Return what of a tape is played: its steps, whole."""
    reading = Reading(tape)
    reading.advance(tape.updates, tape.end)
    if recipe.is_plain:
        return reading.rows()
    messages = reading.messages(0, 0)
    return messages if recipe.remembers else used_only(messages)


class Moment(NamedTuple):
    """When a run evaluates its model.

    Attributes:
        time: simulated seconds.
        updates: how many there had been.
        by_time: whether it is a second, not an update, that it waits for.
    """

    time: float
    updates: int
    by_time: bool


@dataclass(frozen=True, eq=False)
class Moments:
    """When a run evaluates its model along a tape, and what had been used by then.

    Attributes:
        all: the moments in order, the first at 0 s.
        samples, bytes: used and moved by each.
        whole: whether the run's end is among them; otherwise the tape ends before.
    """

    all: tuple[Moment, ...]
    samples: np.ndarray
    bytes: np.ndarray
    whole: bool

    @staticmethod
    def of(tape: Tape, schedule: Schedule, batch_size: int) -> Moments:
        """Return the moments of a schedule: those of `replay`."""
        reading = Reading(tape)
        reading.advance(0, 0.0)
        found, over, due = [Moment(reading.now, reading.version, False)], False, 0
        while not over:
            due += 1
            next_one = schedule.due(due)
            try:
                reading.advance(*next_one)
            except ValueError:  # the tape ends
                break
            reached = reading.reached
            over = schedule.is_over(reached, next_one)
            if reading.version > found[-1].updates or reading.now > found[-1].time:
                found.append(Moment(reading.now, reading.version, not reached.passes(next_one)))
        time, updates = (np.array([getattr(each, name) for each in found]) for name in ("time", "updates"))
        used = measures.samples_used(tape, updates, batch_size).astype(np.float64)
        return Moments(tuple(found), used, measures.bytes_moved(tape, time), over)

    def models(self, sheet: Sheet) -> Models:
        """Return which models a run evaluates."""
        versions = np.unique([each.updates for each in self.all])
        ends = np.append(-1, sheet.ends)
        return Models(ends[versions].tolist(), versions.tolist())


class Models(NamedTuple):
    """The models that a run evaluates, in their order: the first is version 0.

    Attributes:
        blocks: after which block each is there; −1 for version 0.
        versions: their versions.
    """

    blocks: list[int]
    versions: list[int]

    @property
    def kept(self) -> int:
        """How many slots for them there should be, a power of two."""
        where = np.array(self.blocks)
        together = np.searchsorted(where, where + NEAR) - np.arange(len(where))  # within NEAR blocks from each on
        return min(MOST_KEPT, max(FEWEST_KEPT, 1 << (int(together.max()) - 1).bit_length()))
