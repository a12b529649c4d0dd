"""A study: a grid of runs, each made once, kept, and measured together."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

from simsgd.recording.attempt import attempt
from simsgd.stopping import Target
from simsgd.studies.cells import Cell
from simsgd.studies.grid import Grid, Label, Place
from simsgd.studies.grouping import Group, Grouping
from simsgd.studies.outcomes import Outcome
from simsgd.studies.playing import ask, play
from simsgd.studies.results import Results
from simsgd.support import checks

MEMORY = 2e9
"""Bytes that the lanes of one executable may take, unless told otherwise."""


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
    ) -> None:
        self.grid = Grid(make, axes)
        self.folder = folder
        self.devices = checks.whole("devices", devices, 1)
        wanted = None if lanes is None else checks.whole("lanes", lanes, 1)
        self._grouping = Grouping(checks.positive("memory", memory, "bytes"), wanted)
        self._outcomes: dict[Place, Outcome] = {}

    def cell(self, **coordinates: Label) -> Cell:
        """Return the cell at coordinates by name."""
        return self.grid.cell(self.grid.place(coordinates))

    def run(self, executor: Executor | None = None, progress: bool | None = None) -> Results:
        """Make the runs that are not there yet, and return all results."""
        missing = {place: self.grid.cell(place) for place in self.grid.places if place not in self._outcomes}
        cores = len(os.sched_getaffinity(0))
        groups = self._grouping.groups(missing, cores)
        tapes: dict[str, Any] = {}
        with ThreadPoolExecutor(cores) as pool:

            def one(group: Group) -> None:
                cells = [missing[place] for place in group.places]
                for cell in cells:
                    if cell.in_lanes and cell.tape_key not in tapes:
                        tapes[cell.tape_key] = attempt(ask(cell))
                found = play(cells, tapes, group.lanes, self.devices)
                self._outcomes |= dict(zip(group.places, found, strict=True))

            for future in [pool.submit(one, group) for group in groups]:
                future.result()
        return self.results()

    def results(self) -> Results:
        """Return the results that are there."""
        there = {place: self._outcomes[place] for place in self.grid.places if place in self._outcomes}
        ends = {self.grid.cell(place).until for place in there}
        target = next(iter(ends)) if len(ends) == 1 else None
        return Results(self.grid.axes, there, target if isinstance(target, Target) else None)
