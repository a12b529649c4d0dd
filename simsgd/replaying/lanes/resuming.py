"""Taking up what was broken off: the state of lanes, kept now and then.

Law of this module: what is taken up goes on to the same bits; how often the state is kept decides nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

type State = Mapping[str, np.ndarray | str]


class Resuming:
    """Keeps the state of a group's parts, one after the other, and gives back what was kept last.

    Args:
        load: returns what was saved last, or None.
        save: saves a state.
        every: seconds between two saves.
    """

    def __init__(self, load: Callable[[], State | None], save: Callable[[State], object], every: float) -> None:
        self._save, self._every = save, every
        self._parts: dict[str, np.ndarray | str] = dict(load() or {})
        self._last = time.monotonic()
        self.kept = bool(self._parts)
        """Whether anything has been kept: then what is finished is kept too, for the parts that follow."""

    def state(self, part: int) -> State | None:
        """Return what was kept last of a part, or None."""
        mark = f"{part}/"
        found = {name.removeprefix(mark): value for name, value in self._parts.items() if name.startswith(mark)}
        return found or None

    @property
    def due(self) -> bool:
        """Whether it is time to keep the state."""
        return time.monotonic() - self._last >= self._every

    def keep(self, part: int, state: State) -> None:
        """Keep the state of a part, with that of those before."""
        mark = f"{part}/"
        others = {name: value for name, value in self._parts.items() if not name.startswith(mark)}
        self._parts = others | {mark + name: value for name, value in state.items()}
        self._save(self._parts)
        self.kept = True
        self._last = time.monotonic()
