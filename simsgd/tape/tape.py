"""The tape: what happened in a recording, as plain NumPy columns. The contract between time and numbers.

One row for each gradient that the method used, in the order of use. Discrete-event simulation calls replaying it
trace-driven simulation; here it is always "tape", because JAX owns the word "trace".

Laws of the tape, which `Tape.check` enforces (`simsgd.tape.rules`):

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
8. What the clock charged for a job stands beside it: its local steps, and the bytes of its two messages. The steps of a job
   that has a time instead are known when it has ended.

Staleness is never a parameter: it is the version when used minus the version when read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from simsgd import provenance
from simsgd.provenance import Identity
from simsgd.support import checks, files, frames, sealed, show
from simsgd.tape import dataset, intervals, rules
from simsgd.tape.intervals import Stretches
from simsgd.tape.rules import TapeError
from simsgd.tape.schema import DOWN_COLUMNS, JOB_COLUMNS, ROW_COLUMNS, TIES_COLUMNS, Discarded, Down, Jobs, Rows, Ties, empty

if TYPE_CHECKING:
    import matplotlib.axes
    import pandas
    import xarray


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
        ties: the order of what happened in one moment, where the other logs cannot tell.
        collective: whether gradients were summed by an all-reduce, for which workers wait, and not sent to a server.
        header: where the tape comes from (protocol, cluster, seed, message_bytes, versions …), as plain text and numbers; not
            part of its content hash. "gathered" stands there where an all-reduce gathered messages that it could not sum.

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
    down: Down = field(default_factory=lambda: Down(**empty(DOWN_COLUMNS)))
    ties: Ties = field(default_factory=lambda: Ties(**empty(TIES_COLUMNS)))
    collective: bool = False
    header: dict[str, Any] = field(default_factory=dict)

    @property
    def updates(self) -> int:
        """How many steps the server made, which is the last version's number."""
        return int(np.count_nonzero(self.step))

    @property
    def version(self) -> np.ndarray:
        """The server's version when each row was used, before that row's own step; shape (rows,), int64."""
        before: np.ndarray = np.cumsum(self.step) - self.step
        return before

    @property
    def staleness(self) -> np.ndarray:
        """Versions between reading and using, for each row: version when used − version when read; (rows,), int64."""
        versions: np.ndarray = self.version - self.read
        return versions

    @property
    def rows(self) -> Rows:
        """The columns that replay needs."""
        return Rows(self.worker, self.job, self.read, self.weight, self.step)

    @property
    def content_hash(self) -> str:
        """SHA-256 (hexadecimal) of all that happened: two tapes with the same hash are the same recording."""
        about = f"simsgd tape 2, {self.workers} workers, end {float(self.end).hex()}, collective {self.collective}"
        digest = hashlib.sha256(about.encode())
        left_out = dataset.plain_charges(self)
        for (log, name), column in dataset.columns(self).items():
            if name in left_out or (log == "tie" and not len(column)):  # as in tapes from before there were these columns
                continue
            digest.update(f"{log} {name} {column.dtype.str} {len(column)}".encode())
            digest.update(np.ascontiguousarray(column).data)  # without a copy
        return digest.hexdigest()

    @property
    def identity(self) -> Identity:
        """Everything that the tape's bits depend on, and a key of it: what was recorded, on what machine, until when.

        A tape that was edited, not recorded, or recorded by a protocol that observed the model, is known by its content alone.
        """
        return Identity(provenance.verified(self.header, self.content_hash))

    def jobs_and_ends(self) -> Iterator[tuple[str, Jobs, np.ndarray]]:
        """Yield the logs of jobs, (name, log, when each of its jobs was over, or the tape's end), the rows' own first."""
        yield "row", self, self.time
        yield "discarded", self.discarded, self.discarded.time
        yield "in_flight", self.in_flight, np.full(len(self.in_flight), self.end)

    def of_all_jobs(self, column: str) -> np.ndarray:
        """Return a column of all jobs: of the rows, then of those discarded, then of those in flight."""
        return np.concatenate([getattr(log, column) for _, log, _ in self.jobs_and_ends()])

    def rows_until(self, version: int) -> int:
        """Return how many rows there are up to the step that made a version."""
        if version == self.updates:  # found without an array of all steps
            return len(self) - int(np.argmax(self.step[::-1])) if version else 0
        return int(np.flatnonzero(self.step)[version - 1]) + 1 if version else 0

    def cut_rows(self, rows: slice) -> Tape:
        """Return the tape with some of its rows only, and all else as it is."""
        return dataclasses.replace(self, **{name: getattr(self, name)[rows] for name in ROW_COLUMNS})

    def stretches(self) -> dict[str, Stretches]:
        """Return what workers did when: for each kind (workers, beginnings, ends), arrays of one shape; seconds.

        "computing", "discarded" (computing that was thrown away, the step that a fixed time cuts off among it), "sending"
        (messages of either direction on their way), "queueing" (for the server's link, or at the server, where being dealt
        with counts too), "barrier" (in an all-reduce, for later workers) and "down". A worker's stretches do not
        overlap; what they leave out it waited for an assignment.
        """
        return intervals.stretches(self)

    @property
    def queueing(self) -> np.ndarray:
        """Seconds that each row's messages queued for the server's link, and its gradient at the server; shape (rows,)."""
        messages = self.departed - self.assigned + (0.0 if self.collective else self.sent - self.ended)
        seconds: np.ndarray = messages + (self.time - self.arrived)
        return seconds

    @property
    def barrier(self) -> np.ndarray:
        """Seconds that each row's gradient waited in an all-reduce for those of later workers; shape (rows,)."""
        seconds: np.ndarray = (self.sent - self.ended) * self.collective
        return seconds

    def shares(self) -> dict[str, np.ndarray]:
        """Return how each worker spent the time from 0 to `end`: fractions that add up to 1, each of shape (workers,).

        "computing"; "sending" (messages of either direction on their way); "queueing" (for the server's link, or at the
        server); "waiting" (at a barrier or for an assignment); "down". Discarded work counts as what the worker was doing
        at the time.
        """
        return intervals.shares(self)

    def check(self) -> Tape:
        """Return the tape if it keeps its laws.

        Raises:
            TapeError: naming the first row that breaks a law, and the law.
        """
        rules.check(self)
        return self

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tape to one netCDF file, whole or not at all; equal tapes with equal headers make equal bytes.

        Raises:
            TypeError: if `path` is no name of a file.
            OSError: if the file cannot be written.
        """
        checks.instance("path", path, (str, os.PathLike), '"tape.nc"')
        sealed.save(path, self.to_dataset(), kind="tape")

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Tape:
        """Read a tape that `save` wrote, and check that it is whole and keeps its laws.

        Raises:
            TypeError: if `path` is no name of a file.
            FileNotFoundError: if there is no such file.
            simsgd.support.files.FileFormatError: if it is damaged or is not a simsgd tape.
        """
        checks.instance("path", path, (str, os.PathLike), '"tape.nc"')
        data = sealed.load(path, kind="tape")
        with files.naming(path):
            return Tape.from_dataset(data).check()

    def to_dataset(self) -> xarray.Dataset:
        """Return the tape as an xarray Dataset along `row`, `update`, `discarded`, `in_flight`, `down_spell` and `tie`."""
        return dataset.to_dataset(self)

    @staticmethod
    def from_dataset(data: xarray.Dataset) -> Tape:
        """Return the tape that `to_dataset` put into a Dataset, which may hold other variables too.

        Raises:
            TapeError: if a column is missing or the content hash does not fit.
        """
        tape, content_hash = Tape(**dataset.fields(data)), data.attrs.get("content_hash")
        if tape.content_hash != content_hash:
            raise TapeError("the columns do not fit the content hash saved with them: the tape was damaged or edited")
        return tape

    def to_dataframe(self) -> pandas.DataFrame:
        """Return the rows as a pandas DataFrame, one for each gradient used: the row's columns, its version and staleness.

        Raises:
            ImportError: if pandas is not installed, which is an extra: `pip install 'simsgd[dataframes]'`.

        Example:
            >>> import simsgd as sg
            >>> tape = sg.record(sg.AsyncSGD(), sg.Cluster(2, sg.times.Constant(1.0)), until=sg.Updates(4))
            >>> tape.to_dataframe()[["worker", "time", "staleness"]].values.tolist()
            [[0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 2.0, 1.0], [1.0, 2.0, 1.0]]
        """
        columns = {name: getattr(self, name) for name in (*JOB_COLUMNS, "time", "weight", "step", "version", "staleness")}
        return frames.dataframe(columns)

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

    def _repr_html_(self) -> str:
        return show.in_html([("Tape", repr(self)), *self._summary().items()])

    def __eq__(self, other: object) -> bool:
        """Tapes are equal when the same happened, whatever their headers say."""
        return isinstance(other, Tape) and self.content_hash == other.content_hash

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"Tape({self.workers} workers, {len(self)} gradients, {self.updates} updates, {self.end:g} s, "
            f"{len(self.discarded)} discarded)"
        )

    def _summary(self) -> dict[str, str]:
        """Return what a notebook shows of the tape."""
        made = {name: str(self.header[name]) for name in ("protocol", "cluster", "seed") if name in self.header}
        counts = f"{len(self):,} used, {len(self.discarded):,} thrown away, {len(self.in_flight):,} in flight"
        used = f"mean {self.staleness.mean():.3g}, largest {self.staleness.max()}" if len(self) else "no gradient was used"
        shares = ", ".join(f"{kind} {share.mean():.0%}" for kind, share in self.shares().items() if share.any())
        return made | {
            "seconds": f"{self.end:g}",
            "updates": f"{self.updates:,}",
            "gradients": counts,
            "staleness": used,
            "workers' time": shares,
        }
