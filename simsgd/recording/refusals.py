"""What a server refuses: an error for each thing that a protocol asks for and that cannot be."""

from __future__ import annotations

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
        try:
            return checks.whole("worker", worker, 0)
        except ValueError as error:
            raise self.error(f"called {verb}({checks.shown(worker)})", f", but {error}") from None

    def number(self, did: str, value: object) -> float:
        """Return a weight or a scale as a finite float, or raise ProtocolError."""
        try:
            return checks.number("it", value)
        except ValueError as error:
            raise self.error(f"{did} {checks.shown(value)}", f": {error}") from None
