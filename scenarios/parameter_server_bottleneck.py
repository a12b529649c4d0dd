"""Where a parameter server becomes the bottleneck: throughput against workers, and where the knee is.

Every worker pulls the whole model, computes, and pushes a gradient as large as the model. All pulls leave by the server's
outbound link, all pushes come by its inbound link; with p shards there are p servers, each with a part of the model and a
link of its own. No gradient is computed here: how fast updates are made does not depend on what is learned.

What can be known beforehand. A worker's round without anybody else takes Z + D_down + D_up + D_update seconds: Z its
computing and the latencies, D what its model, its gradient and its update need of each shared resource. n workers make at
most n / (Z + ΣD) updates per second, and never more than 1 / max D. The two bounds cross at n* = (Z + ΣD) / max D: there the
knee *begins* (asymptotic bounds of a closed queue: Denning and Buzen, "The operational analysis of queueing network
models", 1978). It is *seen* somewhat before or after that, where throughput falls below a share (`--knee`) of n times one
worker's.

Fair sharing has an exact answer: with processor-sharing links the network has a product form, and its throughput depends
on the times by their means alone (Baskett, Chandy, Muntz and Palacios, "Open, closed, and mixed networks of queues with
different classes of customers", 1975). The column "theory" is that, for a server in its stationary state; so the first
fifth of every asynchronous recording, which begins with all workers pulling at once, is left out. (Where computing hardly
varies, workers that began together stay together, and that state is a long way off: try --compute-variation 0.01.) First in,
first out with messages of one size has no such formula.

Synchronous SGD on the same server: all pull at once and push at nearly the same time (incast). If every job took its mean,
fair sharing would make all wait for the last byte of all models, Z + n·D_down + n·D_up + n·D_update. First in, first out lets
the first workers compute and push while the last models are still on their way: Z + ΣD + (n − 1)·max D.

A throughput may exceed its bound by the luck of the draw: a sample of k jobs has a mean that is off by about variation / √k.

    python scenarios/parameter_server_bottleneck.py
    python scenarios/parameter_server_bottleneck.py --link "ethernet 100g" --worker-link "infiniband ndr" --compute-seconds 0.1
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import tyro
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, PercentFormatter
from tqdm import tqdm

import simsgd as sg

SHARING = ("fair", "first in, first out")
COLOURS = dict(zip(SHARING, sg.plots.LINES, strict=False))
SPREAD_AND_SECONDS = ("spread_of_staleness", "synchronous_seconds")
STYLES = {"fair": "o-", "first in, first out": "s--"}


@dataclass(frozen=True)
class Settings:
    """Measure the throughput of a parameter server against the number of workers, and find its knee."""

    workers: tuple[int, ...] = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96)
    """how many workers the cluster has"""
    shards: tuple[int, ...] = (1, 2, 4)
    """over how many servers the model is split, each with a link of its own"""
    message_bytes: float = 1e8
    """bytes of the model, and of a gradient; 1e8 is 25 million parameters in float32"""
    link: str = "ethernet 25g"
    """link of each server, one of simsgd's presets ("ethernet 10g", "ethernet 100g", "infiniband ndr", ...)"""
    worker_link: str = "ethernet 100g"
    """link of each worker, another preset; by default as fast as four servers' links. First in, first out, a message that
    its worker's link slows down holds up all others, and then more shards are of no use"""
    compute_seconds: float = 0.2
    """mean seconds of a job's computing"""
    compute_variation: float = 0.2
    """coefficient of variation (standard deviation over mean) of a job's lognormal compute time"""
    update_seconds: float = 0.0
    """mean seconds, exponential, for which a server that held the whole model would be busy with each gradient"""
    rounds: int = 300
    """asynchronous gradients recorded for each worker; the first fifth is left out"""
    synchronous_updates: int = 100
    """synchronous updates recorded"""
    knee: float = 0.9
    """the knee is seen where throughput falls below this share of n times one worker's"""
    seed: int = 0
    """names all random draws: the same flags with the same seed print the same numbers"""
    output: Path = Path("results/parameter_server_bottleneck")
    """folder for the pictures, the table and the numbers (netCDF); made if need be"""

    def checked(self) -> Settings:
        """Return the settings with their lists in order, or raise ValueError naming the flag that makes no sense."""
        for flag in ("workers", "shards"):
            values = getattr(self, flag)
            if not values or len(set(values)) < len(values) or min(values) < 1:
                raise ValueError(f"--{flag} must hold whole numbers of at least 1, none twice, got {values}")
        for flag, least in (("rounds", 5), ("synchronous_updates", 1)):
            if getattr(self, flag) < least:
                raise ValueError(f"--{flag.replace('_', '-')} must be at least {least}, got {getattr(self, flag)}")
        if not 0 < self.knee < 1:
            raise ValueError(f"--knee must be between 0 and 1, got {self.knee!r}")
        if not (math.isfinite(self.message_bytes) and self.message_bytes > 0):
            raise ValueError(f"--message-bytes must be a finite number above 0, got {self.message_bytes!r}")
        if not (math.isfinite(self.update_seconds) and self.update_seconds >= 0):
            raise ValueError(f"--update-seconds must be a finite number of at least 0, got {self.update_seconds!r}")
        for flag in ("link", "worker_link"):
            if getattr(self, flag) not in sg.networks.PRESETS:
                known = ", ".join(map(repr, sg.networks.PRESETS))
                raise ValueError(f"--{flag.replace('_', '-')} must be one of {known}, got {getattr(self, flag)!r}")
        return dataclasses.replace(self, workers=tuple(sorted(self.workers)), shards=tuple(sorted(self.shards)))

    @property
    def jobs(self) -> sg.times.Law:
        """The law of compute times."""
        return sg.times.Lognormal(mean=self.compute_seconds, coefficient_of_variation=self.compute_variation)

    def cluster(self, sharing: str, shards: int, workers: int) -> sg.Cluster:
        """Return a cluster whose messages share a server's links."""
        update = sg.times.Exponential(self.update_seconds) if self.update_seconds else None
        link, access = sg.networks.preset(self.link), sg.networks.preset(self.worker_link)
        return sg.Cluster(workers, self.jobs, sg.networks.ParameterServer(link, sharing, shards, update, access))


