"""What stands around another compression, and sends what that sends."""

from __future__ import annotations

from dataclasses import dataclass

from simsgd import compression as compressing
from simsgd.compression import Compression, Shapes
from simsgd.work import Message


@dataclass(frozen=True, repr=False)
class Around(Compression):
    """A compression around another one, of whatever kind: its bytes are that one's, and it sums where that one does.

    Args:
        compression: what is inside.

    Raises:
        TypeError: if that is no `Compression`.
    """

    compression: Compression

    def __post_init__(self) -> None:
        compressing.check(f"{type(self).__name__}.compression", self.compression)

    @property
    def sums(self) -> bool:
        """Whether messages of what is inside can be added while they are compressed."""
        return self.compression.sums

    @property
    def needs_shapes(self) -> bool:  # type: ignore[override]
        """Whether what is inside must know the shapes of a message's arrays."""
        return self.compression.needs_shapes

    def bytes(self, shapes: Shapes) -> float:
        """Return those of what is inside."""
        return self.compression.bytes(shapes)

    def check(self, message: Message) -> None:
        """Raise ValueError unless what is inside takes such messages."""
        self.compression.check(message)
