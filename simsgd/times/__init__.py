"""How long a job takes: laws of compute time, in seconds.

Laws of this package:

1. A law is a frozen description. A worker's draws come from the stream it is handed, which belongs to that worker; so one
   worker's law never touches another worker's draws.
2. A law states its own truth, `moments(worker)`: one test checks every law's draws against it.
3. Seconds everywhere; a drawn time is finite and not negative (the recorder refuses anything else, and names the law).
4. What depends on the clock (a slow spell, a pause) is drawn as a function of the clock alone, so it is the same whatever
   the method makes the worker do. Laws may be put around one another in any order; what follows the clock always stretches
   the whole of a job's work.

A law of your own is a subclass of `Law`; see `notebooks/write_your_own.ipynb`. A table of times that you measured becomes a
law as it stands (`Recorded`), or by the laws that fit it (`fit`).
"""

from simsgd.support import public
from simsgd.times.clock import Pauses, SlowSpells
from simsgd.times.combined import DrawnSlowness, PerWorker, Speeds
from simsgd.times.fitting import Fit, fit
from simsgd.times.law import Law, Moments
from simsgd.times.likelihood import Candidate
from simsgd.times.recorded import EndOfRecordingError, Recorded
from simsgd.times.scheduled import Slowdown, Slowdowns
from simsgd.times.textbook import Constant, Exponential, Pareto, ShiftedExponential, Weibull
from simsgd.times.variation import AutocorrelatedLognormal, Gamma, Lognormal
from simsgd.times.work import LocalSteps, Scaled

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
    "LocalSteps",
    "Lognormal",
    "Moments",
    "Pareto",
    "Pauses",
    "PerWorker",
    "Recorded",
    "Scaled",
    "ShiftedExponential",
    "SlowSpells",
    "Slowdown",
    "Slowdowns",
    "Speeds",
    "Weibull",
    "fit",
]
__dir__ = public.names(__all__)
