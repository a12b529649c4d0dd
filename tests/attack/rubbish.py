"""Classes as a careless or hostile user writes them: laws and networks that return rubbish or raise, protocols that misuse.

Each is a frozen dataclass with annotated fields, as simsgd's own, so the generator finds and builds them in the same way. What
they raise themselves is an `OwnError`: it must come out as the very object that was raised.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from simsgd import networks, times
from simsgd.method import Method
from simsgd.protocols import Protocol
from simsgd.recording.refusals import ProtocolError
from simsgd.support.units import Drawn
from simsgd.work import Work

VALUES: dict[str, Any] = {
    "none": None,
    "text": "1.0",
    "complex": 1 + 0j,
    "nan": math.nan,
    "infinite": math.inf,
    "negative": -1.0,
    "least": 5e-324,
    "greatest": 1.7976931348623157e308,
    "beyond all floats": 10**400,
    "fraction": Fraction(1, 3),
    "whole": 1,
    "true": True,
    "zero": 0,
    "minus zero": -0.0,
    "float32": np.float32(0.5),
    "int64": np.int64(1),
    "array of one": np.array([1.0]),
    "array of two": np.array([1.0, 2.0]),
    "array without axes": np.array(1.0),
    "bytes": b"1",
    "list": [1.0],
    "object": object(),
    "function": lambda *given: len(*given),
    "masked": np.ma.masked,
    "date": np.datetime64("2020-01-01"),
}
"""What rubbish returns, by name."""

raised: list[BaseException] = []
"""What was raised here, the last one last.

