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
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from typing import Protocol as Interface

from simsgd.support import checks, frozen
from simsgd.tape.schema import Gradient

if TYPE_CHECKING:
    import numpy as np


class JobInFlight(NamedTuple):
    """A job under way, as far as the server knows it.

    Attributes:
        worker: whose it is.
        job: which of the worker's jobs, counted from 0.
        read: the version of the model that it was handed.
        assigned: when it was handed it, simulated seconds.
        steps: the local steps that it has; 1 if it has a time instead, as nobody knows yet what will come of it.
    """

    worker: int
    job: int
    read: int
    assigned: float
    steps: int


class Server(Interface):
    """What a protocol may say to the server and ask of it.

    Raises:
        simsgd.ProtocolError: from any verb that makes no sense: assigning to a busy worker, cancelling an idle one,
            accumulating a gradient that is not being delivered, stepping with nothing accumulated, setting an alarm in the
            past, observing while recording without gradients.
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

    def accumulated_by(self, worker: int) -> int:
        """Return how many gradients of a worker have been accumulated since the last step."""

    @property
    def jobs(self) -> Mapping[int, JobInFlight]:
        """The jobs in flight, by worker: to be looked at, not to be changed.

        Stop what has been under way for longer than a minute, and hand out anew:

            for worker, job in server.jobs.items():
                if server.now - job.assigned > 60:
                    server.cancel(worker)
                    server.assign(worker)
        """

    @property
    def notes(self) -> dict[str, Any]:
        """The protocol's own memory, empty when a recording begins."""

    @property
    def rng(self) -> np.random.Generator:
        """The protocol's own random numbers, a NumPy generator: a stream of the recording's seed that nothing else draws from.

        Drop a gradient with probability p: `if server.rng.random() < p: return`. The same seed gives the same draws in the same
        order; no other draw of the recording moves.
        """

    def assign(
        self,
        worker: int,
        steps: int | None = None,
        bytes_down: float | None = None,
        bytes_up: float | None = None,
        kind: int = 0,
    ) -> None:
        """Hand the current model to an idle worker, which begins its next job.

        What is asked for is one message. A worker that is down, or crashes on the way, is handed the then newest model when it
        is back. The job has the local steps of the method's work, or `steps`, at least 1, if that is given: its compute time is
        the sum of so many draws. Its messages have the bytes of the work, or `bytes_down` and `bytes_up`, finite and at least
        0: these take time, and are counted; what is computed does not depend on them. `kind` says what kind of job it is,
        where the method's work knows several (`Work.kinds`).
        """

    def cancel(self, worker: int) -> None:
        """Stop the worker's job at once and throw it away, and ask for its gradient no longer; the worker is idle again."""

    def accumulate(self, gradient: Gradient, weight: float = 1.0) -> None:
        """Add weight·gradient to the next step; only the gradient being delivered can be accumulated."""

    def step(self, scale: float = 1.0, weights: Mapping[int, float] | None = None) -> None:
        """Update the model with `scale` times what was accumulated: one new version.

        `weights` are known only now: each worker's accumulated gradients are multiplied by its own; 1 for those that it leaves
        out. The mean over n workers of each one's mean over its B_i gradients:

            server.step(weights={worker: 1 / (n * server.accumulated_by(worker)) for worker in server.workers})
        """

    def apply(self, gradient: Gradient, weight: float = 1.0) -> None:
        """Accumulate and step."""

    def alarm(self, seconds: float) -> None:
        """Have the protocol's `on_alarm` called after so many seconds, at least 0, once; several alarms may be set."""

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

    def on_alarm(self, server: Server) -> None:
        """Answer an alarm that `server.alarm` had set, doing all that `on_gradient` may do but use a gradient.

        Alarms and gradients of one moment come in the order in which they were set and became known. What has no job under way
        and sets one alarm after the other is taken to be stuck.

        Example:
            >>> from dataclasses import dataclass
            >>> import simsgd as sg
            >>> @dataclass(frozen=True)
            ... class Regularly(sg.AsyncSGD):
            ...     '''Step every `period` seconds with the mean of what has come.'''
            ...     period: float = 1.0
            ...     def start(self, server):
            ...         super().start(server)
            ...         server.alarm(self.period)
            ...     def on_gradient(self, server, gradient):
            ...         server.accumulate(gradient)
            ...         server.assign(gradient.worker)
            ...     def on_alarm(self, server):
            ...         if server.accumulated:
            ...             server.step(scale=1 / server.accumulated)
            ...         server.alarm(self.period)
            >>> cluster = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=0.5))
            >>> sg.record(Regularly(), cluster, until=sg.Updates(4)).update_times.tolist()
            [1.0, 2.0, 3.0, 4.0]
        """

    def __repr__(self) -> str:
        """Show the fields that differ from their defaults, for a dataclass with `repr=False`."""
        shown = ((f, getattr(self, f.name)) for f in dataclasses.fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(f'{f.name}={value!r}' for f, value in shown if value != f.default)})"


def check(protocol: object) -> None:
    """Raise TypeError unless `protocol` is an instance of a `Protocol`, and a frozen dataclass whose fields cannot change."""
    checks.instance("protocol", protocol, Protocol, "AsyncSGD()")
    frozen.check_class("protocol", protocol, "what it must remember into server.notes")
    frozen.check_fields("protocol", protocol)
