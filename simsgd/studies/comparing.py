"""The everyday case in one line: methods compared by their time to a target, each at its own best step size, over seeds.

Laws of this module:

1. Step sizes are chosen on seeds that are not reported: the best of many looks better than it is on the seeds that it was
   chosen by. Whoever wants it otherwise asks for it, and the summary says so.
2. On one seed all methods see the same job times, batches and initial parameters (common random numbers).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

from simsgd import optimizers
from simsgd.cluster.cluster import Cluster
from simsgd.optimizers import Optimizer
from simsgd.problems import Problem
from simsgd.replaying.schedule import planned
from simsgd.stopping import Rule, Seconds, Target, bound
from simsgd.studies import halving as rungs
from simsgd.studies.cells import DTYPES
from simsgd.studies.comparison import Comparison, Tuned, budgets
from simsgd.studies.entrants import Entrant, Given, named
from simsgd.studies.outcomes import all_failed
from simsgd.studies.trials import Labels, Setting, Trial, Trials
from simsgd.studies.tuning import STEP_SIZES, Choice, Tuner, rounded
from simsgd.support import checks

TUNING = 1_000_000
"""The first tuning seed, unless told otherwise: beyond all reporting seeds."""
OF_STUDY, OF_RUN = ("memory", "lanes", "devices", "keep_tapes"), ("retry_failed", "patience")
"""Further arguments that are passed on to `Study` and to its `run`."""


def compare(
    methods: Mapping[str, Given] | Sequence[Given],
    problem: Problem | Callable[[int], Problem] | Mapping[str, Problem | Callable[[int], Problem]],
    cluster: Cluster | Mapping[str, Cluster],
    *,
    until: Target | Mapping[str, Target],
    seeds: int | Sequence[int] = 5,
    step_sizes: Sequence[float] | Mapping[str, Sequence[float]] | None = None,
    tuning_seeds: int | Sequence[int] = 3,
    extensions: int = 4,
    refinements: int | None = None,
    halving: int | None = None,
    optimizer: Callable[[float], Optimizer] = optimizers.sgd,
    evaluate_every: Rule | Mapping[str, Rule] | None = None,
    message_bytes: float | None = None,
    dtype: str = "float32",
    width: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    progress: bool | None = None,
    report_tuning_seeds: bool = False,
    separate: bool = False,
    most_seeds: int = 60,
    **study: Any,
) -> Comparison:
    """Compare methods by their time to a target, each at its own best step size, on seeds that it was not chosen by.

    A step size is chosen for each method, and for each cluster and problem where there are several: the one with the least
    restricted mean, mean of min(T, H) over the tuning seeds, for T the time to the target and H the horizon, `within`. All
    methods try equally many. Then each method runs at its best on the reporting seeds.

    Args:
        methods: by name, or in a list if they have names of their own: functions of the step size that return a `Method`, such
            as `methods.asynchronous`; protocols, which `optimizer` makes an optimizer for; or whole methods, not tuned.
        problem: what is learned; or a function of the seed that returns it, for data that are dealt out anew for each seed; or
            several of these, by name.
        cluster: where; or several, by name.
        until: the target, with `within=Seconds(…)`, the horizon that all methods share; or one for each problem, or for each
            cluster, by its name.
        seeds: how many reporting seeds, 0 and so on; or which.
        step_sizes: those to begin with, for all methods, or by name, as many for each; by default 0.00625 to 1.6, a factor of 4
            apart. A single one is taken as it is.
        tuning_seeds: how many tuning seeds, 1,000,000 and so on; or which. They must not be reporting seeds.
        extensions: how often the grids of all methods are extended where the best of one lies at an edge, by the factor that is
            between the two outermost; 0 keeps them. What happened is said in the summary.
        refinements: how often two step sizes more are tried for each method, halfway (geometrically) between the best and its
            neighbours; by default once, but not for `step_sizes` that are given.
        halving: the factor η of successive halving, at least 2: all step sizes are run for a part of the horizon, the best of
            η of them η times as long, and so on. By default all are run to the end.
        optimizer: makes the optimizer of a step size, for protocols; SGD by default.
        evaluate_every: as in `simulate`; or one for each problem, or for each cluster, by its name.
        message_bytes, dtype, width: as in `simulate`.
        folder: where finished runs and their tapes are kept, so that none is made twice.
        executor: where runs are made, any `concurrent.futures.Executor`; by default here.
        progress: show a progress bar; by default on a terminal and in a notebook only.
        report_tuning_seeds: allow tuning seeds that are reported too. What is reported is optimistic then.
        separate: add as many seeds again, and again, until all methods are separated by tests that may be looked at at any time
            (`statistics.compare_at_any_time`, corrected for the number of methods), or there are `most_seeds`.
        most_seeds: where `separate` stops.
        study: further arguments of `Study`: `memory`, `lanes`, `devices`, `keep_tapes`; and of its `run`: `retry_failed`,
            `patience`.

    Raises:
        TypeError, ValueError: for arguments that make no sense, named in the message.
        RuntimeError: if all tuning runs of a method failed, before grids are extended, or all reporting runs of all methods.
        KeyboardInterrupt, and what else `Study.run` raises: with the `Results` of what was being run as its attribute
            `partial`. With a folder all finished runs are kept: call again.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=0.1))
        >>> target = sg.Target("loss", at_most=0.01, within=sg.Seconds(10))
        >>> methods = {"sync": sg.methods.minibatch, "async": sg.methods.asynchronous}
        >>> found = sg.compare(methods, sg.problems.quadratic(), cluster, until=target, seeds=3, tuning_seeds=1)
        >>> found.ranking.labels
        ('async', 'sync')
    """
    entrants = {entrant.name: entrant for entrant in named(methods, optimizer)}
    dims, settings = _settings(problem, cluster, until, evaluate_every)
    reported, chosen_by = _seeds("seeds", seeds, 0), _seeds("tuning_seeds", tuning_seeds, TUNING)
    most = _most_seeds(separate, seeds, most_seeds)
    shared = _shared(chosen_by, range(most) if separate else reported, report_tuning_seeds)
    grids = _grids(entrants.values(), step_sizes)
    rounds = checks.whole("extensions", extensions, 0), _refinements(refinements, step_sizes)
    _check_halving(halving, grids, settings)
    checks.one_of("dtype", dtype, DTYPES)
    options = {"message_bytes": message_bytes, "dtype": dtype, "width": width}
    trials = Trials(entrants, settings, options, *_running(folder, executor, progress, study))
    first = {name: grids[name][0] if name in grids else None for name in entrants}
    for name, labels in itertools.product(entrants, settings):  # so that what cannot be run is refused before anything is
        trials.cell(Trial(name, labels, first[name]), reported[0])

    tuner = Tuner(trials, {name: grid for name, grid in grids.items() if len(grid) > 1}, chosen_by, halving)
    tuner.run(*rounds)
    tuning, spent = trials.results(dims, tuner.trials, chosen_by, sizes=True), budgets(trials.played)
    choices = {(name, labels): Choice(first[name]) for name in entrants for labels in settings} | tuner.choices
    tuned = Tuned(chosen_by, choices, spent, tuple(tuner.extended), tuner.saving, shared if tuner.contests else ())

    final = [Trial(*contest, choice.step_size) for contest, choice in choices.items()]

    def reporting(on: Sequence[int]) -> Comparison:
        trials.play(final, on)
        for labels in settings:
            here = [trial for trial in final if trial.setting == labels]
            if all(map(all_failed, trials.play(here, on))):  # so that nobody can be ranked
                trials.check_played(here, on)
        results = trials.results(dims, final, on, sizes=False)
        return Comparison(tuple(entrants), dims, settings, tuple(on), tuned, tuning, results, separate)

    found = reporting(reported)
    while len(found.seeds) < most and not all(found.ranked(labels).separated for labels in settings):
        found = reporting(range(min(len(found.seeds) + len(reported), most)))
    return found


# --- what is given, checked ----------------------------------------------------------------------------------------------


def _settings(problem: Any, cluster: Any, until: Any, evaluate_every: Any) -> tuple[tuple[str, ...], dict[Labels, Setting]]:
    """Return what the names of a setting are, and the settings."""
    problems, clusters = _by_name("problem", problem), _by_name("cluster", cluster)
    dims = tuple(name for name, given in (("problem", problem), ("cluster", cluster)) if isinstance(given, Mapping))
    for name, one in clusters.items():
        where = f"cluster[{name!r}]" if "cluster" in dims else "cluster"
        checks.instance(where, one, Cluster, "Cluster(workers=4, compute=times.Exponential(mean=0.1))")
    settings = {}
    for (problem_name, what), (cluster_name, where) in itertools.product(problems.items(), clusters.items()):
        labels = tuple(name for name in (problem_name, cluster_name) if name)
        settings[labels] = _setting(what, where, _target(until, labels), _of(labels, "evaluate_every", evaluate_every))
    return dims, settings


def _by_name(name: str, given: Any) -> dict[str, Any]:
    """Return one thing under no name, or several under theirs."""
    if not isinstance(given, Mapping):
        return {"": given}
    if not given:
        raise ValueError(f"{name} must hold at least one {name}, got none")
    for label in given:
        if not isinstance(label, str) or not label:
            raise TypeError(f"a name in {name} must be a text such as 'fast', got {label!r}")
    return dict(given)


def _of(labels: Labels, name: str, given: Any) -> Any:
    """Return what is given for a setting: for all settings, or by the name of its problem or its cluster."""
    if not isinstance(given, Mapping):
        return given
    found = [given[label] for label in labels if label in given]
    if len(found) != 1:
        raise ValueError(
            f"{name}, where it is a mapping, must name each problem, or each cluster, got {', '.join(map(repr, given))} and "
            f"{'two' if found else 'none'} of them for {', '.join(labels) or 'one problem on one cluster'}"
        )
    return found[0]


def _target(until: Any, labels: Labels) -> Target:
    """Return the target of a setting."""
    until = _of(labels, "until", until)
    checks.instance("until", until, Target, 'Target("loss", at_most=0.1, within=Seconds(60))')
    assert isinstance(until, Target)
    if not isinstance(bound(until), Seconds):
        raise ValueError(
            f"until must have a bound in simulated seconds, which all methods share, got within={until.within!r}: "
            "methods are compared by seconds, and those that never arrive count as long as that; say within=Seconds(60)"
        )
    return until


def _setting(problem: Any, cluster: Cluster, target: Target, evaluate_every: Rule | None) -> Setting:
    """Return a setting whose target says how long it is to be kept, and how far apart evaluations are."""
    one = problem(0) if callable(problem) and not isinstance(problem, Problem | type) else problem
    checks.instance("problem", one, Problem, "problems.digits(), or a function of the seed that returns one")
    plan = planned(target, evaluate_every, one.metric_names, one.batch_size)
    assert isinstance(plan.until, Target)
    return Setting(problem, cluster, plan.until, plan.every)


def _seeds(name: str, given: Any, first: int) -> tuple[int, ...]:
    """Return seeds: so many from the first on, or those that are given."""
    if isinstance(given, int) and not isinstance(given, bool):
        return tuple(range(first, first + checks.whole(name, given, 1)))
    seeds = checks.sequence(name, given, "range(5), or be how many")
    if not seeds:
        raise ValueError(f"{name} must hold at least one seed, got none")
    checked = tuple(checks.whole(f"{name}[{i}]", seed, 0) for i, seed in enumerate(seeds))
    for seed in checked:
        if checked.count(seed) > 1:
            raise ValueError(f"{name} must differ, got {seed} twice: a seed run again is the same run")
    return checked


def _running(folder: Any, executor: Any, progress: Any, further: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments of `Study`, and those of its `run`."""
    for name in further:
        if name not in (*OF_STUDY, *OF_RUN):
            raise TypeError(f"compare has no argument {name!r}; of a study it passes on {', '.join((*OF_STUDY, *OF_RUN))}")
    made = {"folder": folder} | {name: further[name] for name in OF_STUDY if name in further}
    return made, {"executor": executor, "progress": progress} | {name: further[name] for name in OF_RUN if name in further}


