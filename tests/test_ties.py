"""Ties: a tape cut at an update is the tape of a recording that stopped there, whatever the protocol does in one moment."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from attack.rubbish import ChaosTogether
from methods import FIXED_WORKERS, RECORDED

import simsgd as sg
from simsgd.replaying.reading import Reading

TIES = sg.times.Constant(1.0)
ZEROS = sg.times.Recorded(((0.0, 0.0, 1.0),) * 4, at_end="repeat")
CRASHES = (sg.faults.Crash(0, at=1.0, back=2.0), sg.faults.Crash(1, at=2.0, back=3.0), sg.faults.Leave(2, at=4.0))


def assert_cut_at_each_update(protocol, cluster, updates, seed=0):
    """Cut the longest tape at each update, and compare it with the recording that stopped there; return the longest."""
    longest = sg.record(protocol, cluster, sg.Updates(updates), seed=seed, message_bytes=0)
    for until in range(1, updates):
        reading = Reading(longest)
        reading.advance(updates=until)
        shorter = sg.record(protocol, cluster, sg.Updates(until), seed=seed, message_bytes=0)
        assert reading.tape().check() == shorter.check()
    return longest


@pytest.mark.parametrize("faults", [(), CRASHES], ids=["well", "crashing"])
@pytest.mark.parametrize("law", [TIES, ZEROS], ids=repr)
def test_protocols_that_do_anything_in_one_moment(law, faults):
    """Random verbs; some tapes have ties whose order the other logs do not tell."""
    told = 0
    for seed in range(12):
        try:
            told += len(assert_cut_at_each_update(ChaosTogether(), sg.Cluster(4, law, faults=faults), 6, seed).ties) > 0
        except sg.StuckError:
            continue
    assert told > 2 or law != TIES or faults


@dataclass(frozen=True)
class Waking(sg.AsyncSGD):
    """Steps with every second gradient, and hands a job to the worker that idles when the other one comes."""

    def start(self, server):
        for worker in server.workers[:-1]:
            server.assign(worker)

    def on_gradient(self, server, gradient):
        server.accumulate(gradient)
        if server.accumulated == 2:
            server.step()
        idle = [worker for worker in server.workers if worker not in server.busy and worker != gradient.worker]
        server.assign(idle[0])


def test_who_is_handed_a_job_after_the_version_but_in_its_moment():
    tape = assert_cut_at_each_update(Waking(), sg.Cluster(4, TIES), 8)
    assert set(tape.ties.kind.tolist()) == {0}
    assert np.isin(tape.ties.time, tape.update_times).all()


@pytest.mark.parametrize("name", RECORDED | FIXED_WORKERS)
def test_each_protocol_where_everything_is_tied(name):
    for faults in [(), CRASHES[:2] if name in FIXED_WORKERS else CRASHES]:
        assert_cut_at_each_update((RECORDED | FIXED_WORKERS)[name], sg.Cluster(4, TIES, faults=faults), 8)


@pytest.mark.parametrize(
    "protocol", [sg.AsyncSGD(), *(RECORDED[name] for name in ("sync", "K-batch-async", "K-async", "SSP", "bounded"))], ids=repr
)
def test_usual_protocols_need_no_log_of_ties(protocol):
    assert len(assert_cut_at_each_update(protocol, sg.Cluster(4, TIES), 8).ties) == 0


def test_a_tape_with_ties_saves_and_loads(tmp_path):
    tape = sg.record(Waking(), sg.Cluster(4, TIES), sg.Updates(8))
    tape.save(tmp_path / "tape.nc")
    assert sg.Tape.load(tmp_path / "tape.nc") == tape
    assert tape != sg.record(sg.AsyncSGD(), sg.Cluster(4, TIES), sg.Updates(8))


@dataclass(frozen=True)
class Eager(sg.AsyncSGD):
    """Hands a job to who joins at once, also while the others' gradients are being summed."""

    synchronous: ClassVar[bool] = True

    def on_join(self, server, worker):
        server.assign(worker)


def test_who_is_asked_while_the_others_sum_takes_part_in_the_next():
    """Workers 0 and 1 sum from 1 s to 2 s; worker 2 joins at 1.125 s and has its gradient at 1.375 s."""
    law = sg.times.PerWorker([sg.times.Constant(1.0), sg.times.Constant(1.0), sg.times.Constant(0.25)])
    cluster = sg.Cluster(3, law, sg.networks.Ring(sg.networks.Link(latency=0.5)), faults=(sg.faults.Join(2, at=1.125),))
    tape = sg.record(Eager(), cluster, sg.Updates(5), message_bytes=0).check()
    assert tape.worker.tolist() == [0, 1, 0, 1, 2]
    assert tape.arrived.tolist() == [2.0, 2.0, 5.0, 5.0, 5.0]
    assert (tape.assigned[4], tape.ended[4], tape.sent[4]) == (1.125, 1.375, 3.0)
