"""Functions, classes and modules as descriptions: what they are made of, wherever it can act.

A library's code is named with the library's version. Anybody else's is hashed: bytecode, constants, defaults, what it closed
over, and each global that it names, one function after the other. Where code reaches for what is outside of all that (a file,
a clock, somebody else's random numbers) it says so: unknown.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import importlib.metadata
import importlib.util
import pathlib
import sys
import sysconfig
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

from simsgd.provenance import outside, sets

SLOTS = (
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.MethodWrapperType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
"""Kinds of what classes written in C are made of."""
SELF = "(self)"
"""Stands for a method's first argument: its own attributes are described with it."""
NOT_OURS = frozenset(("site-packages", "dist-packages"))
"""Folders whose packages are named with their versions."""
ABOUT = frozenset(
    [
        "__module__",
        "__qualname__",
        "__doc__",
        "__dict__",
        "__weakref__",
        "__annotations__",
        "__annotate_func__",
        "__annotate__",
        "__annotations_cache__",
        "__dataclass_fields__",
        "__dataclass_params__",
        "__match_args__",
        "__abstractmethods__",
        "_abc_impl",
        "__parameters__",
        "__firstlineno__",
        "__static_attributes__",
        "__classdictcell__",
        "__type_params__",
        "__hash__",
        "__orig_bases__",
        "__slotnames__",
    ]
)
"""Attributes of a class that say something about it, or that Python makes from the others."""


class Names(NamedTuple):
    """What a function's code reaches by name: globals with the attributes that follow, modules imported inside, and more.

    `asked` are the attributes of anything else, each chain with whether it is called; a "()" ends a chain that is called
    without arguments.
    """

    reached: tuple[tuple[str, ...], ...]
    imported: tuple[str, ...]
    asked: tuple[tuple[tuple[str, ...], bool], ...]


class _Chain(NamedTuple):
    """A name and the attributes that follow it, while they are read."""

    root: str = ""
    attributes: tuple[str, ...] = ()
    called: bool = False


@functools.lru_cache(maxsize=4096)
def names_in(code: types.CodeType) -> Names:
    """Return what code, and the code inside of it, reaches by name."""
    reached: set[tuple[str, ...]] = set()
    imported: set[str] = set()
    asked: set[tuple[tuple[str, ...], bool]] = set()
    chain = _Chain()
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM"):
            method = step.opname == "LOAD_METHOD" or (step.opname == "LOAD_ATTR" and bool((step.arg or 0) & 1))
            chain = _Chain(chain.root, (*chain.attributes, step.argval), method)
            continue
        if step.opname in ("PUSH_NULL", "CACHE", "EXTENDED_ARG"):
            continue
        empty = ("()",) if step.opname == "CALL" and step.arg == 0 else ()
        called = chain.called or bool(empty)
        if chain.root and chain.root != SELF:
            reached.add((chain.root, *chain.attributes, *empty))
        attributes = chain.attributes[1:] if chain.root == SELF else chain.attributes
        if attributes:
            asked.add(((*attributes, *empty), called))
        chain = _Chain(_root(step))
        if step.opname == "IMPORT_NAME":
            imported.add(step.argval)
    for inner in (each for each in code.co_consts if isinstance(each, types.CodeType)):
        more = names_in(inner)
        reached, imported, asked = reached | set(more.reached), imported | set(more.imported), asked | set(more.asked)
    return Names(tuple(sorted(reached)), tuple(sorted(imported)), tuple(sorted(asked)))


def _root(step: dis.Instruction) -> str:
    """Return the name of the global that an instruction reads, `SELF` for self, or nothing."""
    if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
        return str(step.argval)
    last = step.argval[-1] if isinstance(step.argval, tuple) and step.argval else step.argval
    return SELF if step.opname.startswith(("LOAD_FAST", "LOAD_DEREF")) and last == "self" else ""


@functools.lru_cache(maxsize=4096)
def digest_of(code: types.CodeType) -> str:
    """Return the SHA-256 (hexadecimal) of code: what it does, not where it stands or what its file is called."""
    about: tuple[Any, ...] = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags, code.co_names)
    about += (code.co_varnames, code.co_freevars, code.co_cellvars)
    digest = hashlib.sha256(repr(about).encode())
    for part in (code.co_code, code.co_exceptiontable, *(_constant(each).encode() for each in code.co_consts)):
        digest.update(b"%d " % len(part) + part)
    return digest.hexdigest()


