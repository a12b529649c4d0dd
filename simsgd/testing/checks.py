"""The checks of the conformance suite.

Law of this module: each check is a function of a `Case` that returns nothing or raises `UnmetError`, and a row of `CHECKS`.
"""

from __future__ import annotations

import inspect
import pickle
import re
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from simsgd import compressions, faults, networks, protocols, times
from simsgd.replaying.replay import replay
from simsgd.run import Run
from simsgd.stopping import Updates
from simsgd.tape import Tape
from simsgd.tape.rules import TapeError
from simsgd.testing import clock
from simsgd.testing.case import Case, UnmetError, require
from simsgd.testing.purity import check_pure
from simsgd.testing.reference import play_slowly

RELATIVE = 1e-9
"""How far compiled and slow replay may lie apart, of the largest parameter: float64 rounds by 1.1e-16 each time, and a few
dozen updates of some hundred operations magnify that by far less than this."""


def check_source(case: Case) -> None:
    """It says where it comes from."""
    of_class = inspect.getdoc(type(case.method.protocol)) or ""
    cited = case.method.source or re.search(r"^Source:\s*\S", of_class, re.MULTILINE)
    expected = "a paragraph 'Source: …' in the docstring of its protocol's class, or Method(..., source='…')"
    require(bool(cited), expected, f"neither; {type(case.method.protocol).__name__}.__doc__ is {of_class[:80]!r}")


def check_pickle(case: Case) -> None:
    """It comes back from another process as what it was."""
    try:
        again = pickle.loads(pickle.dumps(case.method))
    except Exception as error:
        raise UnmetError(
            "a method that pickles: classes and functions at the top level of a module, transformations of your own as "
            "optimizers.tunable(factory, name=value)",
            f"{type(error).__name__}: {error}",
        ) from error
    require(again == case.method, "what was pickled to be equal to what comes back", f"{again!r}")
    require(hash(again) == hash(case.method), "equal methods to have equal hashes", f"{hash(again)}, {hash(case.method)}")


def check_code(case: Case) -> None:
    """Protocol and work print as what makes them, and nothing prints where it lies in memory."""
    for part in (case.method.protocol, case.method.work):
        text = repr(part)
        try:
            again = eval(text, _names(part))
        except Exception as error:
            raise UnmetError(f"code that makes {type(part).__name__}", f"{text}, which is no such code: {error}") from error
        require(again == part, f"code that makes an equal {type(part).__name__}", text)
    require(" at 0x" not in repr(case.method), "no address in memory", repr(case.method))


def _names(part: object) -> dict[str, Any]:
    """Return the names that the code of a part may use: those of its module, and simsgd's own."""
    names: dict[str, Any] = {}
    for module in (times, networks, faults, protocols, compressions, sys.modules[type(part).__module__]):
        names |= vars(module)
    return names | {type(part).__name__: type(part)}


def check_tape(case: Case) -> None:
    """What it records keeps the laws, and is the same again and in pieces."""
    tape = case.tape
    try:
        tape.check()
    except TapeError as error:
        raise UnmetError("a tape that keeps its laws", str(error)) from error
    require(tape.updates == case.updates, f"a tape of {case.updates} updates", f"{tape.updates}")
    again = case.recorded(case.method)
    require(again == tape, "the same tape for the same seed", f"{_first_difference(tape, again)}: it remembers a run before")
    if case.observes:
        return
    recording = case.recording()
    for update in range(1, case.updates + 1):
        recording.advance(updates=update)
    pieces = recording.tape()
    require(pieces == tape, "the same tape in pieces of one update", _first_difference(tape, pieces))


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
    for job in clock.expected(case.tape, case.cluster.compute, case.costs, case.seed):
        steps, ended = job.found
        require(
            np.isnan(ended) or (steps == job.steps and abs(ended - job.ended) <= 1e-9 * (1 + ended)),
            f"job {job.job} of worker {job.worker} to end at {job.ended:.9g} s with {job.steps} local steps",
            f"{ended:.9g} s and {steps} steps",
        )


def check_all_reduce(case: Case) -> None:
    """A protocol that promises synchronous steps makes them."""
    if not type(case.method.protocol).synchronous or case.cluster.faults:
        return
    tape = case.tape
    step = np.cumsum(tape.step) - tape.step
    for number in range(tape.updates):
        workers, read = tape.worker[step == number], tape.read[step == number]
        require(
            sorted(workers.tolist()) == list(range(tape.workers)) and set(read.tolist()) == {number},
            f"step {number} of one gradient of each worker at version {number}, as the class says `synchronous = True`",
            f"workers {workers.tolist()}, versions {read.tolist()}",
        )


def check_bytes(case: Case) -> None:
    """A work says the same bytes whenever it is asked; its protocol may say others for a job."""
    for kind in range(len(case.method.work.kinds)):
        said, again = case.costs.charge(0, 0, kind), case.costs.charge(0, 0, kind)
        require(again == said, f"{said} whenever it is asked", f"{again}")


def check_same_bits(case: Case) -> None:
    """The same seed gives the same run, and so does replaying its recording."""
    again = case.simulated(pickle.loads(pickle.dumps(case.method)))
    require(again == case.run, "an equal run for the same seed", _runs_differ(case.run, again))
    replayed = replay(case.tape, case.problem, case.method, Updates(case.updates), dtype="float64")
    require(replayed == case.run, "replay of the recording to be the simulation", _runs_differ(case.run, replayed))


def check_chunks(case: Case) -> None:
    """Whoever looks at the model does not change it."""
    for every in (1, 7):
        looked = case.simulated(case.method, evaluate_every=every)
        same = looked.parameters.tobytes() == case.run.parameters.tobytes()
        require(same, f"the same parameters when evaluated every {every} updates", _runs_differ(case.run, looked))


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
        raise UnmetError("finite parameters, to compare to (use a smaller step size)", str(expected))
    require(
        bool(np.abs(found - expected).max() <= RELATIVE * scale),
        f"parameters {expected} after {len(versions) - 1} updates, to {RELATIVE:g} of the largest",
        f"{found}, {np.abs(found - expected).max():g} off: what a transformation does may depend on how it is compiled",
    )


CHECKS: dict[str, Callable[[Case], None]] = {
    "source": check_source,
    "pickle": check_pickle,
    "code": check_code,
    "pure": check_pure,
    "tape": check_tape,
    "common random numbers": check_common_random_numbers,
    "all-reduce": check_all_reduce,
    "bytes": check_bytes,
    "same bits": check_same_bits,
    "chunks": check_chunks,
    "reference": check_reference,
}
"""The checks by name, in their order."""
