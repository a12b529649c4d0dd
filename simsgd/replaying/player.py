"""The read head: plays a tape's rows with compiled JAX, in their order. It knows no time.

Laws of this module:

1. Rows are played in blocks of up to `width` gradients of one step, side by side. The width is the size of the first
   step (at most 128), so it is a fact of the tape: 1 for asynchronous SGD, n for synchronous SGD. Composed methods have at
   most as many lanes as workers: their first step may be many times as large as the others.
2. Chunks of any size give the same bits. (How many slots there are may depend on the chunks; it decides where versions are
   kept and takes part in no arithmetic.)
3. Playing and evaluating only hand work to the device; whoever reads a number waits for it. So the host is free meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from typing import Protocol as Interface

import jax
import jax.numpy as jnp
import numpy as np

from simsgd import optimizers
from simsgd.method import Method
from simsgd.optimizers import Optimizer
from simsgd.problems import Blocks, Parameters, Problem, lenient, settings
from simsgd.provenance import Identity
from simsgd.replaying import blocks, demands, loop, parts, selftest
from simsgd.replaying.blocks import TABLE_ROWS, stretches
from simsgd.replaying.drawing import Data, Drawing, room_for
from simsgd.replaying.identify import identify
from simsgd.replaying.pace import Pace, Wait
from simsgd.replaying.passes import check_passes
from simsgd.replaying.schedule import Schedule
from simsgd.replaying.versions import Slots
from simsgd.support import checks, forked, rng
from simsgd.tape.messages import used_only
from simsgd.tape.schema import Messages, Rows

LARGEST_WIDTH = 128
"""Steps of more gradients than this are played in several blocks, so that memory does not grow with the batch."""
FEW_SLOTS = 4
"""Slots for tapes that begin with a step of all workers, as synchronous methods do; others get workers + 2 at once."""


class Evaluation(NamedTuple):
    """The model at one moment and its metrics, which the device may still be computing; reading them waits.

    Attributes:
        parameters: a copy of the model.
        values: the metrics by name.
        of_workers: the loss over each worker's own samples, (workers,), if the problem asks for it.
        wait: waits for one of them.
    """

    parameters: Parameters
    values: dict[str, jax.Array]
    of_workers: jax.Array | None
    wait: Wait

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics by name."""
        return _as_floats(self.values, self.wait)

    @property
    def worker_losses(self) -> dict[str, np.ndarray]:
        """The loss over each worker's own samples, by its name in a run, or nothing."""
        with lenient():
            return {} if self.of_workers is None else {"worker_loss": np.asarray(self.of_workers, np.float64)}

    @property
    def flat_parameters(self) -> np.ndarray:
        """The model as one vector, shape (parameter_count,)."""
        return _flat(self.parameters)


class Played(Interface):
    """What a player plays: a finished tape or a recording in progress."""

    def rows(self, start: int = 0) -> Rows:
        """Return the rows from `start` on, up to the last that ends a step."""

    def messages(self, row: int, version: int) -> Messages:
        """Return the messages of the steps after `version`, whose rows are those from `row` on; see `simsgd.tape.messages`."""

    def live(self, lost: bool = False) -> set[int]:
        """Return the versions that later rows may read, or, with `lost`, later messages."""


