"""What the statistics are given: seconds to a target by seed, checked once, never arrived = infinity."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from simsgd.support import checks


@dataclass(frozen=True, eq=False)
class Arrivals:
    """Seconds to the target of one method's runs, with the horizon up to which all of them were played.

    Attributes:
        seconds: simulated seconds, shape (seeds,), float64; infinity where the target was never reached.
        horizon: simulated seconds; infinity when none is known, which needs every run to have arrived.
    """

    seconds: np.ndarray
    horizon: float

    @functools.cached_property
    def arrived(self) -> np.ndarray:
        """Which runs arrived, shape (seeds,), bool."""
        return np.isfinite(self.seconds)

    @property
    def count(self) -> int:
        """How many runs arrived."""
        return int(self.arrived.sum())

    def __len__(self) -> int:
        return len(self.seconds)

    @functools.cached_property
    def restricted(self) -> np.ndarray:
        """min(T, H), simulated seconds, shape (seeds,)."""
        restricted: np.ndarray = np.minimum(self.seconds, self.horizon)
        return restricted


def times(name: str, seconds: object, dimensions: int = 1) -> np.ndarray:
    """Return `seconds` as float64 with infinity where the target was never reached (NaN or infinite).

    Raises:
        TypeError, ValueError: for no numbers, another number of dimensions, none at all, and negative times.
    """
    try:
        given = np.asarray(seconds)
    except ValueError:
        given = np.empty(0, object)
    if given.dtype.kind not in "iuf":
        raise TypeError(f"{name} must hold simulated seconds, NaN where never reached, got {checks.shown(seconds)}")
    given = given.astype(np.float64)
    if given.ndim != dimensions:
        wanted = ("(seeds,)", "(rows, columns)")[dimensions - 1]
        raise ValueError(f"{name} must have {dimensions} dimension{'s'[: dimensions - 1]}, {wanted}, got shape {given.shape}")
    if given.size == 0:
        raise ValueError(f"{name} must hold at least one run, got none")
    if (given < 0).any():
        raise ValueError(f"{name} must be at least 0 simulated seconds, got {given[given < 0][0]:g}")
    return np.where(np.isnan(given), np.inf, given)


def arrivals(name: str, seconds: object, horizon: object) -> Arrivals:
    """Return the arrivals of one method; without a horizon (None) every run must have arrived.

    Raises:
        TypeError, ValueError: as `times`; for a horizon that is no positive number, or that lies below an arrival.
    """
    found = times(name, seconds)
    return Arrivals(found, checked_horizon(name, found, horizon))


def checked_horizon(name: str, found: np.ndarray, horizon: object) -> float:
    """Return the horizon in simulated seconds, infinity for None."""
    arrived = found[np.isfinite(found)]
    if horizon is None:
        if arrived.size < found.size:
            raise ValueError(
                f"horizon is needed, as {found.size - arrived.size} of {found.size} runs of {name} never arrived: "
                "the simulated seconds up to which all runs were played"
            )
        return math.inf
    limit = checks.positive("horizon", horizon, "seconds")
    if arrived.size and arrived.max() > limit:
        raise ValueError(
            f"horizon must not lie below an arrival: {name} has one at {arrived.max():g} s, got horizon={limit:g}; "
            "give the simulated seconds up to which all runs were played, or set later arrivals to NaN"
        )
    return limit


def pair(first: object, second: object, horizon: object) -> tuple[Arrivals, Arrivals]:
    """Return the arrivals of two methods on the same seeds.

    Raises:
        TypeError, ValueError: as `arrivals`, and for different numbers of seeds.
    """
    one, other = arrivals("first", first, horizon), arrivals("second", second, horizon)
    if len(one) != len(other):
        raise ValueError(f"first and second must be paired by seed, got {len(one)} and {len(other)} seeds")
    return one, other


def checked_level(level: object) -> float:
    """Return a level of confidence, above 0 and below 1."""
    checked = checks.number("level", level, wanted="above 0 and below 1, such as 0.95")
    if not 0 < checked < 1:
        raise ValueError(f"level must be above 0 and below 1, such as 0.95, got {level!r}")
    return checked
