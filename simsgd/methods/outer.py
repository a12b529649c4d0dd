"""Local steps at the workers, momentum at the server: DiLoCo, and asynchronous local SGD with momentum that can bear it.

The step size is that of the local steps. A message is how far a worker went, w_read − w_H; the outer step size ε and momentum
are the server's.
"""

from __future__ import annotations

from collections.abc import Callable

from simsgd import optimizers
from simsgd.method import Method
from simsgd.methods.entry import WORKERS, Entry
from simsgd.methods.preset import preset
from simsgd.optimizers import Optimizer, Tunable, sgd
from simsgd.protocols import AsyncSGD, DynamicLocalSGD, FragmentsSGD, MinibatchSGD, Protocol, QuorumSGD
from simsgd.support import checks
from simsgd.works import Fragments, LocalSteps


@preset("DiLoCo")
def diloco(
    step_size: float = 0.01,
    *,
    steps: int,
    outer_step_size: float = 0.7,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
) -> Method:
    """Return DiLoCo: H steps of AdamW at each worker, whose state it keeps, and Nesterov momentum on the mean of the messages.

    Δ = (1/n) Σᵢ (w − wᵢ,H), m ← βm + Δ, w ← w − ε(Δ + βm).

    Source: Douillard et al. (2023), "DiLoCo: distributed low-communication training of language models", algorithm 1.

    Args:
        step_size: of AdamW.
        steps: H, at least 1; in the paper 500.
        outer_step_size: ε.
        momentum: β, at least 0 and below 1.
        weight_decay: of AdamW; in the paper 0.1.

    Example:
        >>> import simsgd as sg
        >>> method = sg.methods.diloco(step_size=0.001, steps=20)
        >>> method.work, method.optimizer
        (LocalSteps(steps=20, keeps_inner=True), sgd(learning_rate=0.7, momentum=0.9, nesterov=True))
    """
    return Method(
        MinibatchSGD(),
        optimizers.nesterov(outer_step_size, momentum),
        work=LocalSteps(steps, keeps_inner=True),
        inner=optimizers.adamw(step_size, weight_decay=weight_decay),
    )


@preset("Streaming DiLoCo")
def streaming_diloco(
    step_size: float = 0.01,
    *,
    steps: int,
    fragments: int,
    overlap: int = 0,
    mixing: float = 0.5,
    outer_step_size: float = 0.7,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
) -> Method:
    """Return Streaming DiLoCo: the model is sent in P fragments, one in turn, while workers go on with models of their own.

    With r what the server last sent of the fragment: Δ = (1/n) Σᵢ (r − xᵢ), m ← βm + Δ, w ← w − ε(Δ + βm) in that fragment, and
    xᵢ ← (1 − mixing)·xᵢ + mixing·w there; see `works.Fragments`. With one fragment, no overlap and mixing = 1 it is DiLoCo.

    Source: Douillard et al. (2025), "Streaming DiLoCo with overlapping communication: towards a distributed free lunch",
    algorithm 2.

    Args:
        step_size: of AdamW.
        steps: local steps from one fragment to the next, at least 1: H/P.
        fragments: P, at least 1.
        overlap: local steps made while messages travel, the paper's τ, below `steps`.
        mixing: the weight of what the server sends, above 0 and at most 1; the paper's 1 − α.
        outer_step_size: ε.
        momentum: β, at least 0 and below 1.
        weight_decay: of AdamW.

    Example:
        >>> import simsgd as sg
        >>> method = sg.methods.streaming_diloco(step_size=0.001, steps=10, fragments=4, overlap=2)
        >>> method.work
        Fragments(steps=10, fragments=4, overlap=2, mixing=0.5)
        >>> method.optimizer
        nesterov_in_fragments(learning_rate=0.7, momentum=0.9, fragments=4)
    """
    work = Fragments(steps, fragments=fragments, overlap=overlap, mixing=mixing)
    inner = optimizers.adamw(step_size, weight_decay=weight_decay)
    return _in_fragments(FragmentsSGD(fragments), outer_step_size, momentum, work, inner)


