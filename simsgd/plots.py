"""Pictures of runs and tapes. Each function draws into an Axes, its own or a new one, and returns it.

Laws of this module:

1. It is the only one that imports matplotlib, and pyplot only when it has to make a figure. It changes no global settings
   and neither shows nor closes anything. It imports nothing of simsgd but `checks`.
2. What is drawn is the data, unsmoothed; what is cut off or never happened is said in a label.
3. Colours tell the same thing in every picture and are told apart by colour-blind readers (Okabe and Ito, 2008): `LINES`
   for runs in their order, `KINDS` for what workers do.

New figures use the "constrained" layout, which leaves room for legends beside the axes; so should figures of your own:
`plt.subplots(2, 1, layout="constrained")`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.colors
import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from simsgd import checks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from simsgd.run import Run
    from simsgd.stopping import Target
    from simsgd.tape import Tape

LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours of runs and methods, in the order in which they are given."""
KINDS = {"computing": "#009E73", "sending": "#E69F00", "waiting": "#ECECEC", "discarded": "#CC79A7"}
"""Colours of what workers do."""
AXIS_LABELS = {
    "time": "simulated time (seconds)",
    "updates": "updates (server steps)",
    "samples": "training samples used",
    "bytes": "bytes moved",
}
"""What a metric can be drawn against, with the axis labels."""
LOGARITHMIC = ("loss", "distance")
"""Metrics with one of these words in their name are drawn on a logarithmic scale."""
MOST_EDGED = 300
"""Up to so many bars of a kind are drawn with an edge, which tells one job from the next."""
MOST_LINES = 100
"""More updates than this are marked in a strip above the rows instead of by lines across them."""


