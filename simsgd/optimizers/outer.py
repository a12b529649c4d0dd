"""The usual pair of optimizers of local methods: AdamW at the worker, Nesterov momentum at the server, as tunables."""

from __future__ import annotations

import optax

from simsgd.optimizers.tunable import Tunable, tunable
from simsgd.support import checks


def nesterov(step_size: float, momentum: float = 0.9) -> Tunable:
    """Return SGD with Nesterov momentum: m ← βm + g, w ← w − step_size·(g + βm). State: m, like the parameters, from 0.

    Source: Sutskever, Martens, Dahl and Hinton (2013), "On the importance of initialization and momentum in deep learning", in
    the form in which optax has it.

    Args:
        step_size: above 0.
        momentum: β, at least 0 and below 1.

    Raises:
        ValueError: if one of them is out of its range.

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.nesterov(0.7)
        sgd(learning_rate=0.7, momentum=0.9, nesterov=True)
    """
    numbers = {
        "learning_rate": checks.positive("step_size", step_size),
        "momentum": checks.below_one("momentum", momentum),
    }
    return tunable(optax.sgd, **numbers, nesterov=True)


def adamw(step_size: float, *, weight_decay: float = 0.0, b1: float = 0.9, b2: float = 0.999) -> Tunable:
    """Return AdamW: Adam's step, and weights that decay by step_size·weight_decay of themselves with each step.

    State: two moments, like the parameters, and a count.

    Source: Loshchilov and Hutter (2019), "Decoupled weight decay regularization", algorithm 2.

    Args:
        step_size: above 0.
        weight_decay: λ, at least 0.
        b1, b2: of the first and second moment, at least 0 and below 1.

    Raises:
        ValueError: if one of them is out of its range.

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.adamw(0.001)
        adamw(b1=0.9, b2=0.999, learning_rate=0.001, weight_decay=0.0)
    """
    return tunable(
        optax.adamw,
        learning_rate=checks.positive("step_size", step_size),
        weight_decay=checks.not_negative("weight_decay", weight_decay),
        b1=checks.below_one("b1", b1),
        b2=checks.below_one("b2", b2),
    )
