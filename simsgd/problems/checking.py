"""Checks of a problem's parts: every refusal names the part, what it was given, and what would do."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

KEY = jax.eval_shape(lambda: jax.random.wrap_key_data(jnp.zeros(2, jnp.uint32), impl="threefry2x32"))
"""A random key as a shape, which takes no device."""


def check_function(name: str, function: object, wanted: str, arguments: int) -> None:
    """Raise TypeError unless a part of a problem is a function of so many arguments."""
    refusal = f"Problem.{name} must be a function of {wanted}, got {function!r:.60}"
    leaves = [] if isinstance(function, jax.tree_util.Partial) else jax.tree.leaves(function)
    if not callable(function) or (leaves and leaves[0] is not function):
        raise TypeError(f"{refusal}: the order of arguments is name, init, loss, data")
    try:
        inspect.signature(function).bind(*range(arguments))
    except TypeError as error:
        raise TypeError(f"{refusal}, which cannot be called so ({error}): the order is name, init, loss, data") from None
    except ValueError:  # a builtin that does not tell
        return


def takes_key(loss: Callable[..., Any]) -> bool:
    """Say whether a loss takes a random key: its third argument must be given, or has the name key.

    So a loss with a setting of its own, as in `def loss(parameters, batch, scale=1.0)`, takes none.
    """
    try:
        parameters = list(inspect.signature(loss).parameters.values())
    except ValueError:  # a builtin that does not tell
        return False
    places = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    return len(places) > 2 and (places[2].default is inspect.Parameter.empty or places[2].name == "key")


def check_loss(loss: object) -> None:
    """Raise TypeError unless a loss is a function of (parameters, batch), or of (parameters, batch, key)."""
    draws = callable(loss) and takes_key(loss)
    _refuse_keys_by_other_names(loss)
    check_function(
        "loss", loss, "the parameters, a batch and a random key" if draws else "the parameters and a batch", 2 + draws
    )


def _refuse_keys_by_other_names(loss: object) -> None:
    """Raise ValueError for a third argument that looks like a key, is called otherwise, and would never be given."""
    try:
        parameters = list(inspect.signature(loss).parameters.values()) if callable(loss) else []
    except ValueError:
        return
    third = parameters[2] if len(parameters) > 2 else None
    if third is not None and third.default is None and third.name != "key" and "key" in third.name.lower().split("_"):
        raise ValueError(
            f"Problem.loss has a third argument {third.name!r} that may be left out, and so would be: call it key, and "
            "the loss draws"
        )


def shapes_of_parameters(init: Callable[[jax.Array], Any]) -> Any:
    """Return what parameters a problem starts from, as shapes, or raise TypeError if some are no arrays."""
    try:
        return jax.eval_shape(init, KEY)
    except TypeError as error:
        if "not a valid JAX type" not in str(error):
            raise
        raise TypeError(
            f"Problem.init must return a pytree of arrays alone, but {str(error).splitlines()[0]:.200} Part the model: return "
            "its arrays, and let the loss put it together again; with equinox, arrays, rest = eqx.partition(model, "
            "eqx.is_inexact_array) once, init=lambda key: arrays, and eqx.combine(parameters, rest) in the loss"
        ) from error


def check_alike(data: Any, test_data: Any) -> None:
    """Raise ValueError unless the test data have the form of the data, but for the number of samples."""
    forms = [
        {jax.tree_util.keystr(path): (leaf.shape[1:], leaf.dtype.kind) for path, leaf in jax.tree.leaves_with_path(each)}
        for each in (data, test_data)
    ]
    if forms[0] != forms[1]:
        raise ValueError(
            "Problem.test_data must have the form of data but for the number of samples: the same keys, shapes and kinds of "
            f"numbers {forms[0]}, got {forms[1]}"
        )


def checked_data(name: str, data: Any) -> Any:
    """Return the data as NumPy arrays that nobody can change, or raise ValueError."""
    arrays = jax.tree.map(np.array, data)  # copies: what the caller does with the originals later changes no result
    leaves = jax.tree.leaves(arrays)
    lengths = {leaf.shape[0] if leaf.ndim else 0 for leaf in leaves}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"{name} must be arrays with one common, non-zero number of samples first, got {sorted(lengths)}")
    for path, leaf in jax.tree.leaves_with_path(arrays):
        if leaf.dtype.kind not in "fiub":
            raise ValueError(f"{name}{jax.tree_util.keystr(path)} must hold numbers, got {leaf.dtype}")
        if leaf.dtype.kind in "iu" and np.abs(leaf.astype(float)).max() >= 2**31:
            raise ValueError(f"{name}{jax.tree_util.keystr(path)} must fit 32-bit integers: use floating-point data for larger")
        if leaf.dtype.kind == "f" and not np.isfinite(leaf).all():
            raise ValueError(f"{name}{jax.tree_util.keystr(path)} must be finite, but holds NaN or infinity: drop such samples")
        leaf.flags.writeable = False  # a problem stays what its identity says
    return arrays


def same_arrays(one: Any, other: Any) -> bool:
    """Say whether two pytrees of arrays are equal in structure and to the bit."""
    trees: list[Any] = [jax.tree.structure(each) for each in (one, other)]
    a, b = jax.tree.leaves(one), jax.tree.leaves(other)
    return trees[0] == trees[1] and all(
        x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True)
    )


def check_scalar(name: str, result: Any) -> None:
    """Raise ValueError unless what a loss or a metric returns is one floating-point number."""
    shape, dtype = getattr(result, "shape", None), getattr(result, "dtype", None)
    if shape != () or dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"Problem's {name} must return one floating-point number, got "
            + (f"shape {shape} of {dtype}" if dtype is not None else repr(result))
            + ": take the batch's mean, for example with jnp.mean"
        )


def check_drawing(loss: Callable[..., Any], parameters: Any, batch: Any) -> None:
    """Raise unless a loss that draws returns one floating-point number with a key, and without one where it is evaluated."""
    check_scalar("loss", jax.eval_shape(loss, parameters, batch, KEY))
    try:
        result = jax.eval_shape(lambda p, b: loss(p, b, None), parameters, batch)
    except Exception as error:
        raise TypeError(
            f"Problem.loss takes a key, so it must work without one too, as the model is evaluated with key None, but it "
            f"raised {type(error).__name__}: {str(error)[:200]}; draw only if key is not None"
        ) from error
    check_scalar("loss", result)
