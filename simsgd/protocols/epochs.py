"""Epochs that begin with a full pass: all workers go through their parts of the data at one version, then come inner steps.

A job of kind 1 is a part of the full gradient, one of kind 0 an inner job, so these protocols are for works that know both,
such as `works.VarianceReducedGradient`. Each worker has a part of its own: workers that crash are waited for, and clusters
which workers leave or join are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NoReturn

from simsgd.protocols.base import Protocol, Server
from simsgd.protocols.rounds import Rounds, hand_out_to_all
from simsgd.support import checks
from simsgd.tape.schema import Gradient

INNER, PART = 0, 1


@dataclass(frozen=True)
class _Epochs(Protocol):
    """What protocols with full passes have in common: each of their workers is needed until the end."""

    def on_leave(self, server: Server, worker: int) -> None:
        """Refuse to go on."""
        self._refuse(worker, "left")

    def on_join(self, server: Server, worker: int) -> None:
        """Refuse to go on."""
        self._refuse(worker, "joined")

    def _refuse(self, worker: int, what: str) -> NoReturn:
        raise ValueError(
            f"worker {worker} has {what} at an {self!r}, where each worker has a part of every full gradient: use a Cluster "
            "without faults.Leave and faults.Join, or a method without full passes, such as methods.saga"
        )


@dataclass(frozen=True)
class EpochSGD(_Epochs, Rounds):
    """Synchronous epochs: a step with the full gradient, then `updates` − 1 steps with the average of inner messages.

    All workers wait for each other at every step, as in `MinibatchSGD`, so an all-reduce can carry it. With one update in an
    epoch each step is one of full gradient descent.

    Args:
        updates: the steps of an epoch, the full gradient's among them, at least 1.

    Raises:
        ValueError: if `updates` is not a whole number of at least 1; in a recording, if workers leave or join.

    Source: Johnson and Zhang (2013), "Accelerating stochastic gradient descent using predictive variance reduction".

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=2, compute=sg.times.Constant(1.0))
        >>> method = sg.methods.svrg(step_size=0.1, updates=3, pass_steps=10)
        >>> sg.record(method, cluster, until=sg.Updates(4)).update_times.tolist()
        [10.0, 12.0, 14.0, 24.0]
    """

    updates: int
    synchronous: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.store(self, updates=checks.whole("EpochSGD.updates", self.updates, 1))

    def _hand_out(self, server: Server) -> None:
        hand_out_to_all(server, INNER if server.version % self.updates else PART)


@dataclass(frozen=True)
class LooplessEpochSGD(_Epochs, Rounds):
    """Synchronous steps, each with the full gradient with probability p, else with the average of inner messages.

    The first is one with the full gradient. An epoch has 1/p steps in the mean. The server's coin is a draw from the protocol's
    own random numbers, one for each step.

    Args:
        probability: p, above 0 and at most 1.

    Raises:
        ValueError: if `probability` is not in that range; in a recording, if workers leave or join.

    Source: Kovalev, Horváth and Richtárik (2020), "Don't jump through hoops and remove those loops: SVRG and Katyusha are
    better without the outer loop", algorithm 1.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=2, compute=sg.times.Constant(1.0))
        >>> method = sg.methods.loopless_svrg(step_size=0.1, probability=1.0, pass_steps=10)
        >>> sg.record(method, cluster, until=sg.Updates(3)).update_times.tolist()
        [10.0, 20.0, 30.0]
    """

    probability: float
    synchronous: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.store(self, probability=checks.up_to_one("LooplessEpochSGD.probability", self.probability))

    def _hand_out(self, server: Server) -> None:
        full = server.version == 0 or server.rng.random() < self.probability
        hand_out_to_all(server, PART if full else INNER)


@dataclass(frozen=True)
class AsyncEpochSGD(_Epochs):
    """Epochs whose inner steps are asynchronous: a step with the full gradient, then `updates` − 1 with single messages.

    The pass has a barrier at either end: it is begun when the last inner message is there, and inner jobs are handed out when
    the last part is. In between each inner message is stepped with as it arrives.

    Args:
        updates: the steps of an epoch, the full gradient's among them, at least 1.

    Raises:
        ValueError: if `updates` is not a whole number of at least 1; in a recording, if workers leave or join.

    Source: Reddi et al. (2015), "On variance reduction in stochastic gradient descent and its asynchronous variants".

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=2, compute=sg.times.PerWorker([sg.times.Constant(1.0), sg.times.Constant(1.5)]))
        >>> method = sg.methods.asynchronous_svrg(step_size=0.1, updates=4, pass_steps=4)
        >>> sg.record(method, cluster, until=sg.Updates(5)).update_times.tolist()
        [6.0, 8.0, 9.0, 10.0, 16.0]
    """

    updates: int

    def __post_init__(self) -> None:
        checks.store(self, updates=checks.whole("AsyncEpochSGD.updates", self.updates, 1))

    def start(self, server: Server) -> None:
        """Begin with a full pass."""
        hand_out_to_all(server, PART)

    def on_gradient(self, server: Server, gradient: Gradient) -> None:
        """Step with an inner message and send the worker on; gather the parts, and step with the last of them."""
        if gradient.kind == INNER:
            server.apply(gradient)
            self._send_on(server, gradient.worker)
            return
        server.accumulate(gradient)
        if not server.busy:
            server.step(scale=1 / server.accumulated)
            server.notes["left"] = self.updates - 1
            for worker in server.workers:
                self._send_on(server, worker)

    def _send_on(self, server: Server, worker: int) -> None:
        """Hand a worker the next inner job of the epoch; when all are done, begin the next epoch."""
        if server.notes["left"]:
            server.notes["left"] -= 1
            server.assign(worker, kind=INNER)
        elif not server.busy:
            hand_out_to_all(server, PART)
