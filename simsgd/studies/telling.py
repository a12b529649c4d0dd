"""What is told of a comparison: the ranked table, which tests were used, what tuning took, and what to doubt."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from simsgd.stopping import in_words
from simsgd.studies import tables
from simsgd.studies.outcomes import DIVERGED, FAILED, Outcome, all_failed, bad_ends
from simsgd.studies.statistics import PairedComparison as Pair
from simsgd.studies.statistics import Ranking, expected_running_time, more_seeds_to_separate
from simsgd.studies.statistics.arriving import shown
from simsgd.studies.trials import Labels, Setting
from simsgd.support import show

if TYPE_CHECKING:
    from simsgd.studies.comparison import Comparison, Tuned


OF_A_PAPER = 7
"""So many columns of the table stand in a paper's; the others tell how the runs were planned."""


def headline(comparison: Comparison) -> str:
    """Return what was compared."""
    goals = {_goal(each) for each in comparison.settings.values()}
    goal = goals.pop() if len(goals) == 1 else "targets of their own"
    where = f" in {len(comparison.settings)} settings" if comparison.dims else ""
    return f"{_count(len(comparison.methods), 'method')}{where} to {goal}; {_count(len(comparison.seeds), 'reporting seed')}"


def rows(comparison: Comparison, labels: Labels) -> list[tuple[str, ...]]:
    """Return the table of a setting, the head first: methods by rank, each compared with the first by seed."""
    ranking, horizon = comparison.ranked(labels), comparison.settings[labels].horizon
    first, seconds, runs = ranking.labels[0], comparison.seconds_of(labels), comparison.runs_of(labels)
    against = f"against {first}"
    table: list[tuple[str, ...]] = [
        ("rank", "method", "step size", "restricted mean", "expected", against, "p", "correlation", "pairing gains")
    ]
    sizes = {name: comparison.tuned.choices[name, labels].step_size for name in comparison.methods}
    shown_sizes = {name: "its own" if size is None else f"{size:g}" for name, size in sizes.items()}
    for name, best, worst, time in zip(ranking.labels, ranking.best, ranking.worst, ranking.times, strict=True):
        expected = expected_running_time(seconds[name], horizon).value
        table.append(
            (
                f"{best}" if best == worst else f"{best} to {worst}",
                name,
                shown_sizes[name],
                ", ".join(filter(None, (str(time), _ends(runs[name])))),
                f"{shown(expected)} s" if math.isfinite(expected) else tables.NEVER,
                *(_pair_cells(ranking, name) if name != first else ("", "", "", "")),
            )
        )
    unranked = [name for name in comparison.methods if name not in ranking.labels]
    return table + [(tables.NEVER, name, shown_sizes[name], _ends(runs[name]), *[""] * 5) for name in unranked]


def _ends(runs: Sequence[Outcome]) -> str:
    """Return how many runs failed or diverged, or that all did; nothing where none did."""
    statuses = {run.status for run in runs}
    return f"all {statuses.pop()}" if statuses in ({FAILED}, {DIVERGED}) else bad_ends(runs)


def columns(comparison: Comparison) -> list[str]:
    """Return what the columns of the table are, a line each."""
    lines = [
        "restricted mean: the mean of min(T, H), with T the seconds to the target and H the horizon, and its 95% interval.",
        "expected: seconds until a run arrives, if each that has not arrived by the horizon is started again.",
    ]
    if len(comparison.methods) > 1:
        lines += [
            "p: of the test, corrected by Holm for the number of pairs; correlation: with the first's times, over the seeds.",
            "pairing gains: on seeds of their own, methods would need so many times as many seeds.",
        ]
    return lines


