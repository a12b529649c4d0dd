"""The tape: what happened in a recording, as plain NumPy columns. The contract between time and numbers.

One row for each gradient that the method used, in the order of use. Discrete-event simulation calls replaying it
trace-driven simulation; here it is always "tape", because JAX owns the word "trace".

Laws of this module, which `Tape.check` enforces (`simsgd.tape.rules`):

1. The tape alone determines the numerics. Data randomness is keyed by (worker, job), never by order of arrival; so each
   (worker, job) is on the tape at most once, and a worker's jobs follow one another without overlapping.
2. Time never decreases, along the rows (ties are first in, first out) and along a job's life: assigned, departed, began,
   ended, sent, arrived, used.
3. A row reads a version that existed when its job was assigned,
4. and it was the newest then. So, with law 1, at most (jobs in flight + 1) versions are alive at any row, whatever the
   staleness.
5. A version is made of at least one gradient: rows up to the first `step` make version 1, and so on. Playing the rows in
   chunks of any size gives the same result.
6. Work that was thrown away, or was still in flight at the end, has its time in a log of its own, never a row.
7. A worker that is down has no job in hand: what it had is lost, by law 6, and it is handed the next when it is back.

Staleness is never a parameter: it is the version when used minus the version when read.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from simsgd.tape import rules
from simsgd.tape.rules import DOWN_COLUMNS, JOB_COLUMNS, LOGS, MOMENTS, TapeError

if TYPE_CHECKING:
    import matplotlib.axes
    import xarray


KINDS = ("computing", "discarded", "sending", "queueing", "barrier", "down")
"""What a worker can be seen doing, see `Tape.stretches`."""
SHARES = ("computing", "sending", "queueing", "waiting", "down")
"""What a worker's time is divided into, see `Tape.shares`."""


class Rows(NamedTuple):
    """What replay needs of a tape: the columns worker, job, read, weight and step of some of its rows, each (rows,)."""

    worker: np.ndarray
    job: np.ndarray
    read: np.ndarray
    weight: np.ndarray
    step: np.ndarray


@dataclass(frozen=True, eq=False)
class Jobs:
    """A log of jobs, one row each: columns of shape (rows,); times in simulated seconds, NaN for what never happened.

    Attributes:
        worker: who worked (int32).
        job: which of the worker's jobs, from 0 (int32).
        read: the model version the server handed out for it (int32).
        assigned: when the server handed that version out.
        departed: when it had the server's link to itself, and was on its way; until then it queued. Where messages share
            the link at once, the last moment at which it could have left to begin as it did, alone.
        began: when it had reached the worker and computing began.
        ended: when computing ended.
        sent: when the gradient had the server's link to itself, and was on its way; until then it queued. Where it is
            summed by an all-reduce, when the last of the workers had its gradient: until then it waited for them.
        arrived: when the gradient reached the server, where it may queue again until it is used or thrown away.
    """

    worker: np.ndarray
    job: np.ndarray
    read: np.ndarray
    assigned: np.ndarray
    departed: np.ndarray
    began: np.ndarray
    ended: np.ndarray
    sent: np.ndarray
    arrived: np.ndarray

    def __len__(self) -> int:
        return len(self.worker)

    def columns(self, rows: slice = slice(None)) -> dict[str, np.ndarray]:
        """Return the columns that every log of jobs has, by name, for some of its rows."""
        return {name: getattr(self, name)[rows] for name in JOB_COLUMNS}

    def life(self, until: float | np.ndarray) -> np.ndarray:
        """Return the six moments of each job up to the moment `until`, which stands for those that had not come: (6, rows)."""
        moments = {name: getattr(self, name) for name in MOMENTS}
        moments["departed"] = np.where(np.isnan(self.began), self.assigned, self.departed)  # under way counts as sending
        moments["sent"] = np.where(np.isnan(self.arrived), self.ended, self.sent)
        return np.fmin(np.stack(list(moments.values())), until)


