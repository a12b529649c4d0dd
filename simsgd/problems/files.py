"""Data from a folder of NumPy's `.npz` files. Nothing in them is ever unpickled."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from simsgd.problems.making import remembered
from simsgd.problems.problem import Parameters, Problem

UNNAMED = "arr_0"
"""What `np.savez` calls an array that was given no name."""


def arrays_from_npz(folder: str | os.PathLike[str], files: str = "*.npz", but: str | None = None) -> dict[str, np.ndarray]:
    """Return the arrays of a folder's `.npz` files by name, their first axis counting the samples.

    A file may hold one array or many. An array's name is its key in the file; that of one saved without a name is the file's,
    so `np.savez("x.npz", array)` gives "x". Arrays of one name in several files are parts of one, put together in the
    alphabetical order of the files' names.

    Args:
        folder: where the files are.
        files: which of them, a pattern such as "train-*.npz".
        but: which of these not, a pattern.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a file cannot be read, an array holds objects, no samples or no numbers, or parts of one array differ in
            shape or type; the message names file and key.

    Example:
        >>> import numpy as np, simsgd as sg, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> np.savez(f"{folder}/train-0.npz", x=np.zeros((100, 3)), y=np.zeros(100))
        >>> np.savez(f"{folder}/train-1.npz", x=np.ones((50, 3)), y=np.ones(50))
        >>> {name: array.shape for name, array in sg.problems.arrays_from_npz(folder).items()}
        {'x': (150, 3), 'y': (150,)}
    """
    paths = sorted(set(Path(folder).glob(files)) - set(Path(folder).glob(but) if but else ()))
    if not paths:
        others = f" other than {but!r}" if but else ""
        raise FileNotFoundError(f"folder {os.fspath(folder)!r} must hold files such as {files!r}{others}, and has none")
    parts: dict[str, list[np.ndarray]] = {}
    for path in paths:
        for name, array in _read(path).items():
            first = parts.setdefault(name, [array])[0]
            if (array.shape[1:], array.dtype) != (first.shape[1:], first.dtype):
                raise ValueError(
                    f"{path}, {name!r}: parts of one array must have the same form after the first axis, "
                    f"{first.shape[1:]} of {first.dtype}, got {array.shape[1:]} of {array.dtype}"
                )
            if array is not first:
                parts[name].append(array)
    return {name: np.concatenate(arrays) if len(arrays) > 1 else arrays[0] for name, arrays in parts.items()}


@remembered
def from_npz(
    folder: str | os.PathLike[str],
    init: Callable[[jax.Array], Parameters],
    loss: Callable[..., jax.Array],
    *,
    train: str = "*.npz",
    test: str | None = None,
    name: str | None = None,
    **parts: Any,
) -> Problem:
    """Return a problem whose data are in a folder of `.npz` files; see `arrays_from_npz` for how they are read.

    Args:
        folder: where the files are.
        init, loss: as in `Problem`; data and batches are {name: array}.
        train: which files hold training samples, a pattern.
        test: which files hold held-out samples, a pattern such as "test*.npz"; they are no training samples.
        name: by default the folder's.
        parts: what else `Problem` takes: batch_size, metrics, target.

    Raises:
        FileNotFoundError, ValueError: as `arrays_from_npz`, and as `Problem`; if arrays differ in the number of samples.

    Example:
        >>> import jax.numpy as jnp, numpy as np, simsgd as sg, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> np.savez(f"{folder}/x.npz", np.ones((100, 3)))
        >>> np.savez(f"{folder}/y.npz", np.ones(100))
        >>> def init(key):
        ...     return jnp.zeros(3)
        >>> def loss(parameters, batch):
        ...     return jnp.mean((batch["x"] @ parameters - batch["y"]) ** 2)
        >>> sg.problems.from_npz(folder, init, loss).samples
        100
    """
    data = _of_one_length(folder, train, arrays_from_npz(folder, train, but=test))
    tests = None if test is None else _of_one_length(folder, test, arrays_from_npz(folder, test))
    return Problem(name or Path(folder).resolve().name, init, loss, data, test_data=tests, **parts)


def _read(path: Path) -> dict[str, np.ndarray]:
    """Return a file's arrays by the names that they shall have, or raise ValueError naming the file, and the key."""
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if not isinstance(content, np.lib.npyio.NpzFile):
                raise ValueError("it is one array, as np.save writes")
            arrays = {key: _array(path, content, key) for key in content.files}
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path} must be a .npz file such as np.savez writes, without pickled objects: {error}") from error
    return {path.stem if key == UNNAMED and len(arrays) == 1 else key: array for key, array in arrays.items()}


def _array(path: Path, content: Any, key: str) -> np.ndarray:
    """Return one array of a file."""
    try:
        array: np.ndarray = content[key]
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise ValueError(f"{path}, {key!r}: cannot be read ({error}); only numbers can be, no Python objects") from error
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{path}, {key!r}: must hold numbers, got {array.dtype}")
    if not array.ndim or not len(array):
        raise ValueError(f"{path}, {key!r}: must have samples along its first axis, got shape {array.shape}")
    return array


def _of_one_length(folder: str | os.PathLike[str], files: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return arrays, or raise ValueError unless all have as many samples."""
    if len({len(array) for array in arrays.values()}) > 1:
        lengths = ", ".join(f"{name!r} {len(array):,}" for name, array in arrays.items())
        raise ValueError(f"folder {os.fspath(folder)!r}, {files!r}: all arrays must have as many samples, but have {lengths}")
    return arrays
