"""One row of the shelf: a preset, an example of its settings, and where it is tested."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from simsgd.method import COMPRESSIONS, PARTS, Method
from simsgd.optimizers import describe, sgd
from simsgd.work import ONE_GRADIENT, OneGradient
from simsgd.works import FullGradient

WORKERS = 4
"""Of the cluster that the examples are for."""


class Entry(NamedTuple):
    """One method of the shelf.

    Attributes:
        preset: the function that makes it.
        example: settings that it must be given, for a cluster of `workers` = 4 and jobs of about a second.
        test: the test that holds it against a case computed by hand, a file and a function in it.

    Example:
        >>> import simsgd as sg
        >>> row = next(row for row in sg.methods.SHELF if row.name == "Ringmaster ASGD")
        >>> row.make(step_size=0.1).protocol, row.protocol, row.paper
        (RingmasterASGD(threshold=4), 'RingmasterASGD', 'Maranjyan, Tyurin and Richtárik (2025)')
    """

    preset: Callable[..., Method]
    example: dict[str, Any]
    test: str

    def make(self, step_size: float = 0.1, **settings: Any) -> Method:
        """Return the method with its example's settings, but for those given."""
        return self.preset(step_size, **(self.example | settings))

    @property
    def name(self) -> str:
        """What figures call it."""
        return self.make().title

    @property
    def paper(self) -> str:
        """The authors and the year, from the method's source."""
        found = re.match(r".*?\(\d{4}\)", self.make().source or "")
        return found.group() if found else ""

    @property
    def protocol(self) -> str:
        """The class of its protocol."""
        return type(self.make().protocol).__name__

    @property
    def sends_gradients(self) -> bool:
        """Whether its messages are gradients as they are: of one batch or of all samples, and not compressed."""
        made = self.make()
        return isinstance(made.work, OneGradient | FullGradient) and made.compress_up is made.compress_down is None

    @property
    def parts(self) -> dict[str, str]:
        """What it has besides its protocol and the plain step of SGD: by part, the code that makes it."""
        made = self.make()
        given = {part: describe(getattr(made, part)) for part in PARTS if getattr(made, part) is not None}
        if made.optimizer == sgd(0.1):
            del given["optimizer"]
        given |= {way: repr(part) for way in COMPRESSIONS if (part := getattr(made, way)) is not None}
        return given if made.work == ONE_GRADIENT else {"work": repr(made.work), **given}
