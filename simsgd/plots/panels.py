"""Several panels side by side, to be compared: shared axes, one legend for all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from matplotlib.figure import FigureBase

from simsgd.plots import common
from simsgd.plots.workers import draw, rows_of
from simsgd.support import checks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simsgd.run import Run
    from simsgd.tape.tape import Tape

MOST_COLUMNS = 6
"""A legend below panels has at most so many entries in a row."""


def compare_timelines(
    tapes: Iterable[Tape | Run] | Mapping[str, Tape | Run],
    *,
    start: float = 0.0,
    stop: float | None = None,
    workers: Sequence[int] | None = None,
    columns: int = 1,
    labels: Sequence[str] | None = None,
    figure: FigureBase | None = None,
) -> dict[str, Axes]:
    """Draw a timeline of each of several tapes over the same time, with one legend below; see `timeline`.

    The time axis is shared, and so are the rows where all have equally many workers. Each title tells the label and the
    number of updates in the window.

    Args:
        tapes: several of `Tape` and `Run`, or several by label.
        start: where to begin, simulated seconds.
        stop: where to end, simulated seconds; cut to the end of the shortest tape, which it is by default.
        workers: which workers to draw, from the top down; all by default.
        columns: how many panels stand side by side.
        labels: the names for the titles; by default what tells the tapes apart.
        figure: where to draw, a Figure or one of its SubFigures, of "constrained" layout; a new figure by default.

    Returns:
        The panels by label, in order.

    Raises:
        ValueError: if there are no tapes, two have one label, there is no time from `start` to `stop`, or no such worker.
        TypeError: if `tapes` or `figure` hold something else.

    Example:
        >>> import matplotlib.pyplot as plt, simsgd as sg
        >>> cluster = sg.Cluster(workers=3, compute=sg.times.Exponential(mean=1.0))
        >>> methods = {"synchronous": sg.MinibatchSGD(), "asynchronous": sg.AsyncSGD()}
        >>> tapes = {name: sg.record(method, cluster, sg.Seconds(20)) for name, method in methods.items()}
        >>> panels = sg.plots.compare_timelines(tapes, stop=10)
        >>> [ax.get_title() for ax in panels.values()]
        ['synchronous: 7 updates', 'asynchronous: 43 updates']
        >>> plt.close(panels["synchronous"].figure)
    """
    found = [(label, common.tape_of(tape)) for label, tape in common.named("tapes", tapes, labels, "workers tape")]
    if len({label for label, _ in found}) < len(found):
        raise ValueError(f"labels must name each tape by a name of its own, got {[label for label, _ in found]}")
    window = checks.window(start, stop, min(tape.end for _, tape in found))
    rows = [rows_of(tape, workers) for _, tape in found]
    axes = _grid(figure, len(found), checks.whole("columns", columns, 1), [len(shown) for shown in rows])
    for ax, (label, tape), shown in zip(axes, found, rows, strict=True):
        ax.set_title(f"{label}: {draw(ax, tape, window, shown)}", fontsize="medium")
    for ax in axes:
        ax.label_outer()
    legend_below(axes[0].figure)
    return {label: ax for (label, _), ax in zip(found, axes, strict=True)}


def _grid(figure: FigureBase | None, count: int, columns: int, rows: Sequence[int]) -> list[Axes]:
    """Return so many Axes, which share what they can, in a figure given or a new one."""
    columns = min(columns, count)
    lines = -(-count // columns)
    if figure is None:
        import matplotlib.pyplot as plt

        height = 0.9 + lines * min(0.7 + 0.3 * max(rows), max(2.0, 9.0 / lines))
        figure = plt.figure(figsize=(9 if columns == 1 else 6.5 * columns, height), layout="constrained")
    if not isinstance(figure, FigureBase):
        raise TypeError(f"figure must be a matplotlib Figure or SubFigure, got {type(figure).__name__}")
    axes = figure.subplots(lines, columns, sharex=True, sharey=len(set(rows)) == 1, squeeze=False).ravel()
    for ax in axes[count:]:
        ax.remove()
    return list(axes[:count])


def legend_below(figure: FigureBase) -> None:
    """Put one legend below all the panels of a figure in the place of theirs: each label once, as it is first drawn.

    Args:
        figure: a Figure, or a SubFigure, of "constrained" layout.

    Raises:
        TypeError: if `figure` is something else.

    Example:
        >>> import matplotlib.pyplot as plt, simsgd as sg
        >>> figure, axes = plt.subplots(1, 2, layout="constrained")
        >>> for ax in axes:
        ...     lines = ax.plot([0, 1], color=sg.plots.colour_of("asynchronous"), label="asynchronous")
        >>> sg.plots.legend_below(figure)
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['asynchronous']
        >>> plt.close(figure)
    """
    if not isinstance(figure, FigureBase):
        raise TypeError(f"figure must be a matplotlib Figure or SubFigure, for example ax.figure, got {type(figure).__name__}")
    shown: dict[str, Any] = {}
    for ax in cast(list[Any], figure.axes):
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
        if legend := ax.get_legend():
            legend.remove()
    columns = min(len(shown), MOST_COLUMNS) or 1
    figure.legend(shown.values(), shown, loc="outside lower center", ncols=columns, frameon=False)
