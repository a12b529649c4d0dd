"""The cluster: how many workers, how long their jobs take, how their messages move. A description, nothing that runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from simsgd import checks
from simsgd.networks import Link, Network
from simsgd.times import Law


@dataclass(frozen=True)
class Cluster:
    """Workers around a parameter server that handles one gradient at a time.

    Args:
        workers: how many, at least 1.
        compute: the law of a job's compute time, seconds.
        network: how long the model takes down to a worker and a gradient up to the server; free by default.

    Raises:
        ValueError: if `workers` is below 1, or a law or network with an entry for each worker has another number of them.
        TypeError: if `compute` is not a `times.Law` or `network` not a `networks.Network`.

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
    network: Network = field(default_factory=Link)

    def __post_init__(self) -> None:
        checks.store(self, workers=checks.whole("Cluster.workers", self.workers, 1))
        checks.instance("Cluster.compute", self.compute, Law, "times.Exponential(mean=0.1)")
        checks.instance("Cluster.network", self.network, Network, "networks.Link(latency=1e-3, bandwidth=1.25e9)")
        self.compute.check_workers(self.workers)
        self.network.check_workers(self.workers)
