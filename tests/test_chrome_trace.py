"""Chrome traces: files that keep the format's rules, tell what the tape tells, and are written whole or not at all.

`read` is a validator of its own, written from the documentation of the Trace Event Format and from what Perfetto asks on top;
it knows nothing of the writer but what the format says. Times are compared as whole nanoseconds, exactly.
"""

from __future__ import annotations

import collections
import decimal
import gzip
import json

import numpy as np
import pytest
from methods import METHODS

import simsgd as sg
from simsgd import faults, networks, times
from simsgd.tape import chrome_trace
from simsgd.tape.schema import REASONS

SECOND = 10**9
SERVER = networks.Link(0.05, 400.0)
CRASHES = faults.Crashes(between=times.Exponential(8.0), lasting=times.Exponential(2.0))
LOSSES = faults.LostMessages(probability=0.2, timeout=0.3)
OUTAGES = faults.LinkOutages(between=times.Exponential(6.0), lasting=times.Exponential(1.0))

# protocol, network, faults
CASES = {
    "synchronous": ("sync", networks.Link(0.1), ()),
    "asynchronous, free": ("async", networks.Link(), ()),
    "asynchronous": ("async", networks.Link(0.1, 300.0), ()),
    "jitter and losses": ("async", networks.Jittery(networks.Link(0.1), times.Exponential(0.2)), (LOSSES, OUTAGES)),
    "fair": ("async", networks.ParameterServer(SERVER, sharing="fair", update=times.Exponential(0.2)), (CRASHES,)),
    "first in, first out": (
        "async",
        networks.ParameterServer(SERVER, sharing="first in, first out", update=times.Exponential(0.5)),
        (CRASHES, OUTAGES),
    ),
    "ring": ("sync", networks.Ring(networks.Link(0.01, 1000.0)), ()),
    "tree and crashes": ("sync", networks.BinaryTree(networks.Link(0.01, 1000.0)), (CRASHES, faults.Leave(worker=3, at=15.0))),
    "cancelled": ("K-sync", networks.ParameterServer(SERVER, update=times.Exponential(0.2)), (CRASHES,)),
    "unused": ("Ringmaster", networks.Link(0.1), (faults.Join(worker=2, at=3.456789), faults.Leave(worker=3, at=7.654321))),
    "several to a step": ("K-batch-async", networks.ParameterServer(SERVER), ()),
}


def record(name, seed=0, until=30.0):
    protocol, network, broken = CASES[name]
    cluster = sg.Cluster(4, times.Exponential(1.0), network, broken)
    return sg.record(METHODS[protocol], cluster, sg.Seconds(until), seed, message_bytes=100.0).check()


@pytest.fixture(scope="module", params=sorted(CASES))
def tape(request):
    return record(request.param)


# --- the format's rules ----------------------------------------------------------------------------------------------------

METADATA = {
    "process_name": ("name", str),
    "process_sort_index": ("sort_index", int),
    "thread_name": ("name", str),
    "thread_sort_index": ("sort_index", int),
}
NEEDS = {  # keys of each phase, beside "ph"
    "B": {"name", "cat", "pid", "tid", "ts", "args"},
    "E": {"pid", "tid", "ts"},
    "i": {"name", "cat", "pid", "tid", "ts", "s", "args"},
    "C": {"name", "pid", "tid", "ts", "args"},
    "M": {"name", "pid", "tid", "args"},
}


class Trace:
    """What a file holds: slices by row, instants, counters and names; times in nanoseconds."""

    def __init__(self):
        self.slices = collections.defaultdict(list)  # by row's name: (begin, end, name, args)
        self.instants = []  # (row's name, moment, name, args)
        self.counters = collections.defaultdict(list)  # by (name, series): (moment, value)
        self.other = {}


def strict(text):
    """Read JSON as the standard has it: no NaN, no infinity, no key twice; numbers with a fraction exactly."""

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    def once(pairs):
        keys = [key for key, _ in pairs]
        assert len(set(keys)) == len(keys), f"a key twice: {keys}"
        return dict(pairs)

    return json.loads(text, parse_constant=refuse, parse_float=decimal.Decimal, object_pairs_hook=once)


def nanoseconds(microseconds):
    """Whole, at least 0, and within what viewers count to."""
    assert isinstance(microseconds, int | decimal.Decimal)
    exact = decimal.Decimal(microseconds) * 1000
    assert exact == int(exact)
    assert 0 <= exact < 2**63
    return int(exact)


