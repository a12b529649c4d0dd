"""Compositions that make no sense are refused before anything is computed: the error names both sides, and the way out."""

import dataclasses
import pickle

import optax
import pytest
from parts import LocalSGD, SparseGradient

import simsgd as sg
from simsgd import networks, protocols, times

SGD = sg.optimizers.sgd(0.1)
CLUSTER = sg.Cluster(4, times.Constant(1.0))
PROBLEM = sg.problems.quadratic(noise=0.1, samples=64)
END = sg.Updates(3)


def refuses(kind, call, *said):
    """Check that a call raises an error of a kind whose message says all of these."""
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert [words for words in said if words not in message] == [], message


# --- data ---------------------------------------------------------------------------------------------------------------

FOR_SHARES = sg.Method(sg.AsyncSGD(), SGD, per_worker_data=True, name="Ringleader")


@pytest.mark.parametrize("verb", ["simulate", "replay", "identity"])
def test_a_method_for_data_that_differ_on_a_problem_whose_data_do_not(verb):
    calls = {
        "simulate": lambda: sg.simulate(FOR_SHARES, PROBLEM, CLUSTER, until=END),
        "replay": lambda: sg.replay(sg.record(FOR_SHARES, CLUSTER, END), PROBLEM, FOR_SHARES),
        "identity": lambda: sg.identity(FOR_SHARES, PROBLEM, CLUSTER, until=END),
    }
    refuses(ValueError, calls[verb], "Ringleader", "problem", "problem.partitioned(4")


def test_with_shares_it_runs():
    assert sg.simulate(FOR_SHARES, PROBLEM.partitioned(4), CLUSTER, until=END).tape.updates == 3


@pytest.mark.parametrize("method", [FOR_SHARES, sg.Method(sg.AsyncSGD(), SGD)])
def test_shares_for_another_number_of_workers(method):
    problem = PROBLEM.partitioned(5)
    tape = sg.record(method, CLUSTER, END)
    said = ("problem is partitioned between 5 workers", "has 4", "problem.partitioned(4", "a cluster of 5 workers")
    refuses(ValueError, lambda: sg.simulate(method, problem, CLUSTER, until=END), *said)
    refuses(ValueError, lambda: sg.replay(tape, problem, method), *said)


# --- protocol and network -----------------------------------------------------------------------------------------------

RING = sg.Cluster(4, times.Constant(1.0), networks.Ring(networks.Link(0.01, 1e3)))


@pytest.mark.parametrize("protocol", [protocols.RingmasterASGD(4), sg.AsyncSGD(), protocols.RennalaSGD(3)])
def test_asynchronous_methods_on_an_all_reduce(protocol):
    method = sg.Method(protocol, SGD)
    said = ("Ring", repr(protocol), "MinibatchSGD", "networks.ParameterServer")
    refuses(ValueError, lambda: sg.record(method, RING, END, message_bytes=8.0), *said)
    refuses(ValueError, lambda: sg.simulate(method, PROBLEM, RING, until=END), *said)


# --- the protocol's verbs ------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Alarmed(sg.Protocol):
    """Ask to be woken after so many seconds."""

    seconds: object

    def on_gradient(self, server, gradient):
        server.alarm(self.seconds)

    def on_alarm(self, server):
        raise AssertionError("nobody should come here")


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), "soon"])
def test_an_alarm_in_the_past(seconds):
    refuses(sg.ProtocolError, lambda: sg.record(Alarmed(seconds), CLUSTER, END), "Alarmed", "alarm", str(seconds), "at 1 s")


@dataclasses.dataclass(frozen=True)
class Unheard(sg.Protocol):
    """Ask to be woken, with nothing that answers."""

    def on_gradient(self, server, gradient):
        server.alarm(1.0)


def test_an_alarm_that_nobody_answers():
    refuses((sg.ProtocolError, sg.StuckError), lambda: sg.record(Unheard(), CLUSTER, END), "Unheard", "on_alarm")


@dataclasses.dataclass(frozen=True)
class Handing(sg.Protocol):
    """Hand out so many local steps."""

    steps: object

    def start(self, server):
        for worker in server.workers:
            server.assign(worker, steps=self.steps)

    def on_gradient(self, server, gradient):
        server.apply(gradient)
        server.assign(gradient.worker, steps=self.steps)


@pytest.mark.parametrize("steps", [0, -2, 1.5, "two"])
def test_a_protocol_that_asks_for_no_local_steps(steps):
    method = sg.Method(Handing(steps), SGD, work=LocalSGD())
    refuses(sg.ProtocolError, lambda: sg.record(method, CLUSTER, END), "Handing", "steps", str(steps))


def test_a_protocol_that_asks_for_local_steps_of_a_single_gradient():
    """Of one gradient the clock would charge three, and the player compute one."""
    method = sg.Method(Handing(3), SGD)
    refuses(
        (sg.ProtocolError, ValueError),
        lambda: sg.simulate(method, PROBLEM, CLUSTER, until=END),
        "steps=3",
        "computes 1",
        "work",
    )


