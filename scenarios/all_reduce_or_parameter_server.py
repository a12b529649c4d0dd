"""All-reduce or parameter server: where does all-reduce make synchronous SGD competitive again?

Asynchronous SGD waits for nobody, but it needs a server, and every gradient and every model has to pass the server's links:
n messages up and n down for n gradients. Synchronous SGD waits for the slowest worker, but it can sum its gradients in a
ring, which moves 2(n−1)/n messages per worker and link, however many workers there are. So it depends on the size of the
model, the number of workers and the links who is first. A map for each kind of link, the server's and the workers' own, says.

What is measured, and what can be known beforehand (S bytes, B bytes/second, X_i the workers' computing):
- synchronous on a ring, per update: E[max X_i] + 2(n−1)(latency + S/nB), exactly: all wait for the last one;
- synchronous on a server, per update: at most E[max X_i] + latencies + 2nS/pB with p shards (incast);
- asynchronous on a server, per n gradients (a round): at least nS/pB, and at least what n workers take who never queue.
What is measured may be beyond these by the luck of the draw, a percent or two with the rounds recorded by default.

Time to the target needs gradients: an MLP learns the digits, while its messages take as long as those of a model of S bytes.
When synchronous SGD makes its updates is a matter of the fabric and the size; what its k-th update is, is not (but for the
rounding of a sum in another order). So it is replayed once for each number of workers, and its updates are then looked up on
each tape. Asynchronous SGD is replayed on each tape, because the order in which gradients arrive changes what is computed.

Each method gets its own best step size in each cell. A step size s of the grid is s for synchronous SGD, which averages n
gradients, and s/n for asynchronous SGD, so that it moves both as far in a round; both are looked at after each round.

    python scenarios/all_reduce_or_parameter_server.py
    python scenarios/all_reduce_or_parameter_server.py --straggler 1
    python scenarios/all_reduce_or_parameter_server.py --shards 0
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import common
import numpy as np
import xarray
from measuring import agreed, at_best, by_cell, cautions, first, firsts, median, ratio, step_size, sweep
from pictures.all_reduce_or_parameter_server import draw_maps, draw_rounds

import simsgd as sg

RING, SERVER, ASYNC = WAYS = ("sync on a ring", "sync on a server", "async on a server")
KNOWN = {RING: "exact", SERVER: "at most", ASYNC: "at least"}
CELLS = ("link", "bytes", "workers")


@dataclass(frozen=True, kw_only=True)
class Flags(common.InRounds):
    """Map whether synchronous SGD on a ring or asynchronous SGD on a parameter server reaches a test accuracy first."""

    link: tuple[common.Link, ...] = ("ethernet 25g", "nvlink 4")
    """links of the workers and of the server, by the names of simsgd's presets; a map for each"""
    message_bytes: tuple[common.Positive, ...] = (1e6, 1e7, 1e8, 1e9)
    """bytes of the model that is pretended to be moved, and of a gradient; the rows of the map"""
    workers: tuple[Annotated[int, common.Limits(least=2)], ...] = (4, 8, 16, 32)
    """how many workers the cluster has; the columns of the map"""
    straggler: common.Slowness = 2.0
    """how many times slower the stragglers are than the other workers, at least 1; 1 means that there are none"""
    straggler_share: common.Share = 0.25
    """share of the workers that are stragglers, from 0 to 1; rounded to whole workers"""
    shards: common.Whole = 1
    """over how many servers the model is split, each with a link of its own; 0 means as many as there are workers"""
    sharing: Literal["fair", "first in, first out"] = "fair"
    """how messages share a server's link"""
    step_sizes: tuple[common.Positive, ...] = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
    """step sizes to try for each method in each cell, of a round of n gradients; asynchronous SGD steps by an n-th with each"""
    rounds: common.Count = 100

    def cluster(self, way: str, link: str, workers: int) -> sg.Cluster:
        """Return the cluster of one cell for one way of doing it; its last workers are the stragglers."""
        jobs = sg.times.Lognormal(mean=self.compute_seconds, coefficient_of_variation=self.compute_variation)
        compute, wire = common.with_stragglers(jobs, workers, self.straggler, self.straggler_share), sg.networks.preset(link)
        server = sg.networks.ParameterServer(wire, self.sharing, self.shards or workers, access=wire)
        return sg.Cluster(workers, compute, sg.networks.Ring(wire) if way == RING else server)

    def check(self) -> None:
        """Make every cluster once."""
        for cell in itertools.product(WAYS, self.link, self.workers):
            self.cluster(*cell)


