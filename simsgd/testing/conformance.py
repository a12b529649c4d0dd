"""A conformance suite for methods: what must hold of every one, whoever wrote it.

Law of this module: each check is a function of a `Case` that returns nothing or raises `ConformanceError`, and a row of `CHECKS`.
"""

from __future__ import annotations

import functools
import inspect
import pickle
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from simsgd import faults, networks, protocols, times
from simsgd.cluster import Cluster
from simsgd.method import Method
from simsgd.optimizers import sgd
from simsgd.problems import Problem
from simsgd.protocols import Protocol
from simsgd.recording.recorder import Recording, record
from simsgd.recording.stuck import StuckError
from simsgd.replaying.replay import replay
from simsgd.run import Run
from simsgd.simulation import simulate
from simsgd.stopping import Updates
from simsgd.support import checks, rng
from simsgd.tape import Tape
from simsgd.tape.rules import TapeError
from simsgd.testing.reference import play_slowly
from simsgd.times.answers import sampler_of
from simsgd.times.stretching import Stretched

RELATIVE = 1e-9
"""How far compiled and slow replay may lie apart, of the largest parameter: float64 rounds by 1.1e-16 each time, and a few dozen
updates of some hundred operations magnify that by far less than this."""


class ConformanceError(AssertionError):
    """A method does not do what every method must; the message names the check, what was expected, and what was found."""


def check_method(
    method: Method | Protocol,
    problem: Problem | None = None,
    cluster: Cluster | None = None,
    *,
    updates: int = 30,
    seed: int = 0,
    only: str | None = None,
) -> None:
    """Check that a method of your own keeps the rules that all methods keep; put it in a test.

    - "source": its docstring, or `Method.source`, cites where it comes from.
    - "pickle": it pickles, and what comes back is equal.
    - "code": its protocol and its work print as the code that makes them.
    - "tape": what it records keeps the laws of the tape, twice the same, in one piece or in many.
    - "common random numbers": the k-th local step of a worker takes the same time as with any other method.
    - "all-reduce": a protocol that says it is `synchronous` steps with one gradient of each worker, all of one version.
    - "bytes": its messages have the bytes that its work says.
    - "same bits": the same seed gives the same bits, and replaying the recording gives them again.
    - "chunks": evaluating the model more or less often changes no bit of it.
    - "reference": compiled replay is slow replay (`play_slowly`) in float64.

    They are asked on a quiet cluster and on one whose workers crash, where a method may also say that it cannot go on
    (`StuckError`).

    Args:
        method: the method; a protocol alone is checked with plain SGD.
        problem: what it learns; by default a small one, whose data differ between workers if the method asks for that.
        cluster: on what; by default four workers of different speeds, quiet and crashing.
        updates: how many updates to check, at least 1.
        seed: of the recordings.
        only: the name of a check to make alone.

    Raises:
        ConformanceError: for the first check that fails: it names the check, what was expected, what was found, and a call that
            repeats it.
        TypeError, ValueError: for arguments that make no sense.

    Example:
        >>> import optax, simsgd as sg
        >>> sg.testing.check_method(sg.Method(sg.AsyncSGD(), optax.sgd(0.1), on_message=optax.clip_by_global_norm(1.0)))
    """
    method = _as_method(method)
    if only is not None:
        checks.one_of("only", only, tuple(CHECKS))
    checks.whole("updates", updates, 1)
    for name, where in clusters().items() if cluster is None else [("given", cluster)]:
        case = Case(name, method, _problem_of(method, where) if problem is None else problem, where, updates, seed)
        for check in CHECKS if only is None else [only]:
            case.make(check)


def clusters() -> dict[str, Cluster]:
    """Return the clusters that methods are checked on: four workers of different speeds, quiet, and crashing now and then."""
    compute = times.Speeds(times.Exponential(1.0), speeds=(1.0, 2.0, 0.5, 1.5))
    network = networks.Duplex(down=networks.Link(0.02, 1e4), up=networks.Link(0.01, 2e3))
    crashes = faults.Crashes(between=times.Exponential(8.0), lasting=times.Exponential(0.5))
    return {"quiet": Cluster(4, compute, network), "crashing": Cluster(4, compute, network, faults=[crashes])}


