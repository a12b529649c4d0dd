"""Federated rounds: some of the workers take part in each, chosen at random."""

from __future__ import annotations

from dataclasses import dataclass

from simsgd.protocols.base import Server
from simsgd.protocols.needs import need_workers
from simsgd.protocols.rounds import Rounds
from simsgd.support import checks


@dataclass(frozen=True)
class SampledSGD(Rounds):
    """Synchronous rounds with K clients each, chosen anew from those that are up: wait for all, step with their average.

    w ← w − η · (1/K) Σ_i m_i(w) over those in the round, each message of staleness 0. A round takes as long as the slowest of
    its clients. With K = n it steps as `MinibatchSGD` does. All clients count the same; where the paper weights them by their
    numbers of samples, shares are taken to be equal.

    A client that crashes in a round loses its place, which is given to another that is up and has not taken part in the round
    yet; if there is none, to the next that comes back. Where nobody is left to fill a place, the round ends without it.

    Args:
        clients: K, at least 1.

    Raises:
        ValueError: if `clients` is not a whole number of at least 1; when a recording starts, if it is more than there are
            workers.

    Source: McMahan et al. (2017), "Communication-efficient learning of deep networks from decentralized data", algorithm 1
    (what happens to clients that crash is ours).

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=10, compute=sg.times.Constant(2.0))
        >>> tape = sg.record(sg.protocols.SampledSGD(clients=3), cluster, until=sg.Updates(2))
        >>> tape.time.tolist(), tape.worker.tolist()
        ([2.0, 2.0, 2.0, 4.0, 4.0, 4.0], [2, 8, 9, 1, 3, 6])
    """

    clients: int

    def __post_init__(self) -> None:
        checks.store(self, clients=checks.whole("SampledSGD.clients", self.clients, 1))

    def start(self, server: Server) -> None:
        """Begin the first round, if there are so many workers."""
        need_workers(server, "SampledSGD.clients", self.clients, "so many take part in each round")
        super().start(server)

    def on_lost(self, server: Server, worker: int) -> None:
        """Give the place of the client to another."""
        server.cancel(worker)
        self.on_leave(server, worker)

    def on_return(self, server: Server, worker: int) -> None:
        """Give the worker a place that is free, if there is one."""
        self._step_when_all_are_in(server)

    def on_leave(self, server: Server, worker: int) -> None:
        """Give the place of the client to another, unless it has delivered."""
        if not server.accumulated_by(worker):
            server.notes["round"].discard(worker)
        super().on_leave(server, worker)

    def _step_when_all_are_in(self, server: Server) -> None:
        """Fill the round's free places, for example with a worker that has joined; if nobody is computing then, step."""
        self._fill(server)
        super()._step_when_all_are_in(server)

    def _hand_out(self, server: Server) -> None:
        server.notes["round"] = set()
        self._fill(server)

    def _fill(self, server: Server) -> None:
        """Hand the model to as many of those who are up and not in the round as there are places, chosen at random."""
        taken, down = server.notes["round"], server.down
        free = [worker for worker in server.workers if worker not in taken and worker not in down]
        places = min(self.clients - len(taken), len(free))
        if places > 0:
            chosen = server.rng.choice(len(free), size=places, replace=False)
            for place in sorted(chosen.tolist()):
                taken.add(free[place])
                server.assign(free[place])
