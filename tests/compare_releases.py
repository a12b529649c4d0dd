"""How fast this code is against another release of it, installed beside it in an environment of its own.

    git worktree add ../release <tag or commit> && cd ../release && python -m venv .venv && .venv/bin/python -m pip install -e .
    python tests/compare_releases.py ../release/.venv/bin/python [a part of the cases' names]

Each case runs in fresh processes of the two, in turn; printed is the median of the ratios of their processor seconds, pair by
pair, with the least and the greatest. A ratio of 2 means twice as fast as the other. Only what both releases have is called.
"""

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

ROUNDS = 7
ALONE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def recording(protocol, workers, latency=0.001):
    """Return a recording in progress; the module was renamed after 0.2."""
    import simsgd as sg

    try:
        from simsgd.recording.recorder import Recording
    except ImportError:
        from simsgd.recorder import Recording
    return Recording(protocol, sg.Cluster(workers, sg.times.Exponential(mean=0.1), sg.networks.Link(latency=latency)))


def going_on(protocol, workers, updates, windows=10):
    """Return the seconds of an update, the least of some windows, of a recording that is well under way."""
    under_way = recording(protocol, workers)
    under_way.advance(updates=workers if workers < 6_000 else 20)
    found = []
    for _ in range(windows):
        begin = time.process_time()
        under_way.advance(updates=under_way.version + updates)
        found.append((time.process_time() - begin) / updates)
    return min(found)


def first_of_many(needed):
    """Return K-sync as a user would write it."""
    import simsgd as sg

    @dataclass(frozen=True)
    class FirstOfMany(sg.Protocol):
        needed: int

        def on_gradient(self, server, gradient):
            server.accumulate(gradient, weight=1 / self.needed)
            if server.accumulated == self.needed:
                server.step()
                for worker in server.workers:
                    if worker in server.busy:
                        server.cancel(worker)
                    server.assign(worker)

    return FirstOfMany(needed)


def asynchronous(workers):
    import simsgd as sg

    return going_on(sg.AsyncSGD(), workers, 10_000)


def synchronous(workers):
    import simsgd as sg

    return going_on(sg.MinibatchSGD(), workers, 10_000 // workers)


def making(workers):
    import simsgd as sg

    recording(sg.AsyncSGD(), 2)
    begin = time.process_time()
    recording(sg.AsyncSGD(), workers).advance(updates=1)
    return time.process_time() - begin


def importing():
    begin = time.process_time()
    import simsgd as sg

    sg.record(sg.AsyncSGD(), sg.Cluster(1, sg.times.Constant(1.0)), sg.Updates(1))
    return time.process_time() - begin


CASES = {
    "record, 16 workers, an asynchronous update": lambda: asynchronous(16),
    "record, 1,000 workers": lambda: asynchronous(1_000),
    "record, 10,000 workers": lambda: asynchronous(10_000),
    "record, 16 workers, a synchronous update": lambda: synchronous(16),
    "record, 1,000 workers, a synchronous update": lambda: synchronous(1_000),
    "K-sync, 6 of 6,000 workers, an update": lambda: going_on(first_of_many(6), 6_000, 5, windows=6),
    "make and start 100,000 workers": lambda: making(100_000),
    "import and record one update": importing,
}


def main(other, part=""):
    for name in [case for case in CASES if part in case]:
        sides = [[], []]
        for _ in range(ROUNDS):
            for side, python in zip(sides, (sys.executable, other), strict=True):
                ran = subprocess.run([python, __file__, "--case", name], capture_output=True, text=True, check=True, env=ALONE)
                side.append(float(ran.stdout))
        ratios = [theirs / ours for ours, theirs in zip(*sides, strict=True)]
        ours, theirs = map(statistics.median, sides)
        print(
            f"{name}: {ours * 1e6:,.4g} µs against {theirs * 1e6:,.4g} µs, {statistics.median(ratios):.2f} times as fast "
            f"({min(ratios):.2f} to {max(ratios):.2f})",
            flush=True,
        )


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--case":
        print(CASES[sys.argv[2]]())
    elif len(sys.argv) in (2, 3):
        main(*sys.argv[1:])
    else:
        sys.exit(__doc__)
