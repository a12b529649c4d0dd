"""Where logistic regression ends: its optimum by a solver that knows nothing of SGD, and how far a model is from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize


@dataclass(frozen=True)
class Distance:
    """A metric: the squared distance to the optimum, over that from the origin."""

    optimum: tuple[float, ...]

    def __call__(self, w: jax.Array, data: Any) -> jax.Array:
        """Return it, whatever the data."""
        best = jnp.asarray(np.array(self.optimum), w.dtype)
        return jnp.sum((w - best) ** 2) / jnp.sum(best**2)


def optimum(signed: np.ndarray, penalty: float) -> np.ndarray:
    """Return the w with the least mean log(1 + exp(−s·w)) + ½ penalty·‖w‖².

    By Newton's method with trust regions, and one plain step of Newton's at the end, after which the gradient is rounding.

    Args:
        signed: the s, inputs times their labels of ±1, (samples, dimensions).
        penalty: of squared weights.
    """
    signed = np.asarray(signed, np.float64)

    def wrong(w: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(signed @ w))

    def loss(w: np.ndarray) -> float:
        return float(np.logaddexp(0, -signed @ w).mean() + penalty / 2 * w @ w)

    def gradient(w: np.ndarray) -> np.ndarray:
        return -wrong(w) @ signed / len(signed) + penalty * w

    def hessian(w: np.ndarray) -> np.ndarray:
        weights = wrong(w) * (1 - wrong(w))
        return (signed * weights[:, None]).T @ signed / len(signed) + penalty * np.eye(len(w))

    w = minimize(loss, np.zeros(signed.shape[1]), jac=gradient, hess=hessian, method="trust-exact").x
    for _ in range(2):
        w = w - np.linalg.solve(hessian(w), gradient(w))
    return w
