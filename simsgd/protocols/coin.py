"""Synchronous rounds of two kinds, and a coin of the server's that says which: MARINA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simsgd.protocols.base import Server
from simsgd.protocols.rounds import Rounds, hand_out_to_all
from simsgd.support import checks


@dataclass(frozen=True)
class MarinaRounds(Rounds):
    """MARINA's rounds: as `MinibatchSGD`, but with probability p all workers are asked for a full gradient, a job of kind 1.

    w ← w − η · (1/n) Σᵢ gᵢ. The server tosses the coin once for a round, `server.rng.random() < p`, so all workers have jobs of
    one kind. The first round is of kind 1, and so is the one that a new worker begins with. It goes with a work of two kinds,
    `works.Marina`.

    A worker that crashes is waited for; those that leave are not, and those that join take part from the next round on.

    Args:
        probability: p, above 0 and at most 1. With 1 it is synchronous SGD with full gradients.

    Raises:
        ValueError: if it is outside.

    Source: Gorbunov, Burlachenko, Li and Richtárik (2021), "MARINA: faster non-convex distributed learning with compression",
    algorithm 1 (its number from memory; checked against the authors' code).

    Example:
        >>> import simsgd as sg
        >>> method = sg.methods.marina(compression=sg.compressions.TopK(share=1.0), full_steps=3, probability=1.0)
        >>> cluster = sg.Cluster(workers=2, compute=sg.times.Constant(1.0))
        >>> sg.record(method, cluster, until=sg.Updates(2), message_bytes=8).time.tolist()
        [3.0, 3.0, 6.0, 6.0]
    """

    probability: float
    synchronous: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.store(self, probability=checks.up_to_one("MarinaRounds.probability", self.probability))

    def start(self, server: Server) -> None:
        """Ask all for a full gradient."""
        hand_out_to_all(server, kind=1)

    def on_join(self, server: Server, worker: int) -> None:
        """Take the worker in from the next round on, with a full gradient of all."""
        server.notes["joined"] = True
        super().on_join(server, worker)

    def _hand_out(self, server: Server) -> None:
        """Toss the coin, and ask all for what it says."""
        tossed = server.rng.random() < self.probability
        hand_out_to_all(server, kind=int(server.notes.pop("joined", False) or tossed))
