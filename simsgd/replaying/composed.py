"""The blocks of composed methods: work, what the worker does to its message, and what the server does to each message.

Laws of this module:

1. Messages are taken in the order of the tape, one after the other: what a worker or the server remembers of one is there for
   the next. Only gradients, and other work that remembers nothing, are computed side by side.
2. A job that was not used moves its worker's state, and nothing else.
3. Everything works under `vmap`: nothing asks the host, and no state is touched but where it changes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from simsgd import optimizers
from simsgd.problems import Parameters
from simsgd.replaying.blocks import Table
from simsgd.replaying.drawing import Data, Drawing, Job, at
from simsgd.replaying.parts import Numbers, Recipe


class States(NamedTuple):
    """What a composed method remembers besides its optimizer's state; nothing for a plain one.

    Attributes:
        workers: (of the work, of what the worker does to its message), each leaf (workers, ...).
        messages: of what the server does to each message.
    """

    workers: Any = ()
    messages: Any = ()


def begin(recipe: Recipe, numbers: Numbers, parameters: Parameters) -> States:
    """Return what a method remembers at first: all workers the same."""
    if recipe.is_plain:
        return States()
    with optimizers.among(recipe.workers):
        one = begin_worker(recipe, numbers, parameters)
        workers = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (recipe.workers, *jnp.shape(leaf))), one)
        return States(workers, recipe.build("on_message", numbers).init(parameters))


def begin_worker(recipe: Recipe, numbers: Numbers, parameters: Parameters) -> Any:
    """Return what one worker remembers at first."""
    with optimizers.among(recipe.workers):  # also where a worker begins anew
        return recipe.work.init(parameters), recipe.build("at_worker", numbers).init(parameters)


def handed_out(recipe: Recipe, numbers: Numbers, parameters: Parameters, states: States) -> Parameters:
    """Return what is handed out of a version."""
    if recipe.hand_out is None:
        return parameters
    hand_out = recipe.build("hand_out", numbers)
    nothing = hand_out.init(parameters)  # as it has no state; of a chain, one of nothings
    made, _ = hand_out.update(parameters, nothing, parameters, message_state=states.messages)
    return jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), made, parameters)


class Lane(NamedTuple):
    """One message of a block; columns of a table's row, or all of a block stacked."""

    worker: Any
    job: Any
    read_slot: Any
    weight: Any
    used: Any
    staleness: Any
    steps: Any
    fresh: Any
    version: Any
    picks: Any


class Messages(NamedTuple):
    """What plays the messages of a method's blocks."""

    recipe: Recipe
    numbers: Numbers
    drawing: Drawing
    data: Data
    key: jax.Array

    def play(
        self, snapshots: Parameters, current: Parameters, states: States, block: Table, picks: jax.Array
    ) -> tuple[States, Parameters]:
        """Return what is remembered after a block's messages, and Σ weight·message.

        Args:
            snapshots: what was handed out of old versions, each leaf (slots, ...).
            current: the model.
            states: what is remembered before.
            block: one block of a table, its columns (width,) or scalars.
            picks: the samples of the first steps, (width, batch_size).
        """
        more, width = block.message, len(block.weight)
        assert more is not None  # tables of composed methods have these columns
        version = jnp.broadcast_to(more.version, (width,))
        lanes = Lane(
            *(block.worker, block.job, block.read_slot, block.weight),
            *(more.used, more.staleness, more.steps, more.fresh, version, picks),
        )
        if width == 1:
            return self._take(snapshots, current, states, at(lanes, 0), None)
        computed = None if jax.tree.leaves(states.workers[0]) else self._together(snapshots, lanes)

        def take(lane: jax.Array, so_far: tuple[States, Parameters]) -> tuple[States, Parameters]:
            one = None if computed is None else at(computed, lane)
            states, message = self._take(snapshots, current, so_far[0], at(lanes, lane), one)
            return states, jax.tree.map(jnp.add, so_far[1], message)

        nothing = jax.tree.map(jnp.zeros_like, current)
        result: tuple[States, Parameters] = jax.lax.fori_loop(0, more.count, take, (states, nothing))
        return result

    def _job(self, lane: Lane) -> Job:
        return Job(self.drawing, self.data, self.key, lane.worker, lane.job, lane.steps, lane.picks, self.recipe.work.steps)

    def _together(self, snapshots: Parameters, lanes: Lane) -> Parameters:
        """Return what work that remembers nothing computes for all lanes, side by side."""
        return jax.vmap(lambda lane: self.recipe.work.run(at(snapshots, lane.read_slot), (), self._job(lane))[0])(lanes)

    def _take(
        self, snapshots: Parameters, current: Parameters, states: States, lane: Lane, computed: Parameters | None
    ) -> tuple[States, Parameters]:
        """Return what is remembered after one message, and weight·message; zero of a job that was not used."""
        read = at(snapshots, lane.read_slot)
        workers, message = self._send(read, states.workers, lane, computed)

        def use(remembered: Any) -> tuple[Any, Parameters]:
            used, remembered = self._use(message, remembered, current, read, lane)
            return remembered, jax.tree.map(lambda m, p: lane.weight.astype(p.dtype) * m.astype(p.dtype), used, current)

        def leave(remembered: Any) -> tuple[Any, Parameters]:
            return remembered, jax.tree.map(jnp.zeros_like, current)

        if not self.recipe.remembers:  # then jobs that were not used are not on the table
            remembered, weighted = use(states.messages)
        elif jax.tree.leaves(states.messages):
            remembered, weighted = jax.lax.cond(lane.used, use, leave, states.messages)
        else:  # a selection takes less time than a branch
            remembered, weighted = use(states.messages)
            weighted = jax.tree.map(lambda m: jnp.where(lane.used, m, 0), weighted)
        return States(workers, remembered), weighted

    def _send(self, read: Parameters, workers: Any, lane: Lane, computed: Parameters | None) -> tuple[Any, Parameters]:
        """Return what workers remember after a job, and its message; the work is done unless it was `computed`."""
        recipe, job = self.recipe, self._job(lane)
        of_work, of_worker = own = optimizers.row(workers, lane.worker)
        if recipe.resets:
            first = begin_worker(recipe, self.numbers, read)
            of_work, of_worker = jax.tree.map(lambda new, old: jnp.where(lane.fresh, new, old), first, own)
        if computed is None:
            computed, of_work = recipe.work.run(read, of_work, job)
        message, of_worker = recipe.build("at_worker", self.numbers).update(
            *(computed, of_worker, read), worker=lane.worker, job=lane.job, steps=lane.steps, key=job.key
        )
        return optimizers.with_row(workers, lane.worker, (of_work, of_worker)), message

    def _use(
        self, message: Parameters, remembered: Any, current: Parameters, read: Parameters, lane: Lane
    ) -> tuple[Parameters, Any]:
        """Return what the server makes of a message, and what it remembers."""
        result: tuple[Parameters, Any] = self.recipe.build("on_message", self.numbers).update(
            *(message, remembered, current),
            worker=lane.worker,
            job=lane.job,
            steps=lane.steps,
            staleness=lane.staleness,
            version=lane.version,
            workers=self.recipe.workers,
            parameters_read=read,
        )
        return result
