"""What goes wrong: crashes, elastic workers, lost messages, links that are down. By hand, by their laws, and never hanging."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import simsgd as sg
from simsgd.faults import Crash, Crashes, Join, Leave, LinkDown, LinkOutages, LostMessages
from simsgd.networks import BinaryTree, Duplex, Jittery, Link, ParameterServer, Ring
from simsgd.recording.fault_schedule import by_worker, changes, spells
from simsgd.support import rng
from simsgd.tape.schema import REASONS
from simsgd.times import Constant, Exponential

FIFO = "first in, first out"
NAN = "never"
WAITS, GOES_ON = sg.MinibatchSGD(), sg.MinibatchSGD(wait=False)

# In the cases worked by hand all times are dyadic numbers, so sums on the clock are exact, and compared with ==.


def constants(*seconds):
    return sg.times.PerWorker(tuple(map(Constant, seconds)))


def recorded(protocol, cluster, until, seed=0, message_bytes=8.0):
    return sg.record(protocol, cluster, until, seed, message_bytes).check()


def rows(log, *columns):
    """Rows of a log, NaN spelled out so that it equals itself."""
    values = [[NAN if value != value else value for value in getattr(log, name).tolist()] for name in columns]
    return list(zip(*values, strict=True))


def lost(tape):
    """(worker, job, began, ended, arrived, when, why) of what was thrown away."""
    found = rows(tape.discarded, "worker", "job", "began", "ended", "arrived", "time")
    return [(*row, REASONS[reason]) for row, reason in zip(found, tape.discarded.reason.tolist(), strict=True)]


def downs(tape):
    return rows(tape.down, "worker", "start", "end")


# --- crashes by hand: a server and free links ----------------------------------------------------------------------------


def test_async_goes_on_and_the_returned_worker_reads_the_newest_version():
    """Jobs of 1 s. Worker 1 is down from 1.5 to 3.25: its job 1 is lost; its job 2 reads version 4, of 1, 1, 2 and 3 s."""
    cluster = sg.Cluster(2, Constant(1.0), faults=(Crash(1, at=1.5, back=3.25),))
    tape = recorded(sg.AsyncSGD(), cluster, sg.Updates(7))
    assert rows(tape, "worker", "job", "read", "assigned", "time") == [
        (0, 0, 0, 0.0, 1.0),
        (1, 0, 0, 0.0, 1.0),
        (0, 1, 1, 1.0, 2.0),
        (0, 2, 3, 2.0, 3.0),
        (0, 3, 4, 3.0, 4.0),
        (1, 2, 4, 3.25, 4.25),
        (0, 4, 5, 4.0, 5.0),
    ]
    assert lost(tape) == [(1, 1, 1.0, NAN, NAN, 1.5, "crash")]
    assert downs(tape) == [(1, 1.5, 3.25)]


def test_sync_waits_for_the_return_or_goes_on():
    """Jobs of 1 s, worker 1 down from 1.5 to 3.5: awaited, it computes anew from 3.5; if not, it is in again from 4."""
    cluster = sg.Cluster(2, Constant(1.0), faults=(Crash(1, at=1.5, back=3.5),))
    tape = recorded(WAITS, cluster, sg.Updates(3))
    assert tape.update_times.tolist() == [1.0, 4.5, 5.5]
    assert rows(tape, "worker", "job", "read", "weight") == [
        (0, 0, 0, 0.5),
        (1, 0, 0, 0.5),
        (0, 1, 1, 0.5),
        (1, 2, 1, 0.5),
        (0, 2, 2, 0.5),
        (1, 3, 2, 0.5),
    ]
    tape = recorded(GOES_ON, cluster, sg.Updates(5))
    assert tape.update_times.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert tape.worker.tolist() == [0, 1, 0, 0, 0, 0, 1]
    assert tape.weight.tolist() == [0.5, 0.5, 1.0, 1.0, 1.0, 0.5, 0.5]


def test_sync_keeps_a_gradient_that_had_arrived_before_its_worker_crashed():
    """Jobs of 1 and 2 s; worker 0 crashes at 1.5, its gradient is in: both make the step of 2. Then it is awaited, or not."""
    cluster = sg.Cluster(2, constants(1.0, 2.0), faults=(Crash(0, at=1.5, back=3.0),))
    tape = recorded(WAITS, cluster, sg.Updates(2))
    assert rows(tape, "worker", "assigned", "arrived") == [(0, 0.0, 1.0), (1, 0.0, 2.0), (1, 2.0, 4.0), (0, 3.0, 4.0)]
    assert tape.read.tolist() == [0, 0, 1, 1]
    tape = recorded(GOES_ON, cluster, sg.Updates(3))
    assert rows(tape, "worker", "weight", "time") == [
        (0, 0.5, 1.0),
        (1, 0.5, 2.0),
        (1, 1.0, 4.0),
        (0, 0.5, 5.0),
        (1, 0.5, 6.0),
    ]
    assert len(tape.discarded) == 0


def test_those_who_go_on_step_at_once_when_they_only_waited_for_the_crashed_one():
    """Jobs of 1 and 4 s; worker 1 crashes at 2.5: worker 0's gradient, in since 1, makes the step of 2.5."""
    cluster = sg.Cluster(2, constants(1.0, 4.0), faults=(Crash(1, at=2.5, back=3.0),))
    tape = recorded(GOES_ON, cluster, sg.Updates(3))
    assert tape.update_times.tolist() == [2.5, 3.5, 7.5]
    assert tape.worker.tolist() == [0, 0, 0, 1]


def test_when_all_have_crashed_the_first_to_return_goes_on():
    cluster = sg.Cluster(2, Constant(1.0), faults=(Crash(0, at=0.5, back=4.0), Crash(1, at=0.25, back=2.0)))
    assert recorded(GOES_ON, cluster, sg.Updates(4)).update_times.tolist() == [3.0, 4.0, 5.0, 6.0]
    assert recorded(sg.AsyncSGD(), cluster, sg.Updates(4)).time.tolist() == [3.0, 4.0, 5.0, 5.0]
    assert recorded(WAITS, cluster, sg.Updates(2)).update_times.tolist() == [5.0, 6.0]


@pytest.mark.parametrize(
    ("at", "life"),
    [
        (0.25, (NAN, NAN, NAN)),  # the model on its way
        (0.5, (NAN, NAN, NAN)),  # a fault comes first in its moment
        (1.0, (0.5, NAN, NAN)),  # computing
        (1.75, (0.5, 1.5, NAN)),  # the gradient on its way
        (2.0, (0.5, 1.5, NAN)),
    ],
)
def test_a_job_is_lost_wherever_its_worker_has_it(at, life):
    """0.5 s down, 1 s of computing, 0.5 s up; back at 4, the worker delivers at 6."""
    cluster = sg.Cluster(1, Constant(1.0), Link(0.5), faults=(Crash(0, at=at, back=4.0),))
    tape = recorded(sg.AsyncSGD(), cluster, sg.Updates(2))
    assert rows(tape, "job", "assigned", "began", "arrived") == [(1, 4.0, 4.5, 6.0), (2, 6.0, 6.5, 8.0)]
    assert lost(tape) == [(0, 0, *life, at, "crash")]


