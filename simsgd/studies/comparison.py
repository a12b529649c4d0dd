"""What a comparison found: who reaches the target first, each method at its own step size, and what tuning took."""

from __future__ import annotations

import dataclasses
import functools
import html
import itertools
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simsgd.studies import dataset, tables, telling
from simsgd.studies.halving import Saving, end_of
from simsgd.studies.outcomes import Outcome, all_failed
from simsgd.studies.results import Results
from simsgd.studies.statistics import Ranking, expected_running_time, profile_scores, rank, restricted_mean
from simsgd.studies.trials import Labels, Setting, Trial
from simsgd.studies.tuning import Choice
from simsgd.support import checks, frames, show

if TYPE_CHECKING:
    import matplotlib.axes
    import pandas
    import xarray


@dataclass(frozen=True)
class Budget:
    """What tuning a method took.

    Attributes:
        configurations: step sizes tried, over all settings.
        runs: configurations × seeds, each rung of successive halving counted.
        seconds: simulated seconds of these runs.
        samples: that their gradients took, those of local steps too.
    """

    configurations: int
    runs: int
    seconds: float
    samples: float


@dataclass(frozen=True)
class Tuned:
    """How step sizes were chosen.

    Attributes:
        seeds: the tuning seeds, none of them reported unless `optimistic`.
        choices: by method and setting.
        budgets: by method, of those that were tuned.
        extended: how the grids were extended, in words.
        saving: what successive halving played, if it was asked for.
        optimistic: tuning seeds that are reported too.
    """

    seeds: tuple[int, ...]
    choices: Mapping[tuple[str, Labels], Choice]
    budgets: Mapping[str, Budget]
    extended: tuple[str, ...] = ()
    saving: Saving | None = None
    optimistic: tuple[int, ...] = ()


