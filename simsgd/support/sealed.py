"""Results in sealed files: netCDF for every program that reads it, closed with an index and a seal for simsgd.

A file is a netCDF-4 file, then an index in JSON (where in the file the values of each variable begin), then the seal: one line
of fixed length with the format's version, the lengths, and the SHA-256 of all that stands before it. HDF5 allows for bytes
after its own end, so xarray and h5py open the file as it is.

Laws of this module:

1. What is loaded equals what was saved, to the last bit, or else a `FileFormatError` names the file and says what is wrong.
2. No byte is interpreted before the SHA-256 is found right. Then only the index is: values are taken from where it says, so
   that nothing which a stranger wrote reaches the HDF5 library or pickle.
3. The same dataset, saved by the same versions, makes the same bytes.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import math
import os
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from simsgd.support import files
from simsgd.support.files import FileFormatError, OtherFormatError

if TYPE_CHECKING:
    import xarray

VERSION = 4
READS = (3, 4)
"""The versions that are read; those of version 3 are from before tapes had columns of charges."""
READ = " and ".join(map(str, READS))
HDF5 = b"\x89HDF\r\n\x1a\n"
SEAL = "\nsimsgd seal {version:06d}: index {index:015d} bytes, file {size:015d} bytes, SHA-256 {digest}\n"
LENGTH = len(SEAL.format(version=0, index=0, size=0, digest="0" * 64))
SEALED = re.compile(rb"\nsimsgd seal (\d{6}): index (\d{15}) bytes, file (\d{15}) bytes, SHA-256 ([0-9a-f]{64})\n")
TYPES = tuple(["<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "|i1", "<u8", "<u4", "<u2", "|u1", "|b1"])
"""The types that values can have: numbers that every machine understands alike, and truth values."""
TEXT = re.compile(r"\|S[1-9]\d{0,5}")
"""The types of texts: so many bytes each, in UTF-8, shorter ones filled up with zeros."""


def save(path: str | os.PathLike[str], dataset: xarray.Dataset, kind: str) -> None:
    """Write a dataset as a sealed file of one `kind` ("tape" or "run"), whole or not at all.

    Raises:
        TypeError: if a variable holds neither numbers nor truth values, or an attribute is no plain value.
        OSError: if the folder does not exist or cannot be written, or the disk is full.
    """
    index = _index(dataset, kind)
    netcdf = _netcdf(dataset, kind)
    for variable, offset in zip(index["variables"], _offsets(netcdf, index), strict=True):
        variable["offset"] = offset
    about = json.dumps(index, sort_keys=True).encode()
    size = netcdf.getbuffer().nbytes + len(about) + LENGTH
    unsigned = SEAL.format(version=VERSION, index=len(about), size=size, digest="")[:-1].encode()
    digest = hashlib.sha256(netcdf.getbuffer())
    digest.update(about + unsigned)
    with files.writing(path) as file:
        file.write(netcdf.getbuffer())
        file.write(about + unsigned + digest.hexdigest().encode() + b"\n")


def load(path: str | os.PathLike[str], kind: str) -> xarray.Dataset:
    """Return the dataset of one `kind` that `save` wrote to a file, wholly in memory.

    Raises:
        FileNotFoundError: if there is no such file.
        FileFormatError: if it is damaged, was not written by simsgd, or is of another kind or format.
    """
    content = files.read(path)
    raw = memoryview(content)
    seal = SEALED.fullmatch(raw[-LENGTH:]) if len(raw) >= LENGTH else None
    if not seal:
        raise FileFormatError(f"{path} {_unsealed(content, kind)}")
    version, index, size = (int(number) for number in seal.groups()[:3])
    if version not in READS:
        fitting = "a newer simsgd" if version > VERSION else "the simsgd that wrote it"
        raise OtherFormatError(f"{path} has format version {version}, this simsgd reads versions {READ}: use {fitting}")
    body = len(raw) - LENGTH - index
    if hashlib.sha256(raw[: seal.start(4) + len(raw) - LENGTH]).hexdigest().encode() != seal[4] or size != len(raw) or body < 0:
        raise FileFormatError(f"{path} is damaged: its bytes were changed after simsgd wrote them; take them from a copy")
    try:
        said = json.loads(bytes(raw[body:-LENGTH]))
        found = said["kind"]
        dataset = _dataset(said, raw[:body]) if found == kind else None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise FileFormatError(
            f"{path} is damaged: its index makes no sense ({type(error).__name__}: {error!s:.200})"
        ) from error
    if dataset is None:
        raise FileFormatError(f"{path} is not a simsgd {kind}: it is a simsgd {found!s:.60}")
    return dataset


@functools.cache
def prepare() -> None:
    """Import what writing needs, about a second, so that it is counted to nobody's work."""
    import xarray

    _netcdf(xarray.Dataset(), "nothing")


def _unsealed(raw: bytes, kind: str) -> str:
    """Say what may be wrong with a file that has no seal."""
    if not raw.startswith(HDF5):
        return f"cannot be read as a simsgd {kind}: damaged, or not netCDF"
    if b"simsgd " not in raw:
        return f"is not a simsgd {kind}: it is not a simsgd file"
    return (
        "has no seal at its end: it is damaged (cut short, or added to), another program wrote it, or it has format version 1 "
        f"or 2 and this simsgd reads versions {READ}: use the simsgd that wrote it, or record anew from its seed"
    )