class Needs(NamedTuple):
    """What a worker's round needs of each resource, seconds."""

    own: float
    """Computing and latencies."""
    message: float
    """Of a link of the server, each way, when enough others share it to keep it full."""
    alone: float
    """For how long one message occupies the link by itself, each way; the worker's own link may make it longer."""
    update: float

    @property
    def round(self) -> float:
        """Seconds of a round without anybody else."""
        return self.own + 2 * self.alone + self.update

    def longest(self, sharing: str) -> float:
        """Return what a round needs of the busiest shared resource.

        First in, first out, a message that its worker's own link slows down blocks the server's; fair, others use the rest.
        """
        return max(self.alone if sharing == "first in, first out" else self.message, self.update)

    def crossing(self, sharing: str) -> float:
        """Return n*, the number of workers at which the two bounds on the throughput cross."""
        return self.round / self.longest(sharing)

    def bound(self, sharing: str, workers: int) -> float:
        """Return the updates/second that so many workers cannot exceed."""
        return min(workers / self.round, 1 / self.longest(sharing))

    def synchronous(self, sharing: str, workers: int) -> float:
        """Return the seconds of a synchronous update if every job took its mean."""
        if sharing == "first in, first out":
            return self.round + (workers - 1) * self.longest(sharing)
        return self.own + 2 * max(self.alone, workers * self.message) + workers * self.update

    def theory(self, workers: int) -> float:
        """Return the updates/second of fair sharing, exactly: the product form, by Buzen's convolution.

        A station that serves k customers at the total rate μ(k) has the factors f(k) = Π_{j≤k} 1/μ(j), where 1/μ(j) is own / j
        for what workers do on their own, and max(alone / j, message) for a link. With G(n) the n-th term of the factors'
        convolution, the throughput is G(n−1) / G(n). Times are in units of the longest, so that nothing overflows.
        """
        unit, k = max(self.longest("fair"), self.own / workers), np.arange(1, workers + 1)
        link = np.maximum(self.alone / k, self.message)
        total = np.array([1.0])
        for seconds in (self.own / k, link, link, np.full(workers, self.update)):
            total = np.convolve(total, np.cumprod([1.0, *(seconds / unit)]))[: workers + 1]
        return float(total[-2] / total[-1] / unit)


