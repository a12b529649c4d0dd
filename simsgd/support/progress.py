"""Progress bars: on a terminal, and only there, unless asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def bar(items: Iterable[Any] | None, label: str, progress: bool | None, **options: Any) -> tqdm:
    """Return a progress bar around `items`, or, without items, one to be moved by hand.

    Args:
        items: what is gone through.
        label: what stands before the bar.
        progress: whether to show it; None shows it only if output is a terminal.
        options: further arguments of `tqdm`.
    """
    return tqdm(items, desc=label, disable=None if progress is None else not progress, leave=False, **options)
