"""Methods compose: whatever parts they are made of, the compiled player computes what the slow reference says in words.

Every part alone, and compositions that hypothesis picks, on clusters that crash and lose; in pieces; and twice.
"""

import dataclasses

import jax
import numpy as np
import pytest
from comparing import (
    CLUSTERS,
    ROUNDING,
    WORKERS,
    assert_agrees,
    flat,
    played,
    problem,
    recorded,
    slow,
    squared_error,
    worker_states,
)
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis import strategies as st
from methods import METHODS
from parts import AT_WORKER, HAND_OUT, ON_MESSAGE, OPTIMIZERS, WORKS, method_of

import simsgd as sg
from simsgd.testing import play_slowly

PARTS = {"work": WORKS, "at_worker": AT_WORKER, "on_message": ON_MESSAGE, "hand_out": HAND_OUT, "optimizer": OPTIMIZERS}
ALONE = [(place, name) for place, table in PARTS.items() for name in table if table[name] is not None]


def slow_but(*quick):
    """Return the parts one by one, those that are not named marked as slow: each compiles a player for a second."""
    return [pytest.param(*each, marks=[] if each[1] in quick else pytest.mark.slow, id=each[1]) for each in ALONE]


@pytest.mark.parametrize(("place", "name"), slow_but("svrg", "counted", "chain"))
def test_every_part_alone_agrees_with_the_reference(place, name):
    """With Rennala's protocol on a crashing cluster: steps of several messages; some were not used, others were lost."""
    method = method_of(METHODS["Rennala"], **{place: name})
    tape = recorded(method, CLUSTERS["crashing"], 12, seed=3)
    unused = tape.discarded.reason == 0
    assert unused.any()
    assert (tape.discarded.reason == 2).any()
    assert_agrees(tape, method, seed=3)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", METHODS)
@pytest.mark.parametrize(("place", "name"), ALONE)
def test_every_part_alone_with_every_protocol(place, name, protocol):
    method = method_of(METHODS[protocol], **{place: name})
    assert_agrees(recorded(method, CLUSTERS["quiet"], 15, seed=5), method, seed=5)


@pytest.mark.slow
def test_a_wrong_reference_would_be_seen():
    """Each part changes the model by far more than rounding: the comparisons above could fail."""
    tape = recorded(method_of(METHODS["async"]), CLUSTERS["quiet"], 12, seed=3)
    plain = flat(play_slowly(tape, problem(), method_of(METHODS["async"]), 3).versions[-1])
    for place, name in ALONE:
        if (place == "work" and name == "sparse") or name == "sgd":
            continue  # computes what the default does
        other = flat(play_slowly(tape, problem(), method_of(METHODS["async"], **{place: name}), 3).versions[-1])
        assert np.abs(other - plain).max() > 1e6 * ROUNDING, (place, name)


COMPOSITIONS = st.fixed_dictionaries(
    {place: st.sampled_from(sorted(table)) for place, table in PARTS.items()}
    | {"protocol": st.sampled_from(sorted(METHODS)), "after_crash": st.sampled_from(["keep", "reset"])}
)
"""Methods of any parts, by their names."""


