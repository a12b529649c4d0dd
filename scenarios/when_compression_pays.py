"""Compression: bytes × seconds × accuracy. On which links does sending less pay, and where do its time and its noise eat it?

Workers learn the digits by an MLP; on the wire the model is taken to be as large as `--message-bytes`, so compressed messages
are in proportion. Compressing takes a worker `--compressing` seconds for each message, whatever the compression. On a parameter
server every message goes through the server's link; on a ring, what can be summed on its way is, and what cannot is gathered.

All methods are synchronous, so the links change when a step is made and not what it computes: how many steps a method takes to
the target, at its own step size, is found once (chosen on seeds that are not reported, `--tuning-seeds`), and the time of these
steps on each link by recording them.

    python scenarios/when_compression_pays.py
    python scenarios/when_compression_pays.py --fabrics server --bandwidths 1e7 1e9 --compressing 0 --folder kept
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import common
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from measuring import table

import simsgd as sg

Fabric = Literal["server", "ring"]
METHODS: dict[str, Callable[..., sg.Method]] = {
    "none": sg.methods.minibatch,
    "float16": sg.methods.half_precision,
    "QSGD, 8 bits": sg.methods.qsgd,
    "EF-signSGD": sg.methods.error_feedback_sign,
    "top 1% with memory": sg.methods.top_k,
    "random 10%, shared": functools.partial(sg.methods.random_k, share=0.1, shared=True),
    "PowerSGD, rank 2": functools.partial(sg.methods.power_sgd, rank=2, momentum=0.0),  # as the others have none
}


@dataclass(frozen=True, kw_only=True)
class Flags(common.Comparing):
    """Which compression reaches the target first, on links from slow to fast."""

    workers: common.Count = 8
    seeds: common.Count = 6
    tuning_seeds: common.Count = 5
    target_accuracy: common.Accuracy = 0.9
    step_sizes: tuple[common.Positive, ...] = (0.08, 0.16, 0.32, 0.64)
    fabrics: tuple[Fabric, ...] = ("ring", "server")
    """a parameter server's links, a ring of workers, or both"""
    bandwidths: tuple[common.Positive, ...] = (1e6, 1e7, 1e8, 1e9, 1e10)
    """bandwidths of a link (bytes/second)"""
    message_bytes: common.Positive = 1e7
    """bytes that the model is taken to have on the wire"""
    compressing: common.Latency = 0.02
    """seconds that a worker takes to compress a message"""
    latency: common.Latency = 0.001
    """seconds before a message's first byte arrives, in either direction"""
    rounds: common.Count = 400
    """when to give up on the target, in steps"""
    kept: common.Count = 10
    """for how many steps the target is to be kept, to count as reached when it first was"""

    def made(self) -> dict[str, Callable[[float], sg.Method]]:
        """Return the methods by name, functions of the step size."""
        return {name: functools.partial(self._timed, make) for name, make in METHODS.items()}

    def _timed(self, make: Callable[..., sg.Method], step_size: float) -> sg.Method:
        """Return a method that takes its time to compress, if it compresses and that takes any."""
        method = make(step_size)
        if method.compress_up is None or not self.compressing:
            return method
        return dataclasses.replace(method, compressing=sg.times.Constant(self.compressing))

    def cluster(self, fabric: Fabric, bandwidth: float) -> sg.Cluster:
        """Return the workers with their links."""
        link = sg.networks.Link(self.latency, bandwidth)
        network = sg.networks.Ring(link) if fabric == "ring" else sg.networks.ParameterServer(link)
        jobs = sg.times.Gamma(mean=self.compute_seconds, coefficient_of_variation=self.compute_variation)
        return sg.Cluster(self.workers, jobs, network)


def rounds_needed(flags: Flags) -> tuple[dict[str, np.ndarray], str]:
    """Return how many steps each method takes to the target, by seed, infinite where it never arrives; and how they compare."""
    within, kept = sg.Seconds(float(flags.rounds)), sg.Seconds(float(flags.kept))
    target = flags.target(within=within, kept=kept)
    ideal = sg.Cluster(flags.workers, sg.times.Constant(1.0))  # a step a second
    problem = sg.problems.digits(batch_size=32)
    found = flags.compare(dict(METHODS), problem, ideal, until=target, evaluate_every=sg.Seconds(1.0))
    seconds = found.reporting.seconds(target)
    return {name: np.asarray(seconds.sel({"method": name}).values, float).ravel() for name in METHODS}, found.summary()


