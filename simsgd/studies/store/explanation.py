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
        file: the file that holds it, or the stale one closest to it.
        error: what a failed cell raised, one line.
        differences: between the stale one and this: for each place of the description (what it is there, what it is here).
    """

    state: str
    key: str
    file: pathlib.Path | None = None
    error: str = ""
    differences: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)

    def __str__(self) -> str:
        name = f"cell {self.key[:16]}"
        if self.state == "done":
            return f"{name} is done: {self.file}"
        if self.state == "failed":
            return f"{name} failed: {self.error} ({self.file}); it is tried again on request only"
        if self.state == "missing":
            return f"{name} is not there, and none that differs from it by code, versions or device only"
        shown = [f"  {place}: {there} -> {here}" for place, (there, here) in self.differences.items()]
        more = [f"  … and {len(shown) - SHOWN} more"] if len(shown) > SHOWN else []
        return "\n".join([f"{name} is stale: {self.file} has it as made with", *shown[:SHOWN], *more])
