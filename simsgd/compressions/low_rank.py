"""Matrices of low rank in place of a message's arrays: PowerSGD, of each worker's message or of the sum of all.

Law of this module: an array of two or more dimensions is one matrix, an array of fewer is sent whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from simsgd import compression as compressing
from simsgd import optimizers
from simsgd.compression import Compression, Shapes
from simsgd.compressions.around import Around
from simsgd.compressions.vectors import floating
from simsgd.optimizers.structure import closure
from simsgd.support import checks, rng
from simsgd.work import Message, Parameters

SIDES = ("first", "last")
LOST = 100
"""A column of Q shorter than so many roundings of the longest is nothing but rounding."""


@dataclass(frozen=True)
class PowerSGD(Compression):
    """Each array as a matrix M ≈ P̂·Qᵀ of rank r, by one step of power iteration from the Q of the message before.

    P = M·Q, P̂ the orthonormal columns that span it, Q ← Mᵀ·P̂, and the other end makes P̂·Qᵀ = P̂·P̂ᵀ·M of it. An array of two
    or more dimensions is one matrix, that of its outputs against all else; vectors and single numbers are sent whole. A matrix
    of m × n numbers takes 4·r·(m + n) bytes, which is less than whole only while r < m·n/(m + n).

    Here each worker compresses its own message, with a P̂ and a Q of its own: what the server makes of them is averaged, up to
    rank r times the number of workers, and nothing can be summed on the way. In the paper workers average P before the second
    half, so that all have one P̂ and one Q, and what comes out is PowerSGD of their mean. That is
    `compress_sum(PowerSGD(rank))` before the optimizer, with `BytesOfSum(PowerSGD(rank))` in `compress_up`; see there.

    It is biased and forgets what it leaves out: the paper's algorithm 2 has error feedback around it, as has
    `ErrorFeedback(PowerSGD(rank))`. Error feedback magnifies rounding: what is left out grows until it takes the place of one
    of the r directions that are sent, and at which message it does so hangs on components near zero. So a run in float32 and
    the same in float64, or alone and in lanes, lie further apart than rounding; neither is more right than the other.

    A column of Q that is lost in rounding, as all but one are where a gradient has rank 1, begins anew.

    Args:
        rank: r, at least 1 and at most the smaller side of every matrix.
        warm_start: whether Q is kept from message to message, as in the paper; otherwise it is drawn anew for each version, the
            same for all workers.
        outputs: which dimension of an array counts outputs: "last", as in JAX and Flax, or "first", as in PyTorch (where the
            paper takes the first against the rest) and Equinox. A matrix stays as it is.

    Raises:
        ValueError: if `rank` is no whole number of at least 1 or `outputs` no such name; once the shapes of messages are known,
            if the rank is greater than a side of some matrix.

    Source: Vogels, Karimireddy and Jaggi (2019), "PowerSGD: practical low-rank gradient compression for distributed
    optimization", algorithm 1. Checked against the authors' code, which renews no lost column.

    Example:
        >>> import simsgd as sg
        >>> sg.compressions.PowerSGD(rank=2).bytes(((64, 32), (32,)))  # 4·(2·(64 + 32) + 32)
        896
    """

    rank: int
    warm_start: bool = True
    outputs: str = "last"
    needs_shapes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.store(self, rank=checks.whole("PowerSGD.rank", self.rank, 1))
        checks.truth("PowerSGD.warm_start", self.warm_start)
        checks.one_of("PowerSGD.outputs", self.outputs, SIDES)

    def bytes(self, shapes: Shapes) -> float:
        """Return 4·r·(m + n) for each matrix, and 4 for each number of the other arrays."""
        return sum(4 * (self.rank * sum(self.matrix(shape)) if len(shape) > 1 else math.prod(shape)) for shape in shapes)

    def check(self, message: Message) -> None:
        """Raise ValueError if the shapes are unknown, or a matrix has no such rank."""
        super().check(message)
        for shape in message.shapes:
            if len(shape) > 1 and self.rank > min(self.matrix(shape)):
                rows, columns = self.matrix(shape)
                raise ValueError(
                    f"PowerSGD.rank must be at most {min(rows, columns)} for the array of shape {shape}, a matrix of {rows} × "
                    f"{columns}, got {self.rank}: choose a smaller rank, or send the message whole"
                )

    def matrix(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return the rows and columns of the matrix that an array of two or more dimensions is."""
        rows = shape[0] if self.outputs == "first" else math.prod(shape[:-1])
        return rows, math.prod(shape) // rows if rows else 0

    def init(self, message: Parameters) -> Any:
        """Return the first Q of each matrix, (n, r), standard normal and the same for all workers; () for other arrays."""
        floating("PowerSGD", message)
        shapes = tuple(leaf.shape for leaf in jax.tree.leaves(message))
        self.check(Message(self.bytes(shapes), shapes))  # in an optimizer nobody else does
        return tuple(self._first(place, leaf) for place, leaf in enumerate(jax.tree.leaves(message)))

    def _first(self, place: int, leaf: jax.Array) -> Any:
        if leaf.ndim < 2:
            return ()
        columns = self.matrix(leaf.shape)[1]
        return jnp.asarray(rng.stream(0, "PowerSGD", place).standard_normal((columns, self.rank)), leaf.dtype)

    def compress(self, message: Parameters, state: Any, key: jax.Array, shared_key: jax.Array) -> tuple[Parameters, Any]:
        """Return P̂·Qᵀ for each matrix and the other arrays as they are, and the Qs."""
        leaves, tree = jax.tree.flatten(message)
        made: list[tuple[jax.Array, Any]] = []
        for place, (leaf, right) in enumerate(zip(leaves, state, strict=True)):
            if leaf.ndim < 2:
                made.append((leaf, ()))
            elif self.warm_start:
                made.append(self._iterate(leaf, _renewed(right, self._first(place, leaf))))
            else:
                drawn = jax.random.normal(jax.random.fold_in(shared_key, place), right.shape, leaf.dtype)
                made.append((self._iterate(leaf, drawn)[0], right))
        return jax.tree.unflatten(tree, [leaf for leaf, _ in made]), tuple(right for _, right in made)

    def _iterate(self, leaf: jax.Array, right: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return an array of rank r, and Q after one step of power iteration."""
        matrix = leaf.reshape(self.matrix(leaf.shape))
        left, _ = jnp.linalg.qr(matrix @ right)
        right = matrix.T @ left
        return (left @ right.T).reshape(leaf.shape), right


def _renewed(right: jax.Array, first: jax.Array) -> jax.Array:
    """Return Q with the columns that are nothing but rounding, or nothing at all, as they were at first."""
    lengths = jnp.linalg.norm(right, axis=0)
    rounding = float(jnp.finfo(right.dtype).eps)  # type: ignore[no-untyped-call]
    return jnp.where(lengths > LOST * rounding * jnp.max(lengths), right, first)


@dataclass(frozen=True)
class BytesOfSum(Around):
    """The bytes of a compression that is applied to the sum of all workers' messages: the numbers go on as they are.

    Its other half is `compress_sum` of the same compression in `Method.optimizer`. The clock charges each worker the compressed
    message once, and an all-reduce adds them on the way. In truth P and Q are summed one after the other, so the latency of a
    collective is paid twice, and of a parameter server a second way down and up; that is not charged.

    It says what happens where a step is made of one message of each worker, all of one version (`synchronous` protocols).

    Args:
        compression: what compresses the sum.

    Raises:
        TypeError: if it is no `Compression`. ValueError: for a method without the other half, or with a protocol that is not
            synchronous, when the method is made.

    Example:
        >>> import simsgd as sg
        >>> sg.compressions.BytesOfSum(sg.compressions.PowerSGD(rank=1)).bytes(((64, 32),))
        384
    """

    sums: ClassVar[bool] = True

    def check_method(self, place: str, method: Any) -> None:
        """Raise ValueError unless the method's optimizer compresses the sum, and its steps are sums over all workers."""
        super().check_method(place, method)
        if place != "compress_up":
            raise ValueError(f"{place} must not be {self!r}: what is summed is sent by the workers, so it is for compress_up")
        if not method.protocol.synchronous:
            raise ValueError(
                f"compress_up={self!r} needs a synchronous protocol, which steps with the sum over all workers, got "
                f"{method.protocol!r}: use MinibatchSGD(), or have each worker compress its own message, "
                f"compress_up={self.compression!r}"
            )
        found = list(_summed(method.optimizer))
        if self.compression not in found:
            raise ValueError(
                f"compress_up={self!r} says the bytes only, and the optimizer, {optimizers.describe(method.optimizer):.100}, "
                f"{f'compresses the sum with {found[0]!r}' if found else 'does not compress the sum'}: put "
                f"compress_sum({self.compression!r}) before the optimizer, as in optax.chain(compress_sum(…), optax.sgd(0.1)), "
                f"or have each worker compress its own message, compress_up={self.compression!r}"
            )

    def compress(self, message: Parameters, state: Any, key: jax.Array, shared_key: jax.Array) -> tuple[Parameters, Any]:
        """Return the message as it is."""
        return message, state


def _summed(optimizer: Any) -> Iterator[Compression]:
    """Yield the compressions of all `compress_sum` that an optimizer is made of, as far as its functions' closures show."""
    tunable = isinstance(optimizer, optimizers.Tunable)
    pending = [optimizer.factory(**dict(optimizer.numbers), **dict(optimizer.settings)) if tunable else optimizer]
    seen: list[Any] = []
    while pending:
        thing = pending.pop()
        if any(thing is each for each in seen):
            continue
        seen.append(thing)
        inside = thing if isinstance(thing, dict) else closure(thing)
        pending += thing if isinstance(thing, tuple | list) else inside.values()
        if getattr(thing, "__qualname__", "") == "compress_sum.<locals>.update":
            yield inside["compression"]


class SumState(NamedTuple):
    """What is remembered of a sum that is compressed: the mean over the workers of what they have kept back, and more.

    Attributes:
        error: like the parameters; () without feedback.
        of_compression: the state of the compression, which all workers share.
        number: how many sums there have been, int32.
    """

    error: Any
    of_compression: Any
    number: jax.Array


def compress_sum(compression: Compression, feedback: bool = True) -> optax.GradientTransformation:
    """Return the optax transformation that compresses a step's sum: PowerSGD as the paper has it, with P averaged midway.

    Where all workers have one Q and average P, P = (1/n) Σᵢ Mᵢ·Q = M̄·Q, and Q ← (1/n) Σᵢ Mᵢᵀ·P̂ = M̄ᵀ·P̂, only the mean M̄ of
    their matrices counts: P̂·Qᵀ is PowerSGD of M̄. With error feedback (algorithm 2) worker i keeps eᵢ ← Mᵢ − P̂·Qᵀ, Mᵢ = gᵢ + eᵢ,
    and as only the mean of the eᵢ enters a step, it is enough to keep that: e ← M̄ − C(M̄), M̄ = ḡ + e. So the models are those of
    the paper. That holds where each step is made of one message of each worker.

    Only a compression whose parts are linear in the message, as P and Q are, can be computed by the workers together; any other
    one is what a server could do to the sum. With feedback a run magnifies differences in rounding (see `PowerSGD`).

    It stands in `Method.optimizer`, before the step; what goes over the wire is said by `BytesOfSum` in `Method.compress_up`.

    Source: Vogels, Karimireddy and Jaggi (2019), "PowerSGD: practical low-rank gradient compression for distributed
    optimization", algorithms 1 and 2, checked against the authors' code.

    Args:
        compression: what compresses the sum.
        feedback: whether what was left out is added to the next sum.

    Raises:
        TypeError: if `compression` is no `Compression`.

    Example:
        >>> import simsgd as sg
        >>> import optax
        >>> power, step = sg.compressions.PowerSGD(rank=1), optax.sgd(0.1, momentum=0.9)  # optax's: a tunable can't be chained
        >>> optimizer = optax.chain(sg.compressions.compress_sum(power), step)
        >>> method = sg.Method(sg.MinibatchSGD(), optimizer, compress_up=sg.compressions.BytesOfSum(power))
        >>> cluster = sg.Cluster(workers=2, compute=sg.times.Constant(1.0))
        >>> sg.record(method, cluster, until=sg.Updates(1), message_shapes=[(64, 32)]).bytes_up.tolist()  # 4·(64 + 32)
        [384.0, 384.0]
    """
    compressing.check("compression", compression)

    def init(params: Any) -> SumState:
        zeros = optax.tree.zeros_like(params)
        return SumState(zeros if feedback else (), compression.init(zeros), jnp.zeros((), jnp.int32))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, SumState]:
        whole = jax.tree.map(jnp.add, updates, state.error) if feedback else updates
        key = jax.random.fold_in(jax.random.key(0, impl="threefry2x32"), state.number)
        sent, of_compression = compression.compress(whole, state.of_compression, key, key)
        error = jax.tree.map(jnp.subtract, whole, sent) if feedback else ()
        return sent, SumState(error, of_compression, state.number + 1)

    return optax.GradientTransformation(init, update)
