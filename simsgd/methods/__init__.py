"""The shelf: named methods of the literature, each a function that returns a `Method`. A file for each family.

    method = sg.methods.ringmaster(step_size=0.1, threshold=16)

Laws of this package:

1. A preset only composes: a protocol, transformations, an optimizer, a name and a source. What it composes can be composed
   otherwise: `dataclasses.replace(method, on_message=…)`.
2. The step size is η of the paper's step, and each preset says what it multiplies: single gradients, or an average. Presets of
   the same step size are not comparable by it (see the README, "Step sizes"). Defaults are ours and no paper's: 0.1, and 0.01
   where the length of a step does not follow the gradient's (signs, AdamW), which is the best power of ten on the digits for
   each of these presets. They are to begin with: `compare` tunes.
3. What depends on the number of workers is asked for, never assumed.
4. `SHELF` lists all presets; the README's table and the tests are held against it.
"""

from typing import TYPE_CHECKING

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
    "ada_delay",
    "ada_sync",
    "adacomm",
    "all_client_engagement",
    "async_easgd",
    "async_local_sgd",
    "async_local_sgd_delayed_nesterov",
    "async_local_sgd_dynamic",
    "async_local_sgd_nesterov",
    "asynchronous",
    "asynchronous_mini_batching",
    "asynchronous_saga",
    "asynchronous_svrg",
    "backup_workers",
    "bounded_concurrency",
    "clipped",
    "dana_slim",
    "dana_zero",
    "decoupled_diloco",
    "deep_gradient_compression",
    "delay_adaptive",
    "delay_compensated",
    "delay_compensated_adaptively",
    "demo",
    "diana",
    "diloco",
    "distributed_saga",
    "distributed_svrg",
    "double_squeeze",
    "eamsgd",
    "easgd",
    "ef21",
    "ef21_p_diana",
    "error_feedback_sign",
    "fedasync",
    "fedasync_hinge",
    "fedavg",
    "fedbuff",
    "fedprox",
    "first_m",
    "gap_aware",
    "half_precision",
    "hierarchical",
    "hinge_staleness",
    "impatient_averaging",
    "incremental_aggregated",
    "k_async",
    "k_batch_async",
    "k_batch_sync",
    "k_sync",
    "local_sgd",
    "loopless_svrg",
    "malenia",
    "marina",
    "mind_flayer",
    "minibatch",
    "natural",
    "picky",
    "polynomial_staleness",
    "post_local",
    "power_sgd",
    "qsgd",
    "random_k",
    "rennala",
    "rescaled",
    "ringleader",
    "ringmaster",
    "sag",
    "saga",
    "scaffold",
    "sign_sgd",
    "signum",
    "softsync",
    "stale_synchronous",
    "staleness_aware",
    "storm",
    "streaming_diloco",
    "svrg",
    "terngrad",
    "top_k",
    "worker_momentum",
]
__dir__ = public.names(__all__)
if not TYPE_CHECKING:  # else every name would be there for a type checker
    __getattr__ = public.near(__name__, __all__)
