"""When workers fail: crashes, comings and goings, lost messages, and what three methods make of them.

Workers crash after an exponential time (`--between-failures`, mean seconds) and are back after another (`--downtime`). The job
in hand is lost, its time spent. What follows is up to the method:

- *synchronous, waits*: nobody goes on before the worker is back and has delivered (`MinibatchSGD()`);
- *synchronous, goes on*: the step is made of the gradients of those alive (`MinibatchSGD(wait=False)`);
- *asynchronous*: a crash stops nobody else (`AsyncSGD()`).

What to expect of jobs that are short beside the time between failures: a worker is up for a share A = between/(between + down)
of the time. Methods that go on do A times as many gradients per second as without failures; one that waits for everybody makes
headway only while all n are up, a share Aⁿ of the time. (At second 0 all are up, so a short recording does somewhat better.)

Besides: a worker that never returns; workers that join late or leave; lost messages. All methods meet the same crashes.

    python scenarios/when_workers_fail.py --between-failures 1000 100 10 --downtime 10
"""

from __future__ import annotations

import functools
import itertools
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import common
import numpy as np
import xarray
from measuring import TRUSTED, arriving, by_cell, chosen, median, ratio, reported, spread_of, sweep
from pictures.when_workers_fail import draw, draw_crash

import simsgd as sg

WAITS, GOES_ON, ASYNCHRONOUS = "synchronous, waits", "synchronous, goes on", "asynchronous"
METHODS = {WAITS: sg.MinibatchSGD(), GOES_ON: sg.MinibatchSGD(wait=False), ASYNCHRONOUS: sg.AsyncSGD()}
CELLS = ("situation", "protocol")
Tapes = dict[tuple[str, str], list[sg.Tape]]  # by situation and method, one for each seed; none where a method is stuck


@dataclass(frozen=True, kw_only=True)
class Flags(common.Timed):
    """Measure what failures of workers do to synchronous and to asynchronous SGD."""

    workers: Annotated[int, common.Limits(least=3)] = 8
    """how many workers the cluster has, at least 3"""
    between_failures: tuple[common.Seconds, ...] = (100.0, 30.0, 10.0, 5.0)
    """mean seconds from a worker's start, or return, to its next crash; the situations that are compared with no failures"""
    downtime: common.Seconds = 2.0
    """mean seconds until a worker that has crashed is back"""
    gone_at: common.Seconds = 1.0
    """when (seconds) one worker crashes that is never back, in the situation where one does"""
    elastic_workers: common.Count = 2
    """how many workers join late, and how many others leave, in the elastic situation"""
    joins_at: common.Seconds = 3.0
    """when (seconds) they join"""
    leaves_at: common.Seconds = 6.0
    """when (seconds) others leave"""
    loss_probability: float = 0.02
    """share of the messages that are lost, from 0 to below 1, in the situation with lost messages"""
    timeout: float = 0.5
    """seconds until a lost message is sent again"""
    compute_variation: common.Positive = 0.1
    evaluate_every: common.Seconds = 0.25
    step_sizes: tuple[common.Positive, ...] = (0.04, 0.06, 0.085, 0.12, 0.17, 0.24)
    """step sizes to try, per gradient (synchronous SGD, which averages, uses n times as much)"""
    seeds: common.Count = 5

    @property
    def rates(self) -> dict[str, float]:
        """The situations with a rate of failures by name: mean seconds between a worker's failures, infinite for none."""
        falling = sorted(self.between_failures, reverse=True)
        return {"no failures": math.inf} | {f"crash every {between:g} s": between for between in falling}

    def clusters(self) -> dict[str, sg.Cluster]:
        """Return the clusters, by situation."""
        n, elastic, down = self.workers, range(self.elastic_workers), sg.times.Exponential(self.downtime)
        if not self.elastic_workers < n / 2:
            raise ValueError(f"--elastic-workers must be less than half of --workers ({n}), got {self.elastic_workers}")
        faults: dict[str, list[sg.faults.Fault]] = {"no failures": []}
        for name, between in list(self.rates.items())[1:]:
            faults[name] = [sg.faults.Crashes(sg.times.Exponential(between), down)]
        faults["one never returns"] = [sg.faults.Crash(worker=0, at=self.gone_at)]
        faults["elastic"] = [sg.faults.Join(worker=n - 1 - i, at=self.joins_at) for i in elastic]
        faults["elastic"] += [sg.faults.Leave(worker=i, at=self.leaves_at) for i in elastic]
        faults["lost messages"] = [sg.faults.LostMessages(self.loss_probability, self.timeout)]
        jobs, link = sg.times.Gamma(self.compute_seconds, self.compute_variation), sg.networks.Link(self.latency)
        return {name: sg.Cluster(n, jobs, link, which) for name, which in faults.items()}

    check = clusters

    def method(self, name: str, step_size: float) -> sg.Method:
        """Return a method; `step_size` is per gradient, and the synchronous ones average n of them."""
        return sg.Method(METHODS[name], sg.optimizers.sgd(step_size * (1 if name == ASYNCHRONOUS else self.workers)))

    def expected(self, situation: str, method: str) -> float:
        """Return what share of its gradients per second a method should keep; not a number where there is no rule for it."""
        between = self.rates.get(situation, math.nan)
        up = 1.0 if between == math.inf else between / (between + self.downtime)
        return up**self.workers if method == WAITS else up


