"""Asynchronous local SGD: momentum at the server breaks, delayed Nesterov momentum mends it (Liu et al. 2024).

The paper's toy: four workers that need 0.58, 0.75, 1.51 and 3.33 s for a local step, H = 20 steps to a message; here they learn
the digits by an MLP, dealt out alike or by label. Synchronous and asynchronous, plain, with Nesterov momentum at the server,
with delayed Nesterov momentum, and with that and dynamic local updates. Each method has its own step size of the local steps,
tuned, and the better of two outer ones: the paper's, and a quarter of it, by which four single messages weigh as much as their
mean. All are compared by the local steps to a target, of all workers together, and by the seconds.

    python scenarios/reproduce/async_local_sgd.py
    python scenarios/reproduce/async_local_sgd.py --seeds 10 --folder kept
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import claims
import common
import matplotlib.pyplot as plt
import numpy as np
from drawing import legend_beside, logarithmic
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from measuring import table

import simsgd as sg

PAPER = 'Liu et al. (2024), "Asynchronous local-SGD training for language modeling", arXiv:2401.09135'
SECONDS = (0.58, 0.75, 1.51, 3.33)
"""Of a local step, on each worker."""
SYNC, ASYNC, DELAYED, DYNAMIC = "synchronous, Nesterov", "asynchronous, Nesterov", "delayed Nesterov", "delayed Nesterov, DyLU"
PLAIN_SYNC, PLAIN = "synchronous, plain", "asynchronous, plain"
Data = Literal["alike", "by label"]
COLOURS = {PLAIN_SYNC: "#56B4E9", SYNC: "#0072B2", PLAIN: "#E69F00", ASYNC: "#D55E00", DELAYED: "#CC79A7", DYNAMIC: "#009E73"}
"""Of the methods, in the order of the figure."""

MORE = claims.Claim(
    "Asynchronous local SGD takes more local steps than synchronous, although it updates the model more often.",
    "abstract, figure 2",
    "local steps to the target, asynchronous over synchronous, both with Nesterov momentum",
    above=1.0,
)
MOMENTUM = claims.Claim(
    "Momentum at the server is what asynchrony breaks: with it the gap to synchronous is larger than without.",
    "abstract; section 4, figure 6",
    "the same ratio, over that of the plain methods",
    above=1.0,
)
STILL_BEST = claims.Claim(
    "Even with stale messages Nesterov momentum does a little better than none.",
    "section 4, figure 5",
    "local steps to the target, asynchronous with Nesterov momentum over asynchronous plain",
    below=1.0,
)
MENDS = claims.Claim(
    "Delayed Nesterov momentum mends it.",
    "section 5, algorithm 3",
    "local steps to the target, delayed over usual Nesterov momentum",
    below=1.0,
)
HELPS = claims.Claim(
    "Dynamic local updates help it further.",
    "section 5",
    "local steps to the target, delayed Nesterov momentum with over without dynamic local updates",
    below=1.0,
)
MATCHES = claims.Claim(
    "With both, asynchronous local SGD matches synchronous by updates of the local models.",
    "abstract; section 7, tables 1 to 3",
    "local steps to the target, delayed Nesterov with DyLU over synchronous Nesterov; a tenth more still matches",
    below=1.1,
)
FASTER = claims.Claim(
    "With both it is much faster than synchronous.",
    "abstract",
    "seconds to the target, delayed Nesterov with DyLU over synchronous Nesterov",
    below=1.0,
)


@dataclass(frozen=True, kw_only=True)
class Flags(claims.Tuned):
    """Local steps and seconds to a target of synchronous and asynchronous local SGD, plain and with momentum at the server."""

    QUICK: ClassVar = {
        "seeds": 2,
        "tuning_seeds": 1,
        "local_steps": 2,
        "within": 30.0,
        "evaluate_every": 5.0,
        "target_accuracy": 0.3,
        "step_sizes": (0.1,),
        "outer": (1.0,),
        "data": ("alike",),
    }

    local_steps: common.Count = 20
    """H"""
    batch_size: common.Count = 16
    """samples in a local step's batch"""
    hidden: common.Count = 32
    """hidden units of the MLP"""
    skew: common.Positive = 0.3
    """Dirichlet's α where workers have other labels"""
    target_accuracy: common.Accuracy = 0.95
    """share of the test samples to be classified rightly, for as long as a synchronous round"""
    within: common.Seconds = 3000.0
    """when to give up on the target (simulated seconds)"""
    evaluate_every: common.Seconds = 10.0
    """how far apart to evaluate the model (simulated seconds)"""
    step_sizes: tuple[common.Positive, ...] = (0.003, 0.012, 0.05, 0.2, 0.8)
    """step sizes of the local steps to begin with, for each method"""
    outer: tuple[common.Positive, ...] = (0.25, 1.0)
    """outer step sizes to be tried, as shares of the paper's: 0.7 with momentum, 1 without"""
    data: tuple[Data, ...] = ("alike", "by label")
    """how the data are dealt out to the workers: alike, or other labels to each"""

    @property
    def problems(self) -> dict[str, sg.Problem]:
        """The digits, dealt out in two ways."""
        digits = sg.problems.digits(hidden=self.hidden, batch_size=self.batch_size)
        skewed = digits.partitioned(len(SECONDS), by=sg.problems.LabelSkew(self.skew))
        dealt_out = {"alike": digits.partitioned(len(SECONDS)), "by label": skewed}
        return {way: dealt_out[way] for way in self.data}

    @property
    def until(self) -> sg.Target:
        """The target."""
        kept = min(self.local_steps * SECONDS[-1], self.within)
        return sg.Target("accuracy", at_least=self.target_accuracy, within=sg.Seconds(self.within), kept=sg.Seconds(kept))


