"""Laws that follow the clock: work stretched second by second, worked by hand, and spells that are like the weather."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

import simsgd as sg
from simsgd import times
from simsgd.support import rng
from simsgd.times.stretching import Piece, Stretched

INF = math.inf
ONE = times.Constant(1.0)


def stream(worker=0):
    return rng.stream(0, "compute time", worker)


def slowdowns(*slower, work=ONE):
    """Work of worker 0 under (slowness, start, end), one entry for each slow-down."""
    return times.Slowdowns(work, tuple(times.Slowdown(0, *entry) for entry in slower))


# --- by hand: all numbers are multiples of 1/8, so that nothing is rounded and == is right --------------------------------

# (pieces (until, slowness), when the job begins, its nominal seconds, the seconds it takes)
BY_HAND = {
    "nothing is slow": ([(INF, 1)], 5.0, 2.0, 2.0),
    "slow throughout": ([(10.0, 4), (INF, 1)], 0.0, 2.0, 8.0),
    "over before the next piece": ([(10.0, 1), (INF, 4)], 8.0, 2.0, 2.0),
    "begins as the piece does": ([(10.0, 1), (INF, 4)], 10.0, 2.0, 8.0),
    "caught slow in mid-run": ([(10.0, 1), (INF, 4)], 9.5, 2.0, 0.5 + 4 * 1.5),
    "a spell in mid-run that ends": ([(10.0, 1), (12.0, 4), (INF, 1)], 9.5, 2.0, 0.5 + 2.0 + (2.0 - 0.5 - 0.5)),
    "slow at first": ([(12.0, 4), (INF, 1)], 11.0, 2.0, 1.0 + 1.75),
    "faster for a while": ([(1.0, 1), (2.0, 0.5), (INF, 1)], 0.0, 4.0, 1.0 + 1.0 + 1.0),
    "several spells": ([(1.0, 2), (2.0, 1), (3.0, 2), (4.0, 1), (INF, 8)], 0.5, 2.625, 0.5 + 1.0 + 1.0 + 0.875),
    "several spells and into the last": ([(1.0, 2), (2.0, 1), (3.0, 2), (INF, 8)], 0.5, 2.0, 0.5 + 1.0 + 1.0 + 8 * 0.25),
    "a pause in mid-run": ([(3.0, 1), (8.0, INF), (INF, 1)], 2.5, 1.0, 0.5 + 5.0 + 0.5),
    "begins in a pause": ([(3.0, 1), (8.0, INF), (INF, 1)], 4.0, 1.0, 4.0 + 1.0),
    "over as the pause begins": ([(3.0, 1), (8.0, INF), (INF, 1)], 2.0, 1.0, 1.0),
    "two pauses": ([(1.0, 1), (2.0, INF), (3.0, 2), (4.0, INF), (INF, 1)], 0.5, 2.0, 0.5 + 1.0 + 1.0 + 1.0 + 1.0),
    "no work in a pause": ([(3.0, 1), (8.0, INF), (INF, 1)], 4.0, 0.0, 0.0),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_job_is_stretched_second_by_second(name):
    pieces, now, work, seconds = BY_HAND[name]
    assert Stretched(lambda now: work, itertools.starmap(Piece, pieces))(now) == seconds


def test_jobs_in_a_row_under_a_schedule():
    """Worker 0: 1 s of work each. Twice as slow from 1.5 s to 2.5 s, at a standstill from 4 s to 6 s, 4 times as slow from 7 s.

    Jobs end at 1; at 1.5 half is done, the other half takes 1 s, so 2.5; 3.5; at 4 half is done, the rest from 6 s on, 6.5; at
    7 half is done, the rest takes 2 s, so 9; then 4 s each.
    """
    law = slowdowns((2.0, 1.5, 2.5), (INF, 4.0, 6.0), (4.0, 7.0, INF))
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(1, law), until=sg.Updates(7))
    assert tape.time.tolist() == [1.0, 2.5, 3.5, 6.5, 9.0, 13.0, 17.0]


def test_a_schedule_is_of_its_worker_alone():
    law = slowdowns((8.0, 0.0, 100.0))
    assert [law.sampler(stream(), worker)(0.0) for worker in range(3)] == [8.0, 1.0, 1.0]


def test_the_long_run_is_of_its_worker_alone():
    """Worker 0 is 2 times slower for ever, worker 1 is 8 times slower until 9 s, worker 2 never."""
    law = times.Slowdowns(ONE, (times.Slowdown(0, 2.0, 5.0, INF), times.Slowdown(1, 8.0, 0.0, 9.0)))
    assert [law.moments(worker).mean for worker in range(3)] == [2.0, 1.0, 1.0]


def test_overlapping_slow_downs_multiply():
    """2× from 0 s to 4 s and 4× from 2 s to 6 s: in 2 + 2 + 2 seconds 1 + 0.25 + 0.5 of the work is done."""
    draw = slowdowns((2.0, 0.0, 4.0), (4.0, 2.0, 6.0), work=times.Constant(2.0)).sampler(stream(), 0)
    assert draw(0.0) == 6.25


def test_pauses_for_all_together():
    """A pause of 1 s every 4 s, the first at 2 s: 1.5 s of work from 0 s on end at 1.5, 4, 5.5, 8 ..."""
    law = times.Pauses(times.Constant(1.5), every=4.0, lasting=1.0, first=2.0)
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(2, law), until=sg.Updates(8))
    assert tape.time.tolist() == [1.5, 1.5, 4.0, 4.0, 5.5, 5.5, 8.0, 8.0]


def test_pauses_with_a_drawn_phase_begin_anywhere():
    """The first pause's second, read off a job of almost no work; one of 20 s in 100 s is under way at second 0 in one of 5."""
    law = times.Pauses(times.Constant(2.0**-20), every=100.0, lasting=20.0)
    waits = np.array([law.sampler(stream(worker), worker)(0.0) for worker in range(1000)])
    paused = np.sum(waits > 0.5)
    assert abs(paused - 200) < 5 * math.sqrt(1000 * 0.2 * 0.8)
    left = waits[waits > 0.5]
    assert stats.kstest(left, stats.uniform(scale=20.0).cdf).statistic * math.sqrt(len(left)) < 2.5


