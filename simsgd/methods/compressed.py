"""Synchronous methods whose workers send less than a gradient; all average what the workers send.

Law of this module: each is asynchronous as well, or what another protocol makes of it, for compressing asks nothing of who
waits for whom: `dataclasses.replace(method, protocol=AsyncSGD())`. It then steps with single messages.
"""

from __future__ import annotations

import optax

from simsgd.compression import Compression
from simsgd.compressions import QSGD, ErrorFeedback, Half, NaturalRounding, RandomK, ScaledSign, Sign, TernGrad, TopK
from simsgd.method import Method
from simsgd.methods.entry import Entry
from simsgd.methods.preset import preset
from simsgd.optimizers import majority_vote, sgd
from simsgd.protocols import MinibatchSGD
from simsgd.support import checks


def _averaged(step_size: float, compression: Compression) -> Method:
    """Return w ← w − η · (1/n) Σᵢ C(gᵢ)."""
    return Method(MinibatchSGD(), sgd(step_size), compress_up=compression)


@preset("Top-k SGD with memory")
def top_k(step_size: float = 0.1, *, share: float = 0.01) -> Method:
    """Return SGD with the k largest numbers of each gradient, and a memory at each worker of what it has not sent.

    pⁱ = eⁱ + gⁱ, w ← w − η · (1/n) Σᵢ top_k(pⁱ), eⁱ ← pⁱ − top_k(pⁱ).

    Source: Stich, Cordonnier and Jaggi (2018), "Sparsified SGD with memory", algorithm 1, with n workers in rounds:
    the paper's, in algorithm 2, go on by themselves in shared memory. Checked against the authors' code.

    Args:
        step_size: η, of the average.
        share: k/d, above 0 and at most 1, of a gradient's d numbers.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.top_k(step_size=0.1, share=0.05).compress_up
        ErrorFeedback(TopK(share=0.05))
    """
    return _averaged(step_size, ErrorFeedback(TopK(share)))


@preset("Random-k SGD")
def random_k(step_size: float = 0.1, *, share: float = 0.01, shared: bool = False) -> Method:
    """Return SGD with k numbers of each gradient, from places drawn at random and times d/k.

    w ← w − η · (1/n) Σᵢ C(gⁱ), where C(g) has (d/k)·g in k of d places and 0 in the others. It is unbiased, with d/k − 1 times
    the gradient's square as noise: it asks for small steps, and for no memory.

    Source: Wangni, Wang, Liu and Zhang (2018), "Gradient sparsification for communication-efficient distributed optimization"
    (from memory; there with probabilities that follow the gradient, here all alike).

    Args:
        step_size: η, of the average.
        share: k/d, above 0 and at most 1, of a gradient's d numbers.
        shared: whether all workers send the same places, which then need not travel.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.random_k(step_size=0.1, shared=True).compress_up
        RandomK(share=0.01, shared=True)
    """
    return _averaged(step_size, RandomK(share, shared=shared))


@preset("signSGD")
def sign_sgd(step_size: float = 0.01) -> Method:
    """Return signSGD with majority vote: workers send signs, the server steps with the sign of their sum.

    w ← w − η·sign(Σᵢ sign(gⁱ)). In the paper the vote goes back as signs too. Here the model does, in full, unless
    `dataclasses.replace(method, compress_down=ScaledSign())`: that is the vote, where none is tied.

    Source: Bernstein, Wang, Azizzadenesheli and Anandkumar (2018), "signSGD: compressed optimisation for non-convex problems",
    algorithm 3.

    Args:
        step_size: η, by which each number of the model moves in each step.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.sign_sgd(step_size=0.001)
        Method(MinibatchSGD(), vote(step_size=0.001), compress_up=Sign(), name='signSGD')
    """
    return Method(MinibatchSGD(), majority_vote(step_size), compress_up=Sign())


@preset("Signum")
def signum(step_size: float = 0.01, *, momentum: float = 0.9) -> Method:
    """Return Signum with majority vote: workers send the signs of their momentum, the server steps with the sign of the sum.

    mⁱ ← βmⁱ + gⁱ, w ← w − η·sign(Σᵢ sign(mⁱ)). The paper's (1 − β) before gⁱ changes no sign.

    Source: Bernstein, Wang, Azizzadenesheli and Anandkumar (2018), "signSGD: compressed optimisation for non-convex problems",
    algorithm 2, with the majority vote of Bernstein, Zhao, Azizzadenesheli and Anandkumar (2019), "signSGD with majority vote
    is communication efficient and fault tolerant", algorithm 1 (from memory).

    Args:
        step_size: η, by which each number of the model moves in each step.
        momentum: β, at least 0 and below 1.

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.describe(sg.methods.signum(step_size=0.001).at_worker)
        'trace(decay=0.9, nesterov=False)'
    """
    rule = optax.trace(decay=checks.below_one("momentum", momentum))
    return Method(MinibatchSGD(), majority_vote(step_size), at_worker=rule, compress_up=Sign())


