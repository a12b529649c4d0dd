"""Tables for notebooks."""

from __future__ import annotations

import html
from collections.abc import Mapping


def html_table(title: str, rows: Mapping[str, str]) -> str:
    """Return a table of names and texts as HTML, its title above.

    Example:
        >>> from simsgd.support.html import html_table
        >>> html_table("Tape", {"workers": "4"})  # doctest: +ELLIPSIS
        "<table><caption...>Tape</caption><tr><th ...>workers</th><td ...>4</td></tr></table>"
    """
    left = "style='text-align:left'"
    lines = "".join(
        f"<tr><th {left}>{html.escape(name)}</th><td {left}>{html.escape(text)}</td></tr>" for name, text in rows.items()
    )
    return f"<table><caption {left}>{html.escape(title)}</caption>{lines}</table>"
