"""Transformations that know of staleness, workers and the model that was read: each against steps computed by hand.

No player is needed: a transformation is called with what a player offers it, compiled, in float64, and in float32 in two lanes.
"""

import pickle
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from simsgd import optimizers
from simsgd.optimizers import describe


class Step(NamedTuple):
    """One message of two numbers, what else the player says, and what the rule must make of it."""

    message: tuple
    expected: tuple
    staleness: float = 0.0
    worker: int = 0
    version: int = 0
    current: tuple = (0.0, 0.0)
    read: tuple = (0.0, 0.0)


class Case(NamedTuple):
    """A rule, its steps, how many workers there are, and the relative tolerance in float64."""

    rule: optax.GradientTransformation
    steps: tuple
    workers: int = 2
    tolerance: float = 1e-14


G = (6.0, -12.0)
CASES = {
    # Zhang et al. (2015): g/max(1, τ)
    "1/τ": Case(optimizers.scale_by_staleness(), (Step(G, G, 0), Step(G, (2, -4), 3))),
    # FedAsync, FedBuff: g·(1 + τ)^−½
    "power law": Case(optimizers.scale_by_polynomial_staleness(), (Step(G, G, 0), Step(G, (3, -6), 3))),
    # FedAsync: g up to τ = b, then g/(1 + a(τ − b)): 1 + ½·(8 − 4) = 3
    "hinge": Case(optimizers.scale_by_hinge_staleness(0.5, 4.0), (Step(G, G, 4), Step(G, (2, -4), 8))),
    # Mishchenko et al. (2022): g·n/max(n, τ): 4/12 = 1/3
    "delay-adaptive": Case(optimizers.scale_by_delay(), (Step(G, G, 4), Step(G, (2, -4), 12)), workers=4),
    # AdaDelay: g/√(t + τ), t = version + 1: √(4 + 5) = 3
    "AdaDelay": Case(optimizers.scale_by_adadelay(), (Step(G, G, 0), Step(G, (2, -4), 5, version=3))),
    # DC-ASGD: g + λ·g²·(w − w_read): 2 + ½·4·1, −4 + ½·16·(−2); nothing where the model has not moved
    "DC-ASGD": Case(
        optimizers.compensate_delay(0.5),
        (Step((2, -4), (4, -20), current=(1, 3), read=(0, 5)), Step((2, -4), (2, -4), current=(1, 3), read=(1, 3))),
    ),
    # DC-ASGD-a: MS = ¼·(16, 64) = (4, 16), λ = 2/√MS = (1, ½): 4 + 16·½, −8 + ½·64·(−1/16);
    # MS = ¾·(4, 16) + ¼·(4, 16), λ = (1, ½) again: 2 + 4, 4 + ½·16. The 10⁻⁷ beside MS moves λ by 1.3e-8 of it
    "DC-ASGD, adaptive": Case(
        optimizers.compensate_delay_adaptively(2.0, 0.75),
        (Step((4, -8), (12, -10), current=(0.5, -1 / 16)), Step((2, 4), (6, 12), current=(1, 1))),
        tolerance=2e-8,
    ),
    # gap-aware: averages ½·√(16, 64) = (2, 4): 4/(1 + 6/2), −8/(1 + 0/4); MS = (¾·¼·16 + ¼·100)/(¾·¼ + ¼) = 64 and
    # (¾·¼·64 + ¼·400)/0.4375 = 256, averages (4, 8): 10/(1 + 4/4), −20/(1 + 24/8). The 10⁻⁸ moves them by 2.5e-9
    "gap-aware": Case(
        optimizers.scale_by_gap(0.5, 0.75),
        (Step((4, -8), (1, -8), current=(6, 0)), Step((10, -20), (5, -5), current=(0, 20), read=(4, -4))),
        tolerance=5e-9,
    ),
    # Picky SGD: ‖(3, 4)‖ = 5 is not beyond 5, ‖(3, 4.25)‖ is
    "Picky": Case(
        optimizers.skip_distant(5.0),
        (Step(G, G, current=(3, 4)), Step(G, (0, 0), current=(4, 0.25), read=(1, -4))),
    ),
    # IAG, ACE: nothing until both are heard, then the mean of the rows: ((2, 4) + (6, 0))/2, ((4, 4) + (6, 0))/2
    "gradient table": Case(
        optimizers.gradient_table(),
        (Step((2, 4), (0, 0)), Step((6, 0), (4, 2), worker=1), Step((4, 4), (5, 2))),
    ),
    "gradient table, from the start": Case(
        optimizers.gradient_table(wait_for_all=False),
        (Step((2, 4), (1, 2)), Step((6, 0), (4, 2), worker=1), Step((4, 4), (5, 2))),
    ),
    # MIFA: (g − G_i)/n; the sum of all three is the mean of the rows, (5, 2)
    "changes of a gradient table": Case(
        optimizers.gradient_table_changes(),
        (Step((2, 4), (1, 2)), Step((6, 0), (3, 0), worker=1), Step((4, 4), (1, 0))),
    ),
    # DANA-Zero at the server: v_0 = (2, 4), v_1 = (1, 1), then v_0 = ½·(2, 4) + (2, 0)
    "momentum of each worker": Case(
        optimizers.workers_momentum(0.5),
        (Step((2, 4), (2, 4)), Step((1, 1), (1, 1), worker=1), Step((2, 0), (3, 2))),
    ),
    "momentum of each worker, by optax": Case(
        optimizers.per_worker(optax.trace(decay=0.5)),
        (Step((2, 4), (2, 4)), Step((1, 1), (1, 1), worker=1), Step((2, 0), (3, 2))),
    ),
    # Ringleader, n = 2. Round 0 (versions read: 0): worker 0 twice, row (2 + 4)/2 = 3; worker 1, (3 + 7)/2 = 5: step.
    # Worker 1 read version 1: stored for round 1, the mean stays 5. Worker 0 read 0: row (2 + 4 + 6)/3 = 4, (4 + 7)/2: step.
    # Round 1 (versions read: 1, 2): worker 0, (8 + 100)/2 = 54: step; worker 1, row (100 + 50)/2 = 75, (8 + 75)/2: step.
    # Round 2: the table of round 0 is empty again, worker 0: (10 + 0)/2.
    "Ringleader's table": Case(
        optimizers.round_table(),
        (
            Step((2, -2), (1, -1)),
            Step((4, -4), (1.5, -1.5)),
            Step((7, -7), (5, -5), worker=1),
            Step((100, -100), (5, -5), worker=1, version=1),
            Step((6, -6), (5.5, -5.5), staleness=1, version=1),
            Step((8, -8), (54, -54), version=2),
            Step((50, -50), (41.5, -41.5), staleness=2, worker=1, version=3),
            Step((10, -10), (5, -5), staleness=1, version=4),
        ),
    ),
}


