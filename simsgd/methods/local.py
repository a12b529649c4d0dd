"""Methods of local steps: workers go on by themselves for a while, and the server averages or mixes what comes of it.

How many local steps make a round is said as `steps`, H for all or a number for each worker, or as `seconds`, a fixed time.
The step size is that of the local steps; the server's own is 1 unless it is given.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import optax

from simsgd import optimizers
from simsgd.method import Method
from simsgd.methods.entry import Entry
from simsgd.methods.preset import preset
from simsgd.optimizers import sgd
from simsgd.protocols import AdaCommSGD, AsyncSGD, KBatchAsyncSGD, MinibatchSGD, Protocol, SampledSGD
from simsgd.support import checks
from simsgd.works import ControlledSteps, LocalSteps, WeightedSteps
from simsgd.works.local_steps import pace

type Steps = int | Sequence[int] | np.ndarray | None
"""Local steps of a round: one number for all workers, or one for each; None where its seconds are said."""


@preset("Local SGD")
def local_sgd(step_size: float = 0.1, *, steps: Steps = None, seconds: float | None = None) -> Method:
    """Return local SGD: all workers make H local steps, then their models are averaged.

    wᵢ ← wᵢ − η · g(wᵢ), H times from w, then w ← (1/n) Σᵢ wᵢ.

    Source: Stich (2019), "Local SGD converges fast and communicates little", algorithm 1.

    Args:
        step_size: η, of a local step.
        steps: H, for all workers or one for each; with 1 it is `minibatch`.
        seconds: how long workers compute in a round, in place of `steps`.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.local_sgd(step_size=0.1, steps=8).work
        LocalSteps(steps=8)
    """
    return Method(MinibatchSGD(), sgd(1.0), work=LocalSteps(**pace(steps, seconds)), inner=sgd(step_size))


@preset("FedAvg")
def fedavg(
    step_size: float = 0.1,
    *,
    clients: int,
    steps: Steps = None,
    seconds: float | None = None,
    server_step_size: float = 1.0,
    weigh_by_samples: bool = False,
) -> Method:
    """Return FedAvg: in each round K clients, chosen at random, make H local steps, and the model goes to their average.

    w ← w − η_s · (1/K) Σᵢ (w − wᵢ) over the round's clients. All count the same, unless they are weighed by their samples, as
    in the paper: w ← w − η_s · (1/K) Σᵢ (n·sizeᵢ/N)(w − wᵢ), n clients in all with N samples. With K = n that is the average
    Σᵢ (sizeᵢ/N)·wᵢ; with fewer it is that in expectation, and the weights of one round need not add up to 1. Much code, that of
    FedProx's authors for one, divides by the samples of the round's clients instead: its weights add up to 1, and are biased.

    Source: McMahan et al. (2017), "Communication-efficient learning of deep networks from decentralized data", algorithm 1.

    Args:
        step_size: η, of a local step.
        clients: K, of each round.
        steps: H, for all workers or one for each.
        seconds: how long clients compute in a round, in place of `steps`.
        server_step_size: η_s; with 1 the model becomes the average.
        weigh_by_samples: whether clients count by how many samples they have, which differ in a problem partitioned so.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.fedavg(step_size=0.1, clients=10, steps=8).protocol
        SampledSGD(clients=10)
    """
    work = _weighed(weigh_by_samples)(**pace(steps, seconds))
    return Method(SampledSGD(clients), _server(server_step_size), work=work, inner=sgd(step_size))


@preset("FedProx")
def fedprox(
    step_size: float = 0.1,
    *,
    clients: int,
    strength: float = 0.1,
    steps: Steps = None,
    seconds: float | None = None,
    weigh_by_samples: bool = False,
) -> Method:
    """Return FedProx: FedAvg whose clients' loss has the proximal term ½μ‖wᵢ − w‖², which holds them near the model.

    wᵢ ← wᵢ − η · (g(wᵢ) + μ(wᵢ − w)). With μ = 0 it is `fedavg`. It is made for data that differ and for clients that do
    different amounts of work, and runs without either as well.

    Source: Li et al. (2020), "Federated optimization in heterogeneous networks", algorithm 2, with local steps of SGD; checked
    against the authors' code, which weighs by the samples of the round's clients, see `fedavg`.

    Args:
        step_size: η, of a local step.
        clients: K, of each round.
        strength: μ, at least 0.
        steps: H, for all workers or one for each.
        seconds: how long clients compute in a round, in place of `steps`.
        weigh_by_samples: whether clients count by how many samples they have, as in `fedavg`.

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.describe(sg.methods.fedprox(step_size=0.1, clients=10, steps=8).inner)
        'chain(proximal(strength=0.1), sgd(learning_rate=0.1))'
    """
    work = _weighed(weigh_by_samples)(**pace(steps, seconds))
    return Method(SampledSGD(clients), sgd(1.0), work=work, inner=_proximal(step_size, strength))


@preset("SCAFFOLD")
def scaffold(
    step_size: float = 0.1,
    *,
    clients: int | None = None,
    steps: Steps = None,
    seconds: float | None = None,
    server_step_size: float = 1.0,
) -> Method:
    """Return SCAFFOLD: local steps corrected by control variates, so that they don't drift to each worker's own optimum.

    wᵢ ← wᵢ − η · (g(wᵢ) − cᵢ + c), H times from w; then cᵢ becomes the mean of the gradients on the way (option II),
    w ← w − η_s · (1/K) Σᵢ (w − wᵢ), and c ← c + (1/n) Σᵢ Δcᵢ. Twice the bytes both ways. Made for data that differ: it asks for
    a partitioned problem; and for synchronous rounds: with another protocol a message that is stale is refused.

    Source: Karimireddy et al. (2020), "SCAFFOLD: stochastic controlled averaging for federated learning", algorithm 1, whose
    experiments, too, have option II and η_s = 1.

    Args:
        step_size: η, of a local step.
        clients: K, of each round, chosen at random; None for all workers.
        steps: H, for all workers or one for each.
        seconds: how long clients compute in a round, in place of `steps`.
        server_step_size: η_s; with 1 the model becomes the average.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.scaffold(step_size=0.1, steps=8).work
        ControlledSteps(steps=8)
    """
    protocol: Protocol = MinibatchSGD() if clients is None else SampledSGD(clients)
    return Method(
        protocol,
        _server(server_step_size),
        work=ControlledSteps(**pace(steps, seconds)),
        inner=sgd(step_size),
        on_message=optimizers.control_variate(step_size),
        per_worker_data=True,
    )


@preset("FedAsync")
def fedasync(
    step_size: float = 0.1,
    *,
    steps: Steps = None,
    seconds: float | None = None,
    mixing: float = 0.6,
    power: float = 0.5,
    strength: float = 0.0,
) -> Method:
    """Return FedAsync: mix each local model that arrives into the model, stale ones less, by a power law.

    w ← (1 − α_τ)·w + α_τ·wᵢ with α_τ = α·(1 + τ)^−a, wᵢ the local model after H steps from w_read.

    Source: Xie, Koyejo and Gupta (2019), "Asynchronous federated optimization", algorithm 1, with its polynomial function (the
    defaults as others report them; α is 0.6 or 0.9 there).

    Args:
        step_size: η, of a local step.
        steps: H, for all workers or one for each.
        seconds: how long workers compute in a round, in place of `steps`.
        mixing: α, above 0.
        power: a, at least 0; with 0 staleness plays no part.
        strength: μ of a proximal term, as in `fedprox`; none by default.

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.describe(sg.methods.fedasync(step_size=0.1, steps=8).on_message)
        'chain(towards_model(), scale_by_polynomial_staleness(power=0.5))'
    """
    rule = optimizers.scale_by_polynomial_staleness(power)
    return _mixed(step_size, LocalSteps(**pace(steps, seconds)), mixing, strength, rule)


@preset("FedAsync, hinge")
def fedasync_hinge(
    step_size: float = 0.1,
    *,
    steps: Steps = None,
    seconds: float | None = None,
    mixing: float = 0.6,
    slope: float = 10.0,
    threshold: float = 4.0,
    strength: float = 0.0,
) -> Method:
    """Return FedAsync whose stale models count less from a threshold on: α_τ = α up to τ = b, α/(1 + a(τ − b)) beyond it.

    w ← (1 − α_τ)·w + α_τ·wᵢ, wᵢ the local model after H steps from w_read.

    Source: Xie, Koyejo and Gupta (2019), "Asynchronous federated optimization", algorithm 1, with its hinge function (that and
    the defaults as others report them).

    Args:
        step_size: η, of a local step.
        steps: H, for all workers or one for each.
        seconds: how long workers compute in a round, in place of `steps`.
        mixing: α, above 0.
        slope: a, at least 0.
        threshold: b, versions.
        strength: μ of a proximal term, as in `fedprox`; none by default.

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.describe(sg.methods.fedasync_hinge(step_size=0.1, steps=8).on_message)
        'chain(towards_model(), scale_by_hinge_staleness(slope=10.0, threshold=4.0))'
    """
    rule = optimizers.scale_by_hinge_staleness(slope, threshold)
    return _mixed(step_size, LocalSteps(**pace(steps, seconds)), mixing, strength, rule)


@preset("FedBuff")
def fedbuff(
    step_size: float = 0.1,
    *,
    buffer: int,
    steps: Steps = None,
    seconds: float | None = None,
    server_step_size: float = 1.0,
    power: float = 0.5,
) -> Method:
    """Return FedBuff: asynchronous workers of H local steps, and a step of the server with every K messages.

    w ← w − η_s · (1/K) Σᵢ (1 + τᵢ)^−a · (w_read − wᵢ). Nobody waits.

    Source: Nguyen et al. (2022), "Federated learning with buffered asynchronous aggregation", algorithm 1. The authors'
    library, FLSim, sums what the buffer holds, so that its η_s is 1/K of this one, and divides by the weight of a usual τ.

    Args:
        step_size: η, of a local step.
        buffer: K, how many messages make a step.
        steps: H, for all workers or one for each.
        seconds: how long workers compute in a round, in place of `steps`.
        server_step_size: η_s.
        power: a, at least 0; with 0 staleness plays no part.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.fedbuff(step_size=0.1, buffer=10, steps=8).protocol
        KBatchAsyncSGD(gradients=10)
    """
    return Method(
        KBatchAsyncSGD(checks.whole("buffer", buffer, 1)),
        _server(server_step_size),
        work=LocalSteps(**pace(steps, seconds)),
        inner=sgd(step_size),
        on_message=optimizers.scale_by_polynomial_staleness(power),
    )


@preset("AdaComm")
def adacomm(step_size: float = 0.1, *, every: float, steps: int, shrink: float | None = None) -> Method:
    """Return AdaComm: local SGD whose H falls with the loss, H = ⌈√(F(w)/F(w₀))·H₀⌉.

    It reads the loss while it runs, so it is simulated, not recorded alone.

    Source: Wang and Joshi (2019), "Adaptive communication strategies to achieve the best error-runtime trade-off in
    local-update SGD", the rules for a fixed step size (from memory).

    Args:
        step_size: η, of a local step.
        every: T₀, how far apart the loss is looked at, simulated seconds.
        steps: H₀, with which it begins.
        shrink: γ: H ← ⌈γH⌉ where the loss lets H be no smaller; without it H may grow again.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.adacomm(step_size=0.1, every=60.0, steps=20).protocol
        AdaCommSGD(every=60.0, steps=20)
    """
    return Method(AdaCommSGD(every, steps, shrink), sgd(1.0), work=LocalSteps(), inner=sgd(step_size))


def _server(step_size: float) -> optimizers.Tunable:
    """Return the server's optimizer."""
    return sgd(checks.positive("server_step_size", step_size))


