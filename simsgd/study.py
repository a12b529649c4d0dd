"""Many runs: tune a method's step size, and say how much it mattered.

Law of this module: a tape does not depend on the step size, so a method is recorded once and replayed for each of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simsgd import optimizers
from simsgd.cluster.cluster import Cluster
from simsgd.optimizers import Tunable
from simsgd.problems import Problem
from simsgd.protocols.base import Protocol
from simsgd.recording.recorder import record
from simsgd.replaying.replay import replay
from simsgd.run import Run
from simsgd.stopping import Seconds, Target, Updates, bound
from simsgd.support import checks
from simsgd.support.progress import bar


@dataclass(frozen=True)
class Tuning:
    """A method tried at several step sizes on the same tape; made by `tune`.

    Attributes:
        step_sizes: those tried, in increasing order.
        runs: one run for each.
        seconds: simulated seconds to the target, NaN where it was not reached in time; shape (step sizes,).
    """

    step_sizes: tuple[float, ...]
    runs: tuple[Run, ...]

    @functools.cached_property
    def seconds(self) -> np.ndarray:
        """Simulated seconds to the target for each step size, NaN where it was not reached in time."""
        return np.array([run.to_target().seconds for run in self.runs])

    @property
    def best(self) -> Run:
        """The run that reached the target first; where none did, the one that came closest."""
        if np.isfinite(self.seconds).any():
            return self.runs[int(np.nanargmin(self.seconds))]
        return min(self.runs, key=_distance)

    @property
    def best_step_size(self) -> float:
        """The step size of the best run."""
        return self.step_sizes[next(i for i, run in enumerate(self.runs) if run is self.best)]

    def usable(self, factor: float = 2.0) -> tuple[float, float] | None:
        """Return the least and the greatest step size within `factor` of the best time; None if no run got there."""
        if np.isnan(self.seconds).all():
            return None
        good = np.flatnonzero(self.seconds <= factor * np.nanmin(self.seconds))
        return self.step_sizes[good[0]], self.step_sizes[good[-1]]


def _distance(run: Run) -> float:
    """Return how far a run's final metric is from its target; infinite for one that diverged."""
    target = run.target
    assert target is not None
    wanted = target.at_most if target.at_most is not None else target.at_least
    off = abs(run.final(target.metric) - (wanted or 0.0))
    return off if np.isfinite(off) and run.status != "diverged" else np.inf


def tune(
    protocol: Protocol,
    problem: Problem,
    cluster: Cluster,
    step_sizes: Sequence[float],
    until: Target,
    seed: int = 0,
    optimizer: Callable[[float], Tunable] = optimizers.sgd,
    evaluate_every: Updates | Seconds | None = None,
    message_bytes: float | None = None,
    progress: bool | None = None,
    **replaying: Any,
) -> Tuning:
    """Try a method at several step sizes on one tape, each until the target is reached.

    Args:
        protocol, problem, cluster, seed, evaluate_every, message_bytes: as in `simulate`. The protocol must not observe.
        step_sizes: those to try, each above 0.
        until: the target, with a bound.
        optimizer: makes the optimizer of a step size; SGD by default.
        progress: show a progress bar; by default only if output is a terminal.
        replaying: further arguments of `replay`, for example `dtype`.

    Raises:
        TypeError, ValueError: for arguments that make no sense, named in the message.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=0.1))
        >>> target = sg.Target("loss", at_most=0.01, within=sg.Seconds(30))
        >>> tuning = sg.study.tune(sg.AsyncSGD(), sg.problems.quadratic(), cluster, [0.01, 0.1], until=target)
        >>> tuning.best_step_size
        0.1
    """
    checks.instance("until", until, Target, 'Target("loss", at_most=0.1, within=Seconds(60))')
    step_sizes = checks.sequence("step_sizes", step_sizes, "[0.01, 0.1, 1.0]")
    sizes = tuple(sorted(checks.positive(f"step_sizes[{i}]", size) for i, size in enumerate(step_sizes)))
    if not sizes:
        raise ValueError("step_sizes must hold at least one step size, got none")
    if message_bytes is None:
        message_bytes = problem.message_bytes_in(replaying.get("dtype", "float32"))
    tape = record(protocol, cluster, bound(until), seed, message_bytes, progress=False)
    replaying |= {"until": until, "evaluate_every": evaluate_every, "progress": False}
    shown = bar(sizes, "step sizes", progress)
    return Tuning(sizes, tuple(replay(tape, problem, optimizer(size), **replaying) for size in shown))