def needs(settings: Settings, shards: int) -> Needs:
    """Return what a worker's round needs."""
    link, access = sg.networks.preset(settings.link), sg.networks.preset(settings.worker_link)
    capacity = shards * link.bandwidth
    return Needs(
        own=settings.compute_seconds + 2 * (link.latency + access.latency),
        message=settings.message_bytes / capacity,
        alone=settings.message_bytes / min(capacity, access.bandwidth),
        update=settings.update_seconds / shards,
    )


def parameter_server_bottleneck(settings: Settings) -> None:
    """Measure, print, draw and save."""
    for cell in itertools.product(SHARING, settings.shards, settings.workers):
        settings.cluster(*cell)  # refuses what cannot be, before the work
    settings.output.mkdir(parents=True, exist_ok=True)
    measured = measure(settings)
    text = "\n\n".join(part(measured) for part in (table, synchronous_table, knees, findings))
    print(text)
    (settings.output / "table.txt").write_text(text + "\n", encoding="utf-8")
    save(measured, settings.output / "parameter_server_bottleneck.nc")
    for name, figure in {"throughput": draw_throughput(measured), "what_it_costs": draw_costs(measured)}.items():
        figure.savefig(settings.output / f"{name}.png", dpi=120)
        plt.close(figure)
    print(f"\nSaved the pictures, this text and the numbers in {settings.output}/")


def measure(settings: Settings) -> xarray.Dataset:
    """Return what was measured and what theory says, over sharing, shards and workers."""
    along = {"sharing": list(SHARING), "shards": list(settings.shards), "workers": list(settings.workers)}
    cells = list(itertools.product(*along.values()))
    looks = [look(settings, *cell) for cell in tqdm(cells, desc="recording", unit="cluster", disable=None)]
    shape = tuple(map(len, along.values()))
    measured = xarray.Dataset(
        {name: (tuple(along), np.array([seen[name] for seen in looks]).reshape(shape)) for name in looks[0]},
        coords=along,
        attrs={"settings": repr(settings), "simsgd": sg.__version__},
    )
    crossing = [[needs(settings, shards).crossing(sharing) for shards in settings.shards] for sharing in SHARING]
    seen = [[first_below(measured.sel(sharing=a, shards=b), settings.knee) for b in settings.shards] for a in SHARING]
    free = [steady(settings, sg.Cluster(n, settings.jobs))["spread_of_staleness"] for n in settings.workers]
    return measured.assign(
        knee_begins=(("sharing", "shards"), crossing),
        knee_seen=(("sharing", "shards"), seen),
        spread_of_staleness_uncontended=("workers", free),
    ).assign_attrs(knee=settings.knee)


def look(settings: Settings, sharing: str, shards: int, workers: int) -> dict[str, float]:
    """Record both methods on one cluster, and say what could be known beforehand."""
    cluster, need = settings.cluster(sharing, shards, workers), needs(settings, shards)
    until = sg.Updates(settings.synchronous_updates)
    synchronous = sg.record(sg.MinibatchSGD(), cluster, until, settings.seed, settings.message_bytes, progress=False)
    return {
        **steady(settings, cluster),
        "bound": need.bound(sharing, workers),
        "alone": workers / need.round,
        "theory": need.theory(workers) if sharing == "fair" else math.nan,
        "synchronous_seconds": synchronous.end / synchronous.updates,
        "synchronous_formula": need.synchronous(sharing, workers),
    }


def steady(settings: Settings, cluster: sg.Cluster) -> dict[str, float]:
    """Return what asynchronous SGD does on a cluster after the first fifth of a recording."""
    until = sg.Updates(settings.rounds * cluster.workers)
    tape = sg.record(sg.AsyncSGD(), cluster, until, settings.seed, settings.message_bytes, progress=False)
    first = len(tape) // 5
    since = tape.time[first - 1]
    _, begin, end = tape.stretches()["queueing"]
    queueing = float((np.maximum(end, since) - np.maximum(begin, since)).sum())
    return {
        "throughput": (len(tape) - first) / (tape.end - since),
        "queueing": queueing / (cluster.workers * (tape.end - since)),
        "mean_staleness": float(tape.staleness[first:].mean()),
        "spread_of_staleness": float(tape.staleness[first:].std()),
    }


def first_below(line: xarray.Dataset, share: float) -> float:
    """Return at how many workers throughput falls below a share of n times one worker's; NaN if it does not.

    Straight lines between the numbers of workers that were tried; one worker's share is 1.
    """
    workers, shares = np.append(1, line.workers), np.append(1.0, line.throughput / line.alone)
    below = np.flatnonzero((shares < share) & (workers > 1))
    if not len(below):
        return math.nan
    after, before = below[0], below[0] - 1
    part = (shares[before] - share) / (shares[before] - shares[after])
    return float(workers[before] + part * (workers[after] - workers[before]))


