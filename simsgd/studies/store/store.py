"""The store: a folder of finished cells, from which a study takes what is there and to which it adds what was missing."""

from __future__ import annotations

import collections
import os
import pathlib
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from simsgd.provenance import Identity
from simsgd.studies.outcomes import FAILED, Outcome
from simsgd.studies.store import folders, groups, keys
from simsgd.studies.store.checkpoints import ENDING, Checkpoint
from simsgd.studies.store.groups import Group
from simsgd.studies.store.keys import Described
from simsgd.support import checks, sealed, show
from simsgd.support.files import FileFormatError, OtherFormatError

NAMES = re.compile(r"[\w.-]{1,100}")
"""Names that checkpoints may have."""
SHOWN = 20
"""Failed cells, and differences, that a text names at most."""
CLOSEST = 50
"""Stale cells of which the closest is looked for."""


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


class Store:
    """Finished cells in a folder.

    Several processes may have stores of one folder: files are written whole, under names that say what they hold, so a cell
    that two of them computed is the same twice. What others have added is found at the next question.

    Args:
        folder: made if it is missing, with the folders above it.

    Raises:
        OSError: if it cannot be made or read, is a file, or holds something else; the message says what to do.

    Example:
        >>> import tempfile
        >>> from simsgd.provenance import Identity
        >>> from simsgd.studies import Outcome
        >>> from simsgd.studies.store import Store, described
        >>> cell = described(Identity({"seed": 1}))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Store(folder).save({cell: Outcome("completed", {"time": [0.0, 1.0]}, {"updates": 10})})
        ...     found = Store(folder).outcomes([cell.key])
        >>> found[cell.key].measures
        {'updates': 10.0}
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        checks.instance("folder", folder, (str, os.PathLike), '"results/my_study"')
        self.folder = pathlib.Path(folder).absolute()
        folders.prepare(self.folder)
        self._skipped: set[str] = set()
        self._damaged = 0
        self._empty()

    def _empty(self) -> None:
        self._seen: set[str] = set()
        self._kept: dict[str, Kept] = {}
        self._kin: dict[str, set[str]] = collections.defaultdict(set)
        self._counts: collections.Counter[tuple[Any, str]] = collections.Counter()

    def outcomes(self, wanted: Iterable[str]) -> dict[str, Outcome]:
        """Return the outcomes of those cells that are there, by their keys, failed ones included.

        A damaged file is set aside with a warning, and its cells are not there.
        """
        self._scan()
        wanted = dict.fromkeys(wanted)
        rows: dict[str, list[Kept]] = collections.defaultdict(list)
        for kept in (self._kept[key] for key in wanted if key in self._kept):
            rows[kept.file].append(kept)
        found = {}
        for name, those in rows.items():
            group = self._load(name)
            if group is None:
                return self.outcomes(wanted)  # other files may have its cells
            found.update({kept.key: group.outcome(kept.row) for kept in those})
        return found

    def save(self, outcomes: Mapping[Described, Outcome]) -> pathlib.Path:
        """Keep the outcomes of a group of cells, as one file, and return its path.

        Raises:
            ValueError: if there is none.
            OSError: if the folder cannot be written, or the disk is full; what was there stays.
        """
        if not outcomes:
            raise ValueError("outcomes must hold at least one cell, got none")
        name, group = groups.save(folders.made(self._cells), outcomes)
        self._skipped.add(name)  # not to be read again
        self._scan()
        self._skipped.discard(name)
        self._seen.add(name)
        self._take(name, group)
        self._tell()
        return self._cells / name

    @property
    def failed(self) -> dict[str, str]:
        """What failed cells raised, one line each, by their keys."""
        self._scan()
        return {key: kept.error for key, kept in self._kept.items() if kept.status == FAILED}

    def explain(self, cell: Described) -> Explanation:
        """Return why a cell is in the folder, or is not: what differs from a stale one."""
        self._scan()
        if kept := self._kept.get(cell.key):
            return Explanation("failed" if kept.status == FAILED else "done", cell.key, self._cells / kept.file, kept.error)
        best = Explanation("missing", cell.key)
        for key in sorted(self._kin.get(cell.kin, ()))[:CLOSEST]:
            kept = self._kept.get(key)
            if kept and (group := self._load(kept.file)):
                differences = keys.difference(group.described(kept.row).description, cell.description)
                if best.state == "missing" or len(differences) < len(best.differences):
                    best = Explanation("stale", cell.key, self._cells / kept.file, "", differences)
        return best

    def tape_path(self, identity: Identity) -> pathlib.Path:
        """Return where a tape is kept, by all that its bits depend on, in a folder that is there.

        Args:
            identity: of the tape that a cell plays, `cell.identity.tape`.

        Raises:
            NotStorableError: if part of it cannot be identified.
            OSError: if the folder cannot be made.
        """
        return folders.made(self.folder / folders.TAPES) / f"{keys.described(identity).key[:32]}.nc"

    def checkpoint(self, name: str) -> Checkpoint:
        """Return a place for the state of a piece of work, by a name of letters, digits, - and _.

        If it begins like the name of a group's file, with `of_group`, it is swept once that group is there.
        """
        if not isinstance(name, str) or not NAMES.fullmatch(name) or name.startswith("."):
            raise ValueError(f"name must be letters, digits, -, _ and points, at most 100, got {name!r:.60}")
        return Checkpoint(self.folder / folders.RUNNING / (name + ENDING))

    def check_writable(self) -> None:
        """Raise OSError if nothing can be kept here, before anything is computed for it; sweep checkpoints of what is done."""
        folders.made(self._cells)
        sealed.prepare()
        self._scan()
        self._sweep()
        folders.write(self.folder / folders.CONTENTS, self._summary())

    def summary(self) -> str:
        """Return in plain text what the folder holds."""
        self._scan()
        return self._summary()

    def _summary(self) -> str:
        statuses = collections.Counter[str]()
        rows: dict[Any, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        for (about, status), count in self._counts.items():
            statuses[status] += count
            rows[about][status] += count
        several = ", ".join(f"{count:,} {status}" for status, count in sorted(statuses.items()) if count)
        lines = [f"{len(self._kept):,} cells in {len(self._seen):,} files" + (f": {several}" if several else "")]
        if rows:
            head = ("problem", "protocol", "optimizer", "workers", "lanes", "cells")
            lines += ["", show.in_text([head, *(_row(about, counts) for about, counts in sorted(rows.items(), key=str))])]
        lines += [f"\nfailed: {kept.key[:16]} {kept.error} ({kept.file})" for kept in self._failed()[:SHOWN]]
        for what, count in self._beside().items():
            lines += [f"\n{count:,} {what}"] if count else []
        return "\n".join(lines) + "\n"

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r}, {len(self._kept)} cells)"

    @property
    def _cells(self) -> pathlib.Path:
        return self.folder / folders.CELLS

    def _failed(self) -> list[Kept]:
        if not any(count for (_, status), count in self._counts.items() if status == FAILED):
            return []
        return sorted((kept for kept in self._kept.values() if kept.status == FAILED), key=lambda kept: kept.key)

    def _beside(self) -> dict[str, int]:
        return {
            "damaged files, set aside": self._damaged,
            "tapes": sum(name.endswith(".nc") for name in folders.names(self.folder / folders.TAPES)),
            "groups begun (running/)": sum(name.endswith(ENDING) for name in folders.names(self.folder / folders.RUNNING)),
        }

    def _scan(self) -> None:
        """Take what files have that were not there before; begin anew if one is gone."""
        names = set(folders.names(self._cells))
        self._damaged = sum(name.endswith(folders.DAMAGED) for name in names)
        there = {name for name in names if groups.NAME.fullmatch(name)}
        if not self._seen <= there:
            self._empty()
        for name in sorted(there - self._seen - self._skipped):
            if group := self._load(name):
                self._seen.add(name)
                self._take(name, group)

    def _sweep(self) -> None:
        """Delete the checkpoints of groups that are there: their process was killed before it could."""
        failed = {kept.file for kept in self._failed()}
        done = {name.partition("-")[0] for name in self._seen - failed}
        for name in folders.names(self.folder / folders.RUNNING):
            if name.endswith(ENDING) and name[: keys.SHORT] in done:
                self.checkpoint(name.removesuffix(ENDING)).remove()

    def _load(self, name: str) -> Group | None:
        """Return the group of a file; None if it is gone, or cannot be read, which is warned of."""
        path = self._cells / name
        try:
            return groups.load(path)
        except FileNotFoundError:
            pass
        except OtherFormatError as error:
            folders.warn(f"{error}; what it holds is computed again")
        except FileFormatError as error:
            folders.set_aside(path, error)
        except OSError as error:
            folders.warn(f"{path} cannot be read ({error.strerror}); what it holds is computed again")
        if path.exists():
            self._skipped.add(name)
        if name in self._seen:
            self._empty()
        return None

    def _take(self, name: str, group: Group) -> None:
        """Remember where the cells of a file are."""
        for row, cell in enumerate(group.cells):
            about, fields = tuple(cell["about"].items()), cell["fields"]
            said = cell["digest"], cell["kin"], about, fields["status"], fields["error"]
            kept = Kept(cell["key"], name, row, *said)
            old = self._kept.get(kept.key)
            if old is None or old.file == name or self._is_better(kept, old):
                self._put(kept, old)

    def _is_better(self, kept: Kept, old: Kept) -> bool:
        """Say which of two files counts for a cell: one where it did not fail; warn if they disagree."""
        if FAILED in (kept.status, old.status) or kept.digest == old.digest:
            return old.status == FAILED and kept.status != FAILED
        warnings.warn(
            f"{self._cells / old.file} and {self._cells / kept.file} hold other bits for the cell {kept.key[:16]}, which ought "
            f"not to be: the first is used. Compute it alone, by cell.simulate(), and set the wrong file aside under another "
            "name; if both were made here, something that its bits depend on is not in its identity",
            DisagreementWarning,
            stacklevel=2,
        )
        return False

    def _put(self, kept: Kept, old: Kept | None) -> None:
        if old is not None:
            self._counts[old.about, old.status] -= 1
        self._kept[kept.key] = kept
        self._kin[kept.kin].add(kept.key)
        self._counts[kept.about, kept.status] += 1

    def _tell(self) -> None:
        """Write the text of what there is; that it cannot be written loses nothing."""
        try:
            folders.write(self.folder / folders.CONTENTS, self._summary())
        except OSError as error:
            folders.warn(f"{error} (the cells are kept; this text only says which)")


def _row(about: Any, counts: collections.Counter[str]) -> tuple[str, ...]:
    several = ", ".join(f"{count:,} {status}" for status, count in sorted(counts.items()) if count)
    return (*(str(value) for _, value in about), several or "none")
