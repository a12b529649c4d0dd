"""A map for each link, and the seconds of a round with what is known of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray
from drawing import colour_of, legend_beside, logarithmic, map_of_winners
from matplotlib.figure import Figure
from measuring import agreed


def amount(size: float) -> str:
    """Return bytes in words, for example "10 MB"."""
    power = min(3, int(np.log10(size) / 3))
    return f"{size / 1000**power:g} {('B', 'kB', 'MB', 'GB')[power]}"


def draw_maps(measured: xarray.Dataset, title: str) -> Figure:
    """Draw a map for each link, and each rule of what is equal."""
    rules, links, sizes, workers = (measured[name].values for name in ("equal", "link", "bytes", "workers"))
    sure = agreed(measured.factor_of_seed)
    size = (2.6 + 1.05 * len(workers)) * len(links), 1.2 + (1.2 + 0.75 * len(sizes)) * len(rules)
    figure, axes = plt.subplots(len(rules), len(links), figsize=size, squeeze=False, layout="constrained")
    reached = measured.factor.values[np.isfinite(measured.factor.values) & (measured.factor.values > 0)]
    labels = {"row_label": "bytes of the model, and of a gradient", "column_label": "workers"}
    options = {**labels, "most": max([2.0, *reached, *(1 / reached)])}
    for ax, (rule, link) in zip(axes.flat, itertools.product(rules, links), strict=True):
        here = measured.factor.sel(equal=rule, link=link), sure.sel(equal=rule, link=link)
        said = f"{link}\n{'equal total batch' if rule == 'total' else 'equal batch per worker'}"
        map_of_winners(*here, [amount(size) for size in sizes], workers.tolist(), title=said, ax=ax, **options)
    figure.suptitle(title, fontsize=11)
    return figure


def draw_rounds(measured: xarray.Dataset, known: Mapping[str, str]) -> Figure:
    """Draw the seconds of a round against workers, a panel for each link and size; `known` says what each formula is."""
    shape = measured.sizes["link"], measured.sizes["bytes"]
    size = (1.5 + 2.7 * shape[1], 1 + 2.5 * shape[0])
    figure, axes = plt.subplots(*shape, figsize=size, sharex=True, sharey="row", squeeze=False, layout="constrained")
    for ax, (link, size) in zip(axes.flat, itertools.product(measured.link.values, measured.bytes.values), strict=True):
        for way, mark, width in zip(known, "os^", (8, 4.5, 4.5), strict=True):
            here, look = measured.sel(link=link, bytes=size, way=way), {"markersize": width, "markerfacecolor": "none"}
            ax.plot(here.workers, here["round"], mark, color=colour_of(way), label=way, **look)
            ax.plot(here.workers, here.formula, ":", color=colour_of(way), lw=1.2, label=f"{known[way]}, by formula")
        logarithmic(ax.xaxis)
        logarithmic(ax.yaxis, subs=(1, 2, 5))
        ax.set_xticks(measured.workers.values, [str(n) for n in measured.workers.values])
        ax.set_title(f"{link}, {amount(size)}")
        ax.grid(alpha=0.25)
    figure.supxlabel("workers n")
    figure.supylabel("seconds per round of n gradients")
    legend_beside(axes[0, -1])
    return figure
