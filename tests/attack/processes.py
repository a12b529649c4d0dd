"""Processes that attack item after item, and a watchdog that replaces those that hang or die."""

from __future__ import annotations

import importlib
import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait

from .themes import Result, attack

PATIENCE = 600.0
"""Seconds after which a process that says nothing is killed; its own budget, of processor time, is far less."""


def serve(theme: str, pipe: Connection) -> None:
    """Attack the items whose seeds come, one after the other, until None comes."""
    module = importlib.import_module(f".{theme}", __package__)
    while (seed := pipe.recv()) is not None:
        pipe.send(attack(module, seed))


class Worker:
    """A process that attacks one item at a time."""

    def __init__(self, theme: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theme, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.seed: int | None = None
        self.since = time.monotonic()

    def give(self, seed: int | None) -> None:
        self.seed, self.since = seed, time.monotonic()
        self.pipe.send(seed)

    def lost(self) -> Result | None:
        """Return the failure of an item that hangs or has ended its process."""
        if self.seed is None:
            return None
        if not self.process.is_alive() and not self.pipe.poll():
            return Result(self.seed, f"died: the process ended with {self.process.exitcode}", True)
        if time.monotonic() - self.since > PATIENCE:
            return Result(self.seed, f"hang: no answer in {PATIENCE:g} s", True)
        return None

    def end(self) -> None:
        """Let the process end, or end it."""
        if self.seed is None and self.process.is_alive():
            self.process.join(5)
        self.process.kill()
        self.process.join()


def results(theme: str, count: int, seed: int, processes: int) -> Iterator[Result]:
    """Yield the results of `count` items from a seed on, as they come."""
    seeds = iter(range(seed, seed + count))
    workers = [Worker(theme) for _ in range(min(processes, count))]
    try:
        for worker in workers:
            worker.give(next(seeds, None))
        while any(worker.seed is not None for worker in workers):
            wait([worker.pipe for worker in workers if worker.seed is not None], timeout=1.0)
            for place, worker in enumerate(workers):
                result = _result(worker)
                if result is None:
                    continue
                yield result
                if not worker.process.is_alive() or result.outcome.startswith(("hang: no answer", "died")):
                    worker.end()
                    workers[place] = worker = Worker(theme)
                worker.give(next(seeds, None))
    finally:
        for worker in workers:
            worker.end()


def _result(worker: Worker) -> Result | None:
    if worker.seed is None:
        return None
    try:
        return worker.pipe.recv() if worker.pipe.poll() else worker.lost()
    except EOFError:
        worker.process.join(5)
        return worker.lost()
