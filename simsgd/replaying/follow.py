"""Following a tape with a player: read on, play, evaluate the model, until it is time to stop.

Laws of this module:

1. A finished tape and a recording in progress are followed by one loop, so `replay` of what `record` wrote is `simulate`,
   bit for bit; evaluating the model more or less often changes no bit of it.
2. Time and numbers overlap: while the device plays one piece, the source goes on to the next, up to one evaluation ahead. The
   run is what it would be without that: what came after the evaluation that ended it is cut off.

The device is asked to play and to evaluate, and answers when it is done (JAX dispatches asynchronously, on CPUs too), so no
thread is needed: SimPy runs in the caller's thread, where its errors and Ctrl-C belong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from typing import Protocol as Interface

from simsgd import provenance
from simsgd.provenance import Identity
from simsgd.replaying.blocks import TABLE_ROWS
from simsgd.replaying.identify import end_of_tape
from simsgd.replaying.player import Evaluation, Played, Player
from simsgd.replaying.schedule import Schedule, ended
from simsgd.run import Run
from simsgd.stopping import Extent, Target, in_words
from simsgd.support import interrupts
from simsgd.support.bounds import bounds
from simsgd.support.partial import handing_back
from simsgd.support.progress import bar
from simsgd.tape import Tape


class Source(Played, Interface):
    """Where rows come from: a finished tape (`Reading`) or a recording in progress (`recorder.Recording`)."""

    @property
    def version(self) -> int:
        """How many updates there have been."""

    @property
    def now(self) -> float:
        """Up to which moment everything is known, simulated seconds."""

    @property
    def reached(self) -> Extent:
        """How far it has come."""

    def advance(
        self, updates: float = math.inf, seconds: float = math.inf, gradients: float = math.inf, steps: float = math.inf
    ) -> None:
        """Go on until so many updates, seconds, gradients used, or local steps of these have come, whichever comes first."""

    def origin(self, until: Mapping[str, float]) -> dict[str, Any]:
        """Return the description of the tape until there; see `simsgd.provenance.tapes`."""

    def tape(self) -> Tape:
        """Return what has happened so far."""

    def tape_at(self, now: float, version: int, by_time: bool) -> Tape:
        """Return the tape as it was at an earlier moment; see `tape.prefix.until`."""


@dataclass(frozen=True)
class Evaluated:
    """An evaluation at its place in the run, its numbers perhaps still to come.

    Attributes:
        time: simulated seconds.
        updates: how many there had been.
        by_time: whether the source stopped for it at a second, not with an update.
        width: that of the player, None before its first step if it was not given.
        evaluation: the model and its metrics.
    """

    time: float
    updates: int
    by_time: bool
    width: int | None
    evaluation: Evaluation

    def row(self) -> dict[str, Any]:
        """Return "time", "updates" and the problem's metrics, when the device has computed them."""
        return {"time": self.time, "updates": self.updates, **self.evaluation.metrics, **self.evaluation.worker_losses}


def finish(source: Source, player: Player, schedule: Schedule, progress: bool | None) -> Run:
    """Follow a source to its end and return the run; if that breaks off, the exception has the part that was measured.

    Args:
        source: where rows come from.
        player: what plays them.
        schedule: when to evaluate the model, and when to stop.
        progress: whether to show a progress bar.
    """
    rows: list[Mapping[str, float]] = []
    last: tuple[int, Evaluated] | None = None  # how many rows there are with it, in one piece: Ctrl-C may come anywhere
    watch, status = schedule.watch(), ""
    identity = player.identity(source.origin(end_of_tape(schedule)), schedule)

    def interrupted() -> Run | None:
        return _assembled(source, player, schedule, rows[: last[0]], last[1], "interrupted", identity) if last else None

    with handing_back("a Run", interrupted), bar(None, "simulating", progress, total=100, unit="%") as shown:
        evaluations = Evaluations(source, player, schedule, shown)
        following, failure = evaluations.next(), None
        while (evaluation := following) is not None:
            try:
                following = evaluations.next()  # before anybody waits for the numbers of this one
            except Exception as error:
                following, failure = None, error
            rows.append(evaluation.row())
            last = len(rows), evaluation
            status = ended(rows[-1], player.problem.metric_names, watch)
            if status:  # then a failure beyond it is nobody's
                break
            if failure is not None:
                raise failure
        assert last is not None
        run = _assembled(source, player, schedule, rows, last[1], status or "completed", identity)
        interrupts.look()
        return run


