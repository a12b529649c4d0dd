"""A step with signs alone: what becomes of a sum of signs when the majority decides."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from simsgd.optimizers.tunable import Tunable, tunable
from simsgd.support import checks

TIE = 1e-6
"""A mean of signs that is nearer to 0 is a tie, whatever was lost in rounding; a majority of one among n workers is 1/n."""


def majority_vote(step_size: float) -> Tunable:
    """Return the step by which each number of the model goes down by the step size, up by it, or, at a tie, stays.

    wᵢ ← wᵢ − η·sign(sᵢ), where s is the sum or mean of the workers' signs; sums nearer to 0 than 10⁻⁶ are ties. NaN stays NaN.

    Source: Bernstein, Wang, Azizzadenesheli and Anandkumar (2018), "signSGD: compressed optimisation for non-convex problems",
    algorithm 3.

    Args:
        step_size: η, above 0.

    Raises:
        ValueError: if it is not.

    Example:
        >>> import jax.numpy as jnp, simsgd as sg
        >>> sg.optimizers.majority_vote(0.5)
        vote(step_size=0.5)
        >>> rule = vote(0.5)
        >>> rule.update(jnp.array([1 / 3, 0.0, -1.0]), rule.init(None))[0].tolist()
        [-0.5, 0.0, 0.5]
    """
    return tunable(vote, step_size=checks.positive("step_size", step_size))


def vote(step_size: Any) -> optax.GradientTransformationExtraArgs:
    """Return what `majority_vote` does, as an optax transformation."""

    def update(updates: Any, state: Any, params: Any = None, **others: Any) -> tuple[Any, Any]:
        return jax.tree.map(lambda s: jnp.where(jnp.abs(s) < TIE, 0, -step_size * jnp.sign(s)), updates), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)