@dataclass(frozen=True, repr=False)
class Comparison:
    """Methods compared by their time to a target, each at its own best step size; made by `compare`.

    Attributes:
        methods: their names.
        dims: what the names of a setting are: "problem", "cluster", both or none.
        settings: by their names the problems, clusters and targets.
        seeds: the seeds that are reported.
        tuned: how step sizes were chosen.
        tuning: the outcomes that they were chosen by, along method, settings, step size and tuning seed.
        reporting: the outcomes at the best step size of each, along method, settings and reporting seed.
        any_time: whether seeds were added until methods were separated; then tests are those that may be looked at any time.
    """

    methods: tuple[str, ...]
    dims: tuple[str, ...]
    settings: Mapping[Labels, Setting]
    seeds: tuple[int, ...]
    tuned: Tuned
    tuning: Results
    reporting: Results
    any_time: bool = False

    @property
    def step_sizes(self) -> dict[str, float | None] | dict[tuple[str, ...], float | None]:
        """The best step size by method, or by (method, names of the setting); None for a whole method, which has its own."""
        found = {(name, *labels): choice.step_size for (name, labels), choice in self.tuned.choices.items()}
        return found if self.dims else {name: size for (name,), size in found.items()}

    @functools.cached_property
    def seconds(self) -> xarray.DataArray:
        """Simulated seconds to the target along method, settings and reporting seed; NaN where it was never reached."""
        import xarray

        axes = self.reporting.axes
        found = np.full(tuple(map(len, axes.values())), np.nan)
        for index, place in zip(np.ndindex(found.shape), itertools.product(*axes.values()), strict=True):
            target = self.settings[tuple(map(str, place[1:-1]))].target
            found[index] = self.reporting.outcomes[place].to_target(target).seconds
        return xarray.DataArray(found, coords=dict(axes), dims=list(axes), name="seconds_to_target")

    @property
    def dataset(self) -> xarray.Dataset:
        """All that was measured on the reporting seeds, as `Results.dataset`, with `step_size` and `horizon` (seconds)."""
        along = ("method", *self.dims)
        shape = tuple(len(self.reporting.axes[name]) for name in along)
        places = list(itertools.product(*(self.reporting.axes[name] for name in along)))
        sizes = [self.tuned.choices[str(name), tuple(map(str, labels))].step_size for name, *labels in places]
        horizons = [self.settings[tuple(map(str, labels))].horizon for _, *labels in places]
        return self.reporting.dataset.assign(
            seconds_to_target=self.seconds.assign_attrs(units="simulated s"),
            step_size=(along, np.array([math.nan if size is None else size for size in sizes]).reshape(shape)),
            horizon=(along, np.array(horizons).reshape(shape)),
        )

    def to_dataframe(self, evaluations: bool = False) -> pandas.DataFrame:
        """Return a pandas DataFrame with a row for each reporting run; see `Results.to_dataframe`.

        Of the tuning runs: `tuning.to_dataframe()`.

        Args:
            evaluations: give a row for each evaluation of each run; else the step size stands in each row, too.

        Raises:
            ImportError: if pandas is not installed.
        """
        data = self.dataset
        if evaluations:
            return frames.dataframe(dataset.evaluation_columns(data))
        sizes = data.step_size.broadcast_like(data.status).values.ravel()
        return frames.dataframe(dataset.cell_columns(data) | {"step_size": sizes})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the reporting runs to one netCDF file, as `Results.save` does; `Results.load` reads them.

        How step sizes were chosen is not in it, for methods are functions: `compare` with a `folder` finds everything again.

        Raises:
            TypeError: if `path` is no name of a file.
            OSError: if the file cannot be written.
        """
        self.reporting.save(path)

    @property
    def ranking(self) -> Ranking:
        """The methods ranked, those that are not separated with ranks that overlap; where there is one setting, see `rank`."""
        if self.dims:
            raise ValueError(f"ranking is by setting here: use .rank({', '.join(f'{name}=…' for name in self.dims)})")
        return self.rank()

    def rank(self, **setting: str) -> Ranking:
        """Return the methods ranked in a setting by `statistics.rank`; one alone is first, one whose runs all failed has none.

        Raises:
            TypeError, ValueError: unless there is such a setting.
        """
        return self.ranked(self._labels(setting))

    @property
    def scores(self) -> dict[str, float]:
        """By method the area under its performance profile over the settings, by `statistics.profile_scores`; from 0 to 1.

        A method's time in a setting is its expected running time: infinite where it never arrived.

        Raises:
            ValueError: if there is one method or one setting only, or the target is reached before the first update.
        """
        if len(self.settings) < 2:
            raise ValueError("scores need several settings: give cluster={name: …} or problem={name: …}")
        found: dict[str, list[float]] = {name: [] for name in self.methods}
        for labels, setting in self.settings.items():
            for name, seconds in self.seconds_of(labels).items():
                found[name].append(expected_running_time(seconds, setting.horizon).value)
        return profile_scores(found)

    def of(self, **setting: str) -> Results:
        """Return the reporting results of a setting, with its target.

        Raises:
            TypeError, ValueError: unless there is such a setting.
        """
        labels = self._labels(setting)
        return dataclasses.replace(self.reporting.select(**setting), target=self.settings[labels].target)

    def plot(self, x: str = "time", y: str | None = None, **options: Any) -> matplotlib.axes.Axes:
        """Draw the reporting runs of a setting, by default the metric with a band over the seeds; see `Results.plot`.

        Args:
            x, y: "time", "updates", "samples" or "bytes"; and the metric, by default the target's.
            options: further ones of `Results.plot`, such as kind="bars"; and by name the problem and the cluster, where there
                are several.

        Raises:
            TypeError, ValueError: unless there is such a setting, or for options that make no sense.
        """
        setting = {name: options.pop(name) for name in self.dims if name in options}
        return self.of(**setting).plot(x, y, **options)

    def table(self, format: str = "markdown", **setting: str) -> str:
        """Return the table of a paper, "text", "markdown" or "latex": methods by rank, with intervals and paired ratios.

        Args:
            format: which of them.
            setting: by name the problem and the cluster, where there are several.

        Raises:
            TypeError, ValueError: for another format, or unless there is such a setting.
        """
        checks.one_of("format", format, tables.FORMATS)
        labels = self._labels(setting)
        rows = [row[: telling.OF_A_PAPER] for row in telling.rows(self, labels)]
        return tables.FORMATS[format](rows, telling.note(self, labels))

    @property
    def cautions(self) -> tuple[str, ...]:
        """Where what was found cannot be trusted, a sentence each: bests at an edge, methods that never arrive, failed runs."""
        return tuple(telling.cautions(self))

    def summary(self) -> str:
        """Return in a few lines who was first, by how much, how sure that is, and what to doubt."""
        parts = [telling.headline(self)]
        for labels in self.settings:
            head = [f"\n{self.called(labels)}"] if labels else []
            parts += [*head, show.in_text(telling.rows(self, labels)), *telling.tests(self, labels)]
        told = [*telling.tuning(self.tuned), *telling.cautions(self)]
        return "\n".join([*parts, *telling.scores(self), "", *telling.columns(self), "", *told])

    def __repr__(self) -> str:
        return f"Comparison({telling.headline(self)})"

    def _repr_html_(self) -> str:
        parts = [f"<p>{html.escape(telling.headline(self))}</p>"]
        for labels in self.settings:
            parts += [f"<p>{html.escape(self.called(labels))}</p>{show.in_html(telling.rows(self, labels))}"]
        told = [*telling.columns(self), *telling.tuning(self.tuned), *telling.cautions(self)]
        return "".join([*parts, *(f"<pre>{html.escape(line)}</pre>" for line in told)])

    def seconds_of(self, labels: Labels) -> dict[str, np.ndarray]:
        """Return by method the seconds to the target in a setting, NaN for never; shape (seeds,)."""
        here = self.seconds.sel(dict(zip(self.dims, labels, strict=True)))
        return dict(zip(self.methods, here.values, strict=True))

    def runs_of(self, labels: Labels) -> dict[str, list[Outcome]]:
        """Return by method the reporting outcomes in a setting."""
        return {name: [self.reporting.outcomes[name, *labels, seed] for seed in self.seeds] for name in self.methods}

    def ranked(self, labels: Labels) -> Ranking:
        """Return the methods ranked in the setting of these names, but for those whose runs all failed."""
        if labels not in self._rankings:
            horizon, runs = self.settings[labels].horizon, self.runs_of(labels)
            seconds = {name: times for name, times in self.seconds_of(labels).items() if not all_failed(runs[name])}
            if len(seconds) == 1:
                ((name, times),) = seconds.items()
                alone = (restricted_mean(times, horizon),)
                self._rankings[labels] = Ranking((name,), (1,), (1,), alone, np.ones((1, 1)), {}, alone[0].level)
            else:
                self._rankings[labels] = rank(seconds, horizon, any_time=self.any_time)
        return self._rankings[labels]

    def called(self, labels: Labels) -> str:
        """Return the names of a setting, such as "cluster fast"."""
        return ", ".join(f"{name} {label}" for name, label in zip(self.dims, labels, strict=True))

    @functools.cached_property
    def _rankings(self) -> dict[Labels, Ranking]:
        return {}

    def _labels(self, setting: Mapping[str, str]) -> Labels:
        if set(setting) != set(self.dims):
            raise TypeError(f"a setting is named by {', '.join(self.dims) or 'nothing'}, got {', '.join(setting) or 'nothing'}")
        labels = tuple(setting[name] for name in self.dims)
        if labels not in self.settings:
            known = "; ".join(map(self.called, self.settings))
            raise ValueError(f"there is no setting {self.called(labels)}; there are {known}")
        return labels


def budgets(outcomes: Mapping[Trial, Mapping[int, Outcome]]) -> dict[str, Budget]:
    """Return what tuning took for each method, from all that was played for it."""
    found = {}
    for name in dict.fromkeys(trial.method for trial in outcomes):
        runs = [run for trial, by_seed in outcomes.items() if trial.method == name for run in by_seed.values()]
        tried = {(trial.setting, trial.step_size) for trial in outcomes if trial.method == name}
        samples = sum(float(run.evaluations["samples"][-1]) for run in runs if "samples" in run.evaluations)
        found[name] = Budget(len(tried), len(runs), sum(map(end_of, runs)), samples)
    return found
