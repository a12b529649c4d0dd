"""Links by name: typical numbers for a kind of link, each with its source, which can be overridden."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import NamedTuple

from simsgd.networks.links import Link
from simsgd.support import checks

_LINE_RATE = "bandwidth: the vendor's line rate in one direction, from memory, before any protocol's overhead"
_TABLE = "as in NCCL's tuning tables before Hopper"
_TCP = "latency: an assumption within the 20 to 50 µs of a message over TCP in one data centre"


class Preset(NamedTuple):
    """A typical link and where its numbers come from.

    Attributes:
        link: its latency (seconds) and bandwidth (bytes/second, one direction).
        source: where each number comes from. None was measured for this library.
    """

    link: Link
    source: str


PRESETS: Mapping[str, Preset] = types.MappingProxyType(
    {
        "nvlink 4": Preset(
            Link(3.4e-6, 450e9), f"{_LINE_RATE} (all links of a device together); latency: a ring step {_TABLE}"
        ),
        "pcie 4": Preset(Link(5.7e-6, 32e9), f"{_LINE_RATE} (16 lanes); latency: a ring step {_TABLE}"),
        "pcie 5": Preset(Link(5.7e-6, 64e9), f"{_LINE_RATE} (16 lanes); latency: a ring step {_TABLE}"),
        "infiniband hdr": Preset(Link(9.6e-6, 25e9), f"{_LINE_RATE} (200 Gb/s); latency: a network step {_TABLE}"),
        "infiniband ndr": Preset(Link(9.6e-6, 50e9), f"{_LINE_RATE} (400 Gb/s); latency: a network step {_TABLE}"),
        "ethernet 10g": Preset(Link(30e-6, 1.25e9), f"{_LINE_RATE}; {_TCP}"),
        "ethernet 25g": Preset(Link(30e-6, 3.125e9), f"{_LINE_RATE}; {_TCP}"),
        "ethernet 100g": Preset(Link(30e-6, 12.5e9), f"{_LINE_RATE}; {_TCP}"),
        "wide area": Preset(
            Link(80e-3, 0.125e9),
            "bandwidth: an assumption, 1 Gb/s; latency: an assumption within the 30 to 150 ms between distant data centres",
        ),
    }
)
"""Each name with its `Preset`."""


def preset(name: str, latency: float | None = None, bandwidth: float | None = None) -> Link:
    """Return the link of that name; `PRESETS[name].source` says where its numbers come from.

    Args:
        name: one of `PRESETS`, for example "infiniband ndr".
        latency: seconds, in place of the preset's.
        bandwidth: bytes/second, in place of the preset's.

    Raises:
        ValueError: for another name, or a latency or bandwidth out of range.

    Example:
        >>> import simsgd as sg
        >>> sg.networks.preset("ethernet 100g", latency=5e-6)
        Link(latency=5e-06, bandwidth=12500000000.0)
    """
    checks.one_of("name", name, PRESETS)
    own = {"latency": latency, "bandwidth": bandwidth}
    return dataclasses.replace(PRESETS[name].link, **{field: value for field, value in own.items() if value is not None})
