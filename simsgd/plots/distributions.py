"""How often what happened: the distribution of staleness."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from simsgd.plots import common, looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simsgd.run import Run
    from simsgd.tape.tape import Tape


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
    tapes_by_label = [(label, common.tape_of(tape)) for label, tape in common.named("tapes", tapes, labels, "workers tape")]
    for label, tape in tapes_by_label:
        if not len(tape):
            raise ValueError(f"tapes must hold gradients, but {label!r} has none: record for longer")
    ax = common.axes(ax, 7.6, 3.8)
    several = len(tapes_by_label) > 1
    for (label, tape), look in zip(tapes_by_label, looks.looks(tapes_by_label), strict=True):
        share = np.bincount(tape.staleness) / len(tape)
        edges = np.arange(len(share) + 1) - 0.5
        name = f"{label}: mean {tape.staleness.mean():.3g}"
        ax.stairs(share, edges, fill=True, color=look.colour, alpha=0.45 if several else 0.85, label=name)
        if several:
            ax.stairs(share, edges, color=look.colour, linestyle=look.line_style, linewidth=1.2)
    ax.set(xlabel="staleness (versions between reading and using)", ylabel="share of gradients", ylim=(0, None))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    common.legend_beside(ax)
    return ax
