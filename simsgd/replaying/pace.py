"""How far ahead of the device the host goes: a moment, so that Ctrl-C is heard at once, and enough to keep the device busy.

Laws of this module:

1. No bit depends on it: blocks played in pieces of any size give the same bits.
2. What is handed to the device takes it about a tenth of a second, whatever the model, and no more than two such pieces wait.
   A thread that waits inside of JAX hears no Ctrl-C (a large model played in pieces of 4,096 gradients heard it after 107 s).
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator

import jax

from simsgd.support import interrupts

SHORT, WANTED, LONG = 0.03, 0.1, 0.3
"""Seconds: pieces that took less than the first become longer, and those that took more than the last become shorter."""
GROWTH = 8
ASKING = 0.002
"""Seconds between two questions whether the device is done; asking instead of waiting costs so much at most."""
LONGEST = 4096
"""Blocks in one piece."""
IN_WAIT = 2
"""So many pieces may be handed over before the first of them is done."""


class Wait:
    """Waits for the device so that Ctrl-C is heard: inside of JAX if the last wait was short, else by asking again and again.

    Example:
        >>> import jax.numpy as jnp
        >>> from simsgd.replaying.pace import Wait
        >>> Wait()(jnp.zeros(()))
    """

    def __init__(self) -> None:
        self._last = math.inf

    def __call__(self, array: jax.Array) -> None:
        """Wait until the device has computed an array."""
        begun = time.perf_counter()
        while self._last > WANTED and not array.is_ready():  # type: ignore[attr-defined,unused-ignore]
            time.sleep(ASKING)
        array.block_until_ready()
        self._last = time.perf_counter() - begun


class Pace:
    """Cuts what is to be played into pieces, and waits where the host would get too far ahead.

    Example:
        >>> import jax.numpy as jnp
        >>> from simsgd.replaying.pace import Pace
        >>> pace = Pace()
        >>> for start, stop in pace.pieces(0, 3):
        ...     pace.handed(stop - start, jnp.zeros(()))
        >>> pace.length > 1
        True
    """

    def __init__(self) -> None:
        self.length = 1
        """Blocks in the next piece."""
        self._blocks = 0  # handed over since the last mark
        self._marks: deque[tuple[jax.Array, int, float]] = deque()
        self._done = 0.0
        self._wait = Wait()

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield [start, stop) in pieces, (start, stop) each; what is learned from one is used for the next."""
        while start < stop:
            yield start, (end := min(stop, start + self.length))
            start = end

    def handed(self, blocks: int, result: jax.Array) -> None:
        """Take in that so many blocks have been handed to the device, and wait if too much is waiting already.

        Args:
            blocks: how many.
            result: something that the device has computed when it has played them, and that is not given away.
        """
        self._blocks += blocks
        if self._blocks < self.length:
            return
        self._marks.append((result, self._blocks, time.perf_counter()))
        self._blocks = 0
        if len(self._marks) >= IN_WAIT:
            interrupts.look()
            earlier, played, since = self._marks.popleft()
            self._wait(earlier)
            now = time.perf_counter()
            self._learn(played, now - max(since, self._done))
            self._done = now

    def _learn(self, blocks: int, seconds: float) -> None:
        """Make pieces longer or shorter after so many blocks took at most so many seconds."""
        if seconds < SHORT:
            self.length = min(LONGEST, blocks * GROWTH)
        elif seconds > LONG:
            self.length = max(1, int(blocks * WANTED / seconds))