def _problem_of(method: Method, cluster: Cluster) -> Problem:
    problem = line()
    return problem.partitioned(cluster.workers) if method.per_worker_data else problem


@functools.cache
def line() -> Problem:
    """Return the problem that methods are checked on: least squares, parameters of two leaves, three samples in a batch."""
    inputs = rng.stream(0, "conformance: line").normal(size=(64, 3))
    outputs = inputs @ [1.0, -2.0, 0.5] + 0.3
    return Problem("line", _line_begins, _squared_error, {"x": inputs, "y": outputs}, batch_size=3)


def _line_begins(key: jax.Array) -> dict[str, jax.Array]:
    return {"slopes": 0.1 * jax.random.normal(key, (3,)), "offset": jnp.zeros(())}


def _squared_error(parameters: Any, batch: Any) -> jax.Array:
    return jnp.mean((batch["x"] @ parameters["slopes"] + parameters["offset"] - batch["y"]) ** 2)


def _as_method(method: Any) -> Method:
    checks.instance("method", method, (Method, Protocol), "Method(AsyncSGD(), optax.sgd(0.1))")
    return method if isinstance(method, Method) else Method(method, sgd(0.05))


@dataclass(frozen=True, eq=False)
class Case:
    """One method where it is checked.

    Attributes:
        name: of the cluster, in messages.
        method, problem, cluster, updates, seed: as `check_method` was given them.
    """

    name: str
    method: Method
    problem: Problem
    cluster: Cluster
    updates: int
    seed: int

    def make(self, check: str) -> None:
        """Make one check, and raise ConformanceError if it fails or the method raises an error of its own."""
        try:
            CHECKS[check](self)
        except _Found as found:
            raise self._error(check, *found.args) from found.__cause__
        except StuckError as error:
            if not self.cluster.faults:
                raise self._error(check, "a simulation that goes on", f"StuckError: {error}") from error
        except Exception as error:
            raise self._error(check, "no error", f"{type(error).__name__}: {error}") from error

    def _error(self, check: str, expected: str, found: str) -> ConformanceError:
        return ConformanceError(
            f"{self.method.title} fails the check {check!r} on the {self.name} cluster\n"
            f"  expected: {expected}\n"
            f"  found:    {found}\n"
            f"  again:    sg.testing.check_method(method, problem, cluster, updates={self.updates}, seed={self.seed}, "
            f"only={check!r})\n"
            f"  with      method = {self.method!r}\n"
            f"            problem = {self.problem!r}\n"
            f"            cluster = {self.cluster!r}"
        )

    @property
    def message_bytes(self) -> float:
        """Bytes of the model."""
        return float(self.problem.message_bytes)

    @functools.cached_property
    def tape(self) -> Tape:
        """What the method records."""
        return self.recorded(self.method)

    def recorded(self, method: Method) -> Tape:
        """Return what a method records here; one that observes the model is simulated for it."""
        if self.observes:
            return self.simulated(method).tape
        return record(method, self.cluster, Updates(self.updates), self.seed, message_bytes=self.message_bytes)

    @functools.cached_property
    def observes(self) -> bool:
        """Whether the protocol looks at the model, so that its tape depends on the numbers."""

        def seen(statistic: str) -> float:
            raise _Observed(statistic)

        try:
            self.recording(seen).advance(updates=self.updates)
        except _Observed:
            return True
        return False

    def recording(self, observe: Callable[[str], float] | None = None) -> Recording:
        """Return a recording of the method that has yet to begin."""
        method = self.method
        return Recording(method.protocol, self.cluster, self.seed, self.message_bytes, observe, work=method.work)

    @functools.cached_property
    def run(self) -> Run:
        """The run, in float64."""
        return self.simulated(self.method)

    def simulated(self, method: Method, evaluate_every: int | None = None) -> Run:
        """Return a method's run in float64."""
        return simulate(
            *(method, self.problem, self.cluster),
            until=Updates(self.updates),
            seed=self.seed,
            message_bytes=self.message_bytes,
            dtype="float64",
            evaluate_every=None if evaluate_every is None else Updates(evaluate_every),
        )


