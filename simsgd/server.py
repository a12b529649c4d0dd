"""The parameter server in a recording: the verbs that protocols speak, and the logs that it writes.

Laws of this module:

1. A gradient can be used once, in the `on_gradient` call that delivers it; what is not used then is thrown away and logged.
2. A verb that makes no sense is refused at once, and a server for which nobody works says who waits for whom.
3. Logs grow by packed bytes alone: memory is the tape's own columns.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import simpy

from simsgd.laws import DISCARDED_COLUMNS, ROW_COLUMNS
from simsgd.protocols import Gradient, Protocol

GRADIENTS_WITHOUT_STEP = 1_000_000
"""A protocol that has let so many gradients in a row arrive without a step is taken to be stuck."""


class StuckError(RuntimeError):
    """The simulation cannot go on; the message says who waits for whom."""


class ProtocolError(RuntimeError):
    """A protocol asked the server for something impossible; the message says what, and what would do."""


class Delivery(simpy.Event):
    """A worker's inbox, empty until the server sends a job's model, which arrives after the download."""

    def send(self, job: Gradient, seconds: float) -> None:
        """Put a job in, to arrive after so many seconds."""
        self._ok = True
        self._value = job
        self.env.schedule(self, delay=seconds)


class Log:
    """A growing table of typed columns, packed as bytes: what a row takes on disk is all it takes in memory."""

    def __init__(self, schema: dict[str, type]) -> None:
        self._type = np.dtype(list(schema.items()))
        self._format = "<" + "".join(self._type[name].char for name in schema)
        self._pack = struct.Struct(self._format).pack
        self._bytes = bytearray()

    def __len__(self) -> int:
        return len(self._bytes) // self._type.itemsize

    def append(self, *values: float) -> None:
        """Add a row, its values in the order of the schema."""
        self._bytes += self._pack(*values)

    def overwrite_last(self, *values: float) -> None:
        """Overwrite the first values of the last row."""
        struct.pack_into(self._format[: 1 + len(values)], self._bytes, len(self._bytes) - self._type.itemsize, *values)

    def column(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return a copy of rows [start, stop) of one column."""
        return np.frombuffer(self._bytes, self._type)[name][start:stop].copy()

    def columns(self) -> dict[str, np.ndarray]:
        """Return a copy of everything, column by column."""
        return {name: self.column(name) for name in self._type.names or ()}


def job_values(job: Gradient) -> tuple[float, ...]:
    """Return a job's values in the order of JOB_COLUMNS."""
    return job.worker, job.job, job.read, job.assigned, job.began, job.ended, job.arrived


