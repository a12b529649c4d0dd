"""What the scenarios share: flags and their limits, running and saving. `measuring` and `drawing` are the rest of it.

A scenario says its flags (a subclass of `Flags`), its clusters and its question, and hands a function to `run`.
"""

from __future__ import annotations

import dataclasses
import io
import math
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import tyro
import xarray
from matplotlib.figure import Figure

import simsgd as sg

# --- flags ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Limits:
    """What a number given as a flag must be; infinite and undefined numbers are refused always."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    unit: str = ""

    def check(self, flag: str, value: float) -> None:
        """Raise ValueError, naming the flag, for a number outside."""
        if self.least <= value <= self.most and self.above < value < self.below:
            return
        words = {"at least": self.least, "above": self.above, "below": self.below, "at most": self.most}
        wanted = " and ".join(f"{word} {limit:g}" for word, limit in words.items() if math.isfinite(limit))
        raise ValueError(f"{flag} must be finite and {wanted}{f' ({self.unit})' if self.unit else ''}, got {value:g}")


Whole = Annotated[int, Limits(least=0)]
Count = Annotated[int, Limits(least=1)]
Seconds = Annotated[float, Limits(above=0, unit="seconds")]
Latency = Annotated[float, Limits(least=0, unit="seconds")]
Share = Annotated[float, Limits(least=0, most=1)]
Accuracy = Annotated[float, Limits(above=0, most=1)]
Positive = Annotated[float, Limits(above=0)]
Slowness = Annotated[float, Limits(least=1)]
Link = typing.Literal[*sg.networks.PRESETS]  # type: ignore[valid-type]


@dataclass(frozen=True, kw_only=True)
class Flags:
    """The flags of every scenario. Lists are sorted, hold something, and nothing twice."""

    output: Path = Path("results")
    """folder for pictures, tables and numbers; made if need be"""
    compilation_cache: Path | None = None
    """folder that keeps what was compiled, so that the next start is quicker; made if need be"""

    def checked(self) -> typing.Self:
        """Return the flags with their lists in order, or raise ValueError naming the flag that makes no sense."""
        hints, in_order = typing.get_type_hints(type(self), include_extras=True), {}
        for name, value in vars(self).items():
            flag, hint = f"--{name.replace('_', '-')}", hints[name]
            if isinstance(value, tuple):
                if not value or len(set(value)) < len(value):
                    raise ValueError(f"{flag} must hold at least one value and none twice, got {value}")
                hint = typing.get_args(hint)[0]
                in_order[name] = value if isinstance(value[0], str) else tuple(sorted(value))
            for limits in (mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Limits)):
                for each in value if isinstance(value, tuple) else (value,):
                    limits.check(flag, each)
        flags = dataclasses.replace(self, **in_order)
        flags.check()
        return flags

    def check(self) -> None:
        """Refuse what only shows when clusters are made: raise ValueError before any work is begun."""


@dataclass(frozen=True, kw_only=True)
class Recording(Flags):
    """The flags of the scenarios with a cluster."""

    seed: Whole = 0
    """the first seed; a seed names all random draws, and the same flags with the same seed print the same numbers"""
    workers: Count = 8
    """how many workers the cluster has"""
    compute_seconds: Seconds = 0.1
    """mean seconds of a job's computing, on a worker that is not slowed"""
    compute_variation: Positive = 0.5
    """coefficient of variation (standard deviation over mean) of a job's compute time"""


TUNING = 1_000_000
"""The first tuning seed is so far from the first that is reported."""


@dataclass(frozen=True, kw_only=True)
class Comparing(Recording):
    """The flags of the scenarios that compare methods, each at its best step size, on seeds that it was not chosen by."""

    seeds: Count = 5
    """how many seeds to report on"""
    tuning_seeds: Count = 3
    """how many other seeds to choose step sizes on: by the mean time to the target, who never arrives counts until the end"""
    target_accuracy: Accuracy = 0.9
    """share of the test samples to be classified rightly, above 0 and at most 1"""
    step_sizes: tuple[Positive, ...] = ()
    """step sizes to begin with, for each method; more, for all, where the best of one lies at the edge"""
    folder: Path | None = None
    """folder that keeps finished runs, so that what was interrupted, or is asked for again, is not made again"""

    @property
    def all_seeds(self) -> list[int]:
        """The seeds to report on, one after the other."""
        return list(range(self.seed, self.seed + self.seeds))

    def target(self, **bounds: sg.Seconds) -> sg.Target:
        """Return the accuracy to be reached; `bounds` are `within` and `kept`."""
        return sg.Target("accuracy", at_least=self.target_accuracy, **bounds)

    def compare(
        self, methods: Mapping[str, typing.Any], problem: sg.Problem, cluster: sg.Cluster | Mapping[str, sg.Cluster], **more
    ) -> sg.studies.Comparison:
        """Return `sg.compare` of methods with the seeds, step sizes and folder of the flags; `more` are further arguments."""
        chosen_by = range(self.seed + TUNING, self.seed + TUNING + self.tuning_seeds)
        seeds = {"seeds": self.all_seeds, "tuning_seeds": chosen_by, "folder": self.folder}
        found = sg.compare(methods, problem, cluster, step_sizes=self.step_sizes, **seeds, **more)
        if (found.seconds == 0).any():
            raise ValueError(f"--target-accuracy {self.target_accuracy:g} is reached before the first update: ask for more")
        return found


