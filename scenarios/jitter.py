"""A law of compute times for `steady_or_jitter.py`: slow jobs at random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import simsgd as sg


@dataclass(frozen=True)
class Jitter(sg.times.Law):
    """A law of whose jobs each is slow with probability p, whatever came before: a job takes X, or slowness·X."""

    law: sg.times.Law
    slowness: float
    probability: float

    def sampler(self, rng: np.random.Generator, worker: int) -> Callable[[float], float]:
        """Draw from the law, and from a stream of this law's own whether the job is slow."""
        draw, chance = self.law.sampler(rng, worker), rng.spawn(1)[0].random
        return lambda now: draw(now) * (self.slowness if chance() < self.probability else 1.0)

    def moments(self, worker: int = 0) -> sg.times.Moments:
        """Return the moments: E[(slowness·X)ᵏ] for a share p of the jobs, E[Xᵏ] for the others."""
        mean, variance, _ = self.law.moments(worker)
        first, second = (1 + (self.slowness**k - 1) * self.probability for k in (1, 2))
        return sg.times.Moments(first * mean, second * (variance + mean**2) - (first * mean) ** 2)
