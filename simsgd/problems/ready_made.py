"""Ready-made problems: handwritten digits, and a noisy quadratic whose every number is known.

Law of this module: their functions are data (frozen dataclasses) or stand at the top level, so problems made twice, here or in
another process, are equal and share compiled code.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from simsgd.problems.making import remembered
from simsgd.problems.networks import (
    InitialFilters,
    InitialNetwork,
    accuracy,
    cross_entropy,
    filters_accuracy,
    filters_cross_entropy,
)
from simsgd.problems.problem import Metric, Problem
from simsgd.problems.vectors import Zeros
from simsgd.stopping import Target
from simsgd.support import checks, rng


@functools.lru_cache(maxsize=8)
@remembered
def digits(model: str = "mlp", hidden: int = 32, batch_size: int = 32) -> Problem:
    """Handwritten digits (scikit-learn's, 8×8 pixels): 1,437 training and 360 test samples, ten classes.

    Args:
        model: "mlp", one hidden ReLU layer; "logistic", none (which makes the loss convex); or "convolutional", two layers of
            3×3 filters, each followed by a ReLU and 2×2 max pooling, and a linear one.
        hidden: width of the hidden layer of the "mlp"; filters of the second layer of the "convolutional", the first has half.
        batch_size: samples in one worker's batch.

    Metrics: "loss", "test_loss" (mean cross-entropy, nats) and "accuracy" (on the test samples). Target: accuracy ≥ 0.9.

    Raises:
        ValueError: if `model` is unknown, or `hidden` or `batch_size` not a whole number of at least 1.

    Source: Alpaydin and Kaynak (1998), "Optical recognition of handwritten digits", as shipped with scikit-learn.

    Example:
        >>> import simsgd as sg
        >>> sg.problems.digits().parameter_count
        2410
        >>> sg.problems.digits("logistic").parameter_count
        650
        >>> sg.problems.digits("convolutional").parameter_count
        6090
    """
    from sklearn.datasets import load_digits

    checks.one_of("model", model, ("mlp", "logistic", "convolutional"))
    checks.whole("hidden", hidden, 1)
    pixels, labels = load_digits(return_X_y=True)
    order = rng.stream(0, "digits: split").permutation(len(labels))
    data = {"x": (pixels[order] / 16).astype(np.float32), "label": labels[order].astype(np.int32)}
    init, loss, right, size = _model(model, hidden)
    return Problem(
        name=f"digits, {model}{size}",
        init=init,
        loss=loss,
        data=jax.tree.map(lambda a: a[:1437], data),
        test_data=jax.tree.map(lambda a: a[1437:], data),
        batch_size=batch_size,
        metrics={"accuracy": right},
        target=Target("accuracy", at_least=0.9),
    )


def _model(model: str, hidden: int) -> tuple[Callable[..., Any], Metric, Metric, str]:
    """Return a model's beginning, loss and accuracy, and what its size is called."""
    if model == "convolutional":
        filters = (hidden + 1) // 2, hidden
        return InitialFilters(filters, side=8, classes=10), filters_cross_entropy, filters_accuracy, f" with {hidden} filters"
    widths = (64, hidden, 10) if model == "mlp" else (64, 10)
    return InitialNetwork(widths), cross_entropy, accuracy, f" with {hidden} hidden units" if model == "mlp" else ""


@remembered
def quadratic(
    spectrum: Sequence[float] = (1.0, 0.3, 0.1), noise: float = 0.0, samples: int = 1024, batch_size: int = 1
) -> Problem:
    """A noisy quadratic with a known optimum: f(w) = ½ Σ_j h_j (w_j − 1)², starting at w = 0.

    Sample i has the gradient h⊙(w − 1) + noise·ξ_i, where the ξ_i are standard normal draws (the same in every run)
    shifted so that their mean over the samples is zero; so "loss" over all samples is f(w), and its least value is 0.

    Args:
        spectrum: the curvatures h_j, each above 0; as many as the problem has dimensions.
        noise: standard deviation of each component of a single sample's gradient, at least 0.
        samples: how many samples there are; without noise one is enough and only one is made.
        batch_size: samples in one worker's batch.

    Metrics: "loss", f(w), and "distance", ‖w − 1‖.

    Raises:
        TypeError: if `spectrum` is not a sequence. ValueError: if a number is outside its range.

    Example:
        >>> import simsgd as sg
        >>> sg.problems.quadratic(spectrum=(2.0, 1.0), noise=0.1).parameter_count
        2
    """
    spectrum = checks.sequence("spectrum", spectrum, "(1.0, 0.3, 0.1)")
    if not spectrum:
        raise ValueError("spectrum must hold at least one curvature above 0, got none")
    curvatures = tuple(checks.positive(f"spectrum[{j}]", h) for j, h in enumerate(spectrum))
    return _quadratic(curvatures, checks.not_negative("noise", noise), checks.whole("samples", samples, 2), batch_size)


@functools.lru_cache(maxsize=64)
def _quadratic(spectrum: tuple[float, ...], noise: float, samples: int, batch_size: int) -> Problem:
    """Make each quadratic once, as long as few of them are in use."""
    draws = rng.stream(0, "quadratic: noise").standard_normal((samples, len(spectrum)))
    centred = noise * (draws - draws.mean(axis=0)) if noise else np.zeros((1, len(spectrum)))
    return Problem(
        name=f"quadratic in {len(spectrum)} dimensions, noise {noise:g}",
        init=Zeros(len(spectrum)),
        loss=_Quadratic(spectrum),
        data=centred,
        batch_size=batch_size,
        metrics={"distance": _distance},
    )


@dataclass(frozen=True)
class _Quadratic:
    """½ Σ_j h_j (w_j − 1)² and the mean of the samples' noise."""

    spectrum: tuple[float, ...]

    def __call__(self, w: jax.Array, batch: jax.Array) -> jax.Array:
        off = w - 1
        curvatures = jnp.asarray(np.array(self.spectrum), w.dtype)
        return jnp.sum(0.5 * curvatures * off**2) + jnp.mean(batch @ off)


def _distance(w: jax.Array, batch: jax.Array) -> jax.Array:
    distance: jax.Array = jnp.linalg.norm(w - 1)
    return distance