def metric(
    runs: Run | Iterable[Run] | Mapping[str, Run],
    x: str = "time",
    y: str = "loss",
    *,
    labels: Sequence[str] | None = None,
    target: Target | float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a metric of one or several runs as it was evaluated.

    Losses and distances get a logarithmic scale, other metrics a linear one. The last finite point of a run that
    diverged is marked with a cross.

    Args:
        runs: one `Run`, several, or several by label.
        x: "time" (simulated seconds), "updates", "samples" or "bytes".
        y: the name of a metric that all the runs evaluated, for example "loss" or "accuracy".
        labels: the legend's names for the runs; by default what tells them apart.
        target: a `Target` of the metric `y`, or a value of it, drawn as a dashed line.
        ax: where to draw; a new figure by default.

    Raises:
        ValueError: if `x` or `y` is unknown, there are no runs, or labels do not fit them.
        TypeError: if `runs` holds something else.

    Example:
        >>> import matplotlib.pyplot as plt, simsgd as sg
        >>> cluster = sg.Cluster(workers=4, compute=sg.times.Constant(0.1))
        >>> run = sg.simulate(sg.AsyncSGD(), sg.problems.quadratic(), cluster, sg.optimizers.sgd(0.1), sg.Updates(50))
        >>> ax = sg.plots.metric({"asynchronous": run}, "updates", "loss", target=0.1)
        >>> ax.get_xlabel(), ax.get_yscale()
        ('updates (server steps)', 'log')
        >>> plt.close(ax.figure)
    """
    checks.one_of("x", x, AXIS_LABELS)
    named = _named("runs", runs, labels, "dataset", lambda run: run.configuration)
    for label, run in named:
        checks.one_of(f"y (for run {label!r})", y, run.metrics)
    level = _level(target, y)
    ax = ax or _new_axes(7, 4.2)
    for (label, run), colour in zip(named, _colours(len(named)), strict=True):
        _draw_metric(ax, run, x, y, label, colour)
    if level is not None:
        ax.axhline(level, color="0.35", linestyle="--", linewidth=1, zorder=1, label=f"target: {target}")
    values = np.concatenate([run.dataset[y].values for _, run in named])
    values = values[np.isfinite(values)]
    if any(word in y for word in LOGARITHMIC) and (values >= 0).all() and (values > 0).any():
        ax.set_yscale("log", nonpositive="mask")
    ax.set(xlabel=AXIS_LABELS[x], ylabel=y.replace("_", " "))
    ax.grid(alpha=0.25)
    ax.legend()
    return ax


def _draw_metric(ax: Axes, run: Run, x: str, y: str, label: str, colour: str) -> None:
    along, values = run.dataset[x].values, run.dataset[y].values
    finite = np.flatnonzero(np.isfinite(values))
    diverged = run.status == "diverged"
    ax.plot(along, values, color=colour, linewidth=1.6, label=f"{label} (diverged)" if diverged else label)
    if diverged and len(finite):
        ax.plot(along[finite[-1]], values[finite[-1]], "X", color=colour, markersize=9, markeredgecolor="white")


def _level(target: Target | float | None, y: str) -> float | None:
    """Return the value of the metric `y` at which a target lies."""
    if target is None or isinstance(target, int | float):
        return None if target is None else checks.number("target", target)
    if getattr(target, "metric", None) != y:
        raise ValueError(f"target must be a Target of the metric drawn, y={y!r}, or a number, got {target!r}")
    return target.at_most if target.at_most is not None else target.at_least


def timeline(
    tape: Tape | Run,
    *,
    start: float = 0.0,
    stop: float | None = None,
    workers: Sequence[int] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw what each worker did, when: computing, sending (messages of either direction) or waiting, one row for each.

    The moments of update are lines across the rows, or, where there are more than 100, in a strip above them.

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
    tape = _tape_of(tape)
    start, stop = _window(tape, start, stop)
    shown = list(range(tape.workers)) if workers is None else [_known_worker(tape, w) for w in workers]
    if not shown:
        raise ValueError(f"workers must name at least one of the workers 0 to {tape.workers - 1}, got {workers!r}")
    if len(set(shown)) < len(shown):
        raise ValueError(f"workers must name each worker once, got {workers!r}")
    ax = ax or _new_axes(9, 1.2 + 0.35 * min(len(shown), 40))
    rows = np.full(tape.workers, -1)
    rows[shown] = np.arange(len(shown))
    _add_bars(ax, "waiting", np.arange(len(shown)), np.full(len(shown), start), np.full(len(shown), stop))
    for kind, (worker, begin, end) in _stages(tape).items():
        begin, end = np.clip(begin, start, stop), np.clip(end, start, stop)
        visible = (rows[worker] >= 0) & (end > begin)
        _add_bars(ax, kind, rows[worker[visible]], begin[visible], end[visible])
    moments = tape.update_times[(tape.update_times >= start) & (tape.update_times <= stop)]
    few = len(moments) <= MOST_LINES
    ax.vlines(
        moments,
        -0.5 if few else -0.8,
        len(shown) - 0.5 if few else -0.5,
        "black",
        linewidth=0.8,
        label=f"update ({len(moments):,})",
    )
    ax.set(xlim=(start, stop), ylim=(len(shown) - 0.5, -0.5 if few else -0.85), xlabel=AXIS_LABELS["time"])
    _label_workers(ax, shown)
    ax.set_title(_protocol(tape.header))
    _legend_beside(ax)
    return ax


def _window(tape: Tape, start: float, stop: float | None) -> tuple[float, float]:
    start = checks.not_negative("start", start, "seconds")
    stop = tape.end if stop is None else checks.positive("stop", stop, "seconds")
    if start >= min(stop, tape.end):
        raise ValueError(f"start must be before stop={stop!r} and the tape's end, {tape.end:g} seconds, got {start!r}")
    return start, min(stop, tape.end)


def _known_worker(tape: Tape, worker: object) -> int:
    if checks.whole("workers: each", worker, 0) >= tape.workers:
        raise ValueError(f"workers must be among 0 to {tape.workers - 1}, got {worker!r}")
    return int(worker)  # type: ignore[call-overload]


def _stages(tape: Tape) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return (workers, beginnings, ends) of all stretches of time of each kind; what never happened has no length."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {"computing": [], "discarded": [], "sending": []}
    for log, until in ((tape, tape.end), (tape.in_flight, tape.end), (tape.discarded, tape.discarded.time)):
        assigned, began, ended, arrived = (
            np.fmin(moment, until) for moment in (log.assigned, log.began, log.ended, log.arrived)
        )
        found["sending"] += [(log.worker, assigned, began), (log.worker, ended, arrived)]
        found["discarded" if log is tape.discarded else "computing"].append((log.worker, began, ended))
    return {kind: tuple(map(np.concatenate, zip(*parts, strict=True))) for kind, parts in found.items()}  # type: ignore[misc]


def _add_bars(ax: Axes, kind: str, rows: np.ndarray, begin: np.ndarray, end: np.ndarray) -> None:
    """Add bars of one kind as one collection, so that thousands of them cost little."""
    if not len(rows):
        return
    low, high = rows - 0.38, rows + 0.38
    corners = np.stack([begin, low, end, low, end, high, begin, high], axis=1).reshape(-1, 4, 2)
    edge = 0.8 if len(rows) <= MOST_EDGED else 0  # an edge tells jobs apart, but would cover bars of a pixel or two
    bars: Any = PolyCollection(corners, facecolor=KINDS[kind], edgecolor="white", linewidth=edge, label=kind)  # type: ignore[arg-type]
    bars.set_hatch("//////" if kind == "discarded" else None)
    bars.set_snap(False)  # snapped to whole pixels, some of the short bars would vanish and others double
    ax.add_collection(bars)


def _label_workers(ax: Axes, workers: Sequence[int]) -> None:
    """Name the rows of a picture by their workers; where there are many, only some of them."""
    every = -(-len(workers) // 20)
    ax.set_yticks(range(0, len(workers), every), [f"worker {worker}" for worker in workers[::every]])
    ax.tick_params(axis="y", length=0)


def staleness(
    tapes: Tape | Run | Iterable[Tape | Run] | Mapping[str, Tape | Run],
    *,
    labels: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the share of gradients of each staleness (versions between reading and using), of one or several tapes.

    Args:
        tapes: one `Tape` (or `Run`, whose tape is drawn), several, or several by label.
        labels: the legend's names; by default the protocols. The mean is added to each.
        ax: where to draw; a new figure by default.

    Raises:
        ValueError: if there are no tapes, or one of them is without gradients, or labels do not fit.
        TypeError: if `tapes` holds something else.

    Example:
        >>> import matplotlib.pyplot as plt, simsgd as sg
        >>> cluster = sg.Cluster(workers=8, compute=sg.times.Exponential(mean=1.0))
        >>> ax = sg.plots.staleness(sg.record(sg.AsyncSGD(), cluster, sg.Updates(5000)))
        >>> plt.close(ax.figure)
    """
    named = [(label, _tape_of(tape)) for label, tape in _named("tapes", tapes, labels, "workers tape", _origin)]
    for label, tape in named:
        if not len(tape):
            raise ValueError(f"tapes must hold gradients, but {label!r} has none: record for longer")
    ax = ax or _new_axes(6.4, 3.8)
    several = len(named) > 1
    for (label, tape), colour in zip(named, _colours(len(named)), strict=True):
        share = np.bincount(tape.staleness) / len(tape)
        edges = np.arange(len(share) + 1) - 0.5
        name = f"{label}: mean {tape.staleness.mean():.3g}"
        ax.stairs(share, edges, fill=True, color=colour, alpha=0.45 if several else 0.85, label=name)
        if several:
            ax.stairs(share, edges, color=colour, linewidth=1.2)
    ax.set(xlabel="staleness (versions between reading and using)", ylabel="share of gradients", ylim=(0, None))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend()
    return ax


def shares(tape: Tape | Run, *, ax: Axes | None = None) -> Axes:
    """Draw how each worker's time was spent, as stacked bars: computing, sending, waiting.

    Args:
        tape: a `Tape`, or a `Run`, whose tape is drawn.
        ax: where to draw; a new figure by default.

    Example:
        >>> import matplotlib.pyplot as plt, simsgd as sg
        >>> cluster = sg.Cluster(workers=8, compute=sg.times.Exponential(mean=1.0))
        >>> ax = sg.plots.shares(sg.record(sg.MinibatchSGD(), cluster, sg.Updates(100)))
        >>> plt.close(ax.figure)
    """
    tape = _tape_of(tape)
    ax = ax or _new_axes(7, 1.2 + 0.3 * min(tape.workers, 40))
    left = np.zeros(tape.workers)
    for kind, share in tape.shares().items():
        ax.barh(np.arange(tape.workers), share, 0.8, left, color=KINDS[kind], label=f"{kind}: {share.mean():.0%} on average")
        left += share
    ax.set(xlim=(0, 1), ylim=(tape.workers - 0.5, -0.5), xlabel="share of simulated time")
    ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    _label_workers(ax, range(tape.workers))
    ax.set_title(_protocol(tape.header))
    _legend_beside(ax)
    return ax


def heat_map(
    values: ArrayLike,
    rows: Sequence[object],
    columns: Sequence[object],
    *,
    methods: tuple[str, str],
    row_label: str = "",
    column_label: str = "",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw which of two methods wins, and by what factor, over a grid of conditions.

    Each cell says the factor and the winner; its colour is the winner's, stronger for a larger factor (on a logarithmic
    scale, white at 1).

    Args:
        values: the second method's cost over the first's, shape (rows, columns): above 1 the first wins, below 1 the
            second; infinite where only the first got there, 0 where only the second did, NaN (grey) where neither.
        rows: what the rows stand for, from the bottom up.
        columns: what the columns stand for.
        methods: the short names of the two methods, as they should appear in the cells.
        row_label: what `rows` are, with their unit.
        column_label: what `columns` are, with their unit.
        title: above the picture.
        ax: where to draw; a new figure by default.

    Raises:
        ValueError: if the shapes do not fit, or a value is negative.

    Example:
        >>> import matplotlib.pyplot as plt, simsgd as sg
        >>> ax = sg.plots.heat_map([[2.0, 0.5]], ["calm"], [0.0, 0.1], methods=("sync", "async"))
        >>> [text.get_text().split() for text in ax.texts]
        [['2.0×', 'sync'], ['2.0×', 'async']]
        >>> plt.close(ax.figure)
    """
    grid = np.asarray(values, float)
    if grid.shape != (len(rows), len(columns)) or not grid.size:
        raise ValueError(f"values must have the shape (rows, columns) = {(len(rows), len(columns))}, got {grid.shape}")
    if (grid < 0).any():
        raise ValueError(f"values must be costs over costs, at least 0, got {grid[grid < 0][0]!r}")
    if len(methods) != 2:
        raise ValueError(f"methods must be the names of two methods, got {methods!r}")
    ax = ax or _new_axes(max(5.5, 1.8 + 1.05 * len(columns)), max(3.6, 1.6 + 0.75 * len(rows)))
    second, first = LINES[1], LINES[0]
    colours = matplotlib.colors.LinearSegmentedColormap.from_list("winner", [second, "white", first])
    norm = _factor_scale(grid)
    image = ax.pcolormesh(np.clip(grid, norm.vmin, norm.vmax), cmap=colours, norm=norm, edgecolors="white", linewidth=2)
    ax.set_facecolor("0.75")  # seen where a cell holds NaN
    for (i, j), value in np.ndenumerate(grid):
        strong = not np.isnan(value) and abs(norm(np.clip(value, norm.vmin, norm.vmax)) - 0.5) > 0.33
        text = _verdict(value, methods)
        ax.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=9, color="white" if strong else "black")
    ax.set_xticks(np.arange(len(columns)) + 0.5, [_plain(c) for c in columns])
    ax.set_yticks(np.arange(len(rows)) + 0.5, [_plain(r) for r in rows])
    ax.tick_params(length=0)
    ax.set(xlabel=column_label, ylabel=row_label, title=title)
    _colour_bar(ax, image, norm.vmax, methods)
    return ax


def _factor_scale(grid: np.ndarray) -> Any:
    """Return a logarithmic scale, symmetric about factor 1, that holds every finite factor and at least 2."""
    finite = grid[np.isfinite(grid) & (grid > 0)]
    most = float(np.exp(np.abs(np.log(finite)).max())) if len(finite) else 2.0
    return matplotlib.colors.LogNorm(1 / max(most, 2.0), max(most, 2.0))


def _verdict(value: float, methods: tuple[str, str]) -> str:
    """Return what a cell says: the factor and the winner, or who alone got there."""
    if np.isnan(value):
        return "neither"
    winner = methods[0] if value > 1 else methods[1]
    if value in (0, np.inf):
        return f"only\n{winner}"
    factor = f"{max(value, 1 / value):.3g}×" if max(value, 1 / value) >= 10 else f"{max(value, 1 / value):.1f}×"
    return f"{factor}\n{winner if factor != '1.0×' else 'equal'}"


def _colour_bar(ax: Axes, image: Any, most: float, methods: tuple[str, str]) -> None:
    """Add a colour bar whose ticks are factors in favour of either method."""
    steps = [f for f in ((1, 1.5, 2, 3, 5) if most < 10 else (1, 2, 5, 10, 20, 50, 100, 1000)) if f <= most * 1.001]
    ticks = [1 / f for f in steps[:0:-1]] + steps
    bar = ax.figure.colorbar(image, ax=ax, ticks=ticks, format=FuncFormatter(lambda v, _: f"{max(v, 1 / v):.3g}×"))
    bar.minorticks_off()
    bar.set_label(f"← {methods[1]} faster        {methods[0]} faster →")


# --- what the pictures share ---------------------------------------------------------------------------------------------


def _new_axes(width: float, height: float) -> Axes:
    """Return the Axes of a new pyplot figure of so many inches."""
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def _colours(count: int) -> list[str]:
    return [LINES[i % len(LINES)] for i in range(count)]


def _legend_beside(ax: Axes) -> None:
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, borderaxespad=0)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _tape_of(thing: Any) -> Tape:
    """Return a tape, or the tape of a run."""
    tape = getattr(thing, "tape", thing)
    if not hasattr(tape, "update_times"):
        raise TypeError(f"tape must be a Tape or a Run, got {thing!r}")
    return tape


def _origin(thing: Any) -> dict[str, Any]:
    return thing.configuration if hasattr(thing, "configuration") else thing.header


def _protocol(origin: Mapping[str, Any]) -> str:
    return str(origin.get("protocol", "a tape")).removesuffix("()")


def _named(name: str, things: Any, labels: Sequence[str] | None, mark: str, origin: Any) -> list[tuple[str, Any]]:
    """Return (label, thing) for one thing, several, or a mapping; without labels, name them by what tells them apart."""
    if isinstance(things, Mapping):
        labels = list(things) if labels is None else labels
        things = things.values()
    items = list(things) if isinstance(things, Iterable) else [things]
    if not items:
        raise ValueError(f"{name} must hold at least one, got {things!r}")
    for item in items:
        if not any(hasattr(item, attribute) for attribute in mark.split()):
            raise TypeError(
                f"{name} must be a Run{' or a Tape' if 'tape' in mark else ''}, several, or a mapping, got {item!r}"
            )
    names = _telling_names([origin(item) for item in items]) if labels is None else list(labels)
    if len(names) != len(items):
        raise ValueError(f"labels must name each of the {len(items)} {name}, got {labels!r}")
    return list(zip(map(str, names), items, strict=True))


def _telling_names(origins: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a name for each: its protocol, and its optimizer, seed and cluster where these differ."""
    telling = [key for key in ("optimizer", "seed", "cluster") if len({str(o.get(key)) for o in origins}) > 1]
    unlike = len({_protocol(o) for o in origins}) == len(origins)
    extra = [] if unlike else [key for key in telling if key != "cluster" or len(telling) == 1]
    return [", ".join([_protocol(o), *(f"{'seed ' if k == 'seed' else ''}{o.get(k)}" for k in extra)]) for o in origins]