def _assembled(
    source: Source,
    player: Player,
    schedule: Schedule,
    rows: list[Mapping[str, float]],
    last: Evaluated,
    status: str,
    identity: Identity,
) -> Run:
    """Return the run of some evaluations, whose tape ends with the last of them."""
    tape = source.tape() if status == "completed" else source.tape_at(last.time, last.updates, last.by_time)
    if status == "interrupted":
        identity = Identity({**identity.description, "interrupted": f"after {len(rows)} evaluations"})
    until = schedule.until
    ending = {"width": last.width, "until": repr(until), "evaluate_every": in_words(schedule.every)}
    configuration: dict[str, Any] = {"message_bytes": 0, **provenance.plain(tape.header), **player.describe(), **ending}
    target = until if isinstance(until, Target) else player.problem.target
    return Run.assemble(tape, rows, status, last.evaluation.flat_parameters, target, configuration, identity)


class Evaluations:
    """The evaluations of a run, one after the other, without waiting for the device.

    (No generator: a StopIteration of a user's law or protocol could not leave one as itself.)

    Args:
        source, player, schedule: as in `finish`.
        shown: the progress bar.
    """

    def __init__(self, source: Source, player: Player, schedule: Schedule, shown: Any) -> None:
        self._source, self._player, self._schedule, self._shown = source, player, schedule, shown
        self._latest: Evaluated | None = None
        self._count, self._due, self._over = 0, 0, False

    def next(self) -> Evaluated | None:
        """Go on to the next evaluation and return it, or None after the last."""
        if self._latest is None:
            self._source.advance(0, 0.0)  # so that the first jobs are handed out, even if nothing follows
            self._latest = self._evaluated(by_time=False)
            self._count = 1
            return self._latest
        while not self._over:
            self._due += 1
            evaluation = self._go_on(self._latest)
            if evaluation is not None:
                self._count += 1
                bounds.check("evaluations", self._count, f"evaluate_every, with until={self._schedule.until!r},")
                self._latest = evaluation
                return evaluation
        return None

    def _go_on(self, latest: Evaluated) -> Evaluated | None:
        """Go on to where the next evaluation is due, and return it if anything has happened since the latest."""
        source, schedule, due = self._source, self._schedule, self._schedule.due(self._due)
        _play_until(source, self._player, due)
        reached = source.reached
        self._over = schedule.is_over(reached, due)
        self._shown.update(100 * schedule.share(reached) - self._shown.n)
        by_time = not reached.passes(due)
        if source.version > latest.updates:
            return self._evaluated(by_time)
        return replace(latest, time=source.now, by_time=by_time) if source.now > latest.time else None

    def _evaluated(self, by_time: bool) -> Evaluated:
        source, player = self._source, self._player
        return Evaluated(source.now, source.version, by_time, player.width, player.evaluation())


def _play_until(source: Source, player: Player, due: Extent) -> None:
    """Go on to the next evaluation in pieces: the device plays one while the source goes on to the next."""
    while True:
        rows_of_an_update = player.width or player.workers
        interrupts.look()
        piece = min(due.updates, source.version + max(1, TABLE_ROWS // rows_of_an_update))
        source.advance(*due._replace(updates=piece))
        player.catch_up(source)
        if source.version < piece or piece == due.updates:
            return
