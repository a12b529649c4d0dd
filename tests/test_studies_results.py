"""The results of a study: a dataset without objects, files that load equal, tables that count those that never arrived."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest

import simsgd as sg
from simsgd.studies import Outcome, Results
from simsgd.studies.tables import escaped

TARGET = sg.Target("loss", at_most=0.1, within=sg.Seconds(10), kept=0)


def outcome(seconds, status="target reached", **measures):
    """A run evaluated each second, whose loss is 1 until it arrives at 0.1; it ends there, or at 10 seconds."""
    time = np.arange(0.0, min(seconds, 10) + 1)
    loss = np.where(time >= seconds, 0.1, 1.0)
    columns = {"time": time, "updates": 10 * time, "samples": 320 * time, "bytes": 1e6 * time, "loss": loss}
    return Outcome(status, columns, {"updates": 10 * time[-1], **measures}, "ab" * 32, "cd" * 32, 8, seconds=0.5)


def results(times, **options):
    """Results of methods by name, each with its seconds to the target by seed, None for a cell that is not there."""
    seeds = list(range(max(map(len, times.values()))))
    outcomes = {
        (name, seed): outcome(seconds, "target reached" if seconds <= 10 else "completed")
        for name, all_of in times.items()
        for seed, seconds in enumerate(all_of)
        if seconds is not None
    }
    return Results({"method": list(times), "seed": seeds}, outcomes, TARGET, **options)


@pytest.fixture
def found():
    """Two methods, three seeds: one cell failed, one diverged, one is not there, one never arrives."""
    made = results({"sync": [4, 11, None], "async": [2, 3, 5]}, configuration={"problem": "digits", "versions": {"jax": "1"}})
    diverged = outcome(3, "diverged")
    diverged.evaluations["loss"][-1] = math.nan
    more = {("async", 1): diverged, ("async", 2): Outcome.failure(ValueError("no\nsuch thing, ≤ 3"))}
    return Results(made.axes, {**made.outcomes, **more}, TARGET, made.configuration)


# --- the dataset ---------------------------------------------------------------------------------------------------------


def test_a_dataset_has_the_axes_and_what_was_measured(found):
    data = found.dataset
    assert dict(data.sizes) == {"method": 2, "seed": 3, "evaluation": 11}
    assert data.status.values.tolist() == [
        ["target reached", "completed", "missing"],
        ["target reached", "diverged", "failed"],
    ]
    never = math.nan
    assert np.array_equal(data.seconds_to_target, [[4, never, never], [2, never, never]], equal_nan=True)
    assert np.array_equal(data.bytes_to_target, [[4e6, never, never], [2e6, never, never]], equal_nan=True)
    assert data.evaluations.values.tolist() == [[5, 11, 0], [3, 4, 0]]
    assert data.loss.sel({"method": "sync", "seed": 0}).values[:5].tolist() == [1, 1, 1, 1, 0.1]
    assert np.isnan(data.loss.sel({"method": "sync", "seed": 0}).values[5:]).all()
    assert data.total_updates.sel({"method": "async", "seed": 0}) == 20
    assert data.error.values[1, 2] == "ValueError: no such thing, ≤ 3"
    assert data.lanes.values.tolist() == [[8, 8, -1], [8, 8, 0]]


def test_a_dataset_holds_no_objects(found):
    assert all(variable.dtype.kind in "fiU" for variable in found.dataset.variables.values())


def test_variables_give_way_to_axes_and_kinds_to_one_another():
    """An axis may be called as a variable is, and a metric as something that every cell has."""
    one = Outcome("completed", {"time": np.array([0.0, 1.0]), "status": np.array([3.0, 2.0])}, {"time": 9.0})
    found = Results({"evaluation": [1], "lanes": ["a", "b"]}, {(1, "b"): one})
    assert found.dataset.sizes == {"evaluation": 1, "lanes": 2, "evaluated_evaluation": 2}
    assert found.dataset.evaluated_status.sel(lanes="b").values.tolist() == [[3.0, 2.0]]
    assert found.dataset.total_time.sel(lanes="b").item() == 9.0
    assert found.dataset.cell_lanes.values.tolist() == [[-1, 0]]


def test_a_row_for_each_cell_that_is_there(found):
    frame = found.to_dataframe()
    assert len(frame) == 5
    assert frame[["method", "seed"]].values.tolist() == [["sync", 0], ["sync", 1], ["async", 0], ["async", 1], ["async", 2]]
    assert frame.seconds_to_target.tolist()[0] == 4
    assert frame.final_loss.tolist()[:3] == [0.1, 1.0, 0.1]
    assert frame.final_loss[3:].isna().all()  # diverged, and failed
    assert found.to_dataframe(evaluations=True).groupby(["method", "seed"]).size().to_dict() == {
        ("sync", 0): 5,
        ("sync", 1): 11,
        ("async", 0): 3,
        ("async", 1): 4,
    }


def test_results_of_nothing():
    empty = Results({"seed": [0, 1]}, {})
    assert empty.dataset.status.values.tolist() == ["missing", "missing"]
    assert len(empty.to_dataframe()) == len(empty.to_dataframe(evaluations=True)) == 0
    assert repr(empty) == empty.summary().join(["Results(", ")"]) == "Results(2 seeds: 0 of 2 cells)"


def test_thousands_of_cells_are_quick():
    """Processor time and memory grow with the cells, not with their square."""
    axes = {"method": ["a", "b"], "step_size": [0.1, 0.2], "seed": list(range(1000))}
    one = outcome(4)
    many = Results(axes, dict.fromkeys(itertools.product(*axes.values()), one), TARGET)
    assert many.dataset.nbytes < 4000 * 2000
    assert (many.seconds() == 4).all()


# --- files ---------------------------------------------------------------------------------------------------------------


def test_saved_and_loaded_results_are_equal(found, tmp_path):
    found.save(tmp_path / "study.nc")
    again = Results.load(tmp_path / "study.nc")
    assert again == found
    assert again.dataset.identical(found.dataset)
    assert again.outcomes["sync", 0].seconds == 0.5  # real seconds too, which equality leaves out
    assert again.target.within == sg.Seconds(10)
    again.save(tmp_path / "again.nc")
    assert (tmp_path / "again.nc").read_bytes() == (tmp_path / "study.nc").read_bytes()


@pytest.mark.parametrize("labels", [[1, 2], [0.5, 1.0], ["a", "ü ≤"], [True, False], [1, "1", 0.5], [2**70, 3]])
def test_labels_load_as_they_were(labels, tmp_path):
    found = Results({"thing": labels}, {(labels[1],): outcome(4)}, TARGET)
    found.save(tmp_path / "study.nc")
    again = Results.load(tmp_path / "study.nc")
    assert again == found
    assert list(map(type, again.axes["thing"])) == list(map(type, labels))


def test_bits_of_numbers_load_as_they_were(tmp_path):
    odd = np.array([0x7FF8000000000123, 0x8000000000000000, 1], np.uint64).view(np.float64)  # a NaN of its own, −0, the least
    found = Results({"seed": [0]}, {(0,): Outcome("completed", {"time": np.arange(3.0), "loss": odd}, {"updates": odd[0]})})
    found.save(tmp_path / "study.nc")
    assert Results.load(tmp_path / "study.nc") == found


def test_other_programs_read_the_file(found, tmp_path):
    import xarray

    found.save(tmp_path / "study.nc")
    with xarray.open_dataset(tmp_path / "study.nc") as data:
        assert data.status.values.tolist() == found.dataset.status.values.tolist()
        assert data.method.values.tolist() == ["sync", "async"]
        assert np.array_equal(data.loss, found.dataset.loss, equal_nan=True)


def test_damaged_and_foreign_files_are_refused(found, tmp_path):
    path = tmp_path / "study.nc"
    found.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-300] + b"x" + whole[-299:])
    with pytest.raises(sg.FileFormatError, match=r"study\.nc is damaged"):
        Results.load(path)
    sg.record(sg.AsyncSGD(), sg.Cluster(2, sg.times.Constant(1.0)), sg.Updates(3)).save(path)
    with pytest.raises(sg.FileFormatError, match="is not a simsgd study: it is a simsgd tape"):
        Results.load(path)
    with pytest.raises(FileNotFoundError):
        Results.load(tmp_path / "none.nc")


def test_a_file_is_written_whole_or_not_at_all(found, tmp_path, monkeypatch):
    import os

    found.save(tmp_path / "study.nc")
    before = (tmp_path / "study.nc").read_bytes()
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(KeyboardInterrupt))
    for save in (found.select(method="sync").save, found.to_parquet):
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path / "study.nc")
    assert [each.name for each in tmp_path.iterdir()] == ["study.nc"]
    assert (tmp_path / "study.nc").read_bytes() == before


def test_parquet_holds_the_data_frame(found, tmp_path):
    import pandas

    for evaluations in (False, True):
        found.to_parquet(tmp_path / "study.parquet", evaluations)
        pandas.testing.assert_frame_equal(
            pandas.read_parquet(tmp_path / "study.parquet"), found.to_dataframe(evaluations), check_dtype=False
        )


# --- some of them --------------------------------------------------------------------------------------------------------


def test_some_labels_are_selected(found):
    some = found.select(method="async", seed=[2, 0])
    assert some.axes == {"method": ["async"], "seed": [2, 0]}
    assert some.outcome(method="async", seed=0) is found.outcome(method="async", seed=0)
    assert found.select(seed=2).failed.keys() == {("async", 2)}
    with pytest.raises(ValueError, match="an axis must be one of 'method', 'seed', got 'step_size'"):
        found.select(step_size=0.1)
    with pytest.raises(ValueError, match="method must be one of 'sync', 'async', got 'asinc'"):
        found.select(method=["async", "asinc"])


def test_a_target_that_leaves_open_how_long_is_taken_as_the_runs_took_it():
    """A run that reaches its target at its last evaluation only has not kept it for a tenth of the bound."""
    late = outcome(10, "completed")
    open_ = sg.Target("loss", at_most=0.1, within=sg.Seconds(10))
    found = Results({"seed": [0]}, {(0,): late}, open_)
    assert found.target.kept == sg.Seconds(1)
    assert np.isnan(found.seconds().item())
    assert found.seconds(TARGET).item() == 10


# --- tables --------------------------------------------------------------------------------------------------------------


def test_a_table_counts_those_that_never_arrive():
    """T = 2, 4, ∞, ∞ and H = 10: median infinite, restricted mean (2 + 4 + 10 + 10) / 4, expected running time 26 / 2."""
    made = results({"a": [2, 4, 11, 11], "b": [3, 5, 4, 4]})
    lines = made.table("text").splitlines()
    assert lines[0].split("  ")[:2] == ["method", "arrived"]
    assert re.fullmatch(r"a +2 of 4 +– +6\.5 \([\d.]+ to [\d.]+\) +13", lines[1])
    assert re.fullmatch(r"b +4 of 4 +4 +4 \([\d.]+ to [\d.]+\) +4", lines[2])
    assert lines[-1] == "Simulated seconds until loss ≤ 0.1, the first time. Horizon: 10 s. Intervals of 95%."


def test_a_shorter_horizon_is_not_kept_by_those_that_come_later():
    row = results({"a": [2, 4, 8]}).table("text", horizon=5).splitlines()[1]
    assert re.fullmatch(r"a +2 of 3 +4 +3\.67 \(.*\) +5\.5", row)


def test_who_diverged_or_failed_never_arrived_and_who_is_not_there_is_not_counted(found):
    sync, other = found.table("text").splitlines()[1:3]
    assert re.fullmatch(r"sync +1 of 2 +– +7 \(.*\) +14", sync)
    assert re.fullmatch(r"async +1 of 3, 1 failed, 1 diverged +– +7\.33 \(.*\) +22", other)
    said = " Runs that failed (raised an error) or diverged never arrived."
    assert found.table("text").endswith(said)


def test_a_row_whose_runs_all_failed_has_no_times():
    """It is no honest run that came late: nothing was measured, and it is compared with nothing."""
    broken = Outcome.failure(ValueError("no"))
    made = results({"base": [4, 6], "bad": [4, 6]})
    made = Results(made.axes, {**made.outcomes, ("bad", 0): broken, ("bad", 1): broken}, TARGET)
    assert re.fullmatch(r"bad +0 of 2, 2 failed +– +– +– +–", made.table("text", baseline="base").splitlines()[2])
    assert r"bad & 0 of 2, 2 failed & -- & -- & -- \\" in made.table("latex")


def test_a_table_before_a_run_says_so():
    made = Results({"method": ["a", "b"], "seed": [0]}, {}, TARGET)
    text = made.table()
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 2
    assert text.splitlines()[1].count("---") == 5
    assert text.endswith("Nothing to show: 0 of 2 cells are done.")
    assert "tabular}{rrrrr}" in made.table("latex")


def test_a_row_is_compared_with_the_baseline_by_seed():
    """Ratios 2, 3, 2, of those seeds that both have; where one never arrives, differences of min(T, H)."""
    made = results({"base": [4, 6, 8, None], "fast": [2, 2, 4, 1], "sooner": [2, 11, 3, 1], "later": [4, 11, 9, 1]})
    lines = made.table("text", baseline="base").splitlines()
    assert lines[0].endswith("against base")
    fast, sooner, later = (re.split("  +", line)[-1] for line in lines[2:5])
    pair = sg.studies.statistics.compare_pair([4, 6, 8], [2, 2, 4], 10)
    assert fast == f"{12 ** (1 / 3):.3g}× ({pair.low:.3g} to {pair.high:.3g})"
    assert sooner.startswith("1 s sooner")  # (2 − 4 + 5) / 3
    assert later.startswith("1.67 s later")  # (0 + 4 + 1) / 3


def test_each_combination_of_the_other_axes_is_a_row():
    axes = {"method": ["a", "b"], "network": ["fast"], "step_size": [0.1, 0.2], "seed": [0, 1]}
    made = Results(axes, {place: outcome(4) for place in itertools.product(*axes.values())}, TARGET)
    lines = made.table("text").splitlines()
    assert [line.split()[:2] for line in lines[:5]] == [["method", "step"], *map(list, itertools.product("ab", ["0.1", "0.2"]))]
    assert lines[-1].endswith("network: fast.")


def test_latex_is_escaped():
    made = results({"50% & $A_1$ {b} ~^\\": [2, 3]})
    text = made.table("latex")
    assert r"50\% \& \$A\_1\$ \{b\} \textasciitilde{}\textasciicircum{}\textbackslash{} & 2 of 2 & 2.5" in text
    for rule in (r"\begin{tabular}{lrrrr}", r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}"):
        assert text.count(rule) == 1
    assert all(line.count(" & ") == 4 and line.endswith(r"\\") for line in text.splitlines() if " & " in line)
    assert not re.search(r"[^\x00-\x7f]", text)


def test_every_special_character_of_latex_is_escaped():
    assert escaped("#") == r"\#"
    assert all(escaped(character) != character for character in "\\&%$#_{}~^<>|≤≥×–")


def test_markdown_is_a_table():
    lines = results({"a|b_c": [2, 3]}).table("markdown").splitlines()
    assert lines[1] == "| --- | ---: | ---: | ---: | ---: |"
    assert lines[2].startswith(r"| a\|b\_c | 2 of 2 |")


def test_nonsense_in_tables_is_refused():
    made = results({"a": [2, 4]})
    with pytest.raises(ValueError, match="format must be one of 'markdown', 'latex', 'text', got 'html'"):
        made.table("html")
    with pytest.raises(ValueError, match="over must be one of 'method', 'seed', got 'seeds'"):
        made.table(over="seeds")
    with pytest.raises(ValueError, match="baseline must be one of 'a', got 'b'"):
        made.table(baseline="b")
    with pytest.raises(ValueError, match="horizon must not be longer than the runs, 10 seconds, got 11"):
        made.table(horizon=11)
    with pytest.raises(ValueError, match="target is needed"):
        Results({"seed": [0]}, {}).table()


def test_a_summary_says_what_there_is(found):
    text = found.summary()
    assert text.splitlines()[0] == ("2 methods × 3 seeds: 5 of 6 cells, 2 target reached, 1 completed, 1 diverged, 1 failed")
    assert "failed: study.cell(method='async', seed=2).simulate() raises ValueError: no such thing, ≤ 3" in text
    assert found.table("text") in text
    assert "≤" in found._repr_html_()
    assert "<script>" not in Results({"<script>": [1]}, {})._repr_html_()
