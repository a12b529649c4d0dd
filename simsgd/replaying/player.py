"""The read head: compiled JAX plays a tape's rows and computes every gradient and update in that order. It knows no time.

Laws of this module:

1. Rows are played in blocks of up to `width` gradients of one step, side by side. The width is the size of the first
   step (at most 128), so it is a fact of the tape: 1 for asynchronous SGD, n for synchronous SGD.
2. One executable plays rows [start, stop) of a table of fixed shape; both bounds are traced, so chunks, evaluations and
   runs of any length share it. Its carry is donated.
3. Everything about a block depends on its own rows alone, so chunks of any size give the same bits. (How many slots there are
   may depend on the chunks; it decides where versions are kept and takes part in no arithmetic.)

Measured choices (the digits MLP, batch 32, 2 CPU cores; see DESIGN.md and `tests/test_benchmarks.py`): a step's gradients
at one version are one gradient of the weighted mean loss, 1.5 times as fast as one after the other; batches are drawn for
64 blocks at once, 1.2 to 2 times as fast as one at a time (it varies from process to process).
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from simsgd import optimizers
from simsgd.optimizers import Optimizer
from simsgd.problems import Metric, Parameters, Problem, draw
from simsgd.replaying import selftest
from simsgd.replaying.versions import SPARE, Slots
from simsgd.support import checks, rng
from simsgd.tape.schema import Rows

LARGEST_WIDTH = 128
"""Steps of more gradients than this are played in several blocks, so that memory does not grow with the batch."""
TILE = 64
"""For how many blocks batches are drawn at once."""
TABLE_ROWS = 4096
"""About how many gradients one table holds."""
FEW_SLOTS = 4
"""Slots for tapes that begin with a step of all workers, as synchronous methods do; others get workers + 2 at once."""


class Table(NamedTuple):
    """Rows as the compiled loop reads them: `blocks` blocks of `width` lanes, idle lanes with weight 0."""

    worker: Any  # (blocks, width) int32
    job: Any  # (blocks, width) int32
    read_slot: Any  # (blocks, width) int32
    weight: Any  # (blocks, width) floating
    shared: Any  # (blocks,) bool: all lanes read one version
    staleness: Any  # (blocks,) floating: mean over the step, on its last block
    write_slot: Any  # (blocks,) int32: where the step's version goes, on its last block
    last: Any  # (blocks,) bool: the block ends a step


class Carry(NamedTuple):
    """What the loop carries: old versions, the current one, and the optimizer's state."""

    snapshots: Parameters  # each leaf (slots, ...)
    parameters: Parameters
    optimizer_state: Any
    sum: Parameters  # of a step's earlier blocks


