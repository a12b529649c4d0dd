"""Asynchronous SGD whose server answers staleness: each message is scaled, clipped, turned or skipped before its step.

All of them step with single gradients, w ← w − η · rule(g), neither summed nor averaged.
"""

from __future__ import annotations

import optax

from simsgd import optimizers
from simsgd.method import Method
from simsgd.methods.entry import Entry
from simsgd.methods.preset import preset
from simsgd.optimizers import sgd
from simsgd.protocols import AsyncSGD
from simsgd.support import checks


@preset("Staleness-aware ASGD")
def staleness_aware(step_size: float = 0.1) -> Method:
    """Return staleness-aware asynchronous SGD: w ← w − (η/max(1, τ)) · g.

    Source: Zhang et al. (2015), "Staleness-aware async-SGD for distributed deep learning" (for single gradients).

    Args:
        step_size: η, of a single fresh gradient.

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.describe(sg.methods.staleness_aware().on_message)
        'scale_by_staleness(power=1.0)'
    """
    return Method(AsyncSGD(), sgd(step_size), on_message=optimizers.scale_by_staleness())


@preset("Power-law staleness")
def polynomial_staleness(step_size: float = 0.1, *, power: float = 0.5) -> Method:
    """Return asynchronous SGD whose step size falls with staleness as a power law: w ← w − η·(1 + τ)^−a · g.

    Source: Xie, Koyejo and Gupta (2019), "Asynchronous federated optimization" (FedAsync's polynomial function, with gradients
    in place of models).

    Args:
        step_size: η, of a single fresh gradient.
        power: a.

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.describe(sg.methods.polynomial_staleness().on_message)
        'scale_by_polynomial_staleness(power=0.5)'
    """
    rule = optimizers.scale_by_polynomial_staleness(power)
    return Method(AsyncSGD(), sgd(step_size), on_message=rule)


@preset("Hinge staleness")
def hinge_staleness(step_size: float = 0.1, *, slope: float = 10.0, threshold: float = 4.0) -> Method:
    """Return asynchronous SGD whose step size is η up to a staleness b, and η/(1 + a(τ − b)) beyond it.

    Source: Xie, Koyejo and Gupta (2019), "Asynchronous federated optimization" (FedAsync's hinge function, with gradients in
    place of models; its form and defaults as others report them).

    Args:
        step_size: η, of a single fresh gradient.
        slope: a.
        threshold: b, versions.

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.describe(sg.methods.hinge_staleness().on_message)
        'scale_by_hinge_staleness(slope=10.0, threshold=4.0)'
    """
    rule = optimizers.scale_by_hinge_staleness(slope, threshold)
    return Method(AsyncSGD(), sgd(step_size), on_message=rule)


@preset("Delay-adaptive ASGD")
def delay_adaptive(step_size: float = 0.1) -> Method:
    """Return delay-adaptive asynchronous SGD: w ← w − η·n/max(n, τ) · g for n workers.

    Source: Mishchenko, Bach, Even and Woodworth (2022), "Asynchronous SGD beats minibatch SGD under arbitrary delays".

    Args:
        step_size: η, of a single gradient that is not older than n versions.

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.describe(sg.methods.delay_adaptive().on_message)
        'scale_by_delay()'
    """
    return Method(AsyncSGD(), sgd(step_size), on_message=optimizers.scale_by_delay())


@preset("AdaDelay")
def ada_delay(step_size: float = 0.1) -> Method:
    """Return AdaDelay: w ← w − (η/√(t + τ)) · g, t the number of the step from 1.

    Source: Sra, Yu, Li and Smola (2016), "AdaDelay: delay adaptive distributed stochastic optimization" (from memory).

    Args:
        step_size: η, of the first gradient.

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.describe(sg.methods.ada_delay().on_message)
        'scale_by_adadelay()'
    """
    return Method(AsyncSGD(), sgd(step_size), on_message=optimizers.scale_by_adadelay())


@preset("Clipped ASGD")
def clipped(step_size: float = 0.1, *, norm: float = 1.0) -> Method:
    """Return clipped asynchronous SGD: w ← w − η · g·min(1, c/‖g‖₂), each gradient clipped by itself.

    Source: Pascanu, Mikolov and Bengio (2013), "On the difficulty of training recurrent neural networks" (clipping by the
    norm), on each message of asynchronous SGD.

    Args:
        step_size: η, of a single gradient.
        norm: c, the largest norm that a message keeps.

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.describe(sg.methods.clipped().on_message)
        'clip_by_global_norm(max_norm=1.0)'
    """
    rule = optax.clip_by_global_norm(checks.positive("norm", norm))
    return Method(AsyncSGD(), sgd(step_size), on_message=rule)