def test_overlapping_crashes_are_one():
    """Down from 1.5 to 3 and from 2 to 4.5: one spell, and one job lost."""
    cluster = sg.Cluster(1, Constant(1.0), faults=(Crash(0, at=1.5, back=3.0), Crash(0, at=2.0, back=4.5)))
    tape = recorded(sg.AsyncSGD(), cluster, sg.Updates(2))
    assert (tape.time.tolist(), downs(tape), len(tape.discarded)) == ([1.0, 5.5], [(0, 1.5, 4.5)], 1)


def test_a_worker_may_crash_again_before_its_new_job_is_done():
    cluster = sg.Cluster(1, Constant(1.0), faults=(Crash(0, 0.5, 1.0), Crash(0, 1.75, 2.0), Crash(0, 2.25, 3.0)))
    tape = recorded(sg.AsyncSGD(), cluster, sg.Updates(1))
    assert rows(tape, "job", "assigned", "time") == [(3, 3.0, 4.0)]
    assert [row[1:3] + row[5:6] for row in lost(tape)] == [(0, 0.0, 0.5), (1, 1.0, 1.75), (2, 2.0, 2.25)]


# --- crashes by hand: a contended server ---------------------------------------------------------------------------------

# Gradients of 8 bytes up through 8 bytes/s, first in, first out; jobs of 1 and 1.25 s; the server takes 0.5 s for each.
CONTENDED = ParameterServer(Duplex(down=Link(), up=Link(bandwidth=8.0)), sharing=FIFO, update=Constant(0.5))


@pytest.mark.parametrize(
    ("fault", "gone", "others"),
    [
        # undisturbed: sent 1 to 2, used at 2.5; sent 2 to 3, used at 3.5
        (
            Crash(1, at=0.5, back=0.625),  # computing: anew from 0.625 to 1.875, sent from 2
            (1, 0, 0.0, NAN, NAN, 0.5, "crash"),
            [(0, 1.0, 2.0, 2.5), (1, 2.0, 3.0, 3.5)],
        ),
        (
            Crash(1, at=1.5, back=1.75),  # waiting for the link: anew from 1.75 to 3
            (1, 0, 0.0, 1.25, NAN, 1.5, "crash"),
            [(0, 1.0, 2.0, 2.5), (1, 3.0, 4.0, 4.5)],
        ),
        (
            Crash(0, at=1.5, back=1.75),  # having the link: the other has it from then on; anew from 1.75 to 2.75
            (0, 0, 0.0, 1.0, NAN, 1.5, "crash"),
            [(1, 1.5, 2.5, 3.0), (0, 2.75, 3.75, 4.25)],
        ),
    ],
    ids=["computing", "waiting", "being sent"],
)
def test_a_crash_frees_the_server_s_link(fault, gone, others):
    tape = recorded(sg.AsyncSGD(), sg.Cluster(2, constants(1.0, 1.25), CONTENDED, (fault,)), sg.Updates(2))
    assert rows(tape, "worker", "sent", "arrived", "time") == others
    assert lost(tape) == [gone]


@pytest.mark.parametrize("sharing", ["fair", FIFO])
def test_a_crash_frees_the_way_out(sharing):
    """Models of 8 bytes through 8 bytes/s. At 0.5 worker 0 crashes: what is left of the link is for the other's model.

    First in, first out, that goes from 0.5 to 1.5. Fair, it had 2 bytes by then; the other 6 take 0.75 s.
    """
    network = ParameterServer(Duplex(down=Link(bandwidth=8.0), up=Link()), sharing=sharing)
    tape = recorded(sg.AsyncSGD(), sg.Cluster(2, Constant(1.0), network, (Crash(0, 0.5, 8.0),)), sg.Updates(1))
    assert rows(tape, "worker", "began") == [(1, 1.5 if sharing == FIFO else 1.25)]
    assert lost(tape) == [(0, 0, NAN, NAN, NAN, 0.5, "crash")]


@pytest.mark.parametrize(("at", "back"), [(2.25, 4.0), (3.125, 4.0)], ids=["being handled, having been sent", "queueing"])
def test_a_gradient_that_has_reached_the_server_is_safe(at, back):
    """Worker 0's arrives at 2 and is used at 2.5, worker 1's arrives at 3 and is used at 3.5: whoever is down by then."""
    worker = 0 if at < 3 else 1
    cluster = sg.Cluster(2, constants(1.0, 1.25), CONTENDED, (Crash(worker, at, back),))
    tape = recorded(sg.AsyncSGD(), cluster, sg.Updates(4))
    assert rows(tape, "worker", "arrived", "time")[:2] == [(0, 2.0, 2.5), (1, 3.0, 3.5)]
    assert len(tape.discarded) == 0
    again = next(row for row in rows(tape, "worker", "job", "assigned", "read") if row[:2] == (worker, 1))
    assert again == (worker, 1, 4.0, 2)  # handed out at its return


def test_a_gradient_behind_another_at_the_server_is_safe_too():
    """Jobs of 1 s, links free, 1 s for each update: worker 2 crashes while its gradient waits for those before it."""
    cluster = sg.Cluster(3, Constant(1.0), ParameterServer(update=Constant(1.0)), (Crash(2, at=1.5, back=9.0),))
    tape = recorded(WAITS, cluster, sg.Updates(1))
    assert rows(tape, "worker", "arrived", "time") == [(0, 1.0, 2.0), (1, 1.0, 3.0), (2, 1.0, 4.0)]


@pytest.mark.parametrize(
    ("protocol", "updates"),
    [
        # undisturbed, a step takes 3.5 s. Computing anew from 1.75, worker 1 sends from 3 to 4 and is used at 4.5
        (WAITS, [4.5, 8.0]),
        # the crash leaves worker 0 alone, used at 2.5; worker 1 is in again from there: 2.5 + 3.5
        (GOES_ON, [2.5, 6.0]),
    ],
    ids=repr,
)
def test_sync_on_a_contended_server(protocol, updates):
    cluster = sg.Cluster(2, constants(1.0, 1.25), CONTENDED, (Crash(1, at=1.5, back=1.75),))
    assert recorded(protocol, cluster, sg.Updates(2)).update_times.tolist() == updates


# --- crashes by hand: a ring ---------------------------------------------------------------------------------------------

# Jobs of 1 s; 2(n − 1) rounds of 0.125 s: 0.5 s among three, 0.25 s among two.
RING = Ring(Link(0.125))


@pytest.mark.parametrize(
    ("protocol", "fault", "updates", "workers"),
    [
        # computing: the others, ready at 2.5, wait until it is too, at 4
        (WAITS, Crash(2, at=2.0, back=3.0), [1.5, 4.5, 6.0], [3, 3, 3]),
        # or go on, and it takes part again from the step that begins at 4
        (GOES_ON, Crash(2, at=2.0, back=3.0), [1.5, 2.75, 4.0, 5.5], [3, 2, 2, 3]),
        # in the middle of the all-reduce, which begins anew: at 3 by all three, or at once by the others
        (WAITS, Crash(2, at=1.25, back=2.0), [3.5, 5.0], [3, 3]),
        (GOES_ON, Crash(2, at=1.25, back=2.0), [1.5, 2.75, 4.25], [2, 2, 3]),
        # at its very end: a fault comes first in its moment
        (GOES_ON, Crash(2, at=1.5, back=9.0), [1.75], [2]),
    ],
)
def test_crashes_on_a_ring(protocol, fault, updates, workers):
    tape = recorded(protocol, sg.Cluster(3, Constant(1.0), RING, (fault,)), sg.Updates(len(updates)))
    assert tape.update_times.tolist() == updates
    assert np.bincount(tape.version, minlength=len(workers)).tolist() == workers
    assert tape.weight.tolist() == [1 / count for count in workers for _ in range(count)]
    assert (tape.staleness == 0).all()


