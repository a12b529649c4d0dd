"""Elastic averaging: each worker has a model of its own, and the server's, the centre, is what ties them together.

The step size is that of the local steps. Messages are summed, and the server steps with 1: the elastic force α is all there is.
"""

from __future__ import annotations

from simsgd.method import Method
from simsgd.methods.entry import Entry
from simsgd.methods.preset import preset
from simsgd.optimizers import sgd
from simsgd.protocols import AsyncSGD, MinibatchSGD, Protocol
from simsgd.works import Elastic


def _elastic(protocol: Protocol, step_size: float, steps: int, pull: float, momentum: float = 0.0) -> Method:
    return Method(protocol, sgd(1.0), work=Elastic(steps, pull=pull, momentum=momentum), inner=sgd(step_size))


@preset("EASGD")
def easgd(step_size: float = 0.1, *, pull: float, steps: int = 1) -> Method:
    """Return elastic averaging SGD: local models and the server's pull at each other, in rounds of all workers.

    xⁱ ← xⁱ − ηgⁱ(xⁱ) − α(xⁱ − x̃), x̃ ← x̃ + α Σᵢ (xⁱ − x̃), both from the old values, as in the paper.

    Source: Zhang, Choromanska and LeCun (2015), "Deep learning with elastic averaging SGD", equations 5 and 6.

    Args:
        step_size: η, of each worker's own steps.
        pull: α, at least 0; in the paper 0.9/n for n workers.
        steps: H, local steps in a round, of which the first has the elastic force; 1 in the equations.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.easgd(step_size=0.1, pull=0.2).work
        Elastic(steps=1, pull=0.2, momentum=0.0)
    """
    return _elastic(MinibatchSGD(average=False), step_size, steps, pull)


@preset("Asynchronous EASGD")
def async_easgd(step_size: float = 0.1, *, pull: float, steps: int) -> Method:
    """Return asynchronous elastic averaging SGD: each worker exchanges with the centre once in H steps, on its own.

    At the exchange d = α(xⁱ − x̃): xⁱ ← xⁱ − ηgⁱ(xⁱ) − d, x̃ ← x̃ + d; then H − 1 steps alone. In the paper both happen at once,
    with the centre of that moment. Here the worker's half uses the centre that the server handed out when its last message
    arrived, and the server's half, the same d, is added when the job's message arrives, H steps later.

    Source: Zhang, Choromanska and LeCun (2015), "Deep learning with elastic averaging SGD", algorithm 1.

    Args:
        step_size: η, of each worker's own steps.
        pull: α, at least 0; in the paper 0.9/n for n workers.
        steps: H, the paper's communication period τ, at least 1.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.async_easgd(step_size=0.1, pull=0.2, steps=10).work
        Elastic(steps=10, pull=0.2, momentum=0.0)
    """
    return _elastic(AsyncSGD(), step_size, steps, pull)


@preset("EAMSGD")
def eamsgd(step_size: float = 0.1, *, pull: float, steps: int, momentum: float = 0.99) -> Method:
    """Return asynchronous elastic averaging SGD whose local steps have Nesterov momentum.

    v ← δv − ηgⁱ(xⁱ + δv), xⁱ ← xⁱ + v, with the exchange of asynchronous EASGD once in H steps, and its timing.

    Source: Zhang, Choromanska and LeCun (2015), "Deep learning with elastic averaging SGD", algorithm 2.

    Args:
        step_size: η, of each worker's own steps.
        pull: α, at least 0; in the paper 0.9/n for n workers.
        steps: H, the paper's communication period τ, at least 1.
        momentum: δ, at least 0 and below 1.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.eamsgd(step_size=0.01, pull=0.2, steps=10).work
        Elastic(steps=10, pull=0.2, momentum=0.99)
    """
    return _elastic(AsyncSGD(), step_size, steps, pull, momentum)


ENTRIES: tuple[Entry, ...] = (
    Entry(easgd, {"pull": 0.2}, "test_shelf_elastic.py::test_easgd"),
    Entry(async_easgd, {"pull": 0.2, "steps": 3}, "test_shelf_elastic.py::test_async_easgd"),
    Entry(eamsgd, {"pull": 0.2, "steps": 3, "momentum": 0.9}, "test_shelf_elastic.py::test_eamsgd"),
)
"""The rows of the shelf."""
