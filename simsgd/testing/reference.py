"""A plain, slow, obviously right replay: one message at a time in a Python loop, in float64, the whole history kept.

Laws of this module:

1. It shares no code with the compiled player: what both must agree on is written down twice.
2. Nothing is clever: no blocks, no slots, no state that is updated in place. What the player does, it does in the words of
   `Method` and `Work`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from simsgd.compression import Compression
from simsgd.method import Method
from simsgd.optimizers import Optimizer, Tunable, among
from simsgd.problems import Parameters, Problem, draw
from simsgd.protocols import AsyncSGD
from simsgd.support import rng
from simsgd.tape import Tape
from simsgd.tape.schema import REASONS, Jobs
from simsgd.work import Work

OF_JOBS = 1 << 31
"""Folded into the key of the batches for the keys that jobs have of their own; no worker has this number."""
OF_VERSIONS = (1 << 31) + 1
"""The same for the keys that all jobs of a version share."""
UP, DOWN = 0x7570, 0x646F776E
"""Folded into a job's key, and into that of a version, for what is drawn to compress a message."""
BLOCK = 0x626C6F63
"""Folded into the key of a local step for which block of samples it draws."""
LOSS = 0x6C6F7373
"""Folded into the key of a local step for what a loss draws."""


class Played(NamedTuple):
    """What the slow replay computed.

    Attributes:
        versions: the parameters of version 0, 1, … before `hand_out`.
        worker_states: what each worker remembers in the end, by worker: (of its work, of `at_worker`, of `compress_up`).
        message_state: what `on_message` remembers in the end.
    """

    versions: list[Parameters]
    worker_states: list[tuple[Any, Any, Any]]
    message_state: Any


class Arrival(NamedTuple):
    """A job that arrived, used or not.

    Attributes:
        worker, job, read, steps, kind: as on the tape.
        weight: of its message in the step's sum; None where it was not used.
        step: whether the server stepped after it.
        returns: how often its worker had been back after having been down, when it was handed the job.
    """

    worker: int
    job: int
    read: int
    steps: int
    kind: int
    weight: float | None
    step: bool
    returns: int


def arrivals(tape: Tape) -> Iterator[Arrival]:
    """Yield the jobs that arrived until the tape's last step, used or not: each worker's in the order of its jobs.

    An unused job moves its worker's state and nothing else, so it need only stand before the worker's next.
    """
    unused: dict[int, list[Arrival]] = {worker: [] for worker in range(tape.workers)}
    for lost in np.flatnonzero(tape.discarded.reason == REASONS.index("unused")):
        if tape.discarded.version[lost] < tape.updates:
            unused[int(tape.discarded.worker[lost])].append(_arrival(tape, tape.discarded, lost, None, False))
    for row in range(tape.rows_until(tape.updates)):
        used = _arrival(tape, tape, row, float(tape.weight[row]), bool(tape.step[row]))
        waiting = unused[used.worker]
        while waiting and waiting[0].job < used.job:
            yield waiting.pop(0)
        yield used
    for waiting in unused.values():
        yield from waiting


def _arrival(tape: Tape, log: Jobs, row: Any, weight: float | None, step: bool) -> Arrival:
    worker, job, read = (int(getattr(log, name)[row]) for name in ("worker", "job", "read"))
    steps, kind = int(log.steps[row]), int(log.kind[row])
    returns = np.count_nonzero((tape.down.worker == worker) & (tape.down.end <= log.assigned[row]))
    return Arrival(worker, job, read, steps, kind, weight, step, int(returns))


