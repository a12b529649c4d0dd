"""Cells in groups: those of one group share an executable, and as far as possible their tapes."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simsgd.provenance.identity import digest, unknowns
from simsgd.replaying.lanes.group import family
from simsgd.replaying.lanes.memory import lanes_that_fit
from simsgd.studies.cells import Cell
from simsgd.studies.grid import Place

MOST_ROUNDS = 8
"""How often the lanes of one group are filled, at most: what is lost if a process is killed, unless there are checkpoints."""


@dataclass(frozen=True)
class Group:
    """Cells that are played together.

    Attributes:
        places: theirs in the grid; those of one tape stand together.
        lanes: how many lanes their executable has; 0 for cells that are played alone.
    """

    places: tuple[Place, ...]
    lanes: int


class Grouping:
    """Sorts cells into groups.

    Args:
        memory: bytes that the lanes of one device may take.
        lanes: how many lanes; None for as many as are usual and fit.
    """

    def __init__(self, memory: float, lanes: int | None) -> None:
        self._memory, self._lanes = memory, lanes
        self._known: dict[Any, int] = {}
        self._families: dict[Any, Any] = {}

    def kind(self, cell: Cell) -> Any:
        """Return what the cells of a group have in common."""
        if not cell.in_lanes:
            return "alone"
        problem, method, workers = cell.problem, cell.whole, cell.cluster.workers
        key = id(problem), method, workers, cell.dtype
        if key not in self._families:
            self._families[key] = family(problem, method, workers, cell.dtype)
        return problem_key(cell), self._families[key], workers, cell.dtype, cell.width

    def lanes(self, cell: Cell) -> int:
        """Return how many lanes the executable has that plays a cell; 0 if it is played alone.

        Raises:
            simsgd.BoundError: if one lane does not fit the memory.
        """
        kind = self.kind(cell)
        if kind == "alone":
            return 0
        if kind not in self._known:
            given = cell.problem, cell.whole, cell.cluster.workers, cell.dtype, cell.width
            fitting = lanes_that_fit(*given, self._memory, self._lanes)
            self._known[kind] = fitting
        return self._known[kind]

    def groups(self, missing: Mapping[Place, Cell], cells: Mapping[Place, Cell], workers: int) -> list[Group]:
        """Return the missing cells in groups, of which each of so many workers has some.

        How large groups are depends on all cells of the grid, so that a study that was broken off finds its groups again.
        """
        every = collections.Counter(map(self.kind, cells.values()))
        together: dict[Any, list[Place]] = {}
        for place, cell in missing.items():
            together.setdefault(self.kind(cell), []).append(place)
        groups = []
        for kind, places in together.items():
            lanes = self.lanes(missing[places[0]])
            places.sort(key=lambda place: missing[place].tape_key)
            rounds = min(MOST_ROUNDS, max(1, every[kind] // (2 * workers * max(lanes, 1))))
            size = rounds * max(lanes, 1)
            groups += [Group(tuple(places[i : i + size]), lanes) for i in range(0, len(places), size)]
        return groups


def problem_key(cell: Cell) -> Any:
    """Return by what two cells have the same problem."""
    described = cell.identity.description["problem"]
    return id(cell.problem) if any(unknowns(described)) else digest(described)
