"""What holds on every cluster: one suite over the product of laws, fabrics, faults and protocols, drawn by hypothesis.

Staleness is conserved, the tape keeps its laws, the same seed gives the same bits, methods see common random numbers, time adds
up, and nothing hangs: a recording comes to its end or says who waits for whom.
"""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from methods import FIXED_WORKERS, RECORDED

import simsgd as sg
from simsgd import faults, networks, times
from simsgd.costs import Costs
from simsgd.recording.recorder import Recording
from simsgd.replaying.reading import Reading
from simsgd.tape.schema import REASONS

MESSAGE_BYTES = 100.0
WORKERS = 4

# All times here are of the order of a second.
LAWS = {
    "exponential": times.Exponential(1.0),
    "pareto of infinite variance": times.Pareto(0.3, 1.5),
    "stragglers": times.Speeds(times.Exponential(1.0), (1.0, 0.1, 3.0, 1.0)),
    "a law for each": times.PerWorker(
        (times.Exponential(0.7), times.Pareto(0.2, 2.5), times.Gamma(2.0, 0.6), times.Lognormal(1.0, 2.0))
    ),
    "drawn slowness": times.DrawnSlowness(times.Exponential(1.0), times.Lognormal(1.0, 1.0)),
    "scaled": times.Scaled(times.Exponential(0.5), by=2.0, overhead=0.1),
    "constant": times.Constant(0.5),  # with the faults below that are at multiples of it, ties of all kinds
    "autocorrelated": times.AutocorrelatedLognormal(1.0, 0.8, 0.7),
}
CLOCKED = {
    "slow spells": times.SlowSpells(times.Exponential(1.0), slowness=5.0, normal_seconds=4.0, slow_seconds=2.0),
    "slow-downs": times.Slowdowns(times.Exponential(1.0), (times.Slowdown(worker=1, slowness=4.0, start=3.0, end=9.0),)),
    "pauses": times.Pauses(times.Exponential(1.0), every=5.0, lasting=1.0),
}
NETWORKS = {
    "free": networks.Link(),
    "link": networks.Link(latency=0.1, bandwidth=300.0),
    "a link for each": networks.PerWorker([networks.Link(0.1 * i, 100.0 * (i + 1)) for i in range(WORKERS)]),
    "jitter": networks.Jittery(networks.Link(latency=0.1), times.Exponential(0.2)),
    "first in, first out": networks.ParameterServer(networks.Link(0.05, 400.0), sharing="first in, first out"),
    "fair": networks.ParameterServer(networks.Link(0.05, 400.0), sharing="fair"),
    "fair with caps": networks.ParameterServer(
        networks.Link(0.0, 400.0), access=networks.PerWorker([networks.Link(0.1, 90.0 * (1 + i % 2)) for i in range(WORKERS)])
    ),
    "fair, some without a cap": networks.ParameterServer(
        access=networks.PerWorker([networks.Link(0.1, (90.0, float("inf"))[i % 2]) for i in range(WORKERS)])
    ),
    "shards and a slow server": networks.ParameterServer(
        networks.Link(0.0, 200.0), sharing="first in, first out", shards=2, update=times.Exponential(0.3)
    ),
}
COLLECTIVES = {
    "ring": networks.Ring(networks.Link(0.01, 1000.0)),
    "halving-doubling": networks.HalvingDoubling(networks.Link(0.01, 1000.0), reduction=1e4),
    "tree": networks.BinaryTree(networks.Jittery(networks.Link(0.01, 1000.0), times.Exponential(0.01))),
    "overlapped buckets": networks.Ring(networks.Link(0.01, 1000.0), buckets=3, overlap=True),
}
FAULTS = {
    "crashes": faults.Crashes(between=times.Exponential(12.0), lasting=times.Exponential(3.0)),
    "short crashes of two": faults.Crashes(between=times.Exponential(2.0), lasting=times.Exponential(0.2), workers=(0, 2)),
    "a crash": faults.Crash(worker=1, at=2.34567, back=8.7654),
    "crashes in step": faults.Crashes(between=times.Constant(7.5), lasting=times.Constant(0.5), workers=(0, 1, 3)),
    "a crash in step": faults.Crash(worker=2, at=1.5, back=2.0),
    "leaving in step": faults.Leave(worker=1, at=3.0),
    "joining in step": faults.Join(worker=2, at=1.0),
    "leaving": faults.Leave(worker=3, at=7.654321),
    "joining": faults.Join(worker=2, at=3.456789),
    "losses": faults.LostMessages(probability=0.2, timeout=0.3),
    "outages": faults.LinkOutages(between=times.Exponential(6.0), lasting=times.Exponential(1.0)),
}
SYNCHRONOUS = {"sync": sg.MinibatchSGD(), "sync that goes on": sg.MinibatchSGD(wait=False)}
# A protocol that counts workers, as K-sync does, waits for those that have left; here are those to which it does not matter.
PROTOCOLS = RECORDED | SYNCHRONOUS