def check_composition(names, where, seed, updates, chunk, every):
    """All that must hold of every composition."""
    method = method_of(**(names | {"protocol": METHODS[names["protocol"]]}))
    cluster = CLUSTERS[where]
    try:
        tape = recorded(method, cluster, updates, seed).check()
    except sg.StuckError:
        assert names["protocol"] == "MindFlayer"  # where a job's local steps take longer than its limit
        reject()
    in_pieces, versions = played(tape, method, seed, chunk)
    player = assert_agrees(tape, method, seed)
    assert player.flat_parameters.tobytes() == versions[-1].tobytes()
    assert [s.tobytes() for s in worker_states(player)] == [s.tobytes() for s in worker_states(in_pieces)]
    size = float(problem().message_bytes)
    runs = [
        sg.simulate(method, problem(), cluster, until=sg.Updates(updates), seed=seed, message_bytes=size, dtype="float64")
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    looks = {"evaluate_every": sg.Updates(every), "dtype": "float64"}
    looked = sg.simulate(method, problem(), cluster, until=sg.Updates(updates), seed=seed, message_bytes=size, **looks)
    assert sg.replay(tape, problem(), method, sg.Updates(updates), **looks) == looked
    assert {run.parameters.tobytes() for run in (*runs, looked)} == {player.flat_parameters.tobytes()}


GIVEN = given(
    names=COMPOSITIONS,
    where=st.sampled_from(sorted(CLUSTERS)),
    seed=st.integers(0, 2**31),
    updates=st.integers(1, 20),
    chunk=st.integers(1, 25),
    every=st.integers(1, 25),
)
SUITE = settings(
    deadline=None,  # the first of each compiles
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # making a failure simpler would compile for minutes
)


@settings(SUITE, max_examples=3, derandomize=True)
@GIVEN
def test_compositions(names, where, seed, updates, chunk, every):
    check_composition(names, where, seed, updates, chunk, every)


@pytest.mark.slow
@settings(SUITE, max_examples=250)
@GIVEN
def test_many_compositions(names, where, seed, updates, chunk, every):
    check_composition(names, where, seed, updates, chunk, every)


# --- data, and the protocol's choices -------------------------------------------------------------------------------------


@pytest.mark.parametrize("replacement", slow(True, False))
@pytest.mark.parametrize("work", slow("svrg", "local", "full", "gradient"))
def test_shares_of_the_data_agree_with_the_reference(work, replacement):
    learned = problem().partitioned(WORKERS, replacement=replacement)
    method = method_of(METHODS["K-batch-async"], work=work, at_worker="momentum")
    assert_agrees(recorded(method, CLUSTERS["quiet"], 8, seed=6), method, 6, learned)


def noisy_loss(parameters, batch, key):
    noise = 0.0 if key is None else jax.random.normal(key, (3,)) @ parameters["slopes"] ** 2
    return squared_error(parameters, batch) + noise


@pytest.mark.parametrize("work", slow("local", "gradient", "svrg"))
def test_losses_that_draw_agree_with_the_reference(work):
    learned = dataclasses.replace(problem(), loss=noisy_loss)
    method = method_of(METHODS["async"], work=work)
    tape = recorded(method, CLUSTERS["quiet"], 8, seed=6)
    assert_agrees(tape, method, 6, learned)
    one, other = (flat(play_slowly(tape, each, method, 6).versions[-1]) for each in (problem(), learned))
    assert np.abs(one - other).max() > 1e-3


@dataclasses.dataclass(frozen=True)
class Choosing(sg.Protocol):
    """Hand out 1, 2, 3, 1, … local steps, and weigh the workers at the step: four gradients each, worker i's by 1/(i + 1)."""

    def start(self, server):
        for worker in server.workers:
            server.assign(worker, steps=1 + worker % 3)

    def on_gradient(self, server, gradient):
        server.accumulate(gradient, weight=0.25)
        if server.accumulated == 4:
            server.step(weights={worker: 1 / (worker + 1) for worker in range(4)})
        server.assign(gradient.worker, steps=1 + gradient.steps % 3)


@dataclasses.dataclass(frozen=True)
class Waking(sg.Protocol):
    """Step every 1.5 s with whatever has come; hand out then, too."""

    def start(self, server):
        super().start(server)
        server.alarm(1.5)

    def on_gradient(self, server, gradient):
        server.accumulate(gradient)

    def on_alarm(self, server):
        if server.accumulated:
            server.step(scale=1 / server.accumulated)
        for worker in server.workers:
            if worker not in server.busy:
                server.assign(worker)
        server.alarm(1.5)


@pytest.mark.parametrize("protocol", slow(Choosing(), Waking()))
def test_what_a_protocol_chooses_agrees_with_the_reference(protocol):
    method = method_of(protocol, work="local", at_worker="top-k", on_message="all arguments")
    tape = recorded(method, CLUSTERS["quiet"], 10, seed=8)
    assert protocol != Choosing() or set(tape.steps.tolist()) == {1, 2, 3}
    assert_agrees(tape, method, seed=8)
