"""Compressions that keep a momentum at the worker, in which what was not sent waits: deep gradient compression and DeMo."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from simsgd.compression import Compression, Shapes
from simsgd.compressions.around import Around
from simsgd.compressions.sparse import largest, magnitude_bits
from simsgd.compressions.vectors import floating
from simsgd.support import checks
from simsgd.work import Parameters

NUMBER = 4
"""Bytes of a number."""


class Accumulated(NamedTuple):
    """What a worker keeps back: its momentum, the sum of what it has not sent, and what the compression inside remembers."""

    momentum: Any
    waiting: Any
    inside: Any


@dataclass(frozen=True)
class DeepGradientCompression(Around):
    """Add up a local momentum, send the largest numbers of that sum, and begin both anew in the places that were sent.

    u ← m·u + g (momentum correction), v ← v + u (local accumulation), v̂ = C(v) is sent, v ← v − v̂, and u ← 0 where v̂ ≠ 0
    (momentum factor masking). With C = `TopK` that is the paper's v ← v⊙¬mask. A compression that sends something everywhere
    would mask all of u: take a sparse one. If C sends everything, u and v are 0 again after each message, which is g itself,
    and momentum is left to the server's optimizer.

    Its momentum stands in for the optimizer's, which steps with the messages as they are. Left out is the paper's warm-up, in
    which the share falls over the first epochs: a compression has the same bytes for all messages. Clipping at the worker is
    `at_worker=optax.clip_by_global_norm(…)`, with the paper's threshold times n^(−½).

    Bytes: those of C; messages can be summed where C's can. It needs no `ErrorFeedback`: v is that.

    Source: Lin, Han, Mao, Wang and Dally (2018), "Deep gradient compression: reducing the communication bandwidth for
    distributed training", equation 7 and section 3.3. Checked against the authors' code as well; both pick the largest of each
    array by itself, where `TopK` picks those of the whole message.

    Args:
        compression: C; in the paper `TopK` of a thousandth.
        momentum: m, at least 0 and below 1.

    Raises:
        TypeError: if `compression` is no `Compression`. ValueError: for a momentum out of range.

    Example:
        >>> import jax, jax.numpy as jnp, simsgd as sg
        >>> made = sg.compressions.DeepGradientCompression(sg.compressions.TopK(count=1), momentum=0.5)
        >>> state, key = made.init(jnp.zeros(2)), jax.random.key(0)
        >>> for g in ([4.0, 2.0], [0.0, 2.0]):  # v of the second place: 2, then 2 + (0.5·2 + 2)
        ...     sent, state = made.compress(jnp.array(g), state, key, key)
        >>> sent.tolist()
        [0.0, 5.0]
    """

    feeds_back: ClassVar[bool] = True

    momentum: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.store(self, momentum=checks.below_one("DeepGradientCompression.momentum", self.momentum))

    def init(self, message: Parameters) -> Any:
        """Return zeros for momentum and sum, and what the compression begins with."""
        floating("DeepGradientCompression", message)
        return Accumulated(message, message, self.compression.init(message))

    def compress(self, message: Parameters, state: Any, key: jax.Array, shared_key: jax.Array) -> tuple[Parameters, Any]:
        """Return what is sent of the sum, and what is left."""
        momentum = jax.tree.map(lambda u, g: self.momentum * u + g, state.momentum, message)
        waiting = jax.tree.map(jnp.add, state.waiting, momentum)
        sent, inside = self.compression.compress(waiting, state.inside, key, shared_key)
        left = jax.tree.map(jnp.subtract, waiting, sent)
        masked = jax.tree.map(lambda u, s: jnp.where(s == 0, u, 0), momentum, sent)
        return sent, Accumulated(masked, left, inside)


@dataclass(frozen=True)
class DeMo(Compression):
    """Decoupled momentum: of a local momentum the largest DCT components of each chunk are sent, and taken out of it.

    m ← β·m + g, q = the `keep` components of largest magnitude of each chunk's discrete cosine transform, m ← m − IDCT(q), and
    the other end makes IDCT(q) of it. What is not sent stays in the momentum, so it needs no `ErrorFeedback`. The paper steps
    with the sign of what all workers sent: `optax.sign_sgd` as the optimizer.

    An array of two or more dimensions is one matrix, that of its last dimension against the rest, cut along both sides into as
    few pieces of at most `chunk` as will do, equally long; a vector is cut along its only one. Where the pieces do not come out
    even, zeros are appended, and taken away again. The transform is the orthonormal DCT-II, of both sides of a chunk.

    Bytes: for each component 4, and 1, 2 or 4 for its place, the fewest that count the numbers of a chunk; where `keep` is as
    large as a chunk, its array is sent whole and as it is. Places differ between workers, so nothing is summed on the way.

    Two things differ from the paper's code: it takes chunks of the largest divisor of a side up to `chunk`, which is 1 for a
    prime; and it averages a component over those who sent it, where here who did not send it counts as 0.

    Source: Peng, Quesnelle and Kingma (2024), "DeMo: decoupled momentum optimization", arXiv 2411.19870, algorithm 1;
    checked against the authors' code, the order of the steps and the defaults, too.

    Args:
        keep: components of each chunk, at least 1; the paper tries 1 to 32.
        chunk: the longest side of a chunk, at least 1.
        momentum: β, at least 0 and below 1.

    Raises:
        ValueError: for numbers out of range.

    Example:
        >>> import simsgd as sg
        >>> sg.compressions.DeMo(keep=8).bytes(((64, 32), (10,)))  # 8 of 2,048, places in 2 bytes; 8 of 10, in 1
        88
    """

    feeds_back: ClassVar[bool] = True

    keep: int = 32
    chunk: int = 64
    momentum: float = 0.999
    needs_shapes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.store(
            self,
            keep=checks.whole("DeMo.keep", self.keep, 1),
            chunk=checks.whole("DeMo.chunk", self.chunk, 1),
            momentum=checks.below_one("DeMo.momentum", self.momentum),
        )

    def bytes(self, shapes: Shapes) -> float:
        """Return those of the components kept and their places, or of an array that is sent whole."""
        return sum(self._bytes_of(_Grid.of(shape, self.chunk), math.prod(shape)) for shape in shapes)

    def _bytes_of(self, grid: _Grid, numbers: int) -> int:
        if self.keep >= grid.size:
            return NUMBER * numbers
        place = next(width for width in (1, 2, 4) if grid.size <= 256**width)
        return grid.chunks * self.keep * (NUMBER + place)

    def init(self, message: Parameters) -> Any:
        """Return the momentum, zeros."""
        floating("DeMo", message)
        return message

    def compress(self, message: Parameters, state: Any, key: jax.Array, shared_key: jax.Array) -> tuple[Parameters, Any]:
        """Return what is sent of the momentum, and what is left of it."""
        momentum = jax.tree.map(lambda m, g: self.momentum * m + g, state, message)
        sent = jax.tree.map(self._fast, momentum)
        return sent, jax.tree.map(jnp.subtract, momentum, sent)

    def _fast(self, leaf: jax.Array) -> jax.Array:
        """Return the part of an array that its largest components make up."""
        grid = _Grid.of(leaf.shape, self.chunk)
        if self.keep >= grid.size:
            return leaf
        components = grid.transform(leaf)
        of_chunk = components.reshape(grid.chunks, grid.size)
        kept = jax.vmap(lambda row: largest(magnitude_bits(row), self.keep))(of_chunk)
        return grid.back(jnp.where(kept, of_chunk, 0).reshape(components.shape), leaf.shape)


class _Grid(NamedTuple):
    """An array as a matrix cut into chunks: how many along each side, and how long they are; of a vector one row."""

    rows: int
    columns: int
    counts: tuple[int, int]
    sides: tuple[int, int]

    @staticmethod
    def of(shape: tuple[int, ...], longest: int) -> _Grid:
        """Return that of an array of a shape."""
        columns = shape[-1] if shape else 1
        rows = math.prod(shape[:-1])
        counts = max(1, -(-rows // longest)), max(1, -(-columns // longest))
        return _Grid(rows, columns, counts, (-(-rows // counts[0]), -(-columns // counts[1])))

    @property
    def chunks(self) -> int:
        """How many chunks there are."""
        return math.prod(self.counts)

    @property
    def size(self) -> int:
        """Numbers of a chunk."""
        return math.prod(self.sides)

    def transform(self, leaf: jax.Array) -> jax.Array:
        """Return the components of an array, by chunk: (chunks of rows, chunks of columns, rows, columns of a chunk)."""
        (tall, wide), (height, width) = self.counts, self.sides
        missing = ((0, tall * height - self.rows), (0, wide * width - self.columns))
        matrix = jnp.pad(leaf.reshape(self.rows, self.columns), missing).reshape(tall, height, wide, width)
        return jnp.einsum("ahbw,kh,lw->abkl", matrix, _cosines(height, leaf.dtype), _cosines(width, leaf.dtype))

    def back(self, components: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Return the array that components make up."""
        height, width = self.sides
        cosines = _cosines(height, components.dtype), _cosines(width, components.dtype)
        matrix = jnp.einsum("abkl,kh,lw->ahbw", components, *cosines).reshape(self.counts[0] * height, -1)
        return matrix[: self.rows, : self.columns].reshape(shape)


def _cosines(length: int, dtype: Any) -> jax.Array:
    """Return the orthonormal DCT-II of vectors so long, a matrix with a row for each component."""
    component, place = np.arange(length)[:, None], np.arange(length)
    waves = np.sqrt(2 / length) * np.cos(np.pi * component * (2 * place + 1) / (2 * length))
    waves[0] /= np.sqrt(2)
    return jnp.asarray(waves, dtype)
