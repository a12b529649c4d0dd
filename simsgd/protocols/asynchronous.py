"""Asynchronous methods: every worker is handed the newest model as soon as its gradient is there, and waits for nobody."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from simsgd.protocols.base import Protocol, Server
from simsgd.protocols.needs import need_workers
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


@dataclass(frozen=True)
class KAsyncSGD(Protocol):
    """K-async SGD: step with the average of the first K workers' gradients, however stale; the other workers compute on.

    w ← w − η · (1/K) Σ_{K workers} g_i(w_read). A worker that has delivered waits for the step, so the K gradients come from K
    different workers; then these K are handed the new model. Nothing is cancelled. Mean staleness is (n − K)/K. With K = 1 it
    is `AsyncSGD`, with K = n it is `MinibatchSGD`; `KBatchAsyncSGD` lets nobody wait.

    A worker that crashes is handed the newest model when it is back. Where fewer than K workers are left, no step is made any
    more.

    Args:
        gradients: K, how many workers' gradients make a step, at least 1.

    Raises:
        ValueError: if `gradients` is not a whole number of at least 1; when a recording starts, if it is more than there are
            workers.

    Source: Dutta et al. (2018), "Slow and stale gradients can win the race", section 2.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=3, compute=sg.times.PerWorker([sg.times.Constant(s) for s in (1.0, 2.0, 5.0)]))
        >>> tape = sg.record(sg.protocols.KAsyncSGD(gradients=2), cluster, until=sg.Updates(3))
        >>> tape.time.tolist(), tape.worker.tolist(), tape.staleness.tolist()
        ([1.0, 2.0, 3.0, 4.0, 5.0, 5.0], [0, 1, 0, 1, 2, 0], [0, 0, 0, 0, 2, 0])
    """

    gradients: int

    def __post_init__(self) -> None:
        checks.store(self, gradients=checks.whole("KAsyncSGD.gradients", self.gradients, 1))

    def start(self, server: Server) -> None:
        """Hand a job to each worker, if they are enough."""
        need_workers(server, "KAsyncSGD.gradients", self.gradients, "each gives at most one gradient to a step")
        server.notes["waiting"] = []
        super().start(server)

    def on_gradient(self, server: Server, gradient: Gradient) -> None:
        """Accumulate and let the worker wait; with the K-th, step and hand out to those who wait."""
        server.accumulate(gradient, weight=1 / self.gradients)
        server.notes["waiting"].append(gradient.worker)
        if server.accumulated == self.gradients:
            server.step()
            hand_out_to_those_who_wait(server)

    def on_leave(self, server: Server, worker: int) -> None:
        """Go on with the others."""
        forget_waiting(server, worker)


def hand_out_to_those_who_wait(server: Server) -> None:
    """Hand the model to all workers in `server.notes["waiting"]`, in order, and empty it."""
    ready, server.notes["waiting"] = sorted(server.notes["waiting"]), []
    for worker in ready:
        server.assign(worker)


def forget_waiting(server: Server, worker: int) -> None:
    """Take a worker that has left out of `server.notes["waiting"]`."""
    server.notes["waiting"] = [other for other in server.notes["waiting"] if other != worker]


@dataclass(frozen=True, repr=False)
class BoundedAsyncSGD(Protocol):
    """Asynchronous SGD with bounded concurrency: K jobs in flight among n workers, each gradient stepped with as it arrives.

    w ← w − η · g_i(w_read). When a gradient arrives, the new model is handed to an idle worker: to any of them at random, or to
    the one that has been idle for longest. After T steps Σ staleness (used) + Σ staleness (in flight) = (K − 1)·T exactly, so
    mean staleness is K − 1 whatever the timing, and concurrency, not the number of workers, decides it. With K = n it is
    `AsyncSGD`.

    A worker that crashes gives its place to another; when it is back it is idle.

    Args:
        jobs: K, how many jobs are in flight, at least 1.
        choose: "random", among the idle workers, by the protocol's own random numbers; or "in turn".

    Raises:
        ValueError: if `jobs` is not a whole number of at least 1, or `choose` is neither; when a recording starts, if there
            are more jobs than workers.

    Source: Koloskova, Stich and Jaggi (2022), "Sharper convergence guarantees for asynchronous SGD for distributed and
    federated learning", algorithm 1 (concurrency) and 2 (workers chosen at random).

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=5, compute=sg.times.Exponential(mean=1.0))
        >>> tape = sg.record(sg.protocols.BoundedAsyncSGD(jobs=2), cluster, until=sg.Updates(100))
        >>> int(tape.staleness.sum() + (tape.updates - tape.in_flight.read).sum())
        100
    """

    jobs: int
    choose: str = "random"

    def __post_init__(self) -> None:
        checks.store(self, jobs=checks.whole("BoundedAsyncSGD.jobs", self.jobs, 1))
        checks.one_of("BoundedAsyncSGD.choose", self.choose, ("random", "in turn"))

    def start(self, server: Server) -> None:
        """Hand out K jobs, if there are so many workers."""
        need_workers(server, "BoundedAsyncSGD.jobs", self.jobs, "each has at most one job in flight")
        server.notes["idle"] = deque(server.workers)
        first = sorted(self._next(server) for _ in range(self.jobs))
        for worker in first:
            server.assign(worker)

    def on_gradient(self, server: Server, gradient: Gradient) -> None:
        """Apply it, and hand the new model to an idle worker."""
        server.apply(gradient)
        self._now_idle(server, gradient.worker)

    def on_lost(self, server: Server, worker: int) -> None:
        """Give the place of the worker to another."""
        server.cancel(worker)
        self._fill(server)

    def on_return(self, server: Server, worker: int) -> None:
        """Count the worker among the idle ones."""
        if worker not in server.busy and worker not in server.notes["idle"]:
            self._now_idle(server, worker)

    def on_leave(self, server: Server, worker: int) -> None:
        """Forget the worker, and give its place to another."""
        if worker in server.notes["idle"]:
            server.notes["idle"].remove(worker)
        self._fill(server)

    def on_join(self, server: Server, worker: int) -> None:
        """Count the worker among the idle ones."""
        self._now_idle(server, worker)

    def _now_idle(self, server: Server, worker: int) -> None:
        server.notes["idle"].append(worker)
        self._fill(server)

    def _fill(self, server: Server) -> None:
        """Hand out jobs until there are K of them; workers that are down come back by `on_return`."""
        idle, busy, down = server.notes["idle"], server.busy, server.down
        while idle and len(busy) < self.jobs:
            worker = self._next(server)
            if worker not in down:
                server.assign(worker)

    def _next(self, server: Server) -> int:
        """Take an idle worker out of those that are."""
        idle: deque[int] = server.notes["idle"]
        if self.choose == "random":
            place = int(server.rng.random() * len(idle))
            idle[place], idle[0] = idle[0], idle[place]
        return idle.popleft()
