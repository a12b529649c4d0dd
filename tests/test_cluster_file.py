"""A cluster's file: what is saved is loaded, whatever is in it; a person's own is read; what cannot be is refused."""

import dataclasses
import inspect
import math
import os
import tomllib
import types
import typing
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simsgd as sg
from simsgd.cluster import file as cluster_file
from simsgd.cluster import quantities
from simsgd.faults import Crash, Crashes, Join, Leave, LinkDown, LinkOutages, LostMessages
from simsgd.times import Constant, Exponential, Slowdown

LINK = sg.networks.Link(latency=3e-5, bandwidth=1.25e9)
SIZES = tuple(2.0**k for k in range(10, 30))
TIMES = tuple(1e-5 + size / 3e9 for size in SIZES)

# All clusters have three workers.
LAWS = [
    Constant(0.1 + 0.2),  # 0.30000000000000004
    Exponential(mean=1 / 3),
    sg.times.ShiftedExponential(shift=0.05, mean=0.1),
    sg.times.Pareto(minimum=1.0, exponent=2.5),
    sg.times.Weibull(mean=1e-3, shape=0.7),
    sg.times.Gamma(mean=0.1, coefficient_of_variation=0.6),
    sg.times.Lognormal(mean=0.1, coefficient_of_variation=0.6),
    sg.times.AutocorrelatedLognormal(mean=1e-7, coefficient_of_variation=0.5, autocorrelation=0.7),
    sg.times.Speeds(Constant(1.0), speeds=(1.0, 0.2, 1 / 3)),
    sg.times.DrawnSlowness(Constant(1.0), slowness=sg.times.Lognormal(mean=1.0, coefficient_of_variation=0.5)),
    sg.times.PerWorker((Constant(1.0), Exponential(mean=2.0), sg.times.Scaled(Constant(1e-3), by=32))),
    sg.times.Scaled(Constant(1e-3), by=32, overhead=0.01),
    sg.times.Scaled(Constant(1e-3), by=0.1),
    sg.times.Slowest(Exponential(mean=0.5), of=8),
    sg.times.Slowest(sg.times.Repeated(Exponential(mean=0.5), of=4), of=8),
    sg.times.Repeated(sg.times.Pauses(Constant(1.0), every=600.0, lasting=60.0), of=3),
    sg.times.SlowSpells(Constant(1.0), slowness=5.0, normal_seconds=90.0, slow_seconds=50.0),
    sg.times.Slowdowns(Constant(1.0), (Slowdown(2, 5.0, 100.0, 200.0), Slowdown(0, math.inf, 0.0, 3600.0))),
    sg.times.Slowdowns(Constant(1.0), (Slowdown(0, 1.5, 1.0, math.inf),)),
    sg.times.Slowdowns(Constant(1.0), ()),
    sg.times.Pauses(Constant(1.0), every=600.0, lasting=60.0),
    sg.times.Pauses(Constant(1.0), every=600.0, lasting=60.0, first=0.0),
    sg.times.Recorded(((0.5, 1.0), (2.0,), (0.1,)), at_end="repeat"),
    sg.times.Recorded((tuple(0.1 * k for k in range(30)), (2.0,), (1 / 3, 0.0)), at_end="resample", block=3),
]
FABRICS = [
    LINK,
    sg.networks.Link(latency=0.25),
    sg.networks.Duplex(down=LINK, up=sg.networks.Link(latency=1e-3, bandwidth=1e6 / 3)),
    sg.networks.PerWorker((LINK, sg.networks.Duplex(LINK, LINK), sg.networks.preset("wide area"))),
    sg.networks.Jittery(LINK, Exponential(mean=1e-4)),
    sg.networks.MeasuredLink(sizes=(1e3, 1e5), times=(1e-5, 4e-5)),
    sg.networks.MeasuredLink(sizes=SIZES, times=TIMES),
    sg.networks.ParameterServer(),
    sg.networks.ParameterServer(
        sg.networks.Duplex(LINK, sg.networks.MeasuredLink(SIZES, TIMES)),
        sharing="first in, first out",
        shards=4,
        update=Exponential(mean=1e-3),
        access=sg.networks.PerWorker((LINK, LINK, sg.networks.Jittery(LINK, Constant(1e-6)))),
    ),
    sg.networks.Ring(LINK, reduction=1e10, buckets=4, overlap=True, backward_share=0.5),
    sg.networks.HalvingDoubling(LINK, reduction=1e10, buckets=4, overlap=True, backward_share=0.5),
    sg.networks.BinaryTree(LINK, reduction=1e10, buckets=4, overlap=True, backward_share=0.5),
    sg.networks.Hierarchical(LINK, LINK, devices=3, reduction=1e10, buckets=4, overlap=True, backward_share=0.5),
    sg.networks.MeasuredAllReduce(SIZES, TIMES, workers=3, buckets=4, overlap=True, backward_share=0.5),
]
FAULTS = [
    Crash(worker=1, at=1.5, back=4.0),
    Crash(worker=1, at=1e9),
    Crashes(between=Exponential(mean=50.0), lasting=Constant(5.0)),
    Crashes(between=Exponential(mean=50.0), lasting=Constant(5.0), workers=(0, 2)),
    Leave(worker=1, at=2.5),
    Join(worker=2, at=0.5),
    LinkDown(worker=0, start=0.5, end=3.0),
    LinkOutages(between=Exponential(mean=50.0), lasting=Exponential(mean=5.0), workers=(1,)),
    LostMessages(probability=0.01, timeout=1.0, workers=(0, 1)),
]
CLUSTERS = [
    *(sg.Cluster(3, law) for law in LAWS),
    *(sg.Cluster(3, Constant(1.0), fabric) for fabric in FABRICS),
    *(sg.Cluster(3, Constant(1.0), LINK, (fault,)) for fault in FAULTS),
    sg.Cluster(3, LAWS[-1], FABRICS[8], tuple(FAULTS)),
]