@pytest.mark.parametrize(
    "nested",
    [
        times.Slowdowns(slowdowns((2.0, 1.0, 3.0)), (times.Slowdown(0, 4.0, 2.0, 5.0),)),
        slowdowns((2.0, 1.0, 3.0), (4.0, 2.0, 5.0)),
        times.Pauses(slowdowns((2.0, 1.0, 3.0), (4.0, 2.0, 5.0)), every=1000.0, lasting=1.0, first=500.0),
        times.SlowSpells(slowdowns((2.0, 1.0, 3.0), (4.0, 2.0, 5.0)), 1.0, 2.0, 2.0),
    ],
    ids=["around each other", "in one", "among pauses", "among spells of nothing"],
)
def test_clocks_around_clocks_multiply(nested):
    """1 s at 1×, 1 s at 2×, 1 s at 8×, 2 s at 4×: at 5 s 1 + 0.5 + 0.125 + 0.5 of 3 s are done, and 0.875 s are left."""
    law = times.Scaled(nested, by=3.0)
    assert law.sampler(stream(), 0)(0.0) == pytest.approx(5.875, rel=1e-14)


AROUND = {
    "speeds": lambda law: times.Speeds(law, (0.5,)),
    "drawn slowness": lambda law: times.DrawnSlowness(law, times.Constant(2.0)),
    "scaled": lambda law: times.Scaled(law, by=1.5, overhead=0.5),
    "one's own": lambda law: times.Speeds(times.PerWorker((law,)), (0.5,)),
}


