"""The tape's laws are enforced, each by name and row; what is saved comes back; the hash tells recordings apart."""

import dataclasses

import numpy as np
import pytest
from methods import METHODS, RECORDED

import simsgd as sg


@pytest.fixture
def tape(cluster):
    return sg.record(METHODS["K-batch-async"], cluster, sg.Updates(40), seed=1, message_bytes=10)


def with_value(tape, column, row, value):
    changed = getattr(tape, column).copy()
    changed[row] = value
    return dataclasses.replace(tape, **{column: changed})


@pytest.mark.parametrize("method", RECORDED)
def test_recordings_keep_the_laws(method, cluster):
    tape = sg.record(RECORDED[method], cluster, sg.Updates(300), seed=4, message_bytes=10)
    assert tape.check() is tape
    assert tape.updates == 300


@pytest.mark.parametrize(
    ("column", "value", "law"),
    [
        ("worker", 99, "breaks law 1: worker is not one of 0 to 4"),
        ("worker", -1, "breaks law 1: worker is not one of 0 to 4"),
        ("weight", np.nan, "breaks law 1: weight is not finite"),
        ("time", 0.0, "breaks law 2: time is before the row before it"),
        ("began", np.nan, "breaks law 2: assigned ≤ departed"),
        ("ended", 0.0, "breaks law 2: assigned ≤ departed"),
        ("arrived", 1e9, "breaks law 2: assigned ≤ departed"),
        ("read", -1, "breaks law 3: read is not a version that existed"),
        ("read", 39, "breaks law 3: read was made only after its job was assigned"),
    ],
)
def test_check_names_row_and_law(tape, column, value, law):
    with pytest.raises(sg.TapeError, match="^row 30 " + law):
        with_value(tape, column, 30, value).check()


def test_check_finds_a_job_used_twice(tape):
    row = int(np.flatnonzero(tape.worker == tape.worker[30])[-1])
    twice = with_value(tape, "job", row, tape.job[30])
    with pytest.raises(sg.TapeError, match=r"breaks law 1: the same \(worker, job\) is logged twice"):
        twice.check()


def test_check_finds_a_version_read_before_it_was_made(tape):
    """A version that exists when the row is used, but was made only after its job was assigned."""
    row = int(np.flatnonzero(tape.staleness >= 2)[0])
    with pytest.raises(sg.TapeError, match=f"row {row} breaks law 3: read was made only after its job was assigned"):
        with_value(tape, "read", row, tape.version[row]).check()


def test_check_finds_overlapping_jobs(tape):
    """Two jobs of one worker at the same time: one is assigned before the other has arrived."""
    rows = np.flatnonzero(tape.worker == 0)[2:4]
    early = with_value(tape, "assigned", rows[1], tape.assigned[rows[0]])
    with pytest.raises(sg.TapeError, match=f"row {rows[1]} breaks law 1: assigned before the worker's job before was over"):
        dataclasses.replace(early, read=with_value(early, "read", rows[1], tape.read[rows[0]]).read).check()


def test_check_refuses_columns_of_other_types_and_lengths(tape):
    with pytest.raises(sg.TapeError, match="column time of log 'row' must be a 1-d array of float64"):
        dataclasses.replace(tape, time=tape.time.astype(np.float32)).check()
    with pytest.raises(sg.TapeError, match="column job of log 'row' has 3 rows"):
        dataclasses.replace(tape, job=tape.job[:3]).check()


def test_check_finds_a_version_that_was_not_the_newest(tape):
    """Law 4 would fall: a job that reads an older version than the newest keeps it alive beside those of the others."""
    row = int(np.flatnonzero(tape.read >= 3)[10])
    with pytest.raises(sg.TapeError, match=f"row {row} breaks law 4: read was not the newest version when its job was"):
        with_value(tape, "read", row, tape.read[row] - 2).check()


@pytest.mark.parametrize(
    ("log", "column", "value", "law"),
    [
        ("discarded", "worker", 5, 1),
        ("discarded", "time", np.nan, 2),
        ("discarded", "time", 0.0, 2),
        ("discarded", "time", 1e9, 2),
        ("discarded", "began", np.nan, 2),
        ("discarded", "began", 1e9, 2),
        ("discarded", "arrived", -5.0, 2),
        ("discarded", "read", 41, 6),
        ("discarded", "version", -7, 6),
        ("discarded", "version", 10**6, 6),
        ("in_flight", "worker", -1, 1),
        ("in_flight", "read", 41, 3),
        ("in_flight", "assigned", np.inf, 2),
        ("in_flight", "assigned", np.nan, 2),
        ("in_flight", "began", -3.0, 2),
        ("in_flight", "ended", 1e9, 2),
    ],
)
def test_check_names_rows_of_the_other_logs(log, column, value, law, cluster):
    tape = sg.record(METHODS["Ringmaster"], cluster, sg.Updates(40))
    wrong = with_value(getattr(tape, log), column, 2, value)
    with pytest.raises(sg.TapeError, match=rf"^row [23] of the log '{log}' breaks law {law}: "):
        dataclasses.replace(tape, **{log: wrong}).check()


