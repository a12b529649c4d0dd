"""What a study keeps of a run: its evaluations and a few measures, small enough to keep thousands."""

from __future__ import annotations

import dataclasses
import math
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from simsgd.run import AXES, Cost
from simsgd.stopping import Target

LINES, LONGEST = 12, 300
"""Lines of a traceback that are kept, and characters of each."""
FAILED, DIVERGED = "failed", "diverged"
"""The statuses of a cell whose run raised an error, and of one whose metrics are no longer finite."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What was measured of one cell.

    Attributes:
        status: "completed", "target reached", "diverged" (kept up to there), or "failed".
        evaluations: by name a column over the evaluations, float64: "time" (simulated seconds), "updates", "samples", "bytes",
            and each metric of the problem.
        measures: by name a number of the whole run, float: "updates", "gradients" (messages used, however many local steps
            each took), "discarded" (those thrown away), "mean_staleness", "computing", "sending", "queueing", "waiting", "down"
            (shares of time, means over the workers).
        tape_hash: of the tape's content up to the run's end.
        parameters_hash: SHA-256 of the final parameters.
        lanes: how many lanes the executable had; 0 for a run made alone by `simulate`.
        error: for a failed cell what it raised, one line, such as "ValueError: loss must be …".
        seconds: real seconds that it took, its share of what was played beside it; no part of what is compared.
        trace: for a failed cell the last lines of the traceback, as far as it is known; no part of what is compared.
    """

    status: str
    evaluations: Mapping[str, np.ndarray]
    measures: Mapping[str, float]
    tape_hash: str = ""
    parameters_hash: str = ""
    lanes: int = 0
    error: str = ""
    seconds: float = math.nan
    trace: str = ""

    @staticmethod
    def failure(error: BaseException) -> Outcome:
        """Return the outcome of a cell that raised an error."""
        said = " ".join(str(error).split())
        known = error.__traceback__ is not None or hasattr(error, "__notes__")  # the notes have that of another process
        lines = "".join(traceback.format_exception(error)).splitlines() if known else []
        trace = "\n".join(line[:LONGEST] for line in lines[-LINES:])
        return Outcome(FAILED, {}, {}, error=f"{type(error).__name__}: {said}", trace=trace)

    def to_target(self, target: Target) -> Cost:
        """Return what it took until a target was reached and kept; NaN where that never happened, as in a run that diverged."""
        if self.status in (FAILED, DIVERGED):
            return Cost(*[math.nan] * len(AXES))
        columns = (self.evaluations[name].tolist() for name in ("time", "updates", target.metric))
        kept = target.kept_stretch(*columns)
        return Cost(*(math.nan if kept is None else float(self.evaluations[axis][kept[0]]) for axis in AXES))

    def __eq__(self, other: object) -> bool:
        """Outcomes are equal when all but their real seconds and traces is, to the bit (NaN equals NaN)."""
        return isinstance(other, Outcome) and self._compared() == other._compared()

    __hash__ = None  # type: ignore[assignment]

    def _compared(self) -> object:
        plain = dataclasses.replace(self, evaluations={}, measures={}, seconds=0.0, trace="")
        columns = {name: np.asarray(column, np.float64).tobytes() for name, column in self.evaluations.items()}
        numbers = {name: np.float64(value).tobytes() for name, value in self.measures.items()}
        return [getattr(plain, field.name) for field in dataclasses.fields(plain)][3:], plain.status, columns, numbers


def bad_ends(outcomes: Iterable[Outcome]) -> str:
    """Return how many runs failed and diverged; nothing where none did.

    Example:
        >>> from simsgd.studies.outcomes import Outcome, bad_ends
        >>> bad_ends([Outcome("failed", {}, {}), Outcome("completed", {}, {}), Outcome("diverged", {}, {})])
        '1 failed, 1 diverged'
    """
    statuses = [outcome.status for outcome in outcomes]
    return ", ".join(f"{statuses.count(bad)} {bad}" for bad in (FAILED, DIVERGED) if bad in statuses)


def all_failed(outcomes: Iterable[Outcome]) -> bool:
    """Return whether there are runs, and each of them raised an error, so that nothing was measured."""
    return {outcome.status for outcome in outcomes} == {FAILED}
