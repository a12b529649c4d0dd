"""Things sent to other processes: as bytes that are made once, with large shared parts beside them under their digests.

A study sends the same problem with each of its groups. It is packed once, and a process that has unpacked it keeps it: all
groups then compute with the same object, and so with the same compiled program. What is large is sent only to those who say
that they lack it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pickle
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cloudpickle

from simsgd.support import checks

KEPT = 16
"""So many shared parts, those used last, are kept unpacked by a process."""
LARGE = 1_000_000
"""Bytes above which a shared part is sent only when it is lacking."""


class SendingError(TypeError):
    """Something cannot be sent to another process; the message names it and says what to do."""


class LackingError(LookupError):
    """A parcel came without a shared part that this process does not have."""


@dataclass(frozen=True)
class Parcel:
    """Something as bytes.

    Attributes:
        content: all of it but for the shared parts.
        parts: (digest, bytes) of each shared part; without the bytes where the one who unpacks it may have it already.
    """

    content: bytes
    parts: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def light(self) -> Parcel:
        """The same without its large parts."""
        return Parcel(self.content, tuple((name, part if part and len(part) < LARGE else None) for name, part in self.parts))


class Packer:
    """Packs things; what is of a shared kind, such as a problem, is packed once, however often it occurs.

    Args:
        shared: kinds of things that many parcels hold, and that are worth keeping where they are unpacked.

    Example:
        >>> from simsgd.executing.parcels import Packer, unpack
        >>> unpack(Packer().pack("a sum", [1, 2.5]))
        [1, 2.5]
    """

    def __init__(self, shared: tuple[type, ...] = ()) -> None:
        self.shared = shared
        self._digests: dict[Any, str] = {}
        self._parts: dict[str, bytes] = {}
        self._things: list[Any] = []  # held, so that no other thing gets the identity of one

    def pack(self, what: str, thing: Any) -> Parcel:
        """Return a thing as bytes.

        Args:
            what: it is, for the error.
            thing: to pack.

        Raises:
            SendingError: if it, or a part of it, cannot be pickled.
        """
        stream, used = io.BytesIO(), dict[str, bytes]()
        try:
            _Pickler(stream, self, used).dump(thing)
        except Exception as error:
            raise SendingError(
                f"{what} cannot be sent to another process: {_culprit(thing)} cannot be pickled "
                f"({type(error).__name__}: {error}). Define what it uses at the top of a module, without locks, open files or "
                "generators; or use threads, which send nothing: concurrent.futures.ThreadPoolExecutor"
            ) from error
        return Parcel(stream.getvalue(), tuple(used.items()))

    def part(self, thing: Any) -> tuple[str, bytes]:
        """Return (digest, bytes) of something shared; equal things have one."""
        digest = self._digests.get(id(thing)) or self._of_equal(thing)
        if digest is None:
            content = cloudpickle.dumps(thing)
            digest = hashlib.sha256(content).hexdigest()
            self._parts[digest] = content
        if id(thing) not in self._digests:
            self._things.append(thing)
            self._digests[id(thing)] = digest
            if _hashable(thing):
                self._digests.setdefault(_Equal(thing), digest)
        return digest, self._parts[digest]

    def _of_equal(self, thing: Any) -> str | None:
        return self._digests.get(_Equal(thing)) if _hashable(thing) else None


@dataclass(frozen=True)
class _Equal:
    """A thing as a key, apart from the numbers that are identities."""

    thing: Any


def _hashable(thing: Any) -> bool:
    try:
        hash(thing)
    except TypeError:
        return False
    return True


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # which has no types
    def __init__(self, stream: io.BytesIO, packer: Packer, used: dict[str, bytes]) -> None:
        super().__init__(stream)
        self._packer, self._used = packer, used

    def persistent_id(self, thing: Any) -> str | None:
        if not isinstance(thing, self._packer.shared):
            return None
        digest, content = self._packer.part(thing)
        self._used[digest] = content
        return digest


def unpack(parcel: Parcel) -> Any:
    """Return what is in a parcel; shared parts are those unpacked before, if this process still has them.

    Raises:
        LackingError: if it has not, and they did not come with the parcel.
    """
    return _Unpickler(io.BytesIO(parcel.content), {digest: _part(digest, content) for digest, content in parcel.parts}).load()


def opened(thing: Any) -> Any:
    """Return what is in a parcel, and anything else as it is."""
    return unpack(thing) if isinstance(thing, Parcel) else thing


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, parts: dict[str, Any]) -> None:
        super().__init__(stream)
        self._parts = parts

    def persistent_load(self, digest: str) -> Any:
        return self._parts[digest]


def _part(digest: str, content: bytes | None) -> Any:
    """Return a shared part, the one unpacked before if it is still kept."""
    with _lock:
        if digest not in _kept:
            if content is None:
                raise LackingError(digest)
            _kept[digest] = pickle.loads(content)
        _kept.move_to_end(digest)
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
        return _kept[digest]


_kept: OrderedDict[str, Any] = OrderedDict()
_lock = threading.RLock()


def _culprit(thing: Any, place: str = "") -> str:
    """Return the place and the repr of the innermost component that cannot be pickled."""
    for step, component in _components(thing):
        try:
            cloudpickle.dumps(component)
        except Exception:
            return _culprit(component, place + step)
    return f"{place.removeprefix('.') or 'it'} = {checks.shown(thing)}"


def _components(thing: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(thing, list | tuple):
        yield from ((f"[{index}]", component) for index, component in enumerate(thing))
    elif isinstance(thing, dict):
        yield from ((f"[{key!r}]", component) for key, component in thing.items())
    elif dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        yield from ((f".{field.name}", getattr(thing, field.name, None)) for field in dataclasses.fields(thing))
