"""Methods at the step sizes that end best: for claims about where a run of given length ends, not about when it arrives."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import claims
import numpy as np

import simsgd as sg

EXTENSIONS = 4
"""How often step sizes are added where the best lies at an edge, the same for every method."""


class Ends:
    """Runs of one length, each method at the step size whose runs end best on average over the tuning seeds.

    Args:
        flags: seeds, tuning seeds, folder.
        methods: by name, functions of the step size.
        make: the cell of a method and a seed, `make(method, seed=seed)`: `functools.partial(sg.Cell, problem=…, …)`.
        step_sizes: to begin with, geometric; a single one is taken as it is.
        metric: what is looked at where a run ends; a run that diverged ends worst.
        greatest: whether the greatest is best, or the least.
    """

    def __init__(
        self,
        flags: claims.Tuned,
        methods: Mapping[str, Callable[[float], sg.Method]],
        make: Callable[..., sg.Cell],
        step_sizes: Sequence[float],
        metric: str,
        greatest: bool,
    ) -> None:
        self.flags, self.methods, self.make, self.metric = flags, methods, make, metric
        self.sign = -1.0 if greatest else 1.0
        self.tried: dict[str, dict[float, float]] = {name: {} for name in methods}
        self.step_sizes = dict.fromkeys(methods, step_sizes[0])
        if len(step_sizes) > 1:
            self._tune(sorted(step_sizes))

        def cell(method: str, seed: int) -> sg.Cell:
            return make(methods[method](self.step_sizes[method]), seed=seed)

        axes = {"method": list(methods), "seed": flags.all_seeds}
        self.results = sg.Study(cell, axes, folder=flags.folder, lanes=claims.LANES).run()

    def of(self, name: str, metric: str | None = None) -> np.ndarray:
        """Return where a method's runs ended, NaN where one diverged; shape (seeds,)."""
        runs = [self.results.outcome(method=name, seed=seed) for seed in self.flags.all_seeds]
        return np.array([_end(run, metric or self.metric) for run in runs])

    def judged(self, pairs: Iterable[tuple[claims.Claim, str, str]], metric: str) -> list[claims.Judged]:
        """Return verdicts on differences of a metric, the first method's minus the second's; of methods that ran."""
        return [
            claim.judged(claims.mean_of(self.of(one, metric) - self.of(other, metric)))
            for claim, one, other in pairs
            if {one, other} <= set(self.methods)
        ]

    def _tune(self, step_sizes: Sequence[float]) -> None:
        """Try step sizes, and more beyond the edges."""
        self._try(step_sizes)
        for _ in range(EXTENSIONS):
            if not (more := self._beyond()):
                break
            self._try(more)
        self.step_sizes = {name: min(tried, key=tried.__getitem__) for name, tried in self.tried.items()}

    def _try(self, sizes: Sequence[float]) -> None:
        """Run all methods at these step sizes on the tuning seeds."""

        def cell(method: str, step_size: float, seed: int) -> sg.Cell:
            return self.make(self.methods[method](step_size), seed=seed)

        axes = {"method": list(self.methods), "step_size": list(sizes), "seed": self.flags.chosen_by}
        found = sg.Study(cell, axes, folder=self.flags.folder, lanes=claims.LANES).run()
        for name, size in itertools.product(self.methods, sizes):
            ends = [_end(found.outcome(method=name, step_size=size, seed=seed), self.metric) for seed in self.flags.chosen_by]
            mean = self.sign * float(np.mean(ends))
            self.tried[name][size] = mean if np.isfinite(mean) else np.inf

    def _beyond(self) -> list[float]:
        """Return the step sizes beyond the edges at which some method is best."""
        sizes = sorted(next(iter(self.tried.values())))
        best = {min(tried, key=tried.__getitem__) for tried in self.tried.values()}
        factor = sizes[1] / sizes[0]
        beyond = {sizes[0]: sizes[0] / factor, sizes[-1]: sizes[-1] * factor}
        return sorted(beyond[edge] for edge in beyond if edge in best)


def _end(run: Any, metric: str) -> float:
    """Return the last value of a metric; NaN of a run that diverged or failed."""
    return float(run.evaluations[metric][-1]) if run.status in ("completed", "target reached") else np.nan
