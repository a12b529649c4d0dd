"""Laws, networks, faults and protocols of somebody's own that return rubbish, or raise.

What they return is refused by an error that names them, the worker and the value; what they raise comes out as the very object
that was raised. The laws and wires around them are found by looking through `simsgd`, so a new one is attacked too.
"""

import dataclasses
import inspect
import itertools
import math
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

import simsgd as sg
from simsgd import networks, times
from simsgd.networks.fabric import Network
from simsgd.support import checks
from simsgd.times.law import Law
from simsgd.times.stretching import Clock, Piece


class OwnError(Exception):
    """An exception that nobody can make anew from its `args`."""

    def __init__(self, first, *, second):
        super().__init__(first, second)


class NoFloat:
    """What claims to be a number, and raises when it is asked for one."""

    def __float__(self):
        raise OwnError(1, second="float")

    def __repr__(self):
        return "NoFloat()"


RUBBISH = {
    "none": None,
    "text": "soon",
    "number in words": "0.5",
    "bytes": b"1",
    "complex": 0.5 + 0j,
    "beyond all floats": 10**400,
    "nan": math.nan,
    "infinite": math.inf,
    "negative": -1.0,
    "true": True,
    "list": [1.0],
    "array of one": np.array([1.0]),
    "array of two": np.array([1.0, 2.0]),
    "not a time": np.float32("nan"),
    "masked": np.ma.masked,
    "function": len,
    "object": object(),
}
NUMBERS = {
    "whole": 1,
    "float64": np.float64(0.5),
    "float32": np.float32(0.5),
    "int64": np.int64(1),
    "array without axes": np.array(0.5),
    "fraction": Fraction(1, 2),
    "least": 5e-324,
    "zero": 0,
    "no float": NoFloat(),
}
DRAWN = RUBBISH | NUMBERS


@dataclass(frozen=True)
class Own(Law):
    """A law whose draws are named rubbish, or a number."""

    rubbish: str = "whole"

    def sampler(self, rng, worker):
        return lambda now: DRAWN[self.rubbish]

    def moments(self, worker=0):
        return times.Moments(1.0, 0.0)


@dataclass(frozen=True)
class Raising(Law):
    """A law whose draws raise."""

    def sampler(self, rng, worker):
        def draw(now):
            raise OwnError(1, second="draw")

        return draw

    def moments(self, worker=0):
        return times.Moments(1.0, 0.0)


def laws_in(hint):
    """Say how many laws a field's type asks for: None, one, or a sequence."""
    if inspect.isclass(hint) and issubclass(hint, Law):
        return "one"
    return "several" if Law in typing.get_args(hint) and typing.get_origin(hint) is Sequence else None


def candidates(hint):
    """Return a few values for a field that holds no law."""
    if typing.get_origin(hint) is Sequence:
        (entry,) = typing.get_args(hint)
        return [(1.0, 1.0)] if entry is float else [()]
    return [2, 1] if hint is int else [2.0, 1.0, 0.5]


def wrappers(inner):
    """Return each class of `times` that has laws in it, once around `inner` in each of the places for a law."""
    built = {}
    for name, cls in vars(times).items():
        if (
            name not in times.__all__
            or not inspect.isclass(cls)
            or not issubclass(cls, Law)
            or not dataclasses.is_dataclass(cls)
        ):
            continue
        hints = typing.get_type_hints(cls)
        fields = [field for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING]
        for place in (field.name for field in fields if laws_in(hints[field.name])):
            values = [
                [(inner, inner) if laws_in(hints[f.name]) == "several" else inner]
                if f.name == place
                else [times.Exponential(1.0)]
                if laws_in(hints[f.name])
                else candidates(hints[f.name])
                for f in fields
            ]
            for chosen in itertools.product(*values):
                try:
                    built[f"{name}.{place}"] = cls(*chosen)
                    break
                except ValueError:
                    continue
            else:
                raise AssertionError(f"no values found for {name}")
    return built


WRAPPERS = sorted(wrappers(Own()))


