"""The executables of lanes: `replaying.loop` under `vmap`, and the evaluations of the models that were kept."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from simsgd.problems import Batch, Metric, Parameters
from simsgd.replaying import loop
from simsgd.replaying.blocks import Table
from simsgd.replaying.drawing import Data, Drawing
from simsgd.replaying.parts import Numbers, Recipe
from simsgd.replaying.programs import compiled


class Lane(NamedTuple):
    """What the loop carries of a lane; of all lanes each leaf has their axis first.

    Attributes:
        run: as for a run alone.
        kept: models to be evaluated, each leaf (kept + 1, ...); the first is nobody's.
    """

    run: loop.Carry
    kept: Parameters


class Settings(NamedTuple):
    """What lanes are compiled for besides the shapes of their arrays.

    Attributes:
        drawing, recipe, long, room, one_version: as in `loop.Playing`.
        slots: as in `sheets.Sheet`.
        kept: slots for models to be evaluated.
    """

    drawing: Drawing
    recipe: Recipe
    long: bool
    room: int
    one_version: bool
    slots: int
    kept: int


def _begun(parameters: Parameters, numbers: Numbers, settings: Settings) -> Lane:
    """Return a lane at the beginning of its run: version 0 is the first model to be evaluated."""
    run = loop.with_slots(loop.begin(parameters, settings.recipe, numbers), settings.slots)

    def first(leaf: jax.Array) -> jax.Array:
        return jnp.zeros((settings.kept + 1, *leaf.shape), leaf.dtype).at[1].set(leaf)

    return Lane(run, jax.tree.map(first, parameters))


AXIS = "lanes"
"""The name of the axis along which lanes lie, over devices too."""


def over(mesh: Mesh | None, function: Callable[..., Any], *shared: bool) -> Callable[..., Any]:
    """Return a function of lanes that each device calls with its own; of one device, the function itself.

    Args:
        mesh: the devices; None for one.
        function: gets arrays whose first axis is that of the lanes, and returns such arrays.
        shared: of each of its arguments, whether all devices get the same instead.
    """
    if mesh is None:
        return function
    spec: Any = PartitionSpec
    specs = tuple(spec() if same else spec(AXIS) for same in shared)
    made: Callable[..., Any] = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=spec(AXIS), check_vma=False)
    return made


@compiled("settings", "lanes", "mesh")
def empty(parameters: Parameters, numbers: Numbers, *, settings: Settings, lanes: int, mesh: Mesh | None) -> Lane:
    """Return lanes without a run; `lanes` are those of one device."""

    def zeros(parameters: Parameters, numbers: Numbers) -> Lane:
        one = jax.eval_shape(lambda: _begun(parameters, numbers, settings))
        made: Lane = jax.tree.map(lambda leaf: jnp.zeros((lanes, *leaf.shape), leaf.dtype), one)
        return made

    made: Lane = over(mesh, zeros, True, True)(parameters, numbers)
    return made


@compiled("settings", "mesh", donated="lanes")
def begin(lanes: Lane, place: int, parameters: Parameters, numbers: Numbers, *, settings: Settings, mesh: Mesh | None) -> Lane:
    """Return the lanes with the one at a place at the beginning of a new run."""

    def here(lanes: Lane, place: Any, parameters: Parameters, numbers: Numbers) -> Lane:
        count = len(jax.tree.leaves(lanes)[0])
        own = place if mesh is None else place - jax.lax.axis_index(AXIS) * count
        one, where = _begun(parameters, numbers, settings), jnp.clip(own, 0, count - 1)
        changed: Lane = jax.tree.map(
            lambda leaf, new: leaf.at[where].set(jnp.where(own == where, new, leaf[where])), lanes, one
        )
        return changed

    begun: Lane = over(mesh, here, False, True, True, True)(lanes, place, parameters, numbers)
    return begun


@compiled("settings", "mesh", donated="lanes")
def play(
    lanes: Lane,
    tables: Table,
    keeps: jax.Array,
    start: int,
    stop: int,
    data: Data,
    keys: jax.Array,
    numbers: Numbers,
    *,
    settings: Settings,
    mesh: Mesh | None,
) -> tuple[Lane, jax.Array]:
    """Play blocks [start, stop) of each lane's table.

    Args:
        lanes: what they carry.
        tables: each column (lanes, blocks, ...).
        keeps: in which slot the model after each block is kept, (lanes, blocks) int32; 0 for nowhere.
        start, stop: the same for all.
        data: the training samples, of all lanes.
        keys: (lanes, 2) uint32.
        numbers: each (lanes,).
        settings: what it is compiled for.
        mesh: the devices, None for one.

    Returns:
        What they carry on, and a number that is computed when that is.
    """

    def all_of(
        lanes: Lane, tables: Table, keeps: jax.Array, start: Any, stop: Any, data: Data, keys: jax.Array, numbers: Numbers
    ) -> Lane:
        one = functools.partial(_play_one, start, stop, data, settings)
        played: Lane = jax.vmap(one)(lanes, tables, keeps, keys, numbers)
        return played

    split = over(mesh, all_of, False, False, False, True, True, True, False, False)
    return split(lanes, tables, keeps, start, stop, data, keys, numbers), jnp.asarray(stop + 1)


def _play_one(
    start: Any,
    stop: Any,
    data: Data,
    settings: Settings,
    lane: Lane,
    table: Table,
    keep: jax.Array,
    words: jax.Array,
    numbers: Numbers,
) -> Lane:
    """Return what one lane carries on."""
    key = jax.random.wrap_key_data(words, impl="threefry2x32")
    playing = loop.Playing(data, key, numbers, *settings[:5], branches=False)

    def block(number: jax.Array, block: Table, picks: jax.Array, lane: Lane) -> Lane:
        run = playing.block(number, block, picks, lane.run)
        kept = jax.tree.map(lambda k, p: k.at[keep[number]].set(p), lane.kept, run.parameters)
        return Lane(run, kept)

    after: Lane = playing.through(table, start, stop, block, lane)
    return after


@compiled("loss", "metrics", "worker_losses", "together", "mesh")
def evaluate(
    kept: Parameters,
    lanes: jax.Array,
    slots: jax.Array,
    counts: jax.Array,
    data: Data,
    test_data: Batch | None,
    *,
    loss: Metric,
    metrics: tuple[Metric, ...],
    worker_losses: bool,
    together: int,
    mesh: Mesh | None,
) -> Any:
    """Return what `loop.evaluate` says of the models in some lanes' slots, each value with an axis for them.

    Args:
        kept: models, each leaf (lanes, slots, ...).
        lanes, slots: which, (models,) int32, as many of each device, a multiple of `together`; lanes are counted on
            their device.
        counts: of each device, how many of them are wanted, (devices,); the values of the others are zero.
        data, test_data, loss, metrics, worker_losses: as in `loop.evaluate`.
        together: how many are evaluated side by side.
        mesh: the devices, None for one.
    """

    def here(
        kept: Parameters, lanes: jax.Array, slots: jax.Array, counts: jax.Array, data: Data, test_data: Batch | None
    ) -> Any:
        def one(lane: jax.Array, slot: jax.Array) -> Any:
            model = jax.tree.map(lambda leaf: leaf[lane, slot], kept)
            return _evaluated(model, data, test_data, loss=loss, metrics=metrics, worker_losses=worker_losses)

        shapes = jax.eval_shape(one, lanes[0], slots[0])
        nothing = jax.tree.map(lambda leaf: jnp.zeros((len(lanes), *leaf.shape), leaf.dtype), shapes)

        def some(number: jax.Array, values: Any) -> Any:
            first = number * together
            if together == 1:
                found = jax.tree.map(lambda leaf: leaf[None], one(lanes[first], slots[first]))
            else:
                which = (jax.lax.dynamic_slice_in_dim(column, first, together) for column in (lanes, slots))
                found = jax.vmap(one)(*which)
            return jax.tree.map(lambda all_, new: jax.lax.dynamic_update_slice_in_dim(all_, new, first, 0), values, found)

        return jax.lax.fori_loop(0, (counts[0] + together - 1) // together, some, nothing)

    return over(mesh, here, False, False, False, False, True, True)(kept, lanes, slots, counts, data, test_data)


_evaluated: Callable[..., Any] = loop.evaluate.__wrapped__  # type: ignore[attr-defined]


@compiled()
def taken(kept: Parameters, place: int, slot: int) -> Parameters:
    """Return the model in a lane's slot."""
    return jax.tree.map(lambda leaf: leaf[place, slot], kept)
