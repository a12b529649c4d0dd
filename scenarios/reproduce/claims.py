"""The form of a reproduction: what a paper claims, a rule that was written before the number was known, and a verdict.

A script of this folder says its claims, measures, and hands both to `report`:

    import claims            # first: it lets a script find the modules that all scenarios share
    import common

    CLAIM = claims.Claim("Local steps save time where communication costs.", "Stich (2019), section 1",
                         "seconds to the target at H = 8 over those at H = 1", below=1.0)

    def my_paper(flags, saved):
        saved.figure(draw(...), "my_paper.png")
        claims.report(saved, PAPER, [CLAIM.judged(claims.ratio_of(seconds_8, seconds_1))])

    def main(arguments=None):
        claims.run(Flags, my_paper, arguments)

A claim has one number and an open range, `above` to `below`. It reproduces if the whole interval of the number lies inside, it
does not if the whole interval lies outside, and else it is not decided: more --seeds may decide it. The exit status says
whether the script ran, not what it found.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

sys.path.append(str(Path(__file__).resolve().parent.parent))  # where the scenarios' shared modules are

import common
from measuring import table

import simsgd as sg

LANES = 8
"""How many runs play side by side: always as many, so that all share what is compiled, which is most of what a script takes."""
REPRODUCES, DOES_NOT, UNDECIDED = "reproduces", "does not reproduce", "not decided"

# --- what is measured ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """A number with its 95% interval over seeds; `runs` is how many seeds, 0 for what has no noise."""

    value: float
    low: float
    high: float
    runs: int = 0
    unit: str = ""

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "no number"
        said = f"{self.value:.3g}{f' {self.unit}' if self.unit else ''}"
        if not self.runs or math.isnan(self.low):
            return said
        return f"{said} ({self.low:.3g} to {self.high:.3g}, {self.runs} seeds)"


def exactly(value: float, unit: str = "") -> Measured:
    """Return a number that has no noise: a count of bytes, or where an iteration without noise ends."""
    return Measured(float(value), float(value), float(value), unit=unit)


def mean_of(values: object, unit: str = "") -> Measured:
    """Return the mean over seeds with Student's interval; one seed, or a run that ended in no number, has no interval."""
    given = np.asarray(values, float).ravel()
    if not np.isfinite(given).all():
        return Measured(math.nan, math.nan, math.nan, len(given), unit)
    return Measured(float(given.mean()), *sg.studies.statistics.t_interval(given), len(given), unit)


def ratio_of(first: object, second: object = 1.0, horizon: float = math.inf) -> Measured:
    """Return the geometric mean of ratios, paired by seed; who never arrived (NaN or infinite) counts as the horizon.

    Seeds on which neither arrived say nothing: there is no number then.
    """
    one, other = (np.asarray(each, float).ravel() for each in (first, second))
    somebody = np.isfinite(one) | np.isfinite(other)
    with np.errstate(invalid="ignore", divide="ignore"):  # infinite where a horizon would be needed
        ratios = np.where(somebody, np.fmin(one, horizon) / np.fmin(other, horizon), np.nan)
        logs = mean_of(np.log(ratios))
    return Measured(*(math.exp(each) for each in (logs.value, logs.low, logs.high)), logs.runs, "×")


