"""Least squares and logistic regression of any size, generated: the condition number is exact and the optimum known.

Law of this module: as in `ready_made`, functions are data, so that problems made twice are equal.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from simsgd.problems.making import remembered
from simsgd.problems.problem import Batch, Problem
from simsgd.problems.vectors import DistanceTo, Zeros
from simsgd.stopping import Target
from simsgd.support import checks, rng

REACHED = 0.01
"""The target's excess loss, as a part of that at the beginning."""
PRECISE = 1e-10
"""Newton's method stops where the gradient's norm is below this."""
NEWTON_STEPS = 100
"""Or after so many steps; ten are usual."""


@functools.lru_cache(maxsize=8)
@remembered
def least_squares(
    dimensions: int = 20, samples: int = 1000, condition: float = 10.0, noise: float = 0.1, batch_size: int = 32, seed: int = 0
) -> Problem:
    """Least squares, ½ mean (xᵀw − y)², from w = 0, with a known optimum w* of norm 1 and an exact condition number.

    The inputs' second moments, which are the Hessian, have eigenvalues that go geometrically from 1 down to 1/condition, in
    random directions. y = xᵀw* + noise·ε; the ε are standard normal draws, less what of them the inputs could explain, so w*
    is the optimum of these very samples, and the least loss is ½ mean (noise·ε)².

    Args:
        dimensions: of w, at least 1.
        samples: how many, at least as many as dimensions.
        condition: largest over smallest eigenvalue, at least 1.
        noise: standard deviation of the residuals, at least 0.
        batch_size: samples in one worker's batch.
        seed: names the draws.

    Metrics: "loss", and "distance", ‖w − w*‖. Target: a hundredth of the excess loss at the beginning.

    Raises:
        ValueError: if a number is outside its range.

    Example:
        >>> import simsgd as sg
        >>> problem = sg.problems.least_squares(dimensions=5, condition=4.0)
        >>> problem.parameter_count, problem.samples
        (5, 1000)
    """
    x, best, random = _inputs(dimensions, samples, condition, seed, "least squares")
    draws = random.standard_normal(samples)
    residuals = checks.not_negative("noise", noise) * (draws - x @ np.linalg.lstsq(x, draws)[0])
    least, begin = 0.5 * np.mean(residuals**2), 0.5 * np.mean((x @ best + residuals) ** 2)
    return Problem(
        name=f"least squares in {dimensions} dimensions, condition {condition:g}, noise {noise:g}",
        init=Zeros(dimensions),
        loss=_half_mean_square,
        data={"x": x, "y": x @ best + residuals},
        batch_size=batch_size,
        metrics={"distance": DistanceTo(tuple(best.tolist()))},
        target=Target("loss", at_most=float(least + REACHED * (begin - least))),
    )


@functools.lru_cache(maxsize=8)
@remembered
def logistic_regression(
    dimensions: int = 20,
    samples: int = 1000,
    condition: float = 10.0,
    margin: float = 3.0,
    penalty: float = 1e-3,
    batch_size: int = 32,
    seed: int = 0,
) -> Problem:
    """Logistic regression with two classes, mean log(1 + exp(−y xᵀw)) + ½ penalty·‖w‖², y = ±1, from w = 0.

    Inputs are those of `least_squares`. A sample's label is +1 with probability 1/(1 + exp(−xᵀv)) for a random v for which
    the xᵀv have the root mean square `margin`: the larger, the fewer labels are on the wrong side. The optimum has no
    closed form; it is computed by Newton's method in float64.

    Args:
        dimensions, samples, condition, batch_size, seed: as in `least_squares`.
        margin: above 0.
        penalty: of squared weights, above 0; it makes the loss strongly convex.

    Metrics: "loss", with the penalty, "distance", from w to the optimum, and "accuracy", on the training samples. Target: a
    hundredth of the excess loss at the beginning.

    Raises:
        ValueError: if a number is outside its range.

    Example:
        >>> import simsgd as sg
        >>> problem = sg.problems.logistic_regression(dimensions=5)
        >>> problem.metric_names
        ('loss', 'distance', 'accuracy')
    """
    x, direction, random = _inputs(dimensions, samples, condition, seed, "logistic regression")
    scores = x @ direction
    scores *= checks.positive("margin", margin) / np.sqrt(np.mean(scores**2))
    y = np.where(random.random(samples) < 1 / (1 + np.exp(np.minimum(-scores, 700))), 1.0, -1.0)
    best, least = _minimum(x * y[:, None], checks.positive("penalty", penalty))
    return Problem(
        name=f"logistic regression in {dimensions} dimensions, condition {condition:g}",
        init=Zeros(dimensions),
        loss=_Logistic(penalty),
        data={"x": x, "y": y},
        batch_size=batch_size,
        metrics={"distance": DistanceTo(tuple(best.tolist())), "accuracy": _sign_accuracy},
        target=Target("loss", at_most=least + REACHED * (float(np.log(2)) - least)),
    )


def _inputs(
    dimensions: int, samples: int, condition: float, seed: int, purpose: str
) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Return inputs (samples, dimensions) with the wanted second moments, a random direction, and what draws further."""
    checks.whole("samples", samples, checks.whole("dimensions", dimensions, 1))
    if checks.positive("condition", condition) < 1:
        raise ValueError(f"condition must be at least 1, got {condition!r}")
    random = rng.stream(seed, f"{purpose}: samples")
    spread = np.sqrt(np.geomspace(1.0, 1 / condition, dimensions))
    columns = np.linalg.qr(random.standard_normal((samples, dimensions)))[0] * np.sqrt(samples)
    turned = np.linalg.qr(random.standard_normal((dimensions, dimensions)))[0]
    direction = random.standard_normal(dimensions)
    return columns * spread @ turned, direction / np.linalg.norm(direction), random


def _minimum(signed: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """Return the optimum of logistic regression and its loss, by Newton's method with halved steps; `signed` are the y·x."""

    def loss(w: np.ndarray) -> float:
        return float(np.mean(np.logaddexp(0, -signed @ w)) + penalty / 2 * w @ w)

    w = np.zeros(signed.shape[1])
    for _ in range(NEWTON_STEPS):
        wrong = 1 / (1 + np.exp(np.minimum(signed @ w, 700)))
        gradient = penalty * w - wrong @ signed / len(signed)
        if np.linalg.norm(gradient) < PRECISE:
            break
        hessian = (signed * (wrong * (1 - wrong))[:, None]).T @ signed / len(signed) + penalty * np.eye(len(w))
        move, step = np.linalg.solve(hessian, gradient), 1.0
        while loss(w - step * move) > loss(w) and step > PRECISE:
            step /= 2
        w = w - step * move
    return w, loss(w)


def _half_mean_square(w: jax.Array, batch: Batch) -> jax.Array:
    loss: jax.Array = 0.5 * jnp.mean((batch["x"] @ w - batch["y"]) ** 2)
    return loss


@dataclass(frozen=True)
class _Logistic:
    """Mean log(1 + exp(−y xᵀw)) + ½ penalty·‖w‖²."""

    penalty: float

    def __call__(self, w: jax.Array, batch: Batch) -> jax.Array:
        loss: jax.Array = jnp.mean(jax.nn.softplus(-batch["y"] * (batch["x"] @ w))) + self.penalty / 2 * w @ w
        return loss


def _sign_accuracy(w: jax.Array, batch: Batch) -> jax.Array:
    right: jax.Array = batch["y"] * (batch["x"] @ w) > 0
    return right.mean(dtype=w.dtype)
