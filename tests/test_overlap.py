"""simulate records while the device plays: neither results, nor errors, nor runs that end early show it."""

import os
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass

import pytest
from methods import METHODS

import simsgd as sg
from simsgd import simulation
from simsgd.replaying import follow
from simsgd.replaying.player import Evaluation

SGD = sg.optimizers.sgd(0.05)
LAW = sg.times.Exponential(mean=1.0)
CRASHING = sg.Cluster(4, LAW, faults=(sg.faults.Crashes(between=sg.times.Exponential(9.0), lasting=sg.times.Exponential(2.0)),))


def replayed_in_step(run, protocol, problem, cluster, optimizer, until, looks):
    """Record no further than a run went, and replay that: nothing can be looked at that came later."""
    end = sg.Seconds(run.tape.end) if not isinstance(looks, sg.Updates) and run.tape.end else sg.Updates(run.tape.updates)
    tape = sg.record(protocol, cluster, end, message_bytes=run.configuration["message_bytes"])
    assert tape == run.tape
    return sg.replay(tape, problem, optimizer, until, evaluate_every=looks)


@pytest.mark.parametrize("method", METHODS)
def test_pieces_of_any_size_give_the_same_run(method, cluster, noisy, monkeypatch):
    def run():
        return sg.simulate(METHODS[method], noisy, cluster, SGD, sg.Updates(150), evaluate_every=sg.Updates(70))

    whole = run()
    for rows in (1, 8, 64):
        monkeypatch.setattr(follow, "TABLE_ROWS", rows)
        assert run() == whole


@pytest.mark.parametrize("looks", [sg.Updates(1), sg.Updates(7), sg.Seconds(0.9), None])
@pytest.mark.parametrize("kept", [0, None])
@pytest.mark.parametrize("method", ["sync", "async", "Rennala", "Ringmaster", "crashing"])
def test_a_target_ends_a_run_as_if_nobody_had_gone_on(method, kept, looks, cluster, noisy):
    protocol, where = (METHODS[method], cluster) if method != "crashing" else (sg.AsyncSGD(), CRASHING)
    target = sg.Target("loss", at_most=0.3, within=sg.Seconds(400), kept=kept)
    optimizer = sg.optimizers.sgd(0.1)
    overlapped = sg.simulate(protocol, noisy, where, optimizer, target, evaluate_every=looks)
    assert (overlapped.status, overlapped.tape.end < 300) == ("target reached", True)
    assert overlapped == replayed_in_step(overlapped, protocol, noisy, where, optimizer, target, looks)


def test_a_run_that_diverges_ends_as_if_nobody_had_gone_on(cluster, noisy):
    target, optimizer, looks = sg.Target("loss", at_most=0, within=sg.Updates(400)), sg.optimizers.sgd(30.0), sg.Updates(4)
    overlapped = sg.simulate(sg.AsyncSGD(), noisy, cluster, optimizer, target, evaluate_every=looks)
    assert overlapped.status == "diverged"
    assert overlapped == replayed_in_step(overlapped, sg.AsyncSGD(), noisy, cluster, optimizer, target, looks)


def test_recording_goes_on_before_the_device_answers(cluster, noisy, monkeypatch):
    """In the order of calls: the source is sent to look k + 1 before anybody waits for the numbers of look k."""
    order = []
    advance, metrics = simulation.Recording.advance, Evaluation.metrics.fget

    def advancing(recording, updates, *others):
        order.append(f"record to {updates}")
        advance(recording, updates, *others)

    def waiting(look):
        order.append("wait")
        return metrics(look)

    monkeypatch.setattr(simulation.Recording, "advance", advancing)
    monkeypatch.setattr(Evaluation, "metrics", property(waiting))
    sg.simulate(sg.AsyncSGD(), noisy, cluster, SGD, sg.Updates(30), evaluate_every=sg.Updates(10))
    expected = ["record to 0", "record to 10", "wait", "record to 20", "wait", "record to 30", "wait", "wait"]
    assert order == expected


@dataclass(frozen=True)
class Failing(sg.AsyncSGD):
    """Fails in the middle of answering a gradient."""

    at: int
    error: type[BaseException] = ZeroDivisionError

    def on_gradient(self, server, gradient):
        if server.version == self.at:
            raise self.error("of the user's own")
        super().on_gradient(server, gradient)


def test_errors_come_out_as_themselves(cluster, noisy):
    for error in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(error, match="of the user's own") as raised:
            sg.simulate(Failing(55, error), noisy, cluster, SGD, sg.Updates(100))
        assert type(raised.value) is error
        assert "on_gradient" in [frame.name for frame in traceback.extract_tb(raised.tb)]


def test_an_error_beyond_the_end_is_nobody_s(noisy, cluster):
    """The target is reached at update 50, the protocol fails at 55: the run is that of a protocol that does not."""
    plain = sg.simulate(sg.AsyncSGD(), noisy, cluster, SGD, sg.Updates(100), evaluate_every=sg.Updates(10))
    losses = plain.dataset["loss"].values
    assert losses[5] < losses[:5].min()
    target = sg.Target("loss", at_most=float(losses[5]), within=sg.Updates(100), kept=0)
    runs = [
        sg.simulate(protocol, noisy, cluster, SGD, target, evaluate_every=sg.Updates(10))
        for protocol in (Failing(55), sg.AsyncSGD())
    ]
    assert [(run.status, run.tape.updates) for run in runs] == [("target reached", 50)] * 2
    assert runs[0].hashes == runs[1].hashes


def test_a_protocol_that_observes_ends_at_the_same_look(cluster, noisy):
    @dataclass(frozen=True)
    class Watching(sg.AsyncSGD):
        def on_gradient(self, server, gradient):
            server.observe("loss")
            super().on_gradient(server, gradient)

    target = sg.Target("loss", at_most=0.3, within=sg.Seconds(400))
    runs = [sg.simulate(p, noisy, cluster, SGD, target, evaluate_every=sg.Updates(9)) for p in (Watching(), sg.AsyncSGD())]
    assert runs[0].status == "target reached"
    assert runs[0].hashes == runs[1].hashes


ENDLESS = """
import simsgd as sg
cluster = sg.Cluster(4, sg.times.Exponential(mean=0.1))
problem, sgd = sg.problems.quadratic(), sg.optimizers.sgd(0.01)
sg.simulate(sg.AsyncSGD(), problem, cluster, sgd, sg.Updates(100))
print("begun", flush=True)
sg.simulate(sg.AsyncSGD(), problem, cluster, sgd, sg.Updates(50_000_000))
"""


def test_ctrl_c_is_heard():
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "begun\n"
        time.sleep(1.0)
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")
