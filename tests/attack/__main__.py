"""Attack simsgd: `python -m tests.attack recordings --count 10000 --seed 0 --processes 2`."""

from __future__ import annotations

import argparse
import collections
import importlib
import sys
import time

from . import processes, themes
from .shrink import signature

RANDOM = ("recordings", "simulations")
"""Themes of random configurations, which are played here; others have a `main(count, seed)` of their own."""
OTHERS = ("damage", "kills", "disks", "signals", "studies", "walks")
SHOWN = 3
"""Of failures of one kind, so many are shown with their scripts."""


def main() -> int:
    """Attack, report, and return 1 if something failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("theme", choices=(*RANDOM, *OTHERS))
    parser.add_argument("--count", type=int, default=100, help="how many items")
    parser.add_argument("--seed", type=int, default=0, help="of the first item; the others have the next ones")
    parser.add_argument("--processes", type=int, default=1, help="how many attack at the same time")
    parser.add_argument("--only", type=int, metavar="SEED", help="attack this one item in this process, and print its script")
    parser.add_argument("--plainly", action="store_true", help="with --only: as it was drawn, not made simpler")
    said = parser.parse_args()
    if said.theme in OTHERS:
        count, seed = (said.count, said.seed) if said.only is None else (1, said.only)
        return int(bool(importlib.import_module(f".{said.theme}", __package__).main(count, seed)))
    if said.only is not None:
        result = themes.attack(importlib.import_module(f".{said.theme}", __package__), said.only, not said.plainly)
        print(f"{result.script}\n# {result.outcome}")
        return int(result.failed)
    return report(said.theme, said.count, said.seed, said.processes)


def report(theme: str, count: int, seed: int, several: int) -> int:
    """Attack in several processes, print what came out, and return 1 if something failed."""
    outcomes: collections.Counter[str] = collections.Counter()
    failures: dict[tuple[str, str], list[themes.Result]] = collections.defaultdict(list)
    began, refused = time.monotonic(), 0
    for number, result in enumerate(processes.results(theme, count, seed, several), 1):
        refused += result.refused
        outcomes["FAILED" if result.failed else result.outcome] += 1
        if result.failed:
            failures[signature(result.outcome)].append(result)
            if len(failures[signature(result.outcome)]) <= SHOWN:
                print(f"\n# seed {result.seed}: {result.outcome}\n{result.script}", flush=True)
        if number % max(1, count // 20) == 0:
            print(
                f"{number:,} of {count:,} {theme}, {time.monotonic() - began:.0f} s: {dict(outcomes)}",
                file=sys.stderr,
                flush=True,
            )
    took = f"{time.monotonic() - began:.0f} s"
    print(f"\n{count:,} {theme} from seed {seed}, {took}; constructors refused {refused:,} calls besides")
    for outcome, times in outcomes.most_common():
        print(f"{times:>8,}  {outcome}")
    for kind, these in sorted(failures.items(), key=lambda item: -len(item[1])):
        seeds = sorted(result.seed for result in these)
        print(
            f"FAILED {len(these):,} times, {' '.join(kind)}: seeds {' '.join(map(str, seeds[:20]))}{' …' * (len(seeds) > 20)}"
        )
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