def test_all_laws_around_laws_are_found():
    assert {name.split(".")[0] for name in WRAPPERS} >= {
        *("DrawnSlowness", "Pauses", "PerWorker", "Scaled", "SlowSpells", "Slowdowns", "Speeds")
    }
    assert "DrawnSlowness.slowness" in WRAPPERS


def cluster(law, **more):
    return sg.Cluster(2, law, **more)


def refused(cluster_, *said, protocol=None, kinds=(ValueError, TypeError), **more):
    """Assert that a recording is refused by an error of simsgd's own that says all of this."""
    with pytest.raises(kinds) as caught:
        sg.record(protocol or sg.AsyncSGD(), cluster_, sg.Updates(3), **{"message_bytes": 8.0, **more})
    for text in said:
        assert text in str(caught.value)


def whole(thing):
    return checks.shown(thing)


@pytest.mark.parametrize("rubbish", RUBBISH)
def test_a_law_of_one_s_own_is_refused_by_name(rubbish):
    """Alone, in every law around laws, and in all of them at once."""
    law = Own(rubbish)
    said = (f"Own(rubbish={rubbish!r}", whole(RUBBISH[rubbish]), "worker 0")
    refused(cluster(law), *said, "must be")
    for outer in wrappers(law).values():
        refused(cluster(outer), *said, "must be")
        refused(cluster(times.Scaled(times.SlowSpells(outer, 2.0, 1.0, 1.0), by=2.0)), *said, "must be")


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_what_a_law_raises_comes_out_as_it_is(wrapper):
    """The same object, with a note that says of which law, worker and second it is; also from a number that is none."""
    for inner in (Raising(), Own("no float")):
        law = wrappers(inner)[wrapper]
        with pytest.raises(OwnError) as caught:
            sg.record(sg.AsyncSGD(), cluster(law), sg.Updates(3))
        notes = " ".join(caught.value.__notes__)
        assert type(inner).__name__ in notes
        assert "worker 0" in notes


@pytest.mark.parametrize("number", [name for name in NUMBERS if name != "no float"])
def test_any_kind_of_number_will_do(number):
    for law in (Own(number), *(each for name, each in wrappers(Own(number)).items() if "slowness" not in name)):
        tape = sg.record(sg.AsyncSGD(), cluster(law), sg.Updates(3))
        assert tape.time.dtype == np.float64
        assert tape.updates == 3


@pytest.mark.parametrize("rubbish", [*RUBBISH, "no float"])
def test_wherever_a_law_stands(rubbish):
    """In faults, in jitter on each fabric, in the server's updates."""
    law = Own(rubbish)
    kinds = OwnError if rubbish == "no float" else ValueError
    said = () if rubbish == "no float" else (f"Own(rubbish={rubbish!r}", whole(RUBBISH[rubbish]), "worker 0")
    usual, ones = times.Exponential(1.0), times.Constant(1.0)
    for kind in (sg.faults.Crashes, sg.faults.LinkOutages):
        refused(cluster(ones, faults=(kind(law, usual),)), *said, kinds=kinds)
        refused(cluster(ones, faults=(kind(usual, times.Scaled(law, by=2.0)),)), *said, kinds=kinds)
    wire = networks.Jittery(networks.Jittery(networks.Link(1.0, 8.0), usual), law)
    waits = sg.MinibatchSGD()
    for fabric in (wire, networks.ParameterServer(wire), networks.ParameterServer(update=law), networks.Ring(wire)):
        refused(cluster(ones, network=fabric), *said, protocol=waits, kinds=kinds)


def test_laws_that_end():
    """StopIteration would end the generator of a fault's spells, in silence."""

    @dataclass(frozen=True)
    class Ending(Law):
        def sampler(self, rng, worker):
            drawn = iter([0.5, 0.5])
            return lambda now: next(drawn)

        def moments(self, worker=0):
            return times.Moments(1.0, 0.0)

    for fault in (sg.faults.Crashes(Ending(), Ending()), sg.faults.LinkOutages(times.Constant(1.0), Ending())):
        with pytest.raises(ValueError, match=r"Ending\(\).* drew nothing for worker 0 after .* StopIteration"):
            sg.record(sg.AsyncSGD(), cluster(times.Constant(1.0), faults=(fault,)), sg.Seconds(9.0))
    with pytest.raises(TypeError, match=r"Speeds\.speeds must be a sequence"):
        times.Speeds(times.Constant(1.0), np.array(1.0))


