"""Methods whose server keeps the last gradient of each worker, and steps with the mean of all of them.

Where data differ between workers they go to the optimum of the mean, as fast workers count no more than slow ones.
"""

from __future__ import annotations

import optax

from simsgd import optimizers
from simsgd.method import Method
from simsgd.methods.entry import Entry
from simsgd.methods.preset import preset
from simsgd.optimizers import sgd
from simsgd.protocols import AsyncSGD, MinibatchSGD
from simsgd.support import checks
from simsgd.works import FullGradient


@preset("IAG")
def incremental_aggregated(step_size: float = 0.1, *, steps: int) -> Method:
    """Return IAG, the incremental aggregated gradient method: w ← w − η · (1/n) Σⱼ Gⱼ, Gⱼ the last full gradient of worker j.

    A step for each gradient that arrives, nothing random but the timing: in the paper workers take turns, as they do here where
    all are equally fast. The mean of n gradients; until every worker has been heard steps are zero, which in the paper's
    beginning, with all gradients at hand, do not exist.

    Source: Blatt, Hero and Gauchman (2007), "A convergent incremental gradient method with a constant step size" (from memory).

    Args:
        step_size: η, of the mean.
        steps: how many batches' time a full gradient of a worker's share takes.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.incremental_aggregated(step_size=0.1, steps=20).work
        FullGradient(steps=20)
    """
    return Method(AsyncSGD(), sgd(step_size), work=FullGradient(steps=steps), on_message=optimizers.gradient_table())


@preset("ACE")
def all_client_engagement(step_size: float = 0.1) -> Method:
    """Return ACE, all-client engagement: w ← w − η · (1/n) Σⱼ Gⱼ, Gⱼ the last stochastic gradient of worker j.

    A step for each gradient that arrives, with the mean of n. Until every worker has been heard steps are zero; the paper waits
    for all before the first.

    Source: Chang et al. (2025), "Mitigating participation imbalance bias in asynchronous federated learning", ACE (from
    memory).

    Args:
        step_size: η, of the mean.

    Example:
        >>> import simsgd as sg
        >>> sg.optimizers.describe(sg.methods.all_client_engagement().on_message)
        'gradient_table(wait_for_all=True)'
    """
    return Method(AsyncSGD(), sgd(step_size), on_message=optimizers.gradient_table())


@preset("MIFA")
def impatient_averaging(step_size: float = 0.1) -> Method:
    """Return MIFA: synchronous rounds of the workers that are up, with the last gradient of those that are down.

    w ← w − η · (1/n) Σⱼ Gⱼ, Gⱼ worker j's gradient of this round or, if it is down, of the last one that it took part in. A
    worker's first gradient counts as 0 until it is there; the paper has all workers in the first round. The mean of n
    gradients. A cluster without crashes makes it `minibatch`. The paper's workers make several local steps; here it is one
    gradient.

    Source: Gu et al. (2021), "Fast federated learning in the presence of arbitrary device unavailability" (from memory).

    Args:
        step_size: η, of the mean.

    Example:
        >>> import simsgd as sg
        >>> sg.methods.impatient_averaging(step_size=0.1).protocol
        MinibatchSGD(wait=False, average=False)
    """
    return Method(
        MinibatchSGD(wait=False, average=False),
        optax.chain(optax.trace(decay=1.0), optax.sgd(checks.positive("step_size", step_size))),
        on_message=optimizers.gradient_table_changes(),
    )


ENTRIES: tuple[Entry, ...] = (
    Entry(incremental_aggregated, {"steps": 1}, "test_shelf_tables.py::test_incremental_aggregated"),
    Entry(all_client_engagement, {}, "test_shelf_tables.py::test_all_client_engagement"),
    Entry(impatient_averaging, {}, "test_shelf_tables.py::test_impatient_averaging"),
)
"""The rows of the shelf."""
