"""How long workers compute: their times, drawn from one stream each and checked."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

from simsgd.cluster import Cluster
from simsgd.recording.job import Job
from simsgd.recording.stuck import StuckError
from simsgd.support import checks, rng
from simsgd.support.memory import collection_paused
from simsgd.support.walks import Unfinished
from simsgd.times.answers import note, refusal, sampler_of
from simsgd.times.law import Sampler
from simsgd.times.stretching import Stretched

INFINITE = math.inf
DRAWS_AT_ONE_MOMENT = 1_000_000
"""A cluster on which so many jobs in a row took no time is taken to be stuck."""


class Computing:
    """The compute times of one recording.

    Jobs take the times of their worker's own stream, one for each local step, whatever the protocol does: `end` is asked once
    for each job, in order, or `skip` for the times of those that need none.

    Args:
        cluster: whose workers.
        seed: the recording's.
    """

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._law = law = cluster.compute
        stream = rng.stream
        with collection_paused():
            draws = [sampler_of(law, stream(seed, "compute time", worker), worker) for worker in range(cluster.workers)]
        self._draws: list[Callable[..., float]] = [draw.in_parts if isinstance(draw, Stretched) else draw for draw in draws]
        self._one_step = [draw.work if isinstance(draw, Stretched) else draw for draw in draws]
        self._stretched = [isinstance(draw, Stretched) for draw in draws]
        self._stood_still = (math.nan, 0)  # since when, and how many jobs in a row took no time

    def end(self, job: Job) -> float:
        """Return when the job that begins at `job.began` will have been computed, simulated seconds.

        Raises:
            ValueError: if the time drawn is one that no clock can use.
            simsgd.StuckError: if a million jobs in a row took no time.
            walks.Unfinished: if the job meets so much of what follows the clock that the clock has to come there first.
        """
        began: float = job.began
        drawn = self._draws[job.worker](began) if job.charges.steps == 1 else self._several(job)
        end = began + drawn if type(drawn) is float else began + checks.as_seconds(drawn)
        if began < end < INFINITE:
            return end
        return self._unusual(drawn, job)

    def further(self, job: Job, walk: Unfinished, now: float) -> float:
        """Return what `end` returns for a job whose walk the clock has followed to `now`; raises the same."""
        end = float(job.began) + walk.go_on(now)
        return max(end, now) if end < INFINITE else self._unusual(end, job)  # a sum of many parts may be rounded down

    def note(self, error: Exception, job: Job) -> None:
        """Note on an exception in drawing a job's time where it came from."""
        note(error, self._law, job.worker, job.began)

    def skip(self, job: Job, times: int) -> None:
        """Leave so many times before this job's unused: their jobs were stopped before they needed them."""
        for _ in range(times):
            self._one_step[job.worker](job.began)

    def _several(self, job: Job) -> float:
        """Return the seconds of a job of several local steps: a clock stretches their nominal sum."""
        draw = self._draws[job.worker]
        work = functools.partial(_sum, self._one_step[job.worker], job.charges.steps)
        return draw(job.began, work) if self._stretched[job.worker] else work(job.began)

    def _unusual(self, drawn: object, job: Job) -> float:
        """Return the end of a job whose time does not advance the clock, or raise."""
        seconds = checks.as_seconds(drawn)
        if not checks.finite_seconds(seconds):
            raise refusal(self._law, job.worker, drawn, job.began, "a compute time of ")
        if job.began + seconds == math.inf:
            raise ValueError(f"{self._law!r} drew {drawn!r} seconds for worker {job.worker}: the clock cannot count so far")
        since, count = self._stood_still
        self._stood_still = (job.began, count + 1 if since == job.began else 1)
        if self._stood_still[1] >= DRAWS_AT_ONE_MOMENT:
            raise StuckError(
                f"at {job.began:g} s and version {job.read}, {self._stood_still[1]} jobs in a row took no time and the clock "
                f"stands still: {self._law!r} must draw times that advance it"
            )
        return float(job.began) + seconds


def _sum(draw: Sampler, steps: int, now: float) -> float:
    """Return the seconds of several steps, the first at `now`; what is no time is returned as it was drawn."""
    seconds = 0.0
    for _ in range(steps):
        drawn = draw(now + seconds)
        step = checks.as_seconds(drawn)
        if not checks.finite_seconds(step):
            return drawn
        seconds += step
    return seconds
