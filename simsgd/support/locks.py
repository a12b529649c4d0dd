"""Locks between processes: one does what the others wait for. A lock ends with its process, however that ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # not on Windows, where nobody waits
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def waiting(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold a lock while the block runs; where another process, or thread, holds it, wait until it does no longer.

    The file stays, empty: who removed it could take it away from one who waits. Where the file system has no locks, nobody
    waits, so what is done in the block must be harmless if it is done twice.

    Args:
        path: the lock's file, in a folder that is there.

    Raises:
        OSError: if the file cannot be made.

    Example:
        >>> import pathlib, tempfile
        >>> from simsgd.support import locks
        >>> with tempfile.TemporaryDirectory() as folder, locks.waiting(pathlib.Path(folder) / "a.lock"):
        ...     print("alone")
        alone
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        if fcntl is not None:
            with contextlib.suppress(OSError):  # some network file systems
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
