"""Ways to send fewer bytes: what stands in `Method.compress_up` and `Method.compress_down`.

    method = sg.Method(sg.AsyncSGD(), sg.optimizers.sgd(0.1), compress_up=sg.compressions.TopK(share=0.01))

Laws of this package:

1. Bytes are counted to the byte: numbers, places, scales. A number that is sent as it is has 4 bytes, also where the replay
   computes in float64.
2. What is sent of a message that is not finite is not finite either, so that a run which diverges is seen to.
3. Random choices come from the key of the message, so one seed sends the same.
"""

from typing import TYPE_CHECKING

from simsgd.compressions.differences import DIANA, EF21
from simsgd.compressions.feedback import ErrorFeedback
from simsgd.compressions.low_rank import BytesOfSum, PowerSGD, compress_sum
from simsgd.compressions.momentum import DeepGradientCompression, DeMo
from simsgd.compressions.rounding import QSGD, Half, NaturalRounding
from simsgd.compressions.signs import ScaledSign, Sign, TernGrad
from simsgd.compressions.sparse import RandomK, TopK
from simsgd.support import public

__all__ = [
    "DIANA",
    "EF21",
    "QSGD",
    "BytesOfSum",
    "DeMo",
    "DeepGradientCompression",
    "ErrorFeedback",
    "Half",
    "NaturalRounding",
    "PowerSGD",
    "RandomK",
    "ScaledSign",
    "Sign",
    "TernGrad",
    "TopK",
    "compress_sum",
]
__dir__ = public.names(__all__)
if not TYPE_CHECKING:  # else every name would be there for a type checker
    __getattr__ = public.near(__name__, __all__)
