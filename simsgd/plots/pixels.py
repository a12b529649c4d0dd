"""Timelines too crowded for bars: what workers did, averaged over each pixel, as one image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import to_rgb

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 1500
"""How many pixels an image of a timeline is wide."""
ROW_WITH_GAP = 8
"""Where each row has so many pixels on the screen, the image keeps a gap between rows, an eighth above and below."""
VISIBLE = 0.05
"""A kind that has no more than this of any pixel cannot be seen."""

Bars = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Bars of one kind: rows, beginnings and ends (seconds), arrays of one shape."""


def rows_to_a_line(ax: Axes, rows: int) -> int:
    """Return how many rows share a line of the image, so that there are no more lines than pixels."""
    return -(-rows // max(1, int(ax.get_window_extent().height)))


def draw(ax: Axes, bars: Mapping[str, Bars], window: tuple[float, float], rows: int, colours: Mapping[str, str]) -> list[str]:
    """Draw bars as an image, in which each pixel has the average colour of its time, and return the kinds that can be seen.

    What no bar covers has the colour of "waiting". Where there are more rows than pixels, as many as `rows_to_a_line` says
    share a line of the image.

    Args:
        ax: where to draw.
        bars: by kind; those of a row do not overlap.
        window: from when to when, seconds.
        rows: how many there are.
        colours: of the kinds.
    """
    together = rows_to_a_line(ax, rows)
    lines = -(-rows // together)
    each = np.bincount(np.arange(rows) // together)[:, None]  # rows in a line: fewer in the last
    image, left, most = np.zeros((lines, COLUMNS, 3)), np.ones((lines, COLUMNS)), {}
    for kind, (row, begin, end) in bars.items():
        share = np.clip(shares(row // together, begin, end, window, lines) / each, 0.0, left)
        image += share[..., None] * to_rgb(colours[kind])
        left, most[kind] = left - share, share.max()
    image += left[..., None] * to_rgb(colours["waiting"])
    if ax.get_window_extent().height / rows > ROW_WITH_GAP:
        image = np.repeat(image, 8, axis=0)
        image[0::8] = image[7::8] = 1.0
    edges = (-0.5, lines * together - 0.5)
    ax.imshow(image, extent=(*window, *edges[::-1]), aspect="auto", zorder=0.5)
    most = {"waiting": left.max()} | most
    return [kind for kind, share in most.items() if share > VISIBLE]


def shares(row: np.ndarray, begin: np.ndarray, end: np.ndarray, window: tuple[float, float], rows: int) -> np.ndarray:
    """Return how many of a row's bars each pixel holds, on average over its time: shape (rows, COLUMNS).

    For bars that do not overlap that is the share of the pixel's time that they cover.
    """
    scale = COLUMNS / (window[1] - window[0])
    covered = _since(row, (begin - window[0]) * scale, rows) - _since(row, (end - window[0]) * scale, rows)
    return np.asarray(np.maximum(covered, 0.0))  # rounding


def _since(row: np.ndarray, place: np.ndarray, rows: int) -> np.ndarray:
    """Return how much of each pixel lies after each of the places (in pixels), added up row by row: (rows, COLUMNS)."""
    pixel = np.clip(place.astype(int), 0, COLUMNS - 1)
    cell = row * COLUMNS + pixel
    partly = np.bincount(cell, pixel + 1 - place, rows * COLUMNS).reshape(rows, COLUMNS)
    begun = np.bincount(cell, minlength=rows * COLUMNS).reshape(rows, COLUMNS)
    return partly + np.cumsum(begun, axis=1) - begun
