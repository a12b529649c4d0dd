"""What a worker does with a job: one gradient, unless the method says otherwise.

Laws of this module:

1. Work has two sides. Plain numbers tell the clock what a job costs: local steps and bytes (`charge`). `init` and `run` tell
   the compiled player what is computed. The first never needs JAX.
2. What the clock charged stands on the tape, and a replay computes exactly that or refuses.
3. A worker's own state moves with every job of it that arrives, used or not: the worker cannot know. A job that was cancelled,
   or lost in a crash, leaves no trace.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from typing import Protocol as Interface

from simsgd.support import checks, frozen
from simsgd.support.bounds import bounds

if TYPE_CHECKING:
    from collections.abc import Callable

    import jax
    import optax

Parameters = Any
"""A pytree of arrays, as the problem's `init` returns."""


class Gradient(Interface):
    """The gradient at parameters, on a batch that is settled."""

    def __call__(self, parameters: Parameters, /, part: tuple[int | jax.Array, int] = (0, 1)) -> Parameters:
        """Return the gradient of the loss on the batch, or on one of its equal parts, (which, from 0; of how many)."""


class Charges(NamedTuple):
    """What the clock charges for a job: all but the last are columns of the tape.

    Attributes:
        steps: local steps; computing takes the sum of so many draws.
        bytes_down: of what the worker is sent; not a number (the default) for those of the work, `Work.bytes_down`.
        bytes_up: of what it sends back, before it is compressed; by default those of the work.
        kind: what kind of job it is, a place in `Work.kinds`.
        seconds: for a time instead of a number of steps: the job makes as many local steps as end within so many seconds of its
            computing, at least one, and `steps` is what came of it. The step under way at the end is dropped, and its draw
            used up; the job ends exactly when the time is over, or with its one step if that takes longer. Where the clock
            slows a worker or pauses it, the time goes on. None for a number of steps.
        overlap: how many of its first steps, below `steps`, the worker makes ahead, while its message before and the model are
            on their way: with A the seconds of these, B those of the others, and E when its job before ended, the job ends at
            max(E + A, began) + B. A worker's first job overlaps nothing, nor does one after it was down, or after its job
            before was stopped: they end at began + A + B. What is computed ahead counts as sending, or waiting. Which model
            these steps are made on is for `Work.run` to say: the clock only knows how long they take.

    Example:
        >>> import simsgd as sg
        >>> sg.Charges(steps=8, bytes_up=100.0)._replace(overlap=2).steps
        8
    """

    steps: int = 1
    bytes_down: float = math.nan
    bytes_up: float = math.nan
    kind: int = 0
    seconds: float | None = None
    overlap: int = 0


class Message(NamedTuple):
    """What is known of a whole message before it is made.

    Attributes:
        bytes: of the model, and of a gradient.
        shapes: of its arrays; one array of 4-byte numbers where nothing is known of them.
        known: whether the shapes are those of a problem, and not made up.
    """

    bytes: float
    shapes: tuple[tuple[int, ...], ...]
    known: bool = True


class Order(NamedTuple):
    """A job that is about to be handed out, of which a work says what it costs.

    Attributes:
        worker: whose it will be.
        job: which of the worker's jobs, from 0.
        kind: what kind of job, a place in `Work.kinds`.
        message: what a whole message is.

    Example:
        >>> from dataclasses import dataclass
        >>> import simsgd as sg
        >>> @dataclass(frozen=True)
        ... class Alternating(sg.works.LocalSteps):
        ...     '''Every other job is twice as long.'''
        ...     def charge(self, order: sg.Order) -> sg.Charges:
        ...         return super().charge(order)._replace(steps=self.steps * (1 + order.job % 2))
        >>> work = Alternating(steps=4)
        >>> method = sg.Method(sg.AsyncSGD(), sg.optimizers.sgd(1.0), work=work, inner=sg.optimizers.sgd(0.1))
        >>> cluster = sg.Cluster(workers=1, compute=sg.times.Constant(1.0))
        >>> sg.record(method, cluster, until=sg.Updates(3)).steps.tolist()
        [4, 8, 4]
    """

    worker: int
    job: int
    kind: int
    message: Message


