"""Files of every kind: written whole or not at all, and read without waiting for what never ends.

Laws of this module, by which simsgd writes and reads everything:

1. A name holds the old file or the new one, whole, whenever the process, or the machine, stops.
2. What a killed process leaves behind is removed by the next save in that folder, and nothing that a living one still writes.
3. Only regular files are read, as many bytes as they said to have, and no more than is allowed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import re
import secrets
import stat
from collections.abc import Iterator
from typing import IO

from simsgd.support.bounds import bounds

try:
    import fcntl
except ImportError:  # not on Windows, where leftovers stay
    fcntl = None  # type: ignore[assignment]

type Path = str | os.PathLike[str]

LEFTOVER = re.compile(r"\.simsgd-[0-9a-f]{16}\.partial")
"""The names of files that are being written, or were when their process was killed."""
REMEDIES = {
    errno.ENOSPC: "free some space, or choose another folder",
    errno.EDQUOT: "free some of your quota, or choose another folder",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or choose another folder",
    errno.EACCES: "choose a folder that you can write to",
    errno.EPERM: "choose a folder that you can write to",
    errno.EROFS: "choose a folder that you can write to",
    errno.ENAMETOOLONG: "choose a shorter name",
}


class FileFormatError(ValueError):
    """A file is damaged, or is not what it should be; the message names the file and says what is wrong."""


class OtherFormatError(FileFormatError):
    """A file may be whole, but is not read here: it is of another version, or larger than is allowed."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """Give the block a new file, open for writing bytes; it takes the name `path` once the block has ended well.

    It is made beside `path` under a name that cannot be guessed, and on the disk before it is moved. It has the mode of the
    file it replaces, or that of any new file.

    Raises:
        OSError: if the folder does not exist or cannot be written, if the disk is full, or if `path` is there already and is no
            file; the message names `path` and says what to do. What was there stays.

    Example:
        >>> import pathlib, tempfile, simsgd as sg
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with sg.writing(pathlib.Path(folder) / "note.txt") as file:
        ...         _ = file.write(b"whole")
        ...     [(found.name, found.read_bytes()) for found in pathlib.Path(folder).iterdir()]
        [('note.txt', b'whole')]
    """
    place, mode = _place(path)
    _sweep(place.parent)
    with _explaining(path):
        temporary, file = _fresh(place.parent, 0o666 if mode is None else 0o600)
        try:
            yield file
            file.flush()
            if mode is not None and fcntl is not None:
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())  # before the move: a crash must not leave the name with half the data
            if fcntl is None:
                file.close()  # Windows moves no open file
            os.replace(temporary, place)  # the file is still locked, so nobody takes it for a leftover
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            with contextlib.suppress(OSError):  # a full disk again; nothing is lost that is wanted
                file.close()
        _sync(place.parent)


def read(path: Path, most: int | None = None, remedy: str | None = None) -> bytes:
    """Return all bytes of a regular file.

    Args:
        path: the file.
        most: how many bytes it may have; by default `sg.bounds.file_bytes`.
        remedy: what to do if it has more.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it cannot be read.
        FileFormatError: if it is a folder, a pipe or a device, or has more bytes than are allowed.
    """
    most = bounds.file_bytes if most is None else most
    try:
        _check_regular(path, os.stat(path))  # before it is opened, which some devices notice
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)), "rb") as file:
            about = os.fstat(file.fileno())
            _check_regular(path, about)
            if about.st_size > most:
                remedy = remedy or f"allow it with sg.bounds.file_bytes = {about.st_size}"
                raise OtherFormatError(f"{path} has {about.st_size:,} bytes, and at most {most:,} are read: {remedy}")
            return file.read(about.st_size)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no file {path}") from error
    except ValueError as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileNotFoundError(f"no file {os.fspath(path)!r}: {error}") from error  # a name with a null character


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn a ValueError of the block, about what a file holds, into a FileFormatError that names the file."""
    try:
        yield
    except ValueError as error:
        raise FileFormatError(f"{path} is damaged: {error}") from error


def _check_regular(path: Path, about: os.stat_result) -> None:
    if not stat.S_ISREG(about.st_mode):
        kind = "a folder" if stat.S_ISDIR(about.st_mode) else "a pipe, a socket or a device"
        raise FileFormatError(f"{path} is {kind}: give the name of a regular file")


def _place(path: Path) -> tuple[pathlib.Path, int | None]:
    """Return the file to write, through a link so that it stays one, and the mode of what is there."""
    try:
        place = pathlib.Path(os.path.realpath(path))
        mode: int | None = os.lstat(place).st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = None
    except ValueError as error:  # a name with a null character
        raise OSError(errno.EINVAL, f"cannot save {os.fspath(path)!r}: {error}") from error
    except OSError as error:
        raise _explained(path, error) from error
    if mode is not None and not stat.S_ISREG(mode):
        kind = "is a folder" if stat.S_ISDIR(mode) else "is no file"
        raise FileExistsError(f"cannot save {os.fspath(path)!r}: it is there already and {kind}; choose another name")
    if not place.parent.is_dir():
        raise FileNotFoundError(f"cannot save {path}: the folder {place.parent} does not exist; make it first")
    return place, None if mode is None else stat.S_IMODE(mode)


def _fresh(folder: pathlib.Path, mode: int) -> tuple[pathlib.Path, IO[bytes]]:
    """Make a file of a name that nobody can have prepared, and lock it, which shows others that it is being written."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    flags |= sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"))
    while True:
        path = folder / f".simsgd-{secrets.token_hex(8)}.partial"
        file = open(os.open(path, flags, mode), "wb")  # noqa: SIM115 (the caller's to close)
        if _locked(file.fileno()) is not False and os.fstat(file.fileno()).st_nlink:
            return path, file
        file.close()  # another process swept it before it was locked
        path.unlink(missing_ok=True)


def _locked(descriptor: int) -> bool | None:
    """Lock a file and return True; False if another process has locked it, None where files cannot be locked."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network filesystems
        return None
    return True


def _sweep(folder: pathlib.Path) -> None:
    """Remove the files that killed processes were writing: a lock ends with its process, however that ends."""
    if fcntl is None:
        return
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        for name in [entry.name for entry in found if LEFTOVER.fullmatch(entry.name)]:
            with contextlib.suppress(OSError):  # gone already, or another user's
                descriptor = os.open(folder / name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    if stat.S_ISREG(os.fstat(descriptor).st_mode) and _locked(descriptor):
                        os.unlink(folder / name)
                finally:
                    os.close(descriptor)


def _sync(folder: pathlib.Path) -> None:
    """Put a folder's names on the disk, where folders can be opened and synchronised."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _explaining(path: Path) -> Iterator[None]:
    """Put the file that could not be saved, and what to do, into an OSError of the block."""
    try:
        yield
    except OSError as error:
        of_another = error.filename is not None and not LEFTOVER.fullmatch(os.path.basename(error.filename))
        if error.errno is None or of_another:  # of a file that the block reads, perhaps
            raise
        raise _explained(path, error) from error


def _explained(path: Path, error: OSError) -> OSError:
    remedy = REMEDIES.get(error.errno or 0, "choose another name or folder")
    return OSError(error.errno, f"cannot save {path}: {error.strerror}; {remedy}. What was there before is unchanged")
