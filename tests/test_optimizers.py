"""optax transformations as they are: what they are called, what they share, and that sharing changes no bit."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import simsgd as sg
from simsgd.optimizers import describe, recipes, step_size_of
from simsgd.replaying import programs

X = np.random.default_rng(0).normal(size=(64, 3))
MASK = {"bias": False, "slope": True}
LABELS = {"bias": "slow", "slope": "fast"}


def init(key):
    return {"slope": jnp.full(3, 0.3), "bias": jnp.full((), 0.1)}


def loss(parameters, batch):
    return jnp.mean((batch["x"] @ parameters["slope"] + parameters["bias"] - batch["y"]) ** 2)


LINE = sg.Problem("line", init, loss, {"x": X, "y": X @ [1.0, 2.0, 3.0] + 0.1 * X[:, 0] ** 2}, batch_size=4)
CLUSTER = sg.Cluster(3, sg.times.Exponential(mean=1.0))
ASYNCHRONOUS = sg.record(sg.AsyncSGD(), CLUSTER, sg.Updates(60))
SYNCHRONOUS = sg.record(sg.MinibatchSGD(), CLUSTER, sg.Updates(60))

SHARED = {
    "sgd": optax.sgd,
    "sgd with momentum": lambda s: optax.sgd(s, momentum=0.9),
    "sgd with Nesterov momentum": lambda s: optax.sgd(s, momentum=0.9, nesterov=True),
    "adam": optax.adam,
    "adamw": optax.adamw,
    "rmsprop": optax.rmsprop,
    "adagrad": optax.adagrad,
    "lion": optax.lion,
    "lamb": optax.lamb,
    "adafactor": optax.adafactor,
    "yogi": optax.yogi,
    "noisy sgd": lambda s: optax.noisy_sgd(s, key=0),
    "clipped": lambda s: optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(s)),
    "damped by staleness": lambda s: optax.chain(sg.optimizers.scale_by_staleness(), optax.sgd(s)),
    "weight decay": lambda s: optax.chain(optax.add_decayed_weights(0.01), optax.sgd(s)),
    "masked": lambda s: optax.masked(optax.sgd(s), MASK),
    "two rates": lambda s: optax.multi_transform({"slow": optax.sgd(s / 2), "fast": optax.adam(s)}, LABELS),
    "injected": lambda s: optax.inject_hyperparams(optax.sgd)(learning_rate=s),
    "numpy": lambda s: optax.sgd(np.float64(s)),
    "jax": lambda s: optax.adam(jnp.float32(s)),
}
APART = {
    "exponential decay": lambda s: optax.sgd(optax.exponential_decay(s, 20, 0.9)),
    "cosine": lambda s: optax.adam(optax.cosine_decay_schedule(s, 100)),
    "piecewise": lambda s: optax.sgd(optax.piecewise_constant_schedule(s, {20: 0.1})),
    "an injected schedule": lambda s: optax.inject_hyperparams(optax.adam)(learning_rate=optax.linear_schedule(s, 0.0, 50)),
    "multiple steps": lambda s: optax.MultiSteps(optax.adam(s), 4).gradient_transformation(),
    "a function of one's own": lambda s: optax.stateless(lambda updates, params: jax.tree.map(lambda g: -s * g, updates)),
}


USUAL = ("sgd", "adam", "adamw", "sgd with momentum", "clipped", "damped by staleness", "injected", "cosine")
"""Those tried by default; the others, one more way to enter each, with the slow tests."""


@pytest.mark.parametrize(
    ("name", "tape"),
    [pytest.param(name, ASYNCHRONOUS, marks=() if name in USUAL else pytest.mark.slow) for name in SHARED | APART]
    + [pytest.param(name, SYNCHRONOUS, marks=() if name == "sgd" else pytest.mark.slow) for name in ("sgd", "adam", "clipped")],
    ids=str,
)
def test_sharing_changes_no_bit(name, tape, monkeypatch):
    """The same parameters, bit for bit, as compiled for that object with its numbers written in, as optax means it."""
    make = (SHARED | APART)[name]
    run = sg.replay(tape, LINE, make(0.03))
    monkeypatch.setattr(recipes, "share", lambda optimizer, parameters, offered: None)
    assert sg.replay(tape, LINE, make(0.03)).hashes == run.hashes
    assert np.isfinite(run.parameters).all()
    assert not np.array_equal(run.parameters, [0.1, 0.3, 0.3, 0.3])


@pytest.mark.parametrize("name", SHARED)
def test_recipes_are_shared_by_all_step_sizes(name):
    parameters = LINE.start(0, "float32")
    first, second = (recipes.split(SHARED[name](s), parameters) for s in (0.03, 0.1))
    assert (hash(first[0]), first[0]) == (hash(second[0]), second[0])


@pytest.mark.parametrize("name", APART)
def test_what_cannot_be_shared_is_kept_apart(name):
    """A step size that is part of the program must not be taken for another."""
    parameters = LINE.start(0, "float32")
    assert recipes.split(APART[name](0.03), parameters)[0] != recipes.split(APART[name](0.1), parameters)[0]


@pytest.mark.parametrize("make", [optax.sgd, optax.adam])
def test_a_sweep_over_fresh_optax_objects_compiles_once(make):
    """20 step sizes: nothing is traced after the first run, and no executable is added."""
    traced = []

    def counted(parameters, batch):
        traced.append(1)
        return loss(parameters, batch)

    problem = sg.Problem("counted", init, counted, LINE.data, batch_size=4)
    sg.replay(ASYNCHRONOUS, problem, make(1e-3))
    once, executables = len(traced), programs.held()
    ends = {sg.replay(ASYNCHRONOUS, problem, make(1e-3 * 1.2**power)).hashes["parameters"] for power in range(20)}
    assert len(ends) == 20
    assert (len(traced), programs.held()) == (once, executables)


def test_optax_sgd_is_sgd():
    for tape in (ASYNCHRONOUS, SYNCHRONOUS):
        assert sg.replay(tape, LINE, optax.sgd(0.1)) == sg.replay(tape, LINE, sg.optimizers.sgd(0.1))


def test_swept_objects_are_not_kept():
    """Only the first of them is: it stands for all."""
    sg.replay(ASYNCHRONOUS, LINE, optax.sgd(0.05))
    optimizer = optax.sgd(0.06)
    gone = weakref.ref(optimizer.update)
    sg.replay(ASYNCHRONOUS, LINE, optimizer)
    del optimizer
    gc.collect()
    assert gone() is None


def test_a_global_that_changes_makes_another_optimizer():
    """A function of one's own may read anything, so one that is made anew is compiled anew."""
    rate = {"rate": 0.1}
    source = "def update(updates, state, params=None): return [-rate * u for u in updates], state"
    problem = sg.Problem("w", lambda key: [jnp.zeros(3)], lambda w, b: jnp.sum((w[0] - 1) ** 2) + 0 * b.mean(), np.ones(4))
    ends = []
    for value in (0.1, 0.01):
        rate["rate"] = value
        exec(source, rate)
        optimizer = optax.GradientTransformation(optax.init_empty_state, rate["update"])
        ends.append(sg.replay(ASYNCHRONOUS, problem, optimizer).final("loss"))
    assert ends[0] < 1e-3 < ends[1]


