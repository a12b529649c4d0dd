"""The list of all presets, in one place: what the README's table, the scenarios and the tests go through."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from simsgd.method import PARTS, Method
from simsgd.methods import asynchrony, heterogeneous, momentum, stale, synchronous, tables
from simsgd.optimizers import describe, sgd
from simsgd.work import ONE_GRADIENT


class Entry(NamedTuple):
    """One method of the shelf.

    Attributes:
        preset: the function that makes it.
        example: settings that it must be given, for a cluster of `workers` = 4 and jobs of about a second.
        test: the test that holds it against a case computed by hand, a file and a function in it.

    Example:
        >>> import simsgd as sg
        >>> row = next(row for row in sg.methods.SHELF if row.name == "Ringmaster ASGD")
        >>> row.make(step_size=0.1).protocol, row.protocol, row.paper
        (RingmasterASGD(threshold=4), 'RingmasterASGD', 'Maranjyan, Tyurin and Richtárik (2025)')
    """

    preset: Callable[..., Method]
    example: dict[str, Any]
    test: str

    def make(self, step_size: float = 0.1, **settings: Any) -> Method:
        """Return the method with its example's settings, but for those given."""
        return self.preset(step_size, **(self.example | settings))

    @property
    def name(self) -> str:
        """What figures call it."""
        return self.make().title

    @property
    def paper(self) -> str:
        """The authors and the year, from the method's source."""
        found = re.match(r".*?\(\d{4}\)", self.make().source or "")
        return found.group() if found else ""

    @property
    def protocol(self) -> str:
        """The class of its protocol."""
        return type(self.make().protocol).__name__

    @property
    def parts(self) -> dict[str, str]:
        """What it has besides its protocol and the plain step of SGD: by part, the code that makes it."""
        made = self.make()
        given = {part: describe(getattr(made, part)) for part in PARTS if getattr(made, part) is not None}
        if made.optimizer == sgd(0.1):
            del given["optimizer"]
        return given if made.work == ONE_GRADIENT else {"work": repr(made.work), **given}


WORKERS = 4
"""Of the cluster that the examples are for."""

SHELF: tuple[Entry, ...] = (
    Entry(synchronous.minibatch, {}, "test_shelf_protocols.py::test_minibatch"),
    Entry(synchronous.k_sync, {"gradients": 2}, "test_shelf_protocols.py::test_k_sync"),
    Entry(synchronous.backup_workers, {"workers": WORKERS, "backups": 1}, "test_shelf_protocols.py::test_backup_workers"),
    Entry(synchronous.k_batch_sync, {"gradients": 2}, "test_shelf_protocols.py::test_k_batch_sync"),
    Entry(synchronous.first_m, {"workers": 3}, "test_shelf_protocols.py::test_first_m"),
    Entry(synchronous.rennala, {"gradients": 4}, "test_shelf_protocols.py::test_rennala"),
    Entry(
        synchronous.asynchronous_mini_batching,
        {"gradients": 4},
        "test_shelf_protocols.py::test_asynchronous_mini_batching",
    ),
    Entry(synchronous.mind_flayer, {"limit": 2.0, "trials": 2}, "test_shelf_protocols.py::test_mind_flayer"),
    Entry(asynchrony.asynchronous, {}, "test_shelf_protocols.py::test_asynchronous"),
    Entry(asynchrony.k_async, {"gradients": 2}, "test_shelf_protocols.py::test_k_async"),
    Entry(asynchrony.k_batch_async, {"gradients": 2}, "test_shelf_protocols.py::test_k_batch_async"),
    Entry(asynchrony.softsync, {"workers": WORKERS}, "test_shelf_protocols.py::test_softsync"),
    Entry(asynchrony.stale_synchronous, {"bound": 2}, "test_shelf_protocols.py::test_stale_synchronous"),
    Entry(asynchrony.bounded_concurrency, {"jobs": 2}, "test_shelf_protocols.py::test_bounded_concurrency"),
    Entry(asynchrony.ringmaster, {"threshold": 4}, "test_shelf_protocols.py::test_ringmaster"),
    Entry(asynchrony.ringmaster, {"threshold": 4, "stops": True}, "test_shelf_protocols.py::test_ringmaster_with_stops"),
    Entry(asynchrony.ada_sync, {"every": 5.0}, "test_shelf_protocols.py::test_ada_sync"),
    Entry(heterogeneous.malenia, {"gradients": 8}, "test_shelf_protocols.py::test_malenia"),
    Entry(heterogeneous.ringleader, {}, "test_shelf_tables.py::test_ringleader"),
    Entry(heterogeneous.rescaled, {}, "test_shelf_protocols.py::test_rescaled"),
    Entry(tables.incremental_aggregated, {"steps": 1}, "test_shelf_tables.py::test_incremental_aggregated"),
    Entry(tables.all_client_engagement, {}, "test_shelf_tables.py::test_all_client_engagement"),
    Entry(tables.impatient_averaging, {}, "test_shelf_tables.py::test_impatient_averaging"),
    Entry(stale.staleness_aware, {}, "test_shelf_rules.py::test_staleness_aware"),
    Entry(stale.polynomial_staleness, {}, "test_shelf_rules.py::test_polynomial_staleness"),
    Entry(stale.hinge_staleness, {}, "test_shelf_rules.py::test_hinge_staleness"),
    Entry(stale.delay_adaptive, {}, "test_shelf_rules.py::test_delay_adaptive"),
    Entry(stale.ada_delay, {}, "test_shelf_rules.py::test_ada_delay"),
    Entry(stale.clipped, {}, "test_shelf_rules.py::test_clipped"),
    Entry(stale.delay_compensated, {}, "test_shelf_rules.py::test_delay_compensated"),
    Entry(stale.delay_compensated_adaptively, {}, "test_shelf_rules.py::test_delay_compensated_adaptively"),
    Entry(stale.gap_aware, {}, "test_shelf_rules.py::test_gap_aware"),
    Entry(stale.picky, {"distance": 0.5}, "test_shelf_rules.py::test_picky"),
    Entry(momentum.worker_momentum, {}, "test_shelf_rules.py::test_worker_momentum"),
    Entry(momentum.dana_zero, {}, "test_shelf_rules.py::test_dana_zero"),
    Entry(momentum.dana_slim, {}, "test_shelf_rules.py::test_dana_slim"),
)
"""All presets, by family."""
