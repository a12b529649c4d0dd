"""Many runs: tune a method's step size, and say how much it mattered.

Law of this module: a tape does not depend on the step size, so a method is recorded once and replayed for each of them.
"""

from __future__ import annotations

import functools
import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simsgd import optimizers
from simsgd.cluster.cluster import Cluster
from simsgd.costs import Costs
from simsgd.method import Method
from simsgd.optimizers import Optimizer
from simsgd.problems import Problem
from simsgd.protocols.base import Protocol
from simsgd.recording.recorder import record
from simsgd.replaying.replay import replay
from simsgd.run import Run
from simsgd.simulation import simulate
from simsgd.stopping import Rule, Target, bound
from simsgd.studies.entrants import check_optimizer, method_at
from simsgd.studies.tuning import edge_of, off
from simsgd.support import checks, interrupts, public, show
from simsgd.support.partial import handing_back
from simsgd.support.progress import bar
from simsgd.tape import Tape

__all__ = ["Tuning", "tune"]
__dir__ = public.names(__all__)
if not TYPE_CHECKING:  # else every name would be there for a type checker
    __getattr__ = public.near(__name__, __all__)


@dataclass(frozen=True, repr=False)
class Tuning:
    """A method tried at several step sizes on the same tape; made by `tune`.

    Attributes:
        step_sizes: those tried, in increasing order.
        runs: one run for each.
        seconds: simulated seconds to the target, NaN where it was not reached in time; shape (step sizes,).
        interrupted: whether `tune` was broken off, so that greater step sizes were not tried; see `tune`.
    """

    step_sizes: tuple[float, ...]
    runs: tuple[Run, ...]
    interrupted: bool = False

    @functools.cached_property
    def seconds(self) -> np.ndarray:
        """Simulated seconds to the target for each step size, NaN where it was not reached in time."""
        return np.array([run.to_target().seconds for run in self.runs])

    @property
    def arrived(self) -> np.ndarray:
        """Which step sizes reached the target and kept it in time, shape (step sizes,), bool."""
        return np.isfinite(self.seconds)

    @property
    def best(self) -> Run:
        """The run that reached the target first.

        Raises:
            ValueError: if none did.
        """
        return self.runs[self._best]

    @property
    def best_step_size(self) -> float:
        """The step size of the best run.

        Raises:
            ValueError: if none reached the target.
        """
        return self.step_sizes[self._best]

    @property
    def _best(self) -> int:
        if not self.arrived.any():
            raise ValueError(f"{self._none_arrived()}; try other step sizes, or a target with a longer `within`")
        return int(np.nanargmin(self.seconds))

    def summary(self) -> str:
        """Return in a few lines what each step size led to."""
        return "\n".join([self._headline(), show.in_text(self._rows())])

    def __repr__(self) -> str:
        return f"Tuning({self._headline()})"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self._headline())}</p>{show.in_html(self._rows())}"

    @property
    def _target(self) -> Target:
        target = self.runs[0].target
        assert target is not None
        return target

    def _headline(self) -> str:
        broken_off = "; interrupted before the greater ones" if self.interrupted else ""
        if not self.arrived.any():
            return self._none_arrived() + broken_off
        which = f"{len(self.runs)} step sizes, {self.arrived.sum()} reached {self._target}, {self._target.criterion}"
        note = ", at the edge of those tried: try more" if edge_of(self.best_step_size, self.step_sizes) else ""
        every = self.best.configuration["evaluate_every"]
        when = f"after {np.nanmin(self.seconds):.4g} s (evaluated every {every})"
        return f"{which}; best {self.best_step_size:g}{note}, {when}{broken_off}"

    def _none_arrived(self) -> str:
        """Say that none arrived, and which came closest."""
        tried = ", ".join(f"{size:g}" for size in self.step_sizes)
        none = f"none of the step sizes {tried} reached {self._target}, {self._target.criterion}"
        distances = [_distance(run) for run in self.runs]
        if not np.isfinite(distances).any():
            return f"{none}: all diverged"
        closest = int(np.argmin(distances))
        metric = self._target.metric
        return (
            f"{none}: closest was {self.step_sizes[closest]:g}, which ended at {metric} {self.runs[closest].final(metric):.4g}"
        )

    def _rows(self) -> list[tuple[str, ...]]:
        metric = self._target.metric
        rows: list[tuple[str, ...]] = [("step size", "seconds to target", f"final {metric}", "status")]
        for size, seconds, run in zip(self.step_sizes, self.seconds, self.runs, strict=True):
            there = "–" if np.isnan(seconds) else f"{seconds:.4g}"
            rows.append((f"{size:g}", there, f"{run.final(metric):.4g}", run.status))
        return rows

    def usable(self, factor: float = 2.0) -> tuple[float, float] | None:
        """Return the least and the greatest step size within `factor` of the best time; None if no run got there."""
        if not self.arrived.any():
            return None
        good = np.flatnonzero(self.seconds <= factor * np.nanmin(self.seconds))
        return self.step_sizes[good[0]], self.step_sizes[good[-1]]


def _distance(run: Run) -> float:
    """Return how far a run's final metric is from its target; infinite for one that diverged."""
    target = run.target
    assert target is not None
    return np.inf if run.status == "diverged" else off(run.final(target.metric), target)


