"""How long workers compute: their times, drawn from one stream each and checked.

Laws of this module:

1. A worker's draws are used in the order of its jobs, so many for each: the k-th draw of a worker is the same whatever the
   protocol, the fabric and the faults do. Jobs that never began leave theirs unused.
2. What follows the clock stretches a job's local steps as one piece of work; where some are made ahead, these as one piece and
   the others as another. A job that has a time has it by the clock, and what is done meanwhile is stretched.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from simsgd.cluster import Cluster
from simsgd.costs import Costs
from simsgd.recording.draws import by_job
from simsgd.recording.job import Job
from simsgd.recording.stuck import StuckError
from simsgd.support import checks, rng
from simsgd.support.bounds import bounds
from simsgd.support.memory import collection_paused
from simsgd.support.walks import Unfinished, followed, then
from simsgd.times.answers import checked, note, refusal, sampler_of
from simsgd.times.law import Law, Sampler
from simsgd.times.stretching import Stretched
from simsgd.work import Charges

INFINITE = math.inf
DRAWS_AT_ONE_MOMENT = 1_000_000
"""A cluster on which so many jobs in a row took no time is taken to be stuck."""


class Computing:
    """The compute times of one recording.

    Jobs take the times of their worker's own stream, one for each local step, whatever the protocol does: `end` is asked once
    for each job, in order, and `leave_out` is told of those that need none.

    Args:
        cluster: whose workers.
        seed: the recording's.
        costs: what jobs cost.
    """

    def __init__(self, cluster: Cluster, seed: int, costs: Costs) -> None:
        usual, compressing = costs.usual, costs.compressing
        self._law = self._drawing = cluster.compute
        self._one_step, self._clocks = _samplers(cluster.compute, cluster.workers, seed, "compute time")
        self._compress = None if compressing is None else Compress(compressing, cluster.workers, seed)
        self._left_out: dict[int, list[Charges]] = {}
        self._single = usual if usual.steps == 1 and not usual.seconds and compressing is None else None  # the short way
        self._simple = [True] * cluster.workers  # who may take it
        self._ended = [math.nan] * cluster.workers  # when the job before ended, if the worker may have worked on since
        self._stood_still = (math.nan, 0)  # since when, and how many jobs in a row took no time

    def end(self, job: Job) -> float:
        """Return when the job that begins at `job.began` will have been computed, simulated seconds.

        With A the seconds of the first `overlap` local steps, B those of the others, and E when the worker's job before ended:
        max(E + A, began) + B; began + A + B where the worker was down since, or its job before was stopped, or there is none.
        A job that has a time ends when that is over, or with its first step, if that takes longer; its charges are then told
        the steps that came of it. What compressing takes comes on top.

        Raises:
            ValueError: if the time drawn is one that no clock can use.
            simsgd.StuckError: if a million jobs in a row took no time.
            walks.Unfinished: if the job meets so much of what follows the clock that the clock has to come there first.
        """
        charges, worker = job.charges, job.worker
        if charges is self._single and self._simple[worker]:
            began: float = job.began
            clock = self._clocks[worker]
            try:
                drawn = self._one_step[worker](began) if clock is None else clock.in_parts(began, None, job.assigned)
            except Unfinished as walk:
                raise followed(walk, lambda seconds: began + seconds) from None
            end = began + drawn if type(drawn) is float else began + checks.as_seconds(drawn)
            if not began < end < INFINITE:
                end = self._unusual(drawn, job)
        else:
            end = self._sound(then(lambda: self._computed(job), lambda end: self._compressed(job, end)), job)
        self._ended[worker] = end
        return end

    def further(self, job: Job, walk: Unfinished, now: float) -> float:
        """Return what `end` returns for a job whose walk the clock has followed to `now`; raises the same."""
        end = self._ended[job.worker] = max(now, self._sound(walk.go_on(now), job))  # a sum of many parts may be rounded down
        return end

    def note(self, error: Exception, job: Job) -> None:
        """Note on an exception in drawing a job's time where it came from."""
        note(error, self._drawing, job.worker, job.began)

    def leave_out(self, job: Job) -> None:
        """Leave the times of a job unused that was stopped before it needed them."""
        self._left_out.setdefault(job.worker, []).append(job.charges)
        self._simple[job.worker] = False

    def interrupt(self, worker: int) -> None:
        """Note that a worker was stopped: before its next job begins it computes nothing."""
        self._ended[worker] = math.nan

    # --- jobs of all kinds ------------------------------------------------------------------------------------------------

    def _computed(self, job: Job) -> float:
        """Return when a job's local steps are done."""
        charges, worker, began = job.charges, job.worker, job.began
        if worker in self._left_out:
            self._skip(worker, began)
        if charges.seconds:
            return self._time_is_over(job, charges.seconds)
        before, ahead = self._ended[worker], charges.overlap
        if not ahead or math.isnan(before):
            return self._after(job, began, self._steps(worker, charges.steps, began))
        first = self._steps(worker, ahead, before)
        others = self._steps(worker, charges.steps - ahead, max(before + first, began))
        return then(lambda: self._after(job, before, first), lambda end: self._after(job, max(end, began), others))

    def _time_is_over(self, job: Job, seconds: float) -> float:
        """Return when a job ends that has a time; have it told the steps, and how long the one took that came to nothing."""
        worker, clock = job.worker, self._clocks[job.worker]
        began: float = job.began

        def end(work: float) -> float:
            steps, done = self._steps_within(worker, work, began)
            job.charges = job.charges._replace(steps=steps)
            if done <= work:
                job.dropped = seconds - done if clock is None else seconds * (1 - done / work)
                return began + seconds
            return began + done if clock is None else self._after(job, began + seconds, done - work)

        return then(lambda: seconds if clock is None else clock.done_within(seconds, began, job.assigned), end)

    def _after(self, job: Job, moment: float, work: float) -> float:
        """Return when so many nominal seconds of work are done that are begun at a moment."""
        clock = self._clocks[job.worker]
        if clock is None:
            return moment + work
        return then(lambda: clock.in_parts(moment, work, job.assigned), lambda took: moment + took)

    def _compressed(self, job: Job, moment: float) -> float:
        """Return when a job's message is compressed that is computed at a moment."""
        if self._compress is None:
            return moment
        self._drawing = self._compress.law
        end = self._compress.end(job, moment)
        self._drawing = self._law
        return end

    # --- drawing ----------------------------------------------------------------------------------------------------------

    def _steps(self, worker: int, count: int, now: float) -> float:
        """Return the nominal seconds of so many local steps, the first at `now`."""
        draw, seconds = self._one_step[worker], 0.0
        for _ in range(count):
            drawn = draw(now + seconds)
            step = drawn if type(drawn) is float else checks.as_seconds(drawn)
            if not checks.finite_seconds(step):
                raise refusal(self._law, worker, drawn, now, "a compute time of ")
            seconds += step
        return seconds

    def _steps_within(self, worker: int, seconds: float, now: float) -> tuple[int, float]:
        """Return how many local steps end within so many nominal seconds, at least one, and theirs; one more may be drawn."""
        steps, done = 1, self._steps(worker, 1, now)
        while done < seconds:
            end = done + self._steps(worker, 1, now + done)
            if end > seconds:
                break
            steps, done = steps + 1, end
            if steps > bounds.parts:
                bounds.check(
                    "parts", steps * seconds / done if done else INFINITE, f"{self._law!r}: a job of {seconds:g} seconds"
                )
        return steps, done

    def _skip(self, worker: int, now: float) -> None:
        """Leave the times unused of jobs that were left out; of one that has a time, those it takes at the nominal pace."""
        for charges in self._left_out.pop(worker):
            if charges.seconds:
                self._steps_within(worker, charges.seconds, now)
            else:
                for _ in range(charges.steps):
                    self._one_step[worker](now)
        self._simple[worker] = True

    # --- ends that advance no clock ---------------------------------------------------------------------------------------

    def _sound(self, end: float, job: Job) -> float:
        """Return a moment after which the job may end, or raise."""
        return end if job.began < end < INFINITE else self._unusual(end - job.began, job)

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


