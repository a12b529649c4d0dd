"""The cluster: how many workers, how long their jobs take, how their messages move, what breaks. Nothing here runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from simsgd import checks
from simsgd.faults import Fault, Join, Leave
from simsgd.networks import Fabric, Link
from simsgd.times import Law


@dataclass(frozen=True)
class Cluster:
    """Workers, and what moves their messages: paths to a server, a server whose links they share, or an all-reduce.

    Args:
        workers: how many, at least 1.
        compute: the law of a job's compute time, seconds.
        network: how models and gradients move; free by default.
        faults: what goes wrong, from `simsgd.faults`; nothing by default.

    Raises:
        ValueError: if `workers` is below 1; if a law or network with an entry for each worker has another number of them, or
            a fault names a worker that there is not; if a worker leaves or joins twice, or leaves before it joins.
        TypeError: if `compute` is not a `times.Law`, `network` not a `networks.Fabric`, or `faults` hold something else.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(
        ...     workers=16,
        ...     compute=sg.times.ShiftedExponential(shift=0.05, mean=0.1),
        ...     network=sg.networks.Link(latency=1e-3, bandwidth=1.25e9),
        ... )
        >>> cluster.workers
        16
    """

    workers: int
    compute: Law
    network: Fabric = field(default_factory=Link)
    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        checks.store(self, workers=checks.whole("Cluster.workers", self.workers, 1))
        checks.instance("Cluster.compute", self.compute, Law, "times.Exponential(mean=0.1)")
        checks.instance("Cluster.network", self.network, Fabric, "networks.Link(latency=1e-3, bandwidth=1.25e9)")
        checks.store(self, faults=checks.sequence("Cluster.faults", self.faults, "(faults.Crash(worker=0, at=10.0),)"))
        for i, fault in enumerate(self.faults):
            checks.instance(f"Cluster.faults[{i}]", fault, Fault, "faults.Crash(worker=0, at=10.0)")
            fault.check_workers(self.workers)
        self.compute.check_workers(self.workers)
        self.network.check_workers(self.workers)
        self._check_elastic()

    def _check_elastic(self) -> None:
        """Raise ValueError if a worker joins or leaves twice, or leaves before it has joined."""
        joins, leaves = ([(f.worker, f.at) for f in self.faults if isinstance(f, kind)] for kind in (Join, Leave))
        for verb, moments in (("join", joins), ("leave", leaves)):
            for worker, at in moments:
                if sum(other == worker for other, _ in moments) > 1:
                    raise ValueError(f"Cluster.faults make worker {worker} {verb} more than once: it can do so only once")
                if verb == "leave" and at <= dict(joins).get(worker, -1.0):
                    raise ValueError(f"Cluster.faults make worker {worker} leave at {at:g} s, before it has joined")
