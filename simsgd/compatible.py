"""Whether a method, a problem and a cluster fit one another: what `simulate` and `identity` are given, checked alike."""

from __future__ import annotations

from typing import Any

from simsgd import optimizers
from simsgd.cluster.cluster import Cluster
from simsgd.method import Method
from simsgd.method import check as check_method
from simsgd.optimizers import Optimizer
from simsgd.problems import Problem
from simsgd.protocols.base import Protocol
from simsgd.replaying import demands
from simsgd.stopping import RULES, Target
from simsgd.support import arguments


def check(call: str, method: object, problem: object, cluster: object, optimizer: object, until: object) -> Optimizer | Method:
    """Return what the numbers are computed with, a `Method` or an optimizer.

    Args:
        call: the function that was called, for errors.
        method: a `Protocol` or a `Method`.
        problem, cluster, optimizer, until: as in `simulate`.

    Raises:
        TypeError: if one of them is of a wrong kind, if an optimizer is given beside a method, or neither.
        ValueError: if the method is for data that differ between workers and the problem's do not, or the problem's are shared
            among another number of workers than the cluster has.
    """
    whole = isinstance(method, Method)
    if isinstance(method, Method) and optimizer is not None:
        if isinstance(optimizer, (*RULES, Target)):
            raise TypeError(
                f"until must be given by name after a Method: {call}(method, problem, cluster, until={optimizer!r})"
            )
        own, other = optimizers.describe(method.optimizer), optimizer
        if isinstance(optimizer, demands.OPTIMIZERS) and not isinstance(optimizer, type):
            other = optimizers.describe(optimizer)
        raise TypeError(
            f"optimizer must be left out where a Method is given, which has its own, {own:.100}, got {other!s:.60} too: "
            "to change it use dataclasses.replace(method, optimizer=…)"
        )
    demands.check_factory(optimizer)
    given: dict[str, tuple[Any, Any, str]] = {
        "protocol": (method, (Protocol, Method), "AsyncSGD()"),
        "problem": (problem, Problem, "problems.digits()"),
        "cluster": (cluster, Cluster, "Cluster(workers=4, compute=times.Exponential(mean=0.1))"),
    }
    if not whole:
        example = f"{demands.EXAMPLE}, or left out with a whole Method(protocol, optimizer) in the protocol's place"
        given["optimizer"] = (optimizer, demands.OPTIMIZERS, example)
    if callable(method) and not isinstance(method, type):
        made = getattr(method, "__name__", repr(method))
        raise TypeError(f"protocol must be a Protocol or a Method, got the function {made} itself: call it, as in {made}(0.1)")
    arguments.in_order(call, **given)
    assert isinstance(problem, Problem)
    assert isinstance(cluster, Cluster)
    check_method("protocol", method)
    demands.check_data(method, problem, cluster.workers)
    return method if whole else optimizer
