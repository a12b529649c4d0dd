"""Stale synchronous parallel: between waiting for everybody and for nobody."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from simsgd.protocols.base import Protocol, Server
from simsgd.support import checks
from simsgd.tape.schema import Gradient


@dataclass(frozen=True)
class StaleSynchronousSGD(Protocol):
    """Stale synchronous parallel (SSP): a worker may be at most s clocks ahead of the slowest, and waits if it is further.

    w ← w − η · (1/n) Σ g_i(w_read), over the gradients that have arrived since the last step. A worker's clock counts the
    gradients that it has delivered. It is handed its next job only when its clock is at most `bound` ahead of the slowest
    worker's, so it reads everything that all workers did more than `bound` clocks before it. A worker that stays slow caps the
    others' throughput for every finite bound.

    What has arrived is stepped with just before the model is handed out, so every reader sees every gradient that has arrived,
    as in the paper, where gradients are added to the parameters one by one; a version is made only if somebody reads it. With
    `optax.sgd` the parameters that workers read are the same either way. Each gradient has the weight 1/n, whatever it
    is stepped with: with bound 0 the steps are averages over all workers, and the tape is that of `MinibatchSGD`; with a bound
    that is never met each gradient is a step, as in `AsyncSGD`, at 1/n of its length.

    A worker that crashes is waited for, and one that leaves is not. One that joins begins a clock later than the slowest.

    Args:
        bound: s, how many clocks a worker may be ahead of the slowest when it begins a job, at least 0.

    Raises:
        ValueError: if `bound` is not a whole number of at least 0.

    Source: Ho et al. (2013), "More effective distributed ML via a stale synchronous parallel parameter server", section 3.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=2, compute=sg.times.PerWorker([sg.times.Constant(1.0), sg.times.Constant(4.0)]))
        >>> tape = sg.record(sg.protocols.StaleSynchronousSGD(bound=1), cluster, until=sg.Seconds(8))
        >>> tape.time[tape.worker == 0].tolist()  # after two jobs it waits until the other has done its first
        [1.0, 2.0, 5.0]
    """

    bound: int

    def __post_init__(self) -> None:
        checks.store(self, bound=checks.whole("StaleSynchronousSGD.bound", self.bound, 0))

    def start(self, server: Server) -> None:
        """Hand a job to each worker; all clocks stand at 0."""
        clocks = dict.fromkeys(server.workers, 0)
        server.notes.update(clocks=clocks, at={0: len(clocks)}, slowest=0, waiting=[])
        super().start(server)

    def on_gradient(self, server: Server, gradient: Gradient) -> None:
        """Accumulate and let the worker's clock tick; hand out to whoever may go on."""
        server.accumulate(gradient, weight=1 / len(server.workers))
        notes, worker = server.notes, gradient.worker
        clocks, at, waiting, before = notes["clocks"], notes["at"], notes["waiting"], notes["clocks"][gradient.worker]
        clocks[worker] = before + 1
        at[before] -= 1
        at[before + 1] = at.get(before + 1, 0) + 1
        if not at[before]:
            del at[before]
        if before == notes["slowest"] and before not in at:  # those who wait are `bound` + 1 ahead: all may go on
            notes["slowest"], notes["waiting"] = before + 1, []
            self._hand_out(server, sorted([*waiting, worker]))
        elif before + 1 - notes["slowest"] <= self.bound:
            self._hand_out(server, (worker,))
        else:
            waiting.append(worker)

    def on_leave(self, server: Server, worker: int) -> None:
        """Go on with the others; the slowest may be another one now."""
        notes = server.notes
        clock = notes["clocks"].pop(worker)
        notes["at"][clock] -= 1
        if not notes["at"][clock]:
            del notes["at"][clock]
        notes["waiting"] = [other for other in notes["waiting"] if other != worker]
        self._look_again(server)

    def on_join(self, server: Server, worker: int) -> None:
        """Take the worker in, a clock later than the slowest."""
        notes = server.notes
        clock = notes["clocks"][worker] = notes["slowest"] + 1
        notes["at"][clock] = notes["at"].get(clock, 0) + 1
        notes["waiting"].append(worker)
        self._look_again(server)

    def _look_again(self, server: Server) -> None:
        notes = server.notes
        slowest = notes["slowest"] = min(notes["at"], default=notes["slowest"])
        ready = [worker for worker in notes["waiting"] if notes["clocks"][worker] - slowest <= self.bound]
        notes["waiting"] = [worker for worker in notes["waiting"] if worker not in ready]
        if ready:
            self._hand_out(server, sorted(ready))

    def _hand_out(self, server: Server, workers: Iterable[int]) -> None:
        if server.accumulated:
            server.step()
        for worker in workers:
            server.assign(worker)
