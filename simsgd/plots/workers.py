"""What workers do, when, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.ticker import PercentFormatter

from simsgd.plots import common, pixels
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
LEAST_EDGED = 4
"""They are, on average, at least so many pixels long."""
MOST_BARS = 10_000
"""More bars than this are drawn as an image, each pixel the average of its time."""
MOST_LINES = 100
"""More updates than this are marked in a strip above the rows instead of by lines across them."""
MOST_MARKS = 500
"""More updates than this are drawn as a density, the darker the more."""
IN_A_BIN = 10
"""How many updates, on average, each of a density's bins counts at least."""
MOST_BINS = 300
"""How many bins a density has at most."""
MOST_INCHES = 6.0
"""Rows of workers are no higher together than this."""
MOST_APART = 60
"""The shares of more workers than this are drawn without gaps between them."""
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
    across the rows; where there are more than 100, in a strip above them; more than 500 a density, the darker the more.

    More than 10,000 bars are an image, in which each pixel has the average colour of its time, without hatches; where there
    are more workers than pixels, several share a row, which the axis says. To see single jobs, draw less: `start`, `stop`
    and `workers`.

    Args:
        tape: a `Tape`, or a `Run`, whose tape is drawn.
        start: where to begin, simulated seconds.
        stop: where to end, simulated seconds; by default the tape's end.
        workers: which workers to draw, from the top down; all by default.
        ax: where to draw; a new figure by default.

    Raises:
        ValueError: if there is no time from `start` to `stop`, or no such worker.
        TypeError: if `tape` is neither a tape nor a run.

    Example:
        >>> import matplotlib.pyplot as plt, simsgd as sg
        >>> cluster = sg.Cluster(workers=3, compute=sg.times.Exponential(mean=1.0), network=sg.networks.Link(latency=0.1))
        >>> ax = sg.plots.timeline(sg.record(sg.MinibatchSGD(), cluster, sg.Seconds(20)), stop=10)
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['worker 0', 'worker 1', 'worker 2']
        >>> plt.close(ax.figure)
    """
    tape = common.tape_of(tape)
    window = checks.window(start, stop, tape.end)
    shown = rows_of(tape, workers)
    ax = common.axes(ax, 9, 1.2 + min(0.35 * len(shown), MOST_INCHES))
    updates = draw(ax, tape, window, shown)
    ax.set_title(f"{common.protocol_name(tape.header)}: {updates}")
    common.legend_beside(ax)
    return ax


def draw(ax: Axes, tape: Tape, window: tuple[float, float], shown: Sequence[int]) -> str:
    """Draw a timeline's rows and its axes, without title and legend; return how many updates it shows, in words."""
    seen = _seen(tape, shown, *window)
    if sum(len(rows) for rows, _, _ in seen.values()) <= MOST_BARS:
        for kind, bars in seen.items():
            _add_bars(ax, kind, *bars, pixel=(window[1] - window[0]) / ax.get_window_extent().width)
    else:
        _add_image(ax, seen, window, len(shown))
    updates = tape.update_times[(tape.update_times >= window[0]) & (tape.update_times <= window[1])]
    _mark_updates(ax, updates, window, len(shown))
    ax.set(xlim=window, xlabel=common.AXIS_LABELS["time"])
    _label_workers(ax, shown)
    return f"{len(updates):,} update{'s' if len(updates) != 1 else ''}"


def rows_of(tape: Tape, workers: Sequence[int] | None) -> list[int]:
    """Return which workers to draw, from the top down.

    Raises:
        ValueError: if there are none, one is named twice, or there is no such worker.
    """
    shown = list(range(tape.workers)) if workers is None else [_known_worker(tape, w) for w in workers]
    if not shown:
        raise ValueError(f"workers must name at least one of the workers 0 to {tape.workers - 1}, got {workers!r}")
    if len(set(shown)) < len(shown):
        raise ValueError(f"workers must name each worker once, got {workers!r}")
    return shown


def _known_worker(tape: Tape, worker: object) -> int:
    known = checks.whole("workers: each", worker, 0)
    if known >= tape.workers:
        raise ValueError(f"workers must be among 0 to {tape.workers - 1}, got {worker!r}")
    return known


