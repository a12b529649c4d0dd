"""The gradient over all samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from simsgd.work import JobAtHand, Parameters, Work


@dataclass(frozen=True)
class FullGradient(Work):
    """The gradient of the mean loss over all samples, or over the worker's own where workers have shares.

    Args:
        steps: how many batches' time the clock charges for it.

    Example:
        >>> import simsgd as sg
        >>> sg.works.FullGradient(steps=20)
        FullGradient(steps=20)
    """

    takes_steps: ClassVar[bool] = False

    def run(self, parameters: Parameters, state: Any, job: JobAtHand) -> tuple[Parameters, Any]:
        """Return it."""
        return job.full_gradient(parameters), state
