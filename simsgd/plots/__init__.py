"""Pictures of runs and tapes. Each function draws into an Axes, its own or a new one, and returns it.

Laws of this package:

1. It is the only one that imports matplotlib, and pyplot only when it has to make a figure. It changes no global settings
   and neither shows nor closes anything. It imports nothing of simsgd but `support`.
2. What is drawn is the data, unsmoothed; what is averaged, cut off or never happened is said in a label. A legend covers
   nothing, and lists what there is to see and no more.
3. Colours tell the same thing in every picture and are told apart by colour-blind readers (Okabe and Ito, 2008):
   `METHOD_COLOURS` for methods (synchronous SGD is blue and asynchronous SGD orange), `KINDS` for what workers do. Both
   differ in grey too, or are hatched.

New figures use the "constrained" layout, which leaves room for legends beside the axes; so should figures of your own:
`plt.subplots(2, 1, layout="constrained")`.
"""

from typing import TYPE_CHECKING

from simsgd.plots.common import AXIS_LABELS
from simsgd.plots.curves import metric
from simsgd.plots.distributions import staleness
from simsgd.plots.looks import LINES, METHOD_COLOURS, METHOD_MARKERS, colour_of, colours_of
from simsgd.plots.maps import heat_map
from simsgd.plots.panels import compare_timelines, legend_below
from simsgd.plots.workers import KINDS, shares, timeline
from simsgd.support import public

__all__ = [
    "AXIS_LABELS",
    "KINDS",
    "LINES",
    "METHOD_COLOURS",
    "METHOD_MARKERS",
    "colour_of",
    "colours_of",
    "compare_timelines",
    "heat_map",
    "legend_below",
    "metric",
    "shares",
    "staleness",
    "timeline",
]
__dir__ = public.names(__all__)
if not TYPE_CHECKING:  # else every name would be there for a type checker
    __getattr__ = public.near(__name__, __all__)