@dataclass(frozen=True, eq=False)
class Discarded(Jobs):
    """Work that was thrown away: jobs, when, and why.

    Attributes:
        time: the moment (seconds).
        version: the server's version at that moment (int32).
        reason: why, a place in `simsgd.tape.rules.REASONS` (int8): 0 unused by the protocol, 1 cancelled by it, 2 the worker
            crashed, 3 it left for good.
    """

    time: np.ndarray
    version: np.ndarray
    reason: np.ndarray


@dataclass(frozen=True, eq=False)
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


@dataclass(frozen=True, eq=False)
class Tape(Jobs):
    """A recording: the jobs whose gradients were used, in order of use, and what became of all the others.

    Made by `record`; the columns of `Jobs`, and:

    Attributes:
        time: when the server used the gradient (seconds).
        weight: the gradient's weight in the server's sum (float64); not a number after the last step, as a step may scale
            what was accumulated for it.
        step: whether the server stepped after it, which makes a new version (bool).
        update_times: when versions 1, 2, … were made, shape (updates,): seconds.
        workers: how many workers the cluster had.
        end: the moment up to which was recorded (seconds).
        discarded: the log of work thrown away.
        in_flight: the jobs still under way at `end`.
        down: when workers were down.
        collective: whether gradients were summed by an all-reduce, for which workers wait, and not sent to a server.
        header: where the tape comes from (protocol, cluster, seed, message_bytes …), as plain text and numbers; not part
            of its content hash.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=1.0))
        >>> tape = sg.record(sg.AsyncSGD(), cluster, until=sg.Updates(1000), seed=0)
        >>> len(tape), int(tape.staleness.sum() + (tape.updates - tape.in_flight.read).sum())
        (1000, 3000)
    """

    time: np.ndarray
    weight: np.ndarray
    step: np.ndarray
    update_times: np.ndarray
    workers: int
    end: float
    discarded: Discarded
    in_flight: Jobs
    down: Down = field(default_factory=lambda: Down(**{name: np.empty(0, kind) for name, kind in DOWN_COLUMNS.items()}))
    collective: bool = False
    header: dict[str, Any] = field(default_factory=dict)

    @property
    def updates(self) -> int:
        """How many steps the server made, which is the last version's number."""
        return int(np.count_nonzero(self.step))

    @property
    def version(self) -> np.ndarray:
        """The server's version when each row was used, before that row's own step; shape (rows,), int64."""
        return np.cumsum(self.step) - self.step

    @property
    def staleness(self) -> np.ndarray:
        """Versions between reading and using, for each row: version when used − version when read; (rows,), int64."""
        return self.version - self.read

    @property
    def rows(self) -> Rows:
        """The columns that replay needs."""
        return Rows(self.worker, self.job, self.read, self.weight, self.step)

    @property
    def content_hash(self) -> str:
        """SHA-256 (hexadecimal) of all that happened: two tapes with the same hash are the same recording."""
        about = f"simsgd tape 2, {self.workers} workers, end {float(self.end).hex()}, collective {self.collective}"
        digest = hashlib.sha256(about.encode())
        for (log, name), column in _flat_columns(self).items():
            digest.update(f"{log} {name} {column.dtype.str} {len(column)}".encode())
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()

    def stretches(self) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Return what workers did when: for each kind (workers, beginnings, ends), arrays of one shape; seconds.

        "computing", "discarded" (computing that was thrown away), "sending" (messages of either direction on their way),
        "queueing" (for the server's link, or at the server, where being dealt with counts too), "barrier" (in an all-reduce,
        for later workers) and "down". A worker's stretches do not overlap; what they leave out it waited for an assignment.
        """
        nothing = (np.empty(0, np.int32), np.empty(0), np.empty(0))
        found: dict[str, list[tuple[np.ndarray, ...]]] = {kind: [nothing] for kind in KINDS}
        for log, until in ((self, self.time), (self.discarded, self.discarded.time), (self.in_flight, self.end)):
            assigned, departed, began, ended, sent, arrived = log.life(until)
            over = np.broadcast_to(np.asarray(until, float), arrived.shape)
            if self.collective:  # a sum that was never finished was waited for
                sent = np.where(np.isnan(log.arrived), over, sent)
            found["queueing"] += [(log.worker, assigned, departed), self._while_up(log.worker, arrived, over)]
            found["sending"] += [(log.worker, departed, began), (log.worker, sent, arrived)]
            found["barrier" if self.collective else "queueing"].append((log.worker, ended, sent))
            found["discarded" if log is self.discarded else "computing"].append((log.worker, began, ended))
        found["down"].append((self.down.worker, self.down.start, np.fmin(self.down.end, self.end)))
        return {kind: tuple(map(np.concatenate, zip(*parts, strict=True))) for kind, parts in found.items()}  # type: ignore[misc]

    def _while_up(self, worker: np.ndarray, begin: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return stretches without the parts in which the worker was down: a gradient may queue while its worker is down."""
        order = np.lexsort((self.down.start, self.down.worker))
        downs = [column[order] for column in (self.down.worker, self.down.start, np.fmin(self.down.end, self.end))]
        cut = rules.overlaps(worker, begin, stop, *downs) & (begin < stop)
        kept = [(worker[~cut], begin[~cut], stop[~cut])]
        for number, moment, last in zip(worker[cut], begin[cut], stop[cut], strict=True):
            own = downs[0] == number
            starts, ends = (np.clip(column[own], moment, last) for column in downs[1:])
            edges = np.append(moment, ends), np.append(starts, last)
            kept.append((np.full(len(edges[0]), number), *edges))
        return tuple(map(np.concatenate, zip(*kept, strict=True)))

    @property
    def queueing(self) -> np.ndarray:
        """Seconds that each row's messages queued for the server's link, and its gradient at the server; shape (rows,)."""
        messages = self.departed - self.assigned + (0.0 if self.collective else self.sent - self.ended)
        return messages + self.time - self.arrived

    @property
    def barrier(self) -> np.ndarray:
        """Seconds that each row's gradient waited in an all-reduce for those of later workers; shape (rows,)."""
        return (self.sent - self.ended) * self.collective

    def shares(self) -> dict[str, np.ndarray]:
        """Return how each worker spent the time from 0 to `end`: fractions that add up to 1, each of shape (workers,).

        "computing"; "sending" (messages of either direction on their way); "queueing" (for the server's link, or at the
        server); "waiting" (at a barrier or for an assignment); "down". Discarded work counts as what the worker was doing
        at the time.
        """
        spent = {kind: np.zeros(self.workers) for kind in SHARES}
        for kind, (worker, begin, stop) in self.stretches().items():
            seconds = np.bincount(worker, weights=stop - begin, minlength=self.workers)
            spent[{"discarded": "computing", "barrier": "waiting"}.get(kind, kind)] += seconds / (self.end or 1.0)
        spent["waiting"] = np.maximum(0.0, 1 - sum(share for kind, share in spent.items() if kind != "waiting"))
        return spent

    def check(self) -> Tape:
        """Return the tape if it keeps its laws.

        Raises:
            TapeError: naming the first row that breaks a law, and the law.
        """
        rules.check(self)
        return self

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tape to one netCDF file, whole or not at all.

        Raises:
            OSError: if the file cannot be written.
        """
        from simsgd.support import files

        files.save(path, self.to_dataset(), kind="tape")

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Tape:
        """Read a tape that `save` wrote, and check that it is whole and keeps its laws.

        Raises:
            FileNotFoundError: if there is no such file.
            simsgd.support.files.FileFormatError: if it is damaged or is not a simsgd tape.
        """
        from simsgd.support import files

        dataset = files.load(path, kind="tape")
        with files.naming(path):
            return Tape.from_dataset(dataset).check()

    def to_dataset(self) -> xarray.Dataset:
        """Return the tape as an xarray Dataset: dimensions `row`, `update`, `discarded`, `in_flight` and `down_spell`."""
        import xarray

        return xarray.Dataset(
            {f"{log}_{name}": (log, column) for (log, name), column in _flat_columns(self).items()},
            attrs={
                "workers": self.workers,
                "end": self.end,
                "collective": int(self.collective),
                "content_hash": self.content_hash,
                "header": json.dumps(self.header, ensure_ascii=False),
            },
        )

    @staticmethod
    def from_dataset(dataset: xarray.Dataset) -> Tape:
        """Return the tape that `to_dataset` put into a Dataset, which may hold other variables too.

        Raises:
            TapeError: if a column is missing or the content hash does not fit.
        """
        try:
            logs: dict[str, dict[str, Any]] = {
                log: {name: dataset[f"{log}_{name}"].values.astype(kind) for name, kind in schema.items()}
                for log, schema in LOGS.items()
            }
            tape = Tape(
                **logs["row"],
                update_times=dataset["update_time"].values.astype(np.float64),
                workers=int(dataset.attrs["workers"]),
                end=float(dataset.attrs["end"]),
                discarded=Discarded(**logs["discarded"]),
                in_flight=Jobs(**logs["in_flight"]),
                down=Down(**logs["down_spell"]),
                collective=bool(dataset.attrs["collective"]),
                header=json.loads(dataset.attrs["header"]),
            )
        except (KeyError, ValueError) as error:
            raise TapeError(f"not a tape: {error}") from error
        if tape.content_hash != dataset.attrs.get("content_hash"):
            raise TapeError("the columns do not fit the content hash saved with them: the tape was damaged or edited")
        return tape

    def to_chrome_trace(self, path: str | os.PathLike[str], *, start: float = 0.0, stop: float | None = None) -> None:
        """Write a file that opens in ui.perfetto.dev: who did what, when; see `tape.chrome_trace.write`.

        Args:
            path: the file; compressed where it ends in ".gz".
            start: where to begin, simulated seconds.
            stop: where to end, simulated seconds; by default the tape's end.

        Raises:
            ValueError: if there is no time from `start` to `stop`.
            OSError: if the file cannot be written.
        """
        from simsgd.tape import chrome_trace

        chrome_trace.write(path, self, start=start, stop=stop)

    def plot_timeline(self, **options: Any) -> matplotlib.axes.Axes:
        """Draw who computed, sent and waited, when; see `simsgd.plots.timeline`."""
        from simsgd import plots

        return plots.timeline(self, **options)

    def plot_staleness(self, **options: Any) -> matplotlib.axes.Axes:
        """Draw the distribution of staleness; see `simsgd.plots.staleness`."""
        from simsgd import plots

        return plots.staleness(self, **options)

    def plot_shares(self, **options: Any) -> matplotlib.axes.Axes:
        """Draw each worker's shares of time; see `simsgd.plots.shares`."""
        from simsgd import plots

        return plots.shares(self, **options)

    def __eq__(self, other: object) -> bool:
        """Tapes are equal when the same happened, whatever their headers say."""
        return isinstance(other, Tape) and self.content_hash == other.content_hash

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"Tape({self.workers} workers, {len(self)} gradients, {self.updates} updates, {self.end:g} s, "
            f"{len(self.discarded)} discarded)"
        )


def _flat_columns(tape: Tape) -> dict[tuple[str, str], np.ndarray]:
    """Return every column of the logs by (log, name)."""
    source: dict[str, Jobs | Down] = {
        "row": tape,
        "discarded": tape.discarded,
        "in_flight": tape.in_flight,
        "down_spell": tape.down,
    }
    columns = {(log, name): getattr(source[log], name) for log, schema in LOGS.items() for name in schema}
    return columns | {("update", "time"): tape.update_times}
