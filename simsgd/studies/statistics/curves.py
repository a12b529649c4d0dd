"""Shares against time: how many runs arrived by when, over one target or several, with one horizon or different ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simsgd.studies.statistics.given import checked_horizon, times
from simsgd.support import checks


@dataclass(frozen=True, eq=False)
class Steps:
    """A function that is constant between its jumps, and at each jump has its new value.

    Attributes:
        at: where it jumps, increasing, shape (jumps,).
        values: from each jump to the next, shape (jumps,).
        start: its value before the first jump.
        end: where what is known ends: a horizon; infinity where nothing ends.

    Example:
        >>> import simsgd as sg
        >>> arrived = sg.studies.statistics.ecdf([4.0, 2.0, float("nan"), float("nan")], horizon=10)
        >>> arrived(2.0), arrived(9.0), arrived.area(0.0, 10.0)
        (0.25, 0.5, 3.5)
    """

    at: np.ndarray
    values: np.ndarray
    start: float
    end: float

    def __call__(self, where: float) -> float:
        """Return the value at a point up to the end.

        Raises:
            ValueError: beyond the end, where nothing is known.
        """
        point = checks.number("where", where)
        if point > self.end:
            raise ValueError(f"where must be at most {self.end:g}, where what is known ends, got {where!r}")
        place = int(np.searchsorted(self.at, point, side="right"))
        return float(self.values[place - 1]) if place else self.start

    def area(self, start: float, stop: float) -> float:
        """Return the integral between two points up to the end.

        Raises:
            ValueError: beyond the end, or where `stop` lies before `start`.
        """
        first, last = checks.number("start", start), checks.number("stop", stop)
        if not first <= last <= self.end:
            raise ValueError(f"stop must lie between start={start!r} and the end, {self.end:g}, got {stop!r}")
        edges = np.clip(np.concatenate([[first], self.at, [last]]), first, last)
        return float(np.diff(edges) @ np.concatenate([[self.start], self.values]))


def ecdf(seconds: object, horizon: float) -> Steps:
    """Return the share of runs that arrived by a time; over several targets, the share of pairs of run and target.

    A run that never arrived counts in the whole and never in the part. Over several targets it is the "runtime profile" of
    COCO (Hansen et al. 2021): it shows easy and hard targets in one curve.

    Args:
        seconds: simulated seconds to the target, NaN or infinity where never reached; shape (seeds,) or (targets, seeds).
        horizon: simulated seconds up to which all runs were played.

    Raises:
        TypeError, ValueError: for seconds or a horizon that make no sense.

    Example:
        >>> import simsgd as sg
        >>> of_two_targets = sg.studies.statistics.ecdf([[1.0, 2.0], [4.0, float("nan")]], horizon=5)
        >>> of_two_targets.at.tolist(), of_two_targets.values.tolist()
        ([1.0, 2.0, 4.0], [0.25, 0.5, 0.75])
    """
    found = times("seconds", seconds, 2 if np.ndim(seconds) == 2 else 1)  # type: ignore[arg-type]
    if horizon is None:
        raise ValueError("horizon is needed: the simulated seconds up to which all runs were played, got None")
    return counted(found, checked_horizon("seconds", found, horizon))


def counted(values: np.ndarray, end: float) -> Steps:
    """Return the share of all values at or below a point."""
    at, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    return Steps(at, np.cumsum(counts) / values.size, 0.0, end)


def kaplan_meier(seconds: object, horizons: object, pruned: object = None) -> Steps:
    """Return the share of runs that have not arrived by a time, from runs that were played to different horizons.

    S(t) = Π (1 − arrivals at s / runs still watched at s) over the times s ≤ t (Kaplan and Meier 1958), up to the last horizon;
    `.area(0, H)` is the restricted mean. It is right only where the horizons have nothing to do with how well the runs went.
    So it is refused for runs that were stopped for doing badly, as successive halving does: their censoring is informative.
    With one horizon for all it is one minus `ecdf`, and refused too, as that says the same more simply.

    Args:
        seconds: simulated seconds to the target by run, NaN or infinity where never reached; shape (runs,).
        horizons: simulated seconds up to which each run was played, or would have been had it not arrived; shape (runs,).
        pruned: which runs were stopped for doing badly, shape (runs,), bool; none by default.

    Raises:
        TypeError, ValueError: for seconds or horizons that make no sense, one horizon for all, or a pruned run.

    Example:
        >>> import simsgd as sg
        >>> late = sg.studies.statistics.kaplan_meier([1.0, float("nan"), 3.0], horizons=[5.0, 2.0, 4.0])
        >>> late.at.tolist(), [round(share, 3) for share in late.values.tolist()]
        ([1.0, 3.0], [0.667, 0.0])
    """
    found, ends = times("seconds", seconds), times("horizons", horizons)
    _checked_ends(found, ends)
    stopped = np.asarray(() if pruned is None else pruned, np.bool)
    if stopped.any():
        raise ValueError(
            f"pruned must mark no run, got {stopped.sum()}: runs that were stopped for doing badly would have arrived "
            "later than others, so Kaplan–Meier is wrong for them; play them to one horizon"
        )
    if len(set(ends.tolist())) == 1:
        raise ValueError(f"horizons are all {ends[0]:g} s: use ecdf(seconds, horizon), which is one minus this")
    last_seen = np.sort(np.minimum(found, ends))
    at, arrivals = np.unique(found[np.isfinite(found)], return_counts=True)
    watched = len(found) - np.searchsorted(last_seen, at, side="left")
    return Steps(at, np.cumprod(1 - arrivals / watched), 1.0, float(ends.max()))


def _checked_ends(found: np.ndarray, ends: np.ndarray) -> None:
    if len(found) != len(ends):
        raise ValueError(f"horizons must have one entry for each of {len(found)} runs, got {len(ends)}")
    if not np.isfinite(ends).all() or not ends.all():
        raise ValueError("horizons must be finite and above 0 simulated seconds")
    late = np.isfinite(found) & (found > ends)
    if late.any():
        run = int(late.argmax())
        raise ValueError(f"horizons must not lie below an arrival, got {ends[run]:g} s for one at {found[run]:g} s (run {run})")
