"""Synchronous methods: a step is made of gradients of one version, and those that come too late are not used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simsgd.protocols.base import Protocol, Server
from simsgd.support import checks
from simsgd.tape.schema import Gradient


@dataclass(frozen=True, repr=False)
class MinibatchSGD(Protocol):
    """Synchronous SGD: wait for every worker, step with the average, hand the new model to all.

    w ← w − η · (1/n) Σ_i g_i(w). Every gradient has staleness 0, and each step takes as long as the slowest worker. An
    all-reduce can carry it as well as a server.

    A worker that crashes is waited for: when it is back it computes its gradient anew. Told not to wait, the others go on
    without it, and step with the average of those there are; it takes part again from the next step that begins after its
    return. Workers that leave for good are not waited for, those that join take part from the next step on.

    Args:
        wait: whether to wait for workers that have crashed.

    Source: Chen et al. (2016), "Revisiting distributed synchronous SGD".

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=3, compute=sg.times.Constant(2.0))
        >>> sg.record(sg.MinibatchSGD(), cluster, until=sg.Updates(2)).time.tolist()
        [2.0, 2.0, 2.0, 4.0, 4.0, 4.0]
    """

    wait: bool = True
    synchronous: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.wait, bool):
            raise TypeError(f"MinibatchSGD.wait must be True or False, got {self.wait!r}: how many workers is the cluster's")

    def on_gradient(self, server: Server, gradient: Gradient) -> None:
        """Accumulate; with the last that was asked for, step and hand out."""
        server.accumulate(gradient)
        self._step_when_all_are_in(server)

    def on_lost(self, server: Server, worker: int) -> None:
        """Wait for the worker, or, told not to, go on with the others."""
        if not self.wait:
            server.cancel(worker)
            self._step_when_all_are_in(server)

    def on_return(self, server: Server, worker: int) -> None:
        """Go on, if nobody else was left."""
        self._step_when_all_are_in(server)

    def on_leave(self, server: Server, worker: int) -> None:
        """Go on with the others."""
        self._step_when_all_are_in(server)

    def on_join(self, server: Server, worker: int) -> None:
        """Take the worker in from the next step on."""
        self._step_when_all_are_in(server)

    def _step_when_all_are_in(self, server: Server) -> None:
        if server.busy:
            return
        if server.accumulated:
            server.step(scale=1 / server.accumulated)
        for worker in server.workers:
            if self.wait or worker not in server.down:
                server.assign(worker)


@dataclass(frozen=True)
class KSyncSGD(Protocol):
    """K-sync SGD: step with the average of the first K gradients, cancel the other jobs, hand the new model to all.

    w ← w − η · (1/K) Σ_{the first K} g_i(w). Every gradient has staleness 0; a step takes as long as the K-th fastest of n
    workers, E[X_{K:n}]. With K = n it is `MinibatchSGD`; the n − K others are backup workers.

    A worker that crashes is handed the newest model when it is back. Where fewer than K workers are left, no step is made any
    more.

    Args:
        gradients: K, how many gradients make a step, at least 1.

    Raises:
        ValueError: if `gradients` is not a whole number of at least 1.

    Source: Dutta et al. (2018), "Slow and stale gradients can win the race", section 2; Chen et al. (2016), "Revisiting
    distributed synchronous SGD" (backup workers).

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=3, compute=sg.times.PerWorker([sg.times.Constant(s) for s in (1.0, 2.0, 5.0)]))
        >>> sg.record(sg.protocols.KSyncSGD(gradients=2), cluster, until=sg.Updates(2)).time.tolist()
        [1.0, 2.0, 3.0, 4.0]
    """

    gradients: int

    def __post_init__(self) -> None:
        checks.store(self, gradients=checks.whole("KSyncSGD.gradients", self.gradients, 1))

    def on_gradient(self, server: Server, gradient: Gradient) -> None:
        """Accumulate; with the K-th, step, cancel what is under way and hand out."""
        server.accumulate(gradient, weight=1 / self.gradients)
        if server.accumulated == self.gradients:
            server.step()
            for worker in server.workers:
                if worker in server.busy:
                    server.cancel(worker)
                server.assign(worker)
