"""Tables of measured times in files: read a CSV or Parquet file, and say which row is wrong if one is."""

from __future__ import annotations

import csv
import itertools
import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from simsgd.support.files import FileFormatError

COLUMNS = ("worker", "step", "seconds")


class Row(NamedTuple):
    """One row of a table: its number, by which an error names it, and what stands in it."""

    number: int
    worker: Any
    step: Any
    seconds: Any


def load(path: str | os.PathLike[str]) -> tuple[tuple[float, ...], ...]:
    """Return each worker's seconds in the order of its steps, from a file of which `Recorded.load` tells the form."""
    path = pathlib.Path(path)
    if path.suffix not in (".csv", ".parquet"):
        raise FileFormatError(f"{path}: a table of times must be a file whose name ends in .csv or .parquet")
    if not path.exists():
        raise FileNotFoundError(f"no file {path}")
    workers: dict[int, dict[int, tuple[float, int]]] = {}
    try:
        for row in _rows_of_csv(path) if path.suffix == ".csv" else _rows_of_parquet(path):
            steps = workers.setdefault(_whole(row, "worker"), {})
            step = _whole(row, "step")
            if step in steps:
                raise ValueError(f"row {row.number}: worker {row.worker} has step {step} already, in row {steps[step][1]}")
            steps[step] = _seconds(row), row.number
        if not workers:
            raise ValueError("the table has no rows")
        missing = min(set(range(len(workers) + 1)) - set(workers))
        if missing < len(workers):
            found = ", ".join(map(str, sorted(workers)[:10]))
            raise ValueError(f"worker {missing} is missing: workers must be numbered from 0 without gaps, got {found}")
        return tuple(_in_order(worker, workers[worker]) for worker in range(len(workers)))
    except ValueError as error:
        raise FileFormatError(f"{path}: {error}") from error


def _in_order(worker: int, steps: dict[int, tuple[float, int]]) -> tuple[float, ...]:
    order = sorted(steps)
    for before, after in itertools.pairwise(order):
        if after != before + 1:
            row = steps[after][1]
            raise ValueError(f"row {row}: worker {worker} goes from step {before} to step {after}, {before + 1} is missing")
    return tuple(steps[step][0] for step in order)


def _whole(row: Row, column: str) -> int:
    """Return a worker's or step's number; a column of floats may hold it, as 3.0."""
    value = getattr(row, column)
    number = _number(value)
    if not (number.is_integer() and number >= 0):
        raise ValueError(f"row {row.number}: {column} must be a whole number of at least 0, got {value!r}")
    return int(number)


def _seconds(row: Row) -> float:
    number = _number(row.seconds)
    if not 0 <= number < math.inf:
        raise ValueError(f"row {row.number}: seconds must be a finite number of at least 0, got {row.seconds!r}")
    return number


def _number(value: object) -> float:
    """Return a number, or the number that a text is; NaN for what is none."""
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):  # Python alone reads 1_000 as a number
        return math.nan
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def _places(found: list[str]) -> list[int]:
    for column in COLUMNS:
        if found.count(column) != 1:
            problem = "is missing" if column not in found else "is there more than once"
            raise ValueError(f"column {column!r} {problem}: there must be {', '.join(COLUMNS)}, got {', '.join(found)}")
    return [found.index(column) for column in COLUMNS]


def _rows_of_csv(path: pathlib.Path) -> Iterator[Row]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        try:
            header = [name.strip() for name in next(reader, [])]
            places = _places(header)
            for values in reader:
                if not any(value.strip() for value in values):
                    continue  # an empty line, as at the end of many files
                if len(values) != len(header):
                    raise ValueError(f"row {reader.line_num}: {len(header)} values are wanted, got {values!r}")
                yield Row(reader.line_num, *(values[place].strip() for place in places))
        except csv.Error as error:
            raise ValueError(f"row {reader.line_num}: {error}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"after row {reader.line_num}: no text in UTF-8 ({error.reason})") from error


def _rows_of_parquet(path: pathlib.Path) -> Iterator[Row]:
    try:
        from pyarrow import lib, parquet
    except ImportError as error:
        raise ImportError(f"{path}: reading Parquet needs pyarrow: pip install 'simsgd[parquet]', or use CSV") from error
    try:
        table = parquet.read_table(path)
    except (lib.ArrowException, OSError) as error:
        raise ValueError(f"cannot be read as Parquet ({error})") from error
    columns = [table.column(place).to_pylist() for place in _places(table.column_names)]
    for number, values in enumerate(zip(*columns, strict=True)):
        yield Row(number, *values)
