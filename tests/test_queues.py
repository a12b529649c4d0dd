"""Where messages queue: fair sharing and first in, first out, by hand to the last bit and against slow, plainly right play."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import simsgd as sg
from simsgd.networks import Duplex, Link, ParameterServer, PerWorker
from simsgd.protocols import KSyncSGD
from simsgd.recording.events import EventLoop
from simsgd.recording.job import Job
from simsgd.recording.queues import FairLink, Free, Line, Message

# In the cases worked by hand all moments and rates are dyadic numbers, so sums on the clock are exact, and compared with ==.

FREE = math.inf


def run(loop):
    while loop.next() < math.inf:
        loop.step()


class Played:
    """A queue in an event loop of its own; what came out of it, in order: (worker, when, since when it was alone)."""

    def __init__(self, make):
        self.loop = EventLoop()
        self.done, self.jobs = [], {}
        self.queue = make(self.loop, lambda job, since: self.done.append((job.worker, self.loop.now, since)))

    def at(self, moment, verb, *workers):
        """Have workers' messages put in, or dropped, at a moment, one after the other."""
        for worker in workers:
            self.loop.at(moment, lambda event: getattr(self, verb)(event.subject), worker)
        return self

    def put(self, worker):
        self.jobs[worker] = Job(worker, 0, 0, self.loop.now)
        self.queue.put(self.jobs[worker])

    def drop(self, worker):
        self.queue.drop(self.jobs[worker])

    def out(self):
        run(self.loop)
        return self.done


def fair(capacity, caps, message_bytes=8.0):
    """A link; `message_bytes` are those of all messages, or one number for each worker."""
    sizes = message_bytes if isinstance(message_bytes, list) else [message_bytes] * len(caps)
    return Played(lambda loop, done: FairLink(loop, lambda job: Message(sizes[job.worker], caps[job.worker], capacity), done))


def line(*seconds):
    return Played(lambda loop, done: Line(loop, lambda job: seconds[job.worker], done))


def moments(done):
    return [(worker, moment) for worker, moment, _ in done]


# --- fair sharing, by hand -----------------------------------------------------------------------------------------------


def test_a_flow_alone_has_the_whole_link():
    assert fair(8.0, [FREE]).at(0.5, "put", 0).out() == [(0, 1.5, 0.5)]


def test_a_flow_joins_midway():
    """8 bytes each through 8 bytes/s: until 0.5 the first has 4, then both get 4 bytes/s, and the first is through at 1.5.

    The second has had 4 by then, and needs 0.5 s more for the rest. Alone, each would have needed 1 s.
    """
    link = fair(8.0, [FREE] * 2).at(0.0, "put", 0).at(0.5, "put", 1)
    assert link.out() == [(0, 1.5, 0.5), (1, 2.0, 1.0)]


def test_flows_join_and_leave_one_after_the_other():
    """16 bytes each through 16 bytes/s. At 0.5 the first has 8; at 1, by 8 bytes/s each, the first has 12 and the second 4.

    Then four share, 4 bytes/s each, until at 2 the first is through and the fourth is dropped. The second has 8 then and is
    through at 3, by 8 bytes/s; the third, which had 4, has 12 at 3, and needs 0.25 s more.
    """
    link = fair(16.0, [FREE] * 4, 16.0).at(0.0, "put", 0).at(0.5, "put", 1).at(1.0, "put", 2, 3).at(2.0, "drop", 3)
    assert moments(link.out()) == [(0, 2.0), (1, 3.0), (2, 3.25)]


def test_a_flow_dropped_in_mid_flight_frees_its_share_at_once():
    """By 0.5 each has 2 of 8 bytes; the other's last 6 then take 0.75 s."""
    assert fair(8.0, [FREE] * 2).at(0.0, "put", 0, 1).at(0.5, "drop", 0).out() == [(1, 1.25, 0.25)]


