"""The executors that a study uses when it is given none: threads that play, processes that record."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from simsgd.executing.backends import Direct, Here, Pending, Sending
from simsgd.executing.parcels import SendingError
from simsgd.executing.signs import Sign
from simsgd.support import interrupts

WORTH = 2.0
"""Recordings that would take more seconds than this are made in processes of their own, which take about one to start."""


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Threads(ThreadPoolExecutor):
    """Threads that can be stopped: a shutdown that cancels is heard, like Ctrl-C, by what plays or records in them."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers, thread_name_prefix="simsgd")
        self._stop = threading.Event()

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Have a function called in one of the threads."""
        return super().submit(self._stoppable, function, *arguments, **named)

    def _stoppable(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        with interrupts.stopped_by(self._stop):
            return function(*arguments, **named)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End; with `cancel_futures` soon: what has begun breaks off at its next look."""
        if cancel_futures:
            self._stop.set()
        super().shutdown(wait, cancel_futures=cancel_futures)


@contextlib.contextmanager
def playing(threads: int | None = None) -> Iterator[Threads]:
    """Give the block threads that play: as many as there are cores, or as said, one for an accelerator.

    When the block ends by an exception, what they play is broken off.

    Example:
        >>> from simsgd.executing import pools
        >>> with pools.playing(2) as threads:
        ...     threads.submit(sum, (1, 2)).result()
        3
    """
    pool = Threads(threads or cores())
    try:
        yield pool
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


class Recorders:
    """Makes recordings: here while that is quick, and in processes as soon as the rest would take long.

    The first recording is made here, and timed. Processes are those of loky, which need no `if __name__ == "__main__"`. What
    cannot be sent to them is made here.

    Args:
        recordings: how many there will be.
        workers: how many processes; by default one for each core.
        worth: seconds that the rest must take, so that processes are started.
    """

    def __init__(self, recordings: int, workers: int | None = None, worth: float = WORTH) -> None:
        self.limit = 1
        self._left, self._worth, self._workers = recordings, worth, workers or cores()
        self._here = Direct(Here(), 1)
        self._there: Sending | None = None
        self._longest = 0.0
        self._sendable = True

    def submit(
        self, what: str, function: Callable[..., Any], arguments: Sequence[Any], further: Sequence[Any], sign: Sign | None
    ) -> Pending:
        """Have a recording made."""
        work = (what, function, arguments, further, sign)
        pays = self._left > 1 and self._left * self._longest > self._worth
        self._left -= 1
        if self._sendable and (self._there or pays):
            try:
                return self._processes().submit(*work)
            except SendingError:
                self._sendable, self.limit = False, 1
        begun = time.thread_time()  # not on the wall: a busy machine makes no recording worth a process
        future = self._here.submit(*work)
        self._longest = max(self._longest, time.thread_time() - begun)
        return future

    def prepared(self, what: str, thing: Any) -> Any:
        """Return it as it is: nothing is handed to recordings."""
        return thing

    def close(self, kill: bool = False) -> None:
        """End the processes, if there are any."""
        if self._there:
            self._there.executor.shutdown(wait=not kill, kill_workers=kill)  # type: ignore[call-arg]  # loky's own
            self._there = None

    def _processes(self) -> Sending:
        if self._there is None:
            from loky import ProcessPoolExecutor

            self._there = Sending(ProcessPoolExecutor(self._workers))
            self.limit = self._there.limit
        return self._there


@contextlib.contextmanager
def recording(recordings: int, workers: int | None = None, worth: float = WORTH) -> Iterator[Recorders]:
    """Give the block what makes so many recordings; when it ends by an exception, processes are ended at once.

    Example:
        >>> from simsgd.executing import pools
        >>> with pools.recording(8) as recorders:
        ...     recorders.submit("a recording", sum, [(1, 2)], [], None).result()
        Done(value=3)
    """
    recorders = Recorders(recordings, workers, worth)
    try:
        yield recorders
    except BaseException:
        recorders.close(kill=True)
        raise
    recorders.close()
