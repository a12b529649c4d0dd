"""The finite sum that a loss is, block by block: gradients of one block, and of a worker's part of all.

Laws of this module:

1. Block k of a worker holds the samples k·batch_size … (k + 1)·batch_size − 1 of those that it has: all of them, or its share.
   The last block may be smaller; what it lacks is masked.
2. A loss that draws random numbers is given the key None here, as where a model is evaluated: a table's rows, and a full
   gradient, are those of functions that stay what they are.
3. Losses are taken sample by sample, as `worker_losses` does.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from simsgd.problems import Parameters, draw_block, evaluated
from simsgd.replaying.drawing import Data, Drawing, at


class Stretch(NamedTuple):
    """Samples that follow one another: in the data, or in the list of the shares.

    Attributes:
        first: where they begin.
        size: how many they are.
    """

    first: Any
    size: Any

    def blocks(self, batch_size: int) -> Any:
        """Return how many blocks they make."""
        return (self.size + batch_size - 1) // batch_size


def own(data: Data, worker: Any) -> Stretch:
    """Return the samples that a worker has."""
    if data.shares is None:
        return Stretch(0, _samples(data))
    return Stretch(data.shares.starts[worker], data.shares.sizes[worker])


def part(data: Data, worker: Any, workers: int) -> Stretch:
    """Return the samples of which a worker computes the full gradient's part: the i-th n-th of all, or its share."""
    if data.shares is not None:
        return own(data, worker)
    each, more = divmod(_samples(data), workers)
    return Stretch(worker * each + jnp.minimum(worker, more), each + jnp.where(worker < more, 1, 0))


def share_weight(data: Data, worker: Any, workers: int) -> Any:
    """Return what a worker's share counts in the mean over workers: n·size/samples; 1 where data are shared."""
    if data.shares is None:
        return 1.0
    return workers * jnp.asarray(data.shares.sizes[worker], float) / len(data.shares.indices)


def place_in_table(drawing: Drawing, data: Data, key: jax.Array, worker: Any, job: Any, workers: int) -> dict[str, Any]:
    """Return what a table at the server is told of a job: the row of its block, and of how many blocks the mean is."""
    blocks = own(data, worker).blocks(drawing.batch_size)
    block = draw_block(key, worker, job, blocks)
    if data.shares is None:
        return {"block": block, "blocks": jnp.asarray(blocks, jnp.int32)}
    counts = Stretch(data.shares.starts, data.shares.sizes).blocks(drawing.batch_size)
    before = jnp.sum(jnp.where(jnp.arange(len(counts)) < worker, counts, 0)).astype(jnp.int32)
    return {"block": before + block, "blocks": (workers * blocks).astype(jnp.int32)}


def block_gradient(drawing: Drawing, data: Data, parameters: Parameters, worker: Any, block: Any) -> Parameters:
    """Return the gradient of (blocks/samples)·Σ f_i over a block, whose mean over a worker's blocks is its full gradient."""
    samples = own(data, worker)
    scale = jnp.asarray(samples.blocks(drawing.batch_size), float) / samples.size  # whole numbers would make a float32
    return _scaled(scale, _block_sum(drawing, data, parameters, samples, block))


def part_of_full_gradient(
    drawing: Drawing, data: Data, parameters: Parameters, worker: Any, workers: int, when: Any
) -> Parameters:
    """Return a worker's part of the full gradient, block after block, or zero, at no cost, where `when` does not hold."""
    samples = part(data, worker, workers)
    blocks = jnp.where(when, samples.blocks(drawing.batch_size), 0)

    def add(block: jax.Array, total: Parameters) -> Parameters:
        return jax.tree.map(jnp.add, total, _block_sum(drawing, data, parameters, samples, block))

    total = jax.lax.fori_loop(0, blocks, add, jax.tree.map(jnp.zeros_like, parameters))
    return _scaled(workers / (_samples(data) if data.shares is None else len(data.shares.indices)), total)


def _block_sum(drawing: Drawing, data: Data, parameters: Parameters, samples: Stretch, block: Any) -> Parameters:
    """Return the gradient of Σ f_i over a block of some samples."""
    place = block * drawing.batch_size + jnp.arange(drawing.batch_size, dtype=jnp.int32)
    picks = samples.first + jnp.clip(place, 0, jnp.maximum(samples.size - 1, 0))
    if data.shares is not None:
        picks = data.shares.indices[picks]

    def total(parameters: Parameters) -> jax.Array:
        losses = jax.vmap(lambda i: evaluated(drawing.loss, parameters, at(data.samples, i[None])))(picks)
        summed: jax.Array = jnp.sum(jnp.where(place < samples.size, losses, 0))
        return summed

    return jax.grad(total)(parameters)


def _scaled(scale: Any, gradient: Parameters) -> Parameters:
    return jax.tree.map(lambda g: jnp.asarray(scale, g.dtype) * g, gradient)


def _samples(data: Data) -> int:
    return len(jax.tree.leaves(data.samples)[0])
