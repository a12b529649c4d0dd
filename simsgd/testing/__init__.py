"""For tests of your own: a conformance suite for methods, and the slow replay that compiled ones are compared to.

Law of this package: what it checks holds of every method that simsgd exports, and simsgd's own tests say so row by row.
"""

from typing import TYPE_CHECKING

from simsgd.support import public
from simsgd.testing.conformance import ConformanceError, check_method
from simsgd.testing.reference import Played, play_slowly

__all__ = ["ConformanceError", "Played", "check_method", "play_slowly"]
__dir__ = public.names(__all__)
if not TYPE_CHECKING:  # else every name would be there for a type checker
    __getattr__ = public.near(__name__, __all__)
