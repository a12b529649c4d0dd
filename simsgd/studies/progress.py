"""How a study is getting on: one bar of its cells, with gradients per second and the time left, and a log line per group.

The log is that of `logging.getLogger("simsgd.studies")`, at the level INFO; it is quiet unless somebody listens:
`logging.basicConfig(level=logging.INFO)`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from simsgd.studies.outcomes import FAILED, Outcome
from simsgd.support.progress import bar

LOG = logging.getLogger("simsgd.studies")
EVERY = 0.5
"""Seconds between two looks of the bar, while no group ends."""


class Progress:
    """One bar over cells, with the gradients that are played in a second, and the time left.

    Args:
        cells: how many the study has.
        progress: whether to show it; None shows it on a terminal and in a notebook only.
        already: how many cells were there before.
    """

    def __init__(self, cells: int, progress: bool | None, already: int = 0) -> None:
        self._cells, self._done, self._failed = cells, already, 0
        self._begun = self._looked = time.monotonic()
        self._told = self._kept = 0
        self._lock = threading.Lock()
        # no smoothing: cells end in groups, so the last few say little about those to come
        self._bar = bar(None, "cells", progress, total=cells, initial=already, unit="cell", smoothing=0.0)

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.__exit__(kind, error, trace)

    def played(self, gradients: int) -> None:
        """Take in that so many more gradients have been played, in whichever thread."""
        with self._lock:
            self._told += gradients

    def finished(self, name: str, outcomes: Sequence[Outcome]) -> None:
        """Take in that a group is finished."""
        gradients = sum(int(outcome.measures.get("gradients", 0)) for outcome in outcomes)
        failed = sum(outcome.status == FAILED for outcome in outcomes)
        self._kept, self._done, self._failed = self._kept + gradients, self._done + len(outcomes), self._failed + failed
        self._show()
        self._bar.update(len(outcomes))
        told = f"{len(outcomes)} cells{f', {failed} failed' if failed else ''}, {gradients:,} gradients"
        LOG.info("group %s: %s; %d of %d cells are done, %s", name[:12], told, self._done, self._cells, self._speed)

    def look(self) -> None:
        """Bring the clock and the speed up to now, now and then."""
        if time.monotonic() - self._looked >= EVERY:
            self._show()
            self._bar.refresh()

    def _show(self) -> None:
        self._looked = time.monotonic()
        failed = f", {self._failed} failed" if self._failed else ""
        self._bar.set_postfix_str(f"{self._speed}{failed}", refresh=False)

    @property
    def _speed(self) -> str:
        """Gradients per second since the beginning: those told while they are played, or those of groups that have ended."""
        with self._lock:
            gradients = max(self._kept, self._told)
        return f"{gradients / max(time.monotonic() - self._begun, 1e-9):,.0f} gradients/s"
