"""Clusters of nodes and post-local SGD: models step by step as computed by hand, and their rounds on every fabric.

w begins at 16, a node's gradient is w − x, with x = 0 for node 0 and 8 for node 1, and η = ½: a local step halves the way to x.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import cluster, end, models, problem

import simsgd as sg
from simsgd import methods, networks, protocols, times
from simsgd.support import rng

OPTIMA = (0.0, 8.0)
SECONDS = (1.0, 2.0)


def test_hierarchical():
    """With H = 2 the nodes come to w/4 and 8 + (w − 8)/4: 4 and 10, then 7/4 and 31/4."""
    assert models(methods.hierarchical(0.5, steps=2), SECONDS, 2, OPTIMA) == [7.0, 4.75]
    tape = sg.record(methods.hierarchical(0.5, steps=2), cluster(*SECONDS), until=sg.Updates(2))
    assert tape.update_times.tolist() == [4.0, 8.0]


SAMPLES = np.array([0.0, 8.0, 16.0, 24.0])


def drawn(worker, step, job=0, *, batch_size=4, samples=4):
    """Which samples a node's block has, by the rule of all batches, for seed 0."""
    key = jax.random.wrap_key_data(jnp.asarray(rng.key_words(0, "batches")), impl="threefry2x32")
    return np.asarray(sg.problems.draw(key, worker, job, batch_size, samples, step=step))


def test_devices_by_hand():
    """Two nodes of two devices, H^l = 2, H^b = 2, the samples of each step and device as drawn; steps go halfway.

    Node 0: (16 → 20 → 14 and 16 → 20 → 14), 14; (14 → 15 → 19.5 and 14 → 7 → 11.5), 15.5.
    Node 1: (16 → 8 → 16 and 16 → 20 → 14), 15; (15 → 11.5 → 17.75 and 15 → 15.5 → 15.75), 16.75.
    """
    x = [[SAMPLES[drawn(node, block)].reshape(2, 2).tolist() for block in range(2)] for node in range(2)]
    assert x[0] == [[[24, 8], [24, 8]], [[16, 24], [0, 16]]]
    assert x[1] == [[[0, 24], [24, 8]], [[8, 24], [16, 16]]]
    four = dataclasses.replace(problem(SAMPLES), batch_size=4)
    method = methods.hierarchical(0.5, steps=2, devices=2, steps_inside=2)
    run = sg.simulate(method, four, cluster(*SECONDS), until=sg.Updates(1), dtype="float64")
    assert run.dataset["w"].values[-1] == (15.5 + 16.75) / 2
    assert run.tape.steps.tolist() == [2, 2]
    assert run.tape.update_times.tolist() == [4.0]
    assert run.throughput["samples"] == 2 * 2 * 4 / 4.0


def test_post_local():
    """Two rounds of one step, (8 + 12)/2 and (5 + 9)/2, then of two: (7/4 + 31/4)/2 and (19/16 + 115/16)/2."""
    method = methods.post_local(0.5, after=2, steps=2)
    assert models(method, SECONDS, 4, OPTIMA) == [10.0, 7.0, 4.75, 4.1875]
    tape = sg.record(method, cluster(*SECONDS), until=sg.Updates(4))
    assert tape.update_times.tolist() == [2.0, 4.0, 8.0, 12.0]
    assert tape.steps.tolist() == [1, 1, 1, 1, 2, 2, 2, 2]


def test_what_they_are_without_what_is_new():
    """Post-local SGD that begins at once is local SGD; with one step, or one step inside, all are minibatch SGD."""
    minibatch = end(methods.minibatch(0.5), SECONDS, 6, OPTIMA)
    for method in (
        methods.hierarchical(0.5, steps=1),
        methods.post_local(0.5, after=0, steps=1),
        methods.post_local(0.5, after=99, steps=4),
    ):
        assert end(method, SECONDS, 6, OPTIMA) == pytest.approx(minibatch, rel=1e-15)
    local = end(methods.local_sgd(0.5, steps=3), SECONDS, 6, OPTIMA)
    assert end(methods.post_local(0.5, after=0, steps=3), SECONDS, 6, OPTIMA) == local