class _Observed(Exception):
    """The protocol has looked at the model."""


class _Found(Exception):
    """What was expected, and what was found."""


def _require(condition: bool, expected: str, found: object) -> None:
    if not condition:
        raise _Found(expected, str(found))


def check_source(case: Case) -> None:
    """It says where it comes from."""
    of_class = inspect.getdoc(type(case.method.protocol)) or ""
    cited = case.method.source or re.search(r"^Source:\s*\S", of_class, re.MULTILINE)
    expected = "a paragraph 'Source: …' in the docstring of its protocol's class, or Method(..., source='…')"
    _require(bool(cited), expected, f"neither; {type(case.method.protocol).__name__}.__doc__ is {of_class[:80]!r}")


def check_pickle(case: Case) -> None:
    """It comes back from another process as what it was."""
    try:
        again = pickle.loads(pickle.dumps(case.method))
    except Exception as error:
        raise _Found(
            "a method that pickles: classes and functions at the top level of a module",
            f"{type(error).__name__}: {error}",
        ) from error
    _require(again == case.method, "what was pickled to be equal to what comes back", f"{again!r}")
    _require(hash(again) == hash(case.method), "equal methods to have equal hashes", f"{hash(again)}, {hash(case.method)}")


def check_code(case: Case) -> None:
    """Protocol and work print as what makes them, and nothing prints where it lies in memory."""
    for part in (case.method.protocol, case.method.work):
        text = repr(part)
        try:
            again = eval(text, _names(part))
        except Exception as error:
            raise _Found(f"code that makes {type(part).__name__}", f"{text}, which is no such code: {error}") from error
        _require(again == part, f"code that makes an equal {type(part).__name__}", text)
    _require(" at 0x" not in repr(case.method), "no address in memory", repr(case.method))


def _names(part: object) -> dict[str, Any]:
    """Return the names that the code of a part may use: those of its module, and simsgd's own."""
    names: dict[str, Any] = {}
    for module in (times, networks, faults, protocols, sys.modules[type(part).__module__]):
        names |= vars(module)
    return names | {type(part).__name__: type(part)}


def check_tape(case: Case) -> None:
    """What it records keeps the laws, and is the same again and in pieces."""
    tape = case.tape
    try:
        tape.check()
    except TapeError as error:
        raise _Found("a tape that keeps its laws", str(error)) from error
    _require(tape.updates == case.updates, f"a tape of {case.updates} updates", f"{tape.updates}")
    again = case.recorded(case.method)
    _require(again == tape, "the same tape for the same seed", f"{_first_difference(tape, again)}: it remembers a run before")
    if case.observes:
        return
    recording = case.recording()
    for update in range(1, case.updates + 1):
        recording.advance(updates=update)
    pieces = recording.tape()
    _require(pieces == tape, "the same tape in pieces of one update", _first_difference(tape, pieces))


def _first_difference(one: Tape, other: Tape) -> str:
    """Say where two tapes begin to differ."""
    for name in ("worker", "job", "read", "step", "weight", "time", "steps"):
        ours, theirs = (getattr(tape, name) for tape in (one, other))
        rows = min(len(ours), len(theirs))
        differ = np.flatnonzero(ours[:rows] != theirs[:rows])
        if len(differ):
            row = int(differ[0])
            return f"row {row} has {name} {theirs[row]} instead of {ours[row]}"
    return f"{other!r} instead of {one!r}"


