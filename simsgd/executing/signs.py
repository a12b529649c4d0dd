"""Signs of life: while a process works on something it touches a file, so that one that hangs, or is gone, can be told.

Not every executor has a heartbeat, and none says what it is about. Files are seen by whoever shares a folder. Clocks of two
machines are never compared: what counts is that a file's time changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import threading
import time
from collections.abc import Iterator

EVERY = 5.0
"""Seconds between two touches."""


class Signs:
    """A folder of files that are touched by those who work.

    Args:
        folder: where the files are; it is made if it is missing.
        every: seconds between two touches.

    Example:
        >>> import tempfile
        >>> from simsgd.executing.signs import Signs, beating
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     signs = Signs(folder)
        ...     before = signs.seconds("one group")
        ...     with beating(signs.sign("one group")):
        ...         print(before, signs.seconds("one group") < 1)
        None True
    """

    def __init__(self, folder: str | os.PathLike[str], every: float = EVERY) -> None:
        self.folder = pathlib.Path(folder).absolute()  # workers may stand elsewhere
        self.folder.mkdir(parents=True, exist_ok=True)
        self.every = every
        self._seen: dict[str, tuple[int, float]] = {}
        self._given: set[str] = set()

    def sign(self, name: str) -> Sign:
        """Return what a worker needs to give signs while it works on something."""
        self._given.add(name)
        return str(self._file(name)), self.every

    def seconds(self, name: str) -> float | None:
        """Return for how long there was no sign, by this process's clock; None if there has been none at all."""
        try:
            touched = self._file(name).stat().st_mtime_ns
        except OSError:  # not begun; or over, and the file gone
            return None
        now = time.monotonic()
        if self._seen.get(name, (None, 0.0))[0] != touched:
            self._seen[name] = touched, now
        return now - self._seen[name][1]

    def forget(self, name: str) -> None:
        """Remove the file of what is over."""
        self._seen.pop(name, None)
        with contextlib.suppress(OSError):
            self._file(name).unlink()

    def clear(self) -> None:
        """Remove the files of all for which signs were asked: those who work on when nobody waits touch theirs again."""
        for name in self._given:
            self.forget(name)

    def _file(self, name: str) -> pathlib.Path:
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.alive"


type Sign = tuple[str, float]
"""The file to touch, and every how many seconds."""


@contextlib.contextmanager
def beating(sign: Sign | None) -> Iterator[None]:
    """Touch a file every so often while the block runs. Where the folder is not to be had, no sign is given, and no error."""
    if sign is None:
        yield
        return
    file, every = sign
    over = threading.Event()

    def beat() -> None:
        while not over.wait(every):
            _touch(file)

    _touch(file)
    thread = threading.Thread(target=beat, name="simsgd: signs of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _touch(file: str) -> None:
    with contextlib.suppress(OSError):
        pathlib.Path(file).touch()
