"""All-reduce: closed forms, late ranks by hand, and a second simulation of every message by SimPy processes."""

import dataclasses
import functools
import itertools
import math

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from simsgd.networks import AllReduce, BinaryTree, HalvingDoubling, Hierarchical, Jittery, Link, MeasuredAllReduce, Ring
from simsgd.times import Constant, PerWorker

# Up to 2·63 rounds of a few float64 operations each: relative error below 1000 × 1.1e-16.
ROUNDING = 1e-12

LATENCY, BANDWIDTH = 5e-6, 12.5e9
LINK = Link(LATENCY, BANDWIDTH)
FAST = Link(3.4e-6, 450e9)
SIZES = (1.0, 4096.0, 710e3, 100e6)
REDUCTIONS = (math.inf, 3e10)


def seconds_per_byte(size, reduction):
    return size / BANDWIDTH, size / reduction


# --- closed forms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n", range(2, 65))
def test_ring_closed_form(n, size, reduction):
    """2(n−1)α + 2(n−1)/n·Sβ + (n−1)/n·Sγ."""
    sending, adding = seconds_per_byte(size, reduction)
    expected = 2 * (n - 1) * LATENCY + (n - 1) / n * (2 * sending + adding)
    assert Ring(LINK, reduction=reduction).seconds(n, size) == pytest.approx(expected, rel=ROUNDING)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n", range(2, 65))
def test_halving_doubling_closed_form(n, size, reduction):
    """2 log₂p·α + 2(p−1)/p·Sβ + (p−1)/p·Sγ for p = n; with p the power of two below another n, 2(α + Sβ) + Sγ more."""
    sending, adding = seconds_per_byte(size, reduction)
    p = 2 ** math.floor(math.log2(n))
    expected = 2 * math.log2(p) * LATENCY + (p - 1) / p * (2 * sending + adding)
    if p < n:
        expected += 2 * (LATENCY + sending) + adding
    assert HalvingDoubling(LINK, reduction=reduction).seconds(n, size) == pytest.approx(expected, rel=ROUNDING)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n", [2, 4, 8, 16, 32, 64])
def test_tree_closed_form_for_powers_of_two(n, size, reduction):
    """2 log₂n·(α + Sβ) + log₂n·Sγ."""
    sending, adding = seconds_per_byte(size, reduction)
    expected = math.log2(n) * (2 * (LATENCY + sending) + adding)
    assert BinaryTree(LINK, reduction=reduction).seconds(n, size) == pytest.approx(expected, rel=ROUNDING)


@pytest.mark.parametrize("n", range(2, 65))
def test_tree_of_any_number_of_ranks(n):
    """2⌈log₂n⌉·(α + Sβ): the root takes in ⌈log₂n⌉ messages one at a time and sends as many; adding is at most as often."""
    rounds, sending = math.ceil(math.log2(n)), 1e6 / BANDWIDTH
    assert BinaryTree(LINK).seconds(n, 1e6) == pytest.approx(2 * rounds * (LATENCY + sending), rel=ROUNDING)
    more = BinaryTree(LINK, reduction=3e10).seconds(n, 1e6) - BinaryTree(LINK).seconds(n, 1e6)
    assert 0 < more <= rounds * 1e6 / 3e10 * (1 + ROUNDING)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("nodes", "devices"), [(g, m) for g in (1, 2, 3, 8, 16) for m in (1, 2, 4, 7, 8) if g * m <= 64])
def test_hierarchical_closed_form(nodes, devices, size, reduction):
    """2(m−1)(αᵢ + S/m·βᵢ) + 2(g−1)(αₒ + S/(gm)·βₒ) + ((m−1)/m + (g−1)/(gm))·Sγ."""
    g, m = nodes, devices
    expected = (
        2 * (m - 1) * (FAST.latency + size / m / FAST.bandwidth)
        + 2 * (g - 1) * (LATENCY + size / (g * m) / BANDWIDTH)
        + ((m - 1) / m + (g - 1) / (g * m)) * size / reduction
    )
    fabric = Hierarchical(inside=FAST, between=LINK, devices=m, reduction=reduction)
    assert fabric.seconds(g * m, size) == pytest.approx(expected, rel=ROUNDING)


def test_one_node_or_one_device_per_node_is_a_ring():
    ring = Ring(LINK).seconds(12, 1e6)
    assert Hierarchical(inside=LINK, between=FAST, devices=12).seconds(12, 1e6) == ring
    assert Hierarchical(inside=FAST, between=LINK, devices=1).seconds(12, 1e6) == ring