def _constant(value: Any) -> str:
    """Return a constant as text; sets, whose order depends on the hash seed, in the order of their entries' texts."""
    if isinstance(value, types.CodeType):
        return digest_of(value)
    if isinstance(value, tuple | frozenset):
        entries = [_constant(each) for each in value]
        return f"{type(value).__name__} {entries if isinstance(value, tuple) else sorted(entries)}"
    return f"{type(value).__name__} {value!r}"


@functools.cache
def library(top: str) -> str | None:
    """Return the name and version of the library that a top-level package is, or None for anybody else's code.

    Python's own modules and simsgd, whose versions stand in every identity, are named without.
    """
    found = sys.modules.get(top)
    places = [getattr(found, "__file__", None) or "", *getattr(found, "__path__", ())]
    installed = any(NOT_OURS & set(place.replace("\\", "/").split("/")) for place in places)
    if top == "simsgd" or (top in sys.stdlib_module_names and not installed and _is_python_s(places[0])):
        return ""
    if not installed:
        return None
    version = getattr(found, "__version__", None)
    if not isinstance(version, str):
        try:
            version = importlib.metadata.version(top)
        except importlib.metadata.PackageNotFoundError:
            return None
    return f"{top} {version}"


def _is_python_s(file: str) -> bool:
    """Say whether a module that is called like one of Python's own is it, and no script of that name."""
    return not file or pathlib.Path(file).is_relative_to(sysconfig.get_path("stdlib"))


def _owner(module: Any) -> str | None:
    return library(str(module).partition(".")[0])


def library_of(thing: Any) -> bool:
    """Say whether a class or function is a library's."""
    return _owner(getattr(thing, "__module__", None) or "builtins") is not None


def name_of(thing: Any) -> str:
    """Return a function's or class's module and name, the main module under one name in all processes."""
    module = str(getattr(thing, "__module__", None) or "builtins").replace("__mp_main__", "__main__")
    name = f"{module}.{getattr(thing, '__qualname__', type(thing).__name__)}"
    owner = _owner(module)
    return f"{name} ({owner})" if owner else name


def function(describer: Any, thing: types.FunctionType, place: str) -> Any:
    """Return a function: its name and code, and what it was given and can reach."""
    module = thing.__globals__.get("__name__", "")
    described: dict[str, Any] = {"function": name_of(thing), "code": digest_of(thing.__code__)}
    known = _owner(module) is not None
    if known and (reason := of_library(thing)):
        return {"unknown": reason}
    if not known or "<locals>" in thing.__qualname__:
        closure = {name: value for name, value in _closure(thing) if not _is_library(value)}
        given = {"defaults": thing.__defaults__, "named defaults": thing.__kwdefaults__, "closure": closure}
        attributes = {name: value for name, value in vars(thing).items() if name != "__wrapped__"}
        for name, value in (*given.items(), ("attributes", attributes)):
            if value and isinstance(value, dict):
                described[name] = describer.all_of(value.items(), f"{place}.{name}")
            elif value:
                described[name] = describer.of(value, f"{place}.{name}")
    if not known:
        described |= {"globals": found} if (found := _globals(describer, thing, place)) else {}
    return described