# --- methods -------------------------------------------------------------------------------------------------------------


def synchronous(step_size: float, steps: int, outer: float, momentum: float) -> sg.Method:
    """Return rounds of local steps with Nesterov momentum at the server, or, with momentum 0, none."""
    work, inner = sg.works.LocalSteps(steps=steps), sg.optimizers.sgd(step_size)
    return sg.Method(sg.MinibatchSGD(), sg.optimizers.nesterov(outer, momentum), work=work, inner=inner)


def made(flags: Flags) -> dict[str, dict[float, Callable[[float], sg.Method]]]:
    """Return the methods by name and outer step size, as functions of the step size."""
    asynchronous, many = sg.methods.async_local_sgd_nesterov, {"messages": len(SECONDS)}
    makers = {
        PLAIN_SYNC: (1.0, functools.partial(_call, synchronous, momentum=0.0)),
        SYNC: (0.7, functools.partial(_call, synchronous, momentum=0.9)),
        PLAIN: (1.0, functools.partial(_call, asynchronous, momentum=0.0)),
        ASYNC: (0.7, functools.partial(_call, asynchronous, momentum=0.9)),
        DELAYED: (0.7, functools.partial(_call, sg.methods.async_local_sgd_delayed_nesterov, **many)),
        DYNAMIC: (0.7, functools.partial(_call, sg.methods.async_local_sgd_dynamic, **many)),
    }
    return {
        name: {usual * share: functools.partial(make, steps=flags.local_steps, outer=usual * share) for share in flags.outer}
        for name, (usual, make) in makers.items()
    }


def _call(make: Callable[..., sg.Method], step_size: float, *, steps: int, outer: float, **others: float) -> sg.Method:
    """Return a method; presets and `synchronous` name the outer step size differently."""
    name = "outer" if make is synchronous else "outer_step_size"
    return make(step_size, steps=steps, **{name: outer}, **others)


