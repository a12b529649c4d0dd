"""A job under way: what the recorder knows of it, the future included. Protocols are handed a read-only `Gradient` of it."""

from __future__ import annotations

import math
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from simsgd.recording.events import Planned
from simsgd.tape.schema import MOMENTS, Gradient

_values = attrgetter(*Gradient._fields)


class Job:
    """A job from its assignment until its gradient is delivered, or thrown away: the fields of `Gradient`, and what comes next.

    Its moments are set as soon as they are known, which may be long before they come: on an uncontended network all of them
    are known when the job is handed out. Who looks at a job before its end hides what is yet to come (`tape.prefix`).

    Attributes:
        event: what happens to it next, if that is planned.
    """

    __slots__ = (*Gradient._fields, "event")

    def __init__(self, worker: int, job: int, read: int, assigned: float) -> None:
        self.worker, self.job, self.read, self.assigned = worker, job, read, assigned
        self.departed = self.began = self.ended = self.sent = self.arrived = math.nan
        self.event: Planned | None = None

    if TYPE_CHECKING:  # the slots are those of the schema

        def __getattr__(self, name: str) -> Any: ...

    def gradient(self) -> Gradient:
        """Return the job as it is now, read-only."""
        return Gradient._make(_values(self))


assert set(MOMENTS) < set(Job.__slots__)
