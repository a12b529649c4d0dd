"""The figures of a study: what is drawn of its results, by `simsgd.plots.studies`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from simsgd.run import AXES
from simsgd.stopping import Target
from simsgd.studies import tables
from simsgd.studies.grid import Label
from simsgd.studies.outcomes import DIVERGED, FAILED, Outcome, all_failed, bad_ends
from simsgd.studies.statistics import restricted_mean
from simsgd.support import checks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simsgd.plots.looks import Look
    from simsgd.plots.studies import Course
    from simsgd.studies.results import Results

LOWER = ("loss", "distance")
"""Metrics with one of these words in their name are the better the lower."""


def curves(
    results: Results, x: str, y: str | None, over: str, quantiles: Sequence[float], among: Sequence[str] | None, ax: Axes | None
) -> Axes:
    """Draw a metric with bands over the seeds; see `Results.plot`."""
    from simsgd.plots import studies

    checks.one_of("x", x, AXES)
    low, high = (checks.number("quantiles", each) for each in quantiles)
    if not 0 <= low < high <= 1:
        raise ValueError(f"quantiles must be two shares from 0 to 1, the lower one first, got {quantiles!r}")
    target = results.target
    wanted = y or (target.metric if target else "loss")
    known = {name for outcome in results.outcomes.values() for name in outcome.evaluations if name not in AXES}
    checks.one_of("y", wanted, sorted(known))
    own = target if target is not None and target.metric == wanted else None
    rows = _rows(results, over)
    courses = {label: [_course(outcome, x, wanted, own) for outcome in several] for label, several in rows.items()}
    lower = own.at_most is not None if own else any(word in wanted for word in LOWER)
    level = None if own is None else own.at_most if own.at_most is not None else own.at_least
    looks = _looks(results, over, courses, among)
    return studies.bands(courses, looks, x, wanted, lower_is_better=lower, level=level, quantiles=(low, high), ax=ax)


def arrivals(
    results: Results, x: str, over: str, targets: Sequence[Target], among: Sequence[str] | None, ax: Axes | None
) -> Axes:
    """Draw the share of runs that arrived; see `Results.plot`."""
    from simsgd.plots import studies

    checks.one_of("x", x, AXES)
    rows = _rows(results, over)
    place = AXES.index(x)
    times = {
        label: np.array([each.to_target(target)[place] for each in several for target in targets])
        for label, several in rows.items()
    }
    times = {label: np.where(np.isnan(took), np.inf, took) for label, took in times.items()}
    lasts = [float(each.evaluations[x][-1]) for several in rows.values() for each in several if each.status != FAILED]
    horizon = tables.horizon_of(targets[0], None) if x == "time" else None
    last = horizon or max(lasts, default=1.0)
    ends = {label: bad_ends(several) for label, several in rows.items()}
    return studies.arrivals(times, _looks(results, over, rows, among), last, x=x, targets=len(targets), ends=ends, ax=ax)


def bars(
    results: Results, over: str, target: Target, horizon: float | None, among: Sequence[str] | None, ax: Axes | None
) -> Axes:
    """Draw the time to the target; see `Results.plot`."""
    from simsgd.plots import studies

    last = tables.horizon_of(target, horizon)
    if last is None:
        raise ValueError("horizon is needed: the target's bound is not in seconds")
    found = {}
    for label, several in _rows(results, over).items():
        seconds = tables.until(np.array([each.to_target(target).seconds for each in several]), last)
        mean = restricted_mean(seconds, last)
        height = (math.nan,) * 3 if all_failed(several) else (mean.value, mean.low, mean.high)
        found[label] = studies.Bar(seconds, *height, bad_ends(several))
    return studies.bars(found, _looks(results, over, found, among), last, ax=ax)


def _rows(results: Results, over: str) -> dict[str, list[Outcome]]:
    """Return the outcomes of each row by its label; those without any are left out."""
    if over != "seed":
        checks.one_of("over", over, results.axes)
    names = [name for name in results.axes if name != over]
    rows = tables.outcomes_by_row(results, over)
    return {_label(results, dict(zip(names, labels, strict=True))): several for labels, several in rows.items()}


def _label(results: Results, at: Mapping[str, Label]) -> str:
    """Return what a figure calls a row: its method, and the other labels that differ."""
    told = [(name, label) for i, (name, label) in enumerate(at.items()) if i == 0 or len(results.axes[name]) > 1]
    return ", ".join(_said(name, label) for name, label in told) or "all"


def _said(name: str, label: Label) -> str:
    return label if isinstance(label, str) else f"{name.replace('_', ' ')} {label:g}"


def _looks(results: Results, over: str, rows: Mapping[str, object], among: Sequence[str] | None) -> dict[str, Look]:
    """Return the look of each row: that of its method among those of the whole study."""
    from simsgd.plots.looks import looks

    first = next((name for name in results.axes if name != over), None)
    known = [] if first is None else [_said(first, label) for label in (results.whole or results.axes)[first]]
    methods = [next((name for name in known if label == name or label.startswith(f"{name}, ")), label) for label in rows]
    found = looks([(method, method) for method in methods], known if among is None else among)
    return dict(zip(rows, found, strict=True))


def _course(outcome: Outcome, x: str, y: str, target: Target | None) -> Course:
    """Return how a metric went, up to where it reached and kept the target; of a run that failed there is nothing."""
    from simsgd.plots.studies import Course

    if outcome.status == FAILED or y not in outcome.evaluations:
        return Course(np.zeros(0), np.zeros(0), FAILED if outcome.status == FAILED else DIVERGED)
    along, values = np.asarray(outcome.evaluations[x]), np.asarray(outcome.evaluations[y])
    seconds = outcome.to_target(target).seconds if target else math.nan
    if math.isnan(seconds):
        return Course(along, values, DIVERGED if outcome.status == DIVERGED else "ended")
    last = int(np.searchsorted(outcome.evaluations["time"], seconds)) + 1
    return Course(along[:last], values[:last], "arrived")