# --- what is measured ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """How a method went on one problem with one outer step size.

    Attributes:
        outer: the outer step size.
        step_size: the best for it.
        score: of its tuning runs, the least is best.
        arrived: by seed, whether the target was reached.
        seconds, steps: by seed, to the target, or to the end of a run that never arrived; local steps of all workers.
        curve: of the first seed, (simulated seconds, accuracy).
    """

    outer: float
    step_size: float
    score: tuple[float, float]
    arrived: np.ndarray
    seconds: np.ndarray
    steps: np.ndarray
    curve: tuple[np.ndarray, np.ndarray]


type Ways = dict[str, dict[str, Way]]
"""By problem, then by method: with the better outer step size, or with one that is the same for several."""
type All = dict[str, dict[str, list[Way]]]
"""The same with all outer step sizes."""


def measure(flags: Flags) -> All:
    """Tune and run all methods."""
    every = made(flags)
    entrants = {f"{name}, ε = {outer:g}": make for name, outers in every.items() for outer, make in outers.items()}
    cluster = sg.Cluster(len(SECONDS), sg.times.PerWorker([sg.times.Constant(each) for each in SECONDS]))
    options = {"evaluate_every": sg.Seconds(flags.evaluate_every), "step_sizes": flags.step_sizes}
    found = flags.compare(entrants, flags.problems, cluster, until=flags.until, **options)
    return {
        problem: {
            name: [way(flags, found, problem, f"{name}, ε = {outer:g}", outer) for outer in outers]
            for name, outers in every.items()
        }
        for problem in flags.problems
    }


def way(flags: Flags, found: sg.studies.Comparison, problem: str, label: str, outer: float) -> Way:
    """Return how one of those compared went."""
    choice = found.tuned.choices[label, (problem,)]
    own = found.dataset.sel({"method": label, "problem": problem})
    samples = own.samples_to_target.fillna(own.samples.max("evaluation")).values
    first = own.isel(seed=0)
    return Way(
        outer,
        float(own.step_size),
        choice.tried.get(choice.step_size, (0.0, 0.0)),
        own.seconds_to_target.notnull().values,
        own.seconds_to_target.fillna(flags.within).values,
        samples / flags.batch_size,
        (first.time.values, first.accuracy.values),
    )


def best(every: All) -> Ways:
    """Return each method with the outer step size that did better on the tuning seeds."""
    return {
        problem: {name: min(ways, key=lambda way: way.score) for name, ways in all_.items()} for problem, all_ in every.items()
    }


def ratio(ways: Mapping[str, Way], one: str, other: str, what: str = "steps") -> np.ndarray:
    """Return ratios of a measure, by seed; not a number where neither arrived."""
    known = ways[one].arrived | ways[other].arrived
    return np.where(known, getattr(ways[one], what) / getattr(ways[other], what), np.nan)


def judge(every: All) -> list[claims.Judged]:
    """Return the verdicts, for data that are alike and then for those that are not."""
    verdicts = []
    for problem, ways in best(every).items():
        momentum = ratio(ways, ASYNC, SYNC)
        measured = {
            MORE: momentum,
            MOMENTUM: momentum / ratio(ways, PLAIN, PLAIN_SYNC),
            STILL_BEST: ratio(ways, ASYNC, PLAIN),
            MENDS: ratio(ways, DELAYED, ASYNC),
            HELPS: ratio(ways, DYNAMIC, DELAYED),
            MATCHES: ratio(ways, DYNAMIC, SYNC),
            FASTER: ratio(ways, DYNAMIC, SYNC, "seconds"),
        }
        for claim, ratios in measured.items():
            here = dataclasses.replace(claim, measures=f"data dealt out {problem}: {claim.measures}")
            remark = same_outer(every[problem]) if claim is MATCHES else ""
            verdicts.append(here.judged(claims.ratio_of(ratios), remark))
    return verdicts


def same_outer(ways: Mapping[str, Sequence[Way]]) -> str:
    """Return the ratio of MATCHES at each outer step size that both have: what is left of it, if it is the same."""
    pairs = [
        (one.outer, {DYNAMIC: one, SYNC: other}) for one in ways[DYNAMIC] for other in ways[SYNC] if one.outer == other.outer
    ]
    said = [f"{claims.ratio_of(ratio(pair, DYNAMIC, SYNC))} at {outer:g}" for outer, pair in pairs]
    return f"with the same outer step size for both it is {', '.join(said)}"


def tell(every: All) -> str:
    """Return what each method took with each outer step size, as a table; the better one is marked."""
    rows = []
    for problem, all_ in every.items():
        for name, ways in all_.items():
            better = min(ways, key=lambda way: way.score)
            for way in ways:
                numbers = [f"{way.step_size:.3g}", f"{way.outer:g}{' *' if way is better else ''}"]
                numbers += [
                    f"{way.arrived.sum()} of {len(way.arrived)}",
                    f"{np.median(way.steps):.4g}",
                    f"{np.median(way.seconds):.4g}",
                ]
                rows.append([problem, name, *numbers])
    heads = ["data", "method", "step size", "outer", "arrived", "local steps", "seconds"]
    said = "To the target, medians over the seeds; who never arrived counts as long as it ran (*: better on tuning seeds)"
    return f"{said}:\n{table(heads, rows)}"


# --- the figure ----------------------------------------------------------------------------------------------------------


def draw(found: Ways, flags: Flags) -> Figure:
    """Draw local steps and seconds to the target, and the first seed's way there; a row for each problem."""
    figure, axes = plt.subplots(len(found), 3, figsize=(19, 4.2 * len(found)), layout="constrained", squeeze=False)
    for (problem, ways), (a, b, c) in zip(found.items(), axes, strict=True):
        dots(a, ways, "steps", f"data dealt out {problem}: local steps of all workers to the target")
        dots(b, ways, "seconds", "simulated seconds to the target")
        b.set_yticklabels([])
        for name, way in ways.items():
            c.plot(*way.curve, color=COLOURS[name], linewidth=1.2, label=name)
        c.axhline(flags.target_accuracy, color="black", linewidth=0.8, linestyle=":")
        c.set(xlabel="simulated seconds", ylim=(0, 1))
        c.set_title("test accuracy, first seed, until the target is kept", fontsize=10)
        c.grid(alpha=0.25)
    legend_beside(axes[0, 2])
    said = "each method at its own step sizes; bars: geometric means; open: never reached, drawn where the run ended"
    figure.suptitle(f"Asynchronous local SGD, H = {flags.local_steps}, four workers; {said}")
    return figure


