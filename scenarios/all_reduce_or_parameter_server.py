"""All-reduce or parameter server: where does all-reduce make synchronous SGD competitive again?

Asynchronous SGD waits for nobody, but it needs a server, and every gradient and every model has to pass the server's links:
n messages up and n down for n gradients. Synchronous SGD waits for the slowest worker, but it can sum its gradients in a
ring, which moves 2(n−1)/n messages per worker and link, however many workers there are. So it depends on the size of the
model, the number of workers and the links who is first. A map for each kind of link, the server's and the workers' own, says.

It depends, too, on what is equal while workers are added:
- an equal batch per worker: a synchronous step averages n times the samples. Those beyond the gradient noise scale are wasted
  (McCandlish et al., 2018, "An empirical model of large-batch training"), and asynchronous SGD wins by that alone. So the
  target must be one near which the noise scale is above the n times larger batch. It is printed. At an accuracy of 0.9 (a
  training loss of 0.3 to 0.5) it is 60 to 210 samples, at a loss of 0.07 it is 1,400: more than the 1,024 of 32 workers;
- an equal total batch: every synchronous step is the same step, for any n. Jobs get shorter as workers are added, and messages
  do not, so that there the fabric counts for more.

What is measured, and what can be known beforehand (S bytes, B bytes/second, X_i the workers' computing):
- synchronous on a ring, per update: E[max X_i] + 2(n−1)(latency + S/nB), exactly: all wait for the last one;
- synchronous on a server, per update: at most E[max X_i] + latencies + 2nS/pB with p shards (incast);
- asynchronous on a server, per n gradients (a round): at least nS/pB, and at least what n workers take who never queue.
What is measured may be beyond these by the luck of the draw, a few percent where the target is near.

Time to the target needs gradients: an MLP learns the digits, while its messages take as long as those of a model of S bytes.
When synchronous SGD makes its updates is a matter of the fabric and the size; what its k-th update is, is not (but for the
rounding of a sum in another order). So it is played on one fabric, and its updates are then looked up on each tape.
Asynchronous SGD is played on each tape, because the order in which gradients arrive changes what is computed.

Each method gets its own best step size in each cell, chosen on seeds that are not reported. A step size s of the grid is s for
synchronous SGD, which averages n gradients, and s/n for asynchronous SGD, so that it moves both as far in a round; both are
looked at after each round.

    python scenarios/all_reduce_or_parameter_server.py
    python scenarios/all_reduce_or_parameter_server.py --equal-batch total --straggler 1
    python scenarios/all_reduce_or_parameter_server.py --shards 0
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import common
import numpy as np
import xarray
from measuring import agreed, by_cell, cautions, first, firsts, median, ratio, sweep
from noise import about_noise
from pictures.all_reduce_or_parameter_server import draw_maps, draw_rounds

import simsgd as sg

RING, SERVER, ASYNC = WAYS = ("sync on a ring", "sync on a server", "async on a server")
KNOWN = {RING: "exact", SERVER: "at most", ASYNC: "at least"}
LEAST_ROUNDS = 50
"""So many rounds are recorded at least, to measure how long one is."""
CELLS = ("equal", "link", "bytes", "workers")


@dataclass(frozen=True, kw_only=True)
class Flags(common.Recording):
    """Map whether synchronous SGD on a ring or asynchronous SGD on a parameter server reaches a training loss first."""

    equal_batch: tuple[Literal["per-worker", "total"], ...] = ("per-worker", "total")
    """what stays the same while workers are added, each worker's batch, or the sum of all batches; maps for each"""
    batch_size: common.Count = 32
    """samples in each worker's batch, where batches per worker are equal"""
    total_batch: common.Count = 256
    """samples in all batches together, where that is equal: each number of workers must divide it"""
    link: tuple[common.Link, ...] = ("ethernet 25g", "nvlink 4")
    """links of the workers and of the server, by the names of simsgd's presets; a map for each"""
    message_bytes: tuple[common.Positive, ...] = (1e6, 1e7, 1e8, 1e9)
    """bytes of the model that is pretended to be moved, and of a gradient; the rows of the map"""
    workers: tuple[Annotated[int, common.Limits(least=2)], ...] = (4, 8, 16, 32)
    """how many workers the cluster has; the columns of the map"""
    compute_seconds: common.Seconds = 0.1
    """mean seconds of computing on --batch-size samples, on a worker that is not slowed; other batches take in proportion"""
    straggler: common.Slowness = 2.0
    """how many times slower the stragglers are than the other workers, at least 1; 1 means that there are none"""
    straggler_share: common.Share = 0.25
    """share of the workers that are stragglers, from 0 to 1; rounded to whole workers"""
    shards: common.Whole = 1
    """over how many servers the model is split, each with a link of its own; 0 means as many as there are workers"""
    sharing: Literal["fair", "first in, first out"] = "fair"
    """how messages share a server's link"""
    target_loss: common.Positive = 0.07
    """the training loss to be reached (mean cross-entropy, nats)"""
    step_sizes: tuple[common.Positive, ...] = (0.25, 0.5, 0.7, 1.0, 1.4, 2.0)
    """step sizes to try for each method in each cell, of a round of n gradients; asynchronous SGD steps by an n-th with each"""
    seeds: common.Count = 3
    """how many seeds to take medians over"""
    tuning_seeds: common.Count = 2
    """how many seeds to choose step sizes by, none of them reported"""
    rounds: common.Count = 600
    """how many rounds of n gradients a run may use to reach the target; the same for all methods"""
    kept_rounds: common.Count = 5
    """for how many rounds the target is to be kept, to count as reached when it first was"""
    folder: Path | None = None
    """folder that keeps finished runs, so that nothing is made twice; made if need be"""

    def batch(self, equal: str, workers: int) -> int:
        """Return how many samples a worker's batch has."""
        return self.batch_size if equal == "per-worker" else self.total_batch // workers

    @property
    def settings(self) -> dict[str, tuple[int, int]]:
        """By name the distinct (batch size, number of workers)."""
        found = {(self.batch(*cell), cell[1]) for cell in itertools.product(self.equal_batch, self.workers)}
        return {called(*each): each for each in sorted(found)}

    @property
    def reported(self) -> list[int]:
        """The seeds that are reported; those that step sizes are chosen by come after them."""
        return list(range(self.seed, self.seed + self.seeds))

    @property
    def chosen_by(self) -> list[int]:
        """The seeds that step sizes are chosen by."""
        return list(range(self.seed + self.seeds, self.seed + self.seeds + self.tuning_seeds))

    def cluster(self, way: str, link: str, batch: int, workers: int) -> sg.Cluster:
        """Return the cluster of one cell for one way of doing it; its last workers are the stragglers."""
        jobs = sg.times.Lognormal(mean=self.compute_seconds, coefficient_of_variation=self.compute_variation)
        scaled = jobs if batch == self.batch_size else sg.times.Scaled(jobs, by=batch / self.batch_size)
        compute, wire = common.with_stragglers(scaled, workers, self.straggler, self.straggler_share), sg.networks.preset(link)
        server = sg.networks.ParameterServer(wire, self.sharing, self.shards or workers, access=wire)
        return sg.Cluster(workers, compute, sg.networks.Ring(wire) if way == RING else server)

    def cell(self, way: str, link: str, size: float, setting: tuple[int, int], step_size: float, seed: int) -> sg.Cell:
        """Return one run: to the target, looked at after each round."""
        batch, workers = setting
        updates = workers if way == ASYNC else 1
        method = sg.methods.asynchronous(step_size / workers) if way == ASYNC else sg.methods.minibatch(step_size)
        within, kept = sg.Updates(self.rounds * updates), sg.Updates(min(self.kept_rounds, self.rounds) * updates)
        target = sg.Target("loss", at_most=self.target_loss, within=within, kept=kept)
        given = method, sg.problems.digits(batch_size=batch), self.cluster(way, link, batch, workers)
        return sg.Cell(*given, until=target, seed=seed, evaluate_every=sg.Updates(updates), message_bytes=size)

    def check(self) -> None:
        """Refuse batches that cannot be equal, and make every cluster once."""
        odd = [n for n in self.workers if self.total_batch % n]
        if "total" in self.equal_batch and odd:
            raise ValueError(f"--workers must each divide --total-batch ({self.total_batch}), got {odd[0]}: take another batch")
        for way, link, each in itertools.product(WAYS, self.link, self.settings.values()):
            self.cluster(way, link, *each)