def _most_seeds(separate: bool, seeds: object, most: int) -> int:
    """Return how many seeds there may be at most where they are added until methods are separated; else 0."""
    if not separate:
        return 0
    if not isinstance(seeds, int):
        raise TypeError(f"seeds must be how many to begin with where separate=True adds more, got {checks.shown(seeds)}")
    return checks.whole("most_seeds", most, seeds)


def _shared(chosen_by: Sequence[int], reported: Sequence[int], allowed: bool) -> tuple[int, ...]:
    """Return the tuning seeds that are reported too, where that is allowed."""
    shared = tuple(seed for seed in chosen_by if seed in reported)
    if shared and not allowed:
        raise ValueError(
            f"tuning_seeds must not be reporting seeds, got {', '.join(map(str, shared))} in both: what is chosen on a seed "
            "looks better there than it is; take others, or allow it with report_tuning_seeds=True"
        )
    return shared


def _refinements(given: int | None, step_sizes: object) -> int:
    """Return how often to refine: by default once, but not a grid that was given."""
    return int(step_sizes is None) if given is None else checks.whole("refinements", given, 0)


def _check_halving(factor: int | None, grids: Mapping[str, Sequence[float]], settings: Mapping[Labels, Setting]) -> None:
    """Raise ValueError for a factor that is none, or whose first rung is too short to see anything."""
    if factor is None:
        return
    checks.whole("halving", factor, 2)
    for setting, grid in itertools.product(settings.values(), grids.values()):
        rungs.check(factor, len(grid), setting)


