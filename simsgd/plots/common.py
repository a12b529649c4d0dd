"""What the pictures share: axes, legends, and names that tell runs apart."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.axes
import matplotlib.colors
import numpy as np
from matplotlib.cm import ScalarMappable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simsgd.tape.tape import Tape

AXIS_LABELS = {
    "time": "simulated time (seconds)",
    "updates": "updates (server steps)",
    "samples": "training samples used",
    "bytes": "bytes moved",
}
"""What a metric can be drawn against, with the axis labels."""
ENTRIES_IN_A_COLUMN = 16
"""A legend with more entries gets a further column."""
MOST_TICKS = 16
"""A colour bar names at most so many runs."""


def axes(ax: Axes | None, width: float, height: float) -> Axes:
    """Return the Axes given, or those of a new pyplot figure of so many inches.

    Raises:
        TypeError: if `ax` is something else.
    """
    if ax is None:
        import matplotlib.pyplot as plt

        return plt.subplots(figsize=(width, height), layout="constrained")[1]
    if not isinstance(ax, matplotlib.axes.Axes):
        raise TypeError(f"ax must be one matplotlib Axes, for example axes[0] of several, got {type(ax).__name__}")
    return ax


def legend_beside(ax: Axes, title: str | None = None) -> None:
    """Add a legend to the right of the axes, where it covers nothing."""
    entries = len(ax.get_legend_handles_labels()[1])
    columns = 1 + (entries - 1) // ENTRIES_IN_A_COLUMN
    look: dict[str, Any] = {
        "frameon": False,
        "borderaxespad": 0,
        "alignment": "left",
        "title": title,
        "title_fontsize": "small",
    }
    if entries:
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), ncols=columns, **look)


def colour_bar(ax: Axes, labels: Sequence[str], colours: Sequence[str]) -> None:
    """Name many lines by a colour bar, in their order from the top down: what their names share along it, the rest as ticks."""
    places = np.unique(np.linspace(0, len(labels) - 1, min(len(labels), MOST_TICKS)).round().astype(int))
    words = itertools.takewhile(lambda some: len(set(some)) == 1, zip(*(label.split(" ") for label in labels), strict=False))
    shared = " ".join(some[0] for some in words)
    mapped = ScalarMappable(
        matplotlib.colors.Normalize(-0.5, len(labels) - 0.5), matplotlib.colors.ListedColormap(list(colours))
    )
    bar = ax.figure.colorbar(mapped, ax=ax, ticks=places)
    bar.ax.set_yticklabels([labels[i][len(shared) :].strip() for i in places])
    bar.set_label(shared.rstrip(","), labelpad=10)
    bar.ax.invert_yaxis()
    bar.ax.tick_params(length=0)


def plain(value: object) -> str:
    """Return a value as a tick says it: numbers without needless digits."""
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def tape_of(thing: Any) -> Tape:
    """Return a tape, or the tape of a run.

    Raises:
        TypeError: if it is neither.
    """
    tape: Tape = getattr(thing, "tape", thing)
    if not hasattr(tape, "update_times"):
        raise TypeError(f"tape must be a Tape or a Run, as record and simulate return them, got {thing!r}")
    return tape


def origin(thing: Any) -> dict[str, Any]:
    """Return what a run, or a tape, says of where it comes from; of several runs, the first."""
    first = thing[0] if isinstance(thing, tuple) else thing
    made: dict[str, Any] = getattr(first, "configuration", None) or getattr(first, "header", None) or {}
    return made


def protocol_name(made: Mapping[str, Any]) -> str:
    """Return the name of the method that a run or a tape was made with, as a title says it, or its protocol's."""
    return str(made.get("name", made.get("protocol", "a tape"))).removesuffix("()")


def named(name: str, things: Any, labels: Sequence[str] | None, mark: str) -> list[tuple[str, Any]]:
    """Return (label, thing) for one thing, several, or a mapping; without labels, name them by what tells them apart.

    Args:
        name: of the argument, for errors.
        things: what was given for it.
        labels: the names that were given, if any.
        mark: attributes, of which runs, or runs and tapes, have one.

    Raises:
        ValueError: if there is nothing, or the labels do not fit.
        TypeError: if a thing is none that is drawn.
    """
    labels, items = _items(name, things, labels)
    for item in items:
        _check(name, item, mark)
    return list(zip(_names(name, items, labels), items, strict=True))