def all_reduce_or_parameter_server(flags: Flags, saved: common.Saved) -> None:
    """Measure the maps, print them as tables, and save them."""
    measured = measure(flags)
    saved.text(tables(measured), findings(measured))
    saved.numbers(measured, "all_reduce_or_parameter_server.nc")
    title = f"First to {flags.target_accuracy:.0%} test accuracy: sync on a ring or async on a parameter server\n"
    title += f"{flags.straggler_share:.0%} of the workers {flags.straggler:g}× slower   (?: seeds disagree)"
    saved.figure(draw_maps(measured, title), "map.png")
    saved.figure(draw_rounds(measured, KNOWN), "time_per_update.png")


def measure(flags: Flags) -> xarray.Dataset:
    """Return what each way takes in each cell; "factor" is seconds of async on a server over sync on a ring, of medians."""
    along = {"link": flags.link, "bytes": flags.message_bytes, "workers": flags.workers, "way": WAYS}
    found = sweep(along, functools.partial(cell, flags, {}), "measuring", **flags.axes)
    ring, asynchronous = (found.best_seconds.sel(way=way, drop=True) for way in (RING, ASYNC))
    factor = ratio(asynchronous.median("seed"), ring.median("seed"))
    return found.assign(factor=factor, factor_of_seed=ratio(asynchronous, ring))


def cell(flags: Flags, synchronous: dict, link: str, size: float, workers: int, way: str) -> dict[str, Any]:
    """Return what one way takes in one cell; rounds of synchronous SGD, the same on any fabric, are remembered."""
    protocol, updates = (sg.AsyncSGD(), workers) if way == ASYNC else (sg.MinibatchSGD(), 1)
    cluster, until = flags.cluster(way, link, workers), sg.Updates(flags.rounds * updates)
    tapes = [sg.record(protocol, cluster, until, seed, size, progress=False) for seed in flags.all_seeds]
    if way == ASYNC or workers not in synchronous:
        rounds = np.array([rounds_to_target(flags, tape, updates) for tape in tapes])
        synchronous |= {} if way == ASYNC else {workers: rounds}
    else:
        rounds = synchronous[workers]
    ends = np.array([np.append(tape.update_times[updates - 1 :: updates], np.inf) for tape in tapes])
    seconds = np.take_along_axis(ends, np.minimum(rounds, flags.rounds + 1).astype(int) - 1, axis=1)
    return {
        **at_best(seconds, rounds=rounds),
        "round": np.mean([tape.end for tape in tapes]) / flags.rounds,
        "formula": formula(flags, way, link, size, workers),
        "spread_of_staleness": np.mean([tape.staleness.std() for tape in tapes]),
    }


def rounds_to_target(flags: Flags, tape: sg.Tape, updates: int) -> np.ndarray:
    """Return how many rounds of so many updates a tape takes to the target with each step size; infinite if it does not."""
    optimizers = (sg.optimizers.sgd(size / updates) for size in flags.step_sizes)
    runs = (sg.replay(tape, sg.problems.digits(), optimizer, **flags.goal(updates), progress=False) for optimizer in optimizers)
    rounds = np.array([run.to_target().updates for run in runs]) / updates
    if (rounds == 0).any():
        raise ValueError(f"--target-accuracy {flags.target_accuracy:g} is reached before the first update: ask for more")
    return np.nan_to_num(rounds, nan=np.inf)


