"""Full disks: saving raises an OSError that names the file and the way out, keeps what was there, and leaves nothing behind.

Files may grow to random sizes only (`ulimit -f`), in a process of its own that must end well afterwards; where a small
filesystem in memory can be mounted, the same on that, full. `python -m tests.attack disks --count 200 --seed 0`.
"""

from __future__ import annotations

import collections
import gc
import multiprocessing
import os
import pathlib
import random
import resource
import signal
import subprocess
import tempfile
from collections.abc import Callable
from typing import Any

import simsgd as sg

from . import samples

SMALL = 200_000
"""Bytes of the small filesystem."""


def things(folder: pathlib.Path) -> dict[str, Callable[[pathlib.Path], Any]]:
    """Return what can be saved, by name of the file, one of each kind of writer."""
    cluster = samples.clusters()["rich"]
    tape = sg.record(sg.AsyncSGD(), cluster, sg.Updates(3000), seed=1, message_bytes=1e4)
    run = sg.Run.load(folder / "rich.run")

    def note(path: pathlib.Path) -> None:
        with sg.writing(path) as file:
            file.write(b"x" * 50_000)

    return {
        "a.nc": tape.save,
        "run.nc": run.save,
        "a.json": tape.to_chrome_trace,
        "a.json.gz": tape.to_chrome_trace,
        "a.toml": cluster.save,
        "a.txt": note,
    }


def refused(save: Callable[[pathlib.Path], Any], path: pathlib.Path, before: bytes | None) -> str:
    """Save to a disk that may be full; return how it ended, or raise AssertionError."""
    try:
        save(path)
    except OSError as error:
        message = str(error)
        assert str(path) in message, message
        assert "; free some" in message or "; raise the limit" in message, message
        ending = "refused"
    else:
        ending = "saved"
    gc.collect()  # what holds half a file is gone now
    assert [each for each in path.parent.iterdir() if each.name.endswith(".partial")] == []
    if ending == "refused":
        assert (path.read_bytes() if path.exists() else None) == before
    return ending


def limited(seed: int, count: int, folder: pathlib.Path, pipe: Any) -> None:
    """Save under random limits on the size of files, and report how each ended; to be run in a process of its own."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    made, most = things(folder), resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    for number in range(seed, seed + count):
        chance = random.Random(number)
        path = folder / chance.choice(list(made))
        before = path.read_bytes() if path.exists() else None
        size = int(10 ** chance.uniform(0, 6))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
        try:
            pipe.send((number, refused(made[path.name], path, before), ""))
        except Exception as error:
            pipe.send((number, "failed", f"seed {number}, {path.name}, {size} bytes: {type(error).__name__}: {error}"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def apart(target: Callable[..., None], *given: Any) -> tuple[list[Any], int | None]:
    """Run a function in a process of its own; return what it sent, and how its process ended."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(*given, theirs))
    process.start()
    theirs.close()
    found = []
    try:
        while True:
            found.append(pipe.recv())
    except EOFError:
        process.join()
    return found, process.exitcode


def on_small(folder: pathlib.Path, small: pathlib.Path, pipe: Any) -> None:
    """Fill a small filesystem, and save there what does not fit."""
    made = things(folder)
    for name, save in made.items():
        save_first, path = made["a.toml"], small / name
        path.unlink(missing_ok=True)
        for room in (0, 1000, 30_000):
            filler = small / "filler"
            filler.write_bytes(b"")
            if room == 30_000:
                save_first(path)  # any old content
            before = path.read_bytes() if path.exists() else None
            free = os.statvfs(small).f_bavail * os.statvfs(small).f_frsize
            filler.write_bytes(bytes(max(0, free - room)))
            try:
                pipe.send((name, refused(save, path, before), ""))
            except Exception as error:
                pipe.send((name, "failed", f"{name}, {room} bytes free: {type(error).__name__}: {error}"))


def mounted(place: pathlib.Path) -> bool:
    """Mount a small filesystem in memory; return whether that is allowed here."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(place)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def campaign(count: int, seed: int) -> tuple[collections.Counter[str], list[str]]:
    """Fill disks; return what was seen, and what failed."""
    with tempfile.TemporaryDirectory() as made:
        folder = pathlib.Path(made)
        samples.run().save(folder / "rich.run")
        found, code = apart(limited, seed, count, folder)
        codes, small = [code], folder / "small"
        if mounted(small):
            try:
                more, code = apart(on_small, folder, small)
                found += [(number, f"{ending}, on the small disk", failure) for number, ending, failure in more]
                codes.append(code)
            finally:
                subprocess.run(["umount", str(small)], check=True)
    failed = [failure for _, _, failure in found if failure]
    failed += [f"a process ended with {code}" for code in codes if code != 0]
    return collections.Counter(ending for _, ending, _ in found), failed


def main(count: int, seed: int) -> list[str]:
    """Fill disks, say what was seen, and return what failed."""
    seen, failed = campaign(count, seed)
    print(f"{count:,} saves under limits from seed {seed}: {dict(seen)}")
    print(*failed[:20], f"{len(failed)} failed", sep="\n")
    return failed
