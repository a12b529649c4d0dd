"""A cluster: what makes no sense is refused when it is made, and it shows what it is."""

import html.parser
from dataclasses import FrozenInstanceError, dataclass

import pytest

import simsgd as sg
from simsgd.networks import Duplex, Jittery, Link, ParameterServer, Ring
from simsgd.times import Constant, Exponential


class Counting(sg.times.Law):
    """A law with a state: each job takes a second more than the one before, whichever recording it is in."""

    def __init__(self):
        self.jobs = 0

    def sample(self, rng, worker, now):
        self.jobs += 1
        return float(self.jobs)

    def moments(self, worker=0):
        return sg.times.Moments(1.0, 0.0)


class Lazy(Constant):
    """Not frozen itself: a subclass of a frozen dataclass takes new attributes."""


@dataclass
class Thawed(sg.times.Law):
    def sample(self, rng, worker, now):
        return 1.0

    def moments(self, worker=0):
        return sg.times.Moments(1.0, 0.0)


class Ether(sg.networks.Wire):
    latency = 0.0

    def seconds(self, message_bytes):
        return 0.0


REMEMBERING = {
    "a law": ("Cluster.compute", "Counting", lambda: sg.Cluster(1, Counting())),
    "a dataclass that is not frozen": ("Cluster.compute", "Thawed", lambda: sg.Cluster(1, Thawed())),
    "a subclass of a frozen one": ("Cluster.compute", "Lazy", lambda: sg.Cluster(1, Lazy(1.0))),
    "a law in a law": (
        "Cluster.compute.laws[1].law",
        "Counting",
        lambda: sg.Cluster(2, sg.times.PerWorker((Constant(1.0), sg.times.Scaled(Counting(), by=2)))),
    ),
    "a law of a factor": (
        "Cluster.compute.slowness",
        "Thawed",
        lambda: sg.Cluster(2, sg.times.DrawnSlowness(Constant(1.0), slowness=Thawed())),
    ),
    "a fabric": ("Cluster.network", "Ether", lambda: sg.Cluster(1, Constant(1.0), Ether())),
    "a wire in a fabric": ("Cluster.network.down", "Ether", lambda: sg.Cluster(1, Constant(1.0), Duplex(Ether(), Link()))),
    "a wire in a ring": ("Cluster.network.link", "Ether", lambda: sg.Cluster(1, Constant(1.0), Ring(Ether()))),
    "a law of jitter": (
        "Cluster.network.access.law",
        "Counting",
        lambda: sg.Cluster(1, Constant(1.0), ParameterServer(access=Jittery(Link(), Counting()))),
    ),
    "a law in a fault": (
        "Cluster.faults[0].lasting",
        "Counting",
        lambda: sg.Cluster(1, Constant(1.0), faults=[sg.faults.Crashes(Constant(5.0), Counting())]),
    ),
}


@pytest.mark.parametrize("name", REMEMBERING)
def test_what_could_remember_one_recording_in_the_next_is_refused_with_the_way_out(name):
    place, kind, make = REMEMBERING[name]
    with pytest.raises(TypeError) as refusal:
        make()
    assert str(refusal.value).startswith(f"{place} is of the class {kind}, which is not a frozen dataclass")
    assert f"put @dataclass(frozen=True) above class {kind}" in str(refusal.value)


@dataclass(frozen=True)
class Hoarding(sg.times.Law):
    drawn: list

    def sample(self, rng, worker, now):
        self.drawn.append(now)
        return float(len(self.drawn))

    def moments(self, worker=0):
        return sg.times.Moments(1.0, 0.0)


def test_what_could_remember_in_a_field_is_refused_with_the_way_out():
    with pytest.raises(TypeError, match=r"^Cluster\.compute\.law\.drawn can be changed in place.* use a tuple .*, got \[1\]"):
        sg.Cluster(1, sg.times.Scaled(Hoarding([1]), by=2))


def test_the_way_out_leads_out():
    frozen = dataclass(frozen=True)(Thawed)
    assert sg.record(sg.AsyncSGD(), sg.Cluster(1, frozen()), until=sg.Updates(2)).end == 2.0
    with pytest.raises(FrozenInstanceError):
        frozen().jobs = 1


def test_swapped_arguments_are_told_apart():
    with pytest.raises(
        TypeError, match=r"workers first, then the law: Cluster\(workers=16.*got Cluster\(Exponential\(.*\), 16\)"
    ):
        sg.Cluster(Exponential(1.0), 16)


def test_more_workers_than_the_bound_are_refused_before_anything_is_made(monkeypatch):
    with pytest.raises(sg.BoundError, match=r"^Cluster\.workers=10000000 .* sg\.bounds\.workers = 10000000"):
        sg.Cluster(10**7, Constant(1.0))
    monkeypatch.setattr(sg.bounds, "workers", 10**7)
    assert sg.Cluster(10**7, Constant(1.0)).workers == 10**7


CLUSTERS = [
    sg.Cluster(2, Constant(1.0)),
    sg.Cluster(2, Constant(1.0), Link(0.5, 100.0)),
    sg.Cluster(2, Constant(1.0), faults=[sg.faults.Leave(worker=0, at=1.0)]),
]


@pytest.mark.parametrize("cluster", CLUSTERS, ids=repr)
def test_its_repr_is_one_line_that_makes_it(cluster):
    names = {
        "Cluster": sg.Cluster,
        **{name: getattr(m, name) for m in (sg.times, sg.networks, sg.faults) for name in m.__all__},
    }
    assert eval(repr(cluster), names) == cluster
    assert "\n" not in repr(cluster)


def test_its_repr_leaves_out_what_is_at_its_default():
    assert repr(CLUSTERS[0]) == "Cluster(workers=2, compute=Constant(seconds=1.0))"


def test_a_notebook_shows_a_small_table():
    law = sg.times.PerWorker([Exponential(mean=1.0)] * 1000)
    text = sg.Cluster(1000, law, faults=[sg.faults.Crash(0, at=1.0)] * 1000)._repr_html_()
    found = []

    class Reader(html.parser.HTMLParser):
        def handle_data(self, data):
            found.append(data)

    Reader().feed(text)
    assert found[0] == "Cluster"
    assert found[1::2] == ["workers", "compute", "network", "faults"]
    assert found[2] == "1000"
    assert found[4].startswith("PerWorker(laws=(Exponential(mean=1.0)")
    assert len(text) < 1200


def test_a_table_escapes_what_a_law_says_of_itself():
    @dataclass(frozen=True, repr=False)
    class Bold(Constant):
        def __repr__(self):
            return "<b>"

    assert "<b>" not in sg.Cluster(1, Bold(1.0))._repr_html_()
