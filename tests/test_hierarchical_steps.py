"""Blocks of steps of a node's devices: against the algorithm written out in NumPy, against local steps, and what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import simsgd as sg
from simsgd import methods, works
from simsgd.problems import draw, loss_key
from simsgd.support import rng
from simsgd.testing.conformance import line

NODES, ROUNDS, ROUNDING = 3, 4, 1e-12
CLUSTER = sg.Cluster(NODES, sg.times.Speeds(sg.times.Exponential(1.0), speeds=(1.0, 2.0, 0.5)))


def line_of(batch_size):
    return dataclasses.replace(line(), batch_size=batch_size)


def final(method, problem):
    return sg.simulate(method, problem, CLUSTER, until=sg.Updates(ROUNDS), dtype="float64").parameters


def method_of(work, inner=None):
    return dataclasses.replace(methods.local_sgd(0.05, steps=1), work=work, **({} if inner is None else {"inner": inner}))


def key_of_batches():
    return jax.random.wrap_key_data(jnp.asarray(rng.key_words(0, "batches")), impl="threefry2x32")


@dataclasses.dataclass
class WrittenOut:
    """Hierarchical local SGD of least squares in NumPy: each node, each block, each device, each step."""

    blocks: int
    devices: int
    inside: int
    size: int
    momentum: float
    keeps: bool

    def __post_init__(self):
        data = line()
        self.inputs = np.column_stack([np.ones(data.samples), data.data["x"]])  # the offset first, as in the flat parameters
        self.outputs = data.data["y"]
        self.velocities = np.zeros((NODES, self.devices, 4))

    def gradient(self, w, samples):
        inputs = self.inputs[samples]
        return 2 * inputs.T @ (inputs @ w - self.outputs[samples]) / self.size

    def node(self, w, node, job):
        velocities = self.velocities[node] if self.keeps else np.zeros((self.devices, 4))
        for block in range(self.blocks):
            picked = draw(key_of_batches(), node, job, self.devices * self.inside * self.size, len(self.outputs), step=block)
            parts = np.asarray(picked).reshape(self.devices, self.inside, self.size)
            ends = []
            for device in range(self.devices):
                own = w.copy()
                for step in range(self.inside):
                    velocities[device] = self.momentum * velocities[device] + self.gradient(own, parts[device, step])
                    own = own - 0.05 * velocities[device]
                ends.append(own)
            w = np.mean(ends, axis=0)
        return w

    def final(self, w):
        for job in range(ROUNDS):
            w = np.mean([self.node(w, node, job) for node in range(NODES)], axis=0)
        return w


SIZES = [(2, 1, 3, 4), (2, 2, 2, 3), (1, 4, 3, 1), (3, 2, 1, 2)]  # blocks, devices, steps inside, samples of a step
QUICK = [(SIZES[0], 0.9, False), (SIZES[1], 0.9, True)]
CASES = [(size, momentum, keeps) for size in SIZES for momentum in (0.0, 0.9) for keeps in (False, True)]


@pytest.mark.parametrize(
    ("sizes", "momentum", "keeps"), [pytest.param(*case, marks=[] if case in QUICK else pytest.mark.slow) for case in CASES]
)
def test_it_is_the_algorithm_written_out(sizes, momentum, keeps):
    """With one device it is local SGD of H·h steps on smaller batches; each device's own momentum goes on across blocks."""
    blocks, devices, inside, size = sizes
    problem = line_of(devices * inside * size)
    work = works.HierarchicalSteps(blocks, keeps_inner=keeps, devices=devices, steps_inside=inside)
    found = final(method_of(work, sg.optimizers.sgd(0.05, momentum=momentum)), problem)
    expected = WrittenOut(*sizes, momentum, keeps).final(flat(problem.start(0, "float64")))
    assert np.abs(expected).max() > 0.1
    assert np.abs(found - expected).max() <= ROUNDING * np.abs(expected).max()


def flat(parameters):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(parameters)])


@pytest.mark.parametrize("devices", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(6, marks=pytest.mark.slow)])
def test_one_step_inside_is_a_local_step_on_the_whole_batch(devices):
    """Averaging models after one plain step is averaging gradients."""
    inside = final(method_of(works.HierarchicalSteps(steps=3, devices=devices)), line_of(6))
    whole = final(method_of(works.LocalSteps(steps=3)), line_of(6))
    assert np.abs(inside - whole).max() <= ROUNDING * np.abs(whole).max()


