"""Methods compose: whatever parts they are made of, the compiled player computes what the slow reference says in words.

Every part alone, and compositions that hypothesis picks, on clusters that crash and lose; in pieces; twice; and in two lanes.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from methods import METHODS
from parts import AT_WORKER, HAND_OUT, ON_MESSAGE, OPTIMIZERS, WORKS, method_of

import simsgd as sg
from simsgd import faults, networks, times
from simsgd.replaying import loop
from simsgd.replaying.player import Player
from simsgd.replaying.reading import Reading
from simsgd.testing import play_slowly

WORKERS = 4
COMPUTE = times.Speeds(times.Exponential(1.0), speeds=(1.0, 2.0, 0.5, 1.0))
CRASHES = faults.Crashes(between=times.Exponential(6.0), lasting=times.Exponential(0.5))
CLUSTERS = {
    "quiet": sg.Cluster(WORKERS, COMPUTE, networks.Link(latency=0.1, bandwidth=100.0)),
    "crashing": sg.Cluster(WORKERS, COMPUTE, networks.Link(latency=0.1), [CRASHES]),
    "ties": sg.Cluster(WORKERS, times.Constant(1.0)),
    "ties and crashes": sg.Cluster(
        WORKERS, times.Constant(0.5), faults=[faults.Crashes(between=times.Constant(7.5), lasting=times.Constant(0.5))]
    ),
    "losses": sg.Cluster(WORKERS, COMPUTE, networks.Link(latency=0.2), [faults.LostMessages(probability=0.2, timeout=0.3)]),
}
PARTS = {"work": WORKS, "at_worker": AT_WORKER, "on_message": ON_MESSAGE, "hand_out": HAND_OUT, "optimizer": OPTIMIZERS}
ALONE = [(place, name) for place, table in PARTS.items() for name in table if table[name] is not None]
ROUNDING = 1e-11
"""Relative to the largest number: float64 rounds by 1.1e-16, some hundred operations each update, a few dozen updates."""


@functools.cache
def problem():
    """Parameters of two leaves, noise, and 16 samples, so that workers' batches differ."""
    x = np.random.default_rng(1).normal(size=(16, 3))
    return sg.Problem("two leaves", begin, squared_error, {"x": x, "y": x @ [1.0, -2.0, 0.5]}, batch_size=2)


def begin(key):
    return {"slopes": 0.1 * jax.random.normal(key, (3,)), "offset": jnp.zeros((2,))}


def squared_error(parameters, batch):
    return jnp.mean((batch["x"] @ parameters["slopes"] + parameters["offset"].sum() - batch["y"]) ** 2)


def flat(tree):
    return np.concatenate([np.zeros(0), *(np.asarray(leaf, float).ravel() for leaf in jax.tree.leaves(tree))])


def recorded(method, cluster, updates, seed):
    return sg.record(method, cluster, sg.Updates(updates), seed, message_bytes=float(problem().message_bytes))


def played(tape, method, seed, chunk, learned=None):
    """Return the compiled player in float64 after the whole tape, played so many updates at a time, and all it made."""
    player, source, versions = Player(learned or problem(), method, tape.workers, seed, "float64"), Reading(tape), []
    for update in range(chunk, tape.updates + chunk, chunk):
        source.advance(updates=min(update, tape.updates))
        player.catch_up(source)
        versions.append(player.flat_parameters)
    return player, versions


def worker_states(player):
    """Return what each worker remembers, as one vector each."""
    states = player._carry.states.workers
    return [flat(jax.tree.map(lambda leaf, w=worker: leaf[w], states)) for worker in range(player.workers)]


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING * max(1.0, np.abs(expected).max(initial=0.0)))


def assert_agrees(tape, method, seed, learned=None):
    """Every version, and what the workers and the server remember in the end, as the slow reference has them."""
    player, versions = played(tape, method, seed, 1, learned)
    slow = play_slowly(tape, learned or problem(), method, seed)
    assert len(slow.versions) == tape.updates + 1
    for found, expected in zip(versions, slow.versions[1:], strict=True):
        assert_close(found, flat(expected))
    for found, expected in zip(worker_states(player), slow.worker_states, strict=True):
        if not method.is_plain:
            assert_close(found, flat(expected))
    assert_close(flat(player._carry.states.messages), flat(slow.message_state) if method.on_message else np.zeros(0))
    return player


@pytest.mark.parametrize(("place", "name"), ALONE)
def test_every_part_alone_agrees_with_the_reference(place, name):
    """With a protocol whose steps have several messages of several versions, and throw some away: Rennala's, on a crashing cluster."""
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
    tape = recorded(method, cluster, updates, seed).check()
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
    phases=[
        Phase.explicit,
        Phase.reuse,
        Phase.generate,
    ],  # each composition compiles: making a failure simpler would take minutes
)


