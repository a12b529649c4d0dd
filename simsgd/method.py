"""A method in one object: who waits for whom, what a worker does, and what happens to each message and to the step's sum.

Laws of this module:

1. The three transformations are optax's, standing in three places: at the worker, on each message at the server, and on the
   step's sum (the optimizer). What is left out costs nothing.
2. Methods are equal when all their parts are, pickle when their parts do, and print as the code that makes them.
3. JAX is loaded with the first method that is made, so protocols alone are recorded without it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

from simsgd import work as works
from simsgd.compression import Compression, held_by
from simsgd.compression import check as check_compression
from simsgd.protocols import Protocol
from simsgd.protocols import check as check_protocol
from simsgd.support import checks
from simsgd.times.law import Law
from simsgd.work import ONE_GRADIENT, OneGradient, Work

if TYPE_CHECKING:
    import optax

    from simsgd.optimizers import Optimizer

PARTS = ("optimizer", "inner", "at_worker", "on_message", "hand_out")
"""The fields of a method that are optax transformations."""
COMPRESSIONS = ("compress_up", "compress_down")
CRASHES = ("keep", "reset")


@dataclass(frozen=True, repr=False)
class Method:
    """A whole method: protocol × work × worker transformation × message transformation × optimizer.

    A gradient, or what else `work` computes, goes through `at_worker` and `compress_up` before it is sent, through `on_message`
    when the server uses it, is weighted and summed by the protocol, and goes through `optimizer` at the step:

        message = compress_up(at_worker(work(w_read))),  s = Σ weight · on_message(message),  w ← w + optimizer(s).

    All of them are optax transformations, so whatever optax has, chained or not, fits any place. Extra arguments are offered to
    those that take them (`update(updates, state, params, *, staleness, **others)`):

    - `inner`: the optimizer of local steps, for works that make them (`job.inner`); it is offered nothing.
    - `at_worker`: `params` is the version that was read; `worker`, `job`, `steps`, `kind`, `key`. Its state is each worker's
      own. It changes the message's numbers, not its bytes: those are for `compress_up` and the work to say.
    - `on_message`: `params` is the current version; `staleness` of this message, `worker`, `workers`, `job`, `steps`, `kind`,
      `key` (the job's), `version` (the number of the current one), `parameters_read`; `block` and `blocks`, the row of the
      block of samples that the job draws in a table of all blocks, and of how many the mean is. One state, the server's;
      `optimizers.per_worker` gives a transformation a state for each worker, and `optimizers.worker_count` says in an `init`
      how many workers there are, `optimizers.block_count` how many blocks.
    - `optimizer`: `staleness`, the mean over the step's messages.

    Methods are equal when their parts are: the same functions of optax and simsgd with the same numbers, or, of other
    packages, the very same objects or equal `tunable` ones. A `tunable` and a plain transformation are never equal.

    Args:
        protocol: who waits for whom.
        optimizer: what the server does with a step's sum.
        work: what a worker does with a job; one gradient by default.
        inner: the optimizer of the work's local steps.
        at_worker: what a worker does to its message before it sends it.
        on_message: what the server does to each message that it uses, in the order of use.
        compress_up: what becomes of a message on its way to the server: fewer bytes, and other numbers. Each worker has a state
            of its own.
        compress_down: the same on the way down: the server sends what has changed, compressed, and all workers hold the sum of
            what was sent, w̃ ← w̃ + C(w − w̃), in place of the model w. What C leaves out is in the next change by itself,
            so error feedback is refused here. C must be a contraction, ‖x − C(x)‖ < ‖x‖, as `TopK`, `ScaledSign`, `PowerSGD`
            and `RandomK(…, scaled=False)` are, else w̃ runs away from w. A worker is sent one compressed change for each version
            since its last, or the whole if that is less; its first model is whole, and after a crash with "reset" the next.
        compressing: the law of the seconds that a worker takes to compress a message, one draw for each job, added to its
            computing, where `compress_up` or the work compresses; none by default. Draws are the worker's own, and move no
            others.
        hand_out: what the server hands out in place of the model: an optax transformation whose `update` is called with the
            model as updates, and `message_state`, the state of `on_message`. It has no state of its own.
        after_crash: whether a worker's state is "keep" or "reset" when it is back after a crash.
        per_worker_data: whether the method is made for workers whose data differ; then a problem must be `partitioned`.
        name: what figures call it; by default the protocol's name.
        source: the paper and where in it.

    Raises:
        TypeError, ValueError: for parts that make no sense, named in the message.

    Example:
        >>> import optax, simsgd as sg
        >>> clipped = sg.Method(sg.AsyncSGD(), optax.sgd(0.1), on_message=optax.clip_by_global_norm(1.0))
        >>> clipped
        Method(AsyncSGD(), sgd(learning_rate=0.1), on_message=clip_by_global_norm(max_norm=1.0))
        >>> cluster = sg.Cluster(workers=4, compute=sg.times.Exponential(mean=0.1))
        >>> sg.simulate(clipped, sg.problems.quadratic(), cluster, until=sg.Updates(100)).final("loss") < 0.1
        True
    """

    protocol: Protocol
    optimizer: Optimizer
    _: KW_ONLY
    work: Work = ONE_GRADIENT
    inner: Optimizer | None = None
    at_worker: optax.GradientTransformation | None = None
    on_message: optax.GradientTransformation | None = None
    hand_out: optax.GradientTransformation | None = None
    compress_up: Compression | None = None
    compress_down: Compression | None = None
    compressing: Law | None = None
    after_crash: str = "keep"
    per_worker_data: bool = False
    name: str | None = None
    source: str | None = dataclasses.field(default=None, compare=False)

    def __post_init__(self) -> None:
        from simsgd import optimizers

        if isinstance(self.protocol, Method):
            raise TypeError(
                "protocol must be a Protocol, got a whole Method: to change a part of it use dataclasses.replace(method, …)"
            )
        check_protocol(self.protocol)
        works.check(self.work)
        checks.one_of("after_crash", self.after_crash, CRASHES)
        for part in PARTS:
            given = getattr(self, part)
            if given is not None or part == "optimizer":
                checks.store(self, **{part: optimizers.comparable(part, given)})
        self._check_inner()
        for way in COMPRESSIONS:
            if getattr(self, way) is not None:
                check_compression(way, getattr(self, way))
                getattr(self, way).check_method(way, self)
        if self.compressing is not None:
            checks.instance("compressing", self.compressing, Law, "times.Constant(0.001)")
            if self.compress_up is None and not self._work_compresses:
                raise ValueError(
                    f"compressing={self.compressing!r} must be left out where workers compress nothing: give compress_up too, "
                    "as in compress_up=compressions.TopK(share=0.01), or say longer compute times in the Cluster"
                )
        for text in ("name", "source"):
            if getattr(self, text) is not None:
                checks.instance(f"Method.{text}", getattr(self, text), str, '"Ringmaster ASGD"')
        checks.truth("Method.per_worker_data", self.per_worker_data)

    @property
    def _work_compresses(self) -> bool:
        """Whether the work has a compression of its own, as MARINA's has."""
        return bool(held_by(self.work))

    def _check_inner(self) -> None:
        """Raise ValueError if the work needs an inner optimizer and there is none, or there is one and nobody asks for it."""
        if self.work.needs_inner and self.inner is None:
            raise ValueError(
                f"inner must be given where work={self.work!r} makes local steps: the optimizer that makes them, as in "
                f"Method(…, optimizers.sgd(1.0), work={self.work!r}, inner=optimizers.sgd(0.1))"
            )
        if self.inner is not None and isinstance(self.work, OneGradient):
            raise ValueError(
                f"inner must be left out where the work is {self.work!r}, which makes no local steps: give "
                "work=works.LocalSteps(steps=8) too, or put the optimizer into the optimizer's place"
            )

    @property
    def is_plain(self) -> bool:
        """Whether it is protocol and optimizer alone, so that the player has nothing else to do."""
        return self.work == ONE_GRADIENT and all(getattr(self, part) is None for part in (*PARTS[1:], *COMPRESSIONS))

    @property
    def compresses(self) -> bool:
        """Whether messages are compressed on a way, or by the work."""
        return self._work_compresses or any(getattr(self, way) is not None for way in COMPRESSIONS)

    @property
    def step_size(self) -> float | None:
        """The step size that is tuned: the inner optimizer's, if there is one, else the optimizer's; None if it has none."""
        from simsgd import optimizers

        return optimizers.step_size_of(self.optimizer if self.inner is None else self.inner)

    @property
    def title(self) -> str:
        """The method's name, or its protocol's."""
        return self.name or repr(self.protocol)

    @property
    def description(self) -> dict[str, Any]:
        """The method as plain nested JSON, by which two methods that could act differently differ: its canonical form.

        Its name and source, which do nothing, are left out.
        """
        from simsgd.provenance import describe

        told = (field.name for field in dataclasses.fields(self) if field.name not in ("name", "source"))
        return {name: describe(getattr(self, name)) for name in told}

    @property
    def further_parts(self) -> str:
        """What it has besides its protocol and optimizer, as the code that makes it; nothing for a plain method."""
        others = {field.name: field.default for field in dataclasses.fields(self)[2:] if field.name not in ("name", "source")}
        return ", ".join(self._argument(name) for name, usual in others.items() if getattr(self, name) != usual)

    def __repr__(self) -> str:
        from simsgd import optimizers

        said = [repr(self.protocol), optimizers.describe(self.optimizer), self.further_parts]
        said += [self._argument("name")] if self.name is not None else []
        return f"Method({', '.join(filter(None, said))})"

    def _argument(self, name: str) -> str:
        from simsgd import optimizers

        value = getattr(self, name)
        return f"{name}={optimizers.describe(value) if name in PARTS else repr(value)}"


def protocol_of(method: Protocol | Method) -> Protocol:
    """Return the protocol of a method; of a protocol, itself."""
    return method.protocol if isinstance(method, Method) else method


def check(name: str, method: object) -> None:
    """Raise TypeError unless `method` is a protocol that can be recorded, or a method."""
    if not isinstance(method, Method):
        checks.instance(name, method, (Protocol, Method), "AsyncSGD()")
        check_protocol(method)
