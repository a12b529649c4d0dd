"""Recordings whose look-ahead would have no end, each with what should come of it; run in a child with bounded memory.

`python -m tests.attack.walks` plays those of `WALKS` and prints, for each, a line of JSON: its name, its outcome, its processor
seconds and the bytes that the process has taken so far. `python -m tests.attack.walks interrupted` allows each as much as it
wants, and interrupts it. `python -m tests.attack walks --count 1000 --seed 0` plays random ones.
"""

from __future__ import annotations

import json
import pathlib
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

import simsgd as sg
from simsgd import faults, networks, times

from .limits import lowered

MEMORY = 2_000_000_000
"""Bytes of address space that the child has; Python with NumPy takes half a gigabyte of it."""
SECONDS = 10.0
"""Processor seconds after which a recording is taken to hang; those of `WALKS` take at most one or two."""
BEFORE = 0.3
"""Processor seconds after which a recording is interrupted."""


@dataclass(frozen=True)
class Twice(times.Law):
    """A law around another one of somebody's own, which knows nothing of clocks."""

    law: times.Law

    def sampler(self, rng, worker):
        draw = self.law.sampler(rng, worker)
        return lambda now: 2 * draw(now)

    def moments(self, worker=0):
        return times.Moments(1.0, 0.0)


@dataclass(frozen=True)
class OnlyTheLast(sg.Protocol):
    """Asks the last worker alone, so the others have nothing to lose."""

    def start(self, server):
        server.assign(server.workers[-1])

    def on_gradient(self, server, gradient):
        server.apply(gradient)
        server.assign(gradient.worker)


class Walk(NamedTuple):
    """A recording: its protocol, cluster and end, and what should come of it, a tape or the name of an error."""

    protocol: sg.Protocol
    cluster: Callable[[], sg.Cluster]
    until: Any
    outcome: str = "Tape"


ONE, LONG = times.Constant(1.0), times.Constant(1e9)
PAUSES, SPELLS = times.Pauses(LONG, every=10.0, lasting=1.0), times.SlowSpells(LONG, 2.0, 1.0, 1.0)
OUTAGES = faults.LinkOutages(times.Exponential(1.0), times.Constant(0.1))
LOSSES = faults.LostMessages(0.999, timeout=1e6)
FORGOTTEN, LINK = networks.Link(1e-3, bandwidth=1.25), networks.Link(1e-3, bandwidth=1e9)
ASYNCHRONOUS, SYNCHRONOUS = sg.AsyncSGD(), sg.MinibatchSGD()
SOON, ONCE = sg.Seconds(60.0), sg.Updates(1)
ENDLESS = faults.Crashes(times.Constant(1e-6), times.Constant(1e-6), workers=(0,))


def on(law: times.Law, *more: Any, workers: int = 2, **named: Any) -> Callable[[], sg.Cluster]:
    """Return what makes a cluster: some are refused when they are made."""
    return lambda: sg.Cluster(workers, law, *more, **named)


def rings(**named: Any) -> Callable[[], sg.Cluster]:
    """Return what makes a cluster on a ring of its own."""
    return lambda: sg.Cluster(2, ONE, networks.Ring(LINK, **named))


