"""Pictures of runs and tapes. Each function draws into an Axes, its own or a new one, and returns it.

Laws of this package:

1. It is the only one that imports matplotlib, and pyplot only when it has to make a figure. It changes no global settings
   and neither shows nor closes anything. It imports nothing of simsgd but `checks`.
2. What is drawn is the data, unsmoothed; what is cut off or never happened is said in a label.
3. Colours tell the same thing in every picture and are told apart by colour-blind readers (Okabe and Ito, 2008): `LINES`
   for runs in their order, `KINDS` for what workers do, which also differ in grey, or are hatched.

New figures use the "constrained" layout, which leaves room for legends beside the axes; so should figures of your own:
`plt.subplots(2, 1, layout="constrained")`.
"""

from simsgd.plots.common import AXIS_LABELS, LINES
from simsgd.plots.curves import metric
from simsgd.plots.distributions import staleness
from simsgd.plots.maps import heat_map
from simsgd.plots.workers import KINDS, shares, timeline

__all__ = ["AXIS_LABELS", "KINDS", "LINES", "heat_map", "metric", "shares", "staleness", "timeline"]
