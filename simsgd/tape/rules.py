"""The laws of the tape, enforced: a tape that breaks one is refused with the row and the law.

The laws stand at the head of `simsgd.tape`. This module takes anything with a tape's columns, and knows their names and types.
"""

from __future__ import annotations

from typing import Any

import numpy as np

JOB_COLUMNS: dict[str, type] = {
    "worker": np.int32,
    "job": np.int32,
    "read": np.int32,
    "assigned": np.float64,
    "departed": np.float64,
    "began": np.float64,
    "ended": np.float64,
    "sent": np.float64,
    "arrived": np.float64,
}
"""The columns that every log of jobs has, with their types; see `Jobs`."""
ROW_COLUMNS: dict[str, type] = {"step": np.bool_, "time": np.float64, "weight": np.float64} | JOB_COLUMNS
"""The columns of the tape's rows; see `Tape`."""
DISCARDED_COLUMNS: dict[str, type] = {"time": np.float64, "version": np.int32, "reason": np.int8} | JOB_COLUMNS
"""The columns of the log of discarded work; see `Discarded`."""
DOWN_COLUMNS: dict[str, type] = {"end": np.float64, "worker": np.int32, "start": np.float64}
"""The columns of the log of workers that were down; see `Down`."""
JOB_LOGS = {"row": ROW_COLUMNS, "discarded": DISCARDED_COLUMNS, "in_flight": JOB_COLUMNS}
"""The logs of jobs."""
LOGS = JOB_LOGS | {"down_spell": DOWN_COLUMNS}
"""The tape's logs, with the names that their columns and their dimension have in a Dataset."""
MOMENTS = ("assigned", "departed", "began", "ended", "sent", "arrived")
"""The moments of a job's life, in their order."""
REASONS = ("unused", "cancelled", "crash", "leaving")
"""Why work was thrown away: the protocol did not use it, cancelled it, the worker crashed, or left for good."""


class TapeError(ValueError):
    """A tape breaks one of its laws; the message names the row and the law."""


def check(tape: Any) -> None:
    """Raise TapeError at the first row of a tape that breaks a law."""
    _check_types(tape)
    logs = {"row": tape, "discarded": tape.discarded, "in_flight": tape.in_flight}
    _check_values(tape, "down_spell", tape.down)
    _law(
        7, "down_spell", tape.down, ~(tape.down.start <= np.fmin(tape.down.end, tape.end)), "start ≤ end ≤ the tape's end fails"
    )
    made_at = np.append(np.concatenate([[0.0], tape.update_times]), np.inf)  # when each version was made, and the next never
    for name, log in logs.items():
        _check_values(tape, name, log)
        _check_lives(tape, name, log)
        _check_reads(name, log, made_at)
    _check_updates(tape)
    version = tape.version
    _law(3, "row", tape, tape.read > version, "read is not a version that existed when the row was used")
    _check_one_job_at_a_time(logs)
    _check_nobody_works_while_down(logs, tape)


def _law(number: int, name: str, log: Any, broken: np.ndarray, sentence: str) -> None:
    """Raise TapeError with the first row of a log that is flagged."""
    if broken.any():
        row = int(np.argmax(broken))
        where = f"row {row}" if name == "row" else f"row {row} of the log {name!r}"
        values = ", ".join(f"{column}={getattr(log, column)[row]}" for column in LOGS[name])
        raise TapeError(f"{where} breaks law {number}: {sentence} ({values})")


def _check_types(tape: Any) -> None:
    """Raise TapeError unless all columns of a log have one length and the right types."""
    if not isinstance(tape.workers, int) or tape.workers < 1:
        raise TapeError(f"workers must be a whole number of at least 1, got {tape.workers!r}")
    if not 0 <= tape.end < np.inf:
        raise TapeError(f"end must be a finite number of at least 0 (seconds), got {tape.end!r}")
    moments = tape.update_times
    if not isinstance(moments, np.ndarray) or moments.dtype != np.float64 or moments.shape != (tape.updates,):
        raise TapeError(f"update_times must hold the moment of each of {tape.updates} steps, float64, got {moments!r:.60}")
    for name, log in (("row", tape), ("discarded", tape.discarded), ("in_flight", tape.in_flight), ("down_spell", tape.down)):
        for column, kind in LOGS[name].items():
            values = getattr(log, column)
            if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype != kind:
                raise TapeError(f"column {column} of log {name!r} must be a 1-d array of {np.dtype(kind)}, got {values!r:.60}")
            if len(values) != len(log):
                raise TapeError(f"column {column} of log {name!r} has {len(values)} rows, others have {len(log)}")


def _check_updates(tape: Any) -> None:
    """Law 5: each step made a version, after the last of its rows was used and before the next row was."""
    moments = tape.update_times
    last = np.flatnonzero(tape.step)
    following = np.append(tape.time, tape.end)[last + 1]
    wrong = np.zeros(len(tape), bool)
    wrong[last] = ~((tape.time[last] <= moments) & (moments <= following))
    _law(5, "row", tape, wrong, "its step was made before it was used, or after the next row or the tape's end")


