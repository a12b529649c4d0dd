"""How methods look: a colour and a marker for each, the same in every picture."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_hex

from simsgd.plots import common

LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours for lines that stand for no method, in order."""
METHOD_COLOURS = {
    "MinibatchSGD": "#0072B2",
    "AsyncSGD": "#D55E00",
    "KSyncSGD": "#86CBF5",
    "KBatchAsyncSGD": "#E69F00",
    "RennalaSGD": "#00674B",
    "RingmasterASGD": "#CC79A7",
}
"""The colour of each method, by its protocol's name: blue is synchronous, orange is asynchronous."""
METHOD_MARKERS = dict(zip(METHOD_COLOURS, "osDPv^", strict=True))
"""The marker of each method, by its protocol's name."""
WORDS = {
    **{word: "MinibatchSGD" for word in ("synchronous", "sync", "minibatch")},
    **{word: "AsyncSGD" for word in ("asynchronous", "async")},
    **{"k_sync": "KSyncSGD", "k_batch_async": "KBatchAsyncSGD", "rennala": "RennalaSGD", "ringmaster": "RingmasterASGD"},
}
"""What labels call methods that have a colour of their own."""
OTHER_COLOURS = LINES[2:]
"""Colours of methods that have none of their own, in order; one that the picture already has is passed over."""
OTHER_MARKERS = "<>dphH"
"""Their markers."""
LINE_STYLES = ("-", "--", ":", "-.")
"""Line styles of the runs of one method."""
MOST_DISTINCT = 8
"""So many runs of one method are told apart by shades of its colour; more of them by a colour map."""


class Look(NamedTuple):
    """How one thing is drawn."""

    colour: str
    marker: str
    line_style: str


def colour_of(method: Any) -> str:
    """Return the colour of a method, which is the same in every picture.

    Args:
        method: a `Run` or a `Tape`, whose protocol counts; or a label that begins with a protocol's name, such as "AsyncSGD",
            or with "synchronous", "sync", "asynchronous" or "async".

    Raises:
        ValueError: if the method has no colour of its own; `colours_of` chooses one.

    Example:
        >>> import simsgd as sg
        >>> sg.plots.colour_of("synchronous") == sg.plots.colour_of("MinibatchSGD") == "#0072B2"
        True
    """
    name = _method(method, method) if isinstance(method, str) else _method("", method)
    if name not in METHOD_COLOURS:
        known = ", ".join([*METHOD_COLOURS, *WORDS])
        raise ValueError(
            f"method must be a run, a tape or a label of a method that has a colour of its own ({known}), got {method!r}; "
            "colours_of chooses colours for the methods of a picture, of whatever name"
        )
    return METHOD_COLOURS[name]


def colours_of(methods: Iterable[Any] | Mapping[str, Any]) -> dict[str, str]:
    """Return a colour for each of the methods of a picture: its own if it has one, otherwise one that is free.

    Several of one method (`KSyncSGD(gradients=4)` and `KSyncSGD(gradients=8)`) get shades of its colour.

    Args:
        methods: labels, as for `colour_of`, or runs or tapes by label.

    Raises:
        ValueError: if a label occurs twice.

    Example:
        >>> import simsgd as sg
        >>> sg.plots.colours_of(["asynchronous", "synchronous", "mine"])
        {'asynchronous': '#D55E00', 'synchronous': '#0072B2', 'mine': '#009E73'}
    """
    if isinstance(methods, str):
        raise ValueError(f"methods must be several labels, got one, {methods!r}: give a list, or use colour_of")
    labelled = list(methods.items()) if isinstance(methods, Mapping) else [(label, label) for label in methods]
    if len(dict(labelled)) < len(labelled):
        raise ValueError(f"methods must be labelled each by a name of its own, got {[label for label, _ in labelled]!r}")
    return {label: look.colour for (label, _), look in zip(labelled, looks(labelled), strict=True)}


def looks(labelled: Sequence[tuple[str, Any]], among: Sequence[str] = ()) -> list[Look]:
    """Return the look of each (label, run or tape): the colour and marker of its method, a shade and line style of its own.

    Figures whose methods are `among` the same labels, in the same order, give each the same colour and marker, whichever of
    them they show.
    """
    methods = [_method(label, thing) for label, thing in labelled]
    base = _bases(list(dict.fromkeys([*(_method(label, label) for label in among), *methods])))
    alone = len(set(methods)) == 1
    shades = {method: iter(_shades(base[method].colour, methods.count(method), alone)) for method in set(methods)}
    found = []
    for i, method in enumerate(methods):
        style = LINE_STYLES.index(base[method].line_style) + methods[:i].count(method)
        found.append(Look(next(shades[method]), base[method].marker, LINE_STYLES[style % len(LINE_STYLES)]))
    return found


def are_too_many(labelled: Sequence[tuple[str, Any]]) -> bool:
    """Say whether all are of one method, and too many to be told apart by its shades."""
    return len(labelled) > MOST_DISTINCT and len({_method(label, thing) for label, thing in labelled}) == 1


def _method(label: str, thing: Any) -> str:
    """Return the name of a thing's method: its own, its protocol's, or what its label begins with."""
    made = common.origin(thing)
    if "name" in made:
        return str(made["name"])
    found = [re.match(r"\w+", str(said)) for said in (made.get("protocol", ""), label)]
    said = [WORDS.get(match[0].lower(), match[0]) for match in found if match]
    return next((name for name in said if name in METHOD_COLOURS), said[0] if made.get("protocol") else str(label))


def _bases(methods: Sequence[str]) -> dict[str, Look]:
    """Return the look of each method; those without a colour of their own get the free ones in order, then again, dashed."""
    taken = {METHOD_COLOURS.get(method) for method in methods}
    free = [colour for colour in OTHER_COLOURS if colour not in taken]
    others = [method for method in methods if method not in METHOD_COLOURS]
    found = {method: Look(METHOD_COLOURS[method], METHOD_MARKERS[method], "-") for method in methods if method not in others}
    for i, method in enumerate(others):
        style = LINE_STYLES[i // len(free) % len(LINE_STYLES)]
        found[method] = Look(free[i % len(free)], OTHER_MARKERS[i % len(OTHER_MARKERS)], style)
    return found


def _shades(colour: str, count: int, alone: bool) -> list[str]:
    """Return so many shades of a colour, from light to dark, or, where they are too many and alone, of a colour map."""
    if count == 1:
        return [colour]
    if alone and count > MOST_DISTINCT:
        return [to_hex(c) for c in matplotlib.colormaps["viridis"](np.linspace(0, 0.92, count))]
    ramp = LinearSegmentedColormap.from_list("shades", ["white", colour, "black"], 257)
    return [to_hex(ramp(place)) for place in np.linspace(0.5 if count == 2 else 0.28, 0.78, count)]
