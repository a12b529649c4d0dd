"""Forty-two configurations whose bits are kept: laws × fabrics × faults × protocols, each with the hashes of what came out.

`python tests/bits.py` prints the hashes of this code as JSON; `tests/golden/bits.json` holds those that are promised.
"""

import json
import sys

import simsgd as sg
from simsgd import faults, networks, times

WORKERS = 6
MESSAGE_BYTES = 100.0

LAWS = {
    "constant": times.Constant(0.5),
    "exponential": times.Exponential(1.0),
    "shifted exponential": times.ShiftedExponential(0.5, 1.0),
    "gamma": times.Gamma(1.0, 0.6),
    "lognormal": times.Lognormal(1.0, 1.0),
    "pareto": times.Pareto(0.3, 2.5),
    "weibull": times.Weibull(1.0, 0.7),
    "speeds": times.Speeds(times.Exponential(1.0), (1.0, 0.2, 3.0, 1.0, 1.0, 0.7)),
    "a law for each": times.PerWorker(tuple(times.Exponential(0.5 + 0.2 * i) for i in range(WORKERS))),
    "drawn slowness": times.DrawnSlowness(times.AutocorrelatedLognormal(1.0, 0.3, 0.6), times.Lognormal(1.0, 0.4)),
    "slow spells": times.SlowSpells(times.Exponential(1.0), slowness=5.0, normal_seconds=4.0, slow_seconds=2.0),
    "pauses": times.Pauses(times.Exponential(1.0), every=5.0, lasting=1.0),
    "slow-downs": times.Slowdowns(times.Exponential(1.0), (times.Slowdown(worker=1, slowness=4.0, start=3.0, end=9.0),)),
    "scaled": times.Scaled(times.Exponential(0.5), by=2.0, overhead=0.1),
}
FABRICS = {
    "free": networks.Link(),
    "link": networks.Link(latency=0.1, bandwidth=300.0),
    "a link for each": networks.PerWorker([networks.Link(0.1 * i, 100.0 * (i + 1)) for i in range(WORKERS)]),
    "jitter": networks.Jittery(networks.Link(latency=0.1), times.Exponential(0.2)),
    "first in, first out": networks.ParameterServer(networks.Link(0.05, 400.0), sharing="first in, first out"),
    "fair": networks.ParameterServer(networks.Link(0.05, 400.0), sharing="fair"),
    "shards and a slow server": networks.ParameterServer(
        networks.Link(0.0, 200.0), sharing="first in, first out", shards=2, update=times.Exponential(0.3)
    ),
    "ring": networks.Ring(networks.Link(0.01, 1000.0)),
    "tree with jitter": networks.BinaryTree(networks.Jittery(networks.Link(0.01, 1000.0), times.Exponential(0.01))),
    "overlapped buckets": networks.HalvingDoubling(networks.Link(0.01, 1000.0), buckets=3, overlap=True),
}
FAULTS = {
    "none": (),
    "crashes": (faults.Crashes(between=times.Exponential(12.0), lasting=times.Exponential(3.0)),),
    "a crash": (faults.Crash(worker=1, at=2.34567, back=8.7654),),
    "leaving and joining": (faults.Leave(worker=3, at=7.654321), faults.Join(worker=2, at=3.456789)),
    "losses": (faults.LostMessages(probability=0.2, timeout=0.3),),
    "outages": (faults.LinkOutages(between=times.Exponential(6.0), lasting=times.Exponential(1.0)),),
    "all in step": (
        faults.Crashes(between=times.Constant(7.5), lasting=times.Constant(0.5), workers=(0, 1, 3)),
        faults.Leave(worker=4, at=3.0),
    ),
}
PROTOCOLS = {
    "minibatch": sg.MinibatchSGD(),
    "minibatch that goes on": sg.MinibatchSGD(wait=False),
    "async": sg.AsyncSGD(),
    "K-sync": sg.protocols.KSyncSGD(2),
    "K-batch-async": sg.protocols.KBatchAsyncSGD(3),
    "Rennala": sg.protocols.RennalaSGD(4),
    "Ringmaster": sg.protocols.RingmasterASGD(3),
}
CONFIGURATIONS = [
    ("exponential", "free", "none", "async"),
    ("exponential", "link", "none", "async"),
    ("exponential", "link", "none", "minibatch"),
    ("exponential", "link", "none", "K-sync"),
    ("exponential", "link", "none", "K-batch-async"),
    ("exponential", "link", "none", "Rennala"),
    ("exponential", "link", "none", "Ringmaster"),
    ("constant", "free", "none", "async"),
    ("constant", "free", "none", "minibatch"),
    ("constant", "free", "none", "K-sync"),
    ("constant", "link", "none", "Rennala"),
    ("constant", "a link for each", "none", "async"),
    ("constant", "first in, first out", "none", "async"),
    ("constant", "ring", "none", "minibatch"),
    ("constant", "free", "all in step", "async"),
    ("constant", "link", "all in step", "minibatch that goes on"),
    ("shifted exponential", "a link for each", "none", "async"),
    ("gamma", "jitter", "none", "K-batch-async"),
    ("lognormal", "fair", "none", "async"),
    ("pareto", "first in, first out", "none", "async"),
    ("weibull", "shards and a slow server", "none", "K-sync"),
    ("speeds", "link", "none", "Ringmaster"),
    ("a law for each", "free", "none", "Rennala"),
    ("drawn slowness", "fair", "crashes", "async"),
    ("drawn slowness", "link", "crashes", "minibatch that goes on"),
    ("slow spells", "link", "a crash", "async"),
    ("slow spells", "jitter", "none", "K-sync"),
    ("pauses", "fair", "none", "minibatch"),
    ("slow-downs", "free", "crashes", "K-sync"),
    ("scaled", "link", "leaving and joining", "async"),
    ("exponential", "link", "crashes", "minibatch"),
    ("exponential", "link", "losses", "async"),
    ("exponential", "link", "outages", "async"),
    ("exponential", "link", "losses", "K-sync"),
    ("exponential", "jitter", "outages", "minibatch"),
    ("exponential", "first in, first out", "losses", "Ringmaster"),
    ("exponential", "shards and a slow server", "outages", "async"),
    ("exponential", "fair", "leaving and joining", "minibatch that goes on"),
    ("exponential", "ring", "crashes", "minibatch that goes on"),
    ("lognormal", "tree with jitter", "none", "minibatch"),
    ("gamma", "overlapped buckets", "a crash", "minibatch"),
    ("drawn slowness", "ring", "losses", "minibatch"),
]


def hashes(law, fabric, fault, protocol):
    """Return the SHA-256 of the tape and of the parameters that its replay ends with."""
    cluster = sg.Cluster(WORKERS, LAWS[law], FABRICS[fabric], FAULTS[fault])
    until = sg.Seconds(25.0) if fault != "none" else sg.Updates(60)
    tape = sg.record(PROTOCOLS[protocol], cluster, until, seed=7, message_bytes=MESSAGE_BYTES)
    problem = sg.problems.quadratic(noise=0.3, samples=64, batch_size=2)
    return sg.replay(tape, problem, sg.optimizers.sgd(0.05), evaluate_every=sg.Seconds(tape.end)).hashes


if __name__ == "__main__":
    json.dump({", ".join(names): hashes(*names) for names in CONFIGURATIONS}, sys.stdout, indent=1)
