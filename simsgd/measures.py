"""What is measured from a tape for a run, and how a summary says it."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence

import numpy as np

from simsgd.tape import Tape

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Which quantiles of each worker's staleness a run keeps: a share q of its gradients is at most that stale."""

OF_WORKERS = ("worker_loss",)
"""What an evaluation may have for each worker."""


def per_worker(tape: Tape) -> dict[str, np.ndarray]:
    """Return what is known of each worker, arrays of shape (workers,)."""
    used = np.bincount(tape.worker, minlength=tape.workers)
    stale = np.bincount(tape.worker, weights=tape.staleness, minlength=tape.workers)
    return {
        **tape.shares(),
        "gradients": used,
        "discarded_gradients": np.bincount(tape.discarded.worker, minlength=tape.workers),
        "mean_staleness": np.divide(stale, used, out=np.full(tape.workers, np.nan), where=used > 0),
    }


def staleness_quantiles(tape: Tape) -> np.ndarray:
    """Return the quantiles of each worker's staleness, shape (workers, quantiles), NaN for a worker without gradients."""
    used = np.bincount(tape.worker, minlength=tape.workers)
    by_worker = tape.staleness[np.lexsort((tape.staleness, tape.worker))].astype(float)
    first = np.cumsum(used) - used
    place = first[:, None] + np.ceil(np.array(QUANTILES) * used[:, None]).astype(int) - 1
    found = np.append(by_worker, np.nan)[np.clip(np.maximum(place, first[:, None]), 0, len(by_worker))]
    return np.where(used[:, None] > 0, found, np.nan)


def bytes_moved(tape: Tape, moments: np.ndarray) -> np.ndarray:
    """Return the bytes of the messages that had arrived by each of the moments: what workers were sent, and sent back, once.

    An all-reduce moves no model, so `bytes_down` does not count. A sum of n gradients moves 2(n−1) messages as long as the
    longest of them, whatever the algorithm; where they are gathered, as what cannot be summed while it is compressed, each goes
    to the n−1 others. What is lost is not counted.
    """
    if tape.collective:
        when, which, ranks = np.unique(tape.arrived, return_inverse=True, return_counts=True)
        if tape.header.get("gathered"):
            sizes, messages = np.bincount(which, weights=tape.bytes_up), ranks - 1.0
        else:
            sizes, messages = np.zeros(len(when)), 2.0 * (ranks - 1)
            np.maximum.at(sizes, which, tape.bytes_up)
    else:
        when = np.concatenate([tape.of_all_jobs("began"), tape.of_all_jobs("arrived")])  # not a number where it never did
        sizes = np.concatenate([tape.of_all_jobs("bytes_down"), tape.of_all_jobs("bytes_up")])
        messages = np.ones(len(when))
    order = np.lexsort((sizes, when))  # those of one moment in an order of their own, so that the sum rounds the same
    with np.errstate(over="ignore"):  # what is beyond all floats is infinite
        moved: np.ndarray = np.append(0.0, np.cumsum((sizes * messages)[order]))
    return moved[np.searchsorted(when[order], moments, side="right")]


def samples_used(tape: Tape, updates: np.ndarray, batch_size: int) -> np.ndarray:
    """Return how many samples the gradients of the first so many updates took: a batch for each local step."""
    rows = np.append(0, np.flatnonzero(tape.step) + 1)[updates]
    samples: np.ndarray = np.append(0, np.cumsum(tape.steps, dtype=np.int64))[rows] * batch_size
    return samples


def versions() -> dict[str, str]:
    """Return the versions that results depend on."""
    packages = ("simsgd", "jax", "jaxlib", "numpy", "optax", "simpy")
    installed = {p: importlib.metadata.version(p) for p in packages if _is_installed(p)}
    return {"python": platform.python_version(), **installed}


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def held(time: Sequence[float], stretch: tuple[int, int]) -> str:
    """Return in words how long a stretch of evaluations is and how it ended."""
    first, last = stretch
    how = "to the end" if last == len(time) - 1 else f"lost at {time[last + 1]:.4g} s"
    return f"for {time[last] - time[first]:.4g} s, {how}"


def not_kept(time: Sequence[float], stretches: list[tuple[int, int]]) -> str:
    """Return in words how a target was reached and not kept."""
    if not stretches:
        return "never"
    first, longest = stretches[0], max(stretches, key=lambda stretch: time[stretch[1]] - time[stretch[0]])
    words = f"first reached after {time[first[0]]:.4g} s"
    if longest == first:
        return f"{words}, {held(time, first)}"
    return f"{words}, then lost; longest of {len(stretches)} from {time[longest[0]]:.4g} s {held(time, longest)}"


def size_in_words(count: float) -> str:
    """Return a number of bytes with a unit, for example "12.8 MB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.4g} {unit}"
        count /= 1000
    return f"{count:.4g} TB"
