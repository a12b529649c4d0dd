"""The logs that a recording writes: growing tables of packed bytes.

Laws of this module: what a row takes on disk is all it takes in memory; columns come out as copies.
"""

from __future__ import annotations

import struct

import numpy as np

from simsgd.protocols.base import Gradient


class Log:
    """A growing table of typed columns, packed as bytes: what a row takes on disk is all it takes in memory."""

    def __init__(self, schema: dict[str, type]) -> None:
        self._type = np.dtype(list(schema.items()))
        self._format = "<" + "".join(self._type[name].char for name in schema)
        self._pack = struct.Struct(self._format).pack
        self._bytes = bytearray()

    def __len__(self) -> int:
        return len(self._bytes) // self._type.itemsize

    def append(self, *values: float) -> None:
        """Add a row, its values in the order of the schema."""
        self._bytes += self._pack(*values)

    def overwrite(self, row: int, *values: float) -> None:
        """Overwrite the first values of a row."""
        struct.pack_into(self._format[: 1 + len(values)], self._bytes, row * self._type.itemsize, *values)

    def multiply(self, name: str, start: int, factor: float) -> None:
        """Multiply one column, from row `start` on."""
        np.frombuffer(self._bytes, self._type)[name][start:] *= factor

    def column(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return a copy of rows [start, stop) of one column."""
        return np.frombuffer(self._bytes, self._type)[name][start:stop].copy()

    def columns(self) -> dict[str, np.ndarray]:
        """Return a copy of everything, column by column."""
        return {name: self.column(name) for name in self._type.names or ()}


def job_values(job: Gradient) -> tuple[float, ...]:
    """Return a job's values in the order of JOB_COLUMNS."""
    return job.worker, job.job, job.read, job.assigned, job.departed, job.began, job.ended, job.sent, job.arrived