def _weighed(by_samples: bool) -> type[LocalSteps]:
    """Return the work whose messages count the same, or by the worker's samples."""
    checks.truth("weigh_by_samples", by_samples)
    return WeightedSteps if by_samples else LocalSteps


def _proximal(step_size: float, strength: float) -> optax.GradientTransformation:
    """Return SGD with the proximal term."""
    size = checks.positive("step_size", step_size)
    return optax.chain(optimizers.proximal(strength), optax.sgd(size))


def _mixed(step_size: float, work: LocalSteps, mixing: float, strength: float, rule: optax.GradientTransformation) -> Method:
    """Return FedAsync with a rule for stale models."""
    return Method(
        AsyncSGD(),
        sgd(checks.positive("mixing", mixing)),
        work=work,
        inner=_proximal(step_size, strength) if strength else sgd(step_size),
        on_message=optax.chain(optimizers.towards_model(), rule),
    )


ENTRIES: tuple[Entry, ...] = (
    Entry(local_sgd, {"steps": 4}, "test_shelf_local.py::test_local_sgd"),
    Entry(fedavg, {"clients": 2, "steps": 4}, "test_shelf_local.py::test_fedavg"),
    Entry(fedprox, {"clients": 2, "steps": 4}, "test_shelf_local.py::test_fedprox"),
    Entry(scaffold, {"clients": 2, "steps": 4}, "test_shelf_local.py::test_scaffold"),
    Entry(fedasync, {"steps": 4}, "test_shelf_local.py::test_fedasync"),
    Entry(fedasync_hinge, {"steps": 4}, "test_shelf_local.py::test_fedasync_hinge"),
    Entry(fedbuff, {"buffer": 2, "steps": 4}, "test_shelf_local.py::test_fedbuff"),
    Entry(adacomm, {"every": 5.0, "steps": 4}, "test_shelf_local.py::test_adacomm"),
)
"""The rows of the shelf."""
