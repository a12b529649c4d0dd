"""Synchronous methods: a step is made of gradients of one version, and those that come too late are not used."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from simsgd.protocols.base import Protocol, Server
from simsgd.protocols.needs import need_workers
from simsgd.protocols.rounds import Rounds
from simsgd.support import checks
from simsgd.tape.schema import Gradient


@dataclass(frozen=True, repr=False)
class MinibatchSGD(Rounds):
    """Synchronous SGD: wait for every worker, step with the average, hand the new model to all.

    w ← w − η · (1/n) Σ_i g_i(w). Every gradient has staleness 0, and each step takes as long as the slowest worker. An
    all-reduce can carry it as well as a server.

    A worker that crashes is waited for: when it is back it computes its gradient anew. Told not to wait, the others go on
    without it, and step with the average of those there are; it takes part again from the next step that begins after its
    return. Workers that leave for good are not waited for, those that join take part from the next step on.

    Args:
        wait: whether to wait for workers that have crashed.
        average: whether to step with the average of the gradients, or with their sum.

    Source: Chen et al. (2016), "Revisiting distributed synchronous SGD".

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=3, compute=sg.times.Constant(2.0))
        >>> sg.record(sg.MinibatchSGD(), cluster, until=sg.Updates(2)).time.tolist()
        [2.0, 2.0, 2.0, 4.0, 4.0, 4.0]
    """

    wait: bool = True
    average: bool = True
    synchronous: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.truth("MinibatchSGD.wait", self.wait, "how many workers is the cluster's")
        checks.truth("MinibatchSGD.average", self.average)

    def on_lost(self, server: Server, worker: int) -> None:
        """Wait for the worker, or, told not to, go on with the others."""
        if not self.wait:
            server.cancel(worker)
            self._step_when_all_are_in(server)

    def on_return(self, server: Server, worker: int) -> None:
        """Go on, if nobody else was left."""
        self._step_when_all_are_in(server)

    def _step(self, server: Server) -> None:
        server.step(scale=1 / server.accumulated if self.average else 1.0)

    def _hand_out(self, server: Server) -> None:
        steps = self._local_steps(server)
        for worker in server.workers:
            if self.wait or worker not in server.down:
                server.assign(worker, steps)

    def _local_steps(self, server: Server) -> int | None:
        """Return how many local steps the jobs of this round have; None for those of the method's work."""
        return None


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
        ValueError: if `gradients` is not a whole number of at least 1; when a recording starts, if it is more than there are
            workers.

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

    def start(self, server: Server) -> None:
        """Hand a job to each worker, if they are enough."""
        need_workers(server, "KSyncSGD.gradients", self.gradients, "each gives at most one gradient to a step")
        super().start(server)

    def on_gradient(self, server: Server, gradient: Gradient) -> None:
        """Accumulate; with the K-th, step, cancel what is under way and hand out."""
        server.accumulate(gradient, weight=1 / self.gradients)
        if server.accumulated == self.gradients:
            server.step()
            _begin_anew(server)


@dataclass(frozen=True)
class KBatchSyncSGD(Protocol):
    """K-batch-sync SGD: step with the average of any K gradients of the current version, then cancel all other jobs.

    w ← w − η · (1/K) Σ_{the first K} g_i(w). A worker that is ready before the step is made computes another gradient of the
    same version, so nobody waits, and every gradient has staleness 0. With exponential job times of rate μ a step takes K/(nμ)
    seconds on average; with constant ones, h_i, exactly the smallest t with Σ_i ⌊t/h_i⌋ ≥ K. `RennalaSGD` differs in that it
    lets the jobs of the last version run to their end.

    A worker that crashes is handed the newest model when it is back.

    Args:
        gradients: K, how many gradients make a step, at least 1.

    Raises:
        ValueError: if `gradients` is not a whole number of at least 1.

    Source: Dutta et al. (2018), "Slow and stale gradients can win the race", section 2.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=2, compute=sg.times.PerWorker([sg.times.Constant(1.0), sg.times.Constant(1.5)]))
        >>> sg.record(sg.protocols.KBatchSyncSGD(gradients=3), cluster, until=sg.Updates(2)).time.tolist()
        [1.0, 1.5, 2.0, 3.0, 3.5, 4.0]
    """

    gradients: int

    def __post_init__(self) -> None:
        checks.store(self, gradients=checks.whole("KBatchSyncSGD.gradients", self.gradients, 1))

    def on_gradient(self, server: Server, gradient: Gradient) -> None:
        """Accumulate and send the worker on; with the K-th, step, cancel what is under way and hand out."""
        server.accumulate(gradient, weight=1 / self.gradients)
        if server.accumulated == self.gradients:
            server.step()
            _begin_anew(server)
        else:
            server.assign(gradient.worker)


