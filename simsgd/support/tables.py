"""Tables of measurements in files: rows of named columns, read from CSV; what is wrong is said by its row and column.

Errors here are ValueErrors that begin with the row. Whoever reads a file puts its name in front, with `of_file`. They quote
what the file holds, unless a stranger chose the file: then, `withholding` it, they quote numbers only.
"""

from __future__ import annotations

import contextlib
import contextvars
import csv
import io
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from simsgd.support import checks, files
from simsgd.support.files import FileFormatError


class Row(NamedTuple):
    """One row of a table.

    Attributes:
        number: by which an error names it; of a CSV file as an editor counts lines, with the names of the columns in row 1.
        values: what stands in each column that is wanted.
    """

    number: int
    values: Mapping[str, Any]

    def seconds(self, column: str) -> float:
        """Return the seconds in a column: finite and not negative."""
        return self._number(column, checks.finite_seconds, "a finite number of at least 0")

    def not_negative(self, column: str) -> float:
        """Return the finite number of at least 0 in a column."""
        return self._number(column, lambda value: 0 <= value < math.inf, "a finite number of at least 0")

    def positive(self, column: str) -> float:
        """Return the finite number above 0 in a column."""
        return self._number(column, lambda value: 0 < value < math.inf, "a finite number above 0")

    def whole(self, column: str) -> int:
        """Return the whole number of at least 0 in a column; a column of floats may hold it, as 3.0."""
        return int(self._number(column, lambda value: value >= 0 and value.is_integer(), "a whole number of at least 0"))

    def _number(self, column: str, fits: Callable[[float], bool], wanted: str) -> float:
        value = self.values[column]
        number = _as_number(value)
        if not fits(number):
            raise ValueError(f"row {self.number}: {column} must be {wanted}, got {shown(value)}")
        return number


def rows_of_csv(path: str | os.PathLike[str], columns: Sequence[str]) -> Iterator[Row]:
    r"""Yield the rows of a CSV file that has, among others, these columns, in any order; empty lines are left out.

    Raises:
        OSError: if the file cannot be read.
        FileFormatError: if it is not a regular file, or has more than `sg.bounds.file_bytes` bytes.
        ValueError: if a column is missing or there twice, a row has too few or too many values, or the file is not text.

    Example:
        >>> import pathlib, tempfile
        >>> from simsgd.support import tables
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "links.csv"
        ...     _ = path.write_text("seconds, host, bytes\n1e-5, a, 1000\n")
        ...     [row.seconds("seconds") for row in tables.rows_of_csv(path, ("bytes", "seconds"))]
        [1e-05]
    """
    raw = files.read(path)
    with io.TextIOWrapper(io.BytesIO(raw), newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        try:
            header = [name.strip() for name in next(reader, [])]
            wanted = places(header, columns)
            for values in reader:
                if not any(value.strip() for value in values):
                    continue
                if len(values) != len(header):
                    raise ValueError(f"row {reader.line_num}: there must be {len(header)} values, got {shown(values)}")
                yield Row(reader.line_num, {column: values[place].strip() for column, place in wanted.items()})
        except csv.Error as error:
            raise ValueError(f"row {reader.line_num}: {error}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"after row {reader.line_num}: not text in UTF-8 ({error.reason})") from error


def places(found: Sequence[str], columns: Sequence[str]) -> dict[str, int]:
    """Return where each of the wanted `columns` is among those `found`; ValueError unless each is there once."""
    for column in columns:
        if found.count(column) != 1:
            problem = "is missing" if column not in found else "is there more than once"
            got = ", ".join(found) if _quoting.get() else f"{len(found)} columns"
            raise ValueError(f"column {column!r} {problem}: there must be {', '.join(columns)}, got {got:.200}")
    return {column: found.index(column) for column in columns}


_quoting = contextvars.ContextVar("_quoting", default=True)


@contextlib.contextmanager
def withholding() -> Iterator[None]:
    """Let errors of the block quote nothing that a file holds but numbers."""
    before = _quoting.set(False)
    try:
        yield
    finally:
        _quoting.reset(before)


def shown(value: object) -> str:
    """Return what an error says of a value that a file holds."""
    is_number = value is None or isinstance(value, int | float) or math.isfinite(_as_number(value))
    return f"{value!r:.60}" if _quoting.get() or is_number else f"{type(value).__name__}, which is no number"


def text_shown(text: str) -> str:
    """Return a text of a file, as an error says it."""
    return text if _quoting.get() else "something else"


@contextlib.contextmanager
def of_file(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn a ValueError of the block, about what a file holds, into a `FileFormatError` that begins with the file's name."""
    try:
        yield
    except FileFormatError:
        raise
    except ValueError as error:
        raise FileFormatError(f"{path}: {error}") from error


def _as_number(value: object) -> float:
    """Return a number, or the number that a text spells; NaN for anything else."""
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):  # Python alone reads 1_000 as a number
        return math.nan
    return checks.as_float(value)
