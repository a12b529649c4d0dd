"""The server's verbs, and what a recording does with protocols that misuse them or never go on."""

import subprocess
import sys
import tracemalloc
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from methods import METHODS

import simsgd as sg
from simsgd.costs import Costs
from simsgd.protocols import KSyncSGD
from simsgd.protocols.base import Gradient
from simsgd.recording import computing, server, stuck
from simsgd.recording.recorder import Recording
from simsgd.replaying.reading import Reading
from simsgd.tape.schema import ROW_COLUMNS


@dataclass(frozen=True)
class Doing(sg.Protocol):
    """Calls a function with (server, gradient) for each gradient."""

    action: Any = field(repr=False)

    def on_gradient(self, server, gradient):
        self.action(server, gradient)


ONE_SECOND = sg.Cluster(3, sg.times.Constant(1.0))


def recorded(action, until=None, cluster=ONE_SECOND):
    return sg.record(Doing(action), cluster, until or sg.Updates(10))


class ListServer:
    """A server that only writes down what it was told, to test protocols without a simulation."""

    def __init__(self, workers):
        self.workers, self.version, self.accumulated, self.notes, self.said = range(workers), 0, 0, {}, []
        self.busy, self.down = set(), set()

    def deliver(self, protocol, worker):
        self.busy.discard(worker)
        protocol.on_gradient(self, Gradient(worker, 0, 0, 0.0))

    def assign(self, worker, steps=None):
        self.busy.add(worker)
        self.said.append(f"assign {worker}")

    def accumulate(self, gradient, weight=1.0):
        self.accumulated += 1
        self.said.append(f"accumulate {gradient.worker} × {weight:g}")

    def cancel(self, worker):
        self.busy.discard(worker)
        self.said.append(f"cancel {worker}")

    def step(self, scale=1.0):
        self.version, self.accumulated = self.version + 1, 0
        self.said.append(f"step × {scale:g}")

    def apply(self, gradient, weight=1.0):
        self.accumulate(gradient, weight)
        self.step()


def test_async_answers_each_gradient():
    server = ListServer(2)
    sg.AsyncSGD().start(server)
    server.deliver(sg.AsyncSGD(), 1)
    assert server.said == ["assign 0", "assign 1", "accumulate 1 × 1", "step × 1", "assign 1"]


def test_sync_waits_for_all():
    server = ListServer(2)
    sg.MinibatchSGD().start(server)
    server.deliver(sg.MinibatchSGD(), 1)
    assert server.said[2:] == ["accumulate 1 × 1"]
    server.deliver(sg.MinibatchSGD(), 0)
    assert server.said[3:] == ["accumulate 0 × 1", "step × 0.5", "assign 0", "assign 1"]


def test_sync_told_not_to_wait_goes_on_without_the_lost():
    server, protocol = ListServer(3), sg.MinibatchSGD(wait=False)
    protocol.start(server)
    server.deliver(protocol, 0)
    server.down.add(2)
    protocol.on_lost(server, 2)
    assert server.said[3:] == ["accumulate 0 × 1", "cancel 2"]
    server.deliver(protocol, 1)
    assert server.said[5:] == ["accumulate 1 × 1", "step × 0.5", "assign 0", "assign 1"]
    server.down.discard(2)
    protocol.on_return(server, 2)
    assert len(server.said) == 9  # it takes part from the next step on


def test_ties_are_first_in_first_out():
    """Equal constant times: gradients arrive in the order in which their jobs were assigned."""
    assert sg.record(sg.MinibatchSGD(), ONE_SECOND, sg.Updates(4)).worker.tolist() == [0, 1, 2] * 4
    backwards = recorded(
        lambda server, g: (
            server.accumulate(g),
            server.accumulated == 3 and (server.step(), [server.assign(w) for w in (2, 0, 1)]),
        )
    )
    assert backwards.worker.tolist() == [0, 1, 2] + [2, 0, 1] * 9


def test_cancelled_jobs_are_logged_with_the_time_they_took(cluster):
    tape = sg.record(KSyncSGD(2), cluster, sg.Updates(50), message_bytes=10)
    lost = tape.discarded
    assert len(lost) == 50 * 3
    assert (lost.time >= lost.assigned).all()
    assert np.isnan(lost.arrived).all()
    assert set(zip(lost.worker, lost.job, strict=True)).isdisjoint(zip(tape.worker, tape.job, strict=True))
    np.testing.assert_array_equal(np.unique(lost.time), tape.update_times)


def test_unused_gradients_are_logged_whole(cluster):
    tape = sg.record(METHODS["Ringmaster"], cluster, sg.Updates(50), message_bytes=10)
    lost = tape.discarded
    assert len(lost)
    np.testing.assert_array_equal(lost.time, lost.arrived)
    assert (lost.version - lost.read >= 2).all()
    assert (tape.staleness < 2).all()


