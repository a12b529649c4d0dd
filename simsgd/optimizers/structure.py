"""What an optax transformation is made of: its functions, taken apart down to the numbers that they closed over.

An optax transformation is a pair of closures; two that the same factory made differ only in what they closed over. Taken apart,
they can be compared, share one compiled player, and be put together again around other numbers.

Laws of this module: structures that are equal make functions that do the same. So only functions of optax, jax and simsgd are
taken apart, whose globals stay as they are; any other function, and any object whose content cannot be seen, is equal to
itself alone.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

TRUSTED = ("optax", "jax", "simsgd")
"""The packages whose functions are taken apart."""


class _Nothing:
    def __reduce__(self) -> str:
        return "NOTHING"


NOTHING = _Nothing()
"""What a variable holds that was never given a value."""


class Same:
    """An object that is equal to itself alone, whatever it says of equality."""

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.thing is other.thing

    def __hash__(self) -> int:
        return id(self.thing)


class Written(NamedTuple):
    """A function as it is written in a module, without what it closed over; pickle keeps its place and finds it again.

    Attributes:
        code: its code.
        where: the globals of its module.
        name, qualname: its names.
    """

    code: types.CodeType
    where: Same
    name: str
    qualname: str

    def __reduce__(self) -> tuple[Any, ...]:
        return _found, (self.where.thing["__name__"], self.name, self.qualname, _digest(self.code))


def _digest(code: types.CodeType) -> str:
    """Return a hash of what a function does, in one version of Python."""
    constants = [each for each in code.co_consts if not isinstance(each, types.CodeType)]
    said = (code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_firstlineno, constants)
    return hashlib.sha256(repr(said).encode()).hexdigest()


def _found(module: str, name: str, qualname: str, digest: str) -> Written:
    """Return a function as it is written in a module.

    Raises:
        LookupError: if it is not written there so, for example in another version of optax.
    """
    where = vars(importlib.import_module(module))
    pending = [inspect.unwrap(where[qualname.split(".")[0]])]
    while pending:
        thing = pending.pop()
        if isinstance(thing, type):
            pending += vars(thing).values()
        code = getattr(thing, "__code__", thing)
        if isinstance(code, types.CodeType):
            if code.co_qualname == qualname and _digest(code) == digest:
                return Written(code, Same(where), name, qualname)
            pending += code.co_consts
    raise LookupError(f"{module}.{qualname} is not what it was where this was pickled: use the same versions there and here")


class Node(NamedTuple):
    """One part of a structure: hashable, and equal to those that make the same.

    Attributes:
        kind: how it is put together again.
        what: what is not taken apart further.
        parts: its parts.
    """

    kind: str
    what: Any = None
    parts: tuple[Node, ...] = ()


def take_apart(thing: Any) -> tuple[Node, list[Any]]:
    """Return the structure of a thing, and its numbers with a point in the order in which the structure counts them.

    Raises:
        RecursionError: if it contains itself.
    """
    found: list[Any] = []
    return _node(thing, found), found


def put_together(node: Node, values: Sequence[Any]) -> Any:
    """Return the thing of a structure whose numbers are all fixed: inputs, which are `values` and may be traced, or written."""
    return _MAKE[node.kind](node.what, [put_together(part, values) for part in node.parts], values)


def fix(node: Node, place: Callable[[int], Node]) -> Node:
    """Return a structure with each of its numbers, given by its place, replaced."""
    if node.kind == "number":
        return place(node.what[0])
    return node._replace(parts=tuple(fix(part, place) for part in node.parts))


def written(value: Any) -> Node:
    """Return the structure of a number that stays as it is."""
    if type(value) is float:
        return Node("float", value.hex())
    return Node("scalar", (value.dtype.str, value.tobytes())) if isinstance(value, np.generic) else Node("same", Same(value))


def is_number(thing: Any) -> bool:
    """Say whether a thing is a single number with a point, of Python, NumPy or JAX."""
    if isinstance(thing, float | np.floating):
        return True
    return isinstance(thing, jax.Array) and thing.shape == () and jnp.issubdtype(thing.dtype, jnp.floating)


def is_trusted(function: Callable[..., Any]) -> bool:
    """Say whether a function was written in a module whose globals stay as they are."""
    where = getattr(function, "__globals__", {}).get("__name__", "")
    return str(where).split(".")[0] in TRUSTED


def closure(function: Any) -> dict[str, Any]:
    """Return what a function closed over, by name; nothing for other callables."""
    if not isinstance(function, types.FunctionType) or not function.__closure__:
        return {}
    return dict(zip(function.__code__.co_freevars, map(_content, function.__closure__), strict=True))


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable that was never given a value
        return NOTHING


def _node(thing: Any, found: list[Any]) -> Node:
    def nodes(things: Any) -> tuple[Node, ...]:
        return tuple(_node(each, found) for each in things)

    if is_number(thing):
        found.append(thing)
        return Node("number", (len(found) - 1, "float" if type(thing) is float else str(thing.dtype)))
    if thing is None or type(thing) in (str, bytes, int, bool):
        return Node("value", (type(thing), thing))
    if type(thing) in (list, tuple) or (isinstance(thing, tuple) and hasattr(thing, "_fields")):
        return Node("sequence", type(thing), nodes(thing))
    if type(thing) is dict and all(type(key) in (str, int, bool) for key in thing):
        return Node("dict", tuple((type(key), key) for key in thing), nodes(thing.values()))
    if type(thing) is functools.partial:
        return Node("partial", None, nodes((thing.func, thing.args, thing.keywords)))
    if isinstance(thing, types.FunctionType) and "<locals>" in thing.__qualname__ and is_trusted(thing):
        fixed = Written(thing.__code__, Same(thing.__globals__), thing.__name__, thing.__qualname__)
        inside = (thing.__defaults__, thing.__kwdefaults__, thing.__dict__, *closure(thing).values())
        return Node("function", fixed, nodes(inside))
    return Node("same", Same(thing))


def _function(what: Any, parts: list[Any], values: Sequence[Any]) -> types.FunctionType:
    code, where, name, qualname = what
    defaults, keyword_defaults, attributes, *cells = parts
    closed = tuple(types.CellType() if cell is NOTHING else types.CellType(cell) for cell in cells)
    made = types.FunctionType(code, where.thing, name, defaults, closed)
    made.__kwdefaults__, made.__qualname__ = keyword_defaults, qualname
    made.__dict__.update(attributes)
    return made


_MAKE: dict[str, Callable[[Any, list[Any], Sequence[Any]], Any]] = {
    "input": lambda place, parts, values: values[place],
    "float": lambda digits, parts, values: float.fromhex(digits),
    "scalar": lambda what, parts, values: np.frombuffer(what[1], what[0])[0],
    "value": lambda value, parts, values: value[1],
    "same": lambda same, parts, values: same.thing,
    "sequence": lambda kind, parts, values: kind(*parts) if hasattr(kind, "_fields") else kind(parts),
    "dict": lambda keys, parts, values: dict(zip((key for _, key in keys), parts, strict=True)),
    "partial": lambda _, parts, values: functools.partial(parts[0], *parts[1], **parts[2]),
    "function": _function,
}
