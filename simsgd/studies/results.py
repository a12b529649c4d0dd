"""The results of a study: its cells' outcomes as one labelled dataset, a table and a figure."""

from __future__ import annotations

import collections
import functools
import html
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from simsgd.stopping import Seconds, Target, Updates, settled
from simsgd.studies import dataset, drawing, grid, tables
from simsgd.studies.grid import Label, Place
from simsgd.studies.outcomes import FAILED, Outcome, all_failed
from simsgd.support import checks, files, frames, sealed, show

if TYPE_CHECKING:
    import matplotlib.axes
    import pandas
    import xarray

KIND = "study"
"""What a sealed file of results says that it holds."""


@dataclass(frozen=True, eq=False, repr=False)
class Results:
    """What a study measured; made by `Study.run`.

    Attributes:
        axes: the labels of each axis.
        outcomes: by place, those that are there.
        target: what cells ran to, if all ran to one.
        configuration: what all cells have in common, and the versions of what computed them.
        whole: the axes of the whole study, where these are some of its results: figures give a method its look by them.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=0.1))
        >>> target = sg.Target("loss", at_most=0.01, within=sg.Seconds(30))
        >>> def make(method, seed):
        ...     return sg.Cell(method(0.1), sg.problems.quadratic(), cluster, until=target, seed=seed)
        >>> methods = {"sync": sg.methods.minibatch, "async": sg.methods.asynchronous}
        >>> results = sg.Study(make, {"method": methods, "seed": range(2)}).run()
        >>> results
        Results(2 methods × 2 seeds: 4 of 4 cells, 4 target reached)
        >>> results.dataset.seconds_to_target.dims
        ('method', 'seed')
    """

    axes: Mapping[str, list[Label]]
    outcomes: Mapping[Place, Outcome]
    target: Target | None = None
    configuration: Mapping[str, Any] = field(default_factory=dict)
    whole: Mapping[str, list[Label]] | None = None

    def __post_init__(self) -> None:
        if self.target is not None and self.target.kept is None and isinstance(self.target.within, Seconds | Updates):
            checks.store(self, target=settled(self.target))  # as the runs took it

    def outcome(self, **coordinates: Label) -> Outcome:
        """Return the outcome of one cell.

        Raises:
            TypeError, ValueError: for axes or a label that are not there.
            KeyError: if the cell has not been made.
        """
        place = grid.place(self.axes, coordinates)
        if place not in self.outcomes:
            raise KeyError(f"the cell {self._named(place)} has not been made: run the study again")
        return self.outcomes[place]

    @property
    def failed(self) -> dict[Place, Outcome]:
        """The cells that raised an error."""
        return {place: outcome for place, outcome in self.outcomes.items() if outcome.status == FAILED}

    @property
    def done(self) -> str:
        """How many cells have an outcome, of how many: "2 of 4"."""
        cells = int(np.prod([len(labels) for labels in self.axes.values()]))
        return f"{len(self.outcomes):,} of {cells:,}"

    def select(self, **labels: Label | Sequence[Label]) -> Results:
        """Return the results of some labels of some axes; an axis keeps its place, with the labels that are named.

        Raises:
            ValueError: for an axis, or a label of it, that is not there.

        Example:
            >>> import simsgd as sg
            >>> results = sg.studies.Results({"step_size": [0.1, 0.2], "seed": [0, 1]}, {})
            >>> results.select(step_size=0.1).axes
            {'step_size': [0.1], 'seed': [0, 1]}
        """
        axes = {name: list(known) for name, known in self.axes.items()}
        for name, wanted in labels.items():
            checks.one_of("an axis", name, axes)
            several = [wanted] if isinstance(wanted, str | float | int) else checks.sequence(name, wanted, "[0.1, 0.2]")
            for label in several:
                checks.one_of(name, label, self.axes[name])
            axes[name] = list(several)
        places = itertools.product(*axes.values())
        there = {place: self.outcomes[place] for place in places if place in self.outcomes}
        return Results(axes, there, self.target, self.configuration, self.whole or self.axes)

    def seconds(self, target: Target | None = None) -> xarray.DataArray:
        """Return simulated seconds to the target along the axes, NaN where it was never reached or the cell is missing.

        Of one method: `results.select(method="async").seconds()`. xarray's `sel` has an argument called method, so that
        `seconds().sel(method="async")` selects nothing: write `seconds().sel({"method": "async"})`.

        Raises:
            ValueError: if there is no target.
        """
        import xarray

        wanted = self._wanted(target)
        there = (self.outcomes.get(place) for place in itertools.product(*self.axes.values()))
        found = np.array([outcome.to_target(wanted).seconds if outcome else np.nan for outcome in there])
        shape = tuple(map(len, self.axes.values()))
        return xarray.DataArray(found.reshape(shape), coords=dict(self.axes), dims=list(self.axes), name="seconds")

    @functools.cached_property
    def dataset(self) -> xarray.Dataset:
        """All that was measured, along the study's axes, and along `evaluation` too, padded with NaN to the longest run.

        Along the axes: `status`, `seconds_to_target`, `updates_to_target`, `samples_to_target`, `bytes_to_target` (NaN: never;
        all four are left out where cells had different targets, `outcome.to_target(target)` tells of one),
        the measures of `Outcome` (`updates` as `total_updates`), `tape_hash`, `parameters_hash`, `lanes`, `wall_seconds`,
        `evaluations` (how many), `error`. Along `evaluation` too: `time`, `updates`, `samples`, `bytes` and each metric. Its
        attributes are JSON: `target`, `configuration`, `axes`, `columns` (which names cells have). No variable holds objects.

        xarray's `sel` has an argument called method: of an axis of that name write `data.sel({"method": "async"})`.
        """
        return dataset.dataset(self.axes, self.outcomes, self.target, self.configuration)

    def to_dataframe(self, evaluations: bool = False) -> pandas.DataFrame:
        """Return a pandas DataFrame with a row for each cell that is there: its labels, status, way to the target and measures.

        Args:
            evaluations: give a row for each evaluation of each cell: time, updates, samples, bytes and the metrics.

        Raises:
            ImportError: if pandas is not installed.

        Example:
            >>> import simsgd as sg
            >>> outcome = sg.studies.Outcome("completed", {"time": [0.0, 1.0], "loss": [2.0, 1.0]}, {"updates": 5.0})
            >>> results = sg.studies.Results({"seed": [7]}, {(7,): outcome})
            >>> results.to_dataframe()[["seed", "status", "final_loss"]].values.tolist()
            [[7, 'completed', 1.0]]
        """
        return frames.dataframe(self._columns(evaluations))

    def to_parquet(self, path: str | os.PathLike[str], evaluations: bool = False) -> None:
        """Write the rows of `to_dataframe` to a Parquet file, whole or not at all.

        Raises:
            ImportError: if pyarrow is not installed.
            OSError: if the file cannot be written.
        """
        checks.instance("path", path, (str, os.PathLike), '"study.parquet"')
        frames.write_parquet(path, self._columns(evaluations))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the results to one netCDF file, whole or not at all: their `dataset`, which other programs read too.

        Raises:
            TypeError: if `path` is no name of a file.
            OSError: if the file cannot be written.
        """
        checks.instance("path", path, (str, os.PathLike), '"study.nc"')
        sealed.save(path, dataset.with_bytes(self.dataset), KIND)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Results:
        """Read results that `save` wrote.

        Raises:
            TypeError: if `path` is no name of a file.
            FileNotFoundError: if there is no such file.
            simsgd.support.files.FileFormatError: if it is damaged or does not hold the results of a study.
        """
        checks.instance("path", path, (str, os.PathLike), '"study.nc"')
        found = sealed.load(path, KIND)
        with files.naming(path):
            return Results(*dataset.parts(dataset.with_texts(found)))

    def table(self, format: str = "markdown", **options: Any) -> str:
        """Return the table of a paper: a row for each method, the way to the target over the seeds; see `tables.table`.

        Example:
            >>> import numpy as np, simsgd as sg
            >>> target = sg.Target("loss", at_most=0.1, within=sg.Seconds(10), kept=0)
            >>> def outcome(seconds):
            ...     axes = {name: np.array([0.0, seconds]) for name in ("time", "updates", "samples", "bytes")}
            ...     return sg.studies.Outcome("target reached", axes | {"loss": np.array([1.0, 0.1])}, {})
            >>> outcomes = {("sync", 0): outcome(4.0), ("sync", 1): outcome(5.0), ("async", 0): outcome(2.0)}
            >>> results = sg.studies.Results({"method": ["sync", "async"], "seed": [0, 1]}, outcomes, target)
            >>> print(results.select(method="sync").table("text"))
            method  arrived  median (s)  restricted mean (s)  expected running time (s)
            sync    2 of 2   4.5         4.5 (1.1 to 10)      4.5
            <BLANKLINE>
            Simulated seconds until loss ≤ 0.1, the first time. Horizon: 10 s. Intervals of 95%.
        """
        return tables.table(self, format, **options)

    def plot(
        self,
        x: str = "time",
        y: str | None = None,
        *,
        kind: str = "curves",
        over: str = "seed",
        target: Target | Sequence[Target] | None = None,
        horizon: float | None = None,
        quantiles: Sequence[float] = (0.0, 1.0),
        among: Sequence[str] | None = None,
        ax: matplotlib.axes.Axes | None = None,
    ) -> matplotlib.axes.Axes:
        """Draw the figure of a paper: a colour and marker for each method, the first axis, kept across a study's figures.

        "curves" are metrics, the median of all seeds in a band. A run that stopped at its target counts as better than those
        that go on, one that diverged as worse, so the median ends with a dot when half of the seeds have arrived. Where
        another metric than the target's is drawn, bands end at the first end of a run, and thin lines go on. "arrivals" are
        the share of all runs that have arrived (of several targets: of all pairs). "bars" are restricted mean times to the
        target, with each run; those that never arrived are crosses beyond the horizon.

        Args:
            x: "time", "updates", "samples" or "bytes".
            y: of curves, the metric; by default the target's, or the loss.
            kind: "curves", "arrivals" or "bars".
            over: the axis that repeats a run.
            target: of arrivals and bars; by default what the study ran to. For arrivals several, too.
            horizon: of bars, simulated seconds; by default the target's bound.
            quantiles: the edges of a band, for example (0.25, 0.75); by default least and greatest.
            among: the methods of all figures, where several studies are to share colours; by default those of this one.
            ax: where to draw; a new figure by default.

        Raises:
            ValueError: for an axis, a metric, a kind or quantiles that are not there, where there is no target, and where no
                cell is done or all of them failed.
        """
        checks.one_of("kind", kind, ("curves", "arrivals", "bars"))
        self._check_drawable()
        if kind == "curves":
            return drawing.curves(self, x, y, over, quantiles, among, ax)
        several = [target] if target is None or isinstance(target, Target) else checks.sequence("target", target, "[Target(…)]")
        targets = [self._wanted(each) for each in several]
        if kind == "arrivals":
            return drawing.arrivals(self, x, over, targets, among, ax)
        return drawing.bars(self, over, targets[0], horizon, among, ax)

    def summary(self) -> str:
        """Return in a few lines what there is, what arrived, and what failed."""
        return "\n".join([self._headline(), *self._remarks(), *([self.table("text")] if self._has_table else [])])

    def __eq__(self, other: object) -> bool:
        """Results are equal when axes, outcomes (but for their real seconds), target and configuration are."""
        return isinstance(other, Results) and all(
            getattr(self, name) == getattr(other, name) for name in ("axes", "outcomes", "target", "configuration")
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Results({self._headline()})"

    def _repr_html_(self) -> str:
        lines = "".join(f"<p>{html.escape(line)}</p>" for line in [self._headline(), *self._remarks()])
        return lines + (show.in_html(tables.cells(self)[0]) if self._has_table else "")

    @property
    def _has_table(self) -> bool:
        return self.target is not None and bool(self.outcomes)

    def _headline(self) -> str:
        sizes = " × ".join(grid.counted(len(labels), name) for name, labels in self.axes.items())
        statuses = collections.Counter(outcome.status for outcome in self.outcomes.values())
        said = "".join(f", {count:,} {status}" for status, count in statuses.most_common())
        return f"{sizes or 'one cell'}: {self.done} cells{said}"

    def _remarks(self) -> list[str]:
        """Return a line for the target, and one for each of the first failures."""
        said = [f"target: {self.target}, {self.target.criterion}"] if self.target else []
        failed = list(self.failed.items())
        said += [
            f"failed: study.cell({self._named(place)}).simulate() raises {outcome.error}"
            for place, outcome in failed[:MOST_FAILURES]
        ]
        more = len(failed) - MOST_FAILURES
        return said + ([f"… and {more:,} more failed: see Results.failed"] if more > 0 else [])

    def _check_drawable(self) -> None:
        """Raise ValueError if there is nothing to draw."""
        if not self.outcomes:
            raise ValueError(f"there is nothing to draw: {self.done} cells are done, run the study first")
        if all_failed(self.outcomes.values()):
            (place, first), *_ = self.failed.items()
            count = "the one run" if len(self.outcomes) == 1 else f"all {len(self.outcomes):,} runs"
            raise ValueError(f"there is nothing to draw: {count} failed, the first, {self._named(place)}, with {first.error}")

    def _named(self, place: Place) -> str:
        return ", ".join(f"{name}={label!r}" for name, label in zip(self.axes, place, strict=True))

    def _wanted(self, target: Target | None) -> Target:
        """Return the target given, or the study's."""
        wanted = target or self.target
        if wanted is None:
            raise ValueError("target is needed: the cells of this study did not all run to one")
        checks.instance("target", wanted, Target, 'Target("loss", at_most=0.1)')
        return wanted

    def _columns(self, evaluations: bool) -> dict[str, np.ndarray]:
        """Return the columns of a table with a row for each cell that is there, or for each of its evaluations."""
        return (dataset.evaluation_columns if evaluations else dataset.cell_columns)(self.dataset)


MOST_FAILURES = 5
"""A summary shows at most so many errors."""
