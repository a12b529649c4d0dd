"""compare: each method at its own best step size, on seeds that it was not chosen by, and what is said of it."""

import dataclasses
import functools
import itertools
import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text

import simsgd as sg
from simsgd.studies import study as studying
from simsgd.studies import telling
from simsgd.studies.statistics.arriving import shown
from simsgd.studies.tuning import Score, best

CLUSTER = sg.Cluster(4, sg.times.Exponential(mean=0.5))
PROBLEM = sg.problems.quadratic(spectrum=(1.0, 0.5), noise=0.2, samples=32)
TARGET = sg.Target("loss", at_most=0.05, within=sg.Seconds(12), kept=sg.Seconds(1))
METHODS = {"sync": sg.methods.minibatch, "async": sg.methods.asynchronous}
EVERY = sg.Seconds(0.5)
SIZES = [0.05, 0.2, 0.8]


def compared(methods=METHODS, problem=PROBLEM, cluster=CLUSTER, **options):
    given = {"until": TARGET, "seeds": 2, "tuning_seeds": 1, "step_sizes": SIZES, "evaluate_every": EVERY, "extensions": 0}
    return sg.compare(methods, problem, cluster, **(given | options))


@pytest.fixture(scope="module")
def both():
    return compared(seeds=3, tuning_seeds=[70, 80])


@functools.cache
def alone(name, size, seed):
    """Seconds to the target of one run, made by hand; infinite where it never arrived."""
    run = sg.simulate(METHODS[name](size), PROBLEM, CLUSTER, until=TARGET, seed=seed, evaluate_every=EVERY)
    seconds = run.to_target().seconds
    return seconds if math.isfinite(seconds) else math.inf


def test_each_method_gets_the_step_size_that_is_best_by_hand_on_the_tuning_seeds(both):
    for name in METHODS:
        by_hand = {size: np.mean([min(alone(name, size, seed), 12) for seed in (70, 80)]) for size in SIZES}
        assert both.step_sizes[name] == min(by_hand, key=by_hand.__getitem__)
        assert {size: tried.seconds for size, tried in both.tuned.choices[name, ()].tried.items()} == pytest.approx(by_hand)


def test_what_is_reported_are_the_runs_at_the_best_on_the_reporting_seeds(both):
    assert both.seconds.dims == ("method", "seed")
    assert both.seconds.seed.values.tolist() == [0, 1, 2]
    for name in METHODS:
        by_hand = [alone(name, both.step_sizes[name], seed) for seed in range(3)]
        found = both.seconds.sel({"method": name}).values
        assert np.nan_to_num(found, nan=np.inf).tolist() == pytest.approx(by_hand)
    means = {name: np.minimum(np.nan_to_num(both.seconds.sel({"method": name}), nan=np.inf), 12).mean() for name in METHODS}
    assert both.ranking.labels == tuple(sorted(means, key=means.__getitem__))


def test_all_methods_are_given_the_same_budget_and_it_is_printed(both):
    assert {name: (each.configurations, each.runs) for name, each in both.tuned.budgets.items()} == dict.fromkeys(
        METHODS, (3, 6)
    )
    for name, budget in both.tuned.budgets.items():
        outcomes = [outcome for place, outcome in both.tuning.outcomes.items() if place[0] == name]
        assert len(outcomes) == 6
        assert budget.seconds == sum(outcome.evaluations["time"][-1] for outcome in outcomes)
        assert budget.samples == sum(outcome.evaluations["samples"][-1] for outcome in outcomes)
    text = both.summary()
    assert "Tuned on 2 seeds of their own (70 and 80): 3 configurations for each method." in text
    assert f"{both.tuned.budgets['sync'].samples:,.0f}" in text


def test_the_samples_of_all_local_steps_are_counted():
    """A round of four local steps takes four batches of each worker, and one message."""
    found = compared({"local": lambda step_size: sg.methods.local_sgd(step_size, steps=4)}, step_sizes=[0.02, 0.05], seeds=1)
    rounds = sum(outcome.evaluations["updates"][-1] for outcome in found.tuning.outcomes.values())
    assert found.tuned.budgets["local"].samples == rounds * 4 * CLUSTER.workers * PROBLEM.batch_size > 0


def test_one_method_s_edge_extends_the_grids_of_all(both):
    found = compared(step_sizes=[0.0125, 0.05], extensions=4)
    grids = {name: list(choice.tried) for (name, _), choice in found.tuned.choices.items()}
    assert grids["sync"] == grids["async"]
    assert grids["sync"][:3] == [0.0125, 0.05, 0.2]
    assert not any(choice.edge for choice in found.tuned.choices.values())
    assert "The grids of all methods were extended up to 0.2, for sync, async." in found.summary()
    assert "CAUTION" not in found.summary()


