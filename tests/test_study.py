"""Tuning: one tape, many step sizes, and the truth about those that never got there."""

import numpy as np
import optax
import pytest

import simsgd as sg

CLUSTER = sg.Cluster(4, sg.times.Exponential(mean=1.0), sg.networks.Link(latency=0.1, bandwidth=100.0))
QUADRATIC = sg.problems.quadratic(spectrum=(1.0, 0.5))
TARGET = sg.Target("loss", at_most=0.01, within=sg.Seconds(40))


def tuned(*step_sizes, **options):
    return sg.studies.tune(sg.AsyncSGD(), QUADRATIC, CLUSTER, step_sizes, TARGET, **options)


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


def test_where_none_arrives_there_is_no_best():
    tuning = tuned(1e-4, 1e-3, 50.0)
    assert np.isnan(tuning.seconds).all()
    assert not tuning.arrived.any()
    assert tuning.usable() is None
    none = (
        r"none of the step sizes 0\.0001, 0\.001, 50 reached loss ≤ 0\.01, kept for 4 s: "
        r"closest was 0\.001, which ended at loss 0\."
    )
    for name in ("best", "best_step_size"):
        with pytest.raises(ValueError, match=none + r".*try other step sizes"):
            getattr(tuning, name)
    for text in (tuning.summary(), repr(tuning), tuning._repr_html_()):
        assert "none of the step sizes" in text
    assert tuning.runs[2].status == "diverged"


def test_where_all_diverge_it_is_said():
    with pytest.raises(ValueError, match=r"none of the step sizes 50, 60 reached .*: all diverged; try other"):
        _ = tuned(50.0, 60.0).best


def test_summaries_show_every_step_size():
    tuning = tuned(1e-3, 0.1)
    assert repr(tuning) == (
        "Tuning(2 step sizes, 1 reached loss ≤ 0.01, kept for 4 s; best 0.1, at the edge of those tried: try more, "
        f"after {tuning.seconds[1]:.4g} s (evaluated every 0.4 s))"
    )
    lines = tuning.summary().splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["0.001", "0.1"]
    assert lines[2].endswith("completed")
    assert lines[3].endswith("target reached")
    assert tuning._repr_html_().count("<tr>") == 3


def test_the_kept_criterion_is_what_is_tuned_for():
    """A run that arrives is at the target at every later look: it stops when the stretch is over."""
    run = tuned(0.1).best
    assert run.target.kept == sg.Seconds(4)
    later = run.dataset["loss"].values[run.dataset["time"].values >= run.to_target().seconds]
    assert (later <= 0.01).all()


def test_factories_of_optax_are_tuned_too():
    """optax.sgd(step_size) for each, in one executable, and the same runs."""
    assert tuned(0.05, 0.1, optimizer=optax.sgd).runs == tuned(0.05, 0.1).runs


@pytest.mark.parametrize("ready", [sg.optimizers.sgd(0.1), optax.sgd(0.1)])
def test_an_optimizer_that_is_ready_made_is_refused(ready):
    with pytest.raises(TypeError, match=r"optimizer must be a function of the step size such as optimizers.sgd.*ready-made"):
        tuned(0.1, optimizer=ready)


@pytest.mark.parametrize("size", [0, -0.1, float("nan"), "0.1"])
def test_bad_step_sizes_are_named(size):
    with pytest.raises(ValueError, match=r"step_sizes\[1\] must be a finite number above 0, got"):
        tuned(0.1, size)
