"""The scenarios: each runs small in a process of its own, as a user runs it; help and refusals are tested in this one."""

import importlib
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import xarray

import simsgd as sg

SCENARIOS = pathlib.Path(__file__).parent.parent / "scenarios"
sys.path.append(str(SCENARIOS))  # as Python puts a script's own folder there
common, measuring, ranking, shelf = map(importlib.import_module, ("common", "measuring", "ranking", "shelf"))
SMALL = {
    "variance_reduction": "--workers 2 --samples 100 --dimensions 3 --seconds 10 --crowds 1 2 --seeds 1 --step-sizes 1",
    "sync_vs_async": "--workers 4 --straggler-share 0.25 --seeds 2 --tuning-seeds 1 --target-accuracy 0.8 --within 40 "
    "--step-sizes 0.03 0.1 0.3 1.0",
    "staleness_by_hand": "",
    "parameter_server_bottleneck": "--workers 1 4 8 --shards 1 2 --rounds 20 --synchronous-updates 5",
    "all_reduce_or_parameter_server": "--workers 2 4 --batch-size 8 --total-batch 32 --message-bytes 1e6 1e9 --seeds 1 "
    "--tuning-seeds 1 --step-sizes 0.5 1 --rounds 60 --target-loss 1.2",
    "steady_or_jitter": "--workers 3 --seeds 2 --tuning-seeds 1 --recorded-seconds 20 --target-accuracy 0.8 "
    "--within 20 --final-seconds 5 --step-sizes 0.1 0.3",
    "when_workers_fail": "--workers 3 --elastic-workers 1 --between-failures 10 --seeds 2 --tuning-seeds 1 "
    "--target-accuracy 0.8 --within 20 --step-sizes 0.1 0.3",
    "method_shelf": "--methods minibatch asynchronous --workers 4 --labels 3 --seeds 1 --tuning-seeds 1 --seconds 10 "
    "--evaluate-every 1 --above 0.5",
    "where_each_wins": "--workers 4 --straggler 1 4 --latency 0 0.1 --seeds 2 --tuning-seeds 1 --rounds 40 "
    "--step-sizes 0.1 0.4 --target-accuracy 0.8",
    "tune_and_compare": "--methods minibatch asynchronous --workers 4 --seeds 2 --tuning-seeds 1 --target-accuracy 0.8 "
    "--shares-of 0.6 0.8 --within 20 --step-sizes 0.1 0.4 --refinements 0",
    "when_compression_pays": "--workers 2 --seeds 1 --tuning-seeds 1 --target-accuracy 0.5 --step-sizes 0.1 --rounds 40 "
    "--bandwidths 1e6 1e9 --fabrics server",
    "scaling": "--workers 1 2 --batch-size 16 --total-batch 32 --seeds 1 --tuning-seeds 1 --step-sizes 0.25 0.5 1 "
    "--target-loss 1.2 --samples 5000 --rounds 10",
}
FILES = {
    "variance_reduction": {"variance_reduction.png", "variance_reduction.nc", "table.txt"},
    "sync_vs_async": {
        "convergence.png",
        "timeline.png",
        "staleness.png",
        "shares.png",
        "at_a_glance.png",
        "step_sizes.png",
        "trade_offs.txt",
        "synchronous.nc",
        "asynchronous.nc",
    },
    "staleness_by_hand": {"staleness_by_hand.png", "table.txt"},
    "parameter_server_bottleneck": {"throughput.png", "what_it_costs.png", "parameter_server_bottleneck.nc", "table.txt"},
    "all_reduce_or_parameter_server": {
        "map.png",
        "time_per_update_per-worker.png",
        "time_per_update_total.png",
        "all_reduce_or_parameter_server.nc",
        "table.txt",
    },
    "steady_or_jitter": {"timelines.png", "comparison.png", "steady_or_jitter.nc", "table.txt"},
    "when_workers_fail": {"timeline.png", "failures.png", "when_workers_fail.nc", "table.txt"},
    "method_shelf": {"method_shelf.png", "method_shelf.nc", "table.txt"},
    "where_each_wins": {"where_each_wins.png", "where_each_wins.nc", "table.txt"},
    "tune_and_compare": {"tune_and_compare.png", "reporting.nc", "tuning.nc", "table.txt", "table.md", "table.tex"},
    "when_compression_pays": {"when_compression_pays.png", "table.txt"},
    "scaling": {"scaling.png", "scaling.nc", "table.txt"},
}
EVERYWHERE = ["--output", "--compilation-cache"]
RECORDING = [*EVERYWHERE, "--seed", "--workers", "--compute-seconds", "--compute-variation"]
LEARNING = [*RECORDING, "--seeds", "--step-sizes", "--target-accuracy"]
COMPARING = [*LEARNING, "--tuning-seeds", "--folder"]
TIMED = [*COMPARING, "--latency", "--within", "--kept", "--evaluate-every"]
FLAGS = {
    "sync_vs_async": [*TIMED, "--straggler", "--straggler-share", "--bandwidth"],
    "staleness_by_hand": [*EVERYWHERE, "--seconds-a"],
    "parameter_server_bottleneck": [*RECORDING, "--shards", "--message-bytes", "--link", "--worker-link", "--knee"],
    "all_reduce_or_parameter_server": [
        *RECORDING,
        "--equal-batch",
        "--batch-size",
        "--total-batch",
        "--link",
        "--message-bytes",
        "--straggler",
        "--shards",
        "--sharing",
        "--target-loss",
        "--seeds",
        "--tuning-seeds",
        "--step-sizes",
        "--rounds",
        "--kept-rounds",
        "--folder",
    ],
    "steady_or_jitter": [*TIMED, "--straggler", "--spell-seconds", "--recorded-seconds", "--final-seconds"],
    "when_workers_fail": [
        *TIMED,
        "--between-failures",
        "--downtime",
        "--gone-at",
        "--elastic-workers",
        "--joins-at",
        "--leaves-at",
        "--loss-probability",
        "--timeout",
    ],
    "method_shelf": [
        *RECORDING,
        "--methods",
        "--no-quick",
        "--slowest",
        "--labels",
        "--latency",
        "--seeds",
        "--tuning-seeds",
        "--seconds",
        "--above",
        "--kept",
        "--evaluate-every",
        "--batch-size",
        "--penalty",
    ],
    "where_each_wins": [
        *COMPARING,
        "--rounds",
        "--kept-rounds",
        "--straggler",
        "--straggler-share",
        "--latency",
        "--bandwidth",
    ],
    "tune_and_compare": [
        *TIMED,
        "--methods",
        "--slowest",
        "--batch-size",
        "--shares-of",
        "--refinements",
        "--halving",
        "--hidden",
        "--executor",
        "--processes",
    ],
    "variance_reduction": [
        *RECORDING,
        "--samples",
        "--dimensions",
        "--condition",
        "--penalty",
        "--batch-size",
        "--seconds",
        "--step-sizes",
        "--seeds",
        "--crowds",
        "--slowness",
        "--near",
    ],
    "when_compression_pays": [
        *COMPARING,
        "--fabrics",
        "--bandwidths",
        "--message-bytes",
        "--compressing",
        "--latency",
        "--rounds",
        "--kept",
    ],
    "scaling": [
        *RECORDING,
        "--equal-batch",
        "--batch-size",
        "--total-batch",
        "--methods",
        "--overhead-seconds",
        "--straggler",
        "--straggler-share",
        "--network",
        "--link",
        "--message-bytes",
        "--target-loss",
        "--samples",
        "--rounds",
        "--seeds",
        "--tuning-seeds",
        "--step-sizes",
        "--folder",
    ],
}
REFUSED = {
    "variance_reduction": [
        (
            "--samples 100",
            "--samples must be at least --batch-size times the most workers (32), so that each has a part, got 100",
        ),
        ("--near 1", "--near must be below 1, where all begin, got 1"),
        ("--condition 0.5", "--condition must be finite and at least 1, got 0.5"),
    ],
    "sync_vs_async": [
        ("--workers 0", "--workers must be finite and at least 1, got 0"),
        ("--workers many", "invalid"),
        ("--target-accuracy 1.5", "--target-accuracy must be finite and above 0 and at most 1, got 1.5"),
        ("--straggler 0.5", "--straggler must be finite and at least 1, got 0.5"),
        ("--straggler nan", "--straggler must be finite and at least 1, got nan"),
        ("--straggler-share 2", "--straggler-share must be finite and at least 0 and at most 1, got 2"),
        ("--bandwidth -1", "--bandwidth must be finite and above 0, got -1"),
        ("--seeds 0", "--seeds must be finite and at least 1, got 0"),
        ("--tuning-seeds 0", "--tuning-seeds must be finite and at least 1, got 0"),
        ("--within 0.5 --seeds 1 --step-sizes 0.1", "did not reach accuracy ≥ 0.95 within 0.5 s"),
    ],
    "staleness_by_hand": [
        ("--seconds-a 0", "--seconds-a must be finite and above 0 (seconds), got 0"),
        ("--seconds-a 100 --updates 2", "worker A delivers nothing"),
    ],
    "parameter_server_bottleneck": [
        ("--workers 0", "--workers must be finite and at least 1, got 0"),
        ("--shards 1 1", "--shards must hold at least one value and none twice"),
        ("--link carrier-pigeon", "carrier-pigeon"),
        ("--message-bytes -1", "--message-bytes must be finite and above 0, got -1"),
        ("--knee 2", "--knee must be finite and above 0 and below 1, got 2"),
        ("--compute-seconds 0", "--compute-seconds must be finite and above 0 (seconds), got 0"),
        ("--rounds 1", "--rounds must be finite and at least 5, got 1"),
    ],
    "all_reduce_or_parameter_server": [
        ("--workers 1", "--workers must be finite and at least 2, got 1"),
        ("--link carrier-pigeon", "carrier-pigeon"),
        ("--straggler 0.5", "--straggler must be finite and at least 1, got 0.5"),
        ("--step-sizes 0.1 0.1", "--step-sizes must hold"),
        ("--target-loss 0", "--target-loss must be finite and above 0, got 0"),
        ("--workers 4 12", "--workers must each divide --total-batch (256), got 12"),
        ("--equal-batch total total", "--equal-batch must hold at least one value and none twice"),
        ("--seeds 0", "--seeds must be finite and at least 1, got 0"),
        ("--shards -1", "--shards must be finite and at least 0, got -1"),
        ("--compute-seconds 0", "--compute-seconds must be finite and above 0 (seconds), got 0"),
    ],
    "steady_or_jitter": [
        ("--workers 1", "--workers must be finite and at least 2, got 1"),
        ("--straggler 1", "--straggler must be finite and above 1, got 1"),
        ("--spell-seconds 0", "--spell-seconds must be finite and above 0 (seconds), got 0"),
        ("--step-sizes 1 1", "--step-sizes must hold at least one value and none twice"),
        ("--latency -1", "--latency must be finite and at least 0 (seconds), got -1"),
        ("--seeds 1 --recorded-seconds 0.01", "--recorded-seconds 0.01 are over before all are heard of"),
    ],
    "when_workers_fail": [
        ("--workers 2", "--workers must be finite and at least 3, got 2"),
        ("--elastic-workers 4", "--elastic-workers must be less than half of --workers (8), got 4"),
        ("--between-failures -1", "--between-failures must be finite and above 0 (seconds), got -1"),
        ("--between-failures 5 5", "--between-failures must hold at least one value and none twice"),
        ("--loss-probability 1", "LostMessages.probability must be below 1"),
        ("--timeout -1", "LostMessages.timeout must be a finite number of at least 0 (seconds)"),
        ("--between-failures 1e9 --seeds 1", "nobody crashes on the first seed"),
    ],
    "method_shelf": [
        ("--methods asynchronos", "asynchronos"),
        ("--methods rennala rennala", "--methods must hold at least one value and none twice"),
        ("--workers 1", "--workers must be finite and at least 2, got 1"),
        ("--workers 5", "LabelsPerWorker.labels must be from 2 to 10, so that 5 workers have all 10 labels"),
        ("--labels 11", "--labels must be finite and at least 1 and at most 10, got 11"),
        ("--slowest 0.5", "--slowest must be finite and at least 1, got 0.5"),
        ("--above 0", "--above must be finite and above 0, got 0"),
        ("--kept 100", "--kept must be from --evaluate-every (0.5 s) to --seconds (60 s), got 100"),
    ],
    "where_each_wins": [
        ("--workers 0", "--workers must be finite and at least 1, got 0"),
        ("--straggler -1", "--straggler must be finite and at least 1, got -1"),
        ("--latency 0.1 0.1", "--latency must hold at least one value and none twice"),
        (
            "--target-accuracy 0.01 --rounds 5 --seeds 1 --tuning-seeds 1 --straggler 1 --latency 0 --step-sizes 0.1",
            "is reached before the first update",
        ),
    ],
    "tune_and_compare": [
        ("--methods asynchronos", "asynchronos"),
        ("--methods asynchronous asynchronous", "--methods must hold at least one value and none twice"),
        ("--workers 1", "--workers must be finite and at least 2, got 1"),
        ("--tuning-seeds 0", "--tuning-seeds must be finite and at least 1, got 0"),
        ("--shares-of 0.5 0.99", "--shares-of must be at most --target-accuracy (0.95), where runs end, got 0.99"),
        ("--refinements -1", "--refinements must be finite and at least 0, got -1"),
        ("--halving 1", "halving must be a whole number of at least 2"),
        ("--step-sizes -1 1", "--step-sizes must be finite and above 0, got -1"),
        ("--executor spark", "spark"),
        ("--processes 0", "--processes must be finite and at least 1, got 0"),
        (f"--folder {SCENARIOS}", "holds something else"),
    ],
    "when_compression_pays": [
        ("--bandwidths 0", "--bandwidths must be finite and above 0, got 0"),
        ("--compressing -1", "--compressing must be finite and at least 0 (seconds), got -1"),
        ("--fabrics pigeon", "pigeon"),
        ("--workers 0", "--workers must be finite and at least 1, got 0"),
    ],
    "scaling": [
        ("--workers 4 16", "--workers must hold 1, which speed-up is relative to, got (4, 16)"),
        ("--workers 1 3", "--workers must each divide --total-batch (256), got 3"),
        ("--workers 1 512", "--workers must each divide --total-batch (256), got 512"),
        ("--methods async", "--methods must hold sync, which one worker runs, got ('async',)"),
        ("--equal-batch total total", "--equal-batch must hold at least one value and none twice"),
        ("--network pigeons", "pigeons"),
        ("--target-loss 0", "--target-loss must be finite and above 0, got 0"),
        ("--overhead-seconds -1", "--overhead-seconds must be finite and at least 0 (seconds), got -1"),
        ("--step-sizes 1", "--step-sizes must hold at least two"),
    ],
}