def _netcdf(dataset: xarray.Dataset, kind: str) -> io.BytesIO:
    """Return a dataset as netCDF, in memory: HDF5 never writes to a disk, which may be full."""
    marks = {"format": f"simsgd {kind}", "format_version": VERSION}
    file = io.BytesIO()
    with _without_dask():
        dataset.assign_attrs(marks).to_netcdf(file, engine="h5netcdf", format="NETCDF4")
    return file


def _without_dask() -> contextlib.AbstractContextManager[Any]:
    """Keep xarray from asking a Dask client of this process for a lock on the file, which the scheduler knows nothing of."""
    dask = sys.modules.get("dask")
    return contextlib.nullcontext() if dask is None else dask.config.set(scheduler="synchronous")


def _index(dataset: xarray.Dataset, kind: str) -> dict[str, Any]:
    """Return what the index says, but for where values begin."""
    for name, variable in dataset.variables.items():
        if not _is_known(variable.dtype.str):
            raise TypeError(f"cannot save {name!r} of {variable.dtype}: a file holds numbers, truth values and bytes only")
    variables = [
        {
            "name": str(name),
            "coordinate": name in dataset.coords,
            "dimensions": list(variable.dims),
            "type": variable.dtype.str,
            "shape": list(variable.shape),
            "attributes": _plain(variable.attrs),
        }
        for name, variable in dataset.variables.items()
    ]
    return {"kind": kind, "attributes": _plain(dataset.attrs), "variables": variables}


def _is_known(kind: object) -> bool:
    """Say whether values can be of a type."""
    return isinstance(kind, str) and (kind in TYPES or TEXT.fullmatch(kind) is not None)


def _plain(attributes: Mapping[Any, Any]) -> dict[str, str | int | float]:
    """Return attributes as JSON and netCDF can hold them; TypeError for one of another kind."""
    found = {}
    for name, value in attributes.items():
        value = value.item() if isinstance(value, np.generic) else value
        if isinstance(value, bool) or not isinstance(value, str | int | float) or not _named(name):
            raise TypeError(f"the attribute {name!r:.60} must be a text or a number, got {value!r:.60}")
        if (isinstance(value, int) and not -(2**63) <= value < 2**63) or (isinstance(value, str) and b"\0" in value.encode()):
            raise TypeError(f"the attribute {name!r:.60} is nothing that netCDF can hold")
        found[name] = value
    return found


def _named(name: object) -> bool:
    """Return whether netCDF can have something of that name."""
    return isinstance(name, str) and name.isprintable() and bool(name) and "/" not in name


def _offsets(netcdf: io.BytesIO, index: dict[str, Any]) -> list[int]:
    """Return where in a netCDF file the values of each variable begin; 0 for one without values."""
    import h5py

    with h5py.File(netcdf, "r") as file:
        return [file[each["name"]].id.get_offset() or 0 for each in index["variables"]]


def _dataset(said: dict[str, Any], body: memoryview) -> xarray.Dataset:
    """Return the dataset that an index describes."""
    import xarray

    variables: dict[bool, dict[str, xarray.Variable]] = {True: {}, False: {}}
    for each in said["variables"]:
        dimensions, array = each["dimensions"], _array(each, body)
        if not all(map(_named, (each["name"], *dimensions))) or len(set(dimensions)) != array.ndim:
            raise ValueError("a variable's name and dimensions must be texts, and no dimension may be there twice")
        variables[bool(each["coordinate"])][each["name"]] = xarray.Variable(dimensions, array, _plain(each["attributes"]))
    return xarray.Dataset(variables[False], variables[True], _plain(said["attributes"]))


def _array(said: dict[str, Any], body: memoryview) -> np.ndarray:
    """Return a variable's values, a copy of its own; ValueError unless all of them are in the file."""
    if not _is_known(said["type"]):
        raise ValueError(f"there is no type {said['type']!r:.60}")
    numbers, kind = (said["offset"], *said["shape"]), np.dtype(said["type"])
    if not all(type(number) is int and 0 <= number < 2**62 for number in numbers):
        raise ValueError("offsets and shapes must be whole numbers of at least 0")
    begin, count = said["offset"], math.prod(said["shape"])
    if begin + count * kind.itemsize > len(body):
        raise ValueError("there are more values than the file holds")
    found = np.frombuffer(body[begin : begin + count * kind.itemsize], kind).reshape(said["shape"]).copy()
    if kind == np.bool_ and found.size and found.view(np.uint8).max() > 1:
        raise ValueError("a truth value is neither true nor false")
    return found


def plain_json(name: str, text: str, kind: type) -> Any:
    """Return the list or object, nested 100 deep at most, in a JSON text called `name`; ValueError if it is something else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} cannot be read as JSON ({error!s:.100})") from error
    if not isinstance(found, kind) or not _shallow(found, 100):
        raise ValueError(f"{name} must be {'a list' if kind is list else 'an object'}, nested 100 deep at most, in JSON")
    return found


def _shallow(value: Any, most: int) -> bool:
    """Return whether lists and objects are nested so deep at most."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return most >= 0 and all(_shallow(each, most - 1) for each in inner)
