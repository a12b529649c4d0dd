"""Rounds whose local steps the protocol says, so that all numbers of them share one compiled player."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import simsgd as sg


@dataclass(frozen=True)
class Rounds(sg.Protocol):
    """Synchronous rounds of all workers, with H local steps each: `sg.methods.local_sgd` steps the same way.

    Args:
        steps: H.
        switch: how many rounds have one step before that, as in post-local SGD.
    """

    steps: int
    switch: int = 0
    synchronous: ClassVar[bool] = True

    def start(self, server: sg.protocols.Server) -> None:
        """Hand a job to each worker."""
        steps = 1 if server.version < self.switch else self.steps
        for worker in server.workers:
            server.assign(worker, steps=steps)

    def on_gradient(self, server: sg.protocols.Server, gradient: sg.protocols.Gradient) -> None:
        """Accumulate; with the last, step with the average and begin the next round."""
        server.accumulate(gradient)
        if not server.busy:
            server.step(scale=1 / server.accumulated)
            self.start(server)


def of(method: sg.Method, steps: int, switch: int = 0) -> sg.Method:
    """Return a method of local steps in rounds of so many, after so many rounds of one."""
    return dataclasses.replace(method, protocol=Rounds(steps, switch))


def local_sgd(step_size: float, *, steps: int, switch: int = 0) -> sg.Method:
    """Return local SGD in rounds of so many steps, after so many rounds of one: post-local SGD where there are any."""
    return of(sg.methods.local_sgd(step_size, steps=1), steps, switch)
