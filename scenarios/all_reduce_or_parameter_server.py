"""All-reduce or parameter server: where does all-reduce make synchronous SGD competitive again?

Asynchronous SGD waits for nobody, but it needs a server, and every gradient and every model has to pass the server's links:
n messages up and n down for n gradients. Synchronous SGD waits for the slowest worker, but it can sum its gradients in a
ring, which moves 2(n−1)/n messages per worker and link, however many workers there are. So it depends on the size of the
model, the number of workers and the links who is first. Each cell of a map is such a cluster; there is one map for each
kind of link. A server's links are of the same kind as the workers' own.

What is measured, and what can be known beforehand (S bytes, B bytes/second, X_i the workers' computing):
- synchronous on a ring, per update: E[max X_i] + 2(n−1)(latency + S/nB), exactly: all wait for the last one;
- synchronous on a server, per update: at most E[max X_i] + latencies + 2nS/pB with p shards (incast);
- asynchronous on a server, per n gradients (a round): at least nS/pB, and at least what n workers take who never queue.
What is measured may be beyond these by the luck of the draw, a percent or two with the rounds recorded by default.

A server that everybody queues for makes its workers take turns: the staleness, n − 1 on average whatever happens, hardly
varies then. Asynchronous SGD may so need another number of rounds on a slow link than on a fast one; the script says how much.

Time to the target needs gradients: an MLP learns the digits, while its messages take as long as those of a model of S bytes.
When synchronous SGD makes its updates is a matter of the fabric and the size; what its k-th update is, is not (but for the
rounding of a sum in another order). So it is replayed once for each number of workers, and its updates are then looked up on
each tape. Asynchronous SGD is replayed on each tape of its own, because the order in which gradients arrive changes what is
computed.

Each method gets its own best step size in each cell. Synchronous SGD averages n gradients where asynchronous SGD adds one
after the other; so a step size s of the grid is s for the one and s/n for the other, and moves both as far in a round. Both
are looked at after each round. The map has a question mark where seeds disagree about who was first; where a best step size
lies at the edge of the grid, or a method does not arrive, the script says so.

    python scenarios/all_reduce_or_parameter_server.py
    python scenarios/all_reduce_or_parameter_server.py --straggler 1
    python scenarios/all_reduce_or_parameter_server.py --shards 0
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import tyro
import xarray
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from tqdm import tqdm

import simsgd as sg

RING, SERVER, ASYNC = WAYS = ("sync on a ring", "sync on a server", "async on a server")


@dataclass(frozen=True)
class Settings:
    """Map whether synchronous SGD on a ring or asynchronous SGD on a parameter server reaches a test accuracy first."""

    links: tuple[str, ...] = ("ethernet 25g", "nvlink 4")
    """links of the workers and of the server, by the names of simsgd's presets; a map for each"""
    message_bytes: tuple[float, ...] = (1e6, 1e7, 1e8, 1e9)
    """bytes of the model that is pretended to be moved, and of a gradient; the rows of the map"""
    workers: tuple[int, ...] = (4, 8, 16, 32)
    """how many workers the cluster has; the columns of the map"""
    straggler: float = 2.0
    """how many times slower the stragglers are than the other workers, at least 1; 1 means that there are none"""
    straggler_share: float = 0.25
    """share of the workers that are stragglers, from 0 to 1; rounded to whole workers"""
    compute_seconds: float = 0.1
    """mean seconds of a job's computing, on a worker that is no straggler"""
    compute_variation: float = 0.5
    """coefficient of variation (standard deviation over mean) of a job's lognormal compute time"""
    shards: int = 1
    """over how many servers the model is split, each with a link of its own; 0 means as many as there are workers"""
    sharing: Literal["fair", "first in, first out"] = "fair"
    """how messages share a server's link"""
    step_sizes: tuple[float, ...] = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
    """step sizes to try for each method in each cell, of a round of n gradients; asynchronous SGD steps by an n-th with each"""
    seeds: int = 3
    """how many seeds (0, 1, ...) to take medians over"""
    target_accuracy: float = 0.9
    """share of the test samples to be classified rightly, from 0 to 1"""
    rounds: int = 100
    """how many rounds of n gradients a run may use to get there"""
    output: Path = Path("results/all_reduce_or_parameter_server")
    """folder for the pictures, the table and the numbers (netCDF); made if need be"""

    def checked(self) -> Settings:
        """Return the settings with their lists in order, or raise ValueError naming the flag that makes no sense."""
        lists = ("links", "message_bytes", "workers", "step_sizes")
        for flag in lists:
            values = getattr(self, flag)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"--{flag.replace('_', '-')} must hold at least one, and none twice, got {values}")
        for link in self.links:
            if link not in sg.networks.PRESETS:
                raise ValueError(f"--links must be among {', '.join(map(repr, sg.networks.PRESETS))}, got {link!r}")
        _within("--straggler", self.straggler, 1, math.inf)
        _within("--straggler-share", self.straggler_share, 0, 1)
        _within("--target-accuracy", self.target_accuracy, 0, 1)
        _within("--shards", self.shards, 0, math.inf)
        _within("--seeds", self.seeds, 1, math.inf)
        _within("--rounds", self.rounds, 1, math.inf)
        for flag, least in (("message_bytes", 0), ("workers", 2), ("step_sizes", 0)):
            for value in getattr(self, flag):
                _within(f"--{flag.replace('_', '-')}: each", value, least, math.inf)
        in_order = {flag: tuple(sorted(getattr(self, flag))) for flag in lists if flag != "links"}
        return dataclasses.replace(self, **in_order)

    def cluster(self, way: str, link: str, workers: int) -> sg.Cluster:
        """Return the cluster of one cell for one way of doing it; its last workers are the stragglers."""
        slow = round(self.straggler_share * workers)
        speeds = (1.0,) * (workers - slow) + (1 / self.straggler,) * slow
        jobs = sg.times.Lognormal(mean=self.compute_seconds, coefficient_of_variation=self.compute_variation)
        wire = sg.networks.preset(link)
        server = sg.networks.ParameterServer(wire, self.sharing, self.shards or workers, access=wire)
        return sg.Cluster(workers, sg.times.Speeds(jobs, speeds), sg.networks.Ring(wire) if way == RING else server)


