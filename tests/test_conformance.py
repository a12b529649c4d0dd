"""The conformance suite says no: for each check, a method that breaks it, and what the error tells."""

import dataclasses
import functools
import itertools
import os
import pickle
import random
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import simsgd as sg
from simsgd.testing import ConformanceError, check_method, play_slowly
from simsgd.testing.checks import CHECKS

SGD = sg.optimizers.sgd(0.05)
CALLS = itertools.count()


@dataclasses.dataclass(frozen=True)
class Uncited(sg.Protocol):
    """A protocol from nowhere."""

    def on_gradient(self, server, gradient):
        server.apply(gradient)
        server.assign(gradient.worker)


@dataclasses.dataclass(frozen=True)
class Secretive(sg.AsyncSGD):
    """Prints as something else.

    Source: nowhere, for this test.
    """

    threshold: int = 3

    def __repr__(self):
        return "Secretive()" if self.threshold == 3 else "Secretive(some threshold)"


@dataclasses.dataclass(frozen=True)
class Forgetful(sg.AsyncSGD):
    """Remembers what it should not: other weights in each recording.

    Source: nowhere, for this test.
    """

    def on_gradient(self, server, gradient):
        server.apply(gradient, weight=1 + 0.1 * next(CALLS))
        server.assign(gradient.worker)


@dataclasses.dataclass(frozen=True)
class Boastful(sg.AsyncSGD):
    """Says that it is synchronous, and steps with single gradients.

    Source: nowhere, for this test.
    """

    synchronous = True


@dataclasses.dataclass(frozen=True)
class Twice(sg.AsyncSGD):
    """Waits for nobody, for ever.

    Source: nowhere, for this test.
    """

    def on_gradient(self, server, gradient):
        server.apply(gradient)


def by_precision():
    """A step that depends on how the numbers are kept: in float64 alone it is halved if the code is compiled."""

    def update(updates, state, params=None, **others):
        compiled = isinstance(jax.tree.leaves(updates)[0], jax.core.Tracer)
        return jax.tree.map(lambda u: u * (0.5 if compiled else 1.0), updates), state

    return optax.GradientTransformationExtraArgs(lambda params: (), update)


def of_this_process():
    """A step that is another each time the transformation is traced."""

    def update(updates, state, params=None, **others):
        return jax.tree.map(lambda u: u * (1 + 0.01 * next(CALLS)), updates), state

    return optax.GradientTransformationExtraArgs(lambda params: (), update)


@dataclasses.dataclass(frozen=True)
class Dithered(sg.Compression):
    """Noise from a generator that `draws` returns, and not by the key."""

    draws: object = np.random.default_rng

    def bytes(self, shapes):
        return 4.0

    def compress(self, message, state, key, shared_key):
        return jax.tree.map(lambda leaf: leaf * (1 + 0.1 * self.draws().random()), message), state


@functools.cache
def kept_number():
    """Return a number of the generator that all share, drawn once in a process."""
    return SimpleNamespace(random=functools.partial(float, np.random.random()))  # noqa: NPY002


@jax.jit
def compiled_noise(leaf):
    """Return an array with noise that is drawn when this is compiled, and stays."""
    return leaf * (1 + 0.1 * np.random.default_rng().random())


@dataclasses.dataclass(frozen=True)
class CompiledNoise(Dithered):
    """Noise in a function that is compiled apart, so that all who call it find the same."""

    def compress(self, message, state, key, shared_key):
        return jax.tree.map(compiled_noise, message), state


@dataclasses.dataclass(frozen=True, repr=False)
class NoisyWork(sg.OneGradient):
    """A gradient with noise that is not the job's."""

    def run(self, parameters, state, job):
        return Dithered().compress(job.gradient(parameters), state, job.key, job.shared_key)


def noisy():
    """A transformation with noise that is nobody's key's."""

    def update(updates, state, params=None, **others):
        return Dithered().compress(updates, state, None, None)

    return optax.GradientTransformationExtraArgs(lambda params: (), update)


def noisy_steps():
    """Steps of SGD with noise that is nobody's key's."""
    return optax.chain(optax.sgd(0.05), noisy())


IMPURE = {
    "compress_up": [
        {"compress_up": Dithered()},
        {"compress_up": Dithered(lambda: np.random)},
        {"compress_up": Dithered(lambda: random)},
        {"compress_up": Dithered(kept_number)},
        {"compress_up": CompiledNoise()},
    ],
    "compress_down": [{"compress_down": Dithered()}],
    "work": [{"work": NoisyWork()}],
    "inner": [{"work": sg.works.LocalSteps(steps=2), "inner": sg.optimizers.tunable(noisy_steps)}],
} | {place: [{place: sg.optimizers.tunable(noisy)}] for place in ("optimizer", "at_worker", "on_message", "hand_out")}
"""For each part of a method, parts that draw random numbers from elsewhere than their keys."""


@pytest.mark.parametrize("part", IMPURE)
def test_random_numbers_from_elsewhere_are_found_and_their_part_named(part):
    for given in IMPURE[part]:
        with pytest.raises(ConformanceError, match=rf"(?s)'pure'.*expected: {part}=.* Draw random numbers .*by .*key"):
            check_method(sg.Method(sg.AsyncSGD(), **({"optimizer": SGD} | given)), only="pure")


def test_random_numbers_by_keys_are_pure():
    """Those of a key that is given, and of one that stands in a state."""
    places = sg.compressions.RandomK(share=0.5)
    noise = optax.add_noise(eta=0.01, gamma=0.55, key=3)
    check_method(sg.Method(sg.AsyncSGD(), SGD, compress_up=places, at_worker=noise), only="pure")


