"""Ctrl-C that is always heard: an interrupt which came at a place that swallows exceptions is raised again at the next look.

Python raises KeyboardInterrupt between any two instructions, and some places swallow it: callbacks of the garbage collector
(JAX has one), destructors. There it is printed as "ignored", and the work would go on to its end: 9 of 420 interrupts of runs
that had just begun were lost so.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

_came: list[bool] = []
"""For each block that listens, the outermost first: whether Ctrl-C has come."""


_stopping = threading.local()
"""In a thread that can be stopped, the event that stops it."""


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Remember in a block that Ctrl-C has come, so that `look` can raise it again.

    It changes nothing outside the main thread, nor where somebody handles the signal in a way of their own.
    """
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield
        return
    _came.append(False)

    def note(number: int, frame: Any) -> None:
        _came[-1] = True
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _came.pop()


@contextlib.contextmanager
def stopped_by(event: threading.Event) -> Iterator[None]:
    """Let `look` raise KeyboardInterrupt in this thread, which Ctrl-C does not come to, once an event is set."""
    _stopping.event = event
    try:
        yield
    finally:
        del _stopping.event


def look() -> None:
    """Raise KeyboardInterrupt if Ctrl-C came while `listening`, and it was swallowed; or if this thread is stopped.

    Example:
        >>> from simsgd.support import interrupts
        >>> with interrupts.listening():
        ...     interrupts.look()
    """
    event: threading.Event | None = getattr(_stopping, "event", None)
    if event is not None and event.is_set():
        raise KeyboardInterrupt
    if _came and _came[-1] and threading.current_thread() is threading.main_thread():
        _came[-1] = False
        raise KeyboardInterrupt
