"""What a replay demands before it begins: enough memory, and an optimizer that it can call."""

from __future__ import annotations

import contextlib
import difflib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from simsgd import optimizers
from simsgd.method import Method
from simsgd.optimizers import Optimizer, Tunable
from simsgd.problems import Blocks, Parameters, Problem
from simsgd.replaying.blocks import TILE
from simsgd.replaying.composed import begin
from simsgd.replaying.drawing import Data, Drawing
from simsgd.replaying.job import Job
from simsgd.replaying.parts import Numbers, Recipe, offered, parts
from simsgd.support.bounds import bounds
from simsgd.support.show import plainly
from simsgd.tape import Tape
from simsgd.tape.schema import Messages, Rows
from simsgd.work import ONE_GRADIENT, Work

WORDS_OF_A_DRAW = 3
"""32-bit words that drawing one sample takes while it is drawn: two random ones and the result."""
OPTIMIZERS = (optax.GradientTransformation, optax.MultiSteps, Tunable)
EXAMPLE = "optimizers.sgd(0.1) or optax.adam(1e-3)"


def check_memory(
    problem: Problem, dtype: str, width: int, slots: int, remembered: int = 0, shown: int = 0, room: int = 1
) -> None:
    """Raise BoundError if the batches or the models that a replay holds at a time take more than `bounds.bytes`.

    Batches: max(TILE, room) · width · batch_size draws of 12 bytes, and the samples of one block, width · batch_size. Models:
    one for each slot, with what is shown beside it, a version and a gradient for each lane of a block, and what is remembered
    of messages. Activations and the optimizer's state come on top.

    Args:
        problem: what is learned.
        dtype: "float32" or "float64".
        width: lanes of a block.
        slots: how many versions are kept.
        remembered: bytes of what workers and the server remember of messages.
        shown: bytes of what goes out beside each version.
        room: for how many local steps of each job batches are drawn before it is played.
    """
    sample = sum(sample_bytes(leaf, dtype) for leaf in jax.tree.leaves(problem.data))
    draws = max(TILE, room) * WORDS_OF_A_DRAW * 4
    batches = width * problem.batch_size * (draws + sample)
    side_by_side = "" if width == 1 else f", {width} side by side,"
    steps = f" for each of up to {room} local steps" if room > TILE else ""
    bounds.check("bytes", batches, f"batches of Problem.batch_size={problem.batch_size}{steps}{side_by_side}")
    models = (slots + 2 * width) * problem.message_bytes_in(dtype) + slots * shown
    besides = f" and what {remembered:,} bytes remember of messages" if remembered else ""
    what = f"{slots} versions of a model of {problem.parameter_count:,} parameters{side_by_side}{besides}"
    bounds.check("bytes", models + remembered, what)


def check_tables(problem: Problem, recipe: Recipe, numbers: Numbers, parameters: Parameters) -> None:
    """Raise BoundError if what is remembered of blocks of samples takes more than `bounds.bytes`: that is said by name."""
    wanted = bytes_remembered(recipe, numbers, parameters)
    if wanted <= bounds.bytes or wanted == bytes_remembered(recipe._replace(blocks=Blocks()), numbers, parameters):
        return
    of_all, most = recipe.blocks
    rows = f"{of_all:,} blocks" if of_all == most else f"{of_all:,} blocks (at most {most:,} of one worker)"
    bounds.check(
        "bytes",
        wanted,
        f"a table of {rows} of Problem.batch_size={problem.batch_size} samples, each a gradient of "
        f"{problem.parameter_count:,} parameters (larger batches make fewer blocks; methods.svrg needs no table)",
    )


def bytes_remembered(recipe: Recipe, numbers: Numbers, parameters: Parameters) -> int:
    """Return the bytes of what workers and the server remember of messages."""
    return _bytes(jax.eval_shape(lambda p: begin(recipe, numbers, p), parameters))


def bytes_shown(recipe: Recipe, numbers: Numbers, parameters: Parameters) -> int:
    """Return the bytes of what is handed out beside each version."""
    if recipe.is_plain:
        return 0

    def shown(parameters: Parameters) -> Any:
        return recipe.work.shows(begin(recipe, numbers, parameters).messages)

    return _bytes(jax.eval_shape(shown, parameters))


