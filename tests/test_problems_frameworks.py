"""Models of flax and equinox learn like those written by hand, are equal when made twice, and are refused with reason."""

import pickle

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

import simsgd as sg

WIDTH = 16
X = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
DATA = {"x": X, "label": (X[:, 0] * X[:, 1] > 0).astype(np.int32)}  # no linear model tells these apart


class Linen(linen.Module):
    width: int

    @linen.compact
    def __call__(self, x):
        return linen.Dense(2)(linen.relu(linen.Dense(self.width)(x)))


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.first, self.second = nnx.Linear(4, WIDTH, rngs=rngs), nnx.Linear(WIDTH, 2, rngs=rngs)

    def __call__(self, x):
        return self.second(nnx.relu(self.first(x)))


def equinox_model(key):
    return eqx.nn.MLP(4, 2, WIDTH, depth=1, key=key)


def loss(model, batch):
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(model(batch["x"]), batch["label"]))


def accuracy(model, data):
    return jnp.mean(model(data["x"]).argmax(-1) == data["label"])


def equinox_loss(model, batch):
    return loss(jax.vmap(model), batch)


def equinox_accuracy(model, data):
    return accuracy(jax.vmap(model), data)


def made(kind, **parts):
    if kind == "equinox":
        return sg.problems.from_equinox(kind, equinox_model, equinox_loss, DATA, metrics={"right": equinox_accuracy}, **parts)
    model = Linen(WIDTH) if kind == "linen" else Nnx
    return sg.problems.from_flax(kind, model, loss, DATA, metrics={"right": accuracy}, **parts)


KINDS = ("linen", "nnx", "equinox")


@pytest.mark.parametrize("kind", [pytest.param("linen", marks=pytest.mark.slow), "nnx", "equinox"])
def test_it_learns_what_no_linear_model_can(kind):
    problem = made(kind, batch_size=20)
    assert problem.parameter_count == 4 * WIDTH + WIDTH + WIDTH * 2 + 2
    cluster = sg.Cluster(2, sg.times.Exponential(mean=1.0))
    run = sg.simulate(sg.AsyncSGD(), problem, cluster, sg.optimizers.sgd(0.5), sg.Updates(600), evaluate_every=sg.Updates(600))
    assert run.final("right") > 0.85
    assert run.identity.unknown == ()


@pytest.mark.parametrize("kind", KINDS)
def test_made_twice_it_is_equal_and_it_pickles(kind):
    problem = made(kind)
    assert problem == made(kind)
    assert hash(problem) == hash(made(kind))
    travelled = pickle.loads(pickle.dumps(problem))
    assert travelled == problem
    begun = problem.start(1, "float32")
    jax.tree.map(np.testing.assert_array_equal, travelled.start(1, "float32"), begun)
    assert problem.loss(begun, DATA) == travelled.loss(begun, DATA)


@pytest.mark.parametrize("kind", KINDS)
def test_its_loss_is_that_of_the_layers_written_out(kind):
    problem = made(kind)
    with jax.enable_x64(True):
        parameters = problem.start(0, "float64")
        found = float(problem.loss(parameters, {name: jnp.asarray(array) for name, array in DATA.items()}))
    first, second = sorted((np.asarray(leaf) for leaf in jax.tree.leaves(parameters) if leaf.ndim == 2), key=lambda w: w.size)[
        ::-1
    ]
    if kind == "equinox":
        first, second = first.T, second.T
    biases = {leaf.size: np.asarray(leaf) for leaf in jax.tree.leaves(parameters) if leaf.ndim == 1}
    outputs = np.maximum(X.astype(float) @ first + biases[WIDTH], 0) @ second + biases[2]
    losses = np.log(np.exp(outputs).sum(axis=1)) - outputs[np.arange(len(X)), DATA["label"]]
    assert found == pytest.approx(losses.mean(), rel=1e-6)  # linen and nnx compute products of float32 inputs


def noisy(model, batch, key):
    x = batch["x"] if key is None else batch["x"] + 0.1 * jax.random.normal(key, batch["x"].shape)
    return loss(model, {**batch, "x": x})


@pytest.mark.parametrize("model", [Linen(WIDTH), Nnx])
def test_a_loss_may_draw(model):
    problem = sg.problems.from_flax("noisy", model, noisy, DATA)
    assert problem.loss_draws
    assert not made("nnx").loss_draws


class Normalised(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.BatchNorm(use_running_average=True)(x)


def test_what_has_other_state_than_parameters_is_refused():
    with pytest.raises(TypeError, match="model must have parameters alone, but Normalised has batch_stats too"):
        sg.problems.from_flax("normalised", Normalised(), loss, DATA)
    with pytest.raises(TypeError, match="model must have parameters alone, but has BatchStat too"):
        sg.problems.from_flax("normalised", lambda rngs: nnx.BatchNorm(4, rngs=rngs), loss, DATA)
    with pytest.raises(TypeError, match=r"model must have parameters alone, but has Rng\w+, Rng\w+ too"):
        sg.problems.from_flax("dropped", lambda rngs: nnx.Dropout(0.5, rngs=rngs), loss, DATA)
    with pytest.raises(TypeError, match=r"model must be made by a function of nnx.Rngs, got a Linear: use lambda rngs"):
        sg.problems.from_flax("made", nnx.Linear(4, 2, rngs=nnx.Rngs(0)), loss, DATA)
    with pytest.raises(TypeError, match="from_equinox learns floating-point arrays, and the model holds others"):
        sg.problems.from_equinox("whole", lambda key: (equinox_model(key), jnp.arange(3)), loss, DATA)
    with pytest.raises(ValueError, match="inputs must be one of 'x', 'label', the names in data, got 'pixels'"):
        sg.problems.from_flax("where", Linen(WIDTH), loss, DATA, inputs="pixels")
    with pytest.raises(TypeError, match=r"Problem.make must be a function of one argument, a random key"):
        sg.problems.from_equinox("made", equinox_model(jax.random.key(0)), loss, DATA)
