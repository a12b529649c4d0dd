"""What `scaling.py` says of its speed-ups: a table, who is first at each number of workers, and a verdict in words."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import xarray
from measuring import number, spread
from measuring import table as in_columns

import simsgd as sg

RULES = {"per-worker": "equal batch per worker", "total": "equal total batch"}
"""What the rules are called."""
BASELINE = "sync"
"""What others are compared with, and what one worker runs: on one worker all methods are the same."""


def tables(measured: xarray.Dataset) -> str:
    """Return the way to the target of each method, and each method against synchronous SGD on the same seeds."""
    return f"{ways(measured)}\n\nwho is first (paired by seed; 95% intervals)\n{firsts(measured)}"


def ways(measured: xarray.Dataset) -> str:
    """Return a line for each rule, number of workers and method: its seconds, its speed-up and what that is made of."""
    rows = []
    for rule, workers, method, here in cells(measured):
        factors = [number(float(here[name].median())) for name in ("pace", "need", "staleness")]
        label = "any" if workers == 1 else method
        size = f"{float(here.step_size):.3g}"
        rows.append([RULES[rule], str(workers), label, size, spread(here.seconds), speedup(here), *factors])
    head = ["equal", "workers", "method", "step size", "seconds to the target", "speed-up", "samples/s\n×", "samples\nneeded ×"]
    return in_columns([*head, "staleness"], rows)


def cells(measured: xarray.Dataset) -> Iterator[tuple[str, int, str, xarray.Dataset]]:
    """Yield what was measured of each method under each rule at each number of workers; of one worker once."""
    for rule, workers, method in itertools.product(*(measured[name].values.tolist() for name in ("rule", "workers", "method"))):
        if workers > 1 or method == BASELINE:
            yield rule, workers, method, at(measured, rule, workers, method)


def at(measured: xarray.Dataset, rule: str, workers: int, method: str) -> xarray.Dataset:
    """Return what was measured of one method under one rule at one number of workers."""
    return measured.sel({"rule": rule, "workers": workers, "method": method})


def speedup(here: xarray.Dataset) -> str:
    """Return the median speed-up over the seeds, and the range; below what it is where that run never arrived."""
    middle, least, most = (float(each) for each in (here.speedup.median(), here.speedup.min(), here.speedup.max()))
    return (
        f"{middle:.3g} ({number(least) if least else 'never'} to {number(most)})"
        if middle
        else f"below {float(here.below):.2g}"
    )


# --- who is first --------------------------------------------------------------------------------------------------------


def compared(measured: xarray.Dataset, rule: str, workers: int, method: str) -> tuple[str, str]:
    """Return who is first, synchronous SGD or another, or "neither" where seeds cannot tell; and by how much, in words."""
    sync, other = (at(measured, rule, workers, name) for name in (BASELINE, method))
    horizon = float(sync.horizon)
    pair = sg.studies.statistics.compare_pair(sync.seconds.values, other.seconds.values, horizon)
    first = {"first": BASELINE, "second": method, "neither": "neither"}[pair.faster]
    if pair.unit == "×":
        ends = (1 / pair.value, 1 / pair.low, 1 / pair.high) if first == BASELINE else (pair.value, pair.low, pair.high)
        low, high = sorted(ends[1:])
        said = f"{ends[0]:.2f}×" + (f" ({low:.2f} to {high:.2f})" if pair.seeds > 1 else ", one seed")
    else:
        ratio = float(np.minimum(sync.seconds, horizon).mean() / np.minimum(other.seconds, horizon).mean())
        arrived = " and ".join(f"{count} of {pair.seeds}" for count in pair.arrived)
        said = f"{1 / ratio if first == BASELINE else ratio:.2f}× at least, p = {pair.p_value:.2g}, {arrived} arrived"
    return first, said if first != "neither" else f"{method} {said}"


def firsts(measured: xarray.Dataset) -> str:
    """Return a line for each number of workers: who is first under each rule, and by how much."""
    rules, others = measured.rule.values.tolist(), [name for name in measured.method.values if name != BASELINE]
    rows = []
    for workers, method in itertools.product(measured.workers.values[1:].tolist(), others):
        rows.append([str(workers), f"{BASELINE} or {method}"])
        for rule in rules:
            rows[-1] += compared(measured, rule, workers, method)
    head = [part for rule in rules for part in (f"{RULES[rule]}:\nfirst", "\nby")]
    return in_columns(["workers", "", *head], rows) if rows else "one worker, or one method: nobody to compare"


# --- the verdict ---------------------------------------------------------------------------------------------------------


def verdict(measured: xarray.Dataset) -> str:
    """Return what the numbers say: how far each method scales, who is first under each rule, and whether the rules agree."""
    rules, workers = measured.rule.values.tolist(), measured.workers.values[1:].tolist()
    if not workers:
        return "One worker has no speed-up."
    lines = [scales(measured, rule, method) for rule in rules for method in measured.method.values]
    for method in (name for name in measured.method.values if name != BASELINE):
        lines += whether(measured, method, rules, workers)
    return "\n".join(lines)


def whether(measured: xarray.Dataset, method: str, rules: list[str], workers: list[int]) -> list[str]:
    """Return where synchronous SGD is first and where the other is, under each rule, and whether the rules agree."""
    found = {rule: {n: compared(measured, rule, n, method) for n in workers} for rule in rules}
    won = {rule: {n: first for n, (first, _) in each.items()} for rule, each in found.items()}
    lines = []
    for rule in rules:
        where = "; ".join(f"{who} at {listed(numbers)}" for who, numbers in grouped(won[rule]).items())
        last = f"at {workers[-1]} by {found[rule][workers[-1]][1]}{made_of(measured, rule, workers[-1], method)}"
        lines.append(f"{BASELINE} or {method}, {RULES[rule]}: {where} workers; {last}.")
    if len(rules) == 2:
        both = [n for n in workers if "neither" not in {won[rule][n] for rule in rules}]
        apart = [n for n in both if won[rules[0]][n] != won[rules[1]][n]]
        same = [n for n in both if n not in apart]
        said = [f"{what} at {listed(where)}" for what, where in (("another", apart), ("the same one", same)) if where]
        answer = f"name {' and '.join(said)} workers" if said else "never both name one"
        lines.append(f"{BASELINE} or {method}: the two rules {answer}.")
    return lines


def made_of(measured: xarray.Dataset, rule: str, workers: int, method: str) -> str:
    """Return how many more samples a second the other method computes than synchronous SGD, and how many more it needs."""
    sync, other = (at(measured, rule, workers, name) for name in (BASELINE, method))
    if not (np.isfinite(sync.need).all() and np.isfinite(other.need).all()):
        return ""
    pace, need = (float((other[name] / sync[name]).median()) for name in ("pace", "need"))
    return f"; {method} computes {pace:.2f}× the samples a second and needs {need:.2f}× the samples"


def scales(measured: xarray.Dataset, rule: str, method: str) -> str:
    """Return how far a method scales under a rule: up to where its speed-up is half of the ideal, and what it is at the end."""
    here = measured.sel({"rule": rule, "method": method})
    speedups = here.speedup.median("seed")
    workers = measured.workers.values
    good = workers[np.cumprod(speedups.values >= 0.5 * workers).astype(bool)]
    most, last = int(workers[-1]), here.isel(workers=-1)
    factors = f"{float(last.pace.median()):.3g}× the samples a second, {float(last.need.median()):.3g}× the samples needed"
    end = f"{speedup(last)} times as fast as one{f', {factors}' if float(speedups[-1]) else ''}"
    return (
        f"{RULES[rule].capitalize()}, {method}: at least half of the ideal up to {good[-1]} of {most} workers, which are {end}."
    )


def grouped(won: dict[int, str]) -> dict[str, list[int]]:
    """Return at which numbers of workers each was first."""
    return {who: [n for n, first in won.items() if first == who] for who in dict.fromkeys(won.values())}


def listed(numbers: list[int]) -> str:
    """Return numbers in words, for example "4, 16 and 64"."""
    texts = [str(number) for number in numbers]
    return " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else texts[0]
