"""Which of two methods wins, over a grid of conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.colors
import numpy as np
from matplotlib.ticker import FixedFormatter

from simsgd.plots import common, looks
from simsgd.support import checks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike


def heat_map(
    values: ArrayLike,
    rows: Sequence[object],
    columns: Sequence[object],
    *,
    methods: tuple[str, str],
    row_label: str = "",
    column_label: str = "",
    title: str = "",
    most: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw which of two methods wins, and by what factor, over a grid of conditions.

    Each cell says the factor and the winner; its colour is the winner's (see `colours_of`), stronger for a larger factor (on a
    logarithmic scale, white at 1).

    Args:
        values: the second method's cost over the first's, shape (rows, columns): above 1 the first wins, below 1 the
            second; infinite where only the first got there, 0 where only the second did, NaN (grey) where neither.
        rows: what the rows stand for, from the bottom up.
        columns: what the columns stand for.
        methods: the short names of the two methods, as they should appear in the cells.
        row_label: what `rows` are, with their unit.
        column_label: what `columns` are, with their unit.
        title: above the picture.
        most: the factor at which colours are full, at least 1, so that several maps can be compared; by default the greatest.
        ax: where to draw; a new figure by default.

    Raises:
        ValueError: if the shapes do not fit, or a value is negative.

    Example:
        >>> import matplotlib.pyplot as plt, simsgd as sg
        >>> ax = sg.plots.heat_map([[2.0, 0.5]], ["calm"], [0.0, 0.1], methods=("sync", "async"))
        >>> [text.get_text().split() for text in ax.texts]
        [['2.0×', 'sync'], ['2.0×', 'async']]
        >>> plt.close(ax.figure)
    """
    grid = np.asarray(values, float)
    if grid.shape != (len(rows), len(columns)) or not grid.size:
        raise ValueError(f"values must have the shape (rows, columns) = {(len(rows), len(columns))}, got {grid.shape}")
    if (grid < 0).any():
        raise ValueError(f"values must be costs over costs, at least 0, got {grid[grid < 0][0]!r}")
    if isinstance(methods, str) or len(set(methods)) != 2 or len(methods) != 2:
        raise ValueError(f"methods must be the names of two methods, got {methods!r}")
    ax = common.axes(ax, max(5.5, 1.8 + 1.05 * len(columns)), max(3.6, 1.6 + 0.75 * len(rows)))
    first, second = looks.colours_of(methods).values()
    colours = matplotlib.colors.LinearSegmentedColormap.from_list("winner", [second, "white", first])
    norm = _factor_scale(grid, most)
    image = ax.pcolormesh(np.clip(grid, norm.vmin, norm.vmax), cmap=colours, norm=norm, edgecolors="white", linewidth=2)
    ax.set_facecolor("0.75")  # seen where a cell holds NaN
    for (i, j), value in np.ndenumerate(grid):
        dark = not np.isnan(value) and _lightness(image.to_rgba(np.clip(value, norm.vmin, norm.vmax))) < 0.55
        text = _verdict(value, methods)
        ax.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=9, color="white" if dark else "black")
    ax.set_xticks(np.arange(len(columns)) + 0.5, [common.plain(c) for c in columns])
    ax.set_yticks(np.arange(len(rows)) + 0.5, [common.plain(r) for r in rows])
    ax.tick_params(length=0)
    ax.set(xlabel=column_label, ylabel=row_label, title=title)
    _colour_bar(ax, image, norm.vmax, methods)
    return ax


def _factor_scale(grid: np.ndarray, most: float | None) -> Any:
    """Return a logarithmic scale, symmetric about factor 1, that holds every finite factor and at least 2."""
    finite = grid[np.isfinite(grid) & (grid > 0)]
    if most is None:
        most = float(np.exp(np.abs(np.log(finite)).max())) if len(finite) else 2.0
    elif checks.positive("most", most) < 1:
        raise ValueError(f"most must be a factor of at least 1, got {most!r}")
    return matplotlib.colors.LogNorm(1 / max(most, 2.0), max(most, 2.0))


def _lightness(colour: ArrayLike) -> float:
    """Return how light a colour looks beside others, from 0 to 1."""
    return float(np.dot(np.asarray(colour)[:3], (0.299, 0.587, 0.114)))


def _verdict(value: float, methods: tuple[str, str]) -> str:
    """Return what a cell says: the factor and the winner, or who alone got there."""
    if np.isnan(value):
        return "neither"
    winner = methods[0] if value > 1 else methods[1]
    if value in (0, np.inf):
        return f"only\n{winner}"
    factor = f"{max(value, 1 / value):.3g}×" if max(value, 1 / value) >= 10 else f"{max(value, 1 / value):.1f}×"
    return f"{factor}\n{winner if factor != '1.0×' else 'equal'}"


def _colour_bar(ax: Axes, image: Any, most: float, methods: tuple[str, str]) -> None:
    """Add a colour bar whose ticks are factors, the outermost with the method's name."""
    steps = [f for f in ((1, 1.5, 2, 3, 5) if most < 10 else (1, 2, 5, 10, 20, 50, 100, 1000)) if f <= most * 1.001]
    ticks = [1 / f for f in steps[:0:-1]] + steps
    said = [f"{max(tick, 1 / tick):.3g}×" for tick in ticks]
    said[0], said[-1] = f"{said[0]} {methods[1]}", f"{said[-1]} {methods[0]}"
    bar = ax.figure.colorbar(image, ax=ax, ticks=ticks, format=FixedFormatter(said), label="times faster")
    bar.minorticks_off()