@pytest.mark.parametrize("around", AROUND)
def test_a_clock_stretches_all_of_a_job_in_whatever_order_laws_are_written(around):
    """Each makes 2 s of 1 s of work; from 1 s to 5 s the worker is 4 times slower: 1 + 4 s, however written."""
    outside, inside = AROUND[around](slowdowns((4.0, 1.0, 5.0))), slowdowns((4.0, 1.0, 5.0), work=AROUND[around](ONE))
    assert [law.sampler(stream(), 0)(0.0) for law in (outside, inside)] == [5.0, 5.0]
    spells = [times.SlowSpells(AROUND[around](ONE), 4.0, 3.0, 2.0), AROUND[around](times.SlowSpells(ONE, 4.0, 3.0, 2.0))]
    assert spells[0].moments() == spells[1].moments()


# --- jobs cut short, and clocks that the method does not move --------------------------------------------------------------


def test_a_job_cut_short_does_not_lose_the_seconds_it_looked_ahead_at():
    """8 s of work at 0 s look ahead to 13 s; cut short at 1 s, the next job still meets the slow seconds from 2 s to 4 s."""
    draw = slowdowns((2.0, 2.0, 4.0), (4.0, 6.0, 10.0), work=times.Recorded([[8.0, 4.0, 1.0]], at_end="stop")).sampler(
        stream(), 0
    )
    assert draw(0.0) == 2.0 + 2.0 + 2.0 + 4.0 + (8.0 - 2 - 1 - 2 - 1)
    assert draw(1.0) == 1.0 + 2.0 + 2.0
    assert draw(6.0) == 4.0


CLOCKS = {
    "spells": times.SlowSpells(times.Constant(0.25), 4.0, 3.0, 2.0),
    "pauses": times.Pauses(times.Constant(0.25), every=2.0, lasting=0.75),
    "schedule": slowdowns((4.0, 3.0, 8.0), (2.0, 5.0, INF), work=times.Constant(0.25)),
    "all": slowdowns((4.0, 3.0, 8.0), work=times.SlowSpells(times.Pauses(times.Constant(0.25), 2.0, 0.75), 4.0, 3.0, 2.0)),
}


@settings(deadline=None, max_examples=25)
@given(moments=st.lists(st.integers(0, 400), min_size=1, max_size=40), name=st.sampled_from(sorted(CLOCKS)))
def test_a_slow_spell_is_like_the_weather(moments, name):
    """A job takes as long as when a job began every eighth of a second, whichever others began before it."""
    law = CLOCKS[name]
    often, seldom = law.sampler(stream(), 0), law.sampler(stream(), 0)
    all_day = [often(moment / 8) for moment in range(401)]
    assert [seldom(moment / 8) for moment in sorted(moments)] == [all_day[moment] for moment in sorted(moments)]


def test_methods_meet_the_same_spells():
    """The same second is slow or not for every method: asynchronous and minibatch SGD on one seed, job by job."""
    law = times.SlowSpells(times.Constant(0.25), slowness=4.0, normal_seconds=3.0, slow_seconds=2.0)
    for protocol in (sg.AsyncSGD(), sg.MinibatchSGD()):
        tape = sg.record(protocol, sg.Cluster(3, law), until=sg.Updates(100))
        weather = {worker: law.sampler(rng.stream(0, "compute time", worker), worker) for worker in range(3)}
        for worker, began, ended in zip(tape.worker, tape.began, tape.ended, strict=True):
            assert ended - began == pytest.approx(weather[int(worker)](float(began)), rel=1e-9)


def test_what_has_passed_is_forgotten():
    """Memory is that of the pieces ahead, not of those behind."""
    draw = times.SlowSpells(ONE, 2.0, 0.125, 0.125).sampler(stream(), 0)
    now, ahead = 0.0, []
    for _ in range(2000):
        now += draw(now)
        ahead.append(len(draw._ahead))
    assert max(ahead) < 60
    draw(now + 5000.0)
    assert len(draw._ahead) < 60


# --- the state of a spell ----------------------------------------------------------------------------------------------------


