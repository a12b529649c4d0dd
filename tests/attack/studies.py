"""Studies that are killed at random moments, again and again until a process of theirs finishes: nothing lost, the same bits.

A process runs a small study in a folder and says what it is about to do: record, play, write a checkpoint, keep. It is killed
by SIGKILL at a random moment after one of these. All that it said to be kept must be there, whole; another process goes on from
it; and when one has come to the end, the folder holds what an uninterrupted study holds, hash for hash.
`python -m tests.attack studies --count 100 --seed 0`: so many kills.
"""

from __future__ import annotations

import collections
import functools
import multiprocessing
import os
import pathlib
import random
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

import simsgd as sg
from simsgd.studies import study
from simsgd.studies.store import Checkpoint, Store, groups
from simsgd.support import files

LANES, CELLS = 2, 12
PATIENCE = 300.0
"""Seconds without a word after which a process is taken to hang."""
BESIDE = 0.1
"""How often another process runs the same study in the same folder at the same time, and is left alone."""
FEW = 20
"""Studies that may fail before the attack gives up."""
LONGEST = {"start": 2.0, "record": 0.02, "play": 1.0, "checkpoint": 0.01, "keep": 0.04}
"""By what a process is about to do, the seconds until it is killed, at most."""


def made(folder: pathlib.Path) -> sg.Study:
    """Return a small study in a folder."""
    cluster = sg.Cluster(workers=5, compute=sg.times.Exponential(mean=0.1))
    problem = sg.problems.quadratic()
    methods = {"async": sg.methods.asynchronous, "sync": sg.methods.minibatch}

    def make(method: Any, step_size: float, seed: int) -> sg.Cell:
        return sg.Cell(method(step_size), problem, cluster, until=sg.Seconds(60), seed=seed)

    return sg.Study(make, {"method": methods, "step_size": [0.05, 0.1], "seed": range(3)}, folder=folder, lanes=LANES)


def work(folder: pathlib.Path, pipe: Connection) -> None:
    """Run the study, and say what is about to be done, or has been."""
    warnings.simplefilter("error")
    lock = threading.Lock()

    def say(word: str, kept: Sequence[str] = ()) -> None:
        with lock:
            pipe.send((word, list(kept)))

    def saying(word: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*given: Any) -> Any:
            say(word)
            return function(*given)

        return wrapper

    def keep(store: Store, outcomes: Any, save: Callable[..., Any] = Store.save) -> Any:
        say("keep")
        path = save(store, outcomes)
        say("kept", [each.key for each in outcomes])
        return path

    def load(checkpoint: Checkpoint, load: Callable[..., Any] = Checkpoint.load) -> Any:
        state = load(checkpoint)
        say("nothing to go on from" if state is None else "goes on from a checkpoint")
        return state

    study.CHECKPOINTS = 0.0  # as often as possible
    study.attempt = saying("record", study.attempt)
    study.play_group = saying("play", study.play_group)
    Checkpoint.save, Checkpoint.load, Store.save = saying("checkpoint", Checkpoint.save), load, keep
    say("start")
    made(folder).run(progress=False)
    say("end")


