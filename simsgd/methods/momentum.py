"""Asynchronous SGD with a momentum for each worker. All of them step with single messages, neither summed nor averaged."""

from __future__ import annotations

import optax

from simsgd import optimizers
from simsgd.method import Method
from simsgd.methods.entry import Entry
from simsgd.methods.preset import preset
from simsgd.optimizers import sgd
from simsgd.protocols import AsyncSGD
from simsgd.support import checks


@preset("Per-worker momentum")
def worker_momentum(step_size: float = 0.1, *, momentum: float = 0.9) -> Method:
    """Return asynchronous SGD with momentum at each worker: vⁱ ← γvⁱ + g at home, w ← w − η·vⁱ at the server.

    The server could keep them as well, `on_message=optimizers.per_worker(optax.trace(decay=γ))`: that is the same where no
    message is lost on the way or left unused.

    Source: Hakimi, Barkai, Gabel and Schuster (2019), "Taming momentum in a distributed asynchronous environment", multi-ASGD
    (from memory).

    Args:
        step_size: η.
        momentum: γ, at least 0 and below 1.

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.describe(sg.methods.worker_momentum().at_worker)
        'trace(decay=0.9, nesterov=False)'
    """
    rule = optax.trace(decay=checks.below_one("momentum", momentum))
    return Method(AsyncSGD(), sgd(step_size), at_worker=rule)


@preset("DANA-Zero")
def dana_zero(step_size: float = 0.1, *, momentum: float = 0.9) -> Method:
    """Return DANA-Zero: a momentum for each worker at the server, which hands out a model ahead of its own.

    vⁱ ← γvⁱ + g, w ← w − η·vⁱ, and w − ηγ·Σⱼ vʲ is handed out.

    Source: Hakimi, Barkai, Gabel and Schuster (2019), "Taming momentum in a distributed asynchronous environment", DANA-Zero
    (from memory).

    Args:
        step_size: η.
        momentum: γ, at least 0 and below 1.

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.describe(sg.methods.dana_zero(step_size=0.1).hand_out)
        'look_ahead(momentum=0.9, step_size=0.1)'
    """
    return Method(
        AsyncSGD(),
        sgd(step_size),
        on_message=optimizers.workers_momentum(momentum),
        hand_out=optimizers.look_ahead(step_size, momentum),
    )


@preset("DANA-Slim")
def dana_slim(step_size: float = 0.1, *, momentum: float = 0.9) -> Method:
    """Return DANA-Slim: each worker sends γvⁱ + g from its own momentum vⁱ ← γvⁱ + g, and the server steps with that.

    The models that workers read are those of DANA-Zero, and the server does nothing that asynchronous SGD does not.

    Source: Hakimi, Barkai, Gabel and Schuster (2019), "Taming momentum in a distributed asynchronous environment", DANA-Slim.

    Args:
        step_size: η.
        momentum: γ, at least 0 and below 1.

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.describe(sg.methods.dana_slim().at_worker)
        'trace(decay=0.9, nesterov=True)'
    """
    rule = optax.trace(decay=checks.below_one("momentum", momentum), nesterov=True)
    return Method(AsyncSGD(), sgd(step_size), at_worker=rule)


ENTRIES: tuple[Entry, ...] = (
    Entry(worker_momentum, {}, "test_shelf_rules.py::test_worker_momentum"),
    Entry(dana_zero, {}, "test_shelf_rules.py::test_dana_zero"),
    Entry(dana_slim, {}, "test_shelf_rules.py::test_dana_slim"),
)
"""The rows of the shelf."""
