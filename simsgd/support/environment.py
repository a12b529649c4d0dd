"""Which errors are no fault of the work: the same work may go well in another process, or in this one tomorrow."""

from __future__ import annotations


class UnfitProcessError(RuntimeError):
    """This process cannot compute, whatever it is given; the message says why."""


KINDS = (UnfitProcessError, MemoryError, OSError, ImportError)
"""A process that cannot compute; too little memory; files, disks, networks; a package that is not there."""
NO_MEMORY = "RESOURCE_EXHAUSTED"
"""How JAX's own error begins where a device has too little memory."""


def at_fault(error: BaseException) -> bool:
    """Say whether an error is the environment's and not the work's own.

    What is at fault is told by the kind of the error alone: an OSError that a method raises by itself counts, too, for what it
    found on a disk or a network is no part of what its run depends on.

    Example:
        >>> from simsgd.support import environment
        >>> environment.at_fault(MemoryError()), environment.at_fault(ValueError("loss must be …"))
        (True, False)
    """
    return isinstance(error, KINDS) or str(error).startswith(NO_MEMORY)
