"""replay: numbers from a finished tape."""

from __future__ import annotations

import dataclasses

from simsgd.method import Method
from simsgd.optimizers import Optimizer
from simsgd.problems import Problem
from simsgd.replaying import demands
from simsgd.replaying.follow import finish
from simsgd.replaying.player import Player
from simsgd.replaying.reading import Reading
from simsgd.replaying.schedule import Schedule, planned
from simsgd.run import Run
from simsgd.stopping import Extent, Rule, Seconds, Target, Updates
from simsgd.support import arguments, interrupts
from simsgd.tape import Tape


def replay(
    tape: Tape,
    problem: Problem,
    optimizer: Optimizer | Method,
    until: Rule | Target | None = None,
    seed: int | None = None,
    evaluate_every: Rule | None = None,
    dtype: str = "float32",
    width: int | None = None,
    progress: bool | None = None,
) -> Run:
    """Play numbers: compute every gradient and update of a tape, in its order, and return the run.

    Args:
        tape: what happened, from `record`, `Tape.load` or a run's `tape`.
        problem: what is learned.
        optimizer: an optax transformation, for example `optax.sgd(0.1)`, or a `tunable` one, `optimizers.sgd(0.1)`; or a whole
            `Method`, whose protocol and work must be those that the tape was recorded with.
        until: where to stop; by default the tape's end. A `Target` stops when it has been kept long enough; so a run's tape
            can be replayed until the target at which the run itself stopped. One without a bound is given the tape's end.
        seed: names the initial parameters and the batches; by default the seed that the tape was recorded with, or 0.
        evaluate_every: how far apart to evaluate the metrics; by default a hundredth of the whole.
        dtype: "float32" or "float64".
        width: how many gradients of a step are computed side by side; by default as many as the first step has, at
            most 128, and for a method of further parts at most as many as there are workers. Part of what the bits depend on,
            and of the cost: a step takes as long as so many gradients do.
        progress: show a progress bar; by default on a terminal and in a notebook only.

    Raises:
        TypeError, ValueError: for arguments that make no sense, named in the message; if `until` is beyond the tape's end, or
            a target is not kept before it.
        KeyboardInterrupt, and all errors that come while it plays: with what was measured until then as their attribute
            `partial`, a `Run` whose status is "interrupted", or None before the first evaluation.
        simsgd.TapeError: if the tape breaks one of its laws.
        simsgd.BoundError: for more evaluations, or more memory, than `simsgd.bounds` allow.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=0.1))
        >>> tape = sg.record(sg.AsyncSGD(), cluster, until=sg.Updates(200))
        >>> slow, fast = (sg.replay(tape, sg.problems.quadratic(), sg.optimizers.sgd(s)) for s in (0.01, 0.1))
        >>> fast.final("loss") < slow.final("loss")
        True
    """
    demands.check_factory(optimizer)
    arguments.in_order(
        "replay",
        tape=(tape, Tape, "record(AsyncSGD(), cluster, until=Updates(1000))"),
        problem=(problem, Problem, "problems.digits()"),
        optimizer=(optimizer, (*demands.OPTIMIZERS, Method), f"{demands.EXAMPLE}, or a Method"),
    )
    demands.check_data(optimizer, problem, tape.workers)
    demands.check_tape(optimizer, tape)
    if isinstance(until, Target) and until.within is None:  # a tape has an end, where a recording may go on for ever
        until = dataclasses.replace(until, within=Seconds(tape.end) if tape.end else Updates(1))
    if tape.end == 0 and not isinstance(until, Target):
        raise ValueError("tape is empty: it ends at 0 s, before anything happened; record for longer")
    schedule = planned(Seconds(tape.end) if until is None else until, evaluate_every, problem.metric_names, problem.batch_size)
    if not isinstance(until, Target):  # which may be kept before the tape ends
        _check_reached(tape, schedule)
    seed = int(tape.header.get("seed", 0)) if seed is None else seed
    source = Reading(tape, f"until={schedule.until!r} is never reached")
    with interrupts.listening():
        return finish(source, Player(problem, optimizer, tape.workers, seed, dtype, width), schedule, progress)


def _check_reached(tape: Tape, schedule: Schedule) -> None:
    """Raise ValueError if the tape ends before the run does."""
    rows = tape.rows_until(tape.updates)
    whole = Extent(tape.updates, tape.end, rows, int(tape.steps[:rows].sum()))
    if not whole.passes(schedule.end) and schedule.end.seconds > tape.end:
        raise ValueError(
            f"until={schedule.until!r} is never reached: the tape ends after {tape.updates} updates, at {tape.end:g} s, with "
            f"{rows} gradients used"
        )
