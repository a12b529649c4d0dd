"""Progress bars: on a terminal and in a notebook, and nowhere else, unless asked for."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

DELAY = 0.5
"""Seconds before a notebook shows a bar: what is over sooner leaves no trace in a cell's output."""


def bar(items: Iterable[Any] | None, label: str, progress: bool | None, **options: Any) -> tqdm:
    """Return a progress bar around `items`, or, without items, one to be moved by hand.

    In a notebook it is a bar of ipywidgets if these are installed, and else a bar of text.

    Args:
        items: what is gone through.
        label: what stands before the bar.
        progress: whether to show it; None shows it on a terminal and in a notebook only.
        options: further arguments of `tqdm`.
    """
    disable = None if progress is None else not progress  # tqdm takes None for: unless this is a terminal
    kind: Any = tqdm
    if progress is not False and in_notebook():
        disable, kind, options = False, notebook_bar(), {"delay": DELAY} | options
    return kind(items, desc=label, disable=disable, leave=False, **options)


def notebook_bar() -> Any:
    """Return the bar of a notebook: of ipywidgets if these are installed, and else of text."""
    if importlib.util.find_spec("ipywidgets") is None:
        return tqdm
    from tqdm.notebook import tqdm as widgets

    return widgets


def in_notebook() -> bool:
    """Say whether this is the kernel of a notebook; IPython is asked only if it is loaded, as it is in a kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and "IPKernelApp" in shell.config
