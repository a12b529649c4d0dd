"""The parameter server in a recording: the verbs that protocols speak.

Laws of this module:

1. A gradient can be used once, in the `on_gradient` call that delivers it; what is not used then is thrown away and logged.
2. A verb that makes no sense is refused at once, and a server for which nobody works says who waits for whom.
3. All faults of one moment have happened before the protocol is told of any of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from typing import Protocol as Interface

import numpy as np

from simsgd.costs import Costs
from simsgd.protocols import Gradient, Protocol
from simsgd.recording.events import EventLoop, Planned
from simsgd.recording.fault_schedule import Change
from simsgd.recording.job import Job, JobsInFlight
from simsgd.recording.log import Logs, Tally
from simsgd.recording.membership import Membership, Workers, listed
from simsgd.recording.refusals import Refusals
from simsgd.recording.stuck import ALARMS_WITHOUT_DELIVERY, GRADIENTS_WITHOUT_STEP, Progress, Waiting
from simsgd.support import checks, rng
from simsgd.support.bounds import bounds
from simsgd.tape.schema import REASONS, TIES
from simsgd.work import Charges

EARLY_ROWS = 1_000
"""After so many rows it is reckoned how many a recording will have."""
HAPPENED = {"crash": "crashed", "return": "returned", "leave": "left", "join": "joined"}
UNUSED, CANCELLED, CRASH, LEAVING = range(len(REASONS))
HANDED_OUT_AFTER, THROWN_AWAY_AFTER, THROWN_AWAY_WITH_IT = range(len(TIES))


class Fabric(Interface):
    """What the server asks of the network; see `simsgd.recording.transport`."""

    def send(self, job: Job) -> None:
        """Bring a job's model to its worker."""

    def drop(self, job: Job) -> None:
        """Forget a job, wherever it is."""

    def settle(self) -> None:
        """Look again, after a gradient is asked for no longer, whether those who wait are complete."""

    def waiting(self) -> int:
        """Return how many gradients wait on their way for those of others."""


class Terms(NamedTuple):
    """What one recording was asked for.

    Attributes:
        seed: of all random draws.
        costs: what jobs cost the clock, unless the protocol says otherwise.
        charges: what they cost if all cost the same; else what the first does.
        any_steps: whether a job may have another number of local steps where its gradients are played.
        observe: what `observe` calls; without it, observing is an error.
        seconds: when the recording will end, if that is known; infinite if not.
    """

    seed: int
    costs: Costs
    charges: Charges
    any_steps: bool
    observe: Callable[[str], float] | None
    seconds: float


class Ask(NamedTuple):
    """What a protocol asks a worker for; see `protocols.Server.assign`."""

    steps: int | None = None
    bytes_down: float | None = None
    bytes_up: float | None = None
    kind: int = 0


PLAIN = Ask()