def _closure(thing: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # a variable that was never given a value
            continue


def _globals(describer: Any, thing: types.FunctionType, place: str) -> dict[str, Any]:
    """Return the description of each global that a function names, and of each module that it imports."""
    names = names_in(thing.__code__)
    found: dict[str, Any] = {}
    if sets.makes_one(thing.__code__):
        found["hash seed"] = sets.hash_seed()
    for chain in names.reached:
        if chain[0] in thing.__globals__:
            value, rest = _followed(thing.__globals__[chain[0]], chain[1:])
            shown = ".".join(chain[: len(chain) - len(rest)])
            reason = of_library(value, rest)
            if reason:
                found[".".join(chain).removesuffix(".()")] = {"unknown": reason}
            elif rest and _is_library(value):
                found[shown] = {"module": value.__name__, "of": _owner(value.__name__)}
            elif shown not in found:
                found[shown] = describer.of(value, f"{place}.globals.{shown}")
        elif reason := outside.builtin(chain[0]):
            found[chain[0]] = {"unknown": reason}
    for name in names.imported:
        found[f"import {name}"] = _imported(name, thing, names)
    for name, value in _closure(thing):
        found |= {name: _in_a_variable(value.__name__, names)} if _is_library(value) else {}
    return found | _asked(thing, names)


def _asked(thing: types.FunctionType, names: Names) -> dict[str, Any]:
    """Return what a function asks of objects that are not known before it runs, where that may come from outside."""
    found = {}
    for chain, called in names.asked:
        attributes = [name for name in chain if name != "()"]
        for name in attributes:
            if reason := outside.asked(name, called and name == attributes[-1]):
                found[f"(…).{name}"] = {"unknown": reason}
        if "rvs" in attributes and not _is_named("random_state", thing.__code__):
            found["(…).rvs"] = {"unknown": "rvs draws from numpy's own state: give it random_state=rng"}
    return found


def _is_named(argument: str, code: types.CodeType) -> bool:
    """Say whether code names an argument in a call."""
    return any(
        _is_named(argument, each) if isinstance(each, types.CodeType) else isinstance(each, tuple) and argument in each
        for each in code.co_consts
    )


def _followed(value: Any, attributes: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
    """Follow attributes through modules that are no library's; return what they lead to and the attributes left."""
    while (
        attributes and isinstance(value, types.ModuleType) and _owner(value.__name__) is None and hasattr(value, attributes[0])
    ):
        value, attributes = getattr(value, attributes[0]), attributes[1:]
    return value, attributes


def of_library(thing: Any, attributes: tuple[str, ...] = ()) -> str:
    """Say that a library's module, class or function, or what follows it, is outside of what is described; or nothing."""
    if _is_library(thing):
        if (
            attributes
            and _is_library(inside := vars(thing).get(attributes[0]))
            and (reason := of_library(inside, attributes[1:]))
        ):
            return reason  # as in dataclasses.sys.argv
        return outside.outside(".".join((thing.__name__, *attributes))) if attributes else ""
    if isinstance(thing, type | types.FunctionType | types.BuiltinFunctionType):
        module = getattr(thing, "__module__", None) or getattr(getattr(thing, "__self__", None), "__name__", None)
        if isinstance(module, str) and _owner(module) is not None and isinstance(getattr(thing, "__qualname__", None), str):
            return outside.outside(".".join((module, thing.__qualname__, *attributes)))
    return ""


def _imported(name: str, thing: types.FunctionType, names: Names) -> Any:
    """Return a module that a function imports by itself: a library, a file, or unknown."""
    if _owner(name) is None:
        return {"unknown": f"{name} is imported inside {thing.__qualname__}: import it at the top of the file"}
    return _in_a_variable(name, names)


def _in_a_variable(module: str, names: Names) -> Any:
    """Return a library that code keeps in a variable: all that the code asks of variables may be asked of it."""
    for chain in ((), *(chain for chain, _ in names.asked)):
        if reason := outside.outside(".".join((module, *chain))):
            return {"unknown": reason}
    return {"module": module, "of": _owner(module)}


def _is_library(thing: Any) -> bool:
    return isinstance(thing, types.ModuleType) and _owner(thing.__name__) is not None


def klass(describer: Any, thing: type, place: str) -> Any:
    """Return a class: its name if it is a library's, else its bases and all its attributes too."""
    if _owner(thing.__module__) is not None:
        reason = of_library(thing)
        return {"unknown": reason} if reason else name_of(thing)
    own = {name: value for name, value in vars(thing).items() if name not in ABOUT}
    slots = [name for name in own if isinstance(own[name], SLOTS)]
    return {
        "class": name_of(thing),
        "bases": [describer.of(base, f"{place}.bases[{i}]") for i, base in enumerate(thing.__bases__)],
        "attributes": describer.all_of(
            ((name, value) for name, value in own.items() if name not in slots), f"{place}.attributes"
        ),
    } | ({"kind": describer.of(type(thing), f"{place}.kind")} if _owner(type(thing).__module__) is None else {})


def module(describer: Any, thing: types.ModuleType, place: str) -> Any:
    """Return a module as a whole, which is unknown: what will be used of it cannot be seen."""
    return {"unknown": f"the module {thing.__name__} is used as a whole: name what you use of it, as {thing.__name__}.function"}


def builtin(describer: Any, thing: Any, place: str) -> Any:
    """Return a function written in C by its name, with what it is bound to."""
    name, owner = getattr(thing, "__qualname__", thing.__name__), getattr(thing, "__self__", None)
    if isinstance(thing, types.BuiltinFunctionType) and (reason := of_library(thing)):
        return {"unknown": reason}
    if isinstance(thing, SLOTS) and not isinstance(thing, types.MethodWrapperType):
        asked = outside.outside(f"{thing.__objclass__.__module__}.{thing.__objclass__.__qualname__}.{thing.__name__}")
        return {"unknown": asked} if asked else f"{name_of(thing.__objclass__)}.{thing.__name__}"
    described: dict[str, Any] = {"function": name_of(thing) if hasattr(thing, "__module__") else f"numpy.{name}"}
    if owner is not None and not isinstance(owner, types.ModuleType):
        reason = outside.asked(thing.__name__, called=True)
        described["of"] = {"unknown": reason} if reason else describer.of(owner, f"{place}.of")
    return described
