"""Before the next runs: how many seeds separate two methods, and how much better the best of many looks than it is."""

from __future__ import annotations

import math

import numpy as np

from simsgd.studies.statistics.given import checked_level, pair
from simsgd.studies.statistics.intervals import standard_error
from simsgd.studies.statistics.paired import no_log_ratios, paired_differences
from simsgd.support import checks

MOST_SEEDS = 1_000_000


def paired_power(effect: float, seeds: int, level: float = 0.95) -> float:
    """Return how often a paired t test separates two methods, by the noncentral t distribution.

    Args:
        effect: the mean paired difference over its standard deviation.
        seeds: how many pairs, at least two.
        level: the methods are separated at p ≤ 1 − level.

    Raises:
        ValueError: for numbers that make no sense.

    Example:
        >>> import simsgd as sg
        >>> round(sg.studies.statistics.paired_power(1.0, 10), 3)
        0.803
    """
    from scipy import special

    size, pairs, wanted = checks.number("effect", effect), checks.whole("seeds", seeds, 2), checked_level(level)
    freedom, shift = pairs - 1, abs(size) * math.sqrt(pairs)
    critical = float(special.stdtrit(freedom, (1 + wanted) / 2))
    return float(1 - special.nctdtr(freedom, shift, critical) + special.nctdtr(freedom, shift, -critical))


def more_seeds_to_separate(
    first: object, second: object, horizon: float | None = None, power: float = 0.8, level: float = 0.95
) -> float:
    """Return how many more seeds would separate two methods, if they differ as much as they seem to.

    The least n at which the paired t test has the power, less the seeds that are there: of log-ratios where every run
    arrived, of the differences of min(T, H) otherwise, and then at least the seeds below which the sign-flip test separates
    nothing. A difference that is noise is overestimated by few seeds, and then so many are too few: take the answer as a
    plan, and test at the end, or with `compare_at_any_time`.

    Args:
        first, second: simulated seconds to the target, NaN or infinity where never reached; shape (seeds,), the same seeds.
        horizon: simulated seconds up to which all runs were played; needed where one never arrived.
        power: how often they should be separated.
        level: they are separated at p ≤ 1 − level.

    Returns:
        A whole number; infinity for methods that do not differ at all, or so little that a million seeds would not do.

    Raises:
        TypeError, ValueError: as `compare_pair`; with one seed, which says nothing of the spread.

    Example:
        >>> import simsgd as sg
        >>> sg.studies.statistics.more_seeds_to_separate([10.0, 12.0, 14.0], [11.0, 12.0, 14.5])
        9
    """
    one, other = pair(first, second, horizon)
    wanted = checked_level(level)
    often = checked_level(power, "power")
    if len(one) == 1:
        raise ValueError("seeds must be at least two, as one says nothing of the spread, got 1")
    ours, theirs = paired_differences(one, other)
    least = 2 if not no_log_ratios(one, other) else math.ceil(1 - math.log2(1 - wanted) - 1e-9)
    needed = _least_seeds(ours - theirs, least, often, wanted)
    return needed if math.isinf(needed) else max(int(needed) - len(one), 0)


def _least_seeds(differences: np.ndarray, least: int, power: float, level: float) -> float:
    """Return the least number of pairs with the power, by doubling and halving."""
    spread = standard_error(differences) * math.sqrt(len(differences))
    mean = abs(float(differences.mean()))
    if mean <= 1e-12 * float(np.abs(differences).max(initial=0.0)):
        return math.inf
    if spread <= 1e-12 * mean:
        return least
    enough = least
    while paired_power(mean / spread, enough, level) < power:
        enough *= 2
        if enough > MOST_SEEDS:
            return math.inf
    low, high = max(least, enough // 2), enough
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if paired_power(mean / spread, middle, level) >= power else (middle + 1, high)
    return high


def winners_curse(configurations: int, seeds: int, log_deviation: float, correlation: float = 0.0) -> float:
    """Return how the best of equal configurations looks, as a share of its true time, when scored on its tuning seeds.

    The best of m equal configurations, each scored by its geometric mean over n seeds, was chosen for its luck. With normal
    log-times of deviation σ, which share the correlation ρ between configurations, its score is, in the geometric mean over
    many tunings, exp(−σ·√((1 − ρ)/n)·E[max of m normals]) times its true time. Scored on other seeds than those that chose it,
    the factor is 1: tuning and reporting need seeds of their own.

    Args:
        configurations: how many were tried, m.
        seeds: how many seeds each was tried on, n.
        log_deviation: σ, the standard deviation of the log of a time over seeds.
        correlation: ρ, between the log-times of two configurations on one seed, as common random numbers give.

    Raises:
        ValueError: for numbers that make no sense.

    Example:
        >>> import simsgd as sg
        >>> [round(sg.studies.statistics.winners_curse(16, seeds, 0.3), 2) for seeds in (1, 3, 5)]
        [0.59, 0.74, 0.79]
    """
    from scipy import integrate, stats

    tried, runs = checks.whole("configurations", configurations, 1), checks.whole("seeds", seeds, 1)
    spread = checks.not_negative("log_deviation", log_deviation)
    shared = checks.number("correlation", correlation, wanted="from 0 to 1")
    if not 0 <= shared <= 1:
        raise ValueError(f"correlation must be from 0 to 1, got {correlation!r}")

    def weighted(z: float) -> float:
        return float(tried * z * stats.norm.pdf(z) * stats.norm.cdf(z) ** (tried - 1))

    greatest = integrate.quad(weighted, -12, 12)[0]
    return math.exp(-spread * math.sqrt((1 - shared) / runs) * greatest)