class Server:
    """What `protocols.Server` promises.

    Args:
        protocol: who answers the gradients.
        loop: the event loop.
        membership: who there is.
        workers: how many there will ever be.
        logs: where it is written down.
        terms: of the recording.
    """

    def __init__(
        self,
        protocol: Protocol,
        loop: EventLoop,
        membership: Membership,
        workers: int,
        logs: Logs,
        terms: Terms,
    ) -> None:
        self.notes: dict[str, Any] = {}
        self._protocol, self._loop, self._membership, self._logs = protocol, loop, membership, logs
        self._terms = terms
        costs = terms.costs
        self._plain = costs.same_for_all and len(costs.work.kinds) == 1 and costs.down is None  # so that nothing need be asked
        self._held: dict[int, int] | None = None if costs.down is None else {}  # the versions that workers have
        self._refusals = Refusals(protocol, loop)
        self._rng: np.random.Generator | None = None
        self._version = self._accumulated = 0
        self._delivering: Gradient | None = None
        self._arrived: Job | None = None  # the last job that was delivered, or is being delivered
        self._before = -1  # the version at the beginning of what is happening now
        self._told = -1  # the last version that was made in answer to a fault, or an alarm
        self._alarms = 0  # that are yet to ring
        self._tally = Tally()
        self._asked: dict[int, Ask] = {}
        self._jobs: dict[int, Job] = {}
        self._next_job = [0] * workers
        self._progress = Progress()
        self._busy, self._down = Workers(self._asked), Workers(membership.down)
        self._members, self._are_down = membership.members, membership.down  # at hand, as what follows is done for each job
        self._write_row, self._write_update = logs.rows.append, logs.updates.append
        self._rows_to_check = EARLY_ROWS

    def connect(self, fabric: Fabric) -> None:
        """Connect the server to what moves its messages."""
        self._fabric, self._send = fabric, fabric.send

    # --- what can be asked of it -----------------------------------------------------------------------------------------

    @property
    def workers(self) -> Sequence[int]:
        """The workers that belong to the cluster now, in order."""
        return self._membership.present

    @property
    def busy(self) -> Workers:
        """Those of whom a gradient is asked."""
        return self._busy

    @property
    def down(self) -> Workers:
        """Those that are down."""
        return self._down

    @property
    def version(self) -> int:
        """How many steps have been made."""
        return self._version

    @property
    def now(self) -> float:
        """Simulated seconds."""
        return self._loop.now

    @property
    def accumulated(self) -> int:
        """How many gradients have been accumulated since the last step."""
        return self._accumulated

    @property
    def jobs(self) -> JobsInFlight:
        """The jobs in flight, by worker."""
        return JobsInFlight(self._jobs)

    def accumulated_by(self, worker: int) -> int:
        """Return how many gradients of a worker have been accumulated since the last step."""
        worker = self._refusals.worker("accumulated_by", worker)
        return self._tally.count(worker, self._logs.rows, self._logs.stepped_rows)

    @property
    def rng(self) -> np.random.Generator:
        """The protocol's own random numbers: a stream of the recording's seed, which nothing else draws from."""
        if self._rng is None:
            self._rng = rng.stream(self._terms.seed, "protocol")
        return self._rng

    def staleness(self, gradient: Gradient) -> int:
        """Return how many versions the model has moved on since the gradient's was handed out."""
        try:
            return self._version - gradient.read
        except AttributeError:
            why = ", which is no gradient: give it what on_gradient was given"
            raise self._refusals.error(f"asked for staleness({checks.shown(gradient)})", why) from None

    # --- the verbs -------------------------------------------------------------------------------------------------------

    def assign(
        self,
        worker: int,
        steps: int | None = None,
        bytes_down: float | None = None,
        bytes_up: float | None = None,
        kind: int = 0,
    ) -> None:
        """Hand the current model to an idle worker; one that is down is handed the newest when it is back."""
        if type(worker) is not int:
            worker = self._refusals.worker("assign", worker)
        if worker in self._asked or worker not in self._members:
            raise self._refusals.error(f"called assign({checks.shown(worker)})", f", but {self._why_not(worker)}")
        if self._plain and not kind and steps is bytes_down is bytes_up is None:
            ask, charges = PLAIN, self._terms.charges
        else:
            ask = Ask(steps, bytes_down, bytes_up, kind)
            charges = self._charges(worker, ask)
        self._asked[worker] = ask
        if worker not in self._are_down:
            self._begin(worker, charges)

    def _charges(self, worker: int, ask: Ask) -> Charges:
        """Return what a worker's next job is charged now, or raise ProtocolError for what cannot be asked of it."""
        usual, costs, (steps, bytes_down, bytes_up, kind) = self._terms.charges, self._terms.costs, ask
        charges = usual
        if kind or not self._plain:
            charges = costs.charge(worker, self._next_job[worker], self._kind(worker, kind))
        if self._held is not None and worker in self._held:
            charges = charges._replace(bytes_down=costs.changes(charges.bytes_down, self._version - self._held[worker]))
        if steps is not None:
            charges = charges._replace(steps=self._steps(worker, steps, charges), seconds=0.0)
        if bytes_down is not None:
            charges = charges._replace(bytes_down=self._bytes(worker, "bytes_down", bytes_down))
        if bytes_up is not None:
            charges = charges._replace(bytes_up=self._bytes(worker, "bytes_up", bytes_up))
        return usual if charges == usual else charges

    def _kind(self, worker: int, kind: int) -> int:
        """Return which kind a job is to be of, or raise ProtocolError for one that the work does not know."""
        work, did = self._terms.costs.work, f"called assign({worker}, kind={checks.shown(kind)})"
        try:
            kind = checks.whole("kind", kind, 0)
        except ValueError as error:
            raise self._refusals.error(did, f", but {error}") from None
        if kind >= len(work.kinds):
            known = ", ".join(f"{number} ({name})" for number, name in enumerate(work.kinds))
            why = f", but the kinds of jobs of {work!r} are {known}: record or simulate a whole Method whose work has more"
            raise self._refusals.error(did, why)
        return kind

    def _bytes(self, worker: int, name: str, value: float) -> float:
        """Return how many bytes a message is to have, or raise ProtocolError for no such number."""
        try:
            return checks.not_negative(name, value, "bytes")
        except ValueError as error:
            raise self._refusals.error(f"called assign({worker}, {name}={checks.shown(value)})", f", but {error}") from None

    def _steps(self, worker: int, steps: int, usual: Charges) -> int:
        """Return how many local steps a job is to have, or raise ProtocolError for no such number."""
        did = f"called assign({worker}, steps={checks.shown(steps)})"
        try:
            steps = checks.whole("steps", steps, 1)
        except ValueError as error:
            raise self._refusals.error(did, f", but {error}") from None
        bounds.check("parts", steps, f"{self._protocol!r} {did}: it")
        terms = self._terms
        if usual.overlap >= steps:
            why = f", but its work makes {usual.overlap} ahead: the last of them is made with the model at hand"
            raise self._refusals.error(did, why)
        if terms.observe is not None and steps != usual.steps and not terms.any_steps:
            why = f", but what is played computes {usual.steps} for a job: give its Method a work that takes steps"
            raise self._refusals.error(did, why)
        return steps

    def _why_not(self, worker: int) -> str:
        if worker in self._jobs:
            return f"worker {worker} is still busy with job {self._jobs[worker].job}: cancel it first"
        if worker in self._asked:
            return f"worker {worker} is down and will be handed a job when it is back: cancel that first"
        return f"the workers are {listed(self.workers)}"

    def _begin(self, worker: int, charges: Charges) -> None:
        """Hand out a worker's next job."""
        number = self._next_job[worker]
        self._next_job[worker] = number + 1
        job = self._jobs[worker] = Job(worker, number, self._version, self._loop.now, charges)
        if self._before == self._version and (self._arrived is None or self._arrived.worker != worker):
            self._note_if_after(job, HANDED_OUT_AFTER)
        self._send(job)

    def _note_if_after(self, job: Job, kind: int) -> None:
        """Write down what happens to a job in the moment of the newest version, but after the event that made it."""
        if self._before == self._version and self._loop.now == (self._logs.updates[-1] if self._version else 0.0):
            self._note(job, kind)

    def _note(self, job: Job, kind: int) -> None:
        self._logs.ties.append((self._loop.now, self._version, kind, job.worker, job.job))

    def cancel(self, worker: int) -> None:
        """Stop a worker's job at once, wherever it is, and log it as thrown away; it is asked for no longer."""
        if type(worker) is not int:
            worker = self._refusals.worker("cancel", worker)
        if worker not in self._asked:
            raise self._refusals.error(f"called cancel({checks.shown(worker)})", ", but it has no job")
        self._asked.pop(worker, None)
        self._lose(worker, CANCELLED)
        self._fabric.settle()

    def accumulate(self, gradient: Gradient, weight: float = 1.0) -> None:
        """Add weight·gradient to the next step: a row of the tape."""
        self._use(gradient, weight, steps=False)
        self._accumulated += 1

    def step(self, scale: float = 1.0, weights: Mapping[int, float] | None = None) -> None:
        """Make a new version of what was accumulated, times `scale`, and each worker's times its own of `weights`."""
        rows = self._logs.rows
        if not self._accumulated:
            why = " with nothing accumulated since the last step: accumulate at least one gradient"
            raise self._refusals.error("called step()", why)
        if weights is not None:
            workers = rows.column("worker", self._logs.stepped_rows).tolist()
            given = self._refusals.weights(weights, len(self._next_job))
            self._multiply(np.array([given.get(worker, 1.0) for worker in workers]), f"the weights {checks.shown(weights)}")
        if type(scale) is not float or scale != 1:
            scale = self._refusals.number("stepped with the scale", scale)
            self._multiply(scale, f"the scale {scale!r}")
        rows.overwrite(rows.count - 1, True)  # the column step
        self._made_version()

    def _multiply(self, factors: np.ndarray | float, said: str) -> None:
        """Multiply the weights of what was accumulated."""
        rows, first = self._logs.rows, self._logs.stepped_rows
        weights = np.abs(rows.column("weight", first))
        largest = abs(factors) if isinstance(factors, float) else float(np.abs(factors).max())
        if largest * float(weights.max()) == math.inf:  # no product can be infinite if that of the greatest two is not
            with np.errstate(over="ignore"):
                infinite = np.isinf(weights * factors)
            if infinite.any():
                greatest = float(weights[infinite].max())
                why = f", but it has accumulated a gradient with the weight {greatest:g}, and their product is no finite number"
                raise self._refusals.error(f"stepped with {said}", f"{why}: use smaller ones")
        rows.multiply("weight", first, factors)

    def apply(self, gradient: Gradient, weight: float = 1.0) -> None:
        """Accumulate and step."""
        self._use(gradient, weight, steps=True)
        self._made_version()

    def _use(self, gradient: Gradient, weight: float, steps: bool) -> None:
        """Write the gradient being delivered down as a row, which ends a step or not."""
        if gradient is not self._delivering:
            raise self._refusals.error(
                f"accumulated {checks.shown(gradient, 200)}",
                ", which is not the gradient being delivered or was accumulated before: each can be used once, in the "
                "on_gradient call that delivers it",
            )
        if type(weight) is not float or not math.isfinite(weight):
            weight = self._refusals.number("gave a gradient the weight", weight)
        self._delivering = None
        self._write_row((steps, self._loop.now, weight) + gradient)  # noqa: RUF005 (twice as fast)

    def _made_version(self) -> None:
        logs = self._logs
        self._write_update(self._loop.now)
        logs.stepped_rows = rows = logs.rows.count
        self._version += 1
        self._accumulated = self._progress.arrived = 0
        if rows >= self._rows_to_check:
            self._check_rows(rows)

    def _check_rows(self, rows: int) -> None:
        """Raise BoundError if the recording has, or at its pace will have, more rows than are allowed."""
        bounds.check("rows", rows, f"a recording of {self._protocol!r} that has come to {self.now:g} s")
        seconds = self._terms.seconds
        if self._rows_to_check == EARLY_ROWS and seconds < math.inf:
            until, pace = f"until=Seconds({seconds:g})", f"{rows:,} rows in the first {self.now:g} s"
            bounds.check("rows", rows * seconds / (self.now or math.ulp(0.0)), f"{until}, at the pace of {pace},")
        self._rows_to_check = bounds.rows + 1

    def alarm(self, seconds: float) -> None:
        """Wake the protocol after so many seconds."""
        wanted = self._refusals.seconds("set an alarm in", seconds)
        if type(self._protocol).on_alarm is Protocol.on_alarm:
            raise self._refusals.error("set an alarm", ", but it has no on_alarm to answer it with")
        if self._loop.now + wanted == math.inf:
            raise self._refusals.error(f"set an alarm in {wanted!r} seconds", ": the clock cannot count so far")
        self._loop.at(self._loop.now + wanted, self._ring, None)
        self._alarms += 1

    def observe(self, statistic: str) -> float:
        """Return a metric of the current model, if somebody plays the tape."""
        if self._terms.observe is None:
            why = ", but a recording has no gradients to observe: use simulate"
            raise self._refusals.error(f"observes {checks.shown(statistic)}", why)
        return self._terms.observe(statistic)

    # --- what happens to it ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Let the protocol hand out the first jobs."""
        self._protocol.start(self)
        self.check_going("it started")

    def receive(self, job: Job) -> None:
        """Deliver the gradient of a job that has arrived to the protocol; what it does not use is thrown away."""
        self._arrived, self._before, worker = job, self._version, job.worker
        del self._jobs[worker]
        self._asked.pop(worker, None)
        if self._held is not None:
            self._held[worker] = job.read
        self._delivering = gradient = job.gradient()
        answer = self._protocol.on_gradient(self, gradient)
        if answer is not None:
            raise self._refusals.answer(answer)
        if self._delivering is gradient:
            self._delivering = None
            self._discard(job, UNUSED)
            self._note_if_against_the_rule(job)
        progress = self._progress
        progress.arrived += 1
        if progress.faults or progress.alarms:
            progress.faults = progress.lost = progress.idle_faults = progress.alarms = progress.idle_alarms = 0
        if not self._jobs or progress.arrived >= GRADIENTS_WITHOUT_STEP:
            self.check_going(f"worker {job.worker} delivered its job {job.job}")

    def _note_if_against_the_rule(self, unused: Job) -> None:
        """Write down what cannot be told from the moment of a step's last gradient: whether an unused one came with the step.

        The rule is that it did if that gradient was used earlier (`tape.prefix`).
        """
        if self._before < self._version:  # the step was made in answer to it
            if self._logs.rows.column("time", self._logs.stepped_rows - 1)[0] == self._loop.now:
                self._note(unused, THROWN_AWAY_WITH_IT)
        elif self._told == self._version:
            self._note_if_after(unused, THROWN_AWAY_AFTER)

    def change(self, change: Change) -> bool:
        """Let a worker crash, return, leave or join; say whether the protocol is to be told of it, by `tell`."""
        worker = change.worker
        self._membership.change(change)
        if change.kind == "crash":
            lost = self._crash(worker)
            if self._held is not None and self._terms.costs.forgets:
                self._held.pop(worker, None)
            return lost
        if change.kind == "return" and worker in self._asked and worker not in self._jobs:
            self._begin(worker, self._charges(worker, self._asked[worker]))
        if change.kind == "leave":
            self._asked.pop(worker, None)
            self._lose(worker, LEAVING)
            self._fabric.settle()
        return True

    def _crash(self, worker: int) -> bool:
        """Lose the worker's job, unless its gradient has arrived, and say whether there was one; it is asked for still."""
        job = self._jobs.get(worker)
        if job is None or job.arrived < self._loop.now:
            return False
        self._lose(worker, CRASH)
        self._progress.lost += 1
        return True

    def tell(self, change: Change) -> None:
        """Tell the protocol what has happened to a worker."""
        protocol = self._protocol
        answers = {
            "crash": protocol.on_lost,
            "return": protocol.on_return,
            "leave": protocol.on_leave,
            "join": protocol.on_join,
        }
        self._arrived, self._before = None, self._version
        answers[change.kind](self, change.worker)
        if self._version > self._before:
            self._told = self._version

    def _ring(self, event: Planned) -> None:
        """Let the protocol answer an alarm."""
        self._alarms -= 1
        self._arrived, self._before = None, self._version
        self._protocol.on_alarm(self)
        if self._version > self._before:
            self._told = self._version
        progress = self._progress
        progress.alarms += 1
        progress.idle_alarms = 0 if len(self._jobs) > self._fabric.waiting() else progress.idle_alarms + 1
        if progress.idle_alarms or progress.alarms >= ALARMS_WITHOUT_DELIVERY:
            self.check_going("an alarm")

    def check_after(self, change: Change) -> None:
        """Raise StuckError if nobody can go on after what has happened to a worker."""
        self._progress.faults += 1
        self._progress.idle_faults = 0 if self._jobs else self._progress.idle_faults + 1
        self.check_going(f"worker {change.worker} {HAPPENED[change.kind]}")

    def check_going(self, event: str) -> None:
        """Raise StuckError if nothing can happen any more, or nothing but discarding and faults happens."""
        where = f"at {self.now:g} s and version {self._version}, after {event}"
        waiting = Waiting(self._asked, self._jobs.keys(), self._fabric.waiting(), self._accumulated, self._alarms)
        self._progress.check(where, self._protocol, self._membership, waiting)

    def _lose(self, worker: int, reason: int) -> None:
        """Log a worker's job, if it has one, as thrown away, and stop it."""
        job = self._jobs.get(worker)
        if job is not None:
            self._discard(job, reason)
            if reason == CANCELLED:
                self._note_if_after(job, THROWN_AWAY_AFTER)
            if self._held is not None and job.began <= self._loop.now:  # not if it was on its way
                self._held[worker] = job.read
            del self._jobs[worker]
            self._fabric.drop(job)

    def _discard(self, job: Job, reason: int) -> None:
        self._logs.discarded.append((self._loop.now, self._version, reason, *job.gradient()))

    # --- what the recorder asks of it ------------------------------------------------------------------------------------

    def in_flight(self) -> list[Gradient]:
        """Return the jobs under way, by worker; their moments may be yet to come."""
        return [self._jobs[worker].gradient() for worker in sorted(self._jobs)]

    def half_delivered(self) -> list[Gradient]:
        """Return the job whose delivery an error broke off before it was written down, if there is one."""
        job, logs = self._arrived, (self._logs.rows, self._logs.discarded)
        if job is None or any(np.any((log.column("worker") == job.worker) & (log.column("job") == job.job)) for log in logs):
            return []
        return [job.gradient()]

    def live(self) -> set[int]:
        """Return the versions that rows not yet stepped with may read."""
        live = {job.read for job in self._jobs.values()}
        if self._delivering is not None:
            live.add(self._delivering.read)
        return live.union(self._logs.rows.column("read", self._logs.stepped_rows).tolist())
