"""Who did what when: a tape's jobs as stretches of time, and what share of its time each worker spent how."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from simsgd.tape.tape import Tape

KINDS = ("computing", "discarded", "sending", "queueing", "barrier", "down")
"""What a worker can be seen doing, see `stretches`."""
SHARES = ("computing", "sending", "queueing", "waiting", "down")
"""What a worker's time is divided into, see `shares`."""

type Stretches = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Workers, beginnings and ends (seconds): arrays of one shape."""


def stretches(tape: Tape) -> dict[str, Stretches]:
    """Return what workers did when; see `Tape.stretches`."""
    found: dict[str, list[Stretches]] = {kind: [_nothing()] for kind in KINDS}
    for name, log, over in tape.jobs_and_ends():
        assigned, departed, began, ended, sent, arrived = log.life(over)
        if tape.collective:  # a sum that was never finished was waited for
            sent = np.where(np.isnan(log.arrived), over, sent)
        found["queueing"] += [(log.worker, assigned, departed), _while_up(tape, log.worker, arrived, over)]
        found["sending"] += [(log.worker, departed, began), (log.worker, sent, arrived)]
        found["barrier" if tape.collective else "queueing"].append((log.worker, ended, sent))
        if name == "discarded":
            found["discarded"].append((log.worker, began, ended))
            continue
        over_time, cut = np.minimum(began + log.seconds, ended), log.dropped > 0
        found["computing"] += [(log.worker, began, np.where(cut, over_time - log.dropped, ended))]
        found["computing"] += [(log.worker[cut], over_time[cut], ended[cut])]  # of the message that is compressed after it
        found["discarded"] += [(log.worker[cut], (over_time - log.dropped)[cut], over_time[cut])]
    found["down"].append((tape.down.worker, tape.down.start, np.fmin(tape.down.end, tape.end)))
    return {kind: _joined(parts) for kind, parts in found.items()}


def shares(tape: Tape) -> dict[str, np.ndarray]:
    """Return how each worker spent its time; see `Tape.shares`."""
    spent = {kind: np.zeros(tape.workers) for kind in SHARES}
    for kind, (worker, begin, stop) in stretches(tape).items():
        seconds = np.bincount(worker, weights=stop - begin, minlength=tape.workers)
        spent[{"discarded": "computing", "barrier": "waiting"}.get(kind, kind)] += seconds / (tape.end or 1.0)
    spent["waiting"] = np.maximum(0.0, 1 - sum(share for kind, share in spent.items() if kind != "waiting"))
    return spent


def overlaps(worker: np.ndarray, begin: np.ndarray, stop: np.ndarray, down: Stretches) -> np.ndarray:
    """Say which stretches [begin, stop] of workers overlap one in which the worker was down, by more than a moment.

    The stretches in which workers were down are sorted by worker and start, and those of a worker do not overlap.
    """
    down_worker, down_start, down_end = down
    found = np.zeros(len(worker), bool)
    for number in np.unique(down_worker):
        first, last = np.searchsorted(down_worker, [number, number + 1])
        own = np.flatnonzero(worker == number)
        after = np.searchsorted(down_end[first:last], begin[own], side="right")  # the first that ends after the beginning
        known = np.append(down_start[first:last], np.inf)
        found[own] = known[after] < stop[own]
    return found


def downs(tape: Tape) -> Stretches:
    """Return when workers were down, sorted by worker and start."""
    order = np.lexsort((tape.down.start, tape.down.worker))
    return tape.down.worker[order], tape.down.start[order], np.fmin(tape.down.end, tape.end)[order]


def _while_up(tape: Tape, worker: np.ndarray, begin: np.ndarray, stop: np.ndarray) -> Stretches:
    """Return stretches without the parts in which the worker was down: a gradient may queue while its worker is down."""
    down = downs(tape)
    cut = overlaps(worker, begin, stop, down) & (begin < stop)
    kept = [(worker[~cut], begin[~cut], stop[~cut])]
    own = np.searchsorted(down[0], worker[cut]), np.searchsorted(down[0], worker[cut], side="right")
    for number, moment, last, low, high in zip(worker[cut], begin[cut], stop[cut], *own, strict=True):
        first = low + np.searchsorted(down[2][low:high], moment, side="right")  # those that it meets only: they may be many
        after = low + np.searchsorted(down[1][low:high], last, side="left")
        starts, ends = (np.clip(column[first:after], moment, last) for column in down[1:])
        edges = np.append(moment, ends), np.append(starts, last)
        kept.append((np.full(len(edges[0]), number), *edges))
    return _joined(kept)


def _nothing() -> Stretches:
    return np.empty(0, np.int32), np.empty(0), np.empty(0)


def _joined(parts: list[Stretches]) -> Stretches:
    worker, begin, stop = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return worker, begin, stop
