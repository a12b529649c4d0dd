"""What workers can do with a job, besides one gradient: the works that the methods of `simsgd.methods` are composed of."""

from typing import TYPE_CHECKING

from simsgd.support import public
from simsgd.work import JobAtHand
from simsgd.works.drift import ControlledSteps
from simsgd.works.elastic import Elastic
from simsgd.works.fragments import Fragments
from simsgd.works.full_gradient import FullGradient
from simsgd.works.local_steps import LocalSteps, WeightedSteps
from simsgd.works.marina import Marina
from simsgd.works.nodes import HierarchicalSteps
from simsgd.works.variance import (
    BlockGradient,
    BlockTable,
    LocalVarianceReduction,
    RecursiveMomentum,
    VarianceReducedGradient,
)

__all__ = [
    "BlockGradient",
    "BlockTable",
    "ControlledSteps",
    "Elastic",
    "Fragments",
    "FullGradient",
    "HierarchicalSteps",
    "JobAtHand",
    "LocalSteps",
    "LocalVarianceReduction",
    "Marina",
    "RecursiveMomentum",
    "VarianceReducedGradient",
    "WeightedSteps",
]
__dir__ = public.names(__all__)
if not TYPE_CHECKING:  # else every name would be there for a type checker
    __getattr__ = public.near(__name__, __all__)