def called(batch: int, workers: int) -> str:
    """Return how a number of workers with so many samples each is called."""
    return f"{workers} workers with {batch} samples each"


def all_reduce_or_parameter_server(flags: Flags, saved: common.Saved) -> None:
    """Measure the maps, print them as tables, and save them."""
    measured = measure(flags)
    saved.text(tables(measured), findings(flags, measured))
    saved.numbers(measured, "all_reduce_or_parameter_server.nc")
    title = f"First to a training loss of {flags.target_loss:g}: sync on a ring or async on a parameter server\n"
    title += f"{flags.straggler_share:.0%} of the workers {flags.straggler:g}× slower   (?: seeds disagree)"
    saved.figure(draw_maps(measured, title), "map.png")
    for equal in flags.equal_batch:
        saved.figure(draw_rounds(measured.sel(equal=equal), KNOWN), f"time_per_update_{equal}.png")


# --- measuring -----------------------------------------------------------------------------------------------------------


def measure(flags: Flags) -> xarray.Dataset:
    """Return what each way takes in each cell; "factor" is seconds of async on a server over sync on a ring, of medians."""
    synchronous = played(flags, RING, flags.link[:1], flags.message_bytes[:1])
    asynchronous = played(flags, ASYNC, flags.link, flags.message_bytes)
    along = {
        "equal": flags.equal_batch,
        "link": flags.link,
        "bytes": flags.message_bytes,
        "workers": flags.workers,
        "way": WAYS,
    }
    measured = functools.partial(cell, flags, synchronous, asynchronous)
    found = sweep(along, measured, "measuring", seed=flags.reported, step_size=list(flags.step_sizes))
    ring, other = (found.best_seconds.sel(way=way, drop=True) for way in (RING, ASYNC))
    return found.assign(factor=ratio(other.median("seed"), ring.median("seed")), factor_of_seed=ratio(other, ring))