class Player:
    """Plays rows of a tape for one problem and optimizer, remembering where it is.

    Args:
        problem: what is learned.
        optimizer: an optax transformation, or a `tunable` one.
        workers: how many workers the tape has.
        seed: names the initial parameters and, with worker and job, each batch.
        dtype: "float32" or "float64".
        width: how many gradients are computed side by side; by default the size of the first step, at most 128.

    Raises:
        TypeError, ValueError: for arguments that make no sense, named in the message.
        simsgd.replaying.selftest.BrokenInstallationError: if jax is too old or its sums are wrong.
    """

    def __init__(
        self,
        problem: Problem,
        optimizer: Optimizer,
        workers: int,
        seed: int = 0,
        dtype: str = "float32",
        width: int | None = None,
    ) -> None:
        selftest.run_once()
        checks.instance("problem", problem, Problem, "problems.digits()")
        checks.one_of("dtype", dtype, ("float32", "float64"))
        self.problem, self.workers, self.seed, self.dtype = problem, workers, checks.whole("seed", seed, 0), str(dtype)
        self.width = None if width is None else checks.whole("width", width, 1)
        self.rows_played = 0
        self.version = 0
        self.slots = Slots()
        self._optimizer = optimizer
        self._recipe, numbers = optimizers.split(optimizer)
        with self._precision():
            self._numbers = {name: jnp.asarray(number, dtype) for name, number in numbers.items()}
            self._data, self._test_data = problem.arrays(dtype)
            self._key = jax.random.wrap_key_data(jnp.asarray(rng.key_words(seed, "batches")), impl="threefry2x32")
            parameters = problem.start(seed, dtype)
            carry = Carry(
                snapshots=jax.tree.map(lambda p: jnp.stack([p, p]), parameters),  # the spare slot and version 0
                parameters=parameters,
                optimizer_state=optimizers.build(self._recipe, self._numbers).init(parameters),
                sum=jax.tree.map(jnp.zeros_like, parameters),
            )
            # Copies, because an optimizer's state may hold the parameters themselves or arrays of the user's, and what is
            # donated is gone
            self._carry = jax.tree.map(jnp.copy, carry)

    def play(self, rows: Rows, live: set[int]) -> None:
        """Play further rows of the tape, which must end with a step.

        Args:
            rows: the rows after those played before.
            live: the versions that rows after these may still read.
        """
        if not len(rows.step):
            return
        if not rows.step[-1]:
            raise ValueError("rows must end with a step, and the last of these does not: hold back a step's first rows")
        if self.width is None:
            self.width = min(LARGEST_WIDTH, int(np.argmax(rows.step)) + 1)
        for first, last, reads, writes in self.slots.place(rows.read, rows.step, live, TABLE_ROWS):
            self._play_piece(Rows(*(column[first:last] for column in rows)), reads, writes)

    def _play_piece(self, rows: Rows, reads: np.ndarray, writes: np.ndarray) -> None:
        """Play rows whose slots are known. The device plays on while the host prepares the next piece."""
        assert self.width is not None
        self._make_room()
        blocks = _blocks(rows, self.version, reads, writes, self.width, self.dtype)
        with self._precision():
            for table, start, stop, long in _tables(blocks, self.width):
                self._carry = _play(
                    self._carry,
                    table,
                    start,
                    stop,
                    self._data,
                    self._key,
                    self._numbers,
                    loss=self.problem.loss,
                    recipe=self._recipe,
                    batch_size=self.problem.batch_size,
                    long=long,
                )
        self.rows_played += len(rows.step)
        self.version += int(np.count_nonzero(rows.step))

    @property
    def flat_parameters(self) -> np.ndarray:
        """The current model as one vector, shape (parameter_count,)."""
        return np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(self._carry.parameters)])

    def evaluate(self) -> dict[str, float]:
        """Return the problem's metrics for the current model."""
        problem = self.problem
        with self._precision():
            values = _evaluate(
                self._carry.parameters,
                self._data,
                self._test_data,
                loss=problem.loss,
                metrics=tuple(problem.metrics.values()),
            )
        return dict(zip(problem.metric_names, map(float, values), strict=True))

    def describe(self) -> dict[str, Any]:
        """Return what the bits depend on besides the tape: problem, optimizer, dtype, shapes, device."""
        device = next(iter(jax.tree.leaves(self._carry.parameters)[0].devices()))
        return {
            "problem": self.problem.name,
            "batch_size": self.problem.batch_size,
            "optimizer": optimizers.describe(self._optimizer),
            "data_seed": self.seed,
            "dtype": self.dtype,
            "width": self.width,
            "device": f"{device.platform}: {device.device_kind}",
        }

    @property
    def _capacity(self) -> int:
        return len(jax.tree.leaves(self._carry.snapshots)[0])

    def _make_room(self) -> None:
        """Make the slots, and more of them if a method that began like a synchronous one turns out to need more."""
        assert self.width is not None
        begins_synchronous = self.width >= min(self.workers, LARGEST_WIDTH) and self.workers > 1
        wanted = FEW_SLOTS if begins_synchronous and self.slots.size <= FEW_SLOTS else self.workers + 2
        if wanted > self._capacity:
            more = wanted - self._capacity

            def enlarge(leaf: jax.Array) -> jax.Array:
                return jnp.concatenate([leaf, jnp.zeros((more, *leaf.shape[1:]), leaf.dtype)])

            with self._precision():
                self._carry = self._carry._replace(snapshots=jax.tree.map(enlarge, self._carry.snapshots))

    @contextlib.contextmanager
    def _precision(self) -> Iterator[None]:
        """Run with the settings that the bits depend on, whatever the process has set."""
        with jax.enable_x64(self.dtype == "float64"), jax.threefry_partitionable(True):
            yield


# --- from rows to tables, on the host ------------------------------------------------------------------------------------


