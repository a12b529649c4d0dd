"""A study: a grid of runs, each made once, kept, and measured together."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

from simsgd.stopping import Target
from simsgd.studies.cells import Cell
from simsgd.studies.grid import Grid, Label
from simsgd.studies.playing import play
from simsgd.studies.results import Results


class Study:
    """Runs over a grid of any fields: methods, clusters, problems, step sizes, seeds.

    Args:
        make: gets a value of each axis by its name and returns a `Cell`.
        axes: by name the values of an axis: a mapping of labels to values, or a sequence of numbers or texts.
        folder: where finished cells are kept; without it they are kept in memory.

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
    ) -> None:
        self.grid = Grid(make, axes)
        self.folder = folder
        self._outcomes: dict[Any, Any] = {}

    def cell(self, **coordinates: Label) -> Cell:
        """Return the cell at coordinates by name."""
        return self.grid.cell(self.grid.place(coordinates))

    def run(self, executor: Executor | None = None, progress: bool | None = None) -> Results:
        """Make the runs that are not there yet, and return all results."""
        missing = [place for place in self.grid.places if place not in self._outcomes]
        found = play([self.grid.cell(place) for place in missing])
        self._outcomes |= dict(zip(missing, found, strict=True))
        return self.results()

    def results(self) -> Results:
        """Return the results that are there."""
        there = {place: self._outcomes[place] for place in self.grid.places if place in self._outcomes}
        ends = {self.grid.cell(place).until for place in there}
        target = next(iter(ends)) if len(ends) == 1 else None
        return Results(self.grid.axes, there, target if isinstance(target, Target) else None)
