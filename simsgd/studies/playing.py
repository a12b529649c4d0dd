"""Cells to outcomes: what a worker process, a thread or this process itself does with a group of cells."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from simsgd.run import AXES, Run
from simsgd.studies.cells import Cell
from simsgd.studies.outcomes import Outcome
from simsgd.tape.intervals import SHARES


def play(cells: Sequence[Cell]) -> list[Outcome]:
    """Return the outcome of each cell; an error of one is its outcome, and the rest go on."""
    outcomes = []
    for cell in cells:
        begun = time.perf_counter()
        try:
            outcomes.append(of_run(cell.simulate(progress=False), time.perf_counter() - begun))
        except Exception as error:
            outcomes.append(Outcome.failure(error))
    return outcomes


def of_run(run: Run, seconds: float) -> Outcome:
    """Return the outcome of a run that was made alone."""
    data, tape = run.dataset, run.tape
    measures = {
        "updates": tape.updates,
        "gradients": len(tape),
        "discarded": len(tape.discarded),
        "mean_staleness": float(tape.staleness.mean()) if len(tape) else float("nan"),
        **{name: float(data[name].mean()) for name in SHARES},
    }
    columns = {name: data[name].values.astype(np.float64) for name in (*AXES, *run.metrics)}
    return Outcome(run.status, columns, measures, run.hashes["tape"], run.hashes["parameters"], seconds=seconds)