@preset("DC-ASGD")
def delay_compensated(step_size: float = 0.1, *, strength: float = 0.04) -> Method:
    """Return DC-ASGD with a constant λ: w ← w − η·(g + λ·g⊙g⊙(w − w_read)).

    Source: Zheng et al. (2017), "Asynchronous stochastic gradient descent with delay compensation" (DC-ASGD-c; the default
    is that of MXNet's `DCASGD`).

    Args:
        step_size: η, of a single gradient.
        strength: λ.

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.describe(sg.methods.delay_compensated().on_message)
        'compensate_delay(strength=0.04)'
    """
    return Method(AsyncSGD(), sgd(step_size), on_message=optimizers.compensate_delay(strength))


@preset("DC-ASGD, adaptive")
def delay_compensated_adaptively(step_size: float = 0.1, *, strength: float = 2.0, decay: float = 0.95) -> Method:
    """Return DC-ASGD with an adaptive λ: λ₀/√(MS + 10⁻⁷), MS a moving mean of g⊙g.

    w ← w − η·(g + λ·g⊙g⊙(w − w_read)).

    Source: Zheng et al. (2017), "Asynchronous stochastic gradient descent with delay compensation" (DC-ASGD-a).

    Args:
        step_size: η, of a single gradient.
        strength: λ₀.
        decay: of the moving mean.

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.describe(sg.methods.delay_compensated_adaptively().on_message)
        'compensate_delay_adaptively(decay=0.95, strength=2.0)'
    """
    rule = optimizers.compensate_delay_adaptively(strength, decay)
    return Method(AsyncSGD(), sgd(step_size), on_message=rule)


@preset("Gap-aware ASGD")
def gap_aware(step_size: float = 0.1, *, decay: float = 0.999) -> Method:
    """Return gap-aware asynchronous SGD: g divided elementwise by 1 + |w − w_read|/(average step).

    Source: Barkai, Hakimi and Schuster (2020), "Gap-aware mitigation of gradient staleness" (from memory).

    Args:
        step_size: η, of a single fresh gradient; it sets the average step, too.
        decay: of the moving mean of g⊙g, from which the average step is taken.

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.describe(sg.methods.gap_aware(step_size=0.1).on_message)
        'scale_by_gap(decay=0.999, step_size=0.1)'
    """
    return Method(AsyncSGD(), sgd(step_size), on_message=optimizers.scale_by_gap(step_size, decay))


@preset("Picky SGD")
def picky(step_size: float = 0.1, *, distance: float) -> Method:
    """Return Picky SGD: skip a gradient whose model is farther than a distance from the current one, ‖w − w_read‖₂ > d.

    w ← w − η·g otherwise. A skipped gradient counts as a step that moves nothing.

    Source: Cohen, Daniely, Drori, Koren and Schain (2021), "Asynchronous stochastic optimization robust to arbitrary delays".

    Args:
        step_size: η, of a single gradient.
        distance: d, in the units of the parameters; in the paper ε/(2β) for the accuracy ε and the smoothness β (from memory).

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.describe(sg.methods.picky(distance=0.5).on_message)
        'skip_distant(distance=0.5)'
    """
    return Method(AsyncSGD(), sgd(step_size), on_message=optimizers.skip_distant(distance))


ENTRIES: tuple[Entry, ...] = (
    Entry(staleness_aware, {}, "test_shelf_rules.py::test_staleness_aware"),
    Entry(polynomial_staleness, {}, "test_shelf_rules.py::test_polynomial_staleness"),
    Entry(hinge_staleness, {}, "test_shelf_rules.py::test_hinge_staleness"),
    Entry(delay_adaptive, {}, "test_shelf_rules.py::test_delay_adaptive"),
    Entry(ada_delay, {}, "test_shelf_rules.py::test_ada_delay"),
    Entry(clipped, {}, "test_shelf_rules.py::test_clipped"),
    Entry(delay_compensated, {}, "test_shelf_rules.py::test_delay_compensated"),
    Entry(delay_compensated_adaptively, {}, "test_shelf_rules.py::test_delay_compensated_adaptively"),
    Entry(gap_aware, {}, "test_shelf_rules.py::test_gap_aware"),
    Entry(picky, {"distance": 0.5}, "test_shelf_rules.py::test_picky"),
)
"""The rows of the shelf."""
