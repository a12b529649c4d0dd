"""The laws of the tape, enforced: a tape that breaks one is refused with the row and the law.

The laws stand at the head of `simsgd.tape.tape`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from simsgd.tape.intervals import downs, overlaps
from simsgd.tape.schema import JOB_LOGS, LOGS, MOMENTS, REASONS, TIES

if TYPE_CHECKING:
    from simsgd.tape.tape import Tape


class TapeError(ValueError):
    """A tape breaks one of its laws; the message names the row and the law."""


def check(tape: Tape) -> None:
    """Raise TapeError at the first row of a tape that breaks a law."""
    _check_types(tape)
    logs = {name: log for name, log, _ in tape.jobs_and_ends()}
    _check_values(tape, "down_spell", tape.down)
    _check_values(tape, "tie", tape.ties)
    _law(
        7, "down_spell", tape.down, ~(tape.down.start <= np.fmin(tape.down.end, tape.end)), "start ≤ end ≤ the tape's end fails"
    )
    made_at = np.append(np.concatenate([[0.0], tape.update_times]), np.inf)  # when each version was made, and the next never
    for name, log in logs.items():
        _check_values(tape, name, log)
        _check_lives(tape, name, log)
        _check_reads(name, log, made_at)
    _check_updates(tape)
    _check_discarded(tape, made_at)
    version = tape.version
    _law(3, "row", tape, tape.read > version, "read is not a version that existed when the row was used")
    _check_one_job_at_a_time(tape)
    _check_nobody_works_while_down(tape)


def _law(number: int, name: str, log: Any, broken: np.ndarray, sentence: str) -> None:
    """Raise TapeError with the first row of a log that is flagged."""
    if broken.any():
        row = int(np.argmax(broken))
        where = f"row {row}" if name == "row" else f"row {row} of the log {name!r}"
        values = ", ".join(f"{column}={getattr(log, column)[row]}" for column in LOGS[name])
        raise TapeError(f"{where} breaks law {number}: {sentence} ({values})")


def _check_types(tape: Tape) -> None:
    """Raise TapeError unless all columns of a log have one length and the right types."""
    if not isinstance(tape.workers, int) or tape.workers < 1:
        raise TapeError(f"workers must be a whole number of at least 1, got {tape.workers!r}")
    if not 0 <= tape.end < np.inf:
        raise TapeError(f"end must be a finite number of at least 0 (seconds), got {tape.end!r}")
    moments = tape.update_times
    if not isinstance(moments, np.ndarray) or moments.dtype != np.float64 or moments.shape != (tape.updates,):
        raise TapeError(f"update_times must hold the moment of each of {tape.updates} steps, float64, got {moments!r:.60}")
    logs: dict[str, Any] = {name: log for name, log, _ in tape.jobs_and_ends()} | {"down_spell": tape.down, "tie": tape.ties}
    for name, log in logs.items():
        for column, kind in LOGS[name].items():
            values = getattr(log, column)
            if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype != kind:
                raise TapeError(f"column {column} of log {name!r} must be a 1-d array of {np.dtype(kind)}, got {values!r:.60}")
            if len(values) != len(log):
                raise TapeError(f"column {column} of log {name!r} has {len(values)} rows, others have {len(log)}")


def _check_updates(tape: Tape) -> None:
    """Law 5: each step made a version, after the last of its rows was used and before the next row was."""
    moments = tape.update_times
    last = np.flatnonzero(tape.step)
    following = np.append(tape.time, tape.end)[last + 1]
    wrong = np.zeros(len(tape), bool)
    wrong[last] = ~((tape.time[last] <= moments) & (moments <= following))
    _law(5, "row", tape, wrong, "its step was made before it was used, or after the next row or the tape's end")


def _check_values(tape: Tape, name: str, log: Any) -> None:
    """Law 1: who worked on what, with what weight."""
    _law(1, name, log, (log.worker < 0) | (log.worker >= tape.workers), f"worker is not one of 0 to {tape.workers - 1}")
    if name != "down_spell":
        _law(1, name, log, log.job < 0, "job is not counted from 0")
    if name == "row":
        stepped = np.arange(len(log)) < len(log) - int(np.argmax(log.step[::-1])) if tape.updates else np.zeros(len(log), bool)
        _law(1, name, log, stepped & ~np.isfinite(log.weight), "weight is not finite")
        _law(1, name, log, ~stepped & ~np.isnan(log.weight), "weight is known before the step it is part of")
    if name in JOB_LOGS:
        _law(8, name, log, log.steps < 1, "steps is not at least 1")
        _law(8, name, log, log.kind < 0, "kind is not counted from 0")
        for what, charged in (("bytes", log.bytes_down), ("bytes", log.bytes_up), ("seconds", log.seconds)):
            _law(8, name, log, ~((charged >= 0) & (charged < np.inf)), f"{what} are not finite numbers of at least 0")
        _law(8, name, log, (log.seconds > 0) & np.isnan(log.ended) & (log.steps > 1), "steps is known before it ended")
        known = np.where(np.isnan(log.ended), 0.0, log.seconds)
        _law(
            8, name, log, ~((log.dropped >= 0) & (log.dropped <= known)), "dropped is not a part of the seconds of an ended job"
        )
    if name == "tie":
        _law(6, name, log, (log.kind < 0) | (log.kind >= len(TIES)), f"kind is not one of 0 to {len(TIES) - 1}")
        _law(6, name, log, (log.version < 0) | (log.version > tape.updates), "version is not one that there was")
        _law(2, name, log, ~((log.time >= 0) & (log.time <= tape.end)), "time is not within the recording")
    if name == "discarded":
        _law(6, name, log, (log.reason < 0) | (log.reason >= len(REASONS)), f"reason is not one of 0 to {len(REASONS) - 1}")
        _law(6, name, log, (log.version < log.read) | (log.version > tape.updates), "version is not one that there was")


def _check_lives(tape: Tape, name: str, log: Any) -> None:
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


def _check_discarded(tape: Tape, made_at: np.ndarray) -> None:
    """Law 6: what was thrown away was so at the version that there was at that moment."""
    log = tape.discarded
    there = (made_at[log.version] <= log.time) & (log.time <= made_at[log.version + 1])
    wrong = ~there | (np.diff(log.version, prepend=0) < 0)
    _law(6, "discarded", log, wrong, "version was not the newest at that time, or is below that of the row before it")


def _check_one_job_at_a_time(tape: Tape) -> None:
    """Law 1, over all logs together: a job is in one log only, and a worker's jobs follow one another without overlapping."""
    logs: dict[str, Any] = {name: log for name, log, _ in tape.jobs_and_ends()}
    worker, job, assigned = (tape.of_all_jobs(column) for column in ("worker", "job", "assigned"))
    end = np.concatenate([tape.arrived, tape.discarded.time, np.full(len(tape.in_flight), np.inf)])
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


def _check_nobody_works_while_down(tape: Tape) -> None:
    """Law 7: a worker that is down has no job in hand, and is not down twice at once."""
    worker, start, end = down = downs(tape)
    order = np.lexsort((tape.down.start, tape.down.worker))
    twice = np.zeros(len(tape.down), bool)
    twice[order[1:]] = (np.diff(worker) == 0) & (start[1:] < end[:-1])
    _law(7, "down_spell", tape.down, twice, "the worker was down already")
    for name, log, over in tape.jobs_and_ends():
        worked = overlaps(log.worker, log.assigned, np.fmin(log.arrived, over), down)
        _law(7, name, log, worked, "the worker was down while it worked")
