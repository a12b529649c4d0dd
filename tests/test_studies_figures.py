"""The figures of a study stand on all seeds: those that arrived, that diverged, and that never came."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex

import simsgd as sg
from simsgd.plots.studies import _quantile
from simsgd.studies import Outcome, Results

TARGET = sg.Target("loss", at_most=0.1, within=sg.Seconds(10), kept=0)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def outcome(seconds, status=None):
    """A run evaluated each second, whose loss falls in a line from 1 to 0.1 in so many seconds; it stops there."""
    time = np.arange(0.0, min(seconds, 10) + 1)
    loss = np.where(time == seconds, 0.1, 1 - 0.9 * time / seconds)  # the target to the bit
    columns = {"time": time, "updates": 5 * time, "samples": time, "bytes": time, "loss": loss, "other": time}
    return Outcome(status or ("target reached" if seconds <= 10 else "completed"), columns, {})


def diverged(seconds):
    found = outcome(10, "diverged")
    for column in found.evaluations:
        found.evaluations[column] = found.evaluations[column][: seconds + 1]
    found.evaluations["loss"][-1] = math.nan
    return found


def results(**runs):
    several = {name: [outcome(each) if isinstance(each, int) else each for each in all_of] for name, all_of in runs.items()}
    seeds = list(range(max(map(len, several.values()))))
    places = {(name, seed): each for name, all_of in several.items() for seed, each in enumerate(all_of)}
    return Results({"method": list(runs), "seed": seeds}, places, TARGET)


def line(ax, label):
    (found,) = (each for each in ax.lines if str(each.get_label()).split(" (")[0] == label)
    return found


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def marks(ax):
    """Return (marker, x, y) of the single points that are drawn."""
    return [(each.get_marker(), *each.get_xydata()[0].tolist()) for each in ax.lines if len(each.get_xydata()) == 1]


# --- curves --------------------------------------------------------------------------------------------------------------


def test_a_median_is_that_of_all_seeds_and_ends_where_half_have_arrived():
    """Survivors alone would go on to 10 s: here 2 and 4 s arrived, so the median of five is the run that takes 5 s."""
    ax = results(a=[2, 4, 5, 8, 10]).plot()
    drawn = line(ax, "a")
    assert drawn.get_xdata().tolist() == [0, 1, 2, 3, 4, 5]
    assert np.allclose(drawn.get_ydata(), 1 - 0.9 * np.arange(6) / 5)
    assert marks(ax) == [("o", 5.0, 0.1)]
    assert labels(ax) == ["a (5 seeds, 5 arrived)", "target"]
    assert "dot: half have arrived" in ax.get_legend().get_title().get_text()


def test_a_median_ends_at_the_median_of_the_arrivals():
    ax = results(a=[3, 7, 11, 11, 6]).plot()
    assert marks(ax) == [("o", 7.0, 0.1)]


def test_those_that_diverged_count_as_worse():
    """Two of five diverged: the median is the third best of all, the slowest of those that did not."""
    ax = results(a=[diverged(2), diverged(3), 4, 5, 6]).plot()
    assert marks(ax) == [("o", 6.0, 0.1)]
    ax = results(a=[diverged(2), diverged(3), diverged(4), 5, 6]).plot()
    ((mark, *_),) = marks(ax)
    assert mark == "X"
    assert labels(ax)[0] == "a (5 seeds, 2 arrived, 3 diverged)"


def test_a_failed_run_counts_as_worse_and_is_called_failed():
    failed = Outcome.failure(ValueError("no"))
    found = results(a=[failed, 4, 6], bad=[failed, failed, failed])
    ax = found.plot()
    assert labels(ax)[:2] == ["a (3 seeds, 2 arrived, 1 failed)", "bad (3 seeds, 3 failed)"]
    assert "cross: half have failed" in ax.get_legend().get_title().get_text()
    assert marks(ax) == [("o", 6.0, 0.1)]
    assert "bad (0 of 3, 3 failed)" in labels(found.plot(kind="arrivals"))
    bars = found.plot(kind="bars")
    assert [bar.get_width() > 0 for bar in bars.patches] == [True]  # no bar of what was not measured
    assert "0 of 3 arrived, 3 failed" in [text.get_text() for text in bars.texts]


@pytest.mark.parametrize("kind", ["curves", "arrivals", "bars"])
def test_what_cannot_be_drawn_is_said(kind):
    with pytest.raises(ValueError, match="nothing to draw: 0 of 2 cells are done, run the study first"):
        Results({"method": ["a"], "seed": [0, 1]}, {}, TARGET).plot(kind=kind)
    failed = Outcome.failure(ValueError("no such thing"))
    with pytest.raises(
        ValueError, match="nothing to draw: all 2 runs failed, the first, method='a', seed=0, with ValueError: no"
    ):
        results(a=[failed, failed]).plot(kind=kind)


def test_one_run_has_no_band_and_no_dot_but_its_cross():
    ax = results(a=[4]).plot()
    assert (labels(ax), marks(ax), list(ax.collections)) == (["a", "target"], [], [])
    ax = results(a=[diverged(3)]).plot()
    assert labels(ax)[0] == "a (diverged)"
    assert [mark for mark, *_ in marks(ax)] == ["X"]


def test_the_band_goes_from_the_least_to_the_greatest_of_all():
    ax = results(a=[4, 5, 8]).plot()
    (band,) = (each for each in ax.collections if isinstance(each, PolyCollection))
    corners = band.get_paths()[0].vertices
    at = {x: sorted({y for where, y in corners if where == x}) for x in (2.0, 6.0)}
    assert np.allclose(at[2.0], [1 - 0.9 * 2 / 4, 1 - 0.9 * 2 / 8])
    assert np.allclose(at[6.0], [0.1, 1 - 0.9 * 6 / 8])  # the first has arrived: the edge is at the target
    assert corners[:, 0].max() == 8


def test_a_band_of_quantiles():
    ax = results(a=[2, 4, 5, 8, 10]).plot(quantiles=(0.25, 0.75))
    (band,) = (each for each in ax.collections if isinstance(each, PolyCollection))
    corners = band.get_paths()[0].vertices
    assert np.allclose(sorted({y for x, y in corners if x == 1.0}), [1 - 0.9 / 4, 1 - 0.9 / 8])
    assert "band: 25% to 75%" in ax.get_legend().get_title().get_text()


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_quantiles_are_numpys_where_all_is_finite(share):
    table = np.random.default_rng(0).normal(size=(7, 50))
    assert np.allclose(_quantile(table, share), np.quantile(table, share, axis=0))
    assert np.isinf(_quantile(np.array([[1.0], [math.inf]]), 0.5)).all()


def test_bands_of_another_metric_end_with_the_first_run():
    ax = results(a=[4, 8]).plot(y="other")
    assert line(ax, "a").get_xdata().max() == 4
    assert [each.get_xdata().max() for each in ax.lines if each.get_label() == "_"] == [8]
    assert "thin: runs that go on after the first has ended" in ax.get_legend().get_title().get_text()


def test_a_run_is_drawn_until_it_arrives_not_until_it_has_kept_the_target():
    late = outcome(4)
    for name, column in late.evaluations.items():
        late.evaluations[name] = np.append(column, column[-1] + 1 if name != "loss" else 0.05)
    found = Results({"seed": [0]}, {(0,): late}, sg.Target("loss", at_most=0.1, within=sg.Seconds(10), kept=sg.Seconds(1)))
    assert line(found.plot(), "all").get_xdata().max() == 4
    assert line(found.plot(x="updates"), "all").get_xdata().max() == 20


# --- colours -------------------------------------------------------------------------------------------------------------


def colours(ax, *names):
    return [(to_hex(line(ax, name).get_color()), line(ax, name).get_marker()) for name in names]


def test_a_method_keeps_its_colour_and_marker_across_figures():
    made = results(synchronous=[4, 5], mine=[3, 4], theirs=[2, 3], asynchronous=[2, 2])
    whole = colours(made.plot(), "synchronous", "mine", "theirs", "asynchronous")
    assert [colour for colour, _ in whole] == ["#0072b2", *(c for c, _ in whole[1:3]), "#d55e00"]
    assert len(set(whole)) == len({colour for colour, _ in whole}) == len({marker for _, marker in whole}) == 4
    some = made.select(method=["theirs", "asynchronous"])
    assert colours(some.plot(), "theirs", "asynchronous") == whole[2:]
    assert colours(some.plot(kind="arrivals"), "theirs", "asynchronous") == whole[2:]
    bars = made.select(method="theirs").plot(kind="bars")
    assert to_hex(bars.patches[0].get_facecolor()) == whole[2][0]


def test_studies_share_colours_by_the_methods_they_are_among():
    one, other = results(mine=[4], theirs=[3]), results(theirs=[5], new=[3])
    known = ["mine", "theirs", "new"]
    assert colours(one.plot(among=known), "theirs") == colours(other.plot(among=known), "theirs")
    assert colours(one.plot(), "theirs") != colours(other.plot(), "theirs")


def test_presets_have_their_protocols_colours():
    assert sg.plots.colour_of("minibatch") == sg.plots.colour_of("MinibatchSGD")
    assert sg.plots.colour_of("ringmaster") == sg.plots.colour_of("RingmasterASGD")


def test_further_axes_are_shades_of_a_method():
    places = {("mine", size, seed): outcome(4) for size in (0.1, 0.2) for seed in (0, 1)}
    ax = Results({"method": ["mine"], "step_size": [0.1, 0.2], "seed": [0, 1]}, places, TARGET).plot()
    assert labels(ax)[:2] == ["mine, step size 0.1 (2 seeds, 2 arrived)", "mine, step size 0.2 (2 seeds, 2 arrived)"]
    first, second = colours(ax, "mine, step size 0.1", "mine, step size 0.2")
    assert first[0] != second[0]
    assert first[1] == second[1]


# --- arrivals and bars ---------------------------------------------------------------------------------------------------


def test_arrivals_are_shares_of_all_runs():
    ax = results(a=[2, 4, 11, diverged(3)], b=[1, 1, 5, 6]).plot(kind="arrivals")
    assert line(ax, "a").get_xydata().tolist() == [[0, 0], [2, 0.25], [4, 0.5], [10, 0.5]]
    assert line(ax, "b").get_xydata().tolist() == [[0, 0], [1, 0.25], [1, 0.5], [5, 0.75], [6, 1], [10, 1]]
    assert labels(ax) == ["a (2 of 4, 1 diverged)", "b (4 of 4)"]


def test_arrivals_at_several_targets_are_shares_of_all_pairs():
    easier = sg.Target("loss", at_most=0.55, kept=0)
    ax = results(a=[2, 4]).plot("updates", kind="arrivals", target=[easier, TARGET])
    assert line(ax, "a").get_xydata()[:5].tolist() == [[0, 0], [5, 0.25], [10, 0.5], [10, 0.75], [20, 1]]
    assert "2 targets" in ax.get_ylabel()


def test_bars_show_who_never_arrived():
    ax = results(a=[2, 4, 11, diverged(3)], b=[1, 1, 5, 5]).plot(kind="bars")
    assert [bar.get_width() for bar in ax.patches] == [6.5, 3.0]
    assert [bar.get_hatch() for bar in ax.patches] == ["////", None]
    never = [each for each in ax.lines if each.get_marker() == "x"]
    assert [len(each.get_xdata()) for each in never] == [2, 0]
    assert (never[0].get_xdata() > 10).all()
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["2 of 4 arrived, 1 diverged", "4 of 4 arrived", "never"]


def test_nonsense_is_refused():
    made = results(a=[2, 4])
    with pytest.raises(ValueError, match="kind must be one of 'curves', 'arrivals', 'bars', got 'bands'"):
        made.plot(kind="bands")
    with pytest.raises(ValueError, match="y must be one of 'loss', 'other', got 'accuracy'"):
        made.plot(y="accuracy")
    with pytest.raises(ValueError, match="x must be one of"):
        made.plot("seconds")
    with pytest.raises(ValueError, match="quantiles must be two shares from 0 to 1"):
        made.plot(quantiles=(0.9, 0.1))
    with pytest.raises(ValueError, match="over must be one of"):
        made.plot(over="seeds")
    with pytest.raises(ValueError, match="horizon is needed"):
        made.plot(kind="bars", target=sg.Target("loss", at_most=0.1, kept=0))
