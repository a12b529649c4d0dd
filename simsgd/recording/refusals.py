"""What a server refuses: an error for each thing that a protocol asks for and that cannot be."""

from __future__ import annotations

from collections.abc import Mapping

from simsgd.protocols import Protocol
from simsgd.recording.events import EventLoop
from simsgd.support import checks


class ProtocolError(RuntimeError):
    """A protocol asked the server for something impossible; the message says what, and what would do."""


class Refusals:
    """The refusals of one recording: they name the protocol and the moment.

    Args:
        protocol: which asks.
        loop: which knows the moment.
    """

    def __init__(self, protocol: Protocol, loop: EventLoop) -> None:
        self._protocol, self._loop = protocol, loop

    def error(self, did: str, why: str) -> ProtocolError:
        """Return the error for what the protocol did, in words, and why that cannot be."""
        return ProtocolError(f"{self._protocol!r} {did} at {self._loop.now:g} s{why}")

    def worker(self, verb: str, worker: object) -> int:
        """Return what a verb was called with as a worker's number, or raise ProtocolError."""
        if type(worker) is int and worker >= 0:
            return worker
        try:
            return checks.whole("worker", worker, 0)
        except ValueError as error:
            raise self.error(f"called {verb}({checks.shown(worker)})", f", but {error}") from None

    def answer(self, answer: object) -> ProtocolError:
        """Return the error for what on_gradient returned."""
        return self.error(
            f"returned {checks.shown(answer)} from on_gradient",
            ": what it decides it says by calling the server, and it must return nothing (with yield, or as async, it does "
            "nothing either)",
        )

    def weights(self, weights: object, workers: int) -> dict[int, float]:
        """Return what a step was given as weights by worker, each a finite float, or raise ProtocolError."""
        if not isinstance(weights, Mapping):
            raise self.error(f"stepped with the weights {checks.shown(weights)}", ": give a dict {worker: weight}")
        found = {}
        for worker, weight in weights.items():
            if self.worker("step with a weight of worker ", worker) >= workers:
                raise self.error(f"stepped with a weight of worker {worker}", f", but the workers are 0 to {workers - 1}")
            found[int(worker)] = self.number(f"stepped with the weight of worker {worker}", weight)
        return found

    def seconds(self, did: str, value: object) -> float:
        """Return a time from now as a finite float of at least 0, or raise ProtocolError."""
        try:
            return checks.seconds("it", value)
        except ValueError as error:
            raise self.error(f"{did} {checks.shown(value)} seconds", f": {error}") from None

    def number(self, did: str, value: object) -> float:
        """Return a weight or a scale as a finite float, or raise ProtocolError."""
        try:
            return checks.number("it", value)
        except ValueError as error:
            raise self.error(f"{did} {checks.shown(value)}", f": {error}") from None
