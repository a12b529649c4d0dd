"""Random recordings: each is checked, repeated, cut into pieces, cut short, saved, and looked at; or ends with a good error."""

from __future__ import annotations

import dataclasses
import pathlib
import random
import tempfile
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import simsgd as sg
from simsgd.costs import Costs
from simsgd.method import protocol_of
from simsgd.recording.recorder import Recording
from simsgd.replaying.reading import Reading
from simsgd.stopping import limits
from simsgd.times.stretching import follows_clock

from .budget import SECONDS, OverBudget, StillGoing, budget
from .expressions import Call, Expression, make, text
from .generate import BATCH, Generator, Refusal
from .judging import Failure, judge
from .limits import lowered
from .themes import Case

FILED = 0.1
"""The share of tapes, and of runs, that are saved and loaded."""


def case(seed: int) -> tuple[Case, list[Refusal]]:
    """Return a random recording, and what was refused on the way."""
    draw = Generator(f"recordings {seed}")
    protocol = draw.protocol()
    given: dict[str, Expression] = {
        "protocol": draw.method(protocol) if draw.likely(0.3) else protocol,
        "cluster": draw.cluster(make(protocol).synchronous),
        "until": draw.end(),
        "seed": draw.seed(),
        "message_bytes": draw.message_bytes(),
    }
    if text(given["until"]).startswith("sg.Samples"):
        given["batch_size"] = repr(BATCH)
    return Case(seed, Call("sg.record", tuple(given.items()))), draw.refusals


def play(attacked: Case) -> str:
    """Attack one recording and return how it ended: "a tape", or the kind of the error.

    Raises:
        Failure: if something does not hold.
    """
    given = {name: make(value) for name, value in attacked.call.arguments}
    written = text(attacked.call)
    tape, error = attempt("record", lambda: sg.record(**given, progress=False))
    if error is not None:
        kind = judge(error, written)
        _, repeated = attempt("record again", lambda: sg.record(**given, progress=False))
        if type(repeated) is not type(error):
            raise Failure(f"another error the second time: {error!r:.200} and {repeated!r:.200}")
        consult((handed_back,), error, given, attacked.seed)
        return kind
    consult(ORACLES, tape, given, attacked.seed)
    return "a tape"


def consult(
    oracles: tuple[Callable[..., None], ...], result: Any, given: dict[str, Any], seed: int, seconds: float = SECONDS
) -> None:
    """Ask one oracle after the other, each with random numbers of its own; raise Failure if something does not hold."""
    for oracle in oracles:
        chance = random.Random(f"{oracle.__name__} {seed}")
        _, error = attempt(oracle.__name__, lambda oracle=oracle, chance=chance: oracle(result, given, chance), seconds)
        if error is not None:
            failure = error if isinstance(error, Failure) else Failure(f"{oracle.__name__}: {error!r:.300}")
            failure.oracle = oracle
            raise failure from error


def attempt(what: str, call: Callable[[], Any], seconds: float = SECONDS) -> tuple[Any, BaseException | None]:
    """Return what a call returns, or what it raises, within the budget; warnings are errors."""
    try:
        with budget(seconds), warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", "optimizer .* has the step size")  # said on purpose
            return call(), None
    except OverBudget as over:
        raise Failure(f"hang in {what}: {over}") from over
    except (StillGoing, KeyboardInterrupt):
        raise
    except BaseException as error:
        return None, error


def same(what: str, one: Any, other: Any) -> None:
    """Raise Failure unless two tapes, or runs, are equal."""
    if one != other:
        raise Failure(f"{what}: {one!r} is not {other!r}{differing(one, other)}")


def differing(one: Any, other: Any) -> str:
    """Return which columns of two tapes differ."""
    from simsgd.tape import dataset

    if not (isinstance(one, sg.Tape) and isinstance(other, sg.Tape)):
        return ""
    columns = [dataset.columns(tape) for tape in (one, other)]
    names = [
        name
        for name in columns[0]
        if not np.array_equal(columns[0][name], columns[1][name], equal_nan=columns[0][name].dtype.kind == "f")
    ]
    return f" (end {one.end!r} and {other.end!r}, differing: {names})"


def recorded(given: dict[str, Any], until: Any) -> sg.Tape:
    return sg.record(**(given | {"until": until}), progress=False)


def hashes(seeds: Iterable[int]) -> list[str | None]:
    """Return the content hashes of random recordings; None for those that end with an error."""
    found = []
    for seed in seeds:
        given = {name: make(value) for name, value in case(seed)[0].call.arguments}
        with lowered():
            tape, _ = attempt("record", lambda given=given: sg.record(**given, progress=False))
        found.append(None if tape is None else tape.content_hash)
    return found


# --- what must hold of a tape --------------------------------------------------------------------------------------------


def checked(tape: sg.Tape, given: dict[str, Any], chance: random.Random) -> None:
    tape.check()


def again(tape: sg.Tape, given: dict[str, Any], chance: random.Random) -> None:
    same("again", recorded(given, given["until"]), tape)


def moments_of(tape: sg.Tape, chance: random.Random, count: int) -> list[float]:
    """Return moments from 0 to the tape's end, some of them those at which something happened."""
    known = np.concatenate(
        [tape.update_times, tape.of_all_jobs("assigned"), tape.discarded.time, tape.down.start, tape.down.end, [0.0]]
    )
    happened = [float(moment) for moment in known[np.isfinite(known)] if moment <= tape.end]
    return sorted(chance.choice(happened) if chance.random() < 0.5 else chance.uniform(0, tape.end) for _ in range(count))


