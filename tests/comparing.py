"""What the tests of composition share: a problem, clusters, and the compiled player held against the slow reference."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import simsgd as sg
from simsgd import faults, networks, times
from simsgd.replaying.player import Player
from simsgd.replaying.reading import Reading
from simsgd.testing import play_slowly

WORKERS = 4
COMPUTE = times.Speeds(times.Exponential(1.0), speeds=(1.0, 2.0, 0.5, 1.0))
CRASHES = faults.Crashes(between=times.Exponential(6.0), lasting=times.Exponential(0.5))
CLUSTERS = {
    "quiet": sg.Cluster(WORKERS, COMPUTE, networks.Link(latency=0.1, bandwidth=100.0)),
    "crashing": sg.Cluster(WORKERS, COMPUTE, networks.Link(latency=0.1), [CRASHES]),
    "ties": sg.Cluster(WORKERS, times.Constant(1.0)),
    "ties and crashes": sg.Cluster(
        WORKERS, times.Constant(0.5), faults=[faults.Crashes(between=times.Constant(7.5), lasting=times.Constant(0.5))]
    ),
    "losses": sg.Cluster(WORKERS, COMPUTE, networks.Link(latency=0.2), [faults.LostMessages(probability=0.2, timeout=0.3)]),
}
ROUNDING = 1e-11
"""Relative to the largest number: float64 rounds by 1.1e-16, some hundred operations each update, a few dozen updates."""


@functools.cache
def problem():
    """Parameters of two leaves, noise, and 16 samples, so that workers' batches differ."""
    x = np.random.default_rng(1).normal(size=(16, 3))
    return sg.Problem("two leaves", begin, squared_error, {"x": x, "y": x @ [1.0, -2.0, 0.5]}, batch_size=2)


def begin(key):
    return {"slopes": 0.1 * jax.random.normal(key, (3,)), "offset": jnp.zeros((2,))}


def squared_error(parameters, batch):
    offset = parameters["offset"][0] + 0.5 * parameters["offset"][1]  # two unequal gradients: the largest are no ties
    return jnp.mean((batch["x"] @ parameters["slopes"] + offset - batch["y"]) ** 2)


def flat(tree):
    return np.concatenate([np.zeros(0), *(np.asarray(leaf, float).ravel() for leaf in jax.tree.leaves(tree))])


def recorded(method, cluster, updates, seed):
    return sg.record(method, cluster, sg.Updates(updates), seed, message_bytes=float(problem().message_bytes))


def played(tape, method, seed, chunk, learned=None):
    """Return the compiled player in float64 after the whole tape, played so many updates at a time, and all it made."""
    player, source, versions = Player(learned or problem(), method, tape.workers, seed, "float64"), Reading(tape), []
    for update in range(chunk, tape.updates + chunk, chunk):
        source.advance(updates=min(update, tape.updates))
        player.catch_up(source)
        versions.append(player.flat_parameters)
    return player, versions


def worker_states(player):
    """Return what each worker remembers, as one vector each."""
    states = player._carry.states.workers
    return [flat(jax.tree.map(lambda leaf, w=worker: leaf[w], states)) for worker in range(player.workers)]


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING * max(1.0, np.abs(expected).max(initial=0.0)))


def assert_agrees(tape, method, seed, learned=None):
    """Every version, and what the workers and the server remember in the end, as the slow reference has them."""
    player, versions = played(tape, method, seed, 1, learned)
    slow = play_slowly(tape, learned or problem(), method, seed)
    assert len(slow.versions) == tape.updates + 1
    for found, expected in zip(versions, slow.versions[1:], strict=True):
        assert_close(found, flat(expected))
    for found, expected in zip(worker_states(player), slow.worker_states, strict=True):
        if not method.is_plain:
            assert_close(found, flat(expected))
    assert_close(flat(player._carry.states.messages), flat(slow.message_state) if method.on_message else np.zeros(0))
    return player


def slow(*values):
    """Return the values as parameters, all but the first marked as slow."""
    return [values[0], *(pytest.param(value, marks=pytest.mark.slow) for value in values[1:])]