def test_a_dropped_flow_that_is_sent_anew_begins_at_the_beginning():
    """By 0.5 each has 2; then again both share: the one with 2 is through at 2, when the new one has 6; at 8 bytes/s 0.25 s."""
    link = fair(8.0, [FREE] * 2).at(0.0, "put", 0, 1).at(0.5, "drop", 0).at(0.5, "put", 0)
    assert moments(link.out()) == [(1, 2.0), (0, 2.25)]


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 0, 3, 1)])
def test_flows_through_at_one_moment_come_in_the_order_in_which_they_joined(order):
    assert moments(fair(16.0, [FREE] * 4).at(1.0, "put", *order).out()) == [(worker, 3.0) for worker in order]


@pytest.mark.parametrize(
    ("capacity", "caps", "through"),
    [
        (10.0, [2.0, FREE, FREE], [4.0, 2.0, 2.0]),  # 2, and (10 − 2)/2 = 4 each
        (16.0, [1.0, 2.0, 4.0], [8.0, 4.0, 2.0]),  # room is left over
        (11.0, [FREE, 1.0, 2.0, FREE], [2.0, 8.0, 4.0, 2.0]),  # 1, 2, and (11 − 3)/2 = 4 each
        (4.0, [4.0, 2.0], [4.0, 4.0]),  # the cap is just the fair share
        (4.0, [16.0, 3.0], [4.0, 4.0]),  # caps above the fair share, and above the link, change nothing
        (FREE, [2.0, 4.0], [4.0, 2.0]),  # a link without limit
    ],
)
def test_caps_by_hand(capacity, caps, through):
    """8 bytes each, all at 0: what one cannot use, because of its cap, is for the others."""
    link = fair(capacity, caps).at(0.0, "put", *range(len(caps)))
    assert dict(moments(link.out())) == dict(enumerate(through))


def test_a_cap_binds_once_others_have_left():
    """Four share 12 bytes/s, 3 each, below the cap of 4. At 1 two are dropped: the two left have had 3, at 4 and 8 bytes/s."""
    link = fair(12.0, [4.0, FREE, FREE, FREE]).at(0.0, "put", 0, 1, 2, 3).at(1.0, "drop", 2, 3)
    assert moments(link.out()) == [(1, 1.625), (0, 2.25)]


def test_a_cap_that_bound_is_below_the_fair_share_no_more():
    """Capped at 4 of 8 bytes/s, it has 4 at 1. Three more join and each gets 2: it is through at 3, when they have had 4.

    They had 0 at 1, so at 3 they share 8 bytes/s, 8/3 each, for their last 4 bytes: 1.5 s.
    """
    link = fair(8.0, [4.0, FREE, FREE, FREE]).at(0.0, "put", 0).at(1.0, "put", 1, 2, 3)
    done = dict(moments(link.out()))
    assert (done[0], [done[worker] for worker in (1, 2, 3)]) == (3.0, pytest.approx([4.5] * 3, rel=1e-12))


def test_where_nothing_limits_a_message_it_takes_no_time():
    """A link without limit, workers of whom only one has a limit of its own."""
    link = fair(FREE, [2.0, FREE, FREE]).at(0.0, "put", 0, 1, 2).at(1.0, "put", 2, 1)
    assert moments(link.out()) == [(1, 0.0), (2, 0.0), (2, 1.0), (1, 1.0), (0, 4.0)]


def test_messages_of_different_sizes_by_hand():
    """8 and 16 bytes through 8 bytes/s: 4 each until 2, when the second has 8 left, for 1 s. One of no bytes does not wait."""
    link = fair(8.0, [FREE] * 3, [8.0, 16.0, 0.0]).at(0.0, "put", 0, 1, 2)
    assert link.out() == [(2, 0.0, 0.0), (0, 2.0, 1.0), (1, 3.0, 1.0)]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 1, 0)])
def test_a_link_whose_capacity_follows_the_size_is_shared_by_time(order):
    """Alone, worker 0's 8 bytes take the link 1 s at 8 bytes/s, and worker 1's 16 bytes 4 s at 4 bytes/s.

    With half of the time each, the first is through at 2, and the second, of which 1 s is done, at 5. The third takes nothing
    of the link: 8 bytes at its own 1 byte/s.
    """
    messages = [Message(8.0, FREE, 8.0), Message(16.0, FREE, 4.0), Message(8.0, 1.0, FREE)]
    link = Played(lambda loop, done: FairLink(loop, lambda job: messages[job.worker], done)).at(0.0, "put", *order)
    assert link.out() == [(0, 2.0, 1.0), (1, 5.0, 1.0), (2, 8.0, 0.0)]