def named_groups(name: str, things: Any, labels: Sequence[str] | None) -> list[tuple[str, tuple[Any, ...]]]:
    """Return (label, runs) as `named` does, where each thing is a run or several that differ in their seeds.

    Raises:
        ValueError: if there is nothing, the labels do not fit, or runs under one label differ in more than their seeds.
        TypeError: if a thing is no run.
    """
    labels, items = _items(name, things, labels)
    groups = [tuple(item) if isinstance(item, Iterable) and not isinstance(item, str) else (item,) for item in items]
    for group in groups:
        for run in group:
            _check(name, run, "dataset")
    found = list(zip(_names(name, groups, labels), groups, strict=True))
    for label, group in found:
        _check_seeds(f"{name} under {label!r}", group)
    return found


def _items(name: str, things: Any, labels: Sequence[str] | None) -> tuple[Sequence[str] | None, list[Any]]:
    """Return the labels, if any, and the things as a list."""
    several = things.values() if isinstance(things, Mapping) else things
    items = list(several) if isinstance(several, Iterable) and not isinstance(several, str) else [several]
    if not items or any(isinstance(item, Sequence) and not len(item) for item in items):
        raise ValueError(f"{name} must hold at least one, got {things!r}")
    return (list(things) if isinstance(things, Mapping) and labels is None else labels), items


def _check(name: str, item: Any, mark: str) -> None:
    """Raise TypeError unless an item is a run or, where tapes are drawn too, a tape."""
    if any(hasattr(item, attribute) for attribute in mark.split()):
        return
    wanted = f"a Run{' or a Tape' if 'tape' in mark else ''}"
    way_out = ": a tape holds no metrics, replay it to get a run" if hasattr(item, "update_times") else ""
    raise TypeError(f"{name} must be {wanted}, several, or a mapping, got {item!r}{way_out}")


def _check_seeds(name: str, runs: Sequence[Any]) -> None:
    """Raise ValueError unless runs that are drawn as one differ in their seeds, and in nothing else that is known of them."""
    made = [origin(run) for run in runs]
    for key in ("protocol", "parts", "cluster", "problem", "step_size"):
        values = list(dict.fromkeys(str(m.get(key)) for m in made))
        if len(values) > 1:
            raise ValueError(
                f"{name} must differ in their seeds only, got {key} {values[0]} and {values[1]}: label each by itself"
            )
    seeds = [(m.get("seed"), m.get("data_seed")) for m in made]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"{name} must each have a seed of their own, got the seeds {[seed for seed, _ in seeds]}")


def _names(name: str, items: Sequence[Any], labels: Sequence[str] | None) -> list[str]:
    names = _telling_names([origin(item) for item in items]) if labels is None else list(labels)
    if len(names) != len(items):
        raise ValueError(f"labels must name each of the {len(items)} {name}, got {labels!r}")
    return [str(n) for n in names]


def _telling_names(origins: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a name for each: its protocol, and what tells it from others of that protocol."""
    protocols = [protocol_name(made) for made in origins]
    return [
        ", ".join([protocol, *_details(made, [o for o, p in zip(origins, protocols, strict=True) if p == protocol])])
        for made, protocol in zip(origins, protocols, strict=True)
    ]


def _details(made: Mapping[str, Any], likes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what tells one from its likes: the step size (or the optimizer), the seed, or else the method or the cluster."""
    step = "step_size" if all(isinstance(like.get("step_size"), int | float) for like in likes) else "optimizer"
    telling = [key for key in (step, "seed") if len({str(like.get(key)) for like in likes}) > 1]
    telling = telling or [key for key in ("parts", "cluster") if len({str(like.get(key)) for like in likes}) > 1]
    words = {"step_size": "step size ", "seed": "seed "}
    usual = {"parts": "plain"}
    return [words.get(key, "") + plain(made.get(key, usual.get(key))) for key in telling]