def through_a_file(cluster, path):
    cluster.save(path)
    return sg.Cluster.load(path)


def exactly(cluster):
    """Return what is stricter than equality: 0.0 is not -0.0, and a float not an equal int."""
    return [repr(getattr(cluster, field.name)) for field in dataclasses.fields(cluster)]


def inside(description):
    """Yield the descriptions in a cluster, itself first."""
    if isinstance(description, tuple):
        for each in description:
            yield from inside(each)
    elif dataclasses.is_dataclass(description):
        yield description
        for field in dataclasses.fields(description):
            yield from inside(getattr(description, field.name))


def public_descriptions():
    """Return the public dataclasses that are no results of `fit`: whoever adds one adds it to the clusters above."""
    found = [getattr(module, name) for module in (sg.times, sg.networks, sg.faults) for name in module.__all__]
    found = {each for each in found if inspect.isclass(each) and dataclasses.is_dataclass(each)}
    return {each for each in found if not inspect.isabstract(each)} - {sg.times.Fit, sg.times.Candidate}


@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda cluster: type(cluster.compute).__name__)
def test_what_is_saved_is_loaded(cluster, tmp_path):
    loaded = through_a_file(cluster, tmp_path / "cluster.toml")
    assert loaded == cluster
    assert exactly(loaded) == exactly(cluster)
    before, after = (sg.record(sg.MinibatchSGD(), each, sg.Updates(2), message_bytes=1e5) for each in (cluster, loaded))
    assert before == after
    loaded.save(tmp_path / "again.toml")
    assert (tmp_path / "again.toml").read_bytes() == (tmp_path / "cluster.toml").read_bytes()


def test_every_description_is_tried_with_every_field():
    shown = {}
    for description in inside(tuple(CLUSTERS)):
        for field in dataclasses.fields(description):
            default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            if getattr(description, field.name) != default:
                shown.setdefault(type(description), set()).add(field.name)
    wanted = {each: {field.name for field in dataclasses.fields(each)} for each in public_descriptions() | {sg.Cluster}}
    assert shown == wanted


def test_what_may_be_none_is_none_by_default():
    """A file cannot say None: it leaves the key out."""
    for kind in public_descriptions():
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            assert types.NoneType not in typing.get_args(hints[field.name]) or field.default is None


