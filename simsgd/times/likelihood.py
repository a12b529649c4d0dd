"""Maximum likelihood: of each textbook law, the one under which given times are the most likely."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from simsgd.times.law import Distribution, Law
from simsgd.times.textbook import Constant, Exponential, Pareto, ShiftedExponential, Weibull
from simsgd.times.variation import Gamma, Lognormal

NARROWEST = 1e-6
"""Times whose standard deviation is a smaller part of their mean count as all equal."""


@dataclass(frozen=True)
class Candidate:
    """A law fitted to times by maximum likelihood, and how well it fits.

    Attributes:
        law: with the parameters of greatest likelihood.
        log_likelihood: sum of the logarithms of its density (per second) at the times; infinite where they are all equal.
        schwarz: Schwarz's criterion, (number of parameters)·log(number of times) − 2·log_likelihood, the lower, the better. A
            parameter that is the least time itself counts twice: n times tell it to 1/n, the others to 1/√n. (Akaike's, with
            2 in place of the logarithm, would call exponential times a shifted exponential every third time.)
        kolmogorov_smirnov: the largest gap between its distribution function and that of the times, from 0 to 1.
    """

    law: Law
    log_likelihood: float
    schwarz: float
    kolmogorov_smirnov: float


def candidates(times: np.ndarray) -> tuple[Candidate, ...]:
    """Return every textbook law fitted to times above 0, the best by Schwarz's criterion first."""
    if times.std() <= NARROWEST * times.mean():
        return (Candidate(Constant(float(times.mean())), math.inf, -math.inf, 0.0),)
    ordered = np.sort(times)
    fitted = [_candidate(law, ordered) for law in _laws(ordered)]
    return tuple(sorted(fitted, key=lambda candidate: candidate.schwarz))


def _candidate(law: Law, ordered: np.ndarray) -> Candidate:
    distribution: Distribution = law.distribution()
    likelihood = float(distribution.logpdf(ordered).sum())
    parameters = len(dataclasses.fields(law)) + isinstance(law, ShiftedExponential | Pareto)  # type: ignore[arg-type]
    schwarz = parameters * math.log(len(ordered)) - 2 * likelihood
    below, steps = distribution.cdf(ordered), np.arange(len(ordered) + 1) / len(ordered)
    gap = max(np.max(steps[1:] - below), np.max(below - steps[:-1]))
    return Candidate(law, likelihood, schwarz, float(gap))


def _laws(times: np.ndarray) -> Iterator[Law]:
    """Yield the laws of greatest likelihood; one that would need parameters beyond what the law allows is left out."""
    for fit in (_exponential, _shifted_exponential, _gamma, _lognormal, _weibull, _pareto):
        try:
            law = fit(times)
        except (ValueError, OverflowError):
            continue
        yield law


def _exponential(times: np.ndarray) -> Law:
    return Exponential(float(times.mean()))


def _shifted_exponential(times: np.ndarray) -> Law:
    return ShiftedExponential(shift=float(times.min()), mean=float(times.mean()))


def _gamma(times: np.ndarray) -> Law:
    """Solve log k − ψ(k) = log(mean) − mean(log) for the shape k, which is between half of the right side's inverse and it."""
    from scipy import optimize, special

    gap = math.log(times.mean()) - np.log(times).mean()
    shape = optimize.brentq(lambda k: math.log(k) - special.psi(k) - gap, 0.5 / gap, 1 / gap)
    return Gamma(float(times.mean()), 1 / math.sqrt(shape))


def _lognormal(times: np.ndarray) -> Law:
    logarithms = np.log(times)
    spread = float(logarithms.var())
    return Lognormal(math.exp(logarithms.mean() + spread / 2), math.sqrt(math.expm1(spread)))


def _weibull(times: np.ndarray) -> Law:
    """Solve Σxᵏ·log x/Σxᵏ − 1/k = mean(log x) for the shape k; with the largest x as the unit, no power overflows."""
    from scipy import optimize

    logarithms = np.log(times / times.max())

    def slope(k: float) -> float:
        powers = np.exp(k * logarithms)
        return float(powers @ logarithms / powers.sum() - 1 / k - logarithms.mean())

    shape = optimize.brentq(slope, 0.05, 1e3, rtol=1e-12)
    scale = times.max() * np.exp(shape * logarithms).mean() ** (1 / shape)
    return Weibull(float(scale * math.gamma(1 + 1 / shape)), shape)


def _pareto(times: np.ndarray) -> Law:
    return Pareto(float(times.min()), 1 / float(np.log(times / times.min()).mean()))
