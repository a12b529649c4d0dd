"""Files to attack: tapes, runs and clusters of several kinds, small enough to damage thousands of times."""

from __future__ import annotations

import functools
import pathlib

import simsgd as sg

LOADS = {".tape": sg.Tape.load, ".run": sg.Run.load, ".toml": sg.Cluster.load}
"""How a file is loaded, by the end of its name."""


@functools.cache
def clusters() -> dict[str, sg.Cluster]:
    times, networks, faults = sg.times, sg.networks, sg.faults
    return {
        "plain": sg.Cluster(4, times.Exponential(mean=0.1), networks.Link(latency=1e-3, bandwidth=1e6)),
        "rich": sg.Cluster(
            workers=6,
            compute=times.DrawnSlowness(
                times.AutocorrelatedLognormal(mean=0.1, coefficient_of_variation=0.3, autocorrelation=0.6),
                slowness=times.Lognormal(mean=1.0, coefficient_of_variation=0.4),
            ),
            network=networks.ParameterServer(networks.preset("ethernet 10g"), sharing="fair", shards=2),
            faults=[faults.Crashes(between=times.Exponential(mean=2.0), lasting=times.Constant(0.5)), faults.Leave(3, at=1.0)],
        ),
        "measured": sg.Cluster(2, times.Recorded([[0.5, 1.0] * 8, [0.7] * 16], at_end="resample", block=2)),
        "summed": sg.Cluster(3, times.Constant(0.1), networks.Ring(networks.Link(latency=1e-3, bandwidth=1e9))),
    }


def tapes() -> dict[str, sg.Tape]:
    made, protocols = clusters(), {"summed": sg.MinibatchSGD(), "plain": sg.protocols.KSyncSGD(2)}
    found = {
        name: sg.record(protocols.get(name, sg.AsyncSGD()), made[name], sg.Updates(60), seed=1, message_bytes=1e4)
        for name in made
    }
    return found | {"short": sg.record(sg.AsyncSGD(), made["plain"], sg.Seconds(1e-4), message_bytes=1e4)}


def run() -> sg.Run:
    """Return a run; this loads JAX."""
    target = sg.Target("loss", at_most=0.3, within=sg.Seconds(4), kept=sg.Updates(3))
    return sg.simulate(sg.AsyncSGD(), sg.problems.quadratic(), clusters()["rich"], sg.optimizers.sgd(0.05), target)


def make(folder: pathlib.Path) -> None:
    """Save one of each in a folder."""
    for name, cluster in clusters().items():
        cluster.save(folder / f"{name}.toml")
    for name, tape in tapes().items():
        tape.save(folder / f"{name}.tape")
    run().save(folder / "rich.run")