def _within(flag: str, value: float, least: float, most: float) -> None:
    if not (least <= value <= most and math.isfinite(value)):
        wanted = f"a finite number of at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
        raise ValueError(f"{flag} must be {wanted}, got {value!r}")


def all_reduce_or_parameter_server(settings: Settings) -> None:
    """Measure the maps, print them as tables, and save them."""
    for way, link, workers in itertools.product(WAYS, settings.links, settings.workers):
        settings.cluster(way, link, workers)  # refuses what cannot be, before the work
    settings.output.mkdir(parents=True, exist_ok=True)
    measured = judge(measure(settings), settings)
    text = "\n\n".join(part(measured) for part in (update_table, target_table, findings))
    print(text)
    (settings.output / "table.txt").write_text(text + "\n", encoding="utf-8")
    save(measured, settings.output / "all_reduce_or_parameter_server.nc")
    for name, figure in {"map": draw_maps(measured, settings), "time_per_update": draw_updates(measured, settings)}.items():
        figure.savefig(settings.output / f"{name}.png", dpi=120)
        plt.close(figure)
    print(f"\nSaved the pictures, this text and the numbers in {settings.output}/")


def measure(settings: Settings) -> xarray.Dataset:
    """Return what every run took to the target, infinite where it was not reached, and how long a round takes."""
    along = {
        "link": list(settings.links),
        "message_bytes": list(settings.message_bytes),
        "workers": list(settings.workers),
        "seed": list(range(settings.seeds)),
        "way": list(WAYS),
        "step_size": list(settings.step_sizes),
    }
    cells = list(itertools.product(*list(along.values())[:4]))
    synchronous: dict[tuple[int, int], np.ndarray] = {}
    looks = []
    for cell in tqdm(cells, desc="recording and replaying", unit="cluster", disable=None):
        looks += [look(settings, way, *cell, synchronous) for way in WAYS]
    names, shape = tuple(along), tuple(map(len, along.values()))
    rounds, seconds = (np.array([one[k] for one in looks]).reshape(shape) for k in (0, 1))
    per_round, spread = (np.array([one[k] for one in looks]).reshape(shape[:-1]) for k in (2, 3))
    return xarray.Dataset(
        {
            "rounds": (names, rounds),
            "seconds": (names, seconds),
            "seconds_per_round": (names[:-1], per_round),
            "spread_of_staleness": (names[:-1], spread),
        },
        coords=along,
        attrs={"settings": repr(settings), "simsgd": sg.__version__},
    )


