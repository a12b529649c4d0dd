"""The tape until a moment: one definition, for a recording in progress and for a finished tape that is read again.

A recording knows some of the future: an uncontended job's whole life is known when it is handed out. And a finished tape knows
what came after the moment at which a reader stands. Both are cut here, by the same rules:

- Up to a second, all that happened until then, that second included, has happened.
- Up to an update, what the server did until it made that version has happened, and of everything else at that very moment
  nothing has. Where several events fall on one moment, the logs do not always tell what was before; then `Ties` does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from simsgd import provenance
from simsgd.tape.schema import JOB_COLUMNS, MOMENTS, REASONS, TIES, Down, Jobs, Ties

if TYPE_CHECKING:
    from simsgd.tape.tape import Tape

THROUGH = {"departed": "began", "sent": "arrived"}
"""When a message left is known only once it is through: it might yet have queued for longer."""


def hide(columns: Mapping[str, np.ndarray], now: float | np.ndarray, by_time: bool) -> dict[str, np.ndarray]:
    """Return the columns of jobs with what comes after `now` unknown: moments NaN; at `now` itself only if not `by_time`.

    Example:
        >>> import numpy as np
        >>> from simsgd.tape.prefix import hide
        >>> moments = ("assigned", "departed", "began", "ended", "sent", "arrived")
        >>> job = {name: np.array([second]) for name, second in zip(moments, (0.0, 0.0, 1.0, 5.0, 5.0, 6.0), strict=True)}
        >>> [float(column[0]) for column in hide(job, 5.0, by_time=True).values()]
        [0.0, 0.0, 1.0, 5.0, nan, nan]
    """
    shown = dict(columns)
    for name in MOMENTS[1:]:
        moment = columns[THROUGH.get(name, name)]
        shown[name] = np.where((moment <= now) if by_time else (moment < now), columns[name], np.nan)
    if "steps" in columns:  # a job that has a time makes as many as end in it: nobody knows how many before it has ended
        shown["steps"] = np.where((columns["seconds"] > 0) & np.isnan(shown["ended"]), np.int32(1), columns["steps"])
        shown["dropped"] = np.where(np.isnan(shown["ended"]), 0.0, columns["dropped"])
    return shown


def hide_what_never_came(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the columns of discarded work without the moments that were to come when it was stopped."""
    stopped = columns["reason"] != REASONS.index("unused")
    hidden = hide(columns, columns["time"], by_time=False)
    return dict(columns) | {name: np.where(stopped, hidden[name], columns[name]) for name in (*MOMENTS[1:], "steps", "dropped")}


def now_known(tape: Tape, by_time: bool) -> Tape:
    """Return a tape that ends now without what it tells of the future: of jobs in flight, and of a step still to be made.

    Args:
        tape: all that has happened until `tape.end`; what it holds in flight may tell of later moments.
        by_time: whether it ends with the second `tape.end`, or with its last update.
    """
    rows, stepped = len(tape), tape.rows_until(tape.updates)
    if stepped < rows:  # the step may yet scale their weights
        weight = tape.weight.copy()
        weight[stepped:] = np.nan
        tape = dataclasses.replace(tape, weight=weight)
    known = dataclasses.replace(tape, in_flight=Jobs(**hide(tape.in_flight.columns(), tape.end, by_time)))
    until = {"seconds": tape.end} if by_time else {"updates": tape.updates}
    return dataclasses.replace(known, header=provenance.ended(known.header, known.content_hash, until))


def until(whole: Tape, now: float, version: int, by_time: bool) -> Tape:
    """Return a finished tape as it was at the moment `now`, after so many updates.

    Args:
        whole: the tape of a longer recording.
        now: simulated seconds.
        version: how many updates there had been.
        by_time: whether it ends with the second `now`, or with the update that made `version`.
    """
    stepped = whole.rows_until(version)
    rows = int(np.searchsorted(whole.time, now, side="right")) if by_time else stepped
    lost = int(np.searchsorted(whole.discarded.time, now, side="right"))
    if not by_time:  # gradients that arrived just after the update are still to be thrown away
        lost -= int(np.count_nonzero(_lost_after(whole, now, version)))
    later = (whole.columns(slice(rows, None)), whole.discarded.columns(slice(lost, None)), whole.in_flight.columns())
    kept = whole.cut_rows(slice(rows))
    kept = dataclasses.replace(
        kept,
        step=kept.step & (np.arange(rows) < stepped),
        update_times=whole.update_times[:version],
        end=now,
        down=_down_until(whole.down, now),
        ties=_ties_until(whole.ties, now, version, by_time),
        discarded=whole.discarded.cut(slice(lost)),
        in_flight=_under_way(later, now, version, None if by_time else whole.ties),
    )
    return now_known(kept, by_time)


def _lost_after(whole: Tape, now: float, version: int) -> np.ndarray:
    """Say which jobs were thrown away at `now`, but after the version was made.

    When it was made, others may have been cancelled; and the gradient whose arrival made the server step may be unused itself.
    """
    discarded, stepped = whole.discarded, whole.rows_until(version)
    with_it = discarded.reason == REASONS.index("cancelled")
    at_once = (discarded.time == now) & (discarded.version == version)
    if stepped and whole.time[stepped - 1] < now:  # the step was not made when its last gradient came
        with_it[np.flatnonzero(at_once & (discarded.reason == REASONS.index("unused")))[:1]] = True
    with_it |= _tied(discarded, whole.ties, now, version, "thrown away with it")
    with_it &= ~_tied(discarded, whole.ties, now, version, "thrown away after")
    later: np.ndarray = (discarded.time == now) & ((discarded.version > version) | at_once & ~with_it)
    return later


def _tied(jobs: Jobs, ties: Ties, now: float, version: int, kind: str) -> np.ndarray:
    """Say of which jobs the log of ties tells something of a kind, at `now` with that version."""
    there = (ties.time == now) & (ties.version == version) & (ties.kind == TIES.index(kind))
    if not there.any():
        return np.zeros(len(jobs), bool)
    jobs_number, there_number = (of.worker.astype(np.int64) << 32 | of.job for of in (jobs, ties.cut(there)))
    found: np.ndarray = np.isin(jobs_number, there_number)
    return found


def _ties_until(ties: Ties, now: float, version: int, by_time: bool) -> Ties:
    """Return the log of ties as it was at `now`."""
    with_it = (ties.version < version) | (ties.kind == TIES.index("thrown away with it")) & (ties.version == version)
    return ties.cut((ties.time <= now) & (by_time | (ties.time < now) | with_it))


def _under_way(later: Iterable[Mapping[str, np.ndarray]], now: float, version: int, ties: Ties | None) -> Jobs:
    """Return, of jobs that ended later, those that were in flight at `now`."""
    jobs = {name: np.concatenate([log[name] for log in later]) for name in JOB_COLUMNS}
    order = np.lexsort((jobs["job"], jobs["worker"]))
    order = order[((jobs["assigned"] <= now) & (jobs["read"] <= version))[order]]
    first = np.diff(jobs["worker"][order], prepend=-1) != 0  # a worker's next job begins only when this one is over
    found = Jobs(**{name: column[order[first]] for name, column in jobs.items()})
    return found if ties is None else Jobs(**found.columns(~_tied(found, ties, now, version, "handed out after")))


def _down_until(down: Down, now: float) -> Down:
    """Return the log of workers that were down as it was at `now`."""
    begun = down.start <= now
    return Down(np.where(down.end[begun] <= now, down.end[begun], np.nan), down.worker[begun], down.start[begun])
