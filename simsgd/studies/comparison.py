"""What a comparison found: who reaches the target first, each method at its own step size, and what tuning took."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simsgd.stopping import in_words
from simsgd.studies.halving import Saving, end_of
from simsgd.studies.outcomes import Outcome
from simsgd.studies.results import Results
from simsgd.studies.trials import Labels, Setting, Trial
from simsgd.studies.tuning import Choice
from simsgd.support import show

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True)
class Budget:
    """What tuning a method took.

    Attributes:
        configurations: step sizes tried, over all settings.
        runs: configurations × seeds, each rung of successive halving counted.
        seconds: simulated seconds of these runs.
        gradients: that they used.
    """

    configurations: int
    runs: int
    seconds: float
    gradients: float


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


@dataclass(frozen=True, eq=False, repr=False)
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
    """

    methods: tuple[str, ...]
    dims: tuple[str, ...]
    settings: Mapping[Labels, Setting]
    seeds: tuple[int, ...]
    tuned: Tuned
    tuning: Results
    reporting: Results

    @property
    def step_sizes(self) -> dict[str, float | None] | dict[tuple[str, ...], float | None]:
        """The best step size by method, or by (method, names of the setting); None for a whole method, which has its own."""
        found = {(name, *labels): choice.step_size for (name, labels), choice in self.tuned.choices.items()}
        return found if self.dims else {name: size for (name,), size in found.items()}

    @property
    def seconds(self) -> xarray.DataArray:
        """Simulated seconds to the target along method, settings and reporting seed; NaN where it was never reached."""
        import xarray

        axes = self.reporting.axes
        found = np.full(tuple(map(len, axes.values())), np.nan)
        for index, place in zip(np.ndindex(found.shape), itertools.product(*axes.values()), strict=True):
            target = self.settings[tuple(map(str, place[1:-1]))].target
            found[index] = self.reporting.outcomes[place].to_target(target).seconds
        return xarray.DataArray(found, coords=dict(axes), dims=list(axes), name="seconds")

    @property
    def ranking(self) -> tuple[str, ...]:
        """The methods in the order of their restricted mean times to the target, where there is one setting."""
        if self.dims:
            raise ValueError(f"ranking is by setting here: use .rank({', '.join(f'{name}=…' for name in self.dims)})")
        return self.rank()

    def rank(self, **setting: str) -> tuple[str, ...]:
        """Return the methods in the order of their restricted mean times to the target in a setting."""
        return tuple(sorted(self.methods, key=lambda name: self._restricted(name, self._labels(setting))))

    def summary(self) -> str:
        """Return in a few lines who was first, by how much, how sure that is, and what to doubt."""
        parts = [self._headline()]
        for labels in self.settings:
            parts += [*([f"\n{self._called(labels)}"] if labels else []), show.in_text(self._rows(labels))]
        return "\n".join([*parts, "", *self._told()])

    def __repr__(self) -> str:
        return f"Comparison({self._headline()})"

    def _repr_html_(self) -> str:
        tables = "".join(f"<p>{html.escape(self._called(each))}</p>{show.in_html(self._rows(each))}" for each in self.settings)
        told = "".join(f"<li>{html.escape(line)}</li>" for line in self._told())
        return f"<p>{html.escape(self._headline())}</p>{tables}<ul>{told}</ul>"

    def _headline(self) -> str:
        targets = {f"{each.target}, {each.target.criterion}, within {in_words_of(each)}" for each in self.settings.values()}
        goal = targets.pop() if len(targets) == 1 else "targets of their own"
        where = f" in {len(self.settings)} settings" if self.dims else ""
        return f"{_count(len(self.methods), 'method')}{where} to {goal}; {_count(len(self.seeds), 'reporting seed')}"

    def _rows(self, labels: Labels) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [("method", "step size", "arrived", "restricted mean", "median")]
        for name in self.rank(**dict(zip(self.dims, labels, strict=True))):
            found, choice = self._seconds_of(name, labels), self.tuned.choices[name, labels]
            size = "its own" if choice.step_size is None else f"{choice.step_size:g}"
            arrived, middle = int(np.isfinite(found).sum()), float(np.median(np.nan_to_num(found, nan=math.inf)))
            middle_text = f"{middle:.4g} s" if math.isfinite(middle) else "–"
            rows.append((name, size, f"{arrived} of {len(found)}", f"{self._restricted(name, labels):.4g} s", middle_text))
        return rows

    def _told(self) -> list[str]:
        """Return what tuning took, and the cautions."""
        return [*_tuning_lines(self.tuned), *cautions(self)]

    def _labels(self, setting: Mapping[str, str]) -> Labels:
        if set(setting) != set(self.dims):
            raise TypeError(f"a setting is named by {', '.join(self.dims) or 'nothing'}, got {', '.join(setting) or 'nothing'}")
        labels = tuple(setting[name] for name in self.dims)
        if labels not in self.settings:
            raise ValueError(
                f"there is no setting {self._called(labels)}; there are {', '.join(map(self._called, self.settings))}"
            )
        return labels

    def _called(self, labels: Labels) -> str:
        return ", ".join(f"{name} {label}" for name, label in zip(self.dims, labels, strict=True))

    def _seconds_of(self, name: str, labels: Labels) -> np.ndarray:
        target = self.settings[labels].target
        outcomes = [self.reporting.outcomes[name, *labels, seed] for seed in self.seeds]
        return np.array([outcome.to_target(target).seconds for outcome in outcomes])

    def _restricted(self, name: str, labels: Labels) -> float:
        found = np.nan_to_num(self._seconds_of(name, labels), nan=math.inf)
        return float(np.minimum(found, self.settings[labels].horizon).mean())


