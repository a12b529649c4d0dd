"""What is broken off: recordings refuse to go on, and exceptions hand back what was done, exactly as it was until then."""

import contextlib
import pickle
import signal
import sys
from dataclasses import dataclass

import jax
import numpy as np
import optax
import pytest
from methods import RECORDED

import simsgd as sg
from simsgd.costs import Costs
from simsgd.recording.recorder import BrokenOffError, Recording
from simsgd.tape import prefix

LAW = sg.times.Exponential(mean=1.0)
TIES = sg.times.Constant(1.0)
FAULTY = sg.Cluster(4, LAW, faults=(sg.faults.Crashes(between=sg.times.Exponential(9.0), lasting=sg.times.Exponential(2.0)),))
QUEUES = sg.Cluster(4, LAW, sg.networks.ParameterServer(sg.networks.Link(latency=0.01, bandwidth=100.0)))
SGD = sg.optimizers.sgd(0.05)


def interrupted_after(lines, work):
    """Do some work, and let Ctrl-C come at the n-th line that simsgd's recording executes; say whether it came."""
    left = [lines]

    def trace(frame, event, argument):
        if "simsgd/recording" not in frame.f_code.co_filename.replace("\\", "/"):
            return None
        left[0] -= event == "line"
        if left[0] <= 0:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False


@pytest.mark.parametrize(
    "cluster", [sg.Cluster(4, LAW), sg.Cluster(3, TIES), FAULTY, QUEUES], ids=["plain", "ties", "faults", "queues"]
)
@pytest.mark.parametrize("method", ["async", "sync", "K-batch-async", "Ringmaster", "SSP", "MindFlayer"])
def test_a_recording_that_broke_off_tells_exactly_what_had_happened(method, cluster):
    """At any line: what is handed back is the tape of a recording that nobody broke off, until then."""
    whole = sg.record(RECORDED[method], cluster, sg.Seconds(12), message_bytes=10)
    generator = np.random.default_rng(0)
    lengths = []
    for lines in generator.integers(1, 4000, size=12).tolist():
        recording = Recording(RECORDED[method], cluster, Costs.of(RECORDED[method], 10))
        if not interrupted_after(lines, lambda recording=recording: recording.advance(seconds=12.0)):
            continue
        tape = recording.tape().check()
        lengths.append(tape.end)
        if tape.end > 0:
            assert tape == prefix.until(whole, tape.end, tape.updates, by_time=True)
        with pytest.raises(BrokenOffError, match="record anew with the same seed"):
            recording.advance(seconds=13.0)
    assert max(lengths) > 1


def test_a_recording_goes_on_after_an_interruption_between_two_calls(cluster):
    whole, pieces = sg.record(sg.AsyncSGD(), cluster, sg.Updates(100)), Recording(sg.AsyncSGD(), cluster)
    for updates in (10, 40, 100):
        pieces.advance(updates=updates)
    assert pieces.tape() == whole


@dataclass(frozen=True)
class Failing(sg.AsyncSGD):
    """Fails in the middle of answering a gradient, once it has been used."""

    at: int
    error: type[BaseException] = KeyboardInterrupt

    def on_gradient(self, server, gradient):
        server.accumulate(gradient)
        if server.version == self.at:
            raise self.error("of the user's own")
        server.step()
        server.assign(gradient.worker)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_record_hands_back_the_tape(error, cluster):
    with pytest.raises(error, match="user's own") as raised:
        sg.record(Failing(55, error), cluster, sg.Updates(100))
    tape, whole = raised.value.partial.check(), sg.record(sg.AsyncSGD(), cluster, sg.Updates(100))
    assert tape.updates == 55
    assert np.array_equal(tape.time, whole.time[:55])
    assert "a Tape" in raised.value.__notes__[-1]


def test_simulate_and_replay_hand_back_the_run_until_its_last_evaluation(cluster, noisy, tmp_path):
    whole = sg.simulate(sg.AsyncSGD(), noisy, cluster, SGD, sg.Updates(100), evaluate_every=sg.Updates(10))
    with pytest.raises(KeyboardInterrupt) as raised:
        sg.simulate(Failing(55), noisy, cluster, SGD, sg.Updates(100), evaluate_every=sg.Updates(10))
    run = raised.value.partial
    assert (run.status, run.tape.updates) == ("interrupted", 40)  # 50 was recorded, and its numbers were still to come
    assert np.array_equal(run.dataset["loss"], whole.dataset["loss"][:5])
    again = sg.simulate(sg.AsyncSGD(), noisy, cluster, SGD, sg.Updates(40), evaluate_every=sg.Updates(10))
    assert run.hashes == again.hashes
    run.save(tmp_path / "run.nc")
    assert sg.Run.load(tmp_path / "run.nc") == run
    assert "interrupted" in run.summary()


def test_an_error_of_the_recording_hands_back_all_evaluations(cluster, noisy):
    with pytest.raises(ZeroDivisionError) as raised:
        sg.simulate(Failing(55, ZeroDivisionError), noisy, cluster, SGD, sg.Updates(100), evaluate_every=sg.Updates(10))
    assert raised.value.partial.tape.updates == 50
    assert pickle.loads(pickle.dumps(raised.value.partial.tape)) == raised.value.partial.tape


