"""A cluster in a file: TOML that people read and write, and keep in a repository.

    format = "simsgd cluster 1"
    workers = 16

    [compute]
    kind = "ShiftedExponential"
    shift = "50 ms"
    mean = "100 ms"

    [network]
    kind = "preset"
    name = "ethernet 10g"
    latency = "20 us"

Laws of this module:

1. A file can contain what `descriptions` can express, and two things that are read but never written: the kind "preset", for
   `networks.preset`, and the key `file` in place of a measured table, for the class's own `load`.
2. What is loaded equals what was saved, to the last bit. Otherwise a `FileFormatError` names the file, the key, the value and
   what is allowed. Values are checked by the descriptions themselves; only what is particular to a file is checked here.
3. What is left out is at its default, so changing a default requires a new `VERSION`.
4. A stranger's file reads nothing but itself and regular files beside it, ends soon, and its errors quote no other file.
5. A file that nobody edited since it was saved is known to be so: its checksum, in a comment, is of all values.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import hashlib
import inspect
import json
import os
import pathlib
import re
import tomllib
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from simsgd import networks
from simsgd.cluster import quantities
from simsgd.cluster.descriptions import TIME, Content, contents, join, table
from simsgd.support import files, tables
from simsgd.support.units import FACTOR

FORMAT = "simsgd cluster"
VERSION = 1
NUMBER = Content(scalar=float)
HEADER = (
    "# A cluster of workers, to be read by simsgd.Cluster.load. What is left out is at its default.\n"
    "# checksum {checksum}: of the values as saved. Once you change one, delete this line, or loading warns.\n"
)
CHECKSUM = re.compile(r"^# checksum ([0-9a-f]{16}): ", re.MULTILINE)
MOST_BYTES = 64_000_000
"""The largest file, and the largest file that it may refer to: strangers may have written them."""
DEEP = re.compile(r"""(?<![\w\-\\])(?:(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){50}""")
"""A key of more than fifty parts, for which reading TOML takes the square of their number."""


def save(path: str | os.PathLike[str], cluster: Any) -> None:
    """Write a cluster as a TOML file, completely or not at all.

    Raises:
        TypeError: if something in it is of a class that is not simsgd's, which a file cannot describe.
        OSError: if the folder does not exist or cannot be written.
    """
    import tomli_w

    said = {"format": f"{FORMAT} {VERSION}", **table(cluster)}
    text = tomli_w.dumps(said)
    checksum = _checksum(tomllib.loads(text))
    with files.writing(path) as file:
        file.write((HEADER.format(checksum=checksum) + text).encode())


def load[Described](
    path: str | os.PathLike[str], kind: type[Described], files_within: str | os.PathLike[str] | None = None
) -> Described:
    """Return the cluster, of the class `kind`, that a TOML file describes; see `Cluster.load`.

    Raises:
        OSError: if the file, or one that it refers to, does not exist or cannot be read.
        simsgd.support.files.FileFormatError: if it does not describe a cluster; the message names the key.
    """
    raw = files.read(path, MOST_BYTES, "split it, or keep its tables in files of their own")
    try:
        said, unchanged = _read_toml(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise files.FileFormatError(f"{path} cannot be read as TOML: {error}") from error
    try:
        _check_format(said.pop("format", None))
        found = _Reader(pathlib.Path(path).parent, files_within).cluster(said, kind)
    except (ValueError, RecursionError, OverflowError) as error:
        raise files.FileFormatError(f"{path}: {error}") from error
    if not unchanged:
        warnings.warn(
            f"{path} does not say what it said when it was saved: if you changed it, delete its line '# checksum …'; "
            "if you did not, it is damaged",
            stacklevel=3,
        )
    return found


def _read_toml(text: str) -> tuple[dict[str, Any], bool]:
    """Return what a TOML text says, and whether that is what it said when it was saved, as far as is known."""
    deep = DEEP.search(text)
    if deep:
        raise ValueError(f"line {text.count(chr(10), 0, deep.start()) + 1}: a key of more than 50 parts")
    try:
        said = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{error}{_key_twice(str(error), text)}") from error
    written = CHECKSUM.search(text)
    return said, not written or written[1] == _checksum(said)


def _key_twice(error: str, text: str) -> str:
    """Return which key is there twice, if that is the error: the parser only says where."""
    if not error.startswith("Cannot "):
        return ""
    place, lines = re.search(r"at line (\d+)", error), text.rstrip().splitlines()
    key = lines[int(place[1]) - 1 if place else -1].partition("=")[0].strip()
    return f": {key:.60} is there already" if re.match(r"[\w\[\"']", key) else ""


def _checksum(said: dict[str, Any]) -> str:
    """Return a checksum of all values; comments, layout and the order of keys do not matter."""
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=repr).encode()).hexdigest()[:16]


def _check_format(found: object) -> None:
    """Raise ValueError unless this is the format that is read here."""
    match = re.fullmatch(rf"{FORMAT} (\d{{1,9}})", found) if isinstance(found, str) else None
    if not match:
        said = "nothing says what it is" if found is None else f"it says format = {found!r:.60}"
        raise ValueError(f'this is not a simsgd cluster, {said}: the first line must be format = "{FORMAT} {VERSION}"')
    if int(match[1]) != VERSION:
        raise ValueError(f"the format has version {match[1]}, this simsgd reads version {VERSION}: use another simsgd")


class _Form(NamedTuple):
    """A way to make a description: what to call, its name, the arguments it takes, and those of them that are required."""

    make: Callable[..., Any]
    name: str
    takes: dict[str, Content]
    needs: frozenset[str]


def _form(described: Callable[..., Any], role: str = TIME) -> _Form:
    """Return how a class, or a function, makes a description; `role` is that of `contents`."""
    parameters = inspect.signature(described).parameters.values()
    needs = frozenset(parameter.name for parameter in parameters if parameter.default is parameter.empty)
    return _Form(described, described.__name__, contents(described, role), needs)


def _preset() -> _Form:
    """Return how `networks.preset` makes a link, with the units of the link's own fields."""
    form, link = _form(networks.preset), contents(networks.Link)
    return form._replace(takes={name: link.get(name, content) for name, content in form.takes.items()})


def _loading(described: Any, path: pathlib.Path, role: str) -> _Form:
    """Return how a class's own `load` makes a description of a measured table; other fields are set afterwards."""
    own, load = _form(described, role), _form(described.load, role)
    takes = {name: content for name, content in load.takes.items() if name != "path"}
    extra = {name: content for name, content in own.takes.items() if name not in own.needs | takes.keys()}

    def make(**given: Any) -> Any:
        loaded = described.load(path, **{name: value for name, value in given.items() if name in takes})
        return dataclasses.replace(loaded, **{name: value for name, value in given.items() if name in extra})

    return _Form(make, own.name, takes | extra, load.needs - {"path"})


class _Reader:
    """Makes descriptions from tables. Each ValueError that it raises begins with the key."""

    def __init__(self, folder: pathlib.Path, files_within: str | os.PathLike[str] | None) -> None:
        self.folder = folder
        self.files_within = files_within
        self.made: list[tuple[str, Any]] = []
        """Each description with its key, inner ones first."""

    def cluster[Described](self, said: dict[str, Any], kind: type[Described]) -> Described:
        """Return the whole cluster; if a description does not fit the number of workers, the error names its key."""
        given = self.arguments("", said, _form(kind))
        try:
            return kind(**given)
        except (TypeError, ValueError) as error:
            for where, description in self.made:
                if _refuses(description, given["workers"], error):
                    raise ValueError(_by_key(where, type(description).__name__, error)) from error
            raise ValueError(_by_key("", kind.__name__, error)) from error

    def arguments(self, where: str, said: dict[str, Any], form: _Form) -> dict[str, Any]:
        """Return the arguments that a table gives for a description."""
        for key in said:
            if key not in form.takes:
                known = f"{form.name} has {', '.join(form.takes) or 'no keys'}"
                raise ValueError(f"{join(where, key)} is unknown{_nearest(key, form.takes)}; {known}")
        for key, content in form.takes.items():
            if key in form.needs and key not in said:
                raise ValueError(f"{join(where, key)} is missing: {form.name} needs {content}")
        return {key: self.value(join(where, key), value, form.takes[key]) for key, value in said.items()}

    def value(self, where: str, said: Any, content: Content) -> Any:
        """Return the value of a key."""
        if content.item and content.common_unit and isinstance(said, dict):
            return _quantities(where, said, content)
        if content.item:
            return tuple(self.value(f"{where}[{i}]", each, content.item) for i, each in enumerate(_list(where, said)))
        if content.unit:
            try:
                return quantities.read(said, content.unit)
            except ValueError as error:
                raise ValueError(f"{where} {error}") from error
        return _scalar(where, said, content) if content.scalar else self.description(where, said, content)

    def file(self, where: str, said: str) -> pathlib.Path:
        """Return the file that a key refers to, if it lies where files may be read, with no link that leads out."""
        named = pathlib.PurePath(said)
        allowed = self.folder if self.files_within is None else self.files_within
        outside = (
            f"{where} must be a file in {allowed} or below, got {said!r:.80}; to allow more: Cluster.load(…, files_within=…)"
        )
        if (self.files_within is None and (named.is_absolute() or ".." in named.parts)) or "\0" in said:
            raise ValueError(outside)
        path = pathlib.Path(os.path.realpath(self.folder / named))
        if not path.is_relative_to(os.path.realpath(allowed)):
            raise ValueError(outside)
        if self.files_within is None and path.exists() and path.stat().st_size > MOST_BYTES:
            raise ValueError(
                f"{where}: {path} has more than {MOST_BYTES:,} bytes; to allow it: Cluster.load(…, files_within=…)"
            )
        return path

    def description(self, where: str, said: Any, content: Content) -> Any:
        """Return the description that a table describes."""
        kinds = content.kinds or {}
        names = [*kinds, "preset"] if networks.Link in kinds.values() else [*kinds]
        if not isinstance(said, dict):
            raise ValueError(f"{where} must be {content}, got {said!r:.60}")
        said = dict(said)
        kind = said.pop("kind", None)
        if kind not in names:
            found = "none" if kind is None else f"{kind!r:.60}{_nearest(kind, names)}"
            raise ValueError(f"{where}.kind must be one of {', '.join(names)}, got {found}")
        if kind == "preset":
            form = _preset()
        elif "file" in said and hasattr(kinds[kind], "load"):
            path = self.file(f"{where}.file", _scalar(f"{where}.file", said.pop("file"), Content(scalar=str)))
            form = _loading(kinds[kind], path, content.role)
        else:
            form = _form(kinds[kind], content.role)
        given = self.arguments(where, said, form)
        with tables.withholding(), _naming(where, form.name, content.role):
            made = form.make(**given)
        self.made.append((where, made))
        return made


@contextlib.contextmanager
def _naming(where: str, name: str, role: str) -> Iterator[None]:
    """Put the key into an error of a description, or of the file that it is read from; a factor is not in seconds."""
    try:
        yield
    except files.FileFormatError as error:
        raise ValueError(f"{where}.file: {error}") from error
    except (TypeError, ValueError) as error:
        said = _by_key(where, name, error)
        raise ValueError(said.replace(" (seconds)", "") if role == FACTOR else said) from error
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{where}.file: {error}") from error


def _by_key(where: str, name: str, error: Exception) -> str:
    """Return the message with the key in place of the class: `Link.latency must …` becomes `network.latency must …`."""
    said = str(error)
    if said.startswith(f"{name}."):
        return join(where, said.removeprefix(f"{name}."))
    return f"{where}: {said}" if where else said


def _refuses(description: Any, workers: int, error: Exception) -> bool:
    """Return whether this is the description that refused that many workers with that error."""
    if hasattr(description, "check_workers"):
        try:
            description.check_workers(workers)
        except ValueError as own:
            return str(own) == str(error)
    return False


def _quantities(where: str, said: dict[str, Any], content: Content) -> Any:
    """Return the quantities of a table with `unit` and `values`."""
    unit = content.common_unit or ""
    if set(said) != {"unit", "values"}:
        raise ValueError(
            f"{where} must be a list, or a table with the keys unit and values; got {', '.join(said) or 'no keys'}"
        )
    if said["unit"] not in list(quantities.UNITS[unit]):
        raise ValueError(f"{where}.unit must be {quantities.choice(unit)}, got {said['unit']!r:.60}")

    def scaled(where: str, values: Any, content: Content) -> Any:
        if content.item:
            return tuple(scaled(f"{where}[{i}]", each, content.item) for i, each in enumerate(_list(where, values)))
        return quantities.scaled(_scalar(where, values, NUMBER), unit, said["unit"])

    return scaled(f"{where}.values", said["values"], content)


def _list(where: str, said: Any) -> list[Any]:
    if not isinstance(said, list):
        raise ValueError(f"{where} must be a list, got {said!r:.60}")
    return said


def _scalar(where: str, said: Any, content: Content) -> Any:
    """Return a plain value of TOML of the content's type; a whole number is accepted for any number."""
    kind = content.scalar or float
    if not isinstance(said, int | float if kind is float else kind) or (isinstance(said, bool) and kind is not bool):
        raise ValueError(f"{where} must be {content}, got {said!r:.60}")
    return said


def _nearest(name: object, known: Iterable[str]) -> str:
    """Return "(did you mean …?)" if one of the known names is close."""
    lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(str(name).lower(), lower, n=1)
    return f" (did you mean {lower[near[0]]}?)" if near else ""
