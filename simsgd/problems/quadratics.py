"""A quadratic of its own for each worker: the simplest problem whose data differ, every number of it known.

Law of this module: as in `ready_made`, functions are data, so that problems made twice are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from simsgd.problems.divisions import GivenShares
from simsgd.problems.making import remembered
from simsgd.problems.problem import Batch, Problem
from simsgd.problems.vectors import DistanceTo, Zeros
from simsgd.support import checks


@remembered
def quadratics(
    optima: Any, curvatures: Any = 1.0, noise: float = 0.0, batch_size: int = 1, worker_losses: bool = False
) -> Problem:
    """A different quadratic for each worker: f_i(w) = ½ (w − x_i)ᵀ diag(h_i) (w − x_i), learned from w = 0.

    What is minimised is their mean; its optimum is (Σ diag(h_i))⁻¹ Σ diag(h_i) x_i, see `weighted_optimum`. Worker i computes
    gradients of f_i alone: the problem is partitioned, one sample for each worker. A sample's gradient is
    diag(h_i)(w − x_i) + noise·ξ, with ξ standard normal, drawn by the key of the job's step.

    Args:
        optima: the x_i, shape (workers, dimensions), or (workers,) in one dimension.
        curvatures: the h_i, each above 0, of the same shape as the optima, or one that broadcasts to it.
        noise: standard deviation of each component of a single sample's gradient, at least 0.
        batch_size: samples in one worker's batch; the noise of their mean is noise/√batch_size.
        worker_losses: whether each f_i is evaluated too.

    Metrics: "loss", the mean of the f_i, and "distance", from w to the optimum of that mean.

    Raises:
        ValueError: if optima or curvatures are not finite, a curvature is not above 0, their shapes do not fit, or a number is
            outside its range.

    Example:
        >>> import simsgd as sg
        >>> problem = sg.problems.quadratics(optima=[0.0, 1.0])
        >>> cluster = sg.Cluster(2, sg.times.PerWorker([sg.times.Constant(1.0), sg.times.Constant(10.0)]))
        >>> run = sg.simulate(sg.AsyncSGD(), problem, cluster, sg.optimizers.sgd(0.01), sg.Updates(2000))
        >>> sg.problems.weighted_optimum([0.0, 1.0], weights=[1 / 1, 1 / 10])  # where asynchronous SGD ends: at 1/11
        array([0.09090909])
        >>> abs(float(run.parameters[0]) - 1 / 11) < 0.01
        True
    """
    where, how_much = _checked(optima, curvatures)
    noise = checks.not_negative("noise", noise)
    optimum = tuple(weighted_optimum(where, how_much).tolist())
    problem = Problem(
        name=f"{len(where)} quadratics in {where.shape[1]} dimensions, noise {noise:g}",
        init=Zeros(where.shape[1]),
        loss=_OneOfThem(noise),
        data={"optimum": where, "curvature": how_much},
        batch_size=batch_size,
        metrics={"distance": DistanceTo(optimum)},
    )
    by = GivenShares([[worker] for worker in range(len(where))])
    return problem.partitioned(len(where), by, worker_losses=worker_losses)


def weighted_optimum(optima: Any, curvatures: Any = 1.0, weights: Sequence[float] | None = None) -> np.ndarray:
    """Return the optimum of Σ_i p_i f_i, (Σ p_i diag(h_i))⁻¹ Σ p_i diag(h_i) x_i, shape (dimensions,).

    With the same p_i for all it is that of `quadratics`; with p_i the rates at which the workers' gradients are used,
    in proportion to 1/job time for asynchronous SGD, it is where a method that ignores who sent what converges to.

    Args:
        optima, curvatures: the x_i and h_i, as in `quadratics`.
        weights: the p_i, shape (workers,), at least 0 and not all 0; by default all are the same.

    Raises:
        ValueError: as `quadratics`, or if the weights are not one for each worker, are below 0 or all 0.

    Example:
        >>> import simsgd as sg
        >>> sg.problems.weighted_optimum([0.0, 1.0], curvatures=[1.0, 3.0])
        array([0.75])
        >>> sg.problems.weighted_optimum([0.0, 1.0], weights=[10, 1])
        array([0.09090909])
    """
    where, how_much = _checked(optima, curvatures)
    p = np.ones(len(where)) if weights is None else np.asarray(weights, np.float64)
    if p.shape != (len(where),) or not np.isfinite(p).all() or (p < 0).any() or not p.any():
        raise ValueError(f"weights must be {len(where)} finite numbers of at least 0, not all 0, got {weights!r:.60}")
    optimum: np.ndarray = (p @ (how_much * where)) / (p @ how_much)
    return optimum


def _checked(optima: Any, curvatures: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return optima and curvatures as arrays (workers, dimensions) in float64."""
    where, how_much = np.array(optima, np.float64), np.asarray(curvatures, np.float64)
    if where.ndim not in (1, 2) or not where.size or not np.isfinite(where).all():
        raise ValueError(
            f"optima must be finite numbers of shape (workers, dimensions) or (workers,), got {checks.shown(optima)}"
        )
    try:
        how_much = np.broadcast_to(how_much, where.shape).copy()
    except ValueError:
        raise ValueError(f"curvatures must broadcast to the optima's shape {where.shape}, got {how_much.shape}") from None
    if not np.isfinite(how_much).all() or not (how_much > 0).all():
        raise ValueError(f"curvatures must be finite numbers above 0, got {checks.shown(curvatures)}")
    return where.reshape(len(where), -1), how_much.reshape(len(where), -1)


@dataclass(frozen=True)
class _OneOfThem:
    """The mean over a batch of ½ Σ_j h_j (w_j − x_j)², and ⟨noise·ξ, w⟩ where there is a key."""

    noise: float

    def __call__(self, w: jax.Array, batch: Batch, key: jax.Array | None) -> jax.Array:
        loss: jax.Array = 0.5 * jnp.mean(jnp.sum(batch["curvature"] * (w - batch["optimum"]) ** 2, axis=1))
        if not self.noise or key is None:
            return loss
        return loss + self.noise * jnp.mean(jax.random.normal(key, batch["optimum"].shape, w.dtype), axis=0) @ w
