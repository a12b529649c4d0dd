"""PowerSGD: bytes against accuracy, rank 1 to 4 (Vogels, Karimireddy and Jaggi 2019).

First the bytes of ResNet18's gradients, which only its shapes decide. Then an MLP with a wide layer on the digits, as many
steps for all, each method at the step size that ends with the least test loss: SGD with momentum, PowerSGD of rank 1, 2 and 4,
its ablations, sign with its mean magnitude and error feedback, and rank 2 of each worker's own gradient. Last the time of a
step on a ring of 10 Gbit/s Ethernet, with ResNet18's messages: what can be summed on its way, and what must be gathered.

    python scenarios/reproduce/powersgd.py
    python scenarios/reproduce/powersgd.py --seeds 10 --folder kept
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import claims
import common
import drawing
import matplotlib.pyplot as plt
import numpy as np
import optax
from ends import Ends
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from measuring import table

import simsgd as sg

PAPER = (
    'Vogels, Karimireddy and Jaggi (2019), "PowerSGD: practical low-rank gradient compression for distributed optimization", '
    "NeurIPS"
)
BYTES = claims.Claim(
    "Of ResNet18's gradients rank 1, 2 and 4 send 1/243, 1/136 and 1/72.",
    "table 3; 1/136 stands in the authors' code, the others are from memory",
    "the largest relative distance of our three ratios to these; rounding them to whole numbers makes up to 0.007",
    below=0.007,
)
ON_PAR = claims.Claim(
    "Rank 2 ends at the test accuracy of SGD.",
    "table 3; 94.4% and 94.3% (from memory)",
    "test accuracy, rank 2 minus SGD; a point of a percent is on par",
    above=-0.01,
)
A_LITTLE_LESS = claims.Claim(
    "Rank 1 ends a little lower than SGD.",
    "table 3; 93.6% and 94.3% (from memory)",
    "test accuracy, rank 1 minus SGD",
    below=0.0,
)
FEEDBACK = claims.Claim(
    "Without error feedback the compressed gradients end lower.",
    "section 4.1 (from memory)",
    "test accuracy, rank 2 with feedback minus without",
    above=0.0,
)
WARM = claims.Claim(
    "Keeping Q from step to step ends higher than drawing it anew.",
    "table 2; section 4.2 (from memory)",
    "test accuracy, rank 2 warm minus cold",
    above=0.0,
)
HIGHER = claims.Claim(
    "Rank 2 ends higher than sign and norm.",
    "table 4; section 5.1 (from memory)",
    "test accuracy, rank 2 minus sign and norm",
    above=0.0,
)
FASTER = claims.Claim(
    "A step is faster than uncompressed SGD's, on an optimized all-reduce.",
    "figure 3; section 5.2 (from memory)",
    "seconds of a step, rank 2 over SGD, 16 workers on the ring",
    below=1.0,
)
GATHERED = claims.Claim(
    "What has to be gathered does not scale: with many workers signs (here sign and norm) are slower than SGD.",
    "figure 3, of Signum; section 5.2 (from memory)",
    "seconds of a step, sign and norm over SGD, 16 workers on the ring",
    above=1.0,
)
SGD, SIGN, MOMENTUM = "SGD", "sign and norm", 0.9
RANKS = {rank: f"PowerSGD, rank {rank}" for rank in (1, 2, 4)}
NO_FEEDBACK, COLD, OWN = "rank 2, no feedback", "rank 2, cold start", "rank 2 of each worker"
PAPERS = 16
"""The paper's workers."""


@dataclass(frozen=True, kw_only=True)
class Flags(claims.Tuned):
    """PowerSGD's bytes against accuracy, and the time of its steps."""

    QUICK: ClassVar = {
        "seeds": 2,
        "tuning_seeds": 1,
        "updates": 20,
        "hidden": 16,
        "step_sizes": (0.05,),
        "ablations": False,
    }

    workers: common.Count = 8
    """how many workers learn the digits"""
    batch_size: common.Count = 16
    """samples of a worker's batch"""
    hidden: common.Count = 256
    """width of the hidden layer: its matrix has 64 × so many numbers; at least 4"""
    updates: common.Count = 400
    """steps that each method makes"""
    step_sizes: tuple[common.Positive, ...] = (0.01, 0.03, 0.09)
    """step sizes to begin with"""
    ablations: bool = True
    """also learn with ranks 1 and 4, without feedback, without warm start, and with rank 2 of each worker's own gradient"""
    rings: tuple[common.Count, ...] = (2, 4, 8, 16, 32, 64, 128)
    """numbers of workers whose steps are timed; must hold 16, those of the paper"""
    compute_seconds: common.Seconds = 0.2
    """seconds of a gradient of ResNet18, always the same"""

    def check(self) -> None:
        """Ask for what the claims are about, and for matrices of rank 4."""
        if self.hidden < 4 or PAPERS not in self.rings:
            raise ValueError(f"--hidden must be at least 4, or there is no rank 4, and --rings must hold {PAPERS}")


