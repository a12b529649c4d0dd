"""What a method's jobs cost the clock: local steps, bytes and seconds, as plain numbers that need no JAX.

Law of this module: the work says what a job costs, and what is compressed on its way is charged in the same proportion. All
that a recording depends on of a method, besides its protocol, is said here.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simsgd.compression import NUMBER_BYTES, Compression, bytes_left, held_by
from simsgd.method import Method
from simsgd.protocols import Protocol
from simsgd.support import checks
from simsgd.support.bounds import bounds
from simsgd.support.show import plainly
from simsgd.times import Law
from simsgd.work import ONE_GRADIENT, Charges, Message, Order, Work


@dataclass(frozen=True)
class Costs:
    """What the jobs of one method cost, for messages of one size.

    Attributes:
        work: says what a job costs.
        message: what a whole message is.
        up, down: what compresses messages on their ways, if anything does.
        compressing: the law of the seconds that a worker takes to compress a message; None for none.
        forgets: whether a worker that was down has lost the model that it had.
    """

    work: Work
    message: Message
    up: Compression | None = None
    down: Compression | None = None
    compressing: Law | None = None
    forgets: bool = False

    @staticmethod
    def of(
        method: Protocol | Method, message_bytes: float | None = None, shapes: tuple[tuple[int, ...], ...] | None = None
    ) -> Costs:
        """Return those of a method; of a protocol alone, those of single gradients.

        Args:
            method: whose jobs.
            message_bytes: of the model, and of a gradient; by default 4 for each number of the shapes, or 0.
            shapes: those of the message's arrays, if they are known.

        Raises:
            ValueError: if something compresses messages that cannot be compressed so.
        """
        known = shapes is not None
        if message_bytes is None:
            message_bytes = NUMBER_BYTES * sum(map(math.prod, shapes)) if shapes is not None else 0
        size = checks.not_negative("message_bytes", message_bytes, "bytes")
        message = Message(size, shapes if shapes is not None else ((round(size / NUMBER_BYTES),),), known)
        if not isinstance(method, Method):
            return Costs(ONE_GRADIENT, message)
        for compression in filter(None, (method.compress_up, method.compress_down)):
            compression.check(message)
        forgets = method.after_crash == "reset"
        return Costs(method.work, message, method.compress_up, method.compress_down, method.compressing, forgets)

    @property
    def gathers(self) -> bool:
        """Whether messages cannot be summed on their way as they are: an all-reduce gathers them."""
        return self.up is not None and not self.up.sums

    @functools.cached_property
    def leaves_whole(self) -> bool:
        """Whether no part of a message can leave before all of it is there: what compresses it may look at all of it."""
        return self.up is not None or self.compressing is not None or bool(held_by(self.work))

    @functools.cached_property
    def usual(self) -> Charges:
        """What the first job of worker 0 costs: what all jobs do, if the work charges for all the same."""
        return self.charge(0, 0, 0)

    @property
    def same_for_all(self) -> bool:
        """Whether all jobs of the usual kind cost the same."""
        return self.work.charges_alike

    def charge(self, worker: int, job: int, kind: int) -> Charges:
        """Return what a job costs if its worker is sent the whole model; what that is compressed to, `changes` says.

        Raises:
            ValueError: for what no job can cost, named with the work.
        """
        name, said = f"{plainly(self.work)}'s charge for a job", self.work.charge(Order(worker, job, kind, self.message))
        checks.instance(name, said, Charges, "Charges(steps=8), or super().charge(order)._replace(steps=8)")
        steps = 1 if said.seconds is not None else checks.whole(f"steps in {name}", said.steps, 1)
        bounds.check("parts", steps, f"steps={steps} in {name}")
        down, up = self._bytes(name, "bytes_down", said.bytes_down), self._bytes(name, "bytes_up", said.bytes_up)
        up = up if self.up is None else bytes_left(up, self.message, self.up)
        return Charges(steps, down, up, kind, self._seconds(name, said), self._overlap(name, said))

    def changes(self, whole: float, versions: int) -> float:
        """Return the bytes of a model of so many, sent to a worker that has an earlier one.

        Where the way down is compressed, that is one compressed change for each version since, and never more than the whole.
        """
        return whole if self.down is None else min(whole, versions * bytes_left(whole, self.message, self.down))

    def _bytes(self, name: str, way: str, said: float) -> float:
        """Return the bytes of a message before it is compressed: those charged, or, where nothing is said, the work's own."""
        usual = {"bytes_down": self.work.bytes_down, "bytes_up": self.work.bytes_up}
        return checks.not_negative(f"{way} in {name}", usual[way](self.message.bytes) if said != said else said, "bytes")

    def _seconds(self, name: str, said: Charges) -> float:
        """Return the time that a job has instead of a number of steps, 0 for none."""
        if said.seconds is None:
            return 0.0
        if not self.work.takes_steps:
            raise ValueError(
                f"{name} must not have seconds={checks.shown(said.seconds)}: what comes of a time is any number of local "
                f"steps, and {type(self.work).__name__} does not take that (takes_steps = True says that a work does)"
            )
        return checks.positive(f"seconds in {name}", said.seconds, "seconds")

    @staticmethod
    def _overlap(name: str, said: Charges) -> int:
        """Return how many local steps are made ahead."""
        overlap = checks.whole(f"overlap in {name}", said.overlap, 0)
        if overlap and said.seconds is not None:
            raise ValueError(f"overlap in {name} must be 0 where a job has a time instead of steps, got {overlap}")
        if overlap and overlap >= said.steps:
            raise ValueError(
                f"overlap in {name} must be below its steps, {said.steps}, got {overlap}: the last is made with the model there"
            )
        return overlap

    def described(self) -> Mapping[str, Any]:
        """Return, by name, what a recording's bits depend on of them; nothing that is as for plain gradients."""
        first = self.usual
        charges = {"steps": first.steps, "bytes_down": first.bytes_down, "bytes_up": first.bytes_up}
        told: dict[str, Any] = {"charges": charges}
        if not self.same_for_all or len(self.work.kinds) > 1 or first.seconds or first.overlap:
            told |= {"work": self.work, "shapes": self.message.shapes}
        told |= {name: part for name in ("up", "down", "compressing") if (part := getattr(self, name)) is not None}
        return told | ({"forgets": True} if self.forgets and self.down is not None else {})