def is_number(value):
    return isinstance(value, int | decimal.Decimal) and not isinstance(value, bool)


def check_event(event):
    """What the format asks of each event by itself."""
    phase = event["ph"]
    assert set(event) == {"ph"} | NEEDS[phase]
    for key in ("pid", "tid"):
        assert isinstance(event[key], int)
        assert 0 < event[key] < 2**32  # what Perfetto takes; 0 means the idle process
    for key in {"name", "cat"} & set(event):
        assert isinstance(event[key], str)
        assert event[key]
    assert isinstance(event.get("args", {}), dict)
    if phase == "i":
        assert event["s"] in ("g", "p", "t")
    if phase == "C":
        assert event["args"]
        assert all(is_number(value) for value in event["args"].values())
    if phase == "M":
        key, kind = METADATA[event["name"]]
        assert set(event["args"]) == {key}
        assert isinstance(event["args"][key], kind)


def check_names(events):
    """Each process and row with events has one name and one place; rows' numbers are unique, and no process's."""
    given = [((event["name"], event["pid"], event["tid"]), event["args"]) for event in events if event["ph"] == "M"]
    names = dict(given)
    assert len(names) == len(given)
    rows = {(pid, tid) for what, pid, tid in names if what == "thread_name"}
    assert rows == {(pid, tid) for what, pid, tid in names if what == "thread_sort_index"}
    processes = [pid for what, pid, _ in names if what == "process_name"]
    assert len(set(processes)) == len(processes)
    assert sorted(processes) == sorted(pid for what, pid, _ in names if what == "process_sort_index")
    assert {(event["pid"], event["tid"]) for event in events} <= rows
    assert {pid for pid, _ in rows} == set(processes)
    threads = [tid for _, tid in rows]
    assert len(set(threads)) == len(threads)
    assert not set(threads) & set(processes)
    row_names = {row: names["thread_name", *row]["name"] for row in rows}
    assert len(set(row_names.values())) == len(rows)
    return row_names


def read(text):
    """Return a file's content, or fail where it breaks a rule."""
    top = strict(text)
    assert set(top) == {"traceEvents", "displayTimeUnit", "otherData"}
    assert next(iter(top)) == "traceEvents"  # by which Perfetto knows the format
    assert top["displayTimeUnit"] in ("ms", "ns")
    events = top["traceEvents"]
    for event in events:
        check_event(event)
    row_names = check_names(events)
    trace, begun, last, seen_by_perfetto = Trace(), {}, {}, {}
    trace.other = top["otherData"]
    for event in (event for event in events if event["ph"] != "M"):
        row, moment = (event["pid"], event["tid"]), nanoseconds(event["ts"])
        name = row_names[row]
        if event["ph"] in "BE":  # in the order of time, one at a time: begun, ended, and no two slices overlap
            assert moment >= last.get(row, 0), f"{event} of {name} goes back in time"
            cut_off = int(float(event["ts"]) * 1000)  # what Perfetto makes of it: still in order
            assert cut_off >= seen_by_perfetto.get(row, 0)
            last[row], seen_by_perfetto[row] = moment, cut_off
        if event["ph"] == "B":
            assert row not in begun, f"{event} of {name} begins within another slice"
            begun[row] = moment, event["name"], event["args"]
        elif event["ph"] == "E":
            begin, what, args = begun.pop(row)
            assert moment > begin
            trace.slices[name].append((begin, moment, what, args))
        elif event["ph"] == "i":
            trace.instants.append((name, moment, event["name"], event["args"]))
        else:
            for series, value in event["args"].items():
                values = trace.counters[event["name"], series]
                assert not values or values[-1][0] <= moment
                values.append((moment, value))
    assert not begun, f"never ended: {begun}"
    return trace