# --- the work -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, -1, 2.5, True])
def test_a_work_that_charges_no_time(steps):
    refuses(ValueError, lambda: LocalSGD(steps=steps), "LocalSGD.steps", str(steps))


@dataclasses.dataclass(frozen=True)
class Weightless(SparseGradient):
    """A message of any number of bytes."""

    down: object = 8.0
    up: object = 8.0

    def bytes_down(self, message_bytes):
        return self.down

    def bytes_up(self, message_bytes):
        return self.up


@pytest.mark.parametrize("bytes_", [-1.0, float("nan"), float("inf"), "many", None])
@pytest.mark.parametrize("way", ["down", "up"])
def test_a_message_of_negative_size(way, bytes_):
    method = sg.Method(sg.AsyncSGD(), SGD, work=Weightless(**{way: bytes_}))
    said = ("Weightless", f"bytes_{way}", str(bytes_))
    refuses((ValueError, TypeError), lambda: sg.record(method, CLUSTER, END, message_bytes=8.0), *said)


@dataclasses.dataclass(frozen=True)
class Misshapen(sg.Work):
    """A message of another shape than the parameters."""

    def run(self, parameters, state, job):
        return job.gradient(parameters)[:1], state


@dataclasses.dataclass(frozen=True)
class Growing(sg.Work):
    """A state that changes its form."""

    def run(self, parameters, state, job):
        return job.gradient(parameters), (state, parameters)


@dataclasses.dataclass(frozen=True)
class Alone(sg.Work):
    """A message without a state."""

    def run(self, parameters, state, job):
        return job.gradient(parameters)


@pytest.mark.parametrize(("work", "said"), [(Misshapen(), "shape"), (Growing(), "state"), (Alone(), "message, state")])
def test_a_work_whose_answers_the_player_cannot_carry(work, said):
    method = sg.Method(sg.AsyncSGD(), SGD, work=work)
    refuses((TypeError, ValueError), lambda: sg.simulate(method, PROBLEM, CLUSTER, until=END), repr(work), said)


# --- parts of the wrong kind --------------------------------------------------------------------------------------------

KINDS = {
    "protocol and optimizer the other way round": (lambda: sg.Method(SGD, sg.AsyncSGD()), ("protocol", "sgd")),
    "a class as protocol": (lambda: sg.Method(sg.AsyncSGD, SGD), ("protocol", "AsyncSGD", "()")),
    "no optimizer": (lambda: sg.Method(sg.AsyncSGD(), None), ("optimizer", "None")),
    "a number as optimizer": (lambda: sg.Method(sg.AsyncSGD(), 0.1), ("optimizer", "0.1")),
    "a factory as optimizer": (lambda: sg.Method(sg.AsyncSGD(), optax.sgd), ("optimizer", "sgd", "call it")),
    "a function as work": (lambda: sg.Method(sg.AsyncSGD(), SGD, work=lambda w: w), ("work", "OneGradient()")),
    "a class as work": (lambda: sg.Method(sg.AsyncSGD(), SGD, work=LocalSGD), ("work", "LocalSGD", "()")),
    "a number of steps as work": (lambda: sg.Method(sg.AsyncSGD(), SGD, work=8), ("work", "8")),
    "a factory on messages": (
        lambda: sg.Method(sg.AsyncSGD(), SGD, on_message=optax.trace),
        ("on_message", "trace", "call it"),
    ),
    "a work at the worker": (lambda: sg.Method(sg.AsyncSGD(), SGD, at_worker=LocalSGD()), ("at_worker", "LocalSGD")),
    "a protocol handed out": (lambda: sg.Method(sg.AsyncSGD(), SGD, hand_out=sg.AsyncSGD()), ("hand_out", "AsyncSGD()")),
    "another word for crashes": (
        lambda: sg.Method(sg.AsyncSGD(), SGD, after_crash="forget"),
        ("after_crash", "keep", "reset", "forget"),
    ),
    "a word for data": (
        lambda: sg.Method(sg.AsyncSGD(), SGD, per_worker_data="yes"),
        ("per_worker_data", "True or False", "yes"),
    ),
    "a number as name": (lambda: sg.Method(sg.AsyncSGD(), SGD, name=3), ("Method.name", "3")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_the_wrong_kind(kind):
    call, said = KINDS[kind]
    refuses((TypeError, ValueError), call, *said)


def asking_for(*names):
    """A transformation that asks for extra arguments by name."""
    code = f"lambda updates, state, params=None, *, {', '.join(names)}, **others: (updates, state)"
    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), eval(code))


@pytest.mark.parametrize(
    ("place", "wanted"),
    [("at_worker", "staleness"), ("on_message", "value"), ("optimizer", "worker"), ("hand_out", "staleness")],
)
def test_a_transformation_that_asks_for_what_its_place_does_not_offer(place, wanted):
    parts = {"optimizer": SGD} | {place: asking_for(wanted)}
    method = sg.Method(sg.AsyncSGD(), **parts)
    refuses(TypeError, lambda: sg.simulate(method, PROBLEM, CLUSTER, until=END), place, wanted)


