"""The table of a paper: methods in rows, the way to the target over the seeds in columns; text, Markdown or LaTeX.

Laws of this module: a run that never arrived counts as one, in every column; the mean of those alone that arrived is nowhere.
Runs that failed or diverged are counted in their row, and a row whose runs all failed has no times: nothing was measured.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from simsgd.stopping import Seconds, Target
from simsgd.studies.grid import Label
from simsgd.studies.outcomes import DIVERGED, FAILED, Outcome, all_failed, bad_ends
from simsgd.studies.statistics import compare_pair, expected_running_time, restricted_mean
from simsgd.studies.statistics.arriving import shown
from simsgd.support import checks, show

if TYPE_CHECKING:
    from simsgd.studies.results import Results

NEVER = "–"
"""What stands where a time is infinite."""
LATEX = {
    "\\": r"\textbackslash{}",
    **{each: f"\\{each}" for each in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "∞": r"$\infty$",
    "−": "--",
    "Σ": r"$\Sigma$",
    "×": r"$\times$",
    "–": "--",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
}
"""What LaTeX writes otherwise."""


def table(
    results: Results,
    format: str = "markdown",
    *,
    over: str = "seed",
    baseline: Label | None = None,
    target: Target | None = None,
    horizon: float | None = None,
) -> str:
    """Return a table with a row for each method, or whatever the axes other than the seeds hold, as text.

    Of n seeds k arrived. With T the simulated seconds to the target (infinite for a run that never arrived, diverged or
    failed) and H the horizon: the median of T, "–" where it is infinite; the restricted mean, the mean of min(T, H); and the
    expected running time Σ min(T, H) / k, of restarts until one arrives (Hansen et al., 2021, "COCO"). Runs that failed or
    diverged are counted beside k; where all of a row failed, nothing was measured, and its times are "–". With a `baseline`,
    how many times sooner a row arrives, the geometric mean over the seeds; or, where a run never arrived, how many seconds
    sooner, the mean difference of min(T, H). Both are paired by seed. Intervals are of 95%; see `statistics` for what they are.

    Args:
        results: of a study.
        format: "markdown", "latex" (for the package booktabs), or "text".
        over: the axis that repeats a row: its labels are no rows.
        baseline: the label, on the first of the other axes, of the rows that each row is compared with, label by label of the
            further axes.
        target: by default what the study ran to.
        horizon: H, simulated seconds; by default the target's `within`, where that is `Seconds`.

    Raises:
        ValueError: if the format, the axis or the baseline is not known, or there is no target.
    """
    checks.one_of("format", format, FORMATS)
    rows, note = cells(results, over=over, baseline=baseline, target=target, horizon=horizon)
    return FORMATS[format](rows, note)


def cells(
    results: Results,
    *,
    over: str = "seed",
    baseline: Label | None = None,
    target: Target | None = None,
    horizon: float | None = None,
) -> tuple[list[tuple[str, ...]], str]:
    """Return the rows of a table as texts, the head first, and the note below; see `table`."""
    if over != "seed":
        checks.one_of("over", over, results.axes)
    seconds = results.seconds(target)
    wanted = target or results.target
    assert wanted is not None
    last = horizon_of(wanted, horizon)
    rows_of = [name for name in results.axes if name != over]
    named = [name for name in rows_of if len(results.axes[name]) > 1] or rows_of[:1]
    groups = _groups(results, over, seconds.values)
    head = [*(name.replace("_", " ") for name in named), "arrived", "median (s)"]
    head += ["restricted mean (s)", "expected running time (s)"] if last is not None else []
    table = [head]
    runs = outcomes_by_row(results, over)
    for labels, found in groups.items():
        told = [_label(label) for name, label in zip(rows_of, labels, strict=True) if name in named]
        table.append([*told, *_measured(found, last, runs[labels])])
    if baseline is not None:
        groups = {
            labels: np.full_like(found, np.nan) if all_failed(runs[labels]) else found for labels, found in groups.items()
        }
        _add_comparison(table, groups, results.axes[rows_of[0]], baseline, last)
    fixed = {name: results.axes[name][0] for name in rows_of if name not in named}
    return [tuple(row) for row in table], _note(wanted, last, fixed) + _nothing(results) + remark(results.outcomes.values())


type Groups = dict[tuple[Label, ...], np.ndarray]
"""By its labels, the seconds to the target of the cells of a row: infinite for never, NaN for a cell that is not there."""


def _groups(results: Results, over: str, seconds: np.ndarray) -> Groups:
    """Return the rows of a table; those without any cell are left out."""
    names = list(results.axes)
    place = names.index(over) if over in names else None
    there = np.array([each in results.outcomes for each in itertools.product(*results.axes.values())]).reshape(seconds.shape)
    times = np.where(there, np.where(np.isnan(seconds), np.inf, seconds), np.nan)
    times = times[..., None] if place is None else np.moveaxis(times, place, -1)
    labels = itertools.product(*(results.axes[name] for name in names if name != over))
    rows = zip(labels, times.reshape(-1, times.shape[-1]), strict=True)
    return {place: row for place, row in rows if not np.isnan(row).all()}


def outcomes_by_row(results: Results, over: str) -> dict[tuple[Label, ...], list[Outcome]]:
    """Return by its labels the outcomes of a row that are there; rows without any are left out."""
    names, found = [name for name in results.axes if name != over], dict[tuple[Label, ...], list[Outcome]]()
    for labels in itertools.product(*(results.axes[name] for name in names)):
        at = dict(zip(names, labels, strict=True))
        places = [tuple({**at, over: each}[name] for name in results.axes) for each in results.axes.get(over, [0])]
        if several := [results.outcomes[place] for place in places if place in results.outcomes]:
            found[labels] = several
    return found


def _measured(found: np.ndarray, last: float | None, runs: Sequence[Outcome]) -> list[str]:
    """Return what a row says of its runs and their seconds to the target, where `last` is the horizon."""
    times = until(found[~np.isnan(found)], last)
    arrived = f"{np.isfinite(times).sum()} of {len(times)}"
    said = [", ".join(filter(None, (arrived, bad_ends(runs)))), number(_median(times))]
    if all_failed(runs):
        return [said[0], *[NEVER] * (1 if last is None else 3)]
    if last is None:
        return said
    mean, running = restricted_mean(times, last), expected_running_time(times, last)
    ends = "" if math.isnan(mean.low) else f" ({shown(mean.low)} to {shown(mean.high)})"
    return [*said, f"{shown(mean.value)}{ends}", number(running.value)]


def _add_comparison(
    table: list[list[str]], groups: Groups, known: Sequence[Label], baseline: Label, last: float | None
) -> None:
    """Add a column: how many times faster each row is than the baseline's row of the same further labels."""
    checks.one_of("baseline", baseline, known)
    if last is None:
        raise ValueError("horizon is needed to compare with a baseline: the target's bound is not in seconds")
    table[0].append(f"against {_label(baseline)}")
    for row, (labels, found) in zip(table[1:], groups.items(), strict=True):
        other = groups.get((baseline, *labels[1:]))
        row.append("" if other is None or labels[0] == baseline else _against(found, other, last))


