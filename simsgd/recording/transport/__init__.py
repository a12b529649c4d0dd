"""Messages on their way: what a fabric does in the event loop.

Laws of this package:

1. A fabric brings models to workers and gradients to the server; which ones, and what is done about them, it does not know.
2. A job has one message on its way at a time. Dropping the job frees all that its message held.
3. On an uncontended network, without faults, a message is one event.
"""

from __future__ import annotations

from collections.abc import Sequence

import simpy

from simsgd.cluster.cluster import Cluster
from simsgd.networks import AllReduce, Network, ParameterServer
from simsgd.recording.fault_schedule import Named
from simsgd.recording.transport.base import Ends, Traffic
from simsgd.recording.transport.collective import Collective
from simsgd.recording.transport.paths import Paths
from simsgd.recording.transport.shared import SharedServer


def traffic(
    environment: simpy.Environment, cluster: Cluster, named: Sequence[Named], message_bytes: float, seed: int, ends: Ends
) -> Traffic:
    """Return what moves the messages of a cluster; arguments as in `Traffic`."""
    kinds: dict[type, type[Traffic]] = {AllReduce: Collective, ParameterServer: SharedServer, Network: Paths}
    kind = next((kind for fabric, kind in kinds.items() if isinstance(cluster.network, fabric)), None)
    if kind is None:
        raise TypeError(f"cluster.network must be a Network, a ParameterServer or an AllReduce, got {cluster.network!r}")
    return kind(environment, cluster, named, message_bytes, seed, ends)
