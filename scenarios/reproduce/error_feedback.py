"""Error feedback fixes signSGD (Karimireddy, Rebjock, Stich and Jaggi 2019).

First the counterexamples, by one worker. On a line, f(x) = x/4, a gradient is 4 with probability ¼ and else −1: it falls on
average, and its sign rises. In a least-squares problem of two samples with the signs of (1, −1) and (−1, 1), signs can only
move the model along (1, −1), and the optimum lies across. Then the digits: SGD with momentum, signSGD, signSGD with momentum
(Signum) and EF-signSGD, each at the step size that ends with the least test loss, as many steps for all.

    python scenarios/reproduce/error_feedback.py
    python scenarios/reproduce/error_feedback.py --seeds 10 --batch-size 32 --folder kept
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import claims
import common
import drawing
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from ends import Ends
from matplotlib.figure import Figure
from measuring import table

import simsgd as sg

PAPER = (
    'Karimireddy, Rebjock, Stich and Jaggi (2019), "Error feedback fixes signSGD and other gradient compression schemes", ICML'
)
RISES = claims.Claim(
    "On a line whose gradients are mostly small and seldom large, signSGD goes up.",
    "abstract; section 3, counterexample 1 (from memory)",
    "how far x went, in steps of the step size, over the number of steps; computed: 1/2",
    above=0.0,
)
FALLS = claims.Claim(
    "With error feedback it goes down.",
    "abstract; section 4 (from memory)",
    "the same for EF-signSGD; computed: −1/4, that of the gradient",
    below=0.0,
)
STUCK = claims.Claim(
    "Where all gradients have the same signs but for a factor, signSGD does not converge.",
    "abstract; section 3, counterexample 3 (from memory)",
    "loss at the end over loss at the start, signSGD",
    above=0.9,
)
MENDED = claims.Claim(
    "With error feedback it does.",
    "abstract; section 4 (from memory)",
    "loss at the end over loss at the start, EF-signSGD",
    below=0.01,
)
ON_PAR = claims.Claim(
    "EF-signSGD generalizes as SGD does.",
    "section 6 and table 2 (from memory)",
    "test accuracy, EF-signSGD minus SGD with momentum; a point of a percent is on par",
    above=-0.01,
)
WORSE = claims.Claim(
    "signSGD generalizes worse.",
    "abstract; section 6 and table 2 (from memory)",
    "test accuracy, signSGD minus EF-signSGD",
    below=0.0,
)
WORSE_WITH_MOMENTUM = claims.Claim(
    "So does signSGD with momentum.",
    "section 6 and table 2 (from memory)",
    "test accuracy, Signum minus EF-signSGD",
    below=0.0,
)
SGD, SIGN, SIGNUM, FEEDBACK = "SGD with momentum", "signSGD", "Signum", "EF-signSGD"
COLOURS = {SGD: "black", SIGN: "#D55E00", SIGNUM: "#E69F00", FEEDBACK: "#0072B2"}


@dataclass(frozen=True, kw_only=True)
class Flags(claims.Tuned):
    """The counterexamples to signSGD, and the digits."""

    QUICK: ClassVar = {"seeds": 2, "tuning_seeds": 1, "updates": 30, "steps": 200, "step_sizes": (0.01,)}

    batch_size: common.Count = 8
    """samples of a batch of the digits"""
    updates: common.Count = 1500
    """steps that each method makes on the digits"""
    step_sizes: tuple[common.Positive, ...] = (0.001, 0.004, 0.016, 0.064)
    """step sizes to begin with, on the digits"""
    steps: common.Count = 4000
    """steps on the counterexamples"""
    step_size: common.Positive = 0.001
    """step size on the counterexamples; 30 times as large for EF-signSGD's least squares, which stops by itself"""


# --- the counterexamples -------------------------------------------------------------------------------------------------


def _zero(key: jax.Array) -> jax.Array:
    return jnp.zeros(())


def _ones(key: jax.Array) -> jax.Array:
    return jnp.ones(2)


def _slope(parameters: jax.Array, batch: jax.Array) -> jax.Array:
    return parameters * jnp.mean(batch)


def _squares(parameters: jax.Array, batch: jax.Array) -> jax.Array:
    return jnp.mean((batch @ parameters) ** 2)


def line() -> sg.Problem:
    """Return f(x) = x/4, whose gradient is 4 on one sample of four and −1 on the others; x begins at 0."""
    return sg.Problem("a line", _zero, _slope, np.array([4.0, -1.0, -1.0, -1.0]), batch_size=1)


def squares() -> sg.Problem:
    """Return the mean of ⟨a, x⟩² over two samples whose signs are opposite; x begins at (1, 1), the optimum is 0."""
    return sg.Problem("least squares", _ones, _squares, np.array([[0.6, -0.4], [-0.4, 0.6]]), batch_size=1)