def _bytes(tree: Any) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def sample_bytes(leaf: np.ndarray, dtype: str) -> int:
    """Return the bytes of one sample of an array, on the device."""
    size = np.dtype(dtype).itemsize if leaf.dtype.kind == "f" else leaf.dtype.itemsize
    return math.prod(leaf.shape[1:]) * size


def check_factory(optimizer: object) -> None:
    """Raise TypeError for a function that makes optimizers, such as `optax.sgd`, in an optimizer's place."""
    if callable(optimizer) and not isinstance(optimizer, (type, *OPTIMIZERS)):
        name = getattr(optimizer, "__name__", repr(optimizer))
        raise TypeError(f"optimizer must be an instance such as {EXAMPLE}, got {name} itself: call it, as in {name}(0.1)")


def check_data(method: object, problem: Problem, workers: int) -> None:
    """Raise ValueError unless the problem's data are shared among so many workers, or not shared and the method allows that."""
    if problem.shares is not None:
        problem.check_workers(workers)
    elif isinstance(method, Method) and method.per_worker_data:
        raise ValueError(
            f"problem {problem.name!r} has the same data for all workers, but {method.title} is made for workers whose data "
            f"differ: use problem.partitioned({workers}, by=…)"
        )


def check_tape(method: object, tape: Tape) -> None:
    """Raise ValueError unless a tape was recorded with the method's protocol, and charged what the method's work costs.

    Args:
        method: a `Method`, or an optimizer, which computes single gradients for any protocol.
        tape: what is to be played; one whose header says nothing may be anybody's.
    """
    work, name = (method.work, method.title) if isinstance(method, Method) else (ONE_GRADIENT, "an optimizer alone")
    said = {"work": plainly(work)} | ({"protocol": plainly(method.protocol)} if isinstance(method, Method) else {})
    for part, wanted in said.items():
        recorded = tape.header.get(part, wanted)
        if recorded != wanted:
            raise ValueError(
                f"tape was recorded with the {part} {recorded}, but {name} has {wanted}: replay it with that method"
            )
    if (tape.kind >= len(work.kinds)).any():
        raise ValueError(
            f"tape has jobs of kind {int(tape.kind.max())}, but the kinds of {work!r} are {', '.join(work.kinds)}: replay it "
            "with the Method that it was recorded with"
        )
    if not work.takes_steps and work.charges_alike and (tape.steps != work.steps).any():
        raise ValueError(
            f"tape charges {int(tape.steps.max())} local steps for a job, but {work!r} computes {work.steps}: replay it with "
            "the Method that it was recorded with"
        )


def check_epochs(work: Work, steps: np.ndarray) -> None:
    """Raise ValueError if jobs have different numbers of local steps while workers go through their shares in epochs.

    Where a job's batches stand in an epoch follows from its number, which is possible if all have as many.
    """
    if (steps != work.steps).any():
        other = int(steps[steps != work.steps][0])
        raise ValueError(
            f"a job was charged {other} local steps, and {work!r} has {work.steps}: workers that go through their shares in "
            "epochs need jobs of one number of steps; use problem.partitioned(…, replacement=True), or assign(worker) alone"
        )


def check_fresh(work: Work, rows: Rows | Messages, version: int = 0) -> None:
    """Raise ValueError if a message is used that is stale, and the work's mean nothing then.

    Args:
        work: whose messages.
        rows: of whole steps.
        version: the server's when the first of them was used.
    """
    if not work.needs_fresh:
        return
    staleness = version + np.cumsum(rows.step) - rows.step - rows.read
    stale = np.flatnonzero((staleness > 0) & getattr(rows, "used", True))
    if len(stale):
        first = int(stale[0])
        raise ValueError(
            f"a message of worker {rows.worker[first]} is used at staleness {staleness[first]}, but those of {work!r:.200} "
            "must have staleness 0: give the Method a protocol of synchronous rounds, such as MinibatchSGD() or "
            "protocols.SampledSGD(clients=10)"
        )


