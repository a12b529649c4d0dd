"""Processes that save in a loop, killed at random moments: the old file or the new one, whole, and nothing left behind.

Each of them saves one kind of thing under one name, again and again in versions that differ, and says after each save which
version stands; it is killed by SIGKILL. What stands then must load, as the version last said or the next one; the next save
must sweep what was left. `python -m tests.attack kills --count 1000 --seed 0`.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import json
import multiprocessing
import os
import pathlib
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import simsgd as sg

from . import samples

LONGEST = 0.06
"""Seconds after a save has been reported, at most, until the process is killed; a save takes some milliseconds."""
START = 120.0
"""Seconds that a process may take for its first save; the longest, for replays, loads and compiles with JAX."""
PLAYED = 12
"""Kills of processes that compute with JAX, out of a hundred: they start slowly."""


@dataclasses.dataclass(frozen=True)
class Work:
    """What is saved, and how it is known again.

    Attributes:
        name: of the file.
        versions: yields functions, each of which saves one version to a path; they repeat after `several`.
        read: returns the version that a file holds, and raises an error if it is not whole.
        several: how many versions there are.
    """

    name: str
    versions: Callable[[], Iterator[Callable[[pathlib.Path], Any]]]
    read: Callable[[pathlib.Path], int]
    several: int = 3


def _cluster(version: int) -> sg.Cluster:
    return dataclasses.replace(samples.clusters()["rich"], workers=6 + version)


@functools.cache
def _recorded(version: int, rows: int) -> sg.Tape:
    return _record(version, rows)


def _record(version: int, rows: int) -> sg.Tape:
    return sg.record(sg.AsyncSGD(), _cluster(version), sg.Updates(rows), seed=1, message_bytes=1e4)


def _tapes() -> Iterator[Any]:
    while True:  # each is recorded anew
        for version in range(3):
            yield _record(version, 300).save


def _large_tapes() -> Iterator[Any]:
    return itertools.cycle([tape.save for tape in [_recorded(version, 30_000) for version in range(3)]])


def _traces() -> Iterator[Any]:
    return itertools.cycle([tape.to_chrome_trace for tape in [_recorded(version, 200) for version in range(3)]])


def _clusters() -> Iterator[Any]:
    return itertools.cycle([_cluster(version).save for version in range(3)])


def _figures() -> Iterator[Any]:
    import matplotlib

    matplotlib.use("agg")
    tapes = [_recorded(version, 30) for version in range(3)]

    def draw(tape: sg.Tape, path: pathlib.Path) -> None:
        figure = tape.plot_timeline().figure
        with sg.writing(path) as file:
            figure.savefig(file, format="png", dpi=20, metadata={"Workers": str(tape.workers)})
        matplotlib.pyplot.close(figure)

    return itertools.cycle([lambda path, tape=tape: draw(tape, path) for tape in tapes])


def _runs() -> Iterator[Any]:
    from simsgd import optimizers, problems

    problem, tapes = problems.quadratic(), [_recorded(version, 100) for version in range(3)]
    while True:  # each is replayed anew
        for tape in tapes:
            yield sg.replay(tape, problem, optimizers.sgd(0.05)).save


def _tunings() -> Iterator[Any]:
    problem = sg.problems.quadratic()
    target = sg.Target("loss", at_most=0.3, within=sg.Updates(100))
    while True:
        for version in range(3):
            yield sg.studies.tune(sg.AsyncSGD(), problem, _cluster(version), [0.03, 0.1], until=target).best.save


def _version_of_png(path: pathlib.Path) -> int:
    import matplotlib.image

    assert matplotlib.image.imread(path).size  # zlib has a checksum of its own
    content = path.read_bytes()
    assert content.endswith(b"IEND\xaeB`\x82")
    return int(content.partition(b"Workers\0")[2][:1]) - 6


def _version_of_trace(path: pathlib.Path) -> int:
    names = {event["args"].get("name", "") for event in json.loads(path.read_text())["traceEvents"] if event["ph"] == "M"}
    return sum(name.startswith("worker ") for name in names) - 6


LIGHT = {
    "tape": Work("a.nc", _tapes, lambda path: sg.Tape.load(path).workers - 6),
    "large tape": Work("large.nc", _large_tapes, lambda path: sg.Tape.load(path).workers - 6),
    "trace": Work("a.json", _traces, _version_of_trace),
    "cluster": Work("a.toml", _clusters, lambda path: sg.Cluster.load(path).workers - 6),
    "figure": Work("a.png", _figures, _version_of_png),
}
PLAYING = {
    "replay": Work("run.nc", _runs, lambda path: sg.Run.load(path).tape.workers - 6),
    "tune": Work("best.nc", _tunings, lambda path: sg.Run.load(path).tape.workers - 6),
}
WORKS = LIGHT | PLAYING


def work(name: str, folder: pathlib.Path, pipe: Connection) -> None:
    """Save for ever, and say after each save which version stands."""
    task = WORKS[name]
    for number, save in enumerate(task.versions()):
        save(folder / task.name)
        pipe.send(number % task.several)


def kill(name: str, chance: random.Random, folder: pathlib.Path, context: Any) -> tuple[int, bool]:
    """Kill one process; return how many files it left, and whether what stands is newer than what it said.

    Raises:
        AssertionError: if a promise was broken.
    """
    pipe, theirs = context.Pipe()
    process = context.Process(target=work, args=(name, folder, theirs), daemon=True)
    process.start()
    theirs.close()
    assert pipe.poll(START), f"{name}: no save in {START:g} s"
    said = pipe.recv()
    time.sleep(chance.random() * LONGEST)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    while pipe.poll():
        try:
            said = pipe.recv()
        except EOFError:
            break
    task = WORKS[name]
    found = task.read(folder / task.name)  # raises an error if it is not whole
    assert found in (said, (said + 1) % task.several), f"{name}: version {said} was said to stand, found {found}"
    others = {path.name for path in folder.iterdir()} - {each.name for each in WORKS.values()}
    assert all(each.endswith(".partial") for each in others), f"{name}: unknown files {others}"
    _cluster(0).save(folder / LIGHT["cluster"].name)
    left = [path.name for path in folder.iterdir() if path.name.endswith(".partial")]
    assert not left, f"{name}: the next save left {left}"
    return len(others), found != said


def campaign(count: int, seed: int, names: dict[str, Work]) -> tuple[collections.Counter[str], list[str]]:
    """Kill so many processes; return what was seen, and what failed."""
    fork, spawn = (multiprocessing.get_context(way) for way in ("fork", "spawn"))
    seen: collections.Counter[str] = collections.Counter()
    failed: list[str] = []
    for task in LIGHT.values():
        next(task.versions())  # what a fork needs is imported and recorded before it
    with tempfile.TemporaryDirectory() as folder:
        for number in range(seed, seed + count):
            chance = random.Random(number)
            playing = [name for name in names if name in PLAYING]
            light = [name for name in names if name not in PLAYING]
            name = chance.choice(playing if playing and (not light or chance.random() * 100 < PLAYED) else light)
            try:
                left, newer = kill(
                    name, chance, pathlib.Path(folder), fork if name in LIGHT and "jax" not in sys.modules else spawn
                )
                seen += collections.Counter(
                    {name: 1, "files left and swept": left, "killed after the move, before saying so": newer}
                )
            except Exception as error:
                failed.append(f"seed {number}, {name}: {type(error).__name__}: {error}")
            if (number - seed + 1) % 100 == 0:
                print(f"{number - seed + 1:,} of {count:,} kills, {len(failed)} failed", file=sys.stderr, flush=True)
    return seen, failed


def main(count: int, seed: int, names: dict[str, Work] = WORKS) -> list[str]:
    """Kill, say what was seen, and return what failed."""
    began = time.monotonic()
    seen, failed = campaign(count, seed, names)
    print(f"{count:,} kills from seed {seed} in {time.monotonic() - began:.0f} s: {dict(seen)}")
    print(*failed[:20], f"{len(failed)} failed", sep="\n")
    return failed