@preset("Decoupled DiLoCo")
def decoupled_diloco(
    step_size: float = 0.01,
    *,
    steps: int,
    fragments: int,
    quorum: int,
    grace: float = 0.0,
    late: bool = True,
    overlap: int = 0,
    mixing: float = 1.0,
    outer_step_size: float = 0.7,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
) -> Method:
    """Return the parts of Decoupled DiLoCo: fragments in turn, each stepped with once K workers' are there, and g seconds more.

    As Streaming DiLoCo, with the mean over those messages; what comes later waits for a step with the same fragment, or is
    thrown away: see `protocols.QuorumSGD`. The paper's window adapts, and its mean weights workers by their tokens; here g is
    fixed and the mean plain.

    Source: Douillard et al. (2026), "Decoupled DiLoCo for resilient distributed pre-training" (from its abstract).

    Args:
        step_size: of AdamW.
        steps: local steps from one fragment to the next, at least 1.
        fragments: P, at least 1.
        quorum: K, at least 1 and at most as many as workers.
        grace: g, simulated seconds, at least 0.
        late: whether late fragments are used where they can be.
        overlap: local steps made while messages travel, below `steps`.
        mixing: the weight of what the server sends, above 0 and at most 1.
        outer_step_size: ε.
        momentum: β, at least 0 and below 1.
        weight_decay: of AdamW.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.decoupled_diloco(step_size=0.001, steps=10, fragments=4, quorum=3, grace=2.0).protocol
        QuorumSGD(quorum=3, grace=2.0, fragments=4)
    """
    work = Fragments(steps, fragments=fragments, overlap=overlap, mixing=mixing)
    inner = optimizers.adamw(step_size, weight_decay=weight_decay)
    return _in_fragments(QuorumSGD(quorum, grace, late, fragments), outer_step_size, momentum, work, inner)


def _in_fragments(protocol: Protocol, outer_step_size: float, momentum: float, work: Fragments, inner: Optimizer) -> Method:
    """Return local steps whose messages are fragments, each with a Nesterov momentum of its own at the server."""
    outer = optimizers.fragment_nesterov(outer_step_size, momentum, fragments=work.fragments)
    return Method(protocol, outer, work=work, inner=inner)


type Inner = Callable[[float], Optimizer]
"""What makes the optimizer of the local steps of its step size: `optimizers.sgd`, `optimizers.adamw`, `optax.adamw`."""


def _asynchronous(step_size: float, steps: int, inner: Inner, outer: Tunable, protocol: Protocol | None = None) -> Method:
    """Return asynchronous local SGD with an optimizer of the server's; workers keep the state of any but plain SGD."""
    if not callable(inner):
        raise TypeError(
            f"inner must be a function that makes an optimizer of a step size, such as optimizers.adamw, got "
            f"{checks.shown(inner)}: pass it without calling it, and further settings as functools.partial(optimizers.adamw, "
            "weight_decay=0.1)"
        )
    work = LocalSteps(steps, keeps_inner=inner is not sgd)
    return Method(protocol or AsyncSGD(), outer, work=work, inner=inner(step_size))


@preset("Asynchronous local SGD")
def async_local_sgd(step_size: float = 0.1, *, steps: int, outer_step_size: float = 1.0, inner: Inner = sgd) -> Method:
    """Return asynchronous local SGD: H local steps, and the server steps with each message as it arrives.

    w ← w − ε(w_read − wᵢ,H), neither summed nor averaged. The paper's workers make their steps with AdamW and keep its state,
    as DiLoCo's do: here and below `inner=optimizers.adamw` does that, and is what to compare `diloco` with. Left out are the
    paper's grace period, in which the server waits for another message, and its shards of data, drawn by their progress.

    Source: Liu et al. (2024), "Asynchronous local-SGD training for language modeling", algorithm 2 with SGD at the server.

    Args:
        step_size: of the local steps.
        steps: H, at least 1.
        outer_step_size: ε.
        inner: makes the optimizer of the local steps of `step_size`; workers keep the state of any but plain SGD. AdamW wants
            smaller steps than the default's, as `diloco` has them.

    Example:
        >>> import simsgd as sg
        >>> method = sg.methods.async_local_sgd(step_size=0.1, steps=20)
        >>> method.work.steps, method.optimizer
        (20, sgd(learning_rate=1.0))
        >>> sg.methods.async_local_sgd(step_size=0.001, steps=20, inner=sg.optimizers.adamw).work
        LocalSteps(steps=20, keeps_inner=True)
    """
    return _asynchronous(step_size, steps, inner, sgd(outer_step_size))


@preset("Asynchronous local SGD with Nesterov momentum")
def async_local_sgd_nesterov(
    step_size: float = 0.1, *, steps: int, outer_step_size: float = 0.7, momentum: float = 0.9, inner: Inner = sgd
) -> Method:
    """Return asynchronous local SGD whose server has Nesterov momentum, which stale messages make too strong.

    g = w_read − wᵢ,H, m ← βm + g, w ← w − ε(g + βm), with each message as it arrives.

    Source: Liu et al. (2024), "Asynchronous local-SGD training for language modeling", algorithm 2 with Nesterov momentum at
    the server.

    Args:
        step_size: of the local steps.
        steps: H, at least 1.
        outer_step_size: ε.
        momentum: β, at least 0 and below 1.
        inner: makes the optimizer of the local steps of `step_size`; workers keep the state of any but plain SGD.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.async_local_sgd_nesterov(step_size=0.1, steps=20).optimizer
        sgd(learning_rate=0.7, momentum=0.9, nesterov=True)
    """
    return _asynchronous(step_size, steps, inner, optimizers.nesterov(outer_step_size, momentum))


