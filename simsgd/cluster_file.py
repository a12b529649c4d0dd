"""A cluster in a file: TOML that a person reads and writes, and a team keeps in its repository.

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

1. What can be described follows from the descriptions themselves: the dataclasses of `times`, `networks` and `faults`, the
   fields of each, and the unit in a field's annotation. No class is named here; a new one can be saved as it stands.
2. A description is a table whose `kind` is its class. A quantity is a text with its unit, or for many of them a table with
   `unit` and `values`. A field at its default is left out; so a default that changes asks for a new `VERSION`.
3. What is loaded is what was saved, to the last bit; or else a `FileFormatError` that names the file, the key and the value,
   and what would do. A description's own checks are the only ones; here only what is particular to a file is checked.
4. A file is written whole or not at all.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import os
import pathlib
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from simsgd import faults, files, networks, quantities, times

FORMAT = "simsgd cluster"
VERSION = 1
FEW = 8
"""So many quantities are written each with its unit; more of them as a table with one unit for all."""

_HEADER = "# A cluster of workers: simsgd.Cluster.load reads it. What is not said here is at its default.\n"
_SCALARS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}

Described = TypeVar("Described")


def save(path: str | os.PathLike[str], cluster: Any) -> None:
    """Write a cluster as a TOML file, whole or not at all.

    Raises:
        TypeError: if something in it is not of simsgd's own classes, so that no file can say what it is.
        OSError: if the folder does not exist or cannot be written.
    """
    import tomli_w

    described = {"format": f"{FORMAT} {VERSION}", **_fields("", cluster)}
    with files.writing(path) as temporary:
        temporary.write_text(_HEADER + tomli_w.dumps(described), encoding="utf-8")


def load(path: str | os.PathLike[str], cluster: type[Described]) -> Described:
    """Return the `cluster`, an instance of the class given, that a TOML file describes.

    Raises:
        OSError: if the file, or one that it refers to, is not there or cannot be read.
        simsgd.files.FileFormatError: if it describes no cluster; the message names the key.
    """
    import tomllib

    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no file {path}")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise files.FileFormatError(f"{path} cannot be read as TOML: {error}") from error
    try:
        _check_format(table.pop("format", None))
        return _Reader(path.parent).cluster(table, cluster)
    except ValueError as error:
        raise files.FileFormatError(f"{path}: {error}") from error


def _check_format(found: object) -> None:
    """Raise ValueError unless this is the format that is read here."""
    wanted = f'format = "{FORMAT} {VERSION}"'
    match = re.fullmatch(rf"{FORMAT} (\d+)", found) if isinstance(found, str) else None
    if not match:
        said = "nothing says what it is" if found is None else f"its format is {found!r:.60}"
        raise ValueError(f"not a simsgd cluster, {said}: the first line must be {wanted}")
    if int(match[1]) != VERSION:
        raise ValueError(f"the format has version {match[1]}, this simsgd reads version {VERSION}: use another simsgd")


# What can be described, and what a field can hold


@functools.cache
def classes() -> tuple[type, ...]:
    """Return the classes that a file can name: the public dataclasses of `times`, `networks` and `faults`.

    Example:
        >>> from simsgd import cluster_file
        >>> [each.__name__ for each in cluster_file.classes()][:3]
        ['AutocorrelatedLognormal', 'Constant', 'Crash']
    """
    found = [
        value
        for module in (times, networks, faults)
        for value in vars(module).values()
        if inspect.isclass(value) and dataclasses.is_dataclass(value) and not inspect.isabstract(value)
    ]
    return tuple(sorted((each for each in found if not each.__name__.startswith("_")), key=lambda each: each.__name__))


class Content(NamedTuple):
    """What a field can hold, by its annotation: exactly one of these, and None where it is its default.

    Attributes:
        unit: of a quantity.
        item: of a sequence, what each entry can hold.
        scalar: bool, int, float or str.
        kinds: of a description, the classes that it may have, by name.
    """

    unit: str | None = None
    item: Content | None = None
    scalar: type | None = None
    kinds: dict[str, type] | None = None

    @property
    def common_unit(self) -> str | None:
        """The unit of all quantities of a sequence, nested or not; None of other things."""
        return self.item.common_unit if self.item else self.unit


def content(hint: Any) -> Content:
    """Return what a field with this annotation can hold."""
    if typing.get_origin(hint) is typing.Annotated:
        return Content(unit=hint.__metadata__[0])
    if typing.get_origin(hint) is tuple:
        return Content(item=content(typing.get_args(hint)[0]))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        several = [each for each in typing.get_args(hint) if each is not types.NoneType]
        if len(several) == 1:
            return content(several[0])
        return Content(kinds={each.__name__: each for each in classes() if issubclass(each, tuple(several))})
    if hint in _SCALARS:
        return Content(scalar=hint)
    return Content(kinds={each.__name__: each for each in classes() if issubclass(each, hint)})


def contents(described: Callable[..., Any]) -> dict[str, Content]:
    """Return what the parameters of a class or function can hold, by name."""
    hints = typing.get_type_hints(described, include_extras=True)
    return {name: content(hints[name]) for name in inspect.signature(described).parameters}


# Writing


def _fields(where: str, description: Any) -> dict[str, Any]:
    """Return what TOML shall say of a description, without its kind: the fields that are not at their defaults."""
    wanted = contents(type(description))
    values = {field.name: (field, getattr(description, field.name)) for field in dataclasses.fields(description)}
    return {
        name: _written(_join(where, name), value, wanted[name])
        for name, (field, value) in values.items()
        if value is not None and value != _default(field)
    }


def _default(field: dataclasses.Field[Any]) -> Any:
    """Return a field's default, or MISSING."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _written(where: str, value: Any, wanted: Content) -> Any:
    """Return what TOML shall say of a value."""
    if wanted.item and wanted.common_unit and sum(1 for _ in _flat(value)) > FEW:
        return {"unit": wanted.common_unit, "values": value}
    if wanted.item:
        return [_written(f"{where}[{i}]", each, wanted.item) for i, each in enumerate(value)]
    if wanted.unit:
        return quantities.text(float(value), wanted.unit)
    if wanted.scalar:
        return wanted.scalar(value)
    name = type(value).__name__
    if (wanted.kinds or {}).get(name) is not type(value):
        ways = "keep this cluster in Python, or describe it by simsgd's own classes"
        raise TypeError(f"cannot save {where}={value!r:.80}: a file can name no class {name} of your own; {ways}")
    return {"kind": name, **_fields(where, value)}


