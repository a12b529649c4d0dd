"""Methods that send few bytes and keep at home what they did not send: low rank, local momentum, compressed differences."""

from __future__ import annotations

from typing import Any

import optax

from simsgd.compression import Compression
from simsgd.compressions import (
    DIANA,
    EF21,
    BytesOfSum,
    DeepGradientCompression,
    DeMo,
    ErrorFeedback,
    PowerSGD,
    RandomK,
    TopK,
    compress_sum,
)
from simsgd.method import Method
from simsgd.methods.entry import Entry
from simsgd.methods.preset import preset
from simsgd.optimizers import sgd, tunable
from simsgd.protocols import MarinaRounds, MinibatchSGD
from simsgd.support import checks
from simsgd.works import Marina

LARGEST_TENTH = TopK(share=0.1)
RANDOM_TENTH = RandomK(share=0.1)


def power_sgd_step(
    learning_rate: float, momentum: float, compression: Compression, feedback: bool = True
) -> optax.GradientTransformation:
    """Return PowerSGD's optimizer: Δ = C(ḡ + e), e ← ḡ + e − Δ, m ← λ·m + Δ, w ← w − η·(Δ + m).

    Source: Vogels, Karimireddy and Jaggi (2019), "PowerSGD: practical low-rank gradient compression for distributed
    optimization", algorithm 2.

    Args:
        learning_rate: η.
        momentum: λ.
        compression: C, of the mean of all workers' gradients.
        feedback: whether there is e.

    Example:
        >>> import simsgd as sg
        >>> made = power_sgd_step(learning_rate=0.1, momentum=0.9, compression=sg.compressions.PowerSGD(rank=2))
    """
    trace = optax.trace(decay=momentum)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        summed, state = trace.update(updates, state)
        return optax.tree.add(updates, summed), state

    both = optax.GradientTransformation(trace.init, update)
    return optax.chain(compress_sum(compression, feedback), both, optax.scale_by_learning_rate(learning_rate))


@preset("PowerSGD")
def power_sgd(
    step_size: float = 0.1, *, rank: int = 2, momentum: float = 0.9, warm_start: bool = True, feedback: bool = True
) -> Method:
    """Return PowerSGD: synchronous rounds that sum matrices of rank r, with error feedback and momentum after it.

    Δ = P̂·Qᵀ of the mean gradient and what was left out before, m ← λ·m + Δ, w ← w − η·(Δ + m). With λ = 0 that steps twice as
    far as SGD at the same η. The models are those of the paper's workers, which sum P and then Q (see
    `compressions.compress_sum`); an all-reduce adds the compressed messages on the way. To have each worker compress its own
    message instead: `Method(…, compress_up=ErrorFeedback(PowerSGD(rank)))`, for any protocol. With `feedback` differences in
    rounding are magnified (see `compressions.PowerSGD`).

    Source: Vogels, Karimireddy and Jaggi (2019), "PowerSGD: practical low-rank gradient compression for distributed
    optimization", algorithms 1 and 2, and the authors' code, whose momentum is this one.

    Args:
        step_size: η, of the mean.
        rank: r; the problem's matrices must have it.
        momentum: λ, at least 0 and below 1.
        warm_start: whether Q is kept from step to step.
        feedback: whether what was left out is added to the next gradient.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.power_sgd(step_size=0.1, rank=1).compress_up
        BytesOfSum(compression=PowerSGD(rank=1, warm_start=True, outputs='last'))
    """
    compression = PowerSGD(rank, warm_start)
    numbers = {"learning_rate": checks.positive("step_size", step_size), "momentum": checks.below_one("momentum", momentum)}
    optimizer = tunable(power_sgd_step, **numbers, compression=compression, feedback=feedback)
    return Method(MinibatchSGD(), optimizer, compress_up=BytesOfSum(compression))


@preset("DeMo")
def demo(step_size: float = 0.01, *, keep: int = 32, chunk: int = 64, momentum: float = 0.999) -> Method:
    """Return DeMo: synchronous rounds of each worker's fastest momentum components, and a step with the sign of their mean.

    mᵢ ← β·mᵢ + gᵢ, qᵢ the largest DCT components of each chunk of mᵢ, mᵢ ← mᵢ − qᵢ, w ← w − η·sign((1/n) Σᵢ qᵢ). In the paper
    gradients are multiplied by η as they enter mᵢ: a sign does not see that.

    Source: Peng, Quesnelle and Kingma (2024), "DeMo: decoupled momentum optimization", arXiv 2411.19870, algorithm 1.

    Args:
        step_size: η, by which each number of the model moves in each step.
        keep: components of each chunk.
        chunk: the longest side of a chunk.
        momentum: β, at least 0 and below 1.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.demo(step_size=0.001, keep=8).compress_up
        DeMo(keep=8, chunk=64, momentum=0.999)
    """
    optimizer = tunable(optax.sign_sgd, learning_rate=checks.positive("step_size", step_size))
    return Method(MinibatchSGD(), optimizer, compress_up=DeMo(keep, chunk, momentum))