def test_published_numbers():
    """100 MB, 5 µs, 12.5 GB/s: a ring of 8 takes 14.07 ms, of 64 16.38 ms."""
    assert round(1e3 * Ring(LINK).seconds(8, 100e6), 2) == 14.07
    assert round(1e3 * Ring(LINK).seconds(64, 100e6), 2) == 16.38


def test_ring_and_tree_cross_near_710_kilobytes():
    """At n = 64: 126α + 63/32·Sβ = 12(α + Sβ), so S = 114α / ((12 − 63/32)·β)."""
    size = 114 * LATENCY * BANDWIDTH / (12 - 63 / 32)
    assert round(size / 1e3) == 710
    ring, tree = Ring(LINK), BinaryTree(LINK)
    assert ring.seconds(64, size) == pytest.approx(tree.seconds(64, size), rel=ROUNDING)
    assert ring.seconds(64, 0.99 * size) > tree.seconds(64, 0.99 * size)
    assert ring.seconds(64, 1.01 * size) < tree.seconds(64, 1.01 * size)


def fabrics(link=LINK, **arguments):
    return (
        Ring(link, **arguments),
        HalvingDoubling(link, **arguments),
        BinaryTree(link, **arguments),
        Hierarchical(inside=FAST, between=link, devices=1, **arguments),
        MeasuredAllReduce((1e3, 1e6), (1e-5, 1e-3)),
    )


@pytest.mark.parametrize("fabric", fabrics(reduction=1e9), ids=lambda fabric: type(fabric).__name__)
def test_one_worker_takes_no_time(fabric):
    assert fabric.seconds(1, 1e9) == 0.0
    assert fabric.finish(np.array([3.5]), 1e9).tolist() == [3.5]
    assert dataclasses.replace(fabric, buckets=3, overlap=True).run([1.0], [3.5], 1e9).tolist() == [3.5]


# --- late ranks by hand: all numbers are dyadic, so every sum is exact ----------------------------------------------------