def tree(pair, dtype):
    """Two numbers as parameters of two leaves, so that what is said of the whole model is not said of a leaf."""
    return {"a": jnp.asarray([pair[0]], dtype), "b": jnp.asarray(pair[1], dtype)}


def arguments(step, dtype):
    """What a player offers on a message, but for the number of workers, which is no array."""
    numbers = {name: jnp.asarray(getattr(step, name), jnp.int32) for name in ("worker", "version")}
    others = {"staleness": jnp.asarray(step.staleness, dtype), "job": jnp.int32(0), "steps": jnp.int32(1), **numbers}
    return tree(step.message, dtype), tree(step.current, dtype), others | {"parameters_read": tree(step.read, dtype)}


def played(case, dtype, lanes=None):
    """Return what the rule made of each message, as compiled, in one lane or in several equal ones."""

    def update(message, state, current, others):
        return case.rule.update(message, state, current, workers=case.workers, **others)

    def wide(thing):
        return thing if lanes is None else jax.tree.map(lambda leaf: jnp.stack([leaf] * lanes), thing)

    with optimizers.among(case.workers):
        state = case.rule.init(tree((0.0, 0.0), dtype))
    kinds = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)
    state, compiled = wide(state), jax.jit(update if lanes is None else jax.vmap(update))
    for step in case.steps:
        message, current, others = map(wide, arguments(step, dtype))
        made, state = compiled(message, state, current, others)
        assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(made))
        yield made
    if lanes is None:
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state) == kinds  # or no loop could carry it


