"""Which cell is in which file: each file of a folder is read once, and what it says of its cells is remembered."""

from __future__ import annotations

import collections
import heapq
import pathlib
import warnings
from dataclasses import dataclass
from typing import Any

from simsgd.studies.outcomes import FAILED
from simsgd.studies.store import folders, groups, saying
from simsgd.studies.store.groups import Group
from simsgd.support import show
from simsgd.support.files import FileFormatError, OtherFormatError

SHOWN = 20
"""Failed cells that a text names at most."""


class DisagreementWarning(UserWarning):
    """Two files of a study's folder hold other bits for one cell."""


@dataclass(frozen=True)
class Kept:
    """Where a cell is kept, and what is said of it beside its numbers."""

    key: str
    file: str
    row: int
    digest: str
    kin: str
    about: tuple[tuple[str, str | int], ...]
    status: str
    error: str


class _Row:
    """Cells that share a row of the text: how many there are of each status, and over what they are spread."""

    def __init__(self) -> None:
        self.statuses: collections.Counter[str] = collections.Counter()
        self.over: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in saying.OVER}

    def add(self, kept: Kept, count: int) -> None:
        """Count a cell in, or out."""
        self.statuses[kept.status] += count
        for name, values in self.over.items():
            values[str(dict(kept.about).get(name, ""))] += count

    def spread(self, name: str) -> str:
        """Return in short which values there are."""
        return saying.spread([value for value, count in self.over[name].items() if count])


class Index:
    """The cells in the files of a folder.

    Args:
        folder: of the files; it need not be there.

    Attributes:
        files: the names of those that were read.
        kept: where each cell is, by its key.
        kin: the keys of cells that differ by environment, code or data only.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self._damaged = 0
        self._skipped: set[str] = set()
        self._empty()

    def _empty(self) -> None:
        self.files: set[str] = set()
        self.kept: dict[str, Kept] = {}
        self.kin: dict[str, set[str]] = collections.defaultdict(set)
        self._rows: dict[tuple[str, ...], _Row] = collections.defaultdict(_Row)

    @property
    def failed(self) -> list[Kept]:
        """The cells that failed, in the order of their keys."""
        if not any(row.statuses[FAILED] for row in self._rows.values()):
            return []
        return sorted((kept for kept in self.kept.values() if kept.status == FAILED), key=lambda kept: kept.key)

    def update(self, written: str = "") -> None:
        """Take what files have that were not there before, but for one just written; begin anew if one is gone."""
        names = set(folders.names(self._folder))
        self._damaged = sum(name.endswith(folders.DAMAGED) for name in names)
        there = {name for name in names if groups.NAME.fullmatch(name)}
        if not self.files <= there:
            self._empty()
        for name in sorted(there - self.files - self._skipped - {written}):
            if group := self.load(name):
                self.take(name, group)

    def load(self, name: str) -> Group | None:
        """Return the group of a file; None if it is gone, or cannot be read, which is warned of."""
        path, said = self._folder / name, ""
        try:
            return groups.load(path)
        except FileNotFoundError:
            pass
        except OtherFormatError as error:
            said = f"{error}; what it holds is computed again"
        except FileFormatError as error:
            said = folders.set_aside(path, error)
        except OSError as error:
            said = f"{path} cannot be read ({error.strerror}); what it holds is computed again"
        if path.exists():
            self._skipped.add(name)
        if name in self.files:
            self._empty()
        folders.warn(said)  # last, as a warning may be made an error
        return None

    def take(self, name: str, group: Group) -> None:
        """Remember where the cells of a file are; warn if another file says otherwise of one."""
        self.files.add(name)
        self._skipped.discard(name)
        others = []
        for row, cell in enumerate(group.cells):
            about, fields = tuple(cell["about"].items()), cell["fields"]
            kept = Kept(cell["key"], name, row, cell["digest"], cell["kin"], about, fields["status"], fields["error"])
            old = self.kept.get(kept.key)
            if old is None or old.file == name or (old.status == FAILED and kept.status != FAILED):
                self._put(kept, old)
            elif FAILED not in (old.status, kept.status) and old.digest != kept.digest:
                others.append(old)
        if others:
            warnings.warn(
                f"{self._folder / others[0].file} and {self._folder / name} hold other bits for the cell {others[0].key[:16]} "
                f"({len(others)} in all), which ought not to be: those of the first are used. Compute one anew in another "
                "folder and compare, and give the wrong file another name; if both were made here, something that its bits "
                "depend on is not in its identity",
                DisagreementWarning,
                stacklevel=2,
            )

    def _put(self, kept: Kept, old: Kept | None) -> None:
        if old is not None:
            self._rows[_row(old)].add(old, -1)
        self.kept[kept.key] = kept
        self.kin[kept.kin].add(kept.key)
        self._rows[_row(kept)].add(kept, 1)

    def near(self, about: dict[str, Any], count: int) -> list[Kept]:
        """Return so many cells, those that are called most alike first: few parts are others, and the seed is near."""
        wanted = set(about.items())

        def far(kept: Kept) -> tuple[int, float, str]:
            said = dict(kept.about)
            seeds = said.get("seed"), about.get("seed")
            apart = abs(seeds[0] - seeds[1]) if isinstance(seeds[0], int) and isinstance(seeds[1], int) else 0
            return len(wanted - set(kept.about)), apart, kept.key

        return heapq.nsmallest(count, self.kept.values(), key=far)

    def text(self) -> list[str]:
        """Return in lines of plain text what there is."""
        rows = {named: row for named, row in self._rows.items() if any(row.statuses.values())}
        statuses = sum((row.statuses for row in rows.values()), collections.Counter[str]())
        several = f": {_several(statuses)}" if statuses else ""
        lines = [f"{counted(len(self.kept), 'cell')} in {counted(len(self.files), 'file')}{several}"]
        if rows:
            head = (*saying.ROW, "step sizes", "seeds", "cells")
            each = [
                (*named, *(row.spread(name) for name in saying.OVER), _several(row.statuses))
                for named, row in sorted(rows.items())
            ]
            columns = [column for column in zip(head, *each, strict=True) if any(column[1:])]
            lines += ["", show.in_text(list(zip(*columns, strict=True)))]
        failed = self.failed
        for kept in failed[:SHOWN]:
            lines += [f"\nfailed: {kept.key[:16]} {kept.error} ({kept.file})", f"        {saying.line(dict(kept.about))}"]
        lines += [f"\n… and {len(failed) - SHOWN:,} more that failed"] if len(failed) > SHOWN else []
        return [*lines, f"\n{counted(self._damaged, 'damaged file')}, set aside"] if self._damaged else lines


def counted(count: int, what: str, several: str = "") -> str:
    """Return a number of things, such as "1 tape" or "1,200 tapes"."""
    return f"{count:,} {what if count == 1 else several or what + 's'}"


def _row(kept: Kept) -> tuple[str, ...]:
    said = dict(kept.about)
    return tuple(str(said.get(name, "")) for name in saying.ROW)


def _several(counts: collections.Counter[str]) -> str:
    return ", ".join(f"{count:,} {status}" for status, count in sorted(counts.items()) if count) or "none"
