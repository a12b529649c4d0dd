"""The timeline, with A's gradient pointed out, above the loss with the two gradients as slopes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import simsgd as sg


def draw(story: Any, told: int, loss: Callable[[np.ndarray], np.ndarray]) -> Figure:
    """Draw the timeline, with A's gradient pointed out, above the loss with the two gradients as slopes."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 7), height_ratios=(1, 1.25), layout="constrained")
    draw_timeline(above, story.tape, told)
    draw_slopes(below, story, told, loss)
    return figure


def draw_timeline(ax: Axes, tape: sg.Tape, told: int) -> None:
    """Draw who computed when, number the versions, and say of each gradient what it read and where it landed."""
    tape.plot_timeline(ax=ax)
    for drawn in ax.collections:  # few bars: thick edges between the jobs, and the words in front of the lines of update
        drawn.set(linewidth=2.5, zorder=1) if drawn.get_label() == "computing" else drawn.set_zorder(0.5)
    ax.set(yticks=range(3), ylim=(2.5, -1.0), title="")
    ax.set_yticklabels([f"worker {letter}" for letter in "ABC"])
    for version, moment in enumerate([0.0, *tape.update_times]):
        ax.text(moment, -0.58, f"v{version}", ha="center", va="bottom", fontsize=9)
    for row in range(len(tape)):
        said = f"reads v{tape.read[row]},\nlands on v{tape.version[row]}"
        if row == told:
            said += f":\nstaleness {tape.staleness[row]}"
        elif tape.time[row] - tape.assigned[row] < 0.1 * tape.end:
            continue  # too short to hold the words
        middle, weight = (tape.assigned[row] + tape.time[row]) / 2, "bold" if row == told else "normal"
        ax.text(middle, tape.worker[row], said, ha="center", va="center", fontsize=9, color="white", weight=weight)


def draw_slopes(ax: Axes, story: Any, row: int, loss: Callable[[np.ndarray], np.ndarray]) -> None:
    """Draw the loss, the iterates on it, and the slopes where A read and where its gradient landed."""
    tape, w = story.tape, story.iterates
    read, landed = int(tape.read[row]), int(tape.version[row])
    margin = 0.2 * (np.ptp([*w, 1.0]) or 1.0)
    wide = np.linspace(min(*w, 1.0) - margin, max(*w, 1.0) + margin, 200)
    ax.plot(wide, loss(wide), color="0.6", label="loss")
    ax.plot(w, loss(w), "o", color="black", markersize=5)
    for x in np.unique(w):
        versions = ", ".join(f"v{version}" for version in np.flatnonzero(w == x))
        ax.annotate(versions, (x, loss(np.array([x]))[0]), (0, 9), textcoords="offset points", ha="center", fontsize=9)
    tangents = (("stale: gradient at", read, story.stale[row], 1), ("fresh: gradient at", landed, story.fresh[row], 2))
    for name, version, slope, colour in tangents:
        x, reach = w[version], 0.9 * margin
        line = loss(w[[version]])[0] + slope * np.array([-reach, reach])
        ax.plot(
            [x - reach, x + reach], line, linewidth=2.5, color=sg.plots.LINES[colour], label=f"{name} v{version}: {slope:+.3f}"
        )
    ax.set(xlabel="w, the model's one parameter", ylabel="loss ½·curvature·(w − 1)²")
    ax.legend(loc="upper right")
