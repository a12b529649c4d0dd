"""What makes no sense is refused where it is written, by name, with its value and a way out; modules show public names only."""

import builtins

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import simsgd as sg

DATA = {"x": np.ones((8, 3)), "y": np.ones(8)}


def init(key):
    return jnp.zeros(3)


def loss(parameters, batch):
    return jnp.mean((batch["x"] @ parameters - batch["y"]) ** 2)


def problem(**changes):
    return sg.Problem(**{"name": "mine", "init": init, "loss": loss, "data": DATA, **changes})


@jax.tree_util.register_pytree_node_class
class Model:
    """A model as equinox makes them: a pytree with arrays and functions for leaves, which can be called."""

    def __init__(self, key):
        self.weights, self.activation = jnp.zeros(3), jax.nn.relu

    def __call__(self, x):
        return self.activation(x @ self.weights)

    def tree_flatten(self):
        return (self.weights, self.activation), None

    @classmethod
    def tree_unflatten(cls, _, leaves):
        made = object.__new__(cls)
        made.weights, made.activation = leaves
        return made


REFUSED = {
    "metrics in a list": (lambda: problem(metrics=[loss]), TypeError, "Problem.metrics must be a mapping … [<function loss"),
    "a metric that is no function": (
        lambda: problem(metrics={"a": 3}),
        TypeError,
        "Problem.metrics['a'] must be a function … 3",
    ),
    "other keys": (
        lambda: problem(test_data={"x": np.ones((4, 3)), "z": np.ones(4)}),
        ValueError,
        "Problem.test_data must have the form of data … ['y'] … ['z']",
    ),
    "another shape": (
        lambda: problem(test_data={"x": np.ones((4, 2)), "y": np.ones(4)}),
        ValueError,
        "Problem.test_data must have the form of data … (3,) … (2,)",
    ),
    "no init": (lambda: problem(init=None), TypeError, "Problem.init must be a function … jnp.zeros(3), got None"),
    "an init without a key": (
        lambda: problem(init=lambda: jnp.zeros(3)),
        TypeError,
        "Problem.init must be a function of one argument, a random key … lambda … too many positional arguments",
    ),
    "a model as init": (
        lambda: problem(init=Model(0)),
        TypeError,
        "Problem.init must be a function … Model object … name, init",
    ),
    "a model's class as init": (
        lambda: problem(init=Model),
        TypeError,
        "Problem.init must return a pytree of arrays alone … eqx.partition(model, eqx.is",
    ),
    "parameters as init": (
        lambda: problem(init=jnp.zeros(3)),
        TypeError,
        "Problem.init must be a function … Array([0., 0., 0.]",
    ),
    "loss and init swapped": (
        lambda: sg.Problem("mine", loss, init, DATA),
        TypeError,
        "Problem.init must be a function … loss … name, init, loss, data",
    ),
    "data and loss swapped": (
        lambda: sg.Problem("mine", init, DATA, loss),
        TypeError,
        "Problem.loss must be a function of the parameters and a batch, got {'x' … name, init, loss, data",
    ),
    "no name": (lambda: sg.Problem(init, loss, DATA, 32), TypeError, "Problem.name must be a text … init … name, init, loss"),
    "a number as target": (
        lambda: problem(target=0.9),
        TypeError,
        'Problem.target … Target("accuracy", at_least=0.9), got 0.9',
    ),
    "batch_size": (lambda: problem(batch_size=True), ValueError, "Problem.batch_size must be a whole number … got True"),
    "a target in text": (
        lambda: sg.Target("loss", at_most="0.1"),
        ValueError,
        "Target.at_most must be a finite number, got '0.1'",
    ),
    "half an update": (lambda: sg.Updates(2.5), ValueError, "Updates.count must be a whole number of at least 1, got 2.5"),
    "seconds in text": (lambda: sg.Seconds("60"), ValueError, "Seconds.seconds must be a finite number … (seconds), got '60'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_by_name(case):
    call, error, message = REFUSED[case]
    with pytest.raises(error) as refusal:
        call()
    for part in message.split(" … "):
        assert part in str(refusal.value)


@pytest.fixture(scope="module")
def run():
    cluster = sg.Cluster(2, sg.times.Constant(1.0))
    return sg.simulate(sg.AsyncSGD(), problem(), cluster, sg.optimizers.sgd(0.01), sg.Updates(20))


def test_files_need_a_name(run):
    for call in (run.save, sg.Run.load):
        with pytest.raises(TypeError, match=r'path must be an instance such as "run.nc", got None'):
            call(None)


def test_a_target_of_a_run_must_be_one(run):
    with pytest.raises(TypeError, match=r"target must be an instance such as Target\(.*got 0.1"):
        run.to_target(0.1)


def test_dataframes_have_a_row_for_each_look(run):
    table = run.to_dataframe()
    assert list(table) == ["time", "updates", "samples", "bytes", "loss"]
    for name in table:
        np.testing.assert_array_equal(table[name], run.dataset[name])


def test_without_pandas_it_is_said_what_to_install(run, monkeypatch):
    importing = builtins.__import__

    def without(name, *others):
        if name == "pandas":
            raise ImportError(name)
        return importing(name, *others)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"to_dataframe needs pandas.*pip install 'simsgd\[dataframes\]'"):
        run.to_dataframe()


@pytest.mark.parametrize("module", ["problems", "optimizers", "studies"])
def test_a_tab_offers_public_names_only(module):
    module = getattr(sg, module)
    assert dir(module) == sorted(module.__all__)
    assert all(hasattr(module, name) for name in dir(module))
    assert not {"jax", "np", "Any", "Iterator", "annotations"} & set(dir(module))


def test_problems_are_shown_in_short():
    assert repr(sg.problems.digits()) == (
        "Problem(digits, mlp with 32 hidden units, parameters 2,410, samples 1,437 and 360 for tests, batch size 32, "
        "metrics loss test_loss accuracy, target accuracy ≥ 0.9)"
    )
    assert sg.problems.quadratic()._repr_html_().count("<tr>") == 5
