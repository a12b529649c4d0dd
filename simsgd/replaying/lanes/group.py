"""A group of runs of one problem, played in lanes: which share an executable, and what was measured of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from simsgd.method import Method
from simsgd.problems import Blocks, Problem, settings
from simsgd.replaying import demands, machine, parts, selftest
from simsgd.replaying.drawing import Drawing
from simsgd.replaying.lanes.player import Lanes
from simsgd.replaying.lanes.program import Settings
from simsgd.replaying.lanes.resuming import Resuming
from simsgd.replaying.lanes.seats import LaneRun, Measured
from simsgd.replaying.lanes.sheets import Moments, Sheet
from simsgd.replaying.parts import Recipe
from simsgd.replaying.passes import check_passes
from simsgd.replaying.player import Player
from simsgd.replaying.schedule import Schedule
from simsgd.support import environment, forked
from simsgd.tape import Tape


class Wanted(NamedTuple):
    """A run that is wanted.

    Attributes:
        method, tape, seed, width: as in `replay`.
        schedule: when it evaluates its model, and when it ends.
    """

    method: Method
    tape: Tape
    seed: int
    schedule: Schedule
    width: int | None = None


def play(
    problem: Problem,
    wanted: Sequence[Wanted],
    dtype: str,
    lanes: int,
    devices: int = 1,
    played: Callable[[int], None] = lambda gradients: None,
    resuming: Resuming | None = None,
) -> list[Measured | Exception]:
    """Play runs of one problem in lanes; return what was measured of each, or the error that its arguments raise.

    Args:
        problem: what is learned.
        wanted: the runs.
        dtype: "float32" or "float64".
        lanes: how many of each device play side by side.
        devices: how many devices share them.
        played: told now and then how many gradients have been played since it was last called.
        resuming: where the state is kept now and then, and taken up.
    """
    forked.check()
    machine.check_devices(devices)
    selftest.run_once()
    preparing = Preparing(problem, dtype)
    found: list[Any] = [None] * len(wanted)
    sharing: dict[Any, list[tuple[int, LaneRun]]] = {}
    for number, each in enumerate(wanted):
        try:
            key, run = preparing.prepared(each)
        except Exception as error:  # of this run's own arguments: the others go on
            if environment.at_fault(error):
                raise
            found[number] = error
        else:
            sharing.setdefault(key, []).append((number, run))
    for part, ((setting, width), runs) in enumerate(sharing.items()):
        together = Lanes(problem, setting, width, lanes, dtype, devices)
        measured = together.play([run for _, run in runs], played, resuming, part)
        for place, (number, _) in enumerate(runs):
            found[number] = measured[place]
    return found


class Preparing:
    """Makes runs ready for lanes; what several share is made once.

    Args:
        problem, dtype: of all runs.
    """

    def __init__(self, problem: Problem, dtype: str) -> None:
        self._problem, self._dtype = problem, dtype
        self._drawing = Drawing.of(problem)
        with settings(dtype):
            self._parameters = problem.start(0, dtype)
        self._sheets: dict[Any, Sheet] = {}
        self._moments: dict[Any, Moments] = {}
        self._checked: set[tuple[Recipe, int]] = set()

    def prepared(self, wanted: Wanted) -> tuple[tuple[Settings, int], LaneRun]:
        """Return what a run's executable is compiled for, with its width, and the run."""
        problem, tape, method = self._problem, wanted.tape, wanted.method
        demands.check_data(method, problem, tape.workers)
        demands.check_tape(method, tape)
        rows = tape.cut_rows(slice(tape.rows_until(tape.updates)))
        demands.check_fresh(method.work, rows.rows)
        check_passes(method.work, rows, problem, tape.workers)
        recipe, numbers = self._recipe(method, tape.workers, wanted)
        sheet = self._once(
            self._sheets,
            (id(tape), recipe, wanted.width),
            lambda: Sheet.of(tape, recipe, self._dtype, wanted.width, problem.replacement),
        )
        schedule = wanted.schedule
        moments = self._once(self._moments, (id(tape), schedule), lambda: Moments.of(tape, schedule, schedule.batch_size))
        models = moments.models(sheet)
        setting = Settings(self._drawing, recipe, sheet.long, sheet.room, sheet.one_version, sheet.slots, models.kept)
        return (setting, sheet.width), LaneRun(numbers, wanted.seed, sheet, moments, models, schedule)

    def _recipe(self, method: Method, workers: int, wanted: Wanted) -> tuple[Recipe, dict[str, dict[str, float]]]:
        with settings(self._dtype):
            recipe, numbers = parts.split(method, self._parameters, workers, Blocks.of(self._problem))
            demands.check_numbers(method, numbers, self._dtype)
        if (recipe, workers) not in self._checked:
            Player(self._problem, method, workers, wanted.seed, self._dtype, wanted.width)  # which checks all that it is given
            self._checked.add((recipe, workers))
        return recipe, numbers

    @staticmethod
    def _once(known: dict[Any, Any], key: Any, make: Callable[[], Any]) -> Any:
        if key not in known:
            known[key] = make()
        return known[key]


def family(problem: Problem, method: Method, workers: int, dtype: str) -> Recipe:
    """Return what methods have in common that can share an executable, hashable."""
    with settings(dtype):
        shapes = jax.eval_shape(problem.init, jax.random.wrap_key_data(jnp.zeros(2, jnp.uint32), impl="threefry2x32"))
        begin = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, dtype), shapes)
        recipe, _ = parts.split(method, begin, workers, Blocks.of(problem))
    return recipe
