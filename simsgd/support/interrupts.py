"""Ctrl-C that is always heard, and breaks nothing: one that comes at a bad place is raised at the next look instead.

Python raises KeyboardInterrupt between any two instructions, and there are bad places. Some swallow it: callbacks
of the garbage collector (JAX has one), destructors. There it is printed as "ignored", and the work would go on to its end: 9 of
420 interrupts of runs that had just begun were lost so. Others make an error of their own of it, as a cache of JAX does where
it compares keys. And where JAX sets what it is tracing, or sets it back, an exception leaves it half set: everything that uses
JAX fails from then on, until Python is started anew.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

SETS_STATE = frozenset({"__enter__", "__exit__", "set_trace", "set_axis_env"})
"""The functions of JAX that set what it is tracing; the last two are called where its code does without a context manager."""

_came: list[bool] = []
"""For each block that listens, the outermost first: whether Ctrl-C has come."""


_stopping = threading.local()
"""In a thread that can be stopped, the event that stops it."""


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Remember in a block that Ctrl-C has come, so that `look` can raise it again, at the latest where the block ends.

    It changes nothing outside the main thread, nor where somebody handles the signal in a way of their own.
    """
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield
        return
    _came.append(False)

    def note(number: int, frame: Any) -> None:
        _came[-1] = True
        if not sets_state(frame):
            signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
        look()
    except Exception as error:
        if not _came[-1]:
            raise
        interrupt = KeyboardInterrupt()
        interrupt.__dict__.update(error.__dict__)  # what was done until then
        raise interrupt from error
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _came.pop()


def sets_state(frame: FrameType | None, depth: int = 4) -> bool:
    """Say whether what runs in a frame, or in those that called it, sets the state of JAX: no exception may come between."""
    for _ in range(depth):
        if frame is None:
            return False
        if frame.f_code.co_name in SETS_STATE and str(frame.f_globals.get("__name__")).startswith("jax."):
            return True
        frame = frame.f_back
    return False


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