def played(flags: Flags, way: str, links: Iterable[str], sizes: Iterable[float]) -> xarray.Dataset:
    """Return what one way takes on the reporting seeds, each cell at the step size that is best on the tuning seeds.

    That is the one with the least mean of the rounds (synchronous) or seconds; a run that never arrives takes for ever. Rounds
    of other numbers of workers are other targets, so each setting is a study of its own.
    """
    axes = {"link": list(links), "size": list(sizes)}
    found = [_of_setting(flags, way, setting, axes) for setting in flags.settings.values()]
    return xarray.concat(found, "setting", combine_attrs="drop").assign_coords(setting=list(flags.settings))


def _of_setting(flags: Flags, way: str, setting: tuple[int, int], axes: dict[str, list[Any]]) -> xarray.Dataset:
    """Return what one way takes with one number of workers and samples of each."""

    def any_cell(link: str, size: float, step_size: float, seed: int) -> sg.Cell:
        return flags.cell(way, link, size, setting, step_size, seed)

    tuning = {**axes, "step_size": list(flags.step_sizes), "seed": flags.chosen_by}
    tried = sg.Study(any_cell, tuning, folder=flags.folder).run().dataset
    cost = tried.updates_to_target if way == RING else tried.seconds_to_target
    means = cost.fillna(np.inf).mean("seed")
    best = means.argmin("step_size")

    def at_best(link: str, size: float, seed: int) -> sg.Cell:
        return any_cell(link, size, flags.step_sizes[int(best.sel(link=link, size=size))], seed)

    found = sg.Study(at_best, {**axes, "seed": flags.reported}, folder=flags.folder).run().dataset
    whole = {"last": found.time.max("evaluation"), "best": best, "means": means}
    return found[["seconds_to_target", "updates_to_target", "total_updates"]].assign(whole)


