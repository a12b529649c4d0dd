"""Bytes that a protocol gives its messages, job by job: what they take on every fabric, by hand, and how they are counted."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

import simsgd as sg
from simsgd import measures
from simsgd.networks import Jittery, Link, MeasuredAllReduce, ParameterServer, PerWorker, Ring
from simsgd.times import Constant

SECOND = Constant(1.0)
EIGHT = Link(bandwidth=8.0)
FIFO = "first in, first out"


@dataclass(frozen=True)
class Sized(sg.AsyncSGD):
    """Asynchronous SGD whose messages have the bytes of a table: (worker, which job, modulo its length) -> (down, up)."""

    table: tuple = ()

    def start(self, server):
        for worker in server.workers:
            self.hand_out(server, worker, 0)

    def hand_out(self, server, worker, job):
        of_worker = self.table[worker]
        down, up = of_worker[job % len(of_worker)]
        server.assign(worker, bytes_down=down, bytes_up=up)

    def on_gradient(self, server, gradient):
        server.apply(gradient)
        self.hand_out(server, gradient.worker, gradient.job + 1)


@dataclass(frozen=True)
class SizedTogether(Sized):
    """The same for a step of all."""

    synchronous = True

    def on_gradient(self, server, gradient):
        server.accumulate(gradient)
        if not server.busy:
            server.step()
            for worker in server.workers:
                self.hand_out(server, worker, gradient.job + 1)


def recorded(network, table, until, protocol=Sized, usual=0.0, **more):
    cluster = sg.Cluster(len(table), SECOND, network, **more)
    return sg.record(protocol(table=table), cluster, until, message_bytes=usual).check()


# --- what they take -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("usual", [0.0, 8.0, 1e9])
def test_each_job_s_own_on_a_path(usual):
    """8 bytes/s and 0.5 s of latency: down 8 and up 16 bytes, then down 0 and up 4."""
    table = (((8.0, 16.0), (0.0, 4.0)),)
    tape = recorded(Link(0.5, 8.0), table, sg.Updates(3), usual=usual)
    assert tape.began.tolist() == [1.5, 5.5, 9.0]
    assert tape.arrived.tolist() == [5.0, 7.5, 12.5]
    assert tape.bytes_down.tolist() == [8.0, 0.0, 8.0]
    assert tape.bytes_up.tolist() == [16.0, 4.0, 16.0]


def test_what_is_not_said_is_the_work_s():
    protocol = Sized(table=(((None, 16.0),), ((8.0, None),), ((None, None),)))
    tape = sg.record(protocol, sg.Cluster(3, SECOND, EIGHT), sg.Updates(3), message_bytes=24.0).check()
    assert tape.worker.tolist() == [1, 0, 2]
    assert tape.arrived.tolist() == [1.0 + 1.0 + 3.0, 3.0 + 1.0 + 2.0, 3.0 + 1.0 + 3.0]


def test_the_usual_bytes_said_by_the_protocol_are_the_same_tape():
    said = recorded(Link(0.5, 8.0), (((16.0, 16.0),),) * 2, sg.Updates(9), usual=16.0)
    assert said == sg.record(sg.AsyncSGD(), sg.Cluster(2, SECOND, Link(0.5, 8.0)), sg.Updates(9), message_bytes=16.0)


@pytest.mark.parametrize("usual", [0.0, 8.0, 1e6])
@pytest.mark.parametrize(("sharing", "sent", "arrived"), [("fair", [2.0, 2.0], [3.0, 4.0]), (FIFO, [1.0, 2.0], [2.0, 4.0])])
def test_each_job_s_own_on_a_server_s_link(usual, sharing, sent, arrived):
    """At 1 s, 8 and 16 bytes through 8 bytes/s; models of no bytes are there at once.

    Fair: 4 bytes/s each until 3, then 8 bytes/s for the last 8 bytes of the second. First in, first out: 1 s, then 2 s.
    """
    tape = recorded(ParameterServer(EIGHT, sharing=sharing), (((0.0, 8.0),), ((0.0, 16.0),)), sg.Updates(2), usual=usual)
    assert tape.began.tolist() == [0.0, 0.0]
    assert tape.sent.tolist() == sent
    assert tape.arrived.tolist() == arrived


def test_a_slow_worker_s_cap_holds_for_its_own_bytes():
    """Worker 0 sends 8 bytes at its own 2 bytes/s, so worker 1 has 6 bytes/s for its 12."""
    network = ParameterServer(EIGHT, access=PerWorker((Link(bandwidth=2.0), Link())))
    tape = recorded(network, (((0.0, 8.0),), ((0.0, 12.0),)), sg.Updates(2), usual=100.0)
    assert (tape.worker.tolist(), tape.arrived.tolist()) == ([1, 0], [3.0, 5.0])


@pytest.mark.parametrize(
    ("fabric", "seconds"),
    [
        (Ring(Link(bandwidth=8.0)), 2.0),  # two rounds of half of 16 bytes each
        (MeasuredAllReduce(sizes=(8.0, 16.0, 32.0), times=(0.25, 0.75, 4.0)), 0.75),
    ],
)
def test_an_all_reduce_is_as_long_as_the_longest_of_its_ranks_messages(fabric, seconds):
    """The second sum is that of worker 1's 8 bytes and worker 0's 16, the other way round."""
    table = (((1e9, 8.0), (0.0, 16.0)), ((0.0, 16.0), (1e9, 8.0)))
    tape = recorded(fabric, table, sg.Updates(2), SizedTogether, usual=1.0)
    assert tape.arrived.tolist() == [1.0 + seconds] * 2 + [2.0 + 2 * seconds] * 2
    moved = measures.bytes_moved(tape, np.array([1.0, 1.0 + seconds, 2.0 + 2 * seconds]))
    assert moved.tolist() == [0.0, 2 * 16.0, 4 * 16.0]


def test_jitter_is_on_top_and_a_link_that_is_down_delays():
    """16 bytes take 2 s and 0.25 s of jitter. Up, the link is down from 3 s to 4 s: ready at 3.25 s, they leave at 4 s."""
    down = sg.faults.LinkDown(worker=0, start=3.0, end=4.0)
    tape = recorded(Jittery(EIGHT, Constant(0.25)), (((16.0, 8.0),),), sg.Updates(1), faults=(down,))
    assert [tape.began[0], tape.ended[0], tape.sent[0], tape.arrived[0]] == [2.25, 3.25, 4.0, 5.25]


@pytest.mark.parametrize("network", [EIGHT, ParameterServer(EIGHT)])
def test_a_message_that_is_lost_takes_its_own_seconds_each_time(network):
    """Lost k times, a message of s seconds takes s + k·(s + 5)."""
    lossy = sg.faults.LostMessages(probability=0.5, timeout=5.0)
    tape = recorded(network, (((8.0, 24.0), (16.0, 0.0)),), sg.Updates(60), faults=(lossy,))
    for size, took in ((tape.bytes_down, tape.began - tape.departed), (tape.bytes_up, tape.arrived - tape.sent)):
        lost = (took - size / 8.0) / (size / 8.0 + 5.0)
        assert np.array_equal(lost, np.round(lost))
        assert set(lost.tolist()) >= {0.0, 1.0, 2.0}


def test_a_worker_that_is_back_is_sent_the_bytes_that_were_asked_for():
    """Down 8 bytes, 1 s; lost at 1.5 s, at 2 s sent anew: computing from 3 s to 4 s, up in 3 s."""
    crash = sg.faults.Crash(0, at=1.5, back=2.0)
    tape = recorded(EIGHT, (((8.0, 24.0),),), sg.Updates(1), faults=(crash,))
    assert tape.discarded.bytes_up.tolist() == [24.0]
    assert [tape.began[0], tape.arrived[0]] == [3.0, 7.0]


# --- how they are counted -------------------------------------------------------------------------------------------------


def test_bytes_moved_counts_each_message_s_own():
    """As on a path above: 8 down at 1.5 s, 16 up at 5 s, 0 down at 5.5 s, 4 up at 7.5 s."""
    tape = recorded(Link(0.5, 8.0), (((8.0, 16.0), (0.0, 4.0)),), sg.Updates(2), usual=1.0)
    moments = np.array([0.0, 1.5, 4.9, 5.0, 5.5, 7.5])
    assert measures.bytes_moved(tape, moments).tolist() == [0.0, 8.0, 8.0, 24.0, 24.0, 28.0]


@pytest.mark.parametrize("network", [Ring(Link(1e-3, 1e6)), sg.networks.HalvingDoubling(Link(1e-3, 1e6))])
def test_what_is_gathered_goes_from_each_rank_to_all_others(network, noisy, tmp_path):
    """Four ranks, three numbers: one of them with its place, 3·4·8 bytes a step; sums of 12 bytes move 6·12, of 4 bytes 6·4."""
    cluster, end = sg.Cluster(4, SECOND, network), sg.Updates(5)
    for method, moved in (
        (sg.MinibatchSGD(), 72.0),
        (sg.methods.top_k(share=0.3), 96.0),
        (sg.methods.random_k(share=0.3, shared=True), 24.0),
    ):
        optimizer = None if isinstance(method, sg.Method) else sg.optimizers.sgd(0.1)
        run = sg.simulate(method, noisy, cluster, optimizer, end, seed=1, evaluate_every=sg.Updates(1))
        assert run.dataset["bytes"].values.tolist() == [step * moved for step in range(6)]
        run.tape.save(tmp_path / "tape.nc")
        again = sg.replay(sg.Tape.load(tmp_path / "tape.nc"), noisy, optimizer or method, seed=1, evaluate_every=sg.Updates(1))
        assert again.dataset["bytes"].values.tolist() == run.dataset["bytes"].values.tolist()


def test_bytes_of_their_own_are_part_of_a_tape_and_come_back_from_its_file(tmp_path):
    tape = recorded(Link(1.0), (((8.0, 16.0), (0.0, 4.0)),), sg.Updates(4), usual=8.0)
    plain = sg.record(sg.AsyncSGD(), sg.Cluster(1, SECOND, Link(1.0)), sg.Updates(4), message_bytes=8.0)
    assert np.array_equal(tape.time, plain.time)
    assert tape != plain
    tape.save(tmp_path / "tape.nc")
    assert sg.Tape.load(tmp_path / "tape.nc") == tape


# --- what no message has --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["down", "up"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, "8"])
def test_bytes_that_no_message_has_are_refused(which, value):
    table = ((((value, 1.0) if which == "down" else (1.0, value)),),)
    shown = r"'8'" if value == "8" else str(value)
    said = (
        rf"Sized\(.*called assign\(0, bytes_{which}={shown}\) at 0 s, but bytes_{which} must be a finite number of at least 0"
    )
    with pytest.raises(sg.ProtocolError, match=said):
        recorded(Link(), table, sg.Updates(1))


@pytest.mark.parametrize("network", [Link(bandwidth=1e-3), ParameterServer(Link(bandwidth=1e-3))])
def test_bytes_that_take_longer_than_a_clock_can_count_are_refused(network):
    with pytest.raises(ValueError, match=r"inf seconds down for 1e\+308 bytes of worker 0"):
        recorded(network, (((1e308, 1.0),),), sg.Updates(1))


def test_messages_at_rates_too_far_apart_cannot_share_a_link():
    wire = sg.networks.MeasuredLink(sizes=(1.0, 2.0, 4.0), times=(1e-300, 2e-300, 1e300))
    with pytest.raises(ValueError, match="a link cannot be shared by messages of"):
        recorded(ParameterServer(wire), (((2.0, 1.0),), ((4.0, 1.0),)), sg.Updates(1))
