"""What simulate and replay refuse before any work is done: the argument, its value, and the way out."""

import optax
import pytest

import simsgd as sg
from simsgd.replaying import player

PROTOCOL, PROBLEM, SGD, UNTIL = sg.AsyncSGD(), sg.problems.quadratic(), sg.optimizers.sgd(0.1), sg.Updates(10)
CLUSTER = sg.Cluster(2, sg.times.Constant(1.0))
TAPE = sg.record(PROTOCOL, CLUSTER, UNTIL)
LINE = "the order is simulate(protocol, problem, cluster, optimizer, …)"


def only_updates(gradients, state, params=None):
    return gradients


ONLY_UPDATES = optax.GradientTransformation(lambda params: optax.EmptyState(), only_updates)
THE_WRONG_WAY_ROUND = optax.GradientTransformation(
    lambda params: optax.EmptyState(), lambda gradients, state, params=None: (state, gradients)
)

REFUSED = {
    "problem first": (
        lambda: sg.simulate(PROBLEM, PROTOCOL, CLUSTER, SGD, UNTIL),
        "protocol must be an instance such as AsyncSGD(), got Problem( … which is for problem: arguments seem to be swapped, "
        + LINE,
    ),
    "cluster second": (
        lambda: sg.simulate(PROTOCOL, CLUSTER, PROBLEM, SGD, UNTIL),
        "problem must be an instance such as problems.digits(), got Cluster( … which is for cluster: arguments seem to be "
        "swapped, " + LINE,
    ),
    "optimizer third": (
        lambda: sg.simulate(PROTOCOL, PROBLEM, SGD, CLUSTER, UNTIL),
        "cluster must be … got sgd(learning_rate=0.1), which is for optimizer: arguments seem to be swapped",
    ),
    "a class in another's place": (
        lambda: sg.simulate(PROBLEM, sg.AsyncSGD, CLUSTER, SGD, UNTIL),
        "protocol must be … which is for problem",
    ),
    "a replay's problem first": (
        lambda: sg.replay(PROBLEM, TAPE, SGD),
        "tape must be … got Problem( … which is for problem: arguments seem to be swapped, the order is "
        "replay(tape, problem, optimizer, …)",
    ),
    "a replay's optimizer second": (lambda: sg.replay(TAPE, SGD, PROBLEM), "problem must be … which is for optimizer"),
    "a protocol that is a text": (lambda: sg.simulate("async", PROBLEM, CLUSTER, SGD, UNTIL), "protocol must be … got 'async'"),
    "a cluster that is a number": (lambda: sg.simulate(PROTOCOL, PROBLEM, 16, SGD, UNTIL), "cluster must be … got 16"),
    "a tape that is a path": (lambda: sg.replay("run.nc", PROBLEM, SGD), "tape must be … got 'run.nc'"),
    "an optimizer's factory": (
        lambda: sg.simulate(PROTOCOL, PROBLEM, CLUSTER, optax.sgd, UNTIL),
        "optimizer must be an instance such as optimizers.sgd(0.1) or optax.adam(1e-3), got sgd itself: call it, as in "
        "sgd(0.1)",
    ),
    "a factory to replay": (lambda: sg.replay(TAPE, PROBLEM, optax.adam), "got adam itself: call it, as in adam(0.1)"),
    "an optimizer's class": (
        lambda: sg.replay(TAPE, PROBLEM, optax.GradientTransformation),
        "optimizer must be … got the class GradientTransformation itself",
    ),
    "an update that returns updates only": (
        lambda: sg.simulate(PROTOCOL, PROBLEM, CLUSTER, ONLY_UPDATES, UNTIL),
        "optimizer's update, that of only_updates(), must return a pair (updates, state), but "
        "returned a ShapeDtypeStruct: end it with `return updates, state`",
    ),
    "an update the wrong way round": (
        lambda: sg.replay(TAPE, PROBLEM, THE_WRONG_WAY_ROUND),
        "must return updates like the parameters",
    ),
    "looks in no unit": (
        lambda: sg.simulate(PROTOCOL, PROBLEM, CLUSTER, SGD, UNTIL, evaluate_every=10),
        "evaluate_every must say what it counts, got 10: Updates(10) or Seconds(10)",
    ),
    "an end in no unit": (
        lambda: sg.simulate(PROTOCOL, PROBLEM, CLUSTER, SGD, 60),
        "until must say what it counts, got 60: Updates(60) or Seconds(60)",
    ),
    "a text as end": (lambda: sg.replay(TAPE, PROBLEM, SGD, "60 s"), "until must be … got '60 s'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_arguments_are_named(case):
    call, message = REFUSED[case]
    with pytest.raises(TypeError) as refusal:
        call()
    for part in message.split(" … "):
        assert part in str(refusal.value)


@pytest.fixture
def no_work(monkeypatch):
    """Fail as soon as anything is recorded, played or looked at."""

    def refuse(*arguments, **options):
        raise AssertionError("work was begun")

    for name in ("play", "evaluate"):
        monkeypatch.setattr(player.loop, name, refuse)
    monkeypatch.setattr(sg.simulate.__globals__["Recording"], "advance", refuse)


@pytest.mark.parametrize(
    ("until", "every", "looks"),
    [
        (sg.Seconds(60), sg.Seconds(1e-9), "evaluate_every=Seconds(seconds=1e-09) … would take 6e+10 evaluations"),
        (sg.Updates(10**9), sg.Updates(1), "evaluate_every=Updates(count=1) … would take 1e+09 evaluations"),
        (sg.Target("loss", at_most=0.1, within=sg.Updates(10**9)), sg.Updates(1), "would take 1e+09 evaluations"),
    ],
)
@pytest.mark.usefixtures("no_work")
def test_looks_without_end_are_refused_before_the_work(until, every, looks):
    with pytest.raises(sg.BoundError) as refusal:
        sg.simulate(PROTOCOL, PROBLEM, CLUSTER, SGD, until, evaluate_every=every)
    for part in looks.split(" … "):
        assert part in str(refusal.value)
    assert "sg.bounds.evaluations = " in str(refusal.value)


def test_looks_that_cannot_be_counted_before_are_counted(monkeypatch):
    monkeypatch.setattr(sg.bounds, "evaluations", 5)
    with pytest.raises(sg.BoundError, match="6 evaluations, and at most 5 are begun"):
        sg.simulate(PROTOCOL, PROBLEM, CLUSTER, SGD, sg.Seconds(60), evaluate_every=sg.Updates(1))


@pytest.mark.usefixtures("no_work")
def test_batches_larger_than_memory_are_refused_before_the_work():
    problem = sg.problems.digits("logistic", batch_size=10**9)
    message = r"batches of Problem.batch_size=1000000000 would take 1\.028e\+12 bytes, and at most .* sg.bounds.bytes = "
    with pytest.raises(sg.BoundError, match=message):
        sg.simulate(PROTOCOL, problem, CLUSTER, SGD, UNTIL)
    with pytest.raises(sg.BoundError, match=message):
        sg.replay(TAPE, problem, SGD)


def test_batches_of_many_local_steps_that_are_larger_than_memory_are_refused(monkeypatch):
    monkeypatch.setattr(sg.bounds, "bytes", 10**8)
    method = sg.methods.local_sgd(0.01, steps=20_000)
    with pytest.raises(sg.BoundError, match=r"for each of up to 32768 local steps, 4 side by side, would take .* bytes"):
        sg.simulate(method, sg.problems.digits("logistic", batch_size=128), sg.Cluster(4, sg.times.Constant(1.0)), until=UNTIL)


def test_models_larger_than_memory_are_refused_before_the_work(monkeypatch):
    """A hundred workers keep 102 versions; what the first version needs is allowed, the rest is not, and nothing is played."""
    tape = sg.record(PROTOCOL, sg.Cluster(100, sg.times.Exponential(1.0)), sg.Updates(300))
    monkeypatch.setattr(sg.bounds, "bytes", 100 * 12)
    monkeypatch.setattr(player.loop, "play", lambda *arguments, **options: pytest.fail("work was begun"))
    with pytest.raises(
        sg.BoundError, match="102 versions of a model of 3 parameters would take 1,248 bytes, and at most 1,200"
    ):
        sg.replay(tape, PROBLEM, SGD)
