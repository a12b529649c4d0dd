"""The parameter server in a recording: the verbs that protocols speak, and the logs that it writes.

Laws of this module:

1. A gradient can be used once, in the `on_gradient` call that delivers it; what is not used then is thrown away and logged.
2. A verb that makes no sense is refused at once, and a server for which nobody works says who waits for whom.
3. Logs grow by packed bytes alone: memory is the tape's own columns.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import simpy

from simsgd.laws import DISCARDED_COLUMNS, REASONS, ROW_COLUMNS
from simsgd.protocols import Gradient, Protocol

GRADIENTS_WITHOUT_STEP = 1_000_000
"""A protocol that has let so many gradients in a row arrive without a step is taken to be stuck."""
FAULTS_WHILE_IDLE = 10_000
"""A cluster in which so many faults in a row have found nobody at work is taken to be stuck."""
UNUSED, CANCELLED, CRASH, LEAVING = range(len(REASONS))
GONE = (
    "give it a time at which it is back, let it leave for good (faults.Leave), or use a method that goes on without it, such "
    "as MinibatchSGD(wait=False)"
)


class StuckError(RuntimeError):
    """The simulation cannot go on; the message says who waits for whom."""


class ProtocolError(RuntimeError):
    """A protocol asked the server for something impossible; the message says what, and what would do."""


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

    def multiply(self, name: str, start: int, factor: float) -> None:
        """Multiply one column, from row `start` on."""
        np.frombuffer(self._bytes, self._type)[name][start:] *= factor

    def column(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return a copy of rows [start, stop) of one column."""
        return np.frombuffer(self._bytes, self._type)[name][start:stop].copy()

    def columns(self) -> dict[str, np.ndarray]:
        """Return a copy of everything, column by column."""
        return {name: self.column(name) for name in self._type.names or ()}


def job_values(job: Gradient) -> tuple[float, ...]:
    """Return a job's values in the order of JOB_COLUMNS."""
    return job.worker, job.job, job.read, job.assigned, job.departed, job.began, job.ended, job.sent, job.arrived


