"""Gathering: what an all-reduce costs whose messages cannot be added while they are compressed. Closed forms, and bytes."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simsgd as sg
from simsgd import faults, networks, times
from simsgd.costs import Costs
from simsgd.networks import BinaryTree, HalvingDoubling, Hierarchical, Link, MeasuredAllReduce, Ring
from simsgd.recording.recorder import Recording
from simsgd.work import ONE_GRADIENT, Message, Work

ALPHA, BETA, GAMMA = 0.01, 1 / 1000.0, 1 / 5000.0
LINK = Link(latency=ALPHA, bandwidth=1 / BETA)
FAST = Link(latency=0.001, bandwidth=8000.0)
SIZE = 40.0


@dataclasses.dataclass(frozen=True)
class Tenth(sg.Compression):
    """A message of a tenth of the bytes, which can be summed on its way or not."""

    share: float = 0.1

    def bytes(self, shapes):
        return self.share * 4 * sum(map(math.prod, shapes))

    def compress(self, message, state, key, shared_key):
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class SummedTenth(Tenth):
    sums = True


def kinds(workers):
    """The algorithms that run with so many workers, by name."""
    found = {
        "ring": Ring(LINK, reduction=1 / GAMMA),
        "doubling": HalvingDoubling(LINK, reduction=1 / GAMMA),
        "tree": BinaryTree(LINK, reduction=1 / GAMMA),
    }
    return found | (
        {"hierarchical": Hierarchical(inside=FAST, between=LINK, devices=4, reduction=1 / GAMMA)} if workers % 4 == 0 else {}
    )


def closed_form(name, n, size):
    """The seconds of n messages of one size, for n a power of two, but for the ring."""
    alpha, beta, levels, adding = ALPHA, BETA, math.log2(n), (n - 1) * size * GAMMA
    return (
        adding
        + {
            "ring": (n - 1) * (alpha + size * beta),
            "doubling": levels * alpha + (n - 1) * size * beta,
            "tree": 2 * levels * alpha + n * levels * size * beta,
            "hierarchical": (n / 4 - 1) * (alpha + size * beta) + 3 * (0.001 + n / 4 * size / 8000.0),
        }[name]
    )


@pytest.mark.parametrize("n", [2, 4, 8, 16, 64])
def test_closed_forms(n):
    for name, algorithm in kinds(n).items():
        assert algorithm.seconds(n, SIZE, gather=True) == pytest.approx(closed_form(name, n, SIZE), rel=1e-12), name


@pytest.mark.parametrize("n", [3, 5, 7])
def test_a_ring_of_any_length(n):
    assert kinds(n)["ring"].seconds(n, SIZE, gather=True) == pytest.approx(closed_form("ring", n, SIZE))


def test_ranks_too_many_for_doubling_fold_in_first():
    """Of 3 ranks one hands its message to another, which sends two on, and gets two in the end; so on for 6."""
    doubling = HalvingDoubling(LINK)
    assert doubling.gather(np.zeros(3), np.full(3, SIZE)).tolist() == pytest.approx(
        [3 * ALPHA + 5 * SIZE * BETA, 2 * ALPHA + 3 * SIZE * BETA, 3 * ALPHA + 5 * SIZE * BETA]
    )
    assert doubling.seconds(6, SIZE, gather=True) == pytest.approx(4 * ALPHA + (1 + 2 + 4 + 5) * SIZE * BETA)


def received_by_all(algorithm, sizes):
    """How many bytes arrive at all ranks together, counted by a send that looks."""
    counted = []

    def send(senders, started, message_bytes, wire):
        counted.append(np.broadcast_to(message_bytes, senders.shape).sum())
        return started + 1.0

    algorithm.gather(np.zeros(len(sizes)), np.array(sizes), send)
    return sum(counted)


@pytest.mark.parametrize("name", ["ring", "doubling", "tree", "hierarchical"])
@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(0, 1000), min_size=2, max_size=17))
def test_bytes_on_the_wire_to_the_byte(name, sizes):
    """Every rank receives the messages of all others once, and nothing twice: (n − 1)·Σ bytes, whatever the algorithm."""
    sizes = sizes * 4 if name == "hierarchical" else sizes
    assert received_by_all(kinds(len(sizes))[name], sizes) == (len(sizes) - 1) * sum(sizes)


@pytest.mark.parametrize("n", [2, 3, 4, 6, 8])
def test_a_late_rank_delays_those_who_wait_for_it(n):
    """All wait for all, so the last is done no sooner than the late rank's own message takes to reach it, and all are later."""
    for name, algorithm in kinds(n).items():
        ready = np.zeros(n)
        together = algorithm.gather(ready, np.full(n, SIZE))
        ready[0] = 5.0
        late = algorithm.gather(ready, np.full(n, SIZE))
        assert (late >= together).all(), name
        assert (late > 5.0).all(), name
        assert late.max() <= together.max() + 5.0 + 1e-12, name
    ready = np.array([5.0, *[0.0] * (n - 1)])
    ring = kinds(n)["ring"].gather(ready, np.full(n, SIZE))
    assert ring.max() == pytest.approx(5.0 + closed_form("ring", n, SIZE))  # its message goes all the way round


