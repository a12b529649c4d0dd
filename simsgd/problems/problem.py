"""A learning problem: parameters, a loss, data, and who has which of them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from simsgd.problems import checking
from simsgd.problems.divisions import Division, EqualShares
from simsgd.problems.drawing import Shares
from simsgd.problems.partitions import Partition, partition
from simsgd.problems.settings import settings
from simsgd.stopping import Target
from simsgd.support import checks, forked, rng, show

RESERVED = frozenset(
    (
        *("loss", "test_loss", "time", "updates", "samples", "bytes", "gradients", "discarded_gradients", "parameters"),
        *("staleness", "mean_staleness", "computing", "sending", "queueing", "waiting", "down"),
        *(
            "evaluation",
            "worker",
            "worker_loss",
            "quantile",
            "parameter",
            "row",
            "update",
            "update_time",
            "discarded",
            "in_flight",
            "down_spell",
            "tie",
        ),
    )
)
"""Names that a run uses for other things than a problem's own metrics."""

LOG_COLUMNS = ("row_", "discarded_", "in_flight_", "down_spell_", "tie_")
"""How the columns of its tape are called begins so."""

Parameters = Any
Batch = Any
Metric = Callable[[Parameters, Batch], jax.Array]


@dataclass(frozen=True, eq=False, repr=False)
class Problem:
    """A learning problem: minimise the mean of `loss` over the samples of `data`.

    Args:
        name: what summaries and figures call it.
        init: `init(key) -> parameters`, a pytree of floating-point arrays.
        loss: `loss(parameters, batch) -> scalar`, the batch's mean loss, or `loss(parameters, batch, key)` of one that draws
            random numbers, known by a third argument that must be given or is called key: each step of a job has a key of its
            own, and where the model is evaluated key is None. A function defined once (at a module's top level) lets runs
            share one compiled player, and problems be sent to other processes (as do frozen dataclasses that can be called;
            lambdas cannot be pickled).
        data: a pytree of arrays whose first axis counts the samples; a batch is the same pytree with `batch_size` of them.
        batch_size: samples in one worker's batch, at least 1.
        test_data: held-out samples in the form of `data`; without them metrics are evaluated on `data`.
        metrics: further functions of (parameters, data), by name, evaluated on the held-out samples. Every problem has
            "loss", the mean over the training samples, and "test_loss" where there are test data.
        target: what summaries count the way to, for example `Target("accuracy", at_least=0.9)`.
        partition: who has which samples; `partitioned` makes it. Without one every worker draws from all of them.

    Raises:
        TypeError: if `init`, `loss` or a metric is no function of its arguments, `init` returns other things than arrays, or
            `target` is no `Target`.
        ValueError: if the loss is not a scalar, parameters are not floating-point, data are empty, of unequal length or not
            finite, the test data have another form than the data, or the target's metric is unknown.

    Example:
        >>> import jax.numpy as jnp, numpy as np, simsgd as sg
        >>> def init(key):
        ...     return jnp.zeros(3)
        >>> def loss(parameters, batch):
        ...     return jnp.mean((batch["x"] @ parameters - batch["y"]) ** 2)
        >>> x = np.random.default_rng(0).normal(size=(100, 3))
        >>> problem = sg.Problem("line", init, loss, data={"x": x, "y": x @ [1.0, 2.0, 3.0]})
        >>> problem.message_bytes
        12
    """

    name: str
    init: Callable[[jax.Array], Parameters]
    loss: Callable[..., jax.Array]
    data: Batch
    batch_size: int = 32
    test_data: Batch | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    target: Target | None = None
    partition: Partition | None = None
    made_by: ClassVar[str | None] = None
    """The call that made it, such as "sg.problems.digits()", or None where it is not known; for a reader, and no part of it."""

    def __post_init__(self) -> None:
        forked.check()
        checks.store(self, batch_size=checks.whole("Problem.batch_size", self.batch_size, 1))
        if not isinstance(self.name, str):
            raise TypeError(f"Problem.name must be a text, got {self.name!r:.60}: the order is name, init, loss, data")
        checking.check_function("init", self.init, "one argument, a random key, such as lambda key: jnp.zeros(3)", 1)
        checking.check_loss(self.loss)
        self._check_metrics()
        if self.target is not None:
            checks.instance("Problem.target", self.target, Target, 'Target("accuracy", at_least=0.9)')
        object.__setattr__(self, "data", checking.checked_data("Problem.data", self.data))
        if self.partition is not None:
            checks.instance("Problem.partition", self.partition, Partition, "that of problem.partitioned(8)")
            self.partition.check(self.samples, self.batch_size)
        if self.test_data is not None:
            object.__setattr__(self, "test_data", checking.checked_data("Problem.test_data", self.test_data))
            checking.check_alike(self.data, self.test_data)
        with settings("float32"):
            self._check_functions()

    def _check_functions(self) -> None:
        """Call them with shapes alone, and raise TypeError or ValueError if they don't fit one another."""
        parameters = self._shapes
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
        if self.loss_draws:
            checking.check_drawing(self.loss, parameters, batch)
        else:
            checking.check_scalar("loss", jax.eval_shape(self.loss, parameters, batch))
        for name, metric in self.metrics.items():
            checking.check_scalar(name, jax.eval_shape(metric, parameters, batch))
        if self.target is not None:
            checks.one_of("Problem.target.metric", self.target.metric, self.metric_names)

    def _check_metrics(self) -> None:
        if not isinstance(self.metrics, Mapping):
            raise TypeError(
                'Problem.metrics must be a mapping from names to functions such as {"accuracy": accuracy}, '
                f"got {self.metrics!r:.60}"
            )
        for name, metric in self.metrics.items():
            if not isinstance(name, str) or not name.isidentifier() or name in RESERVED or name.startswith(LOG_COLUMNS):
                raise ValueError(
                    f"Problem.metrics must have names like variables', other than those a run uses itself "
                    f"({', '.join(sorted(RESERVED))}), got {name!r}"
                )
            checking.check_function(f"metrics[{name!r}]", metric, "the parameters and the data", 2)

    def _batch_of(self, leaf: np.ndarray) -> jax.ShapeDtypeStruct:
        dtype = np.float32 if leaf.dtype.kind == "f" else jax.dtypes.canonicalize_dtype(leaf.dtype)
        return jax.ShapeDtypeStruct((self.batch_size, *leaf.shape[1:]), dtype)  # type: ignore[no-untyped-call,unused-ignore]

    def __eq__(self, other: object) -> bool:
        """Problems are equal when their functions are, and their data to the bit: then they share compiled code."""
        if self is other or not isinstance(other, Problem):
            return self is other
        rest = [field.name for field in fields(self) if field.name not in ("data", "test_data")]
        return (
            all(getattr(self, name) == getattr(other, name) for name in rest)
            and checking.same_arrays(self.data, other.data)
            and checking.same_arrays(self.test_data, other.test_data)
        )

    def __hash__(self) -> int:
        return hash((self.name, self.batch_size, self.samples))

    def __repr__(self) -> str:
        return f"Problem({', '.join(f'{name} {text}' if name != 'problem' else text for name, text in self._rows())})"

    def _repr_html_(self) -> str:
        return show.in_html(self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        tests = "" if self.test_data is None else f" and {len(jax.tree.leaves(self.test_data)[0]):,} for tests"
        return [
            ("problem", self.name),
            ("parameters", f"{self.parameter_count:,}"),
            ("samples", f"{self.samples:,}{tests}"),
            ("batch size", str(self.batch_size)),
            *([("shares", str(self.partition))] if self.partition else []),
            ("metrics", " ".join(self.metric_names)),
            *([("target", str(self.target))] if self.target else []),
        ]

    @functools.cached_property
    def loss_draws(self) -> bool:
        """Whether the loss draws random numbers: it is called as loss(parameters, batch, key), with key None to evaluate."""
        return checking.takes_key(self.loss)

    @property
    def shares(self) -> Shares | None:
        """Which samples each worker has, as NumPy arrays; None where every worker draws from all of them."""
        return None if self.partition is None else self.partition.shares

    @property
    def replacement(self) -> bool:
        """Whether a worker draws from its share with replacement, or goes through it in shuffled epochs."""
        return self.partition is None or self.partition.replacement

    @property
    def worker_losses(self) -> bool:
        """Whether the loss over each worker's own share is evaluated too."""
        return self.partition is not None and self.partition.worker_losses

    def partitioned(
        self, workers: int, by: Division | None = None, replacement: bool = True, worker_losses: bool = False
    ) -> Problem:
        """Return the problem with its training samples divided between workers: a job draws from its worker's own share.

        The loss that is evaluated stays the mean over all samples.

        Args:
            workers: how many workers; the cluster must have as many.
            by: how the samples are divided, such as `problems.LabelSkew(alpha=0.1)`; by default `problems.EqualShares()`.
            replacement: whether batches are drawn from the share with replacement; otherwise each worker goes through its
                share in shuffled epochs, and a batch at their border holds the end of one and the beginning of the next.
            worker_losses: whether the mean loss over each worker's share is evaluated too, sample by sample.

        Raises:
            TypeError: if `by` is no `Division`, or a switch is not True or False.
            ValueError: if a worker would have no sample, or the shares do not fit the workers or the samples.

        Example:
            >>> import simsgd as sg
            >>> problem = sg.problems.digits().partitioned(4, by=sg.problems.LabelsPerWorker(3), replacement=False)
            >>> problem.shares.sizes.sum()
            np.int64(1437)
            >>> problem.check_workers(4)  # as whatever plays it with a cluster does
        """
        way = EqualShares() if by is None else by
        made = partition(self.data, self.samples, self.batch_size, workers, way, replacement, worker_losses)
        problem = dataclasses.replace(self, partition=made)
        if self.made_by is not None:
            told = f"{workers}, by=sg.problems.{way!r}, replacement={replacement}, worker_losses={worker_losses}"
            object.__setattr__(problem, "made_by", f"{self.made_by}.partitioned({told})")
        return problem

    def check_workers(self, workers: int) -> None:
        """Raise ValueError unless the problem can be learned by so many workers: by any number, if it is not partitioned."""
        if self.partition is not None and self.partition.workers != workers:
            raise ValueError(
                f"problem is partitioned between {self.partition.workers} workers, and the cluster has {workers}: use "
                f"problem.partitioned({workers}, by={self.partition.by!r}), or a cluster of {self.partition.workers} workers"
            )

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
        return sum(leaf.size for leaf in jax.tree.leaves(self._shapes))

    @functools.cached_property
    def _shapes(self) -> Parameters:
        """The parameters as shapes."""
        with settings("float32"):
            return checking.shapes_of_parameters(self.init)

    @property
    def message_bytes(self) -> int:
        """Bytes of the model, and of a gradient, in float32: 4 for each parameter."""
        return self.message_bytes_in("float32")

    @functools.cached_property
    def message_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the parameters' arrays, and so of a message's, in JAX's order of leaves."""
        return tuple(tuple(leaf.shape) for leaf in jax.tree.leaves(self._shapes))

    def message_bytes_in(self, dtype: str) -> int:
        """Return the bytes of the model, and of a gradient, in "float32" or "float64"."""
        return self.parameter_count * np.dtype(dtype).itemsize

    def start(self, seed: int, dtype: str) -> Parameters:
        """Return version 0 of the parameters for a seed, in `dtype`."""
        forked.check()
        with settings("float32"):
            parameters = self.init(
                jax.random.wrap_key_data(jnp.asarray(rng.key_words(seed, "parameters")), impl="threefry2x32")
            )
        with settings(dtype):
            return jax.tree.map(lambda leaf: jnp.array(np.asarray(leaf), dtype), parameters)

    def arrays(self, dtype: str) -> tuple[Batch, Batch | None]:
        """Return the training and the test data on JAX's device, floating-point ones in `dtype`."""
        forked.check()

        def put(leaf: np.ndarray) -> jax.Array:
            return jnp.asarray(leaf, dtype if np.issubdtype(leaf.dtype, np.floating) else None)

        with settings(dtype):
            return jax.tree.map(put, self.data), jax.tree.map(put, self.test_data)

    def unravel(self, vector: np.ndarray) -> Parameters:
        """Return the pytree of parameters whose numbers are `vector`, shape (parameter_count,), as `Run` keeps them."""
        shapes, structure = jax.tree.flatten(self._shapes)
        parts = np.split(np.asarray(vector), np.cumsum([leaf.size for leaf in shapes])[:-1])
        return jax.tree.unflatten(structure, [part.reshape(leaf.shape) for part, leaf in zip(parts, shapes, strict=True)])