def test_samplers_that_are_none():
    @dataclass(frozen=True)
    class NoFunction(Law):
        def sampler(self, rng, worker):
            return 0.5

        def moments(self, worker=0):
            return times.Moments(1.0, 0.0)

    for law in (NoFunction(), *wrappers(NoFunction()).values()):
        refused(cluster(law), "NoFunction().sampler(rng, worker=0) must return a function", "got 0.5")


ANSWERS = [None, 1.0, (1.0,), (1.0, "x", 0.0), "abc", (1.0, None), [1.0, 2.0]]


@pytest.mark.parametrize("answer", ANSWERS, ids=repr)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_moments_that_are_none(wrapper, answer):
    @dataclass(frozen=True)
    class NoMoments(Law):
        def sample(self, rng, worker, now):
            return 1.0

        def moments(self, worker=0):
            return answer

    with pytest.raises(TypeError, match=r"NoMoments\(\)\.moments\(worker=0\) must return times\.Moments"):
        wrappers(NoMoments())[wrapper].moments()


def test_a_distribution_that_is_none():
    @dataclass(frozen=True)
    class NoDistribution(Law):
        def sample(self, rng, worker, now):
            return 1.0

        def moments(self, worker=0):
            return times.Moments(1.0, 1.0)

        def distribution(self, worker=0):
            return "normal"

    for law in (
        times.Scaled(NoDistribution(), by=2.0),
        times.PerWorker((NoDistribution(),)),
    ):
        with pytest.raises(TypeError, match=r"NoDistribution\(\)\.distribution\(worker=0\) must return None or a frozen"):
            law.distribution()
    with pytest.raises(TypeError, match=r"NoDistribution\(\)\.distribution"):
        times.Pauses(NoDistribution(), every=2.0, lasting=1.0).moments()


PIECES = {
    "ended": [Piece(1.0, 1.0)],
    "text": [Piece("soon", 1.0)],
    "backwards": [Piece(0.5, 1.0), Piece(0.25, 1.0)],
    "no number": [Piece(math.nan, 1.0)],
    "no slowness": [Piece(1.0, 0.0)],
    "never": [Piece(math.inf, math.inf)],
    "one": [1.0],
}


@dataclass(frozen=True)
class OwnClock(Clock):
    """A clock with named pieces."""

    rubbish: str

    def pieces(self, rng, worker):
        return iter(PIECES[self.rubbish])

    def around(self, work, worker):
        return work.moments(worker)


@pytest.mark.parametrize("rubbish", PIECES)
def test_clocks_of_one_s_own(rubbish):
    for law in (OwnClock(times.Constant(1.0), rubbish), times.Scaled(OwnClock(times.Constant(1.0), rubbish), by=2.0)):
        refused(cluster(law), f"rubbish={rubbish!r}).pieces", "worker 0", "it must yield Piece(until, slowness)")


# --- networks ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OwnPath(Network):
    """A network whose messages take named rubbish."""

    rubbish: str

    def download_seconds(self, worker, message_bytes):
        return RUBBISH[self.rubbish]

    def upload_seconds(self, worker, message_bytes):
        return 1.0


@dataclass(frozen=True)
class OwnWire(networks.Wire):
    """A wire whose messages take named rubbish, or whose latency or rate is, or its jitter."""

    rubbish: str
    of: str

    @property
    def latency(self):
        return RUBBISH[self.rubbish] if self.of == "latency" else 0.0

    def seconds(self, message_bytes):
        return RUBBISH[self.rubbish] if self.of == "seconds" else 1.0

    def rate(self, message_bytes):
        return RUBBISH[self.rubbish] if self.of == "rate" else super().rate(message_bytes)

    def jitter(self, worker):
        return RUBBISH[self.rubbish] if self.of == "jitter" else (None, None)


