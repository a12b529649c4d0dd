"""Tuning: one tape, many step sizes, and the truth about those that never got there."""

import numpy as np
import pytest

import simsgd as sg

CLUSTER = sg.Cluster(4, sg.times.Exponential(mean=1.0), sg.networks.Link(latency=0.1, bandwidth=100.0))
QUADRATIC = sg.problems.quadratic(spectrum=(1.0, 0.5))
TARGET = sg.Target("loss", at_most=0.01, within=sg.Seconds(40))


def tuned(*step_sizes, **options):
    return sg.study.tune(sg.AsyncSGD(), QUADRATIC, CLUSTER, step_sizes, TARGET, **options)


def test_each_run_is_what_simulate_gives():
    tuning = tuned(0.3, 0.1, 0.01)
    assert tuning.step_sizes == (0.01, 0.1, 0.3)
    for size, run in zip(tuning.step_sizes, tuning.runs, strict=True):
        assert run == sg.simulate(sg.AsyncSGD(), QUADRATIC, CLUSTER, sg.optimizers.sgd(size), TARGET)


def test_float64_messages_are_as_long_as_in_simulate():
    """Eight bytes for each parameter: the messages, and so the times, of `simulate` in float64."""
    run = tuned(0.1, dtype="float64").best
    assert run.configuration["message_bytes"] == 16
    assert run == sg.simulate(sg.AsyncSGD(), QUADRATIC, CLUSTER, sg.optimizers.sgd(0.1), TARGET, dtype="float64")


def test_the_best_is_the_first_to_arrive():
    tuning = tuned(1e-4, 0.05, 0.1, 0.2, 5.0)
    assert np.isnan(tuning.seconds[[0, -1]]).all()
    assert tuning.best.to_target().seconds == np.nanmin(tuning.seconds)
    assert tuning.best_step_size == tuning.step_sizes[int(np.nanargmin(tuning.seconds))]
    low, high = tuning.usable(2.0)
    inside = [t <= 2 * np.nanmin(tuning.seconds) for t in tuning.seconds]
    assert (low, high) == (tuning.step_sizes[inside.index(True)], tuning.step_sizes[4 - inside[::-1].index(True)])


def test_where_none_arrives_the_best_is_the_closest_that_did_not_diverge():
    tuning = tuned(1e-4, 1e-3, 50.0)
    assert np.isnan(tuning.seconds).all()
    assert tuning.usable() is None
    assert tuning.best_step_size == 1e-3
    assert tuning.runs[2].status == "diverged"


@pytest.mark.parametrize("size", [0, -0.1, float("nan"), "0.1"])
def test_bad_step_sizes_are_named(size):
    with pytest.raises(ValueError, match=r"step_sizes\[1\] must be a finite number above 0, got"):
        tuned(0.1, size)
