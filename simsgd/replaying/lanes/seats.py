"""Runs in lanes: what is to be played, where each stands, and what was measured of it."""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from simsgd.replaying.lanes.sheets import Models, Moments, Sheet
from simsgd.replaying.schedule import Schedule
from simsgd.stopping import Watch


class LaneRun(NamedTuple):
    """A run that is to be played in a lane.

    Attributes:
        numbers: of its method's parts, by place and name; floats.
        seed: of its parameters and batches.
        sheet, moments, models: of its tape and schedule.
        schedule: when it ends.
    """

    numbers: Mapping[str, Mapping[str, float]]
    seed: int
    sheet: Sheet
    moments: Moments
    models: Models
    schedule: Schedule


class Measured(NamedTuple):
    """What was measured of a run.

    Attributes:
        status: "completed", "target reached" or "diverged"; "cut" where its tape ended before the run did.
        values: a row for each evaluation, (evaluations, metrics), float64.
        worker_losses: (evaluations, workers), or nothing.
        parameters: the final model, flat.
        moments: of these evaluations and those that did not come.
    """

    status: str
    values: np.ndarray
    worker_losses: np.ndarray | None
    parameters: np.ndarray
    moments: Moments

    @property
    def parameters_hash(self) -> str:
        """SHA-256 of the final parameters."""
        return hashlib.sha256(self.parameters.tobytes()).hexdigest()


@dataclass
class Seat:
    """A lane with a run in it.

    Attributes:
        number: of the run.
        run: it.
        watch: follows its target.
        position: blocks played.
        evaluated: models evaluated.
        rows: the values of its evaluations so far.
        losses: the losses of workers at them.
    """

    number: int
    run: LaneRun
    watch: Watch | None
    position: int = 0
    evaluated: int = 0
    rows: list[list[float]] = field(default_factory=list)
    losses: list[np.ndarray] = field(default_factory=list)

    def due(self, blocks: int, slots: int) -> list[tuple[int, int]]:
        """Return (blocks from here, version) of each model to be kept in the next blocks; −1 for version 0."""
        models, first = self.run.models, self.evaluated
        stop = min(first + slots, bisect.bisect_left(models.blocks, self.position + blocks))
        return [(max(models.blocks[i] - self.position, -1), models.versions[i]) for i in range(first, stop)]