SAID = {
    "variance_reduction": ["Squared distance to the optimum", "What staleness costs"],
    "sync_vs_async": ["SGD reaches accuracy ≥ 0.8 first", "At one step size, asynchronous SGD moves 4 times as far"],
    "where_each_wins": ["cells; separated in"],
    "tune_and_compare": ["Tuned on 1 seed of their own", "Restricted mean seconds to easier targets"],
    "method_shelf": ["first is", "There on every seed where data are alike"],
    "parameter_server_bottleneck": ["Fair sharing is within"],
    "all_reduce_or_parameter_server": [
        "the gradient noise scale is",
        "equal batch total, ethernet 25g: sync on a ring is first in",
    ],
    "steady_or_jitter": ["Mean seconds of a job by the laws: the same"],
    "scaling": [
        "equal batch per worker",
        "Equal total batch, async: at least half of the ideal up to",
        "sync or async: the two rules",
    ],
    "when_workers_fail": ["the same for all methods, to the bit", "Stuck, synchronous, waits, one never returns:"],
}


def call(name, flags, output):
    """Run a scenario in this process."""
    importlib.import_module(name).main([*flags.split(), "--output", str(output)])


@pytest.mark.parametrize("name", SMALL)
def test_runs_and_saves(name, tmp_path):
    command = [sys.executable, SCENARIOS / f"{name}.py", *SMALL[name].split(), "--output", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES[name]
    told = done.stdout.partition("saved:\n")[2].split()
    assert {pathlib.Path(path).name for path in told} == FILES[name]
    for picture in (tmp_path / "out").glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
    for sentence in SAID.get(name, ()):
        assert sentence in done.stdout
    if name == "sync_vs_async":
        sync, quick = (sg.Run.load(tmp_path / "out" / f"{which}.nc") for which in ("synchronous", "asynchronous"))
        assert (sync.tape.staleness == 0).all()
        assert quick.tape.staleness.mean() > 2
        assert sync.tape.end == quick.tape.end


def test_what_was_compiled_is_kept(tmp_path):
    try:
        call("staleness_by_hand", f"--compilation-cache {tmp_path / 'compiled'}", tmp_path / "out")
    finally:
        sg.compilation_cache(None)
    assert list((tmp_path / "compiled").iterdir())


def test_every_scenario_is_tested():
    assert set(SMALL) == {path.stem for path in SCENARIOS.glob("*.py") if "def main(" in path.read_text()}


@pytest.mark.parametrize("name", SMALL)
def test_help_explains_every_flag(name, capsys):
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(name).main(["--help"])
    assert not ended.value.code
    said = capsys.readouterr().out
    assert "seconds" in said
    for flag in FLAGS[name]:
        assert f"{flag} " in said


@pytest.mark.parametrize(("name", "flags", "message"), [(name, *case) for name, cases in REFUSED.items() for case in cases])
def test_nonsense_is_refused(name, flags, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        call(name, flags, tmp_path / "out")
    assert ended.value.code
    if ended.value.code == 2:  # by the reader of flags itself, which draws a box
        assert message in capsys.readouterr().err
    else:  # what `sys.exit` is given, it prints, and ends with 1
        assert ended.value.code.startswith("error: ")
        assert message in ended.value.code
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize("name", SMALL)
def test_an_output_that_is_no_folder_is_refused_at_once(name, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SystemExit, match=r"error: .*file"):
        call(name, SMALL[name], tmp_path / "file")


def test_staleness_by_hand_tells_the_textbook_s_numbers(tmp_path, capsys):
    """A reads version 0; B and C push; A's gradient lands on version 2: its staleness is 2."""
    call("staleness_by_hand", "", tmp_path)
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if " s   " in line]
    assert [row[2:6] for row in rows[1:4]] == [["B", "0", "0", "0"], ["C", "0", "1", "1"], ["A", "0", "2", "2"]]


def test_medians_say_how_many_seeds_arrived():
    assert measuring.spread([1.0, 2.0, 4.0]) == "2 (1 to 4)"
    assert measuring.spread([1.0, np.inf, 2.0]) == "2 (1 to never, 2 of 3 seeds)"
    assert measuring.spread([np.inf, np.inf]) == "never"
    assert measuring.spread([np.nan, np.nan]) == "-"
    assert measuring.spread([3.0]) == "3"


@pytest.mark.parametrize(
    ("factor", "said"),
    [(2.0, "sync 2.00×"), (0.5, "async 2.00×"), (np.inf, "only sync"), (0.0, "only async"), (np.nan, "neither")],
)
def test_who_is_first(factor, said):
    assert measuring.first(factor) == said


def test_a_sweep_keeps_its_cells_in_place_and_marks_what_is_unknown():
    def measure(row, column):
        return {} if row == "b" else {"number": 10 * column, "several": (("seed",), [column, -column])}

    found = measuring.sweep({"row": "ab", "column": (1, 2)}, measure, "testing", seed=[7, 8])
    assert found.number.sel(row="a").values.tolist() == [10, 20]
    assert found.several.sel(row="a", column=2, seed=8) == -2
    assert found.several.sel(row="b").isnull().all()


def test_cautions_name_the_cells():
    def tuned(cell, protocol):
        seconds = 1.0 if cell == "x" else np.inf
        return {} if protocol == "stuck" else {"best": 0, "best_seconds": (("seed",), [seconds])}

    along = {"cell": ["x", "y"], "protocol": ["async", "stuck"]}
    found = measuring.sweep(along, tuned, "testing", seed=[0], step_size=[1, 2, 3])
    edge, missed = measuring.cautions(found, "protocol", "--within")
    assert edge.startswith("CAUTION: async: the best step size is at the edge")
    assert edge.endswith("(x).")
    assert "raise --within" in missed
    assert missed.endswith("(y).")
    inside = found.sel(cell=["x"], protocol=["async"]).assign(
        best=xarray.ones_like(found.best.sel(cell=["x"], protocol=["async"]))
    )
    assert measuring.cautions(inside, "protocol", "--within") == ["No best step size is at the edge of the grid."]


def test_a_folder_keeps_what_is_finished(tmp_path):
    flags = "--methods asynchronous --workers 2 --seeds 1 --tuning-seeds 1 --step-sizes 0.1 --within 5 --target-accuracy 0.5 "
    flags += f"--shares-of 0.5 --folder {tmp_path / 'kept'}"
    kept = []
    for _ in range(2):
        call("tune_and_compare", flags, tmp_path / "out")
        files = (tmp_path / "kept" / "cells").iterdir()
        kept.append(({path.name: path.stat().st_mtime_ns for path in files}, (tmp_path / "out" / "table.txt").read_text()))
    assert kept[0][0]
    assert kept[0] == kept[1]


@pytest.mark.parametrize("optimum", [2.0**-10, 2.0**-3, 2.0**4])
def test_a_step_size_is_looked_for_beyond_the_edge_and_then_more_finely(optimum):
    tried = []

    def try_sizes(sizes):
        tried.extend(sizes)
        return {size: (np.inf, abs(np.log2(size / optimum))) for size in sizes}

    assert shelf.tuned(try_sizes, [2.0**-4, 2.0**-2, 1.0]) == optimum
    assert len(tried) == len(set(tried))
    diverging = shelf.tuned(lambda sizes: {size: (np.inf, np.inf) for size in sizes}, [0.25, 1.0])
    assert diverging in (0.25, 1.0)


def test_the_shelf_is_ranked_by_time_then_arrivals_then_loss():
    inf = np.inf
    seconds = {"quick": [1, 2, 3], "slow": [4, 4, inf], "hardly": [1, inf, inf], "twin": [inf] * 3, "never": [inf] * 3}
    measured = xarray.Dataset(
        {
            "seconds": (("data", "method", "seed"), [list(seconds.values())] * 2),
            "final": (("data", "method", "seed"), np.full((2, 5, 3), [[0.0], [0.1], [0.1], [0.3], [0.2]])),
            "loss": (("data", "method", "seed"), np.full((2, 5, 3), [[1.0], [2.0], [3.0], [4.0], [4.0]])),
            "step_size": (("data", "method"), np.ones((2, 5))),
        },
        coords={"data": ["alike", "differ"], "method": list(seconds)},
    )
    measured["seconds"][1, 0] = inf
    measured["rank"] = ranking.ranks(measured)
    assert measured["rank"].values.tolist() == [[0, 1, 2, 4, 3], [2, 0, 1, 4, 3]]
    assert "4 (4 to never, 2 of 3 seeds)" in ranking.ranked(measured.sel(data="alike"))
    said = ranking.findings(measured)
    assert "first is quick; at least as quick on some seed: hardly;" in said
    assert "the same numbers: never = twin." in said
    assert "there on every seed: only quick;" in said
    assert said.endswith("not where they differ: 1 of 5 methods.")


def test_settings_are_of_presets_on_the_shelf():
    told = shelf.settings((0.1, 0.2, 0.4, 0.8), share_batches=5)
    for entry in shelf.ROWS:
        assert entry.make(0.1, **told.get(entry.preset.__name__, {})).name == entry.name


def test_tables_line_up():
    assert measuring.table(["a", "wide\nb"], [["1", "2"], ["33", "4"]]) == "    wide\na   b\n1   2\n33  4"
