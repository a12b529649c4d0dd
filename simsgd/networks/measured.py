"""Links and collectives as measured: a table of message size against time, interpolated in log-log."""

from __future__ import annotations

import bisect
import itertools
import math
import os
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Self

import numpy as np

from simsgd.networks import measurements
from simsgd.networks.all_reduce import AllReduce, Send
from simsgd.networks.fabric import Wire
from simsgd.support import checks
from simsgd.support.units import Bytes, InSeconds


@dataclass(frozen=True)
class MeasuredLink(Wire):
    """A wire with measured message times: a table of sizes and seconds, interpolated.

    Between two entries log(time) is linear in log(size). A message smaller than the smallest entry takes as long as that one;
    this time is also the `latency`. Beyond the largest entry the time grows in proportion to the size, at the mean bandwidth
    of the largest entry. (The slope between the last two entries would be sensitive to noise. The mean bandwidth of a large
    message is close to the link's: lower by the latency only.) Times that fall with the size are accepted, as measurements are
    noisy.

    Args:
        sizes: bytes of the messages measured, above 0 and ascending; at least one.
        times: seconds that each of them took, above 0.

    Raises:
        TypeError: if one of the two is not a sequence; ValueError if their lengths or values are not valid.

    Example:
        >>> import simsgd as sg
        >>> wire = sg.networks.MeasuredLink(sizes=(1e3, 1e5), times=(1e-5, 4e-5))
        >>> [round(1e6 * wire.seconds(size), 3) for size in (0, 1e3, 1e4, 1e5, 2e5)]  # microseconds
        [10.0, 10.0, 20.0, 40.0, 80.0]
    """

    sizes: Sequence[Bytes]
    times: Sequence[InSeconds]

    def __post_init__(self) -> None:
        check_table(self, self.sizes, self.times)

    @property
    def latency(self) -> float:  # type: ignore[override]
        """Seconds of the smallest message measured."""
        return self.times[0]

    def seconds(self, message_bytes: float) -> float:
        """Return the seconds of one message, interpolated in the table."""
        return interpolate(self.sizes, self.times, message_bytes)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, in_place: bool = False) -> Self:
        """Read a table from the JSON of nccl-tests' `sendrecv_perf` (`-J file.json`), or a CSV file with bytes,seconds.

        Args:
            path: the file. Entries of the same size are averaged, those of size 0 left out.
            in_place: of nccl-tests' two times, which one; out of place by default.

        Raises:
            OSError: if the file cannot be read.
            simsgd.FileFormatError: if it is malformed, or measures another operation; the message names file, entry and value.
        """
        table = measurements.read(path, "sendrecv_perf", in_place)
        return cls(table.sizes, table.times)


