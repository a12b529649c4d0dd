"""When workers fail: crashes, comings and goings, lost messages, and what three methods make of them.

Workers crash after an exponential time (`--between-failures`, mean seconds) and are back after another (`--downtime`). The job
in hand is lost, its time spent. What follows is up to the method:

- *synchronous, waits*: nobody goes on before the worker is back and has delivered (`MinibatchSGD()`);
- *synchronous, goes on*: the step is made of the gradients of those alive (`MinibatchSGD(wait=False)`);
- *asynchronous*: a crash stops nobody else (`AsyncSGD()`).

What to expect of jobs that are short beside the time between failures: a worker is up for a share A = between/(between + down)
of the time. Methods that go on do A times as many gradients per second as without failures; one that waits for everybody makes
headway only while all n are up, a share Aⁿ of the time. The table has these next to what was recorded. (At second 0 all are
up, so a short recording does somewhat better; and with few crashes in it, luck decides.)

Besides: a worker that crashes and never returns; an elastic cluster, where some workers join late and others leave; messages
that are lost and sent again. A method that can make no further progress is reported with the reason, who waits for whom.

Which worker is down when follows the clock and the seed alone. So all methods meet the very same crashes (common random
numbers), which is checked and said, and each has its own best step size in each situation. Step sizes are said per gradient:
synchronous SGD, which averages up to n gradients, steps n times as far.

    python scenarios/when_workers_fail.py
    python scenarios/when_workers_fail.py --between-failures 1000 100 10 --downtime 10
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import tyro
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter
from tqdm import tqdm

import simsgd as sg

WAITS, GOES_ON, ASYNCHRONOUS = "synchronous, waits", "synchronous, goes on", "asynchronous"
METHODS = {WAITS: sg.MinibatchSGD(), GOES_ON: sg.MinibatchSGD(wait=False), ASYNCHRONOUS: sg.AsyncSGD()}
COLOURS = {WAITS: sg.plots.LINES[0], GOES_ON: sg.plots.LINES[2], ASYNCHRONOUS: sg.plots.LINES[1]}
CRASHED = 2
"""The tape's number of the reason that a job was thrown away because its worker crashed."""
MEASURES = ("gradients_per_second", "updates_per_second", "down", "waiting", "wasted", "lost_jobs")


