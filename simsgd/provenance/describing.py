"""Any Python object as a description: plain JSON by which two objects that could act differently differ.

Numbers and texts are themselves, arrays and long sequences are hashed, and an object is its class and all that pickling would
keep of it. Functions and classes are described in `simsgd.provenance.code`. What none of these can see is unknown.
"""

from __future__ import annotations

import array
import copyreg
import enum
import functools
import hashlib
import math
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from simsgd.provenance import code, outside, sets
from simsgd.provenance.identity import canonical, digest, unknowns

LARGEST = 2**63
"""Whole numbers from here on are written in hexadecimal digits, of which there is no limit."""
FEW = 32
"""Sequences with more entries than this are hashed."""
FUNCTIONS = types.FunctionType, types.BuiltinFunctionType, types.MethodType
WRAPPING = ("functools", "jax", "jaxlib")
"""Modules whose callables with a `__wrapped__` compute what that does."""
WRAPPED = (property, staticmethod, classmethod, functools.cached_property, functools.partialmethod)
"""What a class holds in place of functions."""


def describe(thing: Any) -> Any:
    """Return the description of an object.

    Example:
        >>> import simsgd as sg
        >>> from simsgd.provenance import describe
        >>> describe(sg.times.Exponential(mean=0.1))
        {'class': 'simsgd.times.textbook.Exponential', 'mean': 0.1}
        >>> describe({2, 1}), describe((0.1, [1]))
        ({'set': [1, 2]}, [0.1, {'list': [1]}])
        >>> describe(open)["unknown"]
        '_io.open depends on what is not described'
    """
    try:
        return Describer().of(thing, "")
    except RecursionError:
        return unknown("it is nested too deeply")
    except Exception as error:  # of code of the user's that answers when it is looked at
        return unknown(f"looking at it raised {type(error).__name__}")


def unknown(reason: str) -> dict[str, Any]:
    """Return the description of what cannot be identified."""
    return {"unknown": reason}


class Describer:
    """Describes objects one inside the other; a function, class or object met again is described by its first place."""

    def __init__(self) -> None:
        self._places: dict[int, tuple[str, Any]] = {}

    def of(self, thing: Any, place: str) -> Any:
        """Return the description of an object at a place in the whole."""
        plain = _PLAIN.get(type(thing))
        if plain is not None:
            return plain(thing)
        inside = _CONTAINERS.get(type(thing))
        lasting = isinstance(thing, (type, *FUNCTIONS))
        if id(thing) in self._places:
            return {"as at": self._places[id(thing)][0]}
        self._places[id(thing)] = place, thing
        try:
            return inside(self, thing, place) if inside else self._other(thing, place)
        finally:
            if not lasting:  # an object's equal copy must have its description, so only those that hold themselves refer
                del self._places[id(thing)]

    def _other(self, thing: Any, place: str) -> Any:
        for kinds, how in _KINDS:
            if isinstance(thing, kinds):
                return how(self, thing, place)
        top = type(thing).__module__.partition(".")[0]
        if top in ("jax", "jaxlib") and hasattr(thing, "__array__"):
            return _array(thing)
        if top in WRAPPING and callable(getattr(thing, "__wrapped__", None)):  # made faster, and nothing else
            _forget(thing)
            return {"class": code.name_of(type(thing)), "wrapped": self.of(thing.__wrapped__, f"{place}.wrapped")}
        return self._object(thing, place)

    def all_of(self, things: Iterable[tuple[str, Any]], place: str) -> dict[str, Any]:
        """Return the descriptions of things with names, in the order of the names."""
        return {name: self.of(value, f"{place}.{name}" if place else name) for name, value in sorted(things)}

    def entries(self, things: Iterable[Any], place: str) -> Any:
        """Return the descriptions of a sequence's entries; of many, a hash."""
        things = list(things)
        if len(things) > FEW and all(type(each) is float for each in things):
            return {"numbers": len(things), "sha256": _sha256(array.array("d", things).tobytes())}
        described = [self.of(each, f"{place}[{i}]") for i, each in enumerate(things)]
        if len(things) <= FEW:
            return described
        missing = [unknown(reason) for reason in unknowns(described)]
        return {"entries": len(things), "sha256": digest(described)} | ({"in it": missing} if missing else {})

    def _object(self, thing: Any, place: str) -> Any:
        """Return an object as its class and what pickling would keep of it."""
        if reason := outside.shared(thing):  # which scipy's distributions hold, and use only if they are given no other
            return {"name": reason} if place.split(".")[-1] == "_random_state" else unknown(reason)
        kind = type(thing)
        if (reason := code.of_library(kind)) and kind.__module__.partition(".")[0] not in outside.HELD:
            return unknown(reason)
        try:
            reduced = thing.__reduce_ex__(2)
        except RecursionError:
            raise
        except Exception as error:
            return unknown(f"{code.name_of(type(thing))} does not say what it holds ({str(error)[:60]})")
        if isinstance(reduced, str):
            reason = outside.outside(f"{getattr(thing, '__module__', '')}.{reduced}") if code.library_of(thing) else ""
            return unknown(reason) if reason else {"name": code.name_of(thing)}
        maker, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
        described = {"class": code.name_of(kind) if code.library_of(kind) else self.of(kind, f"{place}.class")}
        if maker is copyreg.__newobj__:  # type: ignore[attr-defined]
            arguments = arguments[1:]
        else:
            described["by"] = code.name_of(maker) if code.library_of(maker) else self.of(maker, f"{place}.by")
        if arguments:
            described["made of"] = self.entries(arguments, f"{place}.made of")
        state = _without_caches(type(thing), state)
        named = isinstance(state, dict) and all(type(name) is str for name in state)
        described |= self.all_of(state.items(), place) if named else {"state": self.of(state, f"{place}.state")}
        for name, more in (("items", items), ("pairs", pairs)):
            described |= {name: self.entries(more, f"{place}.{name}")} if more is not None else {}
        return described

    def _mapping(self, thing: dict[Any, Any], place: str) -> Any:
        return {"dict": self.entries(thing.items(), place)}

    def _set(self, thing: Iterable[Any], place: str) -> Any:
        thing = list(thing)
        described = {"set": sorted((self.of(each, place) for each in thing), key=canonical)}
        return described if sets.numbers(thing) else described | {"hash seed": sets.hash_seed()}

    def _wrapped(self, thing: Any, place: str) -> Any:
        names = ("fget", "fset", "fdel", "__func__", "func", "args", "keywords")
        parts = [(name, getattr(thing, name)) for name in names if getattr(thing, name, None) is not None]
        return {"class": type(thing).__name__} | self.all_of(parts, place)

    def _partial(self, thing: functools.partial[Any], place: str) -> Any:
        parts = {"function": thing.func, "arguments": thing.args, "named": tuple(sorted(thing.keywords.items()))}
        return {"class": code.name_of(type(thing))} | self.all_of(parts.items(), place)

    def _enum(self, thing: enum.Enum, place: str) -> Any:
        return {"class": self.of(type(thing), f"{place}.class"), "member": thing.name}


