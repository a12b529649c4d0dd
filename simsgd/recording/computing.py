"""How long workers compute: their times, drawn from one stream each and checked."""

from __future__ import annotations

import math

from simsgd.cluster import Cluster
from simsgd.recording.job import Job
from simsgd.recording.stuck import StuckError
from simsgd.support import checks, rng

INFINITE = math.inf
DRAWS_AT_ONE_MOMENT = 1_000_000
"""A cluster on which so many jobs in a row took no time is taken to be stuck."""


class Computing:
    """The compute times of one recording.

    A worker's k-th job takes the k-th time of the worker's own stream, whatever the protocol does: `end` is asked once for each
    job, in order, or `skip` for those that need no time.

    Args:
        cluster: whose workers.
        seed: the recording's.
    """

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._law = cluster.compute
        sampler, stream = cluster.compute.sampler, rng.stream
        self._draws = [sampler(stream(seed, "compute time", worker), worker) for worker in range(cluster.workers)]
        self._stood_still = (math.nan, 0)  # since when, and how many jobs in a row took no time

    def end(self, job: Job) -> float:
        """Return when the job that begins at `job.began` will have been computed, simulated seconds.

        Raises:
            ValueError: if the time drawn is one that no clock can use.
            simsgd.StuckError: if a million jobs in a row took no time.
        """
        began: float = job.began
        drawn = self._draws[job.worker](began)
        end = began + drawn if type(drawn) is float else began + checks.as_float(drawn)
        if began < end < INFINITE:
            return end
        return self._unusual(drawn, job)

    def skip(self, job: Job, jobs: int) -> None:
        """Leave the times of so many jobs before this one unused: they were stopped before they needed one."""
        for _ in range(jobs):
            self._draws[job.worker](job.began)

    def _unusual(self, drawn: object, job: Job) -> float:
        """Return the end of a job whose time does not advance the clock, or raise."""
        seconds = checks.as_float(drawn)
        if not checks.finite_seconds(seconds):
            raise ValueError(
                f"{self._law!r} drew a compute time of {drawn!r} seconds for worker {job.worker} at {job.began:g} s: a time "
                "must be one finite number and not negative"
            )
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