def _flat(value: Any) -> Iterator[float]:
    """Yield the numbers of a sequence, nested or not."""
    if isinstance(value, tuple):
        for each in value:
            yield from _flat(each)
    else:
        yield value


# Reading


class _Form(NamedTuple):
    """A way to make a description: what makes it, its name for messages, and what it takes."""

    make: Callable[..., Any]
    name: str
    takes: dict[str, Content]
    needs: set[str]


def _form(described: Callable[..., Any]) -> _Form:
    """Return how a class, or a function, makes a description."""
    parameters = inspect.signature(described).parameters
    needs = {name for name, parameter in parameters.items() if parameter.default is parameter.empty}
    return _Form(described, described.__name__, contents(described), needs)


def _preset() -> _Form:
    """Return how `networks.preset` makes a link: by name, with the fields of the link in place of the preset's."""
    form, link = _form(networks.preset), contents(networks.Link)
    return form._replace(takes=form.takes | {name: link[name] for name in form.takes if name in link})


def _from_table(described: Any, path: pathlib.Path) -> _Form:
    """Return how a class's `load` makes a description of the table in a file; fields that it does not know come on top."""
    loading = _form(described.load)
    takes = {name: wanted for name, wanted in loading.takes.items() if name != "path"}
    own = _form(described)
    extra = {name: wanted for name, wanted in own.takes.items() if name not in takes and name not in own.needs}

    def make(**given: Any) -> Any:
        loaded = described.load(path, **{name: value for name, value in given.items() if name in takes})
        return dataclasses.replace(loaded, **{name: value for name, value in given.items() if name in extra})

    return _Form(make, described.__name__, takes | extra, loading.needs - {"path"})


