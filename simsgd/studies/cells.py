"""A cell of a study: all that one run is made of."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from simsgd import compatible
from simsgd.cluster.cluster import Cluster
from simsgd.identifying import identity
from simsgd.method import Method
from simsgd.optimizers import Optimizer
from simsgd.problems import Problem
from simsgd.protocols.base import Protocol
from simsgd.provenance import Identity
from simsgd.run import Run
from simsgd.simulation import simulate
from simsgd.stopping import Rule, Target
from simsgd.studies.reproducing import line
from simsgd.support import checks

ARGUMENTS = (
    *("protocol", "problem", "cluster", "optimizer", "until", "seed"),
    *("evaluate_every", "message_bytes", "dtype", "width"),
)
"""The arguments of `simulate`, in their order."""
DTYPES = "float32", "float64"
"""In which a run can be computed."""


@dataclass(frozen=True, eq=False)
class Cell:
    """One run of a study before it is made: what `simulate` is given. Two cells are equal when their identities are.

    Args:
        method: a whole `Method`; or a protocol, with an optimizer.
        problem, cluster, optimizer, until, seed, evaluate_every, message_bytes, dtype, width: as in `simulate`.

    Raises:
        TypeError, ValueError: for arguments that make no sense, named in the message.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=0.1))
        >>> cell = sg.Cell(sg.methods.asynchronous(0.1), sg.problems.quadratic(), cluster, until=sg.Updates(100))
        >>> cell.simulate().status
        'completed'
    """

    method: Method | Protocol
    problem: Problem
    cluster: Cluster
    optimizer: Optimizer | None = None
    until: Rule | Target | None = None
    seed: int = 0
    evaluate_every: Rule | None = None
    message_bytes: float | None = None
    dtype: str = "float32"
    width: int | None = None

    def __post_init__(self) -> None:
        method = compatible.check("Cell", self.method, self.problem, self.cluster, self.optimizer, self.until)
        checks.one_of("dtype", self.dtype, DTYPES)
        checks.store(self, seed=checks.whole("seed", self.seed, 0))
        if not isinstance(method, Method):
            assert isinstance(self.method, Protocol)
            method = Method(self.method, method)
        checks.store(self, method=method, optimizer=None)

    @property
    def whole(self) -> Method:
        """The method, with its optimizer."""
        assert isinstance(self.method, Method)
        return self.method

    @functools.cached_property
    def identity(self) -> Identity:
        """Everything that the run's bits depend on; see `sg.identity`."""
        return identity(*self._given)

    @functools.cached_property
    def tape_key(self) -> str:
        """Whose tape it plays: cells of one key play one tape."""
        key = self.identity.tape.key
        return key if not key.startswith("?") else f"{key} {id(self)}"  # something unknown: nobody else's

    @property
    def in_lanes(self) -> bool:
        """Whether it can be played in lanes; a protocol that observes the model has no tape before it is played."""
        return not self.whole.protocol.observes

    def simulate(self, progress: bool | None = None) -> Run:
        """Return the run, made alone by `simulate`: that of the study to rounding, as the study's executables are wider."""
        return simulate(*self._given, progress=progress)  # type: ignore[misc]

    @property
    def code(self) -> str:
        """The line that makes the run alone, as code that was tried; below it, after #, its imports, and what of it is no code.

        Example:
            >>> import simsgd as sg
            >>> cluster = sg.Cluster(workers=4, compute=sg.times.Constant(0.1))
            >>> sg.Cell(sg.AsyncSGD(), sg.problems.digits(), cluster, sg.optimizers.sgd(0.1), sg.Updates(9), seed=3).code
            'sg.simulate(sg.Method(sg.AsyncSGD(), sg.optimizers.sgd(0.1)), sg.problems.digits(), \
sg.Cluster(workers=4, compute=sg.times.Constant(0.1)), until=sg.Updates(9), seed=3)'
        """
        return line(dict(zip(ARGUMENTS, self._given, strict=True)))

    @property
    def _given(self) -> tuple[Any, ...]:
        return (
            *(self.whole, self.problem, self.cluster, None, self.until, self.seed),
            *(self.evaluate_every, self.message_bytes, self.dtype, self.width),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)
