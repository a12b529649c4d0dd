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


def look() -> None:
    """Raise KeyboardInterrupt if Ctrl-C has come while `listening`, and whoever it was raised at went on.

    Example:
        >>> from simsgd.support import interrupts
        >>> with interrupts.listening():
        ...     interrupts.look()
    """
    if _came and _came[-1] and threading.current_thread() is threading.main_thread():
        _came[-1] = False
        raise KeyboardInterrupt
