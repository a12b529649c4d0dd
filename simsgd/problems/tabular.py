"""The small tables that ship with scikit-learn: iris, wine, breast cancer (classes), diabetes (a number)."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from simsgd.problems.making import remembered
from simsgd.problems.networks import InitialNetwork, accuracy, cross_entropy, network
from simsgd.problems.problem import Batch, Parameters, Problem
from simsgd.stopping import Target
from simsgd.support import checks, rng

NAMES = ("iris", "wine", "breast cancer", "diabetes")
TESTS = 5
"""One sample of so many is held out."""


@functools.lru_cache(maxsize=8)
@remembered
def tabular(name: str, hidden: int = 0, batch_size: int = 16) -> Problem:
    """A small table that ships with scikit-learn, learned by a linear model or a network with one hidden layer.

    | name | samples | columns | what is predicted | loss | metric |
    |---|---|---|---|---|---|
    | "iris" | 150 | 4 | one of 3 species | cross-entropy | accuracy |
    | "wine" | 178 | 13 | one of 3 growers | cross-entropy | accuracy |
    | "breast cancer" | 569 | 30 | one of 2 findings | cross-entropy | accuracy |
    | "diabetes" | 442 | 10 | a measure of progression | ½ mean square | explained |

    A fifth of the samples is held out, the same in every run. Columns, and the measure, are scaled to mean 0 and standard
    deviation 1 on the training samples.

    Args:
        name: one of those above.
        hidden: ReLU units; 0 is the linear model, whose loss is convex.
        batch_size: samples in one worker's batch.

    Metrics: "loss", "test_loss", and on the held-out samples "accuracy", or "explained", the explained part of the variance,
    1 − mean squared error/variance. Target: accuracy ≥ 0.9, or explained ≥ 0.4.

    Raises:
        ValueError: if `name` is unknown, `hidden` not a whole number of at least 0, or `batch_size` of at least 1.

    Source: scikit-learn's "Toy datasets", which names those who collected them.

    Example:
        >>> import simsgd as sg
        >>> problem = sg.problems.tabular("iris")
        >>> problem.samples, problem.parameter_count
        (120, 15)
    """
    from sklearn import datasets

    checks.one_of("name", name, NAMES)
    checks.whole("hidden", hidden, 0)
    x, y = getattr(datasets, f"load_{name.replace(' ', '_')}")(return_X_y=True)
    order = rng.stream(0, f"{name}: split").permutation(len(x))
    x, y, train = x[order], y[order], len(x) - len(x) // TESTS
    x = _scaled(x, train)
    numbers = name == "diabetes"
    data = {"x": x, "y": _scaled(y, train)} if numbers else {"x": x, "label": y.astype(np.int32)}
    outputs = 1 if numbers else int(y.max()) + 1
    return Problem(
        name=name + (f", mlp with {hidden} hidden units" if hidden else ", linear"),
        init=InitialNetwork((x.shape[1], *([hidden] if hidden else []), outputs)),
        loss=_half_mean_square if numbers else cross_entropy,
        data=jax.tree.map(lambda a: a[:train], data),
        test_data=jax.tree.map(lambda a: a[train:], data),
        batch_size=batch_size,
        metrics={"explained": _explained} if numbers else {"accuracy": accuracy},
        target=Target("explained", at_least=0.4) if numbers else Target("accuracy", at_least=0.9),
    )


def _scaled(columns: np.ndarray, train: int) -> np.ndarray:
    """Return columns with mean 0 and standard deviation 1 over the first `train` rows."""
    known = columns[:train]
    scaled: np.ndarray = ((columns - known.mean(axis=0)) / known.std(axis=0)).astype(np.float32)
    return scaled


def _half_mean_square(parameters: Parameters, batch: Batch) -> jax.Array:
    return 0.5 * jnp.mean((network(parameters, batch["x"])[:, 0] - batch["y"]) ** 2)


def _explained(parameters: Parameters, batch: Batch) -> jax.Array:
    explained: jax.Array = 1 - 2 * _half_mean_square(parameters, batch) / jnp.var(batch["y"])
    return explained
