"""The gradient over all samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from simsgd.work import JobAtHand, Parameters, Work


@dataclass(frozen=True)
class FullGradient(Work):
    """The gradient of the mean loss over all samples, or over the worker's own where workers have shares.

    Args:
        steps: for how many batches the clock charges, 1 by default; all samples are `problems.full_pass(problem, workers=1)`.

    Example:
        >>> import simsgd as sg
        >>> sg.works.FullGradient(steps=20)
        FullGradient(steps=20)
    """

    takes_steps: ClassVar[bool] = False

    def run(self, parameters: Parameters, state: Any, job: JobAtHand) -> tuple[Parameters, Any]:
        """Return the gradient."""
        return job.full_gradient(parameters), state
