"""Who a run is: its tape, and all that its numbers depend on besides."""

from __future__ import annotations

import functools
import warnings
import weakref
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from simsgd import optimizers
from simsgd.method import COMPRESSIONS, Method
from simsgd.optimizers import Optimizer, Tunable
from simsgd.problems import Blocks, Problem, settings
from simsgd.problems import evaluated as evaluated_loss
from simsgd.problems.checking import KEY
from simsgd.provenance import Identity, describe
from simsgd.provenance.identity import canonical
from simsgd.replaying import machine, parts
from simsgd.replaying.schedule import Schedule
from simsgd.replaying.written import program
from simsgd.stopping import amount, bound


def identify(
    tape: Mapping[str, Any],
    problem: Problem,
    method: Optimizer | Method,
    seed: int,
    dtype: str,
    width: int | None,
    schedule: Schedule,
    workers: int,
) -> Identity:
    """Return the identity of a run.

    Args:
        tape: of what it plays, see `provenance.tapes`.
        problem, method, seed, dtype, width: as `replay` is given them; the method may be an optimizer alone.
        schedule: when it evaluates the model, and when it stops.
        workers: how many there are.
    """
    with settings(dtype):
        environment = machine.here()
    described = {
        "tape": dict(tape),
        "problem": _problem(problem, dtype, environment),
        **_parts(method, problem, dtype, workers),
        "until": describe(schedule.until),
        "evaluate_every": describe(schedule.every),
        "seed": describe(seed),
        "dtype": str(dtype),
        "width": "the first step's" if width is None else int(width),
        "environment": environment,
    }
    return Identity(described)


def end_of_tape(schedule: Schedule) -> dict[str, Any]:
    """Return how far a run may need its tape, for example {"updates": n} or {"seconds": s}."""
    rule = bound(schedule.until)
    return {type(rule).__name__.lower(): amount(rule)}


_KNOWN: weakref.WeakKeyDictionary[Problem, dict[tuple[str, str], dict[str, Any]]] = weakref.WeakKeyDictionary()
"""Descriptions of problems, whose data cannot be changed, by dtype and JAX's settings."""


def _problem(problem: Problem, dtype: str, environment: Mapping[str, Any]) -> dict[str, Any]:
    known, circumstances = _KNOWN.setdefault(problem, {}), (dtype, canonical(environment["settings"]))
    if circumstances not in known:
        known[circumstances] = _described(problem, dtype)
    return known[circumstances]


def _described(problem: Problem, dtype: str) -> dict[str, Any]:
    """Return a problem: its data, hashed, and its functions, as the programs that they are for its shapes."""
    with settings("float32"):
        init = program(problem.init, jax.random.wrap_key_data(jnp.zeros(2, jnp.uint32), impl="threefry2x32"))
    with settings(dtype):
        parameters = _parameters(problem, dtype)
        whole = _shapes(problem.data, dtype)
        batch = (_shapes(problem.data, dtype, problem.batch_size), *([KEY] if problem.loss_draws else []))
        tests = whole if problem.test_data is None else _shapes(problem.test_data, dtype)
        over = functools.partial(evaluated_loss, problem.loss)
        evaluated = {"loss": program(over, parameters, whole)}
        evaluated |= {} if problem.test_data is None else {"test_loss": program(over, parameters, tests)}
        evaluated |= {name: program(metric, parameters, tests) for name, metric in problem.metrics.items()}
        loss = program(jax.value_and_grad(problem.loss), parameters, *batch)
    return {
        "name": problem.name,
        "batch_size": problem.batch_size,
        "data": _by_place(problem.data),
        "test_data": None if problem.test_data is None else _by_place(problem.test_data),
        "parameters": {place: str(leaf.dtype) + str(list(leaf.shape)) for place, leaf in _places(parameters)},
        "init": init,
        "loss and its gradient": loss,
        "evaluated": evaluated,
        "target": describe(problem.target),
        **({} if problem.partition is None else {"partition": _partition(problem.partition)}),
    }


def _partition(partition: Any) -> dict[str, Any]:
    """Return who has which samples, and how workers draw from them."""
    return {
        "by": describe(partition.by),
        "shares": _by_place(partition.shares),
        "replacement": partition.replacement,
        "worker_losses": partition.worker_losses,
    }


