"""What is learned: parameters, a loss, data. Any JAX pytree model fits.

Laws of this module:

1. A problem knows nothing of workers or time. A job's batch is drawn from the data by key, with replacement, by `draw`.
2. Data are NumPy arrays in the same order for ever: the split into training and test data never depends on a run's seed.
3. Parameters start from `init(key)` in float32 and are then cast, so that float64 starts at the same point.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from simsgd.stopping import Target
from simsgd.support import checks, rng

RESERVED = frozenset(
    (
        *("loss", "test_loss", "time", "updates", "samples", "bytes", "gradients", "discarded_gradients", "parameters"),
        *("staleness", "mean_staleness", "computing", "sending", "queueing", "waiting", "down"),
        *(
            "evaluation",
            "worker",
            "quantile",
            "parameter",
            "row",
            "update",
            "update_time",
            "discarded",
            "in_flight",
            "down_spell",
        ),
    )
)
"""Names that a run uses for other things than a problem's own metrics."""

LOG_COLUMNS = ("row_", "discarded_", "in_flight_", "down_spell_")
"""How the columns of its tape are called begins so."""

Parameters = Any
Batch = Any
Metric = Callable[[Parameters, Batch], jax.Array]


@dataclass(frozen=True, eq=False)
class Problem:
    """A learning problem: minimise the mean of `loss` over the samples of `data`.

    Args:
        name: what summaries and figures call it.
        init: `init(key) -> parameters`, a pytree of floating-point arrays.
        loss: `loss(parameters, batch) -> scalar`, the batch's mean loss; a function defined once (at a module's top level)
            lets runs share one compiled player.
        data: a pytree of arrays whose first axis counts the samples; a batch is the same pytree with `batch_size` of them.
        batch_size: samples in one worker's batch, at least 1.
        test_data: held-out samples in the form of `data`; without them metrics are evaluated on `data`.
        metrics: further functions of (parameters, data), by name, evaluated on the held-out samples. Every problem has
            "loss", the mean over the training samples, and "test_loss" where there are test data.
        target: what summaries count the way to, for example `Target("accuracy", at_least=0.9)`.

    Raises:
        ValueError: if the loss is not a scalar, parameters are not floating-point, data are empty, of unequal length or not
            finite, or the target's metric is unknown.

    Example:
        >>> import jax.numpy as jnp, numpy as np, simsgd as sg
        >>> def loss(parameters, batch):
        ...     return jnp.mean((batch["x"] @ parameters - batch["y"]) ** 2)
        >>> x = np.random.default_rng(0).normal(size=(100, 3))
        >>> problem = sg.Problem("line", init=lambda key: jnp.zeros(3), loss=loss, data={"x": x, "y": x @ [1.0, 2.0, 3.0]})
        >>> problem.message_bytes
        12
    """

    name: str
    init: Callable[[jax.Array], Parameters]
    loss: Metric
    data: Batch
    batch_size: int = 32
    test_data: Batch | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    target: Target | None = None

    def __post_init__(self) -> None:
        checks.store(self, batch_size=checks.whole("Problem.batch_size", self.batch_size, 1))
        for name in self.metrics:
            if not isinstance(name, str) or not name.isidentifier() or name in RESERVED or name.startswith(LOG_COLUMNS):
                raise ValueError(
                    f"Problem.metrics must have names like variables', other than those a run uses itself "
                    f"({', '.join(sorted(RESERVED))}), got {name!r}"
                )
        object.__setattr__(self, "data", _checked_data("Problem.data", self.data))
        if self.test_data is not None:
            object.__setattr__(self, "test_data", _checked_data("Problem.test_data", self.test_data))
        parameters = jax.eval_shape(self.init, jax.random.key(0))
        if not jax.tree.leaves(parameters):
            raise ValueError("Problem.init must return at least one parameter array, got an empty pytree")
        for path, leaf in jax.tree.leaves_with_path(parameters):
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                where = jax.tree_util.keystr(path) or "it"
                raise ValueError(
                    f"Problem.init must return floating-point parameters, but {where} is {leaf.dtype}: use for example "
                    "jnp.zeros(3) or .astype(jnp.float32)"
                )
        batch = jax.tree.map(self._batch_of, self.data)
        for name, metric in {"loss": self.loss, **self.metrics}.items():
            _check_scalar(name, jax.eval_shape(metric, parameters, batch))
        if self.target is not None:
            checks.one_of("Problem.target.metric", self.target.metric, self.metric_names)

    def _batch_of(self, leaf: np.ndarray) -> jax.ShapeDtypeStruct:
        dtype = np.float32 if leaf.dtype.kind == "f" else jax.dtypes.canonicalize_dtype(leaf.dtype)
        return jax.ShapeDtypeStruct((self.batch_size, *leaf.shape[1:]), dtype)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The names of what is evaluated: "loss", "test_loss" where there are test data, and those of `metrics`."""
        return ("loss", *(("test_loss",) if self.test_data is not None else ()), *self.metrics)

    @property
    def samples(self) -> int:
        """How many training samples there are."""
        return len(jax.tree.leaves(self.data)[0])

    @functools.cached_property
    def parameter_count(self) -> int:
        """How many numbers the model has."""
        return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(self.init, jax.random.key(0))))

    @property
    def message_bytes(self) -> int:
        """Bytes of the model, and of a gradient, in float32: 4 for each parameter."""
        return self.message_bytes_in("float32")

    def message_bytes_in(self, dtype: str) -> int:
        """Return the bytes of the model, and of a gradient, in "float32" or "float64"."""
        return self.parameter_count * np.dtype(dtype).itemsize

    def start(self, seed: int, dtype: str) -> Parameters:
        """Return version 0 of the parameters for a seed, in `dtype`."""
        with jax.enable_x64(False), jax.threefry_partitionable(True):
            parameters = self.init(
                jax.random.wrap_key_data(jnp.asarray(rng.key_words(seed, "parameters")), impl="threefry2x32")
            )
        with jax.enable_x64(dtype == "float64"):
            return jax.tree.map(lambda leaf: jnp.array(np.asarray(leaf), dtype), parameters)

    def arrays(self, dtype: str) -> tuple[Batch, Batch | None]:
        """Return the training and the test data on JAX's device, floating-point ones in `dtype`."""

        def put(leaf: np.ndarray) -> jax.Array:
            return jnp.asarray(leaf, dtype if np.issubdtype(leaf.dtype, np.floating) else None)

        with jax.enable_x64(dtype == "float64"):
            return jax.tree.map(put, (self.data, self.test_data))

    def unravel(self, vector: np.ndarray) -> Parameters:
        """Return the pytree of parameters whose numbers are `vector`, shape (parameter_count,), as `Run` keeps them."""
        shapes, structure = jax.tree.flatten(jax.eval_shape(self.init, jax.random.key(0)))
        parts = np.split(np.asarray(vector), np.cumsum([leaf.size for leaf in shapes])[:-1])
        return jax.tree.unflatten(structure, [part.reshape(leaf.shape) for part, leaf in zip(parts, shapes, strict=True)])


