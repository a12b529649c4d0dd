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
from simsgd.replaying import finite_sums
from simsgd.replaying.blocks import Table
from simsgd.replaying.drawing import DOWN, UP, Data, Drawing, at, job_key, shared_key
from simsgd.replaying.job import Job
from simsgd.replaying.parts import Numbers, Recipe, begin_worker


class States(NamedTuple):
    """What a composed method remembers besides its optimizer's state; nothing for a plain one.

    Attributes:
        workers: (of the work, of what the worker does to its message, of what compresses that), each leaf (workers, ...).
        messages: of what the server does to each message.
        sent: what the server has sent, if that is compressed: (the sum of it, the state of what compresses it).
    """

    workers: Any = ()
    messages: Any = ()
    sent: Any = ()


def begin(recipe: Recipe, numbers: Numbers, parameters: Parameters) -> States:
    """Return what a method remembers at first: all workers the same."""
    if recipe.is_plain:
        return States()
    with optimizers.among(recipe.workers, *recipe.blocks):
        one = begin_worker(recipe, numbers, parameters)
        workers = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (recipe.workers, *jnp.shape(leaf))), one)
        messages = recipe.build("on_message", numbers).init(parameters)
        sent: Any = ()
        if recipe.down is not None:  # all workers have version 0
            sent = (
                _model_to_hand_out(recipe, numbers, parameters, messages),
                recipe.down.init(jax.tree.map(jnp.zeros_like, parameters)),
            )
        return States(workers, messages, sent)


def first_handed_out(recipe: Recipe, numbers: Numbers, parameters: Parameters, states: States) -> Any:
    """Return what is handed out of version 0."""
    if recipe.is_plain:
        return parameters
    return _model_to_hand_out(recipe, numbers, parameters, states.messages), recipe.work.shows(states.messages)


def handed_out(
    recipe: Recipe, numbers: Numbers, parameters: Parameters, states: States, version: jax.Array, key: jax.Array
) -> tuple[Any, States]:
    """Return what is handed out of a new version, with what goes out beside it, and what is remembered after that.

    Args:
        recipe, numbers, parameters, states: of the method, its model, and what it remembers.
        version: the number of the new version.
        key: of the run.
    """
    model = _model_to_hand_out(recipe, numbers, parameters, states.messages)
    if recipe.down is not None:
        had, state = states.sent
        change = jax.tree.map(jnp.subtract, model, had)
        of_version = shared_key(key, version)
        change, state = recipe.down.compress(change, state, jax.random.fold_in(of_version, DOWN), of_version)
        model = jax.tree.map(jnp.add, had, change)
        states = states._replace(sent=(model, state))
    return (model, recipe.work.shows(states.messages)), states


def _model_to_hand_out(recipe: Recipe, numbers: Numbers, parameters: Parameters, message_state: Any) -> Parameters:
    """Return what is handed out in place of the model, before it is compressed."""
    if recipe.hand_out is None:
        return parameters
    hand_out = recipe.build("hand_out", numbers)
    nothing = hand_out.init(parameters)  # as it has no state; of a chain, one of nothings
    made, _ = hand_out.update(parameters, nothing, parameters, message_state=message_state)
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
    kind: Any
    read: Any
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
            picks: the samples of the first steps, (width, steps, batch_size).
        """
        more, width = block.message, len(block.weight)
        assert more is not None  # tables of composed methods have these columns
        version = jnp.broadcast_to(more.version, (width,))
        lanes = Lane(
            *(block.worker, block.job, block.read_slot, block.weight),
            *(more.used, more.staleness, more.steps, more.kind, more.read, more.fresh, version, picks),
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

    def _job(self, lane: Lane, shown: Any) -> Job:
        recipe = self.recipe
        return Job(
            *(self.drawing, self.data, self.key, lane.worker, lane.job, lane.steps, lane.picks, recipe.work.steps),
            *(lane.kind, lane.read, recipe.workers, recipe.build("inner", self.numbers), shown),
        )

    def _together(self, snapshots: Parameters, lanes: Lane) -> Parameters:
        """Return what work that remembers nothing computes for all lanes, side by side."""

        def one(lane: Lane) -> Parameters:
            read, shown = at(snapshots, lane.read_slot)
            return self.recipe.work.run(read, (), self._job(lane, shown))[0]

        return jax.vmap(one)(lanes)

    def _take(
        self, snapshots: Parameters, current: Parameters, states: States, lane: Lane, computed: Parameters | None
    ) -> tuple[States, Parameters]:
        """Return what is remembered after one message, and weight·message; zero of a job that was not used."""
        read, shown = at(snapshots, lane.read_slot)
        workers, message = self._send(read, self._job(lane, shown), states.workers, lane, computed)

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
        return States(workers, remembered, states.sent), weighted

    def _send(
        self, read: Parameters, job: Job, workers: Any, lane: Lane, computed: Parameters | None
    ) -> tuple[Any, Parameters]:
        """Return what workers remember after a job, and its message; the work is done unless it was `computed`."""
        recipe = self.recipe
        of_work, of_worker, of_way = own = optimizers.row(workers, lane.worker)
        if recipe.resets:
            first = begin_worker(recipe, self.numbers, read)
            of_work, of_worker, of_way = jax.tree.map(lambda new, old: jnp.where(lane.fresh, new, old), first, own)
        if computed is None:
            computed, of_work = recipe.work.run(read, of_work, job)
        message, of_worker = recipe.build("at_worker", self.numbers).update(
            *(computed, of_worker, read), worker=lane.worker, job=lane.job, steps=lane.steps, kind=lane.kind, key=job.key
        )
        if recipe.up is not None:
            message, of_way = recipe.up.compress(message, of_way, jax.random.fold_in(job.key, UP), job.shared_key)
        return optimizers.with_row(workers, lane.worker, (of_work, of_worker, of_way)), message

    def _use(
        self, message: Parameters, remembered: Any, current: Parameters, read: Parameters, lane: Lane
    ) -> tuple[Parameters, Any]:
        """Return what the server makes of a message, and what it remembers."""
        where = (self.drawing, self.data, self.key, lane.worker, lane.job, self.recipe.workers)
        result: tuple[Parameters, Any] = self.recipe.build("on_message", self.numbers).update(
            *(message, remembered, current),
            worker=lane.worker,
            job=lane.job,
            steps=lane.steps,
            kind=lane.kind,
            key=job_key(self.key, lane.worker, lane.job),
            staleness=lane.staleness,
            version=lane.version,
            workers=self.recipe.workers,
            parameters_read=read,
            **finite_sums.place_in_table(*where),
        )
        return result
