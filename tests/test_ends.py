"""Ends of a run that count what was used: gradients and samples."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest

import simsgd as sg
from simsgd.recording.recorder import Recording
from simsgd.replaying.reading import Reading

LAW = sg.times.Exponential(mean=1.0)
CLUSTER = sg.Cluster(4, LAW)
SGD = sg.optimizers.sgd(0.05)


@dataclass(frozen=True)
class Uneven(sg.AsyncSGD):
    """Steps with 1, 2, 3, 1, 2, 3 … gradients, of jobs with 1 to 3 local steps."""

    def on_gradient(self, server, gradient):
        server.accumulate(gradient)
        if server.accumulated > server.version % 3:
            server.step()
        server.assign(gradient.worker, steps=1 + gradient.job % 3)


PROTOCOLS = {"async": sg.AsyncSGD(), "sync": sg.MinibatchSGD(), "uneven": Uneven()}


def ending_with(tape, amounts, count):
    """Return the first update with which so much has been used."""
    return int(np.argmax(np.cumsum(amounts)[np.flatnonzero(tape.step)] >= count)) + 1


@pytest.mark.parametrize("count", [1, 2, 9, 40])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_recording_ends_with_the_step_that_uses_so_many(protocol, count):
    protocol = PROTOCOLS[protocol]
    whole = sg.record(protocol, CLUSTER, sg.Updates(60))
    of = {sg.Gradients(count): np.ones(len(whole)), sg.Samples(count * 8): 8 * whole.steps}
    for until, amounts in of.items():
        tape = sg.record(protocol, CLUSTER, until, batch_size=8)
        version = ending_with(whole, amounts, until.count)
        same = sg.record(protocol, CLUSTER, sg.Updates(version))
        assert tape.check() == same
        assert tape.identity == same.identity


@pytest.mark.parametrize("every", [None, sg.Updates(3), sg.Seconds(1.0), sg.Gradients(5), sg.Samples(70)], ids=str)
@pytest.mark.parametrize("until", [sg.Gradients(50), sg.Samples(1000), sg.Seconds(11.0), sg.Updates(31)], ids=str)
@pytest.mark.parametrize("protocol", ["async", "sync"])
def test_simulating_is_replaying_whatever_ends_it_and_how_often_it_is_evaluated(protocol, until, every, noisy):
    protocol = PROTOCOLS[protocol]
    run = sg.simulate(protocol, noisy, CLUSTER, SGD, until, evaluate_every=every)
    tape = sg.record(protocol, CLUSTER, until, message_bytes=noisy.message_bytes, batch_size=noisy.batch_size)
    assert run.tape == tape
    assert sg.replay(tape, noisy, SGD, until, evaluate_every=every) == run
    assert sg.replay(tape, noisy, SGD, until, evaluate_every=every).identity == run.identity
    assert sg.identity(protocol, noisy, CLUSTER, SGD, until, evaluate_every=every) == run.identity
    used = run.dataset.samples.values
    if isinstance(until, sg.Samples):
        assert used[-1] >= until.count > used[-1] - noisy.batch_size * len(tape) / tape.updates
    if isinstance(every, sg.Samples):
        assert (np.diff(used[:-1]) > 0).all()
        assert (used[1:-1] // every.count >= np.arange(1, len(used) - 1)).all()


def test_ends_are_met_in_pieces_of_any_size():
    for make in (lambda: Recording(Uneven(), CLUSTER), lambda: Reading(sg.record(Uneven(), CLUSTER, sg.Updates(60)))):
        whole, pieces = make(), make()
        whole.advance(gradients=50, steps=80)
        for part in (0.5, 7, 7.5, 20, 50):
            pieces.advance(gradients=part, steps=80)
        assert pieces.tape() == whole.tape()
        assert whole.reached == pieces.reached
        assert whole.reached.gradients >= 50 or whole.reached.steps >= 80
        whole.advance(gradients=10)  # what has come already
        assert pieces.tape() == whole.tape()


def test_whichever_comes_first_ends_it():
    recording = Recording(sg.AsyncSGD(), CLUSTER)
    recording.advance(seconds=2.0, gradients=1000)
    assert (recording.now, recording.tape()) == (2.0, sg.record(sg.AsyncSGD(), CLUSTER, sg.Seconds(2.0)))
    recording.advance(seconds=1e9, gradients=30)
    assert recording.tape() == sg.record(sg.AsyncSGD(), CLUSTER, sg.Gradients(30))


def test_a_tape_that_ends_before_is_refused():
    tape = sg.record(sg.AsyncSGD(), CLUSTER, sg.Updates(20))
    with pytest.raises(ValueError, match=r"until=Gradients\(count=21\) is never reached: .* with 20 gradients used"):
        sg.replay(tape, sg.problems.quadratic(), SGD, sg.Gradients(21))
    assert sg.replay(tape, sg.problems.quadratic(), SGD, sg.Gradients(20)).tape == tape


def test_samples_need_a_batch_size():
    with pytest.raises(ValueError, match=r"batch_size is needed with until=Samples\(count=9\)"):
        sg.record(sg.AsyncSGD(), CLUSTER, sg.Samples(9))


def test_a_run_of_very_many_is_refused():
    with pytest.raises(sg.BoundError, match=r"until=Gradients\(count=1000000000000\)"):
        sg.record(sg.AsyncSGD(), CLUSTER, sg.Gradients(10**12))


@pytest.mark.parametrize("rule", [sg.Gradients, sg.Samples])
@pytest.mark.parametrize("count", [0, -1, 1.5, "9", True])
def test_counts_that_are_none_are_refused(rule, count):
    with pytest.raises(ValueError, match=rf"{rule.__name__}\.count must be a whole number of at least 1"):
        rule(count)


@pytest.mark.parametrize("within", [sg.Gradients(60), sg.Samples(2000)], ids=str)
def test_a_target_s_bound_may_count_gradients_or_samples(within, noisy):
    target = sg.Target("loss", at_most=0.3, within=within, kept=sg.Updates(5))
    run = sg.simulate(sg.AsyncSGD(), noisy, CLUSTER, sg.optimizers.sgd(0.3), target)
    assert run.status == "target reached"
    never = dataclasses.replace(target, at_most=1e-9)
    missed = sg.simulate(sg.AsyncSGD(), noisy, CLUSTER, SGD, never)
    assert missed.status == "completed"
    tuning = sg.studies.tune(sg.AsyncSGD(), noisy, CLUSTER, [0.1, 0.3], until=target)
    assert tuning.runs[1] == run
    with pytest.raises(ValueError, match=r"must say how long it is to be kept: kept=Seconds\(5\)"):
        sg.simulate(sg.AsyncSGD(), noisy, CLUSTER, SGD, dataclasses.replace(target, kept=None))