class Server:
    """What `protocols.Server` promises, and the logs that it writes.

    Args:
        protocol: who answers the gradients.
        environment: the event loop.
        workers: the workers that are there from the start.
        observe: what `observe` calls; without it, observing is an error.

    Attributes:
        expected: workers that are down or yet to join, and will come.
    """

    def __init__(
        self,
        protocol: Protocol,
        environment: simpy.Environment,
        workers: Sequence[int],
        observe: Callable[[str], float] | None,
    ) -> None:
        self.workers = workers
        self.version = 0
        self.accumulated = 0
        self.notes: dict[str, Any] = {}
        self.busy: set[int] = set()
        self.down: set[int] = set()
        self.expected: set[int] = set()
        self.rows = Log(ROW_COLUMNS)
        self.updates = Log({"time": np.float64})
        self.discarded = Log(DISCARDED_COLUMNS)
        self.stepped_rows = 0
        self.jobs: dict[int, Gradient] = {}
        self._protocol = protocol
        self._environment = environment
        self._observe = observe
        self._next_job: dict[int, int] = {}
        self.delivering: Gradient | None = None
        self._arrived_since_step = 0
        self._faults_while_idle = 0

    def connect(
        self,
        hand_out: Callable[[Gradient], None],
        take_back: Callable[[Gradient], None],
        settle: Callable[[], None],
        held: Callable[[], int],
    ) -> None:
        """Connect the server to its workers.

        Args:
            hand_out: brings a job's model to its worker.
            take_back: stops a job wherever it is, and the worker that is at it.
            settle: says that a gradient is asked for no longer, for which others may have waited.
            held: how many gradients wait on their way for those of others.
        """
        self._hand_out, self._take_back, self._settle, self._held = hand_out, take_back, settle, held

    @property
    def now(self) -> float:
        """Simulated seconds."""
        return self._environment.now

    def staleness(self, gradient: Gradient) -> int:
        """Return how many versions the model has moved on since the gradient's was handed out."""
        return self.version - gradient.read

    # --- the verbs -------------------------------------------------------------------------------------------------------

    def assign(self, worker: int) -> None:
        """Hand the current model to an idle worker; one that is down is handed the newest when it is back."""
        if worker in self.busy or worker not in self.workers:
            raise ProtocolError(f"{self._protocol!r} called assign({worker!r}) at {self.now:g} s, but {self._refusal(worker)}")
        self.busy.add(worker)
        if worker not in self.down:
            self._begin(worker)

    def _refusal(self, worker: int) -> str:
        if worker in self.jobs:
            return f"worker {worker} is still busy with job {self.jobs[worker].job}: cancel it first"
        if worker in self.busy:
            return f"worker {worker} is down and will be handed a job when it is back: cancel that first"
        return f"the workers are {_listed(self.workers)}"

    def _begin(self, worker: int) -> None:
        number = self._next_job.get(worker, 0)
        self._next_job[worker] = number + 1
        job = self.jobs[worker] = Gradient(worker, number, self.version, self._environment.now)
        self._hand_out(job)

    def cancel(self, worker: int) -> None:
        """Stop a worker's job at once, wherever it is, and log it as thrown away; it is asked for no longer."""
        if worker not in self.busy:
            raise ProtocolError(f"{self._protocol!r} called cancel({worker!r}) at {self.now:g} s, but it has no job")
        self.busy.discard(worker)
        self._lose(worker, CANCELLED)
        self._settle()

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
        self.rows.append(False, self._environment.now, weight, *job_values(gradient))

    def step(self, scale: float = 1.0) -> None:
        """Make a new version of `scale` times what was accumulated."""
        if not self.accumulated:
            raise ProtocolError(
                f"{self._protocol!r} called step() at {self.now:g} s with nothing accumulated since the last step: "
                "accumulate at least one gradient"
            )
        if not math.isfinite(scale):
            raise ProtocolError(f"{self._protocol!r} stepped with the scale {scale!r}: a scale must be finite")
        self.rows.overwrite_last(True)  # the column step
        self.updates.append(self._environment.now)
        if scale != 1:
            self.rows.multiply("weight", self.stepped_rows, scale)
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

    # --- what happens to the server --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Let the protocol hand out the first jobs."""
        self._protocol.start(self)
        self.check_going("it started")

    def receive(self, gradient: Gradient) -> None:
        """Deliver a gradient that has arrived to the protocol; what it does not use is thrown away."""
        del self.jobs[gradient.worker]
        self.busy.discard(gradient.worker)
        self.delivering = gradient
        self._protocol.on_gradient(self, gradient)
        if self.delivering is gradient:
            self.delivering = None
            self._discard(gradient, UNUSED)
        self._arrived_since_step += 1
        self._faults_while_idle = 0
        if not self.jobs or self._arrived_since_step >= GRADIENTS_WITHOUT_STEP:
            self.check_going(f"worker {gradient.worker} delivered its job {gradient.job}")

    def crash(self, worker: int, back: bool) -> None:
        """Take a worker down, and its job with it unless the gradient has arrived; it is asked for still."""
        self.down.add(worker)
        if back:
            self.expected.add(worker)
        job = self.jobs.get(worker)
        if job is not None and math.isnan(job.arrived):
            self._lose(worker, CRASH)
            self._protocol.on_lost(self, worker)
        self._check_after_fault(f"worker {worker} crashed")

    def return_(self, worker: int) -> None:
        """Bring a worker back, and hand it the newest model if its gradient is asked for."""
        self.down.discard(worker)
        self.expected.discard(worker)
        if worker in self.busy and worker not in self.jobs:
            self._begin(worker)
        self._protocol.on_return(self, worker)
        self._check_after_fault(f"worker {worker} returned")

    def leave(self, worker: int) -> None:
        """Forget a worker, and all that was asked of it."""
        self.workers = [other for other in self.workers if other != worker]
        for known in (self.busy, self.down, self.expected):
            known.discard(worker)
        self._lose(worker, LEAVING)
        self._settle()
        self._protocol.on_leave(self, worker)
        self._check_after_fault(f"worker {worker} left")

    def join(self, worker: int, down: bool, back: bool) -> None:
        """Take in a new worker, which may be down at the time, and be back or not."""
        self.workers = sorted([*self.workers, worker])
        if down:
            self.down.add(worker)
        if not (down and back):
            self.expected.discard(worker)
        self._protocol.on_join(self, worker)
        self._check_after_fault(f"worker {worker} joined")

    def _lose(self, worker: int, reason: int) -> None:
        """Log a worker's job, if it has one, as thrown away, and stop it."""
        job = self.jobs.pop(worker, None)
        if job is not None:
            self._discard(job, reason)
            self._take_back(job)

    def _discard(self, job: Gradient, reason: int) -> None:
        if math.isnan(job.began):
            job.departed = math.nan  # only known of what is through: it might yet have queued for longer
        if math.isnan(job.arrived):
            job.sent = math.nan
        self.discarded.append(self._environment.now, self.version, reason, *job_values(job))

    # --- whether it goes on ----------------------------------------------------------------------------------------------

    def _check_after_fault(self, event: str) -> None:
        self._faults_while_idle += 1
        self.check_going(event)

    def check_going(self, event: str) -> None:
        """Raise StuckError if nothing can happen any more, or nothing but discarding and faults happens."""
        where = f"at {self.now:g} s and version {self.version}, after {event}"
        if self._arrived_since_step >= GRADIENTS_WITHOUT_STEP:
            raise StuckError(
                f"{where}, {self._arrived_since_step} gradients have arrived since the last step and the model stands "
                f"still ({self.accumulated} of them accumulated): {self._protocol!r} must call server.step"
            )
        if len(self.jobs) > self._held() or (self.expected and self._faults_while_idle < FAULTS_WHILE_IDLE):
            return
        raise StuckError(f"{where}, {self._who_waits_for_whom()}")

    def _who_waits_for_whom(self) -> str:
        gone = sorted(self.busy - self.jobs.keys() - self.expected)
        if not self.workers:
            return "all workers have left"
        if self.jobs:
            missing = f"that of {_named(gone)}, down for good" if gone else "others, which never come"
            return f"the gradients of {_named(sorted(self.jobs))} wait in the all-reduce for {missing}: {GONE}"
        if gone:
            return f"the server waits for the gradient of {_named(gone)}, down for good, and the others for the server: {GONE}"
        if self.expected:
            return (
                f"nobody has had a job for {self._faults_while_idle} faults: {self._protocol!r} waits for the gradient of "
                f"nobody, and must call server.assign, perhaps in on_return"
            )
        return (
            f"every worker ({_listed(self.workers)}) waits for the server to assign a job, and the server "
            f"waits for a gradient: {self._protocol!r} must call server.assign"
        )


def _listed(workers: Sequence[int]) -> str:
    """Return workers' numbers as text, "0 to 3" where they follow one another."""
    if len(workers) > 1 and list(workers) == list(range(workers[0], workers[-1] + 1)):
        return f"{workers[0]} to {workers[-1]}"
    return ", ".join(map(str, workers))


def _named(workers: Sequence[int]) -> str:
    return f"worker{'s' if len(workers) > 1 else ''} {_listed(workers)}"