def test_dropping_what_is_not_there_changes_nothing():
    link = fair(8.0, [FREE] * 3).at(0.0, "put", 0, 1)
    for worker in (0, 2):  # another job of a worker's, which was never here
        link.loop.at(1.0, lambda event: link.queue.drop(event.subject), Job(worker, 9, 0, 0.0))
    assert moments(link.at(3.0, "drop", 0, 1).out()) == [(0, 2.0), (1, 2.0)]


# --- first in, first out, by hand ----------------------------------------------------------------------------------------


def test_a_line_serves_one_after_the_other():
    queue = line(1.0, 0.5, 0.25).at(0.0, "put", 0).at(0.25, "put", 2).at(0.5, "put", 1).at(4.0, "put", 0)
    assert queue.out() == [(0, 1.0, 0.0), (2, 1.25, 1.0), (1, 1.75, 1.25), (0, 5.0, 4.0)]


def test_when_the_one_served_is_dropped_the_next_one_s_turn_has_come():
    assert line(1.0, 0.5, 0.25).at(0.0, "put", 0, 1, 2).at(0.5, "drop", 0).out() == [(1, 1.0, 0.5), (2, 1.25, 1.0)]


def test_one_that_waits_and_is_dropped_is_skipped():
    assert line(1.0, 0.5, 0.25).at(0.0, "put", 0, 1, 2).at(0.5, "drop", 1).out() == [(0, 1.0, 0.0), (2, 1.25, 1.0)]


def test_one_that_is_dropped_and_put_again_goes_to_the_end():
    queue = line(1.0, 0.5, 0.25).at(0.0, "put", 0, 1, 2).at(0.5, "drop", 0).at(0.5, "put", 0)
    assert queue.out() == [(1, 1.0, 0.5), (2, 1.25, 1.0), (0, 2.25, 1.25)]


def test_a_line_is_idle_after_its_last_was_dropped():
    assert line(1.0, 0.5).at(0.0, "put", 0).at(0.5, "drop", 0).at(0.75, "put", 1).out() == [(1, 1.25, 0.75)]


def test_a_line_forgets_nobody_but_the_very_job():
    queue = line(1.0, 1.0).at(0.0, "put", 0, 1)
    for worker in (0, 1):  # another job of a worker's, which was never here
        queue.loop.at(0.5, lambda event: queue.queue.drop(event.subject), Job(worker, 9, 0, 0.0))
    assert moments(queue.out()) == [(0, 1.0), (1, 2.0)]


def test_what_takes_no_time_waits_its_turn_and_for_nobody_else():
    queue = line(0.0, 1.0, 0.0).at(0.0, "put", 0, 1, 2)
    assert queue.out() == [(0, 0.0, 0.0), (1, 1.0, 0.0), (2, 1.0, 1.0)]


def test_a_free_queue_is_done_at_once():
    queue = Played(Free).at(1.0, "put", 0, 1).at(2.0, "drop", 0)
    assert queue.out() == [(0, 1.0, 1.0), (1, 1.0, 1.0)]


@settings(deadline=None, max_examples=1000)
@given(now=st.floats(0, 1e9), moment=st.floats(0, 1e9))
@example(now=0.33776874061001927, moment=1.7579544029403025)  # no float, added to the first, gives the second
def test_an_event_happens_at_its_very_moment(now, moment):
    loop, seen = EventLoop(), []
    first, second = sorted((now, moment))
    loop.at(first, lambda event: loop.at(second, lambda event: seen.append(loop.now), None), None)
    run(loop)
    assert seen == [max(now, moment)]


# --- against slow, obviously right play ----------------------------------------------------------------------------------


def filled(capacity, caps):
    """Max-min fair rates, by filling: all rates rise together, until a cap or the link stops them."""
    rates, rising = dict.fromkeys(caps, 0.0), set(caps)
    while rising:
        share = (capacity - sum(rates[flow] for flow in caps if flow not in rising)) / len(rising)
        stopped = {flow for flow in rising if caps[flow] <= share} or rising
        for flow in stopped:
            rates[flow] = min(share, caps[flow])
        rising -= stopped
    return rates