def written(tape, path, **window):
    tape.to_chrome_trace(path, **window)
    return read(path.read_text("utf-8"))


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ('"ts":1250000.000}', '"ts":1250000.001}'),  # ends after the next begins
        ('"ts":1250000.000}', '"ts":1250000.0001}'),  # no whole nanosecond
        ('"ts":250000.000,', '"ts":-250000.000,'),
        ('"ts":250000.000,', '"ts":NaN,'),
        ('"ph":"E"', '"ph":"B"'),
        ('"s":"t",', ""),
        ('"s":"t"', '"s":"thread"'),
        ('{"versions":0}', '{"versions":"0"}'),
        ('{"name": "worker 1"}', '{"label": "worker 1"}'),
        ('"name":"thread_name","pid":1,"tid":1001', '"name":"thread_name","pid":1,"tid":1000'),
        ('"tid":1001', '"tid":1'),
        ('"tid":1001', '"tid":21'),
        ('"displayTimeUnit":"ms"', '"displayTimeUnit":"s"'),
    ],
)
def test_the_validator_refuses_what_is_broken(good, bad, tmp_path):
    cluster = sg.Cluster(2, times.Constant(1.0), networks.Link(0.25))
    sg.record(sg.MinibatchSGD(), cluster, sg.Seconds(2)).to_chrome_trace(tmp_path / "run.json")
    text = (tmp_path / "run.json").read_text()
    assert read(text).slices
    assert good in text
    with pytest.raises((AssertionError, KeyError)):
        read(text.replace(good, bad))
    with pytest.raises((AssertionError, KeyError)):
        read(text.replace(good, bad, 1))


# --- what the files say ----------------------------------------------------------------------------------------------------


def whole(seconds):
    """Seconds as whole nanoseconds, one by one."""
    return [round(moment * 1e9) for moment in np.asarray(seconds, float).tolist()]


def joined(intervals):
    """The union of intervals, the slow way: (begin, end, how many)."""
    union = []
    for begin, end in sorted(intervals):
        if begin == end:
            continue
        if union and begin <= union[-1][1]:
            union[-1] = union[-1][0], max(end, union[-1][1]), union[-1][2] + 1
        else:
            union.append((begin, end, 1))
    return union


def occupations(tape):
    """By row and content, the intervals in which each message is there, read off the logs; up to the tape's end."""
    found = collections.defaultdict(list)
    logs = (tape, tape.time), (tape.discarded, tape.discarded.time), (tape.in_flight, np.full(len(tape.in_flight), tape.end))
    for log, over in logs:
        moments = [getattr(log, name) for name in ("assigned", "began", "ended", "sent", "arrived")]
        for assigned, began, ended, sent, arrived, last in zip(*moments, over, strict=True):
            if tape.collective:
                found["all-reduce", "gradients being summed"] += [] if np.isnan(arrived) else [(sent, arrived)]
                continue
            found["server's outbound link", "models on their way"].append((assigned, np.fmin(began, last)))
            if not np.isnan(ended):
                found["server's inbound link", "gradients on their way"].append((ended, np.fmin(arrived, last)))
            if not np.isnan(arrived):
                found["server", "gradients at the server"].append((arrived, last))
    return {row: list(zip(*map(whole, zip(*intervals, strict=True)), strict=True)) for row, intervals in found.items()}


def test_the_file_keeps_the_rules_and_has_a_row_for_each_worker(tape, tmp_path):
    trace = written(tape, tmp_path / "run.json")
    workers = {f"worker {worker}" for worker in range(tape.workers)}
    resources = {row for (row, _), intervals in occupations(tape).items() if joined(intervals)}
    assert set(trace.slices) == workers | resources
    assert trace.other["protocol"] == tape.header["protocol"]


@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("name", sorted(CASES))
def test_no_slices_overlap_whatever_happens(name, seed, tmp_path):
    """`read` fails where they do."""
    assert written(record(name, seed), tmp_path / "run.json").slices


def test_slices_add_up_to_the_shares(tape, tmp_path):
    """To the nanosecond that rounding may add to, or take from, each slice, and from each that was too short to be written."""
    trace = written(tape, tmp_path / "run.json")
    kinds = tape.stretches()
    for worker in range(tape.workers):
        seconds = collections.Counter()
        for begin, end, name, _ in trace.slices[f"worker {worker}"]:
            kind = {"discarded": "computing", "waiting at a barrier": "waiting"}.get(name, name)
            seconds[kind] += (end - begin) / SECOND
        rounding = 1e-9 * sum((who == worker).sum() for who, _, _ in kinds.values())
        for kind, share in tape.shares().items():
            if kind == "waiting":  # at the barrier it is a slice, for an assignment a gap
                assert seconds[kind] <= share[worker] * tape.end + rounding
            else:
                assert abs(seconds[kind] - share[worker] * tape.end) <= rounding
        gaps = tape.end - sum(seconds.values())
        assert abs(gaps - (tape.shares()["waiting"][worker] * tape.end - seconds["waiting"])) <= 2 * rounding


