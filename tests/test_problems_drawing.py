"""Batches: what a job draws, from all samples, from its worker's own share, and in shuffled epochs; the keys of losses."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simsgd.problems import Shares, draw, drawing, loss_key

KEY = jax.random.key(0)


def shares(*sizes):
    """Shares of such sizes, the samples numbered from 100 on in turn."""
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return Shares(*(jnp.asarray(column, jnp.int32) for column in (100 + np.arange(sum(sizes)), starts, sizes)))


def walk(worker, jobs, batch_size, given, steps=1):
    """The samples that a worker's jobs draw without replacement, one after the other, shape (jobs·steps·batch_size,)."""

    @jax.jit
    @jax.vmap
    def batch(number):
        return draw(KEY, worker, number // steps, batch_size, 0, given, False, number % steps, steps)

    return np.asarray(batch(jnp.arange(jobs * steps))).ravel()


@functools.partial(jax.jit, static_argnames="batch_size")
def batches(worker, given, first, steps, batch_size):
    """The first 130 batches of a worker from some job on, in one program for all shares of three workers."""
    numbers = jnp.arange(130)
    return jax.vmap(
        lambda number: draw(KEY, worker, first + number // steps, batch_size, 0, given, False, number % steps, steps)
    )(numbers)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=3, max_size=3),
    st.integers(0, 2),
    st.sampled_from([1, 3, 50]),
    st.integers(1, 3),
    st.integers(0, 2**30),
)
def test_without_replacement_every_epoch_is_a_permutation_of_the_share(sizes, worker, batch_size, steps, first):
    """From wherever one begins to look: also far on, where a position does not fit 32 bits."""
    size, of_all = sizes[worker], shares(*sizes)
    padded = of_all._replace(indices=jnp.pad(of_all.indices, (0, 120 - sum(sizes))))  # one shape, one program
    drawn = np.asarray(batches(worker, padded, first, steps, batch_size)).ravel()
    begun = -(first * steps * batch_size) % size  # where the first whole epoch begins
    own = 100 + sum(sizes[:worker]) + np.arange(size)
    whole = drawn[begun : begun + (len(drawn) - begun) // size * size].reshape(-1, size)
    assert len(whole) >= 2
    np.testing.assert_array_equal(np.sort(whole, axis=1), np.tile(own, (len(whole), 1)))


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_all_permutations_are_equally_likely(size):
    """Chi-square over all size! of them in 60,000 epochs; the bound is exceeded once in 10^5 by the uniform law."""
    epochs = walk(0, 60_000, size, shares(size)).reshape(-1, size) - 100
    number = {order: place for place, order in enumerate(itertools.permutations(range(size)))}
    counts = np.bincount([number[tuple(epoch)] for epoch in epochs.tolist()], minlength=math.factorial(size))
    expected = len(epochs) / math.factorial(size)
    freedom = math.factorial(size) - 1
    # Laurent and Massart (2000): P(χ² ≥ k + 2√(kx) + 2x) ≤ exp(−x)
    assert ((counts - expected) ** 2 / expected).sum() < freedom + 2 * math.sqrt(freedom * 11.5) + 2 * 11.5


def test_pairs_of_neighbours_are_equally_likely_in_a_larger_share():
    """Two samples drawn one after the other, of 40: chi-square over the 1,560 ordered pairs, in 50,000 epochs."""
    epochs = walk(0, 50_000, 40, shares(40)).reshape(-1, 40) - 100
    for place in (0, 19, 38):
        counts = np.bincount(epochs[:, place] * 40 + epochs[:, place + 1], minlength=1600).reshape(40, 40)
        assert not counts.diagonal().any()
        apart = counts[~np.eye(40, dtype=bool)]
        expected = len(epochs) / len(apart)
        freedom = len(apart) - 1
        assert ((apart - expected) ** 2 / expected).sum() < freedom + 2 * math.sqrt(freedom * 11.5) + 2 * 11.5


def test_epochs_differ_between_workers_and_from_one_another():
    both = shares(100, 100)
    orders = np.concatenate([walk(worker, 3, 100, both).reshape(3, 100) - 100 * worker for worker in (0, 1)])
    assert len(np.unique(orders, axis=0)) == 6


def test_with_replacement_the_worker_s_own_samples_are_drawn():
    """Uniformly: chi-square with 6 degrees of freedom, 99.999% below 33.1."""
    given_shares = shares(3, 7, 5)
    jobs = jnp.arange(5000)
    drawn = np.asarray(jax.vmap(lambda job: draw(KEY, 1, job, 4, 0, given_shares))(jobs))
    counts = np.bincount(drawn.ravel() - 103, minlength=7)
    assert len(counts) == 7
    assert ((counts - 20_000 / 7) ** 2 / (20_000 / 7)).sum() < 33.1


def test_a_share_of_everything_draws_what_no_shares_draw():
    everything = Shares(jnp.tile(jnp.arange(50), 2), jnp.array([0, 50]), jnp.array([50, 50]))
    for worker, job, step in ((0, 0, 0), (1, 0, 0), (1, 7, 0), (1, 7, 3)):
        without = draw(KEY, worker, job, 8, 50, step=step)
        np.testing.assert_array_equal(draw(KEY, worker, job, 8, 50, everything, step=step), without)


@pytest.mark.parametrize("replacement", [True, False])
def test_steps_draw_batches_of_their_own_traced_or_not(replacement):
    given_shares, seen = shares(30, 30), []
    drawn = jax.jit(lambda step: draw(KEY, 1, 4, 6, 0, given_shares, replacement, step, 3))
    for step in range(3):
        np.testing.assert_array_equal(drawn(step), draw(KEY, 1, 4, 6, 0, given_shares, replacement, step, 3))
        seen.append(np.asarray(drawn(step)))
    assert len(np.unique(seen, axis=0)) == 3


def test_the_first_step_has_the_job_s_own_key():
    """The rule of a job with one step, written out: the batches of 0.4 stay what they were."""
    job_key = jax.random.fold_in(jax.random.fold_in(KEY, 3), 8)
    expected = jax.random.randint(job_key, (5,), 0, 70, jnp.int32)
    np.testing.assert_array_equal(draw(KEY, 3, 8, 5, 70), expected)
    np.testing.assert_array_equal(jax.jit(lambda step: draw(KEY, 3, 8, 5, 70, step=step))(0), expected)
    later = jax.random.randint(jax.random.fold_in(job_key, 2), (5,), 0, 70, jnp.int32)
    np.testing.assert_array_equal(draw(KEY, 3, 8, 5, 70, step=2), later)


def test_keys_of_losses_differ_by_worker_job_and_step_and_from_those_of_batches():
    places = list(itertools.product(range(3), range(3), range(3)))
    keys = [jax.random.key_data(of(KEY, *place)) for of in (loss_key, drawing.step_key) for place in places]
    assert len(np.unique(np.asarray(keys), axis=0)) == 2 * len(places)


@pytest.mark.parametrize("given_shares", [None, "epochs"])
def test_two_lanes_side_by_side_draw_what_each_draws_alone(given_shares):
    """Lanes with keys of their own, as runs of two seeds have, and with shares of their own."""
    keys = jax.random.split(KEY, 2)
    both = Shares(*(jnp.stack(columns) for columns in zip(shares(9, 4), shares(5, 8), strict=True)))

    def batch(key, lane):
        own = None if given_shares is None else jax.tree.map(lambda column: column[lane], both)
        return draw(key, 1, 6, 7, 13, own, False, 2, 3)

    together, alone = jax.jit(jax.vmap(batch))(keys, jnp.arange(2)), jax.jit(batch)
    for lane in (0, 1):
        np.testing.assert_array_equal(together[lane], alone(keys[lane], lane))
