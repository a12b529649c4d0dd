"""The messages of some steps, in the order of their arrival: the gradients used, and those that arrived and were not used.

Who plays a tape for the workers' sake reads it here: a worker's own state moves with each of its messages, used or not, while
jobs that were cancelled, or lost in a crash, leave no trace.

Laws of this module:

1. A worker's messages are in the order of its jobs.
2. Asked for in pieces of any size, steps hold the same messages in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simsgd.tape.schema import REASONS, Down, Messages

Columns = Mapping[str, np.ndarray]
OF_ROWS = ("worker", "job", "read", "assigned", "time", "weight", "step", "steps", "kind")
"""The columns that are needed of the tape's rows."""
OF_UNUSED = ("worker", "job", "read", "assigned", "time", "version", "reason", "steps", "kind")
"""The columns that are needed of the log of discarded work."""
UNUSED = REASONS.index("unused")


def merged(rows: Columns, discarded: Columns, down: Down, version: int) -> Messages:
    """Return the used and the unused gradients of some steps together.

    An unused gradient belongs to the step that was made next, where it stands by its moment; at one moment it stands before
    those used, but after earlier ones of its own worker.

    Args:
        rows: columns of the tape's rows of these steps, to the end of the last of them.
        discarded: columns of the log of discarded work, from `version` on until before the last of these steps.
        down: when workers were down until then.
        version: the version before the first of these steps.

    Example:
        >>> import simsgd as sg
        >>> from simsgd.replaying.reading import Reading
        >>> cluster = sg.Cluster(3, sg.times.PerWorker([sg.times.Constant(s) for s in (1.0, 1.0, 3.5)]))
        >>> reading = Reading(sg.record(sg.protocols.RingmasterASGD(threshold=4), cluster, until=sg.Updates(9)))
        >>> reading.advance(updates=8)
        >>> found = reading.messages(row=6, version=6)
        >>> [(int(worker), bool(used)) for worker, used in zip(found.worker, found.used, strict=True)]
        [(2, False), (0, True), (1, True)]
    """
    unused = {name: column[discarded["reason"] == UNUSED] for name, column in discarded.items()}
    place = _places(rows, unused, version)

    def both(used: np.ndarray, others: np.ndarray | float) -> np.ndarray:
        return np.insert(used, place, others) if len(place) else used

    names = ("worker", "job", "read", "assigned", "steps", "kind")
    worker, job, read, assigned, steps, kind = (both(rows[name], unused[name]) for name in names)
    made = both(version + np.cumsum(rows["step"]) - rows["step"], unused["version"])
    return Messages(
        worker=worker,
        job=job,
        read=read,
        weight=both(rows["weight"], 0.0),
        step=np.append(made[1:] != made[:-1], True)[: len(made)],
        used=both(np.ones(len(rows["step"]), bool), False),
        steps=steps,
        kind=kind,
        life=lives(worker, assigned, down),
    )


def used_only(messages: Messages) -> Messages:
    """Return the messages without those that were not used.

    Example:
        >>> import numpy as np
        >>> from simsgd.tape.messages import used_only
        >>> from simsgd.tape.schema import Messages
        >>> numbers, used, step = np.arange(3), np.array([True, True, False]), np.array([True, False, True])
        >>> found = used_only(Messages(numbers, numbers, numbers, numbers, step, used, numbers, numbers, numbers))
        >>> found.worker.tolist(), found.step.tolist()
        ([0, 1], [True, True])
    """
    if messages.used.all():
        return messages
    number = np.cumsum(messages.step) - messages.step
    kept = Messages(*(column[messages.used] for column in messages))
    ends: np.ndarray = np.diff(number[messages.used], append=-1) != 0
    return kept._replace(step=ends)


def _places(rows: Columns, unused: Columns, version: int) -> np.ndarray:
    """Return for each unused gradient before which of the rows it stands."""
    if not len(unused["time"]):
        return np.empty(0, np.int64)
    ends = np.flatnonzero(rows["step"]) + 1
    step = unused["version"] - version
    place = np.clip(np.searchsorted(rows["time"], unused["time"]), np.append(0, ends)[step], ends[step])
    instant = np.flatnonzero(unused["assigned"] == unused["time"])  # the worker's job before may have been used just now
    if len(instant):
        before = _rows_before(rows, unused["worker"][instant], unused["job"][instant])
        place[instant] = np.maximum(place[instant], before + 1)
    return place


def _rows_before(rows: Columns, worker: np.ndarray, job: np.ndarray) -> np.ndarray:
    """Return for each job which row holds the last of its worker's earlier ones, −1 where there is none."""
    number, of_rows = (w.astype(np.int64) << 32 | j for w, j in ((worker, job), (rows["worker"], rows["job"])))
    order = np.argsort(of_rows)
    found = np.append(order, -1)[np.searchsorted(of_rows[order], number) - 1]  # place −1 is the one appended
    row: np.ndarray = np.where(np.append(rows["worker"], -1)[found] == worker, found, -1)
    return row


def lives(worker: np.ndarray, assigned: np.ndarray, down: Down) -> np.ndarray:
    """Return how many times each job's worker had been down before the job was assigned, int32.

    Example:
        >>> import numpy as np
        >>> from simsgd.tape.messages import lives
        >>> from simsgd.tape.schema import Down
        >>> down = Down(end=np.array([2.0, 5.0]), worker=np.array([0, 0]), start=np.array([1.0, 4.0]))
        >>> lives(np.array([0, 0, 1, 0]), np.array([0.0, 2.0, 9.0, 9.0]), down).tolist()
        [0, 1, 0, 2]
    """
    if not len(down):
        return np.zeros(len(worker), np.int32)
    who, when = np.append(down.worker, worker), np.append(down.end, assigned)  # not a number, still down, sorts last
    is_job = np.arange(len(who)) >= len(down)
    order = np.lexsort((is_job, when, who))
    spells = np.append(0, np.cumsum(~is_job[order]))  # up to each place, of all workers
    first = np.searchsorted(who[order], worker)
    place = np.empty(len(who), np.int64)
    place[order] = np.arange(len(who))
    found: np.ndarray = spells[place[len(down) :]] - spells[first]
    return found.astype(np.int32)