def slowly(capacity, caps, sizes, todo):
    """Return when each message is through, filling rates anew at every event; `todo` is [(moment, verb, worker)], in order."""
    left, through, now, todo = {}, {}, 0.0, list(todo)
    while left or todo:
        rates = filled(capacity, {worker: caps[worker] for worker in left})
        ends = {worker: now + left[worker] / rates[worker] for worker in left}
        first = min(ends, key=ends.get, default=None)
        finishes = first is not None and (not todo or ends[first] < todo[0][0])
        moment, verb, worker = (ends[first], "through", first) if finishes else todo.pop(0)
        left = {other: bytes_ - rates[other] * (moment - now) for other, bytes_ in left.items()}
        now = moment
        if verb == "put":
            left[worker] = sizes[worker]
        elif left.pop(worker, None) is not None and verb == "through":
            through[worker] = now
    return through


@st.composite
def loads(draw, drops=True):
    """Messages of up to 16 workers: caps, bytes, and what happens, in the order of the clock; no two moments are equal."""
    capacity = draw(st.sampled_from([50.0, 100.0, 333.0]))
    caps = draw(st.lists(st.sampled_from([7.0, 20.0, 20.5, 70.0, 1000.0, FREE]), min_size=1, max_size=16))
    sizes = draw(st.lists(st.sampled_from([100.0, 0.5, 12.25, 400.0]), min_size=len(caps), max_size=len(caps)))
    stream = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = draw(st.sampled_from([0.5, 5.0, 50.0]))
    todo = [(stream.uniform(0, spread), "put", worker) for worker in range(len(caps))]
    if drops:
        todo += [
            (moment + stream.exponential(spread / 4), "drop", worker) for moment, _, worker in todo if stream.random() < 0.4
        ]
    return capacity, caps, sizes, sorted(todo)


@settings(deadline=None, max_examples=150)
@given(load=loads())
def test_fair_sharing_against_rates_filled_anew_at_every_event(load):
    capacity, caps, sizes, todo = load
    link = fair(capacity, caps, sizes)
    for moment, verb, worker in todo:
        link.at(moment, verb, worker)
    found, expected = dict(moments(link.out())), slowly(capacity, caps, sizes, todo)
    assert found.keys() == expected.keys()
    for worker, moment in expected.items():
        assert found[worker] == pytest.approx(moment, rel=1e-9)
    for worker, moment, since in link.done:  # alone it would have taken this long; it never begins before it is put in
        entered = next(at for at, verb, who in todo if (verb, who) == ("put", worker))
        assert since == pytest.approx(max(entered, moment - sizes[worker] / min(capacity, caps[worker])), rel=1e-12)


def rates_of(link):
    """The rate of each flow at the moment, looked up inside."""
    return {worker: flowing.flows.rate for worker, flowing in link._joined.items()}


@settings(deadline=None, max_examples=150)
@given(load=loads())
def test_rates_are_max_min_fair_at_all_times_and_deliver_what_is_sent(load):
    """Nobody's rate is below its cap unless the link is full and nobody has more; who is through has had its bytes, no more."""
    capacity, caps, sizes, todo = load
    link = fair(capacity, caps, sizes)
    for moment, verb, worker in todo:
        link.at(moment, verb, worker)
    had, busy, full = dict.fromkeys(range(len(caps)), 0.0), 0.0, 0.0
    loop, through = link.loop, set()
    while loop.next() < math.inf:
        rates, span = rates_of(link.queue), loop.next() - loop.now
        assert sum(rates.values()) <= capacity * (1 + 1e-12)
        for worker, rate in rates.items():
            is_full = sum(rates.values()) == pytest.approx(capacity, rel=1e-12)
            assert rate == caps[worker] or (is_full and rate >= max(rates.values()) * (1 - 1e-12))
            had[worker] += rate * span
        busy += span * bool(rates)
        full += span * min(capacity, sum(caps[worker] for worker in rates))
        loop.step()
    through = {worker for worker, _, _ in link.done}
    for worker in had:
        assert had[worker] == pytest.approx(sizes[worker], rel=1e-9) if worker in through else had[worker] < sizes[worker]
    assert sum(had.values()) == pytest.approx(full, rel=1e-9)  # bytes delivered = what the link and the caps carry × time
    if min(caps) >= capacity:
        assert sum(had.values()) == pytest.approx(capacity * busy, rel=1e-9)  # bytes delivered = rate × busy time