def slow_at(law, second, workers=4000):
    """Which workers are slow at a second, read off a job of almost no work."""
    work = law.law.seconds
    taken = [law.sampler(stream(worker), worker)(second) for worker in range(workers)]
    return np.array(taken) > 1.5 * work


@pytest.mark.parametrize("second", [0.0, 2.0, 50.0])
def test_workers_are_slow_with_the_stationary_probability_from_the_start(second):
    """b/(a + b) = 0.4 at every second."""
    law = times.SlowSpells(times.Constant(2.0**-20), 5.0, normal_seconds=3.0, slow_seconds=2.0)
    slow = slow_at(law, second)
    assert abs(slow.mean() - 0.4) < 5 * math.sqrt(0.4 * 0.6 / len(slow))


def test_spells_are_forgotten_at_the_rate_of_the_two_sojourns():
    """P(slow at 1 s | slow at 0 s) = p + (1 − p)·exp(−(1/a + 1/b)·1 s), p = b/(a + b)."""
    law = times.SlowSpells(times.Constant(2.0**-20), 5.0, normal_seconds=3.0, slow_seconds=2.0)
    at_first, later = slow_at(law, 0.0), slow_at(law, 1.0)
    expected = 0.4 + 0.6 * math.exp(-5 / 6)
    assert abs(later[at_first].mean() - expected) < 5 * math.sqrt(expected * (1 - expected) / at_first.sum())


def test_sojourns_are_exponential_in_seconds():
    """The first whole spell and the first whole time between spells, over 2000 workers."""
    law = times.SlowSpells(ONE, 5.0, normal_seconds=3.0, slow_seconds=2.0)
    lengths = {1.0: [], 5.0: []}
    for worker in range(2000):
        first, second, third = itertools.islice(law.pieces(stream(worker), worker), 3)
        lengths[second.slowness].append(second.until - first.until)
        lengths[third.slowness].append(third.until - second.until)
    for slowness, mean in ((1.0, 3.0), (5.0, 2.0)):
        assert stats.kstest(lengths[slowness], stats.expon(scale=mean).cdf).statistic * math.sqrt(2000) < 2.5


# --- stated moments against other ways to them -----------------------------------------------------------------------------


def test_the_moments_of_spells_by_numbers():
    """The work done while slow varies by a double integral of the state's autocovariance π(1 − π)·exp(−λ|u − v|)."""
    a, b, s, w = 6.0, 5.0, 4.0, 1.5
    rate, slow = 1 / a + s / b, (b / s) / (a + b / s)
    scale = (s - 1) ** 2 * slow * (1 - slow)
    inside = 2 * integrate.dblquad(lambda v, u: math.exp(-rate * (u - v)), 0, w, 0, lambda u: u)[0]
    between = integrate.dblquad(lambda v, u: math.exp(-rate * (u + v)), 0, w, 0, w)[0]
    mean, variance, autocorrelation = times.SlowSpells(times.Constant(w), s, a, b).moments()
    assert mean == pytest.approx(w * (a + b) / (a + b / s), rel=1e-12)  # seconds per second of work, over both states
    assert variance == pytest.approx(scale * inside, rel=1e-9)
    assert autocorrelation * variance == pytest.approx(scale * between, rel=1e-9)


