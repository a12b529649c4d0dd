"""Who takes part in a comparison: a method under its name, as a function of its step size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from simsgd import optimizers
from simsgd.method import Method
from simsgd.optimizers import Optimizer
from simsgd.protocols.base import Protocol
from simsgd.support import checks

type Given = Protocol | Method | Callable[[float], Method]
"""A protocol, which an optimizer is made for; a whole method, whose step size is its own; or a function of the step size."""
EXAMPLE = '{"sync": methods.minibatch, "async": methods.asynchronous}'


@dataclass(frozen=True)
class Entrant:
    """A method under its name.

    Attributes:
        name: what tables call it.
        given: what it is made of.
        optimizer: makes the optimizer of a step size, for a protocol.
        call: the function that was called, for errors.
    """

    name: str
    given: Given
    optimizer: Callable[[float], Optimizer] = optimizers.sgd
    call: str = "compare"

    @property
    def tunable(self) -> bool:
        """Whether its step size is to be chosen."""
        return not isinstance(self.given, Method)

    def method(self, step_size: float | None) -> Method:
        """Return the method of a step size; of a whole method, itself."""
        if isinstance(self.given, Method):
            return self.given
        assert step_size is not None
        return method_at(self.given, self.optimizer, step_size, self.call)


def method_at(given: Given, optimizer: Callable[[float], Optimizer], step_size: float, call: str) -> Method:
    """Return the method of a step size, of a protocol or of a function of the step size.

    Raises:
        TypeError: if the function returns no method, or cannot be called with a step size alone.
    """
    if isinstance(given, Protocol):
        return Method(given, optimizer(step_size))
    assert not isinstance(given, Method)
    try:
        method = given(step_size)
    except TypeError as error:
        name = getattr(given, "__name__", "preset")
        error.add_note(
            f"{call} calls it with a step size alone: give settings as in lambda step_size: {name}(step_size, threshold=16)"
        )
        raise
    if not isinstance(method, Method):
        raise TypeError(
            f"protocol, a function of the step size, must return a Method, but for {step_size:g} returned {method!r:.60}"
        )
    if optimizer is not optimizers.sgd:
        raise TypeError(f"optimizer must be left out where protocol is a function that returns methods, got {optimizer!r:.60}")
    return method


def check_optimizer(optimizer: object) -> None:
    """Raise TypeError unless it can be a function of the step size that makes an optimizer."""
    if not callable(optimizer):
        raise TypeError(
            "optimizer must be a function of the step size such as optimizers.sgd, optax.adam or lambda step_size: "
            f"optax.sgd(step_size, momentum=0.9), got a ready-made one, {optimizer!r:.60}: its step size could not be tuned"
        )


def named(methods: object, optimizer: Callable[[float], Optimizer]) -> tuple[Entrant, ...]:
    """Return who takes part: a mapping of names to methods, or a list of methods that have names of their own.

    Raises:
        TypeError, ValueError: for none, for a name twice, for what is no method.
    """
    check_optimizer(optimizer)
    if isinstance(methods, Mapping):
        pairs: list[tuple[Any, Any]] = list(methods.items())
    elif isinstance(methods, Iterable) and not isinstance(methods, str):
        pairs = [(_name(given), given) for given in methods]
    else:
        raise TypeError(f"methods must be a mapping such as {EXAMPLE}, or a list of methods, got {checks.shown(methods)}")
    if not pairs:
        raise ValueError(f"methods must hold at least one method, got none: give some, as in {EXAMPLE}")
    for name, given in pairs:
        checks.instance("a name in methods", name, str, '"async"')
        if isinstance(given, type) or not (isinstance(given, Protocol | Method) or callable(given)):
            raise TypeError(
                f"methods[{name!r}] must be a function of the step size such as methods.asynchronous, a Protocol such as "
                f"AsyncSGD(), or a whole Method, got {checks.shown(given)}"
            )
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"methods must differ in their names, got {name!r} twice: name them, as in {EXAMPLE}")
    return tuple(Entrant(name, given, optimizer) for name, given in pairs)


def _name(given: object) -> str:
    """Return a method's own name, that of its function, or its protocol's code."""
    if isinstance(given, Method):
        return given.title
    if isinstance(given, Protocol):
        return repr(given)
    name = getattr(given, "__name__", "<lambda>")
    if "<" in name:
        raise ValueError(f"methods must have names, got {checks.shown(given)} in a list: name it, as in {EXAMPLE}")
    return name