@pytest.mark.parametrize(("protocol", "updates"), [(WAITS, [3.25]), (GOES_ON, [2.25])])
def test_a_gradient_that_waits_at_the_barrier_is_lost_with_its_worker(protocol, updates):
    """Jobs of 2, 1 and 1 s; worker 1 crashes at 1.5, done since 1, and computes anew from 1.75 to 2.75."""
    cluster = sg.Cluster(3, constants(2.0, 1.0, 1.0), RING, (Crash(1, at=1.5, back=1.75),))
    tape = recorded(protocol, cluster, sg.Updates(1))
    assert tape.update_times.tolist() == updates
    assert lost(tape) == [(1, 0, 0.0, 1.0, NAN, 1.5, "crash")]


@pytest.mark.parametrize("fault", [Crash(2, at=5.0), Leave(2, at=5.0)])
def test_those_who_wait_on_a_ring_begin_when_the_straggler_is_given_up(fault):
    """Jobs of 1, 1 and 10 s: until 5 nobody knows; then two ranks need 0.25 s."""
    cluster = sg.Cluster(3, constants(1.0, 1.0, 10.0), RING, (fault,))
    assert recorded(GOES_ON, cluster, sg.Updates(2)).update_times.tolist() == [5.25, 6.5]


def test_what_was_sent_before_a_crash_is_sent_anew():
    """A tree of four, messages of 1 s; jobs of 1 s, but 0.0625 s of worker 2: it crashes at 1.5, and is ready anew at 1.6875.

    All begin anew at 1.5: 3 sends to 2 and 1 to 0 until 2.5, 2 to 0 until 3.5, and it takes 2 s to tell all. Were what 3 sent
    from 1 to 2 still good, it would be 0.5 s less.
    """
    tree = BinaryTree(Link(1.0))
    law = constants(1.0, 1.0, 0.0625, 1.0)
    assert recorded(WAITS, sg.Cluster(4, law, tree), sg.Updates(1)).end == 5.0
    assert recorded(WAITS, sg.Cluster(4, law, tree, (Crash(2, at=1.5, back=1.625),)), sg.Updates(1)).end == 5.5


# --- those who leave and join --------------------------------------------------------------------------------------------


def test_sync_averages_over_those_there_are():
    """Jobs of 1 s. Worker 0 leaves at 1.5; worker 2 joins at 2.25, and takes part from the step that begins at 3."""
    cluster = sg.Cluster(3, Constant(1.0), faults=(Leave(0, at=1.5), Join(2, at=2.25)))
    for network in (Link(), ParameterServer()):
        tape = recorded(WAITS, sg.Cluster(3, Constant(1.0), network, cluster.faults), sg.Updates(4), message_bytes=0)
        assert rows(tape, "worker", "weight", "time") == [
            (0, 0.5, 1.0),
            (1, 0.5, 1.0),
            (1, 1.0, 2.0),
            (1, 1.0, 3.0),
            (1, 0.5, 4.0),
            (2, 0.5, 4.0),
        ]
        assert lost(tape) == [(0, 1, 1.0, NAN, NAN, 1.5, "leaving")]
        assert downs(tape) == [(2, 0.0, 2.25), (0, 1.5, NAN)]


def test_async_takes_who_joins_in_at_once():
    cluster = sg.Cluster(2, Constant(1.0), faults=(Join(1, at=2.25),))
    tape = recorded(sg.AsyncSGD(), cluster, sg.Updates(4))
    assert rows(tape, "worker", "job", "read", "time") == [(0, 0, 0, 1.0), (0, 1, 1, 2.0), (0, 2, 2, 3.0), (1, 0, 2, 3.25)]


def test_who_leaves_takes_its_gradient_out_of_the_server_s_queue():
    """Three gradients arrive at 1, and the server takes 1 s for each; worker 1 leaves at 1.5, when its own is the next."""
    cluster = sg.Cluster(3, Constant(1.0), ParameterServer(update=Constant(1.0)), (Leave(1, at=1.5),))
    tape = recorded(WAITS, cluster, sg.Updates(1))
    assert rows(tape, "worker", "weight", "time") == [(0, 0.5, 2.0), (2, 0.5, 3.0)]
    assert lost(tape) == [(1, 0, 0.0, 1.0, 1.0, 1.5, "leaving")]


def test_the_others_step_when_the_one_they_waited_for_leaves():
    cluster = sg.Cluster(2, constants(1.0, 9.0), faults=(Leave(1, at=5.0),))
    assert recorded(WAITS, cluster, sg.Updates(2)).update_times.tolist() == [5.0, 6.0]


def test_when_all_have_left_those_who_join_later_go_on():
    cluster = sg.Cluster(2, Constant(1.0), faults=(Leave(0, at=1.5), Join(1, at=3.0)))
    for protocol in (sg.AsyncSGD(), WAITS, GOES_ON):
        assert recorded(protocol, cluster, sg.Updates(2)).update_times.tolist() == [1.0, 4.0]


def test_who_joins_while_it_would_be_down_comes_when_it_is_back():
    """Worker 1 joins at 2.5, but is down from 2 to 4."""
    cluster = sg.Cluster(2, Constant(1.0), faults=(Join(1, at=2.5), Crash(1, at=2.0, back=4.0)))
    tape = recorded(sg.AsyncSGD(), cluster, sg.Seconds(5.0))
    assert [row for row in rows(tape, "worker", "assigned") if row[0] == 1] == [(1, 4.0)]
    assert downs(tape) == [(1, 0.0, 4.0)]
    assert recorded(WAITS, cluster, sg.Updates(4)).update_times.tolist() == [1.0, 2.0, 3.0, 5.0]
    assert recorded(GOES_ON, cluster, sg.Updates(5)).update_times.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_who_is_down_for_good_and_leaves_is_waited_for_until_then():
    """Worker 1 joins, down for good, at 2.5, and leaves at 8: sync, waiting for it since 3, goes on at 8 with worker 0's."""
    cluster = sg.Cluster(2, Constant(1.0), faults=(Join(1, at=2.5), Crash(1, at=2.0), Leave(1, at=8.0)))
    assert recorded(WAITS, cluster, sg.Updates(5)).update_times.tolist() == [1.0, 2.0, 3.0, 8.0, 9.0]
    cluster = sg.Cluster(2, Constant(1.0), faults=(Crash(1, at=2.5), Leave(1, at=8.0)))
    assert recorded(WAITS, cluster, sg.Updates(4)).update_times.tolist() == [1.0, 2.0, 8.0, 9.0]


WORKERS = 4
moments = st.floats(0.0, 20.0)


