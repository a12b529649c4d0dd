"""A study's folder on the disk: how it is known, what it says of itself in plain text, and how damaged files are set aside."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import warnings
from collections.abc import Iterator

from simsgd.support import files

MARK = "This is the folder of a simsgd study, format 1."
README = "README.txt"
CONTENTS = "contents.txt"
CELLS, TAPES, RUNNING = "cells", "tapes", "running"
OWN = frozenset((README, CONTENTS, CELLS, TAPES, RUNNING))
"""What stands in such a folder."""
DAMAGED = ".damaged"
"""Ends the names of files that were set aside."""
TEXT = f"""{MARK}

It holds what finished runs measured, so that a study which is asked for them again need not make them again.

{CONTENTS}  what there is, in plain text; written anew after each group of runs, and when a study ends
{CELLS}/  one file for each group of finished runs: netCDF, which xarray, h5py and others open; the variable "text" holds
        JSON that describes each run, with the places of its numbers in "evaluations" and "measures"
{TAPES}/  recorded tapes, so that further runs on them need not be recorded; simsgd.Tape.load reads them; may be deleted
{RUNNING}/  where long runs go on after an interruption (.ckpt); may be deleted, then they begin again. Files that end in .alive
        are touched by those who work, so that one that hangs is noticed; they go when a study ends, or an hour later

simsgd deletes nothing here but what stands in {RUNNING}/ and is over. A run is found by all that its numbers depend on, code,
data and versions included, so a run made with other versions stays and is not used; study.explain(...) says what differs. Files
may be copied between such folders. Files that turn out to be damaged get names that end in "{DAMAGED}", and their runs are made
again. Any file may be deleted while no study runs: its runs are made again.
"""


class DamagedFileWarning(UserWarning):
    """A file of a study's folder was damaged: it was set aside, and what it held is computed again."""


def prepare(folder: pathlib.Path) -> None:
    """Make a study's folder, or check that this is one.

    Raises:
        NotADirectoryError: if it is a file.
        FileExistsError: if it holds something else.
        OSError: if it cannot be made or read; the message says what to do.
        ValueError: for a name with a null character.
    """
    if "\0" in str(folder):
        raise ValueError(f"folder must be a name without a null character, got {str(folder)!r:.60}")
    with explaining(f"cannot use {folder} as the folder of a study"):
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"folder must be a folder, but {folder} is a file: choose another name")
        folder.mkdir(parents=True, exist_ok=True)
        found = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
        if README in found and _is_marked(folder / README):
            return
        others = [name for name in found if name not in OWN or name == README]
        if others:
            shown = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
            raise FileExistsError(
                f"folder {folder} holds something else ({shown}), and no study is kept among other things: choose a new or an "
                f"empty folder, such as {folder / 'study'}"
            )
    write(folder / README, TEXT)


def _is_marked(path: pathlib.Path) -> bool:
    try:
        with open(path, encoding="utf-8") as file:
            line = file.readline(len(MARK) + 1).rstrip("\n")
    except (OSError, ValueError):
        return False
    if line.startswith(MARK[:-2]) and line != MARK:
        raise FileExistsError(f"{path.parent} is the folder of a study of another format, {line[-2:-1]}: use a newer simsgd")
    return line == MARK


def write(path: pathlib.Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with files.writing(path) as file:
        file.write(text.encode())


def made(folder: pathlib.Path) -> pathlib.Path:
    """Return a folder inside a study's, made if it is missing."""
    with explaining(f"cannot make {folder}"):
        folder.mkdir(exist_ok=True)
    return folder


@contextlib.contextmanager
def explaining(doing: str) -> Iterator[None]:
    """Put what was being done, and what to do, into an OSError of the block that says neither."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        remedy = files.REMEDIES.get(error.errno, "choose another folder")
        raise OSError(error.errno, f"{doing}: {error.strerror}; {remedy}. What was there before is unchanged") from error


def set_aside(path: pathlib.Path, error: Exception) -> str:
    """Give a damaged file another name, so that it is neither used nor lost; return what to say of it, if anything."""
    where = path.name + DAMAGED
    try:
        for number in range(2, 1000):
            if not (path.parent / where).exists():
                break
            where = f"{path.name}.{number}{DAMAGED}"
        path.rename(path.parent / where)
        done = f"it was set aside as {where}"
    except FileNotFoundError:  # another process has set it aside
        return ""
    except OSError as failure:
        done = f"it could not be set aside ({failure.strerror})"
    return f"{error}; {done}, and what it held is computed again"


def warn(text: str) -> None:
    """Warn of a file of the folder, if there is anything to say."""
    if text:
        warnings.warn(text, DamagedFileWarning, stacklevel=2)


def names(folder: pathlib.Path) -> Iterator[str]:
    """Yield the names in a folder; none if there is none."""
    try:
        with os.scandir(folder) as found:
            yield from (entry.name for entry in found)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
