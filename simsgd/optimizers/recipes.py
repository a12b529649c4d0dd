"""An optimizer as (a recipe to compile for, numbers to pass at run time).

Laws of this module: recipes are hashable, and optimizers whose recipes are equal differ in their numbers alone; with its
numbers, a recipe makes the optimizer again, to the last bit.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from simsgd.optimizers.describing import describe, step_size_of
from simsgd.optimizers.sharing import Shared, share
from simsgd.optimizers.tunable import Tunable
from simsgd.support import checks

type Optimizer = optax.GradientTransformation | Tunable


def split(
    optimizer: Optimizer, parameters: Any = None, offered: Mapping[str, Any] | None = None, steps: bool = True
) -> tuple[Any, dict[str, float]]:
    """Return an optimizer as (a hashable recipe to compile for, numbers to pass at run time); `build` joins them again.

    Args:
        optimizer: an optax transformation, or a `tunable`.
        parameters: those that it will update, or others of their shapes and types; without them, a plain optax transformation
            is a recipe for itself alone.
        offered: the extra arguments that it will be offered, or others of their shapes and types; by default the staleness.
        steps: whether what it returns is a step, so that a step size below zero is worth a warning.

    Raises:
        TypeError: if `optimizer` is neither.

    Warns:
        UserWarning: if its step size is below zero.
    """
    if isinstance(optimizer, optax.MultiSteps):
        raise TypeError("optimizer must be an optax transformation: call .gradient_transformation() of the MultiSteps")
    checks.instance("optimizer", optimizer, (optax.GradientTransformation, Tunable), "optimizers.sgd(0.1) or optax.adam(1e-3)")
    step_size = step_size_of(optimizer)
    if steps and step_size is not None and step_size < 0:
        warnings.warn(
            f"optimizer {describe(optimizer)} has the step size {step_size:g}, below zero: it climbs up the loss. If "
            "that is not meant, give a step size above zero; optax turns its sign itself",
            stacklevel=3,
        )
    if isinstance(optimizer, Tunable):
        return (optimizer.factory, optimizer.settings), dict(optimizer.numbers)
    if offered is None and parameters is not None:
        offered = {"staleness": jnp.zeros((), jnp.result_type(*jax.tree.leaves(parameters)))}
    shared = None if parameters is None else share(optimizer, parameters, offered or {})
    if shared is None:
        return optimizer, {}
    return shared[0], {f"{place:03}": number for place, number in enumerate(shared[1])}


def build(recipe: Any, values: dict[str, jax.Array]) -> optax.GradientTransformationExtraArgs:
    """Return the optax transformation of a recipe that `split` made, with its numbers, which may be traced."""
    if isinstance(recipe, Shared):
        return recipe.build([values[name] for name in sorted(values)])
    if isinstance(recipe, optax.GradientTransformation):
        return optax.with_extra_args_support(recipe)
    factory, settings = recipe
    return optax.with_extra_args_support(factory(**values, **dict(settings)))