def losses(flags: Flags, problem: sg.Problem, method: sg.Method) -> np.ndarray:
    """Return the loss in the course of the steps, (seeds, evaluations)."""
    cluster, every = sg.Cluster(1, sg.times.Constant(1.0)), sg.Updates(max(1, flags.steps // 100))

    def one(seed: int) -> np.ndarray:
        run = sg.simulate(method, problem, cluster, until=sg.Updates(flags.steps), seed=seed, evaluate_every=every)
        return np.asarray(run.dataset["loss"].values)

    return np.stack([one(seed) for seed in flags.all_seeds])


def counterexamples(flags: Flags) -> dict[tuple[str, str], np.ndarray]:
    """Return the losses by problem and method."""
    sign, feedback = sg.methods.sign_sgd, sg.methods.error_feedback_sign
    return {
        ("line", SIGN): losses(flags, line(), sign(flags.step_size)),
        ("line", FEEDBACK): losses(flags, line(), feedback(flags.step_size)),
        ("squares", SIGN): losses(flags, squares(), sign(flags.step_size)),
        ("squares", FEEDBACK): losses(flags, squares(), feedback(30 * flags.step_size)),
    }


def judge_counterexamples(flags: Flags, found: dict[tuple[str, str], np.ndarray]) -> list[claims.Judged]:
    """Return the verdicts; on the line the loss is x/4."""
    rates = {name: 4 * found["line", name][:, -1] / (flags.step_size * flags.steps) for name in (SIGN, FEEDBACK)}
    ratios = {name: found["squares", name][:, -1] / found["squares", name][:, 0] for name in (SIGN, FEEDBACK)}
    return [
        RISES.judged(claims.mean_of(rates[SIGN])),
        FALLS.judged(claims.mean_of(rates[FEEDBACK])),
        STUCK.judged(claims.mean_of(ratios[SIGN])),
        MENDED.judged(claims.mean_of(ratios[FEEDBACK])),
    ]


# --- the digits ----------------------------------------------------------------------------------------------------------


def with_momentum(step_size: float) -> sg.Method:
    """Return SGD with momentum 0.9."""
    return sg.Method(sg.MinibatchSGD(), sg.optimizers.sgd(step_size, momentum=0.9))


METHODS: dict[str, Callable[[float], sg.Method]] = {
    SGD: with_momentum,
    SIGN: sg.methods.sign_sgd,
    SIGNUM: sg.methods.signum,
    FEEDBACK: sg.methods.error_feedback_sign,
}


def digits(flags: Flags) -> Ends:
    """Return the runs of all methods, at the step sizes that end with the least test loss."""
    problem, cluster = sg.problems.digits(batch_size=flags.batch_size), sg.Cluster(1, sg.times.Constant(1.0))
    until, every = sg.Updates(flags.updates), sg.Updates(max(1, flags.updates // 40))
    make = functools.partial(sg.Cell, problem=problem, cluster=cluster, until=until, evaluate_every=every)
    return Ends(flags, METHODS, make, flags.step_sizes, "test_loss", greatest=False)


def judge_digits(found: Ends) -> list[claims.Judged]:
    """Return the verdicts on accuracies."""
    pairs = ((ON_PAR, FEEDBACK, SGD), (WORSE, SIGN, FEEDBACK), (WORSE_WITH_MOMENTUM, SIGNUM, FEEDBACK))
    return found.judged(pairs, "accuracy")


def tell(flags: Flags, found: Ends) -> str:
    """Return step sizes and ends as a table."""
    rows = [
        [name, f"{found.step_sizes[name]:.3g}", *(f"{found.of(name, end).mean():.4f}" for end in ("accuracy", "test_loss"))]
        for name in found.methods
    ]
    heads = table(["method", "step size", "test\naccuracy", "test\nloss"], rows)
    return f"The digits after {flags.updates} steps of {flags.batch_size} samples, means over the seeds:\n{heads}"


# --- the figure, and all together ----------------------------------------------------------------------------------------


def draw(flags: Flags, examples: dict[tuple[str, str], np.ndarray], found: Ends) -> Figure:
    """Draw the counterexamples, and where the digits ended."""
    figure, (a, b, c) = plt.subplots(1, 3, figsize=(16, 4.8), layout="constrained")
    for (problem, name), values in examples.items():
        ax, scaled = (a, 4 * values) if problem == "line" else (b, values)
        steps = np.linspace(0, flags.steps, values.shape[1])
        ax.plot(steps, scaled.T, color=COLOURS[name], alpha=0.25)
        ax.plot(steps, scaled.mean(axis=0), color=COLOURS[name], linewidth=2.5, label=name)
    a.set(xlabel="steps", ylabel="x, to be made small", title="(a) a line: signs go up")
    b.set(xlabel="steps", ylabel="loss", yscale="log", title="(b) least squares: signs never reach the optimum")
    drawing.rows(c, {name: found.of(name, "accuracy") for name in METHODS}, COLOURS)
    c.xaxis.set_major_formatter("{x:.1%}")
    c.set(xlabel="test accuracy at the end", title=f"(c) digits, {flags.updates} steps; each seed, bars: means")
    for ax in (a, b):
        ax.legend(frameon=False)
    for ax in (a, b, c):
        ax.grid(alpha=0.25)
    return figure


def error_feedback(flags: Flags, saved: common.Saved) -> None:
    """Measure, judge, draw and save."""
    examples, found = counterexamples(flags), digits(flags)
    saved.figure(draw(flags, examples, found), "error_feedback.png")
    claims.report(saved, PAPER, [*judge_counterexamples(flags, examples), *judge_digits(found)], tell(flags, found))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    claims.run(Flags, error_feedback, arguments)


if __name__ == "__main__":
    main()
