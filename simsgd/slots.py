"""Where replay keeps old versions: slots handed out by liveness, as a compiler hands out registers.

Laws of this module:

1. A version has a slot from the step that makes it to the last row that reads it; then the slot is free again. So as
   many slots are needed as versions are alive at once, at most jobs in flight + 1, whatever the staleness or the length.
2. Slot 0 is nobody's: it swallows versions that nothing will read.
3. Placing rows in pieces of any size gives each row the same values, though maybe other slots.
"""

from __future__ import annotations

import numpy as np

SPARE = 0
"""The slot that swallows what nobody will read."""


class Slots:
    """The slots of one replay; version 0 begins in slot 1.

    Example:
        >>> import numpy as np
        >>> from simsgd.slots import Slots
        >>> slots = Slots()
        >>> read, write = slots.place(np.array([0, 0, 1]), np.array([True, True, True]), live=set())
        >>> read.tolist(), write.tolist(), slots.size
        ([1, 1, 2], [2, 0, 2], 3)
    """

    def __init__(self) -> None:
        self.size = 2
        """How many slots have ever been needed, the spare one included."""
        self._version = 0
        self._slot_of = {0: 1}
        self._free: list[int] = []

    def place(self, read: np.ndarray, step: np.ndarray, live: set[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the slot each row reads from and the slot the version it makes goes to, both (rows,) int32.

        Args:
            read: the version each row reads, shape (rows,).
            step: whether a row makes a version, shape (rows,).
            live: the versions that later rows may still read, besides the last one made.
        """
        versions = read.tolist()
        last_reader = dict(zip(versions, range(len(versions)), strict=True))  # later rows overwrite earlier ones
        kept = live | {self._version + int(np.count_nonzero(step))}
        for version in [v for v in self._slot_of if v not in last_reader and v not in kept]:
            self._free.append(self._slot_of.pop(version))
        reads = np.empty(len(versions), np.int32)
        writes = np.full(len(versions), SPARE, np.int32)
        for row, (version, steps) in enumerate(zip(versions, step.tolist(), strict=True)):
            reads[row] = self._slot_of[version]
            if last_reader[version] == row and version not in kept:
                self._free.append(self._slot_of.pop(version))
            if steps:
                self._version += 1
                if self._version in last_reader or self._version in kept:
                    writes[row] = self._slot_of[self._version] = self._take()
        return reads, writes

    def _take(self) -> int:
        if self._free:
            return self._free.pop()
        self.size += 1
        return self.size - 1
