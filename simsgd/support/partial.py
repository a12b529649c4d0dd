"""What was done before something broke off: handed back on the exception, so that Ctrl-C after an hour loses no hour."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

NOTE = "what was done until then is this exception's attribute `partial`: "


@contextlib.contextmanager
def handing_back(what: str, make: Callable[[], Any], last: bool = False) -> Iterator[None]:
    """Give an exception that leaves the block an attribute `partial`: what was done until then.

    Ctrl-C (KeyboardInterrupt) counts, and so does any error. If nothing was done yet, or it cannot be put together, `partial`
    is what it was, or None.

    Args:
        what: what is handed back, in words, for the note that the traceback shows.
        make: puts it together; None if there is nothing.
        last: whether it is handed back only if the exception has nothing yet.

    Example:
        >>> from simsgd.support.partial import handing_back
        >>> try:
        ...     with handing_back("half of it", lambda: "half"):
        ...         raise KeyboardInterrupt
        ... except KeyboardInterrupt as error:
        ...     error.partial
        'half'
    """
    try:
        yield
    except BaseException as error:
        done = None
        if last and getattr(error, "partial", None) is not None:
            raise
        with contextlib.suppress(Exception):
            done = make()
        if done is None:
            error.partial = getattr(error, "partial", None)  # type: ignore[attr-defined]
        else:
            error.partial = done  # type: ignore[attr-defined]
            notes = [note for note in getattr(error, "__notes__", []) if not note.startswith(NOTE)]  # of what it is now part of
            error.__notes__ = [*notes, NOTE + what]
        raise