def test_a_best_that_stays_at_an_edge_and_a_target_that_is_never_reached_are_cautioned_about():
    found = compared({"async": sg.methods.asynchronous}, step_sizes=[1e-4, 2e-4], extensions=1, seeds=1)
    assert list(found.tuned.choices["async", ()].tried) == [1e-4, 2e-4, 4e-4]
    text = found.summary()
    assert "CAUTION: async: the best step size, 0.0004, is the greatest tried: try more." in text
    assert "no step size reached the target on any tuning seed; 0.0004 ended closest to it" in text
    assert "0 of 1 arrived" in text
    assert np.isnan(found.seconds).all()


def test_runs_that_diverge_never_arrive():
    found = compared({"wild": sg.methods.asynchronous(50.0), "async": sg.methods.asynchronous(0.2)})
    assert found.ranking.labels == ("async", "wild")
    assert np.isnan(found.seconds.sel({"method": "wild"})).all()
    assert "CAUTION: wild: all reporting runs diverged: they count as never arrived." in found.summary()
    assert telling.rows(found, ())[2][3].endswith("0 of 2 arrived, all diverged")


def test_where_every_step_size_diverged_none_is_said_to_have_ended_closest():
    found = compared({"wild": sg.methods.asynchronous, "async": sg.methods.asynchronous(0.2)}, step_sizes=[50.0, 60.0])
    assert "50 is no choice: each diverged or failed on some seed." in found.summary()
    assert "ended closest" not in found.summary()


def test_a_whole_method_is_not_tuned_and_a_protocol_gets_an_optimizer():
    found = compared([sg.methods.asynchronous(0.2), sg.AsyncSGD(), sg.methods.minibatch], step_sizes=[0.2], seeds=1)
    assert found.step_sizes == {"Asynchronous SGD": None, "AsyncSGD()": 0.2, "minibatch": 0.2}
    assert found.tuned.budgets == {}
    assert found.tuning.outcomes == {}
    seconds = found.seconds.sel(seed=0).values
    assert seconds[0] == seconds[1] == alone("async", 0.2, 0)
    assert "No step size was tuned." in found.summary()


def test_an_optimizer_of_ones_own_for_protocols():
    found = compared({"a": sg.AsyncSGD()}, step_sizes=[0.1], seeds=1, optimizer=lambda size: sg.optimizers.sgd(2 * size))
    assert found.seconds.item() == alone("async", 0.2, 0)


def test_the_best_is_found_for_each_cluster():
    """On a cluster that is a hundred times faster, with the same target, other step sizes are best."""
    clusters = {"slow": CLUSTER, "fast": sg.Cluster(4, sg.times.Exponential(mean=0.05))}
    found = compared({"async": sg.methods.asynchronous}, cluster=clusters, step_sizes=[0.02, 0.2], seeds=1)
    assert set(found.step_sizes) == {("async", "slow"), ("async", "fast")}
    assert found.seconds.dims == ("method", "cluster", "seed")
    assert found.seconds.sel(cluster="slow").item() == alone("async", found.step_sizes["async", "slow"], 0)
    assert found.tuning.axes.keys() == {"method", "cluster", "step_size", "seed"}
    assert found.rank(cluster="fast").labels == ("async",)
    assert found.of(cluster="fast").seconds().values.tolist() == [[found.seconds.sel(cluster="fast").values[0].tolist()]]
    with pytest.raises(ValueError, match=r"ranking is by setting here: use \.rank\(cluster=…\)"):
        found.ranking  # noqa: B018
    assert "cluster fast" in found.summary()


def test_scores_over_settings_are_areas_under_performance_profiles():
    """For each setting max(0, 4 − ratio to the fastest)/3; their mean."""
    problems = {"easy": PROBLEM, "hard": PROBLEM}
    until = {"easy": TARGET, "hard": dataclasses.replace(TARGET, at_most=0.02, within=sg.Seconds(20))}
    found = compared({"half": sg.methods.asynchronous(0.1), "async": sg.methods.asynchronous(0.2)}, problems, until=until)
    spent = {}
    for name, where in itertools.product(found.methods, problems):
        seconds = found.seconds.sel({"method": name, "problem": where}).values
        arrived = int(np.isfinite(seconds).sum())
        spent[name, where] = np.nan_to_num(seconds, nan=until[where].within.seconds).sum() / arrived if arrived else math.inf
    for name in found.methods:
        ratios = [spent[name, where] / min(spent[other, where] for other in found.methods) for where in problems]
        assert found.scores[name] == pytest.approx(np.mean([max(0, 4 - ratio) / 3 for ratio in ratios]))
    assert f"async {found.scores['async']:.2f}" in found.summary()
    with pytest.raises(ValueError, match="scores need several settings"):
        compared({"async": sg.methods.asynchronous(0.2)}).scores  # noqa: B018