@pytest.mark.parametrize("rubbish", RUBBISH)
def test_networks_of_one_s_own(rubbish):
    path, law = OwnPath(rubbish), times.Constant(1.0)
    for network in (path, networks.PerWorker((path, path))):
        for size in (8.0, None):
            refused(cluster(law, network=network), f"OwnPath(rubbish={rubbish!r})", whole(RUBBISH[rubbish]), message_bytes=size)
    waits, near = sg.MinibatchSGD(), networks.Link(1.0)
    for of in ("seconds", "latency", "rate", "jitter"):
        if of == "rate" and rubbish in ("infinite", "beyond all floats"):
            continue  # these are rates
        wire = OwnWire(rubbish, of)
        direct = (wire, networks.Duplex(near, wire), networks.Jittery(wire, law)) if of in ("seconds", "jitter") else ()
        server = (networks.ParameterServer(wire), networks.ParameterServer(access=networks.PerWorker((wire, wire))))
        ring = (networks.Ring(wire), networks.Hierarchical(wire, wire, devices=2)) if of in ("seconds", "jitter") else ()
        for network in (*direct, *server, *ring):
            refused(cluster(law, network=network), f"rubbish={rubbish!r}, of={of!r}", protocol=waits)


@pytest.mark.parametrize(
    "answer", [None, "done", np.array(["a", "b"]), np.array([1.0]), np.array([0.0, math.nan]), 3.0], ids=str
)
def test_an_all_reduce_of_one_s_own(answer):
    @dataclass(frozen=True)
    class OwnSum(networks.AllReduce):
        def rounds(self, ready, message_bytes, send):
            return answer

    refused(cluster(times.Constant(1.0), network=OwnSum()), "OwnSum(", "rounds must return", protocol=sg.MinibatchSGD())


# --- faults --------------------------------------------------------------------------------------------------------------

SPELLS = {
    "text": [("soon", 2.0)],
    "one": [1.0],
    "backwards": [(3.0, 2.0)],
    "unordered": [(3.0, 4.0), (1.0, 2.0)],
    "no number": [(math.nan, 2.0)],
    "negative": [(-1.0, 2.0)],
    "nothing": None,
    "three": [(1.0, 2.0, 3.0)],
}


@pytest.mark.parametrize("base", [sg.faults.Crash, sg.faults.LinkDown])
@pytest.mark.parametrize("rubbish", SPELLS)
def test_faults_of_one_s_own(base, rubbish):
    @dataclass(frozen=True)
    class OwnFault(base):
        def spells(self, seed, purpose, worker):
            return SPELLS[rubbish]

    refused(cluster(times.Constant(1.0), faults=(OwnFault(0, 1.0, 2.0),)), "OwnFault(", ".spells yielded", "worker 0")


@pytest.mark.parametrize("base", [sg.faults.Crash, sg.faults.LinkDown])
@pytest.mark.parametrize("step", [0.0, 1e-9])
def test_faults_without_end(base, step):
    """Endless spells of no length, at one moment or nearly: an error, or, where nobody is in their way, no harm."""

    @dataclass(frozen=True)
    class Endless(base):
        def spells(self, seed, purpose, worker):
            return ((1.0 + k * step,) * 2 for k in itertools.count())

    if (base, step) == (sg.faults.LinkDown, 1e-9):
        kinds, said = sg.BoundError, "parts"
    else:
        kinds, said = (ValueError, sg.StuckError), "spells in a row" if step == 0.0 else "lost"
    refused(cluster(times.Constant(2.0), faults=(Endless(0, 1.0, 2.0),)), said, kinds=kinds)


# --- protocols -----------------------------------------------------------------------------------------------------------

