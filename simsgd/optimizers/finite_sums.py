"""What a server remembers of a finite sum: tables of the blocks' last gradients, and the snapshot of a full gradient.

They stand in `Method.on_message`. A table has a row for each block of `batch_size` samples, and the model's memory for each
row; a snapshot is two models.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from simsgd.optimizers.workers import block_count, row, with_row
from simsgd.support import checks


class BlockTable(NamedTuple):
    """The last gradient of each block, (blocks, ...) for each leaf of the parameters, and their mean; `rows` may be left out.

    The mean is over all samples: a row of a share of the data counts as the share does.
    """

    rows: Any
    mean: Any


class Snapshot(NamedTuple):
    """Where the last full gradient was computed, what it is, and which version that was (-1: none yet)."""

    parameters: Any
    gradient: Any
    version: jax.Array


def saga_table() -> optax.GradientTransformationExtraArgs:
    """Put g − T_b + (1/B) Σ_c T_c in the place of a block's gradient g, then g into row b: T_b ← g.

    Its mean over the blocks is the full gradient whatever stands in the table, and its variance goes as the table comes near
    the gradients at the optimum. Rows begin at 0 (the paper's with gradients at w₀, which would cost a pass over the data).
    Several messages of one step are taken one after the other. Where workers have shares of the data, their messages are to be
    multiplied by n·size/samples, as `works.BlockGradient` does. State: `BlockTable`.

    Source: Defazio, Bach and Lacoste-Julien (2014), "SAGA: a fast incremental gradient method with support for non-strongly
    convex composite objectives", equation 7.

    Example:
        >>> import simsgd as sg
        >>> method = sg.Method(
        ...     sg.AsyncSGD(),
        ...     sg.optimizers.sgd(0.1),
        ...     work=sg.works.BlockGradient(),
        ...     on_message=sg.optimizers.saga_table(),
        ... )
    """

    def update(updates: Any, state: Any, params: Any = None, *, block: Any, blocks: Any, **others: Any) -> tuple[Any, Any]:
        change = jax.tree.map(jnp.subtract, updates, row(state.rows, block))
        estimate = jax.tree.map(jnp.add, change, state.mean)
        return estimate, BlockTable(with_row(state.rows, block, updates), _moved(state.mean, change, blocks))

    return optax.GradientTransformationExtraArgs(_empty_table, update)


def sag_table() -> optax.GradientTransformationExtraArgs:
    """Put the change of the table's mean, (g − T_b)/B, in the place of a block's gradient g, then g into row b: T_b ← g.

    The sum of all changes is the mean, so `optax.trace(decay=1.0)` at the head of the optimizer makes the mean of them again,
    however many messages a step has; the protocol is to step with their sum. Rows begin at 0, as in the paper. State: the rows.

    Source: Schmidt, Le Roux and Bach (2017), "Minimizing finite sums with the stochastic average gradient", algorithm 1.

    Example:
        >>> import optax, simsgd as sg
        >>> method = sg.Method(
        ...     sg.MinibatchSGD(average=False),
        ...     optax.chain(optax.trace(decay=1.0), optax.sgd(0.1)),
        ...     work=sg.works.BlockGradient(),
        ...     on_message=sg.optimizers.sag_table(),
        ... )
    """

    def update(updates: Any, state: Any, params: Any = None, *, block: Any, blocks: Any, **others: Any) -> tuple[Any, Any]:
        change = jax.tree.map(lambda g, last: (g - last) / blocks.astype(g.dtype), updates, row(state.rows, block))
        return change, BlockTable(with_row(state.rows, block, updates), ())

    return optax.GradientTransformationExtraArgs(lambda params: BlockTable(_empty_table(params).rows, ()), update)


def mean_of_tables() -> optax.GradientTransformationExtraArgs:
    """Add the mean of the workers' own tables to a message, which is the change of a row of one of them: g − T_b + mean.

    It is `saga_table` where the rows are kept by the workers (`works.BlockTable`). State: the mean alone.

    Source: De and Goldstein (2016), "Efficient distributed SGD with variance reduction", distributed SAGA (from memory).

    Example:
        >>> import simsgd as sg
        >>> sg.methods.distributed_saga(step_size=0.1).work
        BlockTable(steps=1)
    """

    def update(updates: Any, state: Any, params: Any = None, *, blocks: Any, **others: Any) -> tuple[Any, Any]:
        return jax.tree.map(jnp.add, updates, state.mean), BlockTable((), _moved(state.mean, updates, blocks))

    return optax.GradientTransformationExtraArgs(lambda params: BlockTable((), jax.tree.map(jnp.zeros_like, params)), update)


def snapshot(moves: bool = True) -> optax.GradientTransformationExtraArgs:
    """Gather a full gradient μ from the workers' parts of it, with the parameters w̃ at which they were computed.

    Messages of kind 1 are parts, whose mean over all workers is μ, computed at one version; those of kind 0 pass as they are.
    For works that show it to workers (`job.shown`), such as `works.VarianceReducedGradient`. State: `Snapshot`.

    Source: Johnson and Zhang (2013), "Accelerating stochastic gradient descent using predictive variance reduction".

    Args:
        moves: whether the parts pass, too, so that the step which ends a pass goes along −μ; else it stays where it is.

    Raises:
        TypeError: if `moves` is not True or False.

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.describe(sg.methods.svrg(0.1, updates=100, pass_steps=12).on_message)
        'snapshot(moves=True)'
    """
    checks.truth("moves", moves)

    def init(params: Any) -> Snapshot:
        nothing = jax.tree.map(jnp.zeros_like, params)
        return Snapshot(nothing, nothing, jnp.asarray(-1, jnp.int32))

    def update(
        updates: Any,
        state: Any,
        params: Any = None,
        *,
        kind: Any,
        workers: int,
        version: Any,
        staleness: Any,
        parameters_read: Any,
        **others: Any,
    ) -> tuple[Any, Any]:
        is_part, read = kind == 1, version - jnp.asarray(staleness).astype(jnp.int32)
        begins = is_part & (read != state.version)

        def gathered(sum_: Any, part: Any) -> Any:
            return jnp.where(begins, 0, sum_) + jnp.where(is_part, part / workers, 0)

        after = Snapshot(
            jax.tree.map(lambda old, now: jnp.where(is_part, now, old), state.parameters, parameters_read),
            jax.tree.map(gathered, state.gradient, updates),
            jnp.where(is_part, read, state.version),
        )
        passed = updates if moves else jax.tree.map(lambda u: jnp.where(is_part, 0, u), updates)
        return passed, after

    return optax.GradientTransformationExtraArgs(init, update)


def _empty_table(parameters: Any) -> BlockTable:
    blocks = block_count()
    rows = jax.tree.map(lambda w: jnp.zeros((blocks, *jnp.shape(w)), jnp.result_type(w)), parameters)
    return BlockTable(rows, jax.tree.map(jnp.zeros_like, parameters))


def _moved(mean: Any, change: Any, blocks: Any) -> Any:
    return jax.tree.map(lambda m, c: m + c / blocks.astype(m.dtype), mean, change)
