"""Damaged and forged files: each is refused by a `FileFormatError` that names it, or loads equal. Never silent, never a hang.

`python -m tests.attack damage --count 2000 --seed 0`; `--only SEED` repeats one.
"""

from __future__ import annotations

import collections
import contextlib
import multiprocessing
import pathlib
import random
import shutil
import tempfile
import traceback
import warnings
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import simsgd as sg

from . import forging, samples

PATIENCE = 20.0
"""Seconds after which a load is called a hang."""


class Outcome(NamedTuple):
    """What became of one file: `ending` in a word, and why it failed, if it did."""

    seed: int
    ending: str
    failure: str = ""


# --- damage: what disks, cables and editors do -----------------------------------------------------------------------------


def flipped(chance: random.Random, data: bytearray, other: bytes) -> bytes:
    for _ in range(chance.choice([1, 1, 1, 2, 8])):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def cut(chance: random.Random, data: bytearray, other: bytes) -> bytes:
    return bytes(data[: chance.randrange(len(data))])


def zeroed(chance: random.Random, data: bytearray, other: bytes) -> bytes:
    size = min(512, len(data))
    first = chance.randrange(len(data) - size + 1) // 512 * 512
    data[first : first + size] = bytes(len(data[first : first + size]))
    return bytes(data)


def swapped(chance: random.Random, data: bytearray, other: bytes) -> bytes:
    size = chance.randint(1, max(1, min(512, len(data) // 3)))
    first, second = (chance.randrange(len(data) - size + 1) for _ in range(2))
    one, two = data[first : first + size], data[second : second + size]
    data[first : first + size], data[second : second + size] = two, one
    return bytes(data)


def appended(chance: random.Random, data: bytearray, other: bytes) -> bytes:
    return bytes(data) + chance.randbytes(chance.randint(1, 600))


def joined(chance: random.Random, data: bytearray, other: bytes) -> bytes:
    return bytes(data) + other if chance.random() < 0.5 else other[: chance.randrange(len(other))] + bytes(data)


def without(chance: random.Random, data: bytearray, other: bytes) -> bytes:
    first = chance.randrange(len(data))
    return bytes(data[:first] + data[first + chance.randint(1, 100) :])


def overwritten(chance: random.Random, data: bytearray, other: bytes) -> bytes:
    first = chance.randrange(len(data))
    new = chance.randbytes(min(chance.randint(1, 64), len(data) - first))
    data[first : first + len(new)] = new
    return bytes(data)


DAMAGES = (flipped, flipped, cut, zeroed, swapped, appended, joined, without, overwritten)


# --- one file ------------------------------------------------------------------------------------------------------------


def attack(seed: int, folder: pathlib.Path, scratch: pathlib.Path) -> Outcome:
    """Damage one of a folder's files, or forge one, and load it."""
    chance = random.Random(seed)
    paths = sorted(folder.iterdir())
    path, other = (chance.choice(paths) for _ in range(2))
    data = path.read_bytes()
    forged = chance.random() < 0.4
    if forged:
        way, bad = forging.forged(chance, path.suffix, data)
    else:
        damage = chance.choice(DAMAGES)
        way, bad = damage.__name__, damage(chance, bytearray(data), other.read_bytes())
    target = scratch / f"damaged{path.suffix}"
    target.write_bytes(bad)
    ending, failure = judged(target, path, forged)
    return Outcome(seed, ending, failure and f"{path.name}, {way}: {failure}")


def judged(target: pathlib.Path, original: pathlib.Path, forged: bool) -> tuple[str, str]:
    """Load a file; return how that ended, and what is wrong with it, if something is."""
    load = samples.LOADS[target.suffix]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            found = load(target)
        except sg.FileFormatError as error:
            return "refused", "" if str(target) in str(error) else f"the error does not name the file: {error}"
        except BaseException:
            return "raw error", traceback.format_exc(limit=-4)
        if found == load(original):
            return "equal", ""
        if not forged:
            warned = [each for each in said if "does not say what it said" in str(each.message)]
            return ("warned", "") if warned else ("silent", "it loads as something else, without an error")
        try:
            exercise(found, target.parent)
        except BaseException:
            return "raw error in use", traceback.format_exc(limit=-4)
    return "forged, and works", ""


def exercise(found: Any, folder: pathlib.Path) -> None:
    """Use everything that a loaded object offers; whatever loads must work."""
    repr(found)
    found._repr_html_()
    found.save(folder / "again")
    assert type(found).load(folder / "again") == found
    if isinstance(found, sg.Cluster):
        return
    if isinstance(found, sg.Run):
        found.summary()
        repr((found.status, found.metrics, found.configuration, found.target, found.hashes, found.parameters))
        repr((found.throughput, found.wasted, [found.final(name) for name in found.metrics], found.to_dataframe()))
        if found.target:
            found.to_target()
        repr((found.identity, found.identity.key, found.identity.tape.key, found.identity._repr_html_()))
    tape = found.tape if isinstance(found, sg.Run) else found
    tape.check()
    repr((tape.updates, tape.version, tape.staleness, tape.queueing, tape.barrier, tape.shares(), tape.stretches()))
    repr((tape.identity, tape.identity.key, tape.identity._repr_html_()))
    repr((tape.to_dataframe(), tape.content_hash, tape._repr_html_(), tape.header))
    if tape.end > 0 and tape.workers < 1000:
        with contextlib.suppress(ValueError):  # no time between its ends, or too much for viewers
            found.to_chrome_trace(folder / "again.json")


# --- many ----------------------------------------------------------------------------------------------------------------


def serve(pipe: Connection, folder: pathlib.Path, scratch: pathlib.Path) -> None:
    """Attack the files whose seeds come, until None comes."""
    while (seed := pipe.recv()) is not None:
        pipe.send(attack(seed, folder, scratch))


class Server:
    """A process that attacks, and can be given up."""

    def __init__(self, folder: pathlib.Path, scratch: pathlib.Path) -> None:
        context = multiprocessing.get_context("spawn")  # without JAX, which may be loaded here
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, folder, scratch), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, seed: int) -> Outcome:
        self.pipe.send(seed)
        try:
            return self.pipe.recv() if self.pipe.poll(PATIENCE) else Outcome(seed, "hang", f"no answer in {PATIENCE:g} s")
        except EOFError:
            self.process.join(5)
            return Outcome(seed, "died", f"the process ended with {self.process.exitcode}")

    def end(self) -> None:
        self.process.kill()
        self.process.join()


def outcomes(count: int, seed: int) -> list[Outcome]:
    """Attack `count` files from a seed on, in a process of their own."""
    folder = pathlib.Path(tempfile.mkdtemp())
    try:
        for name in ("good", "bad"):
            (folder / name).mkdir()
        samples.make(folder / "good")
        server, found = Server(folder / "good", folder / "bad"), []
        for each in range(seed, seed + count):
            found.append(server.ask(each))
            if found[-1].ending in ("hang", "died"):
                server.end()
                server = Server(folder / "good", folder / "bad")
        server.end()
        return found
    finally:
        shutil.rmtree(folder)


def main(count: int, seed: int) -> list[Outcome]:
    """Attack, say what came out, and return what failed."""
    found = outcomes(count, seed)
    print(f"{count:,} files from seed {seed}: {dict(collections.Counter(each.ending for each in found))}")
    failed = [each for each in found if each.failure]
    for each in failed[:20]:
        print(f"seed {each.seed}: {each.ending}\n{each.failure}")
    print(f"{len(failed)} failed: seeds {' '.join(str(each.seed) for each in failed[:50])}")
    return failed
