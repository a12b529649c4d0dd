"""Everything public travels between processes: it pickles, copies, and comes back equal, with nothing to do for a new thing.

What is tried is what the examples of the docstrings make: everything public has an example, so what is new is tried too. A
class of which no example makes an instance is an error here, unless `MADE_ELSEWHERE` says why.
"""

import copy
import dataclasses
import doctest
import importlib
import inspect
import itertools
import multiprocessing
import pickle
import sys
import types
from concurrent.futures import ProcessPoolExecutor

import jax
import numpy as np
import optax
import pytest
from test_optimizers import APART, LINE, SHARED

import simsgd as sg
from simsgd.optimizers import describe, recipes, structure
from simsgd.problems import ready_made
from simsgd.replaying import programs

MODULES = [importlib.import_module(f"simsgd.{name}") for name in sg._MODULES if name != "plots"]
NAMES = {sg: list(sg._HOME), **{module: module.__all__ for module in MODULES}}
NAMED = [getattr(module, name) for module, names in NAMES.items() for name in names]
ALL = [thing for thing in NAMED if not inspect.ismodule(thing)]
PUBLIC = list({id(thing): thing for thing in ALL}.values())
CLASSES = {thing for thing in PUBLIC if inspect.isclass(thing)}
TUPLES = {kind for kind in CLASSES if issubclass(kind, tuple)}
ERRORS = {kind for kind in CLASSES if issubclass(kind, Exception)}
MADE_ELSEWHERE = {
    sg.protocols.Server: "an interface",
    sg.works.JobAtHand: "an interface",
    sg.Compression: "an interface, whose example is a class of one's own",
    sg.Study: "a place of work, not a value: its results are",
}
"""Public classes of which no example makes an instance, and why."""


FEW = 40
"""Of each class so many instances are tried, the first that examples make: a study alone makes thousands."""


def remembering(kind, made):
    """Return a class's `__init__` that also puts what is made into a list."""
    begin, count = kind.__init__, itertools.count()

    def init(self, *arguments, **named):
        begin(self, *arguments, **named)
        if next(count) < FEW:
            made.append(self)

    return init


@pytest.fixture(scope="module")
def values():
    """What examples make of public classes, an error and a named tuple of each kind, and the public things themselves."""
    errors = [kind("what is wrong, and the way out") for kind in ERRORS]
    made = [*errors, *(kind(*range(len(kind._fields))) for kind in TUPLES)]
    for thing in PUBLIC:  # of a table that is only to be read, the entries
        made += thing.values() if isinstance(thing, types.MappingProxyType) else [thing]
    with pytest.MonkeyPatch.context() as patch:
        for kind in CLASSES - set(MADE_ELSEWHERE) - ERRORS - TUPLES:
            patch.setattr(kind, "__init__", remembering(kind, made))
        for thing in [thing for thing in PUBLIC if thing is not sg.simulate]:  # whose example takes seconds
            name = f"example_of_{getattr(thing, '__name__', type(thing).__name__)}"
            module = types.ModuleType(name)  # where pickle finds what the example defines
            patch.setitem(sys.modules, name, module)
            vars(module).update(vars(inspect.getmodule(thing) or sg) | {"__name__": name})
            for example in doctest.DocTestParser().get_examples(inspect.getdoc(thing) or ""):
                exec(compile(example.source, "<example>", "single"), vars(module))
        yield made


def same(one, other):
    if isinstance(one, BaseException):
        return type(one) is type(other) and one.args == other.args and str(one) == str(other)
    return type(one) is type(other) and one == other


def hashed(value):
    try:
        return hash(value)
    except TypeError:
        return None


