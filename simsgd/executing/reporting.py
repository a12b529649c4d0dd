"""How a study is getting on: one bar of its cells, with gradients per second and the time left, and a log line per group.

The log is that of `logging.getLogger("simsgd.studies")`, at the level INFO; it is quiet unless somebody listens:
`logging.basicConfig(level=logging.INFO)`.
"""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType

from simsgd.support.progress import bar

LOG = logging.getLogger("simsgd.studies")
EVERY = 0.5
"""Seconds between two looks of the bar, while no group ends."""


class Reporting:
    """Shows and logs what is done of a study.

    Args:
        cells: how many the study has.
        already: how many of them were there before it began.
        progress: whether to show the bar; None shows it on a terminal and in a notebook only.

    Example:
        >>> from simsgd.executing.reporting import Reporting
        >>> with Reporting(3, progress=False) as reporting:
        ...     reporting.finished("the first group", cells=2, gradients=1000)
        ...     reporting.done
        2
    """

    def __init__(self, cells: int, already: int = 0, progress: bool | None = None) -> None:
        self.cells, self.done = cells, already
        self._begun = self._looked = time.monotonic()
        self._kept = self._told = 0
        self._lock = threading.Lock()
        # no smoothing: cells end in groups, so the last few say little about those to come
        self._bar = bar(None, "cells", progress, total=cells, initial=already, unit="cell", smoothing=0.0)

    def played(self, gradients: int) -> None:
        """Count gradients that were just played in this process; any thread may call it."""
        with self._lock:
            self._told += gradients

    def finished(self, name: str, cells: int, gradients: float) -> None:
        """Count a group that has ended with its outcomes, and log it."""
        self._kept += int(gradients)
        self._count(cells)
        LOG.info("%s: %d cells, %s gradients; %s", name, cells, f"{gradients:,.0f}", self._said())

    def failed(self, name: str, cells: int, error: BaseException) -> None:
        """Count a group that raised an error, and log it."""
        self._count(cells)
        LOG.info("%s: %d cells failed, %s: %s; %s", name, cells, type(error).__name__, error, self._said())

    def look(self) -> None:
        """Bring the clock and the speed up to now, now and then."""
        if time.monotonic() - self._looked >= EVERY:
            self._show()
            self._bar.refresh()

    def __enter__(self) -> Reporting:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.close()

    def _count(self, cells: int) -> None:
        self.done += cells
        self._show()
        self._bar.update(cells)

    def _show(self) -> None:
        self._looked = time.monotonic()
        self._bar.set_postfix_str(f"{self._speed:,.0f} gradients/s", refresh=False)

    @property
    def _speed(self) -> float:
        """Gradients per second since the beginning, those of processes when their groups end."""
        return max(self._kept, self._told) / max(time.monotonic() - self._begun, 1e-9)

    def _said(self) -> str:
        return f"{self.done} of {self.cells} cells are done, {self._speed:,.0f} gradients/s"
