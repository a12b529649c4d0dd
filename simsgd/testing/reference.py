"""A plain, slow, obviously right replay: one message at a time in a Python loop, in float64, the whole history kept.

Laws of this module:

1. It shares no code with the compiled player: what both must agree on is written down twice.
2. Nothing is clever: no blocks, no slots, no state that is updated in place. What the player does, it does in the words of
   `Method` and `Work`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

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
LOSS = 0x6C6F7373
"""Folded into the key of a local step for what a loss draws."""


class Played(NamedTuple):
    """What the slow replay computed.

    Attributes:
        versions: the parameters of version 0, 1, … before `hand_out`.
        worker_states: what each worker remembers in the end, by worker: (of its work, of `at_worker`, None without one).
        message_state: that of `on_message` in the end; None without one.
    """

    versions: list[Parameters]
    worker_states: list[tuple[Any, Any]]
    message_state: Any


class Arrival(NamedTuple):
    """A job that arrived, used or not.

    Attributes:
        worker, job, read, steps: as on the tape.
        weight: of its message in the step's sum; None where it was not used.
        step: whether the server stepped after it.
        returns: how often its worker had been back after having been down, when it was handed the job.
    """

    worker: int
    job: int
    read: int
    steps: int
    weight: float | None
    step: bool
    returns: int


def arrivals(tape: Tape) -> Iterator[Arrival]:
    """Yield the jobs that arrived until the tape's last step, used or not: each worker's in the order of its jobs.

    An unused job moves its worker's state and nothing else, so it need only stand before the worker's next.
    """
    unused: dict[int, list[Arrival]] = {worker: [] for worker in range(tape.workers)}
    for row in np.flatnonzero(tape.discarded.reason == REASONS.index("unused")):
        if tape.discarded.version[row] < tape.updates:
            unused[int(tape.discarded.worker[row])].append(_arrival(tape, tape.discarded, row, None, False))
    for row in range(tape.rows_until(tape.updates)):
        used = _arrival(tape, tape, row, float(tape.weight[row]), bool(tape.step[row]))
        waiting = unused[used.worker]
        while waiting and waiting[0].job < used.job:
            yield waiting.pop(0)
        yield used
    for waiting in unused.values():
        yield from waiting


def _arrival(tape: Tape, log: Jobs, row: int, weight: float | None, step: bool) -> Arrival:
    worker, job, read = (int(getattr(log, name)[row]) for name in ("worker", "job", "read"))
    steps = int(log.steps[row])
    returns = np.count_nonzero((tape.down.worker == worker) & (tape.down.end <= log.assigned[row]))
    return Arrival(worker, job, read, steps, weight, step, int(returns))


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
    with jax.enable_x64(True):
        return _play(tape, problem, method, seed)


def _play(tape: Tape, problem: Problem, method: Method, seed: int) -> Played:
    workers = tape.workers
    compute = _computing(problem, method.work, seed)
    at_worker, on_message, hand_out, optimizer = (
        _transformation(part) for part in (method.at_worker, method.on_message, method.hand_out, method.optimizer)
    )
    versions = [problem.start(seed, "float64")]
    with among(workers):
        message_state = on_message and on_message.init(versions[0])
        optimizer_state = optimizer.init(versions[0])
        idle = hand_out and hand_out.init(versions[0])

    def handed(version: Parameters) -> Parameters:
        return hand_out.update(version, idle, version, message_state=message_state)[0] if hand_out else version

    def begun(parameters: Parameters) -> tuple[Any, Any]:
        with among(workers):
            return method.work.init(parameters), at_worker and at_worker.init(parameters)

    handed_out = [handed(versions[0])]
    states = [begun(versions[0])] * workers  # of the work, of what the worker does to its message
    returns, collected = [0] * workers, []
    for arrival in arrivals(tape):
        worker, read = arrival.worker, handed_out[arrival.read]
        if method.after_crash == "reset" and arrival.returns > returns[worker]:
            states[worker] = begun(read)
        returns[worker] = arrival.returns
        names = {"worker": _whole(worker), "job": _whole(arrival.job), "steps": _whole(arrival.steps)}
        of_work, of_worker = states[worker]
        message, of_work, key = compute(read, of_work, **names)
        if at_worker:
            message, of_worker = at_worker.update(message, of_worker, read, **names, key=key)
        states[worker] = of_work, of_worker
        if arrival.weight is None:
            continue
        current, version = versions[-1], len(versions) - 1
        staleness = jnp.asarray(version - arrival.read, "float64")
        if on_message:
            offered = {"staleness": staleness, "workers": workers, "version": _whole(version), "parameters_read": read}
            message, message_state = on_message.update(message, message_state, current, **offered, **names)
        collected.append((arrival.weight, message, staleness))
        if arrival.step:
            weighted = [jax.tree.map(lambda leaf, w=weight: w * leaf, each) for weight, each, _ in collected]
            total = jax.tree.map(lambda *leaves: sum(leaves), *weighted)
            staleness = sum(tau for *_, tau in collected) / len(collected)
            updates, optimizer_state = optimizer.update(total, optimizer_state, current, staleness=staleness)
            versions.append(optax.apply_updates(current, updates))
            handed_out.append(handed(versions[-1]))
            collected = []
    return Played(versions, states, message_state)


def _computing(problem: Problem, work: Work, seed: int) -> Any:
    """Return what plays a job: (version read, worker's state, worker=, job=, steps=) to (message, state, the job's key)."""
    data, _ = problem.arrays("float64")
    batches = jax.random.wrap_key_data(jnp.asarray(rng.key_words(seed, "batches")), impl="threefry2x32")

    def run(parameters: Parameters, state: Any, *, worker: Any, job: Any, steps: Any) -> tuple[Parameters, Any, Any]:
        at_hand = JobAtHand(problem, data, batches, worker, job, steps)
        return *work.run(parameters, state, at_hand), at_hand.key

    return jax.jit(run)


class JobAtHand:
    """What `Work.run` is told of its job; see `simsgd.work.JobAtHand`."""

    def __init__(self, problem: Problem, data: Any, batches: jax.Array, worker: Any, number: Any, steps: Any) -> None:
        self._problem, self._data = problem, data
        self.worker, self.number, self.steps = worker, number, steps
        self._batches = batches
        self.key = self._folded(jax.random.fold_in(batches, OF_JOBS))

    def _folded(self, key: jax.Array) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(key, self.worker), self.number)

    def gradient(self, parameters: Parameters, step: Any = 0) -> Parameters:
        """Return the gradient on the batch of one local step."""
        first = self._folded(self._batches)
        key = jax.lax.cond(step == 0, lambda: first, lambda: jax.random.fold_in(first, step))
        batch = jax.tree.map(lambda leaf: leaf[self._picks(key, step)], self._data)
        return self._gradient(parameters, batch, jax.random.fold_in(key, LOSS))

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

    def _gradient(self, parameters: Parameters, batch: Any, key: jax.Array | None) -> Parameters:
        loss = self._problem.loss
        return jax.grad(loss)(parameters, batch, key) if self._problem.loss_draws else jax.grad(loss)(parameters, batch)


def _transformation(part: Optimizer | None) -> Any:
    """Return a part of a method as an optax transformation that is called with all extra arguments, or None."""
    if isinstance(part, Tunable):
        part = part.factory(**dict(part.numbers), **dict(part.settings))
    return None if part is None else optax.with_extra_args_support(part)


def _whole(number: int) -> jax.Array:
    return jnp.asarray(number, jnp.int32)
