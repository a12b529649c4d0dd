"""Descriptions as tables of plain values: what a cluster's file can contain, and in which form.

Laws of this module:

1. What can be described follows from the descriptions themselves: the public dataclasses of `times`, `networks` and `faults`,
   the fields of each, and the unit in a field's annotation. No class is named here, so a new one can be saved at once.
2. A description is a table whose `kind` is its class. A quantity is a text with its unit; many quantities are a table with
   `unit` and `values`. A field at its default is left out.
3. What a law draws has the unit of the law's role: seconds, or none where a field above it says that the law is of a factor.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from simsgd import faults, networks, times
from simsgd.cluster import quantities
from simsgd.support.units import DRAWN, FACTOR

TIME = "s"
"""The role of a law that is of times: what it draws is in seconds."""

FEW = 8
"""Up to this many quantities are each written with a unit; more of them as a table with one unit for all."""

SCALARS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
"""Types of plain values, and what an error calls them."""


@functools.cache
def classes() -> tuple[type, ...]:
    """Return the classes that a file can name, in the order of their names.

    Example:
        >>> from simsgd.cluster import descriptions
        >>> [each.__name__ for each in descriptions.classes()][:3]
        ['AutocorrelatedLognormal', 'BinaryTree', 'Candidate']
    """
    public = [getattr(module, name) for module in (times, networks, faults) for name in module.__all__]
    found = [each for each in public if isinstance(each, type) and dataclasses.is_dataclass(each)]
    return tuple(sorted((each for each in found if not inspect.isabstract(each)), key=lambda each: each.__name__))


class Content(NamedTuple):
    """What a field can hold: one of the following, or None if that is its default.

    Attributes:
        unit: of a quantity.
        item: of a sequence, what each entry can hold.
        scalar: bool, int, float or str.
        kinds: of a description, the classes that it may have, by name.
        role: what the laws in a description are of, "s" for times or `FACTOR`; of a scalar, `FACTOR` if it has no unit
            because it belongs to a law of a factor.
    """

    unit: str | None = None
    item: Content | None = None
    scalar: type | None = None
    kinds: dict[str, type] | None = None
    role: str = TIME

    @property
    def common_unit(self) -> str | None:
        """The unit of a quantity, or of all the quantities in a sequence, nested or not."""
        return self.item.common_unit if self.item else self.unit

    def __str__(self) -> str:
        """Return the content in words, for errors."""
        if self.item:
            return f"a list, each entry {self.item}"
        if self.unit:
            return f'a quantity such as "1.5 {self.unit}"'
        if self.scalar and self.role == FACTOR:
            return "a plain number such as 1.5, without a unit, because it describes a factor"
        return SCALARS[self.scalar] if self.scalar else f"a table whose kind is one of {', '.join(self.kinds or ())}"


def contents(described: Callable[..., Any], role: str = TIME) -> dict[str, Content]:
    """Return what each parameter of a class or function can hold, by its annotation.

    Args:
        described: the class, or a function that makes an instance of it.
        role: what its laws, or it as a law, are of: "s" for times, or `FACTOR`.

    Example:
        >>> import simsgd as sg
        >>> from simsgd.cluster import descriptions
        >>> {name: str(content) for name, content in descriptions.contents(sg.times.Scaled).items() if name != "law"}
        {'by': 'a number', 'overhead': 'a quantity such as "1.5 s"'}
    """
    hints = typing.get_type_hints(described, include_extras=True)
    return {name: _content(hints[name], role) for name in inspect.signature(described).parameters}


def _content(hint: Any, role: str) -> Content:
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _annotated(hint.__origin__, hint.__metadata__[0], role)
    if origin is Sequence:
        return Content(item=_content(typing.get_args(hint)[0], role))
    several = typing.get_args(hint) if origin in (typing.Union, types.UnionType) else (hint,)
    several = tuple(each for each in several if each is not types.NoneType)
    if len(several) == 1 and several[0] is not hint:
        return _content(several[0], role)
    for each in several:
        if each in SCALARS:
            return Content(scalar=each)
    return Content(kinds={each.__name__: each for each in classes() if issubclass(each, several)}, role=role)


def _annotated(hint: Any, said: str, role: str) -> Content:
    """Return what a field with an annotated unit, or role, can hold."""
    if said == FACTOR:
        return _content(hint, FACTOR)
    unit = role if said == DRAWN else said
    return Content(scalar=float, role=FACTOR) if unit == FACTOR else Content(unit=unit)


def table(description: Any, where: str = "", role: str = TIME) -> dict[str, Any]:
    """Return the fields of a description that are not at their defaults, as a file contains them.

    Args:
        description: a `Cluster`, or what is in one.
        where: its key in the file, for messages.
        role: what its laws, or it as a law, are of: "s" for times, or `FACTOR`.

    Raises:
        TypeError: if something in it is of a class that a file cannot name.

    Example:
        >>> import simsgd as sg
        >>> from simsgd.cluster import descriptions
        >>> descriptions.table(sg.Cluster(4, sg.times.Constant(0.1)))
        {'workers': 4, 'compute': {'kind': 'Constant', 'seconds': '100 ms'}}
    """
    wanted = contents(type(description), role)
    said = {}
    for field in dataclasses.fields(description):
        value = getattr(description, field.name)
        if value is not None and value != _default(field):
            said[field.name] = _said(join(where, field.name), value, wanted[field.name])
    return said


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _said(where: str, value: Any, wanted: Content) -> Any:
    """Return a value as a file contains it."""
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
            f"cannot save {where}={value!r:.80}: a file can name only simsgd's own classes, and {name} is none of them; "
            "keep this cluster in Python, or describe it by simsgd's own"
        )
    return {"kind": name, **table(value, where, wanted.role)}


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