# --- the methods ---------------------------------------------------------------------------------------------------------


def nesterov(compression: object, step_size: float) -> sg.Method:
    """Return synchronous SGD with Nesterov's momentum, whose messages are compressed by each worker."""
    rule = sg.optimizers.tunable(optax.sgd, learning_rate=step_size, momentum=MOMENTUM, nesterov=True)
    return sg.Method(sg.MinibatchSGD(), rule, compress_up=compression)


def methods(flags: Flags) -> dict[str, Callable[[float], sg.Method]]:
    """Return the methods by name, functions of the step size; the momentum of all is added after the messages."""
    low_rank = functools.partial(sg.methods.power_sgd, momentum=MOMENTUM)
    signs = sg.compressions.ErrorFeedback(sg.compressions.ScaledSign())
    own = sg.compressions.ErrorFeedback(sg.compressions.PowerSGD(2))
    made = {
        SGD: functools.partial(nesterov, None),
        **{name: functools.partial(low_rank, rank=rank) for rank, name in RANKS.items()},
        NO_FEEDBACK: functools.partial(low_rank, rank=2, feedback=False),
        COLD: functools.partial(low_rank, rank=2, warm_start=False),
        SIGN: functools.partial(nesterov, signs),
        OWN: functools.partial(nesterov, own),
    }
    return made if flags.ablations else {name: made[name] for name in (SGD, RANKS[2], SIGN)}


