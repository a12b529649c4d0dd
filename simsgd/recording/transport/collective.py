"""An all-reduce: gradients that are summed on their way, or gathered, and wait for each other."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from simsgd.cluster import Cluster
from simsgd.costs import Costs
from simsgd.networks import AllReduce, Wire
from simsgd.networks.all_reduce import Sizes, seconds_of_each, undisturbed
from simsgd.networks.fabric import jitter_of
from simsgd.recording.events import EventLoop, Planned
from simsgd.recording.fault_schedule import Named
from simsgd.recording.job import Job
from simsgd.recording.stuck import StuckError
from simsgd.recording.transport.base import Ends, Transport
from simsgd.support import rng
from simsgd.times import Law
from simsgd.times.answers import checked, sampler_of


class Collective(Transport):
    """An all-reduce of all gradients that are asked for, whoever is asked; it is as long as the longest that a rank sends up.

    A sum of messages of different sizes is taken to have everything that one of them has. Where messages cannot be summed as
    they are sent, all are gathered, each of its own size.
    """

    collective = True

    def __init__(self, loop: EventLoop, cluster: Cluster, named: Sequence[Named], costs: Costs, seed: int, ends: Ends) -> None:
        super().__init__(loop, cluster, named, costs, seed, ends)
        if costs.gathers and type(self._network).gather_rounds is AllReduce.gather_rounds:
            raise ValueError(
                f"{self._network!r} must define gather_rounds(ready, sizes, send), as what {costs.up!r} compresses cannot be "
                "summed on its way; or compress by something whose `sums` is True"
            )
        self._wires = list(self._network.wires.values())
        jitter = any(jitter_of(wire, worker)[1] for wire in self._wires for worker in range(cluster.workers))
        self._disturbed = jitter or not all(faults.none for faults in self._faults)
        self._seed = seed
        self._ready: dict[int, Job] = {}
        self._finish: Planned | None = None  # the event at which the sum under way is done
        self._not_before = 0.0
        self._complete = 0.0
        self._jitter: dict[tuple[int, int], Callable[[float], float]] = {}

    def send(self, job: Job) -> None:
        """Begin at once: each worker holds the new model when the all-reduce is over."""
        job.departed = job.assigned
        self.reached(job, job.assigned)

    def upload(self, job: Job) -> None:
        """Wait for the others, sum, and arrive together."""
        self._ready[job.worker] = job
        self._begin_if_complete()
        if self._finish is None:
            self._ends.check(f"worker {job.worker} ended its job {job.job}")

    def drop(self, job: Job) -> None:
        """Forget a job; if its gradient was being summed, the others have to begin anew."""
        super().drop(job)
        if self._ready.get(job.worker) is job:
            del self._ready[job.worker]
            if self._finish is not None and job.worker in self._ranks:
                self._loop.take_back(self._finish)
                self._finish, self._not_before = None, self._loop.now

    def settle(self) -> None:
        """Begin now if only those were waited for who are asked no longer: before, nobody knew."""
        self._not_before = self._loop.now
        self._begin_if_complete()

    def _begin_if_complete(self) -> None:
        """Begin when everybody who is asked for a gradient has one."""
        if self._finish is not None or not self._ready or len(self._ready) < self._ends.busy():
            return
        self._ranks = ranks = sorted(self._ready)
        self._check_ranks(ranks)
        began = np.array([self._last_began(self._ready[rank]) for rank in ranks])
        ended = np.array([self._ready[rank].ended for rank in ranks])
        self._complete = max(self._not_before, float(ended.max()))
        send = functools.partial(self._send, np.array(ranks)) if self._disturbed else undisturbed
        sizes = np.array([self._ready[rank].charges.bytes_up for rank in ranks])
        wanted = sizes if self._costs.gathers else float(sizes.max())
        with np.errstate(over="ignore", invalid="ignore"):  # what is beyond all floats is refused below
            end = float(self._network.run(began, ended, wanted, send, self._not_before).max())
        if not self._loop.now <= end < math.inf:
            raise ValueError(
                f"{self._network!r} is done at {end!r} s with gradients ready at {self._complete:g} s: it must be finite"
            )
        self._finish = self._loop.at(end, self._done, None)

    def _last_began(self, job: Job) -> float:
        """Return when the step began in whose backward pass a message becomes ready, bucket by bucket; its end for a whole.

        It is the last, taken to be as long as the job's steps are in the mean. Of a job that has a time nobody knows which step
        is the last before the time is over.
        """
        charges = job.charges
        if self._costs.leaves_whole or charges.seconds:
            return float(job.ended)
        return float(job.began if charges.steps == 1 else job.ended - (job.ended - job.began) / charges.steps)

    def _check_ranks(self, ranks: list[int]) -> None:
        """Raise StuckError if the all-reduce cannot do with those workers that there are."""
        try:
            self._network.check_ranks(len(ranks))
        except ValueError as error:
            left = ", ".join(map(str, ranks))
            now = self._loop.now
            raise StuckError(f"at {now:g} s, workers {left} are left to sum their gradients, but {error}") from error

    def waiting(self) -> int:
        """Return how many gradients wait for those of others."""
        return 0 if self._finish is not None else len(self._ready)

    def _done(self, event: Planned) -> None:
        """Let all gradients arrive together, in the order of their workers' numbers."""
        self._finish = None
        for rank in self._ranks:
            job = self._ready.pop(rank)
            job.sent = self._complete
            self.arrives(job, self._loop.now)
        if self._ready:  # of workers that were asked while the others summed: they take part in the next
            self._loop.at(self._loop.now, lambda event: self.settle(), None)

    def _send(self, workers: np.ndarray, senders: np.ndarray, started: np.ndarray, sizes: Sizes, wire: Wire) -> np.ndarray:
        """Say when messages arrive that ranks start to send, of so many bytes each: with jitter, losses and outages."""
        each, now = np.broadcast_to(seconds_of_each(wire, sizes), started.shape).tolist(), self._loop.now
        arrivals = []
        for worker, start, seconds in zip(workers[senders].tolist(), started.tolist(), each, strict=True):
            disturbance = self._faults[worker].of_one(self._jitter_of(wire, worker)(start))
            arrivals.append(self._faults[worker].journey(start, seconds, disturbance, min(start, now))[1])
        return np.array(arrivals)

    def _jitter_of(self, wire: Wire, worker: int) -> Callable[[float], float]:
        """Return what draws the additional seconds of a worker's messages on a wire."""
        number = self._wires.index(wire)
        if (number, worker) not in self._jitter:
            law: Law | None = jitter_of(wire, worker)[1]
            stream = rng.stream(self._seed, f"jitter of wire {number}", worker)
            self._jitter[number, worker] = checked(law, worker, sampler_of(law, stream, worker)) if law else (lambda now: 0.0)
        return self._jitter[number, worker]