@dataclass(frozen=True)
class MeasuredAllReduce(AllReduce):
    """An all-reduce whose time was measured as a whole: it begins when the last worker is ready, and takes the table's time.

    Each bucket takes the time of its own size, interpolated as in `MeasuredLink`. There are no links in it, so it takes neither
    jitter nor faults of links, and it holds for the number of workers with which it was measured.

    Gathering is not measured: it takes half of what the table says for as many bytes as all messages have together, because an
    all-reduce of so many is a reduce-scatter, and then such a gathering, which moves as many bytes.

    Args:
        sizes: bytes of the whole gradient, above 0 and ascending; at least one.
        times: seconds of each, above 0.
        workers: how many took part in the measurement; None if the table is to be used for any number.
        buckets, overlap, backward_share: as in `AllReduce`, by name.

    Raises:
        TypeError: if a table is not a sequence or `overlap` not a bool.
        ValueError: if lengths or values are not valid; in `Cluster`, for another number of workers.

    Example:
        >>> import simsgd as sg
        >>> fabric = sg.networks.MeasuredAllReduce(sizes=(1e3, 1e5), times=(1e-5, 4e-5), workers=16)
        >>> fabric.seconds(workers=16, message_bytes=1e5)
        4e-05
    """

    sizes: Sequence[Bytes]
    times: Sequence[InSeconds]
    _: KW_ONLY
    workers: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_table(self, self.sizes, self.times)
        if self.workers is not None:
            checks.store(self, workers=checks.whole("MeasuredAllReduce.workers", self.workers, 1))

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, in_place: bool = False, workers: int | None = None) -> Self:
        """Read a table from the JSON of nccl-tests' `all_reduce_perf` (`-J file.json`), or a CSV file with bytes,seconds.

        For buckets or overlap use `dataclasses.replace` on what is returned.

        Args:
            path: the file. Entries of the same size are averaged, those of size 0 left out.
            in_place: of nccl-tests' two times, which one; out of place by default.
            workers: how many took part, where the file does not say (a CSV file never does).

        Raises:
            OSError: if the file cannot be read.
            simsgd.FileFormatError: if it is malformed, measures another operation, or says another number of workers.
        """
        table = measurements.read(path, "all_reduce_perf", in_place)
        if None not in (workers, table.workers) and workers != table.workers:
            raise ValueError(f"{path} was measured with {table.workers} workers, got workers={workers!r}")
        return cls(table.sizes, table.times, workers=table.workers if workers is None else workers)

    def check_ranks(self, ranks: int) -> None:
        """Raise ValueError unless the table was measured with that many ranks, or is used for any number."""
        if self.workers not in (None, ranks):
            raise ValueError(f"MeasuredAllReduce was measured with {self.workers} workers, not with {ranks}")

    def rounds(self, ready: np.ndarray, message_bytes: float, send: Send) -> np.ndarray:
        """Return the same moment for all; `send` is not used."""
        return np.full_like(ready, ready.max() + interpolate(self.sizes, self.times, message_bytes))

    def gather_rounds(self, ready: np.ndarray, sizes: np.ndarray, send: Send) -> np.ndarray:
        """Return the same moment for all; `send` is not used."""
        return np.full_like(ready, ready.max() + interpolate(self.sizes, self.times, float(sizes.sum())) / 2)


def check_table(owner: MeasuredLink | MeasuredAllReduce, sizes: object, times: object) -> None:
    """Store the two columns of `owner` as tuples of floats, or raise ValueError naming what is wrong."""
    name, columns = type(owner).__name__, {}
    for column, values, unit in (("sizes", sizes, "bytes"), ("times", times, "seconds")):
        entries = checks.sequence(f"{name}.{column}", values, "(1e3, 1e6, 1e9)" if unit == "bytes" else "(1e-5, 2e-5, 1e-2)")
        columns[column] = tuple(checks.positive(f"{name}.{column}[{i}]", value, unit) for i, value in enumerate(entries))
    if len(columns["sizes"]) != len(columns["times"]) or not columns["sizes"]:
        found = f"{len(columns['sizes'])} sizes and {len(columns['times'])} times"
        raise ValueError(f"{name} must have one time for each size, and at least one, got {found}")
    for i, (size, following) in enumerate(itertools.pairwise(columns["sizes"]), start=1):
        if following <= size:
            raise ValueError(f"{name}.sizes must ascend, got sizes[{i}]={following!r} after {size!r}")
    checks.store(owner, **columns)


def interpolate(sizes: Sequence[float], times: Sequence[float], message_bytes: float) -> float:
    """Return the seconds of a message: log-log linear between entries, constant below, in proportion to the size above."""
    if message_bytes <= sizes[0]:
        return times[0]
    if message_bytes >= sizes[-1]:
        return times[-1] * (message_bytes / sizes[-1])
    above = bisect.bisect_right(sizes, message_bytes)
    low, high = times[above - 1], times[above]
    share = math.log(message_bytes / sizes[above - 1]) / math.log(sizes[above] / sizes[above - 1])
    return low * float((high / low) ** share)