class Server:
    """What `protocols.Server` promises, and the logs that it writes.

    Args:
        protocol: who answers the gradients.
        environment: the event loop.
        inboxes: where each worker waits for its next job.
        downloads: how long the model takes to each worker (seconds).
        observe: what `observe` calls; without it, observing is an error.
    """

    def __init__(
        self,
        protocol: Protocol,
        environment: simpy.Environment,
        inboxes: list[Delivery],
        downloads: list[float],
        observe: Callable[[str], float] | None,
    ) -> None:
        self.workers = range(len(inboxes))
        self.version = 0
        self.accumulated = 0
        self.notes: dict[str, Any] = {}
        self.rows = Log(ROW_COLUMNS)
        self.discarded = Log(DISCARDED_COLUMNS)
        self.stepped_rows = 0
        self.jobs: dict[int, Gradient] = {}
        self.processes: list[simpy.Process] = []
        self._protocol = protocol
        self._environment = environment
        self._inboxes = inboxes
        self._downloads = downloads
        self._observe = observe
        self._next_job = [0] * len(inboxes)
        self.delivering: Gradient | None = None
        self._arrived_since_step = 0

    @property
    def now(self) -> float:
        """Simulated seconds."""
        return self._environment.now

    def staleness(self, gradient: Gradient) -> int:
        """Return how many versions the model has moved on since the gradient's was handed out."""
        return self.version - gradient.read

    def assign(self, worker: int) -> None:
        """Hand the current model to an idle worker."""
        if worker in self.jobs or worker not in self.workers:
            raise ProtocolError(
                f"{self._protocol!r} called assign({worker!r}) at {self.now:g} s, but "
                + (
                    f"worker {worker} is still busy with job {self.jobs[worker].job}: cancel it first"
                    if worker in self.jobs
                    else f"the workers are 0 to {len(self.workers) - 1}"
                )
            )
        job = self.jobs[worker] = Gradient(worker, self._next_job[worker], self.version, self._environment.now)
        self._next_job[worker] += 1
        self._inboxes[worker].send(job, self._downloads[worker])

    def cancel(self, worker: int) -> None:
        """Stop a worker's job at once, wherever it is, and log it as thrown away."""
        if worker not in self.jobs:
            raise ProtocolError(f"{self._protocol!r} called cancel({worker!r}) at {self.now:g} s, but it has no job")
        self._discard(self.jobs.pop(worker))
        self._inboxes[worker] = Delivery(self._environment)
        if self.processes[worker] is not self._environment.active_process:  # which has not begun the job yet
            self.processes[worker].interrupt()

    def accumulate(self, gradient: Gradient, weight: float = 1.0) -> None:
        """Add weight·gradient to the next step: a row of the tape."""
        if gradient is not self.delivering:
            raise ProtocolError(
                f"{self._protocol!r} accumulated {gradient!r} at {self.now:g} s, which is not the gradient being delivered "
                "or was accumulated before: each can be used once, in the on_gradient call that delivers it"
            )
        if not math.isfinite(weight):
            raise ProtocolError(f"{self._protocol!r} gave a gradient the weight {weight!r}: a weight must be finite")
        self.delivering = None
        self.accumulated += 1
        self.rows.append(self._environment.now, False, weight, *job_values(gradient))

    def step(self) -> None:
        """Make a new version of what was accumulated."""
        if not self.accumulated:
            raise ProtocolError(
                f"{self._protocol!r} called step() at {self.now:g} s with nothing accumulated since the last step: "
                "accumulate at least one gradient"
            )
        self.rows.overwrite_last(self._environment.now, True)  # time, step
        self.version += 1
        self.accumulated = 0
        self.stepped_rows = len(self.rows)
        self._arrived_since_step = 0

    def apply(self, gradient: Gradient, weight: float = 1.0) -> None:
        """Accumulate and step."""
        self.accumulate(gradient, weight)
        self.step()

    def observe(self, statistic: str) -> float:
        """Return a metric of the current model, if somebody plays the tape."""
        if self._observe is None:
            raise ProtocolError(
                f"{self._protocol!r} observes {statistic!r}, but a recording has no gradients to observe: use simulate"
            )
        return self._observe(statistic)

    def start(self) -> None:
        """Let the protocol hand out the first jobs."""
        self._protocol.start(self)
        self.check_going("it started")

    def receive(self, gradient: Gradient) -> None:
        """Deliver a gradient that has arrived to the protocol; what it does not use is thrown away."""
        del self.jobs[gradient.worker]
        self.delivering = gradient
        self._protocol.on_gradient(self, gradient)
        if self.delivering is gradient:
            self.delivering = None
            self._discard(gradient)
        self._arrived_since_step += 1
        if not self.jobs or self._arrived_since_step >= GRADIENTS_WITHOUT_STEP:
            self.check_going(f"worker {gradient.worker} delivered its job {gradient.job}")

    def check_going(self, event: str) -> None:
        """Raise StuckError if nothing can happen any more, or nothing but discarding happens."""
        where = f"at {self.now:g} s and version {self.version}, after {event}"
        if not self.jobs:
            raise StuckError(
                f"{where}, every worker (0 to {len(self.workers) - 1}) waits for the server to assign a job, and the server "
                f"waits for a gradient: {self._protocol!r} must call server.assign"
            )
        if self._arrived_since_step >= GRADIENTS_WITHOUT_STEP:
            raise StuckError(
                f"{where}, {self._arrived_since_step} gradients have arrived since the last step and the model stands "
                f"still ({self.accumulated} of them accumulated): {self._protocol!r} must call server.step"
            )

    def _discard(self, job: Gradient) -> None:
        self.discarded.append(self._environment.now, self.version, *job_values(job))
