"""A recording for a study: the tape as far as it came, and the error that ended it, if one did. JAX is not needed."""

from __future__ import annotations

import contextlib
import pathlib
import time
from typing import NamedTuple

from simsgd.cluster import Cluster
from simsgd.costs import Costs
from simsgd.protocols import Protocol
from simsgd.recording.recorder import Recording
from simsgd.stopping import Rule, limits
from simsgd.support import environment, files
from simsgd.tape import Tape

WORTH = 0.5
"""Tapes that took fewer seconds are not kept: to write one takes about 0.15, and to read it."""


class Ask(NamedTuple):
    """What is to be recorded; see `record`.

    Attributes:
        protocol, cluster, until, seed, batch_size: as in `record`.
        costs: what jobs cost the clock.
    """

    protocol: Protocol
    cluster: Cluster
    until: Rule
    seed: int
    batch_size: int
    costs: Costs


class Recorded(NamedTuple):
    """A tape and what ended it.

    Attributes:
        tape: as far as it came; None where an error came before anything happened.
        error: what ended it before its bound: a run that reached its target before that is none the worse.
    """

    tape: Tape | None
    error: Exception | None = None


def attempt(ask: Ask, path: pathlib.Path | None = None) -> Recorded:
    """Record as far as possible, unless there is a file of the tape; one that took long, and came to its end, is kept there.

    Args:
        ask: what is to be recorded.
        path: where its tape is kept, named by all that it depends on; None for nowhere.

    Raises:
        OSError: if the file cannot be written.
        Exception: what `support.environment` holds to be no fault of what is recorded, such as MemoryError.
    """
    if path is not None:
        with contextlib.suppress(FileNotFoundError, files.FileFormatError):  # what cannot be read is recorded anew
            return Recorded(Tape.load(path))
    begun = time.perf_counter()
    recorded = _recorded(ask)
    long = time.perf_counter() - begun >= WORTH
    if path is not None and long and recorded.tape is not None and recorded.error is None:
        recorded.tape.save(path)
    return recorded


def _recorded(ask: Ask) -> Recorded:
    end = limits(ask.until, ask.batch_size)
    recording: Recording | None = None
    try:
        recording = Recording(ask.protocol, ask.cluster, ask.costs, ask.seed, seconds=end.seconds)
        for part in range(1, 101):
            recording.advance(*(limit * (part / 100) for limit in end))
        return Recorded(recording.tape())
    except Exception as error:
        if environment.at_fault(error):
            raise
        return Recorded(recording.tape() if recording is not None and recording.now else None, error)
