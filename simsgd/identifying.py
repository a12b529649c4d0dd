"""The identity of a run before it is made: the key under which a study looks for it."""

from __future__ import annotations

from simsgd import compatible, provenance
from simsgd.cluster.cluster import Cluster
from simsgd.costs import Costs
from simsgd.method import Method, protocol_of
from simsgd.optimizers import Optimizer
from simsgd.problems import Problem
from simsgd.protocols.base import Protocol
from simsgd.provenance import Identity
from simsgd.replaying.identify import end_of_tape, identify
from simsgd.replaying.schedule import planned
from simsgd.stopping import Rule, Target
from simsgd.support import checks, forked


def identity(
    protocol: Protocol | Method,
    problem: Problem,
    cluster: Cluster,
    optimizer: Optimizer | None = None,
    until: Rule | Target | None = None,
    seed: int = 0,
    evaluate_every: Rule | None = None,
    message_bytes: float | None = None,
    dtype: str = "float32",
    width: int | None = None,
) -> Identity:
    """Return the identity of the run that `simulate` would make of the same arguments: everything that its bits depend on.

    It is the `identity` of that run, and of the `replay` of such a tape. Its `tape` is the identity of the tape that is played,
    which runs that differ in step size share; `record` until the bound of `until` makes it. It goes as far as that bound: the
    tape of a run that ended before, at its target, has another (`run.tape.identity` differs by `until`). (If the protocol
    observes the model its tape depends on more than that, and is known by its content.)

    Described are: protocol and cluster by their classes and fields, code of your own included; the problem by its data and
    by the programs that JAX makes of its functions, the optimizer likewise; `until` and the rest of the arguments; versions,
    device, processor, C library, XLA_FLAGS and JAX's settings. What cannot be seen is what code of yours reaches by names made
    at run time, and a library's own state. Caches (`functools.cache`) around functions of yours that a protocol or law uses are
    emptied, as their results may be older than the code. See `Identity`.

    Raises:
        TypeError, ValueError: for arguments that make no sense, named in the message.

    Example:
        >>> import optax, simsgd as sg
        >>> cluster = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=0.1))
        >>> given = sg.AsyncSGD(), sg.problems.quadratic(), cluster
        >>> slow, fast = (sg.identity(*given, optax.sgd(size), sg.Updates(100)) for size in (0.1, 0.2))
        >>> slow == fast, slow.tape == fast.tape, "optimizer.name" in slow.difference(fast)
        (False, True, True)
        >>> sg.simulate(*given, optax.sgd(0.1), sg.Updates(100)).identity == slow
        True
    """
    forked.check()
    method = compatible.check("identity", protocol, problem, cluster, optimizer, until)
    checks.one_of("dtype", dtype, ("float32", "float64"))
    schedule = planned(until, evaluate_every, problem.metric_names, problem.batch_size)
    seed, width = checks.whole("seed", seed, 0), None if width is None else checks.whole("width", width, 1)
    size = problem.message_bytes_in(dtype) if message_bytes is None else message_bytes
    costs = Costs.of(protocol, size, problem.message_shapes)
    tape = provenance.recording(protocol_of(protocol), cluster, costs, seed)
    return identify({**tape, "until": end_of_tape(schedule)}, problem, method, seed, dtype, width, schedule, cluster.workers)
