"""Where a parameter server becomes the bottleneck: throughput against workers, and where the knee is.

Every worker pulls the whole model, computes, and pushes a gradient as large as the model. All pulls leave by the server's
outbound link, all pushes come by its inbound link; with p shards there are p servers, each with a part of the model and a
link of its own. No gradient is computed here: how fast updates are made does not depend on what is learned.

`queueing.py` holds what can be known beforehand: the bounds n / (Z + ΣD) and 1 / max D on the updates per second, which
cross at n* workers, where the knee *begins*; the exact throughput of fair sharing ("theory"); and the seconds of a synchronous
update if every job took its mean. The knee is *seen* somewhat before or after, where throughput falls below a share (`--knee`)
of n times one worker's. A throughput may exceed its bound by the luck of the draw: a sample of k jobs has a mean that is off by
about variation / √k.

Theory is about a server in its stationary state; so the first fifth of every asynchronous recording is left out. (Where
computing hardly varies, workers that began together stay together for long: try --compute-variation 0.01.)

    python scenarios/parameter_server_bottleneck.py
    python scenarios/parameter_server_bottleneck.py --link "ethernet 100g" --worker-link "infiniband ndr" --compute-seconds 0.1
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import common
import numpy as np
import xarray
from measuring import by_cell, median, sweep
from pictures.parameter_server_bottleneck import draw_costs, draw_throughput
from queueing import Needs

import simsgd as sg

FAIR, QUEUE = SHARING = ("fair", "first in, first out")


@dataclass(frozen=True, kw_only=True)
class Flags(common.Recording):
    """Measure the throughput of a parameter server against the number of workers, and find its knee."""

    workers: tuple[common.Count, ...] = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96)
    """how many workers the cluster has"""
    shards: tuple[common.Count, ...] = (1, 2, 4)
    """over how many servers the model is split, each with a link of its own"""
    message_bytes: common.Positive = 1e8
    """bytes of the model, and of a gradient; 1e8 is 25 million parameters in float32"""
    link: common.Link = "ethernet 25g"
    """link of each server, one of simsgd's presets"""
    worker_link: common.Link = "ethernet 100g"
    """link of each worker; first in, first out, a message that it slows down holds up all others, whatever the shards"""
    compute_seconds: common.Seconds = 0.2
    compute_variation: common.Positive = 0.2
    update_seconds: common.Latency = 0.0
    """mean seconds, exponential, for which a server that held the whole model would be busy with each gradient"""
    rounds: Annotated[int, common.Limits(least=5)] = 300
    """asynchronous gradients recorded for each worker; the first fifth is left out"""
    synchronous_updates: common.Count = 100
    """synchronous updates recorded"""
    knee: Annotated[float, common.Limits(above=0, below=1)] = 0.9
    """the knee is seen where throughput falls below this share of n times one worker's"""

    @property
    def jobs(self) -> sg.times.Law:
        """The law of compute times."""
        return sg.times.Lognormal(mean=self.compute_seconds, coefficient_of_variation=self.compute_variation)

    def cluster(self, sharing: str, shards: int, workers: int) -> sg.Cluster:
        """Return a cluster whose messages share a server's links."""
        update = sg.times.Exponential(self.update_seconds) if self.update_seconds else None
        link, access = sg.networks.preset(self.link), sg.networks.preset(self.worker_link)
        return sg.Cluster(workers, self.jobs, sg.networks.ParameterServer(link, sharing, shards, update, access))


def needs(flags: Flags, shards: int) -> Needs:
    """Return what a worker's round needs."""
    link, access = sg.networks.preset(flags.link), sg.networks.preset(flags.worker_link)
    capacity = shards * link.bandwidth
    return Needs(
        own=flags.compute_seconds + 2 * (link.latency + access.latency),
        message=flags.message_bytes / capacity,
        alone=flags.message_bytes / min(capacity, access.bandwidth),
        update=flags.update_seconds / shards,
    )


def parameter_server_bottleneck(flags: Flags, saved: common.Saved) -> None:
    """Measure, print, draw and save."""
    along = {"shards": flags.shards, "workers": flags.workers, "sharing": SHARING}
    measured = sweep(along, functools.partial(measure, flags), "recording")
    free = [steady(flags, sg.Cluster(n, flags.jobs))["spread_of_staleness"] for n in flags.workers]
    measured = measured.assign(spread_of_staleness_uncontended=("workers", free)).assign_attrs(knee=flags.knee)
    knees = sweep({"sharing": SHARING, "shards": flags.shards}, functools.partial(knee, flags, measured), "knees")
    saved.text(tables(measured), tell_knees(knees, flags), findings(measured))
    saved.numbers(measured.merge(knees), "parameter_server_bottleneck.nc")
    saved.figure(draw_throughput(measured.merge(knees)), "throughput.png")
    saved.figure(draw_costs(measured), "what_it_costs.png")


