"""Descriptions as tables of plain values: what a file can say of a cluster, and how it says it.

Laws of this module:

1. What can be described follows from the descriptions themselves: the public dataclasses of `times`, `networks` and `faults`,
   the fields of each, and the unit in a field's annotation. No class is named here; a new one can be saved as it stands.
2. A description is a table whose `kind` is its class. A quantity is a text with its unit; many quantities are a table with
   `unit` and `values`. A field at its default is left out.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from simsgd import faults, networks, times
from simsgd.cluster import quantities

FEW = 8
"""So many quantities are written each with its unit; more of them as a table with one unit for all."""

SCALARS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
"""Values that a file says as they are."""


@functools.cache
def classes() -> tuple[type, ...]:
    """Return the classes that a file can name, in the order of their names.

    Example:
        >>> from simsgd.cluster import descriptions
        >>> [each.__name__ for each in descriptions.classes()][:3]
        ['AutocorrelatedLognormal', 'BinaryTree', 'Candidate']
    """
    public = [value for module in (times, networks, faults) for name, value in vars(module).items() if not name.startswith("_")]
    found = [each for each in public if dataclasses.is_dataclass(each) and not inspect.isabstract(each)]
    return tuple(sorted((each for each in found if isinstance(each, type)), key=lambda each: each.__name__))


class Content(NamedTuple):
    """What a field can hold: one of these, and None where that is its default.

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
        """The unit of a quantity, or of all the quantities in a sequence, nested or not."""
        return self.item.common_unit if self.item else self.unit

    def __str__(self) -> str:
        """Return the content in words, for what must be there and is not."""
        if self.item:
            return f"a list, each entry {self.item}"
        if self.unit:
            return f'a quantity such as "1.5 {self.unit}"'
        return SCALARS[self.scalar] if self.scalar else f"a table whose kind is one of {', '.join(self.kinds or ())}"


def contents(described: Callable[..., Any]) -> dict[str, Content]:
    """Return what each parameter of a class or function can hold, by its annotation.

    Example:
        >>> import simsgd as sg
        >>> from simsgd.cluster import descriptions
        >>> {name: str(content) for name, content in descriptions.contents(sg.times.Scaled).items() if name != "law"}
        {'by': 'a number', 'overhead': 'a quantity such as "1.5 s"'}
    """
    hints = typing.get_type_hints(described, include_extras=True)
    return {name: _content(hints[name]) for name in inspect.signature(described).parameters}


def _content(hint: Any) -> Content:
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return Content(unit=hint.__metadata__[0])
    if origin is tuple:
        return Content(item=_content(typing.get_args(hint)[0]))
    several = typing.get_args(hint) if origin in (typing.Union, types.UnionType) else (hint,)
    several = tuple(each for each in several if each is not types.NoneType)
    if len(several) == 1 and several[0] is not hint:
        return _content(several[0])
    for each in several:
        if each in SCALARS:
            return Content(scalar=each)
    return Content(kinds={each.__name__: each for each in classes() if issubclass(each, several)})


def table(description: Any, where: str = "") -> dict[str, Any]:
    """Return the fields of a description that are not at their defaults, as a file says them.

    Args:
        description: a `Cluster`, or what is in one.
        where: its key in the file, for messages.

    Raises:
        TypeError: if something in it is no class that a file can name.

    Example:
        >>> import simsgd as sg
        >>> from simsgd.cluster import descriptions
        >>> descriptions.table(sg.Cluster(4, sg.times.Constant(0.1)))
        {'workers': 4, 'compute': {'kind': 'Constant', 'seconds': '100 ms'}}
    """
    wanted = contents(type(description))
    said = {}
    for field in dataclasses.fields(description):
        value = getattr(description, field.name)
        if value is not None and value != _default(field):
            said[field.name] = _said(join(where, field.name), value, wanted[field.name])
    return said


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _said(where: str, value: Any, wanted: Content) -> Any:
    """Return what a file says of a value."""
    if wanted.item and wanted.common_unit and sum(1 for _ in _flat(value)) > FEW:
        return {"unit": wanted.common_unit, "values": value}
    if wanted.item:
        return [_said(f"{where}[{i}]", each, wanted.item) for i, each in enumerate(value)]
    if wanted.unit:
        return quantities.text(float(value), wanted.unit)
    if wanted.scalar:
        return wanted.scalar(value)
    name = type(value).__name__
    if (wanted.kinds or {}).get(name) is not type(value):
        raise TypeError(
            f"cannot save {where}={value!r:.80}: a file can name only simsgd's own classes, and {name} is none of them; keep "
            "this cluster in Python, or describe it by simsgd's own"
        )
    return {"kind": name, **table(value, where)}


def _flat(value: Any) -> Iterator[float]:
    """Yield the numbers of a sequence, nested or not."""
    if isinstance(value, tuple):
        for each in value:
            yield from _flat(each)
    else:
        yield value


def join(where: str, key: str) -> str:
    """Return the key of a field, from that of its table."""
    return f"{where}.{key}" if where else key