def test_two_jobs_of_one_worker_cannot_be_in_flight(cluster):
    tape = sg.record(sg.AsyncSGD(), cluster, sg.Updates(40))
    wrong = with_value(tape.in_flight, "worker", 1, tape.in_flight.worker[0])
    with pytest.raises(sg.TapeError, match="breaks law 1: "):
        dataclasses.replace(tape, in_flight=wrong).check()


@pytest.mark.parametrize(("part", "value"), [("workers", 0), ("end", np.nan), ("end", -1.0)])
def test_impossible_tapes_are_refused(part, value, tape):
    with pytest.raises(sg.TapeError, match=f"{part} must be"):
        dataclasses.replace(tape, **{part: value}).check()


@pytest.mark.parametrize("log", ["discarded", "in_flight"])
def test_a_job_is_in_one_log_only(log, cluster):
    tape = sg.record(METHODS["Ringmaster"], cluster, sg.Updates(40))
    twice = with_value(with_value(getattr(tape, log), "worker", 1, tape.worker[3]), "job", 1, tape.job[3])
    with pytest.raises(sg.TapeError, match=r"breaks law 1: the same \(worker, job\) is logged twice"):
        dataclasses.replace(tape, **{log: twice}).check()


@pytest.mark.parametrize("method", RECORDED)
def test_live_versions_are_few(method, cluster):
    """Law 4, counted: at no row are more than (workers + 1) versions still to be read or current."""
    tape = sg.record(RECORDED[method], cluster, sg.Updates(200))
    for row in range(len(tape)):
        future = tape.read[row:]
        alive = set(future[future <= tape.version[row]].tolist()) | {int(tape.version[row])}
        assert len(alive) <= tape.workers + 1


def test_staleness_is_version_used_minus_version_read(tape):
    version = 0
    for row, staleness in enumerate(tape.staleness):
        assert staleness == version - tape.read[row]
        version += tape.step[row]
    assert version == tape.updates == len(tape.update_times)


def test_saves_and_loads_the_same(tape, tmp_path):
    tape.save(tmp_path / "a.nc")
    loaded = sg.Tape.load(tmp_path / "a.nc")
    assert loaded.content_hash == tape.content_hash
    assert loaded.header == tape.header
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"]


@pytest.mark.parametrize("column", ["time", "worker", "job", "read", "weight", "assigned", "began", "ended", "arrived"])
def test_hash_sees_every_column(tape, column):
    value = getattr(tape, column)[5]
    assert with_value(tape, column, 5, value + 1).content_hash != tape.content_hash


def test_hash_sees_the_other_logs(cluster):
    tape = sg.record(METHODS["Ringmaster"], cluster, sg.Updates(40))
    assert len(tape.discarded)
    fewer = dataclasses.replace(
        tape.discarded, **{f.name: getattr(tape.discarded, f.name)[:-1] for f in dataclasses.fields(tape.discarded)}
    )
    assert dataclasses.replace(tape, discarded=fewer).content_hash != tape.content_hash
    assert dataclasses.replace(tape, end=tape.end + 1).content_hash != tape.content_hash
    assert dataclasses.replace(tape, header={}).content_hash == tape.content_hash


@pytest.mark.parametrize("method", RECORDED)
def test_shares_account_for_all_time(method, cluster):
    """Computing + sending + queueing + waiting + down = 1 per worker; computing is the sum of its jobs' times by hand."""
    tape = sg.record(RECORDED[method], cluster, sg.Seconds(50), message_bytes=10)
    shares = tape.shares()
    np.testing.assert_allclose(sum(shares.values()), 1.0, rtol=1e-12)
    for worker in range(tape.workers):
        spent = 0.0
        for log, ends in ((tape, tape.time), (tape.discarded, tape.discarded.time), (tape.in_flight, None)):
            for row in np.flatnonzero(log.worker == worker):
                limit = tape.end if ends is None else ends[row]
                if not np.isnan(log.began[row]):
                    spent += np.fmin(log.ended[row], limit) - log.began[row]
        assert shares["computing"][worker] == pytest.approx(spent / tape.end, rel=1e-12)


def test_a_lone_worker_without_links_computes_all_the_time():
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(1, sg.times.Constant(0.5)), sg.Seconds(10))
    assert {name: share.tolist() for name, share in tape.shares().items()} == {
        "computing": [1.0],
        "sending": [0.0],
        "queueing": [0.0],
        "waiting": [0.0],
        "down": [0.0],
    }
