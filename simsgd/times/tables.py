"""Tables of measured times: each worker's seconds in the order of its steps, from a CSV or a Parquet file."""

from __future__ import annotations

import io
import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator

from simsgd.support import files
from simsgd.support.bounds import bounds
from simsgd.support.files import FileFormatError
from simsgd.support.tables import Row, of_file, places, rows_of_csv, text_shown

COLUMNS = ("worker", "step", "seconds")


def load(path: str | os.PathLike[str]) -> tuple[tuple[float, ...], ...]:
    """Return each worker's seconds in the order of its steps, from a file in the form that `Recorded.load` describes."""
    path = pathlib.Path(path)
    if path.suffix not in (".csv", ".parquet"):
        raise FileFormatError(f"{path}: a table of times must be a file whose name ends in .csv or .parquet")
    with of_file(path):
        return _by_worker(rows_of_csv(path, COLUMNS) if path.suffix == ".csv" else _rows_of_parquet(path))


def _by_worker(rows: Iterable[Row]) -> tuple[tuple[float, ...], ...]:
    workers: dict[int, dict[int, tuple[float, int]]] = {}
    for row in rows:
        worker, step = row.whole("worker"), row.whole("step")
        steps = workers.setdefault(worker, {})
        if step in steps:
            raise ValueError(f"row {row.number}: worker {worker} has step {step} already, in row {steps[step][1]}")
        steps[step] = row.seconds("seconds"), row.number
    if not workers:
        raise ValueError("the table has no rows")
    missing = min(set(range(len(workers) + 1)) - set(workers))
    if missing < len(workers):
        found = ", ".join(map(str, sorted(workers)[:10]))
        raise ValueError(f"worker {missing} is missing: workers must be numbered from 0 without gaps, got {found}")
    return tuple(_in_order(worker, workers[worker]) for worker in range(len(workers)))


def _in_order(worker: int, steps: dict[int, tuple[float, int]]) -> tuple[float, ...]:
    order = sorted(steps)
    for before, after in itertools.pairwise(order):
        if after != before + 1:
            row = steps[after][1]
            raise ValueError(f"row {row}: worker {worker} goes from step {before} to step {after}, {before + 1} is missing")
    return tuple(steps[step][0] for step in order)


def _rows_of_parquet(path: pathlib.Path) -> Iterator[Row]:
    try:
        from pyarrow import lib, parquet
    except ImportError as error:
        raise ImportError(f"{path}: reading Parquet needs pyarrow: pip install 'simsgd[parquet]', or use CSV") from error
    raw = files.read(path)
    try:
        file = parquet.ParquetFile(io.BytesIO(raw))
        places(file.schema_arrow.names, COLUMNS)
        bounds.check("rows", file.metadata.num_rows, f"{path}, {file.metadata.num_rows} rows,")
        table = file.read(columns=COLUMNS)
    except (lib.ArrowException, OSError) as error:
        raise ValueError(f"cannot be read as Parquet ({text_shown(str(error))})") from error
    columns = [table.column(name).to_pylist() for name in COLUMNS]
    for number, values in enumerate(zip(*columns, strict=True)):
        yield Row(number, dict(zip(COLUMNS, values, strict=True)))