def _seen(tape: Tape, shown: Sequence[int], start: float, stop: float) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
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


def _add_bars(ax: Axes, kind: str, rows: np.ndarray, begin: np.ndarray, end: np.ndarray, pixel: float) -> None:
    """Add bars of one kind as one collection, so that thousands of them cost little.

    Args:
        ax: where to draw.
        kind: which; the legend names it only where one of the bars can be seen.
        rows: of the bars.
        begin: when they begin, seconds.
        end: when they end, seconds.
        pixel: how many seconds a pixel is wide.
    """
    if not len(rows):
        return
    low, high = rows - 0.38, rows + 0.38
    corners = np.stack([begin, low, end, low, end, high, begin, high], axis=1).reshape(-1, 4, 2)
    edged = len(rows) <= MOST_EDGED and np.median(end - begin) > LEAST_EDGED * pixel  # an edge would cover a shorter bar
    bars: Any = PolyCollection(
        corners,  # type: ignore[arg-type]
        facecolor=KINDS[kind],
        edgecolor="white",
        linewidth=0.8 if edged else 0.0,
        hatch=HATCHES.get(kind),
        label=LABELS.get(kind, kind) if (end - begin).max() > pixels.VISIBLE * pixel else "_",
    )
    bars.set_snap(False)  # snapped to whole pixels, some of the short bars would vanish and others double
    ax.add_collection(bars)


def _add_image(ax: Axes, seen: dict[str, pixels.Bars], window: tuple[float, float], rows: int) -> None:
    """Add many bars as one image, with an empty collection of each kind for the legend."""
    for kind in pixels.draw(ax, {kind: bars for kind, bars in seen.items() if kind != "waiting"}, window, rows, KINDS):
        ax.add_collection(PolyCollection([], facecolor=KINDS[kind], edgecolor="white", label=LABELS.get(kind, kind)))
    if (together := pixels.rows_to_a_line(ax, rows)) > 1:
        ax.set_ylabel(f"workers: each line is the average of {together}")


def _mark_updates(ax: Axes, moments: np.ndarray, window: tuple[float, float], rows: int) -> None:
    """Draw the moments of update across the rows, or above them where there are many, and set the limits."""
    across = len(moments) <= MOST_LINES
    above = -0.5 - max(0.3, 0.03 * rows)
    if len(moments) > MOST_MARKS:
        bins = min(MOST_BINS, len(moments) // IN_A_BIN)
        counts = np.histogram(moments, bins, window)[0]
        look: dict[str, Any] = {"cmap": "Greys", "vmin": 0, "vmax": counts.max(), "interpolation": "nearest"}
        ax.imshow(counts[None, :], extent=(*window, -0.5, above), aspect="auto", **look)
        ax.add_collection(LineCollection([], colors="black", label="updates: the darker the more"))
    elif len(moments):
        ax.vlines(moments, *((-0.5, rows - 0.5) if across else (above, -0.5)), "black", linewidth=0.8, label="update")
    ax.set_ylim(rows - 0.5, -0.5 if across else above - 0.05)


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
    ax = common.axes(ax, 7, 1.2 + min(0.3 * tape.workers, MOST_INCHES))
    left, edges = np.zeros(tape.workers), np.arange(tape.workers + 1) - 0.5
    for kind, share in tape.shares().items():
        if share.max() <= NEGLIGIBLE:
            continue
        mean = f"{share.mean():.0%}" if share.mean() >= 0.01 else "under 1%"
        look: dict[str, Any] = {"facecolor": KINDS[kind], "hatch": HATCHES.get(kind), "edgecolor": "white", "linewidth": 0}
        look["label"] = f"{kind}: {mean} on average"
        if tape.workers <= MOST_APART:
            ax.barh(np.arange(tape.workers), share, 0.8, left, **look)
        else:  # one outline for each kind, as thousands of bars take seconds
            ax.stairs(left + share, edges, baseline=left, orientation="horizontal", fill=True, **look)
        left = left + share
    ax.set(xlim=(0, 1), ylim=(tape.workers - 0.5, -0.5), xlabel="share of simulated time")
    ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    _label_workers(ax, range(tape.workers))
    ax.set_title(common.protocol_name(tape.header))
    common.legend_beside(ax)
    return ax
