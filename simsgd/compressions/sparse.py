"""Sparse messages: k of a message's d numbers are sent, the largest or any."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp

from simsgd.compression import Compression, Shapes
from simsgd.compressions.vectors import unless_broken, vector
from simsgd.support import checks
from simsgd.work import Message, Parameters

NUMBER, PLACE = 4, 4
"""Bytes of a number, and of its place in the message."""


@dataclass(frozen=True, repr=False)
class Sparse(Compression):
    """What sends k of a message's d numbers. Abstract: `TopK` and `RandomK` are its kinds.

    Args:
        share: k/d, above 0 and at most 1; k is the nearest whole number, at least 1.
        count: k itself, at least 1 and at most d. One of the two must be given.
    """

    share: float | None = None
    _: KW_ONLY
    count: int | None = None

    def __post_init__(self) -> None:
        name = type(self).__name__
        if (self.share is None) == (self.count is None):
            raise ValueError(
                f"{name} needs either share, as in {name}(share=0.01), or count, as in {name}(count=100), "
                f"got {'neither' if self.share is None else 'both'}"
            )
        if self.count is not None:
            checks.store(self, count=checks.whole(f"{name}.count", self.count, 1))
        else:
            wanted = "a share of the numbers, above 0 and at most 1, such as 0.01"
            if not isinstance(self.share, Real) or isinstance(self.share, bool):
                raise TypeError(f"{name}.share must be {wanted}, got {checks.shown(self.share)}")
            share = checks.number(f"{name}.share", self.share, wanted=wanted)
            if not 0 < share <= 1:
                raise ValueError(f"{name}.share must be {wanted}, got {self.share!r}")
            checks.store(self, share=share)

    def places(self, numbers: int) -> int:
        """Return k for messages of so many numbers.

        Raises:
            ValueError: if there are fewer than `count`.
        """
        if self.share is not None:
            return min(numbers, max(1, round(self.share * numbers)))
        assert self.count is not None
        if self.count > numbers:
            raise ValueError(
                f"{type(self).__name__}.count must be at most the {numbers} numbers of a message, got {self.count}: "
                "give a smaller count, or a share"
            )
        return self.count

    def check(self, message: Message) -> None:
        """Raise ValueError if messages have fewer numbers than `count`; of those of no bytes nothing is known."""
        super().check(message)
        if message.known or message.bytes:
            self.places(sum(map(math.prod, message.shapes)))

    def _bytes(self, shapes: Shapes, each: int) -> float:
        """Return the bytes of k numbers of `each` bytes, at most those of a message that is sent whole."""
        numbers = sum(map(math.prod, shapes))
        sent = self.places(numbers) if self.share is not None else min(self.count or 0, numbers)
        return min(each * sent, NUMBER * numbers)


@dataclass(frozen=True, repr=False)
class TopK(Sparse):
    """Send the k numbers of largest magnitude, each with its place: C(x)ᵢ = xᵢ if |xᵢ| is among the k largest, else 0.

    The message is one vector of d numbers, whatever arrays it has. Of numbers equally large, those that come first are sent, so
    that it is always k. NaN counts as larger than infinity. It is biased, and a contraction: ‖x − C(x)‖² ≤ (1 − k/d)·‖x‖².

    Bytes: 8k, a number and its place in 4 bytes each; where that is more than 4d the message is sent whole, in 4d bytes.

    Source: Aji and Heafield (2017), "Sparse communication for distributed gradient descent"; Stich, Cordonnier and Jaggi
    (2018), "Sparsified SGD with memory", definition 2.1.

    Args:
        share: k/d, above 0 and at most 1; k is the nearest whole number, at least 1.
        count: k itself, at least 1 and at most d. One of the two must be given.

    Raises:
        TypeError: if `share` is no number. ValueError: for a share or a count out of range, for neither, or for both.

    Example:
        >>> import jax, jax.numpy as jnp, simsgd as sg
        >>> sg.compressions.TopK(share=0.01).bytes(((64, 32), (32,), (32, 10), (10,)))  # 24 of 2,410 numbers
        192
        >>> key = jax.random.key(0)
        >>> sent, _ = sg.compressions.TopK(count=2).compress(jnp.array([1.0, -3.0, 2.0]), (), key, key)
        >>> sent.tolist()
        [0.0, -3.0, 2.0]
    """

    def bytes(self, shapes: Shapes) -> float:
        """Return 8k, at most 4d."""
        return self._bytes(shapes, NUMBER + PLACE)

    def compress(self, message: Parameters, state: Any, key: jax.Array, shared_key: jax.Array) -> tuple[Parameters, Any]:
        """Return the message with 0 in all but k places."""
        numbers, whole = vector("TopK", message)
        kept = largest(magnitude_bits(numbers), self.places(numbers.size))
        return whole(jnp.where(kept, numbers, 0)), state


@dataclass(frozen=True, repr=False)
class RandomK(Sparse):
    """Send k numbers from places drawn at random, times d/k: C(x)ᵢ = (d/k)·xᵢ in k places of d, else 0.

    All choices of k places are equally likely. It is unbiased, E[C(x)] = x, and E‖C(x) − x‖² = (d/k − 1)·‖x‖². With
    `scaled=False` the factor is left out, which makes it biased, and a contraction, E‖x − C(x)‖² = (1 − k/d)·‖x‖²: that is
    what `ErrorFeedback` needs. A message that has a NaN or an infinite number anywhere is sent as NaN.

    Bytes: 8k, a number and its place in 4 bytes each, at most 4d. With `shared` all workers draw the same places at one
    version, by a seed that they have in common: then no place travels, 4k bytes are left, and an all-reduce can sum the
    messages.

    Source: Stich, Cordonnier and Jaggi (2018), "Sparsified SGD with memory", definition 2.1; Wangni, Wang, Liu and Zhang
    (2018), "Gradient sparsification for communication-efficient distributed optimization" (from memory).

    Args:
        share: k/d, above 0 and at most 1; k is the nearest whole number, at least 1.
        count: k itself, at least 1 and at most d. One of the two must be given.
        shared: whether all workers send the same places.
        scaled: whether numbers are sent times d/k.

    Raises:
        TypeError: if `share` is no number. ValueError: for a share or a count out of range, for neither, or for both.

    Example:
        >>> import simsgd as sg
        >>> sg.compressions.RandomK(share=0.01, shared=True).bytes(((64, 32), (32,), (32, 10), (10,)))  # 24 of 2,410 numbers
        96
    """

    _: KW_ONLY
    shared: bool = False
    scaled: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.truth("RandomK.shared", self.shared)
        checks.truth("RandomK.scaled", self.scaled)

    @property
    def sums(self) -> bool:
        """Whether all workers send the same places."""
        return self.shared

    def bytes(self, shapes: Shapes) -> float:
        """Return 8k, or 4k if the places are shared; at most 4d."""
        return self._bytes(shapes, NUMBER + (0 if self.shared else PLACE))

    def compress(self, message: Parameters, state: Any, key: jax.Array, shared_key: jax.Array) -> tuple[Parameters, Any]:
        """Return the message with 0 in all but k places, drawn by the key, and d/k times as much in these."""
        numbers, whole = vector("RandomK", message)
        k = self.places(numbers.size)
        lots = jax.random.bits(shared_key if self.shared else key, numbers.shape, jnp.uint32)
        factor = numbers.size / k if self.scaled and k else 1.0
        return whole(unless_broken(jnp.where(largest(lots, k), factor * numbers, 0), numbers)), state


def magnitude_bits(numbers: jax.Array) -> jax.Array:
    """Return whole numbers without a sign that are ordered as the magnitudes of `numbers` are, NaN above infinity."""
    unsigned = jnp.dtype(f"uint{8 * numbers.dtype.itemsize}")
    return jax.lax.bitcast_convert_type(numbers, unsigned) << 1  # without its first bit, the sign


def largest(values: jax.Array, k: int) -> jax.Array:
    """Return which of a vector's whole numbers without a sign are the k largest, (d,) bool; of equal ones the first.

    By bisection of a threshold: how many are not below it? It ends when these are k, or when it is found and too many are equal
    to it. Each count reads the vector once; sorting takes many times as long (see DESIGN.md).
    """
    if k >= values.size:
        return jnp.ones(values.shape, bool)
    table = _folded(values)  # with zeros, which no threshold above 0 counts

    def narrow(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        low, high, count = state  # count = #{values ≥ low} ≥ k > #{values > high}
        middle = high - (high - low) // 2
        found = _count(table >= middle)
        enough = found >= k
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle - 1), jnp.where(enough, found, count)

    none = jnp.zeros((), values.dtype)
    begun = (none, ~none, jnp.asarray(values.size, jnp.int32))  # the largest of them takes longer to find than a count
    threshold, _, count = jax.lax.while_loop(lambda s: (s[2] != k) & (s[0] < s[1]), narrow, begun)

    def without_ties() -> jax.Array:
        above = values > threshold
        return above | _first(values == threshold, k - jnp.sum(above, dtype=jnp.int32))

    kept: jax.Array = jax.lax.cond(count == k, lambda: values >= threshold, without_ties)
    return kept


def _first(marked: jax.Array, k: jax.Array) -> jax.Array:
    """Return the first k of the places that are marked, (d,) bool."""
    place = jnp.arange(marked.size, dtype=jnp.int32)

    def narrow(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = state  # fewer than k of them are before low, or low is 0; k are before high
        middle = (low + high) // 2
        enough = jnp.sum(marked & (place < middle), dtype=jnp.int32) >= k
        return jnp.where(enough, low, middle + 1), jnp.where(enough, middle, high)

    size = jnp.asarray(marked.size, jnp.int32)
    _, end = jax.lax.while_loop(lambda s: s[0] < s[1], narrow, (jnp.zeros_like(size), size))
    return marked & (place < end)


ROWS, COLUMNS = 127, 128
"""A byte counts so many rows; fewer columns than so many keep no processor busy."""


def _folded(values: jax.Array) -> jax.Array:
    """Return a vector as a table of at most ROWS rows, filled up with zeros."""
    columns = max(COLUMNS, -(-values.size // ROWS))
    rows = -(-values.size // columns)
    return jnp.pad(values, (0, rows * columns - values.size)).reshape(rows, columns)


def _count(marked: jax.Array) -> jax.Array:
    """Return how many places of a folded vector are marked: by columns, in bytes, thrice as fast as one after the other."""
    return jnp.sum(jnp.sum(marked, axis=0, dtype=jnp.int8), dtype=jnp.int32)
