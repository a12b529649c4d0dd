"""Statistics that reviewers believe: of times to a target that some runs never reach, over seeds that methods share.

Every function takes simulated seconds by seed, NaN or infinity where a run never reached the target (one that diverged or
failed never does), and a horizon, the simulated seconds up to which all runs were played. What is drawn is drawn from a named
stream of a seed, so the same seed gives the same bits.
"""

from simsgd.studies.statistics.arriving import TimeToTarget, expected_running_time, median_time, restricted_mean
from simsgd.studies.statistics.intervals import measured_coverage, percentile_bootstrap, share_interval, t_interval
from simsgd.studies.statistics.paired import Comparison, compare_pair
from simsgd.support import public

__all__ = [
    "Comparison",
    "TimeToTarget",
    "compare_pair",
    "expected_running_time",
    "measured_coverage",
    "median_time",
    "percentile_bootstrap",
    "restricted_mean",
    "share_interval",
    "t_interval",
]
__dir__ = public.names(__all__)