def test_each_problem_has_a_target_and_a_problem_may_depend_on_the_seed():
    easy, hard = TARGET, dataclasses.replace(TARGET, at_most=0.02, within=sg.Seconds(20))
    other = sg.problems.quadratic(spectrum=(1.0, 0.6))
    problems = {"easy": PROBLEM, "hard": lambda seed: other if seed else PROBLEM}
    methods = {"async": sg.methods.asynchronous(0.2)}
    found = compared(methods, problems, until={"easy": easy, "hard": hard})
    assert found.seconds.dims == ("method", "problem", "seed")
    assert found.seconds.sel(problem="easy").values.tolist() == [[alone("async", 0.2, seed) for seed in range(2)]]
    for seed, problem in enumerate((PROBLEM, other)):
        alike = compared(methods, problem, until=hard, seeds=[seed]).seconds.item()
        assert found.seconds.sel(problem="hard", seed=seed).item() == alike


def test_tuning_on_what_is_reported_is_refused_unless_asked_for_and_then_called_optimistic():
    with pytest.raises(ValueError, match=r"tuning_seeds must not be reporting seeds, got 1 in both.*report_tuning_seeds=True"):
        compared(tuning_seeds=[1, 5])
    with pytest.raises(ValueError, match="tuning_seeds must not be reporting seeds"):
        compared(seeds=[1_000_000, 3], tuning_seeds=2)
    found = compared({"async": sg.methods.asynchronous}, tuning_seeds=[1], report_tuning_seeds=True)
    assert "these figures are optimistic: step sizes were chosen on seeds that are reported" in found.summary()


def test_halving_finds_a_best_and_its_pruned_runs_are_nowhere_but_in_the_budget():
    found = compared({"async": sg.methods.asynchronous}, step_sizes=[0.01, 0.05, 0.2, 0.8], halving=2, seeds=1)
    assert found.step_sizes == {"async": 0.2}
    assert {place[1] for place in found.tuning.outcomes} == {0.2}
    full = compared({"async": sg.methods.asynchronous}, step_sizes=[0.01, 0.05, 0.2, 0.8], seeds=1)
    assert found.tuning.seconds().item() == full.tuning.seconds().sel(step_size=0.2).item()
    ours, theirs = found.tuned.budgets["async"], full.tuned.budgets["async"]
    assert ours.configurations == theirs.configurations == 4
    assert ours.samples < theirs.samples
    text = found.summary()
    assert "Successive halving played 1 of 4 configurations to the end" in text
    assert "pruned and enter no statistic" in text


def test_the_winners_curse_on_real_runs():
    """Sixteen configurations that differ in nothing but their seeds: one step size, a noisy quadratic, one tuning seed."""
    found = compared({"async": sg.methods.asynchronous(0.2)}, seeds=32).seconds.values[0]
    restricted = np.minimum(np.nan_to_num(found, nan=np.inf), 12)
    tried = {float(k): Score(float(restricted[k]), 0.0) for k in range(16)}
    assert len(set(tried.values())) > 4  # they do vary
    fresh = restricted[16:].mean()  # what the chosen one, like any of them, takes on other seeds
    assert tried[best(tried)].seconds < 0.8 * fresh


def test_a_target_that_is_reached_at_the_start_is_cautioned_about():
    easy = dataclasses.replace(TARGET, at_most=100.0)
    found = compared({"async": sg.methods.asynchronous(0.2)}, until=easy, seeds=1)
    assert "CAUTION: the target is reached before the first update: ask for more." in found.summary()


def test_a_method_whose_reporting_runs_all_failed_is_told_and_not_ranked():
    """A protocol that breaks off while it is recorded."""
    found = compared({"odd": sg.Method(Breaks(), sg.optimizers.sgd(0.2)), "async": sg.methods.asynchronous(0.2)})
    assert np.isnan(found.seconds.sel({"method": "odd"})).all()
    said = "CAUTION: odd: 2 of 2 reporting runs failed, the first with RuntimeError: no more: it is not ranked."
    assert said in found.summary()
    assert found.ranking.labels == ("async",)
    assert [row[:4] for row in telling.rows(found, ())[2:]] == [("–", "odd", "its own", "all failed")]
    assert "more seeds" not in found.summary()


