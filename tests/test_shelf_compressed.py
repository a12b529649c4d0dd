"""Methods that send less than a gradient: models step by step, as computed by hand, through the simulator.

The model is two numbers, w begins at (16, 4) where nothing else is said, and η = ½; a worker's gradient is w − x, x its own
optimum, (0, 0) where nothing else is said. All workers step together.
"""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
from by_hand import cluster

import simsgd as sg
from simsgd import compressions, methods


def _loss(parameters, batch):
    return jnp.mean(jnp.sum((parameters - batch) ** 2, axis=-1)) / 2


def _start(begin, key):
    return jnp.asarray(begin)


def _first(parameters, data):
    return parameters[0]


def _second(parameters, data):
    return parameters[1]


def models(method, updates, optima=((0.0, 0.0),), begin=(16.0, 4.0), seed=0):
    """Return (w₀, w₁) after each update; a worker for each optimum."""
    start = functools.partial(_start, begin)
    made = sg.Problem("two", start, _loss, np.asarray(optima), batch_size=1, metrics={"a": _first, "b": _second})
    made = made.partitioned(len(optima), by=sg.problems.GivenShares([[worker] for worker in range(len(optima))]))
    ends = {"until": sg.Updates(updates), "evaluate_every": sg.Updates(1)}
    run = sg.simulate(method, made, cluster(*(1.0 for _ in optima)), **ends, dtype="float64", seed=seed).dataset
    return list(zip(run["a"].values.tolist()[1:], run["b"].values.tolist()[1:], strict=True))


def first_steps(method, seeds=12, **others):
    """Return the models that the first step can lead to, over seeds."""
    return {models(method, 1, seed=seed, **others)[0] for seed in range(seeds)}


def test_top_k():
    """One number is sent. g = (16, 4): 16 goes, e = (0, 4). p = (8, 8): the first goes, e = (0, 8). p = (4, 12): 12 goes."""
    assert models(methods.top_k(0.5, share=0.5), 3) == [(8, 4), (4, 4), (4, -2)]


def test_random_k():
    """One number is sent, times 2, and goes to 0. With places of their own, two workers may send both, and halve them."""
    method, two = methods.random_k(0.5, share=0.5, shared=True), ((0.0, 0.0),) * 2
    assert first_steps(method, 6) == {(0, 4), (16, 0)}
    assert first_steps(method, 6, optima=two) == {(0, 4), (16, 0)}
    assert first_steps(methods.random_k(0.5, share=0.5), 12, optima=two) == {(0, 4), (16, 0), (8, 2)}


def test_sign_sgd():
    """Votes of (+, +), (−, +) and (−, −) are (−, +); of (+, +) and (−, +) they are a tie, where w stays, and +."""
    three = ((0.0, 0.0), (32.0, 0.0), (32.0, 8.0))
    assert models(methods.sign_sgd(0.5), 2, three) == [(16.5, 3.5), (17, 3)]
    assert models(methods.sign_sgd(0.5), 2, three[:2]) == [(16, 3.5), (16, 3)]


def test_the_vote_goes_back_as_signs_where_nothing_is_tied():
    """All numbers of w change by η, so the change is η times its sign."""
    three = ((0.0, 0.0), (32.0, 0.0), (32.0, 8.0))
    back = dataclasses.replace(methods.sign_sgd(0.5), compress_down=compressions.ScaledSign())
    assert models(back, 6, three) == models(methods.sign_sgd(0.5), 6, three)


def test_signum():
    """β = 0.9, η = 12, the first number: g = 16, 4, −8, −20; m = 16, 18.4, 8.56, −12.296. Signs of g turn back at −8."""
    got = [first for first, _ in models(methods.signum(12.0), 4)]
    assert got == [4, -8, -20, -8]
    assert [first for first, _ in models(methods.sign_sgd(12.0), 3)] == [4, -8, 4]


def test_error_feedback_sign():
    """(16, 4): ±10 is sent, e = (6, −6). (11, −1) + e = (17, −7): ±12, e = (5, 5). (5, 5) + e = (10, 10): nothing is left."""
    assert models(methods.error_feedback_sign(0.5), 4) == [(11, -1), (5, 5), (0, 0), (0, 0)]


def test_qsgd():
    """‖(12, 16)‖ = 20. One level: each number is sent as 20 or 0. Five: 12 and 16 are levels themselves."""
    assert first_steps(methods.qsgd(0.5, levels=1), 24, begin=(12.0, 16.0)) == {(a, b) for a in (12, 2) for b in (16, 6)}
    np.testing.assert_allclose(models(methods.qsgd(0.5, levels=5), 2, begin=(12.0, 16.0)), [(6, 8), (3, 4)], rtol=1e-12)


def test_terngrad():
    """S = 16: 16 is always sent, 4 as 16 or 0. The deviation of (16, 4) is 6: clipped at two of these, s = 12."""
    assert first_steps(methods.terngrad(0.5, clip=None)) == {(8, 4), (8, -4)}
    assert first_steps(methods.terngrad(0.5, clip=2.0)) == {(10, 4), (10, -2)}


def test_natural():
    """Powers of two are sent as they are, 12 as 8 or 16."""
    assert models(methods.natural(0.5), 3) == [(8, 2), (4, 1), (2, 0.5)]
    assert first_steps(methods.natural(0.5, bits=8), 6, begin=(12.0, 16.0)) == {(8, 8), (4, 8)}


def test_half_precision():
    """float16 has 11 bits of mantissa, so 2,049 is sent as 2,048; bfloat16 has 8, so 257 is sent as 256."""
    assert models(methods.half_precision(0.5), 2, begin=(2049.0, 1.0)) == [(1025, 0.5), (512.5, 0.25)]
    bfloat16 = methods.half_precision(0.5, kind="bfloat16")
    assert models(bfloat16, 2, begin=(257.0, 1.0)) == [(129, 0.5), (64.5, 0.25)]


def test_they_are_asynchronous_as_well():
    """Of the one that remembers most: compiled replay is slow replay."""
    method = dataclasses.replace(methods.top_k(0.01), protocol=sg.AsyncSGD())
    sg.testing.check_method(method, updates=10, only="reference")