chosen_faults = st.lists(st.sampled_from(sorted(FAULTS)), unique=True, max_size=3).filter(
    lambda names: not {"joining", "joining in step"} <= set(names)  # both of worker 2, which joins only once
)
any_law = st.sampled_from(sorted(LAWS | CLOCKED))
ends = st.one_of(st.integers(1, 60).map(sg.Updates), st.floats(0.5, 30.0).map(sg.Seconds))
SUITE = settings(deadline=None, max_examples=120)


def cluster_of(law, network, names=()):
    return sg.Cluster(WORKERS, (LAWS | CLOCKED)[law], (NETWORKS | COLLECTIVES)[network], [FAULTS[name] for name in names])


@st.composite
def cases(draw):
    """A protocol and a cluster that carries it."""
    protocol = draw(st.sampled_from(sorted(PROTOCOLS | FIXED_WORKERS)))
    network = draw(st.sampled_from(sorted(NETWORKS | (COLLECTIVES if protocol in SYNCHRONOUS else {}))))
    names = [name for name in draw(chosen_faults) if protocol not in FIXED_WORKERS or not name.startswith(("leav", "join"))]
    return (PROTOCOLS | FIXED_WORKERS)[protocol], cluster_of(draw(any_law), network, names)


def recorded(protocol, cluster, until, seed):
    return sg.record(protocol, cluster, until, seed, message_bytes=MESSAGE_BYTES)


def jobs_of(tape):
    """All jobs of the three logs: worker, job, read, assigned, and when and at which version each was over."""
    logs = (tape, tape.discarded, tape.in_flight)
    worker, job, read, assigned = (
        np.concatenate([getattr(log, c) for log in logs]) for c in ("worker", "job", "read", "assigned")
    )
    lasting = len(tape.in_flight)
    over = np.concatenate([tape.time, tape.discarded.time, np.full(lasting, np.inf)])
    version = np.concatenate([tape.version, tape.discarded.version, np.full(lasting, tape.updates)])
    return worker, job, read, assigned, over, version


@SUITE
@given(case=cases(), until=ends, seed=st.integers(0, 2**31))
def test_every_recording_keeps_the_laws(case, until, seed):
    """The tape's laws; staleness counted by versions and by the clock; time that adds up; the same bits again."""
    protocol, cluster = case
    tape = recorded(protocol, cluster, until, seed).check()
    _, _, read, assigned, over, version = jobs_of(tape)
    # each update makes every job older that was handed out before it and is used or thrown away after it, and no other; the
    # protocols here that cancel do so just after the update of that moment, but for one, whose update may be the answer to it
    moments, before = tape.update_times, np.searchsorted(tape.update_times, assigned, "right")
    tied = cluster.compute == LAWS["constant"]  # updates and other events at one moment: the clock cannot tell which came first
    cancelled = np.isin(np.arange(len(over)) - len(tape), np.flatnonzero(tape.discarded.reason == REASONS.index("cancelled")))
    cancelled &= not isinstance(protocol, sg.protocols.MindFlayerSGD)
    older = np.where(cancelled, np.searchsorted(moments, over, "right"), np.searchsorted(moments, over, "left")) - before
    lasted = assigned < over  # of a job that is handed out and taken back in one moment the clock cannot tell either
    assert tied or int((version - read)[lasted].sum()) == int(older[lasted].sum())
    shares = tape.shares()
    assert min(share.min() for share in shares.values()) >= 0
    np.testing.assert_allclose(sum(shares.values()), 1.0, rtol=1e-9)
    assert recorded(protocol, cluster, until, seed) == tape


@SUITE
@given(
    law=any_law,
    network=st.sampled_from(sorted(NETWORKS)),
    until=ends,
    seed=st.integers(0, 2**31),
    names=st.lists(st.sampled_from(["losses", "outages"]), unique=True),
)
def test_staleness_is_conserved_on_every_fabric(law, network, until, seed, names):
    """Asynchronous SGD, nobody down: Σ τ(used) + Σ τ(in flight) = (n−1)·T, as integers."""
    tape = recorded(sg.AsyncSGD(), cluster_of(law, network, names), until, seed)
    in_flight = tape.updates - tape.in_flight.read.astype(np.int64)
    assert int(tape.staleness.sum() + in_flight.sum()) == (WORKERS - 1) * tape.updates