class JobAtHand(Interface):
    """What a work's `run` is told of its job, and what it can ask; everything may be traced by JAX."""

    @property
    def worker(self) -> jax.Array:
        """Whose job."""

    @property
    def number(self) -> jax.Array:
        """Which of the worker's jobs, from 0."""

    @property
    def steps(self) -> jax.Array:
        """Local steps that the clock charged for it, int32."""

    @property
    def kind(self) -> jax.Array:
        """What kind of job it is, a place in the work's `kinds`, int32."""

    @property
    def version(self) -> jax.Array:
        """The number of the version that the worker was sent, int32."""

    @property
    def workers(self) -> int:
        """How many workers there are."""

    @property
    def key(self) -> jax.Array:
        """A JAX random key of the job's own, by (worker, number)."""

    @property
    def shared_key(self) -> jax.Array:
        """A JAX random key that all jobs of one version have in common."""

    @property
    def inner(self) -> optax.GradientTransformationExtraArgs:
        """The method's inner optimizer, that of the local steps."""

    @property
    def shown(self) -> Any:
        """What of the server's memory the worker was sent with the model: what `Work.shows` returned at that version."""

    def gradient(self, parameters: Parameters, step: int | jax.Array = 0) -> Parameters:
        """Return the gradient of the loss on the batch of one local step; step 0 draws what the plain gradient draws.

        A step that the clock does not charge (a Python number not below the work's `steps`) is refused. How many gradients are
        computed on one batch is not counted: charge a step for each.
        """

    def full_gradient(self, parameters: Parameters) -> Parameters:
        """Return the gradient of the mean loss over all samples, or over the worker's own where workers have shares."""

    def through(self, step: Callable[[jax.Array, Gradient, Any], Any], carry: Any) -> Any:
        """Return what is carried after all local steps of the job: carry ← step(number, gradient, carry), from step 0 on.

        `gradient(parameters)` is `job.gradient(parameters, number)`. The batches of many steps are drawn at once, which takes
        less time than a loop of one's own around `job.gradient`; which they are does not depend on that.

        `gradient(parameters, part=(k, parts))` is that of one part of the batch, samples k·b to (k + 1)·b − 1 of parts·b, as
        for several devices that share it. A loss that draws random numbers is given another key for each part. A `batch_size`
        that `parts`, a Python number, does not divide is refused.
        """

    @property
    def blocks(self) -> int | jax.Array:
        """How many blocks of `batch_size` samples the worker has: of all data, or of its share; the last may be smaller."""

    @property
    def share_weight(self) -> float | jax.Array:
        """What the worker's share counts in a mean over workers: n·size/samples; 1 where all have all samples."""

    def block(self, step: int | jax.Array = 0) -> jax.Array:
        """Return one of the worker's blocks, int32 from 0, drawn uniformly by the job's key for a local step."""

    def block_gradient(self, parameters: Parameters, block: jax.Array) -> Parameters:
        """Return the gradient of (blocks/samples)·Σ f_i over a block's samples, of which the worker has so many.

        The mean over its blocks is `full_gradient`, also where the last is smaller. A loss that draws random numbers is given
        the key None, as where the model is evaluated: f_i is always the same function. (Its `gradient` is of another loss
        then, equal in the mean at best.) Losses are taken sample by sample, so one that mixes the samples of a batch has other
        values.
        """

    def part_of_full_gradient(self, parameters: Parameters, when: bool | jax.Array = True) -> Parameters:
        """Return the worker's part of the full gradient: the mean over all workers is the gradient over all samples.

        It is that of (n/samples)·Σ f_i over the i-th n-th of the samples, or over the worker's share; in how many batches
        workers go through them is `problems.full_pass`. Random numbers as in `block_gradient`. Where `when` does not hold it
        is zero, and costs nothing, as it is computed block by block.
        """