@settings(SUITE, max_examples=5, derandomize=True)
@GIVEN
def test_compositions(names, where, seed, updates, chunk, every):
    check_composition(names, where, seed, updates, chunk, every)


@pytest.mark.slow
@settings(SUITE, max_examples=250)
@GIVEN
def test_many_compositions(names, where, seed, updates, chunk, every):
    check_composition(names, where, seed, updates, chunk, every)


# --- two lanes ----------------------------------------------------------------------------------------------------------


class Lanes:
    """The compiled loop under `jax.vmap`, two wide: one tape, the optimizer's step sizes as the lanes' numbers."""

    def __init__(self, method, tape, seed, monkeypatch):
        self.calls = []

        def noted(carry, *arrays, **settings):
            self.calls.append((arrays, settings))
            return playing(carry, *arrays, **settings)

        playing = loop.play
        with monkeypatch.context() as patch:
            patch.setattr(loop, "play", noted)
            self.alone, _ = played(tape, method, seed, tape.updates)
        self.slots = loop.capacity(self.alone._carry)
        self.start = problem().start(seed, "float64")
        self.numbers, self.recipe = self.alone._numbers, self.alone._recipe
        (self.settings,) = {tuple(settings.items()) for _, settings in self.calls}
        self.advance = jax.jit(jax.vmap(self._advance, in_axes=(0, 0, *[None] * 5)))

    def _advance(self, carry, numbers, table, start, stop, data, key):
        return loop.play.__wrapped__(carry, table, start, stop, data, key, numbers, **dict(self.settings))[0]

    def final(self, step_sizes):
        """Return the parameters of each lane after the tape, shape (2, parameters)."""
        with self.alone._precision():
            learning_rates = jnp.asarray(step_sizes, "float64")
            numbers = self.numbers | {"optimizer": {"learning_rate": learning_rates}}
            carry = jax.vmap(self._begin, in_axes=(self._axes(),))(numbers)
            for (*piece, _), _ in self.calls:
                carry = self.advance(carry, self._spread(numbers), *piece)
            leaves = [np.asarray(leaf).reshape(len(step_sizes), -1) for leaf in jax.tree.leaves(carry.parameters)]
        return np.concatenate(leaves, axis=1)

    def _axes(self):
        return jax.tree.map(lambda _: None, self.numbers) | {"optimizer": {"learning_rate": 0}}

    def _spread(self, numbers):
        """Every number once for each lane."""
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (2,)), numbers)

    def _begin(self, numbers):
        return loop.with_slots(loop.begin(self.start, self.recipe, numbers), self.slots)


LANES = {
    "work with state": {"work": "svrg", "at_worker": "top-k"},
    "server with a worker axis": {"on_message": "table", "hand_out": "ahead"},
    "everything": {"work": "local", "at_worker": "clipped momentum", "on_message": "momentum of each", "hand_out": "ahead"},
}


@pytest.mark.parametrize("parts", LANES)
@pytest.mark.parametrize("protocol", ["Ringmaster", pytest.param("Rennala", marks=pytest.mark.slow)])
def test_a_lane_does_not_depend_on_its_neighbour_or_its_place(parts, protocol, monkeypatch):
    """And it is, to rounding, the run of its own."""
    method = method_of(METHODS[protocol], **LANES[parts], after_crash="reset")
    tape = recorded(method, CLUSTERS["crashing"], 12, seed=2)
    assert (tape.discarded.reason == 0).any()
    lanes = Lanes(method, tape, 2, monkeypatch)
    one, other, third = 0.05, 0.11, 0.013
    first = lanes.final([one, one])
    assert first[0].tobytes() == first[1].tobytes()
    for beside in (other, third):
        assert lanes.final([one, beside])[0].tobytes() == first[0].tobytes()
        assert lanes.final([beside, one])[1].tobytes() == first[0].tobytes()
    assert_close(first[0], lanes.alone.flat_parameters)
    assert np.abs(lanes.final([one, other])[1] - first[0]).max() > 1e-3


# --- lost work ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Every(sg.Protocol):
    """Step with each gradient of the workers named; the others' arrive and are not used."""

    used: tuple[int, ...]

    def on_gradient(self, server, gradient):
        if gradient.worker in self.used:
            server.apply(gradient)
        server.assign(gradient.worker)


