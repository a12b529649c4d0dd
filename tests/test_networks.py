"""Time with links: message times and whole tapes, computed by hand and equal to the last bit."""

import math

import numpy as np
import pytest

import simsgd as sg
from simsgd.networks import Duplex, Link, PerWorker

# All times here are multiples of 1/8, so every sum on the clock is exact and columns are compared with ==.


@pytest.mark.parametrize(
    ("network", "worker", "down", "up"),
    [
        (Link(), 0, 0.0, 0.0),
        (Link(latency=0.5), 3, 0.5, 0.5),
        (Link(bandwidth=100.0), 3, 2.0, 2.0),
        (Link(latency=0.5, bandwidth=100.0), 0, 2.5, 2.5),
        (Duplex(down=Link(0.5, 100.0), up=Link(0.25, 400.0)), 1, 2.5, 0.75),
        (PerWorker((Link(1.0), Duplex(Link(2.0), Link(3.0, 50.0)))), 0, 1.0, 1.0),
        (PerWorker((Link(1.0), Duplex(Link(2.0), Link(3.0, 50.0)))), 1, 2.0, 7.0),
        (PerWorker((Link(1.0), PerWorker((Link(7.0), Link(9.0, 25.0))))), 1, 17.0, 17.0),
    ],
    ids=str,
)
def test_a_message_takes_latency_plus_bytes_over_bandwidth(network, worker, down, up):
    """200 bytes: seconds = latency + bytes / bandwidth, in each direction."""
    assert (network.download_seconds(worker, 200), network.upload_seconds(worker, 200)) == (down, up)


COLUMNS = ("worker", "job", "read", "assigned", "began", "ended", "arrived", "time")


def rows(log, columns=COLUMNS):
    return list(zip(*(getattr(log, name).tolist() for name in columns), strict=True))


# 100 bytes; worker 0: 0.5 down, 0.25 + 100/400 = 0.5 up; worker 1: 1 + 100/100 = 2 both ways. They compute for 1 and 2 seconds.
UNEVEN = sg.Cluster(
    workers=2,
    compute=sg.times.PerWorker((sg.times.Constant(1.0), sg.times.Constant(2.0))),
    network=PerWorker((Duplex(down=Link(0.5), up=Link(0.25, 400.0)), Link(1.0, 100.0))),
)


def test_minibatch_by_hand_with_a_network_of_one_s_own_for_each_worker():
    """A step takes max_i(down + compute + up) = max(0.5 + 1 + 0.5, 2 + 2 + 2) = 6 seconds; gradients are used as they come."""
    tape = sg.record(sg.MinibatchSGD(), UNEVEN, sg.Updates(3), message_bytes=100)
    assert rows(tape) == [
        row
        for k in range(3)
        for row in (
            (0, k, k, 6.0 * k, 6.0 * k + 0.5, 6.0 * k + 1.5, 6.0 * k + 2.0, 6.0 * k + 2.0),
            (1, k, k, 6.0 * k, 6.0 * k + 2.0, 6.0 * k + 4.0, 6.0 * k + 6.0, 6.0 * k + 6.0),
        )
    ]
    assert tape.step.tolist() == [False, True] * 3
    assert tape.weight.tolist() == [0.5] * 6
    assert tape.end == 18.0


def test_async_by_hand_with_a_network_of_one_s_own_for_each_worker():
    """Worker 0 needs 2 seconds for a job, worker 1 needs 6. At second 6 worker 1 is first: its message was sent first."""
    tape = sg.record(sg.AsyncSGD(), UNEVEN, sg.Seconds(8.25), message_bytes=100)
    assert rows(tape) == [
        (0, 0, 0, 0.0, 0.5, 1.5, 2.0, 2.0),
        (0, 1, 1, 2.0, 2.5, 3.5, 4.0, 4.0),
        (1, 0, 0, 0.0, 2.0, 4.0, 6.0, 6.0),
        (0, 2, 2, 4.0, 4.5, 5.5, 6.0, 6.0),
        (0, 3, 4, 6.0, 6.5, 7.5, 8.0, 8.0),
    ]
    assert tape.staleness.tolist() == [0, 0, 2, 1, 0]
    assert tape.step.all()
    assert tape.end == 8.25
    unfinished = rows(tape.in_flight, COLUMNS[:-1])
    assert unfinished[0][:4] == (0, 4, 5, 8.0)
    assert np.isnan(unfinished[0][4:]).all()  # the model has not reached it yet
    assert unfinished[1][:5] == (1, 1, 3, 6.0, 8.0)
    assert np.isnan(unfinished[1][5:]).all()  # computing


