"""The parameter server in a recording: the verbs that protocols speak, and the logs that it writes.

Laws of this module:

1. A gradient can be used once, in the `on_gradient` call that delivers it; what is not used then is thrown away and logged.
2. A verb that makes no sense is refused at once, and a server for which nobody works says who waits for whom.
3. All that befalls workers at one moment has happened before the protocol is told of any of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any
from typing import Protocol as Interface

import numpy as np
import simpy

from simsgd.protocols.base import Gradient, Protocol
from simsgd.recording.fault_schedule import Turn
from simsgd.recording.log import Log, job_values
from simsgd.tape.rules import DISCARDED_COLUMNS, REASONS, ROW_COLUMNS

GRADIENTS_WITHOUT_STEP = 1_000_000
"""A protocol that has let so many gradients in a row arrive without a step is taken to be stuck."""
FAULTS_WHILE_IDLE = 10_000
"""A cluster in which so many faults in a row have found nobody at work is taken to be stuck."""
LOST_WITHOUT_DELIVERY = 1_000
"""A cluster that has lost so many jobs of each worker since the last gradient was delivered is taken to be stuck."""
HAPPENED = {"crash": "crashed", "return": "returned", "leave": "left", "join": "joined"}
UNUSED, CANCELLED, CRASH, LEAVING = range(len(REASONS))
GONE = (
    "give it a time at which it is back, let it leave for good (faults.Leave), or use a method that goes on without it, such "
    "as MinibatchSGD(wait=False)"
)


class StuckError(RuntimeError):
    """The simulation cannot go on; the message says who waits for whom."""


class ProtocolError(RuntimeError):
    """A protocol asked the server for something impossible; the message says what, and what would do."""


class Workers(Collection[int]):
    """Some workers, to be looked at and not changed; going through them, in order, they may change meanwhile.

    Args:
        numbers: the workers' numbers, which others change.
    """

    def __init__(self, numbers: set[int]) -> None:
        self._numbers = numbers

    def __contains__(self, worker: object) -> bool:
        return worker in self._numbers

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._numbers))

    def __len__(self) -> int:
        return len(self._numbers)

    def __repr__(self) -> str:
        return f"Workers({sorted(self._numbers)})"


class Fabric(Interface):
    """What the server asks of the traffic; see `simsgd.recording.transport`."""

    def download(self, job: Gradient) -> None:
        """Bring a job's model to its worker."""

    def settle(self) -> None:
        """Look again, after a gradient is asked for no longer, whether those who wait are complete."""

    def held(self) -> int:
        """Return how many gradients wait on their way for those of others."""