def in_pieces(tape: sg.Tape, given: dict[str, Any], chance: random.Random) -> None:
    """Advancing by random seconds and updates writes the same tape."""
    method, by_time = given["protocol"], isinstance(given["until"], sg.Seconds)
    end = limits(given["until"], given.get("batch_size", 1))
    recording = Recording(protocol_of(method), given["cluster"], Costs.of(method, given["message_bytes"]), given["seed"])
    for moment in moments_of(tape, chance, chance.randint(1, 8)):
        if moment < tape.end and chance.random() < 0.7:
            recording.advance(seconds=moment)
            recording.tape().check()
        elif recording.version < tape.updates:
            recording.advance(updates=chance.randint(recording.version, tape.updates - (not by_time)), seconds=end.seconds)
    recording.advance(*end)
    same("pieces", recording.tape(), tape)


def cut_short(tape: sg.Tape, given: dict[str, Any], chance: random.Random) -> None:
    """A tape read up to a moment, or an update, is the shorter recording."""
    for moment in moments_of(tape, chance, 2):
        if moment > 0:
            reading = Reading(tape)
            if moment < tape.end or isinstance(given["until"], sg.Seconds):
                reading.advance(seconds=moment)
                same(f"cut at {moment!r} s", reading.tape(), recorded(given, sg.Seconds(moment)))
    if tape.updates:
        reading, updates = Reading(tape), chance.randint(1, tape.updates)
        reading.advance(updates=updates)
        same(f"cut at {updates} updates", reading.tape(), recorded(given, sg.Updates(updates)))


def handed_back(error: BaseException, given: dict[str, Any], chance: random.Random) -> None:
    """What an error hands back is the recording until just before it."""
    tape = getattr(error, "partial", None)
    if tape is not None:
        checked(tape, given, chance)
        in_a_file(tape, given, chance)
        seen(tape, given, chance)
        if tape.end > 0:
            same("partial", tape, recorded(given, sg.Seconds(tape.end)))


def in_a_file(tape: sg.Tape, given: dict[str, Any], chance: random.Random) -> None:
    """A tape comes back from its file as it was."""
    loaded = loaded_again(tape, chance)
    if loaded is not None:
        same("file", loaded, tape)
        if loaded.header != tape.header:
            raise Failure(f"file: header {loaded.header} is not {tape.header}")


def loaded_again(saved: Any, chance: random.Random) -> Any:
    """Return what comes back from the file of a tape or a run; None for most, as files take longer than all else together."""
    if chance.random() > FILED:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "saved.nc"
        saved.save(path)
        return type(saved).load(path)


def seen(tape: sg.Tape, given: dict[str, Any], chance: random.Random) -> None:
    """What one looks at does not raise, and each worker's shares of time add up."""
    tape.to_dataframe(), tape.stretches(), repr(tape), tape._repr_html_(), tape.staleness, tape.queueing, tape.barrier
    shares = tape.shares()
    total = sum(shares.values())
    if min(share.min() for share in shares.values()) < 0 or not np.allclose(total, 1.0, rtol=1e-9):
        raise Failure(f"shares: {shares}")


def common_random_numbers(tape: sg.Tape, given: dict[str, Any], chance: random.Random) -> None:
    """The k-th compute time of each worker is the same under another protocol, where the law does not follow the clock."""
    if "rubbish" in source_of(given["cluster"]) or follows_clock(given["cluster"].compute):
        return
    together, method = isinstance(given["cluster"].network, sg.networks.AllReduce), given["protocol"]
    if (tape.of_all_jobs("steps") != Costs.of(method).usual.steps).any():  # jobs that the protocol made longer
        return
    usual = together or not isinstance(protocol_of(method), sg.MinibatchSGD)
    protocol = sg.MinibatchSGD(wait=False) if usual else sg.AsyncSGD()
    try:
        whole = dataclasses.replace(method, protocol=protocol) if isinstance(method, sg.Method) else protocol
        other = recorded(given | {"protocol": whole}, sg.Seconds(tape.end))
    except (sg.StuckError, sg.BoundError, sg.times.EndOfRecordingError, ValueError):
        return
    times = [
        {(w, j): (b, e) for w, j, b, e in zip(t.worker.tolist(), t.job.tolist(), t.began, t.ended, strict=True)}
        for t in (tape, other)
    ]
    for job in times[0].keys() & times[1].keys():
        (began, ended), (other_began, other_ended) = times[0][job], times[1][job]
        rounding = 4 * np.spacing(max(ended, other_ended))
        if abs((ended - began) - (other_ended - other_began)) > rounding:
            raise Failure(
                f"common random numbers: {job} took {ended - began!r} and, under {protocol!r}, {other_ended - other_began!r}"
            )


def cluster_in_a_file(tape: sg.Tape, given: dict[str, Any], chance: random.Random) -> None:
    """The cluster's file describes the same cluster."""
    if "rubbish" in source_of(given["cluster"]):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "cluster.toml"
        given["cluster"].save(path)
        if sg.Cluster.load(path) != given["cluster"]:
            raise Failure(f"cluster's file: {sg.Cluster.load(path)!r} is not {given['cluster']!r}")


def source_of(thing: Any) -> str:
    """Return the modules of all the classes in a description."""
    if dataclasses.is_dataclass(thing):
        return type(thing).__module__ + "".join(source_of(getattr(thing, field.name)) for field in dataclasses.fields(thing))
    return "".join(map(source_of, thing)) if isinstance(thing, tuple) else ""


ORACLES = (checked, again, in_pieces, cut_short, in_a_file, seen, common_random_numbers, cluster_in_a_file)
