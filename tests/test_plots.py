"""What the pictures show: the numbers drawn are the tape's and the run's, and nonsense is refused by name."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass

import matplotlib

matplotlib.use("Agg")

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import LineCollection, PolyCollection

import simsgd as sg

LINK = sg.networks.Link(latency=0.25)


@dataclass(frozen=True)
class Picky(sg.Protocol):
    """Throws away every gradient of odd number."""

    def on_gradient(self, server, gradient):
        if gradient.job % 2 == 0:
            server.apply(gradient)
        server.assign(gradient.worker)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def cluster():
    return sg.Cluster(3, sg.times.Speeds(sg.times.ShiftedExponential(shift=0.5, mean=1.0), (1.0, 1.0, 0.5)), LINK)


@pytest.fixture(scope="module")
def synchronous(cluster):
    return sg.record(sg.MinibatchSGD(), cluster, sg.Seconds(20))


@pytest.fixture(scope="module")
def asynchronous(cluster):
    return sg.record(sg.AsyncSGD(), cluster, sg.Seconds(20))


@pytest.fixture(scope="module")
def crowded():
    """Everybody queues for the server, some crash."""
    server = sg.networks.ParameterServer(sg.networks.Link(0.05, 400.0), update=sg.times.Exponential(0.1))
    crashes = (sg.faults.Crash(worker=1, at=6.1, back=9.1), sg.faults.Crash(worker=2, at=14.2))
    return sg.record(
        sg.AsyncSGD(), sg.Cluster(5, sg.times.Exponential(1.0), server, crashes), sg.Seconds(20), message_bytes=100
    )


@pytest.fixture(scope="module")
def ring():
    """Early workers wait for the late ones at the barrier of an all-reduce."""
    network = sg.networks.Ring(sg.networks.Link(0.1, 1000.0))
    return sg.record(sg.MinibatchSGD(), sg.Cluster(4, sg.times.Exponential(1.0), network), sg.Seconds(20), message_bytes=100)


@pytest.fixture(scope="module")
def runs(cluster):
    def run(protocol, step_size, updates):
        return sg.simulate(protocol, sg.problems.quadratic(), cluster, sg.optimizers.sgd(step_size), sg.Updates(updates))

    return [run(sg.MinibatchSGD(), 0.5, 30), run(sg.AsyncSGD(), 0.1, 90), run(sg.AsyncSGD(), 1e4, 90)]


def bars(ax, kind):
    """Return the (left, right, middle row) of each bar of a kind, shape (bars, 3), in order."""
    found = [c for c in ax.collections if isinstance(c, PolyCollection) and c.get_label() == kind]
    corners = np.array([path.vertices[:4] for c in found for path in c.get_paths()]).reshape(-1, 4, 2)
    table = np.stack([corners[:, :, 0].min(1), corners[:, :, 0].max(1), corners[:, :, 1].mean(1)], axis=1)
    return table[np.lexsort((table[:, 0], table[:, 2]))]


def hatch(ax, kind):
    (collection,) = (c for c in ax.collections if c.get_label() == kind)
    return collection.get_hatch()


# How colours, as linear RGB, look without one of the three receptors (Machado, Oliveira and Fernandes, 2009, severity 1).
COLOUR_VISION = {
    "full": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]),
    "tritanopia": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]]),
}


def lab(colour, vision=COLOUR_VISION["full"]):
    """Return the CIE 1976 L*a*b* coordinates of a colour as it is seen."""
    channel = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(channel <= 0.04045, channel / 12.92, ((channel + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    share = to_xyz @ np.clip(vision @ linear, 0, 1) / to_xyz.sum(axis=1)
    x, y, z = np.where(share > (6 / 29) ** 3, np.cbrt(share), share * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def update_lines(ax):
    """Return the moments at which lines of update are drawn."""
    (lines,) = (c for c in ax.collections if isinstance(c, LineCollection))
    return [segment[0, 0] for segment in lines.get_segments()]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# --- colours -------------------------------------------------------------------------------------------------------------

METHODS = list(sg.plots.METHOD_COLOURS)


def test_blue_is_synchronous_and_orange_asynchronous(runs, synchronous, asynchronous):
    for thing in (
        "synchronous",
        "sync",
        "synchronous, 3 seeds",
        "MinibatchSGD",
        "MinibatchSGD(wait=False)",
        runs[0],
        synchronous,
    ):
        assert sg.plots.colour_of(thing) == "#0072B2"
    for thing in ("asynchronous", "async", "Asynchronous", "AsyncSGD", runs[1], asynchronous):
        assert sg.plots.colour_of(thing) == "#D55E00"


def test_every_method_has_a_colour_and_a_marker_of_its_own():
    assert {"MinibatchSGD", "AsyncSGD"} <= set(METHODS) == set(sg.plots.METHOD_MARKERS) <= set(sg.protocols.__all__)
    assert len(set(sg.plots.METHOD_COLOURS.values())) == len(set(sg.plots.METHOD_MARKERS.values())) == len(METHODS)


@pytest.mark.parametrize("vision", COLOUR_VISION)
def test_methods_differ_for_colour_blind_readers(vision):
    """By a CIE 1976 distance of 10 at least, where about 2 can be told."""
    seen = {method: lab(colour, COLOUR_VISION[vision]) for method, colour in sg.plots.METHOD_COLOURS.items()}
    for one, other in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 10, f"{one} and {other}"


def test_methods_differ_in_grey():
    """By 5 steps of CIE lightness (of 100) at least."""
    lightness = {method: lab(colour)[0] for method, colour in sg.plots.METHOD_COLOURS.items()}
    for one, other in itertools.combinations(lightness, 2):
        assert abs(lightness[one] - lightness[other]) > 5, f"{one} and {other}"


def test_a_methods_colour_does_not_depend_on_the_order_or_the_company():
    forwards = sg.plots.colours_of(["mine", *METHODS])
    backwards = sg.plots.colours_of([*reversed(METHODS), "mine"])
    assert forwards == backwards
    assert {name: forwards[name] for name in METHODS} == sg.plots.METHOD_COLOURS


def test_other_methods_get_the_free_colours_never_blue_nor_orange():
    others = sg.plots.colours_of(["mine", "yours", "RingmasterASGD"])
    assert others == {"mine": "#009E73", "yours": "#E69F00", "RingmasterASGD": "#CC79A7"}
    many = sg.plots.colours_of([f"method_{i}" for i in range(12)])
    assert not {"#0072B2", "#D55E00"} & set(many.values())


def test_several_of_one_method_are_shades_of_its_colour():
    shades = list(sg.plots.colours_of([f"KSyncSGD(gradients={k})" for k in (1, 2, 3)]).values())
    assert len(set(shades)) == 3
    light = [lab(shade)[0] for shade in shades]
    assert light[0] > light[1] + 8 > light[2] + 16
    pair = list(sg.plots.colours_of(["sync on a ring", "sync on a server"]).values())
    assert pair[0].upper() == "#0072B2" != pair[1].upper()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: sg.plots.colour_of("mine"),
            r"method must be a run, a tape or a label .*MinibatchSGD, .* got 'mine'; colours_of",
        ),
        (lambda: sg.plots.colour_of(42), "method must be a run, a tape or a label .* got 42"),
        (lambda: sg.plots.colours_of("sync"), "methods must be several labels, got one, 'sync': give a list"),
        (
            lambda: sg.plots.colours_of(["sync", "sync"]),
            r"methods must be labelled each by a name of its own, got \['sync', 'sync'\]",
        ),
    ],
)
def test_colours_refuse_nonsense_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_pictures_of_one_method_keep_its_colour(runs, synchronous, asynchronous):
    assert sg.plots.metric(runs[1]).lines[0].get_color() == "#D55E00"
    assert [line.get_color() for line in sg.plots.metric([runs[1], runs[0]]).lines] == ["#D55E00", "#0072B2"]
    patches = sg.plots.staleness([asynchronous, synchronous]).patches
    orange, blue = (matplotlib.colors.to_hex(patch.get_facecolor()) for patch in patches[::2])
    assert (orange, blue) == ("#d55e00", "#0072b2")


def test_the_package_shows_its_public_names_only():
    assert dir(sg.plots) == sorted(sg.plots.__all__)
    assert all(hasattr(sg.plots, name) for name in sg.plots.__all__)


# --- metric --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("x", ["time", "updates", "samples", "bytes"])
@pytest.mark.parametrize("y", ["loss", "distance"])
def test_metric_draws_what_was_evaluated(runs, x, y):
    run = runs[0]
    ax = sg.plots.metric(run, x, y)
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), np.stack([run.dataset[x], run.dataset[y]], axis=1))
    assert ax.get_xlabel() == sg.plots.AXIS_LABELS[x]
    assert ax.get_ylabel() == y
    assert ax.get_yscale() == "log"


def test_metric_of_several_runs_labels_and_colours_each(runs):
    ax = sg.plots.metric(runs[:2])
    assert legend(ax) == ["MinibatchSGD", "AsyncSGD"]
    assert [line.get_color() for line in ax.lines] == list(sg.plots.LINES[:2])
    assert legend(sg.plots.metric({"one": runs[0], "two": runs[1]})) == ["one", "two"]
    assert legend(sg.plots.metric(runs[:2], labels=["a", "b"])) == ["a", "b"]


def test_metric_names_what_tells_runs_apart(runs):
    first, second = (legend(sg.plots.metric(runs[1:]))[i] for i in (0, 1))
    assert first.startswith("AsyncSGD, step size ")
    assert second.startswith("AsyncSGD, step size ")
    assert first != second


def test_metric_marks_where_a_run_diverged(runs):
    diverged = runs[2]
    assert diverged.status == "diverged"
    ax = sg.plots.metric({"wild": diverged})
    values = diverged.dataset["loss"].values
    last = np.flatnonzero(np.isfinite(values))[-1]
    line, mark = ax.lines
    assert legend(ax) == ["wild (diverged)"]
    assert mark.get_marker() == "X"
    np.testing.assert_array_equal(mark.get_xydata(), [[diverged.dataset["time"].values[last], values[last]]])
    assert len(line.get_xdata()) == len(values) > last + 1


def test_metric_draws_the_target_as_a_dashed_line(runs):
    for target in (sg.Target("loss", at_most=0.01), 0.01):
        ax = sg.plots.metric(runs[0], target=target)
        assert ax.lines[-1].get_linestyle() == "--"
        assert set(ax.lines[-1].get_ydata()) == {0.01}
        assert legend(ax)[-1] == f"target: {target}"


def test_metric_is_linear_for_accuracies():
    cluster = sg.Cluster(2, sg.times.Constant(1.0))
    run = sg.simulate(sg.AsyncSGD(), sg.problems.digits("logistic"), cluster, sg.optimizers.sgd(0.1), sg.Updates(4))
    assert run.plot("updates", "accuracy").get_yscale() == "linear"
    assert run.plot("updates", "test_loss").get_ylabel() == "test loss"


def test_metric_draws_where_it_is_told(runs):
    _, ax = plt.subplots()
    assert sg.plots.metric(runs[0], ax=ax) is ax
    assert plt.get_fignums() == [ax.figure.number]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": "epochs"}, ValueError, "x must be one of 'time', 'updates', 'samples', 'bytes', got 'epochs'"),
        ({"y": "accuracy"}, ValueError, "y .*must be one of 'loss', 'distance', got 'accuracy'"),
        ({"runs": []}, ValueError, r"runs must hold at least one, got \[\]"),
        ({"runs": {}}, ValueError, r"runs must hold at least one, got \{\}"),
        ({"runs": {"mine": []}}, ValueError, r"runs must hold at least one, got .*'mine'"),
        ({"runs": 3}, TypeError, "runs must be a Run, several, or a mapping, got 3"),
        ({"runs": "run.nc"}, TypeError, "runs must be a Run, several, or a mapping, got 'run.nc'"),
        ({"runs": {"mine": [3]}}, TypeError, "runs must be a Run, several, or a mapping, got 3"),
        ({"ax": plt}, TypeError, r"ax must be one matplotlib Axes, for example axes\[0\] of several, got module"),
        ({"labels": ["a", "b"]}, ValueError, "labels must name each of the 1 runs"),
        ({"target": float("nan")}, ValueError, "target must be a finite number, got nan"),
        ({"target": sg.Target("distance", at_most=1.0)}, ValueError, "target must be a Target of the metric drawn, y='loss'"),
    ],
)
def test_metric_refuses_nonsense_by_name(runs, arguments, error, message):
    with pytest.raises(error, match=message):
        sg.plots.metric(**{"runs": runs[0], **arguments})
    assert not plt.get_fignums()  # an error leaves no figure behind


def test_metric_refuses_a_tape_and_says_what_to_do(asynchronous):
    with pytest.raises(
        TypeError, match=r"runs must be a Run, .* got Tape\(.*: a tape holds no metrics, replay it to get a run"
    ):
        sg.plots.metric(asynchronous)


def test_metric_names_the_run_that_lacks_the_metric(runs):
    with pytest.raises(ValueError, match=r"y \(for run 'two'\) must be one of 'distance', got 'loss'"):
        sg.plots.metric({"one": runs[0], "two": edited(runs[1], metrics=json.dumps(["distance"]))})


def edited(run, **attributes):
    """Return a run with other attributes."""
    return sg.Run(run.dataset.assign_attrs(attributes))


def with_configuration(run, **values):
    """Return a run that says something else of where it comes from."""
    return edited(run, configuration=json.dumps(run.configuration | values))


def test_metric_tells_runs_of_one_method_apart_by_their_step_sizes(runs):
    tried = [with_configuration(runs[1], step_size=step_size) for step_size in (0.1, 0.2)]
    ax = sg.plots.metric([*tried, with_configuration(runs[0], step_size=0.5)])
    assert legend(ax) == ["AsyncSGD, step size 0.1", "AsyncSGD, step size 0.2", "MinibatchSGD"]
    first, second, third = ax.lines
    assert first.get_color() != second.get_color()
    assert first.get_linestyle() != second.get_linestyle()
    assert first.get_marker() == second.get_marker() != third.get_marker()


def test_metric_tells_many_runs_of_one_method_by_a_colour_bar(runs):
    tried = [with_configuration(runs[1 if k < 10 else 2], step_size=k / 10) for k in range(1, 11)]
    ax = sg.plots.metric(tried, target=0.5)
    assert len({line.get_color() for line in ax.lines}) == 11  # ten runs and the target
    lightness = [lab(line.get_color())[0] for line in ax.lines[:10]]
    assert lightness == sorted(lightness)
    (bar,) = (other for other in ax.figure.axes if other is not ax)
    ax.figure.canvas.draw()
    assert [text.get_text() for text in bar.get_yticklabels()] == [*(f"{k / 10:g}" for k in range(1, 10)), "1 (diverged)"]
    assert bar.get_ylabel() == "AsyncSGD, step size"
    assert legend(ax) == ["target: 0.5"]


def test_metric_of_many_runs_of_several_methods_tells_each(runs):
    tried = [with_configuration(run, step_size=k / 10) for run in runs[:2] for k in range(1, 7)]
    ax = sg.plots.metric(tried)
    assert len(legend(ax)) == len({(line.get_color(), line.get_linestyle()) for line in ax.lines}) == 12


@pytest.mark.parametrize("count", [2, 12])
def test_legends_stand_beside_the_axes(runs, asynchronous, count):
    tried = [with_configuration(run, step_size=k / 10) for run in runs[:2] for k in range(count)]
    for ax in (sg.plots.metric(tried), sg.plots.staleness(runs[:2]), sg.plots.timeline(asynchronous)):
        ax.figure.canvas.draw()
        box, axes, figure = ax.get_legend().get_window_extent(), ax.get_window_extent(), ax.figure.bbox
        assert box.x0 >= axes.x1
        assert box.x1 <= figure.x1
        assert box.y0 >= figure.y0


# --- several seeds -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seeds():
    """Three seeds of one configuration: two that end after 20 updates and one that goes on for 40."""
    cluster, problem = sg.Cluster(3, sg.times.Exponential(1.0)), sg.problems.quadratic(noise=1.0)
    ends = {1: 20, 2: 20, 3: 40}
    return [
        sg.simulate(sg.AsyncSGD(), problem, cluster, sg.optimizers.sgd(0.1), sg.Updates(updates), seed=seed)
        for seed, updates in ends.items()
    ]


def test_metric_of_several_seeds_draws_their_median_and_their_range(seeds):
    ax = sg.plots.metric({"asynchronous": seeds}, "updates", "loss")
    table = np.stack([run.dataset["loss"].values[:21] for run in seeds])
    line = next(line for line in ax.lines if not line.get_label().startswith("_"))
    np.testing.assert_array_equal(line.get_xdata(), np.arange(21))
    np.testing.assert_allclose(line.get_ydata(), np.median(table, axis=0))
    (band,) = ax.collections
    corners = band.get_paths()[0].vertices
    for place in (0, 7, 20):
        there = corners[corners[:, 0] == place][:, 1]
        assert (there.min(), there.max()) == pytest.approx((table[:, place].min(), table[:, place].max()))
    assert legend(ax) == ["asynchronous (3 seeds)"]
    assert ax.get_legend().get_title().get_text() == "line: median; band: least to greatest"
    assert line.get_color() == sg.plots.colour_of("asynchronous")


def test_metric_of_seeds_goes_on_thinly_after_the_first_has_ended(seeds):
    ax = sg.plots.metric([seeds], "updates", "loss")
    rest, median = ax.lines
    assert median.get_xdata()[-1] == 20
    np.testing.assert_array_equal(rest.get_xdata(), np.arange(20, 41))
    np.testing.assert_array_equal(rest.get_ydata(), seeds[2].dataset["loss"].values[20:])
    assert rest.get_linewidth() < median.get_linewidth()
    assert legend(ax) == ["AsyncSGD (3 seeds)"]


def test_metric_of_seeds_has_a_common_grid_in_time(seeds):
    ax = sg.plots.metric({"asynchronous": seeds}, "time", "loss")
    line = next(line for line in ax.lines if not line.get_label().startswith("_"))
    moments = np.unique(np.concatenate([run.dataset["time"].values for run in seeds]))
    stop = min(run.dataset["time"].values[-1] for run in seeds)
    np.testing.assert_array_equal(line.get_xdata(), moments[moments <= stop])
    values = [np.interp(moments[17], run.dataset["time"].values, run.dataset["loss"].values) for run in seeds]
    assert line.get_ydata()[17] == pytest.approx(np.median(values))


def test_metric_mixes_runs_and_seeds(runs, seeds):
    assert legend(sg.plots.metric({"synchronous": runs[0], "asynchronous": tuple(seeds[:2])})) == [
        "synchronous",
        "asynchronous (2 seeds)",
    ]


def test_metric_of_seeds_says_how_many_diverged(cluster):
    """Gradient descent on w⁴ diverges where it begins far out, which depends on the seed."""
    steep = sg.Problem(
        "quartic",
        init=lambda key: 3 * jax.random.normal(key, (1,)),
        loss=lambda w, batch: jnp.mean(w**4 + 0 * batch),
        data=np.zeros((4, 1)),
        batch_size=1,
    )
    until, sgd = sg.Updates(60), sg.optimizers.sgd(0.05)
    every = [sg.simulate(sg.AsyncSGD(), steep, cluster, sgd, until, seed=seed) for seed in range(8)]
    tame, wild = ([run for run in every if (run.status == "diverged") == fate] for fate in (False, True))
    wild = [tame[0], wild[0], tame[1]]
    assert [run.status for run in wild] == ["completed", "diverged", "completed"]
    ax = sg.plots.metric({"mine": wild}, "updates")
    assert legend(ax) == ["mine (3 seeds, 1 diverged)"]
    assert [line.get_marker() for line in ax.lines].count("X") == 1
    (median,) = (line for line in ax.lines if not line.get_label().startswith("_"))
    assert np.isfinite(median.get_ydata()).all()
    assert median.get_xdata()[-1] == np.flatnonzero(np.isfinite(wild[1].dataset["loss"].values))[-1]


@pytest.mark.parametrize(
    ("pick", "message"),
    [
        (
            lambda runs, seeds: [seeds[0], seeds[0]],
            r"runs under 'mine' must each have a seed of their own, got the seeds \[1, 1\]",
        ),
        (
            lambda runs, seeds: runs[:2],
            r"runs under 'mine' must differ in their seeds only, got protocol MinibatchSGD.*: label each",
        ),
    ],
)
def test_seeds_are_of_one_configuration(runs, seeds, pick, message):
    with pytest.raises(ValueError, match=message):
        sg.plots.metric({"mine": pick(runs, seeds)})


# --- panels --------------------------------------------------------------------------------------------------------------


def test_panels_share_their_axes_and_one_legend(synchronous, asynchronous):
    panels = sg.plots.compare_timelines({"waits": synchronous, "goes on": asynchronous}, start=1.0, stop=6.0)
    above, below = panels.values()
    assert list(panels) == ["waits", "goes on"]
    assert above.get_xlim() == below.get_xlim() == (1.0, 6.0)
    assert above.get_ylim() == below.get_ylim()
    assert above.get_shared_x_axes().joined(above, below)
    assert above.get_shared_y_axes().joined(above, below)
    assert (above.get_legend(), below.get_legend()) == (None, None)
    (both,) = above.figure.legends
    said = [text.get_text() for text in both.get_texts()]
    assert sorted(said) == sorted({*legend(sg.plots.timeline(synchronous)), *legend(sg.plots.timeline(asynchronous))})
    assert (above.get_xlabel(), below.get_xlabel()) == ("", "simulated time (seconds)")
    inside = np.count_nonzero((asynchronous.update_times >= 1) & (asynchronous.update_times <= 6))
    assert below.get_title() == f"goes on: {inside} updates"
    whole = bars(sg.plots.timeline(asynchronous, start=1.0, stop=6.0), "computing")
    np.testing.assert_array_equal(bars(below, "computing"), whole)


def test_panels_end_with_the_shortest_tape(cluster, synchronous):
    short = sg.record(sg.AsyncSGD(), cluster, sg.Seconds(5))
    for stop in (None, 12.0):
        panels = sg.plots.compare_timelines([synchronous, short], stop=stop)
        assert {ax.get_xlim() for ax in panels.values()} == {(0.0, 5.0)}
        assert list(panels) == ["MinibatchSGD", "AsyncSGD"]


def test_panels_of_unequal_clusters_keep_their_rows(synchronous, crowded):
    three, five = sg.plots.compare_timelines({"three": synchronous, "five": crowded}).values()
    assert three.get_ylim()[0] == 2.5
    assert five.get_ylim()[0] == 4.5


def test_panels_go_into_columns_and_into_figures_given(synchronous, asynchronous, ring):
    tapes = {"one": synchronous, "two": asynchronous, "three": ring}
    assert len(next(iter(sg.plots.compare_timelines(tapes, columns=2, workers=[0, 2]).values())).figure.axes) == 3
    figure = plt.figure(layout="constrained")
    left, right = figure.subfigures(1, 2)
    panels = sg.plots.compare_timelines(tapes, figure=left)
    right.subplots()
    figure.canvas.draw()
    assert left.axes == list(panels.values())
    assert not figure.legends
    assert len(left.legends) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"tapes": []}, ValueError, r"tapes must hold at least one, got \[\]"),
        ({"tapes": 42}, TypeError, "tapes must be a Run or a Tape, several, or a mapping, got 42"),
        ({"labels": ["a", "a"]}, ValueError, r"labels must name each tape by a name of its own, got \['a', 'a'\]"),
        ({"start": 25.0}, ValueError, "start must be before .*the tape's end, 20 seconds, got 25.0"),
        ({"workers": [3]}, ValueError, "workers must be among 0 to 2, got 3"),
        ({"columns": 0}, ValueError, "columns must be a whole number of at least 1, got 0"),
        ({"figure": 3}, TypeError, "figure must be a matplotlib Figure or SubFigure, got int"),
    ],
)
def test_panels_refuse_nonsense_by_name(synchronous, asynchronous, arguments, error, message):
    with pytest.raises(error, match=message):
        sg.plots.compare_timelines(**{"tapes": [synchronous, asynchronous], **arguments})
    assert not plt.get_fignums()


def test_one_legend_below_lists_each_label_once(runs):
    figure, axes = plt.subplots(1, 2, layout="constrained")
    for ax, y in zip(axes, ("loss", "distance"), strict=True):
        sg.plots.metric({"synchronous": runs[0], "asynchronous": runs[1]}, "time", y, ax=ax)
    sg.plots.legend_below(figure)
    (both,) = figure.legends
    assert [text.get_text() for text in both.get_texts()] == ["synchronous", "asynchronous"]
    assert all(ax.get_legend() is None for ax in axes)
    figure.canvas.draw()
    assert both.get_window_extent().y1 <= min(ax.get_tightbbox().y0 for ax in axes) + 1
    with pytest.raises(
        TypeError, match=r"figure must be a matplotlib Figure or SubFigure, for example ax\.figure, got ndarray"
    ):
        sg.plots.legend_below(axes)


# --- timeline ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tape", ["synchronous", "asynchronous"])
def test_timeline_draws_every_job_on_its_workers_row(tape, request):
    tape = request.getfixturevalue(tape)
    ax = tape.plot_timeline()
    jobs = np.stack([tape.began, tape.ended, tape.worker], axis=1)
    under_way = tape.in_flight.began < tape.end
    cut = np.stack([tape.in_flight.began, np.fmin(tape.in_flight.ended, tape.end), tape.in_flight.worker], axis=1)[under_way]
    expected = np.concatenate([jobs, cut])
    np.testing.assert_allclose(bars(ax, "computing"), expected[np.lexsort((expected[:, 0], expected[:, 2]))], rtol=1e-12)
    np.testing.assert_array_equal(update_lines(ax), tape.update_times)


ALL_TAPES = pytest.mark.parametrize("tape", ["synchronous", "asynchronous", "crowded", "ring"])


@ALL_TAPES
def test_timeline_bars_add_up_to_the_shares(tape, request):
    tape = request.getfixturevalue(tape)
    ax = sg.plots.timeline(tape)
    seconds = {}
    for kind in ("computing", "discarded", "sending", "queueing", "waiting at a barrier", "down"):
        drawn = bars(ax, kind)
        seconds[kind] = np.bincount(drawn[:, 2].round().astype(int), drawn[:, 1] - drawn[:, 0], minlength=tape.workers)
    seconds["computing"] = seconds["computing"] + seconds.pop("discarded")
    at_the_barrier = seconds.pop("waiting at a barrier")
    shares = tape.shares()
    for kind, spent in seconds.items():
        np.testing.assert_allclose(spent / tape.end, shares[kind], rtol=1e-9, atol=1e-12)
    assert (at_the_barrier / tape.end <= shares["waiting"] + 1e-12).all()


@ALL_TAPES
def test_legends_list_what_there_is_and_no_more(tape, request):
    tape = request.getfixturevalue(tape)
    lengths = {kind: (ends - begins).sum() for kind, (_, begins, ends) in tape.stretches().items()}
    there = {{"barrier": "waiting at a barrier"}.get(kind, kind) for kind, length in lengths.items() if length > 0}
    there |= {"waiting"} if sum(lengths.values()) < tape.workers * tape.end - 1e-6 else set()
    assert set(legend(sg.plots.timeline(tape))) == there | {"update"}
    spent = {kind for kind, share in tape.shares().items() if share.max() > 1e-9}
    assert {label.split(":")[0] for label in legend(sg.plots.shares(tape))} == spent


def test_timeline_tells_the_barrier_from_other_waiting(ring, synchronous):
    assert len(bars(sg.plots.timeline(ring), "waiting at a barrier")) > 0
    assert "waiting" not in legend(sg.plots.timeline(ring))  # an all-reduce hands out the next job at once
    assert "waiting" in legend(sg.plots.timeline(synchronous))
    assert "waiting at a barrier" not in legend(sg.plots.timeline(synchronous))


def test_timeline_shows_when_workers_were_down_hatched(crowded):
    ax = sg.plots.timeline(crowded)
    np.testing.assert_array_equal(bars(ax, "down")[:, :2], [[6.1, 9.1], [14.2, 20.0]])
    assert hatch(ax, "down")
    assert hatch(ax, "down") != hatch(ax, "discarded")
    assert not hatch(ax, "computing")


def test_kinds_differ_in_grey_or_are_hatched():
    """By 5 steps of CIE lightness (of 100) at least; those that no cluster shows together may be alike."""
    alone = {"discarded", "down"}, {"queueing", "barrier"}
    lightness = {kind: lab(colour)[0] for kind, colour in sg.plots.KINDS.items() if kind not in alone[0]}
    for one, other in itertools.combinations(lightness, 2):
        assert {one, other} == alone[1] or abs(lightness[one] - lightness[other]) > 5, f"{one} and {other}"


@pytest.mark.parametrize("vision", COLOUR_VISION)
def test_kinds_differ_for_colour_blind_readers(vision):
    """By a CIE 1976 distance of 10 at least, where about 2 can be told."""
    seen = {kind: lab(colour, COLOUR_VISION[vision]) for kind, colour in sg.plots.KINDS.items()}
    for one, other in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 10, f"{one} and {other}"


def test_timeline_is_cut_to_the_window(asynchronous):
    ax = sg.plots.timeline(asynchronous, start=3.3, stop=7.7)
    assert ax.get_xlim() == (3.3, 7.7)
    for kind in ("computing", "sending"):
        drawn = bars(ax, kind)
        assert drawn[:, 0].min() >= 3.3
        assert drawn[:, 1].max() <= 7.7
    inside = asynchronous.update_times[(asynchronous.update_times >= 3.3) & (asynchronous.update_times <= 7.7)]
    assert update_lines(ax) == inside.tolist()


def test_timeline_puts_worker_0_on_top_and_keeps_the_order_asked_for(asynchronous):
    ax = sg.plots.timeline(asynchronous)
    bottom, top = ax.get_ylim()
    assert top < 0 < bottom
    assert [t.get_text() for t in ax.get_yticklabels()] == ["worker 0", "worker 1", "worker 2"]
    assert ax.get_xlabel() == "simulated time (seconds)"
    assert ax.get_title() == "AsyncSGD: 37 updates"
    some = sg.plots.timeline(asynchronous, workers=[2, 0])
    assert [t.get_text() for t in some.get_yticklabels()] == ["worker 2", "worker 0"]
    whole = bars(ax, "computing")
    np.testing.assert_allclose(
        bars(some, "computing")[:, :2], np.concatenate([whole[whole[:, 2].round() == w][:, :2] for w in (2, 0)])
    )


def test_timeline_shows_discarded_work_hatched(cluster):
    tape = sg.record(Picky(), cluster, sg.Seconds(20))
    ax = sg.plots.timeline(tape)
    assert hatch(ax, "discarded")
    assert len(bars(ax, "discarded")) == len(tape.discarded) > 0
    seconds = (lambda b: (b[:, 1] - b[:, 0]).sum())(bars(ax, "discarded"))
    np.testing.assert_allclose(seconds, (tape.discarded.ended - tape.discarded.began).sum(), rtol=1e-9)


def test_a_legend_names_no_kind_that_cannot_be_seen(asynchronous):
    first = asynchronous.began.min()
    assert legend(sg.plots.timeline(asynchronous, start=first + 0.01, stop=first + 0.02)) == ["computing"]  # no update either
    quick = sg.Cluster(3, sg.times.Constant(1.0), sg.networks.Link(latency=1e-7))
    assert legend(sg.plots.timeline(sg.record(sg.AsyncSGD(), quick, sg.Seconds(10)))) == ["computing", "update"]


def test_an_edge_tells_jobs_apart_but_covers_none(asynchronous):
    quick = sg.record(sg.AsyncSGD(), sg.Cluster(3, sg.times.Constant(1.0), sg.networks.Link(latency=0.01)), sg.Seconds(10))
    edges = {
        name: {c.get_label(): c.get_linewidth()[0] for c in sg.plots.timeline(tape).collections if c.get_label() != "update"}
        for name, tape in {"slow": asynchronous, "quick": quick}.items()
    }
    assert edges["slow"]["computing"] == edges["slow"]["sending"] == edges["quick"]["computing"] > 0
    assert edges["quick"]["sending"] == 0


@pytest.fixture(scope="module")
def many_jobs():
    """16 workers, 3,000 updates, 9,000 bars."""
    cluster = sg.Cluster(16, sg.times.Exponential(mean=0.1), sg.networks.Link(latency=0.005))
    return sg.record(sg.AsyncSGD(), cluster, sg.Updates(3000))


def test_timeline_of_thousands_of_jobs_is_a_few_collections(many_jobs):
    ax = sg.plots.timeline(many_jobs)
    assert len(ax.collections) == 3  # computing, sending, and the density's entry in the legend
    assert len(bars(ax, "computing")) == 3000 + np.count_nonzero(many_jobs.in_flight.began < many_jobs.end)


@pytest.mark.parametrize(("stop", "marks"), [(0.5, "lines"), (3.0, "ticks"), (20.0, "density")])
def test_many_updates_are_marked_above_the_rows(many_jobs, stop, marks):
    ax = sg.plots.timeline(many_jobs, stop=stop)
    moments = many_jobs.update_times[many_jobs.update_times <= stop]
    (lines,) = (c for c in ax.collections if isinstance(c, LineCollection))
    heights = np.array([segment[:, 1] for segment in lines.get_segments()])
    if marks == "density":
        (strip,) = ax.images
        left, right, low, high = strip.get_extent()
        assert (left, right, low) == (0, stop, -0.5)
        assert high < low  # above the rows
        counts = strip.get_array().ravel()
        np.testing.assert_array_equal(counts, np.histogram(moments, len(counts), (0, stop))[0])
        assert counts.mean() >= 10
        assert legend(ax)[-1] == "updates: the darker the more"
    else:
        assert update_lines(ax) == moments.tolist()
        assert heights.max() == 15.5 if marks == "lines" else heights.max() == -0.5
    assert ax.get_title() == f"AsyncSGD: {len(moments):,} updates"


# --- timelines too crowded for bars --------------------------------------------------------------------------------------


def pixel_shares(tape, kinds, workers, edges):
    """Return, one by one, how much of each stretch of time between edges the workers together spent on some kinds."""
    found = np.zeros(len(edges) - 1)
    for kind in kinds:
        for worker, begin, end in zip(*tape.stretches()[kind], strict=True):
            if worker in workers:
                found += np.clip(np.minimum(end, edges[1:]) - np.maximum(begin, edges[:-1]), 0, None)
    return found / (np.diff(edges) * len(workers))


@pytest.fixture
def crowded_at_once(monkeypatch):
    monkeypatch.setattr("simsgd.plots.workers.MOST_BARS", 0)


@ALL_TAPES
def test_an_image_has_the_average_colour_of_each_pixels_time(tape, request, crowded_at_once):
    tape = request.getfixturevalue(tape)
    ax = sg.plots.timeline(tape, start=2.5, stop=17.5, workers=[2, 0])
    image = ax.images[0]
    assert image.get_extent() == [2.5, 17.5, 1.5, -0.5]
    lines = image.get_array()[4::8]  # eight pixels a row, of which the first and the last are a gap
    assert lines.shape[0] == 2
    edges = np.linspace(2.5, 17.5, lines.shape[1] + 1)
    for worker, line in zip((2, 0), lines, strict=True):
        shares = {kind: pixel_shares(tape, [kind], [worker], edges) for kind in tape.stretches()}
        shares["waiting"] = 1 - sum(shares.values())
        colours = {kind: np.array(matplotlib.colors.to_rgb(sg.plots.KINDS[kind])) for kind in shares}
        np.testing.assert_allclose(line, sum(shares[kind][:, None] * colours[kind] for kind in shares), atol=1e-9)


@ALL_TAPES
def test_an_image_has_the_legend_of_the_bars(tape, request, monkeypatch):
    tape = request.getfixturevalue(tape)
    with_bars = sg.plots.timeline(tape)
    monkeypatch.setattr("simsgd.plots.workers.MOST_BARS", 0)
    as_image = sg.plots.timeline(tape)
    assert set(legend(as_image)) == set(legend(with_bars))
    assert as_image.get_xlim() == with_bars.get_xlim()
    assert as_image.get_ylim() == with_bars.get_ylim()
    assert update_lines(as_image) == update_lines(with_bars)


def test_more_workers_than_pixels_share_lines_which_the_axis_says():
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(1001, sg.times.ShiftedExponential(0.5, 1.0), LINK), sg.Updates(8000))
    ax = sg.plots.timeline(tape)
    height = ax.get_window_extent().height
    together = -(-1001 // int(height))
    assert together >= 2
    assert ax.get_ylabel() == f"workers: each line is the average of {together}"
    image = ax.images[0]
    pixels = image.get_array()
    assert len(pixels) == -(-1001 // together) <= height
    assert image.get_extent()[2:] == [len(pixels) * together - 0.5, -0.5]
    assert ax.get_ylim()[0] == 1000.5  # the last line, of fewer workers, is cut
    edges = np.linspace(0, tape.end, pixels.shape[1] + 1)
    for line in (0, len(pixels) - 1):
        own = range(line * together, min(1001, (line + 1) * together))
        sending = pixel_shares(tape, ["sending"], own, edges)
        computing = pixel_shares(tape, ["computing"], own, edges)
        colours = {
            kind: np.array(matplotlib.colors.to_rgb(sg.plots.KINDS[kind])) for kind in ("sending", "computing", "waiting")
        }
        expected = sending[:, None] * colours["sending"] + computing[:, None] * colours["computing"]
        expected += (1 - sending - computing)[:, None] * colours["waiting"]
        np.testing.assert_allclose(pixels[line], expected, atol=1e-9)


def test_a_long_timeline_has_few_things_to_draw():
    """So it is quick, however long: bars and lines were 900,000 and 300,000 on a tape of 300,000 updates."""
    tape = sg.record(sg.AsyncSGD(), sg.Cluster(16, sg.times.Exponential(mean=0.1), LINK), sg.Updates(20_000))
    ax = sg.plots.timeline(tape)
    assert sum(len(collection.get_paths()) for collection in ax.collections) == 0
    assert all(image.get_array().size <= 16 * 8 * 1500 * 3 for image in ax.images)
    assert ax.get_ylabel() == ""  # each worker has a row of its own


def test_shares_of_many_workers_are_outlines():
    tape = sg.record(sg.MinibatchSGD(), sg.Cluster(200, sg.times.Exponential(1.0)), sg.Updates(5))
    ax = sg.plots.shares(tape)
    assert len(ax.patches) == 2
    computing, waiting = (patch.get_data() for patch in ax.patches)
    np.testing.assert_allclose(computing.values, tape.shares()["computing"])
    np.testing.assert_allclose(waiting.baseline, computing.values)
    np.testing.assert_allclose(waiting.values, 1.0)
    assert [label.split(":")[0] for label in legend(ax)] == ["computing", "waiting"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": 5.0, "stop": 5.0}, "start must be before stop=5.0 .*, got 5.0"),
        ({"start": 25.0}, "start must be before .*the tape's end, 20 seconds, got 25.0"),
        ({"start": -1.0}, "start must be a finite number of at least 0"),
        ({"stop": float("nan")}, "stop must be a finite number above 0"),
        ({"workers": [0, 3]}, "workers must be among 0 to 2, got 3"),
        ({"workers": [-1]}, "workers: each must be a whole number of at least 0, got -1"),
        ({"workers": []}, "workers must name at least one of the workers 0 to 2"),
        ({"workers": [1, 1]}, r"workers must name each worker once, got \[1, 1\]"),
    ],
)
def test_timeline_refuses_nonsense_by_name(asynchronous, arguments, message):
    with pytest.raises(ValueError, match=message):
        sg.plots.timeline(asynchronous, **arguments)
    assert not plt.get_fignums()


# --- staleness and shares ------------------------------------------------------------------------------------------------


def test_staleness_draws_the_share_of_each_value(synchronous, asynchronous):
    ax = sg.plots.staleness([synchronous, asynchronous])
    for patch, tape in zip(ax.patches[::2], (synchronous, asynchronous), strict=True):
        data = patch.get_data()
        values, counts = np.unique(tape.staleness, return_counts=True)
        np.testing.assert_allclose(data.values[values], counts / len(tape))
        assert data.values.sum() == pytest.approx(1.0)
        np.testing.assert_array_equal(data.edges, np.arange(tape.staleness.max() + 2) - 0.5)
    assert legend(ax) == ["MinibatchSGD: mean 0", f"AsyncSGD: mean {asynchronous.staleness.mean():.3g}"]


def test_staleness_takes_runs_and_mappings(runs, asynchronous):
    assert legend(sg.plots.staleness(runs[0])) == ["MinibatchSGD: mean 0"]
    assert legend(sg.plots.staleness({"mine": asynchronous}))[0].startswith("mine: ")
    assert legend(asynchronous.plot_staleness())[0].startswith("AsyncSGD: ")


def test_staleness_refuses_a_tape_without_gradients(cluster):
    with pytest.raises(ValueError, match="tapes must hold gradients, but 'AsyncSGD' has none"):
        sg.plots.staleness(sg.record(sg.AsyncSGD(), cluster, sg.Seconds(0.1)))


def test_shares_are_stacked_to_the_tapes_shares(synchronous):
    ax = synchronous.plot_shares()
    there = {kind: share for kind, share in synchronous.shares().items() if share.any()}
    for container, (kind, share) in zip(ax.containers, there.items(), strict=True):
        assert container.get_label().startswith(kind)
        np.testing.assert_allclose([bar.get_width() for bar in container], share)
    ends = [bar.get_x() + bar.get_width() for bar in ax.containers[-1]]
    np.testing.assert_allclose(ends, 1.0)
    assert ax.get_xlabel() == "share of simulated time"


@pytest.mark.parametrize("draw", [sg.plots.timeline, sg.plots.shares, sg.plots.staleness])
def test_only_tapes_and_runs_are_drawn(draw):
    with pytest.raises(TypeError, match="must be a "):
        draw(42)


# --- heat map ------------------------------------------------------------------------------------------------------------

VALUES = [[4.0, 0.5, 1.0], [np.inf, 0.0, np.nan]]


def heat_map(values=VALUES, rows=(1, 2), columns=(0, 0.1, "far"), methods=("sync", "async"), **options):
    return sg.plots.heat_map(values, rows, columns, methods=methods, **options)


def test_heat_map_says_factor_and_winner_in_each_cell():
    ax = heat_map(row_label="rows", column_label="columns", title="title")
    said = [text.get_text().replace("\n", " ") for text in ax.texts]
    assert said == ["4.0× sync", "2.0× async", "1.0× equal", "only sync", "only async", "neither"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0", "0.1", "far"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["1", "2"]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("columns", "rows", "title")


def test_heat_map_is_white_at_one_and_symmetric_about_it():
    mesh = heat_map().collections[0]
    assert (mesh.norm.vmin, mesh.norm.vmax) == (0.25, 4.0)
    assert mesh.to_rgba(1.0)[:3] == pytest.approx((1, 1, 1), abs=0.02)
    assert matplotlib.colors.to_hex(mesh.to_rgba(4.0)) == sg.plots.LINES[0].lower()
    assert matplotlib.colors.to_hex(mesh.to_rgba(0.25)) == sg.plots.LINES[1].lower()


def test_heat_map_leaves_a_cell_that_neither_reached_grey():
    ax = heat_map()
    drawn = ax.collections[0].get_array()
    assert np.ma.getmaskarray(drawn).tolist() == [[False] * 3, [False, False, True]]
    assert drawn[1, 0] == 4.0  # infinity takes the strongest colour there is
    red, green, blue, _ = ax.get_facecolor()
    assert red == green == blue < 1


@pytest.mark.parametrize(("methods", "colours"), [(("sync", "async"), (0, 1)), (("async", "sync"), (1, 0))])
def test_heat_map_has_the_colours_of_its_methods_on_either_side(methods, colours):
    mesh = heat_map(methods=methods).collections[0]
    for value, place in zip((4.0, 0.25), colours, strict=True):
        assert matplotlib.colors.to_hex(mesh.to_rgba(value)) == sg.plots.LINES[place].lower()


def test_heat_map_says_on_the_bar_whom_factors_favour():
    ax = heat_map()
    bar = ax.figure.axes[1]
    ax.figure.canvas.draw()
    assert [t.get_text() for t in bar.get_yticklabels()] == ["3× async", "2×", "1.5×", "1×", "1.5×", "2×", "3× sync"]


@pytest.mark.parametrize("methods", [("sync", "async"), ("KSyncSGD", "KBatchAsyncSGD"), ("RennalaSGD", "RingmasterASGD")])
def test_heat_map_is_legible_in_every_cell(methods):
    """Text and cell differ by 40 steps of CIE lightness (of 100) at least."""
    ax = heat_map([[1.0, 1.3, 2.0, 4.0, 0.25, 0.5, 0.8, np.nan]], [1], range(8), methods)
    mesh = ax.collections[0]
    for text, value in zip(ax.texts, mesh.get_array().ravel(), strict=True):
        cell = ax.get_facecolor() if np.ma.is_masked(value) else mesh.to_rgba(value)
        assert abs(lab(text.get_color())[0] - lab(cell)[0]) > 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": [1]}, r"values must have the shape \(rows, columns\) = \(1, 3\), got \(2, 3\)"),
        ({"values": [], "rows": [], "columns": []}, "values must have the shape"),
        ({"values": [[1, 1, -2], [1, 1, 1]]}, "values must be costs over costs, at least 0, got .*-2.0"),
        ({"methods": ("sync",)}, "methods must be the names of two methods"),
        ({"methods": ("sync", "sync")}, "methods must be the names of two methods"),
    ],
)
def test_heat_map_refuses_nonsense_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        heat_map(**arguments)
    assert not plt.get_fignums()


def test_drawing_changes_no_global_settings(runs, asynchronous):
    before = dict(matplotlib.rcParams)
    sg.plots.metric(runs[0])
    sg.plots.timeline(asynchronous)
    sg.plots.staleness(asynchronous)
    sg.plots.shares(asynchronous)
    plt.close(sg.plots.compare_timelines([asynchronous, runs[0]])["AsyncSGD"].figure)
    heat_map()
    assert dict(matplotlib.rcParams) == before
