"""Descriptions must not change: a law or a network with a state of its own would give two tapes from one seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from simsgd.faults import Fault
from simsgd.networks import Fabric
from simsgd.support import frozen
from simsgd.times import Law


def check(where: str, description: object) -> None:
    """Raise TypeError unless a description, and each one in it, is of a frozen dataclass whose fields cannot change either.

    Args:
        where: the argument that holds it, with which the message begins.
        description: a law, a fabric or a fault, or a tuple of them.

    Example:
        >>> import simsgd as sg
        >>> from simsgd.cluster.frozen import check
        >>> check("Cluster.compute", sg.times.Speeds(sg.times.Constant(1.0), (1.0, 0.5)))
    """
    found = list(parts(where, description))
    for place, each in found:
        frozen.check_class(place, each, "what it must remember of a worker into what its sampler returns")
    for place, each in reversed(found):  # the innermost is the one to name
        frozen.check_fields(place, each)


def parts(where: str, description: object) -> Iterator[tuple[str, Any]]:
    """Yield each law, fabric and fault in a description with its place, the description itself first."""
    if isinstance(description, tuple):
        for i, each in enumerate(description):
            if type(each) is not float and isinstance(each, Law | Fabric | Fault | tuple):  # a table may hold a million floats
                yield from parts(f"{where}[{i}]", each)
    elif isinstance(description, Law | Fabric | Fault):
        yield where, description
        names: list[str] = (
            [field.name for field in dataclasses.fields(description)] if dataclasses.is_dataclass(description) else []
        )
        for name in names:
            yield from parts(f"{where}.{name}", getattr(description, name))
