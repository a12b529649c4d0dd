"""What is learned: parameters, a loss, data. Any JAX pytree model fits.

Laws of this package:

1. A problem knows nothing of time, and of workers only who has which samples. A job's batch is drawn by key, by `draw`, from
   all data, or from its worker's share of a partitioned problem.
2. Data are NumPy arrays in the same order for ever: the split into training and test data never depends on a run's seed.
3. Parameters start from `init(key)` in float32 and are then cast, so that float64 starts at the same point.
"""

from typing import TYPE_CHECKING

from simsgd.problems.blocks import Blocks as Blocks
from simsgd.problems.blocks import full_pass
from simsgd.problems.divisions import Division, EqualShares, GivenShares, LabelSkew, LabelsPerWorker, QuantitySkew
from simsgd.problems.drawing import Shares as Shares
from simsgd.problems.drawing import draw as draw
from simsgd.problems.drawing import draw_block as draw_block
from simsgd.problems.drawing import loss_key as loss_key
from simsgd.problems.evaluating import evaluated as evaluated
from simsgd.problems.evaluating import worker_losses as worker_losses
from simsgd.problems.files import arrays_from_npz, from_npz
from simsgd.problems.frameworks import from_equinox, from_flax
from simsgd.problems.generated import least_squares, logistic_regression
from simsgd.problems.language import characters, generated_text
from simsgd.problems.networks import accuracy, cross_entropy, network
from simsgd.problems.problem import LOG_COLUMNS as LOG_COLUMNS
from simsgd.problems.problem import RESERVED as RESERVED
from simsgd.problems.problem import Batch as Batch
from simsgd.problems.problem import Metric as Metric
from simsgd.problems.problem import Parameters as Parameters
from simsgd.problems.problem import Problem
from simsgd.problems.quadratics import quadratics, weighted_optimum
from simsgd.problems.ready_made import digits, quadratic
from simsgd.problems.settings import lenient as lenient
from simsgd.problems.settings import settings as settings
from simsgd.problems.tabular import tabular
from simsgd.support import public

__all__ = [
    "Division",
    "EqualShares",
    "GivenShares",
    "LabelSkew",
    "LabelsPerWorker",
    "Problem",
    "QuantitySkew",
    "accuracy",
    "arrays_from_npz",
    "characters",
    "cross_entropy",
    "digits",
    "from_equinox",
    "from_flax",
    "from_npz",
    "full_pass",
    "generated_text",
    "least_squares",
    "logistic_regression",
    "network",
    "quadratic",
    "quadratics",
    "tabular",
    "weighted_optimum",
]
__dir__ = public.names(__all__)
if not TYPE_CHECKING:  # else every name would be there for a type checker
    __getattr__ = public.near(__name__, __all__)