def _pair_cells(ranking: Ranking, name: str) -> tuple[str, str, str, str]:
    """Return what is told of a method against the first: ratio or difference, p-value, correlation, what pairing gained."""
    pair = against_first(ranking, name)
    ends = "" if math.isnan(pair.low) else f" ({shown(pair.low)} to {shown(pair.high)})"
    p_value = ranking.p_values[0, ranking.labels.index(name)]
    size = f"{shown(pair.value)}{'×' if pair.unit == '×' else ' s more'}{ends}"
    if math.isnan(p_value):
        return size, "", "", ""
    gain = "" if math.isnan(pair.pairing_gain) else f"{shown(pair.pairing_gain)}×"
    return size, f"{p_value:.2g}", "" if math.isnan(pair.correlation) else f"{pair.correlation:.2f}", gain


def against_first(ranking: Ranking, name: str) -> Pair:
    """Return how a method compares with the first of a ranking: above 1, or above 0 s, where it is slower."""
    first = ranking.labels[0]
    if (name, first) in ranking.comparisons:
        return ranking.comparisons[name, first]
    pair = ranking.comparisons[first, name]
    value, low, high = (1 / each if pair.unit == "×" else 0.0 - each for each in (pair.value, pair.high, pair.low))
    return dataclasses.replace(pair, value=value, low=low, high=high, arrived=pair.arrived[::-1])


def tests(comparison: Comparison, labels: Labels) -> list[str]:
    """Return which tests were used and why, and how many more seeds would separate a method from the first."""
    ranking = comparison.ranked(labels)
    first, seconds, horizon = ranking.labels[0], comparison.seconds_of(labels), comparison.settings[labels].horizon
    by_test: dict[str, list[str]] = {}
    for name in ranking.labels[1:]:
        pair = against_first(ranking, name)
        test = "no test" if pair.test == "none" else pair.test
        by_test.setdefault(f"{test}: {pair.why}", []).append(name)
    lines = [f"{', '.join(names)} against {first} by {test}." for test, names in by_test.items()]
    if comparison.any_time:
        done = "all methods are separated" if ranking.separated else "not all methods are separated"
        lines.append(f"Seeds were added until methods were separated: after {len(comparison.seeds)}, {done}.")
    if tied := [name for name, best in zip(ranking.labels[1:], ranking.best[1:], strict=True) if best == 1]:
        pairs = len(ranking.labels) * (len(ranking.labels) - 1) // 2  # Holm's correction at its strictest
        wanted = {name: _more_seeds(seconds[first], seconds[name], horizon, pairs) for name in tied}
        said = ", ".join(f"{name} ({more})" for name, more in wanted.items())
        lines.append(f"Not separated from {first}, and how many more seeds might do it: {said}.")
    return lines


def _more_seeds(first: np.ndarray, other: np.ndarray, horizon: float, pairs: int) -> str:
    """Return how many more seeds separate two methods in four of five studies of so many pairs, if they differ as they seem."""
    level = 1 - 0.05 / pairs
    more = more_seeds_to_separate(first, other, horizon, level=level) if len(first) > 1 else math.nan
    return "not known from one seed" if math.isnan(more) else "no number of seeds" if math.isinf(more) else f"{more:,}"


def scores(comparison: Comparison) -> list[str]:
    """Return how methods compare over several settings."""
    if len(comparison.methods) < 2 or len(comparison.settings) < 2 or (comparison.seconds == 0).any():
        return []
    found = sorted(comparison.scores.items(), key=lambda scored: -scored[1])
    said = ", ".join(f"{name} {score:.2f}" for name, score in found)
    return ["", f"Over {len(comparison.settings)} settings, the area under performance profiles up to 4×, from 0 to 1: {said}."]


def note(comparison: Comparison, labels: Labels) -> str:
    """Return the sentences below a table."""
    where = f" {comparison.called(labels)}." if labels else ""
    return (
        f"Simulated seconds until {_goal(comparison.settings[labels])}.{where} Restricted means with 95% intervals; expected "
        "running time with restarts; differences paired by seed, p-values corrected by Holm."
        f"{tables.remark(run for runs in comparison.runs_of(labels).values() for run in runs)}"
    )


