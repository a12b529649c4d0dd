"""Who waits for whom: the rules by which a server answers gradients.

Laws of this module:

1. A protocol is a frozen dataclass with `on_gradient(server, gradient)`, written in the server's verbs alone. It holds
   no state between gradients (`server.notes` is the place for that), so one object serves any number of runs.
2. No SimPy and no JAX inside: a protocol reads like its paper's pseudocode and runs against any object with the verbs.
3. Weights are said, never implied: the server steps with Σ weight·gradient.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, ClassVar
from typing import Protocol as Interface

from simsgd.support import checks, frozen
from simsgd.tape.schema import Gradient

if TYPE_CHECKING:
    import numpy as np


class Server(Interface):
    """What a protocol may say to the server and ask of it.

    Raises:
        simsgd.ProtocolError: from any verb that makes no sense: assigning to a busy worker, cancelling an idle one,
            accumulating a gradient that is not being delivered, stepping with nothing accumulated, observing while
            recording without gradients.
    """

    @property
    def workers(self) -> Sequence[int]:
        """The numbers of the workers that belong to the cluster: 0 to n−1, unless some have left or are yet to join."""

    @property
    def busy(self) -> Collection[int]:
        """The workers that have a job, or are owed one: asked for a gradient that has not been delivered."""

    @property
    def down(self) -> Collection[int]:
        """Those of `workers` that are down at the moment."""

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

    @property
    def rng(self) -> np.random.Generator:
        """The protocol's own random numbers, a NumPy generator: a stream of the recording's seed that nothing else draws from.

        Drop a gradient with probability p: `if server.rng.random() < p: return`. The same seed gives the same draws in the same
        order; no other draw of the recording moves.
        """

    def assign(self, worker: int) -> None:
        """Hand the current model to an idle worker, which begins its next job.

        What is asked for is one gradient. A worker that is down, or crashes on the way, is handed the then newest model when
        it is back.
        """

    def cancel(self, worker: int) -> None:
        """Stop the worker's job at once and throw it away, and ask for its gradient no longer; the worker is idle again."""

    def accumulate(self, gradient: Gradient, weight: float = 1.0) -> None:
        """Add weight·gradient to the next step; only the gradient being delivered can be accumulated."""

    def step(self, scale: float = 1.0) -> None:
        """Update the model with `scale` times what was accumulated: one new version."""

    def apply(self, gradient: Gradient, weight: float = 1.0) -> None:
        """Accumulate and step."""

    def observe(self, statistic: str) -> float:
        """Play the tape up to now and return one of the problem's metrics for the current model, for example "loss"."""

    def staleness(self, gradient: Gradient) -> int:
        """Return how many versions the model has moved on since the gradient's was handed out."""


class Protocol(ABC):
    """A rule for answering gradients: subclass it as a frozen dataclass with `on_gradient` to write your own.

    A gradient that `on_gradient` does not accumulate is thrown away: its time was spent, it is logged, and it is never
    computed. `protocols.Server` says what `server` offers; what a protocol remembers it keeps in `server.notes`, a dict that is
    empty when a recording begins.

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

    synchronous: ClassVar[bool] = False
    """Whether each step is made of the gradients of all workers at one version, so that an all-reduce can sum them on the way.

    A promise, which nobody checks: a protocol that makes it and then steps with some of them only is simulated as if it could.
    """

    observes: ClassVar[bool] = False
    """Whether it calls `server.observe`, so that its tape depends on the gradients and cannot be recorded without them."""

    def start(self, server: Server) -> None:
        """Hand out the first jobs; unless overridden, one to each worker in the order of their numbers."""
        for worker in server.workers:
            server.assign(worker)

    @abstractmethod
    def on_gradient(self, server: Server, gradient: Gradient) -> None:
        """Answer a gradient that has just arrived."""

    def on_lost(self, server: Server, worker: int) -> None:
        """Answer that a worker has crashed with a job in hand. Unless overridden, wait: its gradient is still asked for."""

    def on_return(self, server: Server, worker: int) -> None:
        """Answer that a worker is back after a crash. Unless overridden, do nothing: what it owes it is handed again."""

    def on_leave(self, server: Server, worker: int) -> None:
        """Answer that a worker has left for good, with its job. Unless overridden, do nothing."""

    def on_join(self, server: Server, worker: int) -> None:
        """Answer that a new worker has joined. Unless overridden, hand it the model."""
        server.assign(worker)

    def __repr__(self) -> str:
        """Show the fields that differ from their defaults, for a dataclass with `repr=False`."""
        shown = ((f, getattr(self, f.name)) for f in dataclasses.fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(f'{f.name}={value!r}' for f, value in shown if value != f.default)})"


def check(protocol: object) -> None:
    """Raise TypeError unless `protocol` is an instance of a `Protocol`, and a frozen dataclass whose fields cannot change."""
    checks.instance("protocol", protocol, Protocol, "AsyncSGD()")
    frozen.check_class("protocol", protocol, "what it must remember into server.notes")
    frozen.check_fields("protocol", protocol)