class Victim:
    """A process that makes a study."""

    def __init__(self, context: Any, folder: pathlib.Path) -> None:
        self.pipe, theirs = context.Pipe(duplex=False)
        self.process = context.Process(target=work, args=(folder, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.kept: set[str] = set()
        self.words: collections.Counter[str] = collections.Counter()

    def said(self) -> Iterator[str]:
        """Yield what it says it is about to do, until it ends."""
        while True:
            assert self.pipe.poll(PATIENCE), f"no word in {PATIENCE:g} s"
            try:
                word, kept = self.pipe.recv()
            except EOFError:
                return
            self.kept |= set(kept)
            self.words[word] += 1
            yield word

    def kill(self) -> None:
        """Kill it, and hear what it had said before."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()
        collections.deque(self.said(), maxlen=0)


def killed(context: Any, chance: random.Random, folder: pathlib.Path, seen: collections.Counter[str]) -> bool:
    """Let a process go on with a study and kill it; return whether it had finished before.

    Raises:
        AssertionError: if something that it said to be kept is not there.
    """
    victim, beside = Victim(context, folder), Victim(context, folder) if chance.random() < BESIDE else None
    moment, left = chance.choice(list(LONGEST)), chance.choice((1, 1, 1, 2))
    words = victim.said()
    for word in words:
        left -= word == moment
        if word == "end" or not left:
            break
    finished = word == "end"
    time.sleep(chance.random() * LONGEST.get(word, 0.0))
    victim.kill()
    seen["goes on from a checkpoint"] += victim.words["goes on from a checkpoint"]
    if not finished:
        assert not left, f"it ended by itself, with {victim.process.exitcode}, after {word}"
        seen[f"killed after {word}"] += 1
    whole(folder, victim.kept, seen)
    if beside:
        assert [*beside.said()][-1] == "end", "the process beside the killed one did not come to its end"
        seen["a process beside the killed one came to its end"] += 1
    return finished or bool(beside)


def whole(folder: pathlib.Path, kept: set[str], seen: collections.Counter[str]) -> None:
    """Assert that a folder is whole, and holds what was said to be kept."""
    if folder.exists():
        lost = kept - set(Store(folder).outcomes(kept))  # its warnings are errors
        assert not lost, f"{len(lost)} cells were said to be kept and are lost"
        seen["files that killed processes were writing"] += len(leftovers(folder))


def leftovers(folder: pathlib.Path) -> list[pathlib.Path]:
    return [path for path in folder.rglob("*") if files.LEFTOVER.fullmatch(path.name)]


def digests(folder: pathlib.Path) -> dict[str, str]:
    """Return the hash of each outcome in a folder, by its cell's key."""
    store = Store(folder)
    found = [groups.load(path) for path in (store.folder / "cells").glob("*.nc")]
    return {cell["key"]: groups.digest(group.outcome(row)) for group in found for row, cell in enumerate(group.cells)}


def uninterrupted(context: Any, folder: pathlib.Path) -> dict[str, str]:
    """Return the hashes of a study that nobody interrupts."""
    victim = Victim(context, folder)
    assert [*victim.said()][-1] == "end"
    victim.process.join()
    return digests(folder)


def kills(seen: collections.Counter[str]) -> int:
    return sum(times for what, times in seen.items() if what.startswith("killed"))


def attacked(context: Any, chance: random.Random, expected: dict[str, str], count: int, seen: collections.Counter[str]) -> None:
    """Kill the processes of one study until one finishes, or until so many have been killed in all."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, finished = pathlib.Path(temporary) / "study", False
        while not finished and kills(seen) < count:
            finished = killed(context, chance, folder, seen)
            print(f"{kills(seen):,} of {count:,} kills", file=sys.stderr, flush=True)
        found = digests(folder) if finished else uninterrupted(context, folder)
        assert found == expected, f"{sum(found.get(key) != value for key, value in expected.items())} cells differ"
        left = [path for path in folder.rglob("*") if path.name.endswith(".damaged")]
        assert not left, f"left: {left}"
        seen["studies finished, hash for hash as uninterrupted"] += 1


def campaign(count: int, seed: int) -> tuple[collections.Counter[str], list[str]]:
    """Kill so many processes of studies; return what was seen, and what failed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # what takes long to import is imported once
    seen: collections.Counter[str] = collections.Counter()
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("error")
        expected, number = uninterrupted(context, pathlib.Path(temporary) / "study"), seed
        assert len(expected) == CELLS
        while kills(seen) < count and len(failed) < FEW:
            try:
                attacked(context, random.Random(number), expected, count, seen)
            except Exception as error:
                failed.append(f"study {number}: {type(error).__name__}: {error}")
            number += 1
    return seen, failed


def main(count: int, seed: int) -> list[str]:
    """Kill, say what was seen, and return what failed."""
    began = time.monotonic()
    seen, failed = campaign(count, seed)
    print(f"{count:,} kills from seed {seed} in {time.monotonic() - began:.0f} s: {dict(seen)}")
    print(*failed[:20], f"{len(failed)} failed", sep="\n")
    return failed
