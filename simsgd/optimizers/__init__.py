"""What the server does with a gradient: optax transformations, and their numbers kept outside the compiled code.

Laws of this package:

1. Any optax transformation works as it is, if gradients, parameters and staleness are all it asks for (line searches and
   others that ask for the loss do not). Those that differ only in such numbers as the step size share a compiled player, so a
   sweep over `optax.sgd(step_size)` compiles once; `tunable` ones share it whatever their numbers are.
2. Each step offers the optimizer `staleness` as an extra argument (optax's `update(..., **extra_args)`): versions between
   reading and stepping, a float; for a step of several gradients, their mean.
"""

from typing import TYPE_CHECKING

from simsgd.optimizers.compensation import compensate_delay, compensate_delay_adaptively, scale_by_gap, skip_distant
from simsgd.optimizers.delayed import delayed_nesterov
from simsgd.optimizers.describing import describe, step_size_of
from simsgd.optimizers.finite_sums import Snapshot as Snapshot
from simsgd.optimizers.finite_sums import mean_of_tables, sag_table, saga_table, snapshot
from simsgd.optimizers.fragments import fragment_nesterov, in_fragments
from simsgd.optimizers.local import control_variate, proximal, towards_model
from simsgd.optimizers.momentum import look_ahead, workers_momentum
from simsgd.optimizers.outer import adamw, nesterov
from simsgd.optimizers.portable import Portable, portable
from simsgd.optimizers.portable import comparable as comparable
from simsgd.optimizers.recipes import Optimizer
from simsgd.optimizers.recipes import build as build
from simsgd.optimizers.recipes import split as split
from simsgd.optimizers.sharing import apart as apart
from simsgd.optimizers.staleness import (
    scale_by_adadelay,
    scale_by_delay,
    scale_by_hinge_staleness,
    scale_by_polynomial_staleness,
    scale_by_staleness,
)
from simsgd.optimizers.tables import gradient_table, gradient_table_changes, round_table
from simsgd.optimizers.tunable import Tunable, sgd, tunable
from simsgd.optimizers.vote import majority_vote
from simsgd.optimizers.workers import among as among
from simsgd.optimizers.workers import block_count, most_blocks, per_worker, row, with_row, worker_count
from simsgd.support import public

__all__ = [
    "Optimizer",
    "Portable",
    "Tunable",
    "adamw",
    "block_count",
    "compensate_delay",
    "compensate_delay_adaptively",
    "control_variate",
    "delayed_nesterov",
    "describe",
    "fragment_nesterov",
    "gradient_table",
    "gradient_table_changes",
    "in_fragments",
    "look_ahead",
    "majority_vote",
    "mean_of_tables",
    "most_blocks",
    "nesterov",
    "per_worker",
    "portable",
    "proximal",
    "round_table",
    "row",
    "sag_table",
    "saga_table",
    "scale_by_adadelay",
    "scale_by_delay",
    "scale_by_gap",
    "scale_by_hinge_staleness",
    "scale_by_polynomial_staleness",
    "scale_by_staleness",
    "sgd",
    "skip_distant",
    "snapshot",
    "step_size_of",
    "towards_model",
    "tunable",
    "with_row",
    "worker_count",
    "workers_momentum",
]
__dir__ = public.names(__all__)
if not TYPE_CHECKING:  # else every name would be there for a type checker
    __getattr__ = public.near(__name__, __all__)