BYTES, DEVICES, NODES, INSIDE = 1000.0, 4, 4, networks.Ring(networks.Link(latency=0.001, bandwidth=1e5))
LINK = networks.Link(latency=0.05, bandwidth=1e4)
NETWORKS = {  # and the seconds of a round's messages: 4 nodes at once, down and up
    "links": (LINK, 2 * (0.05 + 0.1)),
    "fair": (networks.ParameterServer(LINK, sharing="fair"), 2 * (0.05 + 0.4)),
    "first in, first out": (networks.ParameterServer(LINK, sharing="first in, first out"), None),
    "sharded": (networks.ParameterServer(LINK, shards=2), None),
    "ring": (networks.Ring(LINK), 6 * (0.05 + 0.025)),
    "tree": (networks.BinaryTree(LINK), 4 * (0.05 + 0.1)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_rounds_on_every_fabric(name):
    """Devices of constant speed: H·(1 + 2·3·(0.001 + 250/1e5)) s of computing, and then the messages between the nodes."""
    network, messages = NETWORKS[name]
    nodes = sg.Cluster.of_nodes(NODES, DEVICES, times.Constant(1.0), INSIDE, BYTES, network)
    step = 1 + 6 * (0.001 + 250 / 1e5)
    tape = sg.record(methods.hierarchical(steps=5), nodes, sg.Updates(6), message_bytes=BYTES)
    post = sg.record(methods.post_local(after=3, steps=5), nodes, sg.Updates(6), message_bytes=BYTES)
    rounds, later = np.diff(tape.update_times), np.diff(post.update_times)
    np.testing.assert_allclose(tape.ended - tape.began, 5 * step)
    if messages is not None:
        np.testing.assert_allclose(rounds, 5 * step + messages)
        np.testing.assert_allclose(later, [*[step + messages] * 2, *[5 * step + messages] * 3])
    np.testing.assert_allclose(later[2:] - later[:1], 4 * step)  # the same messages


def test_a_block_is_as_long_as_its_slowest_device_s_steps():
    """H^b = 5 blocks of H^l = 3 steps and one all-reduce inside; then the messages between the nodes."""
    network, messages = NETWORKS["ring"]
    nodes = sg.Cluster.of_nodes(NODES, DEVICES, times.Constant(1.0), INSIDE, BYTES, network, steps_inside=3)
    method = methods.hierarchical(steps=5, devices=DEVICES, steps_inside=3)
    tape = sg.record(method, nodes, sg.Updates(6), message_bytes=BYTES)
    block = 3 + 6 * (0.001 + 250 / 1e5)
    np.testing.assert_allclose(tape.ended - tape.began, 5 * block)
    np.testing.assert_allclose(np.diff(tape.update_times), 5 * block + messages)


def test_nodes_that_crash_are_waited_for_or_not():
    """Down from 0.5 s to 3 s, a node of two begins anew; without waiting the other goes on alone."""
    faults = [sg.faults.Crash(worker=1, at=0.5, back=3.0)]
    for wait, expected in ((True, [4.0, 8.0]), (False, [1.0, 5.0])):
        protocol = protocols.PostLocalSGD(wait=wait, after=1, steps=4)
        assert sg.record(protocol, cluster(1.0, 1.0, faults=faults), sg.Updates(2)).update_times.tolist() == expected


def test_post_local_shows_as_code_and_refuses_what_makes_no_sense():
    protocol = protocols.PostLocalSGD(after=3, steps=2, wait=False)
    assert repr(protocol) == "PostLocalSGD(wait=False, after=3, steps=2)"
    with pytest.raises(ValueError, match=r"PostLocalSGD\.after must be a whole number of at least 0, got -1"):
        protocols.PostLocalSGD(after=-1, steps=2)
    with pytest.raises(ValueError, match=r"PostLocalSGD\.steps must be a whole number of at least 1, got 0"):
        methods.post_local(after=1, steps=0)