@pytest.mark.parametrize(
    ("work", "laplace"),
    [
        (times.Exponential(1.5), lambda rate: 1 / (1 + 1.5 * rate)),
        (times.ShiftedExponential(0.5, 1.5), lambda rate: math.exp(-0.5 * rate) / (1 + rate)),
        (times.Gamma(1.5, 0.5), lambda rate: (1 + 1.5 * 0.25 * rate) ** -4),
        (times.Gamma(1.5, 1e-4), lambda rate: math.exp(-1e8 * math.log1p(1.5e-8 * rate))),
    ],
    ids=["exponential", "shifted", "gamma", "narrow gamma"],
)
@pytest.mark.parametrize(("a", "b"), [(6.0, 5.0), (600.0, 50.0)])
def test_the_moments_of_spells_of_random_work(work, laplace, a, b):
    """The formula with Laplace transforms in closed form; what differs is the quadrature, near 1e-13 of λE[w]."""
    s = 4.0
    rate, slow = 1 / a + s / b, (b / s) / (a + b / s)
    spread = ((s - 1) / rate) ** 2 * slow * (1 - slow)
    mean, variance, _ = work.moments()
    total = (1 + (s - 1) * slow) ** 2 * variance + 2 * spread * (rate * mean - 1 + laplace(rate))
    moments = times.SlowSpells(work, s, a, b).moments()
    assert moments.variance == pytest.approx(total, rel=1e-7)
    assert moments.autocorrelation * moments.variance == pytest.approx(spread * (1 - laplace(rate)) ** 2, rel=1e-9)


def test_the_moments_of_pauses_by_hand():
    """1 s of work, 1 s of pause after each 2.5 s of work: of 5 jobs, two meet a pause, and never two in a row.

    Hence the mean 1.4, the variance 0.4 × 0.6, and with two jobs meeting 0.8 pauses, one or none: ½·0.16 − 0.24 in common.
    """
    moments = times.Pauses(ONE, every=3.5, lasting=1.0).moments()
    assert moments == pytest.approx((1.4, 0.24, (0.08 - 0.24) / 0.24), rel=1e-12)


def test_the_moments_of_pauses_of_exponential_work():
    """E[f(1 − f)] is 1/6 − Σ Re φ(2πk/Q)/(π²k²), and for two jobs the same with φ²; φ(t) = 1/(1 − it), Q seconds between."""
    between, lasting = 1.25, 0.75
    k = np.arange(1, 200_001)
    characteristic = 1 / (1 - 2j * np.pi * k / between)
    one, two = (1 / 6 - np.sum(characteristic.real**0 * (characteristic**n).real / (np.pi * k) ** 2) for n in (1, 2))
    moments = times.Pauses(times.Exponential(1.0), every=2.0, lasting=lasting).moments()
    variance = (2.0 / between) ** 2 + lasting**2 * one
    expected = (1.6, variance, lasting**2 * (two / 2 - one) / variance)
    assert moments == pytest.approx(expected, rel=1e-4)


def test_two_periodic_clocks_state_no_mean():
    law = times.Pauses(times.SlowSpells(times.Pauses(ONE, 3.0, 1.0), 2.0, 1.0, 1.0), 4.0, 1.0)
    assert all(math.isnan(number) for number in law.moments())


def test_slowness_of_one_is_the_law_itself():
    work = times.Gamma(1.5, 0.5)
    assert times.SlowSpells(work, 1.0, 2.0, 3.0).moments() == pytest.approx(work.moments(), rel=1e-12)


def test_a_clock_refuses_what_its_law_refuses():
    for law in (times.Pauses(times.Speeds(ONE, (1.0,)), 2.0, 1.0), slowdowns(work=times.Speeds(ONE, (1.0,)))):
        with pytest.raises(ValueError, match=r"Speeds\.speeds .* 2 workers, got 1"):
            sg.Cluster(2, law)


@pytest.mark.parametrize("drawn", [math.nan, -1.0, math.inf], ids=repr)
def test_a_clock_hides_no_nonsense(drawn):
    """What the law around which a clock stands draws reaches the recorder, which refuses it by name."""

    @dataclass(frozen=True)
    class Nonsense(times.Law):
        def sample(self, rng, worker, now):
            return drawn

        def moments(self, worker=0):
            return times.Moments(1.0, 0.0)

    law = times.SlowSpells(Nonsense(), slowness=2.0, normal_seconds=1.0, slow_seconds=1.0)
    with pytest.raises(ValueError, match=r"Nonsense\(\) drew .* seconds for worker 0 at 0 s"):
        sg.record(sg.AsyncSGD(), sg.Cluster(1, law), sg.Updates(3))
