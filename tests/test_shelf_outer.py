"""Local steps with an optimizer at the server: models step by step, as computed by hand, through the simulator.

w begins at 16, a worker's gradient is w − x, x its optimum, 0 where nothing else is said. Two local steps with η = ½ go from w
to w/4, so the message is ¾·w_read. With steps of 1 and 3.5 s messages arrive

    at second   2   4   6   7    8
    of worker   0   0   0   1    0
    read        w₀  w₁  w₂  w₀   w₃
"""

import dataclasses
import math

import numpy as np
import pytest
from by_hand import cluster, models

import simsgd as sg
from simsgd import methods, optimizers, protocols, works

SECONDS = (1.0, 3.5)


def close(got, expected, relative=1e-13):
    np.testing.assert_allclose(got, expected, rtol=relative)


def test_async_local_sgd():
    """Each step goes back by ¾·w_read: 16 → 4 → 1 → ¼, then ¼ − 12, then −47/4 − ¾·¼."""
    assert models(methods.async_local_sgd(0.5, steps=2), SECONDS, 5) == [4, 1, 0.25, -11.75, -11.9375]


def test_async_local_sgd_nesterov():
    """With g = ¾·w_read, m ← m/2 + g, w ← w − (g + m/2): (g, m) = (12, 12), (−3/2, 9/2), (−33/16, 3/16), (12, 12 + 3/32)."""
    method = methods.async_local_sgd_nesterov(0.5, steps=2, outer_step_size=1.0, momentum=0.5)
    assert models(method, SECONDS, 5) == [-2, -2.75, -0.78125, -18.828125, -20.97265625]


def test_async_local_sgd_delayed_nesterov():
    """N = 2, c = ¼, β = ½: w ← w − g/2 − m/8 with odd messages, w ← w − g/2 − 3m/8 with even ones, before which m ← m/2 + Δ/2.

    g = 12: 16 − 6. g = 7½: m = 19½/2, 10 − 3¾ − 3·9¾/8. g = ¾·w₂: w₂ − g/2 − 9¾/8. g = 12: m = 9¾/2 + (g₃ + 12)/2, and so on.
    """
    method = methods.async_local_sgd_delayed_nesterov(
        0.5, steps=2, messages=2, outer_step_size=1.0, momentum=0.5, activation=0.25
    )
    assert models(method, SECONDS, 5) == [10, 2.59375, 0.40234375, -10.04052734375, -11.67236328125]


def test_async_local_sgd_dynamic():
    """Four steps go from w to w/16. Worker 1 needs 14 s for its first job, then has ⌊4/3.5⌋ = 1 step, from w to w/2.

    With β = 0 and ε = N messages count fully: 16 → 1 → 1/16 → 1/256, − 15, − 15/16·w₃, − w₄/2.
    """
    method = methods.async_local_sgd_dynamic(0.5, steps=4, messages=2, outer_step_size=2.0, momentum=0.0)
    tape = sg.record(method, cluster(*SECONDS), until=sg.Updates(6))
    assert tape.time.tolist() == [4, 8, 12, 14, 16, 17.5]
    assert tape.steps.tolist() == [4, 4, 4, 4, 4, 1]
    fourth = 1 / 256 - 15
    fifth = fourth - 15 / 4096
    assert models(method, SECONDS, 6) == [1, 1 / 16, 1 / 256, fourth, fifth, fifth - fourth / 2]


class Adam:
    """AdamW on one number, as its paper writes it."""

    def __init__(self, step_size, decay):
        self.step_size, self.decay, self.m, self.v, self.t = step_size, decay, 0.0, 0.0, 0

    def step(self, w, g):
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * g
        self.v = 0.999 * self.v + 0.001 * g * g
        m, v = self.m / (1 - 0.9**self.t), self.v / (1 - 0.999**self.t)
        return w - self.step_size * (m / (math.sqrt(v) + 1e-8) + self.decay * w)


def test_diloco():
    """Three rounds of two steps with optima 0 and 20, the workers' Adam carried from round to round."""
    adams, optima, w, m, expected = [Adam(0.25, 0.01), Adam(0.25, 0.01)], (0.0, 20.0), 16.0, 0.0, []
    for _ in range(3):
        ends = []
        for adam, optimum in zip(adams, optima, strict=True):
            own = w
            for _ in range(2):
                own = adam.step(own, own - optimum)
            ends.append(own)
        g = sum(w - end for end in ends) / 2
        m = 0.5 * m + g
        w -= 0.7 * (g + 0.5 * m)
        expected.append(w)
    close(models(methods.diloco(0.25, steps=2, momentum=0.5, weight_decay=0.01), (1.0, 2.0), 3, optima), expected, 1e-11)