@pytest.mark.parametrize("halving", [None, 2])
def test_a_method_whose_tuning_runs_all_failed_stops_before_grids_are_extended(halving, tmp_path):
    methods = {"async": sg.methods.asynchronous, "odd": Breaks()}
    said = r"all 3 runs of methods\['odd'\] failed, the first, at step size 0.05 on seed 1000000, with RuntimeError: no more"
    with pytest.raises(RuntimeError, match=said):
        compared(methods, halving=halving, extensions=4, folder=tmp_path)
    assert any(tmp_path.iterdir())


def test_where_nobody_ran_there_is_nothing_to_rank():
    with pytest.raises(RuntimeError, match=r"all 2 runs of methods\['odd'\] failed, the first, on seed 0, with RuntimeError"):
        compared({"odd": sg.Method(Breaks(), sg.optimizers.sgd(0.2))})


def test_some_failures_are_told_of_each_method(both):
    """One line for each method, with its error; the others are ranked with what they have."""
    broken = sg.studies.Outcome.failure(ValueError("too bad"))
    reporting = dataclasses.replace(both.reporting, outcomes={**both.reporting.outcomes, ("sync", 1): broken})
    found = dataclasses.replace(both, reporting=reporting)
    (told,) = set(found.cautions) - set(both.cautions)
    assert (
        told == "CAUTION: sync: 1 of 3 reporting runs failed, the first with ValueError: too bad: they count as never arrived."
    )
    assert found.ranking.labels == ("async", "sync")
    assert "2 of 3 arrived, 1 failed" in found.table()
    assert found.table().endswith("Runs that failed (raised an error) never arrived.")


@dataclasses.dataclass(frozen=True)
class Breaks(sg.Protocol):
    """Asynchronous SGD that breaks off at the third gradient."""

    def on_gradient(self, server, gradient):
        if server.version == 2:
            raise RuntimeError("no more")
        server.apply(gradient)
        server.assign(gradient.worker)


def test_the_summary_says_of_each_method_how_many_arrived_and_how_it_compares_with_the_first_by_seed(both):
    first, second = both.ranking.labels
    pair = sg.studies.statistics.compare_pair(both.seconds.sel({"method": second}), both.seconds.sel({"method": first}), 12)
    head, top, other = telling.rows(both, ())
    assert head[5] == f"against {first}"
    assert top[1] == first
    assert "3 of 3 arrived" in top[3]
    assert other[5] == f"{shown(pair.value)}× ({shown(pair.low)} to {shown(pair.high)})"
    assert float(other[6]) == pytest.approx(pair.p_value, rel=0.05)
    assert float(other[7]) == pytest.approx(pair.correlation, abs=0.005)
    assert other[8] == f"{shown(pair.pairing_gain)}×"
    for column in (each for each in head if each in ("restricted mean", "expected", "p", "correlation", "pairing gains")):
        assert f"{column}: " in both.summary()  # each says what it is
    assert f"{second} against {first} by paired t of log-ratios: every run arrived." in both.summary()


def test_methods_that_are_the_same_share_the_first_rank():
    found = compared({"one": sg.methods.asynchronous(0.2), "same": sg.methods.asynchronous(0.2)}, seeds=3)
    assert (found.ranking.best, found.ranking.worst) == ((1, 1), (2, 2))
    assert "Not separated from one, and how many more seeds might do it: same (no number of seeds)." in found.summary()


def test_seeds_are_added_until_methods_are_separated_and_no_longer():
    methods = {"slow": sg.methods.minibatch(0.2), "async": sg.methods.asynchronous(0.2)}
    found = compared(methods, seeds=4, separate=True, most_seeds=30)
    assert found.ranking.separated
    assert len(found.seeds) % 4 == 0
    fewer = found.seconds.isel(seed=slice(len(found.seeds) - 4)).values
    assert not sg.studies.statistics.rank(fewer, 12, found.methods, any_time=True).separated
    assert f"after {len(found.seeds)}, all methods are separated" in found.summary()
    same = compared({"one": methods["async"], "same": methods["async"]}, seeds=2, separate=True, most_seeds=5)
    assert same.seeds == (0, 1, 2, 3, 4)
    assert "after 5, not all methods are separated" in same.summary()


