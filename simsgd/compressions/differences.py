"""Compressed differences: what is sent is how far a gradient lies from an estimate that both ends keep, EF21 and DIANA.

Where a gradient stays the same the estimate comes ever closer to it, and so the error of compressing goes to zero where that of
the gradient itself does not: at the optimum of workers whose data differ, a worker's own gradient is not zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from simsgd.compressions.around import Around
from simsgd.compressions.vectors import floating
from simsgd.support import checks
from simsgd.work import Parameters


class Estimate(NamedTuple):
    """What a worker and the server both hold of its messages, and what the compression inside remembers."""

    held: Any
    inside: Any


@dataclass(frozen=True)
class _Differences(Around):
    """What compresses the difference between a message and an estimate of it that both ends hold, from 0."""

    feeds_back: ClassVar[bool] = True

    def init(self, message: Parameters) -> Any:
        """Return an estimate of 0, and what the compression begins with."""
        floating(type(self).__name__, message)
        return Estimate(message, self.compression.init(message))

    def _difference(self, message: Parameters, state: Any, key: jax.Array, shared_key: jax.Array) -> tuple[Parameters, Any]:
        """Return what the other end makes of a compressed difference to what is held, and what is remembered inside."""
        apart = jax.tree.map(jnp.subtract, message, state.held)
        return self.compression.compress(apart, state.inside, key, shared_key)


@dataclass(frozen=True)
class EF21(_Differences):
    """EF21, error feedback of 2021: gᵢ ← gᵢ + C(∇fᵢ − gᵢ), and the message is the new gᵢ.

    On the wire is C's message alone: the server keeps each gᵢ, or where messages are summed their mean, and adds to it. gᵢ
    begins at 0, so that the first message is C(∇fᵢ), the beginning that the authors name; any is allowed. C is a contraction,
    ‖x − C(x)‖² ≤ (1 − α)·‖x‖², as `TopK` and `RandomK(scaled=False)` are. While a gradient stays the same, each message
    multiplies the error by √(1 − α) at most; so methods with exact gradients of a strongly convex function converge linearly,
    whatever the workers' data. The noise of stochastic gradients stays.

    Bytes: those of C; messages can be summed where C's can.

    Source: Richtárik, Sokolov and Fatkhullin (2021), "EF21: a new, simpler, theoretically better, and practically faster error
    feedback", algorithm 2 (its number from memory). Checked against the authors' code, in which gᵢ begins as ∇fᵢ, and against
    Fatkhullin et al. (2021), "EF21 with bells & whistles", table 2, which names the beginning C(∇fᵢ).

    Args:
        compression: C, of any kind.

    Raises:
        TypeError: if it is no `Compression`.

    Example:
        >>> import jax, jax.numpy as jnp, simsgd as sg
        >>> made = sg.compressions.EF21(sg.compressions.TopK(count=1))
        >>> state, key = made.init(jnp.zeros(3)), jax.random.key(0)
        >>> for _ in range(2):
        ...     sent, state = made.compress(jnp.array([4.0, 2.0, 1.0]), state, key, key)
        >>> sent.tolist()
        [4.0, 2.0, 0.0]
    """

    def compress(self, message: Parameters, state: Any, key: jax.Array, shared_key: jax.Array) -> tuple[Parameters, Any]:
        """Return the new gᵢ."""
        change, inside = self._difference(message, state, key, shared_key)
        held = jax.tree.map(jnp.add, state.held, change)
        return held, Estimate(held, inside)


@dataclass(frozen=True)
class DIANA(_Differences):
    """DIANA: Δ = C(∇fᵢ − hᵢ) is sent, the message is hᵢ + Δ, and both ends learn hᵢ ← hᵢ + α·Δ.

    C must be unbiased, as `RandomK` is. Then so is the message, and its variance is that of compressing ∇fᵢ − hᵢ, which goes to
    zero as hᵢ learns the worker's gradient at the optimum. With E‖C(x) − x‖² ≤ ω·‖x‖², for `RandomK` d/k − 1, one takes
    α = 1/(1 + ω), which is k/d; the paper itself has quantization for C. With α = 1 and a contraction it is `EF21`. Where
    messages are summed on the way it is enough that the server keeps the mean of the hᵢ.

    Bytes: those of C; messages can be summed where C's can.

    Source: Mishchenko, Gorbunov, Takáč and Richtárik (2019), "Distributed learning with compressed gradient differences",
    algorithm 1 (its number from memory; the rule and α as in the code of MARINA's authors, who compare with it).

    Args:
        compression: C, of any kind.
        step: α, above 0 and at most 1.

    Raises:
        TypeError: if `compression` is no `Compression`. ValueError: for a step out of range.

    Example:
        >>> import jax, jax.numpy as jnp, simsgd as sg
        >>> made = sg.compressions.DIANA(sg.compressions.TopK(share=1.0), step=0.5)
        >>> sent, state = made.compress(jnp.array([4.0]), made.init(jnp.zeros(1)), jax.random.key(0), jax.random.key(0))
        >>> sent.tolist(), state.held.tolist()
        ([4.0], [2.0])
    """

    step: float

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.store(self, step=checks.up_to_one("DIANA.step", self.step, "1/(1 + ω) of the compression, k/d of RandomK"))

    def compress(self, message: Parameters, state: Any, key: jax.Array, shared_key: jax.Array) -> tuple[Parameters, Any]:
        """Return hᵢ + Δ, and the new hᵢ."""
        change, inside = self._difference(message, state, key, shared_key)
        learned = jax.tree.map(lambda h, delta: h + self.step * delta, state.held, change)
        return jax.tree.map(jnp.add, state.held, change), Estimate(learned, inside)
