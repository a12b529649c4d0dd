"""Units of the fields that describe a cluster, as annotations: the values are plain floats, always in these units.

A reader of the code and `Cluster.save` learn a field's unit from the same place. What a law draws has no unit of its own: it
is seconds where the law is of a time, and a plain number where the law is of a factor. So the parameters of a law are
`Drawn`, and the field that holds the law says what it is of: a plain annotation for times, `FACTOR` for a factor.

Example:
    >>> from typing import Annotated
    >>> from simsgd.support import units
    >>> from simsgd.times import Law
    >>> class Slowed:
    ...     law: Law
    ...     slowness: Annotated[Law, units.FACTOR]
"""

from typing import Annotated

InSeconds = Annotated[float, "s"]
"""Simulated seconds."""
Bytes = Annotated[float, "B"]
"""Bytes."""
BytesPerSecond = Annotated[float, "B/s"]
"""Bytes per second, in one direction."""

DRAWN = "drawn"
Drawn = Annotated[float, DRAWN]
"""In the unit of what the law draws: simulated seconds, or none where the law is of a factor."""

FACTOR = "factor"
"""Marks a field that holds a law of a plain factor: `Annotated[Law, FACTOR]`."""
