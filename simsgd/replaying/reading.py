"""Following a tape with a player: read on, play, look at the model, until it is time to stop.

Laws of this module: a finished tape and a recording in progress are followed by one loop, so `replay` of what `record` wrote
is `simulate`, bit for bit; looking at the model more or less often changes no bit of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any
from typing import Protocol as Interface

import numpy as np

from simsgd.optimizers import Optimizer
from simsgd.problems import Problem
from simsgd.replaying.player import Player
from simsgd.run import Run
from simsgd.stopping import Seconds, Target, Updates, bound, limits
from simsgd.support import checks
from simsgd.support.progress import bar
from simsgd.tape import Tape, prefix
from simsgd.tape.schema import Rows

EVALUATIONS = 100
"""How often a run looks at the model, unless told otherwise."""


class Source(Interface):
    """Where rows come from: a finished tape (`Reading`) or a recording in progress (`recorder.Recording`)."""

    @property
    def version(self) -> int:
        """How many updates there have been."""

    @property
    def now(self) -> float:
        """Up to which moment everything is known, simulated seconds."""

    def advance(self, updates: float = math.inf, seconds: float = math.inf) -> None:
        """Go on until there are so many updates, or so many seconds have passed, whichever comes first."""

    def rows(self, start: int = 0) -> Rows:
        """Return the rows from `start` on, up to the last that ends a step."""

    def live(self) -> set[int]:
        """Return the versions that later rows may read."""

    def tape(self) -> Tape:
        """Return what has happened so far."""


class Reading:
    """A finished tape, read from its beginning as if it were being recorded.

    Args:
        tape: the tape.

    Raises:
        simsgd.TapeError: if the tape breaks one of its laws.
    """

    def __init__(self, tape: Tape) -> None:
        checks.instance("tape", tape, Tape, "record(AsyncSGD(), cluster, until=Updates(1000))")
        self._tape = tape.check()
        self._ends_of_steps = np.flatnonzero(tape.step) + 1
        self._last_reader = np.full(tape.updates + 1, -1)
        self._last_reader[tape.read] = np.arange(len(tape))  # the last of several assignments stays
        self._last_reader[tape.in_flight.read] = len(tape)
        self._alive = np.zeros(1, np.int64)
        self._by_time = True
        self.version = 0
        self.now = 0.0

    def advance(self, updates: float = math.inf, seconds: float = math.inf) -> None:
        """Read on until there are so many updates, or so many seconds have passed, whichever comes first."""
        steps = int(np.searchsorted(self._tape.update_times, seconds, side="right"))
        before, self.version = self.version, max(self.version, min(steps, int(min(updates, self._tape.updates))))
        self._by_time = self.version < updates
        self.now = seconds if self._by_time else float(self._tape.update_times[self.version - 1]) if self.version else 0.0
        alive = np.concatenate([self._alive, np.arange(before + 1, self.version + 1)])
        self._alive = alive[self._last_reader[alive] >= self._rows_read]

    @property
    def _rows_read(self) -> int:
        return int(self._ends_of_steps[self.version - 1]) if self.version else 0

    def rows(self, start: int = 0) -> Rows:
        """Return the rows from `start` on, up to the last that ends a step."""
        return Rows(*(column[start : self._rows_read] for column in self._tape.rows))

    def live(self) -> set[int]:
        """Return the versions that later rows, or the jobs in flight at the tape's end, read."""
        return set(self._alive.tolist())

    def tape(self) -> Tape:
        """Return the tape up to here: the whole one if it was read to its end, else as if recording had stopped here."""
        whole = self._tape
        if self.now >= whole.end and self.version == whole.updates:
            return whole
        return prefix.until(whole, self.now, self.version, self._by_time)


def follow(
    source: Source,
    player: Player,
    until: Updates | Seconds | Target,
    evaluate_every: Updates | Seconds | None,
    progress: bool | None,
) -> tuple[list[Mapping[str, float]], str]:
    """Play what the source gives, looking at the model at regular moments; return the looks and how it ended.

    A look has "time", "updates", "gradients" and the problem's metrics. The end is "completed", "target reached" or
    "diverged" (a metric is not finite).
    """
    end = bound(until)
    if isinstance(until, Target):
        checks.one_of("until.metric", until.metric, player.problem.metric_names)
    last_update, last_second = limits(end)
    every_update, every_second = limits(_spacing(end, evaluate_every))
    source.advance(0, 0.0)  # so that the first jobs are handed out, even if nothing follows
    looks: list[Mapping[str, float]] = [{"time": 0.0, "updates": 0, "gradients": 0, **player.evaluate()}]
    with bar(None, "simulating", progress, total=100, unit="%") as shown:
        while not (ended := _ended(looks[-1], player.problem.metric_names, until)):
            wanted = _at_most(len(looks) * every_update, last_update)
            source.advance(wanted, _at_most(len(looks) * every_second, last_second))
            player.play(source.rows(player.rows_played), source.live())
            shown.update(100 * max(source.version / last_update, source.now / last_second) - shown.n)
            if source.version > looks[-1]["updates"]:
                looks.append(
                    {"time": source.now, "updates": source.version, "gradients": player.rows_played, **player.evaluate()}
                )
            elif source.now > looks[-1]["time"]:
                looks.append({**looks[-1], "time": source.now})
            # at the last second there may be more updates to look at, if this look stopped at one of them
            if source.version >= last_update or (source.now >= last_second and source.version < wanted):
                return looks, _ended(looks[-1], player.problem.metric_names, until) or "completed"
    return looks, ended