@dataclass(frozen=True)
class Settings:
    """Measure what failures of workers do to synchronous and to asynchronous SGD."""

    workers: int = 8
    """how many workers the cluster has, at least 3"""
    between_failures: tuple[float, ...] = (100.0, 30.0, 10.0, 5.0)
    """mean seconds from a worker's start, or return, to its next crash; the situations that are compared with no failures"""
    downtime: float = 2.0
    """mean seconds until a worker that has crashed is back"""
    gone_at: float = 1.0
    """when (seconds) one worker crashes that is never back, in the situation where one does"""
    elastic_workers: int = 2
    """how many workers join late, and how many others leave, in the elastic situation"""
    joins_at: float = 3.0
    """when (seconds) they join"""
    leaves_at: float = 6.0
    """when (seconds) others leave"""
    loss_probability: float = 0.02
    """share of the messages that are lost, from 0 to below 1, in the situation with lost messages"""
    timeout: float = 0.5
    """seconds until a lost message is sent again"""
    compute_seconds: float = 0.1
    """mean seconds of a job's computing"""
    compute_variation: float = 0.1
    """coefficient of variation (standard deviation over mean) of those times, which are gamma distributed"""
    latency: float = 0.001
    """seconds before a message's first byte arrives, in either direction"""
    target_accuracy: float = 0.95
    """share of the test samples to be classified rightly, above 0 and at most 1"""
    within: float = 60.0
    """simulated seconds that are recorded, and within which the target is to be reached"""
    look_every: float = 0.25
    """how far apart to look at the model (simulated seconds): the resolution of the time to the target"""
    step_sizes: tuple[float, ...] = (0.04, 0.06, 0.085, 0.12, 0.17, 0.24)
    """step sizes to try, per gradient (synchronous SGD, which averages, uses n times as much)"""
    seed: int = 0
    """the first seed; a seed names all random draws, the crashes among them"""
    seeds: int = 5
    """how many seeds to take medians over"""
    output: Path = Path("results/when_workers_fail")
    """folder for the pictures, the table and the numbers (netCDF); made if need be"""

    def checked(self) -> Settings:
        """Return the settings, sorted, if they make sense.

        Raises:
            ValueError: naming the flag that does not.
        """
        for flag, least in (("workers", 3), ("seeds", 1), ("seed", 0)):
            if getattr(self, flag) < least:
                raise ValueError(f"--{flag} must be at least {least}, got {getattr(self, flag)}")
        if not 1 <= self.elastic_workers < self.workers / 2:
            raise ValueError(
                f"--elastic-workers must be from 1 to less than half of --workers ({self.workers}), got {self.elastic_workers}"
            )
        if not 0 < self.target_accuracy <= 1:
            raise ValueError(f"--target-accuracy must be above 0 and at most 1, got {self.target_accuracy:g}")
        for flag in ("between_failures", "step_sizes", "downtime", "gone_at", "joins_at", "leaves_at", "within", "look_every"):
            name, values = f"--{flag.replace('_', '-')}", getattr(self, flag)
            if isinstance(values, tuple) and (not values or len(set(values)) < len(values)):
                raise ValueError(f"{name} must hold at least one number and none twice, got {values}")
            for value in values if isinstance(values, tuple) else (values,):
                if not 0 < value < math.inf:
                    unit = "" if flag == "step_sizes" else " (seconds)"
                    raise ValueError(f"{name} must be above 0{unit}, got {value:g}")
        sorted_rates = tuple(sorted(self.between_failures, reverse=True))
        return dataclasses.replace(self, between_failures=sorted_rates, step_sizes=tuple(sorted(self.step_sizes)))

    @property
    def rates(self) -> dict[str, float]:
        """The situations with a rate of failures by name: mean seconds between a worker's failures, infinite for none."""
        return {"no failures": math.inf} | {f"crash every {between:g} s": between for between in self.between_failures}

    def clusters(self) -> dict[str, sg.Cluster]:
        """Return the clusters, by situation."""
        n, down = self.workers, sg.times.Exponential(self.downtime)
        faults: dict[str, tuple[sg.faults.Fault, ...]] = {
            name: (sg.faults.Crashes(sg.times.Exponential(between), down),) if between < math.inf else ()
            for name, between in self.rates.items()
        }
        faults["one never returns"] = (sg.faults.Crash(worker=0, at=self.gone_at),)
        faults["elastic"] = (
            *(sg.faults.Join(worker=n - 1 - i, at=self.joins_at) for i in range(self.elastic_workers)),
            *(sg.faults.Leave(worker=i, at=self.leaves_at) for i in range(self.elastic_workers)),
        )
        faults["lost messages"] = (sg.faults.LostMessages(self.loss_probability, self.timeout),)
        jobs = sg.times.Gamma(self.compute_seconds, self.compute_variation)
        return {name: sg.Cluster(n, jobs, sg.networks.Link(self.latency), which) for name, which in faults.items()}

    def optimizer(self, method: str) -> Callable[[float], sg.optimizers.Tunable]:
        """Return what makes SGD of a step size per gradient, in the method's own terms."""
        return lambda step_size: sg.optimizers.sgd(step_size * (1 if method == ASYNCHRONOUS else self.workers))

    def expected(self, situation: str, method: str) -> float:
        """Return what share of its gradients per second a method should keep; not a number where there is no rule for it."""
        between = self.rates.get(situation, math.nan)
        up = 1.0 if between == math.inf else between / (between + self.downtime)
        return up**self.workers if method == WAITS else up


