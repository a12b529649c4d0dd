"""The cluster: how many workers, how long their jobs take, how their messages move, what fails. A description only."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from simsgd.cluster import file, frozen
from simsgd.faults import KINDS, Fault, Join, Leave, LinkDown, LinkOutages, LostMessages
from simsgd.networks import AllReduce, Fabric, Link
from simsgd.support import checks, show
from simsgd.support.bounds import bounds
from simsgd.times import Law, Scaled, Slowest


@dataclass(frozen=True, repr=False)
class Cluster:
    """A cluster: its workers, their compute times, the fabric that moves their messages, and its faults.

    Args:
        workers: how many, at least 1.
        compute: the law of a job's compute time, seconds.
        network: the fabric, one of `simsgd.networks`, that moves models and gradients; by default messages take no time.
        faults: from `simsgd.faults`; none by default.

    Raises:
        ValueError: if `workers` is below 1; if a law or network with an entry for each worker has another number of them, or
            a fault names a worker that the cluster lacks; if a worker leaves or joins twice, or leaves before it joins.
        BoundError: if `workers` is above `sg.bounds.workers`.
        TypeError: if `compute` is not a `times.Law`, `network` not a `networks.Fabric`, or an entry of `faults` not a fault; if
            a law or network of your own is not a frozen dataclass, as one with a state could give two tapes from one seed.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(
        ...     workers=16,
        ...     compute=sg.times.Exponential(mean=0.1),
        ...     network=sg.networks.Link(latency=1e-3, bandwidth=1.25e9),
        ... )
        >>> cluster
        Cluster(workers=16, compute=Exponential(mean=0.1), network=Link(latency=0.001, bandwidth=1250000000.0))
    """

    workers: int
    compute: Law
    network: Fabric = field(default_factory=Link)
    faults: Sequence[Fault] = ()

    def __post_init__(self) -> None:
        if isinstance(self.workers, Law):
            given = f"Cluster({self.workers!r}, {self.compute!r:.40})"
            raise TypeError(f"Cluster takes the workers first, then the law: Cluster(workers=16, compute=…), got {given}")
        checks.store(self, workers=checks.whole("Cluster.workers", self.workers, 1))
        bounds.check("workers", self.workers, f"Cluster.workers={self.workers}")
        checks.instance("Cluster.compute", self.compute, Law, "times.Exponential(mean=0.1)")
        checks.instance("Cluster.network", self.network, Fabric, "networks.Link(latency=1e-3, bandwidth=1.25e9)")
        checks.store(self, faults=checks.sequence("Cluster.faults", self.faults, "(faults.Crash(worker=0, at=10.0),)"))
        for i, fault in enumerate(self.faults):
            checks.instance(f"Cluster.faults[{i}]", fault, KINDS, "faults.Crash(worker=0, at=10.0)")
        for name in ("compute", "network", "faults"):
            frozen.check(f"Cluster.{name}", getattr(self, name))
        for fault in self.faults:
            fault.check_workers(self.workers)
        self.compute.check_workers(self.workers)
        self.network.check_workers(self.workers)
        self._check_elastic()

    @classmethod
    def of_nodes(
        cls,
        nodes: int,
        devices: int,
        compute: Law,
        inside: AllReduce,
        message_bytes: float,
        network: Fabric | None = None,
        faults: Sequence[Fault] = (),
    ) -> Self:
        """Return a cluster whose workers are nodes of several devices, which average their gradients inside at each local step.

        A local step of a node takes as long as the slowest of its devices, and then the all-reduce inside:
        `times.Slowest(compute, of=devices)` and `inside.seconds(devices, message_bytes)`. A gradient of a node is the average
        over its devices: give the problem `devices` times the batch of one. The messages between the nodes are the method's.

        Args:
            nodes: how many, at least 1: the workers.
            devices: of each node, at least 1.
            compute: the law of one device's step, seconds.
            inside: the all-reduce of the devices of a node.
            message_bytes: of a gradient; `problem.message_bytes`.
            network: the fabric between the nodes; by default messages take no time.
            faults: of nodes.

        Raises:
            TypeError, ValueError: as a cluster does; if the all-reduce does not run with so many devices.

        Example:
            >>> import simsgd as sg
            >>> nvlink, ethernet = sg.networks.preset("nvlink 4"), sg.networks.preset("ethernet 10g")
            >>> step = sg.times.Exponential(mean=0.1)
            >>> cluster = sg.Cluster.of_nodes(4, 8, step, sg.networks.Ring(nvlink), 1e8, sg.networks.Ring(ethernet))
            >>> print(cluster.workers, cluster.compute.law)
            4 Slowest(law=Exponential(mean=0.1), of=8)
        """
        checks.instance("inside", inside, AllReduce, "networks.Ring(networks.preset('nvlink 4'))")
        devices = checks.whole("devices", devices, 1)
        inside.check_workers(devices)
        seconds = inside.seconds(devices, message_bytes)
        compute = Scaled(Slowest(compute, of=devices), by=1.0, overhead=seconds)
        return cls(nodes, compute, Link() if network is None else network, faults)

    def __repr__(self) -> str:
        """Return the call that makes the cluster, without what is at its default. Tapes keep it, so nothing is shortened."""
        given: list[tuple[str, object]] = [("workers", self.workers), ("compute", self.compute)]
        given += [("network", self.network)] if self.network != Link() else []
        given += [("faults", self.faults)] if self.faults else []
        return f"Cluster({', '.join(f'{name}={value!r}' for name, value in given)})"

    def _repr_html_(self) -> str:
        """Return a small table, which notebooks show."""
        rows: dict[str, object] = {"workers": self.workers, "compute": self.compute, "network": self.network}
        rows |= {"faults": self.faults} if self.faults else {}
        return show.in_html([("Cluster", ""), *((name, shortened(repr(value))) for name, value in rows.items())])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the cluster as a TOML file for people and for `load`; the file is written completely or not at all.

        Raises:
            TypeError: if a law or a network in it is of a class of your own, which a file cannot describe.
            OSError: if the folder does not exist or cannot be written.
        """
        checks.instance("path", path, (str, os.PathLike), '"cluster.toml"')
        file.save(path, self)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, files_within: str | os.PathLike[str] | None = None) -> Self:
        """Read a cluster from a TOML file, one that `save` wrote or one of your own.

        A quantity is a text with its unit: s, ms, us, ns, min or h; B, kB, MB, GB, KiB, MiB or GiB; these or bit, kbit, Mbit,
        Gbit, per second. A plain factor has no unit: a law of times has the mean "1 s", the law of `DrawnSlowness.slowness` the
        mean 1.0. Beside the classes of `times`, `networks` and `faults`, `kind = "preset"` is a link by its `name` in
        `networks.PRESETS`, whose `latency` and `bandwidth` you may override. A class that has a `load` (recorded times and
        measured links) takes a `file`, by its path from the TOML file's folder, in place of its table.

        So that a stranger's file can be loaded, it reads only regular files of at most 64 MB in its own folder or below, and
        their contents are not quoted in errors. A file that says other values than when it was saved loads with a
        warning: once you edit it, delete its line "# checksum …".

        Args:
            path: the TOML file, of at most 64 MB.
            files_within: another folder, in which and below which the file may refer to files of any size: "/" for all.

        Raises:
            TypeError: if `path` or `files_within` is no name of a file.
            OSError: if the file, or one that it refers to, does not exist or cannot be read.
            simsgd.FileFormatError: if it does not describe a cluster; the message names the key, its value and what is allowed.

        Example:
            >>> import pathlib, tempfile
            >>> import simsgd as sg
            >>> cluster = sg.Cluster(16, sg.times.Exponential(mean=0.1), sg.networks.preset("ethernet 10g"))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     path = pathlib.Path(folder) / "cluster.toml"
            ...     cluster.save(path)
            ...     print(path.read_text())
            ...     sg.Cluster.load(path) == cluster
            # A cluster of workers, to be read by simsgd.Cluster.load. What is left out is at its default.
            # checksum 82c1c571144f603f: of the values as saved. Once you change one, delete this line, or loading warns.
            format = "simsgd cluster 1"
            workers = 16
            <BLANKLINE>
            [compute]
            kind = "Exponential"
            mean = "100 ms"
            <BLANKLINE>
            [network]
            kind = "Link"
            latency = "30 us"
            bandwidth = "1.25 GB/s"
            <BLANKLINE>
            True
        """
        checks.instance("path", path, (str, os.PathLike), '"cluster.toml"')
        if files_within is not None:
            checks.instance("files_within", files_within, (str, os.PathLike), '"measurements"')
        return file.load(path, cls, files_within)

    def _check_elastic(self) -> None:
        """Raise ValueError if a worker joins or leaves twice, or leaves before it has joined."""
        if isinstance(self.network, AllReduce) and not self.network.wires:
            for i, fault in enumerate(self.faults):
                if isinstance(fault, LostMessages | LinkDown | LinkOutages):
                    raise ValueError(
                        f"Cluster.faults[{i}] must not be of messages: {self.network!r} has no links, only a measured time of "
                        f"the whole, got {fault!r}"
                    )
        joins, leaves = ([(f.worker, f.at) for f in self.faults if isinstance(f, kind)] for kind in (Join, Leave))
        joined = dict(joins)
        for verb, moments in (("join", joins), ("leave", leaves)):
            times = Counter(worker for worker, _ in moments)
            for worker, at in moments:
                if times[worker] > 1:
                    raise ValueError(f"Cluster.faults make worker {worker} {verb} more than once: it can do so only once")
                if verb == "leave" and at <= joined.get(worker, -1.0):
                    raise ValueError(f"Cluster.faults make worker {worker} leave at {at:g} s, before it has joined")
        if isinstance(self.network, AllReduce):
            self._check_ranks(sorted([(at, 1) for _, at in joins] + [(at, -1) for _, at in leaves]), self.workers - len(joins))

    def _check_ranks(self, changes: list[tuple[float, int]], ranks: int) -> None:
        """Raise ValueError if the all-reduce does not run with the workers left after each change (seconds, workers)."""
        for at, change in [(0.0, 0), *changes]:
            ranks += change
            try:
                self.network.check_ranks(ranks or 1)  # type: ignore[attr-defined]
            except ValueError as error:
                raise ValueError(f"Cluster.faults leave {ranks} workers at {at:g} s, but {error}") from error


def shortened(text: str, most: int = 200) -> str:
    """Return a text without its middle if it is longer than `most` characters."""
    return text if len(text) <= most else f"{text[: most - 40]} … {text[-40:]}"
