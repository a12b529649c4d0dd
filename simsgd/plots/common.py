"""What the pictures share: colours, new axes, legends, and names that tell runs apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simsgd.tape.tape import Tape

LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours of runs and methods, in the order in which they are given."""
AXIS_LABELS = {
    "time": "simulated time (seconds)",
    "updates": "updates (server steps)",
    "samples": "training samples used",
    "bytes": "bytes moved",
}
"""What a metric can be drawn against, with the axis labels."""


def new_axes(width: float, height: float) -> Axes:
    """Return the Axes of a new pyplot figure of so many inches."""
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def colours(count: int) -> list[str]:
    """Return the colours of so many runs; from the eighth on they repeat."""
    return [LINES[i % len(LINES)] for i in range(count)]


def legend_beside(ax: Axes) -> None:
    """Add a legend to the right of the axes."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, borderaxespad=0)


def plain(value: object) -> str:
    """Return a value as a tick says it: numbers without needless digits."""
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def tape_of(thing: Any) -> Tape:
    """Return a tape, or the tape of a run."""
    tape = getattr(thing, "tape", thing)
    if not hasattr(tape, "update_times"):
        raise TypeError(f"tape must be a Tape or a Run, got {thing!r}")
    return tape


def origin(thing: Any) -> dict[str, Any]:
    """Return what a run, or a tape, says of where it comes from."""
    return thing.configuration if hasattr(thing, "configuration") else thing.header


def protocol_name(made: Mapping[str, Any]) -> str:
    """Return the protocol that a run or a tape was made with, as a title says it."""
    return str(made.get("protocol", "a tape")).removesuffix("()")


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
    unlike = len({protocol_name(o) for o in origins}) == len(origins)
    extra = [] if unlike else [key for key in telling if key != "cluster" or len(telling) == 1]
    return [", ".join([protocol_name(o), *(f"{'seed ' if k == 'seed' else ''}{o.get(k)}" for k in extra)]) for o in origins]