def test_the_preset_of_one_step_inside_computes_whole_batches():
    assert methods.hierarchical(steps=3, devices=8).work == works.LocalSteps(3)
    made = methods.hierarchical(steps=3, devices=8, steps_inside=2).work
    assert made == works.HierarchicalSteps(3, devices=8, steps_inside=2)


def test_steps_of_each_node_and_within_a_time():
    """What `LocalSteps` offers for steps is offered for blocks."""
    cluster, given = sg.Cluster(2, sg.times.Constant(1.0)), {"devices": 2, "steps_inside": 2}
    for work, steps in (
        (works.HierarchicalSteps(of_workers=(3, 1), **given), [1, 3, 1, 3]),
        (works.HierarchicalSteps(seconds=2.5, **given), [2, 2, 2, 2]),
    ):
        assert sg.record(method_of(work), cluster, until=sg.Updates(2)).steps.tolist() == steps


@pytest.mark.parametrize("devices", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_it_conforms(devices):
    """Also where workers crash, and against slow replay."""
    method = methods.hierarchical(0.02, steps=2, devices=devices, steps_inside=3)
    sg.testing.check_method(method, line_of(12), updates=6)


# --- losses that draw ----------------------------------------------------------------------------------------------------


def noise(parameters, batch, key):
    """A gradient that is one random number, whatever the batch; nothing where it is evaluated."""
    drawn = 0.0 if key is None else jax.random.normal(key, dtype=parameters.dtype)
    return parameters * drawn + 0 * jnp.sum(batch)


NOISE = sg.Problem("noise", lambda key: jnp.asarray(1.0), noise, np.zeros(3), batch_size=2)


def test_a_loss_that_draws_draws_for_each_part():
    found = final(method_of(works.HierarchicalSteps(steps=1, devices=1, steps_inside=2)), NOISE)
    with jax.enable_x64(True):
        keys = [
            jax.random.fold_in(loss_key(key_of_batches(), node, job), part)
            for node in range(NODES)
            for job in range(ROUNDS)
            for part in range(2)
        ]
        drawn = [float(jax.random.normal(key, dtype="float64")) for key in keys]
    assert found[0] == pytest.approx(1.0 - 0.05 * sum(drawn) / NODES, rel=1e-12)


def test_it_agrees_with_slow_replay_where_the_loss_draws():
    method = method_of(works.HierarchicalSteps(steps=2, devices=2))
    sg.testing.check_method(method, NOISE, updates=6, only="reference")


# --- what is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"steps": 0}, ValueError, r"HierarchicalSteps\.steps must be at least 1, got 0"),
        ({"devices": 0}, ValueError, r"HierarchicalSteps\.devices must be a whole number of at least 1, got 0"),
        ({"steps_inside": 1.5}, ValueError, r"HierarchicalSteps\.steps_inside must be a whole number .*got 1\.5"),
        ({"devices": 1000, "steps_inside": 1000}, sg.BoundError, r"devices·steps_inside=1000·1000 would take"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        methods.hierarchical(**{"steps": 2} | arguments)


def test_a_batch_that_cannot_be_cut_is_refused():
    method = methods.hierarchical(steps=2, devices=2, steps_inside=2)
    with pytest.raises(ValueError, match=r"Problem\.batch_size must be a multiple of 4, .* got 6: .* batch_size=8"):
        final(method, line_of(6))
    with pytest.raises(ValueError, match=r"HierarchicalSteps\.of_workers has the steps of 4 workers, but there are 3"):
        final(method_of(works.HierarchicalSteps(of_workers=(1, 2, 3, 4), devices=2)), line_of(6))


@dataclasses.dataclass(frozen=True, repr=False)
class Beyond(works.LocalSteps):
    """Asks for a part that there is not."""

    def run(self, parameters, state, job):
        return job.through(lambda number, gradient, at: gradient(at, part=(2, 2)), parameters), ()


def test_a_part_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match=r"part must be \(k, parts\) .* got \(2, 2\)"):
        final(method_of(Beyond()), line_of(4))


def test_it_prints_as_code():
    made = works.HierarchicalSteps(steps=2, keeps_inner=True, devices=4)
    assert repr(made) == "HierarchicalSteps(steps=2, keeps_inner=True, devices=4)"
