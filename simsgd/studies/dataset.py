"""Outcomes as one labelled dataset, and back again, to the bit.

Laws of this module: no variable holds objects, so netCDF takes each as it is; what a cell lacks is NaN, -1 or an empty
text, and `columns` says which names it has, so that NaN that was measured stays apart from what is not there.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from simsgd.run import AXES, Cost
from simsgd.stopping import RULES, Rule, Target, amount
from simsgd.studies.grid import Label, Place
from simsgd.studies.outcomes import Outcome

if TYPE_CHECKING:
    import xarray

MISSING = "missing"
"""The status of a cell that has no outcome."""
EVALUATION = "evaluation"
TEXTS = {
    "status": '"missing" where there is no outcome',
    "error": "what a failed cell raised",
    "tape_hash": "SHA-256 of the tape's content up to the run's end",
    "parameters_hash": "SHA-256 of the final parameters",
}
"""What a cell has besides numbers, and what it is."""
OF_CELLS = (
    "status",
    *(f"{cost}_to_target" for cost in Cost._fields),
    "evaluations",
    "columns",
    "lanes",
    "wall_seconds",
    *list(TEXTS)[1:],
)
"""What each cell has beside evaluations and measures; `evaluations` counts them."""
UNITS = {"time": "simulated s", "bytes": "bytes", "seconds_to_target": "simulated s", "wall_seconds": "s"}
PREFIXES = {"cell": "cell_", "evaluation": "evaluated_", "measure": "total_"}
"""What stands before a variable's name where an axis, or another kind of variable, has that name already."""

type Known = tuple[tuple[str, ...], tuple[str, ...]]
"""The names of the evaluations' columns and of the measures that an outcome has."""


def dataset(
    axes: Mapping[str, Sequence[Label]], outcomes: Mapping[Place, Outcome], target: Target | None, about: Mapping[str, Any]
) -> xarray.Dataset:
    """Return outcomes along the axes; see `Results.dataset`."""
    import xarray

    there = [outcomes.get(place) for place in itertools.product(*axes.values())]
    known = list(dict.fromkeys(_names_in(outcome) for outcome in there if outcome is not None))
    shape, of_cells, found = tuple(map(len, axes.values())), _of_cells(there, known, target), {}
    for (kind, name), variable in _variables(axes, known).items():
        if kind == "cell" and name not in of_cells:  # what is not said
            continue
        along = (*axes, _evaluation_dimension(axes)) if kind == EVALUATION else tuple(axes)
        values = of_cells[name] if kind == "cell" else (_evaluations if kind == EVALUATION else _measure)(name, there)
        said = {"long_name": TEXTS[name]} if name in TEXTS else {"units": UNITS[name]} if name in UNITS else {}
        found[variable] = xarray.Variable(along, values.reshape(shape + values.shape[1:]), said)
    said = {
        "target": json.dumps(_target_fields(target)),
        "configuration": json.dumps(dict(about), ensure_ascii=False),
        "columns": json.dumps(known),
        "axes": json.dumps(list(axes)),
    }
    return xarray.Dataset(found, {name: _coordinate(name, labels) for name, labels in axes.items()}, said)


def parts(data: xarray.Dataset) -> tuple[dict[str, list[Label]], dict[Place, Outcome], Target | None, dict[str, Any]]:
    """Return the axes, outcomes, target and configuration that `dataset` put together.

    Raises:
        ValueError, KeyError, TypeError, IndexError: if it is no such dataset.
    """
    axes = {name: _labels(data.variables[name]) for name in json.loads(data.attrs["axes"])}
    known, _, flat, there = _taken_apart(data)
    which = flat["cell", "columns"].tolist()
    places = itertools.product(*axes.values())
    outcomes = {place: _outcome(flat, i, known[which[i]]) for i, place in enumerate(places) if there[i]}
    return axes, outcomes, _target(json.loads(data.attrs["target"])), json.loads(data.attrs["configuration"])


def _outcome(flat: Mapping[tuple[str, str], np.ndarray], i: int, known: Known) -> Outcome:
    columns, measures = known
    rows = int(flat["cell", "evaluations"][i])
    return Outcome(
        status=str(flat["cell", "status"][i]),
        evaluations={name: flat["evaluation", name][i, :rows].copy() for name in columns},
        measures={name: float(flat["measure", name][i]) for name in measures},
        tape_hash=str(flat["cell", "tape_hash"][i]),
        parameters_hash=str(flat["cell", "parameters_hash"][i]),
        lanes=int(flat["cell", "lanes"][i]),
        error=str(flat["cell", "error"][i]),
        seconds=float(flat["cell", "wall_seconds"][i]),
    )