# --- a replay of something else -----------------------------------------------------------------------------------------


def test_a_replay_of_other_steps_than_were_charged():
    tape = sg.record(sg.Method(sg.AsyncSGD(), SGD, work=LocalSGD(steps=8)), CLUSTER, END)
    refuses(ValueError, lambda: sg.replay(tape, PROBLEM, SGD), "8", "OneGradient()", "work")
    four = sg.Method(sg.AsyncSGD(), SGD, work=LocalSGD(steps=4))
    refuses(ValueError, lambda: sg.replay(tape, PROBLEM, four), "8", "LocalSGD", "4")


def test_a_replay_of_a_tape_that_was_charged_for_single_gradients():
    tape = sg.record(sg.AsyncSGD(), CLUSTER, END)
    method = sg.Method(sg.AsyncSGD(), SGD, work=LocalSGD(steps=8))
    refuses(
        ValueError,
        lambda: sg.replay(tape, PROBLEM, method),
        "the work OneGradient()",
        "LocalSGD(steps=8",
        "replay it with that method",
    )


def test_a_replay_of_another_protocol_s_tape():
    tape = sg.record(protocols.RennalaSGD(3), CLUSTER, END)
    method = sg.Method(protocols.RingmasterASGD(4), SGD)
    refuses(ValueError, lambda: sg.replay(tape, PROBLEM, method), "RennalaSGD(gradients=3)", "RingmasterASGD(threshold=4)")


def test_a_replay_of_messages_of_another_size():
    sparse = sg.Method(sg.AsyncSGD(), SGD, work=SparseGradient())
    tape = sg.record(sg.AsyncSGD(), CLUSTER, END, message_bytes=float(PROBLEM.message_bytes))
    refuses(
        ValueError,
        lambda: sg.replay(tape, PROBLEM, sparse),
        "the work OneGradient()",
        "SparseGradient",
        "replay it with that method",
    )


# --- the optimizer, twice or never --------------------------------------------------------------------------------------

METHOD = sg.Method(sg.AsyncSGD(), SGD)


@pytest.mark.parametrize("verb", ["simulate", "identity"])
def test_a_method_has_its_optimizer_and_a_protocol_needs_one(verb):
    call = getattr(sg, verb)
    refuses((TypeError, ValueError), lambda: call(METHOD, PROBLEM, CLUSTER, SGD, END), "optimizer", "Method")
    refuses((TypeError, ValueError), lambda: call(METHOD, PROBLEM, CLUSTER, optimizer=SGD, until=END), "optimizer", "Method")
    refuses((TypeError, ValueError), lambda: call(sg.AsyncSGD(), PROBLEM, CLUSTER, until=END), "optimizer", "Method")


def test_a_method_in_the_place_of_an_end():
    refuses(TypeError, lambda: sg.simulate(METHOD, PROBLEM, CLUSTER, END), "until=Updates(count=3)")


def test_a_protocol_replayed():
    refuses(TypeError, lambda: sg.replay(sg.record(METHOD, CLUSTER, END), PROBLEM, sg.AsyncSGD()), "AsyncSGD()", "Method")


def test_steps_tuned_of_a_method_that_is_no_function():
    target = sg.Target("loss", at_most=0.1, within=sg.Seconds(5))
    refuses(TypeError, lambda: sg.studies.tune(METHOD, PROBLEM, CLUSTER, [0.1], until=target), "Method", "lambda step_size")


def test_epochs_need_jobs_of_one_number_of_steps():
    """Where a job's batches stand in a worker's epoch follows from the job's number."""
    by = sg.problems.EqualShares()
    shares = {replacement: PROBLEM.partitioned(2, by=by, replacement=replacement) for replacement in (False, True)}
    method = sg.Method(Handing(steps=3), SGD, work=LocalSGD(steps=2))
    cluster = sg.Cluster(2, times.Constant(1.0))
    assert sg.simulate(method, shares[True], cluster, until=sg.Updates(2)).tape.steps.tolist() == [3, 3]
    refuses(ValueError, lambda: sg.simulate(method, shares[False], cluster, until=END), "charged 3", "LocalSGD", "epochs")


def test_a_part_that_cannot_be_pickled_says_which_and_what_to_do():
    method = sg.Method(sg.AsyncSGD(), SGD, on_message=optax.stateless(lambda updates, params: updates))
    refuses(TypeError, lambda: pickle.dumps(method), "stateless", "lambda", "optimizers.tunable")


def test_what_is_handed_out_has_no_state():
    method = sg.Method(sg.AsyncSGD(), SGD, hand_out=optax.trace(0.9))
    refuses(ValueError, lambda: sg.simulate(method, PROBLEM, CLUSTER, until=END), "hand_out", "trace", "on_message")


def test_a_tunable_says_how_it_is_chained():
    refuses(
        AttributeError,
        lambda: optax.chain(SGD, optax.clip(1.0)),
        "sgd(learning_rate=0.1)",
        "use optax.sgd(",
        "inside a factory",
    )