def seconds_needed(flags: Flags, rounds: Mapping[str, np.ndarray], fabric: Fabric, bandwidth: float) -> dict[str, np.ndarray]:
    """Return the seconds that so many steps take on a link, by method and seed."""
    shapes = sg.problems.digits().message_shapes
    cluster, made = flags.cluster(fabric, bandwidth), flags.made()

    def of(name: str, steps: float, seed: int) -> float:
        if not np.isfinite(steps):
            return np.inf
        sizes: dict[str, Any] = {"message_bytes": flags.message_bytes, "message_shapes": shapes}
        tape = sg.record(made[name](0.1), cluster, until=sg.Updates(round(steps)), seed=seed, **sizes)
        return float(tape.update_times[-1])

    return {
        name: np.array([of(name, steps, seed) for steps, seed in zip(rounds[name], flags.all_seeds, strict=True)])
        for name in METHODS
    }


def when_compression_pays(flags: Flags, saved: common.Saved) -> None:
    """Measure, print, draw and save."""
    rounds, compared = rounds_needed(flags)
    found = {
        (fabric, bandwidth): seconds_needed(flags, rounds, fabric, bandwidth)
        for fabric in flags.fabrics
        for bandwidth in flags.bandwidths
    }
    saved.text(f"{tell(flags, rounds, found)}\n\nIn steps, each of a second:\n{compared}")
    saved.figure(draw(flags, found), "when_compression_pays.png")


def mean(values: np.ndarray) -> float:
    """Return the mean over seeds; infinite if one never arrived."""
    return float(values.mean())


def tell(flags: Flags, rounds: Mapping[str, np.ndarray], found: Mapping[Any, Mapping[str, np.ndarray]]) -> str:
    """Return bytes, steps and seconds as a table, the first on each link marked."""
    shapes = sg.problems.digits().message_shapes
    heads = ["", "share of\nthe bytes", "steps", *(f"{fabric}\n{bandwidth:.0e} B/s" for fabric, bandwidth in found)]
    first = {link: min(times, key=lambda name: mean(times[name])) for link, times in found.items()}
    rows = []
    for name, make in METHODS.items():
        up = make(0.1).compress_up
        share = 1.0 if up is None else up.bytes(shapes) / (4 * sg.problems.digits().parameter_count)
        times = (f"{mean(found[link][name]):.3g}{'*' if first[link] == name else ''}" for link in found)
        rows.append([name, f"{share:.2%}", f"{mean(rounds[name]):.3g}", *times])
    return (
        f"Seconds to {flags.target_accuracy:g} of the test samples, means over {flags.seeds} seeds; * is the first\n"
        f"(inf: a run did not arrive in {flags.rounds} steps)\n{table(heads, rows)}"
    )


def draw(flags: Flags, found: Mapping[Any, Mapping[str, np.ndarray]]) -> Figure:
    """Draw the seconds to the target against the bandwidth, a panel for each fabric."""
    figure, axes = plt.subplots(
        1, len(flags.fabrics), figsize=(6.5 * len(flags.fabrics), 5), layout="constrained", squeeze=False
    )
    for ax, fabric in zip(axes[0], flags.fabrics, strict=True):
        for name in METHODS:
            times = [mean(found[fabric, bandwidth][name]) for bandwidth in flags.bandwidths]
            ax.plot(flags.bandwidths, times, "o-", label=name, color="black" if name == "none" else None)
        ax.set(xscale="log", yscale="log", xlabel="bandwidth of a link (bytes/second)", title=fabric)
        ax.set_ylabel("simulated seconds to the target")
        ax.grid(alpha=0.25)
    axes[0][0].legend(frameon=False, fontsize=8)
    figure.suptitle(
        f"{flags.workers} workers, a model of {flags.message_bytes / 1e6:g} MB, {flags.compressing:g} s to compress"
    )
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    common.run(Flags, when_compression_pays, arguments)


if __name__ == "__main__":
    main()