@st.composite
def elastic(draw):
    """Workers who join, leave and crash; worker 0 stays, so that somebody is always there."""
    faults = []
    for worker in range(1, WORKERS):
        joins = draw(st.none() | moments)
        leaves = draw(st.none() | st.floats(20.5, 30.0) if joins is not None else st.none() | moments)
        faults += [Join(worker, joins)] if joins is not None else []
        faults += [Leave(worker, leaves)] if leaves is not None else []
    if draw(st.booleans()):
        faults.append(Crashes(Exponential(8.0), Exponential(2.0)))
    return tuple(draw(st.permutations(faults)))


@settings(deadline=None, max_examples=100)
@given(
    faults=elastic(),
    network=st.sampled_from([Link(0.1), ParameterServer(Link(0.05, 40.0), update=Constant(0.05)), Ring(Link(0.05))]),
    protocol=st.sampled_from([WAITS, GOES_ON]),
    seed=st.integers(0, 2**31),
)
def test_sync_always_steps_with_the_average(faults, network, protocol, seed):
    """Whoever comes and goes: each step's weights are 1/n of its n gradients, all of one version and of different workers."""
    tape = recorded(protocol, sg.Cluster(WORKERS, Exponential(1.0), network, faults), sg.Seconds(40.0), seed)
    stepped = tape.version < tape.updates
    counts = np.bincount(tape.version[stepped], minlength=tape.updates)
    assert (counts > 0).all()
    np.testing.assert_allclose(np.bincount(tape.version[stepped], tape.weight[stepped]), np.ones(tape.updates), rtol=1e-12)
    np.testing.assert_array_equal(tape.weight[stepped], (1 / counts)[tape.version[stepped]])
    assert (tape.staleness == 0).all()
    assert len(set(zip(tape.version.tolist(), tape.worker.tolist(), strict=True))) == len(tape)
    for worker in range(WORKERS):  # nobody works before it joins, or after it has left
        life = [(f.at, kind) for kind in (Join, Leave) for f in faults if isinstance(f, kind) and f.worker == worker]
        own = tape.worker == worker
        for at, kind in life:
            assert (tape.assigned[own] >= at).all() if kind is Join else (tape.time[own] <= at).all()


# --- lost messages -------------------------------------------------------------------------------------------------------


def losses(tape, message, timeout):
    """How often each job's two messages were lost, (rows, 2): what they took longer than `message`, in tries; whole numbers."""
    taken = np.column_stack([tape.began - tape.assigned, tape.arrived - tape.ended])
    count = (taken - message) / (message + timeout)
    np.testing.assert_allclose(count, np.round(count), atol=1e-6)
    return np.round(count)


@pytest.mark.parametrize("network", [Link(0.25, 32.0), ParameterServer(Link(0.25, 32.0))], ids=["path", "server"])
@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_lost_messages_are_geometric(network, probability):
    """P(lost k times) = (1 − p)·p^k; so a message of s = 0.5 s takes p/(1 − p)·(s + timeout) longer on average.

    The variance of the number is p/(1 − p)²; the two messages of a job are independent.
    """
    fault = LostMessages(probability, timeout=0.25)
    tape = recorded(sg.AsyncSGD(), sg.Cluster(1, Constant(1.0), network, (fault,)), sg.Updates(6_000), seed=8)
    lost_ = losses(tape, 0.5, 0.25)
    n, odds = lost_.size, probability / (1 - probability)
    error = math.sqrt(probability / n) / (1 - probability)
    assert abs(lost_.mean() - odds) < 4 * error
    extra = np.concatenate([tape.began - tape.assigned, tape.arrived - tape.ended]).mean() - 0.5
    assert abs(extra - odds * 0.75) < 4 * error * 0.75
    for times in range(4):
        share = (1 - probability) * probability**times
        assert abs((lost_ == times).mean() - share) < 4 * math.sqrt(share * (1 - share) / n)
    assert abs(np.corrcoef(lost_.T)[0, 1]) < 4 / math.sqrt(len(tape))


def test_two_causes_of_loss_are_independent():
    """Each time it is sent, a message gets through both with probability ½·¾: lost 1/(3/8) − 1 = 5/3 times, on average."""
    faults = (LostMessages(0.5, timeout=0.25), LostMessages(0.25, timeout=0.25))
    tape = recorded(sg.AsyncSGD(), sg.Cluster(1, Constant(1.0), Link(0.5), faults), sg.Updates(4_000), seed=9)
    through = 0.5 * 0.75
    error = math.sqrt((1 - through) / 8_000) / through
    assert abs(losses(tape, 0.5, 0.25).mean() - (1 / through - 1)) < 4 * error


def test_only_those_named_lose_messages():
    cluster = sg.Cluster(3, Constant(1.0), Link(0.5), (LostMessages(0.5, timeout=0.25, workers=(1,)),))
    tape = recorded(sg.AsyncSGD(), cluster, sg.Updates(300))
    counts = losses(tape, 0.5, 0.25)
    assert counts[tape.worker == 1].sum() > 0
    assert not counts[tape.worker != 1].any()


@pytest.mark.parametrize("network", [Link(0.5), ParameterServer(Link(0.5))], ids=["path", "server"])
def test_what_befalls_a_job_s_messages_is_the_same_whatever_befalls_other_jobs(network):
    """A job that is lost in a crash, its message yet to be sent again, leaves the next one's luck as it was."""
    loss = LostMessages(0.4, timeout=0.25)
    found = []
    for crashes in ((), (Crashes(Exponential(4.0), Constant(0.5)),)):
        tape = recorded(sg.AsyncSGD(), sg.Cluster(3, Constant(1.0), network, (loss, *crashes)), sg.Seconds(1_000.0), seed=15)
        jobs = zip(tape.worker.tolist(), tape.job.tolist(), strict=True)
        found.append(dict(zip(jobs, losses(tape, 0.5, 0.25).tolist(), strict=True)))
    common = found[0].keys() & found[1].keys()
    assert len(common) > 300
    assert all(found[0][job] == found[1][job] for job in common)


def test_a_lost_message_comes_to_the_end_of_the_queue_again():
    """8 bytes up through 8 bytes/s and 0.5 s of latency; worker 0's first gradient is lost once, by the seed; jobs of 1, 1.5 s.

    It had the link from 1 to 2 and should have arrived at 2.5; at 2.75 it is sent again, when worker 1's has had the link
    since 2: so it has it from 3 to 4, and arrives at 4.5. Worker 1's arrives at 3.5.
    """
    fault = LostMessages(0.5, timeout=0.25, workers=(0,))

    def on(network, seed, updates):
        return recorded(sg.AsyncSGD(), sg.Cluster(2, constants(1.0, 1.5), network, (fault,)), sg.Updates(updates), seed)

    def first(seed):  # what befalls a job's messages is the same on an uncontended path, where it can be read off
        tape = on(Link(0.5), seed, 8)
        return losses(tape, 0.5, 0.25)[(tape.worker == 0) & (tape.job == 0)].tolist()

    seed = next(seed for seed in range(1000) if first(seed) == [[0.0, 1.0]])
    tape = on(ParameterServer(Duplex(down=Link(), up=Link(0.5, 8.0)), sharing=FIFO), seed, 2)
    assert rows(tape, "worker", "job", "sent", "arrived") == [(1, 0, 2.0, 3.5), (0, 0, 1.0, 4.5)]


