"""The logs that a recording writes: growing tables of packed bytes. What a row takes on disk is all it takes in memory."""

from __future__ import annotations

import array
import struct
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from simsgd.tape.schema import DISCARDED_COLUMNS, DOWN_COLUMNS, JOB_COLUMNS, ROW_COLUMNS, TIES_COLUMNS, Gradient, Schema


class Log:
    """A growing table of typed columns, packed as bytes; columns come out as copies."""

    def __init__(self, schema: Schema) -> None:
        self._type = np.dtype(list(schema.items()))
        self._format = "<" + "".join(self._type[name].char for name in schema)
        self._pack = struct.Struct(self._format).pack
        self._bytes = bytearray()
        self.count = 0
        """How many rows there are."""

    def append(self, values: Iterable[float]) -> None:
        """Add a row, its values in the order of the schema."""
        self._bytes += self._pack(*values)
        self.count += 1

    def overwrite(self, row: int, *values: float) -> None:
        """Overwrite the first values of a row."""
        struct.pack_into(self._format[: 1 + len(values)], self._bytes, row * self._type.itemsize, *values)

    def multiply(self, name: str, start: int, factor: float | np.ndarray) -> None:
        """Multiply one column, from row `start` on, by a number or by one for each row."""
        np.frombuffer(self._bytes, self._type)[name][start:] *= factor

    def column(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return a copy of rows [start, stop) of one column."""
        return np.frombuffer(self._bytes, self._type)[name][start:stop].copy()

    def first(self, name: str, value: float) -> int:
        """Return the first row with at least this value in a column that never decreases."""
        return int(np.searchsorted(np.frombuffer(self._bytes, self._type)[name], value))

    def columns(self) -> dict[str, np.ndarray]:
        """Return a copy of everything, column by column."""
        return {name: self.column(name) for name in self._type.names or ()}


class Tally:
    """How many rows there are of each worker since the last step; counted when somebody asks, each row once."""

    def __init__(self) -> None:
        self._since = self._counted = 0
        self._counts: Counter[int] = Counter()

    def count(self, worker: int, rows: Log, since: int) -> int:
        """Return how many rows from `since` on are a worker's."""
        if since != self._since:
            self._since = self._counted = since
            self._counts.clear()
        self._counts.update(rows.column("worker", self._counted).tolist())
        self._counted = rows.count
        return self._counts[worker]


class Logs:
    """All that one recording writes down.

    Attributes:
        rows: the gradients used; the last ones may wait for their step.
        stepped_rows: how many of them belong to steps that were made.
        updates: the moments of the steps (an array of floats, seconds).
        discarded: work thrown away, with the moments that it would have had if it had gone on.
        down: when workers were down.
        ties: the order of what happened in the moment of an update, where the other logs cannot tell.
    """

    def __init__(self) -> None:
        self.rows, self.discarded, self.down = Log(ROW_COLUMNS), Log(DISCARDED_COLUMNS), Log(DOWN_COLUMNS)
        self.ties = Log(TIES_COLUMNS)
        self.updates = array.array("d")
        self.stepped_rows = 0


def table(jobs: Iterator[Gradient]) -> dict[str, np.ndarray]:
    """Return jobs as the columns of `JOB_COLUMNS`."""
    log = Log(JOB_COLUMNS)
    for job in jobs:
        log.append(job)
    return log.columns()
