"""The list of all presets, in one place: what the README's table, the scenarios and the tests go through."""

from __future__ import annotations

from simsgd.methods import (
    asynchrony,
    compressed,
    differences,
    elastic,
    heterogeneous,
    local,
    momentum,
    nodes,
    outer,
    stale,
    synchronous,
    tables,
    variance,
)
from simsgd.methods.entry import Entry

FAMILIES = (
    synchronous,
    asynchrony,
    heterogeneous,
    tables,
    stale,
    momentum,
    local,
    nodes,
    outer,
    elastic,
    variance,
    compressed,
    differences,
)
"""The files of the shelf, in its order; each has its `ENTRIES`."""
SHELF: tuple[Entry, ...] = tuple(entry for family in FAMILIES for entry in family.ENTRIES)
"""All presets, by family."""
