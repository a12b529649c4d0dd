"""Models of flax (linen and nnx) and equinox as problems: their arrays are the parameters, the loss puts them together again.

flax and equinox are extras, imported where they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from simsgd.problems import checking
from simsgd.problems.problem import Batch, Parameters, Problem
from simsgd.problems.settings import settings


def from_flax(
    name: str,
    model: Any,
    loss: Callable[..., jax.Array],
    data: Batch,
    *,
    inputs: str | None = "x",
    metrics: Mapping[str, Callable[..., jax.Array]] | None = None,
    **parts: Any,
) -> Problem:
    """Return the problem of learning a flax model.

    Args:
        name: what summaries and figures call it.
        model: a linen module, or a function of `nnx.Rngs` that makes an nnx module, such as the module's class.
        loss: `loss(model, batch)`, the batch's mean loss, where `model(batch["x"])` are the model's outputs; or
            `loss(model, batch, key)` of one that draws.
        data: as in `Problem`.
        inputs: which of the data a linen module is called with; None if the data are one array. nnx does not need it.
        metrics: further functions of (model, data), by name.
        parts: what else `Problem` takes: batch_size, test_data, target.

    Raises:
        ImportError: if flax is not installed.
        TypeError, ValueError: if the model has other state than parameters, such as running means or dropout's keys, and as
            `Problem`.

    Example:
        >>> import jax.numpy as jnp, numpy as np, simsgd as sg
        >>> from flax import nnx
        >>> def line(rngs):
        ...     return nnx.Linear(3, 1, rngs=rngs)
        >>> def loss(model, batch):
        ...     return jnp.mean((model(batch["x"])[:, 0] - batch["y"]) ** 2)
        >>> x = np.random.default_rng(0).normal(size=(100, 3))
        >>> data = {"x": x, "y": x @ [1.0, 2.0, 3.0]}
        >>> sg.problems.from_flax("line", line, loss, data).parameter_count
        4
    """
    try:
        from flax import linen
    except ImportError as error:
        raise ImportError("from_flax needs flax: pip install 'simsgd[flax]'") from error

    with settings("float32"):
        parted = _linen(model, data, inputs) if isinstance(model, linen.Module) else _nnx(model)
    return _problem(name, parted, loss, data, metrics, parts)


def from_equinox(
    name: str,
    make: Callable[[jax.Array], Any],
    loss: Callable[..., jax.Array],
    data: Batch,
    *,
    metrics: Mapping[str, Callable[..., jax.Array]] | None = None,
    **parts: Any,
) -> Problem:
    """Return the problem of learning an equinox model: all its floating-point arrays.

    Args:
        name, data, metrics, parts: as in `from_flax`.
        make: `make(key)` returns the model.
        loss: `loss(model, batch)`, the batch's mean loss, where `jax.vmap(model)(batch["x"])` are the model's outputs, or
            `loss(model, batch, key)` of one that draws.

    Raises:
        ImportError: if equinox is not installed.
        TypeError, ValueError: if the model has arrays that are no floating-point ones, and as `Problem`.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, numpy as np, simsgd as sg
        >>> def line(key):
        ...     return eqx.nn.Linear(3, 1, key=key)
        >>> def loss(model, batch):
        ...     return jnp.mean((jax.vmap(model)(batch["x"])[:, 0] - batch["y"]) ** 2)
        >>> x = np.random.default_rng(0).normal(size=(100, 3))
        >>> data = {"x": x, "y": x @ [1.0, 2.0, 3.0]}
        >>> sg.problems.from_equinox("line", line, loss, data).parameter_count
        4
    """
    try:
        import equinox as eqx
    except ImportError as error:
        raise ImportError("from_equinox needs equinox: pip install 'simsgd[equinox]'") from error

    checking.check_function("make", make, "one argument, a random key", 1)
    with settings("float32"):
        shapes = eqx.filter_eval_shape(make, checking.KEY)
    if any(_is_shape(leaf) and not jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(shapes)):
        raise TypeError(
            "from_equinox learns floating-point arrays, and the model holds others: keep them in the data, or as tuples in "
            "fields made by eqx.field(static=True)"
        )
    return _problem(name, (_EquinoxStart(make), _Equinox(make)), loss, data, metrics, parts)


Parted = tuple[Callable[[jax.Array], Parameters], Callable[[Parameters], Any]]
"""What makes a model's parameters from a key, and what makes the model from parameters."""