def when_workers_fail(settings: Settings) -> None:
    """Measure, print, draw and save."""
    clusters = settings.clusters()
    settings.output.mkdir(parents=True, exist_ok=True)  # before the work: better to fail now than after it
    tapes, stuck = record_all(settings, clusters)
    crash = draw_crash(settings, tapes)
    measured = learn(settings, clusters, tapes)
    text = f"{table(measured, settings, stuck)}\n\n{findings(measured, settings, tapes, stuck)}"
    print(text)
    (settings.output / "table.txt").write_text(text + "\n", encoding="utf-8")
    save(measured, settings.output / "when_workers_fail.nc")
    for name, figure in (("timeline.png", crash), ("failures.png", draw(measured, settings))):
        figure.savefig(settings.output / name, dpi=120)
        plt.close(figure)
    print(f"\nSaved the pictures, this table and the numbers in {settings.output}/")


# --- measuring -----------------------------------------------------------------------------------------------------------

Tapes = dict[tuple[str, str], list[sg.Tape]]  # by situation and method, one for each seed


def record_all(settings: Settings, clusters: dict[str, sg.Cluster]) -> tuple[Tapes, dict[tuple[str, str], str]]:
    """Record every method in every situation; return the tapes, and the reasons where a cluster was stuck."""
    size, end = sg.problems.digits().message_bytes, sg.Seconds(settings.within)
    tapes: Tapes = {}
    stuck = {}
    for situation, method in tqdm(list(itertools.product(clusters, METHODS)), desc="recording", unit="method", disable=None):
        options = {"message_bytes": size, "progress": False}
        try:
            tapes[situation, method] = [
                sg.record(METHODS[method], clusters[situation], end, settings.seed + k, **options)
                for k in range(settings.seeds)
            ]
        except sg.StuckError as error:
            stuck[situation, method] = str(error)
    return tapes, stuck


def in_time(tape: sg.Tape) -> tuple[float, ...]:
    """Return what is told of a tape, in the order of MEASURES."""
    shares, spent = tape.shares(), {kind: float((end - begin).sum()) for kind, (_, begin, end) in tape.stretches().items()}
    lost = int(np.count_nonzero(tape.discarded.reason == CRASHED))
    wasted = spent["discarded"] / ((spent["computing"] + spent["discarded"]) or 1.0)
    return (
        *(len(tape) / tape.end, tape.updates / tape.end),
        *(shares["down"].mean(), shares["waiting"].mean(), wasted, lost),
    )


def learn(settings: Settings, clusters: dict[str, sg.Cluster], tapes: Tapes) -> xarray.Dataset:
    """Tune each method in each situation; return all that was measured, not a number where a cluster was stuck.

    "seconds" to the target for each step size, infinite where it was not reached; "best", the place of the best step size;
    "best_seconds" and "best_gradients" to the target with it; and, of the tapes, MEASURES.
    """
    problem = sg.problems.digits()
    target = sg.Target("accuracy", at_least=settings.target_accuracy, within=sg.Seconds(settings.within))
    looks = {"evaluate_every": sg.Seconds(settings.look_every), "progress": False}
    shape = (len(clusters), len(METHODS), settings.seeds)
    seconds, chosen = np.full((*shape, len(settings.step_sizes)), np.nan), np.full((*shape, 2), np.nan)
    measures, best = np.full((*shape, len(MEASURES)), np.nan), np.zeros(shape[:2], int)
    places = {(s, m): (i, j) for (i, s), (j, m) in itertools.product(enumerate(clusters), enumerate(METHODS))}
    for (situation, method), recorded in tqdm(tapes.items(), desc="learning", unit="method", disable=None):
        i, j = places[situation, method]
        where, make = (METHODS[method], problem, clusters[situation]), settings.optimizer(method)
        tunings = [
            sg.study.tune(*where, settings.step_sizes, target, settings.seed + k, optimizer=make, **looks)
            for k in range(settings.seeds)
        ]
        seconds[i, j] = np.nan_to_num([tuning.seconds for tuning in tunings], nan=np.inf)
        best[i, j] = np.argmin(np.median(seconds[i, j], axis=0))
        costs = [tuning.runs[best[i, j]].to_target() for tuning in tunings]
        chosen[i, j] = np.nan_to_num([(cost.seconds, cost.samples / problem.batch_size) for cost in costs], nan=np.inf)
        measures[i, j] = [in_time(tape) for tape in recorded]
    if (seconds == 0).any():
        raise ValueError(f"--target-accuracy {settings.target_accuracy:g} is reached before the first update: ask for more")
    along = ("situation", "protocol", "seed")
    names = ("best_seconds", "best_gradients")
    return xarray.Dataset(
        {
            "seconds": ((*along, "step_size"), seconds),
            "best": (along[:2], best),
            **{name: (along, chosen[..., k]) for k, name in enumerate(names)},
            **{name: (along, measures[..., k]) for k, name in enumerate(MEASURES)},
        },
        coords={
            "situation": list(clusters),
            "protocol": list(METHODS),
            "seed": list(range(settings.seed, settings.seed + settings.seeds)),
            "step_size": list(settings.step_sizes),
        },
        attrs={"settings": repr(settings), "simsgd": sg.__version__},
    )


