"""Playing runs in lanes: who sits where, what each plays next, and what was measured."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from simsgd.problems import Problem, lenient, settings
from simsgd.replaying.blocks import TILE
from simsgd.replaying.drawing import Data
from simsgd.replaying.lanes import program
from simsgd.replaying.lanes.program import AXIS, Settings
from simsgd.replaying.lanes.resuming import Resuming, State
from simsgd.replaying.lanes.seats import LaneRun, Measured, Seat
from simsgd.replaying.pace import Pace, Wait
from simsgd.replaying.schedule import ended
from simsgd.support import interrupts, rng

BLOCKS = 256
"""Blocks in one table of a lane, a multiple of TILE."""
FEW = 2
"""Seeds whose initial parameters are kept: runs of one seed mostly begin one after the other."""


class Lanes:
    """Plays runs of one problem and one recipe, whose tapes have one shape.

    Args:
        problem: what is learned.
        setting: what is compiled for.
        width: gradients of a step side by side.
        lanes: how many of each device.
        dtype: "float32" or "float64".
        devices: how many devices share the lanes.
    """

    def __init__(self, problem: Problem, setting: Settings, width: int, lanes: int, dtype: str, devices: int = 1) -> None:
        self._problem, self._settings, self._width, self._dtype = problem, setting, width, dtype
        self._lanes, self._devices = lanes, devices
        self._mesh = None if devices == 1 else Mesh(np.array(jax.devices()[:devices]), (AXIS,))
        self._pace, self._wait = Pace(), Wait()
        self._seats: list[Seat | None] = [None] * (lanes * devices)
        self._waiting: Iterator[tuple[int, LaneRun]] = iter(())
        self._carry: Any = None
        self._keys = np.zeros((lanes * devices, 2), np.uint32)
        self._numbers: Any = None
        with settings(dtype):
            samples, self._test_data = problem.arrays(dtype)
            self._data = Data.of(samples, problem)
            self._starts: dict[int, Any] = {}

    def play(
        self,
        runs: Sequence[LaneRun],
        played: Callable[[int], None] = lambda gradients: None,
        resuming: Resuming | None = None,
        part: int = 0,
    ) -> dict[int, Measured]:
        """Play runs to their ends and return what was measured of each, by its place in `runs`.

        Args:
            runs: what is to be played.
            played: told how many gradients have been played since it was last called.
            resuming: where the state is kept now and then, and taken up.
            part: which part of that it is.
        """
        done: dict[int, Measured] = {}
        before = None if resuming is None else resuming.state(part)
        first = 0 if before is None else self._restore(before, runs, done)
        self._waiting = iter([(number, runs[number]) for number in range(first, len(runs))])
        while self._fill():
            interrupts.look()
            blocks = self._length()
            with settings(self._dtype):
                kept = self._play_blocks(blocks)
                values, losses = self._values(kept)
            self._take_in(blocks, kept, values, losses, done)
            played(blocks * self._width * sum(seat is not None for seat in self._seats))
            if resuming is not None and resuming.due:
                resuming.keep(part, self._state(done))
        if resuming is not None and resuming.kept:
            resuming.keep(part, self._state(done))
        return done

    def _state(self, done: Mapping[int, Measured]) -> dict[str, np.ndarray | str]:
        """Return where everything stands, as arrays and texts."""
        seats = [seat for seat in self._seats if seat is not None]
        begun = [*done, *(seat.number for seat in seats)]
        numbers = [[-1, 0, 0] if seat is None else [seat.number, seat.position, seat.evaluated] for seat in self._seats]
        state: dict[str, Any] = {"seats": np.array(numbers), "begun": np.array(1 + max(begun, default=-1))}
        for seat in seats:
            state[f"rows {seat.number}"] = np.array(seat.rows)
            state[f"losses {seat.number}"] = np.array(seat.losses)
        for number, measured in done.items():
            state[f"status {number}"] = measured.status
            state[f"rows {number}"], state[f"parameters {number}"] = measured.values, measured.parameters
            state[f"losses {number}"] = np.zeros(0) if measured.worker_losses is None else measured.worker_losses
        if seats:
            with settings(self._dtype), lenient():
                leaves = jax.tree.leaves(self._carry)
                state |= {f"carry {place}": np.asarray(leaf) for place, leaf in enumerate(leaves)}
        return state

    def _restore(self, state: State, runs: Sequence[LaneRun], done: dict[int, Measured]) -> int:
        """Take up a state; return how many runs had been begun."""
        stored: dict[str, Any] = dict(state)
        for name in stored:
            kind, _, number = name.partition(" ")
            if kind == "status":
                of = {each: stored[f"{each} {number}"] for each in ("rows", "losses", "parameters")}
                losses = of["losses"] if of["losses"].size else None
                moments = runs[int(number)].moments
                done[int(number)] = Measured(stored[name], of["rows"], losses, of["parameters"], moments)
        for place, (number, position, evaluated) in enumerate(stored["seats"].tolist()):
            if number >= 0:
                self._sit(place, number, runs[number])
                seat = self._seats[place]
                assert seat is not None
                seat.position, seat.evaluated = position, evaluated
                seat.rows, seat.losses = stored[f"rows {number}"].tolist(), list(stored[f"losses {number}"])
                self._follow_again(seat)
        if self._carry is not None:
            with settings(self._dtype):
                leaves, tree = jax.tree.flatten(self._carry)
                self._carry = jax.tree.unflatten(tree, [jnp.asarray(stored[f"carry {i}"]) for i in range(len(leaves))])
        return int(stored["begun"])

    def _follow_again(self, seat: Seat) -> None:
        """Have a seat's target followed as far as its evaluations have come."""
        names = self._problem.metric_names
        for moment, values in zip(seat.run.moments.all, seat.rows, strict=False):
            ended({"time": moment.time, "updates": moment.updates, **dict(zip(names, values, strict=True))}, names, seat.watch)

    def _fill(self) -> bool:
        """Give each empty lane the next run; say whether any lane has one."""
        for place, seat in enumerate(self._seats):
            if seat is None:
                following = next(self._waiting, None)
                if following is not None:
                    self._sit(place, *following)
        return any(self._seats)

    def _sit(self, place: int, number: int, run: LaneRun) -> None:
        with settings(self._dtype):
            parameters = self._start(run.seed)
            numbers = jax.tree.map(lambda value: np.asarray(value, self._dtype), dict(run.numbers))
            if self._carry is None:
                sizes: dict[str, Any] = {"settings": self._settings, "mesh": self._mesh}
                self._carry = program.empty(parameters, numbers, lanes=self._lanes, **sizes)
                self._numbers = jax.tree.map(lambda value: np.zeros(len(self._seats), self._dtype), numbers)
            self._carry = program.begin(self._carry, place, parameters, numbers, settings=self._settings, mesh=self._mesh)
        self._keys = self._keys.copy()  # the device may still read the one before
        self._keys[place] = rng.key_words(run.seed, "batches")
        self._numbers = jax.tree.map(lambda all_, value: _with(all_, place, value), self._numbers, numbers)
        self._seats[place] = Seat(number, run, run.schedule.watch())

    def _start(self, seed: int) -> Any:
        """Return the parameters that a seed names, on the device."""
        if seed not in self._starts:
            if len(self._starts) >= FEW:
                self._starts.clear()
            self._starts[seed] = self._problem.start(seed, self._dtype)
        return self._starts[seed]

    def _length(self) -> int:
        """Return how many blocks all lanes play next: as many as models to be evaluated find slots in every lane."""
        most, rest, slots = BLOCKS, 0, self._settings.kept
        for seat in self._seats:
            if seat is not None:
                models = seat.run.models.blocks
                rest = max(rest, models[-1] + 1 - seat.position)
                if len(models) > seat.evaluated + slots:
                    most = min(most, models[seat.evaluated + slots] - seat.position)
        blocks = min(most, rest)
        return blocks // TILE * TILE if TILE < blocks < rest else blocks

    def _play_blocks(self, blocks: int) -> list[list[tuple[int, int]]]:
        """Play so many blocks in all lanes; return of each the (slot, version) of the models kept."""
        tables, keeps, kept = self._tables(blocks)
        arrays = (self._data, self._keys, self._numbers)
        for first, last in self._pace.pieces(0, blocks):
            self._carry, done = program.play(
                self._carry, tables, keeps, first, last, *arrays, settings=self._settings, mesh=self._mesh
            )
            self._pace.handed(last - first, done)
        return kept

    def _tables(self, blocks: int) -> tuple[Any, np.ndarray, list[list[tuple[int, int]]]]:
        """Return the next blocks of each lane, and where models are kept."""
        seats = self._seats
        some = next(seat for seat in seats if seat is not None).run.sheet.table
        keeps = np.zeros((len(seats), BLOCKS), np.int32)
        tables = jax.tree.map(lambda column: np.zeros((len(seats), BLOCKS, *column.shape[1:]), column.dtype), some)
        kept: list[list[tuple[int, int]]] = [[] for _ in seats]
        for place, seat in enumerate(seats):
            if seat is None:
                continue
            first = seat.position
            for all_, column in zip(jax.tree.leaves(tables), jax.tree.leaves(seat.run.sheet.table), strict=True):
                part = column[first : first + blocks]
                all_[place, : len(part)] = part
            for slot, (block, version) in enumerate(seat.due(blocks, self._settings.kept), 1):
                if block >= 0:
                    keeps[place, block] = slot
                kept[place].append((slot, version))
        return tables, keeps, kept

    def _values(self, kept: list[list[tuple[int, int]]]) -> tuple[list[list[float]], Any]:
        """Return the metrics of the models kept, and the losses of workers, of all lanes one after the other."""
        of_device, size = self._lanes, self._lanes * self._settings.kept
        lanes, slots = np.zeros((2, self._devices, size), np.int32)
        counts = np.zeros(self._devices, np.int32)
        where = []
        for place, models in enumerate(kept):
            device, lane = divmod(place, of_device)
            for slot, _ in models:
                lanes[device, counts[device]], slots[device, counts[device]] = lane, slot
                where.append(device * size + int(counts[device]))
                counts[device] += 1
        problem = self._problem
        given: dict[str, Any] = {"loss": problem.loss, "metrics": tuple(problem.metrics.values())}
        given |= {"worker_losses": problem.worker_losses, "together": self._together, "mesh": self._mesh}
        found, losses = program.evaluate(
            self._carry.kept, lanes.ravel(), slots.ravel(), counts, self._data, self._test_data, **given
        )
        self._wait(found[0])
        with lenient():
            columns = [np.asarray(column, np.float64)[where] for column in found]
            return np.stack(columns, axis=1).tolist(), None if losses is None else np.asarray(losses, np.float64)[where]

    @property
    def _together(self) -> int:
        """How many models are evaluated side by side: on a CPU one, which fills it."""
        return 1 if jax.default_backend() == "cpu" else self._lanes

    def _take_in(
        self, blocks: int, kept: list[list[tuple[int, int]]], values: list[list[float]], losses: Any, done: dict[int, Measured]
    ) -> None:
        """Give each lane what was measured; take from it a run that has ended."""
        first = 0
        for place, seat in enumerate(self._seats):
            if seat is None:
                continue
            count = len(kept[place])
            seat.position += blocks
            seat.evaluated += count
            status, slot = self._follow(seat, kept[place], values[first : first + count], _part(losses, first, count))
            first += count
            if status:
                each = None if losses is None else np.array(seat.losses)
                done[seat.number] = Measured(status, np.array(seat.rows), each, self._model(place, slot), seat.run.moments)
                self._seats[place] = None

    def _follow(self, seat: Seat, kept: list[tuple[int, int]], values: list[list[float]], losses: Any) -> tuple[str, int]:
        """Go on from moment to moment as far as models have been evaluated; return how the run ended, and the model's slot."""
        moments, names, last = seat.run.moments, self._problem.metric_names, -1
        versions = {version: number for number, (_, version) in enumerate(kept)}
        for moment in itertools.islice(moments.all, len(seat.rows), None):
            if moment.updates in versions:
                last = versions[moment.updates]
            elif last < 0 or kept[last][1] != moment.updates:
                return "", 0
            seat.rows.append(values[last])
            if losses is not None:
                seat.losses.append(losses[last])
            row = {"time": moment.time, "updates": moment.updates, **dict(zip(names, values[last], strict=True))}
            status = ended(row, names, seat.watch)
            if status:
                return status, kept[last][0]
        return "completed" if moments.whole else "cut", kept[last][0] if kept else 0

    def _model(self, place: int, slot: int) -> np.ndarray:
        """Return the model in a lane's slot, flat."""
        with settings(self._dtype), lenient():
            leaves = jax.tree.leaves(program.taken(self._carry.kept, place, slot))
            return np.concatenate([np.asarray(leaf).ravel() for leaf in leaves])


def _with(all_: np.ndarray, place: int, value: Any) -> np.ndarray:
    """Return a copy with another value at a place: the device may still read the one before."""
    changed = all_.copy()
    changed[place] = value
    return changed


def _part(losses: Any, first: int, count: int) -> Any:
    return None if losses is None else losses[first : first + count]