def test_each_job_is_told_with_what_became_of_it(tape, tmp_path):
    trace = written(tape, tmp_path / "run.json")
    told = {
        (worker, args["job"]): (begin, end, name, args)
        for worker in range(tape.workers)
        for begin, end, name, args in trace.slices[f"worker {worker}"]
        if name in ("computing", "discarded")
    }
    expected = {}
    for log in (tape, tape.discarded, tape.in_flight):
        for row in range(len(log)):
            args = {"job": int(log.job[row]), "read": int(log.read[row])}
            last, name = tape.end, "computing"
            if log is tape:
                args["staleness"] = int(tape.staleness[row])
                args |= {} if np.isnan(tape.weight[row]) else {"weight": decimal.Decimal(repr(float(tape.weight[row])))}
            if log is tape.discarded:
                args["reason"], last, name = REASONS[log.reason[row]], log.time[row], "discarded"
            begin, end = (float(np.fmin(getattr(log, moment)[row], last)) for moment in ("began", "ended"))
            if whole([begin]) < whole([end]):
                expected[int(log.worker[row]), int(log.job[row])] = (*whole([begin, end]), name, args)
    assert told == expected


def test_messages_and_queues_belong_to_the_job_they_are_of(tape, tmp_path):
    """Models before the job began, gradients after it ended; nothing of a job before its assignment."""
    trace = written(tape, tmp_path / "run.json")
    life = {}
    for log in (tape, tape.discarded, tape.in_flight):
        for worker, job, *moments in zip(log.worker, log.job, log.assigned, log.began, log.ended, strict=True):
            life[int(worker), int(job)] = moments
    seen = 0
    for worker in range(tape.workers):
        for begin, end, name, args in trace.slices[f"worker {worker}"]:
            if name not in ("sending", "queueing"):
                continue
            seen += 1
            assigned, began, ended = life[worker, args["job"]]
            if args["message"] == "model":
                assert whole([assigned])[0] <= begin
                assert np.isnan(began) or end <= whole([began])[0]
            else:
                assert args["message"] == "gradient"
                assert whole([ended])[0] <= begin
    stretches = [tape.stretches()[kind] for kind in ("sending", "queueing")]
    assert seen == sum(a < b for _, begin, end in stretches for a, b in zip(whole(begin), whole(end), strict=True))


def test_workers_that_are_down_have_a_slice(tape, tmp_path):
    trace = written(tape, tmp_path / "run.json")
    told = [
        (worker, begin, end)
        for worker in range(tape.workers)
        for begin, end, name, args in trace.slices[f"worker {worker}"]
        if name == "down" and args == {}
    ]
    spells = zip(tape.down.worker.tolist(), whole(tape.down.start), whole(np.fmin(tape.down.end, tape.end)), strict=True)
    assert told == sorted(spell for spell in spells if spell[1] < spell[2])


def test_resources_are_busy_while_a_message_is_there(tape, tmp_path):
    trace = written(tape, tmp_path / "run.json")
    for (row, content), intervals in occupations(tape).items():
        busy = [(begin, end, args["messages"]) for begin, end, _, args in trace.slices.get(row, [])]
        assert busy == joined(intervals)
        assert {name for _, _, name, _ in trace.slices.get(row, [])} <= {content}


def test_counters_tell_how_many_messages_there_are(tape, tmp_path):
    """Counted anew at each moment at which the number may change."""
    trace = written(tape, tmp_path / "run.json")
    for (_, content), intervals in occupations(tape).items():
        told = dict(trace.counters.get((content, "count"), []))
        begins, ends = (np.array(side) for side in zip(*intervals, strict=True))
        if not (begins < ends).any():
            assert told == {}
            continue
        level = None
        for moment in sorted({0, *begins.tolist(), *ends.tolist()} - {*whole([tape.end])}):
            level = told.get(moment, level)
            assert level == np.count_nonzero((begins <= moment) & (moment < ends))


