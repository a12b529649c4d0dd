"""What a comparison plays: methods at step sizes in settings, over seeds, each once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from simsgd.cluster.cluster import Cluster
from simsgd.problems import Problem
from simsgd.stopping import Rule, Seconds, Target
from simsgd.studies.cells import Cell
from simsgd.studies.entrants import Entrant
from simsgd.studies.grid import Label, Place
from simsgd.studies.outcomes import Outcome, all_failed
from simsgd.studies.results import Results
from simsgd.studies.study import Study

ENDED = ("target reached", "diverged")
"""The statuses of runs that ended before their bound."""
type Labels = tuple[str, ...]
"""The names of a setting, its problem's and its cluster's, where there are several."""


@dataclass(frozen=True)
class Setting:
    """On what methods are compared.

    Attributes:
        problem: what is learned, or a function of the seed that returns it.
        cluster: where.
        target: what is to be reached, within seconds; it says for how long it is to be kept.
        every: how far apart the model is evaluated.
    """

    problem: Problem | Callable[[int], Problem]
    cluster: Cluster
    target: Target
    every: Rule
    _made: dict[int, Problem] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def horizon(self) -> float:
        """Simulated seconds after which a run that has not reached the target is given up."""
        assert isinstance(self.target.within, Seconds)
        return self.target.within.seconds

    def problem_of(self, seed: int) -> Problem:
        """Return the problem of a seed, made once."""
        if isinstance(self.problem, Problem):
            return self.problem
        if seed not in self._made:
            self._made[seed] = self.problem(seed)
        return self._made[seed]

    def until(self, seconds: float | None) -> Target | Seconds:
        """Return where to stop: at the target within its horizon, or, for a rung of successive halving, within less.

        Where that is less than the target is to be kept, it cannot be reached, so the run goes on to the rung's end.
        """
        if seconds is None:
            return self.target
        kept = self.target.kept
        if isinstance(kept, Seconds) and kept.seconds > seconds:
            return Seconds(seconds)
        return dataclasses.replace(self.target, within=Seconds(seconds))


class Trial(NamedTuple):
    """A method at a step size in a setting, to be run on some seeds.

    Attributes:
        method: its name.
        setting: the setting's names.
        step_size: None for a whole method.
        seconds: a rung of successive halving (simulated seconds); None for the whole horizon.
    """

    method: str
    setting: Labels
    step_size: float | None
    seconds: float | None = None

    def __str__(self) -> str:
        size = "" if self.step_size is None else repr(self.step_size)
        rung = "" if self.seconds is None else f"up to {self.seconds!r} s"
        return ", ".join(filter(None, (self.method, *self.setting, size, rung)))


class Trials:
    """The runs of a comparison: made by a `Study` when they are first asked for, and kept.

    Args:
        entrants: who takes part, by name.
        settings: on what, by the settings' names.
        options: further arguments of each `Cell`.
        making: arguments of each `Study`, such as its folder.
        running: arguments of its `run`, such as its executor.
    """

    def __init__(
        self,
        entrants: Mapping[str, Entrant],
        settings: Mapping[Labels, Setting],
        options: Mapping[str, Any],
        making: Mapping[str, Any] | None = None,
        running: Mapping[str, Any] | None = None,
    ) -> None:
        self.entrants, self.settings, self._options = entrants, settings, options
        self._making, self._running = dict(making or {}), dict(running or {})
        self.outcomes: dict[Trial, dict[int, Outcome]] = {}
        self.played: dict[Trial, dict[int, Outcome]] = {}
        """Those of the outcomes that were played for their trial, and not taken over from a rung."""
        self._rungs: dict[tuple[str, Labels, float | None], list[float]] = {}

    def play(self, trials: Iterable[Trial], seeds: Sequence[int]) -> list[list[Outcome]]:
        """Return the outcomes of trials, a list over the seeds for each; those that are not there yet are made together."""
        wanted, missing = list(dict.fromkeys(trials)), dict[tuple[int, ...], list[Trial]]()
        for trial in wanted:
            self._take_over(trial)
            lacks = tuple(seed for seed in seeds if seed not in self.outcomes.get(trial, {}))
            missing.setdefault(lacks, []).append(trial)
        for lacks, some in missing.items():
            if lacks:
                self._make(some, lacks)
        return [[self.outcomes[trial][seed] for seed in seeds] for trial in wanted]

    def _make(self, trials: Sequence[Trial], seeds: Sequence[int]) -> None:
        """Make trials on seeds; those that are the same run under other names, such as a protocol and its preset, once."""
        cells = {trial: self.cell(trial, seeds[0]) for trial in trials}
        first: dict[Cell, Trial] = {}
        for trial, cell in cells.items():
            first.setdefault(cell, trial)
        labelled = {str(trial): trial for trial in first.values()}
        study = Study(self.cell, {"trial": labelled, "seed": list(seeds)}, **self._making)
        results = study.run(**self._running)
        for trial, cell in cells.items():
            found = {seed: results.outcome(trial=str(first[cell]), seed=seed) for seed in seeds}
            self.outcomes.setdefault(trial, {}).update(found)
            self.played.setdefault(trial, {}).update(found)

    def _take_over(self, trial: Trial) -> None:
        """Take runs that ended by themselves on a shorter rung, at the target or diverged: longer ones are the same."""
        here = self.outcomes.setdefault(trial, {})
        for rung in self._rungs.setdefault(trial[:3], []):
            if trial.seconds is None or rung < trial.seconds:
                earlier = self.outcomes[trial._replace(seconds=rung)]
                here |= {seed: outcome for seed, outcome in earlier.items() if outcome.status in ENDED and seed not in here}
        if trial.seconds is not None and trial.seconds not in self._rungs[trial[:3]]:
            self._rungs[trial[:3]].append(trial.seconds)

    def check_played(self, trials: Iterable[Trial], seeds: Sequence[int]) -> None:
        """Raise RuntimeError for a method all of whose runs in a setting failed: that is no method that comes late.

        As such it would look alike at each step size, and so be best at the least, where the grids of all are extended.
        """
        contests: dict[tuple[str, Labels], list[Trial]] = {}
        for trial in trials:
            contests.setdefault(trial[:2], []).append(trial)
        for (name, labels), some in contests.items():
            runs = [outcome for by_seed in self.play(some, seeds) for outcome in by_seed]
            if all_failed(runs):
                where = f" on {', '.join(labels)}" if labels else ""
                size = "" if some[0].step_size is None else f"at step size {some[0].step_size:g} "
                raise RuntimeError(
                    f"all {len(runs)} runs of methods[{name!r}]{where} failed, the first, {size}on seed {seeds[0]}, with "
                    f"{runs[0].error}: correct the method or leave it out; runs that are done stay in the folder, if there is "
                    "one, and retry_failed=True makes those that failed again"
                )

    def cell(self, trial: Trial, seed: int) -> Cell:
        """Return the cell of a trial on a seed; an error says of which method it is."""
        setting = self.settings[trial.setting]
        try:
            method = self.entrants[trial.method].method(trial.step_size)
            return Cell(
                method,
                setting.problem_of(seed),
                setting.cluster,
                until=setting.until(trial.seconds),
                seed=seed,
                evaluate_every=setting.every,
                **self._options,
            )
        except (TypeError, ValueError) as error:
            error.add_note(f"in methods[{trial.method!r}]" + (f" on {', '.join(trial.setting)}" if trial.setting else ""))
            raise

    def results(self, dims: Sequence[str], trials: Sequence[Trial], seeds: Sequence[int], sizes: bool) -> Results:
        """Return the outcomes of trials along methods, settings, step sizes if these are told apart, and seeds.

        Args:
            dims: what the names of a setting are, such as ("cluster",).
            trials: which; they must have been played.
            seeds: on which seeds.
            sizes: whether step sizes are an axis.
        """
        axes: dict[str, list[Label]] = {"method": list(dict.fromkeys(trial.method for trial in trials))}
        axes |= {name: list(dict.fromkeys(trial.setting[i] for trial in trials)) for i, name in enumerate(dims)}
        if sizes:
            axes["step_size"] = sorted({trial.step_size for trial in trials if trial.step_size is not None})
        axes["seed"] = list(seeds)
        found: dict[Place, Outcome] = {
            (trial.method, *trial.setting, *([trial.step_size] if sizes and trial.step_size else []), seed): outcome
            for trial in trials
            for seed, outcome in self.outcomes[trial].items()
            if seed in seeds
        }
        targets = {self.settings[trial.setting].target for trial in trials}
        return Results(axes, found, targets.pop() if len(targets) == 1 else None)
