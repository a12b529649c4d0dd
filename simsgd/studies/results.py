"""The results of a study: its cells' outcomes as one labelled dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simsgd.stopping import Target
from simsgd.studies.grid import Label, Place
from simsgd.studies.outcomes import FAILED, Outcome

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True, eq=False)
class Results:
    """What a study measured.

    Attributes:
        axes: the labels of each axis.
        outcomes: by place, those that are there.
        target: what cells ran to, if all ran to one.
    """

    axes: Mapping[str, list[Label]]
    outcomes: Mapping[Place, Outcome]
    target: Target | None = None

    def outcome(self, **coordinates: Label) -> Outcome:
        """Return the outcome of one cell."""
        return self.outcomes[tuple(coordinates[name] for name in self.axes)]

    @property
    def failed(self) -> dict[Place, Outcome]:
        """The cells that raised an error."""
        return {place: outcome for place, outcome in self.outcomes.items() if outcome.status == FAILED}

    def seconds(self, target: Target | None = None) -> xarray.DataArray:
        """Return simulated seconds to the target along the axes, NaN where it was never reached or the cell is missing."""
        import xarray

        wanted = target or self.target
        if wanted is None:
            raise ValueError("target is needed: the cells of this study did not all run to one")
        shape = tuple(map(len, self.axes.values()))
        found = np.full(shape, np.nan)
        for index, place in zip(np.ndindex(shape), _places(self.axes), strict=True):
            if place in self.outcomes:
                found[index] = self.outcomes[place].to_target(wanted).seconds
        return xarray.DataArray(found, coords=dict(self.axes), dims=list(self.axes), name="seconds")


def _places(axes: Mapping[str, list[Label]]) -> list[Place]:
    import itertools

    return list(itertools.product(*axes.values()))
