"""Walks along the clock that may be long: they go no further than somebody asks, and stop at a bound.

What follows the clock (slow spells, pauses, outages) is a function of it, drawn piece after piece. A job that meets very many
pieces is not walked through at once: the walk pauses at a moment, and goes on when the clock has come there, if it ever does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from simsgd.support.bounds import bounds

AT_ONCE = 256
"""So many pieces are walked before the clock follows."""


class Unfinished(Exception):  # noqa: N818  (it is no error)
    """A walk has come to a moment, and goes on from there when it is told to.

    Args:
        moment: simulated seconds.
        go_on: goes on with the walk, given the clock's moment, before which nothing will be asked again; it returns what the
            walk leads to, or raises this anew.
    """

    def __init__(self, moment: float, go_on: Callable[[float], Any]) -> None:
        super().__init__(moment)
        self.moment, self.go_on = moment, go_on


def followed[Found](walk: Unfinished, following: Callable[[Any], Found]) -> Unfinished:
    """Return the walk that goes on with what follows, given what it led to."""
    return Unfinished(walk.moment, lambda now: then(lambda: walk.go_on(now), following))


def then[Found, Led](walk: Callable[[], Led], following: Callable[[Led], Found]) -> Found:
    """Return what follows a walk, given what that led to; both may be unfinished, and are then so together."""
    try:
        found = walk()
    except Unfinished as unfinished:
        raise followed(unfinished, following) from None
    return following(found)


def whole(walk: Unfinished, now: float) -> float:
    """Go to the end of a walk at once, for somebody who cannot wait, while the clock stands at `now`."""
    while True:
        try:
            return float(walk.go_on(now))
        except Unfinished as further:
            walk = further


def check_parts(parts: int, share: float, what: str) -> None:
    """Raise BoundError if something has come to more parts than `simsgd.bounds.parts` when so large a share of it is done.

    Args:
        parts: how many so far.
        share: of the whole, from 0 to 1.
        what: is made of these parts; the message begins with it.

    Example:
        >>> from simsgd.support.walks import check_parts
        >>> check_parts(1000, 1e-6, "a message of 8e+07 seconds")
    """
    if parts > bounds.parts:
        bounds.check("parts", max(parts, parts / share if share > 0 else math.inf), what)
