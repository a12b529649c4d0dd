"""The shelf: named methods of the literature, each a function that returns a `Method`. A file for each family.

    method = sg.methods.ringmaster(step_size=0.1, threshold=16)

Laws of this package:

1. A preset only composes: a protocol, transformations, an optimizer, a name and a source. What it composes can be composed
   otherwise: `dataclasses.replace(method, on_message=…)`.
2. The step size is η of the paper's step, and each preset says what it multiplies: single gradients, or an average. Presets of
   the same step size are not comparable by it (see the README, "Step sizes").
3. What depends on the number of workers is asked for, never assumed.
4. `SHELF` lists all presets; the README's table and the tests are held against it.
"""

from simsgd.methods.asynchrony import (
    ada_sync,
    asynchronous,
    bounded_concurrency,
    k_async,
    k_batch_async,
    ringmaster,
    softsync,
    stale_synchronous,
)
from simsgd.methods.compressed import (
    error_feedback_sign,
    half_precision,
    natural,
    qsgd,
    random_k,
    sign_sgd,
    signum,
    terngrad,
    top_k,
)
from simsgd.methods.differences import (
    deep_gradient_compression,
    demo,
    diana,
    double_squeeze,
    ef21,
    ef21_p_diana,
    marina,
    power_sgd,
)
from simsgd.methods.elastic import (
    async_easgd,
    eamsgd,
    easgd,
)
from simsgd.methods.entry import Entry
from simsgd.methods.heterogeneous import (
    malenia,
    rescaled,
    ringleader,
)
from simsgd.methods.local import (
    adacomm,
    fedasync,
    fedasync_hinge,
    fedavg,
    fedbuff,
    fedprox,
    local_sgd,
    scaffold,
)
from simsgd.methods.momentum import (
    dana_slim,
    dana_zero,
    worker_momentum,
)
from simsgd.methods.nodes import (
    hierarchical,
    post_local,
)
from simsgd.methods.outer import (
    async_local_sgd,
    async_local_sgd_delayed_nesterov,
    async_local_sgd_dynamic,
    async_local_sgd_nesterov,
    decoupled_diloco,
    diloco,
    streaming_diloco,
)
from simsgd.methods.shelf import SHELF
from simsgd.methods.stale import (
    ada_delay,
    clipped,
    delay_adaptive,
    delay_compensated,
    delay_compensated_adaptively,
    gap_aware,
    hinge_staleness,
    picky,
    polynomial_staleness,
    staleness_aware,
)
from simsgd.methods.synchronous import (
    asynchronous_mini_batching,
    backup_workers,
    first_m,
    k_batch_sync,
    k_sync,
    mind_flayer,
    minibatch,
    rennala,
)
from simsgd.methods.tables import (
    all_client_engagement,
    impatient_averaging,
    incremental_aggregated,
)
from simsgd.methods.variance import (
    asynchronous_saga,
    asynchronous_svrg,
    distributed_saga,
    distributed_svrg,
    loopless_svrg,
    sag,
    saga,
    storm,
    svrg,
)
from simsgd.support import public

__all__ = [
    "SHELF",
    "Entry",
    "asynchronous",
    "k_async",
    "k_batch_async",
    "softsync",
    "stale_synchronous",
    "bounded_concurrency",
    "ringmaster",
    "ada_sync",
    "top_k",
    "random_k",
    "sign_sgd",
    "signum",
    "error_feedback_sign",
    "qsgd",
    "terngrad",
    "natural",
    "half_precision",
    "power_sgd",
    "demo",
    "deep_gradient_compression",
    "ef21",
    "diana",
    "marina",
    "double_squeeze",
    "ef21_p_diana",
    "easgd",
    "async_easgd",
    "eamsgd",
    "malenia",
    "ringleader",
    "rescaled",
    "local_sgd",
    "fedavg",
    "fedprox",
    "scaffold",
    "fedasync",
    "fedasync_hinge",
    "fedbuff",
    "adacomm",
    "worker_momentum",
    "dana_zero",
    "dana_slim",
    "hierarchical",
    "post_local",
    "diloco",
    "streaming_diloco",
    "decoupled_diloco",
    "async_local_sgd",
    "async_local_sgd_nesterov",
    "async_local_sgd_delayed_nesterov",
    "async_local_sgd_dynamic",
    "staleness_aware",
    "polynomial_staleness",
    "hinge_staleness",
    "delay_adaptive",
    "ada_delay",
    "clipped",
    "delay_compensated",
    "delay_compensated_adaptively",
    "gap_aware",
    "picky",
    "minibatch",
    "k_sync",
    "backup_workers",
    "k_batch_sync",
    "first_m",
    "rennala",
    "mind_flayer",
    "asynchronous_mini_batching",
    "incremental_aggregated",
    "all_client_engagement",
    "impatient_averaging",
    "sag",
    "saga",
    "asynchronous_saga",
    "distributed_saga",
    "svrg",
    "asynchronous_svrg",
    "distributed_svrg",
    "loopless_svrg",
    "storm",
]
__dir__ = public.names(__all__)