@preset("Deep gradient compression")
def deep_gradient_compression(
    step_size: float = 0.1, *, share: float = 0.001, momentum: float = 0.9, clip: float | None = None
) -> Method:
    """Return deep gradient compression: synchronous rounds of the largest numbers of a local momentum's sum.

    uᵢ ← m·uᵢ + gᵢ, vᵢ ← vᵢ + uᵢ, the largest of vᵢ are sent, and uᵢ and vᵢ are 0 where they were: w ← w − η · (1/n) Σᵢ v̂ᵢ.

    Source: Lin, Han, Mao, Wang and Dally (2018), "Deep gradient compression: reducing the communication bandwidth for
    distributed training", equation 7 and section 3.3, without the warm-up (in the first 4 epochs 25%, 6.25%, 1.6% and 0.4% of
    the numbers are sent); there each array has its own largest. Checked against the authors' code.

    Args:
        step_size: η, of the mean.
        share: of the numbers that are sent, above 0 and at most 1.
        momentum: m, at least 0 and below 1.
        clip: the largest norm of a worker's gradient, in the paper n^(−½) of the whole's; None does not clip.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.deep_gradient_compression(step_size=0.1, share=0.01).compress_up.momentum
        0.9
    """
    clipped = None if clip is None else optax.clip_by_global_norm(checks.positive("clip", clip))
    compression = DeepGradientCompression(TopK(share), momentum)
    return Method(MinibatchSGD(), sgd(step_size), at_worker=clipped, compress_up=compression)


@preset("EF21")
def ef21(step_size: float = 0.1, *, compression: Compression = LARGEST_TENTH) -> Method:
    """Return EF21: synchronous rounds with the mean of the workers' gradient estimates, which compressed differences move.

    gᵢ ← gᵢ + C(∇fᵢ(w) − gᵢ), w ← w − η · (1/n) Σᵢ gᵢ. The paper's gradients are exact: `dataclasses.replace(method,
    work=works.FullGradient(steps=…))`. Here they are of a batch, as in its extensions.

    Source: Richtárik, Sokolov and Fatkhullin (2021), "EF21: a new, simpler, theoretically better, and practically faster error
    feedback"; checked against the authors' code and their later paper (Fatkhullin et al. 2021).

    Args:
        step_size: η, of the mean.
        compression: C, a contraction.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.ef21(step_size=0.1, compression=sg.compressions.PowerSGD(rank=1)).compress_up.compression.rank
        1
    """
    return Method(MinibatchSGD(), sgd(step_size), compress_up=EF21(compression))


@preset("DIANA")
def diana(step_size: float = 0.1, *, compression: Compression = RANDOM_TENTH, step: float = 0.1) -> Method:
    """Return DIANA: synchronous rounds with unbiased compressed differences to what is learned of each worker's gradient.

    Δᵢ = C(gᵢ − hᵢ), w ← w − η · (1/n) Σᵢ (hᵢ + Δᵢ), hᵢ ← hᵢ + α·Δᵢ.

    Source: Mishchenko, Gorbunov, Takáč and Richtárik (2019), "Distributed learning with compressed gradient differences",
    without its momentum and proximal step; checked against the code of MARINA's authors.

    Args:
        step_size: η, of the mean.
        compression: C, unbiased.
        step: α; usual is 1/(1 + ω) with E‖C(x) − x‖² ≤ ω·‖x‖²: of `RandomK` its share.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.diana(step_size=0.1).compress_up.step
        0.1
    """
    return Method(MinibatchSGD(), sgd(step_size), compress_up=DIANA(compression, step))