@pytest.mark.parametrize(
    ("optimizer", "name", "step_size"),
    [
        (optax.sgd(0.1), "sgd(learning_rate=0.1)", 0.1),
        (optax.sgd(jnp.float32(0.1)), "sgd(learning_rate=0.1)", 0.1),
        (sg.optimizers.sgd(0.1), "sgd(learning_rate=0.1)", 0.1),
        (optax.sgd(0.1, momentum=0.9), "sgd(learning_rate=0.1, momentum=0.9)", 0.1),
        (optax.sgd(0.1, 0.9, nesterov=True), "sgd(learning_rate=0.1, momentum=0.9, nesterov=True)", 0.1),
        (optax.adam(1e-3), "adam(learning_rate=0.001)", 1e-3),
        (optax.adamw(1e-3), "adamw(learning_rate=0.001)", 1e-3),
        (optax.lion(1e-3), "lion(learning_rate=0.001)", 1e-3),
        (
            optax.adam(1e-3, b1=0.5),
            "chain(scale_by_adam(b1=0.5, b2=0.999, eps=1e-08, eps_root=0.0, nesterov=False), scale(step_size=-0.001))",
            1e-3,
        ),
        (
            optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1)),
            "chain(clip_by_global_norm(max_norm=1.0), sgd(learning_rate=0.1))",
            0.1,
        ),
        (optax.chain(optax.scale(0.5), optax.sgd(0.5)), "chain(scale(step_size=0.5), sgd(learning_rate=0.5))", 0.25),
        (optax.sgd(optax.constant_schedule(0.1)), None, None),
        (optax.masked(optax.sgd(0.1), True), "masked(inner=sgd(learning_rate=0.1), mask=True)", None),
        (APART["a function of one's own"](0.3), "stateless(f=<lambda>(s=0.3))", None),
    ],
)
def test_optimizers_are_called_by_their_factories_and_numbers(optimizer, name, step_size):
    assert name is None or describe(optimizer) == name
    assert step_size_of(optimizer) == step_size
    run = sg.replay(ASYNCHRONOUS, LINE, optimizer, sg.Updates(1))
    assert run.configuration["optimizer"] == describe(optimizer)
    assert run.configuration["step_size"] == step_size


def test_what_is_unknown_is_said_and_how_to_name_it():
    text = describe(optax.MultiSteps(optax.adam(0.1), 4).gradient_transformation())
    assert text.startswith("MultiSteps(?)")
    assert "sg.optimizers.tunable(factory, name=value)" in text


def test_a_step_size_below_zero_is_warned_of():
    for optimizer in (optax.sgd(-0.1), optax.adam(-0.1), optax.inject_hyperparams(optax.sgd)(learning_rate=-0.1)):
        with pytest.warns(UserWarning, match=r"has the step size -0\.1, below zero: it climbs up the loss"):
            sg.replay(ASYNCHRONOUS, LINE, optimizer, sg.Updates(1))
    with pytest.raises(ValueError, match=r"step_size must be a finite number above 0, got -0\.1"):
        sg.optimizers.sgd(-0.1)
