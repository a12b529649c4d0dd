"""What is compiled is kept up to a bound: problems and optimizers that are gone do not stay in memory."""

import functools
import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import simsgd as sg
from simsgd.optimizers import sharing
from simsgd.problems import ready_made
from simsgd.replaying import programs

TAPE = sg.record(sg.AsyncSGD(), sg.Cluster(3, sg.times.Exponential(mean=1.0)), sg.Updates(5))
DATA = np.random.default_rng(0).normal(size=(64, 3))


def start(key):
    return jnp.zeros(3)


def usual_loss(parameters, batch):
    return jnp.mean((batch @ parameters - 1) ** 2)


def fresh_loss(number):
    """A loss that no other run has: nothing can be shared."""

    def loss(parameters, batch):
        return jnp.mean((batch @ parameters - number) ** 2)

    sg.replay(TAPE, sg.Problem("fresh", start, loss, DATA), optax.sgd(0.1))
    return weakref.ref(loss)


def fresh_schedule(number):
    optimizer = optax.adam(optax.cosine_decay_schedule(0.1 + number, 100))
    sg.replay(TAPE, sg.Problem("usual", start, usual_loss, DATA), optimizer)
    return weakref.ref(optimizer.update)


def fresh_function(number):
    def scaled(updates, params):
        return jax.tree.map(lambda g: -number * g, updates)

    sg.replay(TAPE, sg.Problem("usual", start, usual_loss, DATA), optax.stateless(scaled))
    return weakref.ref(scaled)


def fresh_shapes(number):
    data = np.ones((20 + number, 3))
    sg.replay(TAPE, sg.Problem("longer", start, usual_loss, data), sg.optimizers.sgd(0.1))
    return weakref.ref(data)


@pytest.fixture
def few_kept(monkeypatch):
    """Bounds so small that a test meets them."""
    monkeypatch.setattr(programs, "_program", functools.lru_cache(maxsize=3)(programs._program.__wrapped__))
    monkeypatch.setattr(sharing, "MOST_PROVEN", 2)
    monkeypatch.setattr(sharing, "_PROVEN", {})


SLOW = [pytest.param(fresh, marks=pytest.mark.slow) for fresh in (fresh_schedule, fresh_function, fresh_shapes)]


@pytest.mark.parametrize("fresh", [fresh_loss, *SLOW])
def test_what_nobody_holds_is_collected(fresh, few_kept):
    """After two further runs, each of three programs: playing, copying, evaluating."""
    references = [fresh(number) for number in range(3)]
    gc.collect()
    assert programs.held() == 3
    assert references[0]() is None


def test_a_function_is_let_go_with_its_programs(few_kept):
    @programs.compiled("add")
    def added(array, *, add):
        return add(array)

    references = []
    for number in range(5):

        def add(array, number=number):
            return array + number

        references.append(weakref.ref(add))
        for length in (1, 2):
            assert added(np.zeros(length), add=add)[0] == number
    del add
    gc.collect()
    assert programs.held() == 3
    assert [reference() is not None for reference in references] == [False, False, False, True, True]


def test_the_bound_is_stated_and_kept():
    assert programs._program.cache_info().maxsize == programs.KEPT == 64
    assert all(made.cache_info().maxsize for made in (ready_made.digits, ready_made._quadratic))


@pytest.mark.slow
def test_what_is_in_use_is_not_compiled_again(few_kept):
    """The one whose last use is the longest ago makes place."""
    traced = []

    def loss(parameters, batch):
        traced.append(1)
        return usual_loss(parameters, batch)

    problem = sg.Problem("in use", start, loss, DATA)
    tape, others = TAPE, iter(range(9))
    sg.replay(tape, problem, optax.sgd(0.1))
    once = len(traced)
    for step_size in (0.2, 0.3):
        sg.replay(tape, problem, optax.sgd(step_size))
    assert len(traced) == once
    for _ in range(2):
        fresh_loss(next(others))
    sg.replay(tape, problem, optax.sgd(0.1))
    assert len(traced) > once


@pytest.mark.slow
@pytest.mark.parametrize("fresh", [fresh_loss, fresh_schedule])
def test_memory_does_not_grow(fresh, few_kept):
    """Less than a tenth of a megabyte for each fresh problem, where an executable takes more than four."""

    def resident():
        gc.collect()
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    for number in range(15):
        fresh(number)
    before = resident()
    for number in range(15, 55):
        fresh(number)
    print(f"{(resident() - before) / 40:,.0f} bytes for each")
    assert resident() - before < 40 * 100_000