class _Reader:
    """Makes descriptions of tables; every ValueError that it raises begins with the key."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.made: list[tuple[str, Any]] = []
        """Each description with its key, what is inside another one first."""

    def cluster(self, table: dict[str, Any], cluster: type[Described]) -> Described:
        form = _form(cluster)
        given = self.arguments("", table, form)
        if given["workers"] > 0:
            for where, description in self.made:  # before the cluster does it, which does not know the keys
                with _naming(where, type(description).__name__):
                    getattr(description, "check_workers", lambda workers: None)(given["workers"])
        with _naming("", form.name):
            return cluster(**given)

    def arguments(self, where: str, table: dict[str, Any], form: _Form) -> dict[str, Any]:
        """Return what the table gives to make a description."""
        for key in table:
            if key not in form.takes:
                raise ValueError(f"{_join(where, key)} is unknown{_nearest(key, form.takes)}; {_listed(form)}")
        for key in form.takes:
            if key in form.needs and key not in table:
                example = _example(form.takes[key])
                raise ValueError(f"{_join(where, key)} is missing: {form.name} needs it, for example {key} = {example}")
        return {key: self.value(_join(where, key), value, form.takes[key]) for key, value in table.items()}

    def value(self, where: str, given: Any, wanted: Content) -> Any:
        """Return the value that a key has."""
        if wanted.item and wanted.common_unit and isinstance(given, dict):
            return self.quantities(where, given, wanted)
        if wanted.item:
            return tuple(self.value(f"{where}[{i}]", each, wanted.item) for i, each in enumerate(_list(where, given)))
        if wanted.unit:
            try:
                return quantities.read(given, wanted.unit)
            except ValueError as error:
                raise ValueError(f"{where} {error}") from error
        if wanted.scalar:
            return _scalar(where, given, wanted.scalar)
        return self.description(where, given, wanted.kinds or {})

    def quantities(self, where: str, table: dict[str, Any], wanted: Content) -> Any:
        """Return the quantities of a table with `unit` and `values`."""
        known = quantities.UNITS[wanted.common_unit or ""]
        if set(table) != {"unit", "values"}:
            raise ValueError(f"{where} must have the keys unit and values, got {', '.join(table) or 'none'}")
        if table["unit"] not in list(known):
            raise ValueError(f"{where}.unit must be one of {', '.join(known)}, got {table['unit']!r:.60}")

        def scaled(where: str, given: Any, wanted: Content) -> Any:
            if wanted.item:
                return tuple(scaled(f"{where}[{i}]", each, wanted.item) for i, each in enumerate(_list(where, given)))
            return quantities.scaled(_scalar(where, given, float), wanted.unit or "", table["unit"])

        return scaled(f"{where}.values", table["values"], wanted)

    def description(self, where: str, given: Any, kinds: dict[str, type]) -> Any:
        """Return the description that a table has, of one of these kinds."""
        names = [*kinds, "preset"] if networks.Link in kinds.values() else [*kinds]
        if not isinstance(given, dict):
            raise ValueError(f"{where} must be a table with a kind, one of {', '.join(names)}, got {given!r:.60}")
        table = dict(given)
        kind = table.pop("kind", None)
        if kind not in names:
            said = f"got {kind!r:.60}{_nearest(kind, names)}" if "kind" in given else "got none"
            raise ValueError(f"{where}.kind must be one of {', '.join(names)}, {said}")
        if kind == "preset":
            form = _preset()
        elif "file" in table and hasattr(kinds[kind], "load"):
            form = _from_table(kinds[kind], self.folder / _scalar(f"{where}.file", table.pop("file"), str))
        else:
            form = _form(kinds[kind])
        arguments = self.arguments(where, table, form)
        with _naming(where, form.name):
            made = form.make(**arguments)
        self.made.append((where, made))
        return made


class _naming:  # noqa: N801, as contextlib's own
    """Put the key before what a description says is wrong with it: `Link.latency must …` is `network.latency must …`."""

    def __init__(self, where: str, name: str) -> None:
        self.where, self.name = where, name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError):
            raise type(error)(f"{self.where}.file: {error}") from error
        if isinstance(error, ValueError | TypeError):
            field = str(error).removeprefix(f"{self.name}.")
            of_a_field = field != str(error)
            separator = "." if of_a_field else ": "
            raise ValueError(f"{self.where}{separator if self.where else ''}{field}") from error


def _list(where: str, given: Any) -> list[Any]:
    if not isinstance(given, list):
        raise ValueError(f"{where} must be a list, got {given!r:.60}")
    return given


def _scalar(where: str, given: Any, kind: type) -> Any:
    """Return a value of TOML's own that is of the kind; a whole number may stand for any number."""
    if not isinstance(given, int | float if kind is float else kind) or (isinstance(given, bool) and kind is not bool):
        raise ValueError(f"{where} must be {_SCALARS[kind]}, got {given!r:.60}")
    return given


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _nearest(name: object, known: Iterable[str]) -> str:
    """Return the question whether one of the known names was meant, if one is near."""
    lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(str(name).lower(), lower, n=1)
    return f", did you mean {lower[near[0]]}?" if near else ""


def _listed(form: _Form) -> str:
    return f"{form.name} has {', '.join(form.takes) or 'no keys'}"


def _example(wanted: Content) -> str:
    """Return what may stand behind the equals sign."""
    if wanted.item:
        return f"[{_example(wanted.item)}]"
    if wanted.unit:
        return f'"1.5 {wanted.unit}"'
    if wanted.scalar:
        return {bool: "true", int: "1", float: "1.5", str: '"…"'}[wanted.scalar]
    return f'{{ kind = "{next(iter(wanted.kinds or {}))}", … }}'