def budgets(outcomes: Mapping[Trial, Mapping[int, Outcome]]) -> dict[str, Budget]:
    """Return what tuning took for each method, from all that was played for it."""
    found = {}
    for name in dict.fromkeys(trial.method for trial in outcomes):
        runs = [run for trial, by_seed in outcomes.items() if trial.method == name for run in by_seed.values()]
        tried = {(trial.setting, trial.step_size) for trial in outcomes if trial.method == name}
        seconds, gradients = sum(map(end_of, runs)), sum(run.measures.get("gradients", 0.0) for run in runs)
        found[name] = Budget(len(tried), len(runs), seconds, gradients)
    return found


def cautions(comparison: Comparison) -> list[str]:
    """Say where what was found cannot be trusted: bests at an edge, methods that never arrived, runs that failed."""
    lines, tuned = [], comparison.tuned
    for (name, labels), choice in tuned.choices.items():
        who = f"{name} on {', '.join(labels)}" if labels else name
        if choice.edge:
            lines.append(f"CAUTION: {who}: the best step size, {choice.step_size:g}, is the {choice.edge} tried: try more.")
        if choice.arrived and not any(choice.arrived.values()):
            lines.append(
                f"CAUTION: {who}: no step size reached the target on any tuning seed; {choice.step_size:g} ended closest to it."
            )
    if tuned.optimistic:
        lines.append("CAUTION: these figures are optimistic: step sizes were chosen on seeds that are reported.")
    for kind, results in (("tuning", comparison.tuning), ("reporting", comparison.reporting)):
        failed = list(results.failed.items())
        if failed:
            place, outcome = failed[0]
            lines.append(f"CAUTION: {_count(len(failed), f'{kind} run')} failed, the first {place}: {outcome.error}")
    diverged = [place for place, outcome in comparison.reporting.outcomes.items() if outcome.status == "diverged"]
    if diverged:
        names = ", ".join(dict.fromkeys(str(place[0]) for place in diverged))
        lines.append(f"CAUTION: {_count(len(diverged), 'reporting run')} diverged ({names}): they count as never arrived.")
    return lines


def _tuning_lines(tuned: Tuned) -> list[str]:
    """Return what tuning took."""
    if not tuned.budgets:
        return ["No step size was tuned."]
    each = {budget.configurations for budget in tuned.budgets.values()}
    how_many = f"{each.pop()} configurations for each method" if len(each) == 1 else "configurations"
    lines = [f"Tuned on {_seeds(tuned.seeds)}: {how_many}."]
    rows = [("tuning", "runs", "simulated seconds", "gradients")]
    for name, budget in tuned.budgets.items():
        rows.append((name, f"{budget.runs:,}", f"{budget.seconds:,.4g}", f"{budget.gradients:,.0f}"))
    lines += [show.in_text(rows)]
    lines += [f"The grids of all methods were extended {said}." for said in tuned.extended]
    if tuned.saving:
        left, of = tuned.saving.left, tuned.saving.of
        lines.append(
            f"Successive halving played {left} of {of} configurations to the end, after {tuned.saving.seconds:,.4g} simulated "
            "seconds of rungs; the other runs are pruned and enter no statistic."
        )
    return lines


def _seeds(seeds: Sequence[int]) -> str:
    known = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 2 else " and ".join(map(str, seeds))
    return f"{_count(len(seeds), 'seed')} of their own ({known})"


def in_words_of(setting: Setting) -> str:
    """Return a setting's horizon in words, for example "30 s"."""
    assert setting.target.within is not None
    return in_words(setting.target.within)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
