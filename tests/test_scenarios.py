"""The scenarios run as a user runs them: small, in a process of their own; their help, their files, their refusals."""

import pathlib
import subprocess
import sys

import pytest

import simsgd as sg

SCENARIOS = pathlib.Path(__file__).parent.parent / "scenarios"
SMALL = {
    "sync_vs_async": "--workers 4 --slow-workers 1 --seeds 1 --target-accuracy 0.8 --within 40 --step-sizes 0.03 0.1 0.3 1.0",
    "staleness_by_hand": "",
    "parameter_server_bottleneck": "--workers 1 4 8 --shards 1 2 --rounds 20 --synchronous-updates 5",
    "all_reduce_or_parameter_server": "--workers 4 --message-bytes 1e6 1e9 --seeds 1 --step-sizes 0.5 1.0 --rounds 30 "
    "--target-accuracy 0.7",
    "steady_or_jitter": "--workers 3 --seeds 1 --recorded-seconds 20 --target-accuracy 0.8 --within 20 --final-seconds 5 "
    "--step-sizes 0.1 0.3",
    "when_workers_fail": "--workers 3 --elastic-workers 1 --between-failures 10 --seeds 1 --target-accuracy 0.8 --within 20 "
    "--step-sizes 0.1 0.3",
    "where_each_wins": "--workers 4 --severities 1 4 --latencies 0 0.1 --seeds 1 --step-sizes 0.1 0.4 --target-accuracy 0.8",
}
FILES = {
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
    "all_reduce_or_parameter_server": {"map.png", "time_per_update.png", "all_reduce_or_parameter_server.nc", "table.txt"},
    "steady_or_jitter": {"timelines.png", "comparison.png", "steady_or_jitter.nc", "table.txt"},
    "when_workers_fail": {"timeline.png", "failures.png", "when_workers_fail.nc", "table.txt"},
    "where_each_wins": {"where_each_wins.png", "where_each_wins.nc", "table.txt"},
}
FLAGS = {
    "sync_vs_async": ["--workers", "--straggler", "--latency", "--bandwidth", "--seed", "--step-sizes", "--target-accuracy"],
    "staleness_by_hand": ["--seconds-a", "--output"],
    "parameter_server_bottleneck": [
        "--workers",
        "--shards",
        "--message-bytes",
        "--link",
        "--worker-link",
        "--compute-seconds",
        "--knee",
        "--seed",
    ],
    "all_reduce_or_parameter_server": [
        "--links",
        "--message-bytes",
        "--workers",
        "--straggler",
        "--shards",
        "--sharing",
        "--step-sizes",
        "--seeds",
        "--target-accuracy",
    ],
    "steady_or_jitter": [
        "--workers",
        "--slowness",
        "--spell-seconds",
        "--recorded-seconds",
        "--final-seconds",
        "--target-accuracy",
        "--step-sizes",
        "--seeds",
    ],
    "when_workers_fail": [
        "--workers",
        "--between-failures",
        "--downtime",
        "--gone-at",
        "--elastic-workers",
        "--joins-at",
        "--leaves-at",
        "--loss-probability",
        "--timeout",
        "--target-accuracy",
        "--step-sizes",
        "--seeds",
    ],
    "where_each_wins": [
        "--workers",
        "--severities",
        "--latencies",
        "--bandwidth",
        "--seeds",
        "--step-sizes",
        "--target-accuracy",
    ],
}
REFUSED = {
    "sync_vs_async": [
        ("--workers 0", "--workers must be at least 1, got 0"),
        ("--target-accuracy 1.5", "--target-accuracy must be above 0 and at most 1, got 1.5"),
        ("--straggler 0.5", "--straggler must be at least 1, got 0.5"),
        ("--slow-workers 20", "--slow-workers must be from 0 to --workers (16), got 20"),
        ("--bandwidth -1", "Link.bandwidth must be a finite number above 0"),
        ("--seeds 0", "--seeds must be a whole number of at least 1, got 0"),
        ("--within 0.5 --seeds 1 --step-sizes 0.1", "did not reach accuracy ≥ 0.95 within 0.5 s"),
    ],
    "staleness_by_hand": [("--seconds-a 0", "above 0")],
    "parameter_server_bottleneck": [
        ("--workers 0", "--workers must hold whole numbers of at least 1"),
        ("--shards 1 1", "--shards must hold"),
        ("--link carrier-pigeon", "--link must be one of"),
        ("--message-bytes -1", "--message-bytes must be a finite number above 0, got -1.0"),
        ("--knee 2", "--knee must be between 0 and 1, got 2.0"),
        ("--compute-seconds 0", "Lognormal.mean must be a finite number above 0"),
        ("--rounds 1", "--rounds must be at least 5, got 1"),
    ],
    "all_reduce_or_parameter_server": [
        ("--workers 1", "--workers: each must be a finite number of at least 2, got 1"),
        ("--links carrier-pigeon", "--links must be among"),
        ("--straggler 0.5", "--straggler must be a finite number of at least 1, got 0.5"),
        ("--step-sizes 0.1 0.1", "--step-sizes must hold"),
        ("--target-accuracy 1.5", "--target-accuracy must be from 0 to 1, got 1.5"),
        ("--shards -1", "--shards must be a finite number of at least 0, got -1"),
        ("--compute-seconds 0", "Lognormal.mean must be a finite number above 0"),
    ],
    "steady_or_jitter": [
        ("--workers 1", "--workers must be at least 2, got 1"),
        ("--slowness 1", "--slowness must be above 1, got 1"),
        ("--spell-seconds 0", "--spell-seconds must be above 0 (seconds), got 0"),
        ("--step-sizes 1 1", "--step-sizes must hold at least one number and none twice"),
        ("--latency -1", "Link.latency must be a finite number of at least 0 (seconds)"),
        ("--seeds 1 --recorded-seconds 0.01", "--recorded-seconds 0.01 are over before all are heard of"),
    ],
    "when_workers_fail": [
        ("--workers 2", "--workers must be at least 3, got 2"),
        ("--elastic-workers 4", "--elastic-workers must be from 1 to less than half of --workers (8), got 4"),
        ("--between-failures -1", "--between-failures must be above 0 (seconds), got -1"),
        ("--between-failures 5 5", "--between-failures must hold at least one number and none twice"),
        ("--loss-probability 1", "LostMessages.probability must be below 1"),
        ("--timeout -1", "LostMessages.timeout must be a finite number of at least 0 (seconds)"),
        ("--between-failures 1e9 --seeds 1", "nobody crashes on the first seed"),
    ],
    "where_each_wins": [
        ("--workers 0", "workers"),
        ("--severities -1", "severit"),
        ("--latencies 0.1 0.1", "--latencies must hold"),
    ],
}


