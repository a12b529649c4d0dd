"""simulate = replay ∘ record: time is simulated, gradients are real.

Both go on at once: SimPy plays time in Python while compiled code computes gradients (see `simsgd.replaying.follow`).
"""

from __future__ import annotations

import math

from simsgd import compatible
from simsgd.cluster.cluster import Cluster
from simsgd.costs import Costs
from simsgd.method import Method, protocol_of
from simsgd.optimizers import Optimizer
from simsgd.problems import Problem
from simsgd.protocols.base import Protocol
from simsgd.recording.recorder import Recording
from simsgd.recording.refusals import ProtocolError
from simsgd.replaying.follow import finish
from simsgd.replaying.player import Player
from simsgd.replaying.schedule import planned
from simsgd.run import Run
from simsgd.stopping import Rule, Target
from simsgd.support import checks, interrupts
from simsgd.support.bounds import bounds


def simulate(
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
    progress: bool | None = None,
) -> Run:
    """Run a method on a problem and a cluster: simulated time, real gradients, one result.

    Args:
        protocol: who waits for whom, for example `AsyncSGD()`; or a whole `Method`, which has its own optimizer.
        problem: what is learned, for example `problems.digits()`.
        cluster: workers, compute times and network.
        optimizer: an optax transformation, for example `optax.sgd(0.1)`, or a `tunable` one, `optimizers.sgd(0.1)`; to be left
            out for a `Method`.
        until: `Updates(n)`, `Seconds(s)`, `Gradients(n)`, `Samples(n)`, or a `Target` with a bound; needed.
        seed: names all random draws: compute times by worker, batches by worker and job, initial parameters. Methods
            compared on one seed see the same draws.
        evaluate_every: how far apart to evaluate the metrics, `Updates(n)`, `Seconds(s)` and so on; by default a hundredth
            of the whole. Evaluating more or less often changes no bit of the model.
        message_bytes: bytes of the model, and of a gradient; by default the bytes of the problem's parameters.
        dtype: "float32" or "float64".
        width: how many gradients of a step are computed side by side; see `replay`.
        progress: show a progress bar; by default on a terminal and in a notebook only.

    Returns:
        A `Run`. Its status is "diverged" if a metric stopped being finite; everything up to there is kept.
        If Ctrl-C or an error breaks it off, the exception has what was measured until then as its attribute `partial`: a `Run`
        whose status is "interrupted", or None before the first evaluation.

    Raises:
        TypeError, ValueError: for arguments that make no sense, named in the message.
        simsgd.StuckError: if the simulation cannot go on.
        simsgd.BoundError: for more evaluations, or more memory, than `simsgd.bounds` allow.

    Example:
        >>> import optax, simsgd as sg
        >>> cluster = sg.Cluster(workers=4, compute=sg.times.ShiftedExponential(shift=0.05, mean=0.1))
        >>> run = sg.simulate(sg.AsyncSGD(), sg.problems.digits(), cluster, optax.sgd(0.1), sg.Seconds(20), seed=0)
        >>> print(run.summary())  # doctest: +ELLIPSIS
        AsyncSGD(), 4 workers, digits, mlp with 32 hidden units, 20 simulated s: completed
        target      accuracy ≥ 0.9, kept to the end: after ... s, ... updates, ... samples, ... MB
        ...
    """
    method = compatible.check("simulate", protocol, problem, cluster, optimizer, until)
    checks.one_of("dtype", dtype, ("float32", "float64"))
    schedule = planned(until, evaluate_every, problem.metric_names, problem.batch_size)
    for count in (schedule.end.updates, schedule.end.gradients):
        if count < math.inf:
            bounds.check("rows", count, f"until={checks.shown(until)}")
    size = problem.message_bytes_in(dtype) if message_bytes is None else message_bytes

    with interrupts.listening():
        player = Player(problem, method, cluster.workers, seed, dtype, width)
        recording = _recording_for(player, protocol, cluster, size, schedule.end.seconds)
        return finish(recording, player, schedule, progress)


def _recording_for(
    player: Player, method: Protocol | Method, cluster: Cluster, message_bytes: float, seconds: float
) -> Recording:
    """Return a recording whose protocol may observe the model: then the player plays up to now."""
    protocol = protocol_of(method)

    def observe(statistic: str) -> float:
        metrics = player.problem.metric_names
        if not isinstance(statistic, str) or statistic not in metrics:
            raise ProtocolError(f"{protocol!r} observes {statistic!r:.60}: it must be one of {', '.join(map(repr, metrics))}")
        recording.header.pop("identity", None)  # its tape now depends on the model: the content alone says who it is
        player.catch_up(recording)
        return player.evaluate()[statistic]

    costs = Costs.of(method, message_bytes, player.problem.message_shapes)
    recording = Recording(protocol, cluster, costs, player.seed, observe, seconds)
    return recording
