"""Expectations over one job's time, from the distribution that a law states, or exactly for a constant law."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from simsgd.times.answers import distribution_of, moments_of
from simsgd.times.law import Law

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
    edges = np.concatenate([[0.0], np.geomspace(1e-12, 1.0, 37), np.linspace(2.0, 40.0, 39)])
    nodes, weights = np.polynomial.legendre.leggauss(20)
    half = np.diff(edges)[:, None] / 2
    t = edges[:-1, None] + half * (1 + nodes)
    seconds = np.where(t < 0.7, distribution.ppf(-np.expm1(-t)), distribution.isf(np.exp(-t)))
    return float(np.sum(half * weights * np.exp(-t) * function(seconds)))


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
