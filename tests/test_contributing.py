"""What CONTRIBUTING.md shows to be copied runs as it stands there, and the files that it names exist."""

import dataclasses
import pathlib
import re
import sys
import types

import numpy as np
import pytest

import simsgd as sg
from simsgd.support import rng

ROOT = pathlib.Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


@pytest.fixture(scope="module")
def shown():
    """All names that the skeletons define."""
    module = types.ModuleType("contributing")  # where pickle finds what they define
    names = vars(module)
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 13
    for block in blocks:
        exec(compile(block, "CONTRIBUTING.md", "exec"), names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "contributing", module)
        yield names


def test_the_law(shown):
    law = shown["Uniform"](0.5, 2.0)
    draw = law.sampler(rng.stream(0, "compute time"), 0)
    draws = np.array([draw(0.0) for _ in range(20_000)])
    mean, variance, _ = law.moments()
    assert draws.mean() == pytest.approx(mean, abs=5 * np.sqrt(variance / len(draws)))
    assert draws.var() == pytest.approx(variance, abs=5 * variance * np.sqrt(0.8 / len(draws)))  # kurtosis 9/5
    assert sg.record(sg.AsyncSGD(), sg.Cluster(2, law), until=sg.Updates(10)).updates == 10


def test_the_network(shown):
    """Three packets of 1500 bytes at 1500 bytes a second for each message, and a second of latency; a second of computing."""
    cluster = sg.Cluster(1, sg.times.Constant(1.0), shown["Packets"](latency=1.0, bandwidth=1500.0))
    tape = sg.record(sg.AsyncSGD(), cluster, until=sg.Updates(2), message_bytes=4000)
    assert tape.time.tolist() == [9.0, 18.0]


def test_the_fault(shown):
    """Down from 1.5 to 2 and from 4.5 to 5: the jobs that begin at 1 and 4 are lost."""
    reboots = shown["Reboots"](worker=0, at=1.5, back=2.0, every=3.0)
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(1, sg.times.Constant(1.0), faults=[reboots]), until=sg.Updates(4))
    assert tape.time.tolist() == [1.0, 3.0, 4.0, 6.0]


def test_the_compression(shown):
    method = sg.Method(sg.AsyncSGD(), sg.optimizers.sgd(0.05), compress_up=shown["Coarse"](grid=0.25), source="CONTRIBUTING.md")
    sg.testing.check_method(method, updates=10)
    tape = sg.record(method, sg.Cluster(2, sg.times.Constant(1.0)), until=sg.Updates(1), message_shapes=((3, 2), ()))
    assert (tape.bytes_up[0], tape.bytes_down[0]) == (7.0, 28.0)


def test_the_protocol_the_optimizer_and_the_problem(shown):
    cluster = sg.Cluster(4, sg.times.Exponential(1.0))
    run = sg.simulate(shown["Picky"](threshold=3), shown["line"](), cluster, shown["clip_stale"](2), sg.Updates(200), seed=0)
    assert run.tape.staleness.max() == 2
    losses = run.dataset["loss"].to_numpy()
    assert losses[-1] < 0.01 * losses[0]


def test_a_problem_of_stale_gradients_only_learns_nothing_from_them(shown):
    """With a limit of 0 the optimizer drops every update."""
    run = sg.simulate(
        sg.AsyncSGD(), shown["line"](), sg.Cluster(1, sg.times.Constant(1.0)), shown["clip_stale"](0), sg.Updates(5)
    )
    assert len(set(run.dataset["loss"].to_numpy().tolist())) == 1


def test_the_composed_method_conforms(shown):
    """Protocol, work and the three transformations together keep all the rules of a method."""
    sg.testing.check_method(shown["composed"]())


@pytest.mark.parametrize("part", ["work", "at_worker", "on_message", "hand_out"])
def test_each_part_of_it_counts(shown, part):
    """Left out, the run is another."""
    whole = shown["composed"]()
    less = {"work": sg.Method(whole.protocol, whole.optimizer).work}.get(part)
    more = {"hand_out": None} if part == "on_message" else {}  # which reads what is remembered of messages
    where = {"cluster": sg.Cluster(3, sg.times.Exponential(1.0)), "until": sg.Updates(20), "dtype": "float64"}
    runs = [
        sg.simulate(dataclasses.replace(whole, **{part: less, **more} if changed else more), shown["line"](), **where)
        for changed in (False, True)
    ]
    assert np.abs(runs[0].parameters - runs[1].parameters).max() > 1e-6


def test_files_that_it_names_exist():
    names = set(re.findall(r"`((?:simsgd|tests)/[^`]*|[A-Z]+\.md|\.pre-commit[^`]*)`", TEXT))
    assert len(names) > 10
    for name in names:
        assert (ROOT / name).exists(), name


def test_the_hooks_are_the_commands_of_the_tests():
    from test_style import COMMANDS

    text = (ROOT / ".pre-commit-config.yaml").read_text()
    entries = re.findall(r"entry: python -m (.*)", text)
    assert entries == [" ".join(command) for command in COMMANDS.values()]
    assert re.findall(r"repo: (.*)", text) == ["local"]
