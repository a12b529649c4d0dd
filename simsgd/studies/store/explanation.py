"""Why a cell is in a folder, or is not."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SHOWN = 20
"""Differences that a text names at most."""


@dataclass(frozen=True)
class Explanation:
    """Why a cell is in a folder, or is not.

    Attributes:
        state: "done"; "failed"; "stale", if it is there as made by other code or versions, on another device, or with other
            lanes; or "missing".
        key: of the cell.
        file: the file that holds it; or the closest stale one, or the nearest that is kept.
        error: what a failed cell raised, one line.
        trace: the last lines of its traceback, as far as they are known.
        differences: between the stale or nearest one and this: for each place of the description (what it is there, what it
            is here).
        changes: the same in short for people, a line each: what a run and its tape both say is said once, and hashes are not
            shown.
        nearest: for a missing cell the key of that kept one, of those looked at, which differs in the fewest places; "" if
            none is kept.
        about: what the cell is, in one line.
        coordinates: where in the study it is, in one line.
    """

    state: str
    key: str
    file: pathlib.Path | None = None
    error: str = ""
    differences: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    changes: tuple[str, ...] = ()
    nearest: str = ""
    about: str = ""
    coordinates: str = ""
    trace: str = ""

    def __str__(self) -> str:
        name = f"cell {self.key[:16]}"
        what = [f"  {said}" for said in (self.coordinates, self.about) if said]
        shown = [f"    {change}" for change in self.changes[:SHOWN]]
        shown += [f"    … and {len(self.changes) - SHOWN} more"] if len(self.changes) > SHOWN else []
        if self.state == "done":
            return "\n".join([f"{name} is done: {self.file or 'in memory'}", *what])
        if self.state == "failed":
            trace = [f"    {line}" for line in self.trace.splitlines()]
            where = self.file or "in memory"
            return "\n".join([f"{name} failed: {self.error} ({where}); it is tried again on request only", *what, *trace])
        if self.state == "stale":
            return "\n".join([f"{name} is stale: {self.file} has it as made otherwise", *what, "  since then:", *shown])
        if not self.nearest:
            return "\n".join([f"{name} is not there", *what])
        near = f"  nearest: cell {self.nearest[:16]} ({self.file}) differs in {len(self.changes)} "
        near += "place:" if len(self.changes) == 1 else "places:"
        return "\n".join([f"{name} is not there, and none that differs by code, versions or device only", *what, near, *shown])