def formula(flags: Flags, way: str, link: str, size: float, workers: int) -> float:
    """Return the seconds of a round that can be known beforehand: exact, at most and at least, in the order of `WAYS`."""
    cluster, wire = flags.cluster(way, link, workers), sg.networks.preset(link)
    if way == RING:
        return mean_of_slowest(cluster) + 2 * (workers - 1) * wire.seconds(size / workers)
    alone, latencies = size / wire.bandwidth, 4 * wire.latency
    busy = workers * (alone if flags.sharing == "first in, first out" else alone / (flags.shards or workers))
    if way == SERVER:
        return mean_of_slowest(cluster) + latencies + 2 * max(alone, busy)
    rate = sum(1 / (cluster.compute.moments(worker).mean + latencies + 2 * alone) for worker in range(workers))
    return max(busy, workers / rate)


def mean_of_slowest(cluster: sg.Cluster) -> float:
    """Return E[max X_i] = ∫ 1 − Π P(X_i ≤ x) dx, the mean of the slowest worker's computing, seconds."""
    laws = [cluster.compute.distribution(worker) for worker in range(cluster.workers)]
    x = np.linspace(0, max(law.isf(1e-9) for law in laws), 20_001)
    return float(np.trapezoid(1 - np.prod([law.cdf(x) for law in laws], axis=0), x))


def tables(measured: xarray.Dataset) -> str:
    """Return how long a round takes, and what it takes to the target; one line for each cell."""

    def of(way: str, say):
        return lambda cell: say(cell.sel(way=way))

    rounds, target = {}, {}
    for way in WAYS:
        rounds |= {f"{way}\nmeasured": of(way, median("round")), f"\n{KNOWN[way]}": of(way, median("formula"))}
    for way in (RING, ASYNC):
        target |= {f"{way}\nstep size": of(way, step_size)}
        target |= {f"{way.split()[0]}\n{name}": of(way, median(f"best_{name}")) for name in ("rounds", "seconds")}
    target["sync on\na server"] = of(SERVER, median("best_seconds"))
    target |= {"first": lambda cell: first(float(cell.factor)), "range": lambda cell: firsts(cell.factor_of_seed)}
    parts = {"seconds per round of n gradients": rounds, "to the target (step sizes of async: s/n)": target}
    return "\n\n".join(f"{heading}\n{by_cell(measured, CELLS, columns)}" for heading, columns in parts.items())


def findings(measured: xarray.Dataset) -> str:
    """Return where synchronous SGD on a ring is first, what the factor is made of, and where the map cannot be trusted."""
    lines = []
    for link, way in itertools.product(measured.link.values, (RING, ASYNC)):
        factor, sure = measured.factor.sel(link=link), agreed(measured.factor_of_seed.sel(link=link))
        won = factor > 1 if way == RING else factor < 1
        said = f"{way} is first in {int(won.sum())} of {factor.size} cells ({int((won & sure).sum())} on every seed)."
        lines.append(f"{link}: {said}")
    lines.append("What async takes over what sync on a ring takes: seconds of a round × rounds to the target, in the corners:")
    ends = measured.isel({name: sorted({0, measured.sizes[name] - 1}) for name in ("bytes", "workers")})
    over = ends.sel(way=ASYNC, drop=True)
    over["pace"] = over["round"] / ends["round"].sel(way=RING)
    over["more"] = ratio(over.best_rounds.median("seed"), ends.best_rounds.sel(way=RING).median("seed"))
    columns = {"seconds ×": median("pace", ".2f"), "rounds": median("more", ".2f")}
    columns["staleness (mean near n − 1), standard deviation"] = median("spread_of_staleness", ".1f")
    lines += [by_cell(over, CELLS, columns), *cautions(measured.sel(way=[RING, ASYNC]), "way", "--rounds")]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    common.run(Flags, all_reduce_or_parameter_server, arguments)


if __name__ == "__main__":
    main()