def table(measured: xarray.Dataset) -> str:
    """Return what asynchronous SGD does, one line for each number of shards and workers."""
    lines = [
        "asynchronous SGD  fair                                                  first in, first out",
        "                  updates/s                      time     staleness     updates/s           time     staleness",
        "shards  workers   at most   theory    measured   queueing mean   spread at most   measured  queueing mean   spread",
    ]
    for shards, workers in itertools.product(measured.shards.values, measured.workers.values):
        fair, queue = (measured.sel(sharing=sharing, shards=shards, workers=workers).map(float) for sharing in SHARING)
        lines.append(
            f"{shards:6d}  {workers:7d}   {fair.bound:<9.4g} {fair.theory:<9.4g} {fair.throughput:<9.4g} {fair.queueing:8.1%}"
            f"   {fair.mean_staleness:<7.1f}{fair.spread_of_staleness:<7.1f}"
            f"{queue.bound:<9.4g} {queue.throughput:<9.4g} {queue.queueing:8.1%}"
            f"  {queue.mean_staleness:<7.1f}{queue.spread_of_staleness:.1f}"
        )
    return "\n".join(lines)


def synchronous_table(measured: xarray.Dataset) -> str:
    """Return what synchronous SGD does on the same server, with the formula for jobs that all take their mean."""
    lines = [
        "synchronous SGD   fair: seconds/update     first in, first out      gradients/s, asynchronous over synchronous",
        "shards  workers   measured     formula     measured     formula     fair     first in, first out",
    ]
    for shards, workers in itertools.product(measured.shards.values, measured.workers.values):
        both = [measured.sel(sharing=sharing, shards=shards, workers=workers).map(float) for sharing in SHARING]
        seconds = "".join(f"{float(one.synchronous_seconds):<13.4g}{float(one.synchronous_formula):<12.4g}" for one in both)
        gains = [float(one.throughput * one.synchronous_seconds) / workers for one in both]
        lines.append(f"{shards:6d}  {workers:7d}   {seconds}{gains[0]:<9.2f}{gains[1]:.2f}")
    return "\n".join(lines)


def knees(measured: xarray.Dataset) -> str:
    """Return where each knee begins by the bounds, and where it is seen."""
    most = measured.workers.values.max()
    lines = [
        f"knee of asynchronous SGD: begins at n* workers; seen below {measured.knee:.0%} of n times one worker's updates/s"
    ]
    for sharing, shards in itertools.product(SHARING, measured.shards.values):
        one = measured.sel(sharing=sharing, shards=shards)
        seen = f"at {float(one.knee_seen):.1f}" if np.isfinite(one.knee_seen) else f"nowhere up to {most}"
        lines.append(f"  {sharing:<20} {plural(shards):<9}   n* = {float(one.knee_begins):<6.1f}  seen {seen}")
    return "\n".join(lines)


def findings(measured: xarray.Dataset) -> str:
    """Return in words what the numbers say."""
    gain = measured.throughput.sel(sharing=SHARING[1]) / measured.throughput.sel(sharing="fair") - 1
    top, last = gain.isel(gain.argmax(...)), measured.isel(workers=-1, shards=0)
    off = float(abs(measured.throughput / measured.theory - 1).max())
    where = f"with {int(last.workers)} workers and {plural(last.shards)}"
    spread, seconds = ([float(last[name].sel(sharing=sharing)) for sharing in SHARING] for name in SPREAD_AND_SECONDS)
    return "\n".join(
        [
            f"First in, first out makes from {float(gain.min()):+.1%} to {float(top):+.1%} updates/s against fair sharing, "
            f"the most with {int(top.workers)} workers and {plural(top.shards)};",
            f"{where} it makes {float(gain.sel(workers=last.workers, shards=last.shards)):+.1%}. "
            f"Fair sharing is within {off:.1%} of theory everywhere.",
            f"Staleness {where}: mean {float(last.mean_staleness.mean()):.1f}, standard deviation {spread[0]:.1f} fair,",
            f"{spread[1]:.1f} first in, first out; it would be {float(last.spread_of_staleness_uncontended):.1f} "
            "if messages took no time. Who queues for a server takes turns.",
            f"A synchronous update {where} takes {seconds[0]:.3g} s fair, {seconds[1]:.3g} s first in, first out: "
            f"{seconds[0] / seconds[1]:.2f} times as long fair.",
        ]
    )