def look(
    settings: Settings, way: str, link: str, size: float, workers: int, seed: int, synchronous: dict
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Return rounds and seconds to the target for each step size, seconds per round and the spread of staleness."""
    protocol, updates = (sg.AsyncSGD(), workers) if way == ASYNC else (sg.MinibatchSGD(), 1)
    cluster, until = settings.cluster(way, link, workers), sg.Updates(settings.rounds * updates)
    tape = sg.record(protocol, cluster, until, seed, size, progress=False)
    if way == ASYNC:
        rounds = rounds_to_target(settings, tape, updates)
    else:  # the same on any fabric
        if (workers, seed) not in synchronous:
            synchronous[workers, seed] = rounds_to_target(settings, tape, updates)
        rounds = synchronous[workers, seed]
    ends = np.append(tape.update_times[updates - 1 :: updates], math.inf)
    reached = np.where(np.isfinite(rounds), rounds, len(ends)).astype(int)
    return rounds, ends[reached - 1], tape.end / settings.rounds, float(tape.staleness.std())


def rounds_to_target(settings: Settings, tape: sg.Tape, updates: int) -> np.ndarray:
    """Return how many rounds of so many updates a tape takes to the target with each step size; infinite if it does not."""
    target = sg.Target("accuracy", at_least=settings.target_accuracy, within=sg.Updates(tape.updates))
    looks = {"until": target, "evaluate_every": sg.Updates(updates), "progress": False}
    optimizers = (sg.optimizers.sgd(step_size / updates) for step_size in settings.step_sizes)
    runs = (sg.replay(tape, sg.problems.digits(), optimizer, **looks) for optimizer in optimizers)
    rounds = np.array([run.to_target().updates for run in runs]) / updates
    if (rounds == 0).any():
        raise ValueError(f"--target-accuracy {settings.target_accuracy:g} is reached before the first update: ask for more")
    return np.nan_to_num(rounds, nan=math.inf)


def formula(settings: Settings, way: str, link: str, size: float, workers: int) -> float:
    """Return the seconds of a round that can be known beforehand: exact, at most and at least, in the order of `WAYS`."""
    cluster, wire = settings.cluster(way, link, workers), sg.networks.preset(link)
    if way == RING:
        return mean_of_slowest(cluster) + 2 * (workers - 1) * wire.seconds(size / workers)
    shards = settings.shards or workers
    alone, latencies = size / wire.bandwidth, 4 * wire.latency
    busy = workers * (alone if settings.sharing == "first in, first out" else alone / shards)
    if way == SERVER:
        return mean_of_slowest(cluster) + latencies + 2 * max(alone, busy)
    rate = sum(1 / (cluster.compute.moments(worker).mean + latencies + 2 * alone) for worker in range(workers))
    return max(busy, workers / rate)


def mean_of_slowest(cluster: sg.Cluster) -> float:
    """Return E[max X_i] = ∫ 1 − Π P(X_i ≤ x) dx, the mean of the slowest worker's computing, seconds."""
    laws = [cluster.compute.distribution(worker) for worker in range(cluster.workers)]
    x = np.linspace(0, max(law.isf(1e-9) for law in laws), 20_001)
    return float(np.trapezoid(1 - np.prod([law.cdf(x) for law in laws], axis=0), x))


def judge(measured: xarray.Dataset, settings: Settings) -> xarray.Dataset:
    """Add each way's best step size in each cell and what it takes with it, and who is first by what factor.

    Adds "best" (the place of the step size), "best_seconds" and "best_rounds" (medians over seeds with that step size),
    "factor" (seconds of async on a server over seconds of sync on a ring), "factor_of_seed" (the same for each seed with those
    step sizes), "round" (mean seconds of a round) and "formula".
    """
    best = measured.seconds.median("seed").argmin("step_size")
    chosen = measured[["seconds", "rounds"]].isel(step_size=best).drop_vars("step_size")
    medians = chosen.median("seed")
    names = ("way", "link", "message_bytes", "workers")
    cells = itertools.product(*(measured[name].values for name in names))
    known = np.array([formula(settings, *cell) for cell in cells]).reshape([measured.sizes[name] for name in names])
    return measured.assign(
        best=best,
        best_seconds=medians.seconds,
        best_rounds=medians.rounds,
        factor=_factor(medians.seconds),
        factor_of_seed=_factor(chosen.seconds),
        round=measured.seconds_per_round.mean("seed"),
        formula=(names, known),
    )


def _factor(costs: xarray.DataArray) -> xarray.DataArray:
    """Return async over sync on a ring: infinite or 0 where only one arrived, not a number where neither did."""
    with np.errstate(invalid="ignore"):  # infinity over infinity
        return costs.sel(way=ASYNC, drop=True) / costs.sel(way=RING, drop=True)


def rows(measured: xarray.Dataset) -> list[tuple[str, xarray.Dataset]]:
    """Return the cells, each with the beginning of its line in a table."""
    names = ("link", "message_bytes", "workers")
    cells = itertools.product(*(measured[name].values for name in names))
    return [
        (f"{link:<14} {amount(size):>7} {workers:7d}   ", measured.sel(link=link, message_bytes=size, workers=workers))
        for link, size, workers in cells
    ]


def amount(size: float) -> str:
    """Return bytes in words, for example "10 MB"."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:g} {unit}"
        size /= 1000
    return f"{size:g} GB"


def update_table(measured: xarray.Dataset) -> str:
    """Return how long a round takes, one line for each cell."""
    lines = [
        "seconds per round of n gradients",
        "                                 sync on a ring         sync on a server       async on a server",
        "link              size workers   measured   exact       measured   at most     measured   at least",
    ]
    for start, cell in rows(measured):
        numbers = ((float(cell["round"].sel(way=way)), float(cell.formula.sel(way=way))) for way in WAYS)
        lines.append((start + "".join(f"{seen:<11.4g}{known:<12.4g}" for seen, known in numbers)).rstrip())
    return "\n".join(lines)


def target_table(measured: xarray.Dataset) -> str:
    """Return what it takes to the target, one line for each cell."""
    lines = [
        "to the target                    sync on a ring             async on a server          sync on a",
        "                                 step                       step                       server",
        "link              size workers   size    rounds  seconds    size/n  rounds  seconds    seconds    first        range",
    ]
    for start, cell in rows(measured):
        line = start
        for way in (RING, ASYNC):
            one = cell.sel(way=way)
            reached = math.isfinite(one.best_seconds)
            step_size = f"{float(measured.step_size[int(one.best)]):.4g}" if reached else "-"
            line += f"{step_size:<8}{said(float(one.best_rounds)):<8}{said(float(one.best_seconds)):<11}"
        seen = cell.factor_of_seed.values[~np.isnan(cell.factor_of_seed.values)]
        spread = f"{verdict(seen.min())} to {verdict(seen.max())}" if len(seen) else "-"
        lines.append(f"{line}{said(float(cell.best_seconds.sel(way=SERVER))):<11}{verdict(float(cell.factor)):<13}{spread}")
    return "\n".join(lines)


def said(cost: float) -> str:
    """Return a cost in figures, or that there is none."""
    return f"{cost:.4g}" if math.isfinite(cost) else "never"


def verdict(factor: float) -> str:
    """Return a factor in words, for example "async 2.5×"."""
    if math.isnan(factor):
        return "neither"
    winner = "sync" if factor > 1 else "async"
    return f"only {winner}" if factor in (0, math.inf) else f"{winner} {max(factor, 1 / factor):.2f}×"


def agreement(measured: xarray.Dataset) -> xarray.DataArray:
    """Return in which cells the same one was first on every seed."""
    return (measured.factor_of_seed > 1).all("seed") | (measured.factor_of_seed < 1).all("seed")


def findings(measured: xarray.Dataset) -> str:
    """Return where synchronous SGD on a ring is first and why, and where the map cannot be trusted."""
    agreed, lines = agreement(measured), []
    for link in measured.link.values:
        factor = measured.factor.sel(link=link)
        sync, sure = factor > 1, agreed.sel(link=link)
        lines.append(
            f"{link}: sync on a ring is first in {int(sync.sum())} of {factor.size} cells ({int((sync & sure).sum())} on every "
            f"seed), async on a server in {int((factor < 1).sum())} ({int(((factor < 1) & sure).sum())} on every seed)."
        )
    return "\n".join([*lines, *why(measured), *cautions(measured)])


def why(measured: xarray.Dataset) -> list[str]:
    """Return what the factor is made of, in the corners of the maps: seconds of a round, and rounds."""
    lines = ["What async takes over what sync on a ring takes: seconds of a round × rounds to the target (staleness of async):"]
    pace, rounds = _factor(measured["round"]), _factor(measured.best_rounds)
    sizes, counts = (sorted({values[0], values[-1]}) for values in (measured.message_bytes.values, measured.workers.values))
    for link, size, workers in itertools.product(measured.link.values, sizes, counts):
        cell = {"link": link, "message_bytes": size, "workers": workers}
        product = f"{float(pace.sel(cell)):.2f} × {float(rounds.sel(cell)):.2f}"
        spread = float(measured.spread_of_staleness.sel(cell).sel(way=ASYNC).mean())
        stale = f"mean near {workers - 1}, standard deviation {spread:.1f}"
        lines.append(f"  {link:<14} {amount(size):>7}, {workers:3d} workers: {product}  ({stale})")
    return lines


def cautions(measured: xarray.Dataset) -> list[str]:
    """Return where a best step size is at the edge of the grid, or the target was not reached."""
    arrived = np.isfinite(measured.best_seconds)
    edge = arrived & ((measured.best == 0) | (measured.best == measured.sizes["step_size"] - 1))
    lines = []
    for way in (RING, ASYNC):
        count, missed = int(edge.sel(way=way).sum()), int((~arrived.sel(way=way)).sum())
        if count:
            lines.append(
                f"CAUTION: the best step size of {way} is at the edge of the grid in {count} cells: widen --step-sizes."
            )
        if missed:
            lines.append(f"CAUTION: {way} did not reach the target in {missed} cells: raise --rounds or widen --step-sizes.")
    return lines or ["No best step size is at the edge of the grid."]


def save(dataset: xarray.Dataset, path: Path) -> None:
    """Write the numbers as netCDF, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        dataset.to_netcdf(partial, engine="h5netcdf")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def draw_maps(measured: xarray.Dataset, settings: Settings) -> Figure:
    """Draw a map for each link."""
    count, agreed = len(settings.links), agreement(measured)
    size = (2.6 + 1.05 * len(settings.workers)) * count, 2.2 + 0.75 * len(settings.message_bytes)
    figure, axes = plt.subplots(1, count, figsize=size, squeeze=False, layout="constrained")
    reached = measured.factor.values[np.isfinite(measured.factor.values) & (measured.factor.values > 0)]
    most = max([2.0, *reached, *(1 / reached)])
    for ax, link in zip(axes[0], settings.links, strict=True):
        grid, sure = (part.sel(link=link).transpose("message_bytes", "workers").values for part in (measured.factor, agreed))
        sg.plots.heat_map(
            grid,
            rows=[amount(size) for size in settings.message_bytes],
            columns=settings.workers,
            methods=("sync", "async"),
            row_label="bytes of the model, and of a gradient",
            column_label="workers",
            title=link,
            most=most,
            ax=ax,
        )
        for text, certain in zip(ax.texts, sure.ravel(), strict=True):  # one text in each cell, row by row
            if not certain and text.get_text() != "neither":
                text.set_text(f"{text.get_text()} ?")
    figure.suptitle(
        f"First to {settings.target_accuracy:.0%} test accuracy: sync on a ring or async on a parameter server\n"
        f"{settings.straggler_share:.0%} of the workers {settings.straggler:g}× slower   (?: seeds disagree)",
        fontsize=11,
    )
    return figure


def draw_updates(measured: xarray.Dataset, settings: Settings) -> Figure:
    """Draw the seconds of a round against workers, a panel for each link and size."""
    shape = len(settings.links), len(settings.message_bytes)
    figure, axes = plt.subplots(
        *shape,
        figsize=(1.5 + 2.7 * shape[1], 1 + 2.5 * shape[0]),
        sharex=True,
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for (i, link), (j, size) in itertools.product(enumerate(settings.links), enumerate(settings.message_bytes)):
        ax, cell = axes[i, j], measured.sel(link=link, message_bytes=size)
        for way, colour, mark in zip(WAYS, sg.plots.LINES, "os^", strict=False):
            look = {"markersize": 8, "markerfacecolor": "none"} if way == RING else {"markersize": 4.5}
            ax.plot(cell.workers, cell["round"].sel(way=way), mark, color=colour, label=way, **look)
            note = {RING: "exact", SERVER: "at most", ASYNC: "at least"}[way]
            ax.plot(cell.workers, cell.formula.sel(way=way), ":", color=colour, linewidth=1.2, label=f"{note}, by formula")
        ax.set(xscale="log", yscale="log", title=f"{link}, {amount(size)}")
        ax.xaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_locator(NullLocator())
        ax.set_xticks(settings.workers, [str(n) for n in settings.workers])
        ax.grid(alpha=0.25)
    figure.supxlabel("workers n")
    figure.supylabel("seconds per round of n gradients")
    axes[0, -1].legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False, borderaxespad=0)
    return figure


def main() -> None:
    """Run from the command line."""
    try:
        all_reduce_or_parameter_server(tyro.cli(Settings).checked())
    except (ValueError, TypeError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