@settings(deadline=None, max_examples=100)
@given(load=loads(), seed=st.integers(0, 2**32))
def test_a_line_against_lindley_s_recursion(load, seed):
    """Each begins when it is there and the one before it is gone; one that is dropped while it waits takes no time."""
    _, caps, _, todo = load
    seconds = np.random.default_rng(seed).exponential(1.0, len(caps)).tolist()
    queue = line(*seconds)
    for moment, verb, worker in todo:
        queue.at(moment, verb, worker)
    dropped, expected, free = {worker: moment for moment, verb, worker in todo if verb == "drop"}, [], 0.0
    for moment, verb, worker in todo:
        if verb == "put":
            begins, gone = max(moment, free), dropped.get(worker, FREE)
            if gone > begins:
                free = min(begins + seconds[worker], gone)
            if gone > begins + seconds[worker]:
                expected.append((worker, pytest.approx(free, rel=1e-12), pytest.approx(begins, rel=1e-12)))
    assert queue.out() == expected


# --- whole tapes, by hand ------------------------------------------------------------------------------------------------

MOMENTS = ("worker", "assigned", "departed", "began", "ended", "sent", "arrived", "time")


def lives(log, columns=MOMENTS):
    return list(zip(*(getattr(log, name).tolist() for name in columns), strict=True))


def constants(*seconds):
    return sg.times.PerWorker(tuple(map(sg.times.Constant, seconds)))


def recorded(protocol, cluster, until, message_bytes=8.0):
    return sg.record(protocol, cluster, until, message_bytes=message_bytes).check()


# 8 bytes, up through 8 bytes/s; down in no time. Jobs of 1 and of 1.5 s: gradients leave at 1 and 1.5.
UP = Duplex(down=Link(), up=Link(bandwidth=8.0))


def test_a_tape_of_fair_sharing_by_hand():
    """As in `test_a_flow_joins_midway`, a second later: through at 2.5 and 3; the first one's next, ready at 3.5, is alone."""
    tape = recorded(sg.AsyncSGD(), sg.Cluster(2, constants(1.0, 1.5), ParameterServer(UP)), sg.Updates(3))
    assert lives(tape) == [
        (0, 0.0, 0.0, 0.0, 1.0, 1.5, 2.5, 2.5),
        (1, 0.0, 0.0, 0.0, 1.5, 2.0, 3.0, 3.0),
        (0, 2.5, 2.5, 2.5, 3.5, 3.5, 4.5, 4.5),
    ]


def test_a_tape_of_first_in_first_out_by_hand():
    """The second waits from 1.5 until the first is through, at 2; it is through at 3. The first's next one is ready then."""
    network = ParameterServer(UP, sharing="first in, first out")
    tape = recorded(sg.AsyncSGD(), sg.Cluster(2, constants(1.0, 1.5), network), sg.Updates(4))
    assert lives(tape) == [
        (0, 0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0),
        (1, 0.0, 0.0, 0.0, 1.5, 2.0, 3.0, 3.0),
        (0, 2.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0),
        (1, 3.0, 3.0, 3.0, 4.5, 4.5, 5.5, 5.5),
    ]


def test_models_queue_for_the_way_out_and_latency_occupies_no_link():
    """2 s of bandwidth and 0.5 s of latency either way, first in, first out: a message holds its link for 2 s, not 2.5."""
    network = ParameterServer(Link(latency=0.5, bandwidth=4.0), sharing="first in, first out")
    tape = recorded(sg.MinibatchSGD(), sg.Cluster(2, sg.times.Constant(1.0), network), sg.Updates(1))
    assert lives(tape) == [(0, 0.0, 0.0, 2.5, 3.5, 3.5, 6.0, 6.0), (1, 0.0, 2.0, 4.5, 5.5, 5.5, 8.0, 8.0)]


