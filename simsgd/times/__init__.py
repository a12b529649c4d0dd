"""How long a job takes: laws of compute time, in seconds. A job of several local steps takes the sum of so many draws.

What holds for every law of compute time here, and is tested:

1. A law is a frozen description. A worker draws from a random stream of its own, so changing one worker's law does not change
   the draws of another.
2. A law states its exact moments, `moments(worker)`, and one test compares the draws of every law with them.
3. All times are seconds, finite and not negative. The recorder refuses any other draw and names the law.
4. Slowness that depends on the clock (a slow spell, a pause) is drawn as a function of the clock alone, so it does not depend
   on the method. Laws can be nested in any order; slowness that follows the clock always applies to the whole of a job's work.

To write your own law, subclass `Law`; see `notebooks/write_your_own.ipynb`. Times that you measured can be played back
(`Recorded`), or a law can be fitted to them (`fit`).
"""

from typing import TYPE_CHECKING

from simsgd.support import public
from simsgd.times.clock import Pauses, SlowSpells
from simsgd.times.combined import DrawnSlowness, PerWorker, Speeds
from simsgd.times.fitting import Fit, fit
from simsgd.times.law import Law, Moments
from simsgd.times.likelihood import Candidate
from simsgd.times.recorded import EndOfRecordingError, Recorded
from simsgd.times.repeated import Repeated
from simsgd.times.scaled import Scaled
from simsgd.times.scheduled import Slowdown, Slowdowns
from simsgd.times.slowest import Slowest
from simsgd.times.textbook import Constant, Exponential, Pareto, ShiftedExponential, Weibull
from simsgd.times.variation import AutocorrelatedLognormal, Gamma, Lognormal

__all__ = [
    "AutocorrelatedLognormal",
    "Candidate",
    "Constant",
    "DrawnSlowness",
    "EndOfRecordingError",
    "Exponential",
    "Fit",
    "Gamma",
    "Law",
    "Lognormal",
    "Moments",
    "Pareto",
    "Pauses",
    "PerWorker",
    "Recorded",
    "Repeated",
    "Scaled",
    "ShiftedExponential",
    "SlowSpells",
    "Slowdown",
    "Slowdowns",
    "Slowest",
    "Speeds",
    "Weibull",
    "fit",
]
__dir__ = public.names(__all__)
if not TYPE_CHECKING:  # else every name would be there for a type checker
    __getattr__ = public.near(__name__, __all__)
