"""Tapes as Chrome traces: a file that opens in ui.perfetto.dev, in chrome://tracing and in other viewers of that format.

The Trace Event Format is JSON: an object whose "traceEvents" are slices of rows ("B" begins one, "E" ends it), instants ("i"),
counters ("C") and names ("M"). Times are microseconds, here of simulated time. A row is what the format calls a thread of a
process.

Laws of this module:

1. The file holds what `Tape.stretches` and the tape's columns say. Nothing is smoothed, and nothing is left out but what
   has no length once rounded to nanoseconds.
2. Slices of a row never overlap, and where one begins as another ends on the tape, every reader sees no gap. So each time is
   rounded once, to whole nanoseconds, and written exactly; an end and a beginning at one time are the same text. (Beginnings
   with durations would not do: Perfetto cuts microseconds times 1000 down to whole nanoseconds, finds 0.7% of neighbouring
   slices overlapping, and drops the second of them.)
3. Each row has a thread number that no other row has, in any process, and that is no process's number. Perfetto finds threads
   by that number alone, and takes a thread with its process's number for the main one.
4. The file is written whole or not at all, and the same tape gives the same bytes.

Sources: the Trace Event Format (Google document, "Trace Event Format"); how Perfetto reads it (google/perfetto,
src/trace_processor/importers/json).
"""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from simsgd import provenance
from simsgd.support import checks, files
from simsgd.tape.schema import REASONS

if TYPE_CHECKING:
    from simsgd.tape.tape import Tape

PROCESSES = {"workers": 1, "network and server": 2, "model": 3}
"""The groups of rows, with their numbers, in the order in which a viewer may show them."""
FIRST_RESOURCE = 11
"""The thread number of the first resource's row."""
UPDATES = 21
"""The thread number of the row of model updates."""
FIRST_WORKER = 1000
"""The thread number of worker 0's row; worker w has this plus w."""
NAMES = {"barrier": "waiting at a barrier"}
"""The names of slices whose kind (see `Tape.stretches`) does not say it all."""
LONGEST = 9e9
"""The longest trace, seconds: viewers count nanoseconds in 63 bits."""

Window = tuple[int, int]
"""From when to when, nanoseconds."""


class Resource(NamedTuple):
    """What messages share, such as the server's link: one row of a trace, busy while at least one message occupies it.

    Attributes:
        name: of the row.
        content: what occupies it.
        begin: when each message came, nanoseconds, shape (messages,).
        end: when it left, nanoseconds, after `begin`, shape (messages,).
    """

    name: str
    content: str
    begin: np.ndarray
    end: np.ndarray


def write(
    path: str | os.PathLike[str],
    tape: Tape,
    *,
    start: float = 0.0,
    stop: float | None = None,
    metrics: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
) -> None:
    """Write a tape in the Chrome trace-event format; `Tape.to_chrome_trace` and `Run.to_chrome_trace` call this.

    Each worker has a row: what it did, with the job, the version read, the gradient's staleness and weight, or why the gradient
    was thrown away. So has each resource that is ever busy: the server's outbound link (from a model's assignment until it has
    arrived), its inbound link (from the end of computing until the gradient has arrived) and the server (from then until the
    gradient is used), or else the all-reduce. Model updates are instants. Counters tell the staleness of each gradient used,
    how many messages occupy each resource, and the metrics. A gradient takes 2 kB with a contended server, 160 bytes
    compressed; of a long tape, a window (`start`, `stop`) may be enough.

    Args:
        path: the file; compressed where it ends in ".gz".
        tape: what happened.
        start: where to begin, simulated seconds.
        stop: where to end, simulated seconds; by default the tape's end.
        metrics: further counters, by name: the moments (simulated seconds) and the values, arrays of one shape. Values that are
            not finite are left out, as JSON cannot hold them.

    Raises:
        ValueError: if there is no time from `start` to `stop`, or `stop` is more than 285 years away.
        OSError: if the file cannot be written.

    Example:
        >>> import json, pathlib, tempfile, simsgd as sg
        >>> tape = sg.record(sg.AsyncSGD(), sg.Cluster(2, sg.times.Constant(1.0)), until=sg.Seconds(3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tape.to_chrome_trace(pathlib.Path(folder, "run.json"))
        ...     events = json.loads(pathlib.Path(folder, "run.json").read_text())["traceEvents"]
        >>> [(event["ts"], event["args"]["job"]) for event in events if event["ph"] == "B" and event["tid"] == 1001]
        [(0.0, 0), (1000000.0, 1), (2000000.0, 2)]
    """
    window = _window(tape, start, stop)
    with files.writing(path) as raw, _opened(raw, os.fspath(path).endswith(".gz")) as file:
        file.write('{"traceEvents":[\n')
        for number, some in enumerate(itertools.batched(_events(tape, window, metrics or {}), 10_000)):
            file.write((",\n" if number else "") + ",\n".join(some))
        about = {"made by": "simsgd"} | {str(name): str(value) for name, value in provenance.plain(tape.header).items()}
        file.write(f'\n],"displayTimeUnit":"ms","otherData":{_json(about)}}}\n')


