"""A finished group of cells as one sealed file: their descriptions, and their outcomes to the bit.

The file is netCDF (see `simsgd.support.sealed`) of three variables: `evaluations` and `measures`, float64, hold the numbers of
all cells one after the other; `text`, bytes, is JSON that says whose they are. Parts of descriptions that cells share are in it
once. Its name is the hash of its cells' keys and that of their outcomes: equal work has an equal name, in whatever process, and
work that came out otherwise another one, so that no file is ever replaced by one that says something else.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

import simsgd
from simsgd.provenance import canonical
from simsgd.studies.outcomes import Outcome
from simsgd.studies.store import keys
from simsgd.studies.store.keys import Described
from simsgd.support import files, sealed
from simsgd.support.files import FileFormatError

KIND = "group of cells"
SCHEMA = 1
NAME = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}\.nc")
"""Names of groups: hash of keys, hash of outcomes."""
SHARED = 100
"""Parts of descriptions whose text is longer than this are kept once in a file."""
NUMBERS = ("evaluations", "measures")
"""Fields of an outcome that are kept as numbers; the others are texts and single numbers."""
FIELDS = frozenset(field.name for field in dataclasses.fields(Outcome)) - frozenset(NUMBERS)
APART = "§"
"""The one key of what stands in a description for a part kept apart."""


@dataclasses.dataclass(frozen=True)
class Group:
    """A file's cells, as it says of them.

    Attributes:
        cells: for each cell its key, kin, about, digest (of its outcome), description and fields, as JSON.
        parts: the parts of descriptions that are kept once.
        evaluations, measures: the numbers of all cells, float64.
    """

    cells: list[dict[str, Any]]
    parts: list[Any]
    evaluations: np.ndarray
    measures: np.ndarray

    def outcome(self, row: int) -> Outcome:
        """Return the outcome of the cell at a row."""
        cell = self.cells[row]
        evaluations = _columns(cell["evaluations"], self.evaluations)
        measures = {name: float(column[0]) for name, column in _columns(cell["measures"], self.measures).items()}
        return Outcome(**keys.read(cell["fields"]), evaluations=evaluations, measures=measures)

    def described(self, row: int) -> Described:
        """Return the cell at a row as it was described."""
        return Described(self._unfolded(self.cells[row]["description"]))

    def _unfolded(self, value: Any) -> Any:
        if isinstance(value, dict):
            if set(value) == {APART}:
                return self._part(value[APART])
            return {name: self._unfolded(each) for name, each in value.items()}
        return [self._unfolded(each) for each in value] if isinstance(value, list) else value

    @functools.cached_property
    def _known(self) -> dict[int, Any]:
        return {}

    def _part(self, number: int) -> Any:
        if number not in self._known:
            self._known[number] = self._unfolded(self.parts[number])
        return self._known[number]


def save(folder: pathlib.Path, outcomes: Mapping[Described, Outcome]) -> tuple[str, Group]:
    """Write the outcomes of a group of cells to its file in a folder, whole or not at all; return its name and content.

    Raises:
        OSError: if the folder cannot be written, or the disk is full; what was there stays.
    """
    import xarray

    parts: dict[str, int] = {}
    values: dict[str, list[np.ndarray]] = {name: [] for name in NUMBERS}
    ends, cells = dict.fromkeys(NUMBERS, 0), []
    for described, outcome in sorted(outcomes.items(), key=lambda item: item[0].key):
        laid: dict[str, dict[str, list[int]]] = {name: {} for name in NUMBERS}
        for name in NUMBERS:
            for column, numbers in _float64(getattr(outcome, name)).items():
                laid[name][column] = [ends[name], ends[name] + len(numbers)]
                ends[name] += len(numbers)
                values[name].append(numbers)
        cell = {"key": described.key, "kin": described.kin, "about": described.about, "digest": digest(outcome)}
        cells.append({**cell, "description": _folded(described.description, parts), "fields": _fields(outcome), **laid})
    group = Group(cells, [json.loads(text) for text in parts], *(_joined(values[name]) for name in NUMBERS))
    made = {"simsgd": simsgd.__version__}
    text = json.dumps({"schema": SCHEMA, "made by": made, "cells": cells, "parts": group.parts}, ensure_ascii=True)
    data = {"text": ("byte", np.frombuffer(text.encode(), np.uint8))}
    data |= {name: (name[:-1], getattr(group, name)) for name in NUMBERS}
    name = _name(cells)
    sealed.save(folder / name, xarray.Dataset(data), KIND)
    return name, group


def load(path: pathlib.Path) -> Group:
    """Return the group in a file.

    Raises:
        FileNotFoundError, FileFormatError: if there is none, or it is damaged or of another format.
    """
    data = sealed.load(path, KIND)
    try:
        said = json.loads(data["text"].values.tobytes())
        if said["schema"] != SCHEMA:
            raise files.OtherFormatError(
                f"{path} has schema {said['schema']!s:.20}, this simsgd reads {SCHEMA}: use the simsgd that wrote it"
            )
        if strange := {name for cell in said["cells"] for name in cell["fields"]} - FIELDS:
            raise files.OtherFormatError(
                f"{path} says more ({', '.join(sorted(strange))}) than is known here: use a newer simsgd"
            )
        if _name(said["cells"]) != path.name:
            raise FileFormatError(f"{path} holds the cells of a file of another name, {_name(said['cells'])}: it was renamed")
        return Group(said["cells"], said["parts"], *(data[name].values for name in NUMBERS))
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FileFormatError(f"{path} is damaged: its text makes no sense ({type(error).__name__}: {error!s:.100})") from error


def digest(outcome: Outcome) -> str:
    """Return the SHA-256 (hexadecimal) of all that is compared of an outcome: equal outcomes have equal digests."""
    compared = {name: each for name, each in _fields(outcome).items() if name != "trace"}
    found = hashlib.sha256(canonical({**compared, "seconds": 0}).encode())
    for field in NUMBERS:
        for name, column in sorted(_float64(getattr(outcome, field)).items()):
            found.update(canonical([field, name, len(column)]).encode() + column.astype("<f8").tobytes())
    return found.hexdigest()


def _name(cells: list[dict[str, Any]]) -> str:
    """Return the name of a group's file: of its cells, and of their outcomes in the order of the cells."""
    outcomes = hashlib.sha256(canonical([[str(cell["key"]), str(cell["digest"])] for cell in cells]).encode()).hexdigest()
    return f"{keys.of_group(str(cell['key']) for cell in cells)[: keys.SHORT]}-{outcomes[: keys.SHORT]}.nc"


def _fields(outcome: Outcome) -> dict[str, Any]:
    """Return what an outcome says in texts and single numbers, as plain JSON; the trace of those that have one."""
    names = FIELDS if outcome.trace else FIELDS - {"trace"}
    return {name: keys.written(getattr(outcome, name)) for name in sorted(names)}


def _float64(numbers: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.atleast_1d(np.asarray(column, np.float64)) for name, column in numbers.items()}


def _columns(laid: Mapping[str, list[int]], values: np.ndarray) -> dict[str, np.ndarray]:
    return {name: values[begin:end].copy() for name, (begin, end) in laid.items()}


def _joined(columns: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(columns) if columns else np.empty(0)


def _folded(value: Any, parts: dict[str, int]) -> Any:
    """Return a description with its long parts kept apart, in `parts`: by text their number."""
    if isinstance(value, dict):
        value = {name: _folded(each, parts) for name, each in value.items()}
        text = canonical(value)
        return {APART: parts.setdefault(text, len(parts))} if len(text) > SHARED else value
    return [_folded(each, parts) for each in value] if isinstance(value, list) else value
