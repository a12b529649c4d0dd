"""Methods that watch the loss while they run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from simsgd.protocols.asynchronous import forget_waiting, hand_out_to_those_who_wait
from simsgd.protocols.base import Protocol, Server
from simsgd.support import checks
from simsgd.tape.schema import Gradient


@dataclass(frozen=True, repr=False)
class AdaSyncSGD(Protocol):
    """AdaSync: K-async SGD whose K grows as the loss falls: fast steps first, exact ones later.

    Steps as in `KAsyncSGD`, with K = K_0 · √(F(w_0)/F(w)), rounded, at least 1 and at most n. F is the problem's loss, looked
    at with the first step after each interval. In a bound on the error after t seconds the term that falls with time is
    proportional to K·F(w)/t, as a step takes a time proportional to K, and the noise to 1/K: this K makes their sum least. The
    loss is taken to have its minimum at 0.

    A worker that crashes is handed the newest model when it is back.

    Args:
        every: the interval between two looks at the loss, simulated seconds. Looks take none.
        gradients: K_0, with which it begins, at least 1.

    Raises:
        ValueError: for an interval that is no positive number, or `gradients` no whole number of at least 1.
        simsgd.ProtocolError: when it is recorded without gradients: it needs `simulate`.

    Source: Dutta et al. (2021), "Slow and stale gradients can win the race" (IEEE Journal on Selected Areas in Information
    Theory), AdaSync for K-async; the rule from memory, the rounding is ours.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=8, compute=sg.times.Exponential(mean=1.0))
        >>> method = sg.protocols.AdaSyncSGD(every=1.0)
        >>> run = sg.simulate(method, sg.problems.quadratic(), cluster, sg.optimizers.sgd(0.2), until=sg.Seconds(60))
        >>> rows = run.tape.step.nonzero()[0]  # of the gradients that end a step
        >>> int(rows[0] + 1), int(rows[-1] - rows[-2])
        (1, 8)
    """

    every: float
    gradients: int = 1
    observes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.store(
            self,
            every=checks.positive("AdaSyncSGD.every", self.every, "seconds"),
            gradients=checks.whole("AdaSyncSGD.gradients", self.gradients, 1),
        )

    def start(self, server: Server) -> None:
        """Look at the loss and hand a job to each worker."""
        wanted = min(self.gradients, len(server.workers))
        server.notes.update(waiting=[], wanted=wanted, first_loss=server.observe("loss"), look=self.every)
        super().start(server)

    def on_gradient(self, server: Server, gradient: Gradient) -> None:
        """Accumulate and let the worker wait; with the K-th, step, look at the loss if it is time, and hand out."""
        server.accumulate(gradient, weight=1 / server.notes["wanted"])
        server.notes["waiting"].append(gradient.worker)
        if server.accumulated == server.notes["wanted"]:
            server.step()
            self._go_on(server)

    def on_leave(self, server: Server, worker: int) -> None:
        """Go on with the others, of whom there may be fewer than K."""
        forget_waiting(server, worker)
        wanted, left = server.notes["wanted"], len(server.workers)
        if wanted > left:
            server.notes["wanted"] = max(1, left)
            if server.accumulated >= left > 0:
                server.step(scale=wanted / server.accumulated)
                self._go_on(server)

    def _go_on(self, server: Server) -> None:
        if server.now >= server.notes["look"]:
            server.notes.update(wanted=self._wanted(server), look=server.now + self.every)
        hand_out_to_those_who_wait(server)

    def _wanted(self, server: Server) -> int:
        """Return K for the loss as it is."""
        loss, first, most = server.observe("loss"), server.notes["first_loss"], len(server.workers)
        if math.isnan(loss):
            return int(server.notes["wanted"])
        return max(1, min(most, round(self.gradients * math.sqrt(first / loss)) if loss > 0 else most))