def test_nothing_done_is_nothing_handed_back(cluster, noisy):
    with pytest.raises(ValueError, match="until") as raised:
        sg.simulate(sg.AsyncSGD(), noisy, cluster, SGD, sg.Target("loss", at_most=0.1))
    assert not hasattr(raised.value, "partial")


def test_tune_hands_back_the_step_sizes_that_were_tried(cluster, noisy):
    def interrupting(step_size):
        if step_size > 0.05:
            raise KeyboardInterrupt
        return sg.optimizers.sgd(step_size)

    target = sg.Target("loss", at_most=0.3, within=sg.Seconds(100))
    with pytest.raises(KeyboardInterrupt) as raised:
        sg.studies.tune(sg.AsyncSGD(), noisy, cluster, [0.1, 0.01, 0.03], until=target, optimizer=interrupting)
    tuning = raised.value.partial
    assert (tuning.step_sizes, tuning.interrupted) == ((0.01, 0.03), True)
    assert "interrupted before the greater ones" in tuning.summary()
    assert [note for note in raised.value.__notes__ if "partial" in note] == raised.value.__notes__[-1:]


class OddError(Exception):
    """An exception that cannot be made anew from its arguments."""

    def __init__(self, first, second):
        super().__init__("odd")


@dataclass(frozen=True)
class Raising(sg.times.Law):
    """A law that raises what it was given, when it is made ready or when it draws."""

    error: Exception
    early: bool

    def sampler(self, rng, worker):
        if self.early:
            raise self.error

        def draw(now):
            if now > 0:
                raise self.error
            return 1.0

        return draw

    def moments(self, worker=0):
        return sg.times.Constant(1.0).moments(worker)


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize(
    "network", [sg.networks.Link(latency=0.1), sg.networks.ParameterServer(sg.networks.Link(latency=0.0, bandwidth=100.0))]
)
def test_what_the_user_raises_is_what_comes_out(early, network):
    error = OddError(1, 2)
    with pytest.raises(OddError) as raised:
        sg.record(sg.AsyncSGD(), sg.Cluster(2, Raising(error, early), network), sg.Updates(9), message_bytes=10)
    assert raised.value is error


@pytest.mark.parametrize(("weight", "scale"), [(1e200, 1e200), (-1e308, 10.0), (2.0, 1e308)])
def test_weights_that_a_step_would_make_infinite_are_refused(weight, scale, cluster):
    @dataclass(frozen=True)
    class Scaling(sg.AsyncSGD):
        def on_gradient(self, server, gradient):
            server.accumulate(gradient, weight)
            server.step(scale)
            server.assign(gradient.worker)

    with pytest.raises(sg.ProtocolError, match="their product is no finite number"):
        sg.record(Scaling(), cluster, sg.Updates(1))


# --- a run's tape, replayed until the run's own end -----------------------------------------------------------------------

CRASH = (sg.faults.Crash(0, at=0.0, back=1.0),)
TARGETS = {
    "as it starts": sg.Target("loss", at_most=100.0, within=sg.Seconds(3), kept=0),
    "in a tie": sg.Target("loss", at_most=0.01, within=sg.Seconds(30), kept=0),
    "for a while": sg.Target("loss", at_most=0.1, within=sg.Seconds(30), kept=sg.Seconds(1.5)),
    "by updates": sg.Target("loss", at_most=0.1, within=sg.Updates(60), kept=sg.Updates(2)),
}


@pytest.mark.parametrize("every", [None, sg.Updates(1), sg.Seconds(1.0)], ids=str)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("faults", [(), CRASH], ids=["well", "crash"])
@pytest.mark.parametrize("protocol", [sg.MinibatchSGD(), sg.AsyncSGD(), sg.MinibatchSGD(wait=False)], ids=repr)
def test_replaying_is_simulating_also_where_a_target_ends_it_early(protocol, faults, target, every):
    problem, cluster, until = sg.problems.quadratic(), sg.Cluster(2, TIES, faults=faults), TARGETS[target]
    optimizer = sg.optimizers.sgd(0.3)
    run = sg.simulate(protocol, problem, cluster, optimizer, until, evaluate_every=every)
    assert run.status == "target reached"
    tape = sg.record(protocol, cluster, until.within, message_bytes=problem.message_bytes)
    assert sg.replay(tape, problem, optimizer, until, evaluate_every=every) == run
    assert sg.replay(run.tape, problem, optimizer, until, evaluate_every=every) == run


def test_a_tape_that_ends_before_its_target_says_so_and_hands_back_the_run(cluster, noisy):
    tape = sg.record(sg.AsyncSGD(), cluster, sg.Seconds(20))
    target = sg.Target("loss", at_most=1e-9, within=sg.Seconds(100))
    with pytest.raises(ValueError, match=r"never reached: the tape ends after \d+ updates, at 20 s") as raised:
        sg.replay(tape, noisy, SGD, until=target)
    assert raised.value.partial.status == "interrupted"
    assert raised.value.partial.tape.end == 20.0


