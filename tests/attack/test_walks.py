"""Look-ahead without end: recordings end at the second that was asked for, or are refused; memory is bounded; Ctrl-C is heard.

Times are processor seconds, so that they do not depend on what else the machine does.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import simsgd as sg
from simsgd import faults, networks, times
from simsgd.support import rng, walks
from simsgd.tape import prefix

from .walks import CALM, WALKS, main

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
BYTES = 400_000_000
"""More than all of them together take; those of a second would take ten times as much if they kept what they met."""


def lines(*arguments):
    """Return what a child printed of each walk, by name."""
    command = [sys.executable, "-m", "tests.attack.walks", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}


@pytest.fixture(scope="module")
def bounded():
    return lines()


@pytest.fixture(scope="module")
def interrupted():
    return lines("interrupted")


@pytest.mark.parametrize("name", WALKS)
def test_a_walk_goes_no_further_than_the_recording(bounded, name):
    outcome, seconds, memory = bounded[name]
    assert outcome == WALKS[name].outcome
    assert seconds < 5.0
    assert memory < BYTES


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, walk in WALKS.items() if walk.outcome not in CALM])
def test_a_walk_hears_an_interrupt(interrupted, name):
    """Without bounds they would go on for hours: an interrupt after 0.3 processor seconds is heard within one more."""
    outcome, seconds, _ = interrupted[name]
    assert outcome == "interrupted"
    assert seconds < 1.3


def test_ctrl_c():
    """A real one, sent from outside, ends a recording at once."""
    code = """
import time, simsgd as sg
sg.bounds.parts = 10**15
outages = sg.faults.LinkOutages(sg.times.Exponential(1.0), sg.times.Constant(0.1))
cluster = sg.Cluster(2, sg.times.Constant(1.0), sg.networks.Link(1e-3, bandwidth=1.25), [outages])
print("begins", flush=True)
try:
    sg.record(sg.AsyncSGD(), cluster, sg.Updates(1), message_bytes=1e8)
except KeyboardInterrupt:
    print(time.process_time())
"""
    child = subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "begins\n"
        time.sleep(0.5)
        before = processor_seconds(child.pid)
        child.send_signal(signal.SIGINT)
        heard, _ = child.communicate(timeout=60)
    finally:
        child.kill()
    assert float(heard) - before < 1.0


def processor_seconds(process):
    """Return what a process has used so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


SPELLS = times.SlowSpells(times.Exponential(40.0), slowness=3.0, normal_seconds=0.3, slow_seconds=0.2)
CLOCKS = {
    "spells": SPELLS,
    "pauses": times.Pauses(times.Exponential(40.0), every=0.25, lasting=0.0625),
    "both, changed": times.Scaled(times.Pauses(SPELLS, every=0.5, lasting=0.125), by=0.5, overhead=1.0),
    "of each worker": times.PerWorker((SPELLS,) * 3),
}
FABRICS = {
    "links": networks.Link(1.0),
    "jittery": networks.Jittery(networks.Link(1.0), times.Exponential(20.0)),
    "server": networks.ParameterServer(networks.Link(1.0, 1.0)),
    "ring": networks.Ring(networks.Link(1.0)),
}
CRASHES = faults.Crashes(times.Exponential(150.0), times.Exponential(10.0))


def played(law, network="links", seconds=2000.0, fault=CRASHES):
    cluster = sg.Cluster(3, law, FABRICS[network], [fault])
    protocol = sg.MinibatchSGD() if network == "ring" else sg.AsyncSGD()
    return sg.record(protocol, cluster, sg.Seconds(seconds), seed=3, message_bytes=8.0)


@pytest.mark.parametrize("network", FABRICS)
@pytest.mark.parametrize("law", CLOCKS)
def test_a_walk_in_parts_is_the_walk(monkeypatch, law, network):
    """Jobs that meet hundreds of pieces, some lost in crashes: the same tape, in however many parts they are walked."""
    tapes = []
    for at_once in (7, 10**9):
        monkeypatch.setattr(walks, "AT_ONCE", at_once)
        tapes.append(played(CLOCKS[law], network, seconds=1000.0))
    assert tapes[0].updates > 3
    assert len(tapes[0].discarded) > 3
    for log in ("", "discarded", "in_flight"):
        first, second = (getattr(tape, log).columns() if log else tape.columns() for tape in tapes)
        for name, column in first.items():
            np.testing.assert_allclose(column, second[name], rtol=1e-12)


