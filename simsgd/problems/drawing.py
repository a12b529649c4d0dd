"""The rule by which a job draws its batch, and a loss its random numbers: by key, from (worker, job, step) and nothing else.

Laws of this module:

1. What is drawn does not depend on the method, the timing or the order of arrival: methods compared on one seed see the same
   batches.
2. Everything here may be traced, jitted and mapped; no loop's length depends on what is drawn.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

LOSS = 0x6C6F7373
"""Folded into a step's key for what the loss draws; no job has so many steps."""
BLOCK = 0x626C6F63
"""Folded into a step's key for which block of samples is drawn; no job has so many steps."""
EPOCHS = 0x65706F63
"""Folded into a worker's key for the order of its epochs; no worker has so many jobs."""
ROUNDS = 24
"""Rounds of the shuffle. After r of them a sample's place is uniform to 2^-r, and so is each pair's, nearly."""


class Shares(NamedTuple):
    """Which samples each worker has: worker i has `indices[starts[i] : starts[i] + sizes[i]]`.

    Attributes:
        indices: numbers of samples, grouped by worker, shape (total of the sizes,), int32.
        starts: where each worker's share begins, shape (workers,), int32.
        sizes: how many samples each worker has, shape (workers,), int32, each at least 1.
    """

    indices: Any
    starts: Any
    sizes: Any


def draw(
    key: jax.Array,
    worker: Any,
    job: Any,
    batch_size: int,
    samples: int,
    shares: Shares | None = None,
    replacement: bool = True,
    step: Any = 0,
    steps: Any = 1,
) -> jax.Array:
    """Return which samples, shape (batch_size,), int32, a step of a worker's job uses.

    Without shares they are uniform over all samples, with replacement; with shares uniform over the worker's own, or without
    replacement: then the worker goes through its share in shuffled epochs, a new permutation each time, and batch b of the
    worker, b = job·steps + step, holds the positions b·batch_size … (b + 1)·batch_size − 1 of that walk.

    Args:
        key: of all batches of a run.
        worker, job: numbers from 0.
        batch_size: samples in the batch.
        samples: how many there are.
        shares: which of them each worker has.
        replacement: whether a worker draws from its share with replacement.
        step: which of the job's local steps, from 0.
        steps: how many steps a job has. Where a protocol lets it differ from job to job, the most that it can be: then
            positions that no job uses are left out of the epochs.
    """
    if shares is None:
        return jax.random.randint(step_key(key, worker, job, step), (batch_size,), 0, samples, jnp.int32)
    size = shares.sizes[worker]
    if replacement:
        places = jax.random.randint(step_key(key, worker, job, step), (batch_size,), 0, size, jnp.int32)
    else:
        walk = jax.random.fold_in(jax.random.fold_in(key, worker), EPOCHS)
        places = _epochs(walk, jnp.uint32(job) * jnp.uint32(steps) + jnp.uint32(step), batch_size, size)
    indices: jax.Array = shares.indices[shares.starts[worker] + places]
    return indices


def step_key(key: jax.Array, worker: Any, job: Any, step: Any = 0) -> jax.Array:
    """Return the key of a job's local step: folded with the worker, then the job, then the step unless it is the first."""
    job_key = jax.random.fold_in(jax.random.fold_in(key, worker), job)
    if isinstance(step, int):
        return jax.random.fold_in(job_key, step) if step else job_key
    return jnp.where(step > 0, jax.random.fold_in(job_key, step), job_key)


def loss_key(key: jax.Array, worker: Any, job: Any, step: Any = 0) -> jax.Array:
    """Return the key that a loss which draws is given in a local step of a worker's job."""
    return jax.random.fold_in(step_key(key, worker, job, step), LOSS)


def draw_block(key: jax.Array, worker: Any, job: Any, blocks: Any, step: Any = 0) -> jax.Array:
    """Return which of a worker's blocks of samples, int32, a step of its job uses, all equally likely; see `blocks`."""
    of_step = jax.random.fold_in(step_key(key, worker, job, step), BLOCK)
    return jax.random.randint(of_step, (), 0, blocks, jnp.int32)


def _epochs(key: jax.Array, batch: jax.Array, batch_size: int, size: Any) -> jax.Array:
    """Return the places, below `size`, of a batch in a walk through permutation after permutation.

    Position batch·batch_size + i is taken apart without forming it, as it may exceed 32 bits: with batch = q·size + r it lies
    in epoch q·batch_size + ⌊(r·batch_size + i)/size⌋. A problem sees to it that size·batch_size fits.
    """
    size = jnp.uint32(size)
    inside = (batch % size) * jnp.uint32(batch_size) + jnp.arange(batch_size, dtype=jnp.uint32)
    epoch = (batch // size) * jnp.uint32(batch_size) + inside // size
    keys = jax.random.key_data(jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, epoch))
    return jax.vmap(_permuted, in_axes=(0, 0, None))(keys, inside % size, size).astype(jnp.int32)


def _permuted(words: jax.Array, place: jax.Array, size: jax.Array) -> jax.Array:
    """Return where a permutation of 0 … size − 1, one for each pair of words, puts a place.

    It is the swap-or-not shuffle of Hoang, Morris and Rogaway (2012), "An enciphering scheme based on a card shuffle", figure
    1: in each round x and K − x change places, or not, by a bit that is the same for both. Any size will do, and there is no
    loop whose length depends on the key, as cycle walking would have. The rounds are a loop, as XLA (jaxlib 0.12.0.1, CPU)
    fails to compile 24 of them written out.
    """

    def mixed_once(number: Any, place: jax.Array) -> jax.Array:
        turn = _mixed(words[0] + jnp.uint32(number) * jnp.uint32(0x9E3779B9))
        partner = turn % size  # a bias of size/2^32
        partner = jnp.where(partner >= place, partner - place, partner + (size - place))
        swap = _mixed(_mixed(jnp.maximum(place, partner) + words[1]) ^ turn) >> 31
        return jnp.where(swap == 1, partner, place)

    result: jax.Array = jax.lax.fori_loop(0, ROUNDS, mixed_once, place)
    return result


def _mixed(word: jax.Array) -> jax.Array:
    """Return 32 bits of which each depends on all of the word's: the last steps of MurmurHash3 (Appleby, public domain)."""
    word = (word ^ (word >> 16)) * jnp.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * jnp.uint32(0xC2B2AE35)
    return word ^ (word >> 16)
