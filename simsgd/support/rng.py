"""Named random streams: every draw belongs to (seed, purpose, worker), and nothing is global.

Laws of this module:

1. The same (seed, purpose, worker) gives the same stream in every process; different ones are independent.
2. A stream depends on nothing else: neither on the number of workers, nor on the order in which streams are made or
   used. That is what keeps a worker's job times the same when the method or another worker's law changes.
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np

from simsgd.support import checks


@functools.cache
def _number(purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little")


def _sequence(seed: int, purpose: str, worker: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(checks.whole("seed", seed, 0), spawn_key=(_number(purpose), worker))


def stream(seed: int, purpose: str, worker: int = 0) -> np.random.Generator:
    """Return the NumPy generator of one purpose of one worker.

    Args:
        seed: the simulation's seed, a whole number of at least 0.
        purpose: what the draws are for, for example "compute time".
        worker: the worker's number.

    Raises:
        ValueError: if `seed` is not a whole number of at least 0.

    Example:
        >>> from simsgd.support import rng
        >>> rng.stream(0, "compute time", worker=3).random() == rng.stream(0, "compute time", worker=3).random()
        True
    """
    return np.random.Generator(np.random.PCG64(_sequence(seed, purpose, worker)))


def key_words(seed: int, purpose: str) -> np.ndarray:
    """Return the two 32-bit words (shape (2,), uint32) of the JAX key for one purpose.

    They are plain NumPy, so that this module needs no JAX; `jax.random.wrap_key_data` makes the key.

    Example:
        >>> from simsgd.support import rng
        >>> rng.key_words(0, "batches").shape
        (2,)
    """
    return _sequence(seed, purpose, 0).generate_state(2, np.uint32)
