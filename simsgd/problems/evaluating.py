"""The loss where a model is evaluated: over data as a whole, and over each worker's share of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from simsgd.problems.checking import takes_key
from simsgd.problems.drawing import Shares


def evaluated(loss: Callable[..., jax.Array], parameters: Any, data: Any) -> jax.Array:
    """Return the loss over data; one that draws is given the key None."""
    return loss(parameters, data, None) if takes_key(loss) else loss(parameters, data)


def worker_losses(loss: Callable[..., jax.Array], parameters: Any, data: Any, shares: Shares) -> jax.Array:
    """Return the mean loss over each worker's share, shape (workers,): the mean of the losses of its samples one by one.

    Shares may have any sizes; there is no loop over workers. A loss that mixes the samples of a batch, as batch normalisation
    does, has other values sample by sample.

    Args:
        loss: loss(parameters, batch) or loss(parameters, batch, key), the batch's mean.
        parameters: the model.
        data: all samples.
        shares: which of them each worker has.
    """
    losses = jax.vmap(lambda sample: evaluated(loss, parameters, jax.tree.map(lambda leaf: leaf[None], sample)))(data)
    owners = jnp.repeat(jnp.arange(len(shares.sizes)), shares.sizes, total_repeat_length=len(shares.indices))
    sums = jax.ops.segment_sum(losses[shares.indices], owners, len(shares.sizes), indices_are_sorted=True)
    means: jax.Array = sums / shares.sizes.astype(sums.dtype)
    return means
