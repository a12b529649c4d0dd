"""Methods that do not wait for a job for longer than some time."""

from __future__ import annotations

import heapq
import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from simsgd.protocols.base import Protocol, Server
from simsgd.support import checks
from simsgd.tape.schema import Gradient


@dataclass(frozen=True, repr=False)
class MindFlayerSGD(Protocol):
    """MindFlayer SGD: each worker has B_i trials in a round, and a trial that takes longer than t_i seconds is given up.

    w ← w − η · (1/B) Σ_i Σ_{j ≤ B_i} [trial j of worker i is in time] g_i(w), with B = Σ_i p_i·B_i and p_i the probability that
    a job of worker i takes at most t_i. Every gradient is of the current version. A round lasts until the last worker has
    had its trials: max_i Σ_j min(X_ij, t_i). A worker in whose jobs a long time is hidden now and then loses t_i by it, not the
    whole of it. A round in which no trial is in time makes no step, and is begun again.

    A trial's time is measured by the server, from handing the model out to the gradient's arrival; what arrives in the very
    moment of its limit may be given up. A worker that has crashed fails its trials until it is back; one that leaves has no
    more, and one that joins takes part from the next round on.

    Args:
        limit: t_i, simulated seconds: for all workers, or one for each by number.
        trials: B_i, at least 1: for all workers, or one for each by number.
        expected: B, by which the sum is divided. None, the default, divides by how many gradients there are, so that p_i need
            not be known: a mean, as in `RennalaSGD`.

    Raises:
        TypeError, ValueError: for limits or an expectation that are no positive numbers, trials that are no whole numbers of
            at least 1; when a worker takes part for which there is none.

    Source: Maranjyan, Shaikh Omar and Richtárik (2025), "MindFlayer SGD: efficient parallel SGD in the presence of
    heterogeneous and random worker compute times", algorithm 1 (from memory; dividing by the number that came is ours).

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=2, compute=sg.times.PerWorker([sg.times.Constant(1.0), sg.times.Constant(9.0)]))
        >>> tape = sg.record(sg.protocols.MindFlayerSGD(limit=1.5, trials=2), cluster, until=sg.Updates(2))
        >>> tape.time.tolist(), tape.update_times.tolist(), tape.discarded.time.tolist()
        ([1.0, 2.0, 4.0, 5.0], [3.0, 6.0], [1.5, 3.0, 4.5, 6.0])
    """

    limit: float | Sequence[float]
    trials: int | Sequence[int] = 1
    expected: float | None = None

    def __post_init__(self) -> None:
        checks.store(
            self,
            limit=_one_or_each("limit", self.limit, "0.5, or (0.5, 2.0)", lambda n, v: checks.positive(n, v, "seconds")),
            trials=_one_or_each("trials", self.trials, "2, or (4, 1)", lambda n, v: checks.whole(n, v, 1)),
        )
        if self.expected is not None:
            checks.store(self, expected=checks.positive("MindFlayerSGD.expected", self.expected))

    def start(self, server: Server) -> None:
        """Begin the first round."""
        server.notes.update(left={}, deadlines=[], begun=0, current={}, wakes=math.inf, rings=0.0)
        self._begin_round(server)

    def on_gradient(self, server: Server, gradient: Gradient) -> None:
        """Accumulate: a trial was in time."""
        server.accumulate(gradient)
        self._end_trial(server, gradient.worker)

    def on_alarm(self, server: Server) -> None:
        """Give up the trials whose time is over, and set an alarm for the next that is still under way."""
        notes = server.notes
        deadlines, current = notes["deadlines"], notes["current"]
        if server.now < notes["rings"]:
            return  # it was set for another limit, before this one was known
        notes["wakes"] = math.inf
        while deadlines:
            limit, trial, worker = deadlines[0]
            if current.get(worker) == trial and limit > server.now:
                break
            heapq.heappop(deadlines)
            if current.get(worker) == trial:
                server.cancel(worker)
                self._end_trial(server, worker)
        self._set_alarm(server)

    def on_leave(self, server: Server, worker: int) -> None:
        """Go on with the others."""
        if server.notes["left"].pop(worker, None) is not None:
            server.notes["current"].pop(worker)
            self._end_round_when_all_are_done(server)

    def on_join(self, server: Server, worker: int) -> None:
        """Take the worker in from the next round on."""
        self._end_round_when_all_are_done(server)

    def _begin_round(self, server: Server) -> None:
        for worker in server.workers:
            server.notes["left"][worker] = _of("trials", self.trials, worker)
            self._begin_trial(server, worker)

    def _begin_trial(self, server: Server, worker: int) -> None:
        notes, limit = server.notes, self.limit if isinstance(self.limit, float) else _of("limit", self.limit, worker)
        deadline = server.now + limit
        trial = notes["begun"] = notes["begun"] + 1
        notes["current"][worker] = trial
        heapq.heappush(notes["deadlines"], (deadline, trial, worker))
        server.assign(worker)
        if deadline < notes["wakes"]:
            self._set_alarm(server)

    @staticmethod
    def _set_alarm(server: Server) -> None:
        """See to it that an alarm rings at the next limit, and hardly at others: most trials are over before theirs."""
        notes = server.notes
        if notes["deadlines"] and notes["deadlines"][0][0] < notes["wakes"]:
            notes["wakes"] = notes["deadlines"][0][0]
            seconds = notes["wakes"] - server.now
            notes["rings"] = server.now + seconds  # as the clock counts; the limit, but for rounding
            server.alarm(seconds)

    def _end_trial(self, server: Server, worker: int) -> None:
        left = server.notes["left"]
        left[worker] -= 1
        if left[worker]:
            self._begin_trial(server, worker)
        else:
            del left[worker], server.notes["current"][worker]
            self._end_round_when_all_are_done(server)

    def _end_round_when_all_are_done(self, server: Server) -> None:
        if not server.notes["left"]:
            if server.accumulated:
                server.step(scale=1 / (server.accumulated if self.expected is None else self.expected))
            self._begin_round(server)


def _one_or_each(name: str, value: Any, example: str, check: Callable[[str, Any], Any]) -> Any:
    """Return one checked value for all workers, or a tuple with one for each."""
    argument = f"MindFlayerSGD.{name}"
    if isinstance(value, numbers.Number):
        return check(argument, value)
    values = tuple(check(argument, each) for each in checks.sequence(argument, value, example))
    if not values:
        raise ValueError(f"{argument} must have a value for each worker, got none: for example {example}")
    return values


def _of(name: str, values: Any, worker: int) -> Any:
    """Return what holds for one worker."""
    if not isinstance(values, tuple):
        return values
    if worker >= len(values):
        raise ValueError(
            f"MindFlayerSGD.{name} has values for workers 0 to {len(values) - 1}, but there is a worker {worker}: give one for "
            "each, or one for all"
        )
    return values[worker]