It is reached through `sys.modules`, which no identity follows: a law whose code names a list that grows is another each time.
"""


class OwnError(Exception):
    """An exception that cannot be made anew from its `args`, as a copier would try."""

    def __init__(self, first: int, *, second: str) -> None:
        super().__init__(f"{first} and {second}")
        self.second = second
        sys.modules[__name__].raised.append(self)


class OwnInterrupt(BaseException):
    """An exception that `except Exception` does not catch."""

    def __init__(self) -> None:
        super().__init__("stop")
        sys.modules[__name__].raised.append(self)


def _known(name: str, value: str) -> None:
    if value not in VALUES:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, VALUES))}, got {value!r}")


@dataclass(frozen=True)
class Returns(times.Law):
    """A law whose draws are rubbish from the k-th on."""

    value: str
    after: int = 0

    def __post_init__(self) -> None:
        _known("Returns.value", self.value)

    def sampler(self, rng, worker):
        first = iter([0.5] * min(self.after, 1000))
        return lambda now: next(first, VALUES[self.value])

    def moments(self, worker=0):
        return times.Moments(1.0, 0.0)


@dataclass(frozen=True)
class Raises(times.Law):
    """A law whose k-th draw raises."""

    after: int = 0
    harsh: bool = False

    def sampler(self, rng, worker):
        first = iter([0.5] * min(self.after, 1000))

        def draw(now):
            value = next(first, None)
            if value is None:
                raise OwnInterrupt if self.harsh else OwnError(1, second="draw")
            return value

        return draw

    def moments(self, worker=0):
        return times.Moments(1.0, 0.0)


@dataclass(frozen=True)
class Stops(times.Law):
    """A law whose draws come from a generator that ends: StopIteration."""

    after: int = 1

    def sampler(self, rng, worker):
        draws = iter([0.5] * min(self.after, 1000))
        return lambda now: next(draws)

    def moments(self, worker=0):
        return times.Moments(1.0, 0.0)


@dataclass(frozen=True)
class RaisesInSampler(times.Law):
    """A law that cannot make a sampler."""

    worker: int = 0

    def sampler(self, rng, worker):
        if worker == self.worker:
            raise OwnError(worker, second="sampler")
        return lambda now: 0.5

    def moments(self, worker=0):
        return times.Moments(1.0, 0.0)


@dataclass(frozen=True)
class SamplerIs(times.Law):
    """A law whose sampler is no function."""

    value: str

    def __post_init__(self) -> None:
        _known("SamplerIs.value", self.value)

    def sampler(self, rng, worker):
        return VALUES[self.value]

    def moments(self, worker=0):
        return VALUES[self.value]


@dataclass(frozen=True)
class ByTheClock(times.Law):
    """A law that goes by `now`, and draws a random number of random numbers."""

    mean: Drawn

    def sample(self, rng, worker, now):
        draws = rng.random(rng.integers(1, 4))
        return float(draws.sum()) * (0.5 + now % 1.0)

    def moments(self, worker=0):
        return times.Moments(self.mean, 0.0)


@dataclass(frozen=True)
class OddWire(networks.Wire):
    """A wire whose messages take rubbish seconds."""

    value: str
    latency: float = 0.0

    def __post_init__(self) -> None:
        _known("OddWire.value", self.value)

    def seconds(self, message_bytes):
        return VALUES[self.value]


@dataclass(frozen=True)
class OddNetwork(networks.Network):
    """A network whose messages take rubbish seconds in one direction."""

    value: str
    down: bool = True
    harsh: bool = False

    def __post_init__(self) -> None:
        _known("OddNetwork.value", self.value)

    def _seconds(self, odd):
        if odd and self.harsh:
            raise OwnError(2, second="network")
        return VALUES[self.value] if odd else 0.25

    def download_seconds(self, worker, message_bytes):
        return self._seconds(self.down)

    def upload_seconds(self, worker, message_bytes):
        return self._seconds(not self.down)


@dataclass(frozen=True)
class OddJitter(networks.Network):
    """A network whose jitter is no law."""

    value: str

    def __post_init__(self) -> None:
        _known("OddJitter.value", self.value)

    def download_seconds(self, worker, message_bytes):
        return 0.0

    def upload_seconds(self, worker, message_bytes):
        return 0.0

    def jitter(self, worker):
        return None, VALUES[self.value]


@dataclass(frozen=True)
class Charged(Work):
    """Work that charges for each message so many times the bytes that it has."""

    down: float = 1.0
    up: float = 1.0

    def bytes_down(self, message_bytes):
        return self.down * message_bytes

    def bytes_up(self, message_bytes):
        return self.up * message_bytes

    def run(self, parameters, state, job):
        return job.gradient(parameters), state


def method(protocol, work):
    """Return a method of a protocol and a work."""
    from simsgd import optimizers

    return Method(protocol, optimizers.sgd(0.1), work=work)


def _charges(rng):
    """Return what a protocol may have a job charged, some of it."""
    several, down, up = int(rng.integers(1, 4)), float(rng.choice([0.0, 1.0, 30.0])), float(rng.exponential(50.0))
    given = {"steps": several, "bytes_down": down, "bytes_up": up}
    return {name: value for name, value in given.items() if rng.random() < 0.6}


@dataclass(frozen=True)
class Chaos(Protocol):
    """A protocol that calls random verbs, each of them one that makes sense then."""

    verbs: int = 3

    def start(self, server):
        for worker in server.workers:
            if server.rng.random() < 0.9:
                server.assign(worker)
        self._idle(server)

    def on_gradient(self, server, gradient):
        rng = server.rng
        if rng.random() < 0.8:
            verb = server.apply if rng.random() < 0.5 else server.accumulate
            verb(gradient, weight=float(rng.choice([1.0, 0.5, 0.0, -1.0])))
        self._verbs(server)

    def _verbs(self, server):
        for _ in range(min(self.verbs, 10) if server.workers else 0):
            worker, busy = int(server.rng.choice(server.workers)), server.busy
            what = server.rng.integers(8)
            if what in (0, 1) and worker not in busy:
                server.assign(worker, **_charges(server.rng) if what else {})
            elif what in (2, 3) and worker in busy:
                server.cancel(worker)
            elif what in (4, 5) and server.accumulated:
                known = {worker: 0.5 for worker in server.workers if server.accumulated_by(worker) != 1}
                server.step(scale=float(server.rng.choice([1.0, 0.5, 2])), weights=known if what == 5 else None)
            elif what == 6 and server.notes.setdefault("alarms", 0) < 2:
                server.notes["alarms"] += 1
                server.alarm(float(server.rng.choice([0.0, 0.5, 1.0, server.rng.random()])))
            elif what == 7:
                oldest = min(server.jobs.values(), key=lambda job: (job.assigned, job.worker), default=None)
                if oldest is not None and oldest.steps > 1:
                    server.cancel(oldest.worker)
        self._idle(server)

    def on_alarm(self, server):
        server.notes["alarms"] -= 1
        self._verbs(server)

    def _idle(self, server):
        """Let at least one work, if there is one that can."""
        able = [worker for worker in server.workers if worker not in server.down]
        if able and not any(worker in server.busy for worker in able):
            server.assign(able[0])

    def on_lost(self, server, worker):
        self._verbs(server)

    def on_return(self, server, worker):
        self._verbs(server)

    def on_leave(self, server, worker):
        self._verbs(server)

    def on_join(self, server, worker):
        self._verbs(server)


@dataclass(frozen=True)
class ChaosTogether(Chaos):
    """The same, which claims that an all-reduce can carry it."""

    synchronous: ClassVar[bool] = True


@dataclass(frozen=True)
class Misuses(Protocol):
    """A protocol that calls verbs with rubbish, one time in so many; it may swallow the refusal and go on."""

    value: str
    one_in: int = 5
    swallows: bool = False

    def __post_init__(self) -> None:
        _known("Misuses.value", self.value)

    def on_gradient(self, server, gradient):
        if server.rng.random() * max(1, self.one_in) < 1:
            try:
                self._misuse(server, gradient)
            except ProtocolError:
                if not self.swallows:
                    raise
        if gradient.worker not in server.busy:
            server.assign(gradient.worker)

    def _misuse(self, server, gradient):
        value = VALUES[self.value]
        [
            lambda: server.assign(value),
            lambda: server.cancel(value),
            lambda: server.accumulate(gradient, weight=value),
            lambda: server.accumulate(value),
            lambda: (server.accumulate(gradient), server.step(scale=value)),
            lambda: server.apply(gradient, value),
            lambda: (server.accumulate(gradient, weight=1e200), server.step(scale=1e200)),
            lambda: server.step(),
            lambda: (server.accumulate(gradient), server.accumulate(gradient)),
            lambda: server.assign(10**6),
            lambda: server.cancel(-1),
            lambda: server.accumulate(server.notes.setdefault("kept", gradient)),
            lambda: server.accumulate(gradient._replace(read=10**6)),
            lambda: server.observe(value),
            lambda: server.staleness(value),
            lambda: server.assign(gradient.worker, steps=value),
            lambda: server.alarm(value),
            lambda: (server.accumulate(gradient), server.step(weights=value)),
            lambda: (server.accumulate(gradient), server.step(weights={gradient.worker: value})),
            lambda: (server.accumulate(gradient), server.step(weights={value: 1.0})),
            lambda: server.accumulated_by(value),
            lambda: server.assign(gradient.worker, bytes_down=value),
            lambda: server.assign(gradient.worker, bytes_up=value),
        ][server.rng.integers(23)]()


@dataclass(frozen=True)
class NeverSteps(Protocol):
    """A protocol that accumulates, perhaps, and never steps."""

    accumulates: bool = False

    def on_gradient(self, server, gradient):
        if self.accumulates:
            server.accumulate(gradient)
        server.assign(gradient.worker)


@dataclass(frozen=True)
class CancelsAll(Protocol):
    """A protocol that cancels all jobs with each gradient, and hands out new ones."""

    at_start: bool = False

    def start(self, server):
        super().start(server)
        if self.at_start:
            for worker in list(server.busy):
                server.cancel(worker)
                server.assign(worker)

    def on_gradient(self, server, gradient):
        server.apply(gradient)
        for worker in list(server.busy):
            server.cancel(worker)
        for worker in server.workers:
            server.assign(worker)


@dataclass(frozen=True)
class StartsNobody(Protocol):
    """A protocol that hands out nothing until somebody joins or returns."""

    def start(self, server):
        pass

    def on_gradient(self, server, gradient):
        server.apply(gradient)


@dataclass(frozen=True)
class RaisesIn(Protocol):
    """A protocol that raises an exception of its own in one of its answers."""

    answer: str
    harsh: bool = False
    ANSWERS: ClassVar[tuple[str, ...]] = ("start", "on_gradient", "on_lost", "on_return", "on_leave", "on_join")

    def __post_init__(self) -> None:
        if self.answer not in self.ANSWERS:
            raise ValueError(f"RaisesIn.answer must be one of {', '.join(map(repr, self.ANSWERS))}, got {self.answer!r}")

    def _raise_in(self, answer):
        if answer == self.answer:
            raise OwnInterrupt if self.harsh else OwnError(3, second=answer)

    def start(self, server):
        self._raise_in("start")
        super().start(server)

    def on_gradient(self, server, gradient):
        if server.version > 3:
            self._raise_in("on_gradient")
        server.apply(gradient)
        server.assign(gradient.worker)

    def on_lost(self, server, worker):
        self._raise_in("on_lost")

    def on_return(self, server, worker):
        self._raise_in("on_return")

    def on_leave(self, server, worker):
        self._raise_in("on_leave")

    def on_join(self, server, worker):
        self._raise_in("on_join")
        super().on_join(server, worker)


@dataclass(frozen=True)
class Observes(Protocol):
    """A protocol that looks at the model in odd places, and lets what it sees decide."""

    metric: str = "loss"
    at_start: bool = False
    one_in: int = 2

    def start(self, server):
        if self.at_start:
            server.notes["seen"] = server.observe(self.metric)
        super().start(server)

    def on_gradient(self, server, gradient):
        if gradient.job % max(1, self.one_in) == 0:
            weight = 1.0 if server.observe(self.metric) > 0.05 else 0.5
            server.accumulate(gradient, weight=weight)
            server.observe(self.metric)  # with a gradient accumulated, not yet stepped with
            server.step()
            server.observe(self.metric)
        server.assign(gradient.worker)

    def on_lost(self, server, worker):
        server.observe(self.metric)


__all__ = [
    "ByTheClock",
    "CancelsAll",
    "Chaos",
    "ChaosTogether",
    "Misuses",
    "NeverSteps",
    "Observes",
    "OddJitter",
    "OddNetwork",
    "OddWire",
    "Raises",
    "RaisesIn",
    "RaisesInSampler",
    "Returns",
    "SamplerIs",
    "StartsNobody",
    "Stops",
]