def test_step_after_a_discarded_gradient_happens_at_that_moment():
    """The version is made when the server steps, not when the last gradient in it arrived."""

    def second_arrival_steps(server, gradient):
        if server.accumulated == 0:
            server.accumulate(gradient)
        else:
            server.step()
        server.assign(gradient.worker)

    law = sg.times.PerWorker((sg.times.Constant(1.0), sg.times.Constant(1.5)))
    tape = recorded(second_arrival_steps, sg.Updates(1), sg.Cluster(2, law))
    assert (tape.time.tolist(), tape.update_times.tolist(), tape.discarded.worker.tolist()) == ([1.0], [1.5], [1])
    longer = Reading(recorded(second_arrival_steps, sg.Updates(5), sg.Cluster(2, law)))
    longer.advance(updates=1)
    assert longer.tape() == tape


def test_advancing_in_small_steps_writes_the_same_tape(cluster):
    whole = sg.record(METHODS["K-batch-async"], cluster, sg.Seconds(100), seed=3, message_bytes=10)
    pieces = Recording(METHODS["K-batch-async"], cluster, Costs.of(METHODS["K-batch-async"], 10), seed=3)
    for second in np.linspace(0.1, 100, 777):
        pieces.advance(seconds=second)
    assert pieces.tape().content_hash == whole.content_hash


def test_seconds_include_their_last_moment():
    tape = sg.record(sg.AsyncSGD(), ONE_SECOND, sg.Seconds(3))
    assert (tape.time[-1], tape.end, tape.updates) == (3.0, 3.0, 9)


def test_deadlock_says_who_waits_for_whom():
    message = (
        r"at 1 s and version 3, after worker 2 delivered its job 0, every worker \(0 to 2\) waits for the server to assign"
    )
    with pytest.raises(sg.StuckError, match=message):
        recorded(lambda server, gradient: server.apply(gradient))
    with pytest.raises(sg.StuckError, match=r"must call server\.assign"):
        recorded(lambda server, gradient: server.apply(gradient), sg.Seconds(60))


def test_a_protocol_that_never_starts_anybody_is_stuck():
    @dataclass(frozen=True)
    class Lazy(sg.AsyncSGD):
        def start(self, server):
            pass

    with pytest.raises(sg.StuckError, match="after it started, every worker"):
        sg.record(Lazy(), ONE_SECOND, sg.Updates(1))


def test_a_protocol_that_never_steps_is_stuck(monkeypatch):
    monkeypatch.setattr(stuck, "GRADIENTS_WITHOUT_STEP", 500)
    monkeypatch.setattr(server, "GRADIENTS_WITHOUT_STEP", 500)
    with pytest.raises(sg.StuckError, match="500 gradients have arrived since the last step and the model stands still"):
        recorded(lambda server, gradient: server.assign(gradient.worker))
    with pytest.raises(sg.StuckError, match=r"\(500 of them accumulated\)"):
        recorded(lambda server, gradient: (server.accumulate(gradient), server.assign(gradient.worker)))


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda server, g: (server.assign(g.worker), server.assign(g.worker)), "worker 0 is still busy with job 1: cancel it"),
        (lambda server, g: server.assign(7), r"called assign\(7\) at 1 s, but the workers are 0 to 2"),
        (lambda server, g: server.cancel(g.worker), r"called cancel\(0\) at 1 s, but it has no job"),
        (lambda server, g: server.step(), r"called step\(\) at 1 s with nothing accumulated"),
        (lambda server, g: (server.apply(g), server.apply(g)), "is not the gradient being delivered or was accumulated before"),
        (lambda server, g: server.apply(g, weight=float("nan")), "gave a gradient the weight nan"),
        (lambda server, g: server.observe("loss"), "a recording has no gradients to observe: use simulate"),
    ],
)
def test_misused_verbs_are_named(action, message):
    with pytest.raises(sg.ProtocolError, match=message):
        recorded(action)


def test_cancel_and_assign_in_one_moment():
    """A job cancelled in the moment it was assigned never begins; its worker goes on with the next."""

    def twice(server, gradient):
        server.apply(gradient)
        server.assign(gradient.worker)
        server.cancel(gradient.worker)
        server.assign(gradient.worker)

    tape = recorded(twice, sg.Updates(6))
    assert tape.time.tolist() == [1, 1, 1, 2, 2, 2]
    assert tape.job.tolist() == [0, 0, 0, 2, 2, 2]
    assert np.isnan(tape.discarded.began).all()


