"""The grid of a study: axes, coordinates, and the cell at each."""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

from simsgd.studies.cells import Cell
from simsgd.support import checks

type Label = str | float | int
type Place = tuple[Label, ...]
"""The labels of a cell, one for each axis."""


class Grid:
    """Axes and what makes the cell at each place.

    Args:
        make: gets a value of each axis by its name and returns a `Cell`.
        axes: by name the values of an axis: a mapping of labels (texts) to values of any kind, or a sequence of numbers or
            texts, which are their own labels.

    Raises:
        TypeError, ValueError: for an axis without values, or with one twice; for a `make` that returns no cell.
    """

    def __init__(self, make: Callable[..., Cell], axes: Mapping[str, Mapping[str, Any] | Sequence[Any]]) -> None:
        if not isinstance(axes, Mapping):
            raise TypeError(f'axes must be a mapping of names to values such as {{"seed": range(5)}}, got {checks.shown(axes)}')
        if not axes:
            raise ValueError('axes must hold at least one axis, for example {"seed": range(5)}, got none')
        if not callable(make):
            raise TypeError(f"make must be a function of the axes that returns a Cell, got {make!r:.60}")
        self._make = make
        self._values = {name: _labelled(name, values) for name, values in axes.items()}
        self._cells: dict[Place, Cell] = {}

    @property
    def axes(self) -> dict[str, list[Label]]:
        """The labels of each axis, in their order."""
        return {name: list(values) for name, values in self._values.items()}

    @property
    def places(self) -> Iterator[Place]:
        """All places, the last axis fastest."""
        return itertools.product(*self._values.values())

    def place(self, coordinates: Mapping[str, Label]) -> Place:
        """Return the place of coordinates by name; TypeError or ValueError says what is missing or unknown."""
        return place(self._values, coordinates)

    def said(self, place: Place) -> str:
        """Return a place as it is given by name, for example `method='async', seed=3`."""
        return ", ".join(f"{name}={label!r}" for name, label in zip(self._values, place, strict=True))

    def cell(self, place: Place) -> Cell:
        """Return the cell at a place, made when it is first asked for."""
        if place not in self._cells:
            values = {name: of[label] for (name, of), label in zip(self._values.items(), place, strict=True)}
            try:
                made = self._make(**values)
                checks.instance("make's result", made, Cell, "Cell(method, problem, cluster, until=…)")
            except Exception as error:
                error.add_note(f"in make({self.said(place)})")
                raise
            self._cells[place] = made
        return self._cells[place]


def place(axes: Mapping[str, Iterable[Label]], coordinates: Mapping[str, Label]) -> Place:
    """Return the place of coordinates by name.

    Args:
        axes: by name the labels of each axis.
        coordinates: a label of each axis.

    Raises:
        TypeError: if axes are missing, or unknown.
        ValueError: for a label that its axis does not have.

    Example:
        >>> from simsgd.studies.grid import place
        >>> place({"method": ["sync", "async"], "seed": [0, 1]}, {"seed": 1, "method": "sync"})
        ('sync', 1)
    """
    if set(coordinates) != set(axes):
        raise TypeError(f"a cell is named by {', '.join(axes)}, got {', '.join(coordinates) or 'nothing'}")
    for name, label in coordinates.items():
        checks.one_of(name, label, axes[name])
    return tuple(coordinates[name] for name in axes)


def counted(count: int, name: str) -> str:
    """Return how many labels an axis has, in words.

    Example:
        >>> from simsgd.studies.grid import counted
        >>> counted(2, "step_size"), counted(1, "seed")
        ('2 step sizes', '1 seed')
    """
    words = name.replace("_", " ")
    return f"{count:,} {words}{'' if count == 1 or words.endswith('s') else 's'}"


def _labelled(name: str, values: object) -> dict[Label, Any]:
    """Return the values of an axis by their labels."""
    if isinstance(values, Mapping):
        labelled: dict[Label, Any] = dict(values)
        for label in labelled:
            checks.instance(f"a label of axis {name}", label, str, '"async"')
    else:
        if isinstance(values, Set):
            raise TypeError(f"axis {name} must have an order, which a set has not: write sorted(…), got {checks.shown(values)}")
        entries = checks.sequence(f"axis {name}", values, "[0.1, 0.2], or {label: value, …}")
        labelled = {}
        for each in entries:
            label = each.item() if hasattr(each, "item") else each
            if not isinstance(label, str | numbers.Real):
                raise TypeError(
                    f"axis {name} must hold numbers or texts, or be a mapping of labels to values, got {each!r:.60}"
                )
            if isinstance(label, numbers.Real) and math.isnan(label):
                raise ValueError(f"axis {name} must not hold nan, which equals nothing, so that no cell is found by it")
            if label in labelled:
                raise ValueError(f"axis {name} must not hold a value twice, got {label!r} again")
            labelled[label] = each
        if len({isinstance(label, bool) for label in labelled}) > 1:
            raise TypeError(f"axis {name} must not mix True or False with others, as True equals 1, got {checks.shown(values)}")
    if not labelled:
        raise ValueError(f"axis {name} must hold at least one value, got none")
    return labelled