def _against(found: np.ndarray, other: np.ndarray, last: float) -> str:
    """Return how many times sooner a row arrives than another, or how many seconds, with an interval, paired by seed."""
    both = ~(np.isnan(found) | np.isnan(other))
    if not both.any():
        return NEVER
    pair = compare_pair(until(other[both], last), until(found[both], last), last)
    value, low, high, unit = pair.value, pair.low, pair.high, "×"
    if pair.unit == "s":
        unit = " s sooner" if value >= 0 else " s later"
        value, low, high = (value, low, high) if value >= 0 else (-value, -high, -low)
    return f"{shown(value)}{unit}" + ("" if math.isnan(low) else f" ({shown(low)} to {shown(high)})")


def until(times: np.ndarray, last: float | None) -> np.ndarray:
    """Return times up to the horizon, infinite where they are later."""
    if last is None:
        return times
    return np.where(
        times <= last * (1 + 1e-9), np.minimum(times, last), np.inf
    )  # evaluations fall on their moments to rounding


def _median(times: np.ndarray) -> float:
    """Return the median of times, of which some may be infinite; between a finite and an infinite one it is infinite."""
    ordered = np.sort(times)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return float(high if math.isinf(high) else (low + high) / 2)


def number(value: float) -> str:
    """Return a time as a table says it."""
    return shown(value) if math.isfinite(value) else NEVER


