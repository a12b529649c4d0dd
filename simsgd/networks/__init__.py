"""How messages move: seconds for a message of so many bytes, and who has to wait for whom on the way.

Laws of this package:

1. A fabric is a frozen description; it knows links and servers, and nothing of the method.
2. Seconds, bytes and bytes/second everywhere; a link has two directions that do not disturb each other.
3. A `Network` is uncontended: a message takes as long as it takes, whatever else is on its way. On a `ParameterServer` messages
   share the server's links; in an `AllReduce` the workers pass pieces to each other, and wait for each other.
"""

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
