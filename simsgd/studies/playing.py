"""Cells to outcomes: what a thread, or another process, does with a group of cells whose tapes are recorded."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from simsgd import measures
from simsgd.costs import Costs
from simsgd.recording.attempt import Ask, Recorded, attempt
from simsgd.replaying.lanes import group
from simsgd.replaying.lanes.group import Wanted
from simsgd.replaying.lanes.resuming import Resuming
from simsgd.replaying.lanes.seats import Measured
from simsgd.replaying.lanes.sheets import Moment
from simsgd.replaying.schedule import planned
from simsgd.run import AXES, Run
from simsgd.stopping import bound
from simsgd.studies.cells import Cell
from simsgd.studies.outcomes import Outcome
from simsgd.studies.store import Checkpoint
from simsgd.support import environment
from simsgd.tape import Tape, prefix
from simsgd.tape.intervals import SHARES


def ask(cell: Cell) -> Ask:
    """Return what is to be recorded for a cell."""
    method, problem = cell.whole, cell.problem
    size = problem.message_bytes_in(cell.dtype) if cell.message_bytes is None else cell.message_bytes
    costs = Costs.of(method, size, problem.message_shapes)
    return Ask(method.protocol, cell.cluster, bound(cell.until), cell.seed, problem.batch_size, costs)


def play_group(
    cells: Sequence[Cell],
    needs: Sequence[str],
    lanes: int,
    devices: int,
    checkpoint: Checkpoint | None,
    every: float,
    played: Callable[[int], None] | None,
    *tapes: Recorded,
) -> list[Outcome]:
    """Return the outcome of each cell of a group: what executors are given.

    Args:
        cells, lanes, devices: as in `play`.
        needs: the keys of the tapes that follow.
        checkpoint: where the state is kept every so many seconds, so that a killed process loses no more than that.
        every: so many.
        played: as in `play`.
        tapes: one for each key.
    """
    where = None if checkpoint is None else Resuming(checkpoint.load, checkpoint.save, every)
    return play(cells, dict(zip(needs, tapes, strict=True)), lanes, devices, played or (lambda gradients: None), where)


def play(
    cells: Sequence[Cell],
    tapes: Mapping[str, Recorded],
    lanes: int,
    devices: int = 1,
    played: Callable[[int], None] = lambda gradients: None,
    resuming: Resuming | None = None,
) -> list[Outcome]:
    """Return the outcome of each cell of a group; an error of one is its outcome, and the rest go on.

    An error that is the environment's fault, such as MemoryError, is no outcome: it is raised (`support.environment`).

    Args:
        cells: of one problem and dtype.
        tapes: by `Cell.tape_key`; those that are missing are recorded here.
        lanes: how many of each device play side by side.
        devices: how many devices share them.
        played: told now and then how many gradients have been played since it was last called.
        resuming: where the state is kept now and then, and taken up.
    """
    alone = [place for place, cell in enumerate(cells) if not cell.in_lanes]
    outcomes: dict[int, Outcome] = {place: alone_outcome(cells[place]) for place in alone}
    side_by_side = {place: cell for place, cell in enumerate(cells) if cell.in_lanes}
    outcomes |= _in_lanes(side_by_side, dict(tapes), lanes, devices, played, resuming)
    return [outcomes[place] for place in range(len(cells))]


def alone_outcome(cell: Cell) -> Outcome:
    """Return the outcome of a cell that `simulate` plays alone."""
    begun = time.perf_counter()
    try:
        return of_run(cell.simulate(progress=False), time.perf_counter() - begun)
    except Exception as error:
        return failure(error)


def failure(error: Exception) -> Outcome:
    """Return the outcome of a cell that raised an error; raise one that is the environment's fault: it says nothing of it."""
    if environment.at_fault(error):
        raise error
    return Outcome.failure(error)


