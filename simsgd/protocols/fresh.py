"""Methods that ignore stale gradients: optimal in time where workers differ, because slow workers cannot spoil a step."""

from __future__ import annotations

from dataclasses import dataclass

from simsgd.protocols.base import Protocol, Server
from simsgd.support import checks
from simsgd.tape.schema import Gradient


@dataclass(frozen=True)
class RennalaSGD(Protocol):
    """Rennala SGD: use only gradients of the current version, step with the average of B of them, ignore all others.

    w ← w − η · (1/B) Σ_{j ≤ B} g_{i_j}(w). With constant job times h_i a step takes the smallest t with Σ_i ⌊t/h_i⌋ ≥ B.

    Args:
        gradients: B, how many gradients make a step, at least 1.

    Raises:
        ValueError: if `gradients` is not a whole number of at least 1.

    Source: Tyurin and Richtárik (2023), "Optimal time complexities of parallel stochastic optimization methods under a fixed
    computation model", method 4.

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


@dataclass(frozen=True)
class RingmasterASGD(Protocol):
    """Ringmaster ASGD: asynchronous SGD that ignores gradients R or more versions old.

    w ← w − η · g_i(w_read) where the staleness is below R. With R = 1 only fresh gradients count; with R = ∞ it is `AsyncSGD`.

    Args:
        threshold: R, the staleness from which on a gradient is ignored, at least 1.

    Raises:
        ValueError: if `threshold` is not a whole number of at least 1.

    Source: Maranjyan, Tyurin and Richtárik (2025), "Ringmaster ASGD: the first asynchronous SGD with optimal time complexity",
    algorithm 4.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=1.0))
        >>> int(sg.record(sg.protocols.RingmasterASGD(threshold=3), cluster, until=sg.Updates(100)).staleness.max())
        2
    """

    threshold: int

    def __post_init__(self) -> None:
        checks.store(self, threshold=checks.whole("RingmasterASGD.threshold", self.threshold, 1))

    def on_gradient(self, server: Server, gradient: Gradient) -> None:
        """Apply the gradient if it is not too stale, and send its worker on."""
        if server.staleness(gradient) < self.threshold:
            server.apply(gradient)
        server.assign(gradient.worker)