def test_delayed_nesterov_over_n_messages_is_one_step_of_nesterov_with_their_mean():
    """So with N = 1 it is Nesterov momentum. By how much each message uses the momentum, the next N-th has used it once."""
    messages = np.random.default_rng(0).normal(size=15).tolist()
    close(end(optimizers.delayed_nesterov(0.3, messages=1), messages), end(optimizers.nesterov(0.3), messages), 1e-5)
    means = [np.mean(messages[begin : begin + 4]) for begin in (0, 4, 8)]
    close(end(optimizers.delayed_nesterov(0.3, messages=4), messages[:12]), end(optimizers.nesterov(0.3), means), 1e-5)
    rules = [optimizers.delayed_nesterov(0.3, messages=4, activation=activation) for activation in (0.0, 0.1, 0.25)]
    close([end(rule, messages) for rule in rules], end(rules[0], messages), 1e-5)
    assert end(rules[0], messages[:14]) != pytest.approx(end(rules[2], messages[:14]), rel=0.01)


def end(optimizer, messages):
    """Where an optimizer goes from 0 with messages."""
    import jax.numpy as jnp
    import optax

    rule, w = optimizer.factory(**dict(optimizer.numbers), **dict(optimizer.settings)), jnp.zeros(())
    state = rule.init(w)
    for message in messages:
        updates, state = rule.update(jnp.asarray(message), state, w)
        w = optax.apply_updates(w, updates)
    return float(w)


def test_dynamic_steps_make_jobs_of_equal_time():
    """Of the toy's four workers: 20, ⌊20·0.58/0.75⌋, ⌊20·0.58/1.51⌋ and ⌊20·0.58/3.33⌋ steps, once all are measured."""
    method = methods.async_local_sgd_dynamic(steps=20, messages=4)
    tape = sg.record(method, cluster(0.58, 0.75, 1.51, 3.33), until=sg.Updates(100))
    later = tape.time > 70
    assert {worker: set(tape.steps[later & (tape.worker == worker)]) for worker in range(4)} == {
        0: {20},
        1: {15},
        2: {7},
        3: {3},
    }


def test_a_worker_that_leaves_is_no_longer_the_fastest():
    """Worker 0 leaves at 6 s; worker 1, which had ⌊4/2⌋ steps, has 4 again."""
    leaving = sg.faults.Leave(worker=0, at=6.0)
    method = methods.async_local_sgd_dynamic(steps=4, messages=2)
    tape = sg.record(method, cluster(0.5, 1.0, faults=[leaving]), until=sg.Seconds(16.0))
    mine = tape.worker == 1
    assert list(zip(tape.time[mine].tolist(), tape.steps[mine].tolist(), strict=True)) == [(4, 4), (6, 2), (10, 4), (14, 4)]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: methods.diloco(steps=0), "LocalSteps.steps must be at least 1, got 0"),
        (lambda: methods.async_local_sgd(steps=0), "LocalSteps.steps must be at least 1, got 0"),
        (lambda: methods.async_local_sgd_dynamic(steps=0, messages=4), "steps must be"),
        (lambda: protocols.DynamicLocalSGD(0), "DynamicLocalSGD.steps must be"),
        (lambda: optimizers.delayed_nesterov(0.1, messages=0), "messages must be"),
        (lambda: optimizers.delayed_nesterov(0.1, messages=4, activation=0.3), r"activation must be at most .*0\.25, got 0\.3"),
        (lambda: optimizers.delayed_nesterov(0.1, messages=4, activation=-0.1), "activation must be"),
        (lambda: optimizers.nesterov(0.1, 1.0), "momentum must be"),
        (lambda: methods.diloco(steps=2, outer_step_size=0.0), "step_size must be a finite number above 0"),
        (lambda: optimizers.adamw(0.1, weight_decay=-1.0), "weight_decay must be"),
    ],
)
def test_what_makes_no_sense_is_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_outer_numbers_share_one_compiled_player():
    """So that a map of step size and momentum is lanes of one executable."""
    from simsgd.replaying import parts

    parameters = sg.problems.quadratic().start(0, "float32")
    settings = ({"outer_step_size": 0.7, "momentum": 0.9}, {"outer_step_size": 0.3, "momentum": 0.0})
    for make in (methods.diloco, methods.async_local_sgd_nesterov):
        one, other = (parts.split(make(0.1, steps=2, **more), parameters, 4) for more in settings)
        assert one[0] == other[0]
        assert one[1] != other[1]


@pytest.mark.slow
def test_the_inner_optimizer_may_be_adamw():
    """What the paper's workers have."""
    plain = methods.async_local_sgd(steps=2)
    made = dataclasses.replace(plain, inner=optimizers.adamw(0.25), work=works.LocalSteps(2, keeps_inner=True))
    adam, w = Adam(0.25, 0.0), 16.0
    w = adam.step(w, w)
    w = adam.step(w, w)
    close(models(made, (1.0,), 1), [w], 1e-11)


