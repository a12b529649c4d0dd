"""What a player with state for each worker reads: used and unused gradients together, in the order in which they arrived."""

import dataclasses
import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from attack.rubbish import Chaos, ChaosTogether
from hypothesis import given, settings
from hypothesis import strategies as st

import simsgd as sg
from simsgd.recording.recorder import Recording
from simsgd.replaying.reading import Reading

ZEROS = sg.times.Recorded(((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 2.0, 0.0), (1.0, 1.0, 1.0)), at_end="repeat")
LAWS = {"ties": sg.times.Constant(1.0), "zeros": ZEROS, "random": sg.times.Exponential(mean=1.0)}
CRASHES = (
    sg.faults.Crash(0, at=0.0, back=1.0),
    sg.faults.Crash(1, at=2.0, back=2.5),
    sg.faults.Crash(1, at=3.0, back=4.5),
    sg.faults.Join(3, at=2.0),
)


@dataclass(frozen=True)
class Careless(sg.AsyncSGD):
    """Uses a gradient or not, steps or not, as it likes; and notes what arrives."""

    def on_gradient(self, server, gradient):
        server.notes.setdefault("arrived", []).append((gradient.worker, gradient.job))
        if server.rng.random() < 0.5:
            server.accumulate(gradient)
        if server.accumulated and server.rng.random() < 0.4:
            server.step()
        server.assign(gradient.worker)


def by_hand(tape):
    """Return all messages of a tape's steps: (worker, job, read, weight, step, used, steps, kind, life) of each gradient."""
    logs = {"used": tape, "unused": tape.discarded.cut(tape.discarded.reason == 0)}
    versions = {"used": tape.version, "unused": logs["unused"].version}
    found = []
    for version in range(tape.updates):
        rows = np.flatnonzero(versions["used"] == version).tolist()
        before = {place: [] for place in range(len(rows) + 1)}
        for late in np.flatnonzero(versions["unused"] == version).tolist():
            worker, job, time = (getattr(logs["unused"], name)[late] for name in ("worker", "job", "time"))
            own = [n for n, row in enumerate(rows) if tape.worker[row] == worker and tape.job[row] < job]
            place = sum(tape.time[row] < time for row in rows)
            before[max([place, *(n + 1 for n in own)])].append(("unused", late))
        step = [entry for n, row in enumerate(rows) for entry in (*before[n], ("used", row))] + before[len(rows)]
        for kind, row in step:
            log = logs[kind]
            worker = int(log.worker[row])
            life = sum(tape.down.end[tape.down.worker == worker] <= log.assigned[row])
            weight = tape.weight[row] if kind == "used" else 0.0
            last = (kind, row) == step[-1]
            found.append(
                (
                    *(worker, int(log.job[row]), int(log.read[row]), weight, last, kind == "used"),
                    *(int(log.steps[row]), int(log.kind[row]), life),
                )
            )
    return found


def told(source, cuts):
    """Return what a source tells of its messages piece by piece, as `by_hand` does."""
    found, row, version = [], 0, 0
    for updates in cuts:
        source.advance(updates=updates)
        messages = source.messages(row, version)
        found += zip(*(column.tolist() for column in messages), strict=True)
        version, row = source.version, row + int(np.count_nonzero(messages.used))
        reads_later = {(worker, job): read for worker, job, read, *_ in found}
        assert len(reads_later) == len(found)
    return found


CLUSTERS = [sg.Cluster(4, law, faults=faults) for law in LAWS.values() for faults in ((), CRASHES)]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([Careless(), Chaos(), ChaosTogether()]),
    st.sampled_from(CLUSTERS),
    st.integers(0, 1000),
    st.sets(st.integers(1, 11)),
)
def test_both_sources_tell_the_same_in_any_pieces(protocol, cluster, seed, cuts):
    try:
        tape = sg.record(protocol, cluster, sg.Updates(12), seed=seed)
    except sg.StuckError:
        return
    expected, cuts = by_hand(tape), [*sorted(cuts), 12]
    recording = Recording(protocol, cluster, seed=seed)
    assert told(recording, cuts) == told(Reading(tape), cuts) == expected
    if isinstance(protocol, Careless):  # each worker's in the order in which they arrived
        arrived = recording._server.notes["arrived"]
        for worker in range(4):
            own = [(w, j) for w, j, *_ in expected if w == worker]
            assert own == [job for job in arrived if job[0] == worker][: len(own)]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([Careless(), Chaos()]), st.sampled_from(CLUSTERS), st.integers(0, 1000))
def test_versions_that_unused_gradients_read_are_alive_until_they_are_played(protocol, cluster, seed):
    try:
        tape = sg.record(protocol, cluster, sg.Updates(12), seed=seed)
    except sg.StuckError:
        return
    for source in (Recording(protocol, cluster, seed=seed), Reading(tape)):
        alive, row, version = {0}, 0, 0
        for updates in range(1, 13):
            source.advance(updates=updates)
            messages = source.messages(row, version)
            assert set(messages.read.tolist()) <= alive
            alive = (alive | {updates}) & (source.live(lost=True) | {updates})
            assert source.live() <= source.live(lost=True)
            row, version = row + int(np.count_nonzero(messages.used)), updates


def test_what_is_alive_is_no_more_than_is_needed():
    """Fewer versions than workers + 1, also where half of the gradients are thrown away."""
    source = Reading(sg.record(Careless(), sg.Cluster(8, LAWS["random"]), sg.Updates(200)))
    for updates in range(1, 201):
        source.advance(updates=updates)
        assert len(source.live()) <= 9
        assert len(source.live(lost=True)) <= 9 + 8


def test_nothing_before_the_first_step():
    recording = Recording(sg.AsyncSGD(), sg.Cluster(2, LAWS["ties"]))
    recording.advance(seconds=0.5)
    assert [len(column) for column in recording.messages(0, 0)] == [0] * 9


def test_a_plain_tape_has_its_rows_alone():
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(4, LAWS["random"]), sg.Updates(50))
    reading = Reading(tape)
    reading.advance(updates=50)
    messages = reading.messages(0, 0)
    for name in ("worker", "job", "read", "weight", "step"):
        assert np.array_equal(getattr(messages, name), getattr(tape, name))
    assert messages.used.all()
    types = ("int32", "int32", "int32", "float64", "bool", "bool", "int32", "int32", "int32")
    assert tuple(column.dtype.name for column in messages) == types


@pytest.mark.parametrize("later", [1, -1])
def test_a_tape_whose_discarded_work_is_of_another_version_is_refused(later):
    tape = sg.record(Careless(), sg.Cluster(4, LAWS["random"]), sg.Updates(12))
    log = tape.discarded
    made = np.append(0.0, tape.update_times)[log.version]
    row = int(np.flatnonzero((log.version > log.read) & (log.version < 12) & (made < log.time))[0])
    wrong = log.version.copy()
    wrong[row] += later
    tape = dataclasses.replace(tape, discarded=dataclasses.replace(log, version=wrong))
    with pytest.raises(sg.TapeError, match=f"row {row} of the log 'discarded' breaks law 6: version was not the newest"):
        tape.check()


def test_a_zero_job_comes_after_its_worker_s_job_before():
    """The exception to "unused first": the used one of the same worker, in the same moment, made this one possible."""
    found = 0
    for seed in range(40):
        tape = sg.record(Careless(), sg.Cluster(4, ZEROS), sg.Updates(12), seed=seed)
        for (_, _, _, _, step, used, *_), late in itertools.pairwise(by_hand(tape)):
            found += used and not step and not late[5]
    assert found