def tune(
    protocol: Protocol | Callable[[float], Method],
    problem: Problem,
    cluster: Cluster,
    step_sizes: Sequence[float],
    until: Target,
    seed: int = 0,
    optimizer: Callable[[float], Optimizer] = optimizers.sgd,
    evaluate_every: Rule | None = None,
    message_bytes: float | None = None,
    progress: bool | None = None,
    **replaying: Any,
) -> Tuning:
    """Try a method at several step sizes on one tape, each until the target has been reached and kept.

    It looks at one method on one seed, and has its whole runs; `compare` tunes methods over seeds and compares them.

    Args:
        protocol: who waits for whom; or a function of the step size that returns a whole `Method`, such as
            `methods.delay_compensated`, or, with settings, `lambda step_size: methods.ringmaster(step_size, threshold=16)`; it
            has its own optimizer.
        problem, cluster, seed, evaluate_every, message_bytes: as in `simulate`.
        step_sizes: those to try, each above 0.
        until: the target, with a bound; by default it is to be kept for a tenth of the bound.
        optimizer: a function that makes the optimizer of a step size, for example `optax.adam`; SGD by default. Not for a
            function that returns methods.
        progress: show a progress bar; by default on a terminal and in a notebook only.
        replaying: further arguments of `replay`, for example `dtype`.

    Raises:
        TypeError, ValueError: for arguments that make no sense, named in the message.
        KeyboardInterrupt, and any other error: with the `Tuning` of the step sizes that were tried as its attribute `partial`;
            before the first was, with the `Run` that had been begun, or the `Tape`.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=0.1))
        >>> target = sg.Target("loss", at_most=0.01, within=sg.Seconds(30))
        >>> tuning = sg.studies.tune(sg.AsyncSGD(), sg.problems.quadratic(), cluster, [0.01, 0.1], until=target)
        >>> tuning.best_step_size
        0.1
    """
    checks.instance("until", until, Target, 'Target("loss", at_most=0.1, within=Seconds(60))')
    check_optimizer(optimizer)
    step_sizes = checks.sequence("step_sizes", step_sizes, "[0.01, 0.1, 1.0]")
    sizes = tuple(sorted(checks.positive(f"step_sizes[{i}]", size) for i, size in enumerate(step_sizes)))
    if not sizes:
        raise ValueError("step_sizes must hold at least one step size, got none")
    if isinstance(protocol, Method) or (not isinstance(protocol, Protocol) and not callable(protocol)):
        raise TypeError(
            "protocol must be a Protocol such as AsyncSGD(), or a function of the step size that returns a Method such as "
            f"lambda step_size: Method(AsyncSGD(), optax.sgd(step_size)), got {protocol!r:.100}"
        )
    played = _Playing(problem, cluster, until, seed, message_bytes, {"evaluate_every": evaluate_every, **replaying})
    runs: list[Run] = []

    def tuning() -> Tuning | None:
        return Tuning(sizes[: len(runs)], tuple(runs), interrupted=len(runs) < len(sizes)) if runs else None

    with handing_back("a Tuning", tuning), handing_back("a Tape", lambda: played.tape, last=True), interrupts.listening():
        if isinstance(protocol, Protocol) and not protocol.observes:
            played.record(Method(protocol, optimizers.sgd(sizes[0])))
        for size in bar(sizes, "step sizes", progress):
            interrupts.look()
            runs.append(played.run(method_at(protocol, optimizer, size, "tune")))
    return Tuning(sizes, tuple(runs))


class _Playing:
    """Plays one method after the other, on one tape as long as it is the same.

    A tape depends on the protocol and on what the work costs, and, where the protocol observes the model, on everything.
    """

    def __init__(
        self, problem: Problem, cluster: Cluster, until: Target, seed: int, message_bytes: float | None, further: dict[str, Any]
    ) -> None:
        self._problem, self._cluster, self._until, self._seed, self._bytes = problem, cluster, until, seed, message_bytes
        self._further = further
        self._recorded: tuple[Protocol, Costs] | None = None
        self.tape: Tape | None = None

    def run(self, method: Method) -> Run:
        """Return the run of a method."""
        given: dict[str, Any] = {"until": self._until, "progress": False, **self._further}
        if method.protocol.observes:
            return simulate(method, self._problem, self._cluster, seed=self._seed, message_bytes=self._bytes, **given)
        if self._recorded != (method.protocol, self._costs(method)):
            self.record(method)
        assert self.tape is not None
        return replay(self.tape, self._problem, method, **given)

    def record(self, method: Method) -> None:
        """Record the tape that methods of this protocol and work are played on."""
        until, problem, costs = bound(self._until), self._problem, self._costs(method)
        given: dict[str, Any] = {"batch_size": problem.batch_size, "message_shapes": problem.message_shapes}
        self.tape = record(method, self._cluster, until, self._seed, costs.message.bytes, progress=False, **given)
        self._recorded = method.protocol, costs

    def _costs(self, method: Method) -> Costs:
        """Return what a method's jobs cost."""
        size = self._problem.message_bytes_in(self._further.get("dtype", "float32")) if self._bytes is None else self._bytes
        return Costs.of(method, size, self._problem.message_shapes)