def _check_values(tape: Any, name: str, log: Any) -> None:
    """Law 1: who worked on what, with what weight."""
    _law(1, name, log, (log.worker < 0) | (log.worker >= tape.workers), f"worker is not one of 0 to {tape.workers - 1}")
    if name != "down_spell":
        _law(1, name, log, log.job < 0, "job is not counted from 0")
    if name == "row":
        stepped = np.arange(len(log)) < len(log) - int(np.argmax(log.step[::-1])) if tape.updates else np.zeros(len(log), bool)
        _law(1, name, log, stepped & ~np.isfinite(log.weight), "weight is not finite")
        _law(1, name, log, ~stepped & ~np.isnan(log.weight), "weight is known before the step it is part of")
    if name == "discarded":
        _law(6, name, log, (log.reason < 0) | (log.reason >= len(REASONS)), f"reason is not one of 0 to {len(REASONS) - 1}")
        _law(6, name, log, (log.version < log.read) | (log.version > tape.updates), "version is not one that there was")


def _check_lives(tape: Any, name: str, log: Any) -> None:
    """Law 2: a job's life goes forward, within the recording; what never happened is NaN, and so is all after it."""
    if "time" in LOGS[name]:
        _law(2, name, log, np.diff(log.time, prepend=0.0) < 0, "time is before the row before it")
    life = np.stack([getattr(log, moment) for moment in MOMENTS])
    last = np.broadcast_to(tape.end, log.assigned.shape) if name == "in_flight" else log.time
    backwards = (np.diff(np.fmin(life, last), axis=0, prepend=0.0) < 0).any(axis=0) | ~(np.fmax.reduce(life) <= last)
    gone_on = (np.isnan(life[:-1]) & ~np.isnan(life[1:])).any(axis=0) | np.isnan(life[0]) | ~np.isfinite(last)
    unfinished = np.isnan(life).any(axis=0) if name == "row" else np.zeros(len(log), bool)
    _law(2, name, log, backwards | gone_on | unfinished, "assigned ≤ departed ≤ began ≤ ended ≤ sent ≤ arrived ≤ time fails")
    _law(2, name, log, last > tape.end, f"time is after the tape's end, {tape.end}")


def _check_reads(name: str, log: Any, made_at: np.ndarray) -> None:
    """Laws 3 and 4: a job is handed the newest version there is."""
    newest = len(made_at) - 2
    _law(3, name, log, (log.read < 0) | (log.read > newest), f"read is not a version that existed: they are 0 to {newest}")
    _law(3, name, log, made_at[log.read] > log.assigned, "read was made only after its job was assigned")
    _law(4, name, log, made_at[log.read + 1] < log.assigned, "read was not the newest version when its job was assigned")


def _check_one_job_at_a_time(logs: dict[str, Any]) -> None:
    """Law 1, over all logs together: a job is in one log only, and a worker's jobs follow one another without overlapping."""
    ends = {"row": logs["row"].arrived, "discarded": logs["discarded"].time, "in_flight": None}
    worker, job, assigned = (np.concatenate([getattr(log, c) for log in logs.values()]) for c in ("worker", "job", "assigned"))
    end = np.concatenate([np.full(len(log), np.inf) if ends[name] is None else ends[name] for name, log in logs.items()])
    name_of = np.repeat(list(logs), [len(log) for log in logs.values()])
    row_of = np.concatenate([np.arange(len(log)) for log in logs.values()])
    order = np.lexsort((job, worker))
    same_worker = np.diff(worker[order]) == 0
    for broken, sentence in (
        (np.diff(job[order]) == 0, "the same (worker, job) is logged twice"),
        (assigned[order][1:] < end[order][:-1], "assigned before the worker's job before was over"),
    ):
        later = order[1:][same_worker & broken]
        if len(later):
            first = later.min()
            flags = np.zeros(len(logs[name_of[first]]), bool)
            flags[row_of[first]] = True
            _law(1, str(name_of[first]), logs[name_of[first]], flags, sentence)


def _check_nobody_works_while_down(logs: dict[str, Any], tape: Any) -> None:
    """Law 7: a worker that is down has no job in hand, and is not down twice at once."""
    down = tape.down
    order = np.lexsort((down.start, down.worker))
    worker, start, end = (column[order] for column in (down.worker, down.start, np.fmin(down.end, tape.end)))
    twice = np.zeros(len(down), bool)
    twice[order[1:]] = (np.diff(worker) == 0) & (start[1:] < end[:-1])
    _law(7, "down_spell", down, twice, "the worker was down already")
    for name, log in logs.items():
        over = np.fmin(log.arrived, tape.end if name == "in_flight" else log.time)
        _law(7, name, log, overlaps(log.worker, log.assigned, over, worker, start, end), "the worker was down while it worked")


def overlaps(
    worker: np.ndarray,
    begin: np.ndarray,
    stop: np.ndarray,
    down_worker: np.ndarray,
    down_start: np.ndarray,
    down_end: np.ndarray,
) -> np.ndarray:
    """Say which stretches [begin, stop] of workers overlap one in which the worker was down, by more than a moment.

    The stretches in which workers were down are sorted by worker and start, and those of a worker do not overlap.
    """
    found = np.zeros(len(worker), bool)
    for number in np.unique(down_worker):
        first, last = np.searchsorted(down_worker, [number, number + 1])
        own = np.flatnonzero(worker == number)
        after = np.searchsorted(down_end[first:last], begin[own], side="right")  # the first that ends after the beginning
        known = np.append(down_start[first:last], np.inf)
        found[own] = known[after] < stop[own]
    return found
