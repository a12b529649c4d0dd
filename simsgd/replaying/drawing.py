"""What a job computes with: its batch, drawn by key, and the loss of it. One place for plain and composed methods.

Law of this module: what is drawn depends on the run's key, the worker, the job and the local step, and on nothing else.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from simsgd.problems import Batch, Metric, Parameters, Problem, draw
from simsgd.replaying.blocks import TILE, Table


class Data(NamedTuple):
    """The training samples on the device, and whose they are."""

    samples: Batch
    shares: Any = None


class Drawing(NamedTuple):
    """How batches are drawn, and the loss of one: what is compiled for.

    Attributes:
        loss: of the problem.
        batch_size: samples of a batch.
    """

    loss: Metric
    batch_size: int

    @staticmethod
    def of(problem: Problem) -> Drawing:
        """Return that of a problem."""
        return Drawing(problem.loss, problem.batch_size)

    def picks(self, data: Data, key: jax.Array, worker: Any, job: Any, steps: Any = 1, step: Any = 0) -> jax.Array:
        """Return which samples a local step of a job uses, (batch_size,) int32."""
        return draw(key, worker, job, self.batch_size, len(jax.tree.leaves(data.samples)[0]))

    def batch(self, data: Data, key: jax.Array, picks: jax.Array, worker: Any, job: Any, step: Any = 0) -> Batch:
        """Return the samples picked, and the loss's key if it draws: what `of_batch` takes."""
        return jax.tree.map(lambda a: a[picks], data.samples)

    def batches(self, data: Data, key: jax.Array, picks: jax.Array, worker: jax.Array, job: jax.Array) -> Batch:
        """Return those of several jobs, each leaf (width, batch, ...)."""
        return jax.tree.map(lambda a: a[picks], data.samples)

    def of_batch(self, parameters: Parameters, batch: Batch) -> jax.Array:
        """Return the loss of a batch."""
        return self.loss(parameters, batch)


class Job(NamedTuple):
    """One job in the compiled loop: what `Work.run` is given; see `simsgd.work.JobAtHand`."""

    drawing: Drawing
    data: Data
    key_of_run: jax.Array
    worker: Any
    number: Any
    steps: Any
    first: jax.Array  # the samples of its first step, (batch_size,)

    @property
    def key(self) -> jax.Array:
        """A key of the job's own, for all but its batches."""
        own = jax.random.fold_in(self.key_of_run, 1 << 31)  # no worker has this number
        return jax.random.fold_in(jax.random.fold_in(own, self.worker), self.number)

    def gradient(self, parameters: Parameters, step: int | jax.Array = 0) -> Parameters:
        """Return the gradient of the loss on the batch of one local step."""
        where = (self.worker, self.number)
        picks = self.first
        if not (isinstance(step, int) and step == 0):
            picks = self.drawing.picks(self.data, self.key_of_run, *where, self.steps, step)
        batch = self.drawing.batch(self.data, self.key_of_run, picks, *where, step)
        return jax.grad(self.drawing.of_batch)(parameters, batch)

    def full_gradient(self, parameters: Parameters) -> Parameters:
        """Return the gradient of the mean loss over all samples, or over the worker's own."""
        return jax.grad(self.drawing.of_batch)(parameters, self.data.samples)


def draw_tile(drawing: Drawing, data: Data, key: jax.Array, table: Table, first: jax.Array) -> jax.Array:
    """Return the samples of the first steps of a tile's jobs, (TILE, width, batch_size); the tile begins at block `first`."""
    columns = [table.worker, table.job] + ([] if table.message is None else [table.message.steps])
    of_tile = [jax.lax.dynamic_slice_in_dim(column, first, TILE) for column in columns]
    one = functools.partial(drawing.picks, data, key)
    picks: jax.Array = jax.vmap(jax.vmap(one))(*of_tile)
    return picks


def at(tree: Any, place: Any) -> Any:
    """Return what is kept at a place, or at several, of every leaf's first axis."""
    return jax.tree.map(lambda leaf: leaf[place], tree)


def put(tree: Any, place: Any, values: Any) -> Any:
    """Return a tree whose leaves hold other values at a place of their first axis."""
    return jax.tree.map(lambda leaf, value: leaf.at[place].set(jnp.asarray(value, leaf.dtype)), tree, values)
