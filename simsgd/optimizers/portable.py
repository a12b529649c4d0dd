"""Optax transformations that can be sent to other processes."""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler
from typing import Any

import optax

from simsgd.optimizers import structure
from simsgd.optimizers.describing import describe
from simsgd.optimizers.tunable import Tunable
from simsgd.support import checks


class Portable(optax.GradientTransformationExtraArgs):  # type: ignore[misc,unused-ignore]
    """An optax transformation that pickles, and is equal to those that do the same; made by `portable`."""

    def __reduce__(self) -> tuple[Any, ...]:
        node = _structure(self)
        try:
            ForkingPickler.dumps(node)
        except Exception as error:
            raise TypeError(_refusal(self, error)) from error
        return _put_together, (node,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Portable) and _structure(self) == _structure(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(_structure(self))


def portable(optimizer: optax.GradientTransformation) -> Portable:
    """Return an optax transformation as one that can be pickled, and so sent to other processes.

    Optax makes transformations of functions inside functions, which Python cannot pickle. This one is pickled as what it is
    made of: the places of optax's functions, and the numbers that they closed over. The process that reads it needs the same
    versions of Python and optax. A `tunable` needs none of this: it pickles as it is.

    Args:
        optimizer: a transformation made of functions of optax, jax and simsgd, and of functions at the top level of modules.

    Raises:
        TypeError: if something that it is made of cannot be pickled; the message says what to use instead.

    Example:
        >>> import pickle
        >>> import optax, simsgd as sg
        >>> optimizer = sg.optimizers.portable(optax.adam(1e-3))
        >>> pickle.loads(pickle.dumps(optimizer)) == optimizer
        True
    """
    checks.instance("optimizer", optimizer, optax.GradientTransformation, "optax.adam(1e-3)")
    made = Portable(*optax.with_extra_args_support(optimizer))
    pickled = ForkingPickler.dumps(made)
    try:
        ForkingPickler.loads(pickled)
    except Exception as error:
        raise TypeError(_refusal(made, error)) from error
    return made


def _refusal(optimizer: Portable, error: Exception) -> str:
    return (
        f"{describe(optimizer):.200} cannot be pickled, because something that it is made of cannot ({error}): put the "
        "function that makes it at the top level of a module, and use optimizers.tunable(that_function, learning_rate=0.1)"
    )


EXAMPLES = {
    "at_worker": "optax.trace(decay=0.9); what a worker computes is its work",
    "on_message": "optimizers.scale_by_staleness() or optax.clip_by_global_norm(1.0)",
    "hand_out": "optimizers.look_ahead(0.09)",
}
"""What stands in an error for each place."""


def comparable(name: str, optimizer: Any) -> Any:
    """Return a part of a method, an optax transformation or a `tunable`, as one that is equal to those that do the same.

    Raises:
        TypeError: if it is neither; the message begins with the part's name.
    """
    if isinstance(optimizer, optax.MultiSteps):
        raise TypeError(f"{name} must be an optax transformation: call .gradient_transformation() of the MultiSteps")
    if callable(optimizer) and not isinstance(optimizer, (type, Tunable)):
        made = getattr(optimizer, "__name__", repr(optimizer))
        raise TypeError(
            f"{name} must be an optax transformation, got the function {made} itself: call it, as in {made}(...), if it "
            f"makes one, else optax.stateless({made}) does"
        )
    example = EXAMPLES.get(name, "optimizers.sgd(0.1) or optax.adam(1e-3)")
    checks.instance(name, optimizer, (optax.GradientTransformation, Tunable), example)
    return optimizer if isinstance(optimizer, Tunable | Portable) else Portable(*optax.with_extra_args_support(optimizer))


def _structure(optimizer: Portable) -> structure.Node:
    node, numbers = structure.take_apart(tuple(optimizer))
    return structure.fix(node, lambda place: structure.written(numbers[place]))


def _put_together(node: structure.Node) -> Portable:
    return Portable(*structure.put_together(node, ()))
