"""What goes wrong in a cluster: workers crash and come back, leave and join; messages are lost; links are down for a while.

Laws of this module:

1. A fault is a frozen description and follows the clock alone: when each worker is down does not depend on the method.
   Random faults draw from separate streams, one for each worker.
2. A worker that crashes loses its current job: the time is spent, and logged as thrown away. A gradient that has reached the
   server is kept.
3. How a method reacts is part of its own rules, and its docstring says it.
4. Faults come before anything else that happens at the same second: a worker that crashes at second 10 does not deliver at
   second 10. Only the first jobs, at second 0, are handed out before all faults.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simsgd.support import checks, public, rng
from simsgd.support.units import InSeconds
from simsgd.times.answers import checked, sampler_of
from simsgd.times.law import Law

__all__ = ["Crash", "Crashes", "Fault", "Join", "Leave", "LinkDown", "LinkOutages", "LostMessages"]
__dir__ = public.names(__all__)
if not TYPE_CHECKING:  # else every name would be there for a type checker
    __getattr__ = public.near(__name__, __all__)

MOST_LOST = 0.999
"""The largest probability that a message is lost."""


class Fault:
    """The base class of faults; a cluster takes the kinds of this module."""

    def check_workers(self, workers: int) -> None:
        """Raise ValueError if the fault names a worker that a cluster of that many workers lacks."""
        name = type(self).__name__
        worker, several = getattr(self, "worker", None), getattr(self, "workers", None)
        for number in [worker] if worker is not None else several or ():
            if number >= workers:
                raise ValueError(f"{name} names worker {number}, but the cluster's {workers} workers are 0 to {workers - 1}")

    def spells(self, seed: int, purpose: str, worker: int) -> Iterator[tuple[float, float]]:
        """Yield (start, end) of the spells, simulated seconds, in which this fault keeps `worker` or its link down.

        Args:
            seed: the recording's.
            purpose: the name of the fault's random streams.
            worker: one of the workers that the fault applies to.
        """
        return iter(())


@dataclass(frozen=True)
class Crash(Fault):
    """One worker crashes once, and returns later or never.

    Args:
        worker: the worker's number.
        at: the second at which it crashes.
        back: the second at which it returns, after `at`; infinity, the default, for never. A worker that never returns still
            belongs to the cluster, so a method may wait for it; to remove it from the cluster use `Leave`.

    Raises:
        ValueError: if `worker` or `at` is negative, or `back` not after `at`.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(2, sg.times.Constant(1.0), faults=(sg.faults.Crash(worker=1, at=1.5, back=4.0),))
        >>> sg.record(sg.MinibatchSGD(), cluster, until=sg.Updates(2)).update_times.tolist()
        [1.0, 5.0]
    """

    worker: int
    at: InSeconds
    back: InSeconds = math.inf

    def __post_init__(self) -> None:
        _store_spell(self, "at", "back")

    def spells(self, seed: int, purpose: str, worker: int) -> Iterator[tuple[float, float]]:
        """Yield the one spell."""
        return iter([(self.at, self.back)])


@dataclass(frozen=True)
class LinkDown(Fault):
    """One worker's link is down for a while: messages wait until it is up again.

    Messages that have already been sent get through, also those that are queueing for the server's link.

    Args:
        worker: the number of the worker whose link it is.
        start: the second at which the link goes down.
        end: the second at which it is up again, after `start`.

    Raises:
        ValueError: if `worker` or `start` is negative, or `end` not after `start`, or not finite.

    Example:
        >>> import simsgd as sg
        >>> outage = sg.faults.LinkDown(worker=0, start=0.5, end=3.0)
        >>> sg.record(sg.AsyncSGD(), sg.Cluster(1, sg.times.Constant(1.0), faults=(outage,)), sg.Updates(2)).time.tolist()
        [3.0, 4.0]
    """

    worker: int
    start: InSeconds
    end: InSeconds

    def __post_init__(self) -> None:
        checks.seconds("LinkDown.end", self.end)
        _store_spell(self, "start", "end")

    def spells(self, seed: int, purpose: str, worker: int) -> Iterator[tuple[float, float]]:
        """Yield the one spell."""
        return iter([(self.start, self.end)])


@dataclass(frozen=True)
class _Recurring(Fault):
    """Recurring spells; the seconds between them and the seconds that they last are drawn from laws."""

    between: Law
    lasting: Law
    workers: Sequence[int] | None = None

    def __post_init__(self) -> None:
        name = type(self).__name__
        checks.instance(f"{name}.between", self.between, Law, "times.Exponential(mean=1000.0)")
        checks.instance(f"{name}.lasting", self.lasting, Law, "times.Exponential(mean=60.0)")
        _store_workers(self)

    def check_workers(self, workers: int) -> None:
        """Raise ValueError if the fault names a worker that the cluster lacks, or a law does not fit its number of workers."""
        super().check_workers(workers)
        self.between.check_workers(workers)
        self.lasting.check_workers(workers)

    def spells(self, seed: int, purpose: str, worker: int) -> Iterator[tuple[float, float]]:
        """Yield spells without end."""
        end = 0.0
        try:
            between, lasting = [
                checked(self, worker, sampler_of(law, rng.stream(seed, f"{of} {purpose}", worker), worker))
                for law, of in ((self.between, "seconds between"), (self.lasting, "seconds of"))
            ]
            while True:
                start = end + between(end)
                end = start + lasting(start)
                yield start, end
        except StopIteration as ended:  # which would end this generator, and means the same in somebody's law
            raise ValueError(f"{self!r} drew nothing for worker {worker} after {end:g} s: a law raised {ended!r}") from ended


@dataclass(frozen=True)
class Crashes(_Recurring):
    """Workers crash repeatedly, independently of each other.

    Args:
        between: the law of the seconds from a worker's start, or return, to its next crash.
        lasting: the law of the seconds that it stays down.
        workers: which workers; all of them by default.

    Raises:
        TypeError: if `between` or `lasting` is not a `times.Law`.
        ValueError: if `workers` holds anything but different workers' numbers.

    Example:
        >>> import simsgd as sg
        >>> crashes = sg.faults.Crashes(between=sg.times.Exponential(mean=50.0), lasting=sg.times.Constant(5.0))
        >>> cluster = sg.Cluster(8, sg.times.Exponential(mean=1.0), faults=(crashes,))
        >>> tape = sg.record(sg.AsyncSGD(), cluster, until=sg.Seconds(1000))
        >>> 0.05 < float(tape.shares()["down"].mean()) < 0.15
        True
    """


@dataclass(frozen=True)
class LinkOutages(_Recurring):
    """Workers' links go down repeatedly, independently of each other; messages wait, those already sent get through.

    Args:
        between: the law of the seconds from one outage's end to the next.
        lasting: the law of the seconds that an outage lasts.
        workers: the numbers of the workers whose links go down; all of them by default.

    Raises:
        TypeError: if `between` or `lasting` is not a `times.Law`.
        ValueError: if `workers` holds anything but different workers' numbers.

    Example:
        >>> import simsgd as sg
        >>> outages = sg.faults.LinkOutages(between=sg.times.Exponential(mean=50.0), lasting=sg.times.Constant(5.0))
        >>> cluster = sg.Cluster(8, sg.times.Exponential(mean=1.0), faults=(outages,))
        >>> float(sg.record(sg.AsyncSGD(), cluster, until=sg.Seconds(1000)).shares()["queueing"].mean()) > 0
        True
    """


@dataclass(frozen=True)
class _Once(Fault):
    """A fault of one worker at one moment, `at` (seconds)."""

    worker: int
    at: InSeconds

    def __post_init__(self) -> None:
        name = type(self).__name__
        checks.store(self, worker=checks.whole(f"{name}.worker", self.worker, 0))
        checks.store(self, at=checks.seconds(f"{name}.at", self.at))


@dataclass(frozen=True)
class Leave(_Once):
    """One worker leaves the cluster forever; its current job is lost, and so is its gradient if one waits at the server.

    Args:
        worker: the worker's number.
        at: the second at which it leaves.

    Raises:
        ValueError: if `worker` or `at` is negative.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(2, sg.times.Constant(1.0), faults=(sg.faults.Leave(worker=1, at=2.5),))
        >>> sg.record(sg.MinibatchSGD(), cluster, until=sg.Updates(4)).worker.tolist()
        [0, 1, 0, 1, 0, 0]
    """


@dataclass(frozen=True)
class Join(_Once):
    """One of the cluster's workers is absent at first and joins later; `at=0` is just after the first jobs are handed out.

    Args:
        worker: the worker's number.
        at: the second at which it joins.

    Raises:
        ValueError: if `worker` or `at` is negative.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(2, sg.times.Constant(1.0), faults=(sg.faults.Join(worker=1, at=1.5),))
        >>> sg.record(sg.MinibatchSGD(), cluster, until=sg.Updates(3)).worker.tolist()
        [0, 0, 0, 1]
    """


@dataclass(frozen=True)
class LostMessages(Fault):
    """Each message is lost with some probability, and is sent again after a timeout.

    A message of s seconds that is lost k times takes s + k·(s + timeout): each lost transmission takes its s seconds, and then
    the sender waits `timeout` seconds. With several such faults, each can lose each transmission; the longest timeout of
    those that lost it counts.

    Args:
        probability: that a message is lost, from 0 to 0.999, each time it is sent.
        timeout: seconds that the sender waits, after the message should have arrived, before it sends it again.
        workers: the numbers of the workers whose messages, in both directions, can be lost; all of them by default.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> import simsgd as sg
        >>> lossy = sg.faults.LostMessages(probability=0.5, timeout=1.0)
        >>> cluster = sg.Cluster(1, sg.times.Constant(1.0), faults=(lossy,))
        >>> sg.record(sg.AsyncSGD(), cluster, until=sg.Updates(1000)).end > 2000  # two messages a job, lost once on average
        True
    """

    probability: float
    timeout: InSeconds
    workers: Sequence[int] | None = None

    def __post_init__(self) -> None:
        probability = checks.not_negative("LostMessages.probability", self.probability)
        if probability > MOST_LOST:
            raise ValueError(
                f"LostMessages.probability must be below 1, at most {MOST_LOST}, or hardly any message arrives, "
                f"got {probability!r}"
            )
        checks.store(self, probability=probability, timeout=checks.seconds("LostMessages.timeout", self.timeout))
        _store_workers(self)


KINDS = (Crash, Crashes, Join, Leave, LinkDown, LinkOutages, LostMessages)
"""The kinds of faults that a cluster takes: those that the recorder can play."""


def _store_spell(fault: Crash | LinkDown, start: str, end: str) -> None:
    name = type(fault).__name__
    first, last = getattr(fault, start), getattr(fault, end)
    checks.store(fault, worker=checks.whole(f"{name}.worker", fault.worker, 0))
    checks.store(fault, **{start: checks.seconds(f"{name}.{start}", first)})
    last = math.inf if last == math.inf else checks.seconds(f"{name}.{end}", last)
    if last <= getattr(fault, start):
        raise ValueError(f"{name}.{end} must be after {start}={getattr(fault, start)!r} (seconds), got {last!r}")
    checks.store(fault, **{end: last})


def _store_workers(fault: _Recurring | LostMessages) -> None:
    if fault.workers is None:
        return
    name = f"{type(fault).__name__}.workers"
    numbers = checks.sequence(name, fault.workers, "(0, 3)")
    numbers = tuple(checks.whole(f"{name}[{i}]", number, 0) for i, number in enumerate(numbers))
    if len(set(numbers)) < len(numbers) or not numbers:
        raise ValueError(f"{name} must name at least one worker, each once, got {numbers!r}; None means everybody")
    checks.store(fault, workers=numbers)
