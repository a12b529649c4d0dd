"""Error feedback: what a compression left out is remembered, and sent later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax

from simsgd.compressions.around import Around
from simsgd.compressions.vectors import floating
from simsgd.support import checks
from simsgd.work import Parameters


@dataclass(frozen=True, repr=False)
class ErrorFeedback(Around):
    """Add what was left out before, send that compressed, and remember what is left out now.

    With the error e of each worker, from 0: p = decay·e + message; C(p) is sent; e ← p − C(p). With decay 1, what was sent and
    the error are together the sum of all messages: nothing is lost but time. In the papers the step size η is in the message,
    p = e + ηg; here it is in the server's optimizer and e has none, which is the same as long as η does not change.

    It is for contractions, ‖x − C(x)‖ < ‖x‖, such as `TopK` and `ScaledSign`. An unbiased compression that scales up, such as
    `RandomK`, is none unless `scaled=False`: the error would grow without bound.

    State: e, like the message, for each worker. Bytes: those of what it wraps.

    Source: Seide et al. (2014), "1-bit stochastic gradient descent and its application to data-parallel distributed training of
    speech DNNs"; Stich, Cordonnier and Jaggi (2018), "Sparsified SGD with memory", algorithm 1; Karimireddy et al. (2019),
    "Error feedback fixes signSGD and other gradient compression schemes", algorithm 2 (this number from memory). Checked
    against the code of the last two.

    Args:
        compression: what messages are sent with.
        decay: the share of an error that is remembered, from 0 (none) to 1.

    Raises:
        TypeError: if `compression` is no `Compression`.
        ValueError: for a decay out of range.

    Example:
        >>> import jax, jax.numpy as jnp, simsgd as sg
        >>> memory = sg.compressions.ErrorFeedback(sg.compressions.TopK(count=1))
        >>> key, message = jax.random.key(0), jnp.array([1.0, -3.0, 2.0])
        >>> state = memory.init(jnp.zeros(3))
        >>> for _ in range(2):
        ...     sent, state = memory.compress(message, state, key, key)
        ...     print(sent.tolist(), state[0].tolist())
        [0.0, -3.0, 0.0] [1.0, 0.0, 2.0]
        [0.0, 0.0, 4.0] [2.0, -3.0, 0.0]
    """

    feeds_back: ClassVar[bool] = True

    decay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        decay = checks.not_negative("ErrorFeedback.decay", self.decay)
        if decay > 1:
            raise ValueError(f"ErrorFeedback.decay must be at least 0 and at most 1, got {self.decay!r}")
        checks.store(self, decay=decay)

    def init(self, message: Parameters) -> tuple[Parameters, Any]:
        """Return an error of 0, and the state of what it wraps."""
        floating("ErrorFeedback", message)
        return message, self.compression.init(message)

    def compress(self, message: Parameters, state: Any, key: jax.Array, shared_key: jax.Array) -> tuple[Parameters, Any]:
        """Return what is sent of the message and the error, and the new error."""
        floating("ErrorFeedback", message)
        error, inner = state
        whole = jax.tree.map(lambda e, m: self.decay * e + m, error, message)
        sent, inner = self.compression.compress(whole, inner, key, shared_key)
        return sent, (jax.tree.map(lambda p, s: p - s, whole, sent), inner)