@pytest.mark.parametrize("network", FABRICS)
def test_a_job_meets_the_spells_of_its_own_seconds(network):
    """Whatever happened to jobs before it, on whatever way its model came: from began to ended exactly its work is done."""
    law = times.SlowSpells(times.Exponential(30.0), slowness=3.0, normal_seconds=9.0, slow_seconds=9.0)
    tape = played(law, network)
    jobs = 0
    for worker in range(3):
        stream = rng.stream(3, "compute time", worker)
        draw = law.law.sampler(stream, worker)
        pieces = list(take_until(law.pieces(stream.spawn(1)[0], worker), 3000.0))
        work = [draw(0.0) for _ in range(1000)]
        for log in (tape, tape.discarded):
            for at in np.flatnonzero((log.worker == worker) & ~np.isnan(log.ended)):
                assert done_between(pieces, log.began[at], log.ended[at]) == pytest.approx(work[log.job[at]], rel=1e-9)
                jobs += 1
    assert jobs > 30


def take_until(pieces, end):
    for piece in pieces:
        yield piece
        if piece.until > end:
            return


def done_between(pieces, began, ended):
    """Return the work done from one second to another."""
    work, since = 0.0, 0.0
    for until, slowness in pieces:
        work += max(0.0, min(until, ended) - max(since, began)) / slowness
        since = until
    return work


def test_a_recording_that_stops_in_a_walk_is_the_longer_one_until_then():
    law = times.SlowSpells(times.Exponential(900.0), slowness=3.0, normal_seconds=0.3, slow_seconds=0.2)
    shorter, longer = played(law, seconds=500.0), played(law, seconds=8000.0)
    assert longer.updates > 1
    assert len(shorter.in_flight) == 3
    assert prefix.until(longer, 500.0, shorter.updates, by_time=True) == shorter


def test_memory_follows_what_is_ahead():
    """A job of 160,000 pieces keeps no more than those that are walked at once."""
    law = times.Pauses(times.Constant(1e4), every=0.25, lasting=0.125)
    sg.bounds.parts, before = 10**6, sg.bounds.parts
    try:
        draw = law.sampler(rng.stream(0, "compute time"), 0)
        walk, parts = lambda now: draw.in_parts(0.0), 0
        now = 0.0
        while True:
            try:
                seconds = walk(now)
                break
            except walks.Unfinished as further:
                walk, now, parts = further.go_on, further.moment, parts + 1
                assert len(draw._ahead) <= walks.AT_ONCE
    finally:
        sg.bounds.parts = before
    assert parts == pytest.approx(2 * 1e4 / 0.125 / walks.AT_ONCE, abs=2)
    assert seconds == pytest.approx(2e4, rel=1e-4)


def test_refusals_name_the_law_the_seconds_and_the_way_out():
    with pytest.raises(sg.BoundError) as caught:
        sg.record(sg.AsyncSGD(), sg.Cluster(2, WALKS["pauses"].cluster().compute), sg.Updates(1))
    said = str(caught.value)
    assert said.startswith(
        "Pauses(law=Constant(seconds=1000000000.0), every=10.0, lasting=1.0, first=None): a job of 1e+09 seconds"
    )
    assert "would take 2.222e+08 parts, and at most 100,000 are begun" in said
    assert "worker 0" in "".join(caught.value.__notes__)
    with pytest.raises(
        sg.BoundError, match=r"LinkOutages\(.*of a message of worker 0 from 0 to 8e\+07 s \(are bandwidth in bytes"
    ):
        sg.record(sg.AsyncSGD(), WALKS["outages, to the end"].cluster(), sg.Updates(1), message_bytes=1e8)


def test_random_walks():
    assert main(15, seed=0) == 0


@pytest.mark.slow
def test_many_random_walks():
    assert main(1000, seed=1000) == 0
