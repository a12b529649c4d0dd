"""Studies that are killed at random moments, again and again until one of their processes finishes: nothing lost, the same bits.

A process makes a small study in a folder and says what it is about to do: record, play, keep. It is killed by SIGKILL at a
random moment after one of these. All that it said to be kept must be there, whole; another process goes on from it; and when
one has come to the end, the folder holds what an uninterrupted study holds, hash for hash.
`python -m tests.attack studies --count 100 --seed 0`: so many kills.
"""

from __future__ import annotations

import collections
import multiprocessing
import os
import pathlib
import random
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

import simsgd as sg
from simsgd.recording.attempt import Recorded, attempt
from simsgd.studies.grouping import Grouping
from simsgd.studies.playing import ask, play
from simsgd.studies.store import Store, described, groups
from simsgd.support import files

LANES = 2
PATIENCE = 300.0
"""Seconds without a word after which a process is taken to hang."""
LONGEST = {"start": 2.0, "record": 0.02, "play": 1.0, "checkpoint": 0.01, "keep": 0.04}
"""By what a process is about to do, the seconds until it is killed, at most."""


def cells(number: int) -> dict[tuple[str, float, int], sg.Cell]:
    """Return the cells of a small study, which differ from those of another number."""
    cluster = sg.Cluster(workers=5, compute=sg.times.Exponential(mean=0.1 + number / 1000))
    problem = sg.problems.quadratic()
    target = sg.Target("loss", at_most=0.02, within=sg.Seconds(20), kept=sg.Seconds(1))
    methods = {"async": sg.methods.asynchronous, "sync": sg.methods.minibatch}
    return {
        (name, size, seed): sg.Cell(method(size), problem, cluster, until=target, seed=seed)
        for name, method in methods.items()
        for size in (0.05, 0.1)
        for seed in range(3)
    }


def study(number: int, folder: pathlib.Path, pipe: Connection) -> None:
    """Make what is missing of a study, and say what is about to be done, or has been."""
    warnings.simplefilter("error")
    pipe.send(("start", ""))
    store, wanted, grouping = Store(folder), cells(number), Grouping(1e9, LANES)
    keys = {place: described(cell.identity, LANES) for place, cell in wanted.items()}
    there = store.outcomes(key.key for key in keys.values())
    missing = {place: cell for place, cell in wanted.items() if keys[place].key not in there}
    for group in grouping.groups(missing, 1):
        those, tapes = [missing[place] for place in group.places], {}
        for cell in those:
            if cell.tape_key not in tapes:
                pipe.send(("record", ""))
                tape = store.tape(cell.identity.tape)
                if tape is None:
                    tape = attempt(ask(cell)).tape
                    store.save_tape(cell.identity.tape, tape)
                tapes[cell.tape_key] = Recorded(tape)
        checkpoint = store.checkpoint(keys[group.places[0]].key[:16])
        checkpoint.load()
        pipe.send(("checkpoint", ""))
        checkpoint.save({"carry": np.arange(100_000, dtype=np.uint32)})
        pipe.send(("play", ""))
        found = play(those, tapes, group.lanes)
        pipe.send(("keep", ""))
        store.save({keys[place]: outcome for place, outcome in zip(group.places, found, strict=True)})
        pipe.send(("kept", [keys[place].key for place in group.places]))
        checkpoint.remove()
    pipe.send(("end", ""))


class Victim:
    """A process that makes a study."""

    def __init__(self, context: Any, number: int, folder: pathlib.Path) -> None:
        self.pipe, theirs = context.Pipe(duplex=False)
        self.process = context.Process(target=study, args=(number, folder, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.kept: set[str] = set()

    def said(self) -> Iterator[str]:
        """Yield what it says it is about to do, until it ends."""
        while True:
            assert self.pipe.poll(PATIENCE), f"no word in {PATIENCE:g} s"
            try:
                word, kept = self.pipe.recv()
            except EOFError:
                return
            self.kept |= set(kept)
            yield word

    def kill(self) -> None:
        """Kill it, and hear what it had said before."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()
        collections.deque(self.said(), maxlen=0)


def killed(context: Any, chance: random.Random, number: int, folder: pathlib.Path, seen: collections.Counter[str]) -> bool:
    """Let a process go on with a study and kill it; return whether it had finished before.

    Raises:
        AssertionError: if something that it said to be kept is not there.
    """
    victim = Victim(context, number, folder)
    moment, left = chance.choice(list(LONGEST)), chance.choice((1, 1, 2, 3))
    words = victim.said()
    for word in words:
        left -= word == moment
        if word == "end" or not left:
            break
    finished = word == "end"
    time.sleep(chance.random() * LONGEST.get(word, 0.0))
    victim.kill()
    if not finished:
        assert not left, f"it ended by itself, with {victim.process.exitcode}, after {word}"
        seen[f"killed after {word}"] += 1
    whole(folder, victim.kept, seen)
    return finished


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


def uninterrupted(context: Any, number: int, folder: pathlib.Path) -> dict[str, str]:
    """Return the hashes of a study that nobody interrupts."""
    victim = Victim(context, number, folder)
    assert [*victim.said()][-1] == "end"
    victim.process.join()
    return digests(folder)


def attacked(context: Any, chance: random.Random, number: int, most: int, seen: collections.Counter[str]) -> int:
    """Kill the processes of one study until one finishes, or so many are killed; return how many were."""
    with tempfile.TemporaryDirectory() as made:
        straight, folder, kills = pathlib.Path(made) / "straight", pathlib.Path(made) / "study", 0
        expected = uninterrupted(context, number, straight)
        while kills < most and not killed(context, chance, number, folder, seen):
            kills += 1
        found = uninterrupted(context, number, folder)
        assert found == expected, f"{sum(found.get(key) != value for key, value in expected.items())} cells differ"
        assert len(expected) == len(cells(number))
        left = [path for path in folder.rglob("*") if path.name.endswith(".damaged")]
        assert not left, f"left: {left}"
        seen["studies finished, hash for hash as uninterrupted"] += 1
    return kills


def campaign(count: int, seed: int) -> tuple[collections.Counter[str], list[str]]:
    """Kill so many processes of studies; return what was seen, and what failed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # what takes long to import is imported once
    seen: collections.Counter[str] = collections.Counter()
    failed: list[str] = []
    kills, number = 0, seed
    while kills < count:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                kills += attacked(context, random.Random(number), number, count - kills, seen)
        except Exception as error:
            failed.append(f"study {number}: {type(error).__name__}: {error}")
            kills += 1
        number += 1
        print(f"{kills:,} of {count:,} kills, {len(failed)} failed", file=sys.stderr, flush=True)
    return seen, failed


def main(count: int, seed: int) -> list[str]:
    """Kill, say what was seen, and return what failed."""
    began = time.monotonic()
    seen, failed = campaign(count, seed)
    print(f"{count:,} kills from seed {seed} in {time.monotonic() - began:.0f} s: {dict(seen)}")
    print(*failed[:20], f"{len(failed)} failed", sep="\n")
    return failed
