"""One compiled player for all transformations that differ only in numbers which may be passed to it at run time.

Laws of this module: a number is passed at run time only if that changes no bit. It does not if the transformation, traced with
the number as an input, is equation by equation the program that it is with the number written in, and the number enters only
where the compiler's knowing it makes no difference (`EXACT`). So `learning_rate` is passed, and adam's b1 is not: it enters as
1 − b1, which Python computes in double precision and the device would compute in single.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend import core

from simsgd.optimizers import structure
from simsgd.optimizers.structure import Node

type Program = Any
"""A program as JAX writes it down, a closed jaxpr."""
EXACT = ("mul", "lt", "le", "gt", "ge", "max", "min")
"""Operations that give the same bits whether the compiler knows a number or not."""


@dataclass(frozen=True)
class Shared:
    """A transformation as a recipe that is equal for all those which one compiled player can serve.

    Attributes:
        update: the structure of its update function, without the numbers passed at run time.
        original: the transformation itself, whose `init` is used.
    """

    update: Node
    original: optax.GradientTransformation = field(compare=False)

    def build(self, values: Sequence[jax.Array]) -> optax.GradientTransformationExtraArgs:
        """Return the transformation with its numbers, which may be traced."""
        return optax.GradientTransformationExtraArgs(self.original.init, structure.put_together(self.update, values))


def share(
    optimizer: optax.GradientTransformation, parameters: Any, offered: Mapping[str, Any]
) -> tuple[Shared, list[float]] | None:
    """Return a transformation as (recipe, numbers to pass at run time), or None if it cannot be taken apart.

    Args:
        optimizer: the transformation.
        parameters: those that it will update, or others of their shapes and types.
        offered: the extra arguments that it will be offered, or others of their shapes and types.
    """
    whole = optax.with_extra_args_support(optimizer)
    leaves, tree = jax.tree.flatten((parameters, dict(offered)))
    shapes = (tree, tuple((getattr(leaf, "shape", ()), getattr(leaf, "dtype", type(leaf))) for leaf in leaves))
    try:
        node, numbers = structure.take_apart(whole.update)
        places = _proven(node, numbers, shapes)
        if places is None:
            places = _passed(whole, node, numbers, parameters, offered)
            _remember(node, numbers, shapes, places)
    except Exception:  # whatever goes wrong here, it may yet work as it is
        return None
    return Shared(_with_inputs(node, numbers, places), whole), [float(numbers[place]) for place in places]


def apart(offered: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """Return extra arguments as those that are traced, and whole numbers of Python, such as `workers`, which never are."""
    counts = {name: value for name, value in offered.items() if isinstance(value, int)}
    return {name: value for name, value in offered.items() if name not in counts}, counts


_PROVEN: dict[Any, dict[Node, list[int]]] = {}
"""By structure and shapes: recipes, with the places of the numbers that were found to be inputs of them."""
MOST_PROVEN = 32
"""How many structures, and how many recipes of each, are remembered: the latest. What is forgotten is found out again."""


def _proven(node: Node, numbers: list[Any], shapes: Any) -> list[int] | None:
    """Return the places of the numbers to pass, if that was found out before for these but for the numbers passed."""
    known = _PROVEN.get((node, shapes), {})
    return next((places for recipe, places in known.items() if _with_inputs(node, numbers, places) == recipe), None)


def _remember(node: Node, numbers: list[Any], shapes: Any, places: list[int]) -> None:
    known = _PROVEN.setdefault((node, shapes), {})
    known[_with_inputs(node, numbers, places)] = places
    for each in (_PROVEN, known):
        if len(each) > MOST_PROVEN:
            del each[next(iter(each))]


def _with_inputs(node: Node, numbers: list[Any], places: list[int]) -> Node:
    """Return a structure with the numbers at some places as inputs, in their order, and the others written in."""
    order = {place: k for k, place in enumerate(places)}
    return structure.fix(
        node, lambda place: Node("input", order[place]) if place in order else structure.written(numbers[place])
    )


def _passed(whole: Any, node: Node, numbers: list[Any], parameters: Any, offered: Mapping[str, Any]) -> list[int]:
    """Return the places of the numbers that may be passed at run time: all, or those that may one by one."""
    dtype = jnp.result_type(*jax.tree.leaves(parameters))
    traced, counts = apart(offered)
    rest = (parameters, jax.eval_shape(whole.init, parameters), parameters, traced)

    def program(update: Any, values: tuple[Any, ...] = ()) -> Program:
        def run(values: Any, gradients: Any, state: Any, now: Any, traced: Any) -> Any:
            return update(values)(gradients, state, now, **traced, **counts)

        return jax.make_jaxpr(run)(values, *rest)

    if not numbers:
        return []
    plain = program(lambda values: whole.update)

    def may(places: list[int]) -> bool:
        inputs = _with_inputs(node, numbers, places)
        values = tuple(jnp.asarray(numbers[place], dtype) for place in places)
        try:
            lifted = program(lambda values: structure.put_together(inputs, values), values)
        except Exception:  # Python code that asks for the number's value, for example
            return False
        return _is_same_program(plain, lifted, values)

    everything = list(range(len(numbers)))
    if may(everything):
        return everything
    single = [place for place in everything if may([place])]
    return single if may(single) else []


def _is_same_program(plain: Program, lifted: Program, values: tuple[Any, ...]) -> bool:
    """Say whether two programs are equal, equation by equation, but that one has as inputs numbers written in the other."""
    if len(plain.jaxpr.eqns) != len(lifted.jaxpr.eqns):
        return False
    inputs = lifted.jaxpr.invars
    number = dict(zip(inputs, values, strict=False))
    same = dict(zip(inputs[len(values) :], plain.jaxpr.invars, strict=True))
    known = [dict(zip(each.jaxpr.constvars, each.consts, strict=True)) for each in (plain, lifted)]

    def constant(atom: Any, consts: dict[Any, Any]) -> Any:
        return np.asarray(atom.val, _aval(atom)[1]) if isinstance(atom, core.Literal) else consts.get(atom)

    def agree(one: Any, other: Any, exact: bool) -> bool:
        value = constant(one, known[0])
        if not isinstance(other, core.Literal) and other in number:
            return exact and value is not None and _equal(value, number[other])
        if value is not None:
            return _equal(value, constant(other, known[1]))
        return not isinstance(other, core.Literal) and same.get(other) is one

    for one, other in zip(plain.jaxpr.eqns, lifted.jaxpr.eqns, strict=True):
        exact = one.primitive.name in EXACT
        if one.primitive is not other.primitive or not _same_settings(one.params, other.params):
            return False
        if len(one.invars) != len(other.invars) or not all(map(agree, one.invars, other.invars, [exact] * len(one.invars))):
            return False
        if list(map(_aval, one.outvars)) != list(map(_aval, other.outvars)):
            return False
        same |= dict(zip(other.outvars, one.outvars, strict=True))
    ends = (plain.jaxpr.outvars, lifted.jaxpr.outvars)
    return len(ends[0]) == len(ends[1]) and all(map(agree, *ends, [False] * len(ends[0])))


def _aval(atom: Any) -> tuple[Any, Any]:
    return atom.aval.shape, atom.aval.dtype


def _equal(one: Any, other: Any) -> bool:
    """Say whether two constants are the same array, bit for bit."""
    if other is None:
        return False
    a, b = np.asarray(one), np.asarray(other)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _same_settings(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Say whether two equations have the same settings; programs within them are compared as they are printed."""

    def comparable(setting: Any) -> Any:
        return str(setting) if hasattr(setting, "eqns") or isinstance(setting, tuple) else setting

    return one.keys() == other.keys() and all(
        callable(one[key]) or comparable(one[key]) == comparable(other[key]) for key in one
    )
