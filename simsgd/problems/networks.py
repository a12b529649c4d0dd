"""Small networks and what is measured of them: fully connected ones and convolutional ones.

Law of this module: functions stand at the top level or are data (frozen dataclasses), so problems made twice, here or in
another process, are equal and share compiled code.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax

from simsgd.problems.problem import Batch, Parameters


def network(parameters: Parameters, x: jax.Array) -> jax.Array:
    """Return the outputs (samples, classes) of a fully connected ReLU network; one layer is logistic regression.

    Args:
        parameters: a list of layers, each {"weights": (inputs, outputs), "biases": (outputs,)}.
        x: inputs, shape (samples, inputs).
    """
    for layer in parameters[:-1]:
        x = jax.nn.relu(x @ layer["weights"] + layer["biases"])
    last: dict[str, jax.Array] = parameters[-1]
    return x @ last["weights"] + last["biases"]


def cross_entropy(parameters: Parameters, batch: Batch) -> jax.Array:
    """Return the mean of −log P(label) over a batch {"x": (samples, inputs), "label": (samples,)}."""
    labels: jax.Array = batch["label"]
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(network(parameters, batch["x"]), labels))


def accuracy(parameters: Parameters, batch: Batch) -> jax.Array:
    """Return the share of a batch's samples whose largest output is their label's."""
    right: jax.Array = network(parameters, batch["x"]).argmax(-1) == batch["label"]
    return right.mean(dtype=batch["x"].dtype)


@dataclass(frozen=True)
class InitialNetwork:
    """He et al. (2015): weights normal with variance 2/inputs, biases 0."""

    widths: tuple[int, ...]

    def __call__(self, key: jax.Array) -> Parameters:
        """Return parameters as `network` takes them."""
        keys = jax.random.split(key, len(self.widths) - 1)
        return [
            {"weights": jax.random.normal(k, (a, b)) * np.sqrt(2 / a).astype(np.float32), "biases": jnp.zeros(b)}
            for k, a, b in zip(keys, self.widths[:-1], self.widths[1:], strict=True)
        ]


def convolutional(parameters: Parameters, x: jax.Array) -> jax.Array:
    """Return the outputs (samples, classes) of layers of 3×3 filters, each with a ReLU and 2×2 max pooling, and a linear one.

    Args:
        parameters: {"filters": a list of {"weights": (3, 3, inputs, filters), "biases": (filters,)}, "last": a linear layer as
            `network` takes it}.
        x: grey images as rows of pixels, shape (samples, side²).
    """
    side = round(x.shape[1] ** 0.5)
    x = x.reshape(len(x), side, side, 1)
    for layer in parameters["filters"]:
        x = jax.lax.conv_general_dilated(x, layer["weights"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax.nn.relu(x + layer["biases"])
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return network([parameters["last"]], x.reshape(len(x), -1))


def filters_cross_entropy(parameters: Parameters, batch: Batch) -> jax.Array:
    """As `cross_entropy`, of a convolutional network."""
    outputs = convolutional(parameters, batch["x"])
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(outputs, batch["label"]))


def filters_accuracy(parameters: Parameters, batch: Batch) -> jax.Array:
    """As `accuracy`, of a convolutional network."""
    right: jax.Array = convolutional(parameters, batch["x"]).argmax(-1) == batch["label"]
    return right.mean(dtype=batch["x"].dtype)


@dataclass(frozen=True)
class InitialFilters:
    """As `InitialNetwork`, of a convolutional network: weights normal with variance 2/inputs, biases 0."""

    filters: tuple[int, ...]
    side: int
    classes: int

    def __call__(self, key: jax.Array) -> Parameters:
        """Return parameters as `convolutional` takes them."""
        *keys, last = jax.random.split(key, len(self.filters) + 1)
        ends = zip(keys, (1, *self.filters), self.filters, strict=False)
        left = (self.side // 2 ** len(self.filters)) ** 2 * self.filters[-1]
        return {
            "filters": [
                {
                    "weights": jax.random.normal(k, (3, 3, a, b)) * np.sqrt(2 / (9 * a)).astype(np.float32),
                    "biases": jnp.zeros(b),
                }
                for k, a, b in ends
            ],
            "last": InitialNetwork((left, self.classes))(last)[0],
        }
