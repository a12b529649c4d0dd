"""A function of arrays as the program that JAX makes of it: what is computed, whatever the Python code looks like.

JAX writes down every operation, every number that was written in and every array that the function closed over. So two
functions have equal descriptions when they compute the same, and a constant, an array or a helper somewhere else that is not
what it was changes the description.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from simsgd.provenance import describe
from simsgd.provenance.identity import digest, unknowns

SILENT = frozenset(("name", "debug_info", "jvp_jaxpr_fun", "fwd_jaxpr_thunk", "bwd", "out_trees", "in_tree", "out_tree"))
"""What an operation is given that computes nothing: names, and the derivatives of what is not differentiated any more."""
COMPILED_ELSEWHERE = frozenset(("ffi_call",))
"""Operations whose code is in a library that nothing says the version of."""


def program(function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """Return the description of what a function computes of arguments with these shapes and types.

    Example:
        >>> import jax.numpy as jnp
        >>> from simsgd.replaying.written import program
        >>> program(lambda x: 2.0 * x, 1.0) == program(lambda y: jnp.multiply(2.0, y), 1.0)
        True
        >>> program(lambda x: 2.0 * x, 1.0) == program(lambda x: 3.0 * x, 1.0)
        False
    """
    try:
        made = jax.make_jaxpr(function)(*arguments)
        constants: list[Any] = []
        operations = _written(made, {}, constants)
    except Exception as error:  # whatever it is, it is the user's function: the run itself will say so
        return {"unknown": f"it cannot be written down as a program ({type(error).__name__}: {str(error)[:60]})"}
    missing = [{"unknown": reason} for reason in unknowns(operations)]
    described = {"operations": digest(operations), "constants": constants}
    return described | ({"in it": missing} if missing else {})


def _written(made: Any, numbers: dict[Any, int], constants: list[Any]) -> list[Any]:
    """Return a program as nested lists; its variables as numbers, in the order in which they come."""
    inner = getattr(made, "jaxpr", made)

    def atom(each: Any) -> Any:
        if hasattr(each, "val"):
            content = np.asarray(each.val)
            return [str(each.aval), content.tobytes().hex()] if content.ndim == 0 else _constant(content, constants)
        return numbers.setdefault(each, len(numbers))

    for variable, value in zip(inner.constvars, getattr(made, "consts", ()), strict=False):
        numbers.setdefault(variable, len(numbers))
        _constant(value, constants)
    inputs = [[atom(each), str(each.aval)] for each in (*inner.constvars, *inner.invars)]
    operations = [
        [
            each.primitive.name,
            [atom(value) for value in each.invars],
            [[atom(value), str(value.aval)] for value in each.outvars],
            {name: _parameter(each, name, value, constants) for name, value in each.params.items() if name not in SILENT},
        ]
        for each in inner.eqns
    ]
    return [inputs, operations, [atom(each) for each in inner.outvars]]


def _constant(value: Any, constants: list[Any]) -> Any:
    described = describe(value if hasattr(value, "dtype") and "key<" in str(value.dtype) else np.asarray(value))
    constants.append(described)
    return ["constant", len(constants) - 1]


def _parameter(operation: Any, name: str, value: Any, constants: list[Any]) -> Any:
    """Return what an operation is told besides its operands."""
    if operation.primitive.name in COMPILED_ELSEWHERE:
        return {"unknown": f"{operation.primitive.name} calls code that no version is known of"}
    if hasattr(value, "eqns"):
        return _written(value, {}, constants)
    if isinstance(value, tuple | list):
        return [_parameter(operation, name, each, constants) for each in value]
    if isinstance(value, dict):
        return {str(key): _parameter(operation, name, each, constants) for key, each in value.items()}
    if isinstance(value, np.ndarray | jax.Array) or (callable(value) and not isinstance(value, type)):
        return describe(value)
    text = str(value)
    return {"unknown": f"{operation.primitive.name}: {name}, a {type(value).__name__}"} if " at 0x" in text else text