def test_the_text_is_for_people(tmp_path):
    cluster = sg.Cluster(
        workers=16,
        compute=sg.times.DrawnSlowness(
            sg.times.ShiftedExponential(shift=0.05, mean=0.1), sg.times.Lognormal(mean=1.0, coefficient_of_variation=0.3)
        ),
        network=sg.networks.ParameterServer(LINK, shards=2, update=Constant(5e-4)),
        faults=(Crash(worker=3, at=60.0, back=90.0), LostMessages(probability=0.001, timeout=0.2, workers=(3,))),
    )
    cluster.save(tmp_path / "cluster.toml")
    assert (tmp_path / "cluster.toml").read_text() == TEXT


def test_a_law_of_a_factor_has_no_units_and_one_of_times_has(tmp_path):
    """By role, not by class: the same laws, once as times and once, in wrappers, as a factor; the clock stays in seconds."""
    path = tmp_path / "cluster.toml"
    law = sg.times.PerWorker(
        (
            sg.times.Scaled(Constant(2.0), by=3, overhead=0.5),
            sg.times.SlowSpells(sg.times.Pareto(1.5, exponent=3.0), 5.0, normal_seconds=90.0, slow_seconds=0.5),
            sg.times.Recorded((tuple(0.25 * k for k in range(1, 20)), (1.0,), (1.0,)), at_end="repeat"),
        )
    )
    for role, compute in {"times": law, "slowness": sg.times.DrawnSlowness(law, slowness=law)}.items():
        cluster = sg.Cluster(3, compute)
        assert through_a_file(cluster, path) == cluster
        said = tomllib.loads(path.read_text())["compute"]
        scaled, spells, recorded = said["slowness"]["laws"] if role == "slowness" else said["laws"]
        plain = role == "slowness"
        assert (scaled["law"]["seconds"], scaled["overhead"]) == ((2.0, 0.5) if plain else ("2 s", "500 ms"))
        assert spells["law"] == {"kind": "Pareto", "minimum": 1.5 if plain else "1.5 s", "exponent": 3.0}
        assert (spells["normal_seconds"], spells["slow_seconds"]) == ("90 s", "500 ms")
        values = [list(times) for times in law.laws[2].seconds]
        assert recorded["seconds"] == (values if plain else {"unit": "s", "values": values})
    assert said["law"]["laws"][0]["law"]["seconds"] == "2 s"  # beside the factor, a law of times


TEXT = """\
# A cluster of workers, to be read by simsgd.Cluster.load. What is left out is at its default.
# checksum b36c7003c4fb9eaf: of the values as saved. Once you change one, delete this line, or loading warns.
format = "simsgd cluster 1"
workers = 16

[compute]
kind = "DrawnSlowness"

[compute.law]
kind = "ShiftedExponential"
shift = "50 ms"
mean = "100 ms"

[compute.slowness]
kind = "Lognormal"
mean = 1.0
coefficient_of_variation = 0.3

[network]
kind = "ParameterServer"
shards = 2

[network.link]
kind = "Link"
latency = "30 us"
bandwidth = "1.25 GB/s"

[network.update]
kind = "Constant"
seconds = "500 us"

[[faults]]
kind = "Crash"
worker = 3
at = "60 s"
back = "90 s"

[[faults]]
kind = "LostMessages"
probability = 0.001
timeout = "200 ms"
workers = [
    3,
]
"""


def test_many_quantities_share_one_unit(tmp_path):
    path = tmp_path / "cluster.toml"
    sg.Cluster(2, Constant(1.0), sg.networks.MeasuredLink(SIZES, TIMES)).save(path)
    assert tomllib.loads(path.read_text())["network"]["sizes"] == {"unit": "B", "values": list(SIZES)}


