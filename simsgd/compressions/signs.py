"""Signs alone, a bit for each number, and three values, two bits for each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from simsgd.compression import Compression, Shapes
from simsgd.compressions.vectors import floating, unless_broken, vector
from simsgd.support import checks
from simsgd.work import Parameters

SCALE = 4
"""Bytes of a number that all others are multiplied by."""


def packed(bits: int, numbers: int) -> int:
    """Return the whole bytes of so many numbers of so many bits each."""
    return (bits * numbers + 7) // 8


def signs(numbers: jax.Array) -> jax.Array:
    """Return +1 or −1 for each number, +1 for 0: a bit has no third value."""
    return jnp.where(numbers >= 0, jnp.ones_like(numbers), -jnp.ones_like(numbers))


@dataclass(frozen=True, repr=False)
class Sign(Compression):
    """Send each number's sign: C(x)ᵢ = +1 where xᵢ ≥ 0, else −1.

    0 is sent as +1, for a bit has no third value. It is biased, and no contraction: the length of a message is lost, and with
    noise its direction may be. A message that has a NaN or an infinite number anywhere is sent as NaN.

    Bytes: ⌈d/8⌉.

    Source: Bernstein, Wang, Azizzadenesheli and Anandkumar (2018), "signSGD: compressed optimisation for non-convex problems",
    algorithm 1.

    Example:
        >>> import jax, jax.numpy as jnp, simsgd as sg
        >>> key, sign = jax.random.key(0), sg.compressions.Sign()
        >>> sign.compress(jnp.array([0.5, -3.0, 0.0]), (), key, key)[0].tolist()
        [1.0, -1.0, 1.0]
        >>> sign.bytes(((64, 32), (32,), (32, 10), (10,)))  # 2,410 numbers
        302
    """

    def bytes(self, shapes: Shapes) -> float:
        """Return ⌈d/8⌉."""
        return packed(1, sum(map(math.prod, shapes)))

    def compress(self, message: Parameters, state: Any, key: jax.Array, shared_key: jax.Array) -> tuple[Parameters, Any]:
        """Return the signs."""
        numbers, whole = vector("Sign", message)
        return whole(unless_broken(signs(numbers), numbers)), state


@dataclass(frozen=True, repr=False)
class ScaledSign(Compression):
    """Send each number's sign and the mean magnitude of all: C(x) = (‖x‖₁/d)·sign(x).

    The message is one vector of d numbers; the sign of 0 is +1. It is biased, and a contraction:
    ‖x − C(x)‖² = (1 − ‖x‖₁²/(d·‖x‖²))·‖x‖². So `ErrorFeedback` mends it.

    Bytes: ⌈d/8⌉ and 4 for the mean.

    Source: Karimireddy, Rebjock, Stich and Jaggi (2019), "Error feedback fixes signSGD and other gradient compression schemes",
    algorithm 1 and lemma 8 (this number from memory). Checked against the authors' code, which has a mean for each array.

    Example:
        >>> import jax, jax.numpy as jnp, simsgd as sg
        >>> key = jax.random.key(0)
        >>> sg.compressions.ScaledSign().compress(jnp.array([0.5, -3.0, 1.0, 1.5]), (), key, key)[0].tolist()
        [1.5, -1.5, 1.5, 1.5]
    """

    def bytes(self, shapes: Shapes) -> float:
        """Return ⌈d/8⌉ + 4."""
        return packed(1, sum(map(math.prod, shapes))) + SCALE

    def compress(self, message: Parameters, state: Any, key: jax.Array, shared_key: jax.Array) -> tuple[Parameters, Any]:
        """Return the signs times the mean magnitude."""
        numbers, whole = vector("ScaledSign", message)
        return whole(jnp.sum(jnp.abs(numbers)) / max(1, numbers.size) * signs(numbers)), state


@dataclass(frozen=True, repr=False)
class TernGrad(Compression):
    """Send −1, 0 or +1 for each number, by lot, and a scale for each array: C(x)ᵢ = s·sign(xᵢ)·bᵢ, P(bᵢ = 1) = |xᵢ|/s.

    s is the largest magnitude in the array that xᵢ is in. It is unbiased, and E‖C(x) − x‖² = s‖x‖₁ − ‖x‖² for each array. With
    `clip` numbers beyond clip·σ are cut to it before, σ the standard deviation of the array: less variance, and a bias. The
    authors clip at 2.5σ; here nothing is unless it is asked for.

    Bytes: ⌈2d/8⌉, as three values take two bits, and 4 for the scale of each array.

    Source: Wen et al. (2017), "TernGrad: ternary gradients to reduce communication in distributed deep learning", equations 1
    to 3, and section 3.3 (from memory). Checked against the authors' code: there, by equation 4, workers share one scale, the
    largest of theirs, so that their messages can be summed; here each has its own. Where that code clips, clip·σ is the scale
    even if no number is so large.

    Args:
        clip: how many standard deviations, above 0; None for no clipping.

    Raises:
        ValueError: for a clip that is not positive.

    Example:
        >>> import simsgd as sg
        >>> sg.compressions.TernGrad().bytes(((64, 32), (32,), (32, 10), (10,)))  # 603 of 2,410 numbers, and 4 scales
        619
    """

    needs_shapes: ClassVar[bool] = True
    clip: float | None = None

    def __post_init__(self) -> None:
        if self.clip is not None:
            checks.store(self, clip=checks.positive("TernGrad.clip", self.clip))

    def bytes(self, shapes: Shapes) -> float:
        """Return ⌈2d/8⌉ + 4 for each array that holds anything."""
        sizes = list(map(math.prod, shapes))
        return packed(2, sum(sizes)) + SCALE * sum(size > 0 for size in sizes)

    def compress(self, message: Parameters, state: Any, key: jax.Array, shared_key: jax.Array) -> tuple[Parameters, Any]:
        """Return the three values times the scales."""
        floating("TernGrad", message)
        leaves, tree = jax.tree.flatten(message)
        keys = jax.random.split(key, max(1, len(leaves)))
        return jax.tree.unflatten(tree, [self._ternary(leaf, k) for leaf, k in zip(leaves, keys, strict=False)]), state

    def _ternary(self, numbers: jax.Array, key: jax.Array) -> jax.Array:
        if not numbers.size:
            return numbers
        if self.clip is not None:
            most = self.clip * jnp.std(numbers)
            numbers = jnp.clip(numbers, -most, most)
        scale = jnp.max(jnp.abs(numbers))
        lots = jax.random.uniform(key, numbers.shape, numbers.dtype)
        return unless_broken(jnp.where(lots * scale < jnp.abs(numbers), scale * jnp.sign(numbers), 0), numbers)
