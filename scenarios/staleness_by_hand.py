"""Staleness by hand: the textbook example, as a table and a picture.

Three workers share a model through a server that steps with each gradient as it arrives. Worker A is slow: it reads version
t and computes; meanwhile B and C push a gradient each. When A's gradient arrives, the server is at version t+2: the gradient
has staleness 2. It is applied all the same, though it says which way was down from where the model was two steps ago.

The model is one number w with the loss ½·curvature·(w − 1)², so every gradient can be checked by hand: it is
curvature·(w − 1). The iterates are not computed here by that formula but by `replay`, and only then compared with it.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.axes import Axes

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


def staleness_by_hand(
    seconds_a: float = 10.0,
    seconds_b: float = 7.0,
    seconds_c: float = 8.0,
    updates: int = 8,
    step_size: float = 0.5,
    curvature: float = 1.0,
    output: Path = Path("results/staleness_by_hand"),
) -> None:
    """Follow three workers event by event, and see what a stale gradient is.

    Args:
        seconds_a: how long each of worker A's jobs takes, seconds; A is the slow one.
        seconds_b: how long each of worker B's jobs takes, seconds.
        seconds_c: how long each of worker C's jobs takes, seconds.
        updates: how many updates of the model to follow (server steps).
        step_size: by how much of a gradient a step moves the model.
        curvature: second derivative of the loss ½·curvature·(w − 1)², above 0.
        output: folder for the picture and the table; made if need be.
    """
    if not curvature > 0:
        raise ValueError(f"--curvature must be above 0, got {curvature!r}")
    jobs = sg.times.PerWorker(tuple(sg.times.Constant(seconds) for seconds in (seconds_a, seconds_b, seconds_c)))
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(workers=3, compute=jobs), until=sg.Updates(updates))
    output.mkdir(parents=True, exist_ok=True)
    story = tell(tape, sg.problems.quadratic(spectrum=(curvature,)), step_size)
    text = f"{table(story)}\n\n{moral(story, step_size)}"
    print(text)
    (output / "table.txt").write_text(text + "\n", encoding="utf-8")
    picture(story).savefig(output / "staleness_by_hand.png", dpi=120)
    print(f"\nSaved the picture and this table in {output}/")


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


def moral(story: Story, step_size: float) -> str:
    """Return in words what became of A's gradient, with its numbers."""
    tape, w = story.tape, story.iterates
    row = row_of_a(tape)
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


def picture(story: Story) -> plt.Figure:
    """Draw the timeline, with A's gradient pointed out, above the loss with the two gradients as slopes."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 7), height_ratios=(1, 1.25), layout="constrained")
    draw_timeline(above, story.tape)
    draw_slopes(below, story)
    return figure


def draw_timeline(ax: Axes, tape: sg.Tape) -> None:
    """Draw who computed when, number the versions, and say of each gradient what it read and where it landed."""
    tape.plot_timeline(ax=ax)
    for drawn in ax.collections:  # few bars: thick edges between the jobs, and the words in front of the lines of update
        drawn.set(linewidth=2.5, zorder=1) if drawn.get_label() == "computing" else drawn.set_zorder(0.5)
    ax.set(yticks=range(3), ylim=(2.5, -1.0), title="")
    ax.set_yticklabels([f"worker {letter}" for letter in LETTERS])
    for version, moment in enumerate([0.0, *tape.update_times]):
        ax.text(moment, -0.58, f"v{version}", ha="center", va="bottom", fontsize=9)
    told = row_of_a(tape)
    for row in range(len(tape)):
        said = f"reads v{tape.read[row]},\nlands on v{tape.version[row]}"
        if row == told:
            said += f":\nstaleness {tape.staleness[row]}"
        elif tape.time[row] - tape.assigned[row] < 0.1 * tape.end:
            continue  # too short to hold the words
        middle, weight = (tape.assigned[row] + tape.time[row]) / 2, "bold" if row == told else "normal"
        ax.text(middle, tape.worker[row], said, ha="center", va="center", fontsize=9, color="white", weight=weight)


def draw_slopes(ax: Axes, story: Story) -> None:
    """Draw the loss, the iterates on it, and the slopes where A read and where its gradient landed."""
    tape, w = story.tape, story.iterates
    row = row_of_a(tape)
    read, landed = int(tape.read[row]), int(tape.version[row])
    loss = functools.partial(along, lambda parameter: story.problem.loss(parameter, story.problem.data))
    margin = 0.2 * (np.ptp([*w, 1.0]) or 1.0)
    wide = np.linspace(min(*w, 1.0) - margin, max(*w, 1.0) + margin, 200)
    ax.plot(wide, loss(wide), color="0.6", label="loss")
    ax.plot(w, loss(w), "o", color="black", markersize=5)
    for x in np.unique(w):
        versions = ", ".join(f"v{version}" for version in np.flatnonzero(w == x))
        ax.annotate(versions, (x, loss(np.array([x]))[0]), (0, 9), textcoords="offset points", ha="center", fontsize=9)
    tangents = (("stale: gradient at", read, story.stale[row], 1), ("fresh: gradient at", landed, story.fresh[row], 0))
    for name, version, slope, colour in tangents:
        x, reach = w[version], 0.9 * margin
        line = loss(w[[version]])[0] + slope * np.array([-reach, reach])
        ax.plot(
            [x - reach, x + reach], line, linewidth=2.5, color=sg.plots.LINES[colour], label=f"{name} v{version}: {slope:+.3f}"
        )
    ax.set(xlabel="w, the model's one parameter", ylabel="loss ½·curvature·(w − 1)²")
    ax.legend(loc="upper right")


def main() -> None:
    """Run from the command line."""
    try:
        tyro.cli(staleness_by_hand)
    except (ValueError, TypeError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
