"""Times that were measured, played back: `Recorded`, a law made of a table of worker, step and seconds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simsgd.support import checks
from simsgd.support.units import Drawn
from simsgd.times import tables
from simsgd.times.law import Law, Moments, Sampler

AT_END = ("repeat", "resample", "stop")


class EndOfRecordingError(RuntimeError):
    """A `Recorded` law that stops at its end was asked for one more time; the message names the worker and the ways out."""


@dataclass(frozen=True, repr=False)
class Recorded(Law):
    """Measured times of each worker, played back in order; `at_end` says what follows the last one.

    Discrete-event simulation calls this trace-driven. In the long run the mean and the variance are those of the worker's own
    times x₁ … xₙ (each as likely as the others), and with rₖ = Σ(xᵢ − x̄)(xᵢ₊ₖ − x̄)/Σ(xᵢ − x̄)², where x₁ follows xₙ, the
    autocorrelation at lag k is

        "repeat"    rₖ: after the last time comes the first again;
        "resample"  rₖ·(1 − k/block), 0 from k = block on: after the last time come blocks of so many times in a row, from a
                    place drawn evenly (the last time followed by the first), which keeps what a block is long enough to hold;
        "stop"      rₖ, although there is no long run: one more job raises `EndOfRecordingError`.

    Every seed first plays the times in order, so runs that are not longer than the table are the same for all seeds; with
    "resample" seeds differ after it. The times belong to the method under which they were measured: slowness that follows
    the clock, such as a slow spell, affects a larger share of the jobs of a method that waits between jobs.

    Args:
        seconds: for each worker its times in order, at least one, seconds of at least 0: arrays or sequences.
        at_end: "repeat", "resample" or "stop".
        block: times in a block, for "resample" only; choose it longer than slowness persists and shorter than the table.

    Raises:
        TypeError: if `seconds` is not a sequence of sequences.
        ValueError: if a time is not a number of at least 0, or a worker has none, or `at_end` and `block` make no sense; in
            `Cluster`, if there are not times for each worker.
        EndOfRecordingError: while recording, if `at_end` is "stop" and a worker is given more jobs than it has times.

    Example:
        >>> import simsgd as sg
        >>> law = sg.times.Recorded([[0.5, 1.0], [2.0]], at_end="repeat")
        >>> law
        Recorded(2 workers, 3 times, at_end='repeat', digest='2ade8a7d')
        >>> sg.record(sg.AsyncSGD(), sg.Cluster(2, law), until=sg.Seconds(3)).time.tolist()
        [0.5, 1.5, 2.0, 2.0, 3.0]
    """

    seconds: Sequence[Sequence[Drawn]]
    at_end: str
    block: int | None = None

    def __post_init__(self) -> None:
        workers = checks.sequence("Recorded.seconds", self.seconds, "[[0.5, 1.0], [2.0]], the times of each worker")
        checks.store(self, seconds=tuple(_times(f"Recorded.seconds[{i}]", times) for i, times in enumerate(workers)))
        checks.one_of("Recorded.at_end", self.at_end, AT_END)
        if self.at_end == "resample":
            checks.store(self, block=checks.whole('Recorded.block, for at_end="resample",', self.block, 1))
        elif self.block is not None:
            raise ValueError(
                f'Recorded.block is for at_end="resample" alone, not {self.at_end!r}: leave it out, got {self.block!r}'
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str], at_end: str, block: int | None = None) -> Recorded:
        r"""Read a table with the columns worker, step and seconds from a CSV or a Parquet file.

        Rows may stand in any order, and other columns are left alone. Workers are numbered from 0 without gaps; a worker's
        steps are whole numbers without gaps, from any first one.

        Args:
            path: a file whose name ends in .csv, or in .parquet (for which the package pyarrow must be installed).
            at_end, block: as in `Recorded`.

        Raises:
            FileNotFoundError: if there is no such file.
            FileFormatError: if the table is malformed; the message names the file, the row and the value. Rows of a CSV file
                are counted as an editor does, with the names of the columns in row 1; those of a Parquet file from 0.
            ImportError: for a Parquet file without pyarrow.

        Example:
            >>> import pathlib, tempfile
            >>> import simsgd as sg
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     path = pathlib.Path(folder) / "times.csv"
            ...     _ = path.write_text("worker,step,seconds\n0,0,0.5\n1,0,2.0\n0,1,1.0\n")
            ...     sg.times.Recorded.load(path, at_end="repeat").seconds
            ((0.5, 1.0), (2.0,))
        """
        return cls(tables.load(path), at_end, block)

    def __repr__(self) -> str:
        """Return how many workers and times there are, and a digest by which recordings differ."""
        digest = hashlib.sha256()
        for times in self.seconds:
            digest.update(len(times).to_bytes(8, "little") + np.array(times, "<f8").tobytes())
        count, block = sum(map(len, self.seconds)), f", block={self.block}" if self.block else ""
        return (
            f"Recorded({len(self.seconds)} workers, {count} times, at_end={self.at_end!r}{block}, "
            f"digest={digest.hexdigest()[:8]!r})"
        )

    def sampler(self, rng: np.random.Generator, worker: int) -> Sampler:
        """Play the worker's times, and then continue as `at_end` says."""
        times, job = self.seconds[worker], -1
        start, place = 0, 0  # job k takes times[start + k − place], round and round

        def draw(now: float) -> float:
            nonlocal job, start, place
            job += 1
            if job >= len(times):
                if self.at_end == "stop":
                    raise EndOfRecordingError(self._ended(worker, job))
                if self.block and (job - len(times)) % self.block == 0:
                    start, place = int(rng.integers(len(times))), job
            return times[(start + job - place) % len(times)]

        return draw

    def _ended(self, worker: int, job: int) -> str:
        return (
            f"{self!r} has {len(self.seconds[worker])} times of worker {worker}, which now begins job {job} (counted from 0): "
            'stop the run sooner, record more times, or say at_end="repeat", or at_end="resample" with a block'
        )

    def moments(self, worker: int = 0) -> Moments:
        """Return the moments by the formulae above."""
        times = np.array(self.seconds[worker])
        variance = 0.0 if np.ptp(times) == 0 else float(times.var())
        return Moments(float(times.mean()), variance, self.autocorrelation_at(1, worker))

    def autocorrelation_at(self, lag: int, worker: int = 0) -> float:
        """Return the correlation with the job `lag` later by the formulae above."""
        times = np.array(self.seconds[worker])
        if np.ptp(times) == 0:
            return 0.0
        rest = times - times.mean()
        kept = max(0.0, 1 - lag / self.block) if self.block else 1.0
        return kept * float(rest @ np.roll(rest, -lag) / (rest @ rest))

    def check_workers(self, workers: int) -> None:
        """Raise ValueError unless there are times of each worker."""
        if len(self.seconds) != workers:
            raise ValueError(f"Recorded.seconds must hold the times of each of {workers} workers, got {len(self.seconds)}")


def _times(name: str, given: object) -> tuple[float, ...]:
    """Return one worker's times as floats, or raise an error that names the first one that is not a time."""
    plain = isinstance(given, np.ndarray) and given.ndim == 1 and given.dtype.kind in "iuf" and given.size > 0
    if plain and np.all(np.isfinite(given) & (given >= 0)):  # type: ignore[call-overload, operator]
        return tuple(given.astype(float).tolist())  # type: ignore[attr-defined]
    times = checks.sequence(name, given, "[0.5, 1.0], the times of one worker")
    if not times:
        raise ValueError(f"{name} must hold at least one time of the worker, got {given!r}")
    return tuple(checks.seconds(f"{name}[{i}]", time) for i, time in enumerate(times))