def test_the_two_directions_do_not_disturb_each_other():
    """A model goes down while a gradient goes up, each at the full 8 bytes/s."""
    network = ParameterServer(Link(bandwidth=8.0))
    tape = recorded(sg.AsyncSGD(), sg.Cluster(2, constants(1.0, 2.0), network), sg.Updates(3))
    # models share the way out until 2, so jobs begin at 2; gradients leave at 3 and 4, alone; the next model at 4, alone
    assert lives(tape)[:2] == [(0, 0.0, 1.0, 2.0, 3.0, 3.0, 4.0, 4.0), (1, 0.0, 1.0, 2.0, 4.0, 4.0, 5.0, 5.0)]
    assert lives(tape)[2] == (0, 4.0, 4.0, 5.0, 6.0, 6.0, 7.0, 7.0)


def test_the_server_handles_one_gradient_after_the_other():
    """0.75 s each: three that arrive at 1 are used at 1.75, 2.5 and 3.25."""
    network = ParameterServer(update=sg.times.Constant(0.75))
    tape = recorded(sg.MinibatchSGD(), sg.Cluster(3, sg.times.Constant(1.0), network), sg.Updates(1), 0.0)
    assert lives(tape, ("arrived", "time")) == [(1.0, 1.75), (1.0, 2.5), (1.0, 3.25)]


@pytest.mark.parametrize("sharing", ["fair", "first in, first out"])
def test_a_worker_s_own_link_caps_its_rate_and_adds_its_latency(sharing):
    """12 bytes. The second sends at 4 of 16 bytes/s, from 1 to 4, and they arrive 0.25 s later.

    Fair: the first, ready at 1.5, has the other 12 bytes/s. First in, first out: the slow one holds the link for its 3 s.
    """
    access = PerWorker((Link(), Duplex(down=Link(), up=Link(latency=0.25, bandwidth=4.0))))
    network = ParameterServer(Duplex(down=Link(), up=Link(bandwidth=16.0)), sharing=sharing, access=access)
    tape = recorded(sg.MinibatchSGD(), sg.Cluster(2, constants(1.5, 1.0), network), sg.Updates(1), 12.0)
    slow, fast = (1, 0.0, 0.0, 0.0, 1.0, 1.0, 4.25), (0, 0.0, 0.0, 0.0, 1.5)
    if sharing == "fair":
        assert lives(tape, MOMENTS[:-1]) == [(*fast, 1.75, 2.5), slow]  # 12 bytes at 12 bytes/s; alone it would take 0.75 s
    else:
        assert lives(tape, MOMENTS[:-1]) == [slow, (*fast, 4.0, 4.75)]


@pytest.mark.parametrize(
    ("sharing", "latency", "step"),
    [("fair", 0.0, 1.875), ("first in, first out", 0.0, 1.125), ("first in, first out", 0.5, 1.625)],
    ids=["sharing the link", "waiting for it", "having it"],
)
def test_a_cancelled_job_frees_the_link_for_the_next(sharing, latency, step):
    """The second is cancelled with its gradient on its way, and the first one's next is ready 0.125 s later: the link is free.

    Fair: the first has 2 of 8 bytes when the second joins, at 0.375, and 4 bytes/s from then on. First in, first out: it is
    through at 1.125, while the second waits, or has had the link for as long as the latency.
    """
    network = ParameterServer(Duplex(down=Link(), up=Link(latency, 8.0)), sharing=sharing)
    tape = recorded(KSyncSGD(1), sg.Cluster(2, constants(0.125, 0.375), network), sg.Updates(4))
    assert tape.time.tolist() == tape.discarded.time.tolist() == [step, 2 * step, 3 * step, 4 * step]
    assert tape.worker.tolist() == [0] * 4
    assert tape.discarded.worker.tolist() == [1] * 4
    assert (tape.discarded.ended - tape.discarded.assigned).tolist() == [0.375] * 4
    assert np.isnan(tape.discarded.arrived).all()
