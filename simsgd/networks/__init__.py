"""How messages move: the seconds that a message of a given size takes, and which messages wait for which.

A *fabric* is whatever moves the messages of a cluster; there are three kinds. A `Network` is a fabric of uncontended paths:
the time of a message does not depend on other messages. On a `ParameterServer` all messages share the server's links. In an
`AllReduce` the workers send pieces to each other, and wait for each other.

A fabric is a frozen description and knows nothing of the method. All quantities are seconds, bytes and bytes/second. A link has
two directions that do not slow each other down.
"""

from typing import TYPE_CHECKING

from simsgd.networks.all_reduce import AllReduce
from simsgd.networks.collectives import BinaryTree, HalvingDoubling, Hierarchical, Ring
from simsgd.networks.fabric import Fabric, Network, Wire
from simsgd.networks.links import Duplex, Jittery, Link, PerWorker
from simsgd.networks.measured import MeasuredAllReduce, MeasuredLink
from simsgd.networks.presets import PRESETS, Preset, preset
from simsgd.networks.server import ParameterServer
from simsgd.support import public

__all__ = [
    "PRESETS",
    "AllReduce",
    "BinaryTree",
    "Duplex",
    "Fabric",
    "HalvingDoubling",
    "Hierarchical",
    "Jittery",
    "Link",
    "MeasuredAllReduce",
    "MeasuredLink",
    "Network",
    "ParameterServer",
    "PerWorker",
    "Preset",
    "Ring",
    "Wire",
    "preset",
]
__dir__ = public.names(__all__)
if not TYPE_CHECKING:  # else every name would be there for a type checker
    __getattr__ = public.near(__name__, __all__)
