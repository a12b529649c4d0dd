"""Rounds: jobs are handed out together, and the last message that was asked for makes the step."""

from __future__ import annotations

from abc import abstractmethod

from simsgd.protocols.base import Protocol, Server
from simsgd.tape.schema import Gradient


class Rounds(Protocol):
    """What protocols in rounds have in common: w ← w − η · (1/m) Σ over the round's m messages, then the next round.

    A protocol says with `_hand_out` who takes part in the round that begins, and in what jobs. Unless it says more, a worker
    that crashes is waited for, one that leaves is not, and one that joins takes part from the next round on.
    """

    def start(self, server: Server) -> None:
        """Begin the first round."""
        self._hand_out(server)

    def on_gradient(self, server: Server, gradient: Gradient) -> None:
        """Accumulate; with the last that was asked for, step and begin the next round."""
        server.accumulate(gradient)
        self._step_when_all_are_in(server)

    def on_leave(self, server: Server, worker: int) -> None:
        """Go on with the others."""
        self._step_when_all_are_in(server)

    def on_join(self, server: Server, worker: int) -> None:
        """Take the worker in from the next round on."""
        self._step_when_all_are_in(server)

    def _step_when_all_are_in(self, server: Server) -> None:
        """Unless somebody is still asked for a message, step with the mean of those there are, and begin the next round."""
        if not server.busy:
            if server.accumulated:
                self._step(server)
            self._hand_out(server)

    def _step(self, server: Server) -> None:
        server.step(scale=1 / server.accumulated)

    @abstractmethod
    def _hand_out(self, server: Server) -> None:
        """Hand out the jobs of the round that begins."""


def hand_out_to_all(server: Server, kind: int) -> None:
    """Hand each worker a job of one kind."""
    for worker in server.workers:
        server.assign(worker, kind=kind)