def _blocks(
    rows: Rows, version: int, reads: np.ndarray, writes: np.ndarray, width: int, dtype: str
) -> tuple[Table, np.ndarray]:
    """Cut each step's rows into blocks of up to `width`; also say which blocks belong to steps of several blocks."""
    step = np.cumsum(rows.step) - rows.step
    sizes = np.bincount(step)
    place = np.arange(len(step)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # of a row within its step
    per_step = -(-sizes // width)
    first_block = np.cumsum(per_step) - per_step
    block, lane = first_block[step] + place // width, place % width
    count = int(per_step.sum())

    def lanes(column: np.ndarray, kind: Any, idle: np.ndarray | int) -> np.ndarray:
        table = np.empty((count, width), kind)
        table[:] = idle
        table[block, lane] = column
        return table

    first_row = np.zeros(count, np.int64)
    first_row[block[::-1]] = np.arange(len(step))[::-1]  # the earliest row of a block is written last
    read_slot = lanes(reads, np.int32, reads[first_row][:, None])  # idle lanes read what their block reads
    last = np.zeros(count, bool)
    last[np.cumsum(per_step) - 1] = True
    write_slot = np.full(count, SPARE, np.int32)
    write_slot[last] = writes[rows.step]
    staleness = np.zeros(count, dtype)
    staleness[last] = np.bincount(step, weights=version + step - rows.read) / sizes
    table = Table(
        worker=lanes(rows.worker, np.int32, 0),
        job=lanes(rows.job, np.int32, 0),
        read_slot=read_slot,
        weight=lanes(rows.weight, dtype, 0),
        shared=(read_slot == read_slot[:, :1]).all(axis=1),
        staleness=staleness,
        write_slot=write_slot,
        last=last,
    )
    return table, np.repeat(per_step > 1, per_step)


def _tables(blocks: tuple[Table, np.ndarray], width: int) -> Iterator[tuple[Table, int, int, bool]]:
    """Yield (table of fixed shape, start, stop, long) to play one after the other."""
    columns, long = blocks
    length = max(TILE, TABLE_ROWS // width // TILE * TILE)
    for first in range(0, len(long), length):
        kinds = long[first : first + length]
        table = Table(*(_padded(column[first : first + length], length) for column in columns))
        borders = [0, *(np.flatnonzero(np.diff(kinds)) + 1).tolist(), len(kinds)]
        for start, stop in itertools.pairwise(borders):
            yield table, start, stop, bool(kinds[start])


def _padded(column: np.ndarray, length: int) -> np.ndarray:
    table = np.zeros((length, *column.shape[1:]), column.dtype)
    table[: len(column)] = column
    return table


# --- the compiled loop ---------------------------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnames=("loss", "recipe", "batch_size", "long"), donate_argnames="carry")
def _play(
    carry: Carry,
    table: Table,
    start: int,
    stop: int,
    data: Any,
    key: jax.Array,
    numbers: dict[str, jax.Array],
    *,
    loss: Metric,
    recipe: Any,
    batch_size: int,
    long: bool,
) -> Carry:
    """Play blocks [start, stop) of a table; `long` when their steps have several blocks each."""
    optimizer = optimizers.build(recipe, numbers)
    samples = len(jax.tree.leaves(data)[0])
    draw_block = jax.vmap(functools.partial(draw, batch_size=batch_size, samples=samples), in_axes=(None, 0, 0))
    draw_tile = jax.vmap(draw_block, in_axes=(None, 0, 0))

    def play_block(block: Table, picks: jax.Array, carry: Carry) -> Carry:
        batches = jax.tree.map(lambda a: a[picks], data)
        gradient = _block_gradient(loss, carry.snapshots, block, batches)
        if not long:
            return update(carry, gradient, block)
        carry = carry._replace(sum=jax.tree.map(jnp.add, carry.sum, gradient))
        return jax.lax.cond(block.last, lambda c: update(c, c.sum, block), lambda c: c, carry)

    def update(carry: Carry, gradient: Parameters, block: Table) -> Carry:
        updates, state = optimizer.update(gradient, carry.optimizer_state, carry.parameters, staleness=block.staleness)
        parameters = optax.apply_updates(carry.parameters, updates)
        return Carry(
            snapshots=jax.tree.map(lambda s, p: s.at[block.write_slot].set(p), carry.snapshots, parameters),
            parameters=parameters,
            optimizer_state=state,
            sum=jax.tree.map(jnp.zeros_like, carry.sum) if long else carry.sum,
        )

    def play_tile(tile: jax.Array, carry: Carry) -> Carry:
        first = tile * TILE
        worker, job = (jax.lax.dynamic_slice_in_dim(c, first, TILE) for c in (table.worker, table.job))
        picks = draw_tile(key, worker, job)

        def body(i: jax.Array, carry: Carry) -> Carry:
            return play_block(jax.tree.map(lambda column: column[i], table), picks[i - first], carry)

        return jax.lax.fori_loop(jnp.maximum(start, first), jnp.minimum(stop, first + TILE), body, carry)

    return jax.lax.fori_loop(start // TILE, (stop + TILE - 1) // TILE, play_tile, carry)


def _block_gradient(loss: Metric, snapshots: Parameters, block: Table, batches: Any) -> Parameters:
    """Return Σ weight·gradient over a block's lanes."""

    def at_one_version(slot: jax.Array) -> Parameters:
        version = jax.tree.map(lambda s: s[slot], snapshots)
        if len(block.weight) == 1:
            gradient = jax.grad(loss)(version, jax.tree.map(lambda b: b[0], batches))
            return jax.tree.map(lambda g: block.weight[0].astype(g.dtype) * g, gradient)
        each = jax.vmap(loss, in_axes=(None, 0))
        return jax.grad(lambda p: jnp.dot(block.weight, each(p, batches)))(version)

    def at_own_versions() -> Parameters:
        versions = jax.tree.map(lambda s: s[block.read_slot], snapshots)
        gradients = jax.vmap(jax.grad(loss))(versions, batches)
        return jax.tree.map(lambda g: jnp.tensordot(block.weight.astype(g.dtype), g, axes=1), gradients)

    if len(block.weight) == 1:
        return at_one_version(block.read_slot[0])
    return jax.lax.cond(block.shared, lambda: at_one_version(block.read_slot[0]), at_own_versions)


@functools.partial(jax.jit, static_argnames=("loss", "metrics"))
def _evaluate(
    parameters: Parameters, data: Any, test_data: Any, *, loss: Metric, metrics: tuple[Metric, ...]
) -> list[jax.Array]:
    """Return the values of a problem's metrics in the order of its `metric_names`."""
    held_out = data if test_data is None else test_data
    tests = [] if test_data is None else [loss(parameters, test_data)]
    return [loss(parameters, data), *tests, *(metric(parameters, held_out) for metric in metrics)]