def _ended(look: Mapping[str, float], metrics: Iterable[str], until: Updates | Seconds | Target) -> str:
    """Say how a look at the model ends the run, or nothing if it does not."""
    if not all(math.isfinite(look[name]) for name in metrics):
        return "diverged"
    return "target reached" if isinstance(until, Target) and until.reached(look[until.metric]) else ""


def _at_most(moment: float, last: float) -> float:
    """Return the moment, or the last one if it is that up to rounding, so that the last two looks are never the same."""
    return last if moment > last * (1 - 1e-9) else moment


def _spacing(end: Updates | Seconds, evaluate_every: Updates | Seconds | None) -> Updates | Seconds:
    """Return how far apart to look at the model: a hundredth of the whole unless told otherwise."""
    if evaluate_every is not None:
        checks.instance("evaluate_every", evaluate_every, (Updates, Seconds), "Updates(100) or Seconds(0.5)")
        return evaluate_every
    if isinstance(end, Updates):
        return Updates(math.ceil(end.count / EVALUATIONS))
    return Seconds(end.seconds / EVALUATIONS)


def replay(
    tape: Tape,
    problem: Problem,
    optimizer: Optimizer,
    until: Updates | Seconds | Target | None = None,
    seed: int | None = None,
    evaluate_every: Updates | Seconds | None = None,
    dtype: str = "float32",
    width: int | None = None,
    progress: bool | None = None,
) -> Run:
    """Play numbers: compute every gradient and update of a tape, in its order, and return the run.

    Args:
        tape: what happened, from `record`, `Tape.load` or a run's `tape`.
        problem: what is learned.
        optimizer: an optax transformation, for example `optax.sgd(0.1)`, or a `tunable` one, `optimizers.sgd(0.1)`.
        until: where to stop; by default the tape's end. A `Target` stops at the first evaluation that reaches it.
        seed: names the initial parameters and the batches; by default the seed that the tape was recorded with, or 0.
        evaluate_every: how far apart to evaluate the metrics; by default a hundredth of the whole.
        dtype: "float32" or "float64".
        width: how many gradients of a step are computed side by side; by default as many as the first step has, at
            most 128. Part of what the bits depend on.
        progress: show a progress bar; by default only if output is a terminal.

    Raises:
        TypeError, ValueError: for arguments that make no sense, named in the message; if `until` is beyond the tape's end.
        simsgd.TapeError: if the tape breaks one of its laws.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=0.1))
        >>> tape = sg.record(sg.AsyncSGD(), cluster, until=sg.Updates(200))
        >>> slow, fast = (sg.replay(tape, sg.problems.quadratic(), sg.optimizers.sgd(s)) for s in (0.01, 0.1))
        >>> fast.final("loss") < slow.final("loss")
        True
    """
    source = Reading(tape)
    if tape.end == 0:
        raise ValueError("tape is empty: it ends at 0 s, before anything happened; record for longer")
    until = Seconds(tape.end) if until is None else until
    updates, seconds = limits(bound(until))
    if updates > tape.updates if updates < math.inf else seconds > tape.end:
        raise ValueError(f"until={until!r} is never reached: the tape ends after {tape.updates} updates, at {tape.end:g} s")
    seed = int(tape.header.get("seed", 0)) if seed is None else seed
    player = Player(problem, optimizer, tape.workers, seed, dtype, width)
    return finish(source, player, until, evaluate_every, progress)


def finish(
    source: Source,
    player: Player,
    until: Updates | Seconds | Target,
    evaluate_every: Updates | Seconds | None,
    progress: bool | None,
) -> Run:
    """Follow a source to its end and return the run."""
    looks, status = follow(source, player, until, evaluate_every, progress)
    tape = source.tape()
    configuration: dict[str, Any] = {"message_bytes": 0, **tape.header, **player.describe(), "until": repr(until)}
    target = until if isinstance(until, Target) else player.problem.target
    return Run.assemble(tape, looks, status, player.flat_parameters, target, configuration)
