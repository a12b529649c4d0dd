"""Asynchronous methods: every worker is handed the newest model as soon as its gradient is there, and waits for nobody."""

from __future__ import annotations

from dataclasses import dataclass

from simsgd.protocols.base import Protocol, Server
from simsgd.support import checks
from simsgd.tape.schema import Gradient


@dataclass(frozen=True)
class AsyncSGD(Protocol):
    """Asynchronous SGD: step with each gradient as it arrives, hand its worker the newest model, wait for nobody.

    w ← w − η · g_i(w_read). With one job in flight for each of n workers the mean staleness is n−1, whatever the timing.
    A step is made of one gradient, not of an average over n: at the same step size it moves n times as far per sample
    as `MinibatchSGD`.

    A crash stops nobody else: the job in hand is lost, and the worker is handed the newest model when it is back. Workers
    may leave and join at any time.

    Source: Dean et al. (2012), "Large scale distributed deep networks".

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=3, compute=sg.times.Constant(2.0))
        >>> sg.record(sg.AsyncSGD(), cluster, until=sg.Updates(6)).staleness.tolist()
        [0, 1, 2, 2, 2, 2]
    """

    def on_gradient(self, server: Server, gradient: Gradient) -> None:
        """Apply it and send its worker on."""
        server.apply(gradient)
        server.assign(gradient.worker)


@dataclass(frozen=True)
class KBatchAsyncSGD(Protocol):
    """K-batch-async SGD: step with the average of every K gradients, whoever they come from and however stale they are.

    w ← w − η · (1/K) Σ g_i(w_read). A step takes K·E[X]/n seconds on average, mean staleness is (n − 1)/K. With K = 1 it is
    `AsyncSGD`; with K = ⌊n/c⌋ it is c-softsync.

    Args:
        gradients: K, how many gradients make a step, at least 1.

    Raises:
        ValueError: if `gradients` is not a whole number of at least 1.

    Source: Dutta et al. (2018), "Slow and stale gradients can win the race", section 2; Zhang et al. (2015), "Staleness-aware
    async-SGD for distributed deep learning" (n-softsync).

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=1.0))
        >>> tape = sg.record(sg.protocols.KBatchAsyncSGD(gradients=2), cluster, until=sg.Updates(2000), seed=0)
        >>> round(float(tape.staleness.mean()), 1)
        1.5
    """

    gradients: int

    def __post_init__(self) -> None:
        checks.store(self, gradients=checks.whole("KBatchAsyncSGD.gradients", self.gradients, 1))

    def on_gradient(self, server: Server, gradient: Gradient) -> None:
        """Accumulate; with the K-th, step. Send the worker on."""
        server.accumulate(gradient, weight=1 / self.gradients)
        if server.accumulated == self.gradients:
            server.step()
        server.assign(gradient.worker)
