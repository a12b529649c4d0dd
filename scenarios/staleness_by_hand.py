"""Staleness by hand: the textbook example, as a table and a picture.

Three workers share a model through a server that steps with each gradient as it arrives. Worker A is slow: it reads version
t and computes; meanwhile B and C push a gradient each. When A's gradient arrives, the server is at version t+2: the gradient
has staleness 2. It is applied all the same, though it says which way was down from where the model was two steps ago.

The model is one number w with the loss ½·curvature·(w − 1)², so every gradient can be checked by hand: it is
curvature·(w − 1). The iterates are not computed here by that formula but by `replay`, and only then compared with it.

    python scenarios/staleness_by_hand.py
    python scenarios/staleness_by_hand.py --seconds-a 20 --step-size 0.2
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import common
import jax
import jax.numpy as jnp
import numpy as np
from pictures.staleness_by_hand import draw

import simsgd as sg

LETTERS = "ABC"


class Story(NamedTuple):
    """A tape with the model's iterates; gradients have one entry for each row of the tape."""

    tape: sg.Tape
    problem: sg.Problem
    iterates: np.ndarray  # w at versions 0, 1, …, shape (updates + 1,)
    used: np.ndarray  # the gradient that replay stepped with, from the difference of two iterates
    stale: np.ndarray  # the loss's gradient at the version that was read
    fresh: np.ndarray  # the loss's gradient at the version that the server had reached by then


@dataclass(frozen=True, kw_only=True)
class Flags(common.Flags):
    """Follow three workers event by event, and see what a stale gradient is."""

    seconds_a: common.Seconds = 10.0
    """how long each of worker A's jobs takes, seconds; A is the slow one"""
    seconds_b: common.Seconds = 7.0
    """how long each of worker B's jobs takes, seconds"""
    seconds_c: common.Seconds = 8.0
    """how long each of worker C's jobs takes, seconds"""
    updates: common.Count = 8
    """how many updates of the model to follow (server steps)"""
    step_size: common.Positive = 0.5
    """by how much of a gradient a step moves the model"""
    curvature: common.Positive = 1.0
    """second derivative of the loss ½·curvature·(w − 1)²"""


def staleness_by_hand(flags: Flags, saved: common.Saved) -> None:
    """Tell the story as a table and a picture."""
    seconds = flags.seconds_a, flags.seconds_b, flags.seconds_c
    jobs = sg.times.PerWorker(tuple(sg.times.Constant(each) for each in seconds))
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(workers=3, compute=jobs), until=sg.Updates(flags.updates))
    story = tell(tape, sg.problems.quadratic(spectrum=(flags.curvature,)), flags.step_size)
    row = row_of_a(tape)
    saved.text(table(story), moral(story, row, flags.step_size))
    loss = functools.partial(along, lambda parameter: story.problem.loss(parameter, story.problem.data))
    saved.figure(draw(story, row, loss), "staleness_by_hand.png")


def tell(tape: sg.Tape, problem: sg.Problem, step_size: float) -> Story:
    """Replay a tape up to each of its versions in turn, in float64."""
    optimizer = sg.optimizers.sgd(step_size)
    start = float(problem.start(0, "float64")[0])
    runs = (sg.replay(tape, problem, optimizer, sg.Updates(k), dtype="float64") for k in range(1, tape.updates + 1))
    iterates = np.array([start, *(float(run.parameters[0]) for run in runs)])
    slopes = along(lambda w: jax.grad(problem.loss)(w, problem.data)[0], iterates)
    return Story(tape, problem, iterates, -np.diff(iterates) / step_size, slopes[tape.read], slopes[tape.version])


def along(function: Callable[[jax.Array], jax.Array], points: np.ndarray) -> np.ndarray:
    """Return a function of the model's one parameter at each of some points, in float64."""
    with jax.enable_x64(True):
        return np.array(jax.vmap(function)(jnp.asarray(points)[:, None]))


def table(story: Story) -> str:
    """Return what happened, one line for each gradient that arrived."""
    tape, w = story.tape, story.iterates
    lines = [
        "               read     lands on               gradient at   gradient at   model",
        "  time   who   version  version    staleness   version read  newest        after",
        f"   0 s   all       0                                                       w0 = {signed(w[0])}",
    ]
    for row in range(len(tape)):
        read, landed = tape.read[row], tape.version[row]
        lines.append(
            f"{tape.time[row]:4g} s   {LETTERS[tape.worker[row]]}       {read:3d}      {landed:3d}         {landed - read:3d}"
            f"        {signed(story.stale[row])}       {signed(story.fresh[row])}       w{landed + 1} = {signed(w[row + 1])}"
        )
    return "\n".join(lines)


def signed(number: float) -> str:
    """Return a number with its sign and four decimals, and no minus before a zero."""
    return f"{round(number, 4) + 0.0:+.4f}"


def row_of_a(tape: sg.Tape) -> int:
    """Return the row of the first gradient that A delivered.

    Raises:
        ValueError: if A delivered none.
    """
    rows = np.flatnonzero(tape.worker == 0)
    if not len(rows):
        raise ValueError(
            f"worker A delivers nothing within updates={tape.updates} ({tape.end:g} s): give more --updates, or A less "
            "--seconds-a"
        )
    return int(rows[0])


def moral(story: Story, row: int, step_size: float) -> str:
    """Return in words what became of A's gradient, with its numbers."""
    tape, w = story.tape, story.iterates
    read, landed = int(tape.read[row]), int(tape.version[row])
    pushed = " and ".join(LETTERS[worker] for worker in tape.worker[read:landed]) or "nobody"
    stepped_with = "the stale one" if np.isclose(story.used[row], story.stale[row], rtol=1e-9, atol=1e-9) else "NEITHER"
    led_to, would = w[landed + 1], w[landed] - step_size * story.fresh[row]
    lines = [
        f"Worker A reads version {read} at {tape.assigned[row]:g} s, where w{read} = {signed(w[read])}. While it computes, "
        f"{pushed} push; so at {tape.time[row]:g} s",
        f"A's gradient lands on version {landed} = {read} + {landed - read}: its staleness is {tape.staleness[row]}.",
        f"  gradient at version {read}, which A had read          {signed(story.stale[row])}   (stale)",
        f"  gradient at version {landed}, the newest by then         {signed(story.fresh[row])}   (what a fresh one would be)",
        f"  gradient that the server stepped with           {signed(story.used[row])}   ({stepped_with}; from replay: "
        f"(w{landed} − w{landed + 1}) / {step_size:g})",
        f"  so w{landed + 1} = {signed(w[landed])} − {step_size:g}·({signed(story.used[row])}) = {signed(led_to)}; "
        f"a fresh gradient would have led to {signed(would)}. The optimum is at 1.",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    common.run(Flags, staleness_by_hand, arguments)


if __name__ == "__main__":
    main()
