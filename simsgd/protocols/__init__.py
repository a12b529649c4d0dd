"""Who waits for whom: the rules by which a server answers gradients. A file for each family, each rule like its paper's.

Weights are said, never implied: the server steps with Σ weight·gradient. `MinibatchSGD` averages over its n gradients, as the
methods do that step with K of them (weight 1/K); `AsyncSGD` steps with single gradients (weight 1).
"""

from typing import TYPE_CHECKING

from simsgd.protocols.adaptive import AdaCommSGD, AdaSyncSGD
from simsgd.protocols.asynchronous import AsyncSGD, BoundedAsyncSGD, KAsyncSGD, KBatchAsyncSGD
from simsgd.protocols.base import JobInFlight, Protocol, Server, check
from simsgd.protocols.coin import MarinaRounds
from simsgd.protocols.dynamic import DynamicLocalSGD
from simsgd.protocols.epochs import AsyncEpochSGD, EpochSGD, LooplessEpochSGD
from simsgd.protocols.fresh import RennalaSGD, RingmasterASGD
from simsgd.protocols.heterogeneous import MaleniaSGD, RescaledASGD, RingleaderASGD
from simsgd.protocols.post_local import PostLocalSGD
from simsgd.protocols.quorum import FragmentsSGD, QuorumSGD
from simsgd.protocols.sampled import SampledSGD
from simsgd.protocols.stale_synchronous import StaleSynchronousSGD
from simsgd.protocols.synchronous import FirstMSGD, KBatchSyncSGD, KSyncSGD, MinibatchSGD
from simsgd.protocols.time_limits import MindFlayerSGD
from simsgd.support import public
from simsgd.tape.schema import Gradient

__all__ = [
    "AdaCommSGD",
    "AdaSyncSGD",
    "AsyncEpochSGD",
    "AsyncSGD",
    "BoundedAsyncSGD",
    "DynamicLocalSGD",
    "EpochSGD",
    "FirstMSGD",
    "FragmentsSGD",
    "Gradient",
    "JobInFlight",
    "KAsyncSGD",
    "KBatchAsyncSGD",
    "KBatchSyncSGD",
    "KSyncSGD",
    "LooplessEpochSGD",
    "MaleniaSGD",
    "MarinaRounds",
    "MindFlayerSGD",
    "MinibatchSGD",
    "PostLocalSGD",
    "Protocol",
    "QuorumSGD",
    "RennalaSGD",
    "RescaledASGD",
    "RingleaderASGD",
    "RingmasterASGD",
    "SampledSGD",
    "Server",
    "StaleSynchronousSGD",
    "check",
]
__dir__ = public.names(__all__)
if not TYPE_CHECKING:  # else every name would be there for a type checker
    __getattr__ = public.near(__name__, __all__)
