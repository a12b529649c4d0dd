"""What `dir` and a tab offer of a module: its public names and nothing that it happens to import."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def names(all_: Sequence[str]) -> Callable[[], list[str]]:
    """Return a module's `__dir__`, which offers the names of its `__all__`: `__dir__ = public.names(__all__)`.

    Args:
        all_: the module's `__all__`.
    """
    return lambda: sorted(all_)
