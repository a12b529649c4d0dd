"""Asynchronous methods that differ in who waits for whom. Whether a step sums or averages is said of each."""

from __future__ import annotations

from simsgd.method import Method
from simsgd.methods.entry import WORKERS, Entry
from simsgd.methods.preset import preset
from simsgd.optimizers import sgd
from simsgd.protocols import (
    AdaSyncSGD,
    AsyncSGD,
    BoundedAsyncSGD,
    KAsyncSGD,
    KBatchAsyncSGD,
    RingmasterASGD,
    StaleSynchronousSGD,
)
from simsgd.support import checks


@preset("Asynchronous SGD")
def asynchronous(step_size: float = 0.1) -> Method:
    """Return asynchronous SGD: step with each gradient as it arrives, w ← w − η · gᵢ(w_read).

    Single gradients, neither summed nor averaged: for the same n gradients the model moves n times as far as in `minibatch`.

    Source: Dean et al. (2012), "Large scale distributed deep networks" (Downpour SGD, with a gradient in each message).

    Args:
        step_size: η, of a single gradient.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.asynchronous(step_size=0.1).protocol
        AsyncSGD()
    """
    return Method(AsyncSGD(), sgd(step_size))


@preset("K-async SGD")
def k_async(step_size: float = 0.1, *, gradients: int) -> Method:
    """Return K-async SGD: step with the average of the first K workers' gradients, however stale; the others compute on.

    w ← w − η · (1/K) Σ gᵢ(w_read) over K different workers, who wait for the step.

    Source: Dutta et al. (2018), "Slow and stale gradients can win the race", section 2.

    Args:
        step_size: η, of the average.
        gradients: K, at most as many as workers.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.k_async(step_size=0.1, gradients=4).protocol
        KAsyncSGD(gradients=4)
    """
    return Method(KAsyncSGD(gradients), sgd(step_size))


@preset("K-batch-async SGD")
def k_batch_async(step_size: float = 0.1, *, gradients: int) -> Method:
    """Return K-batch-async SGD: step with the average of every K gradients, whoever they come from; nobody waits.

    w ← w − η · (1/K) Σ gᵢ(w_read).

    Source: Dutta et al. (2018), "Slow and stale gradients can win the race", section 2.

    Args:
        step_size: η, of the average.
        gradients: K.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.k_batch_async(step_size=0.1, gradients=4).protocol
        KBatchAsyncSGD(gradients=4)
    """
    return Method(KBatchAsyncSGD(gradients), sgd(step_size))