@preset("MARINA")
def marina(
    step_size: float = 0.1,
    *,
    full_steps: int,
    compression: Compression = RANDOM_TENTH,
    probability: float = 0.1,
) -> Method:
    """Return MARINA: synchronous rounds of full gradients with probability p, and of compressed differences else.

    gᵢ ← ∇fᵢ(w) with probability p, else gᵢ + C(∇fᵢ(w; ξᵢ) − ∇fᵢ(w_before; ξᵢ)), and w ← w − η · (1/n) Σᵢ gᵢ. The server tosses
    the coin for all. Differences are of one batch each, the paper's VR-MARINA.

    Source: Gorbunov, Burlachenko, Li and Richtárik (2021), "MARINA: faster non-convex distributed learning with compression",
    algorithms 1 and 2 (their numbers from memory; checked against the authors' code).

    Args:
        step_size: η, of the mean.
        full_steps: how many batches' time a full gradient of a worker's share takes.
        compression: C, unbiased.
        probability: p, above 0 and at most 1; in the authors' code 1/(1 + ω), for `RandomK` its share, and with batches no more
            than b/(b + m), b of a worker's m samples: 1/(1 + `full_steps`).

    Example:
        >>> import simsgd as sg
        >>> sg.methods.marina(step_size=0.1, full_steps=45, probability=0.05).protocol
        MarinaRounds(probability=0.05)
    """
    return Method(MarinaRounds(probability), sgd(step_size), work=Marina(compression=compression, full_steps=full_steps))


@preset("DoubleSqueeze")
def double_squeeze(step_size: float = 0.1, *, compression: Compression = LARGEST_TENTH) -> Method:
    """Return DoubleSqueeze: compressed messages with error feedback both ways, from workers to the server and back.

    Worker: v = gᵢ + δᵢ, C(v) is sent, δᵢ ← v − C(v). Server: v = (1/n) Σᵢ C(vᵢ) + δ, C(v) is sent, δ ← v − C(v), and all step
    with w̃ ← w̃ − η·C(v). Down, that is `compress_down=C` alone: the server steps w ← w − η·s with all that it was sent and sends
    C(w − w̃), so its error is w − w̃ = −η·δ. The two are the same for C with C(a·x) = a·C(x), and a step size that stays. The
    w̃ of the paper is what workers read; what is evaluated here is w, which is ahead of it by what has not been sent.

    Source: Tang, Yu, Lian, Zhang and Liu (2019), "DoubleSqueeze: parallel stochastic gradient descent with double-pass
    error-compensated compression", algorithm 1 (its number from memory; the rules as in a summary).

    Args:
        step_size: η, of the mean.
        compression: C, a contraction.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.double_squeeze(compression=sg.compressions.TopK(share=0.01)).compress_down
        TopK(share=0.01)
    """
    return Method(MinibatchSGD(), sgd(step_size), compress_up=ErrorFeedback(compression), compress_down=compression)


@preset("EF21-P + DIANA")
def ef21_p_diana(
    step_size: float = 0.1,
    *,
    up: Compression = RANDOM_TENTH,
    down: Compression = LARGEST_TENTH,
    step: float = 0.1,
) -> Method:
    """Return EF21-P with DIANA: differences of models, compressed, on the way down, and of gradients on the way up.

    Down: w̃ ← w̃ + C₂(w − w̃), which is what `compress_down` does. Up, at w̃: Δᵢ = C₁(gᵢ − hᵢ), hᵢ ← hᵢ + α·Δᵢ, and the server
    steps w ← w − η · (1/n) Σᵢ (hᵢ + Δᵢ). What is evaluated is w. With `compress_up=EF21(C₁)` in its place it is EF21 both ways.

    Source: Gruntkowska, Tyurin and Richtárik (2023), "EF21-P and friends: improved theoretical communication complexity for
    distributed optimization with bidirectional compression", algorithm 1 (from memory).

    Args:
        step_size: η, of the mean.
        up: C₁, unbiased.
        down: C₂, a contraction.
        step: α, at most 1/(1 + ω) with E‖C₁(x) − x‖² ≤ ω·‖x‖²: of `RandomK` its share.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.ef21_p_diana(step_size=0.1).compress_down
        TopK(share=0.1)
    """
    return Method(MinibatchSGD(), sgd(step_size), compress_up=DIANA(up, step), compress_down=down)


ENTRIES: tuple[Entry, ...] = (
    Entry(power_sgd, {}, "test_shelf_differences.py::test_power_sgd"),
    Entry(demo, {}, "test_shelf_differences.py::test_demo"),
    Entry(deep_gradient_compression, {}, "test_shelf_differences.py::test_deep_gradient_compression"),
    Entry(ef21, {}, "test_shelf_differences.py::test_ef21"),
    Entry(diana, {}, "test_shelf_differences.py::test_diana"),
    Entry(marina, {"full_steps": 4}, "test_shelf_differences.py::test_marina"),
    Entry(double_squeeze, {}, "test_shelf_differences.py::test_double_squeeze"),
    Entry(ef21_p_diana, {}, "test_shelf_differences.py::test_ef21_p_diana"),
)
"""The rows of the shelf."""