ARRAY = np.array([1.0, 2.0])
CALLS = {
    "assign text": lambda s, g: s.assign("a"),
    "assign far": lambda s, g: s.assign(10**400),
    "assign farther": lambda s, g: s.assign(10**5000),
    "assign half": lambda s, g: s.assign(0.5),
    "assign none": lambda s, g: s.assign(None),
    "assign list": lambda s, g: s.assign([0]),
    "assign array": lambda s, g: s.assign(ARRAY),
    "assign true": lambda s, g: s.assign(True),
    "cancel text": lambda s, g: s.cancel("a"),
    "cancel array": lambda s, g: s.cancel(ARRAY),
    "cancel far": lambda s, g: s.cancel(10**5000),
    "weight text": lambda s, g: s.accumulate(g, "0.5"),
    "weight complex": lambda s, g: s.accumulate(g, 1j),
    "weight none": lambda s, g: s.accumulate(g, None),
    "weight array": lambda s, g: s.accumulate(g, ARRAY),
    "weight nan": lambda s, g: s.apply(g, math.nan),
    "weight far": lambda s, g: s.apply(g, 10**400),
    "weight farther": lambda s, g: s.apply(g, 10**5000),
    "scale text": lambda s, g: (s.accumulate(g), s.step(scale="x")),
    "scale none": lambda s, g: (s.accumulate(g), s.step(None)),
    "scale array": lambda s, g: (s.accumulate(g), s.step(ARRAY)),
    "scale ones": lambda s, g: (s.accumulate(g), s.step(np.ones(2))),
    "scale far": lambda s, g: (s.accumulate(g), s.step(10**400)),
    "forged": lambda s, g: s.apply(g._replace(read=0)),
    "copied": lambda s, g: s.apply(tuple(g)),
    "none applied": lambda s, g: s.apply(None),
    "array applied": lambda s, g: s.apply(ARRAY),
    "staleness of none": lambda s, g: s.staleness(None),
    "staleness of text": lambda s, g: s.staleness("g"),
    "observe a number": lambda s, g: s.observe(3),
    "observe a list": lambda s, g: s.observe([]),
}


@dataclass(frozen=True)
class OwnProtocol(sg.Protocol):
    """A protocol that does what it is named after."""

    call: str

    def on_gradient(self, server, gradient):
        CALLS[self.call](server, gradient)


@pytest.mark.parametrize("call", CALLS)
def test_protocols_of_one_s_own(call):
    refused(cluster(times.Constant(1.0)), f"OwnProtocol(call={call!r})", protocol=OwnProtocol(call), kinds=sg.ProtocolError)


def test_what_a_protocol_returns():
    @dataclass(frozen=True)
    class Lazy(sg.Protocol):
        def on_gradient(self, server, gradient):
            yield server.apply(gradient)

    @dataclass(frozen=True)
    class Telling(sg.Protocol):
        def on_gradient(self, server, gradient):
            return 3

    for protocol in (Lazy(), Telling()):
        refused(cluster(times.Constant(1.0)), "from on_gradient", protocol=protocol, kinds=sg.ProtocolError)


def test_two_messages_beyond_the_clock():
    with pytest.raises(ValueError, match=r"Link\(latency=1e\+308.* takes 1e\+308 seconds down and 1e\+308 up for worker 0"):
        sg.record(sg.AsyncSGD(), cluster(times.Constant(1.0), network=networks.Link(1e308)), sg.Updates(3))


def test_swapped_arguments_of_a_link():
    with pytest.raises(ValueError, match="swapped"):
        networks.Link(1e9, 1e-5)
    assert networks.Link(1e9).seconds(8.0) == 1e9
    assert networks.Link(0.0, 0.5).seconds(1.0) == 2.0


@pytest.mark.parametrize(("bandwidth", "size"), [(5e-324, 5e-324), (1e-308, 1.0)])
def test_a_link_that_all_share_in_no_time_that_a_clock_counts(bandwidth, size):
    """Each message alone would be through some day; all at once never are."""
    slow = networks.ParameterServer(networks.Link(0.0, bandwidth))
    with pytest.raises(ValueError, match="longer than a clock can count"):
        sg.record(sg.AsyncSGD(), sg.Cluster(7, times.Constant(1.0), slow), sg.Updates(9), message_bytes=size)