def play_slowly(tape: Tape, problem: Problem, method: Method | Optimizer, seed: int = 0) -> Played:
    """Play a tape in float64, one message at a time, as `Method` and `Work` say in words.

    A test compares it to `replay(tape, problem, method, seed=seed, dtype="float64")`.

    Args:
        tape: what happened.
        problem: what is learned.
        method: the method, or an optimizer alone.
        seed: names the initial parameters and the batches.

    Example:
        >>> import numpy as np, simsgd as sg
        >>> problem, method = sg.problems.quadratic(noise=0.1), sg.Method(sg.AsyncSGD(), sg.optimizers.sgd(0.1))
        >>> run = sg.simulate(method, problem, sg.Cluster(2, sg.times.Exponential(1.0)), until=sg.Updates(20), dtype="float64")
        >>> slow = sg.testing.play_slowly(run.tape, problem, method)
        >>> np.allclose(run.parameters, slow.versions[-1], rtol=1e-12)
        True
    """
    if not isinstance(method, Method):
        method = Method(AsyncSGD(), method)  # the protocol has done its part: the tape
    return play_jobs(arrivals(tape), tape.workers, problem, method, seed)


def play_jobs(jobs: Iterable[Arrival], workers: int, problem: Problem, method: Method, seed: int) -> Played:
    """Play jobs that arrived, one after the other; see `play_slowly`."""
    with jax.enable_x64(True):
        slow = _Slow(problem, method, workers, seed)
        for arrival in jobs:
            message = slow.work(arrival)
            if arrival.weight is not None:
                slow.use(arrival, arrival.weight, message)
            if arrival.step:
                slow.step()
    return Played(slow.versions, slow.worker_states, slow.message_state)


class _Slow:
    """The model, all of its past, and all that is remembered; one message changes it at a time."""

    def __init__(self, problem: Problem, method: Method, workers: int, seed: int) -> None:
        self._method, self._workers = method, workers
        self._finite_sum = _FiniteSum(problem, workers)
        self._optimizer, self._at_worker, self._on_message, self._hand_out = (
            transformation(part) for part in (method.optimizer, method.at_worker, method.on_message, method.hand_out)
        )
        self._inner = transformation(method.inner)
        self._compute = _computing(problem, method.work, seed, self._finite_sum, self._inner)
        self._batches = _key_of_batches(seed)
        start = problem.start(seed, "float64")
        with self._among():
            self._optimizer_state, self.message_state = self._optimizer.init(start), self._on_message.init(start)
            self._hand_out_state = self._hand_out.init(start)
        self.worker_states = [self._begun(start)] * workers
        self._returns = [0] * workers
        self.versions = [start]
        self._sent, self._sent_state = self._handed(start), self._compression_begun(method.compress_down, start)
        self._handed_out = [(self._sent, method.work.shows(self.message_state))]
        self._collected: list[tuple[float, Parameters, jax.Array]] = []

    def _among(self) -> Any:
        """Return a context in which transformations and works learn how many workers, and blocks of samples, there are."""
        blocks = self._finite_sum.blocks
        return among(self._workers, sum(blocks) if self._finite_sum.split else blocks[0], max(blocks))

    def _begun(self, parameters: Parameters) -> tuple[Any, Any, Any]:
        """Return what a worker that begins with these parameters remembers."""
        with self._among():
            of_work, of_worker = self._method.work.begin(parameters, self._inner), self._at_worker.init(parameters)
        return of_work, of_worker, self._compression_begun(self._method.compress_up, parameters)

    def _compression_begun(self, compression: Compression | None, like: Parameters) -> Any:
        """Return what a compression remembers at first."""
        return () if compression is None else compression.init(jax.tree.map(jnp.zeros_like, like))

    def _handed(self, version: Parameters) -> Parameters:
        """Return what is handed out of a version."""
        told: Parameters
        told, _ = self._hand_out.update(version, self._hand_out_state, version, message_state=self.message_state)
        return told

    def work(self, arrival: Arrival) -> Parameters:
        """Return the message of a job, which moves its worker's state."""
        worker, (read, shown) = arrival.worker, self._handed_out[arrival.read]
        if self._method.after_crash == "reset" and arrival.returns > self._returns[worker]:
            self.worker_states[worker] = self._begun(read)
        self._returns[worker] = arrival.returns
        of_work, of_worker, of_way = self.worker_states[worker]
        message, of_work, key = self._compute(read, of_work, shown, _whole(arrival.read), **_numbers(arrival))
        message, of_worker = self._at_worker.update(message, of_worker, read, **_numbers(arrival), key=key)
        if self._method.compress_up is not None:
            own, shared = jax.random.fold_in(key, UP), _key_of_version(self._batches, arrival.read)
            message, of_way = self._method.compress_up.compress(message, of_way, own, shared)
        self.worker_states[worker] = of_work, of_worker, of_way
        return message

    def use(self, arrival: Arrival, weight: float, message: Parameters) -> None:
        """Take a message into the next step."""
        version = len(self.versions) - 1
        staleness = jnp.asarray(version - arrival.read, "float64")
        message, self.message_state = self._on_message.update(
            *(message, self.message_state, self.versions[-1]),
            **_numbers(arrival),
            key=_key_of_job(self._batches, arrival.worker, arrival.job),
            staleness=staleness,
            version=_whole(version),
            workers=self._workers,
            parameters_read=self._handed_out[arrival.read][0],
            **self._finite_sum.place_in_table(self._batches, arrival.worker, arrival.job),
        )
        self._collected.append((weight, message, staleness))

    def step(self) -> None:
        """Make the next version: the optimizer takes Σ weight·message and the mean staleness."""
        weighted = [jax.tree.map(lambda leaf, w=weight: w * leaf, message) for weight, message, _ in self._collected]
        total = jax.tree.map(lambda *leaves: sum(leaves), *weighted)
        staleness = jnp.mean(jnp.stack([staleness for *_, staleness in self._collected]))
        current = self.versions[-1]
        updates, self._optimizer_state = self._optimizer.update(total, self._optimizer_state, current, staleness=staleness)
        self.versions.append(optax.apply_updates(current, updates))
        self._hand_out_next()
        self._collected = []

    def _hand_out_next(self) -> None:
        """Hand out the newest version: as it is, or what has changed since the last, compressed."""
        model = self._handed(self.versions[-1])
        if (compression := self._method.compress_down) is not None:
            change = jax.tree.map(lambda new, old: new - old, model, self._sent)
            shared = _key_of_version(self._batches, len(self.versions) - 1)
            change, self._sent_state = compression.compress(change, self._sent_state, jax.random.fold_in(shared, DOWN), shared)
            model = jax.tree.map(lambda old, more: old + more, self._sent, change)
        self._sent = model
        self._handed_out.append((model, self._method.work.shows(self.message_state)))