def when_workers_fail(flags: Flags, saved: common.Saved) -> None:
    """Measure, print, draw and save."""
    tapes, stuck = record_all(flags)
    situation = list(flags.rates)[max(1, len(flags.rates) - 2)]
    shown = {method: tapes[situation, method][0] for method in METHODS if (situation, method) in tapes}
    crash = draw_crash(shown, situation, flags.compute_seconds, flags.downtime)
    along = {"situation": flags.clusters(), "protocol": METHODS}
    timed = sweep(along, functools.partial(in_time, flags, tapes), "measuring tapes", seed=flags.all_seeds)
    learned, cautions = learn(flags, tapes)
    measured = timed.merge(learned)
    measured["expected"] = measured.share_kept * measured.gradients_per_second.sel(situation="no failures").median("seed")
    over = ratio(measured.best_seconds, measured.best_seconds.sel(protocol=ASYNCHRONOUS, drop=True))
    saved.text(tell(measured.assign(over=over), flags), same_crashes(flags, tapes), findings(cautions, stuck))
    saved.numbers(measured, "when_workers_fail.nc")
    saved.figure(crash, "timeline.png")
    title = f"{flags.workers} workers, down for {flags.downtime:g} s on average. Lines: medians of {flags.seeds} seeds; bands"
    saved.figure(
        draw(measured.sel(situation=list(flags.rates)), f"seconds to {flags.target()}", f"{title}: ranges"), "failures.png"
    )


def record_all(flags: Flags) -> tuple[Tapes, dict[tuple[str, str], str]]:
    """Record every method in every situation; return the tapes, and the reasons where a cluster was stuck."""
    end, size, tapes, stuck = sg.Seconds(flags.within), sg.problems.digits().message_bytes, {}, {}
    for (situation, cluster), method in itertools.product(flags.clusters().items(), METHODS):
        try:
            tapes[situation, method] = [
                sg.record(METHODS[method], cluster, end, seed, size, progress=False) for seed in flags.all_seeds
            ]
        except sg.StuckError as error:
            stuck[situation, method] = str(error)
    return tapes, stuck