class Compress:
    """The times in which workers compress their messages: the k-th draw of a worker is that of its k-th job."""

    def __init__(self, law: Law, workers: int, seed: int) -> None:
        law.check_workers(workers)
        self.law = law
        draws, self._clocks = _samplers(law, workers, seed, "compressing")
        self._draws: list[Callable[[int, float], float]] = [
            by_job(checked(law, worker, draw)) for worker, draw in enumerate(draws)
        ]

    def end(self, job: Job, moment: float) -> float:
        """Return when a job's message is compressed that is computed at a moment."""
        seconds, clock = self._draws[job.worker](job.job, moment), self._clocks[job.worker]
        if clock is None:
            return moment + seconds
        return then(lambda: clock.in_parts(moment, seconds, job.assigned), lambda took: moment + took)


def _samplers(law: Law, workers: int, seed: int, purpose: str) -> tuple[list[Sampler], list[Stretched | None]]:
    """Return what draws each worker's nominal times, and the clocks that stretch them."""
    with collection_paused():
        draws = [sampler_of(law, rng.stream(seed, purpose, worker), worker) for worker in range(workers)]
    clocks = [draw if isinstance(draw, Stretched) else None for draw in draws]
    return [draw.work if isinstance(draw, Stretched) else draw for draw in draws], clocks
