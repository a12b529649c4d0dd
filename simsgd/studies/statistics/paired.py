"""Differences between two methods, paired by seed: both saw the same job times and the same batches.

Measured coverage of 95% intervals of a mean log-ratio, normal log-ratios (tests/test_statistics_coverage.py), at
n = 3 / 5 / 10 / 20 seeds: paired t 95 / 95 / 95 / 95%, percentile bootstrap 75 / 83 / 90 / 93%.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from simsgd.studies.statistics.arriving import shown
from simsgd.studies.statistics.flips import least_p, sign_flips
from simsgd.studies.statistics.given import Arrivals, checked_level, pair
from simsgd.studies.statistics.intervals import standard_error, t_quantile
from simsgd.support import checks


@dataclass(frozen=True)
class PairedComparison:
    """Two methods compared on the same seeds; made by `compare_pair` and `compare_at_any_time`.

    Attributes:
        test: "paired t of log-ratios", "sign flips of restricted differences", "bets on signs" or "none".
        why: why this test.
        value: the first method against the second: the geometric mean of their ratios, or the mean restricted difference.
        low, high: the interval of `value`; NaN where the test gives none.
        unit: "×" for a ratio, "s" for a difference in simulated seconds.
        p_value: of two equal methods; NaN with one seed.
        level: how often the interval should cover; the methods are separated at p ≤ 1 − level.
        seeds: how many pairs.
        arrived: how many runs of each arrived.
        correlation: between the methods' times over seeds (of their logs for ratios); NaN where one does not vary.
        pairing_gain: (s₁² + s₂²)/s²(difference): as many times more seeds would two methods on separate seeds need.
    """

    test: str
    why: str
    value: float
    low: float
    high: float
    unit: str
    p_value: float
    level: float
    seeds: int
    arrived: tuple[int, int]
    correlation: float
    pairing_gain: float

    @property
    def separated(self) -> bool:
        """Whether the methods differ at the level."""
        return self.p_value <= (1 - self.level) * (1 + 1e-12)

    @property
    def faster(self) -> str:
        """The faster one, "first" or "second", where they are separated; "neither" where not."""
        if not self.separated:
            return "neither"
        return "first" if self.value < self.nothing else "second"

    @property
    def nothing(self) -> float:
        """The value of two equal methods: a ratio of 1, a difference of 0."""
        return 1.0 if self.unit == "×" else 0.0

    def __str__(self) -> str:
        size = f"first = {shown(self.value)} × second" if self.unit == "×" else f"first − second = {shown(self.value)} s"
        ends = "" if math.isnan(self.low) else f" ({shown(self.low)} to {shown(self.high)})"
        said = [f"{size}{ends}, {self._p()}", f"{self.test}: {self.why}"]
        if not math.isnan(self.correlation):
            worth = f"pairing is worth {shown(self.pairing_gain)} times as many seeds"
            helped = worth if self.pairing_gain > 1 else "pairing did not help here"
            said.append(f"correlation {self.correlation:.2f}: {helped}")
        said.append("{} and {} of {} arrived".format(*self.arrived, self.seeds))
        return "; ".join(said)

    def _p(self) -> str:
        return "no p-value" if math.isnan(self.p_value) else f"p = {self.p_value:.2g}"


def compare_pair(
    first: object, second: object, horizon: float | None = None, level: float = 0.95, seed: int = 0
) -> PairedComparison:
    """Return how two methods differ on the same seeds, and say which test was used and why.

    Where every run arrived, Student's interval of the mean log-ratio: exact for normal log-ratios. Where one did not, or all
    log-ratios are the same, the exact sign-flip test of the differences of min(T, H): it asks only that equal methods could be
    exchanged within a seed. With n seeds its p-value is at least 2^(1 − n), so none below 0.05 is possible with fewer than six.

    Args:
        first, second: simulated seconds to the target, NaN or infinity where never reached; shape (seeds,), the same seeds.
        horizon: simulated seconds up to which all runs were played; needed where one never arrived.
        level: of the interval.
        seed: of the flips, which are drawn beyond 16 seeds; the same seed gives the same bits.

    Raises:
        TypeError, ValueError: for seconds or a horizon that make no sense, or different numbers of seeds.

    Example:
        >>> import simsgd as sg
        >>> compared = sg.studies.statistics.compare_pair([10.0, 12.0, 14.0, 11.0], [12.0, 15.0, 16.5, 13.0])
        >>> print(compared)
        first = 0.832 × second (0.797 to 0.868), p = 0.00086; paired t of log-ratios: every run arrived; correlation 0.98: \