@pytest.mark.parametrize("name", CASES)
def test_rules_are_those_of_the_papers(name):
    case = CASES[name]
    with jax.enable_x64(True):
        for step, made in zip(case.steps, played(case, "float64"), strict=True):
            np.testing.assert_allclose([made["a"][0], made["b"]], step.expected, rtol=case.tolerance)


@pytest.mark.parametrize("name", CASES)
def test_they_are_so_in_single_precision_in_each_of_two_lanes(name):
    case = CASES[name]
    for step, made in zip(case.steps, played(case, "float32", lanes=2), strict=True):
        np.testing.assert_allclose([made["a"][:, 0], made["b"]], np.transpose([step.expected] * 2), rtol=1e-6)


TABLES = {
    "gradient table": optimizers.gradient_table(),
    "changes": optimizers.gradient_table_changes(),
    "Ringleader's": optimizers.round_table(),
    "momentum": optimizers.workers_momentum(0.5),
}


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="how XLA compiles for the CPU")
@pytest.mark.parametrize("name", TABLES)
def test_a_message_costs_its_own_row(name):
    """In a loop the table is changed in place: nothing of its size is copied (before, a row of 513 cost 35 times as much)."""
    workers, size, rule = 37, 11, TABLES[name]
    parameters = jnp.zeros(size)

    def play(state, w, messages):
        def take(k, carry):
            state, w = carry
            about = {"worker": (5 * k) % workers, "version": k, "staleness": jnp.float32(0)}
            message, state = rule.update(jnp.cos(w + k), state, w, workers=workers, parameters_read=w, **about)
            return state, w - message

        return jax.lax.fori_loop(0, messages, take, (state, w))

    with optimizers.among(workers):
        state = rule.init(parameters)
    program = jax.jit(play, donate_argnums=0).lower(state, parameters, 9).compile().as_text()
    rows = 2 * workers if name == "Ringleader's" else workers
    assert f"f32[{rows},{size}]" in program
    assert not re.search(rf"= f32\[{rows},{size}\]\S* copy\(", program)


MAKERS = {
    "scale_by_staleness(power=0.5)": lambda: optimizers.scale_by_staleness(0.5),
    "scale_by_polynomial_staleness(power=0.25)": lambda: optimizers.scale_by_polynomial_staleness(0.25),
    "scale_by_hinge_staleness(slope=0.5, threshold=4.0)": lambda: optimizers.scale_by_hinge_staleness(0.5, 4),
    "scale_by_delay()": optimizers.scale_by_delay,
    "scale_by_adadelay()": optimizers.scale_by_adadelay,
    "compensate_delay(strength=0.5)": lambda: optimizers.compensate_delay(0.5),
    "compensate_delay_adaptively(decay=0.75, strength=2.0)": lambda: optimizers.compensate_delay_adaptively(2, 0.75),
    "scale_by_gap(decay=0.75, step_size=0.5)": lambda: optimizers.scale_by_gap(0.5, 0.75),
    "skip_distant(distance=5.0)": lambda: optimizers.skip_distant(5),
    "gradient_table(wait_for_all=False)": lambda: optimizers.gradient_table(wait_for_all=False),
    "gradient_table_changes()": optimizers.gradient_table_changes,
    "round_table()": optimizers.round_table,
    "workers_momentum(momentum=0.5)": lambda: optimizers.workers_momentum(0.5),
    "look_ahead(momentum=0.5, step_size=0.1)": lambda: optimizers.look_ahead(0.1, 0.5),
}


@pytest.mark.parametrize("text", MAKERS)
def test_rules_are_called_compared_and_pickled_by_what_they_are(text):
    made = optimizers.portable(MAKERS[text]())
    assert describe(made) == text
    assert made == optimizers.portable(MAKERS[text]())
    assert pickle.loads(pickle.dumps(made)) == made
    assert sum(made == optimizers.portable(other()) for other in MAKERS.values()) == 1


