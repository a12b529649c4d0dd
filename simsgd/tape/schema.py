"""The schema of a job: its columns, in one place. Every log, file and check of the tape is derived from here.

To add a column, add a field to `Gradient`: logs, files, hashes, checks and what protocols see follow.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np


class Gradient(NamedTuple):
    """One gradient through its life, read-only: asked for at `assigned`, computed, delivered at `arrived`.

    These fields are also the columns that every log of jobs has (`Jobs`): whole numbers as int32, moments in simulated seconds
    as float64, not a number (NaN) for what has not happened.

    Attributes:
        worker: whose it is.
        job: which of the worker's jobs, counted from 0.
        read: the version of the model that the server handed out for it.
        assigned: when the server handed the model out, simulated seconds.
        departed: when the model had the server's link to itself, and was on its way; until then it queued. Where messages
            share the link at once, the last moment at which it could have left to begin as it did, alone.
        began: when it had reached the worker and computing began; what the worker had computed ahead of it, while the model was
            on its way, counts as sending.
        ended: when computing ended.
        sent: when the gradient had the server's link to itself, and was on its way; until then it queued. Where it is
            summed by an all-reduce, when the last of the workers had its gradient: until then it waited for them.
        arrived: when the gradient reached the server, where it may queue again until it is used or thrown away.
        dropped: of a job that had a time, the seconds of it that went into the step under way at its end, which came to
            nothing: its share of the work done in that time, known when the job has ended.
        steps: the local steps that the clock charged for it; its computing is the sum of so many draws. Of a job that had a
            time instead of a number of steps, what came of it; 1 until it has ended.
        bytes_down: the bytes of what the worker was sent; of what a server would send it, in an all-reduce, which moves no
            model and counts none (`Run`'s `bytes`).
        bytes_up: the bytes of what it sends back.
        kind: what kind of job it is, a place in the `kinds` of the method's work.
        seconds: the time that it had instead of a number of steps; 0 for a job that had none.
    """

    worker: int
    job: int
    read: int
    assigned: float
    departed: float = math.nan
    began: float = math.nan
    ended: float = math.nan
    sent: float = math.nan
    arrived: float = math.nan
    dropped: float = 0.0
    steps: int = 1
    bytes_down: float = 0.0
    bytes_up: float = 0.0
    kind: int = 0
    seconds: float = 0.0


type Schema = dict[str, type]

JOB_COLUMNS: Schema = {name: {int: np.int32, float: np.float64}[kind] for name, kind in typing.get_type_hints(Gradient).items()}
"""The columns that every log of jobs has, with their types; see `Gradient`."""
ROW_COLUMNS: Schema = {"step": np.bool_, "time": np.float64, "weight": np.float64} | JOB_COLUMNS
"""The columns of the tape's rows; see `Tape`."""
DISCARDED_COLUMNS: Schema = {"time": np.float64, "version": np.int32, "reason": np.int8} | JOB_COLUMNS
"""The columns of the log of discarded work; see `Discarded`."""
DOWN_COLUMNS: Schema = {"end": np.float64, "worker": np.int32, "start": np.float64}
"""The columns of the log of workers that were down; see `Down`."""
TIES_COLUMNS: Schema = {"time": np.float64, "version": np.int32, "kind": np.int8, "worker": np.int32, "job": np.int32}
"""The columns of the log of ties; see `Ties`."""
JOB_LOGS: dict[str, Schema] = {"row": ROW_COLUMNS, "discarded": DISCARDED_COLUMNS, "in_flight": JOB_COLUMNS}
"""The logs of jobs."""
LOGS: dict[str, Schema] = JOB_LOGS | {"down_spell": DOWN_COLUMNS, "tie": TIES_COLUMNS}
"""The tape's logs, with the names that their columns and their dimension have in a Dataset."""
CHARGES = ("steps", "bytes_down", "bytes_up", "kind", "seconds")
"""What was charged for a job."""
MOMENTS = tuple(name for name, kind in JOB_COLUMNS.items() if kind is np.float64 and name not in (*CHARGES, "dropped"))
"""The moments of a job's life, in their order: assigned, departed, began, ended, sent, arrived."""
REASONS = ("unused", "cancelled", "crash", "leaving")
"""Why work was thrown away: the protocol did not use it, cancelled it, the worker crashed, or left for good."""
TIES = ("handed out after", "thrown away after", "thrown away with it")
"""What `Ties` tells of a job: that it came after the event that made the version, or, against the rule, with it."""

if TYPE_CHECKING:

    class _JobColumns:
        """The columns of `JOB_COLUMNS`, as attributes."""

        def __init__(self, **columns: np.ndarray) -> None: ...
        def __getattr__(self, name: str) -> np.ndarray: ...
else:
    _JobColumns = dataclasses.make_dataclass(
        "_JobColumns", [(name, np.ndarray) for name in JOB_COLUMNS], frozen=True, eq=False, module=__name__
    )


class Rows(NamedTuple):
    """What replay needs of a tape: the columns worker, job, read, weight and step of some of its rows, each (rows,)."""

    worker: np.ndarray
    job: np.ndarray
    read: np.ndarray
    weight: np.ndarray
    step: np.ndarray


class Messages(NamedTuple):
    """What a player with state for each worker reads: used and unused gradients together, in the order in which they arrived.

    Columns of shape (messages,); see `simsgd.tape.messages`.

    Attributes:
        worker, job, read: as on the tape (int32).
        weight: the gradient's weight in the server's sum (float64), 0 for one that was not used.
        step: whether it is the last of its step (bool), be it used or not.
        used: whether it was used (bool).
        steps: the local steps that the clock charged for it (int32).
        kind: what kind of job it was (int32).
        life: how many times the worker had been down before the job was assigned (int32): another number than that of the
            worker's message before says that it was down between them.
    """

    worker: np.ndarray
    job: np.ndarray
    read: np.ndarray
    weight: np.ndarray
    step: np.ndarray
    used: np.ndarray
    steps: np.ndarray
    kind: np.ndarray
    life: np.ndarray


class Jobs(_JobColumns):
    """A log of jobs, one row each: the fields of `Gradient` as columns, each of shape (rows,)."""

    def __len__(self) -> int:
        return len(self.worker)

    def columns(self, rows: slice | np.ndarray = slice(None)) -> dict[str, np.ndarray]:
        """Return the columns that every log of jobs has, by name, for some of its rows."""
        return {name: getattr(self, name)[rows] for name in JOB_COLUMNS}

    def cut(self, rows: slice) -> Self:
        """Return the log with some of its rows only."""
        names = [field.name for field in dataclasses.fields(self)]  # type: ignore[arg-type]
        return dataclasses.replace(self, **{name: getattr(self, name)[rows] for name in names})  # type: ignore[type-var]

    def life(self, until: float | np.ndarray) -> np.ndarray:
        """Return the six moments of each job up to the moment `until`, which stands for those that had not come: (6, rows)."""
        moments = {name: getattr(self, name) for name in MOMENTS}
        moments["departed"] = np.where(np.isnan(self.began), self.assigned, self.departed)  # under way counts as sending
        moments["sent"] = np.where(np.isnan(self.arrived), self.ended, self.sent)
        life: np.ndarray = np.fmin(np.stack(list(moments.values())), until)
        return life


@dataclasses.dataclass(frozen=True, eq=False)
class Discarded(Jobs):
    """Work that was thrown away: the columns of `Jobs`, when, and why.

    Attributes:
        time: the moment (seconds).
        version: the server's version at that moment (int32).
        reason: why, a place in `REASONS` (int8): 0 unused by the protocol, 1 cancelled by it, 2 the worker crashed, 3 it left
            for good.
    """

    time: np.ndarray
    version: np.ndarray
    reason: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Down:
    """When workers were down: one row each time, columns of shape (rows,); in the order in which they began.

    Attributes:
        end: until when (seconds); not a number for a worker that was still down at the tape's end.
        worker: who (int32).
        start: since when (seconds); 0 for a worker that had yet to join.
    """

    end: np.ndarray
    worker: np.ndarray
    start: np.ndarray

    def __len__(self) -> int:
        return len(self.worker)


@dataclasses.dataclass(frozen=True, eq=False)
class Ties:
    """In which order things happened in the moment of a version, where the other logs cannot tell: columns of shape (rows,).

    With it a tape can be cut at an update to the bit. It is empty but for protocols that, where events fall on one moment, hand
    jobs to idle workers, cancel, or step with a gradient that they do not use.

    Attributes:
        time: the moment (seconds).
        version: the version that was made at that moment (int32).
        kind: what happened, a place in `TIES` (int8).
        worker, job: to which job (int32).
    """

    time: np.ndarray
    version: np.ndarray
    kind: np.ndarray
    worker: np.ndarray
    job: np.ndarray

    def __len__(self) -> int:
        return len(self.worker)

    def cut(self, rows: np.ndarray) -> Ties:
        """Return the log with some of its rows only."""
        return Ties(**{name: getattr(self, name)[rows] for name in TIES_COLUMNS})


def empty(schema: Schema) -> dict[str, Any]:
    """Return the columns of a log without rows."""
    return {name: np.empty(0, kind) for name, kind in schema.items()}