def test_async_by_hand_with_a_duplex_link():
    """Three equal workers, 64 bytes: 0.5 + 64/128 = 1 down, 1 compute, 0.25 + 64/512 = 0.375 up: 2.375 a round, in order."""
    network = Duplex(down=Link(0.5, 128.0), up=Link(0.25, 512.0))
    cluster = sg.Cluster(workers=3, compute=sg.times.Constant(1.0), network=network)
    tape = sg.record(sg.AsyncSGD(), cluster, sg.Updates(9), message_bytes=64)
    assert rows(tape) == [
        (w, k, max(0, 3 * k - 2 + w), *(2.375 * k + np.array([0, 1, 2, 2.375, 2.375])).tolist())
        for k in range(3)
        for w in range(3)
    ]
    assert tape.staleness.tolist() == [0, 1, 2, 2, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("protocol", [sg.MinibatchSGD(), sg.AsyncSGD()], ids=repr)
def test_random_jobs_still_have_exact_message_times(protocol):
    """Jobs have began = assigned + down and arrived = ended + up, the clock's own float64 additions."""
    network = PerWorker([Duplex(Link(0.1 * (i + 1), 3e3), Link(0.01, 7e3 * (i + 1))) for i in range(4)])
    cluster = sg.Cluster(workers=4, compute=sg.times.Lognormal(0.3, 0.8), network=network)
    tape = sg.record(protocol, cluster, sg.Updates(500), seed=1, message_bytes=1234)
    down, up = (np.array([way(w, 1234) for w in range(4)]) for way in (network.download_seconds, network.upload_seconds))
    assert np.array_equal(tape.began, tape.assigned + down[tape.worker])
    assert np.array_equal(tape.arrived, tape.ended + up[tape.worker])
    assert np.array_equal(tape.time, tape.arrived)


def test_the_default_network_and_the_default_message_take_no_time():
    cluster = sg.Cluster(workers=2, compute=sg.times.Constant(0.5))
    free = sg.record(sg.AsyncSGD(), cluster, sg.Updates(6), message_bytes=1e9)
    assert free.time.tolist() == [0.5, 0.5, 1.0, 1.0, 1.5, 1.5]
    assert sg.record(sg.AsyncSGD(), cluster, sg.Updates(6)) == free


@pytest.mark.parametrize("network", [Link(bandwidth=1e12), PerWorker((Link(), Duplex(Link(), Link(bandwidth=1.0))))])
def test_where_bytes_take_time_a_recording_has_to_be_told_of_them(network):
    """One rule for `record` and `simulate`: no message is silently empty."""
    cluster = sg.Cluster(workers=2, compute=sg.times.Constant(0.5), network=network)
    with pytest.raises(ValueError, match=r"message_bytes is needed on .*Link\(.*where bytes take time.*problem\.message_bytes"):
        sg.record(sg.AsyncSGD(), cluster, sg.Updates(6))
    problem = sg.problems.quadratic()
    run = sg.simulate(sg.AsyncSGD(), problem, cluster, sg.optimizers.sgd(0.1), sg.Updates(6))
    assert run.tape == sg.record(sg.AsyncSGD(), cluster, sg.Updates(6), message_bytes=problem.message_bytes)


# --- bad arguments -------------------------------------------------------------------------------------------------------

NEVER = [-1, -0.5, math.nan, -math.inf, "1", None, True, [1.0]]


@pytest.mark.parametrize("value", [*NEVER, math.inf], ids=repr)
def test_a_bad_latency_is_refused_by_name_and_value(value):
    with pytest.raises(ValueError, match=r"Link\.latency must be .* at least 0 \(seconds\)") as refusal:
        Link(latency=value)
    assert repr(value) in str(refusal.value)


@pytest.mark.parametrize("value", [*NEVER, 0, 0.0], ids=repr)
def test_a_bad_bandwidth_is_refused_by_name_and_value(value):
    with pytest.raises(ValueError, match=r"Link\.bandwidth must be .* above 0 \(bytes/second, or math.inf\)") as refusal:
        Link(bandwidth=value)
    assert repr(value) in str(refusal.value)


@pytest.mark.parametrize("value", [value for value in (*NEVER, math.inf) if value is not None], ids=repr)  # None: not given
def test_a_bad_message_size_is_refused_by_name_and_value(value):
    with pytest.raises(ValueError, match=r"message_bytes must be .* at least 0 \(bytes\)") as refusal:
        sg.record(sg.AsyncSGD(), UNEVEN, sg.Updates(1), message_bytes=value)
    assert repr(value) in str(refusal.value)


@pytest.mark.parametrize("thing", [1.0, "10GbE", None, (0.1, 1e9)], ids=repr)
def test_what_is_not_a_network_is_refused_by_name_and_value(thing):
    for made, place in (
        (lambda: Duplex(down=thing, up=Link()), "Duplex.down"),
        (lambda: Duplex(down=Link(), up=thing), "Duplex.up"),
        (lambda: PerWorker((Link(), thing)), "PerWorker.networks[1]"),
        (lambda: sg.Cluster(workers=1, compute=sg.times.Constant(1.0), network=thing), "Cluster.network"),
    ):
        with pytest.raises(TypeError) as refusal:
            made()
        assert place in str(refusal.value)
        assert repr(thing) in str(refusal.value)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_network_for_another_number_of_workers_is_refused(count):
    with pytest.raises(ValueError, match=rf"PerWorker\.networks .* 2 workers, got {count}"):
        sg.Cluster(workers=2, compute=sg.times.Constant(1.0), network=PerWorker([Link()] * count))
