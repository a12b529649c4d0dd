"""Checkpoints: where a long replay stands, as plain arrays and texts in one file, written whole.

The file is a line of marks, an index in JSON, the arrays' bytes, and the SHA-256 of all that. A checkpoint is the inner state
of the code that wrote it, and of use to no other; so it names that code, and for any other code there is none.
"""

from __future__ import annotations

import hashlib
import json
import math
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from simsgd.provenance import surroundings
from simsgd.studies.store import folders
from simsgd.support import files, sealed
from simsgd.support.files import FileFormatError

MARK = b"simsgd checkpoint 1\n"
LENGTH = 16
"""Digits of the index's length."""
ENDING = ".ckpt"

type State = Mapping[str, np.ndarray | str]


@dataclass(frozen=True)
class Checkpoint:
    """A place for the state of one piece of work; it can be sent to other processes.

    Attributes:
        path: of the file, in a folder that is made when it is first needed.

    Example:
        >>> import pathlib, tempfile, numpy as np
        >>> from simsgd.studies.store.checkpoints import Checkpoint
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     checkpoint = Checkpoint(pathlib.Path(folder) / "a.ckpt")
        ...     checkpoint.save({"carry": np.arange(3, dtype=np.uint32), "lanes": "3"})
        ...     checkpoint.load()
        {'carry': array([0, 1, 2], dtype=uint32), 'lanes': '3'}
    """

    path: pathlib.Path

    def save(self, state: State) -> None:
        """Write a state, whole or not at all.

        Raises:
            TypeError: if an entry is neither a text nor an array of numbers or truth values.
            OSError: if it cannot be written; what was there stays.
        """
        index: dict[str, Any] = {}
        arrays = []
        for name, value in state.items():
            if isinstance(value, str):
                index[name] = value
                continue
            array = np.ascontiguousarray(value).reshape(np.shape(value))
            if array.dtype.str not in sealed.TYPES:
                raise TypeError(
                    f"a checkpoint holds texts and arrays of numbers, got {name!r} of {array.dtype}: give a view of its bytes, "
                    "such as array.view(np.uint16)"
                )
            index[name] = [array.dtype.str, list(array.shape)]
            arrays.append(array)
        about = json.dumps({"code": surroundings.own_code(), "state": index}).encode()
        head = MARK + f"{len(about):0{LENGTH}d}\n".encode() + about
        found = hashlib.sha256(head)
        folders.made(self.path.parent)
        with files.writing(self.path) as file:
            file.write(head)
            for array in arrays:
                content = array.reshape(-1).view(np.uint8).data
                found.update(content)
                file.write(content)
            file.write(found.digest())

    def load(self) -> dict[str, np.ndarray | str] | None:
        """Return the state, or None if there is none that this code has written; a damaged file is set aside with a warning."""
        try:
            content = files.read(self.path)
            return self._state(content)
        except FileNotFoundError:
            return None
        except FileFormatError as error:
            folders.warn(folders.set_aside(self.path, error))
            return None

    def remove(self) -> None:
        """Delete the file, as its work is done; nothing happens if there is none."""
        with folders.explaining(f"cannot delete {self.path}"):
            self.path.unlink(missing_ok=True)

    def _state(self, content: bytes) -> dict[str, np.ndarray | str] | None:
        raw = memoryview(content)
        body, digest = raw[:-32], raw[-32:]
        if not content.startswith(MARK) or hashlib.sha256(body).digest() != digest:
            raise FileFormatError(f"{self.path} is a damaged checkpoint")
        begin = len(MARK) + LENGTH + 1
        stop = begin + int(bytes(body[len(MARK) : begin]))
        said = json.loads(bytes(body[begin:stop]))
        if said["code"] != surroundings.own_code():
            return None
        state: dict[str, np.ndarray | str] = {}
        for name, form in said["state"].items():
            if isinstance(form, str):
                state[name] = form
                continue
            kind, shape = np.dtype(form[0]), form[1]
            begin, stop = stop, stop + math.prod(shape) * kind.itemsize
            state[name] = np.frombuffer(body[begin:stop], kind).reshape(shape).copy()
        return state
