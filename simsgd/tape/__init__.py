"""The tape: what happened in a recording, as plain NumPy columns. The contract between time and numbers."""

from simsgd.tape.tape import Tape

__all__ = ["Tape"]
