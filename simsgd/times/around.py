"""The base of laws that change the draws of one other law, whether or not that law follows the clock."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace

import numpy as np

from simsgd.support import checks
from simsgd.times.answers import distribution_of, draws_of, moments_of
from simsgd.times.law import Distribution, Law, Moments, Sampler
from simsgd.times.stretching import Clock, on_work


def parameters(distribution: Distribution) -> tuple[dict[str, float], float, float]:
    """Return a frozen distribution's shapes by name, its location and its scale."""
    shapes = (distribution.dist.shapes or "").replace(" ", "").split(",")
    names = [*filter(None, shapes), "loc", "scale"]
    values = dict(zip(names, distribution.args, strict=False)) | distribution.kwds
    return values, values.pop("loc", 0.0), values.pop("scale", 1.0)


def moved(distribution: Distribution | None, by: float, shift: float = 0.0) -> Distribution | None:
    """Return the distribution of shift + by·X, if there is one of X."""
    if distribution is None:
        return None
    shapes, location, scale = parameters(distribution)
    return distribution.dist(**shapes, loc=shift + by * location, scale=by * scale)


@dataclass(frozen=True)
class Around(Law):
    """A law that changes the draws of another law. If that one follows the clock, its work is changed and then stretched."""

    law: Law

    def __post_init__(self) -> None:
        checks.instance(f"{type(self).__name__}.law", self.law, Law, "Exponential(mean=1.0)")

    @abstractmethod
    def _change(self, draw: Sampler, rng: np.random.Generator, worker: int) -> Sampler:
        """Return the sampler of this law, given the sampler `draw` of the inner law."""

    @abstractmethod
    def _changed(self, worker: int) -> Moments:
        """Return the moments, for a law that follows no clock."""

    def _autocorrelation(self, lag: int, worker: int) -> float:
        return self.law.autocorrelation_at(lag, worker)

    def _distribution(self, worker: int) -> Distribution | None:
        return None

    def sampler(self, rng: np.random.Generator, worker: int) -> Sampler:
        """Draw from the law and change what it drew."""
        return on_work(draws_of(self.law, rng, worker), lambda draw: self._change(draw, rng, worker))

    def in_the_long_run(self, worker: int = 0) -> Law:
        """Return this law with the clocks of the inner law moved outside, so that they stretch the changed work."""
        inner = self.law.in_the_long_run(worker)
        if isinstance(inner, Clock):
            return replace(inner, law=replace(self, law=inner.law).in_the_long_run(worker))
        return replace(self, law=inner)

    def moments(self, worker: int = 0) -> Moments:
        """Return the moments by the formulae of the class's docstring."""
        whole = self.in_the_long_run(worker)
        return whole._changed(worker) if isinstance(whole, Around) else moments_of(whole, worker)

    def autocorrelation_at(self, lag: int, worker: int = 0) -> float:
        """Return the correlation with the job `lag` later; NaN where it is not stated."""
        whole = self.in_the_long_run(worker)
        return whole._autocorrelation(lag, worker) if isinstance(whole, Around) else whole.autocorrelation_at(lag, worker)

    def distribution(self, worker: int = 0) -> Distribution | None:
        """Return the distribution of one job's time where it follows from the inner law's; None otherwise."""
        whole = self.in_the_long_run(worker)
        return whole._distribution(worker) if isinstance(whole, Around) else distribution_of(whole, worker)

    def check_workers(self, workers: int) -> None:
        """Raise ValueError if the law cannot serve so many workers."""
        self.law.check_workers(workers)