def check_common_random_numbers(case: Case) -> None:
    """The k-th local step of a worker takes what the worker's own stream says, whatever the method did before."""
    law, tape = case.cluster.compute, case.tape
    columns = {name: tape.of_all_jobs(name) for name in ("worker", "job", "steps", "began", "ended")}
    for worker in range(tape.workers):
        draw = sampler_of(law, rng.stream(case.seed, "compute time", worker), worker)
        if isinstance(draw, Stretched):  # its times depend on the clock, which is the method's
            return
        mine = columns["worker"] == worker
        job, steps, began, ended = (columns[name][mine] for name in ("job", "steps", "began", "ended"))
        order = np.argsort(job)
        for each in order:
            seconds = sum(draw(float(began[each])) for _ in range(int(steps[each])))
            took = float(ended[each] - began[each])
            _require(
                np.isnan(took) or abs(took - seconds) <= 1e-9 * (1 + float(ended[each])),
                f"job {job[each]} of worker {worker}, with {steps[each]} local steps, to take {seconds:.9g} s",
                f"{took:.9g} s",
            )


def check_all_reduce(case: Case) -> None:
    """A protocol that promises synchronous steps makes them."""
    if not type(case.method.protocol).synchronous or case.cluster.faults:
        return
    tape = case.tape
    step = np.cumsum(tape.step) - tape.step
    for number in range(tape.updates):
        workers, read = tape.worker[step == number], tape.read[step == number]
        _require(
            sorted(workers.tolist()) == list(range(tape.workers)) and set(read.tolist()) == {number},
            f"step {number} of one gradient of each worker at version {number}, as the class says `synchronous = True`",
            f"workers {workers.tolist()}, versions {read.tolist()}",
        )


def check_bytes(case: Case) -> None:
    """Messages have the bytes that the work says."""
    work = case.method.work
    for direction, bytes_ in (("bytes_down", work.bytes_down), ("bytes_up", work.bytes_up)):
        said, charged = bytes_(case.message_bytes), case.tape.of_all_jobs(direction)
        _require(bool((charged == said).all()), f"{direction} of {said:g} for every job", np.unique(charged).tolist())


def check_same_bits(case: Case) -> None:
    """The same seed gives the same run, and so does replaying its recording."""
    again = case.simulated(pickle.loads(pickle.dumps(case.method)))
    _require(again == case.run, "an equal run for the same seed", _runs_differ(case.run, again))
    replayed = replay(case.tape, case.problem, case.method, Updates(case.updates), dtype="float64")
    _require(replayed == case.run, "replay of the recording to be the simulation", _runs_differ(case.run, replayed))


def check_chunks(case: Case) -> None:
    """Whoever looks at the model does not change it."""
    for every in (1, 7):
        looked = case.simulated(case.method, evaluate_every=every)
        same = looked.parameters.tobytes() == case.run.parameters.tobytes()
        _require(same, f"the same parameters when evaluated every {every} updates", _runs_differ(case.run, looked))


def _runs_differ(one: Run, other: Run) -> str:
    if one.tape != other.tape:
        return f"another tape: {_first_difference(one.tape, other.tape)}"
    apart = np.abs(one.parameters - other.parameters)
    return f"parameters up to {apart.max():g} apart" if apart.any() else "other metrics"


def check_reference(case: Case) -> None:
    """Compiled replay computes what the words say."""
    versions = play_slowly(case.run.tape, case.problem, case.method, case.seed).versions
    expected = np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(versions[-1])])
    found, scale = case.run.parameters, np.abs(expected).max()
    if not np.isfinite(expected).all():
        raise _Found("finite parameters, to compare to (use a smaller step size)", str(expected))
    _require(
        bool(np.abs(found - expected).max() <= RELATIVE * scale),
        f"parameters {expected} after {len(versions) - 1} updates, to {RELATIVE:g} of the largest",
        f"{found}, {np.abs(found - expected).max():g} off: what a transformation does may depend on how it is compiled",
    )


CHECKS: dict[str, Callable[[Case], None]] = {
    "source": check_source,
    "pickle": check_pickle,
    "code": check_code,
    "tape": check_tape,
    "common random numbers": check_common_random_numbers,
    "all-reduce": check_all_reduce,
    "bytes": check_bytes,
    "same bits": check_same_bits,
    "chunks": check_chunks,
    "reference": check_reference,
}
"""The checks by name, in their order."""
