"""Result files: netCDF, written whole or not at all, read without pickle.

Laws of this module: a reader either gets back what was written or a `FileFormatError` that says what is wrong with the file;
xarray and h5netcdf are imported only when a file is touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray

FORMAT = "simsgd"
VERSION = 2


class FileFormatError(ValueError):
    """A file is damaged, or is not what it should be; the message names the file and says what is wrong."""


def save(path: str | os.PathLike[str], dataset: xarray.Dataset, kind: str) -> None:
    """Write a dataset as a netCDF file of one `kind` ("tape" or "run"), atomically.

    The file is written beside its place under a temporary name and then moved, so no half-written file ever has its name.

    Raises:
        OSError: if the folder does not exist or cannot be written.
    """
    with writing(path) as temporary:
        marks = {"format": f"{FORMAT} {kind}", "format_version": VERSION, "checksum": _checksum(dataset)}
        dataset.assign_attrs(marks).to_netcdf(temporary, engine="h5netcdf", format="NETCDF4")


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Give the block a temporary file, beside `path`, to write; it takes the name `path` once the block has ended well.

    So the file is written whole or not at all, and what was there before stays until then.

    Raises:
        OSError: if the folder does not exist or cannot be written, or `path` is there already and is no file.
    """
    path = pathlib.Path(path).resolve()  # through a link, so that it stays one
    if path.exists() and not path.is_file():
        raise FileExistsError(f"cannot save {path}: it is there already and is no file; choose another name")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot save {path}: the folder {path.parent} does not exist; make it first")
    temporary = path.with_name(f".{os.getpid()}-{threading.get_ident()}.partial")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())  # before the move: a crash must not leave the name with half the data
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load(path: str | os.PathLike[str], kind: str) -> xarray.Dataset:
    """Return the dataset of one `kind` that `save` wrote to a file, wholly in memory.

    Raises:
        FileNotFoundError: if there is no such file.
        FileFormatError: if it is damaged, was not written by simsgd, or is of another kind or a newer format.
    """
    import xarray

    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no file {path}")
    try:
        dataset = xarray.load_dataset(path, engine="h5netcdf")
    except Exception as error:  # h5netcdf and h5py raise many types for damaged files
        raise FileFormatError(f"{path} cannot be read as a simsgd {kind}: damaged, or not netCDF ({error})") from error
    found = dataset.attrs.pop("format", "not a simsgd file")
    version, checksum = (dataset.attrs.pop(name, 0) for name in ("format_version", "checksum"))
    if found != f"{FORMAT} {kind}":
        raise FileFormatError(f"{path} is not a simsgd {kind}: it is {found}")
    if version != VERSION:
        fitting = "a newer simsgd" if version > VERSION else "the simsgd that wrote it, or record anew from its seed"
        raise FileFormatError(f"{path} has format version {version}, this simsgd reads version {VERSION}: use {fitting}")
    if checksum != _checksum(dataset):
        raise FileFormatError(f"{path} is damaged: its data were changed after simsgd wrote them")
    return dataset


def _checksum(dataset: xarray.Dataset) -> str:
    """Return the SHA-256 (hexadecimal) of all variables and attributes."""
    digest = hashlib.sha256(str(sorted((name, str(value)) for name, value in dataset.attrs.items())).encode())
    for name in sorted(map(str, dataset.variables)):
        variable = dataset.variables[name]
        digest.update(f"{name} {variable.dims} {variable.dtype.str}".encode())
        digest.update(np.ascontiguousarray(variable.values).tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn a ValueError of the block, about what a file holds, into a FileFormatError that names the file."""
    try:
        yield
    except ValueError as error:
        raise FileFormatError(f"{path} is damaged: {error}") from error
