"""A job under way: what the recorder knows of it, the future included. Protocols are handed a read-only `Gradient` of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from simsgd.protocols.base import JobInFlight
from simsgd.recording.events import Happening
from simsgd.tape.schema import CHARGES, Gradient
from simsgd.work import Charges

COLUMNS = len(CHARGES)
"""How many of a job's charges, the first, are columns of the tape."""
PLAIN = Charges(bytes_down=0.0, bytes_up=0.0)


class Job(Happening):
    """A job from its assignment until its gradient is delivered, or thrown away: an event of the loop, which moves it on.

    It has the fields of `Gradient`; the last of them are the first of its `charges`. Its moments are set as soon as they are
    known, which may be long before they come: on an uncontended network all of them are known when the job is handed out. Who
    looks at a job before its end hides what is yet to come (`tape.prefix`).
    """

    def __init__(self, worker: int, job: int, read: int, assigned: float, charges: Charges = PLAIN) -> None:
        self.worker, self.job, self.read, self.assigned, self.charges = worker, job, read, assigned, charges

    if TYPE_CHECKING:  # its fields are those of the schema

        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...

    def gradient(self) -> Gradient:
        """Return the job as it is now, read-only."""
        values = (  # the fields of Gradient, one by one: by their names it would take longer
            self.worker,
            self.job,
            self.read,
            self.assigned,
            self.departed,
            self.began,
            self.ended,
            self.sent,
            self.arrived,
            self.dropped,
        )
        return tuple.__new__(Gradient, values + self.charges[:COLUMNS])  # Gradient._make, without its check


for _name, _value in (dict.fromkeys(("departed", "began", "ended", "sent", "arrived"), math.nan) | {"dropped": 0.0}).items():
    setattr(Job, _name, _value)  # what is not known yet


class JobsInFlight(Mapping[int, JobInFlight]):
    """The jobs under way, by worker in order: to be looked at, now; who goes through them may change them meanwhile."""

    def __init__(self, jobs: Mapping[int, Job]) -> None:
        self._jobs = jobs

    def __getitem__(self, worker: int) -> JobInFlight:
        job = self._jobs[worker]
        steps = 1 if job.charges.seconds else job.charges.steps  # what came of a time is not known before it has ended
        return JobInFlight(job.worker, job.job, job.read, job.assigned, steps)

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._jobs))

    def __len__(self) -> int:
        return len(self._jobs)

    def __repr__(self) -> str:
        return f"JobsInFlight({dict(self)})"