def _names_in(outcome: Outcome) -> Known:
    return tuple(outcome.evaluations), tuple(outcome.measures)


def _variables(axes: Iterable[str], known: Sequence[Known]) -> dict[tuple[str, str], str]:
    """Return the name of each variable, by its kind and its own name: another one where an axis or a variable has it."""
    columns = dict.fromkeys(name for each, _ in known for name in each)
    wanted = {
        "cell": OF_CELLS,
        EVALUATION: (*(name for name in AXES if name in columns), *(name for name in columns if name not in AXES)),
        "measure": tuple(dict.fromkeys(name for _, each in known for name in each)),
    }
    taken, found = {*axes, _evaluation_dimension(axes)}, {}
    for kind, names in wanted.items():
        for name in names:
            variable = name
            while variable in taken:
                variable = PREFIXES[kind] + variable
            taken.add(variable)
            found[kind, name] = variable
    return found


def _evaluation_dimension(axes: Iterable[str]) -> str:
    """Return the name of the dimension along a run, which no axis has."""
    found = EVALUATION
    while found in axes:
        found = PREFIXES[EVALUATION] + found
    return found


def _evaluations(name: str, there: Sequence[Outcome | None]) -> np.ndarray:
    """Return a column of all cells, padded by NaN to the longest of all columns: shape (cells, evaluations)."""
    found = np.full((len(there), max(map(_rows, there), default=0)), np.nan)
    for row, outcome in zip(found, there, strict=True):
        if outcome is not None and name in outcome.evaluations:
            row[: _rows(outcome)] = outcome.evaluations[name]
    return found


def _rows(outcome: Outcome | None) -> int:
    """Return how many evaluations an outcome has."""
    return 0 if outcome is None else max((len(column) for column in outcome.evaluations.values()), default=0)


def _of_cells(there: Sequence[Outcome | None], known: Sequence[Known], target: Target | None) -> dict[str, np.ndarray]:
    """Return what each cell has beside its evaluations and measures, by name: shape (cells,)."""
    place = {names: i for i, names in enumerate(known)}
    texts = {name: [getattr(cell, name) if cell else "" for cell in there] for name in TEXTS}
    texts["status"] = [status or MISSING for status in texts["status"]]
    whole = {
        "evaluations": map(_rows, there),
        "columns": (place[_names_in(cell)] if cell else -1 for cell in there),
        "lanes": (cell.lanes if cell else -1 for cell in there),
    }
    return {
        "status": np.array(texts.pop("status"), np.str_),
        **({} if target is None else _costs(there, target)),
        **{name: np.array(list(values), np.int32) for name, values in whole.items()},
        "wall_seconds": np.array([cell.seconds if cell else math.nan for cell in there]),
        **{name: np.array(values, np.str_) for name, values in texts.items()},
    }


def _costs(there: Sequence[Outcome | None], target: Target) -> dict[str, np.ndarray]:
    """Return what it took each cell to a target, NaN where that never happened; without a target nothing is said of it."""
    never = Cost(*[math.nan] * len(Cost._fields))
    costs = [cell.to_target(target) if cell else never for cell in there]
    return {f"{name}_to_target": np.array([getattr(cost, name) for cost in costs]) for name in Cost._fields}


def _measure(name: str, there: Sequence[Outcome | None]) -> np.ndarray:
    """Return one measure of all cells: shape (cells,)."""
    return np.array([cell.measures.get(name, math.nan) if cell else math.nan for cell in there], np.float64)


def _coordinate(name: str, labels: Sequence[Label]) -> xarray.Variable:
    """Return the labels of an axis: numbers, or texts; those of several kinds as texts in JSON."""
    import xarray

    kinds = {type(label) for label in labels}
    plain = kinds in ({str}, {int}, {float}, {bool}) and (kinds != {int} or all(abs(n) < 2**63 for n in labels))  # type: ignore[arg-type]
    values = np.array(labels if plain else [json.dumps(label, default=float) for label in labels])
    return xarray.Variable((name,), values, {} if plain else {"labels": "JSON"})


def _labels(variable: xarray.Variable) -> list[Label]:
    values: list[Label] = variable.values.tolist()
    return [json.loads(str(label)) for label in values] if variable.attrs.get("labels") == "JSON" else values