@pytest.mark.parametrize("reduction", [math.inf, 64.0])
@pytest.mark.parametrize("n", [2, 3, 5, 8, 64])
def test_one_late_rank_makes_a_ring_exactly_as_late(n, reduction):
    """A round is 1/8 + 16/32 + 16/64 seconds; whichever rank is d late, all are done d later."""
    fabric = Ring(Link(1 / 8, 32.0), reduction=reduction)
    on_time = fabric.finish(np.zeros(n), 16.0 * n)
    assert set(on_time) == {2 * (n - 1) * (1 / 8 + 16 / 32) + (n - 1) * 16 / reduction}
    for rank, late in itertools.product({0, 1, n // 2, n - 1}, (1 / 1024, 0.375, 100.0)):
        assert (fabric.finish(late * (np.arange(n) == rank), 16.0 * n) == on_time + late).all()


def test_one_late_rank_of_a_ring_one_millisecond():
    on_time = Ring(LINK).seconds(64, 100e6)
    late = Ring(LINK).finish(1e-3 * (np.arange(64) == 17), 100e6).max()
    assert late - on_time == pytest.approx(1e-3, rel=1e-10)  # the difference of two numbers 16 times as large


HALF = Link(0.5, 32.0)  # a message of 16 bytes takes 1 second


def test_tree_of_six_by_hand():
    """Up: 1→0, 3→2, 5→4 in second 1, 2→0 in second 2, 4→0 in second 3. Down: 0→4, 0→2, then 0→1, 2→3 and, earlier, 4→5."""
    assert BinaryTree(HALF).finish(np.zeros(6), 16).tolist() == [6, 6, 6, 6, 5, 5]


@pytest.mark.parametrize(
    ("rank", "late", "delay"),
    [
        (0, 1.0, 0.0),  # the root has nothing to send before second 3: its own gradient is needed only then
        (0, 3.0, 0.0),
        (0, 3.5, 0.5),
        (4, 2.0, 0.0),  # sends in the third round
        (4, 2.25, 0.25),
        (6, 1.0, 0.0),  # sends in the second round
        (6, 1.5, 0.5),
        (2, 1.0, 0.0),
        (1, 0.5, 0.5),  # the leaves send at once
        (7, 0.5, 0.5),
        (7, 9.0, 9.0),
    ],
)
def test_a_late_rank_delays_a_tree_only_if_somebody_waits_for_it(rank, late, delay):
    """Eight ranks: on time all are done at second 6."""
    assert BinaryTree(HALF).finish(late * (np.arange(8) == rank), 16).tolist() == [6 + delay] * 8


def test_who_waits_in_a_tree_by_hand():
    """Rank 3 is 4 late: 3→2 by second 5, 2→0 by 6, meanwhile 1→0 is in by 1; down 0→2 by 7, 0→1 and 2→3 by 8."""
    sent = []

    def send(senders, started, size, wire):
        sent.extend(zip(senders.tolist(), started.tolist(), strict=True))
        return started + wire.seconds(size)

    assert BinaryTree(HALF).finish(np.array([0.0, 0, 0, 4]), 16, send).tolist() == [8, 8, 8, 8]
    assert sent == [(1, 0), (3, 4), (2, 5), (0, 6), (0, 7), (2, 7)]


def test_halving_doubling_of_four_by_hand():
    """16 bytes at 16/s, no latency: rounds of 1/2, 1/4, 1/4, 1/2 s. Rank 3 is 1 late.

    Second round: 1 and 3 have each other's halves at 1.5; 0 and 2 are through at 0.5, but 0 cannot send to 1 before 1.5, when
    what rank 3 owes to rank 1 is in.
    """
    rounds = []

    def send(senders, started, size, wire):
        rounds.append(started.tolist())
        return started + wire.seconds(size)

    fabric = HalvingDoubling(Link(0.0, 16.0))
    assert fabric.finish(np.array([0.0, 0, 0, 1]), 16, send).tolist() == [2.5] * 4
    assert rounds == [[0, 0, 0, 1], [1.5, 1.5, 0.5, 1.5], [1.75] * 4, [2] * 4]


def test_hierarchical_late_device_by_hand():
    """Two nodes of two devices, 16 bytes: 8/16 s a round inside, 4/4 s between.

    Device 1 of node 0 is 3 late. Inside: node 0 is through at 3.5, node 1 at 0.5. Between: all start at 3.5, their
    partners' messages having come at 1.5, so two rounds end at 5.5. Inside again: 6.
    """
    fabric = Hierarchical(inside=Link(0.0, 16.0), between=Link(0.0, 4.0), devices=2)
    assert fabric.finish(np.zeros(4), 16).tolist() == [3.0] * 4
    assert fabric.finish(np.array([0.0, 3, 0, 0]), 16).tolist() == [6.0] * 4


def test_a_measured_collective_waits_for_the_last():
    fabric = MeasuredAllReduce((10.0, 1000.0), (0.25, 0.5), workers=3)
    assert fabric.finish(np.array([0.0, 7.0, 1.0]), 1000).tolist() == [7.5] * 3
    assert fabric.seconds(3, 5) == 0.25
    assert dataclasses.replace(fabric, buckets=100).seconds(3, 1000) == 25.0


# --- the oracle: one SimPy process for each rank, one for each inbound side ------------------------------------------------
# A rank's program is a list of steps (send to, receive from, bytes, whether to add, wire); None: nobody.


def ring_program(rank, ranks, size, wire):
    """`ranks` in the order of the ring; return the reduce-scatter and the all-gather of `rank`."""
    place, n = ranks.index(rank), len(ranks)
    following, previous = ranks[(place + 1) % n], ranks[(place - 1) % n]
    summing, collecting = ([(following, previous, size / n, add, wire)] * (n - 1) for add in (True, False))
    return summing, collecting


def ring(rank, n, size):
    summing, collecting = ring_program(rank, list(range(n)), size, "link")
    return summing + collecting


def hierarchical(rank, n, size, devices):
    node, place = divmod(rank, devices)
    summing, collecting = ring_program(rank, list(range(node * devices, (node + 1) * devices)), size, "inside")
    between = ring_program(rank, list(range(place, n, devices)), size / devices, "between")
    return [*summing, *between[0], *between[1], *collecting]


def tree(rank, n, size):
    steps, reach = [], 1
    while reach < n and not rank & reach:
        if rank + reach < n:
            steps.append((None, rank + reach, size, True, "link"))
        reach *= 2
    down = [(source, None, size, False, "link") for _, source, *_ in reversed(steps)]
    parent = [(rank - reach, None, size, False, "link"), (None, rank - reach, size, False, "link")] if rank else []
    return steps + parent + down


def halving_doubling(rank, n, size):
    power = 1
    while 2 * power <= n:
        power *= 2
    if rank >= power:
        return [(rank - power, None, size, False, "link"), (None, rank - power, size, False, "link")]
    distances = [power // 2**k for k in range(1, power) if power // 2**k]
    halving = [(rank ^ d, rank ^ d, size * d / power, True, "link") for d in distances]
    middle = halving + [(to, source, part, False, wire) for to, source, part, _, wire in reversed(halving)]
    if rank + power < n:
        return [(None, rank + power, size, True, "link"), *middle, (rank + power, None, size, False, "link")]
    return middle


def oracle(program, ready, size, reduction, wires, extra):
    """Run each rank's program as a SimPy process; `extra[rank][k]` seconds are added to its k-th message. Return the ends."""
    env, n = simpy.Environment(), len(ready)
    programs = [program(rank, n, size) for rank in range(n)]
    offers = {}  # (sender, receiver, wire) → messages that wait for the receiver's inbound side
    inbox = {(rank, wire): simpy.Store(env) for rank in range(n) for wire in wires}
    ends = [math.nan] * n

    def waiting(sender, receiver, wire):
        return offers.setdefault((sender, receiver, wire), simpy.Store(env))

    def inbound_side(rank, wire):
        for _, source, _, _, used in programs[rank]:
            if source is not None and used == wire:
                seconds, arrived = yield waiting(source, rank, wire).get()
                yield env.timeout(seconds)
                yield inbox[rank, wire].put("message")
                arrived.succeed()

    def work(rank):
        yield env.timeout(ready[rank])
        own = iter(extra[rank])
        for to, source, part, add, wire in programs[rank]:
            arrived = None
            if to is not None:
                arrived = env.event()
                yield waiting(rank, to, wire).put((wires[wire].seconds(part) + next(own), arrived))
            if source is not None:
                yield inbox[rank, wire].get()
                yield env.timeout(part / reduction if add else 0.0)
            if arrived is not None:
                yield arrived
        ends[rank] = env.now

    for rank in range(n):
        env.process(work(rank))
        for wire in wires:
            env.process(inbound_side(rank, wire))
    env.run()
    return ends


def jittered(extra):
    """Return a `send` in which the k-th message of a rank takes extra[rank][k] seconds more."""
    sent = np.zeros(len(extra), dtype=int)

    def send(senders, started, size, wire):
        more = np.array(extra)[senders, sent[senders]]
        sent[senders] += 1
        return started + wire.seconds(size) + more

    return send


MOMENTS = st.floats(0.0, 20.0, allow_nan=False)


@st.composite
def cases(draw):
    """Return (fabric, its program for the oracle, wires, ready moments, bytes, extra seconds of each message)."""
    reduction = draw(st.sampled_from([math.inf, 7.0, 0.5]))  # at 0.5 bytes/s adding takes longer than sending
    link = Link(draw(st.floats(0.0, 2.0)), draw(st.sampled_from([3.0, 10.0, math.inf])))
    algorithm = draw(st.sampled_from([Ring, HalvingDoubling, BinaryTree, Hierarchical]))
    if algorithm is Hierarchical:
        nodes, devices = draw(st.sampled_from([(1, 3), (2, 1), (2, 2), (2, 4), (3, 3), (4, 2)]))
        n, inside = nodes * devices, Link(0.1, 50.0)
        fabric = Hierarchical(inside=inside, between=link, devices=devices, reduction=reduction)
        program, wires = functools.partial(hierarchical, devices=devices), {"inside": inside, "between": link}
    else:
        n, fabric, wires = draw(st.integers(2, 9)), algorithm(link, reduction=reduction), {"link": link}
        program = {Ring: ring, HalvingDoubling: halving_doubling, BinaryTree: tree}[algorithm]
    ready = draw(st.lists(MOMENTS, min_size=n, max_size=n))
    noisy = draw(st.booleans())
    seed = draw(st.integers(0, 2**32 - 1))
    extra = np.random.default_rng(seed).exponential(2.0, size=(n, 2 * n)) * noisy
    return fabric, program, wires, ready, draw(st.floats(0.0, 100.0)), extra


@settings(deadline=None, max_examples=300)
@given(cases())
def test_an_independent_simulation_of_every_message_agrees(case):
    fabric, program, wires, ready, size, extra = case
    ends = oracle(program, ready, size, fabric.reduction, wires, extra.tolist())
    assert fabric.finish(np.array(ready), size, jittered(extra)) == pytest.approx(ends, rel=ROUNDING, abs=ROUNDING)


@settings(deadline=None, max_examples=100)
@given(cases())
def test_nobody_is_done_before_all_are_ready_and_lateness_never_helps(case):
    fabric, _, _, ready, size, extra = case
    on_time = fabric.finish(np.array(ready), size, jittered(extra))
    assert on_time.min() >= max(ready)
    later = np.array(ready)
    later[0] += 1.0
    delayed = fabric.finish(later, size, jittered(extra))
    assert (delayed >= on_time).all()
    assert (delayed <= on_time + 1.0 + 1e-9).all()


def test_what_is_sent_and_by_whom():
    """A ring of 3 sends 2·2 times a third of the message from every rank, of a tree each rank but the root sends once up."""
    messages = []

    def send(senders, started, size, wire):
        messages.append((senders.tolist(), size, wire))
        return started + wire.seconds(size)

    Ring(LINK).finish(np.zeros(3), 300, send)
    assert messages == [([0, 1, 2], 100.0, LINK)] * 4
    messages.clear()
    Hierarchical(inside=FAST, between=LINK, devices=2).finish(np.zeros(4), 400, send)
    assert messages == [([0, 1, 2, 3], *rest) for rest in ((200.0, FAST), (100.0, LINK), (100.0, LINK), (200.0, FAST))]
    messages.clear()
    BinaryTree(LINK).finish(np.zeros(4), 400, send)
    assert [senders for senders, _, _ in messages] == [[1, 3], [2], [0], [0, 2]]
    messages.clear()
    HalvingDoubling(LINK).finish(np.zeros(3), 400, send)
    assert [message[:2] for message in messages] == [([2], 400), ([0, 1], 200), ([0, 1], 200), ([0], 400)]


def test_arguments_are_left_as_they_were():
    ready = np.array([1.0, 2.0, 0.5])
    for fabric in fabrics():
        fabric.finish(ready, 1e3)
        fabric.run(ready, ready + 1, 1e3)
    assert ready.tolist() == [1.0, 2.0, 0.5]


# --- buckets and overlap by hand, exact -----------------------------------------------------------------------------------

# Two ranks, a ring: 8 bytes in 4 buckets of 2, each 2 rounds of (1/8 + 1/B) seconds. Backward: half of the 8 s of a job.


@pytest.mark.parametrize(
    ("bandwidth", "overlap", "done"),
    [
        (1.0, False, 8 + 4 * 2.25),
        (1.0, True, 5 + 4 * 2.25),  # the first is ready at 5; each takes longer than the next one needs to be ready
        (8.0, False, 8 + 4 * 0.5),
        (8.0, True, 8 + 0.5),  # ready at 5, 6, 7, 8: all but the last are hidden behind the backward pass
    ],
)
def test_buckets_and_overlap_by_hand(bandwidth, overlap, done):
    fabric = Ring(Link(1 / 8, bandwidth), buckets=4, overlap=overlap, backward_share=0.5)
    assert fabric.run(np.zeros(2), np.full(2, 8.0), 8).tolist() == [done, done]


def test_overlap_with_jobs_of_different_length_by_hand():
    """Rank 0 works from 0 to 8, ready at 5, 6, 7, 8; rank 1 from 1 to 3, at 2.25, 2.5, 2.75, 3. Rank 0 is waited for."""
    fabric = Ring(Link(1 / 8, 8.0), buckets=4, overlap=True, backward_share=0.5)
    assert fabric.run(np.array([0.0, 1]), np.array([8.0, 3]), 8).tolist() == [8.5, 8.5]


def test_ranks_done_early_begin_the_next_bucket_early_by_hand():
    """A tree of three, 2 buckets of 1 s a message: rank 2 has its first bucket at 3 and sends the second at once.

    First bucket: 1→0 by 1, 2→0 by 2, 0→2 by 3, 0→1 by 4. Second: 2→0 may only follow 1→0, from 4 to 5: by 6; 0→2 by 7,
    0→1 by 8.
    """
    assert BinaryTree(HALF, buckets=2).run(np.zeros(3), np.zeros(3), 32).tolist() == [8, 8, 7]


def test_one_bucket_waits_for_the_end_of_the_job():
    ring = Ring(LINK, overlap=True)
    began, ended = np.array([0.0, 0.0, 1.0]), np.array([1.0, 2.0, 1.5])
    assert (ring.run(began, ended, 1e6) == ring.finish(ended, 1e6)).all()


def test_more_buckets_without_overlap_cost_their_latencies():
    """B buckets of a ring: 2(n−1)·B·α + 2(n−1)/n·Sβ."""
    for buckets in (1, 2, 7):
        expected = 14 * buckets * LATENCY + 14 / 8 * 1e6 / BANDWIDTH
        assert Ring(LINK, buckets=buckets).seconds(8, 1e6) == pytest.approx(expected, rel=ROUNDING)


# --- bad arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("thing", [1.0, None, "10GbE", Link], ids=repr)
def test_what_is_not_a_wire_is_refused(thing):
    for made, place in (
        (lambda: Ring(thing), "Ring.link"),
        (lambda: HalvingDoubling(thing), "HalvingDoubling.link"),
        (lambda: BinaryTree(thing), "BinaryTree.link"),
        (lambda: Hierarchical(thing, LINK, 2), "Hierarchical.inside"),
        (lambda: Hierarchical(LINK, thing, 2), "Hierarchical.between"),
    ):
        with pytest.raises(TypeError, match=place) as refusal:
            made()
        assert (thing.__name__ if isinstance(thing, type) else repr(thing)) in str(refusal.value)


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        *(("reduction", value, ValueError) for value in (0, -1.0, math.nan, "1", None, True)),
        *(("buckets", value, ValueError) for value in (0, -1, 1.5, True, "2", None)),
        *(("backward_share", value, ValueError) for value in (-0.1, 1.1, math.nan, math.inf, "1", None)),
        *(("overlap", value, TypeError) for value in (0, 1, "yes", None)),
    ],
    ids=repr,
)
def test_bad_fields_are_refused_by_name_and_value(field, value, kind):
    for algorithm in (Ring, HalvingDoubling, BinaryTree, functools.partial(Hierarchical, LINK, devices=2)):
        with pytest.raises(kind, match=rf"\.{field} must be") as refusal:
            algorithm(LINK, **{field: value}) if isinstance(algorithm, type) else algorithm(between=LINK, **{field: value})
        assert repr(value) in str(refusal.value)


@pytest.mark.parametrize("value", [0, -1, 2.0, True, None], ids=repr)
def test_bad_devices_are_refused(value):
    with pytest.raises(ValueError, match=r"Hierarchical\.devices must be a whole number of at least 1") as refusal:
        Hierarchical(LINK, LINK, value)
    assert repr(value) in str(refusal.value)


@pytest.mark.parametrize("workers", [1, 5, 9])
def test_workers_that_do_not_fill_nodes_are_refused(workers):
    fabric = Hierarchical(LINK, LINK, devices=4)
    with pytest.raises(ValueError, match=rf"Hierarchical\.devices=4 must divide .* {workers} workers"):
        fabric.check_workers(workers)
    with pytest.raises(ValueError, match=rf"devices=4 .* {workers} workers"):
        fabric.finish(np.zeros(workers), 1.0)


def test_another_number_of_workers_than_measured_is_refused():
    fabric = MeasuredAllReduce((1.0,), (1.0,), workers=16)
    with pytest.raises(ValueError, match="measured with 16 workers, not with 8"):
        fabric.seconds(8, 1.0)
    assert dataclasses.replace(fabric, workers=None).seconds(8, 1.0) == 1.0


@pytest.mark.parametrize("ready", [[], 1.0, [[1.0, 2.0]]], ids=repr)
def test_moments_that_are_no_row_are_refused(ready):
    with pytest.raises(ValueError, match="ready must be one row"):
        Ring(LINK).finish(np.array(ready), 1.0)


def test_seconds_refuses_what_cannot_be():
    with pytest.raises(ValueError, match="workers must be a whole number of at least 1, got 0"):
        Ring(LINK).seconds(0, 1.0)
    with pytest.raises(ValueError, match=r"message_bytes must be .* at least 0 \(bytes\), got -1"):
        Ring(LINK).seconds(2, -1)


def test_fewer_ranks_than_a_law_of_jitter_has_workers_may_go_on():
    """A law with an entry for each worker of the cluster must not stop those who are left from summing."""
    law = PerWorker((Constant(1.0),) * 3)
    for fabric in fabrics(Jittery(LINK, law))[:4]:
        fabric.check_workers(3)
        with pytest.raises(ValueError, match="2 workers, got 3"):
            fabric.check_workers(2)
        assert fabric.finish(np.zeros(2), 1e3).max() > 0


def test_all_reduce_is_abstract_and_descriptions_are_values():
    with pytest.raises(TypeError, match="abstract"):
        AllReduce()
    assert len({*fabrics(), *fabrics()}) == 5
    assert Ring(Jittery(LINK, Constant(1.0))) != Ring(LINK)
    assert eval(repr(Ring(LINK, reduction=1e9)), {"Ring": Ring, "Link": Link}) == Ring(LINK, reduction=1e9)