def plural(shards: xarray.DataArray | int) -> str:
    """Return a number of shards in words."""
    return f"{int(shards)} shard{'s' if shards > 1 else ''}"


def save(dataset: xarray.Dataset, path: Path) -> None:
    """Write the numbers as netCDF, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        dataset.to_netcdf(partial, engine="h5netcdf")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def draw_throughput(measured: xarray.Dataset) -> Figure:
    """Draw throughput against workers, a panel for each number of shards, with bounds and knees."""
    shards = measured.shards.values
    figure, axes = plt.subplots(1, len(shards), figsize=(2.4 + 4 * len(shards), 4.8), squeeze=False, layout="constrained")
    for ax, count in zip(axes[0], shards, strict=True):
        panel = measured.sel(shards=count)
        ax.plot(panel.workers, panel.theory.sel(sharing="fair"), color="black", linewidth=1, label="fair, in theory")
        for sharing, colour in COLOURS.items():
            draw_knee(ax, panel.sel(sharing=sharing), sharing, colour)
        ax.set(title=plural(count), xlabel="workers", xscale="log", yscale="log")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(LogLocator(2))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_locator(NullLocator())
        ax.grid(alpha=0.25)
    axes[0, 0].set_ylabel("updates per second (asynchronous)")
    axes[0, -1].legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, borderaxespad=0)
    return figure


def draw_knee(ax: Axes, line: xarray.Dataset, sharing: str, colour: str) -> None:
    """Draw one curve under its bounds, where these cross, and where the curve falls below its share of them."""
    begins, seen, most = float(line.knee_begins), float(line.knee_seen), float(line.workers.max())
    rate = float((line.alone / line.workers)[0])
    corners = np.array([1.0, min(begins, most), most])
    ax.plot(corners, rate * np.minimum(corners, begins), ":", color=colour, linewidth=1.3, label=f"{sharing}: bounds")
    ax.plot(line.workers, line.throughput, "o", color=colour, markersize=5, label=f"{sharing}: measured")
    knee = {"color": colour, "linestyle": "none", "markersize": 11}
    shown = (begins, rate * begins) if begins <= most else (math.nan, math.nan)
    ax.plot(*shown, marker="D", markerfacecolor="none", label="the knee begins: bounds cross", **knee)
    label = f"the knee is seen: below {line.knee:.0%}"
    ax.plot(seen, line.knee * rate * seen, marker="X", markeredgecolor="white", label=label, **knee)


def draw_costs(measured: xarray.Dataset) -> Figure:
    """Draw the time spent in queues, the spread of staleness, and how long a synchronous update takes."""
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.6), layout="constrained")
    titles = {
        "queueing": "share of a worker's time in queues\n(asynchronous)",
        "spread_of_staleness": "spread of staleness, versions\n(asynchronous; standard deviation)",
        "synchronous_seconds": "seconds per update\n(synchronous)",
    }
    for ax, (name, title) in zip(axes, titles.items(), strict=True):
        for (i, shards), (sharing, style) in itertools.product(enumerate(measured.shards.values), STYLES.items()):
            label = f"{plural(shards)}, {sharing}"
            line = measured[name].sel(shards=shards, sharing=sharing)
            ax.plot(measured.workers, line, style, color=sg.plots.LINES[i % len(sg.plots.LINES)], markersize=4, label=label)
        ax.set(title=title, xlabel="workers", xlim=(0, None), ylim=(0, None))
        ax.grid(alpha=0.25)
    free = f"messages take no time (on to {float(measured.spread_of_staleness_uncontended.max()):.1f})"
    axes[1].plot(measured.workers, measured.spread_of_staleness_uncontended, color="0.5", lw=1.2, label=free)
    axes[0].yaxis.set_major_formatter(PercentFormatter(1.0))
    handles, labels = axes[1].get_legend_handles_labels()
    axes[2].legend(handles, labels, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, borderaxespad=0)
    return figure


def main() -> None:
    """Run from the command line."""
    try:
        parameter_server_bottleneck(tyro.cli(Settings).checked())
    except (ValueError, TypeError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
