"""Local steps: a worker goes on from the model on its own for a while, and sends how far it has come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
import optax

from simsgd.support import checks
from simsgd.work import Charges, JobAtHand, Order, Parameters, Work


@dataclass(frozen=True, repr=False)
class LocalSteps(Work):
    """H local steps with the method's inner optimizer; the message is what was read minus what came out.

    With u the inner optimizer's update: w₀ = w_read, w_{k+1} = w_k + u(∇f(w_k; ξ_k)), and the message is w_read − w_H. A server
    that steps with the mean of all workers' messages, step size 1, goes to the mean of their local models.

    How many steps is said in one of three ways; a protocol may choose another number for a job, `assign(worker, steps=H)`.

    Args:
        steps: H, the same for all, at least 1; 1 by default.
        of_workers: H of each worker, in the order of their numbers.
        seconds: as many steps as end within so many seconds of computing, at least one: a fixed time for a round. The step
            under way at the end comes to nothing, and counts as wasted.
        keeps_inner: whether a worker keeps the inner optimizer's state from job to job, or begins anew each time.

    Raises:
        TypeError, ValueError: for numbers out of range, or said in two ways; when a recording or a replay begins, if
            `of_workers` does not name as many workers as there are.

    Source: Stich (2019), "Local SGD converges fast and communicates little", algorithm 1.

    Example:
        >>> import simsgd as sg
        >>> sg.works.LocalSteps(steps=8)
        LocalSteps(steps=8)
        >>> work = sg.works.LocalSteps(of_workers=(4, 2))
        >>> method = sg.Method(sg.MinibatchSGD(), sg.optimizers.sgd(1.0), work=work, inner=sg.optimizers.sgd(0.1))
        >>> cluster = sg.Cluster(workers=2, compute=sg.times.Constant(1.0))
        >>> sg.record(method, cluster, until=sg.Updates(1)).time.tolist()
        [2.0, 4.0]
    """

    needs_inner: ClassVar[bool] = True

    of_workers: tuple[int, ...] | None = None
    seconds: float | None = None
    keeps_inner: bool = False

    def __post_init__(self) -> None:
        name = type(self).__name__
        if _are_many(self.steps):
            raise ValueError(
                f"{name}.steps must be one number for all workers, got {checks.shown(self.steps)}: a number for each worker is "
                "of_workers=(4, 8)"
            )
        super().__post_init__()
        given = [self.steps != 1, self.of_workers is not None, self.seconds is not None]
        if sum(given) > 1:
            raise ValueError(
                f"{name} must be told how many steps in one way, got steps={self.steps}, of_workers={self.of_workers}, "
                f"seconds={self.seconds}: give one of them"
            )
        if self.of_workers is not None:
            each = checks.sequence(f"{name}.of_workers", self.of_workers, "(4, 8), the steps of each worker")
            checks.store(self, of_workers=tuple(checks.whole(f"{name}.of_workers", steps, 1) for steps in each))
        if self.seconds is not None:
            checks.store(self, seconds=checks.positive(f"{name}.seconds", self.seconds, "seconds"))
        checks.truth(f"{name}.keeps_inner", self.keeps_inner)

    @property
    def charges_alike(self) -> bool:
        """Whether all jobs have as many steps; those of a class that overrides `charge` may not."""
        return self.of_workers is None and self.seconds is None and type(self).charge is LocalSteps.charge

    def charge(self, order: Order) -> Charges:
        """Return the steps, or the seconds, of a worker's job."""
        usual = super().charge(order)
        if self.of_workers is None:
            return usual._replace(seconds=self.seconds)
        if order.worker >= len(self.of_workers):
            raise ValueError(self._wrong_number(f"there is a worker {order.worker}"))
        return usual._replace(steps=self.of_workers[order.worker])

    def _check_workers(self, job: JobAtHand) -> None:
        """Raise ValueError if there are steps of another number of workers than there are."""
        if self.of_workers is not None and len(self.of_workers) != job.workers:
            raise ValueError(self._wrong_number(f"there are {job.workers}"))

    def _wrong_number(self, there: str) -> str:
        assert self.of_workers is not None
        return (
            f"{type(self).__name__}.of_workers has the steps of {len(self.of_workers)} workers, but {there}: give one number "
            "for each, from worker 0 on"
        )

    def begin(self, parameters: Parameters, inner: optax.GradientTransformationExtraArgs) -> Any:
        """Return the inner optimizer's state, if it is kept."""
        return inner.init(parameters) if self.keeps_inner else ()

    def run(self, parameters: Parameters, state: Any, job: JobAtHand) -> tuple[Parameters, Any]:
        """Return how far the local steps went, and what is kept."""
        model, after, _ = self.walk(parameters, state, job)
        return jax.tree.map(lambda read, now: read - now, parameters, model), after

    def walk(
        self,
        parameters: Parameters,
        state: Any,
        job: JobAtHand,
        correct: Callable[[Parameters, Any], tuple[Parameters, Any]] | None = None,
        seen: Any = (),
    ) -> tuple[Parameters, Any, Any]:
        """Return the model after the local steps, what is kept of the inner optimizer, and what `correct` has gathered.

        Args:
            parameters: where they begin.
            state: the inner optimizer's, if it is kept.
            job: the job.
            correct: `correct(gradient, seen) -> (gradient, seen)` changes each gradient before the inner optimizer takes it,
                and what it gathers; by default gradients are taken as they are.
            seen: what `correct` is given in the first step.
        """
        self._check_workers(job)

        def step(number: jax.Array, gradient: Callable[[Parameters], Parameters], at: Any) -> Any:
            model, state, seen = at
            corrected = gradient(model)
            if correct is not None:
                corrected, seen = correct(corrected, seen)
            updates, state = job.inner.update(corrected, state, model)
            return optax.apply_updates(model, updates), state, seen

        begun = state if self.keeps_inner else job.inner.init(parameters)
        model, after, seen = job.through(step, (parameters, begun, seen))
        return model, after if self.keeps_inner else (), seen

    def __repr__(self) -> str:
        given = [(each.name, getattr(self, each.name)) for each in fields(self) if getattr(self, each.name) != each.default]
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in given)})"