def test_the_dataset_has_what_was_chosen_and_what_came_of_it(both):
    data = both.dataset
    assert data.step_size.values.tolist() == list(both.step_sizes.values())
    assert data.horizon.values.tolist() == [12, 12]
    assert (data.seconds_to_target == both.seconds).all()
    assert {"loss", "time", "status"} <= set(data)


def test_a_row_for_each_reporting_run_and_a_file_of_them(both, tmp_path):
    frame = both.to_dataframe()
    assert frame.seconds_to_target.tolist() == both.seconds.values.ravel().tolist()
    assert frame.groupby("method").step_size.unique().map(list).to_dict() == {name: [s] for name, s in both.step_sizes.items()}
    assert len(both.to_dataframe(evaluations=True)) == both.dataset.evaluations.sum()
    both.save(tmp_path / "found.nc")
    assert sg.studies.Results.load(tmp_path / "found.nc") == both.reporting


def test_the_figure_of_a_paper(both):
    axes = both.plot(kind="bars")
    assert {name for name in METHODS if any(name in text.get_text() for text in axes.figure.findobj(Text))} == set(METHODS)
    plt.close(axes.figure)
    with pytest.raises(TypeError, match="cluster"):
        both.plot(cluster="fast")


@pytest.mark.parametrize("format", ["text", "markdown", "latex"])
def test_the_table_of_a_paper(both, format):
    text = both.table(format)
    assert both.ranking.labels[0] in text
    assert "within 12 s" in text
    assert "correlation" not in text
    assert "pairing" not in text
    with pytest.raises(ValueError, match="format must be one of"):
        both.table("word")


def test_with_a_folder_nothing_is_made_twice_when_grids_grow_or_seeds_are_added(tmp_path, monkeypatch):
    given, made, play = {"methods": {"async": sg.methods.asynchronous}, "folder": tmp_path}, [], studying.play_group

    def counting(cells, *others):
        made.extend(cells)
        return play(cells, *others)

    monkeypatch.setattr(studying, "play_group", counting)
    first = compared(**given)
    assert len(made) == 3 + 2
    again = compared(**given)
    assert len(made) == 3 + 2
    more = compared(**given, step_sizes=[*SIZES, 1.6], seeds=3)
    assert len(made) == 3 + 2 + 1 + 1
    assert again.reporting == first.reporting
    assert again.summary() == first.summary()
    assert more.seconds.isel(seed=slice(2)).values.tolist() == first.seconds.values.tolist()


def test_what_a_study_takes_is_passed_on():
    with pytest.raises(sg.BoundError, match="memory"):
        compared(seeds=1, memory=1.0)
    with pytest.raises(
        TypeError, match=r"compare has no argument 'sedes'; .* memory, lanes, devices, keep_tapes, retry_failed, patience"
    ):
        compared(sedes=3)


def test_a_dtype_that_is_none_is_no_method_s_fault():
    with pytest.raises(ValueError, match="dtype must be one of 'float32', 'float64', got 'float16'") as refused:
        compared(dtype="float16")
    assert not hasattr(refused.value, "__notes__")


def test_it_shows_itself(both):
    assert repr(both).startswith(
        "Comparison(2 methods to loss ≤ 0.05, kept for 1 s, within 12 s (evaluated every 0.5 s); 3 reporting seeds"
    )
    page = both._repr_html_()
    assert "<table>" in page
    assert "3 configurations" in page


