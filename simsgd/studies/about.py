"""What all cells of a study have in common, in words, for whoever opens its file."""

from __future__ import annotations

from collections.abc import Iterable

from simsgd.problems import Problem
from simsgd.studies.cells import Cell

TOLD = ("method", "problem", "cluster", "until", "evaluate_every", "message_bytes", "dtype", "width", "seed")


def common(cells: Iterable[Cell]) -> dict[str, str]:
    """Return, by the name of each argument that is the same in all cells, what it is; None, which is the usual, is left out.

    Example:
        >>> import simsgd as sg
        >>> from simsgd.studies.about import common
        >>> cluster = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=0.1))
        >>> method, problem = sg.methods.asynchronous(0.1), sg.problems.quadratic()
        >>> cells = [sg.Cell(method, problem, cluster, until=sg.Updates(9), seed=seed) for seed in (0, 1)]
        >>> list(common(cells)), common(cells)["until"]
        (['method', 'problem', 'cluster', 'until', 'dtype'], 'Updates(count=9)')
    """
    listed = list(cells)
    found = {}
    for name in TOLD:
        values = list({id(value): value for value in (getattr(cell, name) for cell in listed)}.values())
        said = {_words(value) for value in values if value is not None}
        if len(said) == 1 and None not in values:
            found[name] = said.pop()
    return found


def _words(value: object) -> str:
    """Return what a value is: a text or a problem's name, or the code that makes it."""
    return value if isinstance(value, str) else value.name if isinstance(value, Problem) else repr(value)
