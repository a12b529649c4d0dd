"""Transformations at the server that remember something of each worker."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax

from simsgd.support import checks

_WORKERS: contextvars.ContextVar[int | None] = contextvars.ContextVar("workers", default=None)


@contextlib.contextmanager
def among(workers: int) -> Iterator[None]:
    """Let `worker_count` return `workers` for a while: the player begins the states of a method's parts so."""
    token = _WORKERS.set(workers)
    try:
        yield
    finally:
        _WORKERS.reset(token)


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
    workers = _WORKERS.get()
    if workers is None:
        raise RuntimeError("how many workers there are is known in a run only: call worker_count in a transformation's init")
    return workers


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