def streamed(rounds, *, steps, fragments, overlap, mixing, momentum, optima, numbers=5):
    """Streaming DiLoCo in the paper's words: every worker has its model x, all share r, what the server last sent."""
    fragment = np.arange(numbers) * fragments // numbers
    w, velocity = np.full(numbers, 16.0), np.zeros(numbers)
    workers = [[Adam(0.25, 0.01) for _ in range(numbers)] for _ in optima]
    x = [w.copy() for _ in optima]
    sent = None
    for round_ in range(rounds):
        turn = fragment == round_ % fragments
        for worker, optimum in enumerate(optima):
            for step in range(steps):
                if step == overlap and sent is not None:
                    x[worker][sent] = (1 - mixing) * x[worker][sent] + mixing * w[sent]
                x[worker] = np.array([a.step(v, v - optimum) for a, v in zip(workers[worker], x[worker], strict=True)])
        change = np.mean([w - each for each in x], axis=0)
        velocity = np.where(turn, momentum * velocity + change, velocity)
        w = np.where(turn, w - 0.7 * (change + momentum * velocity), w)
        sent = turn
    return w


def five(optima):
    """Five numbers that begin at 16, the gradient of each w − x, with an optimum x for each worker."""
    made = sg.Problem("five numbers", five_begin, five_squares, np.asarray(optima), batch_size=1)
    return made.partitioned(len(optima), by=sg.problems.GivenShares([[worker] for worker in range(len(optima))]))


def five_begin(key):
    return np.full(5, 16.0)


def five_squares(parameters, batch):
    return ((parameters[None] - batch[:, None]) ** 2).sum(1).mean() / 2


def test_streaming_diloco():
    """Seven rounds of three fragments of five numbers, with an overlap and a mixing, against the paper's words."""
    given = {"steps": 3, "fragments": 3, "overlap": 1, "mixing": 0.4, "momentum": 0.5}
    method = methods.streaming_diloco(0.25, weight_decay=0.01, **given)
    run = sg.simulate(method, five((0.0, 20.0)), cluster(1.0, 2.0), until=sg.Updates(7), dtype="float64")
    close(run.parameters, streamed(7, optima=(0.0, 20.0), **given), 1e-11)


QUORUM = {"steps": 3, "fragments": 3, "overlap": 1, "mixing": 0.4, "momentum": 0.5}


def test_decoupled_diloco():
    """With a quorum of one, and what is late thrown away, the fast worker streams alone."""
    method = methods.decoupled_diloco(0.25, quorum=1, late=False, weight_decay=0.01, **QUORUM)
    run = sg.simulate(method, five((0.0, 20.0)), cluster(1.0, 2.5), until=sg.Updates(7), dtype="float64")
    assert set(run.tape.worker.tolist()) == {0}
    close(run.parameters, streamed(7, optima=(0.0,), **QUORUM), 1e-11)


@pytest.mark.slow
def test_a_quorum_of_all_streams():
    method = methods.decoupled_diloco(0.25, quorum=2, weight_decay=0.01, **QUORUM)
    run = sg.simulate(method, five((0.0, 20.0)), cluster(1.0, 2.0), until=sg.Updates(7), dtype="float64")
    close(run.parameters, streamed(7, optima=(0.0, 20.0), **QUORUM), 1e-11)


ASYNCHRONOUS = [
    (methods.async_local_sgd, {}),
    (methods.async_local_sgd_nesterov, {}),
    (methods.async_local_sgd_delayed_nesterov, {"messages": 2}),
    (methods.async_local_sgd_dynamic, {"messages": 2}),
]


@pytest.mark.parametrize(("preset", "others"), ASYNCHRONOUS)
def test_local_steps_of_another_optimizer(preset, others):
    """With that of DiLoCo, AdamW whose state workers keep, work and inner optimizer are DiLoCo's; η is the local steps'."""
    like = methods.diloco(0.25, steps=3)
    method = preset(0.25, steps=3, **others, inner=optimizers.adamw)
    assert (method.work, method.inner, method.step_size) == (like.work, like.inner, 0.25)
    assert method.optimizer == preset(0.5, steps=3, **others).optimizer
    assert preset(0.25, steps=3, **others).work == works.LocalSteps(3)
    with pytest.raises(
        TypeError, match="inner must be a function that makes an optimizer of a step size, such as optimizers.adamw"
    ):
        preset(0.25, steps=3, **others, inner=optimizers.adamw(0.1))


def test_one_worker_steps_as_diloco_does():
    """Alone nobody is stale, and with no momentum and ε = 1 the model becomes the worker's, in both."""
    alike = {"steps": 3, "outer_step_size": 1.0}
    diloco = methods.diloco(0.25, **alike, momentum=0.0)
    free = methods.async_local_sgd(0.25, **alike, inner=optimizers.adamw)
    close(models(free, (1.0,), 4), models(diloco, (1.0,), 4))
