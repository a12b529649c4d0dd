"""Local steps at the workers, momentum at the server: DiLoCo, and asynchronous local SGD with momentum that can bear it.

The step size is that of the local steps. A message is how far a worker went, w_read − w_H; the outer step size ε and momentum
are the server's.
"""

from __future__ import annotations

from simsgd import optimizers
from simsgd.method import Method
from simsgd.methods.entry import WORKERS, Entry
from simsgd.methods.preset import preset
from simsgd.optimizers import Tunable, sgd
from simsgd.protocols import AsyncSGD, DynamicLocalSGD, MinibatchSGD, Protocol
from simsgd.works import LocalSteps


@preset("DiLoCo")
def diloco(
    step_size: float = 0.1,
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


def _asynchronous(step_size: float, steps: int, outer: Tunable, protocol: Protocol | None = None) -> Method:
    """Return asynchronous local SGD with an optimizer of the server's."""
    return Method(protocol or AsyncSGD(), outer, work=LocalSteps(steps), inner=sgd(step_size))


@preset("Asynchronous local SGD")
def async_local_sgd(step_size: float = 0.1, *, steps: int, outer_step_size: float = 1.0) -> Method:
    """Return asynchronous local SGD: H local steps of SGD, and the server steps with each message as it arrives.

    w ← w − ε(w_read − wᵢ,H), neither summed nor averaged. The paper's workers make their steps with AdamW, here and
    below: `dataclasses.replace(method, inner=optimizers.adamw(…), work=works.LocalSteps(H, keeps_inner=True))`.

    Source: Liu et al. (2024), "Asynchronous local-SGD training for language modeling", algorithm 2 with SGD at the server.

    Args:
        step_size: of the local steps.
        steps: H, at least 1.
        outer_step_size: ε.

    Example:
        >>> import simsgd as sg
        >>> method = sg.methods.async_local_sgd(step_size=0.1, steps=20)
        >>> method.work.steps, method.optimizer
        (20, sgd(learning_rate=1.0))
    """
    return _asynchronous(step_size, steps, sgd(outer_step_size))


@preset("Asynchronous local SGD with Nesterov momentum")
def async_local_sgd_nesterov(
    step_size: float = 0.1, *, steps: int, outer_step_size: float = 0.7, momentum: float = 0.9
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

    Example:
        >>> import simsgd as sg
        >>> sg.methods.async_local_sgd_nesterov(step_size=0.1, steps=20).optimizer
        sgd(learning_rate=0.7, momentum=0.9, nesterov=True)
    """
    return _asynchronous(step_size, steps, optimizers.nesterov(outer_step_size, momentum))


@preset("Asynchronous local SGD with delayed Nesterov momentum")
def async_local_sgd_delayed_nesterov(
    step_size: float = 0.1,
    *,
    steps: int,
    messages: int,
    outer_step_size: float = 0.7,
    momentum: float = 0.9,
    activation: float = 0.0,
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

    Example:
        >>> import simsgd as sg
        >>> sg.methods.async_local_sgd_delayed_nesterov(step_size=0.1, steps=20, messages=4).optimizer
        delayed_nesterov_sgd(activation=0.0, learning_rate=0.7, momentum=0.9, messages=4)
    """
    rule = optimizers.delayed_nesterov(outer_step_size, messages=messages, momentum=momentum, activation=activation)
    return _asynchronous(step_size, steps, rule)


@preset("Asynchronous local SGD with delayed Nesterov momentum and dynamic local updates")
def async_local_sgd_dynamic(
    step_size: float = 0.1,
    *,
    steps: int,
    messages: int,
    outer_step_size: float = 0.7,
    momentum: float = 0.9,
    activation: float = 0.0,
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

    Example:
        >>> import simsgd as sg
        >>> sg.methods.async_local_sgd_dynamic(step_size=0.1, steps=20, messages=4).protocol
        DynamicLocalSGD(steps=20)
    """
    rule = optimizers.delayed_nesterov(outer_step_size, messages=messages, momentum=momentum, activation=activation)
    return _asynchronous(step_size, steps, rule, DynamicLocalSGD(steps))


ENTRIES: tuple[Entry, ...] = (
    Entry(diloco, {"steps": 3}, "test_shelf_outer.py::test_diloco"),
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