@dataclass(frozen=True)
class Work(ABC):
    """What a worker does with a job: subclass it as a frozen dataclass with `run`.

    Example:
        >>> from dataclasses import dataclass
        >>> import jax, optax, simsgd as sg
        >>> @dataclass(frozen=True)
        ... class LocalSGD(sg.Work):
        ...     '''H steps of SGD at home; the message is how far the model went.'''
        ...     step_size: float = 0.1
        ...     def run(self, parameters, state, job):
        ...         def step(k, w):
        ...             return optax.tree.add_scale(w, -self.step_size, job.gradient(w, k))
        ...         end = jax.lax.fori_loop(0, job.steps, step, parameters)
        ...         return optax.tree.sub(parameters, end), state
        >>> LocalSGD(steps=8)
        LocalSGD(steps=8, step_size=0.1)
    """

    kinds: ClassVar[tuple[str, ...]] = ("usual",)
    """The kinds of jobs that a protocol may ask for, `assign(worker, kind=1)`: what they are, for a reader."""
    passes: ClassVar[tuple[int, ...]] = ()
    """The kinds of jobs by which all workers together go through all samples, each through its part, from one version.

    A replay refuses those that the clock charged fewer steps than there are batches in the part, or that some workers skip.
    """
    takes_steps: ClassVar[bool] = True
    """Whether `run` makes as many local steps as it is told (`job.steps`), so that a protocol may choose another number."""
    needs_inner: ClassVar[bool] = False
    """Whether `run` makes its steps with the method's inner optimizer (`job.inner`), so that a method must have one."""
    needs_fresh: ClassVar[bool] = False
    """Whether messages mean what the server makes of them at the version that they read only: a replay refuses stale ones."""
    steps: int = 1
    """Local steps that the clock charges for a job, each as long as one draw of the compute times; `assign` may say another."""

    def __post_init__(self) -> None:
        name = f"{type(self).__name__}.steps"
        if not isinstance(self.steps, bool) and self.steps == 0:
            raise ValueError(f"{name} must be at least 1, got 0: work that charges no time is not simulated")
        checks.store(self, steps=checks.whole(name, self.steps, 1))
        bounds.check("parts", self.steps, f"{name}={self.steps}")

    @property
    def charges_alike(self) -> bool:
        """Whether all jobs of one kind cost the same, so that a recording need ask once; unless `charge` is overridden."""
        return type(self).charge is Work.charge

    def charge(self, order: Order) -> Charges:
        """Return what the clock charges for a job; by default the same for all: `steps`, `bytes_down` and `bytes_up`.

        Override it where that depends on the worker, on which of its jobs it is, or on the kind of job. A `kind` that is
        returned is not looked at.

        Four ways to say how many local steps, a line each: `LocalSteps(steps=8)`, `LocalSteps(of_workers=(8, 4))` and
        `LocalSteps(seconds=2.0)`, all of `simsgd.works`, and, in a protocol, `server.assign(worker, steps=8)`.

        Example:
            >>> from dataclasses import dataclass
            >>> import simsgd as sg
            >>> @dataclass(frozen=True, repr=False)
            ... class Ahead(sg.works.LocalSteps):
            ...     '''All steps but the last are made while messages travel.'''
            ...     def charge(self, order):
            ...         return super().charge(order)._replace(overlap=self.steps - 1)
            >>> sgd, cluster = sg.optimizers.sgd, sg.Cluster(1, sg.times.Constant(1.0), sg.networks.Link(latency=1.0))
            >>> method = sg.Method(sg.AsyncSGD(), sgd(1.0), work=Ahead(steps=3), inner=sgd(0.1))
            >>> sg.record(method, cluster, until=sg.Updates(3)).ended.tolist()  # 3 s each, where others need 5
            [4.0, 7.0, 10.0]
        """
        return Charges(self.steps)

    def bytes_down(self, message_bytes: float) -> float:
        """Return the bytes of what a worker is sent; by default those of the model."""
        return message_bytes

    def bytes_up(self, message_bytes: float) -> float:
        """Return the bytes of what it sends back; by default those of a gradient, which are the model's."""
        return message_bytes

    def init(self, parameters: Parameters) -> Any:
        """Return what one worker remembers from job to job, a pytree of arrays; by default nothing."""
        return ()

    def begin(self, parameters: Parameters, inner: optax.GradientTransformationExtraArgs) -> Any:
        """Return what `init` does; override it instead where workers remember the state of the inner optimizer."""
        return self.init(parameters)

    def shows(self, message_state: Any) -> Any:
        """Return what of the server's memory, the state of `on_message`, goes out with the model; by default nothing.

        A worker finds it as `job.shown`. What it takes on the wire is said by `bytes_down`.
        """
        return ()

    @abstractmethod
    def run(self, parameters: Parameters, state: Any, job: JobAtHand) -> tuple[Parameters, Any]:
        """Return the message, a pytree like the parameters, and the worker's new state; compiled by JAX.

        Args:
            parameters: the version that the worker was sent.
            state: what `init` or its job before returned.
            job: the job, a `JobAtHand` (`help(sg.works.JobAtHand)`): `worker`, `number`, `steps`, `kind`, `version`, `workers`;
                `gradient(parameters, step)`, `through(step, carry)` for all local steps and parts of their batches,
                `full_gradient(parameters)`,
                `part_of_full_gradient(parameters)`, `blocks`, `block(step)`, `block_gradient(parameters, block)`,
                `share_weight`; `key` and `shared_key`; `inner`, the inner optimizer; `shown`, what came with the model.
        """


@dataclass(frozen=True, repr=False)
class OneGradient(Work):
    """The default: the gradient of the loss on one batch.

    Subclass it to say other bytes of the same gradient, as of a message that `Method.at_worker` has compressed.

    Example:
        >>> from dataclasses import dataclass
        >>> import optax, simsgd as sg
        >>> @dataclass(frozen=True, repr=False)
        ... class Sparse(sg.OneGradient):
        ...     '''One number in ten is sent, with its place in 4 bytes.'''
        ...     def bytes_up(self, message_bytes):
        ...         return 0.2 * message_bytes
        >>> cluster = sg.Cluster(workers=2, compute=sg.times.Constant(1.0))
        >>> method = sg.Method(sg.AsyncSGD(), optax.sgd(0.1), work=Sparse())
        >>> sg.record(method, cluster, until=sg.Updates(1), message_bytes=1000.0).bytes_up.tolist()
        [200.0]
    """

    takes_steps: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps != 1:
            raise ValueError(f"OneGradient.steps must be 1, got {self.steps}: a single gradient is one local step")

    def run(self, parameters: Parameters, state: Any, job: JobAtHand) -> tuple[Parameters, Any]:
        """Return the gradient."""
        return job.gradient(parameters), state

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


ONE_GRADIENT = OneGradient()
"""What workers do unless a method says otherwise."""


def check(work: object) -> None:
    """Raise TypeError unless `work` is an instance of a `Work`, and a frozen dataclass whose fields cannot change."""
    checks.instance("work", work, Work, "OneGradient()")
    frozen.check_class("work", work, "what a worker must remember into the state that init and run return")
    frozen.check_fields("work", work)