@dataclass(frozen=True, kw_only=True)
class Timed(Comparing):
    """The flags of the scenarios that evaluate the model by the clock."""

    latency: Latency = 0.001
    """seconds before a message's first byte arrives, in either direction"""
    target_accuracy: Accuracy = 0.95
    within: Seconds = 60.0
    """when to give up on the target (simulated seconds)"""
    kept: Seconds = 1.0
    """for how long (simulated seconds) the target is to be kept, to count as reached when it first was"""
    evaluate_every: Seconds = 0.2
    """how far apart to evaluate the model (simulated seconds): the resolution of the time to the target"""

    @property
    def goal(self) -> dict[str, typing.Any]:
        """What `compare` is told: the target with its bound, and when to evaluate."""
        within, kept = sg.Seconds(self.within), sg.Seconds(min(self.kept, self.within))
        return {"until": self.target(within=within, kept=kept), "evaluate_every": sg.Seconds(self.evaluate_every)}


def how_many(share: float, workers: int) -> int:
    """Return a share of the workers as whole workers, rounded up: at least one, where the share is above 0."""
    return math.ceil(share * workers - 1e-9)


def with_stragglers(jobs: sg.times.Law, workers: int, slowness: float, share: float) -> sg.times.Law:
    """Return a law by which the last workers, a share of them, are so many times slower."""
    slow = how_many(share, workers)
    return sg.times.Speeds(jobs, (1.0,) * (workers - slow) + (1 / slowness,) * slow)


# --- running and saving --------------------------------------------------------------------------------------------------


class Saved:
    """The folder of results, made before the work: better to fail now than after it; and the list of what was saved."""

    def __init__(self, flags: Flags) -> None:
        flags.output.mkdir(parents=True, exist_ok=True)
        self.flags, self.paths = flags, []

    def _path(self, name: str) -> Path:
        self.paths.append(self.flags.output / name)
        return self.paths[-1]

    def text(self, *parts: str, name: str = "table.txt", silent: bool = False) -> None:
        """Print text, its parts a line apart, unless that is to be silent, and keep it."""
        text = "\n\n".join(parts)
        if not silent:
            print(text, end="\n\n")
        with sg.writing(self._path(name)) as file:
            file.write(f"{text}\n".encode())

    def numbers(self, dataset: xarray.Dataset, name: str) -> None:
        """Write what was measured as netCDF, with the flags, whole or not at all."""
        netcdf = io.BytesIO()
        dataset.assign_attrs(settings=repr(self.flags), simsgd=sg.__version__).to_netcdf(netcdf, engine="h5netcdf")
        with sg.writing(self._path(name)) as file:
            file.write(netcdf.getbuffer())

    def run(self, run: sg.Run | sg.studies.Results, name: str) -> None:
        """Write a run, to load with `sg.Run.load`, or the results of a study, to load with `sg.studies.Results.load`."""
        run.save(self._path(name))

    def figure(self, figure: Figure, name: str) -> None:
        """Write a picture and close its figure."""
        with sg.writing(self._path(name)) as file:
            figure.savefig(file, dpi=120, format=Path(name).suffix[1:])
        plt.close(figure)


def run[F: Flags](
    kind: type[F], scenario: Callable[[F, Saved], None], arguments: Sequence[str] | None, results: Path = Path("results")
) -> None:
    """Read the flags from the command line, or from `arguments`; run the scenario; end with the list of what was saved.

    Unless the flags say otherwise, that is kept in a folder of the scenario's name in `results`.

    What makes no sense ends the program with "error: …" and exit code 1.
    """
    flags = tyro.cli(kind, args=arguments, default=kind(output=results / scenario.__name__))
    try:
        flags = flags.checked()
        saved = Saved(flags)
        if flags.compilation_cache is not None:
            sg.compilation_cache(flags.compilation_cache)
        scenario(flags, saved)
    except (ValueError, TypeError, OSError) as error:
        sys.exit(f"error: {error}")
    print("saved:", *saved.paths, sep="\n  ")