@dataclasses.dataclass(frozen=True)
class Cancelling(sg.Protocol):
    """Step with worker 0's gradients, and cancel worker 1's second job each time."""

    def on_gradient(self, server, gradient):
        if gradient.worker == 0:
            server.apply(gradient)
            if gradient.job == 1:
                server.cancel(1)
                server.assign(1)
        server.assign(gradient.worker)


def counting():
    """At the worker: how many messages it has sent, and the message multiplied by that."""
    import optax

    def update(updates, count, params=None, **others):
        return jax.tree.map(lambda u: u * (count + 1), updates), count + 1

    return optax.GradientTransformationExtraArgs(lambda params: jnp.zeros(()), update)


def counts(protocol, cluster, updates, after_crash="keep"):
    """Return how many messages each worker remembers having sent, by the compiled player and by the reference."""
    method = sg.Method(protocol, sg.optimizers.sgd(0.01), at_worker=counting(), after_crash=after_crash)
    tape = recorded(method, cluster, updates, seed=0)
    player = assert_agrees(tape, method, seed=0)
    return [int(state[0]) for state in worker_states(player)], tape


def constant(*seconds, faults=()):
    return sg.Cluster(len(seconds), times.PerWorker([times.Constant(s) for s in seconds]), faults=faults)


def test_a_job_that_arrived_and_was_not_used_moves_its_worker():
    """Worker 0 delivers at 1, 2, …, 6 s and makes the steps; worker 1 at 2.5 and 5 s, for nothing: two messages sent."""
    found, tape = counts(Every(used=(0,)), constant(1.0, 2.5), updates=6)
    assert found == [6, 2]
    assert tape.discarded.reason.tolist() == [0, 0]


def test_a_cancelled_job_leaves_no_trace():
    """Worker 1 would deliver at 1.5, 3 and 4.5 s, unused; at 2 s its second job is cancelled, and it begins anew: 3.5, 5 s."""
    found, tape = counts(Cancelling(), constant(1.0, 1.5), updates=6)
    assert found == [6, 3]
    assert tape.discarded.reason.tolist() == [0, 1, 0, 0]


CRASH = faults.Crash(worker=1, at=4.0, back=5.0)


@pytest.mark.parametrize(("after_crash", "sent"), [("keep", 4), ("reset", 2)])
def test_a_crash_leaves_no_trace_and_keeps_or_resets_what_the_worker_knew(after_crash, sent):
    """Worker 1 delivers at 1.5 and 3 s, loses its third job at 4 s, is back at 5 s and delivers at 6.5 and 8 s.

    So it has sent four messages, or two since it is back.
    """
    found, tape = counts(Every(used=(0, 1)), constant(1.0, 1.5, faults=[CRASH]), 8 + 4, after_crash)
    assert tape.discarded.reason.tolist() == [2]
    assert found == [8, sent]


@pytest.mark.parametrize(("after_crash", "sent"), [("keep", 4), ("reset", 2)])
def test_a_crash_between_unused_jobs(after_crash, sent):
    found, _ = counts(Every(used=(0,)), constant(1.0, 1.5, faults=[CRASH]), 9, after_crash)
    assert found == [9, sent]


def test_the_model_moves_with_what_the_worker_remembers():
    """By hand: f(w) = ½(w − 1)², w₀ = 0, step 0.01, the k-th message of a worker counts k times.

    Worker 1's first message (at 1.5 s, unused) makes its second, at 3 s, count twice.
    """

    @dataclasses.dataclass(frozen=True)
    class SecondOfWorkerOne(sg.Protocol):
        def on_gradient(self, server, gradient):
            if gradient.worker == 1 and gradient.job == 1:
                server.apply(gradient)
            server.assign(gradient.worker)

    method = sg.Method(SecondOfWorkerOne(), sg.optimizers.sgd(0.01), at_worker=counting())
    run = sg.simulate(method, sg.problems.quadratic((1.0,)), constant(1.0, 1.5), until=sg.Updates(1), dtype="float64")
    assert run.parameters[0] == pytest.approx(0.02, rel=1e-14)  # 0 − 0.01 · 2 · (0 − 1)


# --- what the clock charges ---------------------------------------------------------------------------------------------


def test_local_steps_take_the_time_of_so_many_draws_and_compute_so_many_gradients():
    """Three local steps by hand, w ← w − 0.05·∇f with f(w) = ½(w − 1)²: the message is w₀ − w₃, and the server's step size 1."""
    work = dataclasses.replace(WORKS["local"], momentum=0.0)
    method = sg.Method(sg.AsyncSGD(), sg.optimizers.sgd(1.0), work=work)
    run = sg.simulate(method, sg.problems.quadratic((1.0,)), constant(2.0), until=sg.Updates(2), dtype="float64")
    assert run.tape.steps.tolist() == [3, 3]
    assert run.tape.time.tolist() == [6.0, 12.0]
    assert run.parameters[0] == pytest.approx(1 - 0.95**6, rel=1e-14)