def check_numbers(method: Optimizer | Method, numbers: Mapping[str, Mapping[str, float]], dtype: str) -> None:
    """Raise ValueError for a finite number of a method's part that is infinite in the run's dtype."""
    largest = float(np.finfo(dtype).max)
    for place, part in parts(method):
        beyond = [number for number in numbers[place].values() if largest < abs(number) < math.inf]
        if beyond:
            raise ValueError(f"{place} {optimizers.describe(part):.200} has the number {beyond[0]:g}, beyond all of {dtype}")


def check_updates(
    method: Optimizer | Method,
    recipe: Recipe,
    numbers: Numbers,
    parameters: Parameters,
    drawing: Drawing,
    data: Data,
    key: jax.Array,
) -> None:
    """Raise TypeError or ValueError unless all parts of a method answer what the loop expects; they are only traced."""
    with optimizers.among(recipe.workers or 1, *recipe.blocks):
        if not recipe.is_plain:
            _check_work(recipe, numbers, parameters, drawing, data, key)
            _check_compressions(recipe, parameters)
        state: Any = None
        for place, part in _in_order(method):
            given = offered(place, parameters, recipe.workers, state)
            made = recipe.build(place, numbers)
            begun = jax.eval_shape(made.init, parameters)
            if place == "hand_out" and jax.tree.leaves(begun):
                raise ValueError(
                    f"hand_out must have no state of its own, but {optimizers.describe(part):.200} has one: put it into "
                    "on_message, and read it as message_state"
                )
            state = begun if place == "on_message" else state
            _check_update(place, optimizers.describe(part), made.update, begun, parameters, given)


def _in_order(method: Optimizer | Method) -> list[tuple[str, Optimizer]]:
    """Return the places of a method's transformations in the order in which a message passes them."""
    there = dict(parts(method))
    return [(place, there[place]) for place in ("inner", "at_worker", "on_message", "optimizer", "hand_out") if place in there]


def _check_work(recipe: Recipe, numbers: Numbers, parameters: Parameters, drawing: Drawing, data: Data, key: jax.Array) -> None:
    """Raise unless a work's message has the form of the parameters, and its state keeps its own."""
    asked: list[str] = []
    if recipe.work != ONE_GRADIENT:  # whose answer is known, and takes longer to trace than all the rest
        _trace_work(recipe, numbers, parameters, drawing, data, key, asked)
    if bool(asked) == (recipe.inner is None):
        wanted = "must be given, as work={} asks for it" if asked else "must be left out, as work={} never asks for it"
        raise ValueError(
            f"inner {wanted.format(f'{recipe.work!r:.200}')} (job.inner): it is the optimizer of steps that a worker makes at "
            "home"
        )


def _trace_work(
    recipe: Recipe, numbers: Numbers, parameters: Parameters, drawing: Drawing, data: Data, key: jax.Array, asked: list[str]
) -> None:
    """Raise unless a work answers what the loop expects; note in `asked` that it asks for its inner optimizer."""
    work, number = recipe.work, jnp.zeros((), jnp.int32)
    inner = _noting(recipe.build("inner", numbers), asked)

    def shown(parameters: Parameters) -> Any:
        return work.shows(recipe.build("on_message", numbers).init(parameters))

    def run(parameters: Parameters, state: Any, shown: Any) -> tuple[Parameters, Any]:
        picks = drawing.picks(data, key, number, number)
        drawn = (drawing, data, key, number, number, number, picks[None], work.steps)
        return work.run(parameters, state, Job(*drawn, number, number, recipe.workers, inner, shown))

    begun = jax.eval_shape(lambda p: work.begin(p, inner), parameters)
    sent = jax.eval_shape(shown, parameters)
    with _saying_what_is_traced(f"work={work!r:.200}"):
        result = jax.eval_shape(run, parameters, begun, sent)
    _check_answer(f"work={work!r:.200}: run", "message, state", result, parameters, begun)


def _noting(inner: optax.GradientTransformationExtraArgs, asked: list[str]) -> optax.GradientTransformationExtraArgs:
    """Return an inner optimizer that notes in `asked` that it is updated."""

    def update(*args: Any, **others: Any) -> Any:
        asked.append("update")
        return inner.update(*args, **others)

    return optax.GradientTransformationExtraArgs(inner.init, update)