pairing is worth 55.3 times as many seeds; 4 and 4 of 4 arrived
    """
    one, other = pair(first, second, horizon)
    wanted = checked_level(level)
    checks.whole("seed", seed, 0)
    if why_not := no_log_ratios(one, other):
        return _by_flips(one, other, wanted, seed, why_not)
    return _by_ratios(one, other, wanted)


def no_log_ratios(one: Arrivals, other: Arrivals) -> str:
    """Return why log-ratios of two methods cannot be compared by a t test; nothing where they can."""
    never = 2 * len(one) - one.count - other.count
    if never:
        return f"{never} of {2 * len(one)} runs never arrived"
    if not (one.seconds.all() and other.seconds.all()):
        return "a time of 0 s has no logarithm"
    ratios = np.log(one.seconds / other.seconds)
    if len(ratios) > 1 and np.ptp(ratios) <= 1e-12 * max(1.0, float(np.abs(ratios).max())):
        return "all ratios are the same, so a t test does not exist"
    return ""


def paired_differences(one: Arrivals, other: Arrivals) -> tuple[np.ndarray, np.ndarray]:
    """Return what is compared of each method by seed: logs of seconds, or min(T, H) where there are no log-ratios."""
    if no_log_ratios(one, other):
        return one.restricted, other.restricted
    return np.log(one.seconds), np.log(other.seconds)


def _by_ratios(one: Arrivals, other: Arrivals, level: float) -> PairedComparison:
    from scipy import special

    logs = paired_differences(one, other)
    ratios, n = logs[0] - logs[1], len(one)
    mean, low, high, p_value = float(ratios.mean()), math.nan, math.nan, math.nan
    if n > 1:
        error = standard_error(ratios)
        half = t_quantile(level, n - 1) * error
        low, high = math.exp(mean - half), math.exp(mean + half)
        p_value = float(2 * special.stdtr(n - 1, -abs(mean) / error))
    test, why = ("paired t of log-ratios", "every run arrived") if n > 1 else with_one_seed()
    return PairedComparison(
        *(test, why, math.exp(mean), low, high, "×", p_value, level, n, (one.count, other.count)),
        *what_pairing_gained(*logs),
    )


def _by_flips(one: Arrivals, other: Arrivals, level: float, seed: int, why: str) -> PairedComparison:
    differences, n = one.restricted - other.restricted, len(one)
    p_value, low, high = sign_flips(differences, level, seed) if n > 1 else (math.nan, math.nan, math.nan)
    test = "sign flips of restricted differences"
    if n == 1:
        test, why = with_one_seed()
    elif least_p(n) > 1 - level:
        why = f"{why}; no p below {1 - level:.2g} is possible with {n} seeds, {least_p(n):.2g} is the least"
    return PairedComparison(
        *(test, why, float(differences.mean()), low, high, "s", p_value, level, n, (one.count, other.count)),
        *what_pairing_gained(one.restricted, other.restricted),
    )


def with_one_seed() -> tuple[str, str]:
    """Return the test of one pair, none, and why."""
    return "none", "one seed says nothing of the spread"


def what_pairing_gained(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return the correlation over seeds, and the variance of a difference of separate seeds over that of the same seeds."""
    if len(one) < 2:
        return math.nan, math.nan
    spread, together = one.var(ddof=1) + other.var(ddof=1), (one - other).var(ddof=1)
    varies = np.ptp(one) > 0 and np.ptp(other) > 0
    correlation = float(np.corrcoef(one, other)[0, 1]) if varies else math.nan
    if together > 1e-24 * spread:
        return correlation, float(spread / together)
    return correlation, math.inf if spread > 0 else math.nan
