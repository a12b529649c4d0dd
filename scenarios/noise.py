"""The gradient noise scale: up to about how many samples a larger batch makes a step worth more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

import simsgd as sg

type Parameters = sg.problems.Parameters

STEP_SIZE, BATCH_SIZE = 0.5, 256
"""Of the SGD that is measured along: near what the scenarios' tuning finds for this batch."""
SEEDS, MOST_UPDATES = 5, 2000


def about_noise(problem: sg.Problem, loss: float, batches: Mapping[str, Sequence[int]]) -> str:
    """Return whether synchronous steps, which average so many samples by the name of a rule, average more than pays."""
    near = f"Near a training loss of {loss:g} the gradient noise scale is {noise_scale_at(problem, loss):,.0f} samples"
    said = [f"{min(each):,} to {max(each):,} ({rule})" for rule, each in batches.items()]
    return f"{near}; a synchronous step averages {' or '.join(said)}."


def noise_scale_at(problem: sg.Problem, least_loss: float) -> float:
    """Return tr Σ / ‖G‖², samples, where SGD first has a training loss of at most so much; the median of its seeds.

    Σ is the covariance of a sample's gradient, G the mean gradient, both over all training samples. Not a number where a loss
    so small is not reached.

    Source: McCandlish et al. (2018), "An empirical model of large-batch training", equation 2.9 (the simple noise scale).
    """
    data = jax.tree.map(jnp.asarray, problem.data)
    count = len(jax.tree.leaves(data)[0])
    loss = jax.jit(lambda parameters: problem.loss(parameters, data))

    @jax.jit
    def step(parameters: Parameters, key: jax.Array) -> Parameters:
        chosen = jax.random.randint(key, (BATCH_SIZE,), 0, count)
        gradient = jax.grad(problem.loss)(parameters, jax.tree.map(lambda part: part[chosen], data))
        return jax.tree.map(lambda value, by: value - STEP_SIZE * by, parameters, gradient)

    def scale(seed: int) -> float:
        parameters, keys = problem.init(jax.random.key(seed)), jax.random.split(jax.random.key(seed), MOST_UPDATES)
        for key in keys:
            if loss(parameters) <= least_loss:
                return noise_scale(problem.loss, parameters, data)
            parameters = step(parameters, key)
        return np.nan

    return float(np.median([scale(seed) for seed in range(SEEDS)]))


def noise_scale(loss: Callable[..., jax.Array], parameters: Parameters, data: sg.problems.Batch) -> float:
    """Return tr Σ / ‖G‖², samples, for these parameters."""
    of_sample = jax.grad(lambda parameters, sample: loss(parameters, jax.tree.map(lambda part: part[None], sample)))
    leaves = jax.tree.leaves(jax.jit(jax.vmap(of_sample, (None, 0)))(parameters, data))
    gradients = np.concatenate([np.reshape(leaf, (len(leaf), -1)) for leaf in leaves], axis=1)
    mean = gradients.mean(axis=0)
    return float(((gradients - mean) ** 2).sum() / (len(gradients) - 1) / (mean @ mean))
