"""Synchronous methods, and others that use gradients of the current version only: all average over a step's gradients."""

from __future__ import annotations

from collections.abc import Sequence

from simsgd.method import Method
from simsgd.methods.entry import WORKERS, Entry
from simsgd.methods.preset import preset
from simsgd.optimizers import sgd
from simsgd.protocols import FirstMSGD, KBatchSyncSGD, KSyncSGD, MindFlayerSGD, MinibatchSGD, RennalaSGD
from simsgd.support import checks


@preset("Minibatch SGD")
def minibatch(step_size: float = 0.1) -> Method:
    """Return synchronous SGD: wait for every worker, step with the average, w ← w − η · (1/n) Σᵢ gᵢ(w).

    Source: Chen et al. (2016), "Revisiting distributed synchronous SGD".

    Args:
        step_size: η, of the average.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.minibatch(step_size=0.1).protocol
        MinibatchSGD()
    """
    return Method(MinibatchSGD(), sgd(step_size))


@preset("K-sync SGD")
def k_sync(step_size: float = 0.1, *, gradients: int) -> Method:
    """Return K-sync SGD: step with the average of the first K workers' gradients, and cancel the other jobs.

    w ← w − η · (1/K) Σ gᵢ(w) over the first K.

    Source: Dutta et al. (2018), "Slow and stale gradients can win the race", section 2.

    Args:
        step_size: η, of the average.
        gradients: K, at most as many as workers.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.k_sync(step_size=0.1, gradients=4).protocol
        KSyncSGD(gradients=4)
    """
    return Method(KSyncSGD(gradients), sgd(step_size))


@preset("Backup workers")
def backup_workers(step_size: float = 0.1, *, workers: int, backups: int) -> Method:
    """Return synchronous SGD with b backup workers: step with the average of the first n − b gradients, cancel the rest.

    That is K-sync SGD with K = n − b.

    Source: Chen et al. (2016), "Revisiting distributed synchronous SGD", algorithms 3 and 4.

    Args:
        step_size: η, of the average.
        workers: n, all workers of the cluster, backups included.
        backups: b, at least 0 and below n.

    Raises:
        ValueError: if nobody is left to step with.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.backup_workers(step_size=0.1, workers=16, backups=2).protocol
        KSyncSGD(gradients=14)
    """
    workers, backups = checks.whole("workers", workers, 1), checks.whole("backups", backups, 0)
    if backups >= workers:
        raise ValueError(f"backups must be fewer than the {workers} workers, got {backups}")
    return Method(KSyncSGD(workers - backups), sgd(step_size))


@preset("K-batch-sync SGD")
def k_batch_sync(step_size: float = 0.1, *, gradients: int) -> Method:
    """Return K-batch-sync SGD: step with the average of any K gradients of the current version, then cancel all other jobs.

    w ← w − η · (1/K) Σ gᵢ(w) over the first K, of which a worker may give several.

    Source: Dutta et al. (2018), "Slow and stale gradients can win the race", section 2.

    Args:
        step_size: η, of the average.
        gradients: K.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.k_batch_sync(step_size=0.1, gradients=4).protocol
        KBatchSyncSGD(gradients=4)
    """
    return Method(KBatchSyncSGD(gradients), sgd(step_size))


@preset("First-m SGD")
def first_m(step_size: float = 0.1, *, workers: int | tuple[int, ...]) -> Method:
    """Return synchronous SGD with m of the workers only: step with the average of theirs, w ← w − η · (1/m) Σ gᵢ(w).

    Source: Tyurin and Richtárik (2023), "Optimal time complexities of parallel stochastic optimization methods under a fixed
    computation model" (minibatch SGD with the m fastest workers).

    Args:
        step_size: η, of the average.
        workers: m, for the workers 0 to m − 1, or the numbers of those that take part.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.first_m(step_size=0.1, workers=4).protocol
        FirstMSGD(workers=4)
    """
    return Method(FirstMSGD(workers), sgd(step_size))