def _problem(name: str, parted: Parted, loss: Any, data: Batch, metrics: Any, parts: dict[str, Any]) -> Problem:
    init, build = parted
    checking.check_loss(loss)
    kind = _Drawing if checking.takes_key(loss) else _Measured
    measured = {each: _Measured(build, metric) for each, metric in (metrics or {}).items()}
    return Problem(name, init, kind(build, loss), data, metrics=measured, **parts)


def _linen(model: Any, data: Batch, inputs: str | None) -> Parted:
    names = [None] if not isinstance(data, Mapping) else list(data)
    if inputs not in names:
        raise ValueError(f"inputs must be one of {', '.join(map(repr, names))}, the names in data, got {inputs!r}")
    array = data if inputs is None else data[inputs]
    start = _LinenStart(model, tuple(array.shape[1:]), array.dtype.kind == "f")
    if others := set(jax.eval_shape(start.variables, checking.KEY)) - {"params"}:
        raise TypeError(f"model must have parameters alone, but {type(model).__name__} has {', '.join(sorted(others))} too")
    return start, _Linen(model)


def _nnx(make: Any) -> Parted:
    from flax import nnx

    if isinstance(make, nnx.Module):
        raise TypeError(f"model must be made by a function of nnx.Rngs, got a {type(make).__name__}: use lambda rngs: …")
    checking.check_function("model", make, "one argument, nnx.Rngs", 1)
    parted: Any = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))), nnx.Param, ...)
    graph, _, others = parted
    if jax.tree.leaves(others):
        kinds = sorted({type(variable).__name__ for _, variable in nnx.to_flat_state(others)})
        raise TypeError(
            f"model must have parameters alone, but has {', '.join(kinds)} too: leave them out, or draw in the loss"
        )
    return _NnxStart(make), _Nnx(graph)


@dataclass(frozen=True)
class _LinenStart:
    model: Any
    shape: tuple[int, ...]
    floating: bool

    def variables(self, key: jax.Array) -> Any:
        return self.model.init(key, jnp.zeros((1, *self.shape), jnp.float32 if self.floating else jnp.int32))

    def __call__(self, key: jax.Array) -> Parameters:
        return self.variables(key)["params"]


@dataclass(frozen=True)
class _Linen:
    model: Any

    def __call__(self, parameters: Parameters) -> Any:
        return self.model.bind({"params": parameters})


@dataclass(frozen=True)
class _NnxStart:
    make: Callable[[Any], Any]

    def __call__(self, key: jax.Array) -> Parameters:
        from flax import nnx

        return nnx.to_pure_dict(nnx.split(self.make(nnx.Rngs(key)))[1])


@dataclass(frozen=True)
class _Nnx:
    graph: Any

    def __call__(self, parameters: Parameters) -> Any:
        from flax import nnx

        return nnx.merge(self.graph, parameters)


@dataclass(frozen=True)
class _EquinoxStart:
    make: Callable[[jax.Array], Any]

    def __call__(self, key: jax.Array) -> Parameters:
        import equinox as eqx

        return eqx.filter(self.make(key), eqx.is_inexact_array)


@dataclass(frozen=True)
class _Equinox:
    make: Callable[[jax.Array], Any]

    def __call__(self, parameters: Parameters) -> Any:
        import equinox as eqx

        shapes = eqx.filter_eval_shape(self.make, checking.KEY)
        return eqx.combine(parameters, eqx.filter(shapes, _is_shape, inverse=True))


def _is_shape(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct)


@dataclass(frozen=True)
class _Measured:
    """A function of the model, as one of its parameters."""

    build: Callable[[Parameters], Any]
    function: Callable[..., jax.Array]

    def __call__(self, parameters: Parameters, batch: Batch) -> jax.Array:
        return self.function(self.build(parameters), batch)


@dataclass(frozen=True)
class _Drawing:
    """As `_Measured`, of a loss that draws."""

    build: Callable[[Parameters], Any]
    function: Callable[..., jax.Array]

    def __call__(self, parameters: Parameters, batch: Batch, key: jax.Array | None) -> jax.Array:
        return self.function(self.build(parameters), batch, key)
