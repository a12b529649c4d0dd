"""The shelf as its scenarios play it: workers that differ in speed, the settings of each method for them, and the problem."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import common
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.optimize import minimize

import simsgd as sg

ROWS = [entry for entry in sg.methods.SHELF if entry.sends_gradients]
"""The methods that are played: local steps, tables of samples and compression have scenarios of their own."""
NAMES = tuple(dict.fromkeys(entry.preset.__name__ for entry in ROWS))
"""The names of their presets; one of them, `ringmaster`, stands on the shelf twice."""
TRAINING = 1437
"""Samples of the digits to train on."""


Name = Literal[*NAMES]  # type: ignore[valid-type]


@dataclass(frozen=True, kw_only=True)
class Unequal(common.Recording):
    """The flags of the scenarios in which methods of the shelf are played by workers that differ in speed, for good."""

    methods: tuple[Name, ...] = NAMES
    """which methods, by their names in sg.methods"""
    workers: Annotated[int, common.Limits(least=2)] = 10
    """how many workers the cluster has, at least 2"""
    compute_variation: common.Positive = 0.3
    slowest: common.Slowness = 8.0
    """how many times slower the slowest worker is than the fastest, at least 1; in equal ratios between"""
    latency: common.Latency = 0.001
    """seconds before a message's first byte arrives, in either direction"""
    batch_size: common.Count = 16
    """samples in each worker's batch"""

    @property
    def job_seconds(self) -> tuple[float, ...]:
        """Mean compute time of each worker's jobs, the fastest worker first."""
        return tuple((self.compute_seconds * np.geomspace(1, self.slowest, self.workers)).tolist())

    @property
    def cluster(self) -> sg.Cluster:
        """The cluster: its first worker is the fastest."""
        jobs = sg.times.Lognormal(mean=self.compute_seconds, coefficient_of_variation=self.compute_variation)
        speeds = tuple(self.compute_seconds / mean for mean in self.job_seconds)
        return sg.Cluster(self.workers, sg.times.Speeds(jobs, speeds), sg.networks.Link(self.latency))

    @property
    def entries(self) -> dict[str, sg.methods.Entry]:
        """The methods that are asked for, by title."""
        return {entry.name: entry for entry in ROWS if entry.preset.__name__ in self.methods}

    def made(self) -> dict[str, Callable[[float], sg.Method]]:
        """Return the methods asked for, by title, as functions of the step size, with their settings for this cluster."""
        told = settings(self.job_seconds, share_batches=math.ceil(TRAINING / self.workers / self.batch_size))
        return {
            title: functools.partial(entry.make, **told.get(entry.preset.__name__, {})) for title, entry in self.entries.items()
        }


def settings(job_seconds: tuple[float, ...], share_batches: int) -> dict[str, dict]:
    """Return what presets are told of a cluster; those that are not named need nothing.

    Args:
        job_seconds: mean seconds of a job of each of the n workers, the fastest first. What counts gradients or workers
            counts n of them, or n/2.
        share_batches: in how many batches a worker goes through its share.
    """
    workers = len(job_seconds)
    half = {"gradients": workers // 2}
    whole = {"pass_steps": share_batches}
    return {
        "k_sync": half,
        "backup_workers": {"workers": workers, "backups": max(1, workers // 5)},
        "k_batch_sync": {"gradients": workers},
        "first_m": {"workers": half["gradients"]},
        "rennala": {"gradients": workers},
        "asynchronous_mini_batching": half,
        "k_async": half,
        "k_batch_async": half,
        "softsync": {"workers": workers},
        "stale_synchronous": {"bound": 3},
        "bounded_concurrency": {"jobs": half["gradients"]},
        "ringmaster": {"threshold": workers},
        "ada_sync": {"every": 10 * job_seconds[0]},
        "incremental_aggregated": {"steps": share_batches},
        "malenia": {"gradients": 2 * workers},
        "mind_flayer": {"limit": tuple(2 * mean for mean in job_seconds), "trials": 1},
        "picky": {"distance": 0.5},
        "svrg": {"updates": 1 + 2 * share_batches, **whole},
        "asynchronous_svrg": {"updates": 1 + 2 * workers * share_batches, **whole},
        "loopless_svrg": {"probability": 1 / (1 + 2 * share_batches), **whole},
        "distributed_svrg": {"local_steps": 2 * share_batches, **whole},
    }


@dataclass(frozen=True)
class Penalised:
    """Cross-entropy with ½ penalty·‖w‖²: strongly convex, so that which data count how much decides where methods end."""

    penalty: float

    def __call__(self, parameters: sg.problems.Parameters, batch: sg.problems.Batch) -> jax.Array:
        """Return the loss of a batch."""
        squares = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(parameters))
        return sg.problems.cross_entropy(parameters, batch) + 0.5 * self.penalty * squares


def digits(penalty: float, batch_size: int) -> sg.Problem:
    """Return logistic regression on the digits, with a penalty, and its training loss as the only metric."""
    problem = sg.problems.digits("logistic", batch_size=batch_size)
    return dataclasses.replace(problem, loss=Penalised(penalty), test_data=None, metrics={}, target=None)


@functools.cache
def least_loss(penalty: float) -> float:
    """Return the least loss that is possible, by L-BFGS on all samples."""
    problem = digits(penalty, 1)
    start, shaped = ravel_pytree(problem.init(jax.random.key(0)))
    both = jax.jit(jax.value_and_grad(lambda w: problem.loss(shaped(w), problem.data)))
    found = minimize(lambda w: tuple(np.asarray(each, float) for each in both(w)), start, jac=True, method="L-BFGS-B")
    return float(found.fun)


def tuned(try_sizes: Callable[[list[float]], dict[float, tuple[float, float]]], coarse: list[float]) -> float:
    """Return the best step size of a geometric grid that is widened while the best lies at its edge, then made finer there.

    Args:
        try_sizes: returns for each step size what is to be least: seconds to the target, then the loss at the end.
        coarse: step sizes, each so many times the one before.
    """
    factor, tried = coarse[1] / coarse[0], try_sizes(coarse)
    best = min(tried, key=tried.__getitem__)
    while best in (min(tried), max(tried)) and math.isfinite(sum(tried[best][1:])):
        tried |= try_sizes([best / factor if best == min(tried) else best * factor])
        best = min(tried, key=tried.__getitem__)
    tried |= try_sizes([best / math.sqrt(factor), best * math.sqrt(factor)])
    return min(tried, key=tried.__getitem__)