def measure(flags: Flags, shards: int, workers: int, sharing: str) -> dict[str, float]:
    """Record both methods on one cluster, and say what could be known beforehand."""
    cluster, need = flags.cluster(sharing, shards, workers), needs(flags, shards)
    until = sg.Updates(flags.synchronous_updates)
    synchronous = sg.record(sg.MinibatchSGD(), cluster, until, flags.seed, flags.message_bytes, progress=False)
    return {
        **steady(flags, cluster),
        "bound": need.bound(sharing, workers),
        "alone": workers / need.round,
        "theory": need.theory(workers) if sharing == FAIR else math.nan,
        "synchronous_seconds": synchronous.end / synchronous.updates,
        "synchronous_formula": need.synchronous(sharing, workers),
    }


def steady(flags: Flags, cluster: sg.Cluster) -> dict[str, float]:
    """Return what asynchronous SGD does on a cluster after the first fifth of a recording."""
    until = sg.Updates(flags.rounds * cluster.workers)
    tape = sg.record(sg.AsyncSGD(), cluster, until, flags.seed, flags.message_bytes, progress=False)
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


def knee(flags: Flags, measured: xarray.Dataset, sharing: str, shards: int) -> dict[str, float]:
    """Return at how many workers the bounds cross, and at how many the knee is seen (by straight lines, NaN if nowhere)."""
    line, seen = measured.sel(sharing=sharing, shards=shards), math.nan
    workers, shares = np.append(1, line.workers), np.append(1.0, line.throughput / line.alone)
    below = np.flatnonzero((shares < flags.knee) & (workers > 1))
    if len(below):
        after, before = below[0], below[0] - 1
        part = (shares[before] - flags.knee) / (shares[before] - shares[after])
        seen = float(workers[before] + part * (workers[after] - workers[before]))
    return {"knee_begins": needs(flags, shards).crossing(sharing), "knee_seen": seen}


def tables(measured: xarray.Dataset) -> str:
    """Return what both methods do, one line for each way of sharing, number of shards and workers."""
    gains = measured.throughput * measured.synchronous_seconds / measured.workers
    columns = {
        "async: updates/s\nat most": median("bound"),
        "\ntheory": median("theory"),
        "\nmeasured": median("throughput"),
        "time\nqueueing": median("queueing", ".1%"),
        "staleness\nmean": median("mean_staleness", ".1f"),
        "\nspread": median("spread_of_staleness", ".1f"),
        "sync: seconds/update\nmeasured": median("synchronous_seconds"),
        "if all took their mean\nformula": median("synchronous_formula"),
        "gradients/s\nasync over sync": median("gains", ".2f"),
    }
    return by_cell(measured.assign(gains=gains), ("sharing", "shards", "workers"), columns)


def tell_knees(knees: xarray.Dataset, flags: Flags) -> str:
    """Return where each knee begins by the bounds, and where it is seen."""

    def seen(cell: xarray.Dataset) -> str:
        return f"at {float(cell.knee_seen):.1f}" if np.isfinite(cell.knee_seen) else f"nowhere up to {max(flags.workers)}"

    columns = {"begins at\nn* workers": median("knee_begins", ".1f")}
    columns[f"seen: below {flags.knee:.0%} of n times\none worker's updates/s"] = seen
    return f"knee of asynchronous SGD\n\n{by_cell(knees, ('sharing', 'shards'), columns)}"


def findings(measured: xarray.Dataset) -> str:
    """Return in words what the numbers say."""
    gain = measured.throughput.sel(sharing=QUEUE) / measured.throughput.sel(sharing=FAIR) - 1
    top, last = gain.isel(gain.argmax(...)), measured.isel(workers=-1, shards=0)
    off = float(abs(measured.throughput / measured.theory - 1).max())
    where = f"with {int(last.workers)} workers (shards: {int(last.shards)})"
    spread, seconds = (last[name].values for name in ("spread_of_staleness", "synchronous_seconds"))
    return (
        f"First in, first out makes from {float(gain.min()):+.1%} to {float(top):+.1%} updates/s against fair sharing, "
        f"the most with {int(top.workers)} workers (shards: {int(top.shards)});\n"
        f"{where} it makes {float(gain.sel(workers=last.workers, shards=last.shards)):+.1%}. "
        f"Fair sharing is within {off:.1%} of theory everywhere.\n"
        f"Staleness {where}: mean {float(last.mean_staleness.mean()):.1f}, standard deviation {spread[0]:.1f} fair,\n"
        f"{spread[1]:.1f} first in, first out; it would be {float(last.spread_of_staleness_uncontended):.1f} "
        "if messages took no time. Who queues for a server takes turns.\n"
        f"A synchronous update {where} takes {seconds[0]:.3g} s fair, {seconds[1]:.3g} s first in, first out: "
        f"{seconds[0] / seconds[1]:.2f} times as long fair."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    common.run(Flags, parameter_server_bottleneck, arguments)


if __name__ == "__main__":
    main()