def draw(key: jax.Array, worker: jax.Array, job: jax.Array, batch_size: int, samples: int) -> jax.Array:
    """Return which samples, shape (batch_size,), int32, a worker's job uses: uniform, with replacement, by key.

    The key is folded with the worker, then with the job, so the batch depends on nothing else: not on the method, the
    timing or the order of arrival.
    """
    job_key = jax.random.fold_in(jax.random.fold_in(key, worker), job)
    return jax.random.randint(job_key, (batch_size,), 0, samples, jnp.int32)


def _checked_data(name: str, data: Batch) -> Batch:
    """Return the data as NumPy arrays, or raise ValueError."""
    arrays = jax.tree.map(np.array, data)  # copies: what the caller does with the originals later changes no result
    leaves = jax.tree.leaves(arrays)
    lengths = {leaf.shape[0] if leaf.ndim else 0 for leaf in leaves}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"{name} must be arrays with one common, non-zero number of samples first, got {sorted(lengths)}")
    for path, leaf in jax.tree.leaves_with_path(arrays):
        if leaf.dtype.kind not in "fiub":
            raise ValueError(f"{name}{jax.tree_util.keystr(path)} must hold numbers, got {leaf.dtype}")
        if leaf.dtype.kind in "iu" and np.abs(leaf.astype(float)).max() >= 2**31:
            raise ValueError(f"{name}{jax.tree_util.keystr(path)} must fit 32-bit integers: use floating-point data for larger")
        if leaf.dtype.kind == "f" and not np.isfinite(leaf).all():
            raise ValueError(f"{name}{jax.tree_util.keystr(path)} must be finite, but holds NaN or infinity: drop such samples")
    return arrays


