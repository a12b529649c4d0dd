"""The base class of laws of compute time, `Law`, and `Moments`, the exact moments that each law states."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Sampler = Callable[[float], float]
"""A function of the simulated second at which a worker begins its next job; it returns the seconds that the job takes."""

Distribution = Any
"""A frozen continuous distribution of `scipy.stats`, such as `scipy.stats.expon(scale=2.0)`."""


class Moments(NamedTuple):
    """Long-run moments of a worker's job times, for jobs done one right after the other.

    Attributes:
        mean: seconds; infinite where it does not exist.
        variance: seconds²; infinite where it does not exist.
        autocorrelation: of one job's time with the next one's, from −1 to 1; 0 for independent draws, not a number (NaN)
            where the law does not state it.
    """

    mean: float
    variance: float
    autocorrelation: float = 0.0


class Law(ABC):
    """A law of compute times: subclass it with `moments`, and `sample` or `sampler`, to write your own.

    `sample` is enough where draws are independent. A law with memory (autocorrelated, or following the clock) defines `sampler`
    instead. It is called once for each worker of a recording, and the function that it returns holds the memory: the law itself
    must be a frozen dataclass, because a law that changed could give two tapes from one seed.

    Raises:
        TypeError: from `sample` and `sampler` of a class that defines neither.

    Example:
        >>> from dataclasses import dataclass
        >>> import simsgd as sg
        >>> @dataclass(frozen=True)
        ... class Warming(sg.times.Law):
        ...     '''The first job takes twice as long as the others.'''
        ...     seconds: float
        ...     def sampler(self, rng, worker):
        ...         jobs = iter([2 * self.seconds])
        ...         return lambda now: next(jobs, self.seconds)
        ...     def moments(self, worker=0):
        ...         return sg.times.Moments(self.seconds, 0.0)
        >>> sg.record(sg.AsyncSGD(), sg.Cluster(1, Warming(1.0)), until=sg.Updates(3)).time.tolist()
        [2.0, 3.0, 4.0]
    """

    def sample(self, rng: np.random.Generator, worker: int, now: float) -> float:
        """Draw the seconds that the job which `worker` begins at simulated second `now` will take."""
        return self.sampler(rng, worker)(now)

    def sampler(self, rng: np.random.Generator, worker: int) -> Sampler:
        """Return the function that draws this worker's times, job after job, in one recording.

        Args:
            rng: the worker's own stream. A law that wraps another passes it to that one first, and then spawns its own stream
                from it, in this call and not later; so the wrapped law draws the same with and without the wrapper.
            worker: the number of the worker.

        Returns:
            A function of `now`, the simulated second at which the next job begins. `now` never decreases, but a job may be cut
            short (cancelled, crashed), so the next one may begin before this one would have ended.
        """
        if type(self).sample is Law.sample:
            raise TypeError(f"{type(self).__name__} must define sample(rng, worker, now), or sampler(rng, worker)")
        return functools.partial(self.sample, rng, worker)

    @abstractmethod
    def moments(self, worker: int = 0) -> Moments:
        """Return the mean (seconds), variance (seconds²) and lag-1 autocorrelation of the times of `worker`."""

    def autocorrelation_at(self, lag: int, worker: int = 0) -> float:
        """Return the correlation of a job's time with that of the worker's job `lag` later; NaN where it is not stated.

        A law whose next job is uncorrelated is taken to draw independently.
        """
        following = self.moments(worker).autocorrelation
        return following if lag == 1 or following == 0 else math.nan

    def distribution(self, worker: int = 0) -> Distribution | None:
        """Return the distribution of one job's time, frozen from `scipy.stats`; None where there is no such form."""
        return None

    def in_the_long_run(self, worker: int = 0) -> Law:
        """Return the law that a worker's times follow in the long run, with the laws that follow the clock outermost."""
        return self

    def check_workers(self, workers: int) -> None:
        """Raise ValueError if the law does not fit a cluster of that many workers; most laws fit any."""
