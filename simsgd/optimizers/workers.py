"""Transformations at the server that remember something of each worker."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from simsgd.support import checks


class _Counts(NamedTuple):
    """What is counted in a run."""

    workers: int
    blocks: int
    most_blocks: int


_COUNTS: contextvars.ContextVar[_Counts | None] = contextvars.ContextVar("counts", default=None)


@contextlib.contextmanager
def among(workers: int, blocks: int = 1, most_blocks: int = 1) -> Iterator[None]:
    """Let `worker_count`, `block_count` and `most_blocks` return these for a while: the player begins all states so."""
    token = _COUNTS.set(_Counts(workers, blocks, most_blocks))
    try:
        yield
    finally:
        _COUNTS.reset(token)


def _count(name: str, asked: str, what: str) -> int:
    counts = _COUNTS.get()
    if counts is None:
        raise RuntimeError(f"how many {what} is known in a run only: call {asked} in a transformation's init, or a work's")
    number: int = getattr(counts, name)
    return number


def worker_count() -> int:
    """Return how many workers the run has whose state is being begun: for the `init` of an optax transformation.

    Raises:
        RuntimeError: outside a run.

    Example:
        >>> import jax.numpy as jnp, optax, simsgd as sg
        >>> def init(params):
        ...     return jnp.zeros(sg.optimizers.worker_count())  # one number for each worker
        >>> def update(updates, state, params=None, *, worker, **others):
        ...     return updates, state.at[worker].add(1)
        >>> counting = optax.GradientTransformationExtraArgs(init, update)
        >>> method = sg.Method(sg.AsyncSGD(), optax.sgd(0.1), on_message=counting)
    """
    return _count("workers", "worker_count", "workers there are")


def block_count() -> int:
    """Return how many rows a table of all blocks of `batch_size` samples has: for the `init` of an optax transformation.

    Where each worker has a share of the data they are the blocks of all shares, one share after the other. `on_message` is
    offered the row of each message, `block`, and `blocks`: a row counts 1/blocks in the mean over all.

    Raises:
        RuntimeError: outside a run.

    Example:
        >>> import simsgd as sg
        >>> with sg.optimizers.workers.among(workers=4, blocks=45):
        ...     sg.optimizers.block_count()
        45
    """
    return _count("blocks", "block_count", "blocks of samples there are")


def most_blocks() -> int:
    """Return how many blocks of samples a worker has at most: the rows of a table that it keeps, for the `init` of a work.

    Raises:
        RuntimeError: outside a run.

    Example:
        >>> import simsgd as sg
        >>> with sg.optimizers.workers.among(workers=4, blocks=45, most_blocks=12):
        ...     sg.optimizers.most_blocks()
        12
    """
    return _count("most_blocks", "most_blocks", "blocks of samples a worker has")


def row(table: Any, worker: Any) -> Any:
    """Return one worker's row of a table: of each leaf, (workers, ...), what belongs to the worker.

    It is read before `with_row` overwrites it, so that the table is changed in place: without the barrier XLA (jaxlib 0.12.0.1,
    CPU) reads again later what it has written over, and copies the whole table for that with each message.

    Example:
        >>> import jax.numpy as jnp, simsgd as sg
        >>> table = {"sum": jnp.zeros((3, 2))}
        >>> table = sg.optimizers.with_row(table, 1, {"sum": jnp.ones(2)})
        >>> sg.optimizers.row(table, 1)["sum"].tolist()
        [1.0, 1.0]
    """
    own = jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, worker, keepdims=False), table)
    return jax.lax.optimization_barrier(own)  # type: ignore[no-untyped-call]


def with_row(table: Any, worker: Any, values: Any) -> Any:
    """Return a table whose row of one worker holds other values; see `row`."""

    def change(leaf: jax.Array, new: Any) -> jax.Array:
        changed: jax.Array = jax.lax.dynamic_update_index_in_dim(leaf, jnp.asarray(new, leaf.dtype), worker, 0)
        return changed

    return jax.tree.map(change, table, values)


def per_worker(transformation: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Return a transformation with a state for each worker: a message meets, and moves, that of its own worker alone.

    Its state has a worker axis first, shape (workers, ...) for each leaf of the transformation's own. For `Method.on_message`.

    Raises:
        TypeError: if `transformation` is no optax transformation.

    Example:
        >>> import optax, simsgd as sg
        >>> momentum_of_each = sg.optimizers.per_worker(optax.trace(decay=0.9))
        >>> method = sg.Method(sg.AsyncSGD(), optax.sgd(0.1), on_message=momentum_of_each)
    """
    checks.instance("transformation", transformation, optax.GradientTransformation, "optax.trace(decay=0.9)")
    transformation = optax.with_extra_args_support(transformation)

    def init(params: Any) -> Any:
        workers = worker_count()
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (workers, *jnp.shape(leaf))), transformation.init(params))

    def update(updates: Any, state: Any, params: Any = None, *, worker: Any, **others: Any) -> tuple[Any, Any]:
        updates, own = transformation.update(updates, row(state, worker), params, worker=worker, **others)
        return updates, with_row(state, worker, own)

    return optax.GradientTransformationExtraArgs(init, update)