def _parts(method: Optimizer | Method, problem: Problem, dtype: str, workers: int) -> dict[str, Any]:
    """Return a method's parts by their places; a method of an optimizer alone is that optimizer."""
    described: dict[str, Any] = {}
    state = None
    counts = (workers, *Blocks.of(problem))
    for place, part in parts.parts(method):
        described[place], begun = _transformation(place, part, problem, dtype, counts, state)
        state = begun if place == "on_message" else state
    if isinstance(method, Method) and not method.is_plain:
        described |= {"work": describe(method.work), "after_crash": method.after_crash}
        described |= {way: describe(part) for way in COMPRESSIONS if (part := getattr(method, way)) is not None}
    return described


def _transformation(
    place: str, part: Optimizer, problem: Problem, dtype: str, counts: tuple[int, int, int], message_state: Any
) -> tuple[dict[str, Any], Any]:
    """Return a part of a method, and the form of its state.

    It is its name, and what it computes of the problem's parameters; a tunable one's numbers beside that.
    """
    with warnings.catch_warnings(), settings(dtype):
        warnings.simplefilter("ignore")  # the player has warned already
        recipe, numbers = optimizers.split(part)
        forms = _form(_parameters(problem, dtype)), _form(message_state)
        write = (
            _programs if isinstance(part, Tunable) else _programs.__wrapped__
        )  # a ready-made one is its own recipe, and goes
        programs, state = write(place, recipe, tuple(numbers), *forms, dtype, counts, canonical(machine.settings()))
    if "unknown" in programs:
        return programs, None
    kind = "tunable" if isinstance(part, Tunable) else "ready-made"
    return {"name": optimizers.describe(part), "kind": kind, "numbers": numbers, **programs}, state


@functools.lru_cache(maxsize=64)
def _programs(
    place: str,
    recipe: Any,
    names: tuple[str, ...],
    forms: Any,
    state_forms: Any,
    dtype: str,
    sizes: tuple[int, int, int],
    circumstances: str,
) -> tuple[dict[str, Any], Any]:
    """Return what a part computes, as programs, and the form of its state; parts that differ in their numbers share it.

    (So do the executables that are compiled for a recipe, which is why it is enough to look at one once.)
    """
    parameters, message_state = _shaped(forms), _shaped(state_forms)
    values = {name: _shape((), dtype) for name in names}
    given = parts.offered(place, parameters, sizes[0], message_state)
    traced, counts = optimizers.apart(given)

    def begin(values: Any, parameters: Any) -> Any:
        with optimizers.among(*sizes):
            return optimizers.build(recipe, values).init(parameters)

    def update(values: Any, gradient: Any, state: Any, parameters: Any, traced: Any) -> Any:
        return optimizers.build(recipe, values).update(gradient, state, parameters, **traced, **counts)

    try:
        state = jax.eval_shape(begin, values, parameters)
    except Exception as error:
        return {"unknown": f"its state cannot be written down ({type(error).__name__}: {str(error)[:60]})"}, None
    written = {
        "init": program(begin, values, parameters),
        "update": program(update, values, parameters, state, parameters, traced),
    }
    return written, state


def _form(tree: Any) -> Any:
    """Return the structure, shapes and types of a tree of arrays, hashable."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((tuple(leaf.shape), leaf.dtype) for leaf in leaves)


def _shaped(form: Any) -> Any:
    """Return a tree of that form."""
    structure, leaves = form
    return jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(shape, kind) for shape, kind in leaves])  # type: ignore[no-untyped-call]


def _parameters(problem: Problem, dtype: str) -> Any:
    with settings("float32"):
        shapes = jax.eval_shape(problem.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: _shape(leaf.shape, dtype), shapes)


def _shapes(data: Any, dtype: str, samples: int | None = None) -> Any:
    """Return the forms of data on the device, or of a batch of so many samples."""

    def shape(leaf: np.ndarray) -> jax.ShapeDtypeStruct:
        kind = dtype if np.issubdtype(leaf.dtype, np.floating) else jax.dtypes.canonicalize_dtype(leaf.dtype)
        return _shape((samples or len(leaf), *leaf.shape[1:]), kind)

    return jax.tree.map(shape, data)


def _shape(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.dtype(dtype))  # type: ignore[no-untyped-call]


def _places(tree: Any) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path) or "all", leaf) for path, leaf in jax.tree.leaves_with_path(tree)]


def _by_place(data: Any) -> dict[str, Any]:
    return {place: describe(leaf) for place, leaf in _places(data)}