SAID = {
    "steady_or_jitter": ["Mean seconds of a job by the laws: the same"],
    "when_workers_fail": ["the same for all methods, to the bit", "Stuck, synchronous, waits, one never returns:"],
}


def run(name, flags, output=None):
    command = [sys.executable, SCENARIOS / f"{name}.py", *flags.split(), *(["--output", str(output)] if output else [])]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", SMALL)
def test_runs_and_saves(name, tmp_path):
    done = run(name, SMALL[name], tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES[name]
    for picture in (tmp_path / "out").glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
    for sentence in SAID.get(name, ()):
        assert sentence in done.stdout
    if name == "sync_vs_async":
        assert done.stdout.count("\n") > 20
        assert "SGD reaches accuracy ≥ 0.8 first" in done.stdout
        sync, quick = (sg.Run.load(tmp_path / "out" / f"{which}.nc") for which in ("synchronous", "asynchronous"))
        assert (sync.tape.staleness == 0).all()
        assert quick.tape.staleness.mean() > 2
        assert sync.tape.end == quick.tape.end


def test_every_scenario_is_tested():
    assert set(SMALL) == {path.stem for path in SCENARIOS.glob("*.py")}


@pytest.mark.parametrize("name", SMALL)
def test_help_explains_every_flag(name):
    done = run(name, "--help")
    assert done.returncode == 0
    assert "seconds" in done.stdout
    for flag in FLAGS[name]:
        assert flag in done.stdout


@pytest.mark.parametrize(("name", "flags", "message"), [(name, *case) for name, cases in REFUSED.items() for case in cases])
def test_nonsense_is_refused_in_one_line(name, flags, message, tmp_path):
    done = run(name, flags, tmp_path / "out")
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize("name", SMALL)
def test_an_output_that_is_no_folder_is_refused_at_once(name, tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = run(name, SMALL[name], tmp_path / "file")
    assert done.returncode != 0
    assert "file" in done.stderr
    assert "Traceback" not in done.stderr


def test_staleness_by_hand_tells_the_textbook_s_numbers(tmp_path):
    """A reads version 0; B and C push; A's gradient lands on version 2: its staleness is 2."""
    table = run("staleness_by_hand", "", tmp_path).stdout.splitlines()
    rows = [line.split() for line in table if " s   " in line]
    assert [row[2:6] for row in rows[1:4]] == [["B", "0", "0", "0"], ["C", "0", "1", "1"], ["A", "0", "2", "2"]]