@dataclass(frozen=True, repr=False)
class WeightedSteps(LocalSteps):
    """Local steps whose message is weighted by how many samples the worker has: n·sizeᵢ/N times how far it went.

    With n workers and N samples the mean over all workers is Σᵢ (sizeᵢ/N)·(w_read − wᵢ). Over K workers chosen uniformly the
    mean is that in expectation: it is unbiased, and not normalised to the round's own samples. Where all workers have all
    samples the weight is 1.

    Args:
        steps, of_workers, seconds, keeps_inner: as of `LocalSteps`.

    Source: McMahan et al. (2017), "Communication-efficient learning of deep networks from decentralized data", the weights
    n_k/n of algorithm 1.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.fedavg(step_size=0.1, clients=10, steps=8, weigh_by_samples=True).work
        WeightedSteps(steps=8)
    """

    def run(self, parameters: Parameters, state: Any, job: JobAtHand) -> tuple[Parameters, Any]:
        """Return how far the local steps went, weighted, and what is kept."""
        message, after = super().run(parameters, state, job)
        return jax.tree.map(lambda each: jnp.asarray(job.share_weight, each.dtype) * each, message), after


def pace(steps: int | Sequence[int] | np.ndarray | None, seconds: float | None) -> dict[str, Any]:
    """Return the arguments of `LocalSteps` for steps, or for seconds; a number for each worker may be given as steps.

    Raises:
        ValueError: unless one of them is given, or for numbers out of range.

    Example:
        >>> pace(8, None), pace((4, 8), None), pace(None, 2.0)
        ({'steps': 8}, {'of_workers': (4, 8)}, {'seconds': 2.0})
    """
    if (steps is None) == (seconds is None):
        raise ValueError(
            f"steps, how many local steps make a round, or seconds, how long one lasts, must be given, and not both; got "
            f"steps={steps!r:.60} and seconds={seconds!r:.60}"
        )
    if steps is None:
        return {"seconds": checks.positive("seconds (of a round of local steps)", seconds, "seconds")}
    if _are_many(steps):
        return {"of_workers": tuple(checks.whole("each of steps (local steps of a round)", each, 1) for each in steps)}
    return {"steps": checks.whole("steps (local steps of a round)", steps, 1)}


def _are_many(steps: Any) -> TypeGuard[Sequence[int]]:
    """Say whether a number is given for each worker, in a sequence or an array."""
    return getattr(steps, "ndim", 0) > 0 or (isinstance(steps, Sequence) and not isinstance(steps, str))