positive = st.floats(min_value=1e-300, max_value=1e300)
leaves = st.one_of(
    st.builds(Constant, positive),
    st.builds(sg.times.Pareto, positive, positive),
    st.builds(sg.times.Recorded, st.lists(st.lists(positive, min_size=1), min_size=4, max_size=4), st.just("stop")),
)
laws = st.recursive(
    leaves,
    lambda law: st.one_of(
        st.builds(sg.times.Speeds, law, st.lists(positive, min_size=4, max_size=4)),
        st.builds(sg.times.Scaled, law, positive, positive),
        st.builds(sg.times.DrawnSlowness, law, law),
        st.builds(sg.times.PerWorker, st.lists(law, min_size=4, max_size=4)),
        st.builds(sg.times.Slowdowns, law, st.lists(st.builds(Slowdown, st.integers(0, 3), positive, st.just(0.0), positive))),
    ),
    max_leaves=6,
)
bandwidths = st.one_of(st.floats(min_value=1, max_value=1e300), st.just(math.inf))  # less, at a day of latency, is refused
links = st.builds(sg.networks.Link, st.floats(min_value=0, max_value=1e300), bandwidths)
fabrics = st.one_of(
    links,
    st.builds(sg.networks.ParameterServer, links, update=st.one_of(st.none(), leaves)),
    st.builds(sg.networks.Ring, links, buckets=st.integers(1, 5), overlap=st.booleans(), reduction=positive),
)
faults = st.lists(
    st.one_of(
        st.builds(Crash, st.integers(0, 3), st.floats(0, 1e299), st.just(math.inf)),
        st.builds(LostMessages, st.floats(0, 0.99), st.floats(0, 1e300), st.sampled_from([None, (0,), (3, 1)])),
        st.builds(LinkOutages, laws, laws),
    ),
    max_size=3,
)


@settings(deadline=None, max_examples=50)
@given(cluster=st.builds(sg.Cluster, st.just(4), laws, fabrics, faults))
def test_any_cluster_comes_back(cluster, tmp_path_factory):
    loaded = through_a_file(cluster, tmp_path_factory.getbasetemp() / "any.toml")
    assert loaded == cluster
    assert exactly(loaded) == exactly(cluster)


@settings(deadline=None, max_examples=500)
@given(value=st.floats(allow_nan=False), unit=st.sampled_from(["s", "B", "B/s"]))
def test_a_quantity_comes_back_to_the_bit(value, unit):
    assert repr(quantities.read(quantities.text(value, unit), unit)) == repr(value)


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("0.001 s", "s", 0.001),
        (" 1e-3s ", "s", 0.001),
        ("3 ms", "s", 0.003),
        ("3 us", "s", 3e-6),
        ("3 \u00b5s", "s", 3e-6),
        ("3 \u03bcs", "s", 3e-6),
        ("3.3 ns", "s", 3.3e-9),
        ("2 min", "s", 120.0),
        ("0.1 h", "s", 360.0),
        (".5 s", "s", 0.5),
        ("inf s", "s", math.inf),
        ("100 kB", "B", 1e5),
        ("1.5 GB", "B", 1.5e9),
        ("4 KiB", "B", 4096.0),
        ("0.5 MiB", "B", 2.0**19),
        ("1 GiB", "B", 2.0**30),
        ("12.5 GB/s", "B/s", 12.5e9),
        ("8 bit/s", "B/s", 1.0),
        ("100 Mbit/s", "B/s", 12.5e6),
        ("0.1 kbit/s", "B/s", 12.5),
        ("25 Gbit/s", "B/s", 3.125e9),
    ],
)
def test_units_that_a_person_writes(text, unit, value):
    assert quantities.read(text, unit) == value


def test_a_file_of_ones_own(tmp_path):
    """Presets by name, tables in files of their own, other units, a byte-order mark, keys in any order."""
    (tmp_path / "measured").mkdir()
    (tmp_path / "measured" / "steps.csv").write_text("worker,step,seconds\n0,0,0.5\n1,0,2.0\n0,1,1.0\n")
    (tmp_path / "measured" / "links.csv").write_text("bytes,seconds\n1000,1e-5\n100000,4e-5\n")
    path = tmp_path / "own.toml"
    path.write_text(
        """
        workers = 2
        compute = {kind = "Recorded", file = "measured/steps.csv", at_end = "resample", block = 2}
        format = "simsgd cluster 1"  # not the first line, but here it is
        faults = [{worker = 0, at = "2 min", kind = "Crash"}]
        [network]
        kind = "ParameterServer"
        link = {kind = "preset", name = "ethernet 10g", latency = "0.1 ms"}
        [network.access]
        kind = "PerWorker"
        networks = [
            {kind = "MeasuredLink", file = "measured/links.csv"},
            {kind = "MeasuredLink", sizes = {unit = "MiB", values = [1, 2.5]}, times = ["1 ms", "2 ms"]},
        ]
        """,
        encoding="utf-8-sig",
    )
    link = sg.networks.Link(latency=1e-4, bandwidth=1.25e9)
    measured = sg.networks.MeasuredLink(sizes=(1e3, 1e5), times=(1e-5, 4e-5))
    other = sg.networks.MeasuredLink(sizes=(2**20, 2.5 * 2**20), times=(1e-3, 2e-3))
    assert sg.Cluster.load(path) == sg.Cluster(
        workers=2,
        compute=sg.times.Recorded(((0.5, 1.0), (2.0,)), at_end="resample", block=2),
        network=sg.networks.ParameterServer(link, access=sg.networks.PerWorker((measured, other))),
        faults=(Crash(worker=0, at=120.0),),
    )


