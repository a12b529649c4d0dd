"""The read head: plays a tape's rows with compiled JAX, in their order. It knows no time.

Laws of this module:

1. Rows are played in blocks of up to `width` gradients of one step, side by side. The width is the size of the first
   step (at most 128), so it is a fact of the tape: 1 for asynchronous SGD, n for synchronous SGD.
2. Chunks of any size give the same bits. (How many slots there are may depend on the chunks; it decides where versions are
   kept and takes part in no arithmetic.)
3. Playing and evaluating only hand work to the device; whoever reads a number waits for it. So the host is free meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from simsgd import optimizers
from simsgd.optimizers import Optimizer
from simsgd.problems import Parameters, Problem, lenient, settings
from simsgd.provenance import Identity
from simsgd.replaying import demands, loop, selftest
from simsgd.replaying.blocks import TABLE_ROWS, stretches
from simsgd.replaying.identify import identify
from simsgd.replaying.pace import Pace, Wait
from simsgd.replaying.schedule import Schedule
from simsgd.replaying.versions import Slots
from simsgd.support import checks, forked, rng
from simsgd.tape.schema import Rows

LARGEST_WIDTH = 128
"""Steps of more gradients than this are played in several blocks, so that memory does not grow with the batch."""
FEW_SLOTS = 4
"""Slots for tapes that begin with a step of all workers, as synchronous methods do; others get workers + 2 at once."""


class Evaluation(NamedTuple):
    """The model at one moment and its metrics, which the device may still be computing; reading them waits.

    Attributes:
        parameters: a copy of the model.
        values: the metrics by name.
        wait: waits for one of them.
    """

    parameters: Parameters
    values: dict[str, jax.Array]
    wait: Wait

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics by name."""
        return _as_floats(self.values, self.wait)

    @property
    def flat_parameters(self) -> np.ndarray:
        """The model as one vector, shape (parameter_count,)."""
        return _flat(self.parameters)


class Player:
    """Plays rows of a tape for one problem and optimizer, remembering where it is.

    Args:
        problem: what is learned.
        optimizer: an optax transformation, or a `tunable` one.
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
        optimizer: Optimizer,
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
        self.slots = Slots()
        self._pace, self._wait = Pace(), Wait()
        self._optimizer = optimizer
        with self._precision():
            parameters = problem.start(seed, dtype)
            self._recipe, numbers = optimizers.split(optimizer, parameters)
            demands.check_numbers(optimizer, numbers, dtype)
            self._numbers = {name: jnp.asarray(number, dtype) for name, number in numbers.items()}
            self._data, self._test_data = problem.arrays(dtype)
            self._key = jax.random.wrap_key_data(jnp.asarray(rng.key_words(seed, "batches")), impl="threefry2x32")
            self._carry = loop.begin(parameters, self._recipe, self._numbers)
            demands.check_update(optimizer, self._recipe, self._numbers, self._carry.parameters, self._carry.optimizer_state)
            metrics = tuple(problem.metrics.values())
            model = self._carry.parameters
            self._evaluate = loop.evaluate.program(model, self._data, self._test_data, loss=problem.loss, metrics=metrics)
            self._copy = loop.copied.program(model)

    def play(self, rows: Rows, live: set[int]) -> None:
        """Play further rows of the tape, which must end with a step.

        Args:
            rows: the rows after those played before.
            live: the versions that rows after these may still read.
        """
        if not len(rows.step):
            return
        if not rows.step[-1]:
            raise ValueError("rows must end with a step, and the last of these does not: hold back a step's first rows")
        if self.width is None:
            self.width = min(LARGEST_WIDTH, int(np.argmax(rows.step)) + 1)
        for first, last, reads, writes in self.slots.place(rows.read, rows.step, live, TABLE_ROWS):
            self._play_piece(Rows(*(column[first:last] for column in rows)), reads, writes, self.width)

    def _play_piece(self, rows: Rows, reads: np.ndarray, writes: np.ndarray, width: int) -> None:
        """Play rows whose slots are known. The device plays on while the host prepares the next piece."""
        slots = self._slots_wanted(width)
        demands.check_memory(self.problem, self.dtype, width, slots)
        with self._precision():
            self._carry = loop.with_slots(self._carry, slots)
            for table, start, stop, long in stretches(rows, self.version, reads, writes, width, self.dtype):
                for first, last in self._pace.pieces(start, stop):
                    self._carry, done = loop.play(
                        self._carry,
                        table,
                        first,
                        last,
                        self._data,
                        self._key,
                        self._numbers,
                        loss=self.problem.loss,
                        recipe=self._recipe,
                        batch_size=self.problem.batch_size,
                        long=long,
                    )
                    self._pace.handed(last - first, done)
        self.rows_played += len(rows.step)
        self.version += int(np.count_nonzero(rows.step))

    def _slots_wanted(self, width: int) -> int:
        """Return how many slots there should be: more if a method that began like a synchronous one turns out to need them."""
        begins_synchronous = self.workers > 1 and width >= min(self.workers, LARGEST_WIDTH)
        return FEW_SLOTS if begins_synchronous and self.slots.size <= FEW_SLOTS else self.workers + 2

    def evaluation(self) -> Evaluation:
        """Return the current model and its metrics, without waiting for them."""
        with self._precision():
            return Evaluation(self._copy(self._carry.parameters), self._values(), self._wait)

    def evaluate(self) -> dict[str, float]:
        """Return the problem's metrics for the current model, when the device has computed them."""
        with self._precision():
            values = self._values()
        return _as_floats(values, self._wait)

    def _values(self) -> dict[str, jax.Array]:
        values = self._evaluate(self._carry.parameters, self._data, self._test_data)
        return dict(zip(self.problem.metric_names, values, strict=True))

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
            "optimizer": optimizers.describe(self._optimizer),
            "step_size": optimizers.step_size_of(self._optimizer),
            "data_seed": self.seed,
            "dtype": self.dtype,
            "width": self.width,
            "device": f"{device.platform}: {device.device_kind}",
        }

    def identity(self, tape: Mapping[str, Any], schedule: Schedule) -> Identity:
        """Return the identity of the run that it is about to play; see `simsgd.replaying.identify`."""
        return identify(tape, self.problem, self._optimizer, self.seed, self.dtype, self.width, schedule)

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
