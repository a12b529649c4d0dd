"""Bounds on how much work is started: work that would take days, or more memory than there is, is refused before it starts.

`simsgd.bounds` holds them. To allow more, raise a bound, as the error says: `sg.bounds.rows = 10**9`. Bounds decide whether
something is computed, never what: no bit of a result depends on them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from simsgd.support import checks


class BoundError(ValueError):
    """Something would take more than `simsgd.bounds` allow; the message says what, how much, and how to allow it."""


@dataclass
class Bounds:
    """How much work may be begun.

    Attributes:
        rows: rows of one tape (about 200 bytes each while it is recorded).
        workers: workers of one cluster.
        evaluations: how often the metrics of one run are evaluated.
        bytes: memory for the batches and the models that one replay holds at a time.
        file_bytes: of one file that is read: a tape, a run, a table of measurements.
        parts: what one job or one message is made of: its local steps, the buckets of its gradient, the times that it is lost,
            and the slow spells, pauses and outages that it meets (up to a microsecond each).

    Example:
        >>> import simsgd as sg
        >>> sg.bounds.evaluations
        1000000
    """

    rows: int = 100_000_000
    workers: int = 1_000_000
    evaluations: int = 1_000_000
    bytes: int = 32_000_000_000
    file_bytes: int = 10_000_000_000
    parts: int = 100_000

    def __setattr__(self, name: str, value: object) -> None:
        """Change a bound, or raise AttributeError for a name that is not one."""
        names = [field.name for field in fields(self)]
        if name not in names:
            raise AttributeError(f"bounds has no {name!r}; it has {', '.join(names)}")
        object.__setattr__(self, name, checks.whole(f"bounds.{name}", value, 1))

    def check(self, name: str, wanted: float, what: str) -> None:
        """Raise BoundError if more of something is wanted than the bound called `name` allows.

        Args:
            name: one of those above.
            wanted: how many.
            what: the argument and its value that need so much; the message begins with it.
        """
        bound = getattr(self, name)
        if wanted > bound:
            raise BoundError(
                f"{what} would take {_in_words(wanted)} {name}, and at most {bound:,} are begun: ask for less, or allow it "
                f"with sg.bounds.{name} = {_written(wanted)}"
            )


def _in_words(wanted: float) -> str:
    """Return how many, rounded where it is very many."""
    if wanted < 1e6:
        return f"{math.ceil(wanted):,}"
    return f"{wanted:,.4g}" if isinstance(wanted, float) or wanted < 1e300 else _written(wanted)  # beyond all floats


def _written(wanted: float) -> str:
    """Return a bound that allows so much, as code."""
    if wanted == math.inf:
        return "…"
    return f"{math.ceil(wanted)}" if wanted < 1e15 else f"10**{math.ceil(math.log10(wanted))}"


bounds = Bounds()
"""The bounds of this process."""
