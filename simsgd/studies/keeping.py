"""Where a study keeps its outcomes: in memory, or in a folder (`simsgd.studies.store`)."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Protocol

from simsgd.executing.signs import Signs
from simsgd.provenance.identity import digest
from simsgd.studies.cells import Cell
from simsgd.studies.grid import Label, Place
from simsgd.studies.grouping import Group, Grouping
from simsgd.studies.outcomes import FAILED, Outcome
from simsgd.studies.store import Checkpoint, Described, Explanation, Store, described, of_group, saying


class Keeping(Protocol):
    """Keeps outcomes by all that their bits depend on."""

    def known(self, cells: int) -> str:
        """Return in words what is known of so many cells without looking for them."""

    def outcomes(self, cells: Mapping[Place, Cell]) -> dict[Place, Outcome]:
        """Return the outcomes that are there."""

    def save(self, outcomes: Mapping[Cell, Outcome]) -> None:
        """Keep the outcomes of a group."""

    def explain(self, cell: Cell) -> Explanation:
        """Say why a cell is there, or is not."""

    def name(self, group: Group, cells: Mapping[Place, Cell]) -> str:
        """Return a name for a group, the same whenever it has the same cells."""

    def checkpoint(self, name: str) -> Checkpoint | None:
        """Return a place for the state of a group in play."""

    def tape(self, cell: Cell) -> pathlib.Path | None:
        """Return where the cell's tape is kept."""

    def check_writable(self, axes: Mapping[str, Sequence[Label]]) -> None:
        """Raise OSError if nothing can be kept; note the axes of the study whose outcomes will come."""

    def signs(self) -> Signs | None:
        """Return where workers give signs of life until `finish`."""

    def finish(self) -> None:
        """Note that no more outcomes come for now."""


class Memory:
    """Keeps outcomes as long as the study lives; cells of which something is unknown too.

    Args:
        grouping: knows how many lanes play a cell.
    """

    def __init__(self, grouping: Grouping) -> None:
        self._grouping = grouping
        self._outcomes: dict[str, Outcome] = {}

    def known(self, cells: int) -> str:
        """Return how many of so many cells are known without looking for them."""
        return f"{len(self._outcomes):,} of {cells:,} cells made"

    def outcomes(self, cells: Mapping[Place, Cell]) -> dict[Place, Outcome]:
        """Return the outcomes that are there."""
        keys = {place: _key(cell) for place, cell in cells.items()}
        return {place: self._outcomes[key] for place, key in keys.items() if key in self._outcomes}

    def save(self, outcomes: Mapping[Cell, Outcome]) -> None:
        """Keep the outcomes of a group."""
        self._outcomes |= {_key(cell): outcome for cell, outcome in outcomes.items()}

    def explain(self, cell: Cell) -> Explanation:
        """Say why a cell is there, or is not."""
        outcome = self._outcomes.get(_key(cell))
        state = "missing" if outcome is None else FAILED if outcome.status == FAILED else "done"
        about = saying.line(saying.about({"cell": cell.identity.description, "lanes": 0}))
        error, trace = ("", "") if outcome is None else (outcome.error, outcome.trace)
        return Explanation(state, cell.identity.key, error=error, about=about, trace=trace)

    def name(self, group: Group, cells: Mapping[Place, Cell]) -> str:
        """Return a name for a group."""
        return digest([_key(cells[place]) for place in group.places])[:32]

    def checkpoint(self, name: str) -> None:
        """There is none."""

    def tape(self, cell: Cell) -> None:
        """Tapes are kept while cells that need them are played."""

    def check_writable(self, axes: Mapping[str, Sequence[Label]]) -> None:
        """Memory can be written."""

    def signs(self) -> None:
        """There are none."""

    def finish(self) -> None:
        """Nothing is left to do."""


class Shelf:
    """Keeps outcomes in a folder.

    Args:
        folder: of the study.
        grouping: knows how many lanes play a cell.
        tapes: whether tapes are kept too.
    """

    def __init__(self, folder: str | os.PathLike[str], grouping: Grouping, tapes: bool) -> None:
        self._folder, self._store, self._grouping, self._tapes = folder, Store(folder), grouping, tapes
        self._described: dict[Cell, Described] = {}
        self._signs: Signs | None = None

    def known(self, cells: int) -> str:
        """Return how many cells there are, and where; which are made is known to the folder only."""
        return f"{cells:,} cells, kept in {os.fspath(self._folder)!r}"

    def outcomes(self, cells: Mapping[Place, Cell]) -> dict[Place, Outcome]:
        """Return the outcomes that are there."""
        keys = {place: self._of(cell).key for place, cell in cells.items()}
        found = self._store.outcomes(keys.values())
        return {place: found[key] for place, key in keys.items() if key in found}

    def save(self, outcomes: Mapping[Cell, Outcome]) -> None:
        """Keep the outcomes of a group."""
        self._store.save({self._of(cell): outcome for cell, outcome in outcomes.items()})

    def explain(self, cell: Cell) -> Explanation:
        """Say why a cell is there, or is not."""
        return self._store.explain(self._of(cell))

    def name(self, group: Group, cells: Mapping[Place, Cell]) -> str:
        """Return a name for a group, the same in every process."""
        return of_group(self._of(cells[place]).key for place in group.places)[:32]

    def checkpoint(self, name: str) -> Checkpoint:
        """Return a place for the state of a group in play."""
        return self._store.checkpoint(name)

    def tape(self, cell: Cell) -> pathlib.Path | None:
        """Return where the cell's tape is kept."""
        return self._store.tape_path(cell.identity.tape) if self._tapes else None

    def check_writable(self, axes: Mapping[str, Sequence[Label]]) -> None:
        """Raise OSError if nothing can be kept; have the folder's text say the axes."""
        self._store.note(axes)
        self._store.check_writable()

    def signs(self) -> Signs:
        """Return where workers give signs of life until `finish`."""
        self._signs = Signs(self._store.running)
        return self._signs

    def finish(self) -> None:
        """Remove the signs of life, and have the folder's text say all that is there."""
        if self._signs:
            self._signs.clear()
        self._store.finish()

    def _of(self, cell: Cell) -> Described:
        if cell not in self._described:
            self._described[cell] = described(cell.identity, self._grouping.lanes(cell))
        return self._described[cell]


def _key(cell: Cell) -> str:
    key = cell.identity.key
    return key if not key.startswith("?") else f"{key} {id(cell)}"  # with something unknown it is equal to none