def learn(flags: Flags, tapes: Tapes) -> tuple[xarray.Dataset, list[str]]:
    """Compare in each situation the methods that are not stuck there; return also where that cannot be trusted."""
    clusters, problem, found, cautions = flags.clusters(), sg.problems.digits(), [], []
    alive = {situation: tuple(name for name in METHODS if (situation, name) in tapes) for situation in clusters}
    for names in dict.fromkeys(alive.values()):
        methods = {name: functools.partial(flags.method, name) for name in names}
        where = {situation: cluster for situation, cluster in clusters.items() if alive[situation] == names}
        compared = flags.compare(methods, problem, where, **flags.goal)
        here = reported(compared, problem.batch_size).rename(cluster="situation")
        found.append(here.reindex(protocol=list(METHODS)))
        cautions += compared.cautions
    together = xarray.concat(found, "situation", join="exact", coords="minimal", data_vars="minimal", compat="override")
    return together.sel(situation=list(clusters)), cautions


def in_time(flags: Flags, tapes: Tapes, situation: str, method: str) -> dict[str, Any]:
    """Return what is told of the tapes; nothing where a method is stuck."""
    if (situation, method) not in tapes:
        return {}
    told = np.transpose([of_tape(tape) for tape in tapes[situation, method]])
    names = "gradients_per_second", "updates_per_second", "down", "waiting", "wasted"
    found = {name: (("seed",), values) for name, values in zip(names, told, strict=True)}
    return found | {"share_kept": flags.expected(situation, method)}


def of_tape(tape: sg.Tape) -> tuple[float, ...]:
    """Return gradients and updates per second, the shares of time down and waiting, and that of computing thrown away."""
    shares, spent = tape.shares(), {kind: (end - begin).sum() for kind, (_, begin, end) in tape.stretches().items()}
    lost = spent["discarded"] / ((spent["computing"] + spent["discarded"]) or 1.0)
    return len(tape) / tape.end, tape.updates / tape.end, shares["down"].mean(), shares["waiting"].mean(), lost


def tell(measured: xarray.Dataset, flags: Flags) -> str:
    """Return one line for each method in each situation: medians over the seeds."""
    columns = {
        "updates\n/s": median("updates_per_second"),
        "gradients/s\nrecorded": median("gradients_per_second"),
        "\nexpected": median("expected"),
        "share of time\ndown": median("down", ".1%"),
        "\nwaiting": median("waiting", ".1%"),
        "\nlost": median("wasted", ".2%"),
        "step\nsize (largest)": chosen,
        "seconds to target\nrestricted mean (95% interval)": arriving,
        "times async": spread_of("over"),
        "gradients to target": spread_of("best_gradients", ".0f"),
    }
    return (
        f"{flags.workers} workers; {flags.within:g} s recorded on each of {flags.seeds} seeds; medians (range). Target: "
        f"{flags.target()}, at the best step size.\nDown: or not there. Lost: the share of all computing that was thrown away. "
        f"-: stuck.\n\n{by_cell(measured, CELLS, columns)}"
    )


def findings(cautions: Sequence[str], stuck: dict[tuple[str, str], str]) -> str:
    """Return who is stuck and why, and where the numbers cannot be trusted."""
    fill = textwrap.TextWrapper(120, initial_indent="  ", subsequent_indent="  ").fill
    said = [f"Stuck, {method}, {situation}:\n{fill(reason)}" for (situation, method), reason in stuck.items()]
    return "\n".join([*said, *(cautions or [TRUSTED])])


def same_crashes(flags: Flags, tapes: Tapes) -> str:
    """Say how many crashes there were in the situations with a rate of failures, and whether all methods met the same."""
    said, same = [], True
    for situation in list(flags.rates)[1:]:
        first, *others = (tapes[situation, method] for method in METHODS if (situation, method) in tapes)
        pairs = itertools.chain(*(zip(first, several, strict=True) for several in others))
        for (one, other), name in itertools.product(pairs, ("worker", "start", "end")):
            same &= np.array_equal(getattr(one.down, name), getattr(other.down, name), equal_nan=True)
        said.append(f"{sum(len(tape.down) for tape in first)} ({situation})")
    verdict = "the same for all methods, to the bit" if same else "NOT the same for all methods"
    return f"Crashes on all seeds together: {', '.join(said)}; who is down when is {verdict}."


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    common.run(Flags, when_workers_fail, arguments)


if __name__ == "__main__":
    main()
