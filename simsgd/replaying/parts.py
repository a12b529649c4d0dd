"""A method's parts as the compiled loop has them: recipes to compile for, and numbers to pass at run time.

Law of this module: what each place offers its transformation is said here, once, for checking, for sharing compiled code, for
identities, and for the loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from simsgd import optimizers
from simsgd.compression import Compression
from simsgd.method import PARTS, Method
from simsgd.optimizers import Optimizer
from simsgd.problems import Blocks, Parameters
from simsgd.work import ONE_GRADIENT, Work

ONE_BLOCK = Blocks()
type Numbers = dict[str, dict[str, jax.Array]]
"""The numbers of each part, by its place and then by name."""


class Recipe(NamedTuple):
    """What a method is compiled for, hashable; the numbers of its parts come at run time.

    Attributes:
        optimizer, inner, at_worker, on_message, hand_out: recipes of `optimizers.split`, None for parts that are left out.
        work: what a worker does with a job.
        workers: how many there are, where something needs it; 0 for a plain method, which any number of workers share.
        resets: whether a crash takes a worker's state.
        remembers: whether workers have a state at all.
        up, down: what compresses messages on their ways.
        blocks: how many blocks of samples there are, for tables of them.
    """

    optimizer: Any
    inner: Any = None
    at_worker: Any = None
    on_message: Any = None
    hand_out: Any = None
    work: Work = ONE_GRADIENT
    workers: int = 0
    resets: bool = False
    remembers: bool = False
    up: Compression | None = None
    down: Compression | None = None
    blocks: Blocks = Blocks()

    @property
    def is_plain(self) -> bool:
        """Whether there is an optimizer alone, and one gradient for each job."""
        return not self.workers

    def build(self, place: str, numbers: Numbers) -> optax.GradientTransformationExtraArgs:
        """Return the transformation of a place with its numbers, traced or not; where there is none, one that does nothing."""
        recipe = getattr(self, place)
        if recipe is None:
            return optax.with_extra_args_support(optax.identity())
        return optimizers.build(recipe, numbers[place])


def offered(place: str, parameters: Parameters, workers: int, message_state: Any = None) -> dict[str, Any]:
    """Return the extra arguments that a place offers, with values of the right shapes and types."""
    number = jnp.zeros((), jnp.result_type(*jax.tree.leaves(parameters)))
    count = jnp.zeros((), jnp.int32)
    if place == "inner":
        return {}
    key = jax.random.wrap_key_data(jnp.zeros(2, jnp.uint32), impl="threefry2x32")
    job = {"worker": count, "job": count, "steps": count, "kind": count, "key": key}
    if place == "at_worker":
        return job
    if place == "on_message":
        of_server = {"staleness": number, "version": count, "workers": workers, "parameters_read": parameters}
        return {**job, **of_server, "block": count, "blocks": count}
    return {"staleness": number} if place == "optimizer" else {"message_state": message_state}


def parts(method: Optimizer | Method) -> Iterator[tuple[str, Optimizer]]:
    """Yield the places of a method's transformations, and what stands there; of an optimizer, itself."""
    if not isinstance(method, Method):
        yield "optimizer", method
        return
    for place in PARTS:
        if getattr(method, place) is not None:
            yield place, getattr(method, place)


def split(
    method: Optimizer | Method, parameters: Parameters, workers: int, blocks: Blocks = ONE_BLOCK
) -> tuple[Recipe, dict[str, dict[str, float]]]:
    """Return a method, or an optimizer alone, as a recipe and the numbers of its parts.

    Args:
        method: what is played.
        parameters: version 0.
        workers: how many there are.
        blocks: how many blocks of samples there are.
    """
    recipes: dict[str, Any] = {}
    numbers: dict[str, dict[str, float]] = {}
    state: Any = None
    with optimizers.among(workers, *blocks):
        for place, part in parts(method):
            given = offered(place, parameters, workers, state)
            recipes[place], numbers[place] = optimizers.split(part, parameters, given, place == "optimizer")
            if place == "on_message":
                begin = optimizers.build(recipes[place], _arrays(numbers[place], parameters)).init
                state = jax.eval_shape(begin, parameters)  # it may be a table as large as memory
    if not isinstance(method, Method) or method.is_plain:
        return Recipe(**recipes), numbers
    others: dict[str, Any] = {"work": method.work, "up": method.compress_up, "down": method.compress_down}
    recipe = Recipe(**recipes, **others, workers=workers, resets=method.after_crash == "reset", blocks=blocks)
    with optimizers.among(workers, *blocks):
        return recipe._replace(remembers=_remembers(recipe, numbers, parameters)), numbers


def _remembers(recipe: Recipe, numbers: dict[str, dict[str, float]], parameters: Parameters) -> bool:
    """Say whether a worker's state has anything in it."""
    arrays = {place: _arrays(values, parameters) for place, values in numbers.items()}

    return bool(jax.tree.leaves(jax.eval_shape(lambda p: begin_worker(recipe, arrays, p), parameters)))


def begin_worker(recipe: Recipe, numbers: Numbers, parameters: Parameters) -> Any:
    """Return what one worker remembers at first: of its work, of what it does to its message, and of what compresses that."""
    with optimizers.among(recipe.workers, *recipe.blocks):  # also where a worker begins anew
        of_work = recipe.work.begin(parameters, recipe.build("inner", numbers))
        of_way = () if recipe.up is None else recipe.up.init(jax.tree.map(jnp.zeros_like, parameters))
        return of_work, recipe.build("at_worker", numbers).init(parameters), of_way


def _arrays(numbers: Mapping[str, float], parameters: Parameters) -> dict[str, jax.Array]:
    dtype = jnp.result_type(*jax.tree.leaves(parameters))
    return {name: jnp.asarray(number, dtype) for name, number in numbers.items()}