BAD = {
    "power": (lambda: optimizers.scale_by_polynomial_staleness(-1), "power must be a finite number of at least 0, got -1"),
    "slope": (lambda: optimizers.scale_by_hinge_staleness(slope=-1), "slope must be a finite number of at least 0, got -1"),
    "threshold": (lambda: optimizers.scale_by_hinge_staleness(threshold=-1), "threshold must be a finite number of at least 0"),
    "strength": (lambda: optimizers.compensate_delay(float("nan")), "strength must be a finite number of at least 0, got nan"),
    "decay": (lambda: optimizers.compensate_delay_adaptively(decay=1), "decay must be at least 0 and below 1, got 1"),
    "step size": (lambda: optimizers.scale_by_gap(0.0), "step_size must be a finite number above 0, got 0.0"),
    "distance": (lambda: optimizers.skip_distant(-2.0), "distance must be a finite number above 0, got -2.0"),
    "momentum": (lambda: optimizers.workers_momentum(1.0), "momentum must be at least 0 and below 1, got 1.0"),
    "momentum ahead": (lambda: optimizers.look_ahead(0.1, -0.5), "momentum must be at least 0 and below 1, got -0.5"),
}


@pytest.mark.parametrize("name", BAD)
def test_numbers_out_of_range_are_refused_by_name(name):
    make, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        make()


def test_a_table_waits_or_does_not():
    with pytest.raises(TypeError, match="wait_for_all must be True or False, got 1"):
        optimizers.gradient_table(wait_for_all=1)


def test_a_look_ahead_without_momentum_is_refused():
    with pytest.raises(ValueError, match=r"hand_out=look_ahead\(...\) needs on_message=workers_momentum"):
        optimizers.look_ahead(0.1, 0.5).update(1.0, (), 1.0, message_state=optax.EmptyState())


ARRIVALS = [(0, 2.0), (1, 1.0), (0, 2.0), (0, -1.0), (1, 4.0), (0, 0.5)]
"""Workers and gradients in the order in which they arrive, none of them lost."""


def messages_from_workers(transformation):
    """Return what each worker sends, from a state of its own."""
    states, sent = {0: transformation.init(0.0), 1: transformation.init(0.0)}, []
    for worker, gradient in ARRIVALS:
        message, states[worker] = transformation.update(jnp.asarray(gradient), states[worker])
        sent.append(float(message))
    return sent


def test_momentum_at_the_worker_is_momentum_at_the_server_where_nothing_is_lost():
    rule = optimizers.per_worker(optax.trace(decay=0.5))
    with optimizers.among(2):
        state = rule.init(jnp.asarray(0.0))
    at_server = []
    for worker, gradient in ARRIVALS:
        message, state = rule.update(jnp.asarray(gradient), state, worker=worker)
        at_server.append(float(message))
    assert messages_from_workers(optax.trace(decay=0.5)) == at_server == [2.0, 1.0, 3.0, 0.5, 4.5, 0.75]


def test_dana_slim_hands_out_what_dana_zero_does():
    """Θ = θ − ηγΣv is the model of DANA-Slim: Θ⁺ = θ − ηv⁺ − ηγ(Σv − v + v⁺) = Θ − η(γv⁺ + g), as v⁺ = γv + g."""
    eta, gamma = 0.125, 0.5
    zero, ahead = optimizers.workers_momentum(gamma), optimizers.look_ahead(eta, gamma)
    with optimizers.among(2):
        state = zero.init(jnp.asarray(0.0))
    model, handed_out = jnp.asarray(1.0), []
    for worker, gradient in ARRIVALS:
        message, state = zero.update(jnp.asarray(gradient), state, worker=worker)
        model = model - eta * message
        handed_out.append(float(ahead.update(model, (), model, message_state=(optax.EmptyState(), state))[0]))
    slim = 1.0 - eta * np.cumsum(messages_from_workers(optax.trace(decay=gamma, nesterov=True)))
    assert handed_out == slim.tolist() == [0.625, 0.4375, 0.0, 0.09375, -0.6875, -0.796875]
