"""Measuring over a grid and over seeds, and what is said of it: medians with their ranges, who is first, what to doubt."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray
from common import Learning
from tqdm import tqdm

import simsgd as sg


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


def at_best(seconds: np.ndarray, **others: np.ndarray) -> dict[str, Any]:
    """Return (for `sweep`) what a method takes at its best step size: the one with the least median time over the seeds.

    Args:
        seconds: to the target, shape (seeds, step sizes), infinite where it was not reached.
        others: other costs, of the same shape.
    """
    best = int(np.argmin(np.median(seconds, axis=0)))
    costs = {f"best_{name}": (("seed",), cost[:, best]) for name, cost in {"seconds": seconds, **others}.items()}
    return {"seconds": (("seed", "step_size"), seconds), "best": best, **costs}


@dataclass(frozen=True)
class Tuned:
    """A method tried at every step size on every seed: what it took to the target, and its runs; made by `tune`."""

    step_sizes: tuple[float, ...]
    seconds: np.ndarray
    """To the target, shape (seeds, step sizes); infinite where it was not reached."""
    gradients: np.ndarray
    """Likewise."""
    all_runs: tuple[tuple[sg.Run, ...], ...]
    """For each seed, a run for each step size."""

    @functools.cached_property
    def found(self) -> dict[str, Any]:
        """What `at_best` makes of it."""
        return at_best(self.seconds, gradients=self.gradients)

    @property
    def best(self) -> int:
        """The place of the best step size."""
        return self.found["best"]

    @property
    def step_size(self) -> float:
        """The best step size."""
        return self.step_sizes[self.best]

    @property
    def medians(self) -> np.ndarray:
        """Median seconds to the target at each step size."""
        return np.median(self.seconds, axis=0)

    @property
    def runs(self) -> tuple[sg.Run, ...]:
        """The runs at the best step size, one for each seed, until the target."""
        return tuple(runs[self.best] for runs in self.all_runs)

    def median(self, measure: Callable[[sg.Run], float]) -> float:
        """Return the median over the seeds of a measure of a run, infinite where the target was never reached."""
        return float(np.median(np.nan_to_num([measure(run) for run in self.runs], nan=np.inf)))


def tune(
    flags: Learning, method: sg.Protocol, problem: sg.Problem, cluster: sg.Cluster, until: sg.Target, **options: Any
) -> Tuned:
    """Try a method at all step sizes on all seeds; `options` are those of `sg.studies.tune`."""
    options = {"progress": False, **options}
    tunings = [
        sg.studies.tune(method, problem, cluster, flags.step_sizes, until, seed=seed, **options) for seed in flags.all_seeds
    ]
    costs = [[run.to_target() for run in tuning.runs] for tuning in tunings]
    seconds = np.nan_to_num([[cost.seconds for cost in row] for row in costs], nan=np.inf)
    gradients = np.nan_to_num([[cost.samples / problem.batch_size for cost in row] for row in costs], nan=np.inf)
    if (seconds == 0).any():
        raise ValueError(f"--target-accuracy {flags.target_accuracy:g} is reached before the first update: ask for more")
    return Tuned(flags.step_sizes, seconds, gradients, tuple(tuning.runs for tuning in tunings))


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


def step_size(cell: xarray.Dataset) -> str:
    """Return the best step size of a cell, and in brackets the largest at which most seeds got there; "-" without any."""
    reached = cell.step_size[np.isfinite(cell.seconds.median("seed"))]
    return f"{float(cell.step_size[int(cell.best)]):g} ({float(reached.max()):g})" if reached.size else "-"


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
    """Say where what `at_best` found cannot be trusted.

    Args:
        measured: by `sweep`.
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
    return lines or ["No best step size is at the edge of the grid."]
