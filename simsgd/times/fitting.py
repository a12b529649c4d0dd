"""Fitting a law to measured times: `fit` chooses one by likelihood, and says when independent draws describe them badly."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simsgd.support import checks
from simsgd.times.combined import Speeds
from simsgd.times.law import Law
from simsgd.times.likelihood import NARROWEST, Candidate, candidates
from simsgd.times.recorded import Recorded
from simsgd.times.textbook import Constant
from simsgd.times.variation import AutocorrelatedLognormal

FEWEST = 10
AUTOCORRELATION = 0.1
BETWEEN_WORKERS = 0.05
"""Smaller effects are ignored even where they are statistically significant."""


@dataclass(frozen=True)
class Fit:
    """What `fit` found out about measured times. `print` shows it in a few lines.

    Attributes:
        workers: how many.
        count: how many times, of all workers together.
        mean: mean seconds of all times.
        candidates: the textbook laws fitted to all times together, the best by Schwarz's criterion first.
        tolerance: the largest Kolmogorov–Smirnov distance at which a law is said to describe the times.
        autocorrelation: of a job's time, over its worker's mean, with the same worker's next one; corrected for the bias
            −(1 + 2r)/(times of a worker) that comes from measuring around a mean that is itself estimated.
        between_worker_share: the share of the variance of all times that the workers' own means explain, from 0 to 1.
        slowest_to_fastest: the largest of the workers' means over the smallest.
        independent: whether the times can be independent draws from one law for all workers; `fit` states the test.
        persistent: a law for a cluster of these workers that keeps what independent draws lose: each worker's own mean, and an
            autocorrelated lognormal with their common variation and autocorrelation. Its memory goes by jobs; slow spells
            that go by the clock are better described by `SlowSpells`.
    """

    workers: int
    count: int
    mean: float
    candidates: tuple[Candidate, ...]
    tolerance: float
    autocorrelation: float
    between_worker_share: float
    slowest_to_fastest: float
    independent: bool
    persistent: Law

    @property
    def kolmogorov_smirnov(self) -> float:
        """The distance of the best candidate's distribution function from that of the times."""
        return self.candidates[0].kolmogorov_smirnov

    @property
    def describes(self) -> bool:
        """Whether the best candidate is within the tolerance: whether a textbook law has the times' distribution."""
        return self.kolmogorov_smirnov <= self.tolerance

    @property
    def law(self) -> Law | None:
        """The best candidate's law; None if it does not describe the times, which then may be a mixture."""
        return self.candidates[0].law if self.describes else None

    def summary(self) -> str:
        """Return what was found, in plain lines."""
        best, play_back = self.candidates[0], "Recorded(..., at_end='resample', block=...) plays them back as they are"
        spread = f"; the slowest worker's mean is {self.slowest_to_fastest:.3g} times the fastest's" if self.workers > 1 else ""
        lines = [
            f"{self.count} times of {_counted(self.workers, 'worker')}, mean {self.mean:.4g} s{spread}.",
            f"Best of {_counted(len(self.candidates), 'law')} by likelihood: {_shortly(best.law)}.",
            f"Kolmogorov–Smirnov distance {best.kolmogorov_smirnov:.3f}: up to {self.tolerance:.3f} it describes the times.",
        ]
        if not self.describes:
            lines.append(f"None of these laws describes the times, which may be a mixture; {play_back}.")
        lines.append(
            f"Lag-1 autocorrelation {self.autocorrelation:.2f}; the workers' own means explain "
            f"{self.between_worker_share:.0%} of the variance."
        )
        if self.independent:
            lines.append("Nothing here speaks against independent draws.")
        else:
            lines.append(
                f"Independent draws are a bad description, because {self._why()}, or the times themselves: {play_back}."
            )
        return "\n".join(lines)

    def _why(self) -> str:
        if self.autocorrelation < -AUTOCORRELATION:
            return "long and short times alternate, which no law here does; use `persistent` for the workers' means only"
        return "slowness persists; use `persistent`, which has these workers' means and autocorrelation"

    def __str__(self) -> str:
        """Return the summary."""
        return self.summary()