@preset("Rennala SGD")
def rennala(step_size: float = 0.1, *, gradients: int) -> Method:
    """Return Rennala SGD: step with the average of B gradients of the current version, ignore all others, cancel nothing.

    w ← w − η · (1/B) Σ gᵢ(w) over the first B.

    Source: Tyurin and Richtárik (2023), "Optimal time complexities of parallel stochastic optimization methods under a fixed
    computation model", method 4.

    Args:
        step_size: η, of the average.
        gradients: B; in the paper max(⌈σ²/ε⌉, 1).

    Example:
        >>> import simsgd as sg
        >>> sg.methods.rennala(step_size=0.1, gradients=8).protocol
        RennalaSGD(gradients=8)
    """
    return Method(RennalaSGD(gradients), sgd(step_size))


@preset("MindFlayer SGD")
def mind_flayer(
    step_size: float = 0.1,
    *,
    limit: float | Sequence[float],
    trials: int | Sequence[int] = 1,
    expected: float | None = None,
) -> Method:
    """Return MindFlayer SGD: each worker has Bᵢ trials in a round, and a job that takes longer than tᵢ seconds is given up.

    w ← w − η · (1/B) Σ gᵢ(w) over the trials that were in time, B = Σᵢ pᵢ·Bᵢ with the probabilities pᵢ of being so; without
    `expected` the sum is averaged over how many there are, which is ours.

    Source: Maranjyan, Shaikh Omar and Richtárik (2025), "MindFlayer SGD: efficient parallel SGD in the presence of
    heterogeneous and random worker compute times", algorithm 1 (from memory).

    Args:
        step_size: η, of the average.
        limit: tᵢ, seconds, for all workers or one for each.
        trials: Bᵢ, for all workers or one for each.
        expected: B; None averages over the gradients that came.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.mind_flayer(step_size=0.1, limit=1.5, trials=2).protocol
        MindFlayerSGD(limit=1.5, trials=2)
    """
    return Method(MindFlayerSGD(limit, trials, expected), sgd(step_size))


@preset("Asynchronous mini-batching")
def asynchronous_mini_batching(step_size: float = 0.1, *, gradients: int) -> Method:
    """Return asynchronous mini-batching around SGD: average B gradients of the current version, ignore stale ones.

    w ← w − η · (1/B) Σ gᵢ(w). The paper puts this filter around any optimizer: `dataclasses.replace(method, optimizer=…)`.
    Around SGD it is Rennala SGD; the papers differ in how they choose B, here by a quantile of the delays.

    Source: Attia, Gaash and Koren (2024), "Faster stochastic optimization with arbitrary delays via asynchronous
    mini-batching", arXiv 2408.07503 (from memory).

    Args:
        step_size: η, of the average.
        gradients: B.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.asynchronous_mini_batching(step_size=0.1, gradients=8).protocol
        RennalaSGD(gradients=8)
    """
    return Method(RennalaSGD(gradients), sgd(step_size))


ENTRIES: tuple[Entry, ...] = (
    Entry(minibatch, {}, "test_shelf_protocols.py::test_minibatch"),
    Entry(k_sync, {"gradients": 2}, "test_shelf_protocols.py::test_k_sync"),
    Entry(backup_workers, {"workers": WORKERS, "backups": 1}, "test_shelf_protocols.py::test_backup_workers"),
    Entry(k_batch_sync, {"gradients": 2}, "test_shelf_protocols.py::test_k_batch_sync"),
    Entry(first_m, {"workers": 3}, "test_shelf_protocols.py::test_first_m"),
    Entry(rennala, {"gradients": 4}, "test_shelf_protocols.py::test_rennala"),
    Entry(
        asynchronous_mini_batching,
        {"gradients": 4},
        "test_shelf_protocols.py::test_asynchronous_mini_batching",
    ),
    Entry(mind_flayer, {"limit": 2.0, "trials": 2}, "test_shelf_protocols.py::test_mind_flayer"),
)
"""The rows of the shelf."""