def test_updates_are_instants_and_staleness_is_a_counter(tape, tmp_path):
    trace = written(tape, tmp_path / "run.json")
    expected = [
        ("model updates", moment, "update", {"version": 1 + number}) for number, moment in enumerate(whole(tape.update_times))
    ]
    assert trace.instants == expected
    assert trace.counters["staleness", "versions"] == list(zip(whole(tape.time), tape.staleness.tolist(), strict=True))


def test_two_workers_and_one_server_worked_by_hand(tmp_path):
    """Messages of 100 bytes at 100 bytes/s, one after the other, jobs of a second; all from 0 s to 5 s."""
    server = networks.ParameterServer(networks.Link(0.0, 100.0), sharing="first in, first out")
    cluster = sg.Cluster(2, times.Constant(1.0), server)
    tape = sg.record(sg.AsyncSGD(), cluster, sg.Seconds(5), message_bytes=100)
    trace = written(tape, tmp_path / "run.json")
    slices = {row: [(begin / SECOND, end / SECOND, name) for begin, end, name, _ in of] for row, of in trace.slices.items()}
    assert slices == {
        "worker 0": [(0, 1, "sending"), (1, 2, "computing"), (2, 3, "sending"), (3, 4, "sending"), (4, 5, "computing")],
        "worker 1": [(0, 1, "queueing"), (1, 2, "sending"), (2, 3, "computing"), (3, 4, "sending"), (4, 5, "sending")],
        "server's outbound link": [(0, 2, "models on their way"), (3, 5, "models on their way")],
        "server's inbound link": [(2, 4, "gradients on their way")],
    }
    models = [(moment / SECOND, count) for moment, count in trace.counters["models on their way", "count"]]
    assert models == [(0, 2), (1, 1), (2, 0), (3, 1)]
    assert [(moment / SECOND, args["version"]) for _, moment, _, args in trace.instants] == [(3, 1), (4, 2)]
    assert [value for _, value in trace.counters["staleness", "versions"]] == [0, 1]


# --- rounding, windows, runs -------------------------------------------------------------------------------------------------


def test_what_follows_without_a_gap_does_so_in_the_file(tmp_path):
    """Free links: each job begins where the one before ended, at times that no nanosecond meets."""
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(2, times.Exponential(1e-6)), sg.Updates(3000))
    trace = written(tape, tmp_path / "run.json")
    for worker in range(2):
        own = trace.slices[f"worker {worker}"]
        assert len(own) > 1000
        assert [end for _, end, _, _ in own[:-1]] == [begin for begin, _, _, _ in own[1:]]


def test_slices_that_round_to_nothing_are_left_out(tmp_path):
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(1, times.Constant(1e-10)), sg.Updates(100))
    trace = written(tape, tmp_path / "run.json")
    assert len(trace.slices["worker 0"]) <= 10
    assert len(trace.instants) == 100


@pytest.mark.parametrize("name", ["synchronous", "first in, first out", "tree and crashes"])
def test_a_window_holds_what_lies_in_it_cut_to_it(name, tmp_path):
    tape = record(name)
    start, stop = 7.3 * SECOND, 19.1 * SECOND
    full, part = written(tape, tmp_path / "full.json"), written(tape, tmp_path / "part.json", start=7.3, stop=19.1)
    for worker in range(tape.workers):
        row = f"worker {worker}"
        cut = [(max(begin, start), min(end, stop), *rest) for begin, end, *rest in full.slices[row]]
        assert part.slices[row] == [slice_ for slice_ in cut if slice_[0] < slice_[1]]
    assert part.instants == [instant for instant in full.instants if start <= instant[1] <= stop]
    for counter, values in full.counters.items():
        inside = [(moment, value) for moment, value in values if start <= moment < stop]
        if counter[0] != "staleness":  # what holds at the window's beginning is said there
            held = [value for moment, value in values if moment <= start][-1]
            inside = [(start, held)] + [pair for pair in inside if pair[0] > start]
        assert part.counters[counter] == inside


def test_the_window_may_reach_beyond_the_end(tmp_path):
    tape = record("synchronous")
    assert written(tape, tmp_path / "a.json", stop=1e6).slices == written(tape, tmp_path / "b.json").slices