def test_losses_on_a_ring_delay_those_who_wait_for_the_message():
    """Of two ranks; every message takes 0.125 s, and 0.375 s more each time that it is lost: all is a multiple of that."""
    cluster = sg.Cluster(2, Constant(1.0), RING, (LostMessages(0.25, timeout=0.25),))
    taken = np.diff(recorded(WAITS, cluster, sg.Updates(2_000), seed=3).update_times, prepend=0.0) - 1.25
    extra = taken / 0.375
    np.testing.assert_allclose(extra, np.round(extra), atol=1e-6)
    # two rounds, each as late as the later of its two messages: the mean of the greater of two geometric numbers, each of mean
    # q = p/(1 − p), is 2q less that of the smaller, which is geometric with p²
    odds, both = 0.25 / 0.75, 0.0625 / 0.9375
    assert abs(extra.mean() - 2 * (2 * odds - both)) < 4 * extra.std(ddof=1) / math.sqrt(2_000)


# --- links that are down -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "life"),
    [
        # undisturbed: departed at 0, began at 0.5, ended and sent at 1.5, arrived at 2
        (0.0, 2.0, (2.0, 2.5, 3.5, 3.5, 4.0)),  # the model waits
        (0.25, 1.0, (0.0, 0.5, 1.5, 1.5, 2.0)),  # the model is under way: it gets through
        (1.25, 3.0, (0.0, 0.5, 1.5, 3.0, 3.5)),  # the gradient waits
        (1.5, 3.0, (0.0, 0.5, 1.5, 3.0, 3.5)),  # down from the very moment
        (1.0, 1.5, (0.0, 0.5, 1.5, 1.5, 2.0)),  # up again at the very moment
        (1.75, 3.0, (0.0, 0.5, 1.5, 1.5, 2.0)),  # the gradient is under way
    ],
)
@pytest.mark.parametrize("network", [Link(0.5), ParameterServer(Link(0.5))], ids=["path", "server"])
def test_messages_wait_for_a_link_and_those_on_their_way_get_through(network, start, end, life):
    cluster = sg.Cluster(1, Constant(1.0), network, (LinkDown(0, start, end),))
    tape = recorded(sg.AsyncSGD(), cluster, sg.Updates(1))
    assert rows(tape, "departed", "began", "ended", "sent", "arrived") == [life]
    assert (len(tape.down), len(tape.discarded)) == (0, 0)


def test_a_message_that_waits_for_its_worker_s_link_leaves_the_server_s_to_others():
    """8 bytes up through 8 bytes/s. Worker 0, ready at 1, may send from 1.75; worker 1, ready at 1.5, has the link to 2.5."""
    network = ParameterServer(Duplex(down=Link(), up=Link(bandwidth=8.0)), sharing=FIFO)
    cluster = sg.Cluster(2, constants(1.0, 1.5), network, (LinkDown(0, 0.5, 1.75),))
    tape = recorded(sg.AsyncSGD(), cluster, sg.Updates(2))
    assert rows(tape, "worker", "ended", "sent", "arrived") == [(1, 1.5, 1.5, 2.5), (0, 1.0, 2.5, 3.5)]


def test_a_message_that_queues_for_the_server_s_link_counts_as_on_its_way():
    """Worker 1's gradient queues from 1.5; its own link is down from 1.75 to 9, but the message has its turn at 2."""
    network = ParameterServer(Duplex(down=Link(), up=Link(bandwidth=8.0)), sharing=FIFO)
    cluster = sg.Cluster(2, constants(1.0, 1.5), network, (LinkDown(1, 1.75, 9.0),))
    tape = recorded(sg.AsyncSGD(), cluster, sg.Updates(2))
    assert rows(tape, "worker", "sent", "arrived") == [(0, 1.0, 2.0), (1, 2.0, 3.0)]


def test_a_rank_whose_link_is_down_holds_a_ring_up():
    """Of two: rank 0 sends its first message at 3, when its link is up; it arrives at 3.125, the next of both at 3.25."""
    cluster = sg.Cluster(2, Constant(1.0), RING, (LinkDown(0, 0.5, 3.0),))
    assert recorded(WAITS, cluster, sg.Updates(2)).update_times.tolist() == [3.25, 4.5]


def test_a_crash_while_a_message_waits_for_the_link():
    """The gradient, ready at 1, waits for the link until 5, but its worker crashes at 2; anew from 3 to 4, it waits until 5."""
    for network in (Link(), ParameterServer()):
        faults = (LinkDown(0, 0.5, 5.0), Crash(0, at=2.0, back=3.0))
        tape = recorded(sg.AsyncSGD(), sg.Cluster(1, Constant(1.0), network, faults), sg.Updates(1), message_bytes=0)
        # its second model would wait for the link as well: it is handed out at 3, and gets through at 5
        assert rows(tape, "job", "began", "arrived") == [(1, 5.0, 6.0)]
        assert lost(tape) == [(0, 0, 0.0, 1.0, NAN, 2.0, "crash")]


@settings(deadline=None, max_examples=200)
@given(
    seconds=st.floats(0.01, 5.0),
    start=st.floats(0.0, 4.0),
    lasting=st.floats(0.01, 5.0),
    latency=st.sampled_from([0.0, 0.1]),
)
@example(seconds=0.33776874061001927, start=0.3, lasting=1.4579544029403025, latency=0.0)  # now + (end − now) < end
def test_waiting_for_a_link_breaks_no_law_by_rounding(seconds, start, lasting, latency):
    end = start + lasting
    for network in (Link(latency), ParameterServer(Link(latency))):
        cluster = sg.Cluster(1, Constant(seconds), network, (LinkDown(0, start, end),))
        tape = recorded(sg.AsyncSGD(), cluster, sg.Updates(3))  # checks the tape's laws
        sent = np.where((tape.ended >= start) & (tape.ended < end), end, tape.ended)
        np.testing.assert_array_equal(tape.sent, sent)


# --- crashes at random ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("up", "down"), [(50.0, 5.0), (4.0, 4.0)])
def test_availability_in_the_long_run(up, down):
    """Mean up/(mean up + mean down), whatever the jobs. Two exponential states: variance 2(ud)²/((u + d)³·T) for one worker."""
    workers, seconds = 20, 4_000.0
    crashes = Crashes(between=Exponential(up), lasting=Exponential(down))
    tape = recorded(sg.AsyncSGD(), sg.Cluster(workers, Exponential(1.0), faults=(crashes,)), sg.Seconds(seconds), seed=10)
    share = 1 - tape.shares()["down"].mean()
    error = math.sqrt(2 * (up * down) ** 2 / ((up + down) ** 3 * seconds * workers))
    start = up * down**2 / (up + down) ** 2 / seconds  # all are up at second 0
    assert abs(share - up / (up + down) - start) < 4 * error
    crashed = len(tape.down) / (
        seconds * workers
    )  # a renewal process: of rate 1/(u + d), variance (u² + d²)/(u + d)³ per second
    assert abs(crashed - 1 / (up + down)) < 4 * math.sqrt((up**2 + down**2) / (up + down) ** 3 / (seconds * workers))


