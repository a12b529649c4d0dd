"""Times that were measured: played back job by job, read from files, and refused by row and value where they are malformed."""

import math
import pathlib
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simsgd as sg
from simsgd import times
from simsgd.support import rng

TABLE = ((0.5, 1.0, 0.25), (2.0, 3.0))


def drawn(law, jobs, worker=0):
    draw = law.sampler(rng.stream(0, "compute time", worker), worker)
    return [draw(0.0) for _ in range(jobs)]


# --- playing back ----------------------------------------------------------------------------------------------------------


def test_each_worker_plays_its_own_times_in_order():
    law = times.Recorded(TABLE, at_end="stop")
    assert drawn(law, 3, worker=0) == [0.5, 1.0, 0.25]
    assert drawn(law, 2, worker=1) == [2.0, 3.0]


def test_repeat_begins_again():
    assert drawn(times.Recorded(TABLE, at_end="repeat"), 8) == [0.5, 1.0, 0.25, 0.5, 1.0, 0.25, 0.5, 1.0]


@settings(deadline=None, max_examples=50)
@given(count=st.integers(1, 12), block=st.integers(1, 15))
def test_resample_goes_on_in_blocks_of_neighbours(count, block):
    """First the recording as it is; then blocks in which each time is followed by its neighbour, the last by the first."""
    law = times.Recorded([range(count)], at_end="resample", block=block)
    seconds = drawn(law, count + 20 * block)
    assert seconds[:count] == list(range(count))
    for start in range(count, len(seconds), block):
        first = int(seconds[start])
        assert seconds[start : start + block] == [(first + k) % count for k in range(block)]


def test_blocks_begin_anywhere_with_equal_probability():
    """χ² of 5000 beginnings over 10 places, 9 degrees of freedom: above 45 with a probability below 1e-6."""
    seconds = drawn(times.Recorded([range(10)], at_end="resample", block=3), 10 + 15_000)
    counts = np.bincount(np.array(seconds[10::3], int), minlength=10)
    assert np.sum((counts - 500) ** 2 / 500) < 45


def test_stop_says_who_and_how_to_go_on():
    law = times.Recorded(TABLE, at_end="stop")
    draw = law.sampler(rng.stream(0, "compute time", 1), 1)
    draw(0.0), draw(2.0)
    with pytest.raises(times.EndOfRecordingError) as error:
        draw(5.0)
    for part in ("2 times of worker 1", "begins job 2", "stop the run sooner", 'at_end="repeat"', 'at_end="resample"'):
        assert part in str(error.value)
    assert issubclass(times.EndOfRecordingError, RuntimeError)


def test_a_run_past_the_end_stops_with_the_same_error():
    with pytest.raises(times.EndOfRecordingError, match=r"3 times of worker 0, which now begins job 3"):
        sg.record(sg.AsyncSGD(), sg.Cluster(2, times.Recorded(TABLE, at_end="stop")), until=sg.Updates(20))


def test_a_recording_of_a_run_s_jobs_plays_the_run_again():
    """Job times read off one tape, played back, give the same moments of arrival."""
    cluster = sg.Cluster(3, times.Gamma(1.0, 0.5))
    tape = sg.record(sg.AsyncSGD(), cluster, until=sg.Updates(60))
    taken = [(tape.ended - tape.began)[tape.worker == worker] for worker in range(3)]
    again = sg.record(sg.AsyncSGD(), sg.Cluster(3, times.Recorded(taken, at_end="repeat")), until=sg.Updates(55))
    assert again.worker.tolist() == tape.worker.tolist()[:55]
    assert again.time == pytest.approx(tape.time[:55], rel=1e-12)


# --- moments by hand (the table of laws in test_times.py has draws against them) ---------------------------------------------


def test_moments_by_hand():
    """Of 1, 2, 3, 6: mean 3, variance 14/4; rests −2, −1, 0, 3, whose neighbours' products are 2 + 0 + 0 − 6, at lag 2 −6."""
    seconds = [[1.0, 2.0, 3.0, 6.0]]
    repeated, resampled = times.Recorded(seconds, "repeat"), times.Recorded(seconds, "resample", block=4)
    assert repeated.moments() == pytest.approx((3.0, 3.5, -4 / 14))
    assert repeated.autocorrelation_at(2) == pytest.approx(-6 / 14)
    assert repeated.autocorrelation_at(4) == pytest.approx(1.0)
    assert resampled.moments() == pytest.approx((3.0, 3.5, -4 / 14 * 3 / 4))
    assert resampled.autocorrelation_at(2) == pytest.approx(-6 / 14 * 2 / 4)
    assert resampled.autocorrelation_at(4) == resampled.autocorrelation_at(9) == 0.0
    assert times.Recorded(seconds, "stop").moments() == repeated.moments()
    assert times.Recorded([[0.1] * 7], "repeat").moments() == pytest.approx((0.1, 0.0, 0.0))


# --- a description like the others -----------------------------------------------------------------------------------------


