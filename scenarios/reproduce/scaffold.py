"""SCAFFOLD against FedAvg: how far local steps drift where workers' data differ (Karimireddy et al. 2020).

First four quadratics without noise: where rounds of H local steps end, to the digit. Then logistic regression on the digits,
dealt out as in the paper: a share of the samples, the similarity, at random, the others by label. Rounds to a test accuracy,
all clients in each round, each method at its own step size. All shares are equally large, as FedAvg here counts all clients
the same. SGD makes one step in a round, with as many samples as the others' H steps have.

    python scenarios/reproduce/scaffold.py
    python scenarios/reproduce/scaffold.py --similarities 0 0.25 1 --local-steps 2 10 50
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import claims
import common
import matplotlib.pyplot as plt
import numpy as np
import rounds
from drawing import crosses, logarithmic
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from measuring import spread, table

import simsgd as sg

PAPER = 'Karimireddy et al. (2020), "SCAFFOLD: stochastic controlled averaging for federated learning", ICML'
MOVES = claims.Claim(
    "Where data differ, FedAvg ends away from the optimum, the further the more local steps it makes.",
    "section 3.2, theorem II, and section 7.2, figure 3",
    "distance to the optimum after many rounds on quadratics, largest H over H = 2",
    above=1.0,
)
STAYS = claims.Claim(
    "SCAFFOLD ends at the optimum whatever the data and however many the local steps.",
    "section 5, theorem III",
    "greatest distance to the optimum over all H, over that of FedAvg at H = 2",
    below=0.001,
)
SLOWER = claims.Claim(
    "FedAvg slows down as data become less alike.",
    "section 7.3, table 3",
    "rounds of FedAvg to the target, least similarity over full similarity",
    above=1.0,
)
FASTER = claims.Claim(
    "SCAFFOLD is faster than FedAvg where data differ.",
    "section 7.3, table 3",
    "rounds to the target at the least similarity, SCAFFOLD over FedAvg",
    below=1.0,
)
BEATS_SGD = claims.Claim(
    "SCAFFOLD is faster than SGD, which takes no local steps, even where data have nothing in common.",
    "section 7.3, table 3",
    "rounds to the target at the least similarity, SCAFFOLD over SGD with as many samples",
    below=1.0,
)
HURT = claims.Claim(
    "Where data have nothing in common, more local steps make FedAvg need more rounds.",
    "section 7.3, table 3",
    "rounds of FedAvg to the target at the least similarity, most local steps over fewest",
    above=1.0,
)
HURT_TOO = claims.Claim(
    "There more local steps make SCAFFOLD need more rounds, too, until it levels off.",
    "section 7.3, table 3",
    "rounds of SCAFFOLD to the target at the least similarity, most local steps over fewest",
    above=1.0,
)
NO_REMEDY = claims.Claim(
    "FedProx, which holds clients near the model, is no remedy: it is at best about as fast as FedAvg.",
    "section 7.3, table 3",
    "rounds to the target at the least similarity, FedProx (μ = 1) over FedAvg",
    above=0.9,
)


@dataclass(frozen=True, kw_only=True)
class Flags(claims.Tuned):
    """Where local steps end on quadratics, and rounds to an accuracy against the similarity of the clients' data."""

    QUICK: ClassVar = {
        "seeds": 2,
        "tuning_seeds": 1,
        "similarities": (0.0, 1.0),
        "local_steps": (2, 4),
        "quadratic_steps": (2, 16),
        "rounds": 20,
        "step_sizes": (0.2,),
        "target_accuracy": 0.6,
    }

    clients: common.Count = 10
    """how many clients; all take part in each round"""
    similarities: tuple[common.Share, ...] = (0.0, 0.1, 1.0)
    """shares of the samples that are dealt out at random"""
    local_steps: tuple[common.Count, ...] = (5, 10, 20)
    """the H to be tried at the least similarity; the middle one is that of all similarities"""
    quadratic_steps: tuple[common.Count, ...] = (1, 2, 4, 16, 64)
    """the H on quadratics"""
    batch_size: common.Count = 16
    """samples of a local step"""
    target_accuracy: common.Accuracy = 0.9
    """share of the test samples to be classified rightly"""
    rounds: common.Count = 300
    """when to give up on the target"""
    step_sizes: tuple[common.Positive, ...] = (0.02, 0.08, 0.32, 1.28)
    """step sizes to begin with, for each method"""

    def check(self) -> None:
        """Ask for what the claims are about."""
        if 2 not in self.quadratic_steps or len(self.local_steps) < 2 or len(self.similarities) < 2:
            raise ValueError("--quadratic-steps must hold 2, and --local-steps and --similarities two numbers each")

    @property
    def middle(self) -> int:
        """The H of all similarities."""
        return self.local_steps[len(self.local_steps) // 2]


# --- quadratics ----------------------------------------------------------------------------------------------------------

OPTIMA, CURVATURES = np.array([-1.0, 0.0, 1.0, 4.0]), np.array([1.0, 0.3, 2.0, 0.1])
STEP_SIZE, ROUNDS = 0.1, 1500


def distances(steps: Sequence[int]) -> dict[str, list[float]]:
    """Return how far from the optimum each method is after many rounds, for each H; and where FedAvg must end."""
    problem, cluster = sg.problems.quadratics(OPTIMA, CURVATURES), sg.Cluster(len(OPTIMA), sg.times.Constant(1.0))
    found: dict[str, list[float]] = {"FedAvg": [], "SCAFFOLD": [], "FedAvg, closed form": [fixed_point(h) for h in steps]}
    for each in steps:
        for name, method in (("FedAvg", sg.methods.local_sgd), ("SCAFFOLD", sg.methods.scaffold)):
            made = rounds.of(method(STEP_SIZE, steps=1), each)
            run = sg.simulate(made, problem, cluster, until=sg.Updates(ROUNDS), dtype="float64")
            found[name].append(run.final("distance"))
    return found


def fixed_point(steps: int) -> float:
    """Return how far from the optimum FedAvg's fixed point is: where Σᵢ (1 − (1 − ηhᵢ)^H)(w − xᵢ) = 0."""
    weights = 1 - (1 - STEP_SIZE * CURVATURES) ** steps
    optimum = sg.problems.weighted_optimum(OPTIMA, CURVATURES)[0]
    return float(abs(weights @ OPTIMA / weights.sum() - optimum))


# --- rounds to an accuracy -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Similar(sg.problems.Division):
    """A share of the samples dealt out at random, the others sorted by label and cut into equal parts."""

    similarity: float

    def divide(self, data: Any, samples: int, workers: int) -> Sequence[Any]:
        """As in `Division`."""
        (order,) = sg.problems.EqualShares().divide(data, samples, 1)
        alike, others = np.split(order, [round(self.similarity * samples)])
        others = others[np.argsort(data["label"][others], kind="stable")]
        parts = zip(np.array_split(alike, workers), np.array_split(others, workers)[::-1], strict=True)
        return [np.concatenate(part) for part in parts]


METHODS = {
    "FedAvg": functools.partial(sg.methods.local_sgd, steps=1),
    "SCAFFOLD": functools.partial(sg.methods.scaffold, steps=1),
    "FedProx": functools.partial(sg.methods.fedprox, clients=1, steps=1, strength=1.0),
}
"""Functions of the step size; how many clients and steps make a round is said afterwards."""


def in_rounds(name: str, steps: int, step_size: float) -> sg.Method:
    """Return a method in which all clients make so many steps in each round."""
    return rounds.of(METHODS[name](step_size), steps)


def rounds_to_target(flags: Flags) -> dict[tuple[str, int, float], np.ndarray]:
    """Return rounds to the target by method, H and similarity; NaN for never, shape (seeds,)."""
    least, found = flags.similarities[0], {}
    for steps in flags.local_steps:
        methods = {name: functools.partial(in_rounds, name, steps) for name in METHODS}
        if steps != flags.middle:
            methods.pop("FedProx")
        similarities = flags.similarities if steps == flags.middle else (least,)
        arrived = compared(flags, methods, similarities, flags.batch_size, steps)
        found |= {(name, steps, similarity): values for (name, similarity), values in arrived.items()}
    plain = compared(flags, {"SGD": sg.methods.minibatch}, flags.similarities, flags.batch_size * flags.middle, 1)
    return found | {("SGD", 1, similarity): values for (_, similarity), values in plain.items()}


def compared(
    flags: Flags, methods: Mapping[str, Any], similarities: Sequence[float], batch_size: int, steps: int
) -> dict[tuple[str, float], np.ndarray]:
    """Return rounds to the target by method and similarity; a round of so many steps takes a second."""
    problem = sg.problems.digits("logistic", batch_size=batch_size)
    problems = {f"{share:g}": problem.partitioned(flags.clients, by=Similar(share)) for share in similarities}
    cluster = sg.Cluster(flags.clients, sg.times.Constant(1 / steps))
    within = sg.Seconds(flags.rounds + 0.5)
    until = sg.Target("accuracy", at_least=flags.target_accuracy, within=within, kept=sg.Updates(3))
    options = {"until": until, "evaluate_every": sg.Updates(1), "step_sizes": flags.step_sizes}
    data = flags.compare(methods, problems, cluster, **options).dataset.updates_to_target
    return {
        (name, share): data.sel({"method": name, "problem": f"{share:g}"}).values for name in methods for share in similarities
    }


def judge(flags: Flags, ends: dict[str, list[float]], found: dict[tuple[str, int, float], np.ndarray]) -> list[claims.Judged]:
    """Return the verdicts."""
    least, alike = flags.similarities[0], flags.similarities[-1]
    few, middle, many = flags.local_steps[0], flags.middle, flags.local_steps[-1]

    def ratio(one: tuple[str, int, float], other: tuple[str, int, float]) -> claims.Measured:
        return claims.ratio_of(found[one], found[other], horizon=flags.rounds)

    two = flags.quadratic_steps.index(2)
    return [
        MOVES.judged(claims.exactly(ends["FedAvg"][-1] / ends["FedAvg"][two], "×")),
        STAYS.judged(claims.exactly(max(ends["SCAFFOLD"]) / ends["FedAvg"][two], "×")),
        SLOWER.judged(ratio(("FedAvg", middle, least), ("FedAvg", middle, alike))),
        FASTER.judged(ratio(("SCAFFOLD", middle, least), ("FedAvg", middle, least))),
        BEATS_SGD.judged(ratio(("SCAFFOLD", middle, least), ("SGD", 1, least))),
        HURT.judged(ratio(("FedAvg", many, least), ("FedAvg", few, least))),
        HURT_TOO.judged(ratio(("SCAFFOLD", many, least), ("SCAFFOLD", few, least))),
        NO_REMEDY.judged(ratio(("FedProx", middle, least), ("FedAvg", middle, least))),
    ]


# --- telling and drawing -------------------------------------------------------------------------------------------------

COLOURS = {"FedAvg": "#D55E00", "SCAFFOLD": "#0072B2", "FedProx": "#009E73", "SGD": "#555555"}


def tell(flags: Flags, ends: dict[str, list[float]], found: dict[tuple[str, int, float], np.ndarray]) -> tuple[str, str]:
    """Return the distances and the rounds as tables."""
    rows = [[name, *(f"{value:.3g}" for value in values)] for name, values in ends.items()]
    heads = [f"H = {steps}" for steps in flags.quadratic_steps]
    told = [[name, str(steps), f"{share:g}", spread(np.nan_to_num(v, nan=np.inf))] for (name, steps, share), v in found.items()]
    return (
        f"Distance to the optimum on quadratics after {ROUNDS} rounds:\n{table(['', *heads], rows)}",
        f"Rounds to the target, median and range:\n{table(['method', 'H', 'similarity', 'rounds'], told)}",
    )


def draw(flags: Flags, ends: dict[str, list[float]], found: dict[tuple[str, int, float], np.ndarray]) -> Figure:
    """Draw distances against H, rounds against similarity, and rounds against H."""
    figure, (a, b, c) = plt.subplots(1, 3, figsize=(16, 5), layout="constrained")
    for name in ("FedAvg", "SCAFFOLD"):
        a.plot(flags.quadratic_steps, np.maximum(ends[name], 1e-16), "o-", color=COLOURS[name], label=name)
    a.plot(flags.quadratic_steps, np.maximum(ends["FedAvg, closed form"], 1e-16), "k:", label="FedAvg, closed form")
    a.set(xlabel="local steps H", ylabel="distance to the optimum", title="(a) quadratics: where rounds end", yscale="log")
    logarithmic(a.xaxis, (1,), base=2)
    for name, steps in (("FedAvg", flags.middle), ("SCAFFOLD", flags.middle), ("FedProx", flags.middle), ("SGD", 1)):
        line(b, range(len(flags.similarities)), [found[name, steps, share] for share in flags.similarities], name)
    b.set_xticks(range(len(flags.similarities)), [f"{share:.0%}" for share in flags.similarities])
    b.set(xlabel="similarity of the clients' data", title=f"(b) digits, H = {flags.middle}")
    least = flags.similarities[0]
    for name in ("FedAvg", "SCAFFOLD"):
        line(c, flags.local_steps, [found[name, steps, least] for steps in flags.local_steps], name)
    c.set_xticks(flags.local_steps)
    c.set(xlabel="local steps H", title=f"(c) digits, similarity {least:.0%}")
    for ax in (b, c):
        ax.set(ylabel=f"rounds to test accuracy ≥ {flags.target_accuracy:g}")
        logarithmic(ax.yaxis, (1, 2, 5))
    for ax in (a, b, c):
        ax.grid(alpha=0.25)
        ax.legend(frameon=False, fontsize=9)
    figure.suptitle(f"{flags.clients} clients; in (b) and (c) each method at its own step size, medians; × at the top: never")
    return figure


def line(ax: Axes, x: Sequence[float], values: Sequence[np.ndarray], name: str) -> None:
    """Draw medians over the seeds; what never arrived counts as infinite."""
    middle = np.median(np.nan_to_num(np.array(values), nan=np.inf), axis=1)
    ax.plot(x, np.where(np.isfinite(middle), middle, np.nan), "o-", color=COLOURS[name], label=name)
    crosses(ax, np.array(x)[np.isinf(middle)], COLOURS[name])


def scaffold(flags: Flags, saved: common.Saved) -> None:
    """Measure, judge, draw and save."""
    ends, found = distances(flags.quadratic_steps), rounds_to_target(flags)
    saved.figure(draw(flags, ends, found), "scaffold.png")
    claims.report(saved, PAPER, judge(flags, ends, found), *tell(flags, ends, found))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    claims.run(Flags, scaffold, arguments)


if __name__ == "__main__":
    main()