def test_jobs_longer_than_workers_stay_up_rarely_get_through():
    """A job of c s survives Exponential(u) with probability exp(−c/u): of those begun, so many are used."""
    crashes = Crashes(between=Exponential(2.0), lasting=Exponential(1.0))
    tape = recorded(sg.AsyncSGD(), sg.Cluster(10, Constant(3.0), faults=(crashes,)), sg.Seconds(3_000.0), seed=11)
    jobs, share = len(tape) + len(tape.discarded), math.exp(-3.0 / 2.0)
    assert abs(len(tape) / jobs - share) < 4 * math.sqrt(share * (1 - share) / jobs)
    assert set(tape.discarded.reason.tolist()) == {REASONS.index("crash")}


FABRICS = {
    "free": Link(),
    "path": Link(0.1, 100.0),
    "first in, first out": ParameterServer(Link(0.05, 40.0), sharing=FIFO, update=Exponential(0.1)),
    "fair": ParameterServer(Link(0.05, 40.0)),
    "ring": Ring(Link(0.05, 100.0)),
}
TROUBLES = (Crashes(Exponential(9.0), Exponential(2.0)), Crash(1, 4.5, 9.0), Leave(3, 31.0), Join(2, 7.5))


def test_who_is_down_when_is_the_same_under_every_protocol_and_fabric():
    expected = None
    for network in FABRICS.values():
        for protocol in (WAITS, GOES_ON) if isinstance(network, Ring) else (WAITS, GOES_ON, sg.AsyncSGD()):
            for law in (Exponential(1.0), Constant(0.7)):
                found = downs(recorded(protocol, sg.Cluster(4, law, network, TROUBLES), sg.Seconds(60.0), seed=12))
                expected = expected or found
                assert found == expected
    assert len(expected) > 12
    assert {worker for worker, _, _ in expected} == {0, 1, 2, 3}


def test_who_is_down_when_is_what_the_faults_say():
    """The log of a recording, and the spells that the descriptions yield by themselves."""
    crashes = TROUBLES[:2]
    tape = recorded(sg.AsyncSGD(), sg.Cluster(4, Exponential(1.0), faults=crashes), sg.Seconds(60.0), seed=12)
    named = by_worker(crashes, 4)
    for worker in range(4):
        own = [(start, end) for who, start, end in downs(tape) if who == worker]
        for (start, end), (found_start, found_end) in zip(
            spells(named[worker], (Crash, Crashes), 12, worker), own, strict=False
        ):
            assert start == found_start
            assert end == found_end or (found_end == NAN and end > 60.0)


@pytest.mark.parametrize("network", sorted(FABRICS))
@pytest.mark.parametrize(
    "law", [Exponential(1.0), sg.times.AutocorrelatedLognormal(1.0, 0.8, 0.7)], ids=["free", "remembering"]
)
def test_a_worker_s_jobs_take_as_long_with_faults_as_without(network, law):
    """The k-th job takes the k-th time drawn, though jobs before it were lost: before they began, in mid-job, or later."""
    faults = (*TROUBLES, LostMessages(0.1, 0.2), LinkOutages(Exponential(9.0), Exponential(1.0)))
    tape = recorded(WAITS, sg.Cluster(4, law, FABRICS[network], faults), sg.Seconds(80.0), seed=13)
    assert len(tape.discarded) > 5
    for worker in range(4):
        draw = law.sampler(rng.stream(13, "compute time", worker), worker)
        drawn = np.array([draw(0.0) for _ in range(200)])
        for log in (tape, tape.discarded):
            own = (log.worker == worker) & ~np.isnan(log.ended)
            np.testing.assert_allclose((log.ended - log.began)[own], drawn[log.job[own]], rtol=1e-9, atol=1e-12)


# --- what was lost -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", sorted(FABRICS))
def test_lost_jobs_are_logged_with_their_reason_and_never_on_the_tape(network):
    tape = recorded(WAITS, sg.Cluster(4, Exponential(1.0), FABRICS[network], TROUBLES), sg.Seconds(60.0), seed=14)
    thrown = tape.discarded
    used, gone = (set(zip(log.worker.tolist(), log.job.tolist(), strict=True)) for log in (tape, thrown))
    assert gone
    assert used.isdisjoint(gone)
    assert {REASONS[reason] for reason in thrown.reason} <= {"crash", "leaving"}
    starts = {(worker, start) for worker, start, _ in downs(tape)}
    assert set(zip(thrown.worker.tolist(), thrown.time.tolist(), strict=True)) <= starts  # lost at the very moment of a fault
    assert np.isnan(thrown.arrived[thrown.reason == REASONS.index("crash")]).all()


def test_the_time_of_lost_jobs_is_wasted(noisy):
    """Jobs of 1 s until 4, worker 1 down from 1.5: half a second lost; used are 4 of worker 0's and 1 of worker 1's."""
    cluster = sg.Cluster(2, Constant(1.0), faults=(Crash(1, at=1.5, back=4.0),))
    run = sg.simulate(sg.AsyncSGD(), noisy, cluster, sg.optimizers.sgd(0.1), sg.Seconds(4.0))
    assert run.wasted == {"gradients": 1, "steps": 0, "seconds": 0.5, "share": 0.5 / 5.5}
    assert run.tape.shares()["down"].tolist() == [0.0, 2.5 / 4.0]
    assert run.tape.shares()["computing"].tolist() == [1.0, 1.5 / 4.0]


# --- nothing hangs -------------------------------------------------------------------------------------------------------

GONE = r"down for good.*let it leave for good \(faults\.Leave\), or use a method that goes on without it"
THREE = (Crash(0, 1.5), Crash(1, 1.25), Crash(2, 1.75))


@pytest.mark.parametrize(
    ("protocol", "network", "faults", "message"),
    [
        (
            WAITS,
            Link(),
            (Crash(1, 1.5),),
            "at 2 s and version 1, after worker 2 .* waits for the gradient of worker 1, " + GONE,
        ),
        (
            WAITS,
            ParameterServer(),
            (Crash(1, 1.5),),
            "version 1, after worker 2 .* waits for the gradient of worker 1, " + GONE,
        ),
        (WAITS, RING, (Crash(1, 1.75),), "the gradients of workers 0, 2 wait in the all-reduce for that of worker 1, " + GONE),
        (WAITS, RING, (Crash(1, 1.25),), "the gradients of workers 0, 2 wait in the all-reduce for that of worker 1, " + GONE),
        (WAITS, Link(), THREE, "at 1.75 s and version 1, after worker 2 crashed, .*workers .*0 to 2.* down for good"),
        (
            sg.AsyncSGD(),
            Link(),
            THREE,
            "at 1.75 s and version 3, after worker 2 crashed, .*workers .*0 to 2.* down for good",
        ),
        (GOES_ON, Link(), THREE, "at 1.75 s and version 1, after worker 2 crashed, .*workers .*0 to 2.* down for good"),
        (GOES_ON, RING, THREE, "at 1.75 s and version 1, after worker 2 crashed, .*workers .*0 to 2.* down for good"),
        (GOES_ON, Link(), (*THREE[:2], Leave(2, 2.5)), "after worker 2 left, .*workers .*0 to 1.* down for good"),
        *[
            (
                protocol,
                network,
                [Leave(worker, 1.75) for worker in range(3)],
                "at 1.75 s.* after worker 2 left, all workers have",
            )
            for protocol, network in [(WAITS, Link()), (GOES_ON, RING), (sg.AsyncSGD(), Link()), (WAITS, ParameterServer())]
        ],
    ],
)
def test_what_can_go_on_no_more_says_who_waits_for_whom(protocol, network, faults, message):
    """Jobs of 1 s; a step, and on the ring 0.5 s more for it."""
    cluster = sg.Cluster(3, Constant(1.0), network, faults)
    for until in (sg.Updates(100), sg.Seconds(100.0)):
        with pytest.raises(sg.StuckError, match=message):
            sg.record(protocol, cluster, until, message_bytes=0)


