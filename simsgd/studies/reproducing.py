"""The one line that makes a run again, as code: true where it could be written so, and saying what is not where it could not.

Law of this module: a line is only said to make the run again where it was evaluated, and the run that it would make has the
identity of the run that it stands for.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import simsgd
from simsgd import optimizers
from simsgd.identifying import identity
from simsgd.method import PARTS, Method
from simsgd.optimizers import writing
from simsgd.problems import Problem
from simsgd.support import checks

FIRST = ("protocol", "problem", "cluster", "optimizer", "until")
"""The arguments of `simulate` that a line gives without their names, as far as none of them is left out."""
LONGEST = 100
"""How many characters are shown of what is no code."""


class Writer:
    """Writes values as code, and keeps what that code needs to be imported, and what could not be written."""

    def __init__(self) -> None:
        self.imports: dict[str, str] = {}
        self.gaps: list[str] = []

    def code(self, value: Any) -> str:
        """Return the code of a value, or, of one that has none, what it is, between < and >."""
        for kind, write in KINDS:
            if isinstance(value, kind):
                return write(self, value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._call(value)
        if callable(value):
            return self._name(value)
        return self.gap(value)

    def gap(self, value: Any, why: str = "") -> str:
        """Return what stands in the place of a value that cannot be written."""
        said = checks.shown(value, LONGEST).replace("\n", " ")
        self.gaps.append(f"{said}{why}")
        return f"<{said}>"

    def part(self, value: Any) -> str:
        """Return the code of an optax transformation or a tunable."""
        if value is None:
            return "None"
        said = writing.code(value, self.code)
        return self.gap(optimizers.describe(value)) if said is None else said

    def method(self, method: Method) -> str:
        """Return the code of a method: all of its parts that are not the usual ones."""
        said = [self.code(method.protocol), self.part(method.optimizer)]
        for field in dataclasses.fields(method)[2:]:
            value = getattr(method, field.name)
            if field.name != "source" and value != field.default:
                said.append(f"{field.name}={self.part(value) if field.name in PARTS else self.code(value)}")
        return f"sg.Method({', '.join(said)})"

    def problem(self, problem: Problem) -> str:
        """Return the call that made a problem, where it is known."""
        return problem.made_by or self.gap(problem, ", a problem of your own")

    def _call(self, value: Any) -> str:
        """Return the call that makes a dataclass: its fields by name, but those that are as usual; a single one without."""
        fields = [field for field in dataclasses.fields(value) if field.init]
        told = [(field, getattr(value, field.name)) for field in fields if not _is_usual(field, getattr(value, field.name))]
        bare = len(fields) == 1 and not fields[0].kw_only
        said = ", ".join(f"{'' if bare else field.name + '='}{self.code(each)}" for field, each in told)
        return f"{self._name(type(value))}({said})"

    def _name(self, thing: Any) -> str:
        """Return the name of a class or function: where simsgd or optax offers it, or its own, which is to be imported."""
        name, module = getattr(thing, "__qualname__", ""), getattr(thing, "__module__", "")
        if known := _public().get(f"{module}.{name}"):
            return known
        if not name.isidentifier() or getattr(inspect.getmodule(thing), name, None) is not thing:
            return self.gap(thing, ", which stands in no module")
        self.imports[name] = module
        return name


def _sequence(writer: Writer, value: Any) -> str:
    inside = ", ".join(map(writer.code, value))
    return f"[{inside}]" if isinstance(value, list) else f"({inside}{',' if len(value) == 1 else ''})"


def _number(writer: Writer, value: Any) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    return repr(value) if not isinstance(value, float) or math.isfinite(value) else f'float("{value}")'


KINDS: tuple[tuple[Any, Callable[[Writer, Any], str]], ...] = (
    (writing.KINDS, Writer.part),  # before tuples: optax's transformations are some
    ((bool, int, float, np.number, np.bool_), _number),
    ((str, type(None)), lambda writer, value: repr(value)),
    ((tuple, list), _sequence),
    (Mapping, lambda writer, value: "{" + ", ".join(f"{writer.code(k)}: {writer.code(v)}" for k, v in value.items()) + "}"),
    (Problem, Writer.problem),
    (Method, Writer.method),
)
"""What values are, and what writes them."""


def line(given: Mapping[str, Any]) -> str:
    """Return the line that makes a run again, and below it what must be imported, or what of it is no code.

    Args:
        given: the arguments of `simulate` by name.

    Example:
        >>> import simsgd as sg
        >>> from simsgd.studies.reproducing import line
        >>> cluster = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=0.1))
        >>> print(line({"protocol": sg.AsyncSGD(), "problem": sg.problems.digits(), "cluster": cluster, "seed": 3,
        ...             "optimizer": sg.optimizers.sgd(0.1), "until": sg.Seconds(20)}))
        sg.simulate(sg.AsyncSGD(), sg.problems.digits(), sg.Cluster(workers=4, compute=sg.times.Exponential(0.1)), \
sg.optimizers.sgd(0.1), sg.Seconds(20.0), seed=3)
    """
    writer = Writer()
    usual = {name: parameter.default for name, parameter in inspect.signature(identity).parameters.items()}
    told = {name: writer.code(value) for name, value in given.items() if name in FIRST[:3] or value is not usual.get(name)}
    ordered = {name: told[name] for name in (*FIRST, *told) if name in told}
    arguments = [said if name in list(ordered)[: _bare(ordered)] else f"{name}={said}" for name, said in ordered.items()]
    code = f"sg.simulate({', '.join(arguments)})"
    notes = [f"# from {module} import {name}" for name, module in writer.imports.items()]
    notes += [f"# {problem}" for problem in _problems(writer, code, given)]
    return "\n".join([code, *notes])


def _bare(ordered: Mapping[str, str]) -> int:
    """Return how many of the first arguments can be given without their names."""
    return next((i for i, (name, first) in enumerate(zip(ordered, FIRST, strict=False)) if name != first), min(len(ordered), 5))


def _problems(writer: Writer, code: str, given: Mapping[str, Any]) -> list[str]:
    """Return what keeps a line from making the run again; nothing where it was found to."""
    if writer.gaps:
        return [f"not code: {gap}" for gap in writer.gaps]
    try:
        names = {name: getattr(importlib.import_module(module), name) for name, module in writer.imports.items()}
        asked = code.replace("sg.simulate(", "identity(", 1)
        found = eval(asked, {"sg": simsgd, "optax": sys.modules.get("optax"), "identity": identity, **names})
        wanted = identity(**given)
    except Exception as error:
        return [f"not the run: the line was tried, and raised {type(error).__name__}: {error!s:.200}"]
    if wanted.unknown:
        return [f"perhaps not the run: what it depends on is not wholly known ({'; '.join(wanted.unknown)})"]
    differing = ", ".join(wanted.difference(found))
    return [f"not the run: the line's differs in {differing}"] if found != wanted else []


def _is_usual(field: dataclasses.Field[Any], value: Any) -> bool:
    """Return whether a field has its default."""
    if field.default_factory is not dataclasses.MISSING:
        return bool(value == field.default_factory())
    return field.default is not dataclasses.MISSING and type(value) is type(field.default) and bool(value == field.default)


@functools.cache
def _public() -> dict[str, str]:
    """Return where simsgd offers its classes and functions, by module and name: for example "sg.times.Exponential"."""
    offered = [(f"sg.{name}", getattr(simsgd, name)) for name in dir(simsgd)]
    modules = [(said, module) for said, module in offered if inspect.ismodule(module)]
    offered += [(f"{said}.{name}", getattr(module, name)) for said, module in modules for name in dir(module)]
    found: dict[str, str] = {}
    for said, thing in offered:
        if hasattr(thing, "__qualname__"):
            found.setdefault(f"{thing.__module__}.{thing.__qualname__}", said)
    return found