@preset("Asynchronous local SGD with delayed Nesterov momentum")
def async_local_sgd_delayed_nesterov(
    step_size: float = 0.1,
    *,
    steps: int,
    messages: int,
    outer_step_size: float = 0.7,
    momentum: float = 0.9,
    activation: float = 0.0,
    inner: Inner = sgd,
) -> Method:
    """Return asynchronous local SGD whose server's Nesterov momentum moves with every N-th message only.

    w ← w − εg/N with each message g, Δ ← Δ + g; with every N-th m ← βm + Δ/N, w ← w − εβm besides, Δ ← 0; see
    `optimizers.delayed_nesterov`.

    Source: Liu et al. (2024), "Asynchronous local-SGD training for language modeling", algorithm 3.

    Args:
        step_size: of the local steps.
        steps: H, at least 1.
        messages: N; in the paper as many as workers.
        outer_step_size: ε, of the mean of N messages.
        momentum: β, at least 0 and below 1.
        activation: c, the share of the momentum that the other messages use, from 0 to 1/N.
        inner: makes the optimizer of the local steps of `step_size`; workers keep the state of any but plain SGD.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.async_local_sgd_delayed_nesterov(step_size=0.1, steps=20, messages=4).optimizer
        delayed_nesterov_sgd(activation=0.0, learning_rate=0.7, momentum=0.9, messages=4)
    """
    rule = optimizers.delayed_nesterov(outer_step_size, messages=messages, momentum=momentum, activation=activation)
    return _asynchronous(step_size, steps, inner, rule)


@preset("Asynchronous local SGD with delayed Nesterov momentum and dynamic local updates")
def async_local_sgd_dynamic(
    step_size: float = 0.1,
    *,
    steps: int,
    messages: int,
    outer_step_size: float = 0.7,
    momentum: float = 0.9,
    activation: float = 0.0,
    inner: Inner = sgd,
) -> Method:
    """Return asynchronous local SGD with delayed Nesterov momentum and dynamic local updates: slow workers make fewer steps.

    Hᵢ = max(1, ⌊H·vᵢ/maxⱼ vⱼ⌋) with vᵢ the steps per second of a worker's last job; else as with delayed Nesterov momentum.

    Source: Liu et al. (2024), "Asynchronous local-SGD training for language modeling", algorithm 3 with dynamic local updates.

    Args:
        step_size: of the local steps.
        steps: H, of the fastest worker, at least 1.
        messages: N; in the paper as many as workers.
        outer_step_size: ε, of the mean of N messages.
        momentum: β, at least 0 and below 1.
        activation: c, the share of the momentum that the other messages use, from 0 to 1/N.
        inner: makes the optimizer of the local steps of `step_size`; workers keep the state of any but plain SGD.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.async_local_sgd_dynamic(step_size=0.1, steps=20, messages=4).protocol
        DynamicLocalSGD(steps=20)
    """
    rule = optimizers.delayed_nesterov(outer_step_size, messages=messages, momentum=momentum, activation=activation)
    return _asynchronous(step_size, steps, inner, rule, DynamicLocalSGD(steps))


ENTRIES: tuple[Entry, ...] = (
    Entry(diloco, {"steps": 3}, "test_shelf_outer.py::test_diloco"),
    Entry(streaming_diloco, {"steps": 3, "fragments": 2, "overlap": 1}, "test_shelf_outer.py::test_streaming_diloco"),
    Entry(
        decoupled_diloco,
        {"steps": 3, "fragments": 2, "quorum": 3, "grace": 0.5},
        "test_shelf_outer.py::test_decoupled_diloco",
    ),
    Entry(async_local_sgd, {"steps": 3}, "test_shelf_outer.py::test_async_local_sgd"),
    Entry(async_local_sgd_nesterov, {"steps": 3}, "test_shelf_outer.py::test_async_local_sgd_nesterov"),
    Entry(
        async_local_sgd_delayed_nesterov,
        {"steps": 3, "messages": WORKERS},
        "test_shelf_outer.py::test_async_local_sgd_delayed_nesterov",
    ),
    Entry(async_local_sgd_dynamic, {"steps": 3, "messages": WORKERS}, "test_shelf_outer.py::test_async_local_sgd_dynamic"),
)
"""The rows of the shelf."""