def test_it_is_not_stuck_as_long_as_somebody_is_to_come():
    """Everybody is down, or has left, but one will be back at 50, or join."""
    for faults in ((Crash(0, 1.5), Crash(1, 1.25, 50.0)), (Leave(0, 1.5), Join(1, 50.0))):
        cluster = sg.Cluster(2, Constant(1.0), faults=faults)
        assert recorded(GOES_ON, cluster, sg.Updates(2)).update_times.tolist() == [1.0, 51.0]


def test_jobs_that_are_always_lost_are_no_progress():
    """Jobs of 100 s, and workers that crash every second or so: nobody ever delivers, though somebody is always at work."""
    cluster = sg.Cluster(8, Constant(100.0), faults=(Crashes(Exponential(1.0), Constant(0.01)),))
    with pytest.raises(sg.StuckError, match=r"faults.* since .*gradient"):
        sg.record(sg.AsyncSGD(), cluster, sg.Seconds(3_000.0))  # 24,000 crashes


def test_a_ring_that_never_comes_round_is_no_progress():
    cluster = sg.Cluster(8, Constant(1.0), RING, (Crashes(Exponential(0.5), Constant(0.01)),))
    with pytest.raises(sg.StuckError, match=r"faults.* since .*gradient"):
        sg.record(WAITS, cluster, sg.Seconds(1_500.0), message_bytes=0)  # 24,000 crashes


# --- descriptions that make no sense -------------------------------------------------------------------------------------

LAW = Exponential(1.0)


