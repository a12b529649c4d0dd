"""Who a tape is: the recording that it is the beginning of, and where it ends.

A recording goes on for as long as it is asked to, so a tape is named by what was recorded (protocol, cluster, size of messages,
seed, and where: `surroundings`) and by how far. A tape's header says both, with the hash of the content that they are said
of: a tape whose columns were edited, or were never recorded, is known by its content alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from simsgd.provenance import surroundings
from simsgd.provenance.describing import describe
from simsgd.provenance.identity import Identity, canonical

ENTRIES = frozenset(("identity", "content"))
"""What stands in a tape's header for this module."""


def recording(protocol: object, cluster: object, costs: Any, seed: int) -> dict[str, Any]:
    """Return what a recording's bits depend on, but for how far it goes.

    Args:
        protocol, cluster: as `record` is given them.
        costs: what jobs cost the clock (`simsgd.costs`).
        seed: of all random draws.
    """
    return {
        "recording": {
            "protocol": describe(protocol),
            "cluster": describe(cluster),
            "message_bytes": costs.message.bytes,
            **{name: describe(told) for name, told in costs.described().items()},
            "seed": describe(seed),
        },
        "environment": surroundings.of_recordings(),
    }


def ended(header: Mapping[str, Any], content: str, until: Mapping[str, Any]) -> dict[str, Any]:
    """Return the header of a tape that ends at `until` and has this content hash; unchanged if it says of no recording."""
    if "identity" not in header:
        return dict(header)
    return {**header, "identity": canonical(origin(header, until)), "content": content}


def origin(header: Mapping[str, Any], until: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a tape as far as `until`, from the header of one that goes on."""
    return {**json.loads(header["identity"]), "until": dict(until)}


def verified(header: Mapping[str, Any], content: str) -> dict[str, Any]:
    """Return a tape's description: as its header says if it says so of this content, else the content hash."""
    if header.get("content") == content:
        said = Identity.read(header.get("identity"))
        if not said.unreadable:
            return said.description
    return {"content": content}


def plain(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return a header without what this module keeps in it."""
    return {name: value for name, value in header.items() if name not in ENTRIES}
