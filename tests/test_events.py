"""The event loop: exact moments, ties, events that are taken back; and jobs whose whole life is planned ahead."""

import numpy as np
import pytest

import simsgd as sg
from simsgd.protocols import KSyncSGD
from simsgd.recording.events import FEW, EventLoop
from simsgd.recording.recorder import Recording
from simsgd.times import Constant, Exponential, PerWorker, Recorded

LINKS = sg.networks.PerWorker
LINK = sg.networks.Link


def run(loop):
    while loop.next() < float("inf"):
        loop.step()


def test_events_of_one_moment_happen_in_the_order_in_which_they_were_planned_urgent_ones_first():
    loop, seen = EventLoop(), []
    for name, urgent in (("a", False), ("b", False), ("fault", True), ("c", False)):
        loop.at(1.0, lambda event: seen.append(event.subject), name, urgent)
    run(loop)
    assert seen == ["fault", "a", "b", "c"]


@pytest.mark.parametrize("moment", [float("nan"), float("inf"), -1.0])
def test_only_moments_to_come_can_be_planned(moment):
    with pytest.raises(ValueError, match="times must be finite and go forward"):
        EventLoop().at(moment, print, None)


def test_what_is_taken_back_does_not_happen_and_keeps_no_memory():
    loop, seen = EventLoop(), []
    events = [loop.at(float(i), lambda event: seen.append(event.subject), i) for i in range(10 * FEW)]
    for event in events[: 9 * FEW]:
        loop.take_back(event)
        loop.take_back(event)  # twice is once
    assert len(loop._queue) <= 2 * FEW + FEW
    run(loop)
    assert seen == list(range(9 * FEW, 10 * FEW))
    loop.take_back(events[-1])  # it has happened


def test_cancelled_jobs_keep_no_memory():
    """K-sync hands out 500 jobs a step, of which 498 are cancelled long before they would have ended."""
    recording = Recording(KSyncSGD(2), sg.Cluster(500, Exponential(mean=1.0)))
    for updates in (50, 500):
        recording.advance(updates=updates)
        assert len(recording._loop._queue) <= 2 * 500 + FEW + 1
    assert len(recording.tape().check().discarded) == 500 * 498


@pytest.mark.parametrize("late", [0, 1])
def test_ties_are_delivered_in_the_order_in_which_jobs_were_handed_out(late):
    """Both gradients arrive at 4 s: one job takes 2 s behind a link of 1 s each way, the other 4 s without a link."""
    links = [LINK(latency=1.0), LINK()]
    seconds = [Constant(2.0), Constant(4.0)]
    order = [0, 1] if late == 0 else [1, 0]
    cluster = sg.Cluster(2, PerWorker([seconds[i] for i in order]), LINKS([links[i] for i in order]))
    tape = sg.record(sg.AsyncSGD(), cluster, sg.Updates(2))
    assert (tape.time.tolist(), tape.worker.tolist()) == ([4.0, 4.0], [0, 1])


def test_what_is_due_at_the_moment_of_a_cancel_has_not_happened():
    """At 2 s the first gradient arrives and the other job, which would end computing just then, is cancelled."""
    links = LINKS([LINK(), LINK(latency=1.0)])
    tape = sg.record(KSyncSGD(1), sg.Cluster(2, PerWorker([Constant(2.0), Constant(1.0)]), links), sg.Updates(1))
    (began,), (ended,), (sent,) = tape.discarded.began, tape.discarded.ended, tape.discarded.sent
    assert (began, tape.discarded.time.tolist()) == (1.0, [2.0])
    assert np.isnan([ended, sent]).all()


def test_a_table_of_times_may_end_with_the_recording():
    """The time of the next job is asked for when it is handed out, and missed only if the job begins."""
    law = Recorded(((1.0, 1.0), (1.0, 1.0)), at_end="stop")
    assert sg.record(sg.AsyncSGD(), sg.Cluster(2, law), sg.Updates(4)).updates == 4
    with pytest.raises(sg.times.EndOfRecordingError, match="worker 0"):
        sg.record(sg.AsyncSGD(), sg.Cluster(2, law), sg.Updates(5))


def test_one_event_a_job_on_an_uncontended_network():
    """Counted: what the loop plays, for each update of asynchronous SGD."""
    recording = Recording(sg.AsyncSGD(), sg.Cluster(4, Exponential(mean=1.0), LINK(latency=0.1)))
    recording.advance(updates=1)
    planned = next(recording._loop._numbers)
    recording.advance(updates=1001)
    assert next(recording._loop._numbers) - planned - 1 == 1000