def _grids(entrants: Iterable[Entrant], step_sizes: Any) -> dict[str, list[float]]:
    """Return the step sizes to begin with, for each method that is tuned."""
    names = [entrant.name for entrant in entrants if entrant.tunable]
    if not isinstance(step_sizes, Mapping):
        grid = _grid("step_sizes", STEP_SIZES if step_sizes is None else step_sizes)
        return {name: list(grid) for name in names}
    if set(step_sizes) != set(names):
        raise ValueError(
            f"step_sizes, where it is a mapping, must name the methods that are tuned, {', '.join(names) or 'none'}, got "
            f"{', '.join(map(repr, step_sizes)) or 'none'}"
        )
    grids = {name: _grid(f"step_sizes[{name!r}]", step_sizes[name]) for name in names}
    if len({len(grid) for grid in grids.values()}) > 1:
        counts = ", ".join(f"{len(grid)} for {name}" for name, grid in grids.items())
        raise ValueError(f"step_sizes must be as many for each method, so that none is tuned harder, got {counts}")
    return grids


def _grid(name: str, given: Any) -> list[float]:
    sizes = checks.sequence(name, given, "[0.01, 0.1, 1.0]")
    if not sizes:
        raise ValueError(f"{name} must hold at least one step size, got none")
    checked = sorted(checks.positive(f"{name}[{i}]", size) for i, size in enumerate(sizes))
    for size, after in itertools.pairwise(checked):
        if rounded(size) == rounded(after):
            raise ValueError(f"{name} must not hold a step size twice (to six digits), got {after!r} after {size!r}")
    return checked
