"""Reached and kept: what the time to a target is, and when a run with a target stops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import simsgd as sg
from simsgd.stopping import Watch, settled

CLUSTER = sg.Cluster(4, sg.times.Exponential(mean=0.1))
DIGITS = sg.problems.digits("logistic")
SGD = sg.optimizers.sgd(1.0)


def simulate(until, **options):
    return sg.simulate(sg.AsyncSGD(), DIGITS, CLUSTER, SGD, until, **options)


@pytest.fixture(scope="module")
def wavering():
    """A run whose accuracy crosses 0.93 many times, looked at every 0.1 s."""
    return simulate(sg.Seconds(20), evaluate_every=sg.Seconds(0.1))


def target(**fields):
    return sg.Target("accuracy", at_least=0.93, **fields)


def by_definition(run, wanted):
    """The moment of the first look from which on every look up to one at least `kept` later reaches the target."""
    time, updates = run.dataset["time"].values, run.dataset["updates"].values
    reached = run.dataset[wanted.metric].values >= wanted.at_least
    for i in range(len(time)):
        for j in range(i, len(time)):
            if not reached[j]:
                break
            if wanted.kept is None:
                enough = j == len(time) - 1
            elif wanted.kept == 0:
                enough = True
            elif isinstance(wanted.kept, sg.Seconds):
                enough = time[j] - time[i] > wanted.kept.seconds - 1e-6
            else:
                enough = updates[j] - updates[i] >= wanted.kept.count
            if enough:
                return time[i]
    return np.nan


KEPT = [0, None, sg.Seconds(0.5), sg.Seconds(2), sg.Updates(20), sg.Updates(100), sg.Seconds(19.95)]


@pytest.mark.parametrize("kept", KEPT, ids=str)
def test_the_time_to_a_target_is_the_first_look_of_those_that_keep_it(wavering, kept):
    found = wavering.to_target(target(kept=kept))
    np.testing.assert_equal(found.seconds, by_definition(wavering, target(kept=kept)))
    if np.isfinite(found.seconds):
        assert found.updates == (wavering.tape.update_times <= found.seconds).sum()


def test_the_criteria_differ_on_this_run(wavering):
    """Or the tests here would pass with any of them."""
    seconds = [wavering.to_target(target(kept=kept)).seconds for kept in KEPT]
    assert seconds[0] < seconds[2] < seconds[3] < seconds[1]
    assert np.isnan(seconds[-1])


@given(st.lists(st.sampled_from([0.1, 0.5, 0.95, float("nan")]), min_size=1, max_size=30), st.sampled_from(KEPT))
def test_watching_look_by_look_finds_what_the_finished_run_tells(values, kept):
    """A look every 0.25 s and 10 updates; a look that is taken in twice changes nothing."""
    wanted = target(kept=kept)
    watch, ends = Watch(wanted), []
    for i, value in enumerate(values):
        assert watch.kept(0.25 * i, 10 * i, value) == watch.kept(0.25 * i, 10 * i, value)
        ends += [i] if watch.kept(0.25 * i, 10 * i, value) else []
    looks = (0.25 * np.arange(len(values)), 10 * np.arange(len(values)), values)
    found = wanted.kept_stretch(*looks)
    if kept is None:
        assert not ends
        assert (found is not None) == (values[-1] == 0.95)
    else:
        assert (found is not None) == bool(ends)
        if found:
            assert found[0] <= ends[0] <= found[1]


@pytest.mark.parametrize("kept", [0, sg.Seconds(2), sg.Updates(100)], ids=str)
def test_a_run_stops_when_the_stretch_is_over(wavering, kept):
    """At the same moments as in the longer run: the target is reached there, and the run ends when it has been kept."""
    run = simulate(target(within=sg.Seconds(20), kept=kept), evaluate_every=sg.Seconds(0.1))
    assert run.status == "target reached"
    assert run.to_target() == wavering.to_target(target(kept=kept))
    first = list(run.dataset.time.values).index(run.to_target().seconds)
    assert (run.dataset["accuracy"].values[first:] >= 0.9).all()
    length, last_but_one = (
        (float(run.dataset[axis][-1] - run.dataset[axis][first]) for axis in ("time", "updates")),
        len(run.dataset.time) - 2,
    )
    seconds, updates = length
    if kept == 0:
        assert first == last_but_one + 1
    elif isinstance(kept, sg.Seconds):
        assert seconds == pytest.approx(2, rel=1e-12)
    else:
        assert updates >= 100 > float(run.dataset.updates[last_but_one] - run.dataset.updates[first])


def test_a_tenth_of_the_bound_is_the_default_and_is_stored(tmp_path):
    run = simulate(target(within=sg.Seconds(30)))
    assert run.target == target(kept=sg.Seconds(3))
    assert run.status == "target reached"
    assert float(run.dataset.time[-1]) - run.to_target().seconds == pytest.approx(3)
    run.save(tmp_path / "run.nc")
    assert sg.Run.load(tmp_path / "run.nc").target == run.target
    assert "kept=Seconds(seconds=3.0)" in run.configuration["until"]
    assert settled(target(within=sg.Updates(95))).kept == sg.Updates(10)
    assert settled(target(within=sg.Updates(95), kept=0)).kept == 0


@pytest.mark.parametrize("kept", KEPT, ids=str)
def test_targets_survive_the_file(tmp_path, kept):
    run = simulate(target(within=sg.Seconds(20), kept=kept))
    run.save(tmp_path / "run.nc")
    assert sg.Run.load(tmp_path / "run.nc").target == target(kept=kept or (sg.Seconds(2) if kept is None else 0))


def test_a_target_that_is_not_kept_before_the_bound_is_not_reached():
    run = simulate(target(within=sg.Seconds(20), kept=sg.Seconds(19.95)))
    assert run.status == "completed"
    assert all(np.isnan(run.to_target()))


def test_the_resolution_is_stored():
    assert simulate(sg.Updates(50)).configuration["evaluate_every"] == "1 updates"
    assert simulate(sg.Seconds(2), evaluate_every=sg.Seconds(0.25)).configuration["evaluate_every"] == "0.25 s"


def test_summaries_say_the_criterion_and_how_long_it_held(wavering):
    first, kept = (wavering.to_target(target(kept=k)).seconds for k in (0, sg.Seconds(2)))
    text = wavering.summary(target(kept=sg.Seconds(2)))
    assert f"accuracy ≥ 0.93, kept for 2 s: after {kept:.4g} s, " in text
    assert "; evaluated every 0.1 s" in text
    assert f"first reached after {first:.4g} s, and lost again" in text
    assert f"accuracy ≥ 0.93, the first time: after {first:.4g} s" in wavering.summary(target(kept=0))
    text = wavering.summary(target(kept=sg.Seconds(19.95)))
    assert "accuracy ≥ 0.93, kept for 19.95 s: reached, but not kept, in 20 s" in text
    assert f"first reached after {first:.4g} s" in text
    assert "not reached in 20 s" in wavering.summary(sg.Target("accuracy", at_least=0.999))
    for kept in KEPT:
        assert max(map(len, wavering.summary(target(kept=kept)).splitlines())) <= 120


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"metric": 5, "at_most": 0.1}, TypeError, 'Target.metric must be a metric\'s name such as "loss", got 5'),
        ({"at_most": "0.1"}, ValueError, "Target.at_most must be a finite number, got '0.1'"),
        ({"at_most": 0.1, "kept": 5}, TypeError, r"Target.kept must be an instance such as Seconds\(5\).*got 5"),
        ({"at_most": 0.1, "kept": False}, TypeError, "Target.kept must be an instance such as .*got False"),
        (
            {"at_most": 0.1, "within": sg.Seconds(5), "kept": sg.Seconds(6)},
            ValueError,
            "Target.kept must not be longer than within=",
        ),
    ],
)
def test_targets_that_make_no_sense_are_refused(fields, error, message):
    with pytest.raises(error, match=message):
        sg.Target(fields.pop("metric", "loss"), **fields)


def test_values_are_given_by_name():
    """at_most or at_least: a value in second place would be one of them by accident."""
    with pytest.raises(TypeError, match="positional"):
        sg.Target("accuracy", 0.9)


def test_nobody_sees_what_is_kept_for_less_than_two_evaluations_are_apart(noisy, cluster):
    wanted = sg.Target("loss", at_most=0.1, within=sg.Seconds(100), kept=sg.Seconds(2))
    arguments = (sg.AsyncSGD(), noisy, cluster, sg.optimizers.sgd(0.05), wanted)
    with pytest.raises(ValueError, match=r"evaluate_every must be at most how long the target is kept, Seconds.*got Seconds"):
        sg.simulate(*arguments, evaluate_every=sg.Seconds(3))
    assert sg.simulate(*arguments).configuration["evaluate_every"] == "0.2 s"  # a tenth of what is to be kept
