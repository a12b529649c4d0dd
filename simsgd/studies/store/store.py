"""The store: a folder of finished cells, from which a study takes what is there and to which it adds what was missing."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from simsgd.provenance import Identity
from simsgd.studies.outcomes import FAILED, Outcome
from simsgd.studies.store import folders, groups, keys, saying
from simsgd.studies.store.checkpoints import ENDING, Checkpoint
from simsgd.studies.store.explanation import Explanation
from simsgd.studies.store.index import Index, Kept, counted
from simsgd.studies.store.keys import Described
from simsgd.support import checks, sealed

NAMES = re.compile(r"[\w.-]{1,100}")
"""Names that checkpoints may have."""
NOTE = "last study: "
SIGNS = ".alive"
"""Ends the names of the files that workers touch while they work."""
OVER = 3600.0
"""Seconds without a touch after which such a file is deleted, by the clock of the disk."""
CLOSEST = 50
"""Cells among which the closest is looked for."""


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
        self.running = self.folder / folders.RUNNING
        self._cells = self.folder / folders.CELLS
        self._index = Index(self._cells)
        self._note = ""

    def outcomes(self, wanted: Iterable[str]) -> dict[str, Outcome]:
        """Return the outcomes of those cells that are there, by their keys, failed ones included.

        A damaged file is set aside with a warning, and its cells are not there.
        """
        self._index.update()
        wanted = dict.fromkeys(wanted)
        rows: dict[str, list[Kept]] = collections.defaultdict(list)
        for kept in (self._index.kept[key] for key in wanted if key in self._index.kept):
            rows[kept.file].append(kept)
        found = {}
        for name, those in rows.items():
            group = self._index.load(name)
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
        self._index.update(written=name)
        self._index.take(name, group)
        try:
            self._tell()
        except OSError as error:
            folders.warn(f"{error} (the cells are kept; this text only says which)")
        return self._cells / name

    @property
    def failed(self) -> dict[str, str]:
        """What failed cells raised, one line each, by their keys."""
        self._index.update()
        return {kept.key: kept.error for kept in self._index.failed}

    def explain(self, cell: Described) -> Explanation:
        """Return why a cell is in the folder, or is not: what differs from a stale one, or from the nearest that is kept.

        The nearest is looked for among the 50 that are called most alike.
        """
        self._index.update()
        about = saying.line(cell.about)
        if kept := self._index.kept.get(cell.key):
            state = "failed" if kept.status == FAILED else "done"
            trace = self._trace(kept) if state == "failed" else ""
            return Explanation(state, cell.key, self._cells / kept.file, kept.error, about=about, trace=trace)
        found = self._stale(cell) or self._nearest(cell) or Explanation("missing", cell.key)
        return dataclasses.replace(found, about=about)

    def _trace(self, kept: Kept) -> str:
        group = self._index.load(kept.file)
        return group.outcome(kept.row).trace if group else ""

    def _stale(self, cell: Described) -> Explanation | None:
        best = None
        for kept in map(self._index.kept.get, sorted(self._index.kin.get(cell.kin, ()))[:CLOSEST]):
            if kept and (group := self._index.load(kept.file)):
                there = group.described(kept.row).description
                differences = keys.difference(there, cell.description)
                if best is None or len(differences) < len(best.differences):
                    changes = saying.changes(there, cell.description)
                    best = Explanation("stale", cell.key, self._cells / kept.file, "", differences, tuple(changes))
        return best

    def _nearest(self, cell: Described) -> Explanation | None:
        """Return what differs from the nearest of those cells that are called most alike; None if there is none."""
        best: tuple[list[str], Kept, dict[str, Any]] | None = None
        files: dict[str, groups.Group | None] = {}
        for kept in self._index.near(cell.about, CLOSEST):
            group = files[kept.file] if kept.file in files else files.setdefault(kept.file, self._index.load(kept.file))
            if group:
                there = group.described(kept.row).description
                changes = saying.changes(there, cell.description)
                if best is None or len(changes) < len(best[0]):
                    best = changes, kept, there
        if best is None:
            return None
        changes, kept, there = best
        differences = keys.difference(there, cell.description)
        return Explanation("missing", cell.key, self._cells / kept.file, "", differences, tuple(changes), nearest=kept.key)

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
        return Checkpoint(self.running / (name + ENDING))

    def check_writable(self) -> None:
        """Raise OSError if nothing can be kept here, before anything is computed for it; sweep checkpoints of what is done."""
        folders.made(self._cells)
        sealed.prepare()
        self._index.update()
        self._sweep()
        self._tell()
        self._sweep_signs()

    def note(self, axes: Mapping[str, Sequence[Any]]) -> None:
        """Have the text of the contents say which study was made last, by its axes and their labels; no key depends on it."""
        said = " × ".join(f"{name} ({saying.spread([str(label) for label in labels])})" for name, labels in axes.items())
        self._note = NOTE + " ".join(said.split())

    def finish(self) -> None:
        """Bring the text of the contents up to date, and delete signs of life that are long over; a failure is warned of."""
        try:
            self._index.update()
            self._tell()
            self._sweep_signs()
        except OSError as error:
            folders.warn(f"{error} (the cells are kept)")

    def summary(self) -> str:
        """Return in plain text what the folder holds."""
        self._index.update()
        return self._text()

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r})"

    def _text(self) -> str:
        lines = self._index.text()
        tapes, begun = (
            sum(name.endswith(ending) for name in folders.names(self.folder / place))
            for place, ending in ((folders.TAPES, ".nc"), (folders.RUNNING, ENDING))
        )
        lines += [f"\n{counted(tapes, 'tape')}"] if tapes else []
        lines += [f"\n{counted(begun, 'group')} begun (running/)"] if begun else []
        lines += [f"\n{note}"] if (note := self._note or self._noted()) else []
        return "\n".join(lines) + "\n"

    def _tell(self) -> None:
        folders.write(self.folder / folders.CONTENTS, self._text())

    def _noted(self) -> str:
        """Return what the text says of the last study, which perhaps another process made."""
        try:
            lines = (self.folder / folders.CONTENTS).read_text("utf-8").splitlines()
        except (OSError, ValueError):
            return ""
        return next((line for line in lines if line.startswith(NOTE)), "")

    def _sweep_signs(self) -> None:
        """Delete the signs of life of processes that were killed; what was written just now tells the disk's time."""
        now = (self.folder / folders.CONTENTS).stat().st_mtime
        for name in folders.names(self.running):
            path = self.running / name
            with contextlib.suppress(FileNotFoundError):
                if name.endswith(SIGNS) and now - path.stat().st_mtime > OVER:
                    path.unlink()

    def _sweep(self) -> None:
        """Delete the checkpoints of groups that are there: their process was killed before it could."""
        failed = {kept.file for kept in self._index.failed}
        done = {name.partition("-")[0] for name in self._index.files - failed}
        for name in folders.names(self.running):
            if name.endswith(ENDING) and name[: keys.SHORT] in done:
                self.checkpoint(name.removesuffix(ENDING)).remove()
