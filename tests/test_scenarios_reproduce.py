"""The reproductions: each runs small, in this process, and keeps its table and its figure; verdicts are computed by rule.

By default one runs; `python -m pytest -m slow tests/test_scenarios_reproduce.py` runs them all, most of it compiling.
"""

import importlib
import json
import math
import pathlib
import sys

import numpy as np
import pytest

import simsgd as sg

REPRODUCE = pathlib.Path(__file__).parent.parent / "scenarios" / "reproduce"
sys.path.append(str(REPRODUCE))  # as Python puts a script's own folder there
claims, rounds = (importlib.import_module(name) for name in ("claims", "rounds"))
SCRIPTS = sorted(path.stem for path in REPRODUCE.glob("*.py") if "\ndef main(" in path.read_text())
VERDICTS = {claims.REPRODUCES, claims.DOES_NOT, claims.UNDECIDED}


BY_DEFAULT = "adacomm"


@pytest.mark.parametrize(
    "name", [name if name == BY_DEFAULT else pytest.param(name, marks=pytest.mark.slow) for name in SCRIPTS]
)
def test_runs_small_and_keeps_table_and_figure(name, tmp_path, capsys):
    importlib.import_module(name).main(["--quick", "--output", str(tmp_path)])
    kept = {path.name for path in tmp_path.iterdir()}
    assert {"claims.txt", "claims.json"} <= kept
    assert [path for path in tmp_path.glob("*.png") if path.read_bytes().startswith(b"\x89PNG")]
    told = json.loads((tmp_path / "claims.json").read_text())
    assert told["script"] == f"{name}.py"
    assert {each["verdict"] for each in told["claims"]} <= VERDICTS
    assert all(each[said] for each in told["claims"] for said in ("says", "where", "measures", "rule", "found", "why"))
    printed = capsys.readouterr().out
    assert (tmp_path / "claims.txt").read_text() in printed
    assert {path.name for path in map(pathlib.Path, printed.partition("saved:\n")[2].split())} == kept


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_explains_every_flag(name, capsys):
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(name).main(["--help"])
    assert not ended.value.code
    said = capsys.readouterr().out
    for flag in ("--seed ", "--seeds ", "--quick", "--output "):
        assert flag in said


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("local_sgd", "--local-steps 2 8", "--local-steps must hold 1 and 4"),
        ("local_sgd", "--workers 4 16", "--workers 1 and another number"),
        ("adacomm", "--local-steps 4 16", "--local-steps must hold 1 and another number"),
        ("scaffold", "--quadratic-steps 1 4", "--quadratic-steps must hold 2"),
        ("scaffold", "--similarities 0.5", "--similarities two numbers"),
        ("fedbuff", "--concurrency 60", "--concurrency be at most --clients"),
        ("fedbuff", "--buffers 1 4", "--buffers must hold 1 and 10"),
    ],
)
def test_flags_without_what_the_claims_are_about_are_refused(name, flags, message, tmp_path):
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        importlib.import_module(name).main([*flags.split(), "--output", str(tmp_path)])
    assert not list(tmp_path.iterdir())


def claim(**ends):
    return claims.Claim("It is so.", "section 1", "a number", **ends)


@pytest.mark.parametrize(
    ("low", "high", "ends", "verdict"),
    [
        (1.1, 1.3, {"above": 1.0}, claims.REPRODUCES),
        (0.9, 1.3, {"above": 1.0}, claims.UNDECIDED),
        (0.7, 0.9, {"above": 1.0}, claims.DOES_NOT),
        (0.7, 1.0, {"above": 1.0}, claims.DOES_NOT),
        (0.7, 0.9, {"below": 1.0}, claims.REPRODUCES),
        (0.7, 1.1, {"below": 1.0}, claims.UNDECIDED),
        (1.0, 1.1, {"below": 1.0}, claims.DOES_NOT),
        (0.95, 1.05, {"above": 0.9, "below": 1.1}, claims.REPRODUCES),
        (0.85, 1.05, {"above": 0.9, "below": 1.1}, claims.UNDECIDED),
        (0.5, 2.0, {"above": 0.9, "below": 1.1}, claims.UNDECIDED),
        (1.2, 1.4, {"above": 0.9, "below": 1.1}, claims.DOES_NOT),
        (math.nan, math.nan, {"above": 1.0}, claims.UNDECIDED),
    ],
)
def test_a_verdict_asks_where_the_whole_interval_lies(low, high, ends, verdict):
    assert claim(**ends).judged(claims.Measured(1.0, low, high, runs=5)).verdict == verdict


def test_a_mean_has_student_s_interval():
    """Of 1, 2, 3: 2 ± 4.3027·1/√3."""
    found = claims.mean_of([1.0, 2.0, 3.0], "s")
    assert (found.value, found.runs) == (2.0, 3)
    assert found.low == pytest.approx(2 - 4.3026527 / math.sqrt(3))
    assert found.high == pytest.approx(2 + 4.3026527 / math.sqrt(3))
    assert str(found) == "2 s (-0.484 to 4.48, 3 seeds)"


def test_a_ratio_is_paired_and_counts_who_never_arrived_as_the_horizon():
    """Ratios 2 and 8 (16 of a horizon over 2): their geometric mean is 4."""
    found = claims.ratio_of([4.0, np.nan], [2.0, 2.0], horizon=16.0)
    assert found.value == pytest.approx(4.0)
    assert found.low < 2 < 8 < found.high
    assert claims.ratio_of([3.0, 6.0], [1.0, 2.0]) == claims.Measured(*[pytest.approx(3.0)] * 3, 2, "×")
    for first, second in (([np.inf, 1.0], [1.0, 2.0]), ([np.nan, 1.0], [np.nan, 2.0])):
        assert math.isnan(claims.ratio_of(first, second).value)
    assert math.isnan(claims.ratio_of([np.nan, 1.0], [np.nan, 2.0], horizon=16.0).value)


