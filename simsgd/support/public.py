"""What a module shows when it is asked for its names: those that it offers, and no others."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def names(all_: Sequence[str]) -> Callable[[], list[str]]:
    """Return a `__dir__` that lists the names in `all_`, a module's `__all__`, in alphabetical order.

    Example:
        >>> names(["timeline", "metric"])()
        ['metric', 'timeline']
    """
    return lambda: sorted(all_)
