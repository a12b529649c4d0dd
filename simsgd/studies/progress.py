"""What a study says while it runs: one bar, and a line in the log for each group."""

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


class Progress:
    """One bar over cells, with the gradients that are played in a second.

    Args:
        cells: how many are to be made.
        progress: whether to show it; None shows it on a terminal and in a notebook only.
    """

    def __init__(self, cells: int, progress: bool | None) -> None:
        self._bar = bar(None, "cells", progress, total=cells)
        self._cells, self._done, self._failed = cells, 0, 0
        self._gradients, self._lock, self._begun = 0, threading.Lock(), time.perf_counter()

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.__exit__(kind, error, trace)

    def played(self, gradients: int) -> None:
        """Take in that so many more gradients have been played, in whichever thread."""
        with self._lock:
            self._gradients += gradients

    def finished(self, name: str, outcomes: Sequence[Outcome]) -> None:
        """Take in that a group is finished."""
        failed = sum(outcome.status == FAILED for outcome in outcomes)
        self._done, self._failed = self._done + len(outcomes), self._failed + failed
        self._bar.update(len(outcomes))
        note = f", {failed} failed" if failed else ""
        LOG.info("group %s: %d cells%s; %d of %d done", name[:12], len(outcomes), note, self._done, self._cells)

    def look(self) -> None:
        """Show what is known now."""
        with self._lock:
            gradients = self._gradients
        if gradients:
            rate = gradients / (time.perf_counter() - self._begun)
            failed = f", {self._failed} failed" if self._failed else ""
            self._bar.set_postfix_str(f"{rate:.3g} gradients/s{failed}", refresh=False)