@dataclass(frozen=True)
class Odd(sg.times.Law):
    """A second at first, then always the same time."""

    seconds: float

    def sample(self, rng, worker, now):
        return 1.0 if now == 0 else self.seconds

    def moments(self, worker=0):
        return sg.times.Moments(1.0, 0.0)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_a_law_of_one_s_own_must_draw_usable_times(seconds):
    with pytest.raises(ValueError, match=r"Odd\(.*\) drew a compute time of .* seconds for worker 0 at 1 s"):
        sg.record(sg.AsyncSGD(), sg.Cluster(2, Odd(seconds)), sg.Updates(10))


@pytest.mark.parametrize("seconds", [0.0, 1e-20])
def test_a_clock_that_stands_still_is_found(seconds, monkeypatch):
    monkeypatch.setattr(computing, "DRAWS_AT_ONE_MOMENT", 500)
    with pytest.raises(
        sg.StuckError, match=r"at 1 s and version .*, 500 jobs in a row took no time and the clock stands still"
    ):
        sg.record(sg.AsyncSGD(), sg.Cluster(2, Odd(seconds)), sg.Seconds(10))


def test_times_too_small_for_the_clock_are_no_mistake():
    """Gamma times with a coefficient of variation of 3 are often below 1e-16 of the clock, and now and then long."""
    law = sg.times.Gamma(mean=1.0, coefficient_of_variation=3.0)
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(8, law), sg.Seconds(300)).check()
    assert tape.updates > 1000


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_a_network_of_one_s_own_must_take_usable_times(seconds):
    @dataclass(frozen=True)
    class Wormhole(sg.networks.Network):
        def download_seconds(self, worker, message_bytes):
            return 0.0

        def upload_seconds(self, worker, message_bytes):
            return seconds

    with pytest.raises(ValueError, match=r"Wormhole\(\) takes .* seconds up for 8 bytes of worker 0"):
        sg.record(sg.AsyncSGD(), sg.Cluster(2, Odd(1.0), Wormhole()), sg.Updates(10), message_bytes=8)


def test_a_protocol_s_own_error_arrives_as_it_is():
    class OwnError(Exception):
        def __init__(self, first, second):
            super().__init__(f"{first} and {second}")

    def fail(server, gradient):
        raise OwnError("one", "two")

    with pytest.raises(OwnError, match="one and two"):
        recorded(fail)


@pytest.mark.parametrize("drawn", [None, "a while", 1j, (1.0, 1.0)])
def test_what_is_no_number_is_no_time(drawn):
    with pytest.raises(ValueError, match=r"Odd\(.*\) drew a compute time of .* seconds for worker 0 at 1 s: a time must"):
        sg.record(sg.AsyncSGD(), sg.Cluster(2, Odd(drawn)), sg.Updates(10))


def test_descriptions_hold_no_addresses():
    @dataclass(frozen=True, repr=False)
    class Plain(sg.times.Law):
        def sample(self, rng, worker, now):
            return np.float32(0.1)

        def moments(self, worker=0):
            return sg.times.Moments(0.1, 0.0)

    tape = sg.record(sg.AsyncSGD(), sg.Cluster(1, Plain()), sg.Updates(10_000))
    assert "0x" not in tape.header["cluster"]
    assert tape.end == pytest.approx(10_000 * float(np.float32(0.1)), rel=1e-9)


def test_notes_begin_empty_in_each_recording():
    protocol = Doing(
        lambda server, g: (
            server.notes.setdefault("seen", []).append(g.job),
            server.apply(g, len(server.notes["seen"])),
            server.assign(g.worker),
        )
    )
    first, second = (sg.record(protocol, ONE_SECOND, sg.Updates(5)) for _ in range(2))
    assert first.weight.tolist() == second.weight.tolist() == [1, 2, 3, 4, 5]


def test_memory_is_the_tape_s_own_columns(cluster):
    """Peak memory per further update: the packed row, its copy when it is handed out, and growth in steps of an eighth."""

    def peak(updates):
        tracemalloc.start()
        sg.record(sg.AsyncSGD(), cluster, sg.Updates(updates))
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    row = np.dtype(list(ROW_COLUMNS.items())).itemsize + np.dtype(float).itemsize  # and the moment of the update
    assert (peak(12_000) - peak(4_000)) / 8_000 <= (2 + 1 / 4) * row


def test_recording_imports_no_jax():
    code = (
        "import sys, simsgd as sg; "
        "sg.record(sg.AsyncSGD(), sg.Cluster(2, sg.times.Constant(1.0)), sg.Updates(5)).check().content_hash; "
        "print(sorted({'jax', 'matplotlib', 'sklearn', 'xarray'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
