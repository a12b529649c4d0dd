"""What workers can do with a job, besides one gradient: the works that the methods of `simsgd.methods` are composed of."""

from simsgd.support import public
from simsgd.works.drift import ControlledSteps
from simsgd.works.elastic import Elastic
from simsgd.works.fragments import Fragments
from simsgd.works.full_gradient import FullGradient
from simsgd.works.local_steps import LocalSteps

__all__ = ["ControlledSteps", "Elastic", "Fragments", "FullGradient", "LocalSteps"]
__dir__ = public.names(__all__)
