"""The public names of a module: what tab completion offers is `__all__`, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def names(all_: Sequence[str]) -> Callable[[], list[str]]:
    """Return a module's `__dir__`: the function that lists `all_`, its public names, in the order of the alphabet.

    Example:
        >>> from simsgd.support import public
        >>> __all__ = ["replay", "record"]
        >>> __dir__ = public.names(__all__)
        >>> __dir__()
        ['record', 'replay']
    """
    ordered = sorted(all_)
    return lambda: list(ordered)
