"""Who waits for whom: the rules by which a server answers gradients. A file for each family, each rule like its paper's.

Weights are said, never implied: the server steps with Σ weight·gradient. `MinibatchSGD` averages over its n gradients, as the
methods do that step with K of them (weight 1/K); `AsyncSGD` steps with single gradients (weight 1).
"""

from simsgd.protocols.asynchronous import AsyncSGD, KBatchAsyncSGD
from simsgd.protocols.base import Protocol, Server, check
from simsgd.protocols.fresh import RennalaSGD, RingmasterASGD
from simsgd.protocols.synchronous import KSyncSGD, MinibatchSGD
from simsgd.support import public
from simsgd.tape.schema import Gradient

__all__ = [
    "AsyncSGD",
    "Gradient",
    "KBatchAsyncSGD",
    "KSyncSGD",
    "MinibatchSGD",
    "Protocol",
    "RennalaSGD",
    "RingmasterASGD",
    "Server",
    "check",
]
__dir__ = public.names(__all__)