def test_arrays_lists_and_whole_numbers_are_the_same_recording():
    law = times.Recorded(((1.0, 2.0), (3.0, 4.0)), at_end="repeat")
    for same in ([[1, 2], [3, 4]], np.array([[1.0, 2.0], [3.0, 4.0]]), [np.array([1, 2]), np.float32([3, 4])]):
        again = times.Recorded(same, at_end="repeat")
        assert again == law
        assert hash(again) == hash(law)
        assert repr(again) == repr(law)
        assert {type(second) for worker in again.seconds for second in worker} == {float}


def test_the_repr_is_short_and_tells_recordings_apart():
    measured = np.random.default_rng(0).random((50, 1000))
    law, other = times.Recorded(measured, "resample", block=20), times.Recorded(measured[::-1], "resample", block=20)
    assert repr(law).startswith("Recorded(50 workers, 50000 times, at_end='resample', block=20, digest='")
    assert len(repr(law)) < 90
    assert law != other
    assert repr(law) != repr(other)
    assert repr(times.Recorded([[1.0, 2.0], [3.0]], "stop")) != repr(times.Recorded([[1.0], [2.0, 3.0]], "stop"))


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, "1.0", None, True], ids=repr)
def test_a_bad_time_is_refused_by_place_and_value(value):
    with pytest.raises(ValueError, match=r"Recorded\.seconds\[1\]\[2\] must be a finite number of at least 0") as refusal:
        times.Recorded([[1.0], [1.0, 2.0, value]], at_end="stop")
    assert repr(value) in str(refusal.value)


def test_a_bad_time_in_an_array_is_refused_by_place_and_value():
    with pytest.raises(
        ValueError, match=r"Recorded\.seconds\[0\]\[1\] must be a finite number of at least 0 \(seconds\), got .*-2\.0"
    ):
        times.Recorded(np.array([[1.0, -2.0]]), at_end="stop")


