"""Messages on their way: what a fabric does in the event loop.

Laws of this package:

1. A fabric brings models to workers and gradients to the server; which ones, and what is done about them, it does not know.
2. A job has one thing happening to it at a time. Dropping the job frees all that it held.
3. On an uncontended network, without faults of messages, a job is one event.
"""

from __future__ import annotations

from collections.abc import Sequence

from simsgd.cluster import Cluster
from simsgd.costs import Costs
from simsgd.networks import AllReduce, Network, ParameterServer
from simsgd.recording.events import EventLoop
from simsgd.recording.fault_schedule import Named
from simsgd.recording.transport.base import Ends, Transport
from simsgd.recording.transport.collective import Collective
from simsgd.recording.transport.paths import Paths
from simsgd.recording.transport.shared import SharedServer

KINDS: dict[type, type[Transport]] = {AllReduce: Collective, ParameterServer: SharedServer, Network: Paths}
"""What moves the messages of each kind of fabric."""


def transport(loop: EventLoop, cluster: Cluster, named: Sequence[Named], costs: Costs, seed: int, ends: Ends) -> Transport:
    """Return what moves the messages of a cluster; arguments as in `Transport`."""
    kind = next((kind for fabric, kind in KINDS.items() if isinstance(cluster.network, fabric)), None)
    if kind is None:
        raise TypeError(f"cluster.network must be a Network, a ParameterServer or an AllReduce, got {cluster.network!r}")
    return kind(loop, cluster, named, costs, seed, ends)
