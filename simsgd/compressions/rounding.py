"""Coarser numbers: fewer bits for each, rounded by lot so that nothing is lost on average, or to the nearest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from simsgd.compression import Compression, Shapes
from simsgd.compressions.signs import SCALE, packed
from simsgd.compressions.vectors import floating, kept, unless_broken, vector
from simsgd.support import checks
from simsgd.work import Parameters


@dataclass(frozen=True, repr=False)
class QSGD(Compression):
    """Round each magnitude by lot to one of 0, ‖x‖/s, 2‖x‖/s, …, ‖x‖, with ‖x‖ the message's length: C(x)ᵢ = ‖x‖·sign(xᵢ)·ξᵢ.

    ξᵢ is one of the two neighbours l/s and (l + 1)/s of |xᵢ|/‖x‖, with the probabilities that make it unbiased, E[C(x)] = x.
    The message is one vector of d numbers, and E‖C(x) − x‖² ≤ min(d/s², √d/s)·‖x‖². If ‖x‖² is infinite in the message's
    precision, the whole message is sent as NaN.

    Bytes: 4 for ‖x‖, and 1 + ⌈log₂(s + 1)⌉ bits for each number, sign and level: with 127 levels it is a byte. The paper codes
    likely levels in fewer bits (Elias), which is left out.

    Source: Alistarh, Grubic, Li, Tomioka and Vojnović (2017), "QSGD: communication-efficient SGD via gradient quantization and
    encoding", section 3.1, equation 4 and lemma 3.1. GRACE, a library of compressions, cuts a message into buckets of 128
    numbers, each with a length of its own: less noise, and more lengths to send.

    Args:
        levels: s, at least 1.

    Raises:
        ValueError: if that is no whole number of at least 1.

    Example:
        >>> import simsgd as sg
        >>> sg.compressions.QSGD(levels=127).bytes(((64, 32), (32,), (32, 10), (10,)))  # 2,410 numbers
        2414
    """

    levels: int = 127

    def __post_init__(self) -> None:
        checks.store(self, levels=checks.whole("QSGD.levels", self.levels, 1))

    def bytes(self, shapes: Shapes) -> float:
        """Return 4 + ⌈(1 + ⌈log₂(s + 1)⌉)·d/8⌉."""
        return SCALE + packed(1 + self.levels.bit_length(), sum(map(math.prod, shapes)))

    def compress(self, message: Parameters, state: Any, key: jax.Array, shared_key: jax.Array) -> tuple[Parameters, Any]:
        """Return the levels times ‖x‖/s."""
        numbers, whole = vector("QSGD", message)
        length = jnp.sqrt(jnp.sum(numbers**2))
        along = jnp.minimum(self.levels, jnp.abs(numbers) / jnp.where(length > 0, length, 1) * self.levels)
        level = jnp.floor(along)
        level = level + (jax.random.uniform(key, numbers.shape, numbers.dtype) < along - level)
        return whole(unless_broken(length / self.levels * jnp.sign(numbers) * level, length)), state


POWERS = {8: (-94, 31), 9: (-126, 127)}
"""Of how many bits: the exponents of the smallest and the largest power of two that can be sent."""


@dataclass(frozen=True, repr=False)
class NaturalRounding(Compression):
    """Round each number by lot to one of the two powers of two around it, so that nothing is lost on average.

    With 2ᵃ ≤ |x| ≤ 2ᵃ⁺¹: C(x) = sign(x)·2ᵃ⁺¹ with probability (|x| − 2ᵃ)/2ᵃ, else sign(x)·2ᵃ. It is unbiased, and
    E(C(x) − x)² ≤ x²/8 for each number.

    Bytes: `bits` for each number, ⌈bits·d/8⌉: a sign, and an exponent. 9 bits have the exponents of 4-byte numbers, 2⁻¹²⁶ to
    2¹²⁷; 8 bits have 2⁻⁹⁴ to 2³¹, which is ours. A number below the smallest power goes to it or to 0 by lot; one above the
    largest goes to it or becomes infinite.

    Source: Horváth, Ho, Horváth, Sahu, Canini and Richtárik (2019), "Natural compression for distributed deep learning",
    definition 1 and theorem 1 (their numbers from memory; the rounding as in GRACE, a library of compressions).

    Args:
        bits: 8 or 9.

    Raises:
        ValueError: for other bits.

    Example:
        >>> import jax, jax.numpy as jnp, simsgd as sg
        >>> key, natural = jax.random.key(0), sg.compressions.NaturalRounding()
        >>> natural.compress(jnp.array([0.5, -4.0, 0.0]), (), key, key)[0].tolist()  # powers of two stay
        [0.5, -4.0, 0.0]
        >>> natural.bytes(((64, 32), (32,), (32, 10), (10,)))  # 9/8 of 2,410, and the begun byte
        2712
    """

    bits: int = 9

    def __post_init__(self) -> None:
        checks.one_of("NaturalRounding.bits", self.bits, POWERS)

    def bytes(self, shapes: Shapes) -> float:
        """Return ⌈bits·d/8⌉."""
        return packed(self.bits, sum(map(math.prod, shapes)))

    def compress(self, message: Parameters, state: Any, key: jax.Array, shared_key: jax.Array) -> tuple[Parameters, Any]:
        """Return the powers of two."""
        numbers, whole = vector("NaturalRounding", message)
        smallest, largest = (2.0**power for power in POWERS[self.bits])
        lots = jax.random.uniform(key, numbers.shape, numbers.dtype)
        magnitude = jnp.abs(numbers)
        mantissa, exponent = jnp.frexp(magnitude)  # mantissa from ½ up to 1: the power below is 2^(exponent − 1)
        power = jnp.ldexp(jnp.asarray(0.5, numbers.dtype), exponent + (lots < 2 * mantissa - 1))
        power = jnp.where(magnitude < smallest, jnp.where(lots * smallest < magnitude, smallest, 0), power)
        power = jnp.where(power > largest, jnp.inf, power)
        return whole(jnp.where(jnp.isfinite(numbers), jnp.copysign(power, numbers), numbers)), state


@dataclass(frozen=True, repr=False)
class Half(Compression):
    """Send each number in two bytes: rounded to the nearest of "float16", 11 bits of mantissa, or of "bfloat16", 8 bits.

    float16 has numbers up to 65,504, beyond which they become infinite, and none but 0 below 6·10⁻⁸; bfloat16 has the range of
    4-byte numbers. They can be summed on the way; what a sum in two bytes would round once more is not simulated.

    Bytes: 2d.

    Source: Micikevicius et al. (2018), "Mixed precision training"; Kalamkar et al. (2019), "A study of BFLOAT16 for deep
    learning training" (from memory).

    Args:
        kind: "float16" or "bfloat16".

    Raises:
        ValueError: for another kind.

    Example:
        >>> import jax, jax.numpy as jnp, simsgd as sg
        >>> key = jax.random.key(0)
        >>> sg.compressions.Half("bfloat16").compress(jnp.array([1.0, 1.001, 70_000.0]), (), key, key)[0].tolist()
        [1.0, 1.0, 70144.0]
    """

    kind: str = "float16"

    def __post_init__(self) -> None:
        checks.one_of("Half.kind", self.kind, ("float16", "bfloat16"))

    @property
    def sums(self) -> bool:
        """Whether messages can be added while they are compressed: they can."""
        return True

    def bytes(self, shapes: Shapes) -> float:
        """Return 2d."""
        return 2 * sum(map(math.prod, shapes))

    def compress(self, message: Parameters, state: Any, key: jax.Array, shared_key: jax.Array) -> tuple[Parameters, Any]:
        """Return the rounded numbers."""
        floating("Half", message)

        def rounded(leaf: jax.Array) -> jax.Array:
            half: jax.Array = kept(leaf.astype(self.kind))
            return half.astype(leaf.dtype)

        return jax.tree.map(rounded, message), state
