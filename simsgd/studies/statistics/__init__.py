"""Statistics that reviewers believe: of times to a target that some runs never reach, over seeds that methods share.

    one method, of whose runs some may never arrive      restricted_mean, expected_running_time, median_time
    two methods on the same seeds                        compare_pair
    several methods on the same seeds                    rank
    looking after each seed, and stopping                compare_at_any_time, rank(…, any_time=True)
    several clusters or problems                         performance_profiles, profile_scores
    shares that arrived against time                     ecdf; kaplan_meier where horizons differ
    how many seeds it takes                              more_seeds_to_separate, paired_power
    how much the best of many tried flatters             winners_curse

CAUTION: where failures are possible and none was seen, the usual 95% interval of `restricted_mean` knows nothing of them. Where
one run in ten never arrives, and the others after about a quarter of the horizon, it covers only 75 to 87% with 3 to 20 seeds;
`interval="guaranteed"` covers at least 95% for every law, and is longer. The percentile bootstrap is here to be compared with.

Every function takes simulated seconds by seed, NaN or infinity where a run never reached the target (one that diverged or
failed never does), and a horizon, the simulated seconds up to which all runs were played. What is drawn is drawn from a named
stream of a seed, so the same seed gives the same bits.
"""

from typing import TYPE_CHECKING

from simsgd.studies.statistics.arriving import TimeToTarget, expected_running_time, median_time, restricted_mean
from simsgd.studies.statistics.curves import Steps, ecdf, kaplan_meier
from simsgd.studies.statistics.intervals import measured_coverage, percentile_bootstrap, share_interval, t_interval
from simsgd.studies.statistics.paired import PairedComparison, compare_pair
from simsgd.studies.statistics.planning import more_seeds_to_separate, paired_power, winners_curse
from simsgd.studies.statistics.profiles import performance_profiles, profile_scores
from simsgd.studies.statistics.ranking import Ranking, rank
from simsgd.studies.statistics.sequential import compare_at_any_time
from simsgd.support import public

__all__ = [
    "PairedComparison",
    "Ranking",
    "Steps",
    "TimeToTarget",
    "compare_at_any_time",
    "compare_pair",
    "ecdf",
    "expected_running_time",
    "kaplan_meier",
    "measured_coverage",
    "median_time",
    "more_seeds_to_separate",
    "paired_power",
    "percentile_bootstrap",
    "performance_profiles",
    "profile_scores",
    "rank",
    "restricted_mean",
    "share_interval",
    "t_interval",
    "winners_curse",
]
__dir__ = public.names(__all__)
if not TYPE_CHECKING:  # else every name would be there for a type checker
    __getattr__ = public.near(__name__, __all__)