def failing():
    """A transformation that raises an error of its own."""

    def update(updates, state, params=None, **others):
        raise ZeroDivisionError("nothing to divide by")

    return optax.GradientTransformationExtraArgs(lambda params: (), update)


def local_protocol():
    """Return a protocol that no other process can find."""

    @dataclasses.dataclass(frozen=True)
    class Local(sg.AsyncSGD):
        """Defined in a function.

        Source: nowhere, for this test.
        """

    return Local()


BROKEN = {
    "source": (sg.Method(Uncited(), SGD), "Source:", "A protocol from nowhere"),
    "pickle": (sg.Method(local_protocol(), SGD), "top level of a module", "Local"),
    "code": (Secretive(threshold=4), "code that makes Secretive", "some threshold"),
    "pure": (sg.Method(sg.AsyncSGD(), SGD, compress_up=Dithered()), "compress_up=Dithered", "another answer the second time"),
    "tape": (Forgetful(), "the same tape for the same seed", "weight"),
    "all-reduce": (Boastful(), "step 0 of one gradient of each worker", "synchronous = True"),
    "reference": (sg.Method(sg.AsyncSGD(), SGD, on_message=by_precision()), "parameters", "off"),
    "same bits": (
        sg.Method(sg.AsyncSGD(), SGD, on_message=sg.optimizers.tunable(failing)),
        "no error",
        "ZeroDivisionError: nothing to divide by",
    ),
    "chunks": (Twice(), "a simulation that goes on", "StuckError"),
}
"""For each check a method that fails it, and what the error says beside the check's name."""


@pytest.mark.parametrize("check", BROKEN)
def test_a_method_that_breaks_a_rule_is_told_which(check):
    method, *said = BROKEN[check]
    with pytest.raises(ConformanceError) as caught:
        check_method(method, only=check)
    message = str(caught.value)
    assert [words for words in (*said, repr(check), "expected:", "found:", f"only={check!r}") if words not in message] == []
    assert isinstance(caught.value, AssertionError)


def test_a_secretive_method_passes_what_it_does_not_break():
    check_method(Secretive(), only="code")


def test_a_step_that_is_another_each_time_is_found():
    """And the part is named; other checks would only find another run."""
    with pytest.raises(ConformanceError, match=r"on_message=of_this_process\(\) to answer the same"):
        check_method(sg.Method(sg.AsyncSGD(), SGD, on_message=sg.optimizers.tunable(of_this_process)))


@dataclasses.dataclass(frozen=True)
class Dice(sg.times.Exponential):
    """Times from outside of the worker's own stream: no two recordings see the same."""

    def sampler(self, rng, worker):
        outside = np.random.default_rng(int.from_bytes(os.urandom(8)))
        return lambda now: float(outside.exponential(self.mean))


def test_times_that_are_not_the_workers_own_are_found():
    cluster = sg.Cluster(3, Dice(1.0))
    with pytest.raises(ConformanceError, match="common random numbers"):
        check_method(sg.AsyncSGD(), cluster=cluster, only="common random numbers")


@dataclasses.dataclass(frozen=True)
class Fickle(sg.Work):
    """Bytes that are others each time one asks."""

    def bytes_up(self, message_bytes):
        return message_bytes * (1 + next(CALLS) % 7)

    def run(self, parameters, state, job):
        return job.gradient(parameters), state


def test_bytes_that_change_are_found():
    with pytest.raises(ConformanceError, match=r"bytes_up=.* whenever it is asked"):
        check_method(sg.Method(sg.AsyncSGD(), SGD, work=Fickle()), only="bytes")


@dataclasses.dataclass(frozen=True)
class Smaller(sg.AsyncSGD):
    """A protocol that says how many bytes a message has."""

    def on_gradient(self, server, gradient):
        server.apply(gradient)
        server.assign(gradient.worker, bytes_up=1.0 + gradient.job % 3)


def test_bytes_that_a_protocol_says_are_as_good_as_the_work_s():
    check_method(Smaller(), only="bytes")
    check_method(Smaller(), only="same bits")


def test_every_check_has_been_seen_to_fail():
    assert set(CHECKS) == {*BROKEN, "common random numbers", "bytes"}


def test_it_says_what_it_was_asked():
    with pytest.raises(TypeError, match="method must be an instance such as"):
        check_method(optax.sgd(0.1))
    with pytest.raises(ValueError, match="only must be one of"):
        check_method(sg.AsyncSGD(), only="everything")
    with pytest.raises(ValueError, match="updates must be"):
        check_method(sg.AsyncSGD(), updates=0)


def test_errors_travel():
    error = ConformanceError("what was expected, and what was found")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_problem_and_a_cluster_of_one_s_own():
    cluster = sg.Cluster(3, sg.times.Exponential(0.2))
    check_method(sg.MinibatchSGD(), sg.problems.quadratic(noise=0.2).partitioned(3), cluster, updates=5)


def test_the_slow_replay_by_hand():
    """f(w) = ½(w − 1)², w₀ = 0, step ½: two workers read version 0, then w₁ = ½ and w₂ = ½ + ½ = 1."""
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(2, sg.times.Constant(1.0)), sg.Updates(3))
    played = play_slowly(tape, sg.problems.quadratic((1.0,)), optax.sgd(0.5))
    assert [float(version[0]) for version in played.versions] == [0.0, 0.5, 1.0, 1.25]
    assert played.worker_states == [((), optax.EmptyState(), ())] * 2
    assert jnp.size(played.versions[0]) == 1