def horizon_of(target: Target, horizon: float | None) -> float | None:
    """Return the common horizon: what was given, or the target's bound in seconds; None where there is none."""
    bound = target.within.seconds if isinstance(target.within, Seconds) else math.inf
    last = bound if horizon is None else checks.positive("horizon", horizon, "seconds")
    if last > bound:
        raise ValueError(f"horizon must not be longer than the runs, {bound:g} seconds, got {horizon!r}")
    return last if math.isfinite(last) else None


def _note(target: Target, last: float | None, fixed: Mapping[str, Label]) -> str:
    """Return the sentences below a table."""
    held = "".join(f" {name.replace('_', ' ')}: {label}." for name, label in fixed.items())
    ends = (
        f"Horizon: {last:.4g} s. Intervals of 95%."
        if last is not None
        else "No horizon in seconds, so no means: give horizon=…"
    )
    return f"Simulated seconds until {target}, {target.criterion}. {ends}{held}"


def _nothing(results: Results) -> str:
    return "" if results.outcomes else f" Nothing to show: {results.done} cells are done."


def remark(outcomes: Iterable[Outcome]) -> str:
    """Return what the note of a table says of runs that failed or diverged; nothing where none did."""
    words, statuses = {FAILED: "failed (raised an error)", DIVERGED: "diverged"}, {outcome.status for outcome in outcomes}
    said = " or ".join(word for status, word in words.items() if status in statuses)
    return f" Runs that {said} never arrived." if said else ""


def _label(label: Label) -> str:
    return f"{label:g}" if isinstance(label, float) else str(label)


def in_text(rows: Sequence[Sequence[str]], note: str) -> str:
    """Return a table as lines with aligned columns."""
    return f"{show.in_text(rows)}\n\n{note}"


def in_markdown(rows: Sequence[Sequence[str]], note: str) -> str:
    """Return a table as Markdown."""
    head, *others = ([re.sub(r"([\\|*_`<])", r"\\\1", cell) for cell in row] for row in rows)
    lines = [f"| {' | '.join(row)} |" for row in (head, _sides(rows, "---", "---:"), *others)]
    return "\n".join([*lines, "", note])


def in_latex(rows: Sequence[Sequence[str]], note: str) -> str:
    """Return a table as LaTeX, for the package booktabs, every special character escaped; the note is a comment."""
    head, *others = (f"{' & '.join(map(escaped, row))} \\\\" for row in rows)
    begin = f"\\begin{{tabular}}{{{''.join(_sides(rows, 'l', 'r'))}}}"
    lines = [begin, "\\toprule", head, "\\midrule", *others, "\\bottomrule", "\\end{tabular}", f"% {escaped(note)}"]
    return "\n".join(lines)


def _sides(rows: Sequence[Sequence[str]], left: str, right: str) -> list[str]:
    """Return `right` for each column of numbers, and `left` for the others."""
    numbers = re.compile(rf"[-+.\de]+( .*)?|{NEVER}")
    return [right if all(map(numbers.fullmatch, column[1:])) else left for column in zip(*rows, strict=True)]


def escaped(text: str) -> str:
    r"""Return a text as LaTeX writes it.

    Example:
        >>> from simsgd.studies.tables import escaped
        >>> print(escaped("50% of A_1 & loss ≤ 0.1"))
        50\% of A\_1 \& loss $\le$ 0.1
    """
    return "".join(LATEX.get(character, character) for character in text)


FORMATS = {"markdown": in_markdown, "latex": in_latex, "text": in_text}