def test_local_steps_are_those_that_single_jobs_take():
    """Common random numbers: a job of three local steps takes what three jobs of one take."""
    cluster = sg.Cluster(1, times.Exponential(1.0))
    one, three = (
        recorded(method_of(METHODS["async"], work=work), cluster, n, seed=4) for work, n in (("gradient", 30), ("local", 10))
    )
    np.testing.assert_allclose(three.time, one.time[2::3], rtol=1e-12)


def test_a_full_gradient_is_what_the_loss_of_all_samples_has():
    method = method_of(METHODS["async"], work="full")
    run = sg.simulate(method, problem(), constant(1.0), until=sg.Updates(1), seed=7, dtype="float64")
    with jax.enable_x64(True):
        begins = problem().start(7, "float64")
        gradient = jax.grad(squared_error)(begins, problem().data)
    assert run.tape.time.tolist() == [4.0]
    assert_close(run.parameters, flat(begins) - 0.05 * flat(gradient))


def test_variance_reduction_reduces_variance():
    """At the anchor itself SVRG's message is the full gradient, whatever the batch: the first step of all seeds is the same."""
    firsts = {}
    for work in ("gradient", "svrg"):
        method = method_of(METHODS["async"], work=work)
        where = {"cluster": constant(1.0), "until": sg.Updates(1), "dtype": "float64"}
        flat_start = sg.problems.quadratic(noise=0.5, samples=32)
        firsts[work] = np.array([sg.simulate(method, flat_start, seed=s, **where).parameters for s in range(5)])
    assert np.ptp(firsts["gradient"], axis=0).min() > 1e-3
    assert np.ptp(firsts["svrg"], axis=0).max() < 1e-15


def test_sparse_messages_take_their_own_time():
    """80 bytes down at 10 bytes a second, half of that up: 8 s, 1 s of computing, 4 s; then again."""
    method = method_of(METHODS["async"], work="sparse", at_worker="top-k")
    cluster = sg.Cluster(1, times.Constant(1.0), networks.Link(bandwidth=10.0))
    tape = sg.record(method, cluster, sg.Updates(2), message_bytes=80.0)
    assert (tape.bytes_down.tolist(), tape.bytes_up.tolist()) == ([80.0, 80.0], [40.0, 40.0])
    assert tape.time.tolist() == [13.0, 26.0]


def test_top_k_sends_the_largest_and_remembers_the_rest():
    """By hand: gradient (−3, −1, −2) each time (no curvature to speak of), k = 1 of 3: sends −3; then −3−3…; see below."""
    from parts import top_k

    transformation = top_k(0.4)
    gradient, state, sent = jnp.array([-3.0, -1.0, -2.0]), jnp.zeros(3), []
    for _ in range(4):
        message, state = transformation.update(gradient, state)
        sent.append(message.tolist())
    # what is kept: (0, −1, −2), then of (−3, −2, −4): (−3, −2, 0), then of (−6, −3, −2): (0, −3, −2), then of (−3, −4, −4)
    assert sent[:3] == [[-3, 0, 0], [0, 0, -4], [-6, 0, 0]]
    assert state.tolist() == [-3.0, 0.0, 0.0]  # the last two are equal: both are sent


# --- data, and the protocol's choices -------------------------------------------------------------------------------------


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize("work", ["local", "full", "svrg"])
def test_shares_of_the_data_agree_with_the_reference(work, replacement):
    learned = problem().partitioned(WORKERS, replacement=replacement)
    method = method_of(METHODS["K-batch-async"], work=work, at_worker="momentum")
    assert_agrees(recorded(method, CLUSTERS["quiet"], 8, seed=6), method, 6, learned)


def noisy_loss(parameters, batch, key):
    noise = 0.0 if key is None else jax.random.normal(key, (3,)) @ parameters["slopes"] ** 2
    return squared_error(parameters, batch) + noise


@pytest.mark.parametrize("work", ["gradient", "local", "svrg"])
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


@pytest.mark.parametrize("protocol", [Choosing(), Waking()])
def test_what_a_protocol_chooses_agrees_with_the_reference(protocol):
    method = method_of(protocol, work="local", at_worker="top-k", on_message="all arguments")
    tape = recorded(method, CLUSTERS["quiet"], 10, seed=8)
    assert protocol != Choosing() or set(tape.steps.tolist()) == {1, 2, 3}
    assert_agrees(tape, method, seed=8)
