"""A conformance suite for methods: what must hold of every one, whoever wrote it."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from simsgd import faults, networks, times
from simsgd.cluster import Cluster
from simsgd.method import Method
from simsgd.optimizers import sgd
from simsgd.problems import Problem
from simsgd.protocols import Protocol
from simsgd.recording.stuck import StuckError
from simsgd.support import checks, rng
from simsgd.testing.case import Case, UnmetError
from simsgd.testing.checks import CHECKS


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
    - "pure": its parts answer the same whenever they are asked the same, and draw random numbers by the keys they are given.
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
            _make(check, case)


def _make(check: str, case: Case) -> None:
    """Make one check, and raise ConformanceError if it fails or the method raises an error of its own."""
    try:
        CHECKS[check](case)
    except UnmetError as unmet:
        raise _error(check, case, *unmet.args) from unmet.__cause__
    except StuckError as error:
        if not case.cluster.faults:
            raise _error(check, case, "a simulation that goes on", f"StuckError: {error}") from error
    except Exception as error:
        raise _error(check, case, "no error", f"{type(error).__name__}: {error}") from error


def _error(check: str, case: Case, expected: str, found: str) -> ConformanceError:
    return ConformanceError(
        f"{case.method.title} fails the check {check!r} on the {case.name} cluster\n"
        f"  expected: {expected}\n"
        f"  found:    {found}\n"
        f"  again:    sg.testing.check_method(method, problem, cluster, updates={case.updates}, seed={case.seed}, "
        f"only={check!r})\n"
        f"  with      method = {case.method!r}\n"
        f"            problem = {case.problem!r}\n"
        f"            cluster = {case.cluster!r}"
    )


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
