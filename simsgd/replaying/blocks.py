"""From rows to tables: the host cuts a tape's rows into blocks of gradients that the compiled loop plays side by side.

Laws of this module:

1. A block holds up to `width` gradients of one step, in their order; a step of more gradients has several blocks.
2. Everything about a block depends on the rows of its own step alone, so rows cut in pieces of any size make the same blocks.
3. All tables of one width have one shape, so one executable plays them all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import numpy.typing as npt

from simsgd.replaying.versions import SPARE
from simsgd.tape.schema import Messages, Rows

TILE = 64
"""For how many blocks batches are drawn at once; tables hold a multiple of it."""
TABLE_ROWS = 4096
"""About how many gradients one table holds."""


class MessageColumns(NamedTuple):
    """What composed methods read of each message besides; idle lanes come last, and are not played."""

    used: Any  # (blocks, width) bool: not a job that arrived and was not used
    staleness: Any  # (blocks, width) floating
    steps: Any  # (blocks, width) int32: local steps charged
    kind: Any  # (blocks, width) int32: what kind of job it was
    read: Any  # (blocks, width) int32: the version that was read
    fresh: Any  # (blocks, width) bool: the worker has been down since its last message
    version: Any  # (blocks,) int32: the current one
    count: Any  # (blocks,) int32: lanes that are not idle


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
    message: MessageColumns | None = None  # for composed methods


class Stretch(NamedTuple):
    """What one call of the compiled loop plays: blocks [start, stop) of a table, all of steps of one kind."""

    table: Table
    start: int
    stop: int
    long: bool  # whether their steps have several blocks each


class Layout(NamedTuple):
    """Where rows go: which block and lane each is played in, and which block ends each step."""

    step: np.ndarray  # (rows,) which step a row belongs to, from 0
    block: np.ndarray  # (rows,)
    lane: np.ndarray  # (rows,)
    sizes: np.ndarray  # (steps,) how many rows a step has
    last_block: np.ndarray  # (steps,)
    long: np.ndarray  # (blocks,) whether a block's step has several

    def spread(self, column: np.ndarray, kind: npt.DTypeLike, width: int, idle: np.ndarray | int = 0) -> np.ndarray:
        """Return a column of rows as (blocks, width); idle lanes hold `idle`, one value or one for each block."""
        table = np.empty((len(self.long), width), kind)
        table[:] = np.reshape(idle, (-1, 1))
        table[self.block, self.lane] = column
        return table

    def on_last_blocks(self, values: np.ndarray, kind: npt.DTypeLike, elsewhere: int) -> np.ndarray:
        """Return one value for each step as (blocks,): on the step's last block, and `elsewhere` on the others."""
        column = np.full(len(self.long), elsewhere, kind)
        column[self.last_block] = values
        return column


def stretches(
    rows: Rows | Messages,
    version: int,
    reads: np.ndarray,
    writes: np.ndarray,
    width: int,
    dtype: str,
    fresh: np.ndarray | None = None,
    as_long: bool = False,
) -> Iterator[Stretch]:
    """Yield what the compiled loop has to play, one after the other.

    Args:
        rows: whole steps; `Messages` for composed methods.
        version: the version before them.
        reads, writes: the slots that each row reads from, and that the version it makes goes to, (rows,) int32.
        width: lanes of a block.
        dtype: of the weights, "float32" or "float64".
        fresh: of messages, whether their worker has been down since its last one, (rows,).
        as_long: whether all steps are played as if they had several blocks, so that one program plays them.
    """
    layout = lay_out(rows.step, width)
    blocks = as_blocks(rows, layout, version, reads, writes, width, dtype, fresh)
    if as_long:
        layout = layout._replace(long=np.ones_like(layout.long))
    length = table_length(width)
    for first in range(0, len(layout.long), length):
        table = jax.tree.map(lambda column: _padded(column[first : first + length], length), blocks)  # noqa: B023
        long = layout.long[first : first + length]
        for start, stop in itertools.pairwise(_borders(long)):
            yield Stretch(table, start, stop, bool(long[start]))