def _check_compressions(recipe: Recipe, parameters: Parameters) -> None:
    """Raise unless what compresses messages keeps their form, and its state its own."""
    key = jax.random.wrap_key_data(jnp.zeros(2, jnp.uint32), impl="threefry2x32")
    for way, compression in (("compress_up", recipe.up), ("compress_down", recipe.down)):
        if compression is not None:
            begun = jax.eval_shape(compression.init, parameters)
            with _saying_what_is_traced(f"{way}={compression!r:.200}"):
                result = jax.eval_shape(compression.compress, parameters, begun, key, key)
            _check_answer(f"{way}={compression!r:.200}: compress", "message, state", result, parameters, begun)


@contextlib.contextmanager
def _saying_what_is_traced(whose: str) -> Iterator[None]:
    """Note on an error of code that wants to know a traced value how to write it."""
    try:
        yield
    except jax.errors.ConcretizationTypeError as error:  # TracerBoolConversionError is one
        error.add_note(
            f"raised in tracing {whose}: what it is offered (staleness, worker, steps …) and the floats of a tunable are known "
            "only when it runs: write jnp.where or jax.lax.cond for an if, and give counts as whole numbers, which stay"
        )
        raise


def _check_update(place: str, name: str, update: Any, state: Any, parameters: Parameters, given: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError unless an `update` returns a pair: updates like the parameters, and a state as it was."""
    traced, counts = optimizers.apart(given)
    try:
        with _saying_what_is_traced(f"{place}={name:.200}"):
            result = jax.eval_shape(
                lambda u, s, p, others: update(u, s, p, **others, **counts), parameters, state, parameters, traced
            )
    except TypeError as error:
        if "required keyword-only argument" not in str(error):
            raise
        offers = ", ".join(("updates, params", *given))
        asked = re.findall(r"'(\w+)'", str(error).partition(": ")[2])
        near = [f"{name} for {each}?" for each in asked for name in difflib.get_close_matches(each, given, 1)]
        hint = ": leave line searches out, as in optax.lbfgs(0.1, linesearch=None)" if place == "optimizer" else ""
        raise TypeError(
            f"{place} must ask for {offers} alone, but {name:.200} asks for {str(error).partition(': ')[2]} too{hint}"
            f"{' (' + ' '.join(near) + ')' if near else ''}"
        ) from error
    _check_answer(f"{place}'s update, that of {name:.200},", "updates, state", result, parameters, state)


def _check_answer(whose: str, wanted: str, result: Any, parameters: Parameters, state: Any) -> None:
    """Raise unless a result is a pair of something like the parameters, and a state of the form that it had."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"{whose} must return a pair ({wanted}), but returned {_kind(result)}: end it with `return {wanted}`")
    forms: Any = jax.tree.structure(parameters)
    if jax.tree.structure(result[0]) != forms:
        raise TypeError(
            f"{whose} must return {wanted.split(',')[0]} like the parameters, {forms}, first, but returned "
            f"{jax.tree.structure(result[0])}"
        )
    for leaf, like in zip(jax.tree.leaves(result[0]), jax.tree.leaves(parameters), strict=True):
        if leaf.shape != like.shape:
            raise ValueError(f"{whose} must keep the shapes of the parameters, {like.shape}, but returned {leaf.shape}")
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(f"{whose} must return floating-point numbers, but returned {leaf.dtype}")
    _check_state(whose, result[1], state)


def _check_state(whose: str, after: Any, before: Any) -> None:
    """Raise TypeError unless a state has the structure, shapes and types that it began with: the loop carries it on."""
    trees: list[Any] = [jax.tree.structure(each) for each in (before, after)]
    forms = [[f"{leaf.dtype}{list(leaf.shape)}" for leaf in map(_form, jax.tree.leaves(each))] for each in (before, after)]
    if trees[0] != trees[1] or forms[0] != forms[1]:
        said = [f"{' '.join(form) or 'no arrays'} in {tree}" for form, tree in zip(forms, trees, strict=True)]
        raise TypeError(
            f"{whose} must return a state like the one that it began with, {said[0]:.300}, but returned {said[1]:.300}"
        )


def _form(leaf: Any) -> Any:
    return leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf)


def _kind(result: Any) -> str:
    return f"a {type(result).__name__}" + (f" of {len(result)}" if isinstance(result, tuple) else "")
