"""Measuring over a grid and over seeds, and what is said of it: medians with their ranges, who is first, what to doubt."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray
from tqdm import tqdm

import simsgd as sg

TRUSTED = "No best step size is at the edge of the grid."
"""What is said where there is no caution."""


def sweep(along: Mapping[str, Sequence], measure: Callable[..., Mapping[str, Any]], doing: str, **axes: Any) -> xarray.Dataset:
    """Measure each cell of a grid; return what was found as one labelled dataset.

    Args:
        along: the grid's dimensions, with their values.
        measure: gets a value of each, in this order, and returns numbers by name, or (dimensions, numbers). A cell that
            lacks a name holds NaN there.
        doing: what the progress bar says.
        axes: coordinates of the dimensions that `measure` adds.
    """
    found = [measure(*cell) for cell in tqdm(list(itertools.product(*along.values())), desc=doing, disable=None)]
    shape, variables = tuple(map(len, along.values())), {}
    for name in dict.fromkeys(itertools.chain(*found)):
        cells = [each[name] if isinstance(each.get(name), tuple) else ((), each.get(name, math.nan)) for each in found]
        dimensions, first = max(cells, key=lambda cell: len(cell[0]))
        values = [np.broadcast_to(numbers, np.shape(first)) for _, numbers in cells]
        variables[name] = (*along, *dimensions), np.reshape(values, (*shape, *np.shape(first)))
    return xarray.Dataset(variables, coords={**{name: list(values) for name, values in along.items()}, **axes})


def reported(found: sg.studies.Comparison, batch_size: int) -> xarray.Dataset:
    """Return what a comparison reports along its settings, protocol and seed, for tables and pictures.

    Namely "best_seconds", infinite where the target was never reached, and "best_gradients" where settings share a target;
    the chosen "step_size" and the "largest" by which some tuning seed arrived; the "horizon", seconds.
    """
    data, choices = found.dataset, found.tuned.choices.values()
    largest = [max((size for size, count in choice.arrived.items() if count), default=math.nan) for choice in choices]
    told = xarray.Dataset(
        {
            "best_seconds": data.seconds_to_target.fillna(math.inf),
            "step_size": data.step_size,
            "largest": (data.step_size.dims, np.reshape(largest, data.step_size.shape)),
            "horizon": data.horizon,
        }
    )
    if "samples_to_target" in data:
        told["best_gradients"] = data.samples_to_target.fillna(math.inf) / batch_size
    return told.rename(method="protocol").transpose(*found.dims, "protocol", "seed")


def ratio(costs: xarray.DataArray, over: xarray.DataArray) -> xarray.DataArray:
    """Return cost over cost: infinite or 0 where only one arrived, not a number where neither did."""
    with np.errstate(invalid="ignore"):  # infinite over infinite
        return costs / over


def agreed(factor: xarray.DataArray) -> xarray.DataArray:
    """Return where the same method was first on every seed."""
    return (factor > 1).all("seed") | (factor < 1).all("seed")


# --- telling -------------------------------------------------------------------------------------------------------------


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return text in columns; a header may have several lines."""
    heads = [header.split("\n") for header in headers]
    height = max(map(len, heads))
    lines = [*zip(*([""] * (height - len(head)) + head for head in heads), strict=True), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def by_cell(measured: xarray.Dataset, along: Sequence[str], columns: Mapping[str, Callable[[xarray.Dataset], str]]) -> str:
    """Return a table with a row for each cell of a grid; each column says something of the cell."""
    rows = []
    for cell in itertools.product(*(measured[name].values for name in along)):
        here = measured.sel(dict(zip(along, cell, strict=True)))
        rows.append([*map(plain, cell), *(say(here) for say in columns.values())])
    return table([*along, *columns], rows)


def plain(value: object) -> str:
    """Return a coordinate without needless digits."""
    return value if isinstance(value, str) else f"{value:g}"


def median(name: str, digits: str = ".4g") -> Callable[[xarray.Dataset], str]:
    """Return what says the median of a measure of a cell, over all that it holds."""
    return lambda cell: number(float(cell[name].median()), digits)


def spread_of(name: str, digits: str = ".3g") -> Callable[[xarray.Dataset], str]:
    """Return what says the median of a measure of a cell, and the range over the seeds."""
    return lambda cell: spread(cell[name], digits)


def arriving(cell: xarray.Dataset) -> str:
    """Return the restricted mean of a cell's seconds to the target with its interval, and how many arrived; "-" if unknown."""
    if cell.best_seconds.isnull().any():
        return "-"
    return str(sg.studies.statistics.restricted_mean(cell.best_seconds, float(cell.horizon)))


def chosen(cell: xarray.Dataset) -> str:
    """Return the chosen step size of a cell, and in brackets the largest with which a tuning seed got there."""
    return "-" if math.isnan(cell.step_size) else f"{float(cell.step_size):g} ({number(float(cell.largest), 'g')})"


def spread(values: Any, digits: str = ".3g") -> str:
    """Return the median over the seeds and the range, and how many seeds arrived where not all did."""
    known = np.asarray(values, float)
    known = known[~np.isnan(known)]
    if not len(known):
        return "-"
    middle, least, most = (number(each, digits) for each in (np.median(known), known.min(), known.max()))
    arrived = int(np.isfinite(known).sum())
    if not arrived:
        return "never"
    missing = f", {arrived} of {len(known)} seeds" if arrived < len(known) else ""
    return f"{middle} ({least} to {most}{missing})" if len(known) > 1 else middle


def number(value: float, digits: str = ".3g") -> str:
    """Return a cost in figures, "never" for an infinite one, "-" for one that is not known."""
    return f"{value:{digits}}" if math.isfinite(value) else "-" if math.isnan(value) else "never"


def first(factor: float, methods: tuple[str, str] = ("sync", "async")) -> str:
    """Return who is first, for example "async 2.50×", from the second method's cost over the first's."""
    if math.isnan(factor):
        return "neither"
    winner = methods[0] if factor > 1 else methods[1]
    return f"only {winner}" if factor in (0, math.inf) else f"{winner} {max(factor, 1 / factor):.2f}×"


def firsts(factors: xarray.DataArray) -> str:
    """Return the range over the seeds of who is first."""
    known = factors.values[~np.isnan(factors.values)]
    return f"{first(known.min())} to {first(known.max())}" if len(known) else "-"


def cautions(measured: xarray.Dataset, method: str, wider: str) -> list[str]:
    """Say where what was measured at the best step sizes cannot be trusted.

    Args:
        measured: with "best", the place of the best along "step_size", and "best_seconds" over the seeds.
        method: the name of the dimension along which methods lie.
        wider: the flag that gives a run longer to reach the target.
    """
    arrived = np.isfinite(measured.best_seconds).all("seed")
    here = ~measured.best_seconds.isnull().all("seed")
    edge = arrived & measured.best.isin((0, measured.sizes["step_size"] - 1))
    lines = []
    for what, where in (
        ("the best step size is at the edge of the grid, try more --step-sizes", edge),
        (f"some seeds missed the target, raise {wider} or try other --step-sizes", here & ~arrived),
    ):
        for name in measured[method].values:
            of_method = where.sel({method: name}, drop=True)
            cells = itertools.product(*(of_method[dimension].values for dimension in of_method.dims))
            said = "; ".join(", ".join(map(plain, cell)) for cell in itertools.compress(cells, of_method.values.ravel()))
            lines += [f"CAUTION: {name}: {what} ({said})."] if said else []
    return lines or [TRUSTED]
