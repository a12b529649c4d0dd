"""The sign-flip test: under equal methods each paired difference could as well have the other sign."""

from __future__ import annotations

import functools
import math

import numpy as np

from simsgd.support import rng

EXACT_UP_TO = 16
"""Seeds up to which all 2^n flips are made; beyond, `SAMPLED` of them are drawn."""
SAMPLED = 50_000


def sign_flips(differences: np.ndarray, level: float, seed: int) -> tuple[float, float, float]:
    """Return the two-sided p-value of the mean of paired differences, and the interval that belongs to it (low, high).

    With S the differences whose sign is flipped, the mean is reached or passed by a flip when Σ_S ≤ 0 (the mean being
    positive), or when that holds of the others; so p = 2·#{S: Σ_S ≤ 0}/2^n. Turned round for a shift of all differences, the
    interval's ends are order statistics of the means of all subsets (Hartigan 1969, "typical values"), exact as the test is.
    The least p is 2^(1 − n), so there is no interval where that exceeds 1 − level: NaN.

    Args:
        differences: shape (seeds,).
        level: of the interval.
        seed: of the flips that are drawn beyond `EXACT_UP_TO` seeds.
    """
    seeds = len(differences)
    subsets = _all(seeds) if seeds <= EXACT_UP_TO else _drawn(seeds, seed, SAMPLED)
    sums = subsets @ differences
    rounding = 1e-12 * np.abs(differences).sum()
    total = differences.sum()
    share = 1.0 if abs(total) <= rounding else float(np.mean(np.sign(total) * sums <= rounding))
    p_value = min(1.0, 2 * share)
    means = np.sort(sums[1:] / subsets[1:].sum(axis=1))  # the first subset is the empty one
    place = math.floor((1 - level) / 2 * len(sums) * (1 + 1e-12))
    return (p_value, math.nan, math.nan) if place == 0 else (p_value, float(means[place - 1]), float(means[-place]))


def least_p(seeds: int) -> float:
    """Return the least p-value that a sign-flip test of so many seeds can have, 2^(1 − n)."""
    return min(1.0, 2.0 ** (1 - seeds))


@functools.lru_cache(maxsize=1)  # a ranking asks for the same ones for every pair
def _all(seeds: int) -> np.ndarray:
    """Return every subset as a row of zeros and ones, the empty one first, shape (2^seeds, seeds)."""
    return ((np.arange(2**seeds)[:, np.newaxis] >> np.arange(seeds)) & 1).astype(np.float64)


@functools.lru_cache(maxsize=1)
def _drawn(seeds: int, seed: int, draws: int) -> np.ndarray:
    """Return subsets drawn alike, behind the empty one, which counts the differences as they are."""
    drawn = rng.stream(seed, "sign flips").integers(2, size=(draws, seeds)).astype(np.float64)
    drawn[~drawn.any(axis=1), 0] = 1.0  # a subset without members has no mean
    drawn[0] = 0.0
    return drawn