def _target_fields(target: Target | None) -> dict[str, Any] | None:
    """Return a target as JSON: its numbers, and of a rule its name and its number."""
    if target is None:
        return None
    plain = {"metric": target.metric, "at_most": target.at_most, "at_least": target.at_least}
    return plain | {"within": _rule_fields(target.within), "kept": 0 if target.kept == 0 else _rule_fields(target.kept)}


def _rule_fields(rule: Rule | None) -> list[Any] | None:
    return None if rule is None else [type(rule).__name__, amount(rule)]


def _target(fields: dict[str, Any] | None) -> Target | None:
    if fields is None:
        return None
    kinds: dict[str, Any] = {kind.__name__: kind for kind in RULES}
    for name in ("within", "kept"):
        if isinstance(fields[name], list):
            fields[name] = kinds[fields[name][0]](fields[name][1])
    return Target(fields.pop("metric"), **fields)


def with_bytes(data: xarray.Dataset) -> xarray.Dataset:
    """Return a dataset whose texts are bytes in UTF-8, marked so that xarray reads them as texts again."""
    return data.assign({name: _encoded(variable) for name, variable in data.variables.items() if variable.dtype.kind == "U"})


def with_texts(data: xarray.Dataset) -> xarray.Dataset:
    """Return a dataset whose bytes are texts again."""
    return data.assign({name: _decoded(variable) for name, variable in data.variables.items() if variable.dtype.kind == "S"})


def _encoded(variable: xarray.Variable) -> tuple[Any, ...]:
    return variable.dims, np.char.encode(variable.values, "utf-8", "surrogatepass"), {**variable.attrs, "_Encoding": "utf-8"}


def _decoded(variable: xarray.Variable) -> tuple[Any, ...]:
    said = {name: value for name, value in variable.attrs.items() if name != "_Encoding"}
    return variable.dims, np.char.decode(variable.values, "utf-8", "surrogatepass"), said


def cell_columns(data: xarray.Dataset) -> dict[str, np.ndarray]:
    """Return a table with a row for each cell that is there: labels, what it has beside evaluations, and last metrics."""
    _, names, flat, there = _taken_apart(data)
    found = _label_columns(data, there)
    last = np.maximum(flat["cell", "evaluations"][there] - 1, 0)
    for (kind, name), variable in names.items():
        if kind == EVALUATION and name not in AXES:
            padded = np.column_stack([flat[kind, name], np.full(len(there), np.nan)])  # for studies without any evaluation
            found[f"final_{name}"] = padded[np.flatnonzero(there), last]
        elif kind != EVALUATION and name not in ("columns", "evaluations"):
            found[variable] = flat[kind, name][there]
    return found


def evaluation_columns(data: xarray.Dataset) -> dict[str, np.ndarray]:
    """Return a table with a row for each evaluation of each cell: labels, time, updates, samples, bytes, metrics."""
    _, names, flat, there = _taken_apart(data)
    rows = flat["cell", "evaluations"]
    found = {name: np.repeat(column, rows[there]) for name, column in _label_columns(data, there).items()}
    for (kind, name), variable in names.items():
        if kind == EVALUATION:
            found[variable] = flat[kind, name][np.arange(flat[kind, name].shape[1]) < rows[:, None]]
    return found


def _label_columns(data: xarray.Dataset, there: np.ndarray) -> dict[str, np.ndarray]:
    """Return the label of each cell that is there, along each axis."""
    axes = json.loads(data.attrs["axes"])
    grids = np.meshgrid(*(data[name].values for name in axes), indexing="ij")
    return {name: grid.ravel()[there] for name, grid in zip(axes, grids, strict=True)}


def _taken_apart(
    data: xarray.Dataset,
) -> tuple[list[Known], dict[tuple[str, str], str], dict[tuple[str, str], np.ndarray], np.ndarray]:
    """Return the names that cells have, the name of each variable, its values cell by cell, and which cells are there."""
    axes = json.loads(data.attrs["axes"])
    known: list[Known] = [(tuple(columns), tuple(measures)) for columns, measures in json.loads(data.attrs["columns"])]
    names = _variables(axes, known)
    values = {key: data.variables[name].values for key, name in names.items()}
    flat = {key: each.reshape(-1, *each.shape[len(axes) :]) for key, each in values.items()}
    return known, names, flat, flat["cell", "columns"] >= 0