def cell(flags: Flags, synchronous: xarray.Dataset, asynchronous: xarray.Dataset, *where: Any) -> dict[str, Any]:
    """Return what one way takes in one cell; synchronous updates are looked up on the tapes of its fabric."""
    equal, link, size, workers, way = where
    batch = flags.batch(equal, workers)
    here = {"setting": called(batch, workers)}
    if way == ASYNC:
        found = asynchronous.sel(here | {"link": link, "size": size})
        rounds, seconds = found.updates_to_target.values / workers, found.seconds_to_target.fillna(np.inf).values
        per_round = float((found.last / (found.total_updates / workers)).mean())
    else:
        found = synchronous.sel(here).isel(link=0, size=0)
        rounds = found.updates_to_target.values
        ends = update_times(flags, flags.cluster(way, link, batch, workers), size, int(np.nanmax(rounds, initial=LEAST_ROUNDS)))
        seconds = np.array([times[int(n) - 1] if n == n else np.inf for times, n in zip(ends, rounds, strict=True)])
        per_round = float(np.mean(ends, axis=0)[-1]) / len(ends[0])
    if (rounds == 0).any():
        raise ValueError(f"--target-loss {flags.target_loss:g} is reached before the first update: ask for less")
    return {
        "best_seconds": (("seed",), seconds),
        "best_rounds": (("seed",), np.nan_to_num(rounds, nan=np.inf)),
        "tried": (("step_size",), found.means.values),
        "best": int(found.best),
        "round": per_round,
        "formula": formula(flags, way, link, size, batch, workers),
    }


def update_times(flags: Flags, cluster: sg.Cluster, size: float, rounds: int) -> list[np.ndarray]:
    """Return when synchronous SGD makes so many updates, on each reported seed."""
    until = sg.Updates(rounds)
    return [sg.record(sg.MinibatchSGD(), cluster, until, seed, size, progress=False).update_times for seed in flags.reported]


def formula(flags: Flags, way: str, link: str, size: float, batch: int, workers: int) -> float:
    """Return the seconds of a round that can be known beforehand: exact, at most and at least, in the order of `WAYS`."""
    cluster, wire = flags.cluster(way, link, batch, workers), sg.networks.preset(link)
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


# --- telling -------------------------------------------------------------------------------------------------------------


def tables(measured: xarray.Dataset) -> str:
    """Return how long a round takes, and what it takes to the target; one line for each cell."""

    def of(way: str, say):
        return lambda cell: say(cell.sel(way=way))

    rounds, target = {}, {}
    for way in WAYS:
        rounds |= {f"{way}\nmeasured": of(way, median("round")), f"\n{KNOWN[way]}": of(way, median("formula"))}
    for way in (RING, ASYNC):
        target |= {f"{way}\nstep size": of(way, lambda cell: f"{float(cell.step_size[int(cell.best)]):g}")}
        target |= {f"{way.split()[0]}\n{name}": of(way, median(f"best_{name}")) for name in ("rounds", "seconds")}
    target["sync on\na server"] = of(SERVER, median("best_seconds"))
    target |= {"first": lambda cell: first(float(cell.factor)), "range": lambda cell: firsts(cell.factor_of_seed)}
    parts = {"seconds per round of n gradients": rounds, "to the target (step sizes of async: s/n)": target}
    return "\n\n".join(f"{heading}\n{by_cell(measured, CELLS, columns)}" for heading, columns in parts.items())


def findings(flags: Flags, measured: xarray.Dataset) -> str:
    """Return where synchronous SGD on a ring is first, what changes with the rule, and where the map cannot be trusted."""
    batches = {equal: [n * flags.batch(equal, n) for n in flags.workers] for equal in flags.equal_batch}
    lines = [about_noise(sg.problems.digits(), flags.target_loss, batches)]
    for equal, link, way in itertools.product(flags.equal_batch, flags.link, (RING, ASYNC)):
        here = measured.sel(equal=equal, link=link)
        won, sure = here.factor > 1 if way == RING else here.factor < 1, agreed(here.factor_of_seed)
        said = f"{way} is first in {int(won.sum())} of {won.size} cells ({int((won & sure).sum())} on every seed)."
        lines.append(f"equal batch {equal}, {link}: {said}")
    lines.append("What async takes over what sync on a ring takes: seconds of a round × rounds to the target, in the corners:")
    ends = measured.isel({name: sorted({0, measured.sizes[name] - 1}) for name in ("bytes", "workers")})
    over = ends.sel(way=ASYNC, drop=True)
    over["pace"] = over["round"] / ends["round"].sel(way=RING)
    over["more"] = ratio(over.best_rounds.median("seed"), ends.best_rounds.sel(way=RING).median("seed"))
    columns = {"seconds ×": median("pace", ".2f"), "rounds": median("more", ".2f")}
    lines += [by_cell(over, CELLS, columns), *cautions(measured.sel(way=[RING, ASYNC]), "way", "--rounds")]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    common.run(Flags, all_reduce_or_parameter_server, arguments)


if __name__ == "__main__":
    main()
