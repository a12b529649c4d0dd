"""Files of measured message times: NVIDIA's nccl-tests in JSON, or the columns bytes and seconds in CSV.

Of nccl-tests' JSON (written with `-J file.json`; format versions to 3) these keys are read: `args[0]`, the program; `results`,
a list of {`size`: bytes, `type`, `redop`, `out_of_place` and `in_place`: {`time`: microseconds}}; and, for how many ranks took
part, `config`'s `nthreads`, `ngpus` and `devices` (one entry for each process, with its `group`).
"""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

from simsgd.support import checks, files
from simsgd.support.files import FileFormatError
from simsgd.support.tables import of_file, rows_of_csv, shown, text_shown

COLUMNS = ("bytes", "seconds")


class Table(NamedTuple):
    """Measured times: ascending sizes (bytes), the mean seconds of each, and how many ranks took part, if the file says."""

    sizes: tuple[float, ...]
    times: tuple[float, ...]
    workers: int | None


def read(path: str | os.PathLike[str], program: str, in_place: bool) -> Table:
    """Return the table in a file: JSON of nccl-tests' `program` if it begins with "{", else CSV.

    Entries of the same size (several cycles) are averaged, entries of size 0 left out.

    Raises:
        OSError: if the file cannot be read.
        simsgd.FileFormatError: if it is malformed or of another program; the message names the file, the entry and the value.
    """
    raw = files.read(path)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = text_shown(f"{raw[error.start]:#04x}")
        raise FileFormatError(f"{path} is not text: byte {error.start} is {found}") from error
    json_like = text.lstrip().startswith("{")
    entries, workers = _read_json(path, text, program, in_place) if json_like else (_read_csv(path), None)
    seconds = defaultdict(list)
    for size, time in entries:
        if size > 0:
            seconds[size].append(time)
    if not seconds:
        raise FileFormatError(f"{path} holds no message of more than 0 bytes")
    sizes = tuple(sorted(seconds))
    return Table(sizes, tuple(math.fsum(seconds[size]) / len(seconds[size]) for size in sizes), workers)


def _read_csv(path: str | os.PathLike[str]) -> list[tuple[float, float]]:
    """Return (bytes, seconds) of each row of a CSV file with these columns."""
    with of_file(path):
        return [(row.not_negative("bytes"), row.positive("seconds")) for row in rows_of_csv(path, COLUMNS)]


def _read_json(
    path: str | os.PathLike[str], text: str, program: str, in_place: bool
) -> tuple[list[tuple[float, float]], int | None]:
    """Return (bytes, seconds) of each entry of nccl-tests' results, and the ranks that took part."""
    try:
        report = json.loads(text)
    except json.JSONDecodeError as error:
        raise FileFormatError(f"{path} is not complete JSON, line {error.lineno} column {error.colno}: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists in lists without end
        raise FileFormatError(f"{path} is no report of nccl-tests: {type(error).__name__} while reading its JSON") from error
    _check_program(path, report, program)
    results = _get(f"{path}: results", report, "results", list)
    kinds = {f"{entry.get('type')} {entry.get('redop')}" for entry in results if isinstance(entry, dict)}
    if len(kinds) > 1:
        raise FileFormatError(
            f"{path}: results must be of one type and one operation, got {text_shown(', '.join(sorted(kinds)))}"
        )
    return [_entry(f"{path}: results[{i}]", entry, in_place) for i, entry in enumerate(results)], _ranks(path, report)


def _check_program(path: str | os.PathLike[str], report: dict[str, Any], program: str) -> None:
    """Raise FileFormatError unless the report is of `program`, with or without a suffix for MPI."""
    arguments = _get(f"{path}: args", report, "args", list)
    command = str(arguments[0]) if arguments else ""
    found = command.replace("\\", "/").rsplit("/", 1)[-1]
    if not found.startswith(program):
        raise FileFormatError(f"{path} must be the output of nccl-tests' {program}, got that of {text_shown(repr(found))}")


def _entry(where: str, entry: object, in_place: bool) -> tuple[float, float]:
    """Return (bytes, seconds) of one entry of the results."""
    if not isinstance(entry, dict):
        raise FileFormatError(f"{where} must be an object with size and time, got {shown(entry)}")
    size = _number(f"{where}.size", entry.get("size"), checks.not_negative)
    way, other = ("in_place", "out_of_place") if in_place else ("out_of_place", "in_place")
    if entry.get(way) is None and entry.get(other) is not None:
        raise FileFormatError(f"{where}.{way} was not measured, but {other} was: give in_place={not in_place}")
    body = _get(f"{where}.{way}", entry, way, dict)
    if "time" not in body and "cpu_time" in body:
        raise FileFormatError(f"{where}.{way} has only cpu_time, which is not how long a message takes: measure without -C 1")
    return size, _number(f"{where}.{way}.time", body.get("time"), checks.positive) / 1e6


def _ranks(path: str | os.PathLike[str], report: dict[str, Any]) -> int | None:
    """Return how many ranks took part: threads × devices of each process, for the processes of the first one's group."""
    config = report.get("config")
    if not isinstance(config, dict) or not config.get("devices"):
        return None
    processes = _get(f"{path}: config.devices", config, "devices", list)
    groups = [process.get("group") if isinstance(process, dict) else None for process in processes]
    threads, devices = (_get(f"{path}: config.{key}", config, key, int) for key in ("nthreads", "ngpus"))
    return int(threads * devices * groups.count(groups[0]))


def _get(where: str, mapping: dict[str, Any], key: str, kind: type) -> Any:
    """Return `mapping[key]`, which must be there and of that kind."""
    if not isinstance(mapping.get(key), kind):
        found = shown(mapping[key]) if key in mapping else "nothing"
        names = {list: "a list", dict: "an object", int: "a whole number"}
        raise FileFormatError(f"{where} must be {names[kind]}, got {found}")
    return mapping[key]


def _number(where: str, value: object, check: Callable[[str, object], float]) -> float:
    """Return a number of a JSON file that passes a check of `simsgd.support.checks`."""
    try:
        return check(where, value)
    except ValueError as error:
        raise FileFormatError(str(error).replace(repr(value), shown(value))) from error