def save(dataset: xarray.Dataset, path: Path) -> None:
    """Write the numbers as netCDF, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        dataset.to_netcdf(partial, engine="h5netcdf")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


# --- telling -------------------------------------------------------------------------------------------------------------


def table(measured: xarray.Dataset, settings: Settings, stuck: dict[tuple[str, str], str]) -> str:
    """Return one line for each method in each situation: medians over the seeds."""
    lines = [
        f"{settings.workers} workers; {settings.within:g} s recorded on each of {settings.seeds} seeds; medians (range). "
        f"Target: accuracy ≥ {settings.target_accuracy:g}, at",
        "the best step size. Down: or not there. Lost: the share of all computing that was thrown away.",
        "",
        "                                           updates  gradients/s           share of time           step",
        "situation           method                 /s       recorded   expected   down   waiting  lost    size   "
        "seconds to target     gradients to target",
    ]
    for situation, method in itertools.product(measured.situation.values, METHODS):
        start = f"{situation:<18}  {method:<21}  "
        if (situation, method) in stuck:
            lines.append(f"{start}stuck, see below")
            continue
        cell = measured.sel(situation=situation, protocol=method)
        median = cell.median("seed")
        usual = measured.gradients_per_second.sel(situation="no failures", protocol=method).median()
        rule = settings.expected(situation, method) * float(usual)
        size = f"{float(measured.step_size[cell.best]):g}" if np.isfinite(median.best_seconds) else "-"
        lines.append(
            f"{start}{float(median.updates_per_second):<7.4g}  {float(median.gradients_per_second):<9.4g}  "
            f"{'-' if math.isnan(rule) else f'{rule:.4g}':<9}  {float(median.down):<5.1%}  {float(median.waiting):<7.1%}  "
            f"{float(median.wasted):<6.2%}  {size:<5}  {spread(cell.best_seconds):<20}  {spread(cell.best_gradients, '.0f')}"
        )
    return "\n".join(lines)


def spread(values: xarray.DataArray, digits: str = ".3g") -> str:
    """Return the median over the seeds, and the range; "never" for a target that was not reached."""
    known = values.values[~np.isnan(values.values)]
    if not len(known):
        return "neither gets there"
    said = [f"{value:{digits}}" if math.isfinite(value) else "never" for value in (np.median(known), known.min(), known.max())]
    return f"{said[0]} ({said[1]} to {said[2]})" if len(known) > 1 else said[0]


def findings(measured: xarray.Dataset, settings: Settings, tapes: Tapes, stuck: dict[tuple[str, str], str]) -> str:
    """Return what follows, with how far the seeds agree, and where the numbers cannot be trusted."""
    lines = [
        same_crashes(measured, settings, tapes),
        "Seconds to target, the method over asynchronous SGD, median (range over the seeds):",
    ]
    for situation in measured.situation.values:
        seconds = measured.best_seconds.sel(situation=situation)
        with np.errstate(invalid="ignore"):  # infinite over infinite: neither got there
            ratios = seconds / seconds.sel(protocol=ASYNCHRONOUS)
        said = "   ".join(
            f"{method}: {'stuck' if (situation, method) in stuck else spread(ratios.sel(protocol=method))}"
            for method in (WAITS, GOES_ON)
        )
        lines.append(f"  {situation:<18}  {said}")
    for (situation, method), reason in stuck.items():
        lines += ["", f"Stuck, {method}, {situation}:", textwrap.fill(reason, 120, initial_indent="  ", subsequent_indent="  ")]
    return "\n".join([*lines, *cautions(measured, settings, stuck)])


def same_crashes(measured: xarray.Dataset, settings: Settings, tapes: Tapes) -> str:
    """Say how many crashes there were in the situations with a rate of failures, and whether all methods met the same."""
    said, same = [], True
    for situation in list(settings.rates)[1:]:
        first, *others = (tapes[situation, method] for method in METHODS if (situation, method) in tapes)
        for one, other in ((one, other) for several in others for one, other in zip(first, several, strict=True)):
            for name in ("worker", "start", "end"):
                same &= np.array_equal(getattr(one.down, name), getattr(other.down, name), equal_nan=True)
        said.append(f"{sum(len(tape.down) for tape in first)} ({situation})")
    verdict = "the same for all methods, to the bit" if same else "NOT the same for all methods"
    return f"Crashes on all seeds together: {', '.join(said)}; who is down when is {verdict}."


def cautions(measured: xarray.Dataset, settings: Settings, stuck: dict[tuple[str, str], str]) -> list[str]:
    """Say where the numbers cannot be trusted."""
    found: dict[str, list[str]] = {}
    for place in itertools.product(measured.situation.values, METHODS):
        cell = measured.sel(situation=place[0], protocol=place[1])
        arrived = bool(np.isfinite(cell.best_seconds).all())
        doubts = {
            "some seeds missed the target within the time": not arrived and place not in stuck,
            "best step size at the edge of the grid": arrived and int(cell.best) in (0, len(settings.step_sizes) - 1),
        }
        for doubt in (doubt for doubt, so in doubts.items() if so):
            found.setdefault(doubt, []).append(f"{place[1]} ({place[0]})")
    return [f"CAUTION: {doubt}: {'; '.join(where)}." for doubt, where in found.items()]


# --- drawing -------------------------------------------------------------------------------------------------------------


def draw_crash(settings: Settings, tapes: Tapes) -> Figure:
    """Draw one crash, the job that it costs, and the return, as each of the methods lives through it."""
    situation = list(settings.rates)[max(1, len(settings.rates) - 2)]
    shown = {method: tapes[situation, method][0] for method in METHODS if (situation, method) in tapes}
    worker, start, end = telling_crash(list(shown.values()), settings)
    figure, axes = plt.subplots(len(shown), 1, figsize=(12, 10), sharex=True, squeeze=False, layout="constrained")
    since, until = max(0.0, start - 5 * settings.compute_seconds), end + 6 * settings.compute_seconds
    for ax, (method, tape) in zip(axes.flat, shown.items(), strict=True):
        sg.plots.timeline(tape, start=since, stop=until, ax=ax)
        updates = int(np.count_nonzero((tape.update_times >= since) & (tape.update_times <= until)))
        ax.set_title(f"{method}: {updates} updates", fontsize=10)
        ax.label_outer()
        beside = worker + (1 if worker < tape.workers - 1 else -1)
        for moment, text in ((start, "crash: the job in hand is lost"), (end, "back")):
            look = {"arrowprops": {"arrowstyle": "->"}, "bbox": {"boxstyle": "round", "facecolor": "white"}}
            ax.annotate(text, (moment, worker), (moment + 0.03 * (until - since), beside), **look, va="center", fontsize=8)
        if ax is not axes.flat[0]:
            ax.get_legend().remove()
    figure.suptitle(f"Worker {worker} crashes at {start:.2f} s and is back at {end:.2f} s ({situation})")
    return figure


def telling_crash(tapes: list[sg.Tape], settings: Settings) -> tuple[int, float, float]:
    """Return (worker, start, end) of a crash that costs every method a job, and lasts neither too short nor too long to show.

    Raises:
        ValueError: if nobody crashes on the first seed.
    """
    down = tapes[0].down
    spells = [(int(w), s, e) for w, s, e in zip(down.worker, down.start, np.fmin(down.end, tapes[0].end), strict=True)]
    if not spells:
        raise ValueError("--between-failures are so long that nobody crashes on the first seed: give less, or more --within")
    costs = [{(int(w), t) for w, t in zip(tape.discarded.worker, tape.discarded.time, strict=True)} for tape in tapes]
    wanted = 5 * settings.compute_seconds, max(1.5 * settings.downtime, 10 * settings.compute_seconds)
    costly = [spell for spell in spells if all(spell[:2] in cost for cost in costs)] or spells
    return next((spell for spell in costly if wanted[0] < spell[2] - spell[1] < wanted[1]), costly[0])


def draw(measured: xarray.Dataset, settings: Settings) -> Figure:
    """Draw what failures do, against how often workers crash."""
    figure, axes = plt.subplots(2, 2, figsize=(12, 8.5), layout="constrained")
    rates = measured.sel(situation=list(settings.rates))
    lines(axes[0, 0], rates.best_seconds, f"seconds to accuracy ≥ {settings.target_accuracy:g}", settings, logarithmic=True)
    lines(axes[0, 1], rates.gradients_per_second, "gradients per second (dashed: expected)", settings)
    lines(axes[1, 0], rates.waiting, "share of time spent waiting (dotted: down)", settings)
    lines(axes[1, 1], rates.wasted, "share of computing that was lost", settings)
    for ax in axes[1]:
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    x = range(len(settings.rates))
    axes[1, 0].plot(x, rates.down.sel(protocol=WAITS).median("seed"), ":", color="black", label="down (all methods)")
    for method, colour in COLOURS.items():
        usual = float(rates.gradients_per_second.sel(situation="no failures", protocol=method).median())
        axes[0, 1].plot(x, [usual * settings.expected(name, method) for name in settings.rates], "--", color=colour, alpha=0.7)
    handles, labels = axes[1, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle(
        f"{settings.workers} workers, down for {settings.downtime:g} s on average. Lines: medians of {settings.seeds} seeds; "
        "bands: their range"
    )
    return figure


def lines(ax: Axes, values: xarray.DataArray, title: str, settings: Settings, logarithmic: bool = False) -> None:
    """Draw a measure for each method; what is infinite lies on the upper edge, as a cross."""
    x = np.arange(len(settings.rates))
    for method, colour in COLOURS.items():
        own = values.sel(protocol=method).transpose("situation", "seed").values
        middle, low, high = np.median(own, axis=1), own.min(axis=1), own.max(axis=1)  # not a number where stuck
        finite, top = np.isfinite(middle), float(values.where(np.isfinite(values)).max()) * (3 if logarithmic else 1)
        ax.fill_between(x, low, np.minimum(high, top), where=np.isfinite(low), color=colour, alpha=0.15, linewidth=0)
        ax.plot(x[finite], middle[finite], "o-", color=colour, label=method)
        if not finite.all():
            ax.plot(x[~finite], np.ones((~finite).sum()), "x", color=colour, transform=ax.get_xaxis_transform(), clip_on=False)
    if logarithmic:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_locator(NullLocator())
        least = float(values.where(np.isfinite(values)).min())
        ax.set_ylim(0.8 * least if least < settings.within else settings.within / 10, settings.within)
    else:
        ax.set_ylim(bottom=0)
    ax.set_xticks(x, ["never" if between == math.inf else f"{between:g} s" for between in settings.rates.values()])
    ax.set_xlabel("mean time between a worker's failures")
    missed = "" if np.isfinite(values).all() else f"   (×: median not within {settings.within:g} s)"
    ax.set_title(f"{title}{missed}", fontsize=10)
    ax.grid(alpha=0.25)


def main() -> None:
    """Run from the command line."""
    try:
        when_workers_fail(tyro.cli(Settings).checked())
    except (ValueError, TypeError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
