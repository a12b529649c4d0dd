"""Variance-reduced methods: gradients whose noise goes to zero at the optimum, so that a constant step size arrives there.

Those with tables remember a gradient for each block of `batch_size` samples; those with snapshots go through all samples now
and then, which takes its time: `problems.full_pass` says how many batches it is for each worker.

They are for losses that are a finite sum over samples. `problems.quadratic()` without noise is a single sample, and noise that
is drawn by a key (`problems.quadratics`, dropout) comes from none: gradients of blocks, and full ones, are computed without it.
There these methods run, but show nothing of what they are for.
"""

from __future__ import annotations

import optax

from simsgd import optimizers
from simsgd.method import Method
from simsgd.methods.entry import Entry
from simsgd.methods.preset import preset
from simsgd.optimizers import sgd
from simsgd.protocols import AsyncEpochSGD, AsyncSGD, EpochSGD, LooplessEpochSGD, MinibatchSGD, Protocol
from simsgd.support import checks
from simsgd.works import BlockGradient, BlockTable, LocalVarianceReduction, RecursiveMomentum, VarianceReducedGradient


@preset("SAG")
def sag(step_size: float = 0.1, *, asynchronous: bool = False) -> Method:
    """Return SAG, the stochastic average gradient: w ← w − η · (1/B) Σ_b T_b, T_b the last gradient of block b, at the server.

    Workers compute gradients of blocks drawn at random; each replaces a row, and a step goes along the mean of all rows. It is
    biased, and rows count as 0 until they are filled, so the first steps are short. Synchronous: n rows change before a step.

    Source: Schmidt, Le Roux and Bach (2017), "Minimizing finite sums with the stochastic average gradient", algorithm 1.

    Args:
        step_size: η, of the mean of all rows; in the paper 1/(16·L).
        asynchronous: whether to step with each gradient as it arrives.

    Raises:
        simsgd.BoundError: where it is played, if the table is beyond `simsgd.bounds.bytes`.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.sag(step_size=0.1).work
        BlockGradient(steps=1)
    """
    return Method(
        _waiting(asynchronous, MinibatchSGD(average=False)),
        optax.chain(optax.trace(decay=1.0), optax.sgd(checks.positive("step_size", step_size))),
        work=BlockGradient(),
        on_message=optimizers.sag_table(),
    )


@preset("SAGA")
def saga(step_size: float = 0.1) -> Method:
    """Return SAGA: w ← w − η · (1/n) Σᵢ vᵢ, vᵢ = g_b − T_b + (1/B) Σ_c T_c for the block b that worker i has drawn; T_b ← g_b.

    The table is the server's, and takes a step's n gradients one after the other. A mean of n estimates without bias.

    Source: Defazio, Bach and Lacoste-Julien (2014), "SAGA: a fast incremental gradient method with support for non-strongly
    convex composite objectives", equation 7 (without the proximal step; the table begins at 0).

    Args:
        step_size: η, of the mean; in the paper 1/(3·L) for single gradients.

    Raises:
        simsgd.BoundError: where it is played, if the table is beyond `simsgd.bounds.bytes`.

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.describe(sg.methods.saga(step_size=0.1).on_message)
        'saga_table()'
    """
    return _with_table(MinibatchSGD(), step_size)


@preset("Asynchronous SAGA")
def asynchronous_saga(step_size: float = 0.1) -> Method:
    """Return asynchronous SAGA: w ← w − η · v, v = g_b(w_read) − T_b + (1/B) Σ_c T_c, as each gradient arrives; T_b ← g_b.

    The gradient is stale, the table is as it is when the gradient is used. (In the paper, which is about shared memory, both
    are read together, and only the coordinates of a sparse sample are corrected.) Single estimates.

    Source: Leblond, Pedregosa and Lacoste-Julien (2018), "Improved asynchronous parallel optimization analysis for stochastic
    incremental methods", ASAGA.

    Args:
        step_size: η, of a single estimate.

    Raises:
        simsgd.BoundError: where it is played, if the table is beyond `simsgd.bounds.bytes`.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.asynchronous_saga(step_size=0.1).protocol
        AsyncSGD()
    """
    return _with_table(AsyncSGD(), step_size)


