"""The one line that makes a run again: tried before it is called that, and honest where it is not."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import simsgd as sg
from simsgd.studies.reproducing import line

CLUSTER = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=0.1))
GIVEN = {
    "protocol": sg.AsyncSGD(),
    "problem": sg.problems.quadratic(),
    "cluster": CLUSTER,
    "optimizer": sg.optimizers.sgd(0.1),
    "until": sg.Updates(20),
}
times, networks, faults = sg.times, sg.networks, sg.faults
REAL = sg.Cluster(
    workers=4,
    compute=times.DrawnSlowness(
        times.AutocorrelatedLognormal(mean=0.1, coefficient_of_variation=0.3, autocorrelation=0.6),
        slowness=times.Lognormal(mean=1.0, coefficient_of_variation=0.4),
    ),
    network=networks.ParameterServer(networks.preset("ethernet 10g"), sharing="fair", shards=2),
    faults=[faults.Crashes(between=times.Exponential(mean=600.0), lasting=times.Constant(30.0))],
)


@dataclasses.dataclass(frozen=True)
class Mine(sg.Protocol):
    """A protocol of the user's, at the top of a module."""

    weight: float
    note: str = "usual"

    def on_gradient(self, server, gradient):
        server.apply(gradient, weight=self.weight)
        server.assign(gradient.worker)


def evaluated(text):
    """Return the run that the code of a line makes, whose comments say only what must be imported."""
    code, *notes = text.splitlines()
    assert all(note.startswith("# from ") for note in notes), text
    return eval(code, {"sg": sg, "optax": optax, "Mine": Mine})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"seed": 3, "evaluate_every": sg.Updates(5), "dtype": "float64", "message_bytes": 100.0, "width": 2},
        {"until": sg.Target("loss", at_most=0.01, within=sg.Seconds(3), kept=sg.Updates(2))},
        {"cluster": REAL},
        {"protocol": sg.protocols.KSyncSGD(2), "optimizer": optax.adam(1e-3)},
        {"optimizer": optax.chain(optax.clip(1.0), optax.sgd(0.1, momentum=0.9))},
        {"optimizer": sg.optimizers.tunable(optax.adam, learning_rate=0.1, eps_root=0.0)},
        {"optimizer": sg.optimizers.sgd(0.1, momentum=0.5)},
        {"protocol": Mine(0.5)},
        {"protocol": Mine(weight=0.5, note="“odd” \\ text\n")},
        {"problem": sg.problems.quadratic((1.0, 0.5), noise=0.1, samples=64)},
        {"problem": sg.problems.least_squares(5, samples=40).partitioned(4, by=sg.problems.QuantitySkew(alpha=1.0))},
    ],
)
def test_a_line_makes_the_run_again(changes):
    given = {**GIVEN, **changes}
    assert evaluated(line(given)) == sg.simulate(**given)


@pytest.mark.parametrize("preset", ["delay_compensated", "gap_aware", "worker_momentum", "dana_zero", "impatient_averaging"])
def test_methods_of_the_shelf_are_code(preset):
    method = getattr(sg.methods, preset)(0.05)
    given = {"protocol": method, "problem": sg.problems.quadratic(), "cluster": CLUSTER, "until": sg.Updates(8), "seed": 1}
    assert evaluated(line(given)) == sg.simulate(**given)


def test_arguments_that_are_as_usual_are_left_out():
    assert line({**GIVEN, "seed": 0, "dtype": "float32", "width": None}) == (
        "sg.simulate(sg.AsyncSGD(), sg.problems.quadratic(), sg.Cluster(workers=4, compute=sg.times.Exponential(0.1)), "
        "sg.optimizers.sgd(0.1), sg.Updates(20))"
    )


def test_what_is_no_code_is_said():
    changed = dataclasses.replace(GIVEN["problem"], batch_size=3)
    code, note = line({**GIVEN, "problem": changed}).splitlines()
    assert "<Problem(quadratic" in code
    assert note.startswith("# not code: Problem(quadratic")
    assert note.endswith("a problem of your own")


def test_classes_within_functions_are_said_to_be_no_code():
    @dataclasses.dataclass(frozen=True)
    class Inside(Mine):
        pass

    assert "# not code: <class" in line({**GIVEN, "protocol": Inside(0.5)})


def test_a_line_that_makes_another_run_is_not_called_its_line():
    """The optimizer's description says less than it does: what it closed over is a schedule."""
    _, note = line({**GIVEN, "optimizer": optax.sgd(optax.cosine_decay_schedule(0.1, 100))}).splitlines()
    assert note.startswith("# not ")
    false = dataclasses.replace(GIVEN["problem"])
    object.__setattr__(false, "made_by", "sg.problems.quadratic((1.0, 0.3, 0.2))")
    _, note = line({**GIVEN, "problem": false}).splitlines()
    assert note.startswith("# not the run: the line's differs in problem")


def test_what_a_problem_was_made_by_is_forgotten_when_it_is_changed():
    problem = sg.problems.digits("logistic", batch_size=16)
    assert problem.made_by == "sg.problems.digits('logistic', batch_size=16)"
    assert dataclasses.replace(problem, batch_size=8).made_by is None
    assert sg.problems.quadratics(np.zeros(2)).made_by is None
    assert sg.Problem("mine", lambda key: jnp.zeros(1), lambda w, batch: jnp.sum(w), np.zeros((3, 1))).made_by is None


def test_a_cell_says_its_line():
    cell = sg.Cell(sg.methods.asynchronous(0.1), sg.problems.quadratic(), CLUSTER, until=sg.Updates(20), seed=2)
    assert evaluated(cell.code) == cell.simulate()
