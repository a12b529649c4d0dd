"""Where replay keeps old versions: slots handed out by liveness, as a compiler hands out registers.

Laws of this module:

1. A version has a slot from the step that makes it to the last row that reads it; then the slot is free again. So as
   many slots are needed as versions are alive at once, at most jobs in flight + 1, whatever the staleness or the length.
2. Slot 0 is nobody's: it swallows versions that nothing will read.
3. Placing rows in pieces of any size gives each row the same values, though maybe other slots.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

SPARE = 0
"""The slot that swallows what nobody will read."""


class Slots:
    """The slots of one replay; version 0 begins in slot 1.

    Example:
        >>> import numpy as np
        >>> from simsgd.replaying.versions import Slots
        >>> slots = Slots()
        >>> [(_, _, read, write)] = slots.place(np.array([0, 0, 1]), np.array([True, True, True]), live=set())
        >>> read.tolist(), write.tolist(), slots.size
        ([1, 1, 2], [2, 0, 2], 3)
    """

    def __init__(self) -> None:
        self.size = 2
        """How many slots have ever been needed, the spare one included."""
        self._version = 0
        self._slot_of = {0: 1}
        self._free: list[int] = []

    def place(
        self, read: np.ndarray, step: np.ndarray, live: set[int], piece: int | None = None
    ) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
        """Yield (start, stop, reads, writes) for one piece of the rows after the other.

        `reads` and `writes`, (stop − start,) int32, say which slot each row reads from and which slot the version it makes
        goes to. Pieces are placed when they are asked for, so that this work goes on beside the playing of earlier ones.

        Args:
            read: the version each row reads, shape (rows,).
            step: whether a row makes a version, shape (rows,); the last one does.
            live: the versions that later rows may still read, besides the last one made.
            piece: about how many rows a piece should have; pieces end with a step. All in one by default.
        """
        made = self._version + np.cumsum(step)  # the version that a row makes, if it steps
        kept = np.array([*live, made[-1]])
        dying, wanted = _last_readers(read, kept), step & (np.isin(made, read) | np.isin(made, kept))
        for version in np.setdiff1d(list(self._slot_of), np.concatenate([read, kept])).tolist():
            self._free.append(self._slot_of.pop(version))
        self._version = int(made[-1])
        for start, stop in itertools.pairwise(_cuts(step, piece)):
            columns = (column[start:stop].tolist() for column in (read, dying, wanted, made))
            yield start, stop, *self._place_piece(zip(*columns, strict=True), stop - start)

    def _place_piece(self, rows: Iterable[tuple[int, bool, bool, int]], count: int) -> tuple[np.ndarray, np.ndarray]:
        """Hand out slots row by row: (version read, whether that dies, whether a version is made and wanted, which)."""
        slot_of, free = self._slot_of, self._free
        reads, writes = [SPARE] * count, [SPARE] * count
        for row, (version, dies, makes, made) in enumerate(rows):
            if dies:
                reads[row] = slot = slot_of.pop(version)
                free.append(slot)
            else:
                reads[row] = slot_of[version]
            if makes:
                writes[row] = slot_of[made] = self._take()
        return np.array(reads, np.int32), np.array(writes, np.int32)

    def _take(self) -> int:
        if self._free:
            return self._free.pop()
        self.size += 1
        return self.size - 1


def _last_readers(read: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Say which rows are the last to read their version, of those versions that are not kept."""
    rows, oldest = np.arange(len(read)), read.min()
    last_reader = np.zeros(read.max() - oldest + 1, np.int64)
    np.maximum.at(last_reader, read - oldest, rows)
    last: np.ndarray = (last_reader[read - oldest] == rows) & ~np.isin(read, kept)
    return last


def _cuts(step: np.ndarray, piece: int | None) -> list[int]:
    """Return where to cut rows so that each part ends with a step and has about `piece` rows."""
    ends = np.flatnonzero(step) + 1
    wanted = np.arange(piece, len(step), piece) if piece else np.empty(0, int)
    return sorted({0, *ends[np.searchsorted(ends, wanted)].tolist(), len(step)})
