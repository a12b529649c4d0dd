"""What workers do, when, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.ticker import PercentFormatter

from simsgd.plots import common
from simsgd.support import checks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simsgd.run import Run
    from simsgd.tape.tape import Tape

KINDS = {
    "computing": "#009E73",
    "discarded": "#CC79A7",
    "sending": "#E69F00",
    "queueing": "#E9DC3C",
    "barrier": "#8EC7EB",
    "waiting": "#ECECEC",
    "down": "#4D4D4D",
}
"""Colours of what workers do. In grey they are apart too, but for those that are hatched."""
HATCHES = {"discarded": "//////", "down": "xxxxx"}
"""What is hatched, in white."""
LABELS = {"barrier": "waiting at a barrier"}
"""What legends call a kind where its name does not say it all."""
MOST_EDGED = 300
"""Up to so many bars of a kind are drawn with an edge, which tells one job from the next."""
MOST_LINES = 100
"""More updates than this are marked in a strip above the rows instead of by lines across them."""
NEGLIGIBLE = 1e-9
"""A share of the time below this is rounding."""


def timeline(
    tape: Tape | Run,
    *,
    start: float = 0.0,
    stop: float | None = None,
    workers: Sequence[int] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw what each worker did, when, one row for each.

    Computing (hatched where it was thrown away), sending (messages of either direction), queueing (for the server's link, or
    at the server), waiting (for an assignment, or at the barrier of an all-reduce), or down. The moments of update are lines
    across the rows, or, where there are more than 100, in a strip above them.

    Args:
        tape: a `Tape`, or a `Run`, whose tape is drawn.
        start: where to begin, simulated seconds.
        stop: where to end, simulated seconds; by default the tape's end.
        workers: which workers to draw, from the top down; all by default.
        ax: where to draw; a new figure by default.

    Raises:
        ValueError: if there is no time from `start` to `stop`, or no such worker.

    Example:
        >>> import matplotlib.pyplot as plt, simsgd as sg
        >>> cluster = sg.Cluster(workers=3, compute=sg.times.Exponential(mean=1.0), network=sg.networks.Link(latency=0.1))
        >>> ax = sg.plots.timeline(sg.record(sg.MinibatchSGD(), cluster, sg.Seconds(20)), stop=10)
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['worker 0', 'worker 1', 'worker 2']
        >>> plt.close(ax.figure)
    """
    tape = common.tape_of(tape)
    start, stop = checks.window(start, stop, tape.end)
    shown = _shown(tape, workers)
    ax = ax or common.new_axes(9, 1.2 + 0.35 * min(len(shown), 40))
    for kind, (rows, begin, end) in _seen(tape, shown, start, stop).items():
        _add_bars(ax, kind, rows, begin, end)
    _mark_updates(ax, tape.update_times[(tape.update_times >= start) & (tape.update_times <= stop)], len(shown))
    ax.set(xlim=(start, stop), xlabel=common.AXIS_LABELS["time"])
    _label_workers(ax, shown)
    ax.set_title(common.protocol_name(tape.header))
    common.legend_beside(ax)
    return ax


def _shown(tape: Tape, workers: Sequence[int] | None) -> list[int]:
    """Return which workers to draw, from the top down."""
    shown = list(range(tape.workers)) if workers is None else [_known_worker(tape, w) for w in workers]
    if not shown:
        raise ValueError(f"workers must name at least one of the workers 0 to {tape.workers - 1}, got {workers!r}")
    if len(set(shown)) < len(shown):
        raise ValueError(f"workers must name each worker once, got {workers!r}")
    return shown


def _known_worker(tape: Tape, worker: object) -> int:
    if checks.whole("workers: each", worker, 0) >= tape.workers:
        raise ValueError(f"workers must be among 0 to {tape.workers - 1}, got {worker!r}")
    return int(worker)  # type: ignore[call-overload]