def test_a_message_longer_than_the_others_goes_round_the_ring():
    """Of 4 ranks the first has 1000 bytes, which arrive after 1, 2 and 3 times α + 1 s; another message takes 0.02 s."""
    done = Ring(LINK).gather(np.zeros(4), np.array([1000.0, 10.0, 10.0, 10.0]))
    # rank 0 sends two others after its own; rank 1 passes the long one on, then another
    assert done.tolist() == pytest.approx([1.01 + 2 * 0.02, 2.02 + 0.02, 3.03, 3.03])


def test_a_measured_table_takes_half_of_an_all_reduce_of_all_messages():
    table = MeasuredAllReduce(sizes=(1e3, 1e4, 1e5), times=(1e-3, 4e-3, 2e-2))
    for n, size in ((4, 2500.0), (10, 1e4), (2, 500.0)):
        assert table.seconds(n, size, gather=True) == table.seconds(n, n * size) / 2
    # of a ring without latency the half is exact: 2(n−1)/n·(nS)β / 2 = (n−1)Sβ
    ring = Ring(Link(0.0, 1000.0))
    assert ring.seconds(8, 8 * SIZE) / 2 == pytest.approx(ring.seconds(8, SIZE, gather=True))


def test_buckets_are_gathered_one_after_the_other():
    assert Ring(LINK, buckets=4).seconds(8, SIZE, gather=True) == pytest.approx(4 * 7 * (ALPHA + SIZE / 4 * BETA))


def test_sizes_that_are_none_are_refused():
    with pytest.raises(ValueError, match="sizes must be one row"):
        Ring(LINK).gather(np.zeros(3), np.zeros(2))


# --- in a recording -------------------------------------------------------------------------------------------------------


def recorded(network, up, workers=8, until=3, work=ONE_GRADIENT, **others):
    costs = Costs(work, Message(400.0, ((100,),)), up)
    recording = Recording(sg.MinibatchSGD(), sg.Cluster(workers, times.Constant(1.0), network, **others), costs)
    recording.advance(updates=until)
    return recording.tape().check()


@pytest.mark.parametrize("name", ["ring", "doubling", "tree", "hierarchical"])
def test_a_compression_that_does_not_sum_is_gathered(name):
    """A tenth of the bytes of each rank: summed where that goes, and gathered where it does not."""
    network = kinds(8)[name]
    tape = recorded(network, Tenth())
    np.testing.assert_allclose(np.diff(tape.update_times, prepend=0.0), 1 + closed_form(name, 8, 40.0), rtol=1e-9)
    assert set(tape.bytes_up.tolist()) == {40.0}
    summed = recorded(network, SummedTenth())
    np.testing.assert_allclose(np.diff(summed.update_times, prepend=0.0), 1 + network.seconds(8, 40.0), rtol=1e-9)
    whole = recorded(network, None)
    np.testing.assert_allclose(np.diff(whole.update_times, prepend=0.0), 1 + network.seconds(8, 400.0), rtol=1e-9)


def test_where_gathering_pays():
    """A ring sums 2(n−1)/n·S and gathers (n−1)·cS: compression by c pays below c = 2/n, if latency is nothing."""
    ring = Ring(Link(0.0, 1000.0))
    for n in (4, 8, 16):
        for share, pays in ((1.9 / n, True), (2.1 / n, False)):
            gathered = recorded(ring, Tenth(share), workers=n).update_times[0]
            assert (gathered < recorded(ring, None, workers=n).update_times[0]) == pays


def test_messages_of_different_lengths_are_each_rank_s_own():
    @dataclasses.dataclass(frozen=True)
    class Own(Work):
        def charge(self, order):
            return super().charge(order)._replace(bytes_up=100.0 * (1 + order.worker))

        def run(self, parameters, state, job):
            raise NotImplementedError

    ring = Ring(LINK)
    tape = recorded(ring, Tenth(), workers=4, until=1, work=Own())
    own = np.array([10.0, 20.0, 30.0, 40.0])
    assert tape.update_times[0] == pytest.approx(1 + ring.gather(np.zeros(4), own).max())
    summed = recorded(ring, SummedTenth(), workers=4, until=1, work=Own())
    assert summed.update_times[0] == pytest.approx(1 + ring.seconds(4, 40.0))  # the longest


def test_jitter_and_losses_disturb_gathering():
    """Both come on top of each message, and the same seed gives the same tape."""
    jittery = Ring(networks.Jittery(LINK, times.Exponential(0.05)))
    quiet, noisy = (recorded(network, Tenth(), until=20) for network in (Ring(LINK), jittery))
    assert (np.diff(noisy.update_times) > np.diff(quiet.update_times)).all()
    lossy = recorded(Ring(LINK), Tenth(), until=20, faults=[faults.LostMessages(0.2, timeout=0.3)])
    assert lossy.end > quiet.end
    assert recorded(jittery, Tenth(), until=20) == noisy


def test_an_all_reduce_of_one_s_own_says_how_it_gathers_or_is_refused():
    @dataclasses.dataclass(frozen=True)
    class Mine(networks.AllReduce):
        def rounds(self, ready, message_bytes, send):
            return np.full_like(ready, ready.max() + 1.0)

    with pytest.raises(ValueError, match=r"Mine\(.*\) must define gather_rounds\(ready, sizes, send\), as what Tenth"):
        recorded(Mine(), Tenth())
    assert recorded(Mine(), SummedTenth()).update_times.tolist() == [2.0, 4.0, 6.0]
    with pytest.raises(NotImplementedError, match="Mine must define gather_rounds"):
        Mine().gather(np.zeros(2), np.zeros(2))