def test_a_table_in_a_file_takes_the_other_fields_too(tmp_path):
    (tmp_path / "times.csv").write_text("bytes,seconds\n1000,1e-5\n")
    fabric = 'network = {kind = "MeasuredAllReduce", file = "times.csv", workers = 4, buckets = 2, overlap = true}'
    (tmp_path / "cluster.toml").write_text(f"{HEAD}\n{COMPUTE}\n{fabric}")
    measured = sg.networks.MeasuredAllReduce((1e3,), (1e-5,), workers=4, buckets=2, overlap=True)
    assert sg.Cluster.load(tmp_path / "cluster.toml").network == measured


HEAD = 'format = "simsgd cluster 1"\nworkers = 4'
COMPUTE = 'compute = {kind = "Constant", seconds = "1 s"}'
SLOWED = '[compute]\nkind = "DrawnSlowness"\nlaw = {kind = "Constant", seconds = "1 s"}'
LINE = 'network = {kind = "Link", latency = "1 ms"}'
LEAVE = '{kind = "Leave", worker = 0, at = "1 s"}'
CRASHES = (
    '{kind = "Crashes", workers = [0], lasting = {kind = "Constant", seconds = "1 s"}, '
    'between = {kind = "PerWorker", laws = [{kind = "Constant", seconds = "9 s"}]}}'
)
BROKEN = {
    "no TOML": ("workers =\nx = 1", "cannot be read as TOML: … line 1"),
    "a key twice": (f"{HEAD}\nworkers = 5\n", "cannot be read as TOML: … line 3"),
    "no format": (f"workers = 4\n{COMPUTE}", 'nothing says what it is: the first line must be format = "simsgd cluster 1"'),
    "another format": ('format = "simsgd tape 2"', "this is not a simsgd cluster, it says format = 'simsgd tape 2'"),
    "a format of no text": ("format = 1", "this is not a simsgd cluster, it says format = 1"),
    "a newer version": ('format = "simsgd cluster 2"', "the format has version 2, this simsgd reads version 1"),
    "no workers": (f'format = "simsgd cluster 1"\n{COMPUTE}', "workers is missing: Cluster needs a whole number"),
    "no compute": (HEAD, "compute is missing: Cluster needs a table whose kind is one of AutocorrelatedLognormal, Constant"),
    "none at all": (f"{HEAD.replace('4', '0')}\n{COMPUTE}", "workers must be a whole number of at least 1, got 0"),
    "half a worker": (f"{HEAD}.5\n{COMPUTE}", "workers must be a whole number, got 4.5"),
    "an unknown key": (f"{HEAD}\n{COMPUTE}\nnetwrok = 1", "netwrok is unknown (did you mean network?); Cluster has workers"),
    "an unknown key inside": (
        f"{HEAD}\n{COMPUTE}\n{LINE.replace('latency', 'latencies')}",
        "network.latencies is unknown (did you mean latency?); Link has latency, bandwidth",
    ),
    "a missing key": (
        f'{HEAD}\ncompute = {{kind = "Exponential"}}',
        'compute.mean is missing: Exponential needs a quantity such as "1.5 s"',
    ),
    "a law's name alone": (f'{HEAD}\ncompute = "Constant"', "compute must be a table whose kind is one of … got 'Constant'"),
    "no kind": (f'{HEAD}\ncompute = {{seconds = "1 s"}}', "compute.kind must be one of AutocorrelatedLognormal … got none"),
    "a kind in other letters": (
        f"{HEAD}\n{COMPUTE.replace('Constant', 'constant')}",
        "compute.kind must be one of … got 'constant' (did you mean Constant?)",
    ),
    "a network as law": (f"{HEAD}\n{COMPUTE.replace('Constant', 'Link')}", "compute.kind must be one of … got 'Link'"),
    "an abstract fabric": (f"{HEAD}\n{COMPUTE}\nnetwork.kind = 'AllReduce'", "network.kind must be one of … got 'AllReduce'"),
    "a list as kind": (f"{HEAD}\n{COMPUTE}\nnetwork.kind = []", "network.kind must be one of … got []"),
    "a fault that is none": (
        f"{HEAD}\n{COMPUTE}\nfaults = [1]",
        "faults[0] must be a table whose kind is one of Crash … got 1",
    ),
    "faults that are no list": (f"{HEAD}\n{COMPUTE}\nfaults = {{}}", "faults must be a list, got {}"),
    "no unit": (
        f"{HEAD}\n{COMPUTE}\n{LINE.replace('"1 ms"', '0.001')}",
        'network.latency must have a unit: write "0.001 s", got 0.001',
    ),
    "zero without a unit": (f"{HEAD}\n{COMPUTE}\n{LINE.replace('"1 ms"', '0')}", 'network.latency … write "0 s", got 0'),
    "a text without a unit": (f"{HEAD}\n{COMPUTE}\n{LINE.replace(' ms', '')}", "network.latency … write \"1 s\", got '1'"),
    "another unit": (
        f"{HEAD}\n{COMPUTE}\n{LINE.replace('ms', 'kB')}",
        "network.latency must be in s, ms, us, ns, min or h, got '1 kB'",
    ),
    "bits or bytes": (
        f'{HEAD}\n{COMPUTE}\nnetwork = {{kind = "Link", bandwidth = "10 Gb/s"}}',
        "network.bandwidth must be in B/s, kB/s, MB/s, GB/s, bit/s, kbit/s, Mbit/s or Gbit/s, got '10 Gb/s'",
    ),
    "no number": (f"{HEAD}\n{COMPUTE.replace('1 s', 'fast')}", 'compute.seconds must be a number with a unit … "1.5 s", got'),
    "a date": (
        f"{HEAD}\n{COMPUTE.replace('"1 s"', '2026-01-01')}",
        "compute.seconds must be a number with a unit … got datetime",
    ),
    "impossible": (
        f"{HEAD}\n{COMPUTE}\n{LINE.replace('1 ms', '-1 ms')}",
        "network.latency must be a finite number of at least 0 (seconds), got -0.001",
    ),
    "impossible inside": (
        f'{HEAD}\n{COMPUTE}\nnetwork = {{kind = "Ring", link = {{kind = "Link", bandwidth = "0 B/s"}}}}',
        "network.link.bandwidth must be a finite number above 0 (bytes/second, or math.inf), got 0.0",
    ),
    "impossible in a list": (
        f"{HEAD}\n{COMPUTE}\nfaults = [{LEAVE}, {LEAVE.replace('1 s', '-1 s')}]",
        "faults[1].at must be a finite number of at least 0 (seconds), got -1.0",
    ),
    "a factor with a unit": (
        f'{HEAD}\n{SLOWED}\nslowness = {{kind = "Lognormal", mean = "1 s", coefficient_of_variation = 0.3}}',
        "compute.slowness.mean must be a plain number such as 1.5, without a unit, because it describes a factor, got '1 s'",
    ),
    "a factor with a unit, inside": (
        f'{HEAD}\n{SLOWED}\nslowness = {{kind = "Scaled", by = 2, law = {{kind = "Constant", seconds = "1 s"}}}}',
        "compute.slowness.law.seconds must be a plain number such as 1.5, without a unit … got '1 s'",
    ),
    "a factor out of range": (
        f'{HEAD}\n{SLOWED}\nslowness = {{kind = "Exponential", mean = -1.0}}',
        "compute.slowness.mean must be a finite number above 0, got -1.0",
    ),
    "a factor left out": (
        f'{HEAD}\n{SLOWED}\nslowness = {{kind = "Constant"}}',
        "compute.slowness.seconds is missing: Constant needs a plain number such as 1.5, without a unit",
    ),
    "a text as number": (
        f'{HEAD}\ncompute = {{kind = "Scaled", law = {{kind = "Constant", seconds = "1 s"}}, by = "32"}}',
        "compute.by must be a number, got '32'",
    ),
    "a number as truth": (
        f'{HEAD}\n{COMPUTE}\nnetwork = {{kind = "Ring", link = {{kind = "Link"}}, overlap = 1}}',
        "network.overlap must be true or false, got 1",
    ),
    "truth as a number": (
        f"{HEAD}\n{COMPUTE}\nfaults = [{LEAVE.replace('0', 'true')}]",
        "faults[0].worker must be a whole number, got True",
    ),
    "an unknown choice": (
        f'{HEAD}\n{COMPUTE}\nnetwork = {{kind = "ParameterServer", sharing = "fifo"}}',
        "network.sharing must be one of 'fair', 'first in, first out', got 'fifo'",
    ),
    "too few speeds": (
        f'{HEAD}\ncompute.kind = "Scaled"\ncompute.by = 2\n[compute.law]\nkind = "Speeds"\nspeeds = [1, 1]\n'
        'law = {kind = "Constant", seconds = "1 s"}',
        "compute.law.speeds must hold one speed for each of 4 workers, got 2",
    ),
    "nodes that are not whole": (
        f'{HEAD}\n{COMPUTE}\n[network]\nkind = "Hierarchical"\ndevices = 3\ninside.kind = "Link"\nbetween.kind = "Link"',
        "network.devices=3 must divide the number of workers",
    ),
    "a worker who is not there": (
        f"{HEAD}\n{COMPUTE}\nfaults = [{LEAVE}, {LEAVE.replace('0', '9')}]",
        "faults[1]: Leave names worker 9, but the cluster's 4 workers are 0 to 3",
    ),
    "a worker who leaves twice": (
        f"{HEAD}\n{COMPUTE}\nfaults = [{LEAVE}, {LEAVE}]",
        "faults make worker 0 leave more than once",
    ),
    "too few laws in a fault, and too few speeds": (
        f"{HEAD}\nfaults = [{LEAVE}, {CRASHES}]\n[compute]\nkind = 'Speeds'\nspeeds = [1, 1]\nlaw.kind = 'Constant'\n"
        'law.seconds = "1 s"',
        "cluster.toml: faults[1].between.laws must hold one law for each of 4 workers, got 1",
    ),
    "an unknown preset": (
        f'{HEAD}\n{COMPUTE}\nnetwork = {{kind = "preset", name = "token ring"}}',
        "network: name must be one of 'nvlink 4' … got 'token ring'",
    ),
    "a preset's own number": (
        f'{HEAD}\n{COMPUTE}\nnetwork = {{kind = "preset", name = "nvlink 4", latency = 1e-6}}',
        'network.latency must have a unit: write "1e-06 s", got 1e-06',
    ),
    "a preset as fabric's law": (f"{HEAD}\n{COMPUTE.replace('Constant', 'preset')}", "compute.kind … got 'preset'"),
    "a table without unit": (
        f'{HEAD}\ncompute = {{kind = "Recorded", at_end = "stop", seconds = {{values = [[1]]}}}}',
        "compute.seconds must be a list, or a table with the keys unit and values; got values",
    ),
    "a table in another unit": (
        f'{HEAD}\ncompute = {{kind = "Recorded", at_end = "stop", seconds = {{unit = "B", values = [[1]]}}}}',
        "compute.seconds.unit must be s, ms, us, ns, min or h, got 'B'",
    ),
    "a table with a text": (
        f'{HEAD}\ncompute = {{kind = "Recorded", at_end = "stop", seconds = {{unit = "s", values = [[1], [2, "3 s"]]}}}}',
        "compute.seconds.values[1][1] must be a number, got '3 s'",
    ),
    "a table that is flat": (
        f'{HEAD}\ncompute = {{kind = "Recorded", at_end = "stop", seconds = {{unit = "s", values = [1, 2]}}}}',
        "compute.seconds.values[0] must be a list, got 1",
    ),
    "a recording without its end": (
        f'{HEAD}\ncompute = {{kind = "Recorded", file = "bad.csv"}}',
        "compute.at_end is missing: Recorded needs a text",
    ),
    "a table and a file": (
        f'{HEAD}\ncompute = {{kind = "Recorded", file = "bad.csv", at_end = "stop", seconds = []}}',
        "compute.seconds is unknown; Recorded has at_end, block",
    ),
    "a broken trace": (
        f'{HEAD}\ncompute = {{kind = "Recorded", file = "bad.csv", at_end = "stop"}}',
        "compute.file: … bad.csv: row 3: seconds must be a finite number of at least 0, got '-2.0'",
    ),
    "a broken measurement": (
        f'{HEAD}\n{COMPUTE}\nnetwork = {{kind = "MeasuredLink", file = "bad.csv"}}',
        "network.file: … bad.csv: column 'bytes' is missing",
    ),
    "a file for what has none": (
        f"{HEAD}\n{COMPUTE.replace('seconds', 'file')}",
        "compute.file is unknown; Constant has seconds",
    ),
    "no end of nesting": (f"{HEAD}\ncompute = {'[' * 10_000}", "cannot be read as TOML"),
    "no end of laws": (
        HEAD + "".join(f'\n[compute{".law" * depth}]\nkind = "Scaled"\nby = 1' for depth in range(1000)),
        "cannot be read as TOML … a key of more than 50 parts",
    ),
    "no text": (None, "cannot be read as TOML: 'utf-8' codec"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_is_refused_by_its_key(case, tmp_path):
    text, message = BROKEN[case]
    path = tmp_path / "cluster.toml"
    path.write_bytes(b"\xff\xfe\xff" if text is None else text.encode())
    (tmp_path / "bad.csv").write_text("worker,step,seconds\n0,0,0.5\n1,0,-2.0\n")
    with pytest.raises(sg.FileFormatError) as refusal:
        sg.Cluster.load(path)
    assert str(refusal.value).startswith(str(path))
    rest = str(refusal.value)
    for part in message.split(" … "):
        assert part in rest
        rest = rest[rest.index(part) + len(part) :]


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere\.toml"):
        sg.Cluster.load(tmp_path / "nowhere.toml")
    path = tmp_path / "cluster.toml"
    path.write_text(f'{HEAD}\ncompute = {{kind = "Recorded", file = "nowhere.csv", at_end = "stop"}}')
    with pytest.raises(FileNotFoundError, match=r"compute\.file: no file .*nowhere\.csv"):
        sg.Cluster.load(path)


@dataclass(frozen=True)
class Lunar(sg.times.Law):
    seconds: float

    def sample(self, rng, worker, now):
        return self.seconds

    def moments(self, worker=0):
        return sg.times.Moments(self.seconds, 0.0)


def test_a_class_of_ones_own_is_refused_and_spares_what_was_there(tmp_path):
    path = tmp_path / "cluster.toml"
    sg.Cluster(1, Constant(1.0)).save(path)
    with pytest.raises(TypeError, match=r"cannot save compute\.laws\[1\]=Lunar\(seconds=2\.0\): .* Lunar is none of them"):
        sg.Cluster(2, sg.times.PerWorker((Constant(1.0), Lunar(2.0)))).save(path)
    assert sg.Cluster.load(path) == sg.Cluster(1, Constant(1.0))


def test_a_namesake_of_a_law_is_not_that_law(tmp_path):
    namesake = dataclass(frozen=True)(type("Constant", (Lunar,), {}))
    with pytest.raises(TypeError, match="cannot save compute="):
        sg.Cluster(1, namesake(1.0)).save(tmp_path / "cluster.toml")


def test_a_save_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "cluster.toml"
    sg.Cluster(1, Constant(1.0)).save(path)

    def full(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        sg.Cluster(2, Constant(1.0)).save(path)
    assert [each.name for each in tmp_path.iterdir()] == ["cluster.toml"]
    assert sg.Cluster.load(path).workers == 1


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"the folder .*nowhere does not exist"):
        sg.Cluster(1, Constant(1.0)).save(tmp_path / "nowhere" / "cluster.toml")


def test_the_example_in_the_module_is_a_cluster(tmp_path):
    lines = inspect.getdoc(cluster_file).splitlines()
    text = "\n".join(line.strip() for line in lines if line.startswith("    "))
    (tmp_path / "cluster.toml").write_text(text)
    link = sg.networks.preset("ethernet 10g", latency=20e-6)
    assert sg.Cluster.load(tmp_path / "cluster.toml") == sg.Cluster(16, LAWS[2], link)
