"""Stability of delayed SGD on a quadratic, found by bisection through the whole simulator: one tape, many step sizes."""

import math
import statistics

import pytest

import simsgd as sg
from simsgd import optimizers, times

CURVATURE_1 = sg.problems.quadratic(spectrum=(1.0,))  # so that the step size is a = step size × curvature
LOOKS = 100
STANDARD_ERRORS = 5
BISECTIONS = 12  # from a range of 0.01 to 4, a factor of 400, to one of 400^(1/4096) = 1.0015


def constant_delay_tape(delay, updates):
    """Equal constant job times and one worker more than the delay: τ = 0, 1, …, delay, and then always `delay`."""
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(delay + 1, times.Constant(1.0)), sg.Updates(updates))
    assert tape.staleness.tolist() == [min(t, delay) for t in range(updates)]
    return tape


def grows(tape, optimizer):
    """Say whether |w − 1| grows: whether it is larger in the last quarter of the run than in the second.

    The second, so that the start, with its smaller staleness, is over. Each is the largest of 25 looks, an odd number of
    updates apart, so that they meet an oscillation (of period 2(2τ+1) at the edge of stability) at many phases. A model that
    has come within 1e-9 of the optimum, from 1, has not grown, whatever its last bits do.
    """
    spacing = 2 * (tape.updates // LOOKS // 2) + 1
    run = sg.replay(tape, CURVATURE_1, optimizer, evaluate_every=sg.Updates(spacing), dtype="float64", progress=False)
    if run.status == "diverged":  # beyond the largest float64
        return True
    distance = run.dataset["distance"].values
    quarter = len(distance) // 4
    return distance[-quarter:].max() > max(distance[quarter : 2 * quarter].max(), 1e-9)


def threshold(tape, momentum=None):
    """The largest stable step size on a tape, by bisection of its logarithm."""
    low, high = 0.01, 4.0
    assert not grows(tape, optimizers.sgd(low, momentum))
    assert grows(tape, optimizers.sgd(high, momentum))
    for _ in range(BISECTIONS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if grows(tape, optimizers.sgd(middle, momentum)) else (middle, high)
    return math.sqrt(low * high)


def closed_form(delay):
    """Constant delay τ, w⁺ = w − a·w_{t−τ}: stable iff a < 2 sin(π/(2(2τ+1)))."""
    return 2 * math.sin(math.pi / (2 * (2 * delay + 1)))


def updates_for(delay):
    """Enough to tell growth from decay 1% off the threshold, for every delay.

    At a threshold z^(τ+1) − z^τ + a = 0 has the root e^{iθ}, θ = π/(2τ+1). With a larger by 1%, log|z| = 0.0045·θ or more, by
    numerical solution for τ = 0 to 63; so the 200(2τ+1) updates between the two quarters make a factor of at least
    exp(0.0045·200·π) = 17.
    """
    return 400 * (2 * delay + 1)


@pytest.mark.parametrize("delay", [0, 1, 3, 7, 15])
def test_constant_delay_is_stable_up_to_the_closed_form(delay):
    """Bisection meets a < 2 sin(π/(2(2τ+1))) within 1%."""
    assert threshold(constant_delay_tape(delay, updates_for(delay))) == pytest.approx(closed_form(delay), rel=0.01)


@pytest.mark.parametrize("momentum", [0.3, 0.9])
@pytest.mark.parametrize(("delay", "form"), [(0, lambda b: 2 * (1 + b)), (1, lambda b: 1 - b)], ids=["now", "one late"])
def test_momentum_is_stable_up_to_the_closed_form(delay, form, momentum):
    """Heavy-ball momentum β: a < 2(1+β) without delay, but a < 1−β with τ = 1: with delay, momentum costs stability."""
    tape = constant_delay_tape(delay, 4 * updates_for(delay))  # momentum multiplies the time in which a step is forgotten
    assert threshold(tape, momentum) == pytest.approx(form(momentum), rel=0.01)


def test_waiting_for_all_is_as_stable_as_one_worker():
    """Synchronous steps have no delay, whatever the timing: a < 2, the form for τ = 0, with the mean of four gradients."""
    tape = sg.record(sg.MinibatchSGD(), sg.Cluster(4, times.Exponential(1.0)), sg.Updates(400))
    assert threshold(tape) == pytest.approx(2, rel=0.01)


def test_the_fastest_step_size_contracts_as_computed():
    """Fastest a* = (τ/(τ+1))^τ/(τ+1), contraction τ/(τ+1) per step; for τ = 1, a* = 1/4 and 1/2.

    The root is double, and from w = 0 the whole course is known: 1 − w_t = (1 + t/2)/2^t. Tolerance: rounding next to w = 1.
    """
    tape = constant_delay_tape(1, 60)
    run = sg.replay(tape, CURVATURE_1, optimizers.sgd(0.25), sg.Updates(60), evaluate_every=sg.Updates(1), dtype="float64")
    expected = [(1 + t / 2) / 2**t for t in range(61)]
    assert run.dataset["distance"].values == pytest.approx(expected, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("workers", [2, 8])
def test_random_timing_is_more_stable_than_constant_delay(workers):
    """At the same mean staleness n−1, memoryless times have a larger threshold than constant times, by far more than chance.

    Seen with n = 8 over 6 seeds: 0.70 with a standard deviation of 0.01, against 0.209 for constant times; with n = 2, 1.55
    against 1. The margin is 5 standard errors of the mean over the seeds.
    """
    cluster = sg.Cluster(workers, times.Exponential(1.0))
    tapes = [sg.record(sg.AsyncSGD(), cluster, sg.Updates(updates_for(workers - 1)), seed) for seed in range(4)]
    for tape in tapes:  # the mean staleness is n−1, exactly, once the jobs in flight are counted
        in_flight = (tape.updates - tape.in_flight.read).sum()
        assert tape.staleness.sum() + in_flight == (workers - 1) * tape.updates
    thresholds = [threshold(tape) for tape in tapes]
    error = statistics.stdev(thresholds) / math.sqrt(len(thresholds))
    assert statistics.mean(thresholds) - STANDARD_ERRORS * error > closed_form(workers - 1)


@pytest.mark.parametrize("seed", range(3))
def test_at_one_step_size_constant_delay_diverges_and_random_timing_converges(seed):
    """Eight workers, a = 1.5 times the constant-delay threshold of τ = 7: the same mean staleness, opposite ends."""
    step = optimizers.sgd(1.5 * closed_form(7))
    constant = constant_delay_tape(7, 2000)
    random = sg.record(sg.AsyncSGD(), sg.Cluster(8, times.Exponential(1.0)), sg.Updates(2000), seed)
    ends = [sg.replay(tape, CURVATURE_1, step, dtype="float64").final("distance") for tape in (constant, random)]
    assert ends[0] > 1e9
    assert ends[1] < 1e-9