def _key_of_batches(seed: int) -> jax.Array:
    return jax.random.wrap_key_data(jnp.asarray(rng.key_words(seed, "batches")), impl="threefry2x32")


def _key_of_job(batches: jax.Array, worker: Any, job: Any) -> jax.Array:
    """Return the key that a job has of its own, for all but its batches."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(batches, OF_JOBS), worker), job)


def _key_of_version(batches: jax.Array, version: Any) -> jax.Array:
    """Return the key that all jobs of a version share."""
    return jax.random.fold_in(jax.random.fold_in(batches, OF_VERSIONS), version)


def _computing(problem: Problem, work: Work, seed: int, finite_sum: _FiniteSum, inner: Any) -> Any:
    """Return what plays a job.

    It is called as (version read, worker's state, what was shown, number of the version, worker=, job=, steps=, kind=) and
    returns (message, state, the job's key).
    """
    data, _ = problem.arrays("float64")
    batches = _key_of_batches(seed)

    def run(parameters: Parameters, state: Any, shown: Any, version: Any, **numbers: Any) -> tuple[Parameters, Any, Any]:
        at_hand = JobAtHand(problem, data, batches, **numbers)
        at_hand.shown, at_hand.version, at_hand.inner = shown, version, inner
        at_hand.workers, at_hand.finite_sum = finite_sum.workers, finite_sum
        return *work.run(parameters, state, at_hand), at_hand.key

    return jax.jit(run)


class _FiniteSum:
    """Who has which samples in which blocks, written down sample by sample.

    Attributes:
        split: whether each worker has samples of its own.
        blocks: how many each worker has.
        share_weights: n·size/samples of each; 1 where all have all.
        places: which of a worker's samples each of the data is, -1 for none, shape (workers, samples).
        factors_of_parts: with what each sample counts in a worker's part of the full gradient, shape (workers, samples).
    """

    def __init__(self, problem: Problem, workers: int) -> None:
        self.workers, self.split = workers, problem.shares is not None
        everything = np.arange(problem.samples)
        if problem.shares is None:
            owned, parts = [everything] * workers, np.array_split(everything, workers)
        else:
            indices, starts, sizes = problem.shares
            owned = parts = [indices[start : start + size] for start, size in zip(starts, sizes, strict=True)]
        self.blocks = [math.ceil(len(own) / problem.batch_size) for own in owned]
        self.places = np.full((workers, problem.samples), -1)
        for worker, own in enumerate(owned):
            self.places[worker, own] = np.arange(len(own))
        samples = sum(map(len, parts))
        self.factors_of_parts = np.stack([np.isin(everything, part) * workers / samples for part in parts])
        self.share_weights = [workers * len(part) / samples if self.split else 1.0 for part in parts]

    def block(self, batches: jax.Array, worker: Any, job: Any, step: Any = 0) -> jax.Array:
        """Return the block that a local step of a job draws, of its worker's."""
        first = jax.random.fold_in(jax.random.fold_in(batches, worker), job)
        key = first
        if not (isinstance(step, int) and step == 0):
            key = jax.lax.cond(step == 0, lambda: first, lambda: jax.random.fold_in(first, step))
        blocks = jnp.asarray(self.blocks, jnp.int32)[worker]
        return jax.random.randint(jax.random.fold_in(key, BLOCK), (), 0, blocks, jnp.int32)

    def place_in_table(self, batches: jax.Array, worker: int, job: int) -> dict[str, jax.Array]:
        """Return the row of a job's block in a table of all blocks, and of how many the mean is."""
        row = int(self.block(batches, worker, job)) + (sum(self.blocks[:worker]) if self.split else 0)
        return {"block": _whole(row), "blocks": _whole(self.blocks[worker] * (self.workers if self.split else 1))}


class JobAtHand:
    """What `Work.run` is told of its job; see `simsgd.work.JobAtHand`."""

    shown: Any
    version: Any
    workers: int
    inner: Any
    finite_sum: _FiniteSum

    def __init__(
        self, problem: Problem, data: Any, batches: jax.Array, *, worker: Any, job: Any, steps: Any, kind: Any
    ) -> None:
        self._problem, self._data = problem, data
        self.worker, self.number, self.steps, self.kind = worker, job, steps, kind
        self._batches = batches
        self.key = _key_of_job(batches, worker, job)

    @property
    def shared_key(self) -> jax.Array:
        """The key that all jobs of its version share."""
        return _key_of_version(self._batches, self.version)

    def _folded(self, key: jax.Array) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(key, self.worker), self.number)

    def gradient(self, parameters: Parameters, step: Any = 0, part: tuple[Any, int] = (0, 1)) -> Parameters:
        """Return the gradient on the batch of one local step, or on one of its equal parts: (which, of how many)."""
        first = self._folded(self._batches)
        key = jax.lax.cond(step == 0, lambda: first, lambda: jax.random.fold_in(first, step))
        which, parts = part
        of_loss = jax.random.fold_in(key, LOSS)
        picks = self._picks(key, step).reshape(parts, -1)[which]
        batch = jax.tree.map(lambda leaf: leaf[picks], self._data)
        return self._gradient(parameters, batch, of_loss if parts == 1 else jax.random.fold_in(of_loss, which))

    def through(self, step: Any, carry: Any) -> Any:
        """Return what is carried after all local steps, each with the gradient on its batch."""

        def one(number: Any, carry: Any) -> Any:
            return step(number, lambda parameters, part=(0, 1): self.gradient(parameters, number, part), carry)

        return jax.lax.fori_loop(0, self.steps, one, carry)

    def _picks(self, key: jax.Array, step: Any) -> jax.Array:
        """Return the numbers of the samples of a local step's batch, whose key is given."""
        problem, shares = self._problem, self._problem.shares
        if shares is None:
            return jax.random.randint(key, (problem.batch_size,), 0, problem.samples, jnp.int32)
        if not problem.replacement:  # the shuffle of an epoch is one that only its own definition can tell
            own = (problem.batch_size, problem.samples, jax.tree.map(jnp.asarray, shares), False)
            return draw(self._batches, self.worker, self.number, *own, step, self.steps)
        places = jax.random.randint(key, (problem.batch_size,), 0, jnp.asarray(shares.sizes)[self.worker], jnp.int32)
        return jnp.asarray(shares.indices)[jnp.asarray(shares.starts)[self.worker] + places]

    def full_gradient(self, parameters: Parameters) -> Parameters:
        """Return the gradient on all samples, or on the worker's own."""
        shares = self._problem.shares
        if shares is None:
            return self._gradient(parameters, self._data, None)

        def of_share(start: int, size: int) -> Any:
            mine = jax.tree.map(lambda leaf: leaf[shares.indices[start : start + size]], self._data)
            return lambda: self._gradient(parameters, mine, None)

        workers = zip(shares.starts.tolist(), shares.sizes.tolist(), strict=True)
        return jax.lax.switch(self.worker, [of_share(start, size) for start, size in workers])

    @property
    def blocks(self) -> jax.Array:
        """How many blocks of samples the worker has."""
        return jnp.asarray(self.finite_sum.blocks, jnp.int32)[self.worker]

    @property
    def share_weight(self) -> jax.Array:
        """What the worker's share counts in a mean over workers."""
        return jnp.asarray(self.finite_sum.share_weights)[self.worker]

    def block(self, step: Any = 0) -> jax.Array:
        """Return one of the worker's blocks."""
        return self.finite_sum.block(self._batches, self.worker, self.number, step)

    def block_gradient(self, parameters: Parameters, block: Any) -> Parameters:
        """Return the gradient of (blocks/samples)·Σ f_i over a block: each sample of the data with its own factor."""
        places = jnp.asarray(self.finite_sum.places)[self.worker]
        inside = (places >= 0) & (places // self._problem.batch_size == block)
        return self._of_samples(parameters, jnp.where(inside, self.blocks / (places >= 0).sum(), 0.0))

    def part_of_full_gradient(self, parameters: Parameters, when: Any = True) -> Parameters:
        """Return the worker's part of the full gradient."""
        factors = jnp.asarray(self.finite_sum.factors_of_parts)[self.worker]
        return self._of_samples(parameters, jnp.where(when, factors, 0.0))

    def _of_samples(self, parameters: Parameters, factors: jax.Array) -> Parameters:
        """Return the gradient of Σ factor·f_i over all samples."""

        def one(sample: Any) -> Parameters:
            return self._gradient(parameters, jax.tree.map(lambda leaf: leaf[None], sample), None)

        of_each = jax.vmap(one)(self._data)
        return jax.tree.map(lambda g: jnp.tensordot(factors, g, 1), of_each)

    def _gradient(self, parameters: Parameters, batch: Any, key: jax.Array | None) -> Parameters:
        loss = self._problem.loss
        return jax.grad(loss)(parameters, batch, key) if self._problem.loss_draws else jax.grad(loss)(parameters, batch)


def transformation(part: Optimizer | None) -> Any:
    """Return a part of a method as an optax transformation that is offered extra arguments; none does nothing."""
    if isinstance(part, Tunable):
        part = part.factory(**dict(part.numbers), **dict(part.settings))
    return optax.with_extra_args_support(part or optax.identity())


def _numbers(arrival: Arrival) -> dict[str, jax.Array]:
    """Return what every place is told of a job."""
    return {name: _whole(getattr(arrival, name)) for name in ("worker", "job", "steps", "kind")}


def _whole(number: int) -> jax.Array:
    return jnp.asarray(number, jnp.int32)
