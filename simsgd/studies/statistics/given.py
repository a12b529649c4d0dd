"""What the statistics are given: seconds to a target by seed, checked once, never arrived = infinity."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
        given = np.ma.filled(seconds, np.nan) if isinstance(seconds, np.ma.MaskedArray) else np.asarray(seconds)
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


def checked_level(level: object, name: str = "level") -> float:
    """Return a level of confidence or a power, above 0 and below 1."""
    wanted = f"above 0 and below 1, such as {0.95 if name == 'level' else 0.8}"
    checked = checks.number(name, level, wanted=wanted)
    if not 0 < checked < 1:
        raise ValueError(f"{name} must be {wanted}, got {level!r}")
    return checked


def rows(seconds: Any, labels: Any = None) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the labels of methods, and their seconds as rows, shape (methods, columns), infinity where never reached.

    Raises:
        TypeError, ValueError: as `times`; for rows of different lengths, one method only, or labels that do not fit.
    """
    if isinstance(seconds, Mapping):
        if labels is not None:
            raise ValueError("labels must be left out where seconds is a mapping, whose keys they are")
        lengths = {label: np.size(row) for label, row in seconds.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"seconds must have as many entries for each method, got {lengths}")
        labels, seconds = list(seconds), [np.asarray(row) for row in seconds.values()]
    elif hasattr(seconds, "dims") and np.ndim(seconds) >= 2:  # an array of xarray, such as a study's results
        seconds = _two_dimensional(seconds)
        labels = seconds[seconds.dims[0]].values.tolist() if labels is None else labels
    found = times("seconds", seconds, 2)
    names = [f"method {row}" for row in range(len(found))] if labels is None else checks.sequence("labels", labels, '["sync"]')
    if len(names) != len(found) or len(set(names)) != len(names):
        raise ValueError(f"labels must be {len(found)} different ones, one for each row, got {checks.shown(labels)}")
    if len(found) < 2:
        raise ValueError(f"seconds must have at least two methods to compare, got {len(found)}")
    return tuple(map(str, names)), found


def _two_dimensional(seconds: Any) -> Any:
    """Return an array of xarray without further axes of one label, seeds last.

    Raises:
        ValueError: if more than two axes are left.
    """
    others = [name for name in seconds.dims if name != "seed"]
    single = [name for name in others if seconds.sizes[name] == 1]
    found = seconds.squeeze(single[-(seconds.ndim - 2) :] if seconds.ndim > 2 else [])
    if found.ndim > 2:
        kept = [name for name in others if name in found.dims]
        name = kept[1 if "seed" in found.dims else 2]
        raise ValueError(
            f"seconds must have 2 dimensions, such as methods and seeds, got {dict(found.sizes)}: choose one label of {name}, "
            f"as in results.select({name}={found[name].values.tolist()[0]!r}).seconds()"
        )
    return found.transpose(..., "seed") if "seed" in found.dims else found