async_only = {"async": sg.methods.asynchronous}


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"methods": {}}, ValueError, r"methods must hold at least one method, got none"),
        ({"methods": []}, ValueError, r"methods must hold at least one method, got none"),
        ({"methods": sg.AsyncSGD()}, TypeError, r"methods must be a mapping such as .* or a list of methods, got AsyncSGD\(\)"),
        ({"methods": "async"}, TypeError, r"methods must be a mapping"),
        ({"methods": {1: sg.AsyncSGD()}}, TypeError, r"a name in methods must be an instance such as \"async\", got 1"),
        ({"methods": {"a": sg.AsyncSGD}}, TypeError, r"methods\['a'\] must be a function of the step size .* got <class"),
        ({"methods": {"a": 3}}, TypeError, r"methods\['a'\] must be a function .* got 3"),
        (
            {"methods": [sg.AsyncSGD(), sg.AsyncSGD()]},
            ValueError,
            r"methods must differ in their names, got 'AsyncSGD\(\)' twice",
        ),
        ({"methods": [lambda size: None]}, ValueError, r"methods must have names, got <function .* name it"),
        ({"methods": {"a": lambda size: None}}, TypeError, r"must return a Method, but for 0.05 returned None"),
        ({"methods": {"a": lambda size, more: None}}, TypeError, r"missing 1 required positional argument: 'more'"),
        ({"optimizer": sg.optimizers.sgd(0.1)}, TypeError, r"optimizer must be a function of the step size"),
        ({"step_sizes": []}, ValueError, r"step_sizes must hold at least one step size, got none"),
        ({"step_sizes": [0.1, 0.0]}, ValueError, r"step_sizes\[1\] must be a finite number above 0, got 0"),
        ({"step_sizes": [0.1, -1]}, ValueError, r"step_sizes\[1\] must be a finite number above 0, got -1"),
        ({"step_sizes": [0.1, 0.1]}, ValueError, r"must not hold a step size twice .*, got 0.1 after 0.1"),
        ({"step_sizes": 0.1}, TypeError, r"step_sizes must be a sequence such as \[0.01, 0.1, 1.0\], got 0.1"),
        ({"step_sizes": {"sync": [0.1]}}, ValueError, r"must name the methods that are tuned, sync, async, got 'sync'"),
        (
            {"step_sizes": {"sync": [1], "async": [1, 2]}},
            ValueError,
            r"as many for each method, .* 1 for sync, 2 for async",
        ),
        ({"seeds": 0}, ValueError, r"seeds must be a whole number of at least 1, got 0"),
        ({"seeds": []}, ValueError, r"seeds must hold at least one seed, got none"),
        ({"seeds": [3, 3]}, ValueError, r"seeds must differ, got 3 twice"),
        ({"seeds": [-1]}, ValueError, r"seeds\[0\] must be a whole number of at least 0, got -1"),
        ({"seeds": 1.5}, TypeError, r"seeds must be a sequence such as range\(5\), or be how many, got 1.5"),
        ({"tuning_seeds": 0}, ValueError, r"tuning_seeds must be a whole number of at least 1, got 0"),
        ({"until": sg.Seconds(5)}, TypeError, r"until must be an instance such as Target.*, got Seconds"),
        ({"until": sg.Target("loss", at_most=1.0)}, ValueError, r"may never be reached: give it a bound"),
        (
            {"until": sg.Target("loss", at_most=1.0, within=sg.Updates(9))},
            ValueError,
            r"until must have a bound in simulated seconds, .* got within=Updates\(count=9\)",
        ),
        (
            {"until": {"fast": TARGET}},
            ValueError,
            r"until, where it is a mapping, must name each problem, .* got 'fast'",
        ),
        ({"until": dataclasses.replace(TARGET, metric="accuracy")}, ValueError, r"until.metric must be one of 'loss'"),
        ({"cluster": {}}, ValueError, r"cluster must hold at least one cluster, got none"),
        ({"cluster": {"a": 3}}, TypeError, r"cluster\['a'\] must be an instance such as Cluster"),
        ({"cluster": {1: CLUSTER}}, TypeError, r"a name in cluster must be a text"),
        ({"problem": 3}, TypeError, r"problem must be an instance such as problems.digits\(\)"),
        ({"seeds": range(3), "separate": True}, TypeError, r"seeds must be how many to begin with .* got range\(0, 3\)"),
        ({"separate": True, "most_seeds": 1}, ValueError, r"most_seeds must be a whole number of at least 2, got 1"),
        ({"extensions": -1}, ValueError, r"extensions must be a whole number of at least 0, got -1"),
        ({"halving": 1}, ValueError, r"halving must be a whole number of at least 2, got 1"),
        ({"halving": 50}, ValueError, r"halving=50 of 3 step sizes begins with 0.24 s, less than the 0.5 s between two"),
        ({"evaluate_every": sg.Seconds(5)}, ValueError, r"evaluate_every must be at most how long the target is kept"),
        ({"methods": {"a": sg.methods.rescaled}}, ValueError, r"partitioned"),
        ({"problem": sg.problems.quadratics([0.0, 1.0])}, ValueError, r"2 workers|shares"),
    ],
)
def test_bad_input_names_the_argument_the_value_and_the_way_out(given, error, said):
    with pytest.raises(error, match=said):
        compared(**given)


def test_an_error_says_which_method_it_is_about():
    with pytest.raises(ValueError, match="partitioned") as caught:
        compared({"fine": sg.methods.asynchronous, "mine": sg.methods.rescaled})
    assert any("in methods['mine']" in note for note in caught.value.__notes__)
