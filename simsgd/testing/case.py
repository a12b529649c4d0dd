"""One method where it is checked, and what it does there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from simsgd.cluster import Cluster
from simsgd.costs import Costs
from simsgd.method import Method
from simsgd.problems import Problem
from simsgd.recording.recorder import Recording, record
from simsgd.run import Run
from simsgd.simulation import simulate
from simsgd.stopping import Updates
from simsgd.tape import Tape


class UnmetError(Exception):
    """What was expected, and what was found."""


def require(condition: bool, expected: str, found: object) -> None:
    """Raise UnmetError unless a condition holds."""
    if not condition:
        raise UnmetError(expected, str(found))


class _ObservedError(Exception):
    """The protocol has looked at the model."""


@dataclass(frozen=True, eq=False)
class Case:
    """One method where it is checked.

    Attributes:
        name: of the cluster, in messages.
        method, problem, cluster, updates, seed: as `check_method` was given them.
    """

    name: str
    method: Method
    problem: Problem
    cluster: Cluster
    updates: int
    seed: int

    @property
    def costs(self) -> Costs:
        """What the method's jobs cost."""
        return Costs.of(self.method, None, self.problem.message_shapes)

    @property
    def message_bytes(self) -> float:
        """Bytes of the model."""
        return float(self.problem.message_bytes)

    @functools.cached_property
    def tape(self) -> Tape:
        """What the method records."""
        return self.recorded(self.method)

    def recorded(self, method: Method) -> Tape:
        """Return what a method records here; one that observes the model is simulated for it."""
        if self.observes:
            return self.simulated(method).tape
        return record(method, self.cluster, Updates(self.updates), self.seed, message_shapes=self.problem.message_shapes)

    @functools.cached_property
    def observes(self) -> bool:
        """Whether the protocol looks at the model, so that its tape depends on the numbers."""

        def seen(statistic: str) -> float:
            raise _ObservedError(statistic)

        try:
            self.recording(seen).advance(updates=self.updates)
        except _ObservedError:
            return True
        return False

    def recording(self, observe: Callable[[str], float] | None = None) -> Recording:
        """Return a recording of the method that has yet to begin."""
        method = self.method
        return Recording(method.protocol, self.cluster, self.costs, self.seed, observe)

    @functools.cached_property
    def run(self) -> Run:
        """The run, in float64."""
        return self.simulated(self.method)

    def simulated(self, method: Method, evaluate_every: int | None = None) -> Run:
        """Return a method's run in float64."""
        return simulate(
            *(method, self.problem, self.cluster),
            until=Updates(self.updates),
            seed=self.seed,
            message_bytes=self.message_bytes,
            dtype="float64",
            evaluate_every=None if evaluate_every is None else Updates(evaluate_every),
        )
