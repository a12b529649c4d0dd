"""Runs that are asked for again are not made again: remembered by their identities, in memory and in a folder.

Laws of this module: a run is given back only for the identity that it was made under, and one of whose identity anything is
unknown is made anew each time. What was remembered equals what would be made, to the bit.
"""

from __future__ import annotations

import collections
import contextlib
import pathlib
from collections.abc import Mapping
from typing import Any

from simsgd.identifying import identity
from simsgd.run import Run
from simsgd.simulation import simulate
from simsgd.support import locks
from simsgd.support.files import FileFormatError

MOST_BYTES = 2**30
"""Runs in memory have at most so many bytes together; those whose last use is the longest ago go first."""


class Remembered:
    """Runs by their identities.

    Args:
        folder: where they are kept for other processes, one file for each; None keeps them in this process's memory only.

    Attributes:
        made: how many runs were made here, and not found.

    Example:
        >>> import simsgd as sg
        >>> from simsgd.studies.remembering import Remembered
        >>> remembered = Remembered()
        >>> cluster = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=0.1))
        >>> given = {"protocol": sg.AsyncSGD(), "problem": sg.problems.quadratic(), "cluster": cluster,
        ...          "optimizer": sg.optimizers.sgd(0.1), "until": sg.Updates(50)}
        >>> remembered.run(given) is remembered.run(given), remembered.made
        (True, 1)
    """

    def __init__(self, folder: pathlib.Path | None = None) -> None:
        self.folder, self.made = folder, 0
        self._runs: collections.OrderedDict[str, Run] = collections.OrderedDict()

    def run(self, given: Mapping[str, Any]) -> Run:
        """Return the run of the arguments of `simulate` by name: one that is there, or a new one.

        Its arrays cannot be written to, as others may be given the same run.
        """
        asked = identity(**given)
        if asked.unknown:
            return self._make(given)
        if asked.key not in self._runs:
            self._keep(asked.key, self._shared(asked.key, given) if self.folder else self._make(given))
        self._runs.move_to_end(asked.key)
        return self._runs[asked.key]

    def _shared(self, key: str, given: Mapping[str, Any]) -> Run:
        """Return a run from the folder, or make it and put it there, while other processes that want it wait."""
        assert self.folder is not None
        path = self.folder / f"{key}.nc"
        with locks.waiting(self.folder / f"{key}.lock"):
            with contextlib.suppress(FileNotFoundError, FileFormatError):  # a damaged one is made again
                found = Run.load(path)
                if found.identity.key == key:
                    return found
            made = self._make(given)
            if made.identity.key == key:
                made.save(path)
            return made

    def _make(self, given: Mapping[str, Any]) -> Run:
        self.made += 1
        run = simulate(**given, progress=False)
        return run

    def _keep(self, key: str, run: Run) -> None:
        """Keep a run in memory, and forget others where there are too many."""
        for variable in run.dataset.variables.values():
            if hasattr(variable.values, "flags"):
                variable.values.flags.writeable = False
        self._runs[key] = run
        while len(self._runs) > 1 and sum(each.dataset.nbytes for each in self._runs.values()) > MOST_BYTES:
            self._runs.popitem(last=False)
