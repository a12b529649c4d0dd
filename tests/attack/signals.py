"""Ctrl-C at a random moment of all that takes long: it is heard soon, nothing is half written, what was done is handed back.

Many in one process: a timer of microseconds calls the handler of Ctrl-C wherever Python is. A timer of wall-clock time falls
anywhere; one of processor time also tells how long a signal waited for code that does not listen. What Python itself loses is
counted apart: an exception that comes while a destructor or a callback of the garbage collector runs is printed and ignored.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import pathlib
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import simsgd as sg
from simsgd.costs import Costs
from simsgd.recording.recorder import BrokenOffError, Recording
from simsgd.tape import prefix

from .judging import Failure

HEARD = 1.0
"""Processor seconds within which Ctrl-C must come out."""
SIZE = 100.0
LOST = "ignored by Python in a destructor"


@dataclasses.dataclass(frozen=True)
class Work:
    """Something that takes a while.

    Attributes:
        do: does it, and returns its result.
        examine: raises Failure if the result, or what is left after an interruption, is not as it must be: (result or None,
            the interruption or None).
    """

    do: Callable[[], Any]
    examine: Callable[[Any, BaseException | None], None]


class Works:
    """All that is interrupted, on one small cluster and problem, in a folder of its own."""

    def __init__(self, folder: pathlib.Path) -> None:
        network = sg.networks.ParameterServer(sg.networks.Link(latency=0.01, bandwidth=1000.0))
        faults = (sg.faults.Crashes(between=sg.times.Exponential(9.0), lasting=sg.times.Exponential(2.0)),)
        compute = sg.times.SlowSpells(sg.times.Exponential(1.0), slowness=3.0, normal_seconds=4.0, slow_seconds=2.0)
        self.cluster = sg.Cluster(4, compute, network, faults)
        self.problem, self.optimizer = sg.problems.quadratic(noise=0.1), sg.optimizers.sgd(0.05)
        self.target = sg.Target("loss", at_most=1e-9, within=sg.Seconds(60.0))
        self.tape = self.record()
        self.runs = {"simulate": self.simulate(), "replay": self.replay()}
        self.tuning = self.tune()
        self.path, self.saved, self.other = folder / "saved.nc", (self.tape, self.record(seed=1)), folder / "read.nc"
        self.tape.save(self.path)
        self.runs["replay"].save(self.other)

    def record(self, seed: int = 0) -> sg.Tape:
        return sg.record(sg.AsyncSGD(), self.cluster, sg.Seconds(150.0), seed, SIZE, progress=False)

    def simulate(self) -> sg.Run:
        given = {"message_bytes": SIZE, "progress": False}
        return sg.simulate(sg.AsyncSGD(), self.problem, self.cluster, self.optimizer, sg.Seconds(150.0), **given)

    def replay(self) -> sg.Run:
        return sg.replay(self.tape, self.problem, self.optimizer, progress=False)

    def tune(self) -> Any:
        given = {"message_bytes": SIZE, "progress": False, "until": self.target}
        return sg.studies.tune(sg.AsyncSGD(), self.problem, self.cluster, [0.01, 0.03, 0.1], **given)

    def save(self) -> None:
        self.saved[1].save(self.path)

    def load(self) -> sg.Run:
        return sg.Run.load(self.other)

    def advance(self) -> sg.Tape:
        self.recording = Recording(sg.AsyncSGD(), self.cluster, Costs.of(sg.AsyncSGD(), SIZE))
        for part in range(1, 11):
            self.recording.advance(seconds=15.0 * part)
        return self.recording.tape()

    def table(self) -> dict[str, Work]:
        """Return all works by name."""
        return {
            "record": Work(self.record, self.examine_tape),
            "advance": Work(self.advance, self.examine_advance),
            "simulate": Work(self.simulate, lambda run, error: self.examine_run(self.runs["simulate"], run, error)),
            "replay": Work(self.replay, lambda run, error: self.examine_run(self.runs["replay"], run, error)),
            "tune": Work(self.tune, self.examine_tuning),
            "save": Work(self.save, self.examine_file),
            "load": Work(self.load, lambda run, error: _check(error is not None or run == self.runs["replay"], "another run")),
        }

    # --- what must hold --------------------------------------------------------------------------------------------------

    def examine_tape(self, tape: sg.Tape | None, error: BaseException | None) -> None:
        """The whole tape, or its beginning."""
        tape = getattr(error, "partial", None) if tape is None else tape
        if tape is not None:
            tape.check()
            _check(tape in (self.tape, prefix.until(self.tape, tape.end, tape.updates, by_time=True)), "another tape")

    def examine_advance(self, tape: sg.Tape | None, error: BaseException | None) -> None:
        """The whole tape, or its beginning; a recording that was interrupted goes on exactly, or refuses to."""
        if error is not None and getattr(self, "recording", None) is not None:
            self.examine_tape(self.recording.tape(), None) if self.recording.now else None
            try:
                self.recording.advance(seconds=150.0)
            except BrokenOffError:
                return
            tape = self.recording.tape()
        self.examine_tape(tape, error)

    def examine_run(self, whole: sg.Run, run: sg.Run | None, error: BaseException | None) -> None:
        """The whole run, or its beginning, marked as such."""
        if run is not None:
            _check(run == whole, "another run")
        run = getattr(error, "partial", None)
        if run is not None:
            run.tape.check(), run.summary()
            count = run.dataset.sizes["evaluation"]
            _check(run.status == "interrupted", f"status {run.status!r}")
            _check(run.dataset["loss"].values.tolist() == whole.dataset["loss"].values[:count].tolist(), "other losses")

    def examine_tuning(self, tuning: Any, error: BaseException | None) -> None:
        """All runs, or the first of them."""
        tuning = getattr(error, "partial", None) if tuning is None else tuning
        if isinstance(tuning, sg.Run | sg.Tape):  # before the first step size was through: what was being made
            (tuning.tape if isinstance(tuning, sg.Run) else tuning).check()
        elif tuning is not None:
            same = [
                one == other for one, other in zip(tuning.runs, self.tuning.runs, strict=False) if one.status != "interrupted"
            ]
            _check(all(same), "other runs")

    def examine_file(self, nothing: None, error: BaseException | None) -> None:
        """The old file or the new one, whole, and nothing beside it."""
        _check(sg.Tape.load(self.path) in self.saved, "neither the old tape nor the new one")
        beside = sorted(each.name for each in self.path.parent.iterdir())
        _check(beside == sorted([self.path.name, self.other.name]), f"the folder holds {beside}")
        self.saved[0].save(self.path)


def _check(holds: bool, reason: str) -> None:
    if not holds:
        raise Failure(reason)


@dataclasses.dataclass
class Alarm:
    """When Ctrl-C was due and when it was heard, processor seconds; NaN for not at all."""

    due: float = float("nan")
    heard: float = float("nan")


@contextlib.contextmanager
def interrupted(seconds: float, by_processor: bool) -> Iterator[Alarm]:
    """Do once in what follows what Ctrl-C does, after so many seconds of the wall's or the processor's clock."""
    which, name = (signal.ITIMER_PROF, signal.SIGPROF) if by_processor else (signal.ITIMER_REAL, signal.SIGALRM)
    alarm = Alarm(due=time.process_time() + seconds if by_processor else float("nan"))

    def ring(number: int, frame: FrameType | None) -> None:
        alarm.heard = time.process_time()
        handler = signal.getsignal(signal.SIGINT)
        assert callable(handler)
        handler(signal.SIGINT, frame)

    before = signal.signal(name, ring)
    signal.setitimer(which, seconds)
    try:
        yield alarm
    finally:
        signal.setitimer(which, 0)
        signal.signal(name, before)


def attack(work: Work, took: float, chance: random.Random) -> str:
    """Interrupt one work somewhere and return what came of it.

    Raises:
        Failure: if something does not hold.
    """
    result = error = None
    alarm = Alarm()
    by_processor = chance.random() < 0.3
    try:
        with interrupted(max(1e-6, chance.random() * took * 1.05), by_processor) as alarm:
            result = work.do()
    except KeyboardInterrupt as interruption:
        error = interruption
    except BaseException as other:
        raise Failure(f"{type(other).__name__} instead of KeyboardInterrupt: {other}") from other
    waited = time.process_time() - (max(alarm.due, alarm.heard - HEARD) if by_processor else alarm.heard)
    if error is not None and waited > HEARD + by_processor * HEARD:
        raise Failure(f"heard after {waited:.2f} processor seconds")
    work.examine(result, error)
    if error is None:
        return "done before" if alarm.heard != alarm.heard else "unheard"
    return "interrupted" if getattr(error, "partial", None) is None else "handed back"


@contextlib.contextmanager
def printed() -> Iterator[Callable[[], str]]:
    """Give what is written to the standard error in what follows, by threads and libraries too."""
    with tempfile.TemporaryFile() as caught:
        own = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:
            yield lambda: (sys.stderr.flush(), caught.seek(0), caught.read().decode(errors="replace"))[2]
        finally:
            os.dup2(own, 2)
            os.close(own)


def campaign(count: int, seed: int) -> tuple[collections.Counter[str], list[str]]:
    """Interrupt `count` works and return what came of them, and what failed."""
    seen: collections.Counter[str] = collections.Counter()
    failed: list[str] = []
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background is born deaf to Ctrl-C
    with tempfile.TemporaryDirectory() as folder:
        works = Works(pathlib.Path(folder)).table()
        took = {}
        for name, work in works.items():
            began = time.perf_counter()
            work.examine(work.do(), None)
            took[name] = time.perf_counter() - began
        for each in range(seed, seed + count):
            chance = random.Random(f"signals {each}")
            name = chance.choice(sorted(works))
            with printed() as so_far:
                try:
                    outcome = attack(works[name], took[name], chance)
                except Failure as failure:
                    outcome = "FAILED"
                    failed.append(f"seed {each}: {name}: {failure}")
                except BaseException as error:
                    outcome = "FAILED"
                    failed.append(f"seed {each}: {name}, examined: {error!r:.300}")
                said = so_far()
            ignored = said.startswith("Exception ignored in")  # perhaps by a destructor of what was interrupted before
            outcome = LOST if outcome == "unheard" and ignored else outcome
            seen[f"{name}: {outcome}"] += 1
            if outcome == "unheard" or ("Traceback" in said and not ignored and outcome != "FAILED"):
                failed.append(f"seed {each}: {name}, {outcome}, printed: {said:.1500}")
    return seen, failed


def main(count: int, seed: int) -> list[str]:
    """Interrupt, say what was seen, and return what failed."""
    began = time.monotonic()
    seen, failed = campaign(count, seed)
    print(f"{count:,} interruptions from seed {seed}, {time.monotonic() - began:.0f} s")
    print(*(f"{times:>8,}  {outcome}" for outcome, times in sorted(seen.items())), sep="\n")
    print(*failed[:20], f"{len(failed)} failed", sep="\n")
    return failed