def clustered(*faults):
    return sg.Cluster(3, LAW, faults=faults)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: Crash(-1, 1.0), ValueError, r"Crash\.worker must be a whole number of at least 0, got -1"),
        (lambda: Crash(1.5, 1.0), ValueError, r"Crash\.worker must be .*, got 1\.5"),
        (lambda: Crash(0, -1.0), ValueError, r"Crash\.at must be .*\(seconds\), got -1\.0"),
        (lambda: Crash(0, math.inf), ValueError, r"Crash\.at must be .*, got inf"),
        (lambda: Crash(0, "soon"), ValueError, r"Crash\.at must be .*, got 'soon'"),
        (lambda: Crash(0, 2.0, 2.0), ValueError, r"Crash\.back must be after at=2\.0 \(seconds\), got 2\.0"),
        (lambda: Crash(0, 2.0, math.nan), ValueError, r"Crash\.back must be .*, got nan"),
        (lambda: Crash(0, 2.0, None), ValueError, r"Crash\.back must be .*, got None"),
        (lambda: LinkDown(-1, 0.0, 1.0), ValueError, r"LinkDown\.worker must be .*, got -1"),
        (lambda: LinkDown(0, -0.5, 1.0), ValueError, r"LinkDown\.start must be .*, got -0\.5"),
        (lambda: LinkDown(0, 1.0, 0.5), ValueError, r"LinkDown\.end must be after start=1\.0 \(seconds\), got 0\.5"),
        (lambda: LinkDown(0, 1.0, math.inf), ValueError, r"LinkDown\.end must be a finite number.*, got inf"),
        (lambda: Leave(True, 1.0), ValueError, r"Leave\.worker must be .*, got True"),
        (lambda: Leave(0, math.nan), ValueError, r"Leave\.at must be .*, got nan"),
        (lambda: Join("0", 1.0), ValueError, r"Join\.worker must be .*, got '0'"),
        (lambda: Join(0, -1), ValueError, r"Join\.at must be .*, got -1"),
        (lambda: LostMessages(1.0, 1.0), ValueError, r"LostMessages\.probability must be below 1, .*, got 1\.0"),
        (lambda: LostMessages(-0.1, 1.0), ValueError, r"LostMessages\.probability must be .*, got -0\.1"),
        (lambda: LostMessages(0.1, -1.0), ValueError, r"LostMessages\.timeout must be .*\(seconds\), got -1\.0"),
        (lambda: LostMessages(0.1, 1.0, workers=()), ValueError, r"LostMessages\.workers must name at least one .*got \(\)"),
        (lambda: LostMessages(0.1, 1.0, workers=(0, 0)), ValueError, r"LostMessages\.workers must name .*got \(0, 0\)"),
        (lambda: LostMessages(0.1, 1.0, workers=(0, -1)), ValueError, r"LostMessages\.workers\[1\] must be .*, got -1"),
        (lambda: LostMessages(0.1, 1.0, workers=2), TypeError, r"LostMessages\.workers must be a sequence .*, got 2"),
        (lambda: Crashes(1.0, LAW), TypeError, r"Crashes\.between must be an instance .*, got 1\.0"),
        (lambda: Crashes(LAW, Exponential), TypeError, r"Crashes\.lasting must be .*, got the class Exponential itself"),
        (lambda: Crashes(LAW, LAW, workers=(1.5,)), ValueError, r"Crashes\.workers\[0\] must be .*, got 1\.5"),
        (lambda: LinkOutages(None, LAW), TypeError, r"LinkOutages\.between must be .*, got None"),
        (lambda: LinkOutages(LAW, "long"), TypeError, r"LinkOutages\.lasting must be .*, got 'long'"),
        (lambda: sg.Cluster(3, LAW, faults=Crash(0, 1.0)), TypeError, r"Cluster\.faults must be a sequence .*, got Crash\("),
        (lambda: clustered("crash"), TypeError, r"Cluster\.faults\[0\] must be an instance .*, got 'crash'"),
        (lambda: clustered(Crash(0, 1.0), Leave), TypeError, r"Cluster\.faults\[1\] must be .*, got the class Leave itself"),
        (lambda: clustered(Crash(3, 1.0)), ValueError, "Crash names worker 3, but the cluster's 3 workers are 0 to 2"),
        (lambda: clustered(Join(5, 1.0)), ValueError, "Join names worker 5, but"),
        (lambda: clustered(LinkDown(3, 1.0, 2.0)), ValueError, "LinkDown names worker 3, but"),
        (lambda: clustered(LostMessages(0.1, 1.0, (0, 4))), ValueError, "LostMessages names worker 4, but"),
        (lambda: clustered(Crashes(LAW, LAW, (7,))), ValueError, "Crashes names worker 7, but"),
        (lambda: clustered(Leave(0, 1.0), Leave(0, 2.0)), ValueError, "make worker 0 leave more than once"),
        (lambda: clustered(Join(1, 1.0), Join(1, 1.0)), ValueError, "make worker 1 join more than once"),
        (lambda: clustered(Leave(1, 2.0), Join(1, 3.0)), ValueError, "make worker 1 leave at 2 s, before it has joined"),
        (lambda: clustered(Leave(1, 2.0), Join(1, 2.0)), ValueError, "make worker 1 leave at 2 s, before it has joined"),
        (lambda: clustered(Crashes(constants(1.0, 2.0), LAW)), ValueError, r"PerWorker\.laws must hold one law for each of 3"),
        (lambda: clustered(LinkOutages(LAW, constants(1.0))), ValueError, r"PerWorker\.laws must hold one law for each of 3"),
    ],
)
def test_bad_descriptions_are_refused_by_name_and_value(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


@dataclass(frozen=True)
class Own(sg.times.Law):
    """A law of a user's own, which draws whatever it was given."""

    drawn: object

    def sample(self, rng, worker, now):
        return self.drawn

    def moments(self, worker=0):
        return sg.times.Moments(1.0, 0.0)


@pytest.mark.parametrize("drawn", [-0.5, math.nan, math.inf, None, "soon"])
def test_laws_of_one_s_own_must_draw_usable_spells_and_jitter(drawn):
    """Crashes, outages and jitter: a clock can use only finite numbers that are not negative."""
    for fault in (Crashes(Own(drawn), LAW), Crashes(LAW, Own(drawn)), LinkOutages(Own(drawn), LAW)):
        with pytest.raises(ValueError, match=rf"{type(fault).__name__}\(.*Own\(.*drew"):
            sg.record(sg.AsyncSGD(), clustered(fault), sg.Seconds(50.0))
    wire = Jittery(Link(1.0), Own(drawn))
    for network, protocol in ((wire, sg.AsyncSGD()), (ParameterServer(wire), sg.AsyncSGD()), (Ring(wire), WAITS)):
        with pytest.raises(ValueError, match=r"Own\(.*drew"):
            sg.record(protocol, sg.Cluster(2, LAW, network), sg.Seconds(50.0), message_bytes=8)


def test_an_error_of_one_s_own_law_arrives_as_it_is():
    """Whoever asks the law: not as a copy that SimPy makes of it."""

    class OwnError(Exception):
        def __init__(self, first, second):
            super().__init__(f"{first} and {second}")

    @dataclass(frozen=True)
    class Failing(Own):
        def sample(self, rng, worker, now):
            raise OwnError("one", "two")

    law = Failing(None)
    for cluster in (
        sg.Cluster(2, law),
        sg.Cluster(2, LAW, faults=(Crashes(law, LAW),)),
        sg.Cluster(2, LAW, faults=(LinkOutages(LAW, law),)),
        sg.Cluster(2, LAW, ParameterServer(update=law)),
        sg.Cluster(2, LAW, Jittery(Link(), law)),
        sg.Cluster(2, LAW, ParameterServer(Jittery(Link(), law))),
    ):
        with pytest.raises(OwnError, match="one and two"):
            sg.record(sg.AsyncSGD(), cluster, sg.Seconds(50.0), message_bytes=0)


def test_times_between_crashes_may_be_too_small_for_the_clock():
    """Gamma times with a coefficient of variation of 3 are often below 1e-16 of the clock: such spells are one."""
    crashes = Crashes(between=sg.times.Gamma(100.0, 3.0), lasting=Constant(1.0))
    tape = recorded(sg.AsyncSGD(), sg.Cluster(8, Constant(1.0), faults=(crashes,)), sg.Seconds(5_000.0))
    assert len(tape.down) > 100


@pytest.mark.parametrize("seconds", [0.0, 1e-20])
def test_crashes_without_a_time_between_them_are_refused(seconds):
    with pytest.raises(ValueError, match="between"):
        recorded(sg.AsyncSGD(), clustered(Crashes(Own(seconds), Constant(1.0))), sg.Seconds(50.0))


def test_single_precision_laws_make_no_other_clock():
    """What a law draws becomes a float: a moment of a fault is no less precise than any other."""
    crashes = Crashes(Own(np.float32(1.1)), Own(np.float32(0.3)))
    assert {
        type(moment) for spell in itertools.islice(spells([("Crashes 0", crashes)], Crashes, 0, 0), 3) for moment in spell
    } == {float}
    cluster = sg.Cluster(1, Constant(0.1), Jittery(Link(), Own(np.float32(0.1))), (crashes,))
    tape = recorded(sg.AsyncSGD(), cluster, sg.Seconds(5.0))
    assert tape.down.start[1] == float(np.float32(1.1)) + float(np.float32(0.3)) + float(np.float32(1.1))


def test_turns_of_a_worker_s_life():
    def of(*faults):
        return [(turn.moment, turn.kind) for turn in changes(by_worker(faults, 2)[0], seed=0, worker=0)]

    assert of() == []
    assert of(Crash(1, 1.0), Leave(1, 2.0), Join(1, 1.0)) == []  # another worker's
    assert of(Leave(0, 3.0), Crash(0, 1.0, 2.0), Crash(0, 2.5, 5.0)) == [
        (1.0, "crash"),
        (2.0, "return"),
        (2.5, "crash"),
        (3.0, "leave"),
    ]
    assert of(Leave(0, 3.0), Crash(0, 3.0, 5.0)) == [(3.0, "leave")]
    assert of(Join(0, 4.0), Crash(0, 1.0, 2.0), Crash(0, 5.0, 6.0)) == [(4.0, "join"), (5.0, "crash"), (6.0, "return")]
    assert of(Join(0, 4.0), Crash(0, 4.0, 6.0)) == [(4.0, "join"), (6.0, "return")]
    assert of(Join(0, 4.0), Leave(0, 5.0), Crash(0, 3.0)) == [(4.0, "join"), (5.0, "leave")]
    crashes = Crashes(Constant(2.0), Constant(1.0), workers=(0,))
    assert of(crashes, Leave(0, 6.5)) == [
        (2.0, "crash"),
        (3.0, "return"),
        (5.0, "crash"),
        (6.0, "return"),
        (6.5, "leave"),
    ]


def test_a_fault_of_one_s_own_is_refused():
    @dataclass(frozen=True)
    class Flood(sg.faults.Fault):
        worker: int = 0

    with pytest.raises(TypeError, match=r"Cluster\.faults\[0\] must be an instance such as .*Flood"):
        sg.Cluster(1, Constant(1.0), faults=(Flood(),))


def test_who_queues_while_its_worker_crashes_is_cut_where_it_was_down_and_nowhere_else():
    """The pieces grow with the jobs and the crashes, not with their product: a random recording took 3 s to look at."""
    network = sg.networks.ParameterServer(update=sg.times.Constant(seconds=1.0))
    crashes = sg.faults.Crashes(between=sg.times.Exponential(mean=2.0), lasting=sg.times.Constant(0.25))
    cluster = sg.Cluster(4, sg.times.Constant(0.25), network, faults=(crashes,))
    tape = sg.record(sg.AsyncSGD(), cluster, sg.Seconds(2000), message_bytes=0)
    jobs = len(tape) + len(tape.discarded) + len(tape.in_flight)
    assert len(tape.down) > 2000
    assert len(tape.stretches()["queueing"][0]) < 4 * (jobs + len(tape.down))
    assert sum(tape.shares().values()) == pytest.approx(np.ones(4))


def test_a_tape_that_ends_at_the_largest_second_can_be_looked_at():
    """Found by a random recording: NumPy warned of the sum of two moments."""
    cluster = sg.Cluster(1, sg.times.Constant(1.0), faults=(LinkDown(0, start=0, end=1.7976931348623157e308),))
    tape = sg.record(sg.AsyncSGD(), cluster, sg.Updates(1), message_bytes=0)
    assert tape.queueing.tolist() == [tape.end]