@preset("n-softsync")
def softsync(step_size: float = 0.1, *, workers: int, splits: int = 1) -> Method:
    """Return c-softsync: step with the average of every ⌊n/c⌋ gradients, whoever they come from.

    K-batch-async SGD with K = ⌊n/c⌋. Mean staleness is about c: (n − 1)/K.

    Source: Zhang et al. (2015), "Staleness-aware async-SGD for distributed deep learning", n-softsync.

    Args:
        step_size: η, of the average.
        workers: n, all workers of the cluster.
        splits: c, from 1 to n; n is asynchronous SGD.

    Raises:
        ValueError: if there are more splits than workers.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.softsync(step_size=0.1, workers=16, splits=3).protocol
        KBatchAsyncSGD(gradients=5)
    """
    workers, splits = checks.whole("workers", workers, 1), checks.whole("splits", splits, 1)
    if splits > workers:
        raise ValueError(f"splits must be at most the {workers} workers, got {splits}: with {workers} each gradient is a step")
    return Method(KBatchAsyncSGD(workers // splits), sgd(step_size))


@preset("SSP")
def stale_synchronous(step_size: float = 0.1, *, bound: int) -> Method:
    """Return stale synchronous parallel, SSP(s): a worker may be at most s clocks ahead of the slowest.

    w ← w − η · (1/n) Σ gᵢ(w_read): each gradient has the weight 1/n, so n of them are averaged, whatever steps they come in.
    The paper adds gradients to the parameters, with its own scale in the step size.

    Source: Ho et al. (2013), "More effective distributed ML via a stale synchronous parallel parameter server", section 3.

    Args:
        step_size: η, of the average of n gradients.
        bound: s, at least 0; with 0 it is `minibatch`.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.stale_synchronous(step_size=0.1, bound=3).protocol
        StaleSynchronousSGD(bound=3)
    """
    return Method(StaleSynchronousSGD(bound), sgd(step_size))


@preset("Bounded concurrency")
def bounded_concurrency(step_size: float = 0.1, *, jobs: int, choose: str = "random") -> Method:
    """Return asynchronous SGD with K jobs in flight among n workers: step with each gradient, then hand out to an idle worker.

    w ← w − η · gᵢ(w_read), single gradients. After T steps Σ staleness used + Σ staleness in flight = (K − 1)·T exactly.

    Source: Koloskova, Stich and Jaggi (2022), "Sharper convergence guarantees for asynchronous SGD for distributed and
    federated learning", algorithm 2.

    Args:
        step_size: η, of a single gradient.
        jobs: K, at most as many as workers.
        choose: who is next among the idle workers, "random" or "in turn".

    Example:
        >>> import simsgd as sg
        >>> sg.methods.bounded_concurrency(step_size=0.1, jobs=4).protocol
        BoundedAsyncSGD(jobs=4)
    """
    return Method(BoundedAsyncSGD(jobs, choose), sgd(step_size))


@preset("Ringmaster ASGD")
def ringmaster(step_size: float = 0.1, *, threshold: int, stops: bool = False) -> Method:
    """Return Ringmaster ASGD: asynchronous SGD that ignores gradients R or more versions old.

    w ← w − η · gᵢ(w_read) where the staleness is below R, single gradients. With stops, a job is cancelled once its staleness
    reaches R.

    Source: Maranjyan, Tyurin and Richtárik (2025), "Ringmaster ASGD: the first asynchronous SGD with optimal time complexity",
    algorithm 4, and 5 with stops.

    Args:
        step_size: η, of a single gradient.
        threshold: R, at least 1; in the paper max(⌈σ²/ε⌉, 1).
        stops: whether jobs that have become too stale are cancelled.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.ringmaster(step_size=0.1, threshold=8).protocol
        RingmasterASGD(threshold=8)
    """
    name = "Ringmaster ASGD with stops" if stops else None
    return Method(RingmasterASGD(threshold, stops), sgd(step_size), name=name)


@preset("AdaSync")
def ada_sync(step_size: float = 0.1, *, every: float, gradients: int = 1) -> Method:
    """Return AdaSync: K-async SGD whose K grows as the loss falls, K = K₀·√(F(w₀)/F(w)).

    w ← w − η · (1/K) Σ gᵢ(w_read). It reads the loss while it runs, so it is simulated, not recorded alone.

    Source: Dutta et al. (2021), "Slow and stale gradients can win the race" (journal version), AdaSync (from memory).

    Args:
        step_size: η, of the average.
        every: how far apart the loss is looked at, simulated seconds.
        gradients: K₀, with which it begins.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.ada_sync(step_size=0.1, every=5.0).protocol
        AdaSyncSGD(every=5.0)
    """
    return Method(AdaSyncSGD(every, gradients), sgd(step_size))


ENTRIES: tuple[Entry, ...] = (
    Entry(asynchronous, {}, "test_shelf_protocols.py::test_asynchronous"),
    Entry(k_async, {"gradients": 2}, "test_shelf_protocols.py::test_k_async"),
    Entry(k_batch_async, {"gradients": 2}, "test_shelf_protocols.py::test_k_batch_async"),
    Entry(softsync, {"workers": WORKERS}, "test_shelf_protocols.py::test_softsync"),
    Entry(stale_synchronous, {"bound": 2}, "test_shelf_protocols.py::test_stale_synchronous"),
    Entry(bounded_concurrency, {"jobs": 2}, "test_shelf_protocols.py::test_bounded_concurrency"),
    Entry(ringmaster, {"threshold": 4}, "test_shelf_protocols.py::test_ringmaster"),
    Entry(ringmaster, {"threshold": 4, "stops": True}, "test_shelf_protocols.py::test_ringmaster_with_stops"),
    Entry(ada_sync, {"every": 5.0}, "test_shelf_protocols.py::test_ada_sync"),
)
"""The rows of the shelf."""