def dots(ax: Axes, ways: Mapping[str, Way], what: str, title: str) -> None:
    """Draw a measure of each seed, open where the target was not reached, and the geometric mean."""
    for place, (name, way) in enumerate(ways.items()):
        values = getattr(way, what)
        heights = place + np.linspace(-0.18, 0.18, len(values)) if len(values) > 1 else np.array([place])
        faces = [COLOURS[name] if arrived else "none" for arrived in way.arrived]
        ax.scatter(values, heights, s=26, facecolors=faces, edgecolors=COLOURS[name])
        ax.plot(np.exp(np.log(values).mean()), place, "|", color="black", markersize=20, markeredgewidth=1.5)
    ax.set_yticks(range(len(ways)), list(ways))
    ax.invert_yaxis()
    logarithmic(ax.xaxis, (1, 2, 5))
    ax.set_title(title, fontsize=10)
    ax.grid(axis="x", alpha=0.25)


def async_local_sgd(flags: Flags, saved: common.Saved) -> None:
    """Measure, judge, draw and save."""
    every = measure(flags)
    saved.figure(draw(best(every), flags), "async_local_sgd.png")
    claims.report(saved, PAPER, judge(every), tell(every))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    claims.run(Flags, async_local_sgd, arguments)


if __name__ == "__main__":
    main()