def _forget(thing: Any) -> None:
    """Empty the cache around a function of the user's: its results may be older than what the code reads."""
    if hasattr(thing, "cache_clear") and not code.library_of(thing.__wrapped__):
        thing.cache_clear()


def _without_caches(kind: type, state: Any) -> Any:
    """Return an object's state without what its cached properties keep, or nothing where it has none."""
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):  # of a class with slots
        state = {**(state[0] or {}), **state[1]}
    if not isinstance(state, dict):
        return {} if state is None else state
    return {
        name: value for name, value in state.items() if not isinstance(_class_attribute(kind, name), functools.cached_property)
    }


def _class_attribute(kind: type, name: Any) -> Any:
    return next((vars(each)[name] for each in kind.__mro__ if name in vars(each)), None)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _float(thing: float) -> Any:
    return thing if math.isfinite(thing) else {"float": repr(thing)}


def _array(thing: Any) -> Any:
    """Return an array, of NumPy or JAX, as its form and a hash of its content."""
    if "key<" in str(thing.dtype):  # a random key of JAX
        return {"key": str(thing.dtype), "array": _array(sys.modules["jax"].random.key_data(thing))}
    content = np.asarray(thing)
    if content.dtype.hasobject:
        return {"array": "object", "shape": list(content.shape), "list": describe(content.ravel().tolist())}
    return {
        "array": str(content.dtype),
        "shape": list(content.shape),
        "sha256": _sha256(np.ascontiguousarray(content).tobytes()),
    }


def _dtype(thing: Any) -> Any:
    return {"dtype": str(thing) if thing.names is None else repr(thing)}


_PLAIN: dict[type, Callable[[Any], Any]] = {
    **dict.fromkeys((type(None), bool, str), lambda thing: thing),
    int: lambda thing: thing if abs(thing) < LARGEST else {"int": hex(thing)},
    float: _float,
    complex: lambda thing: {"complex": repr(thing)},
    bytes: lambda thing: {"bytes": len(thing), "sha256": _sha256(thing)},
    bytearray: lambda thing: {"bytearray": len(thing), "sha256": _sha256(bytes(thing))},
    type(...): lambda thing: {"name": "builtins.Ellipsis"},
    type(NotImplemented): lambda thing: {"name": "builtins.NotImplemented"},
}
_CONTAINERS: dict[type, Callable[[Describer, Any, str], Any]] = {
    np.ndarray: lambda self, thing, place: _array(thing),
    tuple: Describer.entries,
    list: lambda self, thing, place: {"list": self.entries(thing, place)},
    dict: Describer._mapping,
    set: Describer._set,
    frozenset: Describer._set,
}
_KINDS: list[tuple[Any, Callable[[Describer, Any, str], Any]]] = [
    (types.FunctionType, code.function),
    (type, code.klass),
    (
        types.MethodType,
        lambda self, thing, place: {
            "method": thing.__name__,
            "of": self.of(thing.__self__, place),
            "function": self.of(thing.__func__, place),
        },
    ),
    (types.ModuleType, code.module),
    (types.CodeType, lambda self, thing, place: {"code": code.digest_of(thing)}),
    ((types.BuiltinFunctionType, np.ufunc, *code.SLOTS), code.builtin),
    (functools.partial, Describer._partial),
    (WRAPPED, Describer._wrapped),
    (enum.Enum, Describer._enum),
    (np.generic, lambda self, thing, place: _array(thing)),
    (np.dtype, lambda self, thing, place: _dtype(thing)),
]
"""Kinds of objects, the first that fits counts, and how each is described."""