class Server:
    """What `protocols.Server` promises, and the logs that it writes.

    Args:
        protocol: who answers the gradients.
        environment: the event loop.
        workers: the workers that are there from the start.
        observe: what `observe` calls; without it, observing is an error.

    Attributes:
        workers: the workers that belong to the cluster now, in order.
        busy: those of whom a gradient is asked, to be looked at.
        down: those that are down, to be looked at.
        expected: workers that are down or yet to join, and will come.
        jobs: the job that each worker has.
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
        self.expected: set[int] = set()
        self.jobs: dict[int, Gradient] = {}
        self.rows = Log(ROW_COLUMNS)
        self.updates = Log({"time": np.float64})
        self.discarded = Log(DISCARDED_COLUMNS)
        self.stepped_rows = 0
        self.delivering: Gradient | None = None
        self._protocol = protocol
        self._environment = environment
        self._observe = observe
        self._members, self._busy, self._down = set(workers), set[int](), set[int]()
        self.busy, self.down = Workers(self._busy), Workers(self._down)
        self._next_job: dict[int, int] = {}
        self._arrived_since_step = 0
        self._faults_while_idle = 0
        self._lost_since_delivery = 0

    def connect(self, fabric: Fabric, take_back: Callable[[Gradient], None]) -> None:
        """Connect the server to its workers.

        Args:
            fabric: what brings models to workers.
            take_back: stops a job wherever it is, and the worker that is at it.
        """
        self._fabric, self._take_back = fabric, take_back

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
        if worker in self._busy or worker not in self._members:
            raise ProtocolError(f"{self._protocol!r} called assign({worker!r}) at {self.now:g} s, but {self._refusal(worker)}")
        self._busy.add(worker)
        if worker not in self._down:
            self._begin(worker)

    def _refusal(self, worker: int) -> str:
        if worker in self.jobs:
            return f"worker {worker} is still busy with job {self.jobs[worker].job}: cancel it first"
        if worker in self._busy:
            return f"worker {worker} is down and will be handed a job when it is back: cancel that first"
        return f"the workers are {_listed(self.workers)}"

    def _begin(self, worker: int) -> None:
        number = self._next_job.get(worker, 0)
        self._next_job[worker] = number + 1
        job = self.jobs[worker] = Gradient(worker, number, self.version, self._environment.now)
        self._fabric.download(job)

    def cancel(self, worker: int) -> None:
        """Stop a worker's job at once, wherever it is, and log it as thrown away; it is asked for no longer."""
        if worker not in self._busy:
            raise ProtocolError(f"{self._protocol!r} called cancel({worker!r}) at {self.now:g} s, but it has no job")
        self._busy.discard(worker)
        self._lose(worker, CANCELLED)
        self._fabric.settle()

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
        self.rows.overwrite(len(self.rows) - 1, True)  # the column step
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
        self._busy.discard(gradient.worker)
        self.delivering = gradient
        self._protocol.on_gradient(self, gradient)
        if self.delivering is gradient:
            self.delivering = None
            self._discard(gradient, UNUSED)
        self._arrived_since_step += 1
        self._faults_while_idle = self._lost_since_delivery = 0
        if not self.jobs or self._arrived_since_step >= GRADIENTS_WITHOUT_STEP:
            self.check_going(f"worker {gradient.worker} delivered its job {gradient.job}")

    def befall(self, turn: Turn) -> bool:
        """Let a fault happen to a worker; say whether the protocol is to be told, by `tell`, when all of its moment have."""
        return {"crash": self._crash, "return": self._return, "leave": self._leave, "join": self._join}[turn.kind](turn)

    def _crash(self, turn: Turn) -> bool:
        """Take a worker down, and its job with it unless the gradient has arrived; it is asked for still."""
        self._down.add(turn.worker)
        if turn.back:
            self.expected.add(turn.worker)
        job = self.jobs.get(turn.worker)
        if job is None or not math.isnan(job.arrived):
            return False
        self._lose(turn.worker, CRASH)
        self._lost_since_delivery += 1
        return True

    def _return(self, turn: Turn) -> bool:
        """Bring a worker back, and hand it the newest model if its gradient is asked for."""
        self._down.discard(turn.worker)
        self.expected.discard(turn.worker)
        if turn.worker in self._busy and turn.worker not in self.jobs:
            self._begin(turn.worker)
        return True

    def _leave(self, turn: Turn) -> bool:
        """Forget a worker, and all that was asked of it."""
        for known in (self._members, self._busy, self._down, self.expected):
            known.discard(turn.worker)
        self.workers = sorted(self._members)
        self._lose(turn.worker, LEAVING)
        self._fabric.settle()
        return True

    def _join(self, turn: Turn) -> bool:
        """Take in a new worker, which may be down at the time, and be back or not."""
        self._members.add(turn.worker)
        self.workers = sorted(self._members)
        if turn.down:
            self._down.add(turn.worker)
        if not (turn.down and turn.back):
            self.expected.discard(turn.worker)
        return True

    def tell(self, turn: Turn) -> None:
        """Tell the protocol what has befallen a worker."""
        protocol = self._protocol
        answers = {
            "crash": protocol.on_lost,
            "return": protocol.on_return,
            "leave": protocol.on_leave,
            "join": protocol.on_join,
        }
        answers[turn.kind](self, turn.worker)

    def check_after(self, turn: Turn) -> None:
        """Raise StuckError if nobody can go on after what has befallen a worker."""
        self._faults_while_idle = 0 if self.jobs else self._faults_while_idle + 1
        self.check_going(f"worker {turn.worker} {HAPPENED[turn.kind]}")

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

    def check_going(self, event: str) -> None:
        """Raise StuckError if nothing can happen any more, or nothing but discarding and faults happens."""
        where = f"at {self.now:g} s and version {self.version}, after {event}"
        if self._arrived_since_step >= GRADIENTS_WITHOUT_STEP:
            raise StuckError(
                f"{where}, {self._arrived_since_step} gradients have arrived since the last step and the model stands "
                f"still ({self.accumulated} of them accumulated): {self._protocol!r} must call server.step"
            )
        if self._lost_since_delivery >= LOST_WITHOUT_DELIVERY * max(1, len(self.workers)):
            raise StuckError(
                f"{where}, {self._lost_since_delivery} jobs have been lost to faults since the last gradient was delivered: "
                "workers do not stay up for as long as a job takes"
            )
        owed_and_coming = not self._busy.isdisjoint(self.expected)
        if (
            len(self.jobs) > self._fabric.held()
            or owed_and_coming
            or (self.expected and self._faults_while_idle < FAULTS_WHILE_IDLE)
        ):
            return
        raise StuckError(f"{where}, {self._who_waits_for_whom()}")

    def _who_waits_for_whom(self) -> str:
        gone = sorted(self._busy - self.jobs.keys() - self.expected)
        if not self.workers:
            return "all workers have left"
        if self._members <= self._down - self.expected:
            return f"all there are, {_named(self.workers)}, are down for good: give them times at which they are back"
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