def _seen(tape: Tape, shown: list[int], start: float, stop: float) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return what is seen of each kind: (rows, beginnings, ends); waiting first, over the whole rows, behind the others."""
    row_of = np.full(tape.workers, -1)
    row_of[shown] = np.arange(len(shown))
    seen, left = {}, (stop - start) * len(shown)
    for kind, (worker, begin, end) in tape.stretches().items():
        begin, end = np.clip(begin, start, stop), np.clip(end, start, stop)
        visible = (row_of[worker] >= 0) & (end > begin)
        seen[kind] = row_of[worker[visible]], begin[visible], end[visible]
        left -= (end - begin)[visible].sum()
    if left <= NEGLIGIBLE * (stop - start):
        return seen
    rows = np.arange(len(shown))
    return {"waiting": (rows, np.full(len(rows), start), np.full(len(rows), stop))} | seen


def _add_bars(ax: Axes, kind: str, rows: np.ndarray, begin: np.ndarray, end: np.ndarray) -> None:
    """Add bars of one kind as one collection, so that thousands of them cost little."""
    if not len(rows):
        return
    low, high = rows - 0.38, rows + 0.38
    corners = np.stack([begin, low, end, low, end, high, begin, high], axis=1).reshape(-1, 4, 2)
    edge = 0.8 if len(rows) <= MOST_EDGED else 0  # an edge tells jobs apart, but would cover bars of a pixel or two
    bars: Any = PolyCollection(
        corners,  # type: ignore[arg-type]
        facecolor=KINDS[kind],
        edgecolor="white",
        linewidth=edge,
        hatch=HATCHES.get(kind),
        label=LABELS.get(kind, kind),
    )
    bars.set_snap(False)  # snapped to whole pixels, some of the short bars would vanish and others double
    ax.add_collection(bars)


def _mark_updates(ax: Axes, moments: np.ndarray, rows: int) -> None:
    """Draw the moments of update across the rows, or above them where there are many, and set the limits."""
    few = len(moments) <= MOST_LINES
    from_, to = (-0.5, rows - 0.5) if few else (-0.8, -0.5)
    ax.vlines(moments, from_, to, "black", linewidth=0.8, label=f"update ({len(moments):,})")
    ax.set_ylim(rows - 0.5, -0.5 if few else -0.85)


def _label_workers(ax: Axes, workers: Sequence[int]) -> None:
    """Name the rows of a picture by their workers; where there are many, only some of them."""
    every = -(-len(workers) // 20)
    ax.set_yticks(range(0, len(workers), every), [f"worker {worker}" for worker in workers[::every]])
    ax.tick_params(axis="y", length=0)


def shares(tape: Tape | Run, *, ax: Axes | None = None) -> Axes:
    """Draw how each worker's time was spent, as stacked bars: computing, sending, queueing, waiting, down; see `Tape.shares`.

    Args:
        tape: a `Tape`, or a `Run`, whose tape is drawn.
        ax: where to draw; a new figure by default.

    Example:
        >>> import matplotlib.pyplot as plt, simsgd as sg
        >>> cluster = sg.Cluster(workers=8, compute=sg.times.Exponential(mean=1.0))
        >>> ax = sg.plots.shares(sg.record(sg.MinibatchSGD(), cluster, sg.Updates(100)))
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['computing: 36% on average', 'waiting: 64% on average']
        >>> plt.close(ax.figure)
    """
    tape = common.tape_of(tape)
    ax = ax or common.new_axes(7, 1.2 + 0.3 * min(tape.workers, 40))
    left = np.zeros(tape.workers)
    for kind, share in tape.shares().items():
        if share.max() <= NEGLIGIBLE:
            continue
        mean = f"{share.mean():.0%}" if share.mean() >= 0.01 else "under 1%"
        look: dict[str, Any] = {"color": KINDS[kind], "hatch": HATCHES.get(kind), "edgecolor": "white", "linewidth": 0}
        ax.barh(np.arange(tape.workers), share, 0.8, left, label=f"{kind}: {mean} on average", **look)
        left += share
    ax.set(xlim=(0, 1), ylim=(tape.workers - 0.5, -0.5), xlabel="share of simulated time")
    ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    _label_workers(ax, range(tape.workers))
    ax.set_title(common.protocol_name(tape.header))
    common.legend_beside(ax)
    return ax