def _begin_anew(server: Server) -> None:
    """Cancel what is under way and hand the new model to all."""
    busy = server.busy
    for worker in server.workers:
        if worker in busy:
            server.cancel(worker)
        server.assign(worker)


@dataclass(frozen=True)
class FirstMSGD(Rounds):
    """Synchronous SGD with some of the workers only: those known to be the fastest. The others never compute.

    w ← w − η · (1/m) Σ_{i ≤ m} g_i(w). Every gradient has staleness 0, and with constant job times h_1 ≤ … ≤ h_n each step
    takes h_m. Steps with m gradients are fewer where noise is what makes them many: the best m minimises h_m·(1 + s/m), with
    s = σ²/ε. Unlike `KSyncSGD`, which takes the first K of each step, it has the m workers chosen beforehand, and cancels
    nothing. With all workers it is `MinibatchSGD`.

    A worker that crashes is waited for; those that leave are not. A chosen worker that joins takes part from the next step on.

    Args:
        workers: m, for the workers 0 to m−1, if they are numbered from the fastest to the slowest as in the papers; or the
            numbers of the chosen ones.

    Raises:
        TypeError, ValueError: if `workers` is neither; when a recording starts, if somebody chosen is not there.

    Source: Tyurin and Richtárik (2023), "Optimal time complexities of parallel stochastic optimization methods under a fixed
    computation model", the discussion of Minibatch SGD with the m fastest workers; from memory, also as m-synchronous SGD.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=3, compute=sg.times.PerWorker([sg.times.Constant(s) for s in (1.0, 2.0, 5.0)]))
        >>> sg.record(sg.protocols.FirstMSGD(workers=2), cluster, until=sg.Updates(2)).time.tolist()
        [1.0, 2.0, 3.0, 4.0]
    """

    workers: int | Sequence[int]

    def __post_init__(self) -> None:
        if isinstance(self.workers, numbers.Integral):
            checks.store(self, workers=checks.whole("FirstMSGD.workers", self.workers, 1))
            return
        given = checks.sequence("FirstMSGD.workers", self.workers, "(0, 2, 5), or a whole number, 3")
        chosen = tuple(checks.whole("FirstMSGD.workers", worker, 0) for worker in given)
        if not chosen or len(set(chosen)) < len(chosen):
            raise ValueError(f"FirstMSGD.workers must name at least one worker, and each once, got {checks.shown(given)}")
        checks.store(self, workers=tuple(sorted(chosen)))

    def start(self, server: Server) -> None:
        """Hand a job to each of the chosen workers, if they are there."""
        there = server.workers
        if isinstance(self.workers, int):
            need_workers(server, "FirstMSGD.workers", self.workers, "it waits for so many of them")
        elif not set(self.workers) <= set(there):
            missing = sorted(set(self.workers) - set(there))
            raise ValueError(
                f"FirstMSGD.workers has {checks.shown(missing)}, but the cluster's workers are {checks.shown(list(there))}: "
                "choose among those"
            )
        server.notes["chosen"] = tuple(there[: self.workers]) if isinstance(self.workers, int) else self.workers
        self._hand_out(server)

    def _hand_out(self, server: Server) -> None:
        there = set(server.workers)
        for worker in server.notes["chosen"]:
            if worker in there:
                server.assign(worker)
