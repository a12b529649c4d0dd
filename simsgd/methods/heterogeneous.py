"""Methods that are made for workers whose data differ: every worker counts as much in the long run, however fast it is.

They ask for a problem that is `partitioned` among the workers.
"""

from __future__ import annotations

from simsgd.method import Method
from simsgd.methods.entry import Entry
from simsgd.methods.preset import preset
from simsgd.optimizers import round_table, sgd
from simsgd.protocols import MaleniaSGD, RescaledASGD, RingleaderASGD


@preset("Malenia SGD")
def malenia(step_size: float = 0.1, *, gradients: int) -> Method:
    """Return Malenia SGD: gather gradients of the current version until all have given enough, average worker by worker.

    w ← w − η · (1/n) Σᵢ (1/Bᵢ) Σⱼ gᵢⱼ(w), once ((1/n) Σᵢ 1/Bᵢ)⁻¹ ≥ S/n. A mean of the workers' means.

    Source: Tyurin and Richtárik (2023), "Optimal time complexities of parallel stochastic optimization methods under a fixed
    computation model", method 6.

    Args:
        step_size: η, of the mean.
        gradients: S; in the paper max(⌈σ²/ε⌉, n).

    Example:
        >>> import simsgd as sg
        >>> sg.methods.malenia(step_size=0.1, gradients=8).protocol
        MaleniaSGD(gradients=8)
    """
    return Method(MaleniaSGD(gradients), sgd(step_size), per_worker_data=True)


@preset("Ringleader ASGD")
def ringleader(step_size: float = 0.1) -> Method:
    """Return Ringleader ASGD: rounds of n steps, one for each worker, each with a table of gradients of all workers.

    w ← w − η · (1/n) Σᵢ (1/bᵢ) Σⱼ gᵢⱼ, worker i's bᵢ gradients of the round. A mean of the workers' means; the paper's largest
    step size is smaller by n than that of synchronous SGD, because n steps are made of nearly the same table.

    Source: Maranjyan and Richtárik (2025), "Ringleader ASGD: the first asynchronous SGD with optimal time complexity under data
    heterogeneity", algorithm 1 (from memory and a summary).

    Args:
        step_size: η, of the mean.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.ringleader(step_size=0.1).protocol
        RingleaderASGD()
    """
    return Method(RingleaderASGD(), sgd(step_size), on_message=round_table(), per_worker_data=True)


@preset("Rescaled ASGD")
def rescaled(step_size: float = 0.1, *, seconds: tuple[float, ...] | None = None) -> Method:
    """Return rescaled asynchronous SGD: each worker's gradients weighted by the seconds hᵢ that its jobs take.

    w ← w − η·vᵢ·gᵢ(w_read), vᵢ = hᵢ·(1/n) Σⱼ 1/hⱼ. Single gradients, whose mean weight is 1.

    Source: Mahran, Maranjyan and Richtárik (2026), "Rescaled asynchronous SGD: optimal distributed optimization under data and
    system heterogeneity", arXiv 2605.13434 (the rule from its abstract; the scale is ours).

    Args:
        step_size: η, of a single gradient of mean weight.
        seconds: hᵢ of each worker, of which only the ratios matter; None counts gradients instead.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.rescaled(step_size=0.1, seconds=(1.0, 10.0)).protocol
        RescaledASGD(seconds=(1.0, 10.0))
    """
    return Method(RescaledASGD(seconds), sgd(step_size), per_worker_data=True)


ENTRIES: tuple[Entry, ...] = (
    Entry(malenia, {"gradients": 8}, "test_shelf_protocols.py::test_malenia"),
    Entry(ringleader, {}, "test_shelf_tables.py::test_ringleader"),
    Entry(rescaled, {}, "test_shelf_protocols.py::test_rescaled"),
)
"""The rows of the shelf."""