def of_run(run: Run, seconds: float) -> Outcome:
    """Return the outcome of a run that was made alone."""
    columns = {name: run.dataset[name].values.astype(np.float64) for name in (*AXES, *run.metrics)}
    told, hashes = _measures(run.tape), run.hashes
    return Outcome(run.status, columns, told, hashes["tape"], hashes["parameters"], seconds=seconds)


def _in_lanes(
    cells: Mapping[int, Cell],
    tapes: dict[str, Recorded],
    lanes: int,
    devices: int,
    played: Callable[[int], None],
    resuming: Resuming | None,
) -> dict[int, Outcome]:
    """Return the outcomes of cells that are played in lanes, by their places."""
    begun, outcomes, wanted = time.perf_counter(), dict[int, Outcome](), dict[int, Wanted]()
    for place, cell in cells.items():
        try:
            if cell.tape_key not in tapes:
                tapes[cell.tape_key] = attempt(ask(cell))
            wanted[place] = _wanted(cell, tapes[cell.tape_key])
        except Exception as error:
            outcomes[place] = failure(error)
    if wanted:
        first = cells[next(iter(wanted))]
        found = group.play(first.problem, list(wanted.values()), first.dtype, lanes, devices, played, resuming)
        each, telling = (time.perf_counter() - begun) / len(wanted), Telling()
        for (place, run), measured in zip(wanted.items(), found, strict=True):
            outcome = telling.outcome(run, measured, tapes[cells[place].tape_key].error, first.problem.metric_names)
            outcomes[place] = dataclasses.replace(outcome, lanes=lanes, seconds=each)
    return outcomes


def _wanted(cell: Cell, recorded: Recorded) -> Wanted:
    """Return what is to be played for a cell; raises what its tape ended with if there is none."""
    if recorded.tape is None:
        assert recorded.error is not None
        raise recorded.error
    problem = cell.problem
    schedule = planned(cell.until, cell.evaluate_every, problem.metric_names, problem.batch_size)
    return Wanted(cell.whole, recorded.tape, cell.seed, schedule, cell.width)


class Telling:
    """Makes outcomes of what was measured; what runs that end together on one tape have in common is found out once."""

    def __init__(self) -> None:
        self._ends: dict[Any, tuple[dict[str, float], str]] = {}

    def outcome(
        self, run: Wanted, measured: Measured | Exception, ended_with: Exception | None, metrics: Sequence[str]
    ) -> Outcome:
        """Return the outcome of a run, whose tape may have ended with an error before it."""
        if isinstance(measured, Exception):
            return Outcome.failure(measured)
        if measured.status == "cut":
            return Outcome.failure(ended_with or RuntimeError("the tape ended before the run"))
        moments, count = measured.moments, len(measured.values)
        seen = moments.all[:count]
        columns = {
            "time": np.array([each.time for each in seen]),
            "updates": np.array([each.updates for each in seen], np.float64),
            "samples": moments.samples[:count],
            "bytes": moments.bytes[:count],
            **dict(zip(metrics, measured.values.T.copy(), strict=True)),
        }
        told, digest = self._end(run.tape, seen[-1], measured.status == "completed")
        return Outcome(measured.status, columns, told, digest, measured.parameters_hash)

    def _end(self, tape: Tape, last: Moment, completed: bool) -> tuple[dict[str, float], str]:
        """Return the measures of a tape until a moment, and the hash of its content."""
        key = id(tape), last
        if key not in self._ends:
            whole = completed and last.by_time and last.time >= tape.end
            ended = tape if whole else prefix.until(tape, *last)
            self._ends[key] = _measures(ended), ended.content_hash
        return self._ends[key]


def _measures(tape: Tape) -> dict[str, float]:
    shares = measures.per_worker(tape)
    return {
        "updates": float(tape.updates),
        "gradients": float(len(tape)),
        "discarded": float(len(tape.discarded)),
        "mean_staleness": float(tape.staleness.mean()) if len(tape) else float("nan"),
        **{name: float(np.mean(shares[name])) for name in SHARES},
    }