WALKS = {
    "pauses": Walk(ASYNCHRONOUS, on(PAUSES), SOON),
    "pauses, to the end": Walk(ASYNCHRONOUS, on(PAUSES), ONCE, "BoundError"),
    "spells": Walk(ASYNCHRONOUS, on(SPELLS), SOON),
    "spells, to the end": Walk(ASYNCHRONOUS, on(SPELLS), ONCE, "BoundError"),
    "spells of no length": Walk(ASYNCHRONOUS, on(times.SlowSpells(ONE, 2.0, 1e-300, 1e-300)), SOON, "BoundError"),
    "clock around clock": Walk(ASYNCHRONOUS, on(times.Pauses(SPELLS, every=10.0, lasting=1.0)), SOON),
    "changed around a clock": Walk(ASYNCHRONOUS, on(times.Scaled(PAUSES, by=6.0)), SOON),
    "one's own around a clock": Walk(ASYNCHRONOUS, on(Twice(PAUSES)), SOON, "BoundError"),
    "pauses on a server": Walk(ASYNCHRONOUS, on(PAUSES, networks.ParameterServer(LINK)), SOON),
    "pauses on a ring": Walk(SYNCHRONOUS, on(PAUSES, networks.Ring(LINK)), SOON),
    "idle under pauses": Walk(
        SYNCHRONOUS, on(times.PerWorker((LONG, times.Pauses(ONE, 10.0, 1.0)))), sg.Updates(3), "BoundError"
    ),
    "drawn slowness": Walk(ASYNCHRONOUS, on(times.DrawnSlowness(ONE, PAUSES)), SOON, "BoundError"),
    "outages": Walk(ASYNCHRONOUS, on(ONE, FORGOTTEN, [OUTAGES]), SOON),
    "outages, to the end": Walk(ASYNCHRONOUS, on(ONE, FORGOTTEN, [OUTAGES]), ONCE, "BoundError"),
    "outages on a server": Walk(ASYNCHRONOUS, on(ONE, networks.ParameterServer(FORGOTTEN), [OUTAGES]), ONCE, "BoundError"),
    "outages and losses": Walk(ASYNCHRONOUS, on(ONE, LINK, [OUTAGES, LOSSES]), SOON),
    "outages and losses, to the end": Walk(ASYNCHRONOUS, on(ONE, LINK, [OUTAGES, LOSSES]), ONCE, "BoundError"),
    "outages and losses on a ring": Walk(SYNCHRONOUS, on(ONE, networks.Ring(LINK), [OUTAGES, LOSSES]), ONCE, "BoundError"),
    "losses": Walk(ASYNCHRONOUS, on(ONE, LINK, [LOSSES] * 3), SOON, "BoundError"),
    "outages of no length": Walk(
        ASYNCHRONOUS, on(ONE, LINK, [faults.LinkOutages(times.Constant(1e-300), ONE)]), sg.Updates(3), "ValueError"
    ),
    "buckets": Walk(SYNCHRONOUS, rings(buckets=10**9), ONCE, "BoundError"),
    "a ring of many": Walk(SYNCHRONOUS, on(ONE, networks.Ring(LINK), workers=60_000), ONCE, "BoundError"),
    "crashes before it joins": Walk(
        ASYNCHRONOUS, on(LONG, faults=[faults.Join(0, at=1e9), faults.Crashes(ONE, ONE)]), SOON, "BoundError"
    ),
    "crashes of the idle": Walk(OnlyTheLast(), on(LONG, faults=[ENDLESS]), SOON, "StuckError"),
    "crashes by a clock": Walk(ASYNCHRONOUS, on(ONE, faults=[faults.Crashes(PAUSES, ONE)]), SOON, "BoundError"),
    "jobs of no time": Walk(ASYNCHRONOUS, on(times.Exponential(1e-300)), ONCE),
    "times beyond the clock": Walk(ASYNCHRONOUS, on(times.Constant(1e-9)), SOON, "BoundError"),
}
"""By name; unless their outcome is an error, they end at the second that was asked for."""

CALM = ("Tape", "ValueError", "StuckError")
"""Outcomes of those that would end without a bound, too."""


def play(walk: Walk) -> str:
    """Return what comes of a walk: "Tape", or the name of an error."""
    try:
        tape = sg.record(walk.protocol, walk.cluster(), walk.until, message_bytes=1e8)
    except (ValueError, sg.StuckError) as error:
        if type(error) is sg.BoundError and "sg.bounds." not in str(error):
            raise AssertionError(f"no way out: {error}") from error
        return type(error).__name__
    return type(tape).__name__


def measured(walk: Walk, seconds: float) -> tuple[str, float]:
    """Return what comes of a walk on which an alarm goes off after so many processor seconds, and how many it took."""
    since = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        outcome = play(walk)
    except KeyboardInterrupt:
        outcome = "interrupted"
    except Exception as error:
        outcome = f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
    return outcome, time.process_time() - since


