"""Who waits for whom: the rules by which a server answers gradients.

Laws of this module:

1. A protocol is a frozen dataclass with `on_gradient(server, gradient)`, written in the server's verbs alone. It holds
   no state between gradients (`server.notes` is the place for that), so one object serves any number of runs.
2. No SimPy and no JAX inside: a protocol reads like its paper's pseudocode and runs against any object with the verbs.
3. Weights are said, never implied: the server steps with Σ weight·gradient. `MinibatchSGD` averages (weight 1/n).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import Protocol as Interface

from simsgd import checks


@dataclass(slots=True, eq=False)
class Gradient:
    """One gradient through its life: asked for at `assigned`, computed, delivered at `arrived`.

    Attributes:
        worker: whose it is.
        job: which of the worker's jobs, counted from 0.
        read: the version of the model that the server handed out for it.
        assigned: when the server handed the model out, simulated seconds.
        began: when the model had reached the worker and computing began; not a number until then.
        ended: when computing ended; not a number until then.
        arrived: when the gradient reached the server; not a number until then.
    """

    worker: int
    job: int
    read: int
    assigned: float
    began: float = math.nan
    ended: float = math.nan
    arrived: float = math.nan


class Server(Interface):
    """What a protocol may say to the server and ask of it.

    Raises:
        simsgd.ProtocolError: from any verb that makes no sense: assigning to a busy worker, cancelling an idle one,
            accumulating a gradient that is not being delivered, stepping with nothing accumulated, observing while
            recording without gradients.
    """

    @property
    def workers(self) -> Sequence[int]:
        """The workers' numbers, 0 to n−1."""

    @property
    def version(self) -> int:
        """The model's version: how many steps the server has made."""

    @property
    def now(self) -> float:
        """Simulated seconds."""

    @property
    def accumulated(self) -> int:
        """How many gradients have been accumulated since the last step."""

    @property
    def notes(self) -> dict[str, Any]:
        """The protocol's own memory, empty when a recording begins."""

    def assign(self, worker: int) -> None:
        """Hand the current model to an idle worker, which begins its next job."""

    def cancel(self, worker: int) -> None:
        """Stop the worker's job at once and throw it away; the worker is idle again."""

    def accumulate(self, gradient: Gradient, weight: float = 1.0) -> None:
        """Add weight·gradient to the next step; only the gradient being delivered can be accumulated."""

    def step(self) -> None:
        """Update the model with what was accumulated: one new version."""

    def apply(self, gradient: Gradient, weight: float = 1.0) -> None:
        """Accumulate and step."""

    def observe(self, statistic: str) -> float:
        """Play the tape up to now and return one of the problem's metrics for the current model, for example "loss"."""

    def staleness(self, gradient: Gradient) -> int:
        """Return how many versions the model has moved on since the gradient's was handed out."""


class Protocol(ABC):
    """A rule for answering gradients: subclass it as a frozen dataclass with `on_gradient` to write your own.

    A gradient that `on_gradient` does not accumulate is thrown away: its time was spent, it is logged, and it is never
    computed.

    Example:
        >>> from dataclasses import dataclass
        >>> import simsgd as sg
        >>> @dataclass(frozen=True)
        ... class Picky(sg.Protocol):
        ...     '''Ignore gradients `threshold` or more versions old.'''
        ...     threshold: int
        ...     def on_gradient(self, server, gradient):
        ...         if server.staleness(gradient) < self.threshold:
        ...             server.apply(gradient)
        ...         server.assign(gradient.worker)
        >>> cluster = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=1.0))
        >>> int(sg.record(Picky(threshold=3), cluster, until=sg.Updates(100)).staleness.max())
        2
    """

    def start(self, server: Server) -> None:
        """Hand out the first jobs; unless overridden, one to each worker in the order of their numbers."""
        for worker in server.workers:
            server.assign(worker)

    @abstractmethod
    def on_gradient(self, server: Server, gradient: Gradient) -> None:
        """Answer a gradient that has just arrived."""


@dataclass(frozen=True)
class MinibatchSGD(Protocol):
    """Synchronous SGD: wait for every worker, step with the average, hand the new model to all.

    w ← w − η · (1/n) Σ_i g_i(w). Every gradient has staleness 0, and each step takes as long as the slowest worker.

    Source: Chen et al. (2016), "Revisiting distributed synchronous SGD".

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=3, compute=sg.times.Constant(2.0))
        >>> sg.record(sg.MinibatchSGD(), cluster, until=sg.Updates(2)).time.tolist()
        [2.0, 2.0, 2.0, 4.0, 4.0, 4.0]
    """

    def on_gradient(self, server: Server, gradient: Gradient) -> None:
        """Accumulate with weight 1/n; with the last of the n, step and hand out."""
        server.accumulate(gradient, weight=1 / len(server.workers))
        if server.accumulated == len(server.workers):
            server.step()
            for worker in server.workers:
                server.assign(worker)


@dataclass(frozen=True)
class AsyncSGD(Protocol):
    """Asynchronous SGD: step with each gradient as it arrives, hand its worker the newest model, wait for nobody.

    w ← w − η · g_i(w_read). With one job in flight for each of n workers the mean staleness is n−1, whatever the timing.
    A step is made of one gradient, not of an average over n: at the same step size it moves n times as far per sample
    as `MinibatchSGD`.

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


def check(protocol: object) -> None:
    """Raise TypeError unless `protocol` is an instance of a `Protocol`."""
    checks.instance("protocol", protocol, Protocol, "AsyncSGD()")
