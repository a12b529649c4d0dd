"""Methods of the shelf whose rule decides: models step by step, as computed by hand, through the simulator.

Two workers, whose jobs take 1 and 3.5 s, learn w with the gradient w_read; w begins at 16 and η = ½. Gradients arrive

    at second   1   2   3   3.5  4
    of worker   0   0   0   1    0
    read        w₀  w₁  w₂  w₀   w₃
    staleness   0   0   0   3    1

so that plain asynchronous SGD goes 8, 4, 2, 2 − ½·16 = −6, −6 − ½·2 = −7.
"""

import dataclasses
from math import sqrt

import numpy as np
import optax
from by_hand import cluster, models

import simsgd as sg
from simsgd import methods, optimizers

SECONDS = (1.0, 3.5)


def played(method, updates=5):
    return models(method, SECONDS, updates)


def close(got, expected, relative=1e-14):
    np.testing.assert_allclose(got, expected, rtol=relative)


def test_the_timetable_is_as_said():
    close(played(methods.asynchronous(0.5)), [8, 4, 2, -6, -7])


def test_staleness_aware():
    """Divided by max(1, τ): 2 − ½·16/3, then τ = 1 counts fully."""
    close(played(methods.staleness_aware(0.5)), [8, 4, 2, -2 / 3, -5 / 3])


def test_polynomial_staleness():
    """g·(1 + τ)^−½: 4^−½ = ½, 2 − ½·8; then −2 − ½·2/√2."""
    close(played(methods.polynomial_staleness(0.5)), [8, 4, 2, -2, -2 - 1 / sqrt(2)])


def test_hinge_staleness():
    """g/(1 + a(τ − b)) beyond b: 1 + ½·(3 − 1) = 2, 2 − ½·8; τ = 1 is not beyond."""
    close(played(methods.hinge_staleness(0.5, slope=0.5, threshold=1.0)), [8, 4, 2, -2, -3])


def test_delay_adaptive():
    """g·n/max(n, τ): 2/3, 2 − ½·32/3; τ = 1 is not beyond n = 2."""
    close(played(methods.delay_adaptive(0.5)), [8, 4, 2, -10 / 3, -13 / 3])


def test_ada_delay():
    """g/√(t + τ), t = 1, 2, …: √1, √2, √3, √(4 + 3), √(5 + 1)."""
    second = 8 - 4 / sqrt(2)
    third = second * (1 - 0.5 / sqrt(3))
    fourth = third - 8 / sqrt(7)
    close(played(methods.ada_delay(0.5)), [8, second, third, fourth, fourth - 0.5 * third / sqrt(6)])


def test_clipped():
    """|g| at most 10: 16 → 10, 11 → 10, 6, 16 → 10, 3."""
    close(played(methods.clipped(0.5, norm=10.0)), [11, 6, 3, -2, -3.5])


def test_delay_compensated():
    """The message g + λg²(w − w_read), λ = 1/256.

    16 + (2 − 16) = 2, w = 2 − ½·2 = 1; 2 + (4/256)·(1 − 2), w = 1 − ½·(2 − 1/64) = 1/128.
    """
    close(played(methods.delay_compensated(0.5, strength=1 / 256)), [8, 4, 2, 1, 1 / 128])


def test_delay_compensated_adaptively():
    """λ = λ₀/√MS, MS = ½MS + ½g²: 128, 96, 56, 156, 80. With λ₀ = 1/14: 16 − 256/√156; 2 + (1/14)/√80·4·(w − 2).

    The 10⁻⁷ beside MS moves λ by 6e-10 of it.
    """
    fourth = 2 - 0.5 * (16 - 256 / sqrt(156))
    fifth = fourth - 0.5 * (2 + 4 / 14 / sqrt(80) * (fourth - 2))
    close(played(methods.delay_compensated_adaptively(0.5, strength=1 / 14, decay=0.5)), [8, 4, 2, fourth, fifth], 1e-8)


def test_gap_aware():
    """g/(1 + gap/average), average ½·√(MS/weights): MS = 156 and 80 as above, weights 0.9375 and 0.96875.

    The 10⁻⁸ beside the root moves the average by 1e-9 of it.
    """
    fourth = 2 - 0.5 * 16 / (1 + 14 / (0.5 * sqrt(156 / 0.9375)))
    fifth = fourth - 0.5 * 2 / (1 + abs(fourth - 2) / (0.5 * sqrt(80 / 0.96875)))
    close(played(methods.gap_aware(0.5, decay=0.5)), [8, 4, 2, fourth, fifth], 1e-8)


def test_picky():
    """|2 − 16| = 14 is beyond 10: skipped, a step that moves nothing; |2 − 2| = 0 is not."""
    close(played(methods.picky(0.5, distance=10.0)), [8, 4, 2, 2, 1])


def test_worker_momentum():
    """Each has v ← ½v + g: worker 0: 16, 8 + 8, 8 + 0; worker 1: 16; worker 0: 4 − 4."""
    close(played(methods.worker_momentum(0.5, momentum=0.5)), [8, 0, -4, -12, -12])


def test_dana_zero():
    """Handed out is w − ηγΣv = w − ¼Σv: 16, 4, −1, −1.75.

    Worker 0: v = 16, 8 + 4, 6 − 1; worker 1: 16; worker 0: 2.5 − 1.75.
    """
    close(played(methods.dana_zero(0.5, momentum=0.5)), [8, 2, -0.5, -8.5, -8.875])


def test_dana_slim():
    """Sent is γv + g: 8 + 16, 6 + 4, 2.5 − 1, 8 + 16, 0.375 − 1.75; the models are those that DANA-Zero hands out."""
    close(played(methods.dana_slim(0.5, momentum=0.5)), [4, -1, -1.75, -13.75, -13.0625])


def test_dana_slim_is_what_dana_zero_hands_out():
    """θ − ηγΣv, from each worker's last v = (θ⁻ − θ)/η, is the model of DANA-Slim after each of 40 steps."""
    zero, slim = (played(make(0.5, momentum=0.5), 40) for make in (methods.dana_zero, methods.dana_slim))
    workers = sg.record(sg.AsyncSGD(), cluster(*SECONDS), sg.Updates(40)).worker
    velocity, handed_out = np.zeros(2), []
    for worker, before, after in zip(workers, [16.0, *zero], zero, strict=False):
        velocity[worker] = (before - after) / 0.5
        handed_out.append(after - 0.25 * velocity.sum())
    np.testing.assert_allclose(slim, handed_out, rtol=1e-10, atol=1e-10)


def test_momentum_at_the_server_is_that_at_the_worker():
    """Nothing is lost here, so `per_worker(trace)` on each message is `trace` at each worker."""
    at_worker = methods.worker_momentum(0.5, momentum=0.5)
    at_server = dataclasses.replace(at_worker, at_worker=None, on_message=optimizers.per_worker(optax.trace(decay=0.5)))
    close(played(at_server, 40), played(at_worker, 40), 1e-12)