def fit(samples: Recorded | np.ndarray | Sequence[Any], tolerance: float = 0.1) -> Fit:
    """Fit laws to measured times by likelihood, and test whether they can be independent draws from one law.

    To all times together are fitted, by maximum likelihood, an exponential, a shifted exponential, a gamma, a lognormal, a
    Weibull and a Pareto law (a constant where all are equal); Schwarz's criterion orders them. The best one describes the
    times if its Kolmogorov–Smirnov distance is at most `tolerance`, or 1.36/√(number of times) if that is larger, which
    independent draws exceed one time in twenty.

    The times count as dependent where one of two things is both beyond chance (one time in a thousand) and large enough to
    matter: an autocorrelation of more than 3.3/√(pairs of neighbours) and more than 0.1 either way; workers' means that explain
    more of the variance than chance does, χ² with (workers − 1) degrees of freedom over (times − 1), and at least 0.05 more
    than the (workers − 1)/(times − 1) that chance explains on average. Trends and seasons are not looked for.

    Args:
        samples: seconds above 0: one worker's times in order (shape (times,)), those of several workers (shape (workers,
            times), or a sequence of arrays), or a `Recorded`. At least 10 in all, and 2 of each worker.
        tolerance: the Kolmogorov–Smirnov distance up to which a law describes the times, from 0 to 1.

    Raises:
        TypeError: if `samples` is not a sequence.
        ValueError: if a time is not a finite number above 0, or there are too few.

    Example:
        >>> import numpy as np
        >>> import simsgd as sg
        >>> times = np.random.default_rng(0).gamma(shape=4.0, scale=0.25, size=(8, 500))
        >>> found = sg.times.fit(times)
        >>> found.law  # doctest: +ELLIPSIS
        Gamma(mean=..., coefficient_of_variation=...)
        >>> print(found)
        4000 times of 8 workers, mean 1.009 s; the slowest worker's mean is 1.08 times the fastest's.
        Best of 6 laws by likelihood: Gamma(mean=1.009, coefficient_of_variation=0.5036).
        Kolmogorov–Smirnov distance 0.010: up to 0.100 it describes the times.
        Lag-1 autocorrelation 0.00; the workers' own means explain 0% of the variance.
        Nothing here speaks against independent draws.
    """
    workers = _workers(samples)
    if checks.not_negative("tolerance", tolerance) > 1:
        raise ValueError(f"tolerance must be from 0 to 1, got {tolerance!r}")
    everything = np.concatenate(workers)
    means = np.array([times.mean() for times in workers])
    relative = [times / mean for times, mean in zip(workers, means, strict=True)]
    autocorrelation, share = _autocorrelation(relative), _between_worker_share(workers, means)
    return Fit(
        workers=len(workers),
        count=len(everything),
        mean=float(everything.mean()),
        candidates=candidates(everything),
        tolerance=max(tolerance, 1.36 / math.sqrt(len(everything))),
        autocorrelation=autocorrelation,
        between_worker_share=share,
        slowest_to_fastest=float(means.max() / means.min()),
        independent=_independent(autocorrelation, share, len(workers), len(everything)),
        persistent=_persistent(relative, means, autocorrelation),
    )


def _autocorrelation(relative: list[np.ndarray]) -> float:
    """Return the lag-1 autocorrelation within workers, of times over their mean."""
    rests = [times - 1 for times in relative]
    count, workers = sum(map(len, rests)), len(rests)
    variance = sum(rest @ rest for rest in rests) / (count - workers)
    if variance <= NARROWEST**2:
        return 0.0
    measured = sum(rest[:-1] @ rest[1:] for rest in rests) / (count - workers) / variance
    return float(np.clip(measured + (1 + 2 * measured) * workers / count, -1, 1))


def _between_worker_share(workers: list[np.ndarray], means: np.ndarray) -> float:
    everything = np.concatenate(workers)
    rest, counts = everything - everything.mean(), np.array([len(times) for times in workers])
    if everything.std() <= NARROWEST * everything.mean():
        return 0.0
    return float(counts @ (means - everything.mean()) ** 2 / (rest @ rest))


def _independent(autocorrelation: float, share: float, workers: int, count: int) -> bool:
    """Apply the test that `fit` states."""
    from scipy import stats

    beyond = max(AUTOCORRELATION, 3.3 / math.sqrt(count - workers))
    if workers == 1:
        return abs(autocorrelation) <= beyond
    chance, degrees = (workers - 1) / (count - 1), workers - 1
    limit = max(chance + BETWEEN_WORKERS, float(stats.chi2.ppf(0.999, degrees)) / (count - 1))
    return abs(autocorrelation) <= beyond and share <= limit


def _persistent(relative: list[np.ndarray], means: np.ndarray, autocorrelation: float) -> Law:
    """Return the workers' means as speeds, around a law of the others' variation and autocorrelation."""
    count, mean = sum(map(len, relative)), float(means.mean())
    variation = math.sqrt(sum(float(((times - 1) ** 2).sum()) for times in relative) / (count - len(relative)))
    within: Law = Constant(mean)
    if variation > NARROWEST:
        within = AutocorrelatedLognormal(mean, min(variation, 1e3), min(max(autocorrelation, 0.0), 0.999))
    return Speeds(within, tuple(mean / means)) if len(means) > 1 else within


def _workers(samples: object) -> list[np.ndarray]:
    """Return each worker's times as an array, or raise an error that names the first that is wrong."""
    given = samples.seconds if isinstance(samples, Recorded) else checks.sequence("samples", samples, "[0.11, 0.13, 0.12]")
    if given and isinstance(given[0], numbers.Real):
        given = (given,)
        workers = [_positive("samples", given[0])]
    else:
        workers = [_positive(f"samples[{worker}]", times) for worker, times in enumerate(given)]
    if sum(map(len, workers)) < FEWEST:
        raise ValueError(f"samples must hold at least {FEWEST} times, got {sum(map(len, workers))}")
    for worker, times in enumerate(workers):
        if len(times) < 2:
            raise ValueError(f"samples[{worker}] must hold at least 2 times of its worker, got {len(times)}")
    return workers


def _positive(name: str, times: object) -> np.ndarray:
    values = checks.sequence(name, times, "[0.11, 0.13, 0.12]")
    return np.array([checks.positive(f"{name}[{i}]", value, "seconds") for i, value in enumerate(values)])


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _shortly(law: Law) -> str:
    """Return a law with its numbers to four digits."""
    numbers_of = (f"{field.name}={getattr(law, field.name):.4g}" for field in dataclasses.fields(law))  # type: ignore[arg-type]
    return f"{type(law).__name__}({', '.join(numbers_of)})"