@pytest.mark.parametrize(
    ("arguments", "error", "has"),
    [
        (([[1.0], []], "stop"), ValueError, r"Recorded\.seconds\[1\] must hold at least one time of the worker, got \[\]"),
        (([[1.0], 2.0], "stop"), TypeError, r"Recorded\.seconds\[1\] must be a sequence .*got 2\.0"),
        ((1.0, "stop"), TypeError, r"Recorded\.seconds must be a sequence .*got 1\.0"),
        (([[1.0]], "loop"), ValueError, r"Recorded\.at_end must be one of 'repeat', 'resample', 'stop', got 'loop'"),
        (([[1.0]], None), ValueError, r"Recorded\.at_end must be one of .*got None"),
        (([[1.0]], "resample"), ValueError, r"Recorded\.block.* must be a whole number of at least 1, got None"),
        (([[1.0]], "resample", 0), ValueError, r"Recorded\.block.* must be a whole number of at least 1, got 0"),
        (([[1.0]], "resample", 2.0), ValueError, r"Recorded\.block.* must be a whole number of at least 1, got 2\.0"),
        (([[1.0]], "repeat", 3), ValueError, r"Recorded\.block is for at_end=\"resample\" alone, not 'repeat'.*got 3"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name_and_value(arguments, error, has):
    with pytest.raises(error, match=has):
        times.Recorded(*arguments)


def test_what_happens_at_the_end_must_be_said():
    with pytest.raises(TypeError, match="at_end"):
        times.Recorded(TABLE)


# --- files -----------------------------------------------------------------------------------------------------------------

ROWS = [(0, 0, 0.5), (1, 7, 2.0), (0, 2, 0.25), (0, 1, 1.0), (1, 8, 3.0)]


def write(folder, text, name="times.csv"):
    path = pathlib.Path(folder) / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def write_parquet(folder, **columns):
    parquet, arrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    path = pathlib.Path(folder) / "times.parquet"
    parquet.write_table(arrow.table(columns), path)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "worker,step,seconds\n" + "".join(f"{w},{s},{t}\n" for w, s, t in ROWS),
        "worker,step,seconds\n" + "\n".join(f"{w},{s},{t}" for w, s, t in ROWS),
        "worker,step,seconds\r\n" + "".join(f"{w},{s},{t}\r\n" for w, s, t in ROWS) + "\r\n",
        "\ufeffseconds, host , step, worker\n" + "".join(f"{t}, node{w},{s}.0, {w}\n" for w, s, t in ROWS),
        '"worker","step","seconds"\n\n' + "".join(f'"{w}","{s}","{t:e}"\n' for w, s, t in ROWS),
    ],
    ids=["plain", "no last line end", "from another system", "other columns, other order", "quoted"],
)
def test_a_csv_file_becomes_the_recording(tmp_path, text):
    assert times.Recorded.load(write(tmp_path, text), at_end="repeat") == times.Recorded(TABLE, at_end="repeat")


def test_a_parquet_file_becomes_the_recording(tmp_path):
    worker, step, seconds = zip(*ROWS, strict=True)
    path = write_parquet(tmp_path, step=step, host=["a"] * 5, seconds=seconds, worker=worker)
    law = times.Recorded.load(str(path), at_end="resample", block=2)
    assert law == times.Recorded(TABLE, at_end="resample", block=2)


HEAD = "worker,step,seconds\n"
MALFORMED = {
    "no column": (
        "worker,step,time\n0,0,1\n",
        r"column 'seconds' is missing: there must be worker, step, seconds, got worker, step, time",
    ),
    "a column twice": ("worker,step,seconds,step\n0,0,1,0\n", r"column 'step' is there more than once"),
    "empty": ("", r"column 'worker' is missing"),
    "no rows": (HEAD, r"the table has no rows"),
    "not a number": (HEAD + "0,0,1\n0,1,fast\n", r"row 3: seconds must be a finite number of at least 0, got 'fast'"),
    "python's number": (HEAD + "0,0,1_000\n", r"row 2: seconds must be a finite number of at least 0, got '1_000'"),
    "nothing": (HEAD + "0,0,1\n0,1,\n", r"row 3: seconds must be a finite number of at least 0, got ''"),
    "not a number by name": (HEAD + "0,0,nan\n", r"row 2: seconds must be a finite number of at least 0, got 'nan'"),
    "infinite": (HEAD + "0,0,inf\n", r"row 2: seconds must be a finite number of at least 0, got 'inf'"),
    "negative": (HEAD + "\n\n0,0,1\n0,1,-0.5\n", r"row 5: seconds must be a finite number of at least 0, got '-0\.5'"),
    "half a worker": (HEAD + "0.5,0,1\n", r"row 2: worker must be a whole number of at least 0, got '0\.5'"),
    "a worker's name": (HEAD + "a,0,1\n", r"row 2: worker must be a whole number of at least 0, got 'a'"),
    "a negative step": (HEAD + "0,-1,1\n", r"row 2: step must be a whole number of at least 0, got '-1'"),
    "a step twice": (HEAD + "0,0,1\n1,0,1\n0,0,2\n", r"row 4: worker 0 has step 0 already, in row 2"),
    "a gap in steps": (HEAD + "0,0,1\n0,3,1\n0,1,1\n", r"row 3: worker 0 goes from step 1 to step 3, 2 is missing"),
    "a gap in workers": (HEAD + "0,0,1\n3,0,1\n1,0,1\n", r"worker 2 is missing: .*numbered from 0 without gaps, got 0, 1, 3"),
    "workers from 1": (HEAD + "1,0,1\n2,0,1\n", r"worker 0 is missing: .*numbered from 0 without gaps, got 1, 2"),
    "a value too many": (HEAD + "0,0,1\n0,1,1,5\n", r"row 3: there must be 3 values, got \['0', '1', '1', '5'\]"),
    "a value too few": (HEAD + "0,0\n", r"row 2: there must be 3 values, got \['0', '0'\]"),
    "another text": (HEAD.encode() + b"0,0,\xff\xfe\n", r"not text in UTF-8"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_csv_file_is_refused_by_file_row_and_value(tmp_path, name):
    text, has = MALFORMED[name]
    path = write(tmp_path, text)
    with pytest.raises(sg.FileFormatError, match=has) as refusal:
        times.Recorded.load(path, at_end="repeat")
    assert str(refusal.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("columns", "has"),
    [
        ({"worker": [0], "step": [0]}, r"column 'seconds' is missing"),
        ({"worker": [0, 0], "step": [0, 1], "seconds": [1.0, None]}, r"row 1: seconds must be .*got None"),
        ({"worker": [0, 0], "step": [0, 1], "seconds": [1.0, -2.5]}, r"row 1: seconds must be .*got -2\.5"),
        ({"worker": [True], "step": [0], "seconds": [1.0]}, r"row 0: worker must be .*got True"),
        (
            {"worker": [0, 0], "step": [4, 6], "seconds": [1.0, 1.0]},
            r"row 1: worker 0 goes from step 4 to step 6, 5 is missing",
        ),
    ],
)
def test_a_malformed_parquet_file_is_refused_by_file_row_and_value(tmp_path, columns, has):
    path = write_parquet(tmp_path, **columns)
    with pytest.raises(sg.FileFormatError, match=has) as refusal:
        times.Recorded.load(path, at_end="repeat")
    assert str(refusal.value).startswith(f"{path}: ")


def test_a_file_that_is_no_parquet_is_refused(tmp_path):
    pytest.importorskip("pyarrow")
    path = write(tmp_path, "worker,step,seconds\n", "times.parquet")
    with pytest.raises(sg.FileFormatError, match=r"times\.parquet: cannot be read as Parquet"):
        times.Recorded.load(path, at_end="repeat")


def test_parquet_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        ImportError, match=r"times\.parquet: reading Parquet needs pyarrow: pip install 'simsgd\[parquet\]', or use CSV"
    ):
        times.Recorded.load(write(tmp_path, b"PAR1", "times.parquet"), at_end="repeat")


def test_another_kind_of_file_or_none_is_refused(tmp_path):
    with pytest.raises(sg.FileFormatError, match=r"times\.xlsx: a table of times must be .*\.csv or \.parquet"):
        times.Recorded.load(write(tmp_path, b"", "times.xlsx"), at_end="repeat")
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere\.csv"):
        times.Recorded.load(tmp_path / "nowhere.csv", at_end="repeat")