@preset("Distributed SAGA")
def distributed_saga(step_size: float = 0.1) -> Method:
    """Return distributed SAGA: each worker has a table for its share of the data, the server the mean of all tables.

    Worker i sends d = g_b(w_read) − T_b for a block of its share, T_b ← g_b; the server steps w ← w − η · (d + ḡ) as each
    arrives, and ḡ ← ḡ + d/(n·Bᵢ). The paper's workers make several local steps before they send their changes of w and ḡ;
    here it is one, so that one vector says both. The same as `asynchronous_saga` on that data, with the table elsewhere.

    Source: De and Goldstein (2016), "Efficient distributed SGD with variance reduction", distributed SAGA (from memory).

    Args:
        step_size: η, of a single estimate.

    Raises:
        simsgd.BoundError: where it is played, if the tables are beyond `simsgd.bounds.bytes`.

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.describe(sg.methods.distributed_saga(step_size=0.1).on_message)
        'mean_of_tables()'
    """
    return Method(AsyncSGD(), sgd(step_size), work=BlockTable(), on_message=optimizers.mean_of_tables(), per_worker_data=True)


@preset("SVRG")
def svrg(step_size: float = 0.1, *, updates: int, pass_steps: int | tuple[int, ...]) -> Method:
    """Return SVRG: epochs of a full gradient μ at w̃, w ← w̃ − ημ, then w ← w − η · (1/n) Σᵢ (gᵢ(w) − gᵢ(w̃) + μ).

    Synchronous; gᵢ(w) and gᵢ(w̃) are of one batch, so an inner step costs two gradients of each worker. The next snapshot is the
    epoch's last model.

    Source: Johnson and Zhang (2013), "Accelerating stochastic gradient descent using predictive variance reduction", option I.

    Args:
        step_size: η, of the mean of n estimates.
        updates: steps of an epoch, the first with μ among them.
        pass_steps: local steps that its part of μ takes each worker: `problems.full_pass(problem, workers)`.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.svrg(step_size=0.1, updates=50, pass_steps=12).protocol
        EpochSGD(updates=50)
    """
    return _with_snapshots(EpochSGD(updates), step_size, pass_steps)


@preset("Asynchronous SVRG")
def asynchronous_svrg(step_size: float = 0.1, *, updates: int, pass_steps: int | tuple[int, ...]) -> Method:
    """Return asynchronous SVRG: a full gradient μ at w̃ by all workers, then w ← w − η · (g(w_read) − g(w̃) + μ) as each arrives.

    Only the inner steps are asynchronous: nobody goes on before μ is there, and the next pass begins when the last inner
    message is. Single estimates, for the same η n times as far per gradient as `svrg`.

    Source: Reddi et al. (2015), "On variance reduction in stochastic gradient descent and its asynchronous variants".

    Args:
        step_size: η, of a single estimate.
        updates: steps of an epoch, the first with μ among them.
        pass_steps: local steps that its part of μ takes each worker: `problems.full_pass(problem, workers)`.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.asynchronous_svrg(step_size=0.1, updates=400, pass_steps=12).protocol
        AsyncEpochSGD(updates=400)
    """
    return _with_snapshots(AsyncEpochSGD(updates), step_size, pass_steps)


@preset("Distributed SVRG")
def distributed_svrg(step_size: float = 0.1, *, local_steps: int, pass_steps: int | tuple[int, ...], rounds: int = 1) -> Method:
    """Return distributed SVRG: a full gradient μ at w̃ by all workers, then H local steps of each on its share, then their mean.

    Locally w ← w − η · (gᵢ(w) − gᵢ(w̃) + μ), gᵢ of worker i's share and μ of all data; the server goes to the mean of the local
    models. An inner step costs two gradients.

    Source: De and Goldstein (2016), "Efficient distributed SGD with variance reduction", distributed SVRG (from memory).

    Args:
        step_size: η, of the local steps.
        local_steps: H, at least 1.
        pass_steps: local steps that its part of μ takes each worker: `problems.full_pass(problem, workers)`.
        rounds: of local steps for each full gradient; 1 in the paper.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.distributed_svrg(step_size=0.1, local_steps=20, pass_steps=12).work
        LocalVarianceReduction(steps=40, pass_steps=12)
    """
    return Method(
        EpochSGD(checks.whole("rounds", rounds, 1) + 1),
        sgd(1.0),
        work=LocalVarianceReduction(steps=2 * checks.whole("local_steps", local_steps, 1), pass_steps=pass_steps),
        inner=sgd(step_size),
        on_message=optimizers.snapshot(moves=False),
        per_worker_data=True,
    )