def _check_scalar(name: str, result: Any) -> None:
    shape, dtype = getattr(result, "shape", None), getattr(result, "dtype", None)
    if shape != () or dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"Problem's {name} must return one floating-point number, got "
            + (f"shape {shape} of {dtype}" if dtype is not None else repr(result))
            + ": take the batch's mean, for example with jnp.mean"
        )


# --- ready-made problems -------------------------------------------------------------------------------------------------


def network(parameters: Parameters, x: jax.Array) -> jax.Array:
    """Return the outputs (samples, classes) of a fully connected ReLU network; one layer is logistic regression.

    Args:
        parameters: a list of layers, each {"weights": (inputs, outputs), "biases": (outputs,)}.
        x: inputs, shape (samples, inputs).
    """
    for layer in parameters[:-1]:
        x = jax.nn.relu(x @ layer["weights"] + layer["biases"])
    return x @ parameters[-1]["weights"] + parameters[-1]["biases"]


def cross_entropy(parameters: Parameters, batch: Batch) -> jax.Array:
    """Return the mean of −log P(label) over a batch {"x": (samples, inputs), "label": (samples,)}."""
    return optax.softmax_cross_entropy_with_integer_labels(network(parameters, batch["x"]), batch["label"]).mean()


def accuracy(parameters: Parameters, batch: Batch) -> jax.Array:
    """Return the share of a batch's samples whose largest output is their label's."""
    return (network(parameters, batch["x"]).argmax(-1) == batch["label"]).mean(dtype=batch["x"].dtype)


@functools.cache
def digits(model: str = "mlp", hidden: int = 32, batch_size: int = 32) -> Problem:
    """Handwritten digits (scikit-learn's, 8×8 pixels): 1,437 training and 360 test samples, ten classes.

    Args:
        model: "mlp", one hidden ReLU layer, or "logistic", none (which makes the loss convex).
        hidden: width of the hidden layer of the "mlp".
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
    """
    from sklearn.datasets import load_digits

    checks.one_of("model", model, ("mlp", "logistic"))
    checks.whole("hidden", hidden, 1)
    pixels, labels = load_digits(return_X_y=True)
    order = rng.stream(0, "digits: split").permutation(len(labels))
    data = {"x": (pixels[order] / 16).astype(np.float32), "label": labels[order].astype(np.int32)}
    widths = (64, hidden, 10) if model == "mlp" else (64, 10)
    return Problem(
        name=f"digits, {model}" + (f" with {hidden} hidden units" if model == "mlp" else ""),
        init=functools.partial(_init_network, widths),
        loss=cross_entropy,
        data=jax.tree.map(lambda a: a[:1437], data),
        test_data=jax.tree.map(lambda a: a[1437:], data),
        batch_size=batch_size,
        metrics={"accuracy": accuracy},
        target=Target("accuracy", at_least=0.9),
    )


def _init_network(widths: Sequence[int], key: jax.Array) -> Parameters:
    """He et al. (2015): weights normal with variance 2/inputs, biases 0."""
    keys = jax.random.split(key, len(widths) - 1)
    return [
        {"weights": jax.random.normal(k, (a, b)) * np.sqrt(2 / a).astype(np.float32), "biases": jnp.zeros(b)}
        for k, a, b in zip(keys, widths[:-1], widths[1:], strict=True)
    ]


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


@functools.cache
def _quadratic(spectrum: tuple[float, ...], noise: float, samples: int, batch_size: int) -> Problem:
    """Make each quadratic once, so that runs share a compiled player."""
    curvatures = np.array(spectrum)
    draws = rng.stream(0, "quadratic: noise").standard_normal((samples, len(curvatures)))
    centred = noise * (draws - draws.mean(axis=0)) if noise else np.zeros((1, len(curvatures)))

    def loss(w: jax.Array, batch: jax.Array) -> jax.Array:
        off = w - 1
        return jnp.sum(0.5 * jnp.asarray(curvatures, w.dtype) * off**2) + jnp.mean(batch @ off)

    return Problem(
        name=f"quadratic in {len(curvatures)} dimensions, noise {noise:g}",
        init=lambda key: jnp.zeros(len(curvatures)),
        loss=loss,
        data=centred,
        batch_size=batch_size,
        metrics={"distance": lambda w, batch: jnp.linalg.norm(w - 1)},
    )