def child(stopping: bool) -> None:
    """Play those of `WALKS`: with the bounds that there are, or without any and interrupted."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGPROF, signal.default_int_handler)
    if stopping:
        sg.bounds.parts = sg.bounds.rows = 10**15
    for name, walk in WALKS.items():
        if not (stopping and walk.outcome in CALM):
            outcome, seconds = measured(walk, BEFORE if stopping else SECONDS)
            print(json.dumps([name, outcome, seconds, peak_memory()]), flush=True)


def peak_memory() -> int:
    """Return the most bytes that this process has had; Linux hands `ru_maxrss` down from the process that started it."""
    status = pathlib.Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    line = next(each for each in status.read_text().splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def drawn(rng: np.random.Generator) -> Walk:
    """Return a random one: all of its numbers are drawn over many powers of ten."""

    def number(least: float = -6.0, most: float = 9.0) -> float:
        return float(f"{10 ** rng.uniform(least, most):.3g}")

    def law(depth: int) -> times.Law:
        kind = rng.integers(7) if depth else rng.integers(2)
        if kind == 0:
            return times.Constant(number())
        if kind == 1:
            return times.Exponential(number())
        inner = law(depth - 1)
        if kind == 2:
            every = number()
            return times.Pauses(inner, every, every * rng.uniform(0.001, 0.999))
        if kind == 3:
            return times.SlowSpells(inner, number(-2, 2), number(), number())
        if kind == 4:
            return times.Scaled(inner, by=number(0, 3))
        return (times.DrawnSlowness if kind == 5 else lambda one, other: times.PerWorker((one, other)))(inner, law(depth - 1))

    def fault() -> faults.Fault:
        kind = rng.integers(4)
        if kind == 0:
            return faults.LostMessages(min(0.999, rng.uniform(0.5, 1.0)), number())
        if kind == 1:
            return faults.Join(1, number())
        return (faults.Crashes if kind == 2 else faults.LinkOutages)(
            law(0), law(0), rng.permutation(2)[: rng.integers(1, 3)].tolist()
        )

    link = networks.Link(number(-6, 3), number(0, 10))
    network = (link, networks.ParameterServer(link), networks.Jittery(link, law(0)), networks.Ring(link))[rng.integers(4)]
    several = {type(each): each for each in (fault() for _ in range(rng.integers(4)))}
    protocol = SYNCHRONOUS if isinstance(network, networks.Ring) or rng.integers(2) else ASYNCHRONOUS
    compute = law(int(rng.integers(4)))
    until = sg.Updates(int(number(0, 2))) if rng.integers(2) else sg.Seconds(number(-6, 2))
    return Walk(protocol, lambda: sg.Cluster(2, compute, network, list(several.values())), until, "anything")


def main(count: int, seed: int) -> int:
    """Play random ones, one for each seed; print those that hang or end in an error that is not one of simsgd's.

    Limits are lower than usual, so that what takes long is no long tape, and no long series of jobs that are lost.
    """
    with lowered():
        return _main(count, seed)


def _main(count: int, seed: int) -> int:
    before = signal.signal(signal.SIGPROF, signal.default_int_handler)
    failed, most, outcomes = 0, 0.0, Counter[str]()
    for number in range(seed, seed + count):
        walk = drawn(np.random.default_rng(number))
        outcome, seconds = measured(walk, SECONDS)
        most = max(most, seconds)
        outcomes[outcome] += 1
        if outcome not in ("Tape", "BoundError", "ValueError", "StuckError"):
            failed += 1
            call = f"{walk.protocol!r}, sg.{walk.cluster()!r}, sg.{walk.until!r}, message_bytes=1e8"
            print(f"# seed {number}: {outcome}\nsg.record({call})")
    signal.signal(signal.SIGPROF, before)
    print(f"{count:,} walks from seed {seed}: {dict(outcomes)}, at most {most:.1f} processor seconds for one; {failed} failed")
    return failed


if __name__ == "__main__":
    child(stopping=sys.argv[1:] == ["interrupted"])
