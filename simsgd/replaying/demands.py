"""What a replay demands before it begins: enough memory, and an optimizer that it can call."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from simsgd import optimizers
from simsgd.optimizers import Optimizer, Tunable
from simsgd.problems import Parameters, Problem
from simsgd.replaying.blocks import TILE
from simsgd.support.bounds import bounds

WORDS_OF_A_DRAW = 3
"""32-bit words that drawing one sample takes while it is drawn: two random ones and the result."""
OPTIMIZERS = (optax.GradientTransformation, optax.MultiSteps, Tunable)
EXAMPLE = "optimizers.sgd(0.1) or optax.adam(1e-3)"


def check_memory(problem: Problem, dtype: str, width: int, slots: int) -> None:
    """Raise BoundError if the batches or the models that a replay holds at a time take more than `bounds.bytes`.

    Batches: TILE · width · batch_size draws of 12 bytes, and the samples of one block, width · batch_size. Models: one for
    each slot, and a version and a gradient for each lane of a block. Activations and the optimizer's state come on top.

    Args:
        problem: what is learned.
        dtype: "float32" or "float64".
        width: lanes of a block.
        slots: how many versions are kept.
    """
    sample = sum(_sample_bytes(leaf, dtype) for leaf in jax.tree.leaves(problem.data))
    draws = TILE * WORDS_OF_A_DRAW * 4
    batches = width * problem.batch_size * (draws + sample)
    side_by_side = "" if width == 1 else f", {width} side by side,"
    bounds.check("bytes", batches, f"batches of Problem.batch_size={problem.batch_size}{side_by_side}")
    models = (slots + 2 * width) * problem.message_bytes_in(dtype)
    bounds.check("bytes", models, f"{slots} versions of a model of {problem.parameter_count:,} parameters{side_by_side}")


def _sample_bytes(leaf: np.ndarray, dtype: str) -> int:
    size = np.dtype(dtype).itemsize if leaf.dtype.kind == "f" else leaf.dtype.itemsize
    return math.prod(leaf.shape[1:]) * size


def check_factory(optimizer: object) -> None:
    """Raise TypeError for a function that makes optimizers, such as `optax.sgd`, in an optimizer's place."""
    if callable(optimizer) and not isinstance(optimizer, (type, *OPTIMIZERS)):
        name = getattr(optimizer, "__name__", repr(optimizer))
        raise TypeError(f"optimizer must be an instance such as {EXAMPLE}, got {name} itself: call it, as in {name}(0.1)")


def check_numbers(optimizer: Optimizer, numbers: dict[str, float], dtype: str) -> None:
    """Raise ValueError for a finite number of an optimizer that is infinite in the run's dtype."""
    largest = float(np.finfo(dtype).max)
    beyond = [number for number in numbers.values() if largest < abs(number) < math.inf]
    if beyond:
        raise ValueError(f"optimizer {optimizers.describe(optimizer):.200} has the number {beyond[0]:g}, beyond all of {dtype}")


def check_update(optimizer: Optimizer, recipe: Any, numbers: dict[str, jax.Array], parameters: Parameters, state: Any) -> None:
    """Raise TypeError unless an optimizer's `update` returns a pair, updates like the parameters first; it is only traced."""
    update = optimizers.build(recipe, numbers).update
    staleness = jnp.zeros((), jax.tree.leaves(parameters)[0].dtype)
    name = optimizers.describe(optimizer)
    try:
        result = jax.eval_shape(lambda g, s, p: update(g, s, p, staleness=staleness), parameters, state, parameters)
    except TypeError as error:
        if "required keyword-only argument" not in str(error):
            raise
        raise TypeError(
            f"optimizer must ask for gradients, parameters and staleness alone, but {name:.200} asks for "
            f"{str(error).partition(': ')[2]} too: leave line searches out, as in optax.lbfgs(0.1, linesearch=None)"
        ) from error
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(
            f"optimizer's update must return a pair (updates, state), but that of {name} returned {_kind(result)}: "
            "end it with `return updates, state`"
        )
    wanted: Any = jax.tree.structure(parameters)
    if jax.tree.structure(result[0]) != wanted:
        raise TypeError(
            f"optimizer's update must return updates like the parameters, {wanted}, first, but that of "
            f"{name} returned {jax.tree.structure(result[0])}"
        )


def _kind(result: Any) -> str:
    return f"a {type(result).__name__}" + (f" of {len(result)}" if isinstance(result, tuple) else "")