def tuning(tuned: Tuned) -> list[str]:
    """Return what tuning took."""
    if not tuned.budgets:
        return ["No step size was tuned."]
    each = {budget.configurations for budget in tuned.budgets.values()}
    how_many = f"{each.pop()} configurations for each method" if len(each) == 1 else "configurations"
    own = "" if tuned.optimistic else " of their own"
    lines = [f"Tuned on {_count(len(tuned.seeds), 'seed')}{own} ({_listed(tuned.seeds)}): {how_many}."]
    table: list[tuple[str, ...]] = [("tuning", "runs", "simulated seconds", "samples")]
    for name, budget in tuned.budgets.items():
        table.append((name, f"{budget.runs:,}", f"{budget.seconds:,.4g}", f"{budget.samples:,.0f}"))
    lines += [show.in_text(table)]
    lines += [f"The grids of all methods were extended {said}." for said in tuned.extended]
    if tuned.saving:
        saving = tuned.saving
        lines.append(
            f"Successive halving played {saving.left} of {saving.of} configurations to the end, after {saving.seconds:,.4g} "
            f"simulated seconds of rungs; all of them would be at most {saving.most:,.4g}. The other runs are pruned and enter "
            "no statistic."
        )
    return lines


def cautions(comparison: Comparison) -> list[str]:
    """Say where what was found cannot be trusted: bests at an edge, methods that never arrived, runs that failed."""
    lines, tuned = [], comparison.tuned
    for (name, labels), choice in tuned.choices.items():
        who = f"{name} on {', '.join(labels)}" if labels else name
        if choice.edge:
            lines.append(f"CAUTION: {who}: the best step size, {choice.step_size:g}, is the {choice.edge} tried: try more.")
        if choice.arrived and not any(choice.arrived.values()):
            assert choice.step_size is not None
            some_ended = math.isfinite(choice.tried[choice.step_size].distance)
            closest = "ended closest to it" if some_ended else "is no choice: each diverged or failed on some seed"
            lines.append(f"CAUTION: {who}: no step size reached the target on any tuning seed; {choice.step_size:g} {closest}.")
    if tuned.optimistic:
        lines.append("CAUTION: these figures are optimistic: step sizes were chosen on seeds that are reported.")
    lines += [line for name in comparison.methods if (line := _failures(comparison, name))]
    if (comparison.seconds == 0).any():
        lines.append("CAUTION: the target is reached before the first update: ask for more.")
    for name, labels in tuned.choices:
        statuses = [run.status for run in comparison.runs_of(labels)[name]]
        if count := statuses.count(DIVERGED):
            who = f"{name} on {', '.join(labels)}" if labels else name
            which = "all" if count == len(statuses) else f"{count} of {len(statuses)}"
            lines.append(f"CAUTION: {who}: {which} reporting runs diverged: they count as never arrived.")
    return lines


def _failures(comparison: Comparison, name: str) -> str:
    """Return what is said of a method's runs that failed; nothing where none did."""
    counts, errors, every = [], [], {}
    for kind, results in (("tuning", comparison.tuning), ("reporting", comparison.reporting)):
        every[kind] = [outcome for place, outcome in results.outcomes.items() if place[0] == name]
        failed = [outcome.error for outcome in every[kind] if outcome.status == FAILED]
        counts += [f"{len(failed)} of {len(every[kind])} {kind} runs"] if failed else []
        errors += failed
    if not errors:
        return ""
    then = "it is not ranked" if all_failed(every["reporting"]) else "they count as never arrived"
    return f"CAUTION: {name}: {' and '.join(counts)} failed, the first with {errors[0]}: {then}."


def _goal(setting: Setting) -> str:
    assert setting.target.within is not None
    goal = f"{setting.target}, {setting.target.criterion}, within {in_words(setting.target.within)}"
    return f"{goal} (evaluated every {in_words(setting.every)})"


def _listed(seeds: Sequence[int]) -> str:
    return f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 2 else " and ".join(map(str, seeds))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