def ended(flags: Flags) -> Ends:
    """Return the runs of all methods, at the step sizes that end with the least test loss."""
    problem = sg.problems.digits(hidden=flags.hidden, batch_size=flags.batch_size)
    cluster = sg.Cluster(flags.workers, sg.times.Constant(0.01))
    until, every = sg.Updates(flags.updates), sg.Updates(max(1, flags.updates // 40))
    make = functools.partial(sg.Cell, problem=problem, cluster=cluster, until=until, evaluate_every=every)
    return Ends(flags, methods(flags), make, flags.step_sizes, "test_loss", greatest=False)


def judge_ends(found: Ends) -> list[claims.Judged]:
    """Return the verdicts on accuracies."""
    pairs = [
        (ON_PAR, RANKS[2], SGD),
        (A_LITTLE_LESS, RANKS[1], SGD),
        (FEEDBACK, RANKS[2], NO_FEEDBACK),
        (WARM, RANKS[2], COLD),
        (HIGHER, RANKS[2], SIGN),
    ]
    return found.judged(pairs, "accuracy")


def tell_ends(flags: Flags, found: Ends) -> str:
    """Return step sizes, bytes and where runs ended, for each method."""
    rows = [
        [
            *(name, f"{found.step_sizes[name]:.3g}", f"{bytes_up(flags, name):,.0f}"),
            *(f"{found.of(name, 'accuracy').mean():.2%}", f"{found.of(name, 'test_loss').mean():.4f}"),
        ]
        for name in found.methods
    ]
    heads = ["method", "step size", "bytes of a\nmessage", "test\naccuracy", "test\nloss"]
    return f"After {flags.updates} steps, means over the seeds:\n{table(heads, rows)}"


def bytes_up(flags: Flags, name: str) -> float:
    """Return the bytes of a worker's message."""
    shapes = sg.problems.digits(hidden=flags.hidden).message_shapes
    cluster = sg.Cluster(1, sg.times.Constant(1.0))
    return float(sg.record(methods(flags)[name](0.1), cluster, until=sg.Updates(1), message_shapes=shapes).bytes_up[0])


# --- ResNet18's bytes, and the time of a step on a ring ------------------------------------------------------------------


def resnet18() -> tuple[tuple[int, ...], ...]:
    """Return the shapes of ResNet18 for CIFAR10, outputs first as in the paper: filters, norms' scales and shifts, a layer."""
    shapes: list[tuple[int, ...]] = [(64, 3, 3, 3)]
    before = 64
    for width in (64, 128, 256, 512):
        shapes += [(width, before, 3, 3), *[(width, width, 3, 3)] * 3]
        shapes += [(width, before, 1, 1)] if width > before else []
        before = width
    return (*shapes, *[(shape[0],) for shape in shapes for _ in range(2)], (10, 512), (10,))


def power(rank: int) -> sg.compressions.PowerSGD:
    """Return PowerSGD of a rank, for shapes with outputs first."""
    return sg.compressions.PowerSGD(rank, outputs="first")


def judge_bytes() -> tuple[claims.Judged, str]:
    """Return the verdict on ResNet18's bytes, and the ratios in words."""
    said = {1: 243, 2: 136, 4: 72}
    whole = 4 * sum(map(math.prod, resnet18()))
    ratios = {rank: whole / power(rank).bytes(resnet18()) for rank in said}
    off = max(abs(ratios[rank] / paper - 1) for rank, paper in said.items())
    words = ", ".join(f"rank {rank}: 1/{ratio:.2f}" for rank, ratio in ratios.items())
    return BYTES.judged(claims.exactly(off)), f"ResNet18 has {whole:,} bytes, of which are sent at {words}."


def on_rings(flags: Flags) -> dict[str, list[float]]:
    """Return the seconds of a step on rings of several sizes, by what is sent."""
    ways = {
        SGD: None,
        **{name: sg.compressions.BytesOfSum(power(rank)) for rank, name in RANKS.items()},
        OWN: power(2),
        SIGN: sg.compressions.ScaledSign(),
    }
    return {name: [step_on(flags, way, workers) for workers in flags.rings] for name, way in ways.items()}


def step_on(flags: Flags, way: object, workers: int) -> float:
    """Return the seconds of a step on a ring."""
    ring = sg.networks.Ring(sg.networks.preset("ethernet 10g"))
    cluster = sg.Cluster(workers, sg.times.Constant(flags.compute_seconds), ring)
    of_sum = isinstance(way, sg.compressions.BytesOfSum)
    sums = [sg.compressions.compress_sum(way.compression)] if of_sum else []
    method = sg.Method(sg.MinibatchSGD(), optax.chain(*sums, optax.sgd(0.1)), compress_up=way)
    tape = sg.record(method, cluster, until=sg.Updates(10), message_shapes=resnet18())
    return float(tape.update_times[-1] / 10)


def judge_rings(flags: Flags, found: Mapping[str, Sequence[float]]) -> list[claims.Judged]:
    """Return the verdicts on the time of a step."""
    seconds = {name: of_rings[flags.rings.index(PAPERS)] for name, of_rings in found.items()}
    remark = "compressing, and adding up what was gathered, is not charged"
    return [
        FASTER.judged(claims.exactly(seconds[RANKS[2]] / seconds[SGD], "×"), remark),
        GATHERED.judged(claims.exactly(seconds[SIGN] / seconds[SGD], "×"), remark),
    ]


# --- the figure, and all together ----------------------------------------------------------------------------------------


def colours() -> dict[str, object]:
    """Return a colour for each method."""
    blues = plt.get_cmap("Blues")
    shades = {name: blues(shade) for name, shade in zip(RANKS.values(), (0.45, 0.7, 0.95), strict=True)}
    return {SGD: "black", **shades, NO_FEEDBACK: "#E69F00", COLD: "#009E73", OWN: "#CC79A7", SIGN: "#D55E00"}


def draw(flags: Flags, found: Ends, rings: Mapping[str, Sequence[float]]) -> Figure:
    """Draw test loss against bytes, final accuracies, and the time of a step."""
    figure, (a, b, c) = plt.subplots(1, 3, figsize=(18, 5.2), layout="constrained")
    shown = {name: colour for name, colour in colours().items() if name in found.methods}
    for name, colour in shown.items():
        draw_curve(a, flags, found, name, colour)
    drawing.rows(b, {name: found.of(name, "accuracy") for name in shown}, shown)
    drawing.logarithmic(a.xaxis, (1,))
    b.xaxis.set_major_formatter("{x:.2%}")
    a.set(xlabel="megabytes that a worker has sent", ylabel="test loss (nats)", title="(a) digits, MLP: loss against bytes")
    a.legend(frameon=False, fontsize=8)
    b.set(xlabel="test accuracy at the end", title=f"(b) after {flags.updates} steps; each seed, bars: means")
    for name, seconds in rings.items():
        c.plot(flags.rings, seconds, "o-", color=colours()[name], label=name)
    drawing.logarithmic(c.xaxis, (1,), base=2)
    c.set(xlabel="workers on the ring", ylabel="seconds of a step", title="(c) ResNet18's messages, 10 Gbit/s", ylim=(0, None))
    c.legend(frameon=False, fontsize=8)
    for ax in (a, b, c):
        ax.grid(alpha=0.25)
    figure.suptitle("PowerSGD: each method at its own step size")
    return figure


def draw_curve(ax: Axes, flags: Flags, found: Ends, name: str, colour: object) -> None:
    """Draw a method's test loss against what a worker has sent, the mean over the seeds."""
    runs = [found.results.outcome(method=name, seed=seed).evaluations for seed in flags.all_seeds]
    sent = runs[0]["updates"][1:] * bytes_up(flags, name) / 1e6
    ax.plot(sent, np.mean([run["test_loss"][1:] for run in runs], axis=0), color=colour, label=name)


def powersgd(flags: Flags, saved: common.Saved) -> None:
    """Measure, judge, draw and save."""
    of_bytes, words = judge_bytes()
    rings, found = on_rings(flags), ended(flags)
    saved.figure(draw(flags, found, rings), "powersgd.png")
    steps = [[name, *(f"{each:.4g}" for each in seconds)] for name, seconds in rings.items()]
    told = table(["seconds of a step", *(f"n = {n}" for n in flags.rings)], steps)
    verdicts = [of_bytes, *judge_ends(found), *judge_rings(flags, rings)]
    claims.report(saved, PAPER, verdicts, words, tell_ends(flags, found), told)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    claims.run(Flags, powersgd, arguments)


if __name__ == "__main__":
    main()
