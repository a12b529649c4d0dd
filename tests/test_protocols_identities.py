"""Protocols that must be the same in a limit write equal tapes, on every kind of cluster; and neighbours of them do not."""

import numpy as np
import pytest

import simsgd as sg
from simsgd import faults, networks, protocols, times

N = 5
CRASHES = faults.Crashes(between=times.Exponential(12.0), lasting=times.Exponential(2.0))
CLUSTERS = {
    "exponential": sg.Cluster(N, times.Exponential(1.0)),
    "constant, all ties": sg.Cluster(N, times.Constant(1.0)),
    "stragglers": sg.Cluster(N, times.Speeds(times.Gamma(1.0, 0.6), (1.0, 1.0, 0.1, 3.0, 1.0))),
    "queues at the server": sg.Cluster(N, times.Exponential(1.0), networks.ParameterServer(networks.Link(0.05, 500.0))),
    "lost messages": sg.Cluster(
        N, times.Exponential(1.0), networks.Link(0.1), [faults.LostMessages(probability=0.2, timeout=0.3)]
    ),
    "crashes": sg.Cluster(N, times.Exponential(1.0), faults=[CRASHES]),
}
MINIBATCH = {
    "SSP(0)": protocols.StaleSynchronousSGD(bound=0),
    "K-sync(n)": protocols.KSyncSGD(gradients=N),
    "K-async(n)": protocols.KAsyncSGD(gradients=N),
    "first n": protocols.FirstMSGD(workers=N),
    "first n, by number": protocols.FirstMSGD(workers=range(N)),
    "MindFlayer without a limit": protocols.MindFlayerSGD(limit=1e9),
}
ASYNC = {
    "Ringmaster(huge)": protocols.RingmasterASGD(threshold=10**9),
    "Ringmaster(huge) with stops": protocols.RingmasterASGD(threshold=10**9, stops=True),
    "K-batch-async(1)": protocols.KBatchAsyncSGD(gradients=1),
    "n-softsync": protocols.KBatchAsyncSGD(gradients=N // N),
    "K-async(1)": protocols.KAsyncSGD(gradients=1),
    "rescaled, all alike": protocols.RescaledASGD(seconds=(1.0,) * N),
}
ALL_IN_FLIGHT = {  # a crashed worker's place goes to another one, so with crashes it is not plain asynchronous SGD
    "bounded(n)": protocols.BoundedAsyncSGD(jobs=N),
    "bounded(n) in turn": protocols.BoundedAsyncSGD(jobs=N, choose="in turn"),
}
OTHERS = {
    "Rennala(1) is Ringmaster(1)": (protocols.RennalaSGD(1), protocols.RingmasterASGD(1)),
    "K-batch-sync(1) is K-sync(1)": (protocols.KBatchSyncSGD(1), protocols.KSyncSGD(1)),
}
PAIRS = {
    **{f"{name} is minibatch": (protocol, sg.MinibatchSGD()) for name, protocol in MINIBATCH.items()},
    **{f"{name} is async": (protocol, sg.AsyncSGD()) for name, protocol in (ASYNC | ALL_IN_FLIGHT).items()},
    **OTHERS,
}
NEIGHBOURS = {
    "SSP(1)": (protocols.StaleSynchronousSGD(1), sg.MinibatchSGD()),
    "K-sync(n−1)": (protocols.KSyncSGD(N - 1), sg.MinibatchSGD()),
    "K-async(n−1)": (protocols.KAsyncSGD(N - 1), sg.MinibatchSGD()),
    "first n−1": (protocols.FirstMSGD(N - 1), sg.MinibatchSGD()),
    "MindFlayer(limit 1)": (protocols.MindFlayerSGD(limit=1.0), sg.MinibatchSGD()),
    "Ringmaster(n)": (protocols.RingmasterASGD(N), sg.AsyncSGD()),
    "K-batch-async(2)": (protocols.KBatchAsyncSGD(2), sg.AsyncSGD()),
    "bounded(n−1)": (protocols.BoundedAsyncSGD(N - 1), sg.AsyncSGD()),
    "rescaled": (protocols.RescaledASGD(seconds=(1.0, 1.0, 1.0, 1.0, 1.1)), sg.AsyncSGD()),
}


def recorded(protocol, cluster, updates=200):
    return sg.record(protocol, cluster, sg.Updates(updates), seed=7, message_bytes=100.0)


@pytest.mark.parametrize("cluster", CLUSTERS)
@pytest.mark.parametrize("pair", PAIRS)
def test_the_limit_is_the_other_method(pair, cluster):
    if cluster == "crashes" and pair.split(" is ")[0] in ALL_IN_FLIGHT:
        pytest.skip("a crashed worker gives its place to another")
    one, other = (recorded(protocol, CLUSTERS[cluster]) for protocol in PAIRS[pair])
    assert one.content_hash == other.content_hash


@pytest.mark.parametrize("pair", NEIGHBOURS)
def test_its_neighbour_is_not(pair):
    """Or the tests above could not fail."""
    one, other = (recorded(protocol, CLUSTERS["exponential"]) for protocol in NEIGHBOURS[pair])
    assert one.content_hash != other.content_hash


def test_a_bound_that_is_never_met_is_asynchronous_at_one_nth_of_the_weight():
    loose, free = (recorded(p, CLUSTERS["stragglers"]) for p in (protocols.StaleSynchronousSGD(10**9), sg.AsyncSGD()))
    for column in ("time", "worker", "job", "read", "step", "assigned", "arrived"):
        np.testing.assert_array_equal(getattr(loose, column), getattr(free, column))
    assert set(loose.weight.tolist()) == {1 / N}
