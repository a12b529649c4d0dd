"""A run: what a simulation measured, and where it comes from. An xarray Dataset underneath.

Laws of this module:

1. Everything in a run was measured: metrics by evaluating the model, staleness and time from the tape.
2. A run says where it comes from (configuration, versions, device, hashes), saves to one file, and loads back equal.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from simsgd import measures, run_rules
from simsgd.provenance import Identity
from simsgd.provenance.identity import canonical
from simsgd.stopping import Seconds, Target, Updates
from simsgd.support import checks, files, frames, sealed, show
from simsgd.tape import Tape
from simsgd.tape.intervals import SHARES

if TYPE_CHECKING:
    import matplotlib.axes
    import pandas
    import xarray

AXES = ("time", "updates", "samples", "bytes")
"""What a metric can be followed along: simulated seconds, server steps, training samples used, bytes moved."""


class Cost(NamedTuple):
    """What it took to reach a target and keep it; not a number (NaN) where that never happened.

    It is counted to the first evaluation of the stretch that keeps the target, not to the stretch's end.
    """

    seconds: float
    updates: float
    samples: float
    bytes: float


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """What a simulation measured; made by `simulate` and `replay`.

    Attributes:
        dataset: an `xarray.Dataset`. Along `evaluation`: the coordinates `time` (simulated seconds), `updates`, `samples`,
            `bytes` (that had arrived: models and messages at a server, what an all-reduce moves between workers, both said in
            `networks.AllReduce`), and each metric of the problem; along `worker` too, `worker_loss`, where the problem was
            `partitioned(..., worker_losses=True)`. Along `worker`: `computing`, `sending`, `queueing`, `waiting` and `down`
            (shares of time), `gradients` (messages used, however many local steps each took), `discarded_gradients`,
            `mean_staleness`, and along `quantile` also `staleness`. Along `parameter`: the final model, flat. Along `row`,
            `discarded`, `in_flight`, `down_spell` and `tie`: the tape's columns, named `row_time`, `discarded_time` and so on.
            These dimensions have nothing in common, and `dataset.to_dataframe()` makes a row for each combination of them:
            none if one is empty, terabytes if all are long. Use the run's own `to_dataframe`, or choose variables of one
            dimension first.

    Example:
        >>> import simsgd as sg
        >>> cluster = sg.Cluster(workers=4, compute=sg.times.Constant(0.1))
        >>> run = sg.simulate(sg.MinibatchSGD(), sg.problems.quadratic(), cluster, sg.optimizers.sgd(0.5), sg.Updates(20))
        >>> run.status, float(run.dataset.time[-1]) == float(run.tape.time[-1])
        ('completed', True)
    """

    dataset: xarray.Dataset

    @staticmethod
    def assemble(
        tape: Tape,
        evaluations: Sequence[Mapping[str, float]],
        status: str,
        parameters: np.ndarray,
        target: Target | None,
        configuration: Mapping[str, Any],
        identity: Identity,
    ) -> Run:
        """Put together what `replay` and `simulate` measured.

        Args:
            tape: what happened.
            evaluations: for each evaluation of the model "time", "updates" and the metrics' values.
            status: "completed", "target reached", "diverged" or "interrupted".
            parameters: the final model, shape (parameters,).
            target: what summaries count the way to.
            configuration: what the run was made of, the distance between evaluations included.
            identity: what the bits depend on; an interrupted run's says so.
        """
        import xarray

        table = {name: np.array([e[name] for e in evaluations]) for name in evaluations[0]}
        of_workers = {name: table.pop(name) for name in measures.OF_WORKERS if name in table}
        time, updates = table.pop("time"), table.pop("updates").astype(np.int64)
        along = {
            "time": ("evaluation", time),
            "updates": ("evaluation", updates),
            "samples": ("evaluation", measures.samples_used(tape, updates, int(configuration["batch_size"]))),
            "bytes": ("evaluation", measures.bytes_moved(tape, time)),
        }
        measured = xarray.Dataset(
            {
                **{name: ("evaluation", values) for name, values in table.items()},
                **{name: (("evaluation", "worker"), values) for name, values in of_workers.items()},
                **{name: ("worker", values) for name, values in measures.per_worker(tape).items()},
                "staleness": (("worker", "quantile"), measures.staleness_quantiles(tape)),
                "parameters": ("parameter", parameters),
            },
            coords={**along, "quantile": list(measures.QUANTILES)},
            attrs={
                "status": status,
                "metrics": json.dumps(list(table)),
                "target": json.dumps(_target_fields(target)),
                "configuration": json.dumps({**configuration, "versions": measures.versions()}, ensure_ascii=False),
                "identity": canonical(identity.description),
                "parameters_hash": hashlib.sha256(parameters.tobytes()).hexdigest(),
            },
        )
        return Run(measured.merge(tape.to_dataset(), combine_attrs="no_conflicts"))

    @property
    def status(self) -> str:
        """How the run ended: "completed", "target reached", "diverged" (a metric was no longer finite), or "interrupted".

        An interrupted run is part of one, from the `partial` of the exception that broke it off: up to its last evaluation.
        """
        return str(self.dataset.attrs["status"])

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of what was evaluated, for example "loss"."""
        return tuple(json.loads(self.dataset.attrs["metrics"]))

    @property
    def configuration(self) -> dict[str, Any]:
        """What the run was made of: protocol, cluster, problem, optimizer, seeds, device, versions; and its identity's key."""
        return {**json.loads(self.dataset.attrs["configuration"]), "identity": self.identity.key}

    @functools.cached_property
    def identity(self) -> Identity:
        """Everything that the run's bits depend on, and a key of it; `sg.identity` says it before a run."""
        return Identity.read(self.dataset.attrs.get("identity"))

    @property
    def target(self) -> Target | None:
        """The target that summaries count the way to, if there is one."""
        fields = json.loads(self.dataset.attrs["target"])
        if fields is None:
            return None
        kept = fields.pop("kept", None)
        if isinstance(kept, dict):
            kept = Updates(**kept) if "count" in kept else Seconds(**kept)
        return Target(**fields, kept=kept)

    @property
    def parameters(self) -> np.ndarray:
        """The final model as one vector, shape (parameters,); `problem.unravel` makes the pytree of it."""
        return self.dataset["parameters"].values

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of the tape's content and of the final parameters: equal for runs that did and computed the same."""
        return {"tape": self.dataset.attrs["content_hash"], "parameters": self.dataset.attrs["parameters_hash"]}

    @functools.cached_property
    def tape(self) -> Tape:
        """What happened, in order."""
        return Tape.from_dataset(self.dataset)

    @property
    def throughput(self) -> dict[str, float]:
        """Per simulated second of the whole run: "updates", "gradients" (messages used) and "samples" (of all local steps)."""
        seconds, gradients = self.tape.end or float("nan"), len(self.tape)
        samples = int(self.tape.steps.sum()) * self.configuration["batch_size"]
        return {"updates": self.tape.updates / seconds, "gradients": gradients / seconds, "samples": samples / seconds}

    @property
    def wasted(self) -> dict[str, float]:
        """Thrown-away work: "gradients", "steps", "seconds" computed for both, "share" of all computing that they took.

        Gradients are messages that were not used, steps those that the end of a fixed time cut off in jobs that were
        (`works.LocalSteps(seconds=…)`).
        """
        stretches = self.tape.stretches()
        lost = float((stretches["discarded"][2] - stretches["discarded"][1]).sum())
        used = float((self.tape.ended - self.tape.began - self.tape.dropped).sum())
        cut = np.count_nonzero(self.tape.dropped) + np.count_nonzero(self.tape.in_flight.dropped)
        return {"gradients": len(self.tape.discarded), "steps": int(cut), "seconds": lost, "share": lost / (lost + used or 1.0)}

    def to_target(self, target: Target | None = None) -> Cost:
        """Return what it took until a target was reached and kept; by default the run's own target.

        Counted to the first evaluation of the first stretch that is as long as the target asks (`Target.kept`; None asks for a
        stretch that lasts to the run's end). The resolution is the distance between evaluations, `evaluate_every`.

        Raises:
            ValueError: if there is no target, or its metric was not evaluated.
        """
        target = self._given(target)
        kept = target.kept_stretch(*self._evaluations(target))
        return Cost(*(float("nan") if kept is None else float(self.dataset[axis][kept[0]]) for axis in AXES))

    def _check_target(self) -> None:
        """Raise ValueError if what a file says of the target is none of a metric that was evaluated."""
        try:
            if self.target:
                self._given(None)
        except (TypeError, AttributeError, KeyError, RecursionError) as error:
            raise ValueError(f"the target makes no sense ({error!s:.100})") from error

    def _given(self, target: Target | None) -> Target:
        """Return the target, or the run's own, checked."""
        target = target or self.target
        if target is None:
            raise ValueError('target is needed, for example Target("loss", at_most=0.1): the problem does not set one')
        checks.instance("target", target, Target, 'Target("loss", at_most=0.1)')
        checks.one_of("target.metric", target.metric, self.metrics)
        return target

    def _evaluations(self, target: Target) -> tuple[list[float], list[float], list[float]]:
        """Return the seconds, the updates and the target's metric of each evaluation."""
        time, updates, values = (self.dataset[name].values.tolist() for name in ("time", "updates", target.metric))
        return time, updates, values

    def final(self, metric: str) -> float:
        """Return a metric's last value.

        Raises:
            ValueError: if it was not evaluated.
        """
        checks.one_of("metric", metric, self.metrics)
        return float(self.dataset[metric][-1])

    def summary(self, target: Target | None = None) -> str:
        """Return the run in a few lines of text: time to the target, final metrics, throughput, staleness, shares of time.

        Raises:
            ValueError: if the target's metric was not evaluated.
        """
        return "\n".join(f"{name:<12}{text}" if name else text for name, text in self._summary_rows(target))

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a pandas DataFrame with a row for each evaluation: time, updates, samples, bytes and the metrics.

        Raises:
            ImportError: if pandas is not installed.

        Example:
            >>> import simsgd as sg
            >>> cluster = sg.Cluster(workers=4, compute=sg.times.Constant(0.1))
            >>> run = sg.simulate(sg.AsyncSGD(), sg.problems.quadratic(), cluster, sg.optimizers.sgd(0.1), sg.Updates(50))
            >>> list(run.to_dataframe())
            ['time', 'updates', 'samples', 'bytes', 'loss', 'distance']
        """
        return frames.dataframe({name: self.dataset[name].values for name in (*AXES, *self.metrics)})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the run to one netCDF file, whole or not at all.

        Raises:
            TypeError: if `path` is no name of a file.
            OSError: if the file cannot be written.
        """
        checks.instance("path", path, (str, os.PathLike), '"run.nc"')
        sealed.save(path, self.dataset, kind="run")

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Run:
        """Read a run that `save` wrote.

        Raises:
            TypeError: if `path` is no name of a file.
            FileNotFoundError: if there is no such file.
            simsgd.support.files.FileFormatError: if it is damaged or is not a simsgd run.
        """
        checks.instance("path", path, (str, os.PathLike), '"run.nc"')
        run = Run(sealed.load(path, kind="run"))
        with files.naming(path):
            run_rules.check(run.dataset, AXES)
            run.tape.check()
            run._check_target()
        return run

    def to_chrome_trace(self, path: str | os.PathLike[str], *, start: float = 0.0, stop: float | None = None) -> None:
        """Write a file that opens in ui.perfetto.dev: the tape, with the metrics as counters; see `tape.chrome_trace.write`.

        Args:
            path: the file; compressed where it ends in ".gz".
            start: where to begin, simulated seconds.
            stop: where to end, simulated seconds; by default the tape's end.

        Raises:
            ValueError: if there is no time from `start` to `stop`.
            OSError: if the file cannot be written.
        """
        from simsgd.tape import chrome_trace

        metrics = {name: (self.dataset["time"].values, self.dataset[name].values) for name in self.metrics}
        chrome_trace.write(path, self.tape, start=start, stop=stop, metrics=metrics)

    def plot(self, x: str = "time", y: str = "loss", **options: Any) -> matplotlib.axes.Axes:
        """Draw a metric along "time", "updates", "samples" or "bytes"; see `simsgd.plots.metric`."""
        from simsgd import plots

        return plots.metric(self, x, y, **options)

    def __eq__(self, other: object) -> bool:
        """Runs are equal when all their data and attributes but the identity are, to the bit (NaN equals NaN).

        So runs that were asked for in two ways, and computed the same, are equal.
        """
        return isinstance(other, Run) and _without_identity(self.dataset).identical(_without_identity(other.dataset))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Run({self._title()})"

    def _repr_html_(self) -> str:
        return show.in_html(self._summary_rows(None))

    def _title(self) -> str:
        made, seconds = self.configuration, float(self.dataset.time[-1])
        parts = made.get("parts", "")
        parts = parts if len(parts) <= 60 else f"{parts[:59]}…"
        method = made.get("name") or ", ".join(filter(None, (made.get("protocol", "a tape"), parts)))
        return f"{method}, {self.tape.workers} workers, {made['problem']}, {seconds:.4g} simulated s: {self.status}"

    def _summary_rows(self, target: Target | None) -> list[tuple[str, str]]:
        data, rate, wasted, tape = self.dataset, self.throughput, self.wasted, self.tape
        rows = [("", self._title())]
        if target or self.target:
            rows += self._target_rows(self._given(target))
        rows.append(("final", ", ".join(f"{name} {self.final(name):.4g}" for name in self.metrics)))
        rows.append(("throughput", f"{rate['updates']:,.4g} updates/s, {rate['samples']:,.4g} samples/s"))
        if len(tape):
            quantiles = np.quantile(tape.staleness, [0.5, 0.95])
            spread = f"median {quantiles[0]:.0f}, 95% {quantiles[1]:.0f}, max {tape.staleness.max()}"
            rows.append(("staleness", f"mean {tape.staleness.mean():.3g}, {spread}"))
        else:
            rows.append(("", f"no gradient was used: nothing arrived in {tape.end:.4g} s, if the method throws nothing away"))
        usual = ("computing", "sending", "waiting")
        shown = [name for name in SHARES if name in usual or data[name].values.any()]
        shares = ", ".join(f"{name} {data[name].values.mean():.1%}" for name in shown)
        rows.append(("workers", shares))
        cut = f" and {wasted['steps']:,} steps cut off" if wasted["steps"] else ""
        rows.append(("wasted", f"{wasted['gradients']:,} gradients{cut}, {wasted['share']:.1%} of computing"))
        made, hashes = self.configuration, self.hashes
        found = f"content of the tape {hashes['tape'][:12]}, parameters {hashes['parameters'][:12]}"
        identity = f"{self.identity.key[:12]}, {found}, {made['dtype']} on {made['device']}"
        rows.append(("identity", identity))
        return rows

    def _target_rows(self, target: Target) -> list[tuple[str, str]]:
        """Return what a summary says of a target: the way to it, and for how long it was kept."""
        found = time, _, values = self._evaluations(target)
        kept, stretches = target.kept_stretch(*found), target.stretches(values)
        if kept is None:
            how = "reached, but not kept," if stretches else "not reached"
            way = f"{how} in {self.tape.end:.4g} s, {self.tape.updates:,} updates"
            held = measures.not_kept(time, stretches)
        else:
            cost = self.to_target(target)
            counts = f"{cost.updates:,.0f} updates, {cost.samples:,.0f} samples"
            way = f"after {cost.seconds:.4g} s, {counts}, {measures.size_in_words(cost.bytes)}"
            held = measures.held(time, kept)
            if stretches[0] != kept:
                held += f"; first reached after {time[stretches[0][0]]:.4g} s, and lost again"
        resolution = f"; evaluated every {self.configuration.get('evaluate_every', 'so often')}"
        return [("target", f"{target}, {target.criterion}: {way}"), ("held", held + resolution)]


def _without_identity(dataset: xarray.Dataset) -> xarray.Dataset:
    """Return the dataset without the attribute that says what its bits depend on."""
    without = dataset.copy(deep=False)
    without.attrs = {name: value for name, value in dataset.attrs.items() if name != "identity"}
    return without


def _target_fields(target: Target | None) -> dict[str, Any] | None:
    """Return a target's fields as JSON keeps them, without the bound."""
    return None if target is None else dataclasses.asdict(dataclasses.replace(target, within=None))
