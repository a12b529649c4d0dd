"""What a job computes with: its batch, drawn by key, and the loss of it. One place for plain and composed methods.

Law of this module: what is drawn depends on the run's key, the worker, the job and the local step, and on nothing else.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from simsgd.problems import Batch, Parameters, Problem, Shares, draw, evaluated, loss_key
from simsgd.replaying.blocks import TILE, Table
from simsgd.work import Work

STEPS = 16
"""For how many local steps of jobs batches are drawn at once."""

type Drawn = Any
"""A batch, or (a batch, a key) of a loss that draws."""


class Data(NamedTuple):
    """The training samples on the device, and which of them each worker has, if they are shared out."""

    samples: Batch
    shares: Shares | None = None

    @staticmethod
    def of(samples: Batch, problem: Problem) -> Data:
        """Return the samples, which are on the device, with the shares of a problem."""
        return Data(samples, None if problem.shares is None else Shares(*map(jnp.asarray, problem.shares)))


class Drawing(NamedTuple):
    """How batches are drawn, and the loss of one: what is compiled for.

    Attributes:
        loss: of the problem.
        batch_size: samples of a batch.
        draws: whether the loss takes a key.
        replacement: whether a worker draws from its share with replacement.
        largest: samples of the largest share; 0 where there are none.
    """

    loss: Callable[..., jax.Array]
    batch_size: int
    draws: bool
    replacement: bool
    largest: int

    @staticmethod
    def of(problem: Problem) -> Drawing:
        """Return that of a problem."""
        largest = 0 if problem.shares is None else int(np.max(problem.shares.sizes))
        return Drawing(problem.loss, problem.batch_size, problem.loss_draws, problem.replacement, largest)

    def picks(self, data: Data, key: jax.Array, worker: Any, job: Any, steps: Any = 1, step: Any = 0) -> jax.Array:
        """Return which samples a local step of a job uses, (batch_size,) int32."""
        samples = len(jax.tree.leaves(data.samples)[0])
        return draw(key, worker, job, self.batch_size, samples, data.shares, self.replacement, step, steps)

    def batch(self, data: Data, key: jax.Array, picks: jax.Array, worker: Any, job: Any, step: Any = 0) -> Drawn:
        """Return what `of_batch` takes: the samples picked, with the loss's key if it draws."""
        samples = at(data.samples, picks)
        return (samples, loss_key(key, worker, job, step)) if self.draws else samples

    def batches(self, data: Data, key: jax.Array, picks: jax.Array, worker: jax.Array, job: jax.Array) -> Drawn:
        """Return those of several jobs, each leaf (width, ...)."""
        samples = at(data.samples, picks)
        return (samples, jax.vmap(functools.partial(loss_key, key))(worker, job)) if self.draws else samples

    def of_batch(self, parameters: Parameters, batch: Drawn) -> jax.Array:
        """Return the loss of a batch."""
        return self.loss(parameters, *batch) if self.draws else self.loss(parameters, batch)

    def of_share(self, parameters: Parameters, data: Data, worker: jax.Array) -> jax.Array:
        """Return the mean loss over a worker's samples, which are all there are if they are not shared out."""
        if data.shares is None:
            return evaluated(self.loss, parameters, data.samples)
        size, place = data.shares.sizes[worker], jnp.arange(self.largest)
        own = data.shares.indices[data.shares.starts[worker] + jnp.minimum(place, size - 1)]
        one_by_one = jax.vmap(lambda i: evaluated(self.loss, parameters, at(data.samples, i[None])))(own)
        mean: jax.Array = jnp.sum(jnp.where(place < size, one_by_one, 0)) / size.astype(one_by_one.dtype)
        return mean


def job_key(key: jax.Array, worker: Any, job: Any) -> jax.Array:
    """Return the key of a job for all but its batches."""
    own = jax.random.fold_in(key, 1 << 31)  # no worker has this number
    return jax.random.fold_in(jax.random.fold_in(own, worker), job)


def shared_key(key: jax.Array, version: Any) -> jax.Array:
    """Return the key that all jobs of one version have in common."""
    own = jax.random.fold_in(key, (1 << 31) + 1)  # nor this one
    return jax.random.fold_in(own, version)


UP, DOWN = 0x7570, 0x646F776E
"""Folded into a job's key for what is drawn to compress its message, and into a version's for what is sent down."""


def room_for(work: Work, steps: np.ndarray) -> int:
    """Return for how many local steps of each job batches are drawn before it is played: a power of two that all jobs need.

    So a loop over a job's steps has nothing to draw; where it had, it took up to twice the processor's time (see DESIGN.md).

    Args:
        work: what is done; one that takes no steps draws for itself what it needs beside its first batch.
        steps: how many each job has.
    """
    return 1 << (int(steps.max(initial=1)) - 1).bit_length() if work.takes_steps else 1


def tile_of(room: int) -> int:
    """Return for how many blocks batches are drawn at once: fewer where jobs have several steps, as many steps in all."""
    return max(1, TILE // room)


def draw_tile(drawing: Drawing, data: Data, key: jax.Array, table: Table, first: jax.Array, room: int = 1) -> jax.Array:
    """Return the samples of a tile's jobs, (tile, width, batch_size), or of composed methods (tile, width, room, batch_size).

    Args:
        drawing, data, key: of the run.
        table: the blocks.
        first: the block that the tile begins at.
        room: for how many local steps there is room. No more are drawn than some job of the tile has, but for a few.
    """
    columns = [table.worker, table.job] + ([] if table.message is None else [table.message.steps])
    of_tile = [jax.lax.dynamic_slice_in_dim(column, first, tile_of(room)) for column in columns]
    picks: jax.Array
    if table.message is None:
        picks = jax.vmap(jax.vmap(functools.partial(drawing.picks, data, key)))(*of_tile)
        return picks

    def drawn(begin: Any) -> jax.Array:
        of_each = jnp.broadcast_arrays(*(column[..., None] for column in of_tile), begin + jnp.arange(min(room, STEPS)))
        flat = [column.reshape(-1) for column in of_each]  # compiles in half the time that axes within axes take
        return jax.vmap(functools.partial(drawing.picks, data, key))(*flat).reshape(*of_each[0].shape, drawing.batch_size)

    if room <= STEPS:
        return drawn(0)
    most, nothing = jnp.max(of_tile[2]), jnp.zeros((*of_tile[0].shape, room, drawing.batch_size), jnp.int32)

    def draw_more(part: jax.Array, picks: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_slice_in_dim(picks, drawn(part * STEPS), part * STEPS, 2)

    picks = jax.lax.fori_loop(0, (most + STEPS - 1) // STEPS, draw_more, nothing)
    return picks


def at(tree: Any, place: Any) -> Any:
    """Return what is kept at a place, or at several, of every leaf's first axis."""
    return jax.tree.map(lambda leaf: leaf[place], tree)
