"""Momentum for each worker at the server, and the model that is handed out ahead of it: DANA-Zero.

DANA-Slim needs none of this: its worker sends γv + g from its own momentum v ← γv + g, which is optax's
`trace(decay=γ, nesterov=True)` as `Method.at_worker`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from simsgd.optimizers.workers import row, with_row, worker_count
from simsgd.support import checks


class WorkersMomentum(NamedTuple):
    """The momentum of each worker, with a worker axis first, and the sum over all workers, like the parameters."""

    momentum: Any
    momentum_sum: Any


def workers_momentum(momentum: float) -> optax.GradientTransformationExtraArgs:
    """Replace worker i's message g by its momentum, vⁱ ← γvⁱ + g, and keep Σⱼ vʲ: the server's half of DANA-Zero.

    What it sends on is what `per_worker(optax.trace(decay=γ))` does; the sum is for `look_ahead`. For `Method.on_message`.
    State: vⁱ, shape (workers, ...) for each leaf of the parameters, and the sum, like the parameters; all from 0.

    Source: Hakimi, Barkai, Gabel and Schuster (2019), "Taming momentum in a distributed asynchronous environment", DANA-Zero
    (from memory).

    Args:
        momentum: γ, at least 0 and below 1.

    Raises:
        ValueError: if it is not.

    Example:
        >>> import simsgd as sg
        >>> method = sg.Method(
        ...     sg.AsyncSGD(),
        ...     sg.optimizers.sgd(0.1),
        ...     on_message=sg.optimizers.workers_momentum(momentum=0.9),
        ...     hand_out=sg.optimizers.look_ahead(step_size=0.1, momentum=0.9),
        ... )
    """
    momentum = checks.below_one("momentum", momentum)

    def init(params: Any) -> WorkersMomentum:
        each = jax.tree.map(lambda w: jnp.zeros((worker_count(), *jnp.shape(w)), jnp.result_type(w)), params)
        return WorkersMomentum(each, optax.tree.zeros_like(params))

    def update(updates: Any, state: Any, params: Any = None, *, worker: Any, **others: Any) -> tuple[Any, Any]:
        old = row(state.momentum, worker)
        new = jax.tree.map(lambda v, g: momentum * v + g, old, updates)
        total = jax.tree.map(lambda s, a, b: s + (b - a), state.momentum_sum, old, new)
        return new, WorkersMomentum(with_row(state.momentum, worker, new), total)

    return optax.GradientTransformationExtraArgs(init, update)


def look_ahead(step_size: float, momentum: float) -> optax.GradientTransformationExtraArgs:
    """Hand out w − ηγ·Σⱼ vʲ in place of the model w: about where the other workers' momentum will have taken it.

    For `Method.hand_out`, with `workers_momentum` (alone or in a chain) as `on_message`, whose sum it reads. No state.

    Source: Hakimi, Barkai, Gabel and Schuster (2019), "Taming momentum in a distributed asynchronous environment", DANA-Zero
    (from memory).

    Args:
        step_size: η, that of the optimizer, above 0.
        momentum: γ, that of `workers_momentum`, at least 0 and below 1.

    Raises:
        ValueError: if one of them is out of its range; when it is first used, if `on_message` keeps no such sum.

    Example:
        >>> import simsgd as sg
        >>> momentum = sg.optimizers.workers_momentum(0.5)
        >>> with sg.optimizers.workers.among(2):
        ...     state = momentum.init(0.0)
        >>> _, state = momentum.update(4.0, state, worker=1)
        >>> ahead = sg.optimizers.look_ahead(step_size=0.1, momentum=0.5)
        >>> round(float(ahead.update(1.0, (), 1.0, message_state=state)[0]), 5)  # 1 − 0.1 · 0.5 · 4
        0.8
    """
    step_size, momentum = checks.positive("step_size", step_size), checks.below_one("momentum", momentum)

    def update(updates: Any, state: Any, params: Any = None, *, message_state: Any, **others: Any) -> tuple[Any, Any]:
        total = optax.tree.get(message_state, "momentum_sum")
        if total is None:
            raise ValueError("hand_out=look_ahead(...) needs on_message=workers_momentum(...), whose sum it reads: give both")
        return jax.tree.map(lambda w, v: w - step_size * (momentum * v), updates, total), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)
