"""Intervals of means and shares, and how often an interval covers what it should.

The percentile bootstrap is here to be compared with: of the mean of n normal values it covers 75 / 83 / 90 / 93% at
n = 3 / 5 / 10 / 20 where 95% are promised. The t interval covers 95%.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from simsgd.studies.statistics.given import checked_level
from simsgd.support import checks, rng


def t_interval(values: object, level: float = 0.95) -> tuple[float, float]:
    """Return Student's interval of the mean of normal values, mean ± t·s/√n; NaN with one value only.

    Args:
        values: numbers, shape (n,).
        level: how often the interval should cover the mean.

    Raises:
        ValueError: if there are no values, or one is not finite.

    Example:
        >>> import simsgd as sg
        >>> low, high = sg.studies.statistics.t_interval([1.0, 2.0, 3.0])
        >>> round(low, 2), round(high, 2)
        (-0.48, 4.48)
    """
    given, wanted = _values(values), checked_level(level)
    if len(given) == 1:
        return math.nan, math.nan
    mean, half = given.mean(), t_quantile(wanted, len(given) - 1) * standard_error(given)
    return float(mean - half), float(mean + half)


def percentile_bootstrap(values: object, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a mean (Efron 1979), to be compared with: it is too short for few values.

    Of normal values it covers 75 / 83 / 90 / 93% at n = 3 / 5 / 10 / 20 where 95% are promised; `t_interval` covers 95%.

    Args:
        values: numbers, shape (n,).
        level: how often the interval should cover the mean, and does not.
        resamples: how many samples are drawn with replacement.
        seed: of the draws; the same seed gives the same bits.

    Raises:
        ValueError: if there are no values, or one is not finite.

    Example:
        >>> import simsgd as sg
        >>> low, high = sg.studies.statistics.percentile_bootstrap([1.0, 2.0, 3.0])
        >>> round(low, 2), round(high, 2)
        (1.0, 3.0)
    """
    given, wanted = _values(values), checked_level(level)
    generator = rng.stream(seed, "percentile bootstrap")
    drawn = generator.integers(len(given), size=(checks.whole("resamples", resamples, 1), len(given)))
    low, high = np.quantile(given[drawn].mean(axis=1), [(1 - wanted) / 2, (1 + wanted) / 2])
    return float(low), float(high)


def share_interval(count: int, runs: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share of which `count` of `runs` were seen (Clopper and Pearson 1934).

    Raises:
        ValueError: if there are no runs, or more were counted than there are.

    Example:
        >>> import simsgd as sg
        >>> low, high = sg.studies.statistics.share_interval(10, 10)
        >>> round(low, 2), high  # ten of ten arrived: still one of four might not
        (0.69, 1.0)
    """
    from scipy import special

    total, wanted = checks.whole("runs", runs, 1), checked_level(level)
    seen = checks.whole("count", count, 0)
    if seen > total:
        raise ValueError(f"count must be at most runs={total}, got {seen}")
    tail = (1 - wanted) / 2
    low = 0.0 if seen == 0 else float(special.betaincinv(seen, total - seen + 1, tail))
    high = 1.0 if seen == total else float(special.betainccinv(seen + 1, total - seen, tail))
    return low, high


def measured_coverage(
    interval: Callable[[np.ndarray], tuple[float, float]],
    draw: Callable[[np.random.Generator], np.ndarray],
    truth: float,
    repetitions: int = 2000,
    seed: int = 0,
) -> float:
    """Return the share of samples whose interval covers the truth; its standard error is √(p(1 − p)/repetitions).

    Args:
        interval: gets a sample and returns (low, high).
        draw: gets a generator and returns a sample.
        truth: what the interval should cover.
        repetitions: how many samples are drawn.
        seed: of the draws; the same seed gives the same bits.

    Example:
        >>> import simsgd as sg
        >>> of = sg.studies.statistics
        >>> 0.94 < of.measured_coverage(of.t_interval, lambda generator: generator.standard_normal(3), truth=0.0) < 0.96
        True
    """
    generator = rng.stream(seed, "coverage")
    covered = 0
    for _ in range(checks.whole("repetitions", repetitions, 1)):
        low, high = interval(draw(generator))
        covered += bool(low <= truth <= high)
    return covered / repetitions


def standard_error(values: np.ndarray) -> float:
    """Return s/√n of at least two values."""
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def t_quantile(level: float, freedom: int) -> float:
    """Return the two-sided quantile of Student's t."""
    from scipy import special

    return float(special.stdtrit(freedom, (1 + level) / 2))


def _values(values: object) -> np.ndarray:
    given = np.asarray(values, np.float64)
    if given.ndim != 1 or given.size == 0 or not np.isfinite(given).all():
        raise ValueError(f"values must be a sequence of at least one finite number, got {checks.shown(values)}")
    return given
