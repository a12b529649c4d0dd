"""Units of the fields that describe a cluster: simulated seconds, bytes, bytes per second. Always these, never mixed.

A field's annotation says its unit, so that a reader of the code and `Cluster.save` learn it from the same place.

Laws of this module: it imports nothing of simsgd, and a unit is an annotation; the values are plain floats.
"""

from typing import Annotated

Seconds = Annotated[float, "s"]
"""Simulated seconds."""
Bytes = Annotated[float, "B"]
"""Bytes."""
BytesPerSecond = Annotated[float, "B/s"]
"""Bytes per second, in one direction."""