@preset("EF-signSGD")
def error_feedback_sign(step_size: float = 0.1) -> Method:
    """Return SGD with each gradient's signs and mean magnitude, and a memory at each worker of what it has not sent.

    pⁱ = eⁱ + gⁱ, w ← w − η · (1/n) Σᵢ Δⁱ with Δⁱ = (‖pⁱ‖₁/d)·sign(pⁱ), eⁱ ← pⁱ − Δⁱ.

    Source: Karimireddy, Rebjock, Stich and Jaggi (2019), "Error feedback fixes signSGD and other gradient compression schemes",
    algorithm 1; checked against the authors' code, which has a mean for each array.

    Args:
        step_size: η, of the average.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.error_feedback_sign(step_size=0.1).compress_up
        ErrorFeedback(ScaledSign())
    """
    return _averaged(step_size, ErrorFeedback(ScaledSign()))


@preset("QSGD")
def qsgd(step_size: float = 0.1, *, levels: int = 127) -> Method:
    """Return SGD with gradients whose numbers are rounded by lot to s levels of their length: w ← w − η · (1/n) Σᵢ Q(gⁱ).

    Source: Alistarh, Grubic, Li, Tomioka and Vojnović (2017), "QSGD: communication-efficient SGD via gradient quantization and
    encoding", algorithm 1.

    Args:
        step_size: η, of the average.
        levels: s, at least 1; 127 take a byte, 7 half a byte, 1 two bits.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.qsgd(step_size=0.1, levels=7).compress_up
        QSGD(levels=7)
    """
    return _averaged(step_size, QSGD(levels))


@preset("TernGrad")
def terngrad(step_size: float = 0.1, *, clip: float | None = 2.5) -> Method:
    """Return SGD with gradients of −1, 0 and +1 by lot, times a scale for each array: w ← w − η · (1/n) Σᵢ ternary(gⁱ).

    Source: Wen et al. (2017), "TernGrad: ternary gradients to reduce communication in distributed deep learning", algorithm 1
    (its number as a summary has it). Checked against the authors' code, but that each worker has its own scale here.

    Args:
        step_size: η, of the average.
        clip: at how many standard deviations of an array its numbers are clipped before; None for no clipping.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.terngrad(step_size=0.1).compress_up
        TernGrad(clip=2.5)
    """
    return _averaged(step_size, TernGrad(clip))


@preset("Natural compression SGD")
def natural(step_size: float = 0.1, *, bits: int = 9) -> Method:
    """Return SGD with gradients whose numbers are rounded by lot to powers of two: w ← w − η · (1/n) Σᵢ C(gⁱ).

    Source: Horváth et al. (2019), "Natural compression for distributed deep learning", algorithm 1 (from memory).

    Args:
        step_size: η, of the average.
        bits: 9 as in the paper, or 8: of a sign and an exponent.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.natural(step_size=0.1, bits=8).compress_up
        NaturalRounding(bits=8)
    """
    return _averaged(step_size, NaturalRounding(bits))


@preset("Half-precision SGD")
def half_precision(step_size: float = 0.1, *, kind: str = "float16") -> Method:
    """Return SGD whose gradients are sent in two bytes a number: w ← w − η · (1/n) Σᵢ round(gⁱ).

    Source: Micikevicius et al. (2018), "Mixed precision training" (from memory; there models are computed so too, here messages
    alone).

    Args:
        step_size: η, of the average.
        kind: "float16" or "bfloat16".

    Example:
        >>> import simsgd as sg
        >>> sg.methods.half_precision(step_size=0.1, kind="bfloat16").compress_up
        Half(kind='bfloat16')
    """
    return _averaged(step_size, Half(kind))


ENTRIES: tuple[Entry, ...] = (
    Entry(top_k, {}, "test_shelf_compressed.py::test_top_k"),
    Entry(random_k, {}, "test_shelf_compressed.py::test_random_k"),
    Entry(sign_sgd, {}, "test_shelf_compressed.py::test_sign_sgd"),
    Entry(signum, {}, "test_shelf_compressed.py::test_signum"),
    Entry(error_feedback_sign, {}, "test_shelf_compressed.py::test_error_feedback_sign"),
    Entry(qsgd, {}, "test_shelf_compressed.py::test_qsgd"),
    Entry(terngrad, {}, "test_shelf_compressed.py::test_terngrad"),
    Entry(natural, {}, "test_shelf_compressed.py::test_natural"),
    Entry(half_precision, {}, "test_shelf_compressed.py::test_half_precision"),
)
"""The rows of the shelf."""
