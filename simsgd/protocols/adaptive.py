"""Methods that watch the loss while they run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from simsgd.protocols.asynchronous import forget_waiting, hand_out_to_those_who_wait
from simsgd.protocols.base import Protocol, Server
from simsgd.protocols.rounds import Rounds
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


@dataclass(frozen=True, repr=False)
class AdaCommSGD(Rounds):
    """AdaComm: synchronous rounds of H local steps each, H falling with the loss: few messages first, exact steps later.

    All workers take part, and a step is made of the average of their messages. When the first round after each interval begins,
    H ← ⌈√(F(w)/F(w_0))·H_0⌉, at least 1. F is the problem's loss, taken to have its minimum at 0. In a bound on the error after
    t seconds the term that falls with time is proportional to F(w_0)·(Y + D/H)/t, Y the seconds of a local step and D those of
    a message, and what rare averaging costs to H: this H makes their sum least. As the loss may swing, a second rule lets H
    fall in any case: where the first gives no less than there is, H ← ⌈γ·H⌉.

    For works that make local steps, such as `works.LocalSteps()`. A worker that crashes is waited for.

    Args:
        every: T_0, the interval between two looks at the loss, simulated seconds. Looks take none.
        steps: H_0, with which it begins, at least 1.
        shrink: γ, above 0 and below 1; without it the first rule stands alone, and H may grow again.

    Raises:
        ValueError: for numbers out of their range.
        simsgd.ProtocolError: when it is recorded without gradients: it needs `simulate`.

    Source: Wang and Joshi (2019), "Adaptive communication strategies to achieve the best error-runtime trade-off in
    local-update SGD", the rules for a fixed step size (from memory; the first follows from that bound. Paddle's adaptive local
    SGD has H_0 under the root).

    Example:
        >>> import simsgd as sg
        >>> sgd = sg.optimizers.sgd
        >>> protocol = sg.protocols.AdaCommSGD(every=10.0, steps=8)
        >>> method = sg.Method(protocol, sgd(1.0), work=sg.works.LocalSteps(), inner=sgd(0.1))
        >>> cluster = sg.Cluster(workers=2, compute=sg.times.Constant(1.0))
        >>> run = sg.simulate(method, sg.problems.quadratic(spectrum=(1.0,)), cluster, until=sg.Seconds(25))
        >>> run.tape.steps[::2].tolist()  # √F falls to 0.9 of itself with each local step: after 16, ⌈8·0.185⌉ = 2
        [8, 8, 2, 2, 2, 2]
    """

    every: float
    steps: int = 10
    shrink: float | None = None
    observes: ClassVar[bool] = True
    synchronous: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.store(
            self,
            every=checks.positive("AdaCommSGD.every", self.every, "seconds"),
            steps=checks.whole("AdaCommSGD.steps", self.steps, 1),
        )
        if self.shrink is not None:
            checks.store(self, shrink=checks.positive("AdaCommSGD.shrink", checks.below_one("AdaCommSGD.shrink", self.shrink)))

    def start(self, server: Server) -> None:
        """Look at the loss and hand a job of H_0 steps to each worker."""
        server.notes.update(steps=self.steps, first_loss=server.observe("loss"), look=self.every)
        super().start(server)

    def _hand_out(self, server: Server) -> None:
        """Look at the loss if it is time, and hand a job to each worker."""
        if server.now >= server.notes["look"]:
            server.notes.update(steps=self._wanted(server), look=server.now + self.every)
        for worker in server.workers:
            server.assign(worker, steps=server.notes["steps"])

    def _wanted(self, server: Server) -> int:
        """Return H for the loss as it is."""
        loss, first, now = server.observe("loss"), server.notes["first_loss"], int(server.notes["steps"])
        if not math.isfinite(loss) or first <= 0:
            return now
        wanted = max(1, math.ceil(math.sqrt(max(loss, 0.0) / first) * self.steps))
        return wanted if self.shrink is None or wanted < now else math.ceil(self.shrink * now)