def test_a_stop_iteration_of_the_user_s_own_comes_out_too(noisy):
    error = StopIteration("the table has ended")
    with pytest.raises(StopIteration) as raised:
        sg.simulate(sg.AsyncSGD(), noisy, sg.Cluster(2, Raising(error, early=False)), SGD, sg.Updates(9))
    assert raised.value is error
    with pytest.raises(StopIteration):
        sg.record(sg.AsyncSGD(), sg.Cluster(2, Raising(error, early=False)), sg.Updates(9))


def test_an_interrupt_that_something_swallowed_is_raised_again(cluster, noisy):
    """As callbacks of the garbage collector do it: exceptions are printed there, and the work goes on."""

    @dataclass(frozen=True)
    class Swallowing(sg.AsyncSGD):
        def on_gradient(self, server, gradient):
            if server.version == 30:
                with contextlib.suppress(KeyboardInterrupt):
                    signal.raise_signal(signal.SIGINT)
            super().on_gradient(server, gradient)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as raised:
        sg.simulate(Swallowing(), noisy, cluster, SGD, sg.Updates(100), evaluate_every=sg.Updates(10))
    assert raised.value.partial.tape.updates in (20, 30, 40)
    with pytest.raises(KeyboardInterrupt) as raised:
        sg.record(Swallowing(), cluster, sg.Updates(100))
    assert raised.value.partial.updates == 31
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_while_jax_sets_its_state_breaks_nothing(cluster, noisy):
    """It is raised a moment later; where it comes out at once, JAX fails from then on."""
    came = []

    def trace(frame, event, argument):
        context = frame.f_locals.get("self")
        if frame.f_code.co_name == "__exit__" and type(getattr(context, "prev", None)).__name__ == "EvalTrace" and not came:
            came.append("tracing is over, and JAX is about to say so")
            signal.raise_signal(signal.SIGINT)

    def update(updates, parameters):
        sys.settrace(trace)
        return jax.tree.map(lambda each: -0.05 * each, updates)

    method = sg.Method(sg.AsyncSGD(), optax.stateless(update))
    try:
        with pytest.raises(KeyboardInterrupt):
            sg.simulate(method, noisy, cluster, until=sg.Updates(100))
    finally:
        sys.settrace(None)
    assert len(came) == 1
    assert sg.simulate(sg.AsyncSGD(), noisy, cluster, SGD, sg.Updates(10)).status == "completed"


def test_an_error_that_a_library_makes_of_an_interrupt_is_an_interrupt(cluster, noisy):
    @dataclass(frozen=True)
    class Translating(sg.AsyncSGD):
        def on_gradient(self, server, gradient):
            if server.version == 30:
                try:
                    signal.raise_signal(signal.SIGINT)
                except KeyboardInterrupt as interrupt:
                    raise ValueError("keys should be comparable") from interrupt
            super().on_gradient(server, gradient)

    with pytest.raises(KeyboardInterrupt) as raised:
        sg.simulate(Translating(), noisy, cluster, SGD, sg.Updates(100), evaluate_every=sg.Updates(10))
    assert isinstance(raised.value.__cause__, ValueError)
    assert raised.value.partial.tape.updates in (20, 30)
    with pytest.raises(KeyboardInterrupt) as raised:
        sg.record(Translating(), cluster, sg.Updates(100))
    assert raised.value.partial.updates == 30


def test_tune_hands_back_the_tape_before_the_first_run(cluster, noisy):
    def failing(step_size):
        raise KeyboardInterrupt

    target = sg.Target("loss", at_most=0.3, within=sg.Seconds(20))
    with pytest.raises(KeyboardInterrupt) as raised:
        sg.studies.tune(sg.AsyncSGD(), noisy, cluster, [0.1], until=target, optimizer=failing)
    assert raised.value.partial == sg.record(sg.AsyncSGD(), cluster, sg.Seconds(20), message_bytes=noisy.message_bytes)


def test_before_the_first_evaluation_there_is_none(cluster, noisy):
    with pytest.raises(KeyboardInterrupt) as raised:
        sg.simulate(Failing(0), noisy, cluster, SGD, sg.Updates(10))
    assert raised.value.partial is None


def test_what_a_protocol_raises_says_when(cluster):
    with pytest.raises(ZeroDivisionError) as raised:
        sg.record(Failing(55, ZeroDivisionError), cluster, sg.Updates(100))
    assert any("and version 55 of a recording of Failing(at=55" in note for note in raised.value.__notes__)


def test_a_target_without_a_bound_is_given_the_tape_s_end(cluster, noisy):
    until = sg.Target("loss", at_most=0.3, within=sg.Seconds(400), kept=sg.Seconds(5))
    run = sg.simulate(sg.AsyncSGD(), noisy, cluster, sg.optimizers.sgd(0.1), until, evaluate_every=sg.Seconds(1))
    again = sg.replay(run.tape, noisy, sg.optimizers.sgd(0.1), until=run.target, evaluate_every=sg.Seconds(1))
    assert (again.status, again.hashes) == (run.status, run.hashes)
