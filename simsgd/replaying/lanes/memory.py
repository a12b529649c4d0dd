"""How many lanes an executable has: from a stated budget of memory, and from what was measured."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from simsgd.method import Method
from simsgd.problems import Blocks, Problem, settings
from simsgd.replaying import parts
from simsgd.replaying.blocks import TILE
from simsgd.replaying.demands import bytes_remembered, bytes_shown, sample_bytes
from simsgd.replaying.drawing import room_for
from simsgd.replaying.lanes.player import BLOCKS
from simsgd.replaying.lanes.sheets import LARGEST_WIDTH, MOST_KEPT
from simsgd.support.bounds import BoundError

USUAL = {"cpu": 8}
"""Lanes of one device; see DESIGN.md for the measurements."""
USUAL_ACCELERATOR = 256
"""Not measured: none was at hand."""
BYTES_OF_A_ROW = 48
"""What a gradient takes in a lane's table, at most."""


def lanes_that_fit(
    problem: Problem, method: Method, workers: int, dtype: str, width: int | None, memory: float, wanted: int | None = None
) -> int:
    """Return how many lanes of one device play a method: the usual number, or the largest power of two that fits.

    It depends on nothing else, so that a cell has the same bits in every study with that budget.

    Args:
        problem, method, workers, dtype, width: as in `replay`.
        memory: bytes that the lanes of one device may take.
        wanted: how many there are to be; None for the usual number, or as many as fit.

    Raises:
        simsgd.BoundError: if one lane does not fit, or as many as are wanted do not.
    """
    one = bytes_of_a_lane(problem, method, workers, dtype, width)
    needed = (wanted or 1) * one
    if needed > memory:
        lanes = "one lane" if needed == one else f"lanes={wanted}"
        raise BoundError(
            f"memory={memory:,.0f} bytes are too few: {lanes} of {problem.name!r} with {workers} workers takes {needed:,} "
            f"bytes, {needed - memory:,.0f} more; allow it with memory={needed}"
        )
    if wanted is not None:
        return wanted
    return min(usual_lanes(problem, dtype), 1 << (int(memory // one).bit_length() - 1))


def usual_lanes(problem: Problem, dtype: str) -> int:
    """Return how many lanes are used where memory allows: on a CPU one for models that convolve.

    (Side by side, convolutions with weights of their own take a CPU 1.3 to 2 times as long as one after the other.)
    """
    platform = jax.default_backend()
    if platform != "cpu":
        return USUAL_ACCELERATOR
    return 1 if convolves(problem, dtype) else USUAL[platform]


def convolves(problem: Problem, dtype: str) -> bool:
    """Say whether a problem's loss has a convolution in it."""
    with settings(dtype):
        batch = jax.tree.map(lambda leaf: _shape((1, *leaf.shape[1:]), _kind(leaf, dtype)), problem.data)
        key = (jax.random.wrap_key_data(jnp.zeros(2, jnp.uint32), impl="threefry2x32"),) if problem.loss_draws else ()
        return "conv_general_dilated" in str(jax.make_jaxpr(problem.loss)(_shapes(problem, dtype), batch, *key))


def bytes_of_a_lane(problem: Problem, method: Method, workers: int, dtype: str, width: int | None) -> int:
    """Return about how much memory one lane takes, without the activations of its gradients.

    Versions and models to be evaluated, (workers + 2) + 17; gradients and sums, 2·width + 3; what the optimizer and the method
    remember; draws for a tile of blocks, the samples of a block, and a table.
    """
    side_by_side: int = width or min(workers, LARGEST_WIDTH)
    with settings(dtype):
        shapes = _shapes(problem, dtype)
        parameters: Any = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        recipe, numbers = parts.split(method, parameters, workers, Blocks.of(problem))
        arrays = jax.tree.map(lambda number: jnp.asarray(number, dtype), numbers)
        state = jax.eval_shape(recipe.build("optimizer", arrays).init, shapes)
        remembered = bytes_remembered(recipe, arrays, parameters)
        remembered += (workers + 2) * bytes_shown(recipe, arrays, parameters)
    models = (workers + 2 + MOST_KEPT + 1 + 3 + 2 * side_by_side) * int(problem.message_bytes_in(dtype))
    optimizer = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    draws = max(TILE, room_for(recipe.work, np.array(recipe.work.steps))) * side_by_side * problem.batch_size * 12
    batch = side_by_side * problem.batch_size * sum(sample_bytes(leaf, dtype) for leaf in jax.tree.leaves(problem.data))
    table = BLOCKS * side_by_side * BYTES_OF_A_ROW
    return int(models + optimizer + remembered + draws + batch + table)


def _shapes(problem: Problem, dtype: str) -> Any:
    key = jax.random.wrap_key_data(jnp.zeros(2, jnp.uint32), impl="threefry2x32")
    return jax.tree.map(lambda leaf: _shape(leaf.shape, dtype), jax.eval_shape(problem.init, key))


def _shape(shape: tuple[int, ...], kind: Any) -> Any:
    return jax.ShapeDtypeStruct(shape, jnp.dtype(kind))  # type: ignore[no-untyped-call]


def _kind(leaf: Any, dtype: str) -> Any:
    return dtype if leaf.dtype.kind == "f" else jax.dtypes.canonicalize_dtype(leaf.dtype)
