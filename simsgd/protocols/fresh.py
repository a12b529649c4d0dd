"""Methods that ignore stale gradients: optimal in time where workers differ, because slow workers cannot spoil a step."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from simsgd.protocols.base import Protocol, Server
from simsgd.support import checks
from simsgd.tape.schema import Gradient


@dataclass(frozen=True)
class RennalaSGD(Protocol):
    """Rennala SGD: use only gradients of the current version, step with the average of B of them, ignore all others.

    w ← w − η · (1/B) Σ_{j ≤ B} g_{i_j}(w). With constant job times h_i the first step takes the smallest t with
    Σ_i ⌊t/h_i⌋ ≥ B; a later one up to so much more as workers take to end what they were computing for the version before.
    Asynchronous mini-batching (Attia, Gaash and Koren, 2024) is the same rule around any optimizer.

    Args:
        gradients: B, how many gradients make a step, at least 1.

    Raises:
        ValueError: if `gradients` is not a whole number of at least 1.

    Source: Tyurin and Richtárik (2023), "Optimal time complexities of parallel stochastic optimization methods under a fixed
    computation model", method 4; Attia, Gaash and Koren (2024), "Faster stochastic optimization with arbitrary delays via
    asynchronous mini-batching", arXiv 2408.07503 (from memory).

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=2, compute=sg.times.PerWorker([sg.times.Constant(1.0), sg.times.Constant(1.5)]))
        >>> sg.record(sg.protocols.RennalaSGD(gradients=3), cluster, until=sg.Updates(1)).update_times.tolist()
        [2.0]
    """

    gradients: int

    def __post_init__(self) -> None:
        checks.store(self, gradients=checks.whole("RennalaSGD.gradients", self.gradients, 1))

    def on_gradient(self, server: Server, gradient: Gradient) -> None:
        """Accumulate a gradient of the current version; with the B-th, step. Send the worker on."""
        if server.staleness(gradient) == 0:
            server.accumulate(gradient, weight=1 / self.gradients)
            if server.accumulated == self.gradients:
                server.step()
        server.assign(gradient.worker)


@dataclass(frozen=True, repr=False)
class RingmasterASGD(Protocol):
    """Ringmaster ASGD: asynchronous SGD that ignores gradients R or more versions old.

    w ← w − η · g_i(w_read) where the staleness is below R. With R = 1 only fresh gradients count; with R = ∞ it is `AsyncSGD`.
    With `stops`, a job is cancelled as soon as its staleness reaches R, and its worker handed the newest model: no time is
    spent on gradients that would be ignored.

    Args:
        threshold: R, the staleness from which on a gradient is ignored, at least 1.
        stops: whether jobs that have become too stale are cancelled.

    Raises:
        TypeError, ValueError: if `threshold` is not a whole number of at least 1, or `stops` not a truth value.

    Source: Maranjyan, Tyurin and Richtárik (2025), "Ringmaster ASGD: the first asynchronous SGD with optimal time complexity",
    algorithm 4, and 5 with calculation stops.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=1.0))
        >>> int(sg.record(sg.protocols.RingmasterASGD(threshold=3), cluster, until=sg.Updates(100)).staleness.max())
        2
    """

    threshold: int
    stops: bool = False

    def __post_init__(self) -> None:
        checks.store(self, threshold=checks.whole("RingmasterASGD.threshold", self.threshold, 1))
        checks.truth("RingmasterASGD.stops", self.stops)

    def start(self, server: Server) -> None:
        """Hand a job to each worker."""
        server.notes["reads"] = deque()
        for worker in server.workers:
            self._assign(server, worker)

    def on_gradient(self, server: Server, gradient: Gradient) -> None:
        """Apply the gradient if it is not too stale, and send its worker on; stop what has become too stale."""
        if server.staleness(gradient) < self.threshold:
            server.apply(gradient)
        self._assign(server, gradient.worker)
        if self.stops:
            self._stop_stale_jobs(server)

    def on_return(self, server: Server, worker: int) -> None:
        """Note what the worker reads, if it owed a gradient and was handed the newest model."""
        if self.stops and worker in server.busy:
            self._note(server, worker)

    def on_join(self, server: Server, worker: int) -> None:
        """Hand the worker the model."""
        self._assign(server, worker)

    def _assign(self, server: Server, worker: int) -> None:
        server.assign(worker)
        if self.stops:
            self._note(server, worker)

    def _note(self, server: Server, worker: int) -> None:
        """Note which version a worker reads: last in line, as versions only grow."""
        server.notes["reads"].append((server.version, worker))

    def _stop_stale_jobs(self, server: Server) -> None:
        """Cancel the jobs whose staleness has reached R and send their workers on."""
        reads, jobs, too_old = server.notes["reads"], server.jobs, server.version - self.threshold
        while reads[0][0] <= too_old:
            read, worker = reads.popleft()
            if worker in jobs and jobs[worker].read == read:
                server.cancel(worker)
                self._assign(server, worker)