def pickled(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("again", [pickled, copy.copy, copy.deepcopy], ids=lambda way: way.__name__)
def test_everything_public_comes_back_equal(again, values):
    failures = []
    for value in values:
        try:
            back = again(value)
        except Exception as error:
            failures.append(f"{value!r:.80}: {type(error).__name__}: {error}")
            continue
        if not same(value, back):
            failures.append(f"{value!r:.80} came back as {back!r:.80}")
        elif hashed(value) != hashed(back) and type(value) not in ERRORS:
            failures.append(f"{value!r:.80} came back with another hash")
    assert not failures, "\n".join(failures)


def test_an_instance_of_every_public_class_is_tried(values):
    tried = {type(value) for value in values}
    bases = {base for kind in CLASSES for base in kind.__mro__[1:]}
    assert CLASSES - bases - set(MADE_ELSEWHERE) <= tried


def loss(parameters, batch):
    return jax.numpy.mean((batch - parameters) ** 2)


def start(key):
    return jax.numpy.zeros(3)


MADE = {
    "quadratic": lambda: sg.problems.quadratic((2.0, 1.0), noise=0.1),
    "digits": lambda: sg.problems.digits("logistic"),
    "one's own": lambda: sg.Problem("own", start, loss, np.ones((9, 3)), metrics={"same": loss}),
}


@pytest.mark.parametrize("name", MADE)
def test_problems_made_twice_are_equal(name):
    for cache in (ready_made.digits, ready_made._quadratic):
        cache.cache_clear()
    one = MADE[name]()
    for cache in (ready_made.digits, ready_made._quadratic):
        cache.cache_clear()
    other = MADE[name]()
    assert other is not one
    assert other == one
    assert hash(other) == hash(one)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "b"},
        {"loss": lambda p, b: loss(p, b)},
        {"data": 2 * np.ones((9, 3))},
        {"data": np.ones((9, 3), np.float32)},
        {"batch_size": 2},
        {"test_data": np.ones((9, 3))},
        {"metrics": {"same": loss}},
        {"target": sg.Target("loss", at_most=1)},
    ],
)
def test_problems_that_differ_are_not_equal(changes):
    parts = {"name": "a", "init": start, "loss": loss, "data": np.ones((9, 3))}
    assert sg.Problem(**parts) != sg.Problem(**parts | changes)
    assert sg.Problem(**parts) != "a"


CLUSTER = sg.Cluster(3, sg.times.Exponential(mean=1.0))


def simulated(problem, optimizer, factory, target):
    """Simulate with what came from another process, then with what is made here: what was compiled for one serves the other."""
    run = sg.simulate(sg.AsyncSGD(), problem, CLUSTER, optimizer, target)
    compiled = programs.held()
    here = sg.simulate(sg.AsyncSGD(), MADE["quadratic"](), CLUSTER, factory(0.2), target)
    return run, here, programs.held() - compiled


def stuck():
    sg.simulate(Idle(), MADE["quadratic"](), CLUSTER, sg.optimizers.sgd(0.1), sg.Updates(3))


@dataclasses.dataclass(frozen=True)
class Idle(sg.Protocol):
    """A protocol that waits for ever."""

    def on_start(self, server):
        pass

    def on_gradient(self, server, gradient):
        pass


@pytest.mark.parametrize(
    ("optimizer", "factory"),
    [
        (sg.optimizers.portable(optax.adam(0.1)), optax.adam),
        pytest.param(sg.optimizers.sgd(0.1), sg.optimizers.sgd, marks=pytest.mark.slow),
    ],
)
def test_a_pool_of_processes(optimizer, factory):
    """What is sent there and back: a problem, an optimizer, a target, runs, and an error."""
    target = sg.Target("loss", at_most=0.05, within=sg.Seconds(60), kept=sg.Seconds(3))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        sent = pool.submit(simulated, MADE["quadratic"](), optimizer, factory, target)
        failing = pool.submit(stuck)
        run, there, added = sent.result()
        with pytest.raises(sg.StuckError, match=r"every worker .* waits for the server to assign a job"):
            failing.result()
    assert run == sg.simulate(sg.AsyncSGD(), MADE["quadratic"](), CLUSTER, optimizer, target)
    assert there != run
    assert added == 0


NOT_PORTABLE = ("an injected schedule", "multiple steps", "a function of one's own")


@pytest.mark.parametrize("name", SHARED | APART)
def test_ready_made_optimizers_of_optax_can_be_sent(name):
    """What comes back has the recipe and the numbers of one made here, and so its bits; else the error says what to use."""
    optimizer = (SHARED | APART)[name](0.03)
    if name in NOT_PORTABLE:
        with pytest.raises(TypeError, match=r"use optimizers\.tunable\(that_function, learning_rate=0\.1\)"):
            sg.optimizers.portable(optimizer)
        return
    sent = sg.optimizers.portable(optimizer)
    parameters = LINE.start(0, "float32")
    for back in (pickled(sent), copy.copy(sent), copy.deepcopy(sent), sent):
        assert (back == sent, hash(back) == hash(sent)) == (True, True) or name == "jax"  # arrays are equal to themselves alone
        assert back != sg.optimizers.portable((SHARED | APART)[name](0.1))
        assert describe(back) == describe(optimizer)
        assert recipes.split(back, parameters) == recipes.split(optimizer, parameters)


def test_another_version_of_optax_is_noticed(monkeypatch):
    sent = pickle.dumps(sg.optimizers.portable(optax.adam(0.1)))
    monkeypatch.setattr(structure, "_digest", lambda code: "changed")
    with pytest.raises(LookupError, match=r"optax\..* is not what it was .* use the same versions there and here"):
        pickle.loads(sent)
