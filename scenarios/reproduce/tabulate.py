"""Print the verdicts that are kept in folders as Markdown tables, for docs/reproductions.md.

python scenarios/reproduce/tabulate.py results/reproduce/*
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def markdown(told: Mapping[str, Any]) -> str:
    """Return what a claims.json holds: the paper, how to run its script, and a row for each claim."""
    head = f"{told['paper']}\n\n    python scenarios/reproduce/{told['script']}\n"
    rows = ["| claim | number that decides | reproduces if | found | verdict |", "|---|---|---|---|---|"]
    for claim in told["claims"]:
        _, _, remark = claim["why"].partition("; ")
        verdict = f"**{claim['verdict']}**" + (f"; {remark}" if remark else "")
        cells = f"{claim['says']} ({claim['where']})", claim["measures"], claim["rule"], claim["found"], verdict
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([head, *rows])


if __name__ == "__main__":
    print("\n\n".join(markdown(json.loads((Path(folder) / "claims.json").read_text())) for folder in sys.argv[1:]))
