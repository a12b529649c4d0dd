"""Small tables, as text and as a notebook shows them."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence


def in_html(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text as an HTML table, the first cell of each row as its head."""
    style = "style='text-align:left'"

    def row(first: str, *others: str) -> str:
        cells = "".join(f"<td {style}>{html.escape(text)}</td>" for text in others)
        return f"<tr><th {style}>{html.escape(first)}</th>{cells}</tr>"

    return f"<table>{''.join(row(*cells) for cells in rows)}</table>"


def in_text(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def plainly(thing: object) -> str:
    """Return the repr of something without memory addresses, which differ from process to process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(thing))
