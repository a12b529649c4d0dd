"""Tables of gradients: the server keeps the last message of each worker and steps with a mean over all workers.

So a worker that answers often counts no more than one that answers rarely, and where data differ between workers the model goes
to the optimum of all of them. Tables have a worker axis first: n times the memory of the model (twice that for `round_table`).
They stand in `Method.on_message`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from simsgd.optimizers.workers import row, with_row, worker_count
from simsgd.support import checks


class Table(NamedTuple):
    """The last message of each worker, their mean, of whom there is one, shape (workers,), and how many are missing.

    `missing` could be counted from `heard`, which XLA would do anew for each element of the message.
    """

    rows: Any
    mean: Any
    heard: jax.Array
    missing: jax.Array


class Rows(NamedTuple):
    """The last message of each worker."""

    rows: Any


class RoundTable(NamedTuple):
    """Two tables of means, that of even rounds and that of odd ones; a part whose round is another one counts as empty.

    Attributes:
        rows: each worker's mean message, shape (2·workers, ...) for each leaf of the parameters: even rounds, then odd ones.
        counts: of how many messages, shape (2·workers,).
        rounds: of which round, shape (2·workers,).
        mean: the mean over the workers, shape (2, ...) for each leaf.
        mean_rounds: of which round, shape (2,).
    """

    rows: Any
    counts: jax.Array
    rounds: jax.Array
    mean: Any
    mean_rounds: jax.Array


def gradient_table(wait_for_all: bool = True) -> optax.GradientTransformationExtraArgs:
    """Put worker i's message into row i of a table, and the mean of all n rows in its place: Gᵢ ← g, then (1/n) Σⱼ Gⱼ.

    For protocols that step with single messages. Until there is a message of every worker it sends zeros on, as the papers
    begin with all workers' gradients; told not to wait, rows count as 0 until then. State: the rows, shape (workers, ...) for
    each leaf of the parameters, their mean, of whom there is one, and how many are missing.

    Source: Blatt, Hero and Gauchman (2007), "A convergent incremental gradient method with a constant step size" (IAG);
    Chang et al. (2025), "Mitigating participation imbalance bias in asynchronous federated learning" (ACE). Both from memory.

    Args:
        wait_for_all: whether to send zeros until every worker has been heard.

    Raises:
        TypeError: if it is not True or False.

    Example:
        >>> import simsgd as sg
        >>> method = sg.Method(sg.AsyncSGD(), sg.optimizers.sgd(0.1), on_message=sg.optimizers.gradient_table())
    """
    checks.truth("wait_for_all", wait_for_all)

    def init(params: Any) -> Table:
        workers = worker_count()
        mean = optax.tree.zeros_like(params)
        return Table(_empty(params, workers), mean, jnp.zeros(workers, bool), jnp.asarray(workers, jnp.int32))

    def update(updates: Any, state: Any, params: Any = None, *, worker: Any, workers: int, **others: Any) -> tuple[Any, Any]:
        old, updates = _last(state.rows, worker, updates)
        mean = jax.tree.map(lambda m, last, g: m + (g - last) / workers, state.mean, old, updates)
        missing = jnp.where(state.heard[worker], state.missing, state.missing - 1)
        sent = jax.tree.map(lambda m: jnp.where(missing == 0, m, jnp.zeros_like(m)), mean) if wait_for_all else mean
        return sent, Table(with_row(state.rows, worker, updates), mean, state.heard.at[worker].set(True), missing)

    return optax.GradientTransformationExtraArgs(init, update)


def gradient_table_changes() -> optax.GradientTransformationExtraArgs:
    """Put worker i's message into row i of a table, and in its place how that changed the rows' mean: (g − Gᵢ)/n, then Gᵢ ← g.

    For protocols that step with several messages: the sum of all changes is the mean, so `optax.trace(decay=1.0)` at the head
    of the optimizer makes the mean of them again. Where the protocol averages over its K messages, chain `optax.scale(K)`
    to it. State: the rows, shape (workers, ...) for each leaf of the parameters, from 0.

    Source: Gu et al. (2021), "Fast federated learning in the presence of arbitrary device unavailability" (MIFA, which keeps
    the last update of each device; from memory).

    Example:
        >>> import optax, simsgd as sg
        >>> method = sg.Method(
        ...     sg.protocols.KSyncSGD(gradients=4),
        ...     optax.chain(optax.trace(decay=1.0), optax.sgd(0.1)),
        ...     on_message=optax.chain(sg.optimizers.gradient_table_changes(), optax.scale(4.0)),
        ... )
    """

    def update(updates: Any, state: Any, params: Any = None, *, worker: Any, workers: int, **others: Any) -> tuple[Any, Any]:
        old, updates = _last(state.rows, worker, updates)
        changes = jax.tree.map(lambda g, last: (g - last) / workers, updates, old)
        return changes, Rows(with_row(state.rows, worker, updates))

    return optax.GradientTransformationExtraArgs(lambda params: Rows(_empty(params, worker_count())), update)


def round_table() -> optax.GradientTransformationExtraArgs:
    """Put a message into its round's table, and in its place the mean of the current round's: (1/n) Σᵢ (1/bᵢ) Σⱼ gᵢⱼ.

    Round r makes the n versions rn + 1 … rn + n, of n workers. A message whose gradient was read at version v belongs to round
    ⌈v/n⌉: the current one or the next, for which it is stored. Row i is the mean of worker i's bᵢ messages of that round. For
    `protocols.RingleaderASGD`, which steps with the message that completes or continues a round, and gives those that it only
    stores the weight 0. State: rows of two rounds, shape (2·workers, ...) for each leaf of the parameters, and their counts.

    Source: Maranjyan and Richtárik (2025), "Ringleader ASGD: the first asynchronous SGD with optimal time complexity under data
    heterogeneity", algorithm 1.

    Example:
        >>> import simsgd as sg
        >>> table = sg.optimizers.round_table()
    """

    def init(params: Any) -> RoundTable:
        rows = 2 * worker_count()
        mean = jax.tree.map(lambda w: jnp.zeros((2, *jnp.shape(w)), jnp.result_type(w)), params)
        never = jnp.full(rows, -1, jnp.int32)
        return RoundTable(_empty(params, rows), jnp.zeros(rows, jnp.int32), never, mean, jnp.full(2, -1, jnp.int32))

    def update(
        updates: Any, state: Any, params: Any = None, *, worker: Any, workers: int, version: Any, staleness: Any, **others: Any
    ) -> tuple[Any, Any]:
        current = version // workers
        own = (version - jnp.asarray(staleness).astype(jnp.int32) + workers - 1) // workers
        half = own % 2
        place = half * workers + worker
        begun, row_begun = state.mean_rounds[half] == own, state.rounds[place] == own
        count = jnp.where(row_begun, state.counts[place], 0) + 1

        stored, updates = _last(state.rows, place, updates)
        old = jax.tree.map(lambda kept: jnp.where(row_begun, kept, jnp.zeros_like(kept)), stored)
        new = jax.tree.map(lambda mean, g: mean + (g - mean) / count.astype(mean.dtype), old, updates)

        def mean(means: Any, a: Any, b: Any) -> Any:
            return means.at[half].set(jnp.where(begun, means[half], jnp.zeros_like(a)) + (b - a) / workers)

        means = jax.tree.map(mean, state.mean, old, new)
        state = RoundTable(
            with_row(state.rows, place, new),
            state.counts.at[place].set(count),
            state.rounds.at[place].set(own),
            means,
            state.mean_rounds.at[half].set(own),
        )
        there = state.mean_rounds[current % 2] == current
        return jax.tree.map(lambda m: jnp.where(there, m[current % 2], jnp.zeros_like(m[0])), means), state

    return optax.GradientTransformationExtraArgs(init, update)


def _empty(parameters: Any, rows: int) -> Any:
    """Return a table of zeros, so many rows of parameters."""
    return jax.tree.map(lambda w: jnp.zeros((rows, *jnp.shape(w)), jnp.result_type(w)), parameters)


def _last(rows: Any, place: Any, updates: Any) -> tuple[Any, Any]:
    """Return (the row at a place, the updates), these not before the row has been read: else XLA copies the whole table."""
    read: tuple[Any, Any] = jax.lax.optimization_barrier((row(rows, place), updates))  # type: ignore[no-untyped-call]
    return read
