"""simsgd: which distributed SGD method reaches the target first on this cluster, and why?

Time is simulated, gradients are real.
Two verbs and a tape: `record` plays time (SimPy) and writes a tape; `replay` plays numbers (JAX) from the tape;
`simulate` does both. Names are loaded when first used, so that recording never imports JAX.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "AsyncSGD": "protocols",
    "BoundError": "support.bounds",
    "Cell": "studies",
    "Charges": "work",
    "Cluster": "cluster",
    "Compression": "compression",
    "FileFormatError": "support.files",
    "ForkedProcessError": "support.forked",
    "Gradients": "stopping",
    "Method": "method",
    "MinibatchSGD": "protocols",
    "OneGradient": "work",
    "Order": "work",
    "Problem": "problems",
    "Protocol": "protocols",
    "ProtocolError": "recording.refusals",
    "Run": "run",
    "Samples": "stopping",
    "Seconds": "stopping",
    "Study": "studies",
    "StuckError": "recording.stuck",
    "Tape": "tape",
    "TapeError": "tape.rules",
    "Target": "stopping",
    "Updates": "stopping",
    "Work": "work",
    "bounds": "support.bounds",
    "compare": "studies",
    "compilation_cache": "replaying.cache",
    "identity": "identifying",
    "record": "recording.recorder",
    "replay": "replaying.replay",
    "simulate": "simulation",
    "writing": "support.files",
}
_MODULES = (
    *("compressions", "faults", "methods", "networks", "optimizers", "plots", "problems", "protocols", "studies", "testing"),
    *("times", "works"),
)

__version__ = "0.8.0"
__all__ = [*_HOME, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"simsgd.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"simsgd.{name}")
    homes = [module for module in _MODULES if name[:1].isupper() and hasattr(__getattr__(module), name)]  # classes only
    where = f"it is simsgd.{homes[0]}.{name}" if homes else f"it has {', '.join(__all__)}"
    raise AttributeError(f"simsgd has no {name!r}; {where}")


def __dir__() -> list[str]:
    return sorted(__all__)
