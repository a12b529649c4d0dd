"""Studies: many runs, tuned, repeated over seeds, kept, and compared with honest statistics."""

from typing import TYPE_CHECKING

from simsgd.studies import statistics
from simsgd.studies.cells import Cell
from simsgd.studies.comparing import compare
from simsgd.studies.comparison import Comparison
from simsgd.studies.outcomes import Outcome
from simsgd.studies.results import Results
from simsgd.studies.study import Study
from simsgd.studies.tune import Tuning, tune
from simsgd.support import public

__all__ = ["Cell", "Comparison", "Outcome", "Results", "Study", "Tuning", "compare", "statistics", "tune"]
__dir__ = public.names(__all__)
if not TYPE_CHECKING:  # else every name would be there for a type checker
    __getattr__ = public.near(__name__, __all__)
