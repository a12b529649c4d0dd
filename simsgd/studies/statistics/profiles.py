"""Performance profiles: over many problems or clusters, how often a method is within a factor of the fastest.

A profile depends on which methods stand beside it: leaving one out can turn the order of others (Gould and Scott 2016). So it
is a picture of a set of methods, and no property of one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simsgd.studies.statistics.curves import Steps, counted
from simsgd.studies.statistics.given import rows
from simsgd.support import checks


def performance_profiles(seconds: object, labels: Sequence[str] | None = None) -> dict[str, Steps]:
    """Return for each method the share of problems on which it takes at most a factor τ of the fastest, a function of τ.

    ρ(τ) = #{problems: t(method) ≤ τ·min over methods t}/#{problems} (Dolan and Moré 2002). A problem that a method never solves
    counts in the whole at every τ, also where no method solves it. ρ(1) is how often a method is the fastest.

    Args:
        seconds: simulated seconds of each method on each problem or cluster, such as a restricted mean or expected running
            time, NaN or infinity where never reached: a mapping of labels to problems, or shape (methods, problems).
        labels: of the rows, where seconds is an array.

    Raises:
        TypeError, ValueError: for seconds or labels that make no sense, fewer than two methods, or a time of 0 s.

    Example:
        >>> import simsgd as sg
        >>> seconds = {"sync": [10.0, 30.0, 20.0, 8.0], "async": [12.0, 10.0, float("nan"), 4.0]}
        >>> profiles = sg.studies.statistics.performance_profiles(seconds)
        >>> profiles["sync"](1.0), profiles["sync"](2.0), profiles["async"](1.0), profiles["async"](2.0)
        (0.5, 0.75, 0.5, 0.75)
    """
    names, found = rows(seconds, labels)
    if not found.all():
        raise ValueError("seconds must be above 0 s to be compared by their ratios, got one of 0 s")
    fastest = found.min(axis=0)
    solved = np.isfinite(fastest)
    ratios = np.full(found.shape, np.inf)
    ratios[:, solved] = found[:, solved] / fastest[solved]
    return {name: counted(row, np.inf) for name, row in zip(names, ratios, strict=True)}


def profile_scores(seconds: object, labels: Sequence[str] | None = None, most: float = 4.0) -> dict[str, float]:
    """Return each method's area under its performance profile from 1 to `most`, divided by its width: from 0 to 1.

    It is the score of AlgoPerf (Dahl et al. 2023, "Benchmarking neural network training algorithms"), whose greatest factor is
    4 too. Here it is computed on simulated time to the target: a method's time on a problem is what its runs took, over all
    seeds, where AlgoPerf picks one trial of several in each study.

    Args:
        seconds, labels: as `performance_profiles`.
        most: the greatest factor that counts, above 1.

    Raises:
        TypeError, ValueError: as `performance_profiles`; for `most` at or below 1.

    Example:
        >>> import simsgd as sg
        >>> sg.studies.statistics.profile_scores({"sync": [10.0, 25.0], "async": [25.0, 10.0]})
        {'sync': 0.75, 'async': 0.75}
    """
    greatest = checks.number("most", most)
    if greatest <= 1:
        raise ValueError(f"most must be above 1, the factor of the fastest itself, got {most!r}")
    profiles = performance_profiles(seconds, labels)
    return {name: profile.area(1.0, greatest) / (greatest - 1) for name, profile in profiles.items()}
