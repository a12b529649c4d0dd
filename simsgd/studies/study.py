"""A study: a grid of runs, each made once, kept, and measured together."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

from simsgd import executing, measures
from simsgd.executing import backends, pools
from simsgd.executing.pinning import Surroundings
from simsgd.problems import Problem
from simsgd.recording.attempt import attempt
from simsgd.replaying import machine
from simsgd.stopping import Target
from simsgd.studies.about import common
from simsgd.studies.cells import Cell
from simsgd.studies.grid import Grid, Label, Place, counted
from simsgd.studies.grouping import Group, Grouping
from simsgd.studies.keeping import Memory, Shelf
from simsgd.studies.outcomes import FAILED, Outcome
from simsgd.studies.playing import ask, play_group
from simsgd.studies.progress import Progress
from simsgd.studies.results import Results
from simsgd.studies.store import Explanation
from simsgd.support import checks
from simsgd.support.partial import handing_back

MEMORY = 2e9
"""Bytes that the lanes of one executable may take, unless told otherwise."""
CHECKPOINTS = 60.0
"""Seconds between two checkpoints of a group in play."""


class Study:
    """Runs over a grid of any fields: methods, clusters, problems, step sizes, seeds.

    Cells that share a tape (they differ in step size, model or data) are recorded once. Cells that share an executable play
    side by side in lanes, as many as `memory` allows; so their bits are those of that width, which each outcome says, and those
    of `simulate` to rounding. On a CPU as many threads play as there are cores.

    Args:
        make: gets a value of each axis by its name and returns a `Cell`.
        axes: by name the values of an axis: a mapping of labels to values, or a sequence of numbers or texts.
        folder: where finished cells are kept; without it they are kept in memory.
        memory: bytes that the lanes of one executable may take.
        lanes: how many lanes; by default what was measured to be good, and fits.
        devices: how many devices share the lanes of an executable, each with so many.
        keep_tapes: whether a folder keeps the tapes that take more than half a second to record too, about 100 bytes for each
            gradient, so that further cells of these seeds are not recorded again.

    Raises:
        TypeError, ValueError: for arguments that make no sense, named in the message.
        simsgd.BoundError: in `run`, if one lane does not fit the memory.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=0.1))
        >>> target = sg.Target("loss", at_most=0.01, within=sg.Seconds(30))
        >>> def make(method, step_size, seed):
        ...     return sg.Cell(method(step_size), sg.problems.quadratic(), cluster, until=target, seed=seed)
        >>> methods = {"sync": sg.methods.minibatch, "async": sg.methods.asynchronous}
        >>> study = sg.Study(make, {"method": methods, "step_size": [0.05, 0.1], "seed": range(2)})
        >>> study.run().seconds().shape
        (2, 2, 2)
    """

    def __init__(
        self,
        make: Callable[..., Cell],
        axes: Mapping[str, Mapping[str, Any] | Sequence[Any]],
        *,
        folder: str | os.PathLike[str] | None = None,
        memory: float = MEMORY,
        lanes: int | None = None,
        devices: int = 1,
        keep_tapes: bool = True,
    ) -> None:
        self.grid = Grid(make, axes)
        self.folder = folder
        self.devices, self.memory = checks.whole("devices", devices, 1), checks.positive("memory", memory, "bytes")
        wanted = None if lanes is None else checks.whole("lanes", lanes, 1)
        self._grouping = Grouping(self.memory, wanted)
        self._kept = Memory(self._grouping) if folder is None else Shelf(folder, self._grouping, keep_tapes)

    def __repr__(self) -> str:
        axes = self.grid.axes
        sizes = " × ".join(counted(len(labels), name) for name, labels in axes.items())
        return f"Study({sizes}: {self._kept.known(math.prod(map(len, axes.values())))})"

    def cell(self, **coordinates: Label) -> Cell:
        """Return the cell at coordinates by name."""
        return self.grid.cell(self.grid.place(coordinates))

    def run(
        self,
        executor: Executor | None = None,
        *,
        retry_failed: bool = False,
        patience: float | None = None,
        progress: bool | None = None,
    ) -> Results:
        """Make the runs that are not there yet, and return all results.

        A cell whose run raises an error is kept as failed, and the rest go on; failed cells are made again on request only.

        Args:
            executor: any `concurrent.futures.Executor`, or what has `submit(function, *arguments)` and returns futures; by
                default threads of this process, one for each core, and processes that record.
            retry_failed: whether failed cells are made again.
            patience: seconds without a sign of life after which a worker's group counts as lost; see `simsgd.executing`.
            progress: show a progress bar; by default on a terminal and in a notebook only.

        Raises:
            TypeError, ValueError: for arguments and cells that make no sense, named in the message.
            simsgd.executing.ExecutorError: if the executor died or lost groups, or the work met what is no fault of its cell,
                such as too little memory; what is finished is kept, and nothing of this as failed: run again.
            OSError: if the folder cannot be written.
            KeyboardInterrupt, and others: with the `Results` that are there as their attribute `partial`.
        """
        if executor is not None:
            backends.check(executor)
        patience = None if patience is None else checks.positive("patience", patience, "seconds")
        if self.devices > 1:
            machine.check_devices(self.devices)
        cells = {place: self.grid.cell(place) for place in self.grid.places}
        self._check_different(cells)
        with handing_back("Results", self.results):
            missing = self._missing(cells, retry_failed)
            if missing:
                self._kept.check_writable(self.grid.axes)
                try:
                    self._make(missing, cells, executor, patience, progress)
                finally:
                    self._kept.finish()
        return self.results()

    def results(self) -> Results:
        """Return the results that are there."""
        there = self._kept.outcomes({place: self.grid.cell(place) for place in self.grid.places})
        ends = {self.grid.cell(place).until for place in self.grid.places}
        target = next(iter(ends)) if len(ends) == 1 else None
        made = {
            "cells": common(map(self.grid.cell, self.grid.places)),
            "memory": self.memory,
            "devices": self.devices,
            "versions": measures.versions(),
        }
        return Results(self.grid.axes, there, target if isinstance(target, Target) else None, made)

    def explain(self, **coordinates: Label) -> Explanation:
        """Return what a cell is, its key, and why it is or is not done; of a missing one the nearest that is kept.

        Example:
            >>> import simsgd as sg
            >>> cluster = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=0.1))
            >>> method, problem = sg.methods.asynchronous(0.1), sg.problems.quadratic()
            >>> def make(seed):
            ...     return sg.Cell(method, problem, cluster, until=sg.Updates(9), seed=seed)
            >>> study = sg.Study(make, {"seed": range(2)})
            >>> study.explain(seed=1).state
            'missing'
        """
        place = self.grid.place(coordinates)
        return dataclasses.replace(self._kept.explain(self.grid.cell(place)), coordinates=self.grid.said(place))

    def _check_different(self, cells: Mapping[Place, Cell]) -> None:
        """Raise ValueError if two places hold the same run."""
        seen: dict[str, Place] = {}
        for place, cell in cells.items():
            if not cell.identity.unknown and (other := seen.setdefault(cell.identity.key, place)) is not place:
                axes = self.grid.axes
                differ = [name for name, one, two in zip(axes, other, place, strict=True) if one != two]
                raise ValueError(
                    f"make returns the same run for {self.grid.said(other)} and {self.grid.said(place)}: it must use "
                    f"{' and '.join(differ)}, or leave that axis out"
                )

    def _missing(self, cells: Mapping[Place, Cell], retry_failed: bool) -> dict[Place, Cell]:
        """Return the cells that are to be made."""
        there = self._kept.outcomes(cells)
        done = {place for place, outcome in there.items() if not (retry_failed and outcome.status == FAILED)}
        return {place: cell for place, cell in cells.items() if place not in done}

    def _make(
        self,
        missing: Mapping[Place, Cell],
        cells: Mapping[Place, Cell],
        executor: Executor | None,
        patience: float | None,
        progress: bool | None,
    ) -> None:
        """Have the missing cells made."""
        workers = pools.cores() if executor is None else int(getattr(executor, "_max_workers", 0) or pools.cores())
        groups = {self._kept.name(group, cells): group for group in self._grouping.groups(missing, cells, workers)}
        asked = {cells[place].tape_key: cells[place] for group in groups.values() for place in group.places if group.lanes}
        told = Progress(len(cells), progress, already=len(cells) - len(missing))
        with told, self._executors(executor, len(asked)) as (player, recorder):
            inside = isinstance(player, ThreadPoolExecutor)

            def take(name: str, outcomes: Sequence[Outcome]) -> None:
                self._kept.save({cells[place]: o for place, o in zip(groups[name].places, outcomes, strict=True)})
                if (checkpoint := self._kept.checkpoint(name)) and any(each.status != FAILED for each in outcomes):
                    checkpoint.remove()  # not before: a process killed in between would have lost the group
                told.finished(name, outcomes)

            def fail(name: str, error: Exception) -> None:
                take(name, [Outcome.failure(error)] * len(groups[name].places))

            executing.execute(
                {key: (attempt, (ask(cell), self._kept.tape(cell))) for key, cell in asked.items()},
                {name: self._task(name, group, cells, told.played if inside else None) for name, group in groups.items()},
                *(player, recorder),
                on_outcomes=take,
                on_failure=fail,
                on_look=told.look,
                shared=(Problem,),
                surroundings=None if inside else Surroundings.here(machine.here),
                signs=self._kept.signs(),
                patience=patience,
            )

    def _task(
        self, name: str, group: Group, cells: Mapping[Place, Cell], played: Callable[[int], None] | None
    ) -> executing.Group:
        """Return what an executor is given of a group."""
        own = tuple(cells[place] for place in group.places)
        needs = tuple(dict.fromkeys(cell.tape_key for cell in own)) if group.lanes else ()
        given = own, needs, group.lanes, self.devices, self._kept.checkpoint(name), CHECKPOINTS, played
        return executing.Group(play_group, given, needs, len(own))

    @contextlib.contextmanager
    def _executors(self, executor: Executor | None, recordings: int) -> Iterator[tuple[Any, Any]]:
        """Give the block what plays groups, and what records their tapes."""
        if executor is not None and not isinstance(executor, ThreadPoolExecutor):
            yield executor, executor
            return
        with pools.recording(recordings) as recorder:
            if executor is not None:
                yield executor, recorder
                return
            threads = None if machine.is_cpu() else 1
            with pools.playing(threads) as player:
                yield player, recorder
