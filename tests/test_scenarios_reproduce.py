"""The reproductions: each runs small, in this process, and keeps its table and its figure; verdicts are computed by rule."""

import importlib
import json
import math
import pathlib
import sys

import numpy as np
import pytest

REPRODUCE = pathlib.Path(__file__).parent.parent / "scenarios" / "reproduce"
sys.path.append(str(REPRODUCE))  # as Python puts a script's own folder there
claims = importlib.import_module("claims")
SCRIPTS = sorted(path.stem for path in REPRODUCE.glob("*.py") if "\ndef main(" in path.read_text())
VERDICTS = {claims.REPRODUCES, claims.DOES_NOT, claims.UNDECIDED}


@pytest.mark.parametrize("name", SCRIPTS)
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
