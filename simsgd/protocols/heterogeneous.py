"""Methods for workers whose data differ: in the long run every worker counts as much, however fast it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simsgd.protocols.base import Protocol, Server
from simsgd.support import checks
from simsgd.tape.schema import Gradient

ROUNDING = 1e-9
"""Relative; a sum of reciprocals this close to its bound has reached it, as it is added up in floating point."""


@dataclass(frozen=True, repr=False)
class RescaledASGD(Protocol):
    """Rescaled asynchronous SGD: asynchronous, with each worker's gradients weighted by the seconds that its jobs take.

    w ← w − η · v_i · g_i(w_read), with v_i = h_i · (1/n) Σ_j 1/h_j. A worker with job time h_i delivers a share of all
    gradients that goes as 1/h_i, so plain asynchronous SGD minimises Σ_i f_i(w)/h_i, and forgets slow workers' data. With these
    weights every worker moves the model equally far in the long run: it minimises (1/n) Σ_i f_i. A gradient's mean weight is 1,
    as in `AsyncSGD`; where all workers are equally fast it is that method.

    Args:
        seconds: each worker's job time h_i, by number; only their ratios matter. None, the default, counts instead: after N
            gradients, N_i of them worker i's, v_i = N/(n·N_i), which tends to the same weights whatever the times.

    Raises:
        TypeError, ValueError: for seconds that are no positive numbers; when a recording starts, if there are not as many as
            workers.

    Source: Mahran, Maranjyan and Richtárik (2026), "Rescaled asynchronous SGD: optimal distributed optimization under data and
    system heterogeneity", arXiv 2605.13434 (the rule from its abstract; scaling to a mean weight of 1, and counting, are ours).

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=2, compute=sg.times.PerWorker([sg.times.Constant(1.0), sg.times.Constant(4.0)]))
        >>> tape = sg.record(sg.protocols.RescaledASGD(seconds=(1.0, 4.0)), cluster, until=sg.Seconds(4))
        >>> tape.worker.tolist(), tape.weight.tolist()
        ([0, 0, 0, 1, 0], [0.625, 0.625, 0.625, 2.5, 0.625])
    """

    seconds: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.seconds is not None:
            given = checks.sequence("RescaledASGD.seconds", self.seconds, "(1.0, 10.0), the seconds of each worker's jobs")
            checks.store(self, seconds=tuple(checks.positive("RescaledASGD.seconds", value, "seconds") for value in given))

    def start(self, server: Server) -> None:
        """Reckon the weights, if the times are known, and hand a job to each worker."""
        server.notes.update(total=0, count={})
        if self.seconds is not None:
            if len(self.seconds) != len(server.workers):
                raise ValueError(
                    f"RescaledASGD.seconds has the times of {len(self.seconds)} workers, but there are {len(server.workers)} "
                    "when the recording starts: give one for each, or leave them out and let the method count"
                )
            rate = sum(1 / seconds for seconds in self.seconds) / len(self.seconds)
            server.notes["weights"] = dict(zip(server.workers, (seconds * rate for seconds in self.seconds), strict=True))
        super().start(server)

    def on_gradient(self, server: Server, gradient: Gradient) -> None:
        """Apply it with its worker's weight, and send the worker on."""
        weight = self._counted(server, gradient.worker) if self.seconds is None else server.notes["weights"][gradient.worker]
        server.apply(gradient, weight=weight)
        server.assign(gradient.worker)

    def on_join(self, server: Server, worker: int) -> None:
        """Hand the worker the model, if its weight can be known."""
        if self.seconds is not None:
            raise ValueError(
                f"RescaledASGD.seconds has no time for worker {worker}, which joins at {server.now:g} s: leave the seconds out "
                "and let the method count"
            )
        server.assign(worker)

    @staticmethod
    def _counted(server: Server, worker: int) -> float:
        notes = server.notes
        total = notes["total"] = notes["total"] + 1
        own = notes["count"][worker] = notes["count"].get(worker, 0) + 1
        return float(total / (len(server.workers) * own))