# --- claims and verdicts -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """A claim of a paper, and the rule by which it is judged.

    Args:
        says: the paper's sentence in our own words.
        where: in the paper, with "(from memory)" after what could not be looked up.
        measures: the number that decides, in words.
        above, below: the open range in which the number must lie; at least one end.
    """

    says: str
    where: str
    measures: str
    above: float = -math.inf
    below: float = math.inf

    def __post_init__(self) -> None:
        if not self.above < self.below or not (math.isfinite(self.above) or math.isfinite(self.below)):
            raise ValueError(f"a claim needs above < below, and one of them finite, got {self.above} and {self.below}")

    @property
    def rule(self) -> str:
        """What must be so."""
        ends = {"above": self.above, "below": self.below}
        return " and ".join(f"{word} {end:g}" for word, end in ends.items() if math.isfinite(end))

    def judged(self, measured: Measured, remark: str = "") -> Judged:
        """Return the verdict on a claim; `remark` says what the rule cannot, such as why a claim fails here."""
        return Judged(self, measured, remark)


@dataclass(frozen=True)
class Judged:
    """A claim with what was measured."""

    claim: Claim
    measured: Measured
    remark: str = ""

    @property
    def verdict(self) -> str:
        """What the rule says."""
        low, high = self.measured.low, self.measured.high
        if self.claim.above < low and high < self.claim.below:
            return REPRODUCES
        return DOES_NOT if high <= self.claim.above or low >= self.claim.below else UNDECIDED

    @property
    def why(self) -> str:
        """Why the verdict is that."""
        what, words = ("interval", self.measured) if self.measured.runs else ("number", self.measured)
        if math.isnan(words.low) or math.isnan(words.high):
            least = "there is one seed only" if self.measured.runs == 1 else "a run ended in no number"
            said = f"there is no interval: {least}"
        else:
            place = {REPRODUCES: "is", DOES_NOT: "is not", UNDECIDED: "is partly"}[self.verdict]
            said = f"the {what} {place} {self.claim.rule}"
        return f"{said}; {self.remark}" if self.remark else said

    @property
    def told(self) -> dict[str, Any]:
        """All of it, for JSON; what is no number is None."""
        numbers = {name: getattr(self.measured, name) for name in ("value", "low", "high")}
        finite = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        said = {name: getattr(self.claim, name) for name in ("says", "where", "measures", "rule")}
        seeds = {"seeds": self.measured.runs, "unit": self.measured.unit}
        return said | finite | seeds | {"found": str(self.measured), "verdict": self.verdict, "why": self.why}


COLUMNS = {"claim": 38, "measured": 34, "reproduces if": 14, "found": 20, "verdict": 30}
"""Of the table, with their widths in characters."""


def report(saved: common.Saved, paper: str, judged: Sequence[Judged], *notes: str) -> None:
    """Print the verdicts and keep them, as claims.txt and claims.json; `notes` are further paragraphs for the text."""
    rows: list[list[str]] = []
    for each in judged:
        claim = each.claim
        texts = f"{claim.says} [{claim.where}]", claim.measures, claim.rule, str(each.measured), f"{each.verdict}: {each.why}"
        rows += [*_wrapped(texts), [""] * len(COLUMNS)]
    saved.text(paper, table(list(COLUMNS), rows).rstrip(), *notes, name="claims.txt")
    everything = {
        "paper": paper,
        "script": Path(inspect.getfile(type(saved.flags))).name,
        "settings": repr(saved.flags),
        "simsgd": sg.__version__,
        "claims": [each.told for each in judged],
    }
    saved.text(json.dumps(everything, indent=1, ensure_ascii=False), name="claims.json", silent=True)


def _wrapped(texts: Iterable[str]) -> list[list[str]]:
    """Return a row of texts as lines of a table."""
    cells = [textwrap.wrap(text, width) for text, width in zip(texts, COLUMNS.values(), strict=True)]
    height = max(map(len, cells))
    return [list(line) for line in zip(*(cell + [""] * (height - len(cell)) for cell in cells), strict=True)]


# --- flags ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Flags(common.Flags):
    """The flags of every reproduction; a script's own say their values for `--quick` as its `QUICK`."""

    QUICK: ClassVar[Mapping[str, Any]] = {"seeds": 2}

    seed: common.Whole = 0
    """the first seed; the same flags with the same seed print the same numbers"""
    seeds: common.Count = 5
    """how many seeds to report on; intervals need at least 2"""
    quick: bool = False
    """only see whether it runs, with fewer and smaller runs; verdicts then mean nothing. Flags that are given stay"""

    @property
    def all_seeds(self) -> list[int]:
        """The seeds to report on."""
        return list(range(self.seed, self.seed + self.seeds))

    def checked(self) -> Flags:
        """Return the flags, small ones where that is asked for, or raise ValueError naming the flag that makes no sense."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        small = {name: value for name, value in self.QUICK.items() if getattr(self, name) == defaults[name]}
        return common.Flags.checked(dataclasses.replace(self, **small) if self.quick else self)


@dataclass(frozen=True, kw_only=True)
class Tuned(Flags):
    """The flags of the reproductions in which each method has its own step size, chosen on seeds that are not reported."""

    QUICK: ClassVar[Mapping[str, Any]] = {"seeds": 2, "tuning_seeds": 1}

    tuning_seeds: common.Count = 3
    """how many other seeds to choose step sizes on: by the mean time to the target, who never arrives counts until the end"""
    folder: Path | None = None
    """folder that keeps finished runs, so that what was interrupted, or is asked for again, is not made again"""

    @property
    def chosen_by(self) -> list[int]:
        """The seeds to choose step sizes on."""
        first = self.seed + common.TUNING
        return list(range(first, first + self.tuning_seeds))

    def compare(self, methods: Mapping[str, Any], problem: Any, cluster: Any, **more: Any) -> sg.studies.Comparison:
        """Return `sg.compare` with the seeds and the folder of the flags; `more` are further arguments."""
        given = {"seeds": self.all_seeds, "tuning_seeds": self.chosen_by, "folder": self.folder, "lanes": LANES}
        return sg.compare(methods, problem, cluster, **(given | more))


def run[F: Flags](kind: type[F], script: Callable[[F, common.Saved], None], arguments: Sequence[str] | None) -> None:
    """Read the flags and run a script, as `common.run`; results are kept in results/reproduce unless told otherwise."""
    common.run(kind, script, arguments, Path("results", "reproduce"))
