"""What becomes of a message on its way: the interface of everything that compresses.

Laws of this module:

1. A compression has two sides, as a work has: `bytes` tells the clock how long a compressed message is, without JAX; `init` and
   `compress` tell the compiled player which numbers come out at the other end.
2. What is simulated is the message after it was taken apart again at the other end: no packed bits are made.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from simsgd.support import checks, frozen
from simsgd.support.show import plainly
from simsgd.work import Message, Parameters

if TYPE_CHECKING:
    import jax

type Shapes = tuple[tuple[int, ...], ...]

NUMBER_BYTES = 4
"""Of a number in a message whose shapes are known."""


@dataclass(frozen=True)
class Compression(ABC):
    """A way to send fewer bytes: subclass it as a frozen dataclass with `bytes` and `compress`.

    It stands in `Method.compress_up`, where each worker has a state of its own, or in `Method.compress_down`, where the server
    has one.

    Example:
        >>> from dataclasses import dataclass
        >>> import jax, math, simsgd as sg
        >>> @dataclass(frozen=True)
        ... class Coarse(sg.Compression):
        ...     '''Each number is rounded to a multiple of `grid` and sent in one byte.'''
        ...     grid: float = 0.01
        ...     def bytes(self, shapes):
        ...         return sum(map(math.prod, shapes))
        ...     def compress(self, message, state, key, shared_key):
        ...         return jax.tree.map(lambda leaf: self.grid * jax.numpy.round(leaf / self.grid), message), state
        >>> method = sg.Method(sg.AsyncSGD(), sg.optimizers.sgd(0.1), compress_up=Coarse())
        >>> cluster = sg.Cluster(workers=2, compute=sg.times.Constant(1.0))
        >>> sg.record(method, cluster, until=sg.Updates(1), message_bytes=1000.0).bytes_up.tolist()
        [250.0]
    """

    needs_shapes: ClassVar[bool] = False
    """Whether it must know the shapes of a message's arrays, and not only how many numbers there are."""
    feeds_back: ClassVar[bool] = False
    """Whether what it leaves out, or a part of messages before, enters those after, so that it cannot be in `compress_down`.

    There each message is all that has changed since what was sent, so what was left out is in it again by itself. Counted
    twice, it can grow without bound whatever the step size, as with `TopK`.
    """

    @property
    def sums(self) -> bool:
        """Whether messages of several workers can be added while they are compressed; by default they cannot.

        Then an all-reduce sums them on the way; otherwise it gathers the messages of all.
        """
        return False

    @abstractmethod
    def bytes(self, shapes: Shapes) -> float:
        """Return the bytes of a compressed message whose arrays, of 4-byte numbers, have these shapes."""

    def check(self, message: Message) -> None:
        """Raise ValueError unless such messages can be compressed so."""
        if self.needs_shapes and not message.known:
            raise ValueError(
                f"message_shapes is needed where {self!r} compresses: record(…, message_shapes=problem.message_shapes), "
                "which is what simulate does"
            )

    def check_method(self, place: str, method: Any) -> None:
        """Raise ValueError unless it can stand in a place of a method; by default it can wherever those that it holds can.

        Args:
            place: "compress_up" or "compress_down".
            method: the `Method` that is being made, whose other parts are there.
        """
        if place == "compress_down" and self.feeds_back:
            instead = ", ".join(map(repr, held_by(self))) or "TopK(share=0.1)"
            raise ValueError(
                f"compress_down must not be {self!r:.200}, which remembers what it leaves out: that is in the next change "
                f"of the model by itself, and grows if it is counted twice; give compress_down={instead:.200}"
            )
        for held in held_by(self):
            held.check_method(place, method)

    def init(self, message: Parameters) -> Any:
        """Return what is remembered from message to message, a pytree of arrays; by default nothing.

        Args:
            message: zeros, of the form of a message.
        """
        return ()

    @abstractmethod
    def compress(self, message: Parameters, state: Any, key: jax.Array, shared_key: jax.Array) -> tuple[Parameters, Any]:
        """Return what the other end makes of the compressed message, and the new state; compiled by JAX.

        Args:
            message: a pytree of floating-point arrays.
            state: what `init` or the message before returned.
            key: a JAX random key of this message's own.
            shared_key: one that the messages of all workers computed at one version have in common.
        """

    def __repr__(self) -> str:
        """Show what it wraps, and the fields that differ from their defaults, for a dataclass with `repr=False`."""
        shown = ((f, getattr(self, f.name)) for f in dataclasses.fields(self))
        said = (repr(v) if isinstance(v, Compression) else f"{f.name}={v!r}" for f, v in shown if v != f.default)
        return f"{type(self).__name__}({', '.join(said)})"


def held_by(part: Any) -> list[Compression]:
    """Return the compressions among the fields of a dataclass: of a work that compresses itself, of one around another."""
    values = (getattr(part, field.name) for field in dataclasses.fields(part))
    return [value for value in values if isinstance(value, Compression)]


def bytes_left(size: float, message: Message, compression: Compression) -> float:
    """Return what is left of so many bytes of a message, all of which are compressed alike; multiplied first, so exact."""
    numbers = sum(map(math.prod, message.shapes))
    if not numbers:
        return size
    left = checks.not_negative(f"bytes of {plainly(compression)}", compression.bytes(message.shapes), "bytes")
    return size * left / (NUMBER_BYTES * numbers)


def check(name: str, compression: object) -> None:
    """Raise TypeError unless `compression` is an instance of a `Compression`, a frozen dataclass whose fields cannot change."""
    checks.instance(name, compression, Compression, "compressions.TopK(share=0.01)")
    frozen.check_class(name, compression, "what must be remembered into the state that init and compress return")
    frozen.check_fields(name, compression)