def table_length(width: int) -> int:
    """Return how many blocks a table has, a multiple of TILE."""
    return max(TILE, TABLE_ROWS // width // TILE * TILE)


def lay_out(ends: np.ndarray, width: int) -> Layout:
    """Cut rows into blocks of up to `width`, each of one step; `ends` says of each row whether it ends a step."""
    step = np.cumsum(ends) - ends
    sizes = np.bincount(step)
    per_step = -(-sizes // width)  # blocks, rounded up
    place = np.arange(len(step)) - _starts(sizes)[step]  # of a row within its step
    return Layout(
        step=step,
        block=_starts(per_step)[step] + place // width,
        lane=place % width,
        sizes=sizes,
        last_block=np.cumsum(per_step) - 1,
        long=np.repeat(per_step > 1, per_step),
    )


def fresh(rows: Messages, lives: np.ndarray) -> np.ndarray:
    """Say of each message whether its worker has been down since the one before, and take in how often each has been.

    Args:
        rows: messages.
        lives: how often each worker had been down at its last message before them, (workers,); changed.
    """
    order = np.argsort(rows.worker, kind="stable")
    worker, life = rows.worker[order], rows.life[order]
    first = np.diff(worker, prepend=-1) != 0
    found = np.empty(len(order), bool)
    found[order] = life != np.where(first, lives[worker], np.roll(life, 1))
    lives[worker] = life  # the last of several assignments stays
    return found


def as_blocks(
    rows: Rows | Messages,
    layout: Layout,
    version: int,
    reads: np.ndarray,
    writes: np.ndarray,
    width: int,
    dtype: str,
    fresh: np.ndarray | None = None,
) -> Table:
    """Return rows as one table, as long as there are blocks; the arguments are those of `stretches`, and the rows' layout."""
    blocks = _blocks(rows, layout, version, reads, writes, width, dtype)
    if isinstance(rows, Messages):
        assert fresh is not None
        return blocks._replace(message=_message_columns(rows, layout, version, width, dtype, fresh))
    return blocks


def _blocks(
    rows: Rows | Messages, layout: Layout, version: int, reads: np.ndarray, writes: np.ndarray, width: int, dtype: str
) -> Table:
    """Return the rows as blocks, in a table as long as there are blocks."""
    read_of_block = reads[layout.lane == 0]  # that of its first row, which its idle lanes read too
    read_slot = layout.spread(reads, np.int32, width, idle=read_of_block)
    staleness = version + layout.step - rows.read
    sizes = layout.sizes
    if isinstance(rows, Messages):  # the mean is over those that were used
        staleness, sizes = staleness * rows.used, np.bincount(layout.step, weights=rows.used)
    with np.errstate(over="ignore"):  # a weight beyond float32 is infinite in it: the run diverges, and says so
        weight = layout.spread(rows.weight, dtype, width)
    return Table(
        worker=layout.spread(rows.worker, np.int32, width),
        job=layout.spread(rows.job, np.int32, width),
        read_slot=read_slot,
        weight=weight,
        shared=(read_slot == read_slot[:, :1]).all(axis=1),
        staleness=layout.on_last_blocks(np.bincount(layout.step, weights=staleness) / sizes, dtype, elsewhere=0),
        write_slot=layout.on_last_blocks(writes[rows.step], np.int32, elsewhere=SPARE),
        last=layout.on_last_blocks(np.ones(len(layout.sizes), bool), bool, elsewhere=False),
    )


def _message_columns(rows: Messages, layout: Layout, version: int, width: int, dtype: str, fresh: np.ndarray) -> MessageColumns:
    """Return what composed methods read of each message besides."""
    step_of_block = layout.step[layout.lane == 0]
    return MessageColumns(
        used=layout.spread(rows.used, bool, width),
        staleness=layout.spread(version + layout.step - rows.read, dtype, width),
        steps=layout.spread(rows.steps, np.int32, width),
        kind=layout.spread(rows.kind, np.int32, width),
        read=layout.spread(rows.read, np.int32, width),
        fresh=layout.spread(fresh, bool, width),
        version=(version + step_of_block).astype(np.int32),
        count=np.bincount(layout.block, minlength=len(layout.long)).astype(np.int32),
    )


def _starts(sizes: np.ndarray) -> np.ndarray:
    """Return where each part begins, of parts that follow one another."""
    starts: np.ndarray = np.cumsum(sizes) - sizes
    return starts


def _borders(kinds: np.ndarray) -> list[int]:
    """Return where to cut so that each part is of one kind, the beginning and the end included."""
    return [0, *(np.flatnonzero(np.diff(kinds)) + 1).tolist(), len(kinds)]


def _padded(column: np.ndarray, length: int) -> np.ndarray:
    """Return the column with zeros after it, `length` long."""
    table = np.zeros((length, *column.shape[1:]), column.dtype)
    table[: len(column)] = column
    return table