@dataclass(frozen=True)
class MaleniaSGD(Protocol):
    """Malenia SGD: gather gradients of the current version until every worker has given enough, and average worker by worker.

    w ← w − η · (1/n) Σ_i (1/B_i) Σ_{j ≤ B_i} g_i(w), once the harmonic mean of the B_i has reached S/n:
    ((1/n) Σ_i 1/B_i)⁻¹ ≥ S/n. B_i is how many gradients of the current version worker i has given; gradients of older versions
    are ignored. Fast workers give more, which lowers the variance, and count no more than slow ones. With S ≤ n a step is made
    as soon as every worker has given one. Where data do not differ, `RennalaSGD` needs nothing of the slowest worker.

    A worker that crashes is handed the newest model when it is back, and waited for; one that has left is not.

    Args:
        gradients: S, at least 1; in the paper max(⌈σ²/ε⌉, n).

    Raises:
        ValueError: if `gradients` is not a whole number of at least 1.

    Source: Tyurin and Richtárik (2023), "Optimal time complexities of parallel stochastic optimization methods under a fixed
    computation model", method 6.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=2, compute=sg.times.PerWorker([sg.times.Constant(1.0), sg.times.Constant(3.5)]))
        >>> tape = sg.record(sg.protocols.MaleniaSGD(gradients=3), cluster, until=sg.Updates(1))
        >>> tape.worker.tolist(), tape.weight.round(3).tolist()  # (1/2)·(1/3) for each of three, (1/2)·1 for the other
        ([0, 0, 0, 1], [0.167, 0.167, 0.167, 0.5])
    """

    gradients: int

    def __post_init__(self) -> None:
        checks.store(self, gradients=checks.whole("MaleniaSGD.gradients", self.gradients, 1))

    def start(self, server: Server) -> None:
        """Hand a job to each worker."""
        self._begin_round(server)
        super().start(server)

    def on_gradient(self, server: Server, gradient: Gradient) -> None:
        """Accumulate a gradient of the current version; when all have given enough, step. Send the worker on."""
        if server.staleness(gradient) == 0:
            server.accumulate(gradient)
            given = server.notes["given"]
            before = given.get(gradient.worker, 0)
            given[gradient.worker] = before + 1
            server.notes["reciprocals"] += 1 / (before + 1) - (1 / before if before else 0)
            self._step_when_enough(server)
        server.assign(gradient.worker)

    def on_leave(self, server: Server, worker: int) -> None:
        """Go on with the others; what the worker has given to this step still counts."""
        self._step_when_enough(server)

    def _step_when_enough(self, server: Server) -> None:
        """Step if all have given and Σ_i 1/B_i ≤ n²/S, which is the condition on the harmonic mean."""
        given = server.notes["given"]
        n = len(given)  # with those who have left since they gave
        if not n or n < len(server.workers) or server.notes["reciprocals"] > n * n / self.gradients * (1 + ROUNDING):
            return
        if all(worker in given for worker in server.workers):
            server.step(weights={worker: 1 / (n * count) for worker, count in given.items()})
            self._begin_round(server)

    @staticmethod
    def _begin_round(server: Server) -> None:
        server.notes.update(given={}, reciprocals=0.0)


@dataclass(frozen=True)
class RingleaderASGD(Protocol):
    """Ringleader ASGD: rounds of n steps, one for each worker, each with a table that has gradients of all workers.

    A round has two phases. In the first, every worker computes gradients of the model of the last step until the table has at
    least one of each; with the last that was missing the first step of the round is made. In the second, each worker that has
    not stepped yet in this round steps with its next gradient; what those who have stepped deliver is kept for the table of
    the next round. Each step is w ← w − η · (1/n) Σ_i (mean of worker i's gradients in the table). Nothing is thrown away, and
    no worker waits; staleness is at most 2n − 2.

    The protocol says which messages step; the table is kept by a message transformation, `optimizers.round_table`. Every
    gradient is used, so each is a message; one that steps has the weight 1, any other 0, so a step is what the transformation
    gives for the message that steps. As every round makes n steps, it is told by numbers of versions: the current round is
    ⌊version/n⌋, its first phase is where version is a multiple of n, and a gradient of version v is for the table of round
    ⌈v/n⌉, the current one or the next. Without the table this is asynchronous SGD in which each worker steps once a round.

    A worker that crashes is waited for. A worker that has stepped is handed the newest model with each job, which its messages
    for the next round are computed at.

    Raises:
        ValueError: when a worker leaves or joins: rounds and table are for a fixed number of workers.

    Source: Maranjyan and Richtárik (2025), "Ringleader ASGD: the first asynchronous SGD with optimal time complexity under
    data heterogeneity", arXiv 2509.22860, algorithm 1 (from memory and a summary; which model a worker that has stepped goes on
    with is our reading).

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=2, compute=sg.times.PerWorker([sg.times.Constant(1.0), sg.times.Constant(2.5)]))
        >>> tape = sg.record(sg.protocols.RingleaderASGD(), cluster, until=sg.Updates(4))
        >>> tape.time.tolist(), tape.worker.tolist(), tape.step.astype(int).tolist()
        ([1.0, 2.0, 2.5, 3.0, 4.0, 5.0, 5.0], [0, 0, 1, 0, 0, 1, 0], [0, 0, 1, 1, 0, 1, 1])
    """

    def start(self, server: Server) -> None:
        """Hand a job to each worker, and begin the first phase of the first round."""
        server.notes.update(missing=set(server.workers), to_step=set(), kept=set())
        super().start(server)

    def on_gradient(self, server: Server, gradient: Gradient) -> None:
        """Step with it, or put it into the table of this round or the next; send the worker on."""
        if self._steps(server, gradient.worker):
            server.apply(gradient)
        else:
            server.accumulate(gradient, weight=0.0)
        server.assign(gradient.worker)

    def on_leave(self, server: Server, worker: int) -> None:
        """Refuse it."""
        self._refuse(server, worker, "has left")

    def on_join(self, server: Server, worker: int) -> None:
        """Refuse it."""
        self._refuse(server, worker, "has joined")

    @staticmethod
    def _steps(server: Server, worker: int) -> bool:
        """Say whether a worker's gradient makes a step; keep count of who is missing, has yet to step, or is kept for later."""
        notes = server.notes
        if notes["to_step"]:  # the second phase
            steps = worker in notes["to_step"]
            (notes["to_step"].discard if steps else notes["kept"].add)(worker)
        else:
            notes["missing"].discard(worker)
            steps = not notes["missing"]
            if steps:
                notes["to_step"] = set(server.workers) - {worker}
        if steps and not notes["to_step"]:  # the round's last step: the next one begins with what was kept
            notes.update(missing=set(server.workers) - notes["kept"], kept=set())
        return steps

    def _refuse(self, server: Server, worker: int, happened: str) -> None:
        raise ValueError(
            f"{self!r} makes rounds of one step for each worker, and a table with all of them, but worker {worker} {happened} "
            f"at {server.now:g} s: let it crash and come back (faults.Crash), or use MaleniaSGD"
        )
