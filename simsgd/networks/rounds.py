"""Rounds of messages between ranks, of which the algorithms of all-reduce are made; the model is that of `all_reduce`."""

from __future__ import annotations

import math

import numpy as np

from simsgd.networks.all_reduce import Send, Sizes
from simsgd.networks.fabric import Wire
from simsgd.support.bounds import bounds


class Circle:
    """Ranks in one or several rings, which pass pieces on for a number of rounds.

    A rank receives only from the one before it, one message after the other, so its inbound side is always free.
    """

    def __init__(self, before: np.ndarray, rounds: int, wire: Wire, send: Send) -> None:
        bounds.check("parts", 2 * rounds, f"passing pieces round a ring of {rounds + 1} ranks, and round again,")
        self.before, self.wire, self.send = before, wire, send
        self.rounds = rounds
        self.all = np.arange(before.size)

    def turn(self, moments: np.ndarray, piece_bytes: float, adding: float = 0.0) -> np.ndarray:
        """Return when each rank is done with all rounds, if it enters the first at `moments`; `adding` seconds per piece."""
        for _ in range(self.rounds):
            arrived = self.send(self.all, moments, piece_bytes, self.wire)
            added = arrived[self.before]
            if adding:
                added = np.maximum(added, moments) + adding
            moments = np.maximum(arrived, added)
        return moments

    def pass_on(self, moments: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Return when each rank is done with all rounds, in which it passes on what it was sent last; its own first."""
        for _ in range(self.rounds):
            arrived = self.send(self.all, moments, sizes, self.wire)
            moments, sizes = np.maximum(arrived, arrived[self.before]), sizes[self.before]
        return moments


class Ranks:
    """The `moments` at which each rank may enter its next round, and at which its `inbound` side is free."""

    def __init__(self, ready: np.ndarray, wire: Wire, send: Send) -> None:
        self.moments, self.wire, self.send = ready, wire, send
        self.inbound = np.full_like(ready, -math.inf)

    def round(self, senders: np.ndarray, receivers: np.ndarray, message_bytes: Sizes, adding: float = 0.0) -> None:
        """Send one message from each of `senders` to its counterpart in `receivers`, which adds it in `adding` seconds."""
        started = np.maximum(self.moments[senders], self.inbound[receivers])
        arrived = self.send(senders, started, message_bytes, self.wire)
        added = np.maximum(self.moments[receivers], arrived) + adding
        self.inbound[receivers] = arrived
        self.moments[senders] = arrived
        self.moments[receivers] = np.maximum(self.moments[receivers], added)