class Player:
    """Plays rows of a tape for one problem and optimizer, remembering where it is.

    Args:
        problem: what is learned.
        method: a `Method`, or an optimizer alone: an optax transformation, or a `tunable` one.
        workers: how many workers the tape has.
        seed: names the initial parameters and, with worker and job, each batch.
        dtype: "float32" or "float64".
        width: how many gradients are computed side by side; by default the size of the first step, at most 128.

    Raises:
        TypeError, ValueError: for arguments that make no sense, named in the message.
        simsgd.BoundError: if the batches or the models would take more memory than `simsgd.bounds.bytes`.
        simsgd.replaying.selftest.BrokenInstallationError: if jax is too old or computes wrongly.
        simsgd.ForkedProcessError: in a process that was forked after JAX had started.
    """

    def __init__(
        self,
        problem: Problem,
        method: Optimizer | Method,
        workers: int,
        seed: int = 0,
        dtype: str = "float32",
        width: int | None = None,
    ) -> None:
        forked.check()
        selftest.run_once()
        checks.instance("problem", problem, Problem, "problems.digits()")
        checks.one_of("dtype", dtype, ("float32", "float64"))
        self.problem, self.workers, self.seed, self.dtype = problem, workers, checks.whole("seed", seed, 0), str(dtype)
        self.width = None if width is None else checks.whole("width", width, 1)
        demands.check_memory(problem, dtype, self.width or 1, slots=2)
        self.rows_played = 0
        self.version = 0
        self.slots, self._room = Slots(), 1
        self._pace, self._wait = Pace(), Wait()
        self._method, self._lives = method, np.zeros(workers, np.int32)
        self._drawing = Drawing.of(problem)
        with self._precision():
            parameters = problem.start(seed, dtype)
            self._recipe, numbers = parts.split(method, parameters, workers, Blocks.of(problem))
            demands.check_numbers(method, numbers, dtype)
            self._numbers = jax.tree.map(lambda number: jnp.asarray(number, dtype), numbers)
            samples, self._test_data = problem.arrays(dtype)
            self._data = Data.of(samples, problem)
            self._key = jax.random.wrap_key_data(jnp.asarray(rng.key_words(seed, "batches")), impl="threefry2x32")
            demands.check_updates(method, self._recipe, self._numbers, parameters, self._drawing, self._data, self._key)
            demands.check_tables(problem, self._recipe, self._numbers, parameters)
            self._remembered = demands.bytes_remembered(self._recipe, self._numbers, parameters)
            self._shown = demands.bytes_shown(self._recipe, self._numbers, parameters)
            demands.check_memory(problem, dtype, self.width or 1, 2, self._remembered, self._shown)
            self._carry = loop.begin(parameters, self._recipe, self._numbers)
            metrics, each = tuple(problem.metrics.values()), problem.worker_losses
            model = self._carry.parameters
            given: dict[str, Any] = {"loss": problem.loss, "metrics": metrics, "worker_losses": each}
            self._evaluate = loop.evaluate.program(model, self._data, self._test_data, **given)
            self._copy = loop.copied.program(model)

    def catch_up(self, source: Played) -> None:
        """Play what a source has, and was not played yet, up to its last step."""
        if self._recipe.is_plain:
            self.play(source.rows(self.rows_played), source.live())
        else:
            remembers, messages = self._recipe.remembers, source.messages(self.rows_played, self.version)
            self.play(messages if remembers else used_only(messages), source.live(remembers))

    def play(self, rows: Rows | Messages, live: set[int]) -> None:
        """Play further rows of the tape, which must end with a step.

        Args:
            rows: the rows after those played before; `Messages` for a composed method.
            live: the versions that rows after these may still read.
        """
        if not len(rows.step):
            return
        if not rows.step[-1]:
            raise ValueError("rows must end with a step, and the last of these does not: hold back a step's first rows")
        if self.width is None:
            most = LARGEST_WIDTH if self._recipe.is_plain else min(LARGEST_WIDTH, self.workers)
            self.width = min(most, int(np.argmax(rows.step)) + 1)
        fresh = blocks.fresh(rows, self._lives) if isinstance(rows, Messages) else None
        if isinstance(rows, Messages) and not self.problem.replacement:
            demands.check_epochs(self._recipe.work, rows.steps)
        if isinstance(rows, Messages):
            demands.check_fresh(self._recipe.work, rows, self.version)
            self._room = max(self._room, room_for(self._recipe.work, rows.steps))
            check_passes(self._recipe.work, rows, self.problem, self.workers)
        for first, last, reads, writes in self.slots.place(rows.read, rows.step, live, TABLE_ROWS):
            piece = type(rows)(*(column[first:last] for column in rows))
            self._play_piece(piece, reads, writes, self.width, None if fresh is None else fresh[first:last])

    def _play_piece(
        self, rows: Rows | Messages, reads: np.ndarray, writes: np.ndarray, width: int, fresh: np.ndarray | None
    ) -> None:
        """Play rows whose slots are known. The device plays on while the host prepares the next piece."""
        slots = self._slots_wanted(width)
        demands.check_memory(self.problem, self.dtype, width, slots, self._remembered, self._shown, self._room)
        recipe = self._recipe
        with self._precision():
            self._carry = loop.with_slots(self._carry, slots)
            as_long = recipe.remembers or (width > 1 and not recipe.is_plain)  # jobs that were not used are blocks too
            pieces = stretches(rows, self.version, reads, writes, width, self.dtype, fresh, as_long)
            for table, start, stop, long in pieces:
                for first, last in self._pace.pieces(start, stop):
                    self._carry, done = loop.play(
                        *(self._carry, table, first, last, self._data, self._key, self._numbers),
                        drawing=self._drawing,
                        recipe=recipe,
                        long=long,
                        room=self._room,
                    )
                    self._pace.handed(last - first, done)
        self.rows_played += int(np.count_nonzero(rows.used)) if isinstance(rows, Messages) else len(rows.step)
        self.version += int(np.count_nonzero(rows.step))

    def _slots_wanted(self, width: int) -> int:
        """Return how many slots there should be: more if a method that began like a synchronous one turns out to need them."""
        begins_synchronous = self.workers > 1 and width >= min(self.workers, LARGEST_WIDTH)
        if begins_synchronous and self.slots.size <= FEW_SLOTS:
            return FEW_SLOTS
        return max(self.workers + 2, self.slots.size)  # jobs that were not used may hold more, until the next step

    def evaluation(self) -> Evaluation:
        """Return the current model and its metrics, without waiting for them."""
        with self._precision():
            return Evaluation(self._copy(self._carry.parameters), *self._values(), self._wait)

    def evaluate(self) -> dict[str, float]:
        """Return the problem's metrics for the current model, when the device has computed them."""
        with self._precision():
            values, _ = self._values()
        return _as_floats(values, self._wait)

    def _values(self) -> tuple[dict[str, jax.Array], jax.Array | None]:
        values, of_workers = self._evaluate(self._carry.parameters, self._data, self._test_data)
        return dict(zip(self.problem.metric_names, values, strict=True)), of_workers

    @property
    def flat_parameters(self) -> np.ndarray:
        """The current model as one vector, shape (parameter_count,)."""
        return _flat(self._carry.parameters)

    def describe(self) -> dict[str, Any]:
        """Return what the bits depend on besides the tape: problem, optimizer, dtype, shapes, device."""
        device = next(iter(jax.tree.leaves(self._carry.parameters)[0].devices()))
        return {
            "problem": self.problem.name,
            "batch_size": self.problem.batch_size,
            **self._described(),
            "data_seed": self.seed,
            "dtype": self.dtype,
            "width": self.width,
            "device": f"{device.platform}: {device.device_kind}",
        }

    def _described(self) -> dict[str, Any]:
        """Return what the configuration says of the method and its optimizer."""
        method = self._method
        if not isinstance(method, Method):
            return {"optimizer": optimizers.describe(method), "step_size": optimizers.step_size_of(method)}
        said = {"optimizer": optimizers.describe(method.optimizer), "step_size": method.step_size}
        named = {} if method.name is None else {"name": method.name}
        return said | named | ({"parts": method.further_parts} if method.further_parts else {})

    def identity(self, tape: Mapping[str, Any], schedule: Schedule) -> Identity:
        """Return the identity of the run that it is about to play; see `simsgd.replaying.identify`."""
        return identify(tape, self.problem, self._method, self.seed, self.dtype, self.width, schedule, self.workers)

    @contextlib.contextmanager
    def _precision(self) -> Iterator[None]:
        """Run with the settings that the bits depend on, whatever the process has set."""
        forked.check()
        with settings(self.dtype):
            yield


def _as_floats(values: dict[str, jax.Array], wait: Wait) -> dict[str, float]:
    wait(next(iter(values.values())))  # they come together
    with lenient():
        return {name: float(value) for name, value in values.items()}


def _flat(parameters: Parameters) -> np.ndarray:
    with lenient():
        return np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(parameters)])
