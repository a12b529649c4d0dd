"""What the pictures show: the numbers drawn are the tape's and the run's, and nonsense is refused by name."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import matplotlib

matplotlib.use("Agg")

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
    assert first.startswith("AsyncSGD, sgd(")
    assert second.startswith("AsyncSGD, sgd(")
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
        ({"runs": 3}, TypeError, "runs must be a Run, several, or a mapping, got 3"),
        ({"labels": ["a", "b"]}, ValueError, "labels must name each of the 1 runs"),
        ({"target": float("nan")}, ValueError, "target must be a finite number, got nan"),
        ({"target": sg.Target("distance", at_most=1.0)}, ValueError, "target must be a Target of the metric drawn, y='loss'"),
    ],
)
def test_metric_refuses_nonsense_by_name(runs, arguments, error, message):
    with pytest.raises(error, match=message):
        sg.plots.metric(**{"runs": runs[0], **arguments})
    assert not plt.get_fignums()  # an error leaves no figure behind


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
    assert set(legend(sg.plots.timeline(tape))) == there | {f"update ({tape.updates:,})"}
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
    assert ax.get_title() == "AsyncSGD"
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


def test_timeline_of_thousands_of_jobs_is_a_few_collections():
    cluster = sg.Cluster(16, sg.times.Exponential(mean=0.1), sg.networks.Link(latency=0.005))
    tape = sg.record(sg.AsyncSGD(), cluster, sg.Updates(3000))
    ax = sg.plots.timeline(tape)
    assert len(ax.collections) == 3  # computing, sending, updates
    (lines,) = (c for c in ax.collections if isinstance(c, LineCollection))
    heights = np.array([segment[:, 1] for segment in lines.get_segments()])
    assert heights.shape == (3000, 2)
    assert heights.max() <= -0.5  # a strip above the rows, not lines across them
    assert "update (3,000)" in legend(ax)


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": [1]}, r"values must have the shape \(rows, columns\) = \(1, 3\), got \(2, 3\)"),
        ({"values": [], "rows": [], "columns": []}, "values must have the shape"),
        ({"values": [[1, 1, -2], [1, 1, 1]]}, "values must be costs over costs, at least 0, got .*-2.0"),
        ({"methods": ("sync",)}, "methods must be the names of two methods"),
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
    heat_map()
    assert dict(matplotlib.rcParams) == before
