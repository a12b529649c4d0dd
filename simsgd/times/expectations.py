"""Expectations over one job's time, or the largest of several, from the distribution that a law states."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from simsgd.times.answers import distribution_of, moments_of
from simsgd.times.around import parameters
from simsgd.times.law import Distribution, Law

Function = Callable[[np.ndarray], np.ndarray]
QUANTILES = 2**16
GRID = 4096


def expectation(law: Law, worker: int, function: Function) -> float:
    """Return E[function(X)] of a smooth bounded function of one job's seconds; NaN if the law states no distribution.

    With P(X > x) = exp(−t) this is the integral of function(x(t))·exp(−t) over t: Gauss–Legendre with 20 nodes on each of a
    few dozen intervals, finer near 0 where x(t) may be steep. Its error is near 1e-13.
    """
    mean, variance, _ = moments_of(law, worker)
    if variance == 0:
        return float(function(np.array([mean]))[0])
    distribution = distribution_of(law, worker)
    if distribution is None:
        return math.nan
    t, weights, seconds = _nodes(distribution, np.linspace(2.0, 40.0, 39))
    return float(np.sum(weights * np.exp(-t) * function(seconds)))


def largest(distribution: Distribution, of: int) -> tuple[float, float]:
    """Return the mean (seconds) and the variance (seconds²) of the largest of so many independent draws.

    Exponential and Pareto times have closed forms; for others P(X > x) = exp(−t) has the density m(1 − exp(−t))^(m−1)·exp(−t)
    in t. The error of the integrals is near 1e-12 for tails lighter than any power.
    """
    shapes, location, scale = parameters(distribution)
    if distribution.dist.name == "expon":
        ranks = np.arange(1, of + 1)
        return location + scale * float(np.sum(1 / ranks)), scale**2 * float(np.sum(1 / ranks**2))
    if distribution.dist.name == "pareto":
        first, second = (_of_largest_pareto(shapes["b"], of, power) for power in (1, 2))
        return location + scale * first, scale**2 * (second - first**2) if second < math.inf else math.inf
    t, weights, seconds = _nodes(distribution, np.concatenate([np.linspace(2.0, 40.0, 39), np.linspace(45.0, 700.0, 132)]))
    density = weights * of * (-np.expm1(-t)) ** (of - 1) * np.exp(-t)
    mean = float(np.sum(density * seconds))
    return mean, float(np.sum(density * (seconds - mean) ** 2))


def _of_largest_pareto(exponent: float, of: int, power: int) -> float:
    """Return E[Xᵖ] of the largest of m times with P(X > x) = x^(−α): m!·Γ(1 − p/α)/Γ(m + 1 − p/α); infinite for α ≤ p."""
    share = power / exponent
    return math.exp(math.lgamma(of + 1) + math.lgamma(1 - share) - math.lgamma(of + 1 - share)) if share < 1 else math.inf


def _nodes(distribution: Distribution, later: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return nodes t of Gauss–Legendre on intervals from 0 to 1 and then to those edges, their weights, and x(t)."""
    edges = np.concatenate([[0.0], np.geomspace(1e-12, 1.0, 37), later])
    nodes, weights = np.polynomial.legendre.leggauss(20)
    half = np.diff(edges)[:, None] / 2
    t = edges[:-1, None] + half * (1 + nodes)
    seconds = np.where(t < 0.7, distribution.ppf(-np.expm1(-t)), distribution.isf(np.exp(-t)))
    return t, half * weights, seconds


def pauses_met(law: Law, worker: int, between: float) -> tuple[float, float]:
    """Return the variance of how many pauses one job meets, and of two jobs drawn independently together.

    After every `between` seconds of work there is a pause. Work of w seconds at a random moment meets one of the two whole
    numbers next to w/between; with f the fractional part, the variance is E[f(1 − f)]. NaN if the law states no distribution.
    """
    mean, variance, _ = moments_of(law, worker)
    if variance == 0:
        one, two = math.fmod(mean / between, 1.0), math.fmod(2 * mean / between, 1.0)
        return one * (1 - one), two * (1 - two)
    distribution = distribution_of(law, worker)
    if distribution is None:
        return math.nan, math.nan
    fractions = distribution.ppf((np.arange(QUANTILES) + 0.5) / QUANTILES) / between % 1.0
    low = np.floor(fractions * GRID).astype(int) % GRID  # each fraction shared by the two points of a grid next to it
    high = fractions * GRID - np.floor(fractions * GRID)
    weights = np.bincount(low, 1 - high, GRID) + np.bincount((low + 1) % GRID, high, GRID)
    together = np.fft.irfft(np.fft.rfft(weights / QUANTILES) ** 2, GRID)
    grid = np.arange(GRID) / GRID
    return float(np.mean(fractions * (1 - fractions))), float(together @ (grid * (1 - grid)))