@preset("Loopless SVRG")
def loopless_svrg(step_size: float = 0.1, *, probability: float, pass_steps: int | tuple[int, ...]) -> Method:
    """Return loopless SVRG: SVRG whose snapshot is renewed with probability p at each step, instead of every so many.

    The server tosses the coin. In the paper the step after a renewal still takes a stochastic estimate, around the model
    before; here, as the full gradient is known at the very model, it goes along that. A mean of n estimates, as in `svrg`.

    Source: Kovalev, Horváth and Richtárik (2020), "Don't jump through hoops and remove those loops: SVRG and Katyusha are
    better without the outer loop", algorithm 1.

    Args:
        step_size: η, of the mean of n estimates.
        probability: p, above 0 and at most 1; in the paper 1 over the number of samples, for single gradients.
        pass_steps: local steps that its part of μ takes each worker: `problems.full_pass(problem, workers)`.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.loopless_svrg(step_size=0.1, probability=0.02, pass_steps=12).protocol
        LooplessEpochSGD(probability=0.02)
    """
    return _with_snapshots(LooplessEpochSGD(probability), step_size, pass_steps)


@preset("STORM")
def storm(step_size: float = 0.1, *, momentum: float = 0.1, asynchronous: bool = False) -> Method:
    """Return STORM, or MVR: w ← w − η · (1/n) Σᵢ dᵢ, dᵢ ← gᵢ(w) + (1 − a)·(dᵢ − gᵢ(w′)), w′ what worker i read before.

    No full gradient and no table; the variance goes as steps become short, so with a constant η it stays above zero. gᵢ(w) and
    gᵢ(w′) are of one batch and cost two gradients. With delays each worker carries on its own estimate from what it read last.

    Source: Cutkosky and Orabona (2019), "Momentum-based variance reduction in non-convex SGD" (with a and η constant, which in
    the paper follow the gradients seen).

    Args:
        step_size: η, of the mean of n estimates; of single ones where asynchronous.
        momentum: a, above 0 and at most 1; 1 is SGD.
        asynchronous: whether to step with each estimate as it arrives.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.storm(step_size=0.1, momentum=0.2).work
        RecursiveMomentum(steps=2, momentum=0.2)
    """
    return Method(_waiting(asynchronous, MinibatchSGD()), sgd(step_size), work=RecursiveMomentum(momentum=momentum))


def _waiting(asynchronous: bool, synchronous: MinibatchSGD) -> Protocol:
    """Return asynchronous SGD's protocol, or the synchronous one that is given."""
    checks.truth("asynchronous", asynchronous)
    return AsyncSGD() if asynchronous else synchronous


def _with_table(protocol: Protocol, step_size: float) -> Method:
    """Return steps along gradients of blocks, corrected by a table at the server."""
    return Method(protocol, sgd(step_size), work=BlockGradient(), on_message=optimizers.saga_table())


def _with_snapshots(protocol: Protocol, step_size: float, pass_steps: int | tuple[int, ...]) -> Method:
    """Return steps along gradients corrected by a snapshot's, which is where the server last had the full gradient."""
    work = VarianceReducedGradient(pass_steps=pass_steps)
    return Method(protocol, sgd(step_size), work=work, on_message=optimizers.snapshot())


PASS = {"pass_steps": 12}
"""A full pass in the examples: enough for 1,500 samples in batches of 32, among 4 workers."""

ENTRIES: tuple[Entry, ...] = (
    Entry(sag, {}, "test_shelf_variance.py::test_sag"),
    Entry(saga, {}, "test_shelf_variance.py::test_saga"),
    Entry(asynchronous_saga, {}, "test_shelf_variance.py::test_asynchronous_saga"),
    Entry(distributed_saga, {}, "test_shelf_variance.py::test_distributed_saga"),
    Entry(svrg, {"updates": 20, **PASS}, "test_shelf_variance.py::test_svrg"),
    Entry(asynchronous_svrg, {"updates": 80, **PASS}, "test_shelf_variance.py::test_asynchronous_svrg"),
    Entry(distributed_svrg, {"local_steps": 20, **PASS}, "test_shelf_variance.py::test_distributed_svrg"),
    Entry(loopless_svrg, {"probability": 0.05, **PASS}, "test_shelf_variance.py::test_loopless_svrg"),
    Entry(storm, {}, "test_shelf_variance.py::test_storm"),
)
"""The rows of the shelf."""
