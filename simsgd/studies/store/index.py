"""Which cell is in which file: each file of a folder is read once, and what it says of its cells is remembered."""

from __future__ import annotations

import collections
import pathlib
import warnings
from dataclasses import dataclass
from typing import Any

from simsgd.studies.outcomes import FAILED
from simsgd.studies.store import folders, groups
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
        self._counts: collections.Counter[tuple[Any, str]] = collections.Counter()

    @property
    def failed(self) -> list[Kept]:
        """The cells that failed, in the order of their keys."""
        if not any(count for (_, status), count in self._counts.items() if status == FAILED):
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
            self._counts[old.about, old.status] -= 1
        self.kept[kept.key] = kept
        self.kin[kept.kin].add(kept.key)
        self._counts[kept.about, kept.status] += 1

    def text(self) -> list[str]:
        """Return in lines of plain text what there is."""
        statuses = collections.Counter[str]()
        rows: dict[Any, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        for (about, status), count in self._counts.items():
            statuses[status] += count
            rows[about][status] += count
        several = f": {_several(statuses)}" if statuses else ""
        lines = [f"{len(self.kept):,} cells in {len(self.files):,} files{several}"]
        if rows:
            head = ("problem", "protocol", "optimizer", "workers", "lanes", "cells")
            each = [(*(str(value) for _, value in about), _several(rows[about])) for about in sorted(rows, key=str)]
            lines += ["", show.in_text([head, *each])]
        lines += [f"\nfailed: {kept.key[:16]} {kept.error} ({kept.file})" for kept in self.failed[:SHOWN]]
        return [*lines, f"\n{self._damaged:,} damaged files, set aside"] if self._damaged else lines


def _several(counts: collections.Counter[str]) -> str:
    return ", ".join(f"{count:,} {status}" for status, count in sorted(counts.items()) if count) or "none"