@SUITE
@given(case=cases(), seed=st.integers(0, 2**31), pieces=st.lists(st.floats(0.01, 3.0), min_size=1, max_size=20))
def test_pieces_and_cuts_are_the_same_recording(case, seed, pieces):
    """Advancing in pieces writes the tape that one go writes, and a longer tape read up to a moment is the shorter one."""
    protocol, cluster = case
    moments = np.cumsum(pieces)
    recording = Recording(protocol, cluster, Costs.of(protocol, MESSAGE_BYTES), seed)
    for moment in moments:
        recording.advance(seconds=moment)
    whole = recorded(protocol, cluster, sg.Seconds(float(moments[-1])), seed)
    assert recording.tape() == whole
    for moment in moments[:3]:
        reading = Reading(whole)
        reading.advance(seconds=moment)
        assert reading.tape() == recorded(protocol, cluster, sg.Seconds(float(moment)), seed)
    if whole.updates:
        reading = Reading(whole)
        reading.advance(updates=(whole.updates + 1) // 2)
        assert reading.tape() == recorded(protocol, cluster, sg.Updates((whole.updates + 1) // 2), seed)


@SUITE
@given(
    law=st.sampled_from(sorted(LAWS)),
    networks_=st.tuples(*[st.sampled_from(sorted(NETWORKS | COLLECTIVES))] * 2),
    protocols=st.tuples(*[st.sampled_from(sorted(PROTOCOLS))] * 2),
    names=chosen_faults,
    seed=st.integers(0, 2**31),
)
def test_methods_fabrics_and_faults_see_common_random_numbers(law, networks_, protocols, names, seed):
    """A worker's k-th job takes the same time, and the same workers are down at the same times, whatever else changes."""
    tapes = []
    for network, protocol, these in zip(networks_, protocols, (names, []), strict=True):
        carried = protocol if network in NETWORKS or protocol in SYNCHRONOUS else "sync"
        tapes.append(recorded(PROTOCOLS[carried], cluster_of(law, network, these), sg.Seconds(15.0), seed))
    assume(all((tape.steps == 1).all() for tape in tapes))  # where a protocol chooses the steps, jobs are not the same ones
    one, other = (
        {(w, j): e - b for w, j, b, e in zip(t.worker.tolist(), t.job.tolist(), t.began, t.ended, strict=True)} for t in tapes
    )
    for key in one.keys() & other.keys():
        assert one[key] == pytest.approx(other[key], rel=1e-9, abs=1e-12)


@SUITE
@given(
    protocols=st.tuples(*[st.sampled_from(sorted(PROTOCOLS))] * 2),
    networks_=st.tuples(*[st.sampled_from(sorted(NETWORKS))] * 2),
    names=chosen_faults,
    seed=st.integers(0, 2**31),
)
def test_who_is_down_when_is_the_same_for_all(protocols, networks_, names, seed):
    downs = []
    for protocol, network in zip(protocols, networks_, strict=True):
        down = recorded(PROTOCOLS[protocol], cluster_of("exponential", network, names), sg.Seconds(20.0), seed).down
        downs.append((down.worker.tolist(), down.start.tolist(), down.end.astype(str).tolist()))
    assert downs[0] == downs[1]


@pytest.mark.parametrize("network", sorted(NETWORKS | COLLECTIVES))
@pytest.mark.parametrize("name", ["crashes", "losses", "leaving", None])
def test_replay_of_a_recording_is_simulate(network, name, noisy):
    """Bit for bit, on every fabric and under faults that lose work: replay knows nothing of them."""
    protocol = sg.MinibatchSGD(wait=False) if network in COLLECTIVES else sg.AsyncSGD()
    cluster = cluster_of("exponential", network, [name] if name else [])
    optimizer = sg.optimizers.sgd(0.05)
    run = sg.simulate(protocol, noisy, cluster, optimizer, sg.Updates(40), seed=3, message_bytes=MESSAGE_BYTES)
    tape = recorded(protocol, cluster, sg.Updates(40), 3)
    again = sg.replay(tape, noisy, optimizer)
    assert run.tape == tape
    assert run.hashes == again.hashes


@SUITE
@given(
    protocols=st.tuples(*[st.sampled_from(["async", "sync", "sync that goes on", "K-batch-async"])] * 2),
    names=st.lists(st.sampled_from(["crashes", "losses", "outages"]), unique=True),
    seed=st.integers(0, 2**31),
)
def test_the_server_s_time_for_a_gradient_is_its_own(protocols, names, seed):
    """The seconds that the server takes for a worker's k-th gradient change neither with the method nor with lost jobs.

    With one worker the server is never contended, so these are used − arrived.
    """
    server = networks.ParameterServer(update=times.Exponential(0.3))
    took = []
    for protocol, these in zip(protocols, (names, []), strict=True):
        cluster = sg.Cluster(1, times.Exponential(1.0), server, [FAULTS[name] for name in these])
        tape = recorded(PROTOCOLS[protocol], cluster, sg.Seconds(15.0), seed)
        took.append(dict(zip(tape.job.tolist(), (tape.time - tape.arrived).tolist(), strict=True)))
    for job in took[0].keys() & took[1].keys():
        assert took[0][job] == pytest.approx(took[1][job], rel=1e-9, abs=1e-12)