def test_a_run_tells_its_metrics_as_counters(tmp_path):
    cluster = sg.Cluster(2, times.Exponential(1.0))
    run = sg.simulate(sg.AsyncSGD(), sg.problems.quadratic(), cluster, sg.optimizers.sgd(0.1), sg.Updates(30))
    trace = written(run, tmp_path / "run.json")
    for metric in ("loss", "distance"):
        told = trace.counters[metric, "value"]
        assert [moment for moment, _ in told] == whole(run.dataset["time"])
        assert [float(value) for _, value in told] == run.dataset[metric].values.tolist()
    assert trace.slices == written(run.tape, tmp_path / "tape.json").slices


def test_values_that_are_not_finite_are_left_out(tmp_path):
    """A run that diverged has some, and JSON none."""
    moments = np.array([0.0, 1.0, 2.0, 3.0])
    values = np.array([1.0, np.inf, np.nan, 1e300])
    chrome_trace.write(tmp_path / "run.json", record("synchronous"), metrics={"loss": (moments, values)})
    trace = read((tmp_path / "run.json").read_text("utf-8"))
    assert [float(value) for _, value in trace.counters["loss", "value"]] == [1.0, 1e300]


def test_any_text_is_written_as_it_is(tmp_path):
    name = 'Verlust "Σ"\\\n\t'
    chrome_trace.write(tmp_path / "run.json", record("synchronous"), metrics={name: (np.zeros(1), np.ones(1))})
    assert (name, "value") in read((tmp_path / "run.json").read_text("utf-8")).counters


def test_a_tape_on_which_nothing_was_used(tmp_path):
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(2, times.Constant(1.0), networks.Link(0.5)), sg.Seconds(0.25))
    trace = written(tape, tmp_path / "run.json")
    assert [slice_[:3] for slice_ in trace.slices["worker 1"]] == [(0, SECOND // 4, "sending")]
    assert not trace.instants


# --- files -------------------------------------------------------------------------------------------------------------------


def test_compressed_where_the_name_says_so_and_the_same_bytes_each_time(tmp_path):
    tape = record("synchronous")
    for name in ("a.json", "a.json.gz", "b.json.gz"):
        tape.to_chrome_trace(tmp_path / name)
    plain, packed = (tmp_path / "a.json").read_bytes(), (tmp_path / "a.json.gz").read_bytes()
    assert gzip.decompress(packed) == plain
    assert len(packed) < len(plain) / 3
    assert packed == (tmp_path / "b.json.gz").read_bytes()
    tape.to_chrome_trace(str(tmp_path / "c.json"))
    assert (tmp_path / "c.json").read_bytes() == plain


@pytest.mark.parametrize("name", ["run.json", "run.json.gz"])
def test_a_failure_leaves_what_was_there(name, tmp_path, monkeypatch):
    (tmp_path / name).write_text("before")

    def fail(*_):
        yield from ()
        raise RuntimeError("out of luck")

    monkeypatch.setattr(chrome_trace, "_updates", fail)
    with pytest.raises(RuntimeError, match="out of luck"):
        record("synchronous").to_chrome_trace(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "before"


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ({"start": 5.0, "stop": 5.0}, "start must be before stop=5.0 .*, got 5.0"),
        ({"start": 40.0}, "start must be before .*the tape's end, 30 seconds, got 40.0"),
        ({"start": -1.0}, "start must be a finite number of at least 0"),
        ({"start": "1"}, "start must be a finite number of at least 0"),
        ({"stop": float("nan")}, "stop must be a finite number above 0"),
        ({"stop": 0}, "stop must be a finite number above 0"),
    ],
)
def test_impossible_windows_are_refused_by_name(window, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        record("synchronous").to_chrome_trace(tmp_path / "run.json", **window)
    assert not list(tmp_path.iterdir())


def test_a_tape_beyond_the_viewers_clocks_is_refused(tmp_path):
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(1, times.Constant(1e9)), sg.Updates(10))
    with pytest.raises(ValueError, match=r"stop must be at most 9e\+09 seconds.*got 10000000000.0"):
        tape.to_chrome_trace(tmp_path / "run.json")
    assert written(tape, tmp_path / "run.json", stop=8e9).slices["worker 0"][-1][1] == 8 * 10**18


def test_places_that_cannot_be_written_are_refused(tmp_path):
    tape = record("synchronous")
    with pytest.raises(FileNotFoundError, match=r"the folder .* does not exist"):
        tape.to_chrome_trace(tmp_path / "nowhere" / "run.json")
    with pytest.raises(FileExistsError, match="is there already and is a folder"):
        tape.to_chrome_trace(tmp_path)