def test_what_has_no_interval_is_not_decided():
    judged = claim(above=0.0).judged(claims.mean_of([5.0]))
    assert (judged.verdict, judged.why) == (claims.UNDECIDED, "there is no interval: there is one seed only")
    judged = claim(above=0.0).judged(claims.mean_of([5.0, np.nan]), "it diverged")
    assert (judged.verdict, str(judged.measured)) == (claims.UNDECIDED, "no number")
    assert judged.why.endswith("it diverged")
    assert claim(above=0.0).judged(claims.exactly(5.0)).verdict == claims.REPRODUCES


@pytest.mark.parametrize("ends", [{}, {"above": 1.0, "below": 1.0}, {"above": 2.0, "below": 1.0}])
def test_a_claim_that_decides_nothing_is_refused(ends):
    with pytest.raises(ValueError, match="needs above < below"):
        claim(**ends)


def test_quick_leaves_what_is_given():
    flags = claims.Tuned(quick=True, seeds=7).checked()
    assert (flags.seeds, flags.tuning_seeds) == (7, 1)
    assert claims.Tuned().checked().seeds == 5
    with pytest.raises(ValueError, match="--seeds must be finite and at least 1"):
        claims.Tuned(quick=True, seeds=0).checked()


# --- what the scripts are made of ----------------------------------------------------------------------------------------

CLUSTER = sg.Cluster(3, sg.times.Lognormal(mean=1.0, coefficient_of_variation=0.5), sg.networks.Link(0.5))


def columns(tape):
    return [getattr(tape, name).tolist() for name in ("time", "worker", "steps", "step", "weight")]


@pytest.mark.parametrize("steps", [1, 4])
def test_rounds_step_as_local_sgd_does(steps):
    until = sg.Updates(5)
    ours = sg.record(rounds.local_sgd(0.1, steps=steps), CLUSTER, until=until, message_bytes=1e6)
    assert columns(ours) == columns(sg.record(sg.methods.local_sgd(0.1, steps=steps), CLUSTER, until=until, message_bytes=1e6))


def test_rounds_of_one_step_come_first_in_post_local_sgd():
    assert rounds.local_sgd(0.1, steps=4, after=2).protocol == sg.methods.post_local(0.1, after=2, steps=4).protocol


@pytest.mark.parametrize("buffer", [1, 4])
def test_a_buffer_steps_with_every_kth_message_of_so_many_in_flight(buffer):
    """With C jobs in flight and a step of every K messages, mean staleness goes to (C − 1)/K."""
    flags = importlib.import_module("fedbuff").Flags(clients=12, concurrency=6)
    tape = sg.record(flags.fedbuff(buffer, 0.1), flags.cluster, until=sg.Updates(2000 // buffer))
    assert len(tape) == 2000 // buffer * buffer
    assert np.allclose(tape.weight, 1 / buffer)
    assert tape.staleness.mean() == pytest.approx(5 / buffer, rel=0.05)
    assert len(tape.in_flight.worker) == 6


def test_fedavg_ends_on_quadratics_where_the_closed_form_says_and_scaffold_at_the_optimum():
    found = importlib.import_module("scaffold").distances((8,))
    assert found["FedAvg"] == pytest.approx(found["FedAvg, closed form"], rel=1e-9)
    assert found["FedAvg"][0] > 0.01
    assert found["SCAFFOLD"][0] < 1e-9


@pytest.mark.parametrize("similarity", [0.0, 0.5, 1.0])
def test_similar_shares_hold_all_samples_once_and_are_equally_large(similarity):
    labels = np.repeat(np.arange(5), 20)
    parts = importlib.import_module("scaffold").Similar(similarity).divide({"label": labels}, 100, 5)
    assert sorted(np.concatenate(parts).tolist()) == list(range(100))
    assert {len(part) for part in parts} == {20}
    kinds = [len(set(labels[part])) for part in parts]
    assert (max(kinds) == 1) == (similarity == 0)


def test_curves_are_read_where_they_are_asked():
    """A loss of 8, 4, 2, 1, 1, … is first at 2 after 2 s; the mean of its last tenth is 1."""
    losses = np.array([[8.0, 4.0, 2.0, *[1.0] * 18]])
    curves = importlib.import_module("adacomm").Curves(np.arange(21.0), {"H = 1": losses})
    assert curves.seconds("H = 1", np.array([2.0])).tolist() == [2.0]
    assert curves.seconds("H = 1", np.array([0.5])).tolist() == [np.inf]
    assert curves.end("H = 1").tolist() == [1.0]
    assert curves.at("H = 1", 0.05).tolist() == [4.0]


def test_steps_to_a_target_say_nothing_where_nobody_arrived():
    script = importlib.import_module("local_sgd")
    flags = script.Flags(local_steps=(1, 4), workers=(1, 2), seeds=2)
    arrived = np.array([[[True, False], [True, True]], [[True, False], [False, True]]])
    steps = np.arange(1.0, 9.0).reshape(2, 2, 2)
    found = script.Times(flags, arrived, steps, steps, steps)
    assert np.array_equal(found.ratio("steps", (4, 1), (1, 1)), [5.0, np.nan], equal_nan=True)
    assert found.ratio("steps", (4, 2), (1, 2)).tolist() == [7 / 3, 2.0]