def _window(tape: Tape, start: float, stop: float | None) -> Window:
    """Return the window in nanoseconds, cut to the tape."""
    start, stop = checks.window(start, stop, tape.end)
    if stop > LONGEST:
        raise ValueError(f"stop must be at most {LONGEST:g} seconds, which is as far as traces go, got {stop!r}")
    first, last = _nanoseconds([start, stop]).tolist()
    return first, last


@contextlib.contextmanager
def _opened(raw: IO[bytes], compressed: bool) -> Iterator[io.TextIOBase]:
    """Write text to a file; a compressed one tells no name and time, so that equal tapes make equal files."""
    packed: Any = gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) if compressed else raw
    file = io.TextIOWrapper(packed, "utf-8", newline="\n")
    yield file
    file.detach()  # writes what it holds, and leaves open what it writes to
    if compressed:
        packed.close()


def _events(tape: Tape, window: Window, metrics: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Iterator[str]:
    """Yield all events as JSON: names first, then row by row, in the order of time in each row."""
    resources = [resource for resource in _resources(tape, window) if len(resource.begin)]
    yield from _named("workers", [(FIRST_WORKER + worker, f"worker {worker}") for worker in range(tape.workers)])
    if resources:
        yield from _named("network and server", enumerate((resource.name for resource in resources), FIRST_RESOURCE))
    yield from _named("model", [(UPDATES, "model updates")])
    yield from _worker_slices(tape, window)
    for thread, resource in enumerate(resources, FIRST_RESOURCE):
        yield from _busy_slices(thread, resource)
        yield from _counter(resource.content, "count", "network and server", thread, *_level(resource, window))
    yield from _updates(tape, window)
    yield from _counter("staleness", "versions", "model", UPDATES, *_inside(window, tape.time, tape.staleness))
    for name, (moments, values) in metrics.items():
        finite = np.isfinite(values)
        yield from _counter(name, "value", "model", UPDATES, *_inside(window, moments[finite], values[finite]))


def _named(process: str, rows: Iterable[tuple[int, str]]) -> Iterator[str]:
    """Yield the names of a process and of its rows, and their order."""
    number = PROCESSES[process]
    rows = list(rows)
    own = [("process_name", rows[0][0], {"name": process}), ("process_sort_index", rows[0][0], {"sort_index": number})]
    for thread, name in rows:
        own += [("thread_name", thread, {"name": name}), ("thread_sort_index", thread, {"sort_index": thread})]
    for what, thread, args in own:
        yield f'{{"ph":"M","name":"{what}","pid":{number},"tid":{thread},"args":{_json(args)}}}'


# --- workers -------------------------------------------------------------------------------------------------------------


def _worker_slices(tape: Tape, window: Window) -> Iterator[str]:
    """Yield what workers did, worker by worker, in the order of time."""
    stretches = tape.stretches()
    kind = np.repeat(np.arange(len(stretches)), [len(worker) for worker, _, _ in stretches.values()])
    worker, began, ended = (np.concatenate(columns) for columns in zip(*stretches.values(), strict=True))
    begin, end = _clipped(window, began, ended)
    seen = np.flatnonzero(begin < end)
    seen = seen[np.lexsort((begin[seen], worker[seen]))]
    job = _jobs_at(tape, worker[seen], began[seen])
    to_worker = ~(tape.of_all_jobs("began")[job] <= began[seen])  # of what is sent, and of what queues
    arguments, names = _job_arguments(tape), [_json(NAMES.get(name, name)) for name in stretches]
    columns = (column.tolist() for column in (kind[seen], worker[seen], begin[seen], end[seen], job, to_worker))
    for number, who, first, last, place, down in zip(*columns, strict=True):
        about, category = arguments[place], tuple(stretches)[number]
        if category in ("sending", "queueing"):
            about += f',"message":"{"model" if down else "gradient"}"'
        about = "" if category == "down" else about
        yield _slice("workers", FIRST_WORKER + who, first, last, names[number], category, about)


def _jobs_at(tape: Tape, worker: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """Return which job, a place in `Tape.of_all_jobs`, each worker had at a moment: the last that it had been assigned.

    Both arrays are ordered by worker. Where a worker has had no job yet, it is some other.
    """
    owner, assigned = tape.of_all_jobs("worker"), tape.of_all_jobs("assigned")
    order = np.lexsort((tape.of_all_jobs("job"), owner))
    jobs_from, from_ = (np.searchsorted(who, np.arange(tape.workers + 1)) for who in (owner[order], worker))
    place = np.zeros(len(worker), int)
    for number in np.unique(worker):
        jobs, own = (slice(edges[number], edges[number + 1]) for edges in (jobs_from, from_))
        place[own] = jobs.start + np.searchsorted(assigned[order[jobs]], moment[own], "right") - 1
    return order[np.maximum(place, 0)] if len(order) else place


def _job_arguments(tape: Tape) -> list[str]:
    """Return what is known of each job, as the inside of a JSON object, in the order of `Tape.of_all_jobs`."""
    job, read = tape.of_all_jobs("job").tolist(), tape.of_all_jobs("read").tolist()
    used = [
        f',"staleness":{staleness}' + (f',"weight":{weight!r}' if weight == weight else "")  # NaN is unlike itself
        for staleness, weight in zip(tape.staleness.tolist(), tape.weight.tolist(), strict=True)
    ]
    thrown_away = [f',"reason":"{REASONS[reason]}"' for reason in tape.discarded.reason.tolist()]
    more = used + thrown_away + [""] * len(tape.in_flight)
    return [f'"job":{j},"read":{r}{m}' for j, r, m in zip(job, read, more, strict=True)]


# --- resources -----------------------------------------------------------------------------------------------------------


def _resources(tape: Tape, window: Window) -> Iterator[Resource]:
    """Yield the resources that workers share, with what occupies them in the window."""
    lives = np.concatenate([np.vstack([log.life(over), over]) for _, log, over in tape.jobs_and_ends()], axis=1)
    assigned, _, began, ended, sent, arrived, over = lives
    if tape.collective:
        done = ~np.isnan(tape.of_all_jobs("arrived"))  # of the others it is not known since when they were being summed
        found = [("all-reduce", "gradients being summed", sent[done], arrived[done])]
    else:
        found = [
            ("server's outbound link", "models on their way", assigned, began),
            ("server's inbound link", "gradients on their way", ended, arrived),
            ("server", "gradients at the server", arrived, over),
        ]
    for name, content, begin, end in found:
        begin, end = _clipped(window, begin, end)
        yield Resource(name, content, begin[begin < end], end[begin < end])


def _busy_slices(thread: int, resource: Resource) -> Iterator[str]:
    """Yield the stretches of time in which a resource was busy, with the number of messages in each."""
    order = np.argsort(resource.begin, kind="stable")
    begin, end = resource.begin[order], np.maximum.accumulate(resource.end[order])
    first = np.flatnonzero(np.append(True, begin[1:] > end[:-1]))
    after = np.append(first[1:], len(begin))
    columns = (column.tolist() for column in (begin[first], end[after - 1], after - first))
    name = _json(resource.content)
    for start, stop, count in zip(*columns, strict=True):
        yield _slice("network and server", thread, start, stop, name, "busy", f'"messages":{count}')


def _level(resource: Resource, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Return how many messages occupy a resource, and from when: (moments, numbers), from the window's start to its end."""
    moments = np.concatenate([[window[0]], resource.begin, resource.end])
    change = np.repeat([0.0, 1.0, -1.0], [1, len(resource.begin), len(resource.end)])
    when, place = np.unique(moments, return_inverse=True)
    level = np.cumsum(np.bincount(place, weights=change)).astype(int)
    told = (np.diff(level, prepend=-1) != 0) & (when < window[1])  # what is there at the end has not gone then
    return when[told], level[told]


# --- the model -----------------------------------------------------------------------------------------------------------


def _updates(tape: Tape, window: Window) -> Iterator[str]:
    """Yield the instants at which model versions were made."""
    moments, versions = _inside(window, tape.update_times, 1 + np.arange(tape.updates))
    about = f'"ph":"i","s":"t","name":"update","cat":"update","pid":{PROCESSES["model"]},"tid":{UPDATES}'
    for moment, version in zip(moments.tolist(), versions.tolist(), strict=True):
        yield f'{{{about},"ts":{_microseconds(moment)},"args":{{"version":{version}}}}}'


# --- events --------------------------------------------------------------------------------------------------------------


def _slice(process: str, thread: int, begin: int, end: int, name: str, category: str, about: str) -> str:
    """Return the two events of a slice; `name` is JSON, and `about` the inside of a JSON object."""
    row = f'"pid":{PROCESSES[process]},"tid":{thread},"ts":'
    what = f'"ph":"B","name":{name},"cat":"{category}",{row}{_microseconds(begin)}'
    return f'{{{what},"args":{{{about}}}}},\n{{"ph":"E",{row}{_microseconds(end)}}}'


def _counter(name: str, unit: str, process: str, thread: int, moments: np.ndarray, values: np.ndarray) -> Iterator[str]:
    """Yield a counter's values at moments (nanoseconds); each holds until the next."""
    about = f'"ph":"C","name":{_json(name)},"pid":{PROCESSES[process]},"tid":{thread}'
    for moment, value in zip(moments.tolist(), values.tolist(), strict=True):
        yield f'{{{about},"ts":{_microseconds(moment)},"args":{{"{unit}":{value!r}}}}}'


def _nanoseconds(seconds: Any) -> np.ndarray:
    """Return times as whole nanoseconds, in the same order, equal times equal; all times beyond any window become one."""
    whole: np.ndarray = np.rint(np.minimum(seconds, 1.01 * LONGEST) * 1e9).astype(np.int64)
    return whole


def _microseconds(nanoseconds: int) -> str:
    """Return nanoseconds as the exact decimal number of microseconds."""
    return f"{nanoseconds // 1000}.{nanoseconds % 1000:03d}"


def _clipped(window: Window, begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return stretches, seconds, cut to the window, nanoseconds; what lies outside has no length."""
    return np.clip(_nanoseconds(begin), *window), np.clip(_nanoseconds(end), *window)


def _inside(window: Window, moments: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return those of the moments, seconds, that lie in the window, as nanoseconds, and their values."""
    when = _nanoseconds(moments)
    inside = (window[0] <= when) & (when <= window[1])
    return when[inside], np.asarray(values)[inside]


def _json(value: Any) -> str:
    """Return a value as JSON, without the escapes that Perfetto does not read."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
